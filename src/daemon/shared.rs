//! What apps know of each other: which degraded lately, and where.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::model::{AppName, OrgContext, Region};

/// Apps that degrade within this time of each other count as degrading at once.
const AT_ONCE: SignedDuration = SignedDuration::from_mins(5);

/// Shared between the tasks of all apps.
#[derive(Default)]
pub struct Shared {
    degraded: Mutex<BTreeMap<AppName, (Timestamp, BTreeSet<Region>)>>,
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
        let mut context = OrgContext::default();
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
}
