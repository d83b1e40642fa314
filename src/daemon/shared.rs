//! What apps know of each other: which degraded lately, and where; and whether the platform answers
//! anybody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{sync::watch, time::Instant};

use super::{beside, pace};
use crate::{
    model::{AppName, Distress, OrgContext, Well},
    ports::PlatformError,
};

/// Releases of other apps that may be why one degrades: since when, and how many are named.
const DEPLOYED_LATELY: SignedDuration = SignedDuration::from_hours(1);
const DEPLOYS_TOLD: usize = 10;
/// What counts for the organization's budget.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How long after the start nothing is begun before every app has spoken.
const LISTENING: Duration = Duration::from_secs(10);

/// Shared between the tasks of all apps.
pub struct Shared {
    distress: Mutex<BTreeMap<AppName, Distress>>,
    well: Mutex<BTreeMap<AppName, Well>>,
    /// What each app runs, and since when.
    deploys: Mutex<BTreeMap<AppName, (Timestamp, String)>>,
    /// Counts alarms: whoever waits on it looks at once.
    alarms: watch::Sender<u64>,
    /// Apps that are watched and have not told yet how they are.
    silent: Mutex<BTreeSet<AppName>>,
    started: Instant,
    sight: Mutex<Sight>,
    /// When each app was rolled back lately.
    rollbacks: Mutex<BTreeMap<AppName, Vec<Timestamp>>>,
    /// Policies as they are kept beside as many apps as there are.
    pub(super) beside: pace::Beside,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            distress: Mutex::default(),
            well: Mutex::default(),
            deploys: Mutex::default(),
            alarms: watch::Sender::new(0),
            silent: Mutex::default(),
            started: Instant::now(),
            sight: Mutex::default(),
            rollbacks: Mutex::default(),
            beside: pace::Beside::default(),
        }
    }
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
    /// An app is watched from now on: it is waited for, for a moment, before others act.
    pub(super) fn expect(&self, app: &AppName) {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(app.clone());
    }

    /// Notes how an app is: in distress, or well as far as that was seen.
    pub(super) fn hear(&self, app: &AppName, distress: Option<Distress>, well: Option<Well>) {
        let mut all_well = self.well.lock().unwrap_or_else(PoisonError::into_inner);
        match well {
            Some(well) => drop(all_well.insert(app.clone(), well)),
            None => drop(all_well.remove(app)),
        }
        drop(all_well);
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        let mut all = self.distress.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = match distress {
            Some(distress) => all.insert(app.clone(), distress).is_none(),
            None => {
                all.remove(app);
                false
            }
        };
        if is_news {
            self.alarms.send_modify(|count| *count += 1);
        }
    }

    /// Notes when an app was rolled back.
    pub(super) fn rolled_back(&self, app: &AppName, at: &[Timestamp]) {
        let mut all = self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner);
        // Most never were: nobody goes through those.
        match at {
            [] => drop(all.remove(app)),
            at => drop(all.insert(app.clone(), at.to_vec())),
        }
    }

    /// How often apps other than this one were rolled back in the last 24 hours.
    fn rollbacks_of_others(&self, app: &AppName, now: Timestamp) -> u32 {
        let all = self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner);
        let others = all.iter().filter(|(name, _)| *name != app).flat_map(|(_, at)| at);
        let lately = others.filter(|at| now.duration_since(**at) < DAY).count();
        u32::try_from(lately).unwrap_or(u32::MAX)
    }

    /// Notes what an app runs, and since when.
    pub(super) fn runs(&self, app: &AppName, since: Timestamp, label: &str) {
        let mut all = self.deploys.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(app).is_none_or(|(at, known)| *at != since || known != label) {
            all.insert(app.clone(), (since, label.to_owned()));
        }
    }

    /// Releases of other apps in the last hour, the newest of them.
    fn deploys_of_others(
        &self,
        app: &AppName,
        now: Timestamp,
    ) -> BTreeMap<AppName, (Timestamp, String)> {
        let all = self.deploys.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |at: &Timestamp| now.duration_since(*at) < DEPLOYED_LATELY;
        let others = all.iter().filter(|(name, (at, _))| *name != app && is_new(at));
        let mut newest: Vec<_> = others.collect();
        newest.sort_by_key(|(_, (at, _))| std::cmp::Reverse(*at));
        newest.into_iter().take(DEPLOYS_TOLD).map(|(a, b)| (a.clone(), b.clone())).collect()
    }

    /// Changes whenever an app begins to be in distress.
    pub(super) fn alarms(&self) -> watch::Receiver<u64> {
        self.alarms.subscribe()
    }

    /// What the others are doing, from one app's point of view.
    pub(super) fn org_context(&self, app: &AppName, now: Timestamp) -> OrgContext {
        let silent = !self.silent.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let distress = self.distress.lock().unwrap_or_else(PoisonError::into_inner);
        let own = distress.get(app);
        OrgContext {
            neighbours: beside::in_distress(&distress, app, now),
            well: own.map_or_else(BTreeMap::new, |own| self.those_that_are_well(own)),
            deploys: own.map_or_else(BTreeMap::new, |_| self.deploys_of_others(app, now)),
            listening: silent && self.started.elapsed() < LISTENING,
            platform_told: self.is_platform_told(),
            // What is told of sources is known where they are asked.
            sources_told: BTreeSet::new(),
            rollbacks: self.rollbacks_of_others(app, now),
        }
    }

    fn those_that_are_well(&self, own: &Distress) -> BTreeMap<AppName, Well> {
        beside::well(&self.well.lock().unwrap_or_else(PoisonError::into_inner), own)
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

    /// How many apps are watched, as far as they were asked for.
    pub(super) fn apps(&self) -> usize {
        self.sight().apps.len()
    }

    /// Nobody asks for an app any more.
    pub(super) fn app_gone(&self, app: &AppName) {
        self.sight().apps.remove(app);
        self.distress.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        self.well.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
        self.deploys.lock().unwrap_or_else(PoisonError::into_inner).remove(app);
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
