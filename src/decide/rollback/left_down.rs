//! What we took down and nobody asked to stop is started again after we yielded: a deploy that finds
//! a machine of ours `replacing` leaves it stopped.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::{
    Command, Context, PutOutcome, Round, StartMachine, StartOutcome, later, state::Rollback,
};
use crate::model::{
    Event, EventKind, Machine, MachineFailure, MachineId, MachineState, Reason, Region,
};

/// How long whoever we yielded to is let be: most deploys start what they touch.
const LET_BE_FOR: Duration = Duration::from_secs(10);
/// Pause before a start that did not work out is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Starts that do not work out before people are told.
const TRIES_MAX: u32 = 5;
/// How long after we yielded a deploy may still come to a machine that we were just done with.
const DEPLOY_TAKES: SignedDuration = SignedDuration::from_mins(5);
/// A machine that is neither up nor at rest for so long, or not listed, is left.
const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// A machine that may be down because of a rollback that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftDown {
    pub region: Region,
    pub rollback: String,
    /// When we yielded.
    pub left_at: Timestamp,
    pub tries: u32,
    /// Not before.
    pub next: Timestamp,
}

/// Notes what is down because of a rollback that ends here.
pub(super) fn remember(cx: &mut Context<'_>, rollback: &Rollback) {
    for work in &rollback.regions {
        for (id, machine) in &work.machines {
            // A deploy may have found one `replacing` that we were done with a moment later.
            let touched =
                machine.verified_at.is_some_and(|at| cx.now.duration_since(at) < DEPLOY_TAKES);
            let may_be_down = machine.down_since.is_some() || machine.is_in_flight() || touched;
            if !(machine.running && may_be_down) {
                continue;
            }
            let left = LeftDown {
                region: work.region.clone(),
                rollback: rollback.id.clone(),
                left_at: cx.now,
                tries: 0,
                next: later(cx.now, LET_BE_FOR),
            };
            cx.memory.left_down.insert(id.clone(), left);
        }
    }
}

/// Starts what is still at rest, whatever the app is doing by now.
pub(in crate::decide) fn start_what_was_left_down(cx: &mut Context<'_>, round: &Round<'_>) {
    let left = std::mem::take(&mut cx.memory.left_down);
    for (id, mut left) in left {
        let machine = round.machines.iter().find(|machine| machine.id == id);
        if is_settled(&left, machine, round, cx.now) {
            continue;
        }
        if let Some(machine) = machine.filter(|_| is_due(cx, &left, &id))
            && machine.state.is_at_rest()
            && machine.lease.as_ref().is_none_or(|lease| lease.expires_at <= cx.now)
        {
            left.next = later(cx.now, RETRY_AFTER);
            order(cx, &id, &left, machine);
        }
        cx.memory.left_down.insert(id, left);
    }
}

/// Whether there is nothing more to be done for a machine.
fn is_settled(
    left: &LeftDown,
    machine: Option<&&Machine>,
    round: &Round<'_>,
    now: Timestamp,
) -> bool {
    let Some(machine) = machine else {
        return now.duration_since(left.left_at) >= GIVEN_UP_AFTER;
    };
    let is_later = round.observation.began.duration_since(left.left_at) >= DEPLOY_TAKES;
    let is_up = is_later && matches!(machine.state, MachineState::Started);
    let destroyed = matches!(machine.state, MachineState::Destroyed);
    // It ran as what it is now, and somebody asked for the stop: it is theirs.
    let ran = match (machine.started_at, machine.placed_at) {
        (Some(started), Some(placed)) => started >= placed,
        (Some(_), None) => true,
        (None, _) => false,
    };
    let was_asked = machine.state.is_at_rest()
        && ran
        && machine.exits.first().is_some_and(|exit| exit.requested_stop && exit.at > left.left_at);
    is_up
        || destroyed
        || was_asked
        || (!machine.state.is_at_rest() && now.duration_since(left.left_at) >= GIVEN_UP_AFTER)
}

fn is_due(cx: &Context<'_>, left: &LeftDown, id: &MachineId) -> bool {
    let under_way = cx.memory.pending.values().any(|command| match command {
        Command::StartMachine(start) => start.machine == *id,
        Command::PutImage(put) => put.machine == *id,
        _ => false,
    });
    !under_way && left.next <= cx.now
}

fn order(cx: &mut Context<'_>, id: &MachineId, left: &LeftDown, machine: &Machine) {
    let good = cx.memory.known_good();
    let stays_up = good.is_some_and(|good| good.stayed_up.contains(&machine.group));
    let failing = cx.memory.known_good().and_then(|good| good.failing.get(id)).cloned();
    cx.command(Command::StartMachine(Box::new(StartMachine {
        machine: id.clone(),
        region: left.region.clone(),
        instance: machine.instance.clone(),
        down_since: left.left_at,
        rollback: left.rollback.clone(),
        stays_up,
        tolerates: failing.unwrap_or_default(),
        ready_timeout: cx.policy.rollback.ready_timeout,
    })));
}

/// What came of starting a machine. One that cannot be started is paged.
pub(in crate::decide) fn start_finished(
    cx: &mut Context<'_>,
    command: &Command,
    outcome: &StartOutcome,
) {
    let Command::StartMachine(start) = command else { return };
    match outcome {
        StartOutcome::Started
        | StartOutcome::AlreadyUp
        | StartOutcome::NotOurs
        | StartOutcome::Not(PutOutcome::Gone) => {
            cx.memory.left_down.remove(&start.machine);
        }
        StartOutcome::Not(_) => {
            let Some(left) = cx.memory.left_down.get_mut(&start.machine) else { return };
            left.tries += 1;
            left.next = later(cx.now, RETRY_AFTER * left.tries);
            if left.tries < TRIES_MAX {
                return;
            }
            cx.memory.left_down.remove(&start.machine);
            let mut event =
                Event::new(EventKind::RollbackFailed, cx.now, Some(cx.memory.app.clone()));
            event.release = cx.memory.current.as_ref().map(super::Revision::info);
            let (machine, region) = (start.machine.clone(), start.region.clone());
            let failure = MachineFailure::StaysDown;
            event.reason = Some(Reason::MachineFailed { machine, region, failure });
            cx.events.push(event);
        }
    }
}
