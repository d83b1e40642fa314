//! What apps know of each other: which degraded lately, and where; and whether the platform answers
//! anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use tokio::time::Instant;

use crate::{
    model::{AppName, OrgContext, Region},
    ports::PlatformError,
};

/// Apps that degrade within this time of each other count as degrading at once.
const AT_ONCE: SignedDuration = SignedDuration::from_mins(5);

/// Shared between the tasks of all apps.
#[derive(Default)]
pub struct Shared {
    degraded: Mutex<BTreeMap<AppName, (Timestamp, BTreeSet<Region>)>>,
    sight: Mutex<Sight>,
}

/// What the platform answered last, to whom.
#[derive(Default)]
struct Sight {
    /// The change feed, or the list of apps while there was none yet.
    organization: Option<Answered>,
    apps: BTreeMap<AppName, Answered>,
    outage_since: Option<Instant>,
    told: bool,
}

/// The last answer: a failure says why.
struct Answered(Result<(), Failed>);

#[derive(Clone)]
struct Failed {
    /// The token was refused.
    refused: bool,
    detail: String,
}

impl Answered {
    fn of<T>(answer: &Result<T, PlatformError>) -> Self {
        Self(match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(Failed {
                refused: matches!(error, PlatformError::Denied(_)),
                detail: error.to_string(),
            }),
        })
    }
}

/// The platform answers nobody.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outage {
    pub(super) since: Instant,
    /// It refuses the token, which is no trouble of its own.
    pub(super) refused: bool,
    pub(super) detail: String,
}

impl Sight {
    /// Nobody is answered: every app's list fails, and where there is but one or none, what is read
    /// for the organization fails as well.
    fn outage(&self) -> Option<Failed> {
        let organization = self.organization.as_ref().and_then(|last| last.0.as_ref().err());
        let mut apps = self.apps.values().map(|last| last.0.as_ref().err());
        let first = match apps.next() {
            None => return organization.cloned(),
            Some(first) => first?,
        };
        if !apps.all(|failed| failed.is_some()) {
            return None;
        }
        (self.apps.len() > 1 || organization.is_some()).then(|| first.clone())
    }
}

impl Shared {
    /// Notes that an app's release degraded in these regions.
    pub(super) fn degraded(&self, app: &AppName, at: Timestamp, regions: BTreeSet<Region>) {
        let mut degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        degraded.retain(|_, (then, _)| at.duration_since(*then) < AT_ONCE);
        degraded.insert(app.clone(), (at, regions));
    }

    /// What the others are doing, from one app's point of view.
    pub(super) fn org_context(&self, app: &AppName, now: Timestamp) -> OrgContext {
        let degraded = self.degraded.lock().unwrap_or_else(PoisonError::into_inner);
        let mut context =
            OrgContext { platform_told: self.is_platform_told(), ..OrgContext::default() };
        for (other, (at, regions)) in degraded.iter() {
            if other == app || now.duration_since(*at) >= AT_ONCE {
                continue;
            }
            for region in regions {
                let apps = context.degraded_elsewhere.entry(region.clone()).or_default();
                apps.insert(other.clone());
            }
        }
        context
    }

    fn sight(&self) -> MutexGuard<'_, Sight> {
        self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a reading for the organization ended.
    pub(super) fn organization_read<T>(&self, answer: &Result<T, PlatformError>) {
        self.sight().organization = Some(Answered::of(answer));
    }

    /// Notes how the list of an app's machines was answered.
    pub(super) fn app_read<T>(&self, app: &AppName, answer: &Result<T, PlatformError>) {
        self.sight().apps.insert(app.clone(), Answered::of(answer));
    }

    /// Nobody asks for an app any more.
    pub(super) fn app_gone(&self, app: &AppName) {
        self.sight().apps.remove(app);
    }

    /// Whether the platform answers nobody, since when, and why.
    pub(super) fn outage(&self) -> Option<Outage> {
        let mut sight = self.sight();
        let Some(Failed { refused, detail }) = sight.outage() else {
            sight.outage_since = None;
            return None;
        };
        let since = *sight.outage_since.get_or_insert_with(Instant::now);
        Some(Outage { since, refused, detail })
    }

    /// Whether anybody was answered, the last time they asked.
    pub(super) fn is_answered(&self) -> bool {
        let sight = self.sight();
        sight.organization.iter().chain(sight.apps.values()).any(|last| last.0.is_ok())
    }

    /// Says whether people know that the platform answers nobody.
    pub(super) fn platform_told(&self, told: bool) {
        self.sight().told = told;
    }

    /// Whether blindness to the platform is told of for the whole organization, or is about to be.
    fn is_platform_told(&self) -> bool {
        let sight = self.sight();
        sight.told || sight.outage().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<(), PlatformError> {
        Err(PlatformError::Unavailable("503".to_owned()))
    }

    #[test]
    fn an_outage_is_when_nobody_is_answered() {
        let shared = Shared::default();
        let (api, web) = (AppName::new("api"), AppName::new("web"));
        assert_eq!(shared.outage(), None, "nothing was asked");
        shared.organization_read(&failed());
        assert!(shared.outage().is_some(), "no app is known");
        shared.app_read(&api, &Ok::<_, PlatformError>(()));
        assert_eq!(shared.outage(), None, "only the feed is silent");
        shared.app_read(&api, &failed());
        assert!(shared.outage().is_some());
        shared.organization_read(&Ok::<_, PlatformError>(()));
        assert_eq!(shared.outage(), None, "one app's trouble is its own");
        shared.app_read(&web, &failed());
        assert!(shared.outage().is_some(), "every app's is not");
        shared.app_gone(&web);
        assert_eq!(shared.outage(), None);
    }

    #[test]
    fn a_refused_token_is_told_apart() {
        let shared = Shared::default();
        shared.organization_read(&Err::<(), _>(PlatformError::Denied("401".to_owned())));
        let outage = shared.outage().unwrap();
        assert!(outage.refused && outage.detail.contains("401"), "{outage:?}");
    }
}
