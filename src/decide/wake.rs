//! When the next round is wanted.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    command::{Command, Input},
    later,
    state::{Memory, Phase, RegionPhase, Rollback},
};
use crate::model::{HoldReason, Policy};

/// Between two rounds of a rollback: every second that a region waits for its confirmation counts.
/// A little more than the list of machines allows, so that there is room for one as soon as a machine
/// is back.
const UNDOING_EVERY: Duration = Duration::from_millis(1100);

/// A machine that is ordered is mostly written to within this: the look that follows an outcome sees
/// what was ordered on it.
const WRITTEN_WITHIN: Duration = Duration::from_millis(300);

/// The watch's pace or the idle one from the round's beginning on; sooner when something is due
/// before. A command's outcome is worth a look at once.
pub(super) fn at(
    policy: &Policy,
    phase: &Phase,
    memory: &Memory,
    input: &Input,
    now: Timestamp,
) -> Timestamp {
    let Input::Observed(observation) = input else {
        let writes = |command: &Command| matches!(command, Command::PutImage(_));
        return match phase {
            Phase::RollingBack(_) if memory.pending.values().any(writes) => {
                later(now, WRITTEN_WITHIN)
            }
            _ => now,
        };
    };
    let pace = if matches!(phase, Phase::RollingBack(_)) {
        policy.watch.scrape_every.min(UNDOING_EVERY)
    } else if phase.is_active(memory, now) {
        policy.watch.scrape_every
    } else {
        policy.watch.idle_scrape_every
    };
    let paced = later(observation.began, pace);
    // What was due before this round and still is waits for something else: no reason to hurry.
    let due = due(policy, phase, memory).into_iter().filter(|at| *at > now);
    due.fold(paced, Timestamp::min)
}

/// The moments at which something is due that this round could not do yet.
fn due(policy: &Policy, phase: &Phase, memory: &Memory) -> Vec<Timestamp> {
    let mut due: Vec<Timestamp> = memory.unclosed.values().map(|open| open.next).collect();
    due.extend(memory.left_down.values().map(|left| left.next));
    due.extend(memory.operator_hold.as_ref().and_then(|hold| hold.until));
    match phase {
        Phase::CountingDown { until, .. }
        | Phase::Held { reason: HoldReason::Frozen { until, .. }, .. } => due.push(*until),
        Phase::RollingBack(rollback) | Phase::RolledBack(rollback) => {
            due.extend(of_rollback(policy, rollback));
        }
        Phase::Unseen
        | Phase::Watching(_)
        | Phase::Steady
        | Phase::CheckingImage { .. }
        | Phase::Held { .. }
        | Phase::Stopped { .. } => {}
    }
    due
}

/// Machines that are tried again, and regions whose time to confirm ends.
fn of_rollback(policy: &Policy, rollback: &Rollback) -> Vec<Timestamp> {
    let mut due = Vec::new();
    for work in &rollback.regions {
        due.extend(
            work.machines
                .values()
                .flat_map(|machine| [machine.retry_at, machine.job_until])
                .flatten(),
        );
        if let RegionPhase::Confirming(confirm) = &work.phase {
            let times = policy.rollback.confirm;
            due.extend([times.at_least, times.at_most].map(|time| later(confirm.since, time)));
        }
    }
    due
}
