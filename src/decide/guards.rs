//! What forbids a rollback, in the order in which it is said.

use jiff::{SignedDuration, Timestamp};

use super::state::{AppState, HoldReason, Revision, Watch};
use crate::model::{Mode, Observation, Policy, Verdict};

/// Other apps degrading in one region at the same time, from which on it is the platform.
const PLATFORM_INCIDENT_APPS: usize = 2;

/// Requests on the other release's machines from which on their share says something.
const CONTROL_MIN: f64 = 50.0;
/// How much worse than the control a release must be to be blamed while the control breaches too.
const CONTROL_ALIKE: f64 = 1.5;
/// Control data older than this is of another time.
const CONTROL_FRESH: SignedDuration = SignedDuration::from_secs(60);

/// Why the watched release may not be rolled back now; `None`: it may.
pub(super) fn refusal(
    policy: &Policy,
    state: &AppState,
    watch: &Watch,
    observation: &Observation,
    now: Timestamp,
) -> Option<HoldReason> {
    let Some(target) = target(policy, state, watch) else {
        let missing = state.trusted.iter().any(|trusted| trusted.image_missing);
        return Some(if missing { HoldReason::ImagesMissing } else { HoldReason::NothingTrusted });
    };
    if target.digest == watch.revision.digest {
        return Some(HoldReason::SameImage);
    }
    if !policy.rollback.despite_migrations {
        match watch.revision.has_release_command {
            Some(true) => return Some(HoldReason::Migrations),
            // What was put on machines by hand has no entry of its own to be read.
            None if watch.numbered && !watch.learning && !watch.in_ledger => {
                return Some(HoldReason::MigrationsUnknown);
            }
            Some(false) | None => {}
        }
    }
    let again = state
        .quarantined
        .iter()
        .any(|old| old.digest == watch.revision.digest && old.version == watch.revision.version);
    if again {
        return Some(HoldReason::AlreadyRolledBack);
    }
    let day_ago = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(now);
    let recent = state.rollbacks.iter().filter(|at| **at > day_ago).count();
    if recent >= usize::try_from(policy.rollback.per_day_max).unwrap_or(usize::MAX) {
        return Some(HoldReason::DailyBudget { max: policy.rollback.per_day_max });
    }
    if policy.mode == Mode::Observe {
        return Some(HoldReason::ObserveMode);
    }
    platform_incident(watch, observation).or_else(|| control_too(watch, now))
}

/// Whether what breaches is as bad on the machines that still run another release: the control
/// group sees the same platform, the same users and the same database.
fn control_too(watch: &Watch, now: Timestamp) -> Option<HoldReason> {
    let from = now.checked_sub(CONTROL_FRESH).unwrap_or(now);
    let breaching = watch.evidence.iter().filter(|e| e.verdict == Verdict::Breach);
    let mut alike = Vec::new();
    for evidence in breaching.filter(|e| e.may_roll_back) {
        let control = watch.thresholds.get(&evidence.threshold)?.control_since(from)?;
        let share = evidence.share()?;
        let is_alike = control.n >= CONTROL_MIN
            && control.k > evidence.limit * control.n
            && control.k * CONTROL_ALIKE >= share * control.n;
        if !is_alike {
            return None;
        }
        alike.push((evidence.threshold.clone(), control));
    }
    let (threshold, control) = alike.into_iter().next()?;
    Some(HoldReason::ControlToo { threshold, control })
}

fn platform_incident(watch: &Watch, observation: &Observation) -> Option<HoldReason> {
    observation
        .org
        .degraded_elsewhere
        .iter()
        .filter(|(region, apps)| {
            watch.regions.contains(*region) && apps.len() >= PLATFORM_INCIDENT_APPS
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
        .filter(|previous| !state.suspects.contains(&previous.digest))
}
