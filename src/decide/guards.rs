//! What forbids a rollback, in the order in which it is said.

use jiff::SignedDuration;

use super::state::{AppState, HoldReason, Revision, Watch};
use crate::model::{Mode, Observation, Policy};

/// Other apps degrading in one region at the same time, from which on it is the platform.
const PLATFORM_INCIDENT_APPS: usize = 2;

/// Why the watched release may not be rolled back now; `None`: it may.
pub(super) fn refusal(
    policy: &Policy,
    state: &AppState,
    watch: &Watch,
    observation: &Observation,
) -> Option<HoldReason> {
    let Some(target) = target(policy, state, watch) else {
        let missing = state.trusted.iter().any(|trusted| trusted.image_missing);
        return Some(if missing { HoldReason::ImagesMissing } else { HoldReason::NothingTrusted });
    };
    if target.digest == watch.revision.digest {
        return Some(HoldReason::SameImage);
    }
    if watch.revision.has_release_command == Some(true) && !policy.rollback.despite_migrations {
        return Some(HoldReason::Migrations);
    }
    let again = state
        .quarantined
        .iter()
        .any(|old| old.digest == watch.revision.digest && old.version == watch.revision.version);
    if again {
        return Some(HoldReason::AlreadyRolledBack);
    }
    let recent = state
        .rollbacks
        .iter()
        .filter(|at| watch.since.duration_since(**at) < SignedDuration::from_hours(24))
        .count();
    if recent >= usize::try_from(policy.rollback.per_day_max).unwrap_or(usize::MAX) {
        return Some(HoldReason::DailyBudget { max: policy.rollback.per_day_max });
    }
    if policy.mode == Mode::Observe {
        return Some(HoldReason::ObserveMode);
    }
    platform_incident(watch, observation)
}

fn platform_incident(watch: &Watch, observation: &Observation) -> Option<HoldReason> {
    observation
        .org
        .degraded_elsewhere
        .iter()
        .filter(|(region, apps)| {
            watch.regions.contains_key(*region) && apps.len() >= PLATFORM_INCIDENT_APPS
        })
        .max_by_key(|(_, apps)| apps.len())
        .map(|(region, apps)| HoldReason::PlatformIncident {
            region: region.clone(),
            apps: u32::try_from(apps.len()).unwrap_or(u32::MAX),
        })
}

/// What to go back to: the newest trusted release with an image, or, where the policy allows it
/// and nothing was ever trusted, what ran before.
pub(super) fn target(policy: &Policy, state: &AppState, watch: &Watch) -> Option<Revision> {
    if let Some(trusted) = state.known_good() {
        return Some(trusted.revision.clone());
    }
    if !policy.rollback.first_target_previous || !state.trusted.is_empty() {
        return None;
    }
    state
        .previous
        .clone()
        .filter(|previous| previous.digest != watch.revision.digest)
        .filter(|previous| !state.quarantined.iter().any(|old| old.digest == previous.digest))
}
