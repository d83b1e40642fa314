//! What was seen healthy, and may be gone back to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FailingChecks, Memory, Mirror, Revision};
use crate::{
    decide::groups,
    model::{ImageRef, ProcessGroup, Setups, Signed},
    threshold::detect::Dispersion,
};

/// A release that earned trust.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trusted {
    pub revision: Revision,
    pub at: Timestamp,
    /// When its image was last looked for in the registry.
    pub image_checked_at: Option<Timestamp>,
    /// The registry said that the image is gone.
    pub image_missing: bool,
    /// Unplanned exits per machine during its watch, for comparison.
    pub crashes_per_machine: f64,
    /// Checks that did not pass although it was trusted (the policy asks for a quorum): going back does
    /// not wait for them to pass.
    #[serde(default)]
    pub failing: FailingChecks,
    /// Process groups of which no machine ended by itself: their machines are no jobs.
    #[serde(default)]
    pub stayed_up: BTreeSet<ProcessGroup>,
    /// Who vouched for it, when it did not earn its trust by what was seen.
    #[serde(default)]
    pub vouched: Option<Signed>,
    /// Its image's copy, where one is wanted.
    #[serde(default)]
    pub mirror: Option<Mirror>,
    /// How its machines are configured besides the image.
    #[serde(default)]
    pub setup: Option<Setups>,
    /// How far its counts spread, by threshold.
    #[serde(default)]
    pub dispersions: BTreeMap<String, Dispersion>,
    /// Since when it is nothing to go back to, because it degraded.
    #[serde(default)]
    pub revoked: Option<Timestamp>,
    /// Which image each process group of the app ran under it; empty: not known.
    #[serde(default)]
    pub ran: BTreeMap<ProcessGroup, ImageRef>,
}

impl Trusted {
    /// Whether its image is not known to be gone, here and in the mirror.
    pub fn is_available(&self) -> bool {
        !self.image_missing || self.mirror.as_ref().is_some_and(|mirror| !mirror.missing)
    }

    /// The release with the image that can be deployed: the mirror's, when its own is gone.
    pub fn deployable(&self) -> Revision {
        let mut revision = self.revision.clone();
        if let Some(mirror) = self.mirror.as_ref().filter(|_| self.image_missing) {
            revision.image.clone_from(&mirror.image);
        }
        revision
    }
}

impl Memory {
    /// The newest trusted release whose image is not known to be gone, or for want of one the
    /// baked one.
    pub fn known_good(&self) -> Option<&Trusted> {
        self.newest_trusted().or_else(|| self.newest_baked())
    }

    /// The same for a release in these process groups.
    pub fn known_good_for(&self, groups: &BTreeSet<ProcessGroup>) -> Option<&Trusted> {
        self.newest_trusted_for(groups).or_else(|| self.newest_baked_for(groups))
    }

    /// The newest trusted release whose image is not known to be gone; where a person pinned one,
    /// that one or none.
    pub fn newest_trusted(&self) -> Option<&Trusted> {
        self.newest_trusted_for(&BTreeSet::new())
    }

    /// The same among those whose image is one for these process groups.
    pub fn newest_trusted_for(&self, groups: &BTreeSet<ProcessGroup>) -> Option<&Trusted> {
        // It binds the groups that its image is for.
        let pinned = self.pinned.as_ref().map(|pinned| &pinned.digest);
        let wanted = pinned.filter(|digest| groups::all_take(self, digest, groups));
        let mut fitting = self
            .trusted
            .iter()
            .filter(|trusted| wanted.is_none_or(|digest| trusted.revision.digest == *digest));
        // What a person pinned stays what is gone back to.
        fitting.find(|one| {
            one.is_available()
                && (one.revoked.is_none() || wanted.is_some())
                && groups::all_take(self, &one.revision.digest, groups)
        })
    }

    /// The baked release, unless its image is known to be gone, or a person pinned another one.
    pub fn newest_baked(&self) -> Option<&Trusted> {
        self.newest_baked_for(&BTreeSet::new())
    }

    /// The same, if its image is one for these process groups.
    pub fn newest_baked_for(&self, groups: &BTreeSet<ProcessGroup>) -> Option<&Trusted> {
        self.baked.as_ref().filter(|baked| {
            baked.is_available()
                && self.pinned.is_none()
                && groups::all_take(self, &baked.revision.digest, groups)
        })
    }
}
