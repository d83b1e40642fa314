//! What came of an attempt to put a machine right. Passing causes are waited for, for as long as they
//! last; what does not work out is tried again ever more seldom.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        PutImage, PutOutcome, later,
        rival::Verified,
        state::{MachinePhase, MachineWork, RegionPhase, Rollback},
    },
    work::Skip,
};
use crate::model::{MachineFailure, Wait};

/// Attempts per machine before the others go on without it and people are told.
pub(super) const ATTEMPTS_MAX: u32 = 5;
/// Pause after a failed attempt, times the attempts so far; and the longest.
const RETRY_AFTER: Duration = Duration::from_secs(3);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Pause before a machine is tried again that waits for something.
const WAIT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Pause before a leased machine is tried again: a deploy that ends frees it any second.
const LEASE_RETRY_AFTER: Duration = Duration::from_secs(2);
/// A machine that answers "not found" is gone when the list has not had it for so long.
const NOT_FOUND_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// Longest phrase of the platform that is kept, in characters.
const PHRASE_MAX: usize = 200;

/// Where an attempt leaves a machine.
enum After {
    Done(Verified),
    /// It is to be up from now on, and was not written to.
    IsUp,
    /// It is somebody else's, or nobody's.
    Left(MachinePhase),
    HostDown,
    /// Nothing was written: it waits for somebody.
    Waits(Wait, Duration),
    /// Something passing came in between; whether it was written to is not known.
    Interrupted(Wait),
    Failed(MachineFailure),
}

/// Notes what came of an attempt. Answers whether the machine was given up with this one.
pub(super) fn note_outcome(
    rollback: &mut Rollback,
    put: &PutImage,
    outcome: &PutOutcome,
    now: Timestamp,
) -> bool {
    let over = rollback.completed_at.is_some();
    let region = rollback.regions.iter_mut().find(|work| work.region == put.region);
    let Some(work) = region else { return false };
    let Some(entry) = work.machines.get_mut(&put.machine) else { return false };
    let was_given_up = entry.given_up.is_some();
    apply(entry, after(put, outcome, entry, now), now);
    let is_done = entry.is_on_target();
    let settled = !matches!(entry.phase, MachinePhase::Todo | MachinePhase::Failed { .. });
    let given_up = entry.given_up.is_some() && !was_given_up;
    if is_done && work.phase == RegionPhase::Skipped(Skip::GivenUp) && !over {
        // It has to be confirmed like any other.
        work.phase = RegionPhase::Updating;
    }
    if settled {
        rollback.progress_at = now;
    }
    given_up
}

fn after(put: &PutImage, outcome: &PutOutcome, entry: &MachineWork, now: Timestamp) -> After {
    let machine = || put.machine.clone();
    match outcome {
        PutOutcome::Updated { verified } | PutOutcome::AlreadyOnTarget { verified } => {
            After::Done(verified.clone())
        }
        PutOutcome::NewerRelease { .. } => After::Left(MachinePhase::OtherImage { digest: None }),
        PutOutcome::OtherImage { digest } => {
            After::Left(MachinePhase::OtherImage { digest: digest.clone() })
        }
        PutOutcome::SetByHand { digest } => {
            After::Left(MachinePhase::SetByHand { digest: digest.clone() })
        }
        PutOutcome::UpByNow => After::IsUp,
        PutOutcome::Gone => {
            let unlisted = entry.missing_since.map(|since| now.duration_since(since));
            if unlisted.is_some_and(|for_| for_ >= NOT_FOUND_AFTER) {
                return After::Left(MachinePhase::Gone);
            }
            let detail = "the machine is not found by itself".to_owned();
            After::Waits(Wait::Unanswered { detail }, WAIT_RETRY_AFTER)
        }
        PutOutcome::HostDown { .. } => After::HostDown,
        PutOutcome::LeaseHeld { owner, .. } => {
            let owner = brief(owner);
            After::Waits(Wait::Lease { machine: machine(), owner }, LEASE_RETRY_AFTER)
        }
        PutOutcome::Deploying { version, by, .. } => {
            let by = by.as_deref().map(brief);
            After::Waits(Wait::DeployOfSomebody { version: *version, by }, WAIT_RETRY_AFTER)
        }
        PutOutcome::Announced { version, .. } => {
            After::Waits(Wait::Announced { version: *version }, WAIT_RETRY_AFTER)
        }
        PutOutcome::Denied { reason } => After::Interrupted(Wait::Denied { detail: brief(reason) }),
        PutOutcome::Unreadable { reason } => {
            After::Interrupted(Wait::Unreadable { detail: brief(reason) })
        }
        PutOutcome::Unavailable { reason } => {
            After::Interrupted(Wait::Unanswered { detail: brief(reason) })
        }
        PutOutcome::NotReadyYet { state, .. } => {
            After::Interrupted(Wait::NotReady { machine: machine(), state: brief(state) })
        }
        PutOutcome::Reverted { runs } => {
            After::Failed(MachineFailure::Reverted { runs: brief(runs) })
        }
        PutOutcome::Refused { reason } => {
            After::Failed(MachineFailure::Refused { detail: brief(reason) })
        }
        PutOutcome::Unhealthy { failing, crashed } => {
            let failing = failing.iter().map(|name| brief(name)).collect();
            After::Failed(MachineFailure::Unhealthy { failing, crashed: *crashed })
        }
    }
}

fn brief(phrase: &str) -> String {
    phrase.chars().take(PHRASE_MAX).collect()
}

fn apply(entry: &mut MachineWork, after: After, now: Timestamp) {
    match after {
        After::Done(verified) => {
            entry.phase = MachinePhase::OnTarget;
            entry.verified = Some(verified);
            entry.verified_at = Some(now);
            entry.down_since = None;
            entry.given_up = None;
            entry.waits = None;
            entry.retry_at = None;
        }
        After::Left(phase) => {
            if phase == MachinePhase::Gone {
                entry.down_since = None;
            }
            entry.phase = phase;
            entry.given_up = None;
            entry.waits = None;
        }
        After::IsUp => {
            entry.running = true;
            entry.came_up_at = Some(now);
            entry.waits = None;
            entry.retry_at = None;
            entry.phase = not_done(entry);
        }
        After::HostDown => {
            entry.phase = MachinePhase::HostDown;
            entry.waits = None;
        }
        After::Waits(wait, pause) => waits(entry, wait, later(now, pause)),
        After::Interrupted(wait) => {
            may_be_down(entry, now);
            waits(entry, wait, later(now, WAIT_RETRY_AFTER));
        }
        After::Failed(failure) => {
            may_be_down(entry, now);
            entry.attempts = entry.attempts.saturating_add(1);
            entry.waits = None;
            let pause = (RETRY_AFTER * entry.attempts).min(RETRY_AFTER_MAX);
            entry.retry_at = Some(later(now, pause));
            if entry.attempts >= ATTEMPTS_MAX {
                entry.given_up = Some(failure);
            }
            entry.phase = not_done(entry);
        }
    }
}

fn waits(entry: &mut MachineWork, wait: Wait, retry_at: Timestamp) {
    entry.waits = Some(wait);
    entry.retry_at = Some(retry_at);
    entry.phase = not_done(entry);
}

fn not_done(entry: &MachineWork) -> MachinePhase {
    match &entry.given_up {
        Some(failure) => MachinePhase::Failed { failure: failure.clone() },
        None => MachinePhase::Todo,
    }
}

fn may_be_down(entry: &mut MachineWork, now: Timestamp) {
    if entry.running {
        entry.down_since = Some(now);
    }
}
