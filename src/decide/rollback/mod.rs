//! Undoing a release: region by region, a few machines at a time, each region confirmed before the
//! next is touched.
//!
//! `order` says which region comes first, `region` orders the machines of one, `progress` brings
//! the work list (`work`) in line with what machines really run, `confirm` judges a region on the
//! known-good image, `ledger` keeps the entry in the release ledger, `mop_up` puts right what comes
//! back afterwards, `report` tells all of it to people.

mod confirm;
mod ledger;
mod mop_up;
mod order;
mod progress;
mod region;
mod report;
pub mod work;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    Command, Context, PutImage, PutOutcome, Round, fleet,
    state::{LedgerEntry, Phase, RegionPhase, RegionWork, Revision, Rollback, Watch},
};
use crate::model::{Event, EventKind, HoldReason, Machine, Mode, Reason, Release};
pub(super) use ledger::{
    close_what_was_left_open, ledger_refused, release_closed, release_left_open, release_opened,
};
pub(super) use mop_up::mopping_up;
pub(super) use order::preview;
use order::{is_breaching, is_total_outage, order};
use progress::{Seen, note_outcome, note_superseded, rescan};
pub use report::report;
use report::{failure_of, left_behind};

/// Rollbacks remembered for the daily budget.
const BUDGET_MEMORY: usize = 20;

/// Writes the rollback down, and its entry in the ledger first. Only the door calls this.
pub(super) fn begin(watch: &Watch, target: &Revision, cx: &mut Context<'_>) -> Phase {
    let bad = watch.revision.clone();
    let regions = order(cx.policy, watch)
        .into_iter()
        .map(|region| {
            let limited = cx.policy.rollback.only_breaching_regions;
            let skipped = limited && !is_breaching(watch, &region);
            let phase = if skipped { RegionPhase::Skipped } else { RegionPhase::Waiting };
            RegionWork { phase, region, machines: BTreeMap::new() }
        })
        .collect();
    let trusted = cx.memory.trusted.iter().find(|old| old.revision.digest == target.digest);
    let rollback = Rollback {
        id: format!("{}-{}-{}", cx.memory.app, bad.label(), cx.now.as_second()),
        regions,
        escalated: cx.policy.rollback.escalate && is_total_outage(&watch.evidence),
        evidence: watch.evidence.clone(),
        started_at: cx.now,
        progress_at: cx.now,
        ledger: LedgerEntry::Opening,
        tolerated: trusted.map(|trusted| trusted.failing.clone()).unwrap_or_default(),
        completed_at: None,
        waits_for: None,
        target: target.clone(),
        bad: bad.clone(),
        after: cx.memory.seen_version.max(bad.version.unwrap_or_default()),
    };
    cx.quarantine(&bad);
    remember_for_the_budget(cx);
    cx.command(Command::OpenRelease {
        image: target.image.reference(),
        after: rollback.after,
        since: cx.now,
    });
    let mut event = event(cx, EventKind::RollbackStarted, &rollback);
    event.after_s = Some(cx.now.duration_since(watch.since).as_secs_f64());
    cx.events.push(event);
    Phase::RollingBack(Box::new(rollback))
}

fn remember_for_the_budget(cx: &mut Context<'_>) {
    let now = cx.now;
    let rollbacks = &mut cx.memory.rollbacks;
    rollbacks.push(now);
    let day_ago = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    rollbacks.retain(|at| *at > day_ago);
    let excess = rollbacks.len().saturating_sub(BUDGET_MEMORY);
    rollbacks.drain(..excess);
}

/// One round of a rollback.
pub(super) fn rolling_back(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    if cx.policy.mode != Mode::Rollback {
        return stop(rollback, cx, HoldReason::ObserveMode);
    }
    if rollback.ledger == LedgerEntry::Opening {
        return Phase::RollingBack(rollback);
    }
    rescan(&mut rollback, &Seen::of(cx, round), cx.now);
    loop {
        let Some(index) = rollback.regions.iter().position(RegionWork::is_open) else {
            return finish(rollback, cx, round.machines);
        };
        let proof = !rollback.regions.iter().any(RegionWork::has_proved);
        let Some(mut work) = rollback.regions.get(index).cloned() else {
            return Phase::RollingBack(rollback);
        };
        let stopped = match work.phase.clone() {
            RegionPhase::Confirming(confirm) => {
                confirm::confirming(&rollback, &mut work, confirm, proof, cx, round)
            }
            RegionPhase::Waiting | RegionPhase::Updating => {
                work.phase = RegionPhase::Updating;
                region::updating(&rollback, &mut work, cx, round.machines)
            }
            RegionPhase::Confirmed { .. } | RegionPhase::Skipped => None,
        };
        let confirmed = matches!(work.phase, RegionPhase::Confirmed { .. });
        if let Some(slot) = rollback.regions.get_mut(index) {
            if std::mem::discriminant(&slot.phase) != std::mem::discriminant(&work.phase) {
                rollback.progress_at = cx.now;
            }
            *slot = work;
        }
        if let Some(reason) = stopped {
            return stop(rollback, cx, reason);
        }
        if !confirmed {
            return Phase::RollingBack(rollback);
        }
        let event = event(cx, EventKind::RollbackRegionConfirmed, &rollback);
        cx.events.push(event);
        // The next region begins in this very round.
    }
}

/// Yields to a release that machines run already, and waits for one that is only announced.
pub(super) fn mind_rivals(
    phase: Phase,
    cx: &mut Context<'_>,
    machines: &[&Machine],
    ledger: Option<&[Release]>,
) -> Phase {
    let Phase::RollingBack(mut rollback) = phase else { return phase };
    if let Some(newer) = fleet::rival(&cx.memory, &rollback, machines, cx.now) {
        return stop_for_rival(cx, &rollback, &newer.to_string());
    }
    if let Some(ledger) = ledger {
        rollback.waits_for = fleet::announced(&cx.memory, &rollback, ledger, cx.now);
    }
    Phase::RollingBack(rollback)
}

/// What came of putting the image on one machine.
pub(super) fn put_finished(
    phase: Phase,
    cx: &mut Context<'_>,
    command: &Command,
    outcome: &PutOutcome,
) -> Phase {
    let Command::PutImage(put) = command else { return phase };
    match phase {
        Phase::RollingBack(mut rollback) if rollback.id == put.rollback => {
            if let PutOutcome::NewerRelease { version, .. } = outcome {
                note_superseded(&mut rollback, put, cx.now);
                return stop_for_rival(cx, &rollback, &version.to_string());
            }
            note_outcome(&mut rollback, put, outcome, cx.now);
            Phase::RollingBack(rollback)
        }
        Phase::RolledBack(mut rollback) if rollback.id == put.rollback => {
            note_outcome(&mut rollback, put, outcome, cx.now);
            tell_of_failure(cx, &rollback, put);
            Phase::RolledBack(rollback)
        }
        other => other,
    }
}

/// A machine that comes back after a rollback and cannot be put right is named.
fn tell_of_failure(cx: &mut Context<'_>, rollback: &Rollback, put: &PutImage) {
    let Some(detail) = failure_of(rollback, &put.machine) else { return };
    let mut event = event(cx, EventKind::RollbackFailed, rollback);
    let (machine, region) = (put.machine.clone(), put.region.clone());
    event.reason = Some(Reason::MachineFailed { machine, region, detail });
    cx.events.push(event);
}

fn finish(mut rollback: Box<Rollback>, cx: &mut Context<'_>, machines: &[&Machine]) -> Phase {
    rollback.completed_at = Some(cx.now);
    let current = Revision {
        version: match &rollback.ledger {
            LedgerEntry::Open { version, .. } => Some(*version),
            LedgerEntry::Opening | LedgerEntry::Refused { .. } => rollback.target.version,
        },
        ..rollback.target.clone()
    };
    fleet::make_current(&mut cx.memory, current, cx.now);
    ledger::close(cx, &rollback, true);
    let mut event = event(cx, EventKind::RollbackCompleted, &rollback);
    event.reason = left_behind(&rollback, machines);
    cx.events.push(event);
    Phase::RolledBack(rollback)
}

/// Stops half way and pages.
pub(super) fn stop(rollback: Box<Rollback>, cx: &mut Context<'_>, reason: HoldReason) -> Phase {
    ledger::close(cx, &rollback, false);
    drop_unstarted(cx, &rollback);
    let kind = match reason {
        HoldReason::RegionFailed { .. } | HoldReason::Stalled { .. } => EventKind::RollbackFailed,
        _ => EventKind::RollbackStopped,
    };
    for kind in [kind, EventKind::HoldPlaced] {
        let mut event = event(cx, kind, &rollback);
        event.reason = Some(reason.clone().into());
        cx.events.push(event);
    }
    Phase::Stopped { rollback, reason, since: cx.now }
}

/// A newer release wins: the rollback ends where it is. Whatever is newer shows up on the machines
/// and is watched from then on.
pub(super) fn stop_for_rival(cx: &mut Context<'_>, rollback: &Rollback, newer: &str) -> Phase {
    ledger::close(cx, rollback, false);
    drop_unstarted(cx, rollback);
    let bad = &rollback.bad.digest;
    for old in cx.memory.quarantined.iter_mut().filter(|old| old.digest == *bad) {
        // What the newer release does not reach is undone all the same.
        old.unfinished = true;
    }
    let mut event = event(cx, EventKind::RollbackStopped, rollback);
    event.reason = Some(Reason::NewerRelease { label: newer.to_owned() });
    cx.events.push(event);
    Phase::Steady
}

/// Forgets commands of a rollback that ended: none of them may begin now.
fn drop_unstarted(cx: &mut Context<'_>, rollback: &Rollback) {
    cx.memory.pending.retain(|_, command| match command {
        Command::PutImage(put) => put.rollback != rollback.id,
        Command::CheckImage { .. }
        | Command::OpenRelease { .. }
        | Command::StartMachine(_)
        | Command::CloseStray { .. }
        | Command::CloseRelease { .. } => true,
    });
}

/// An event about a rollback, with its regions and machines.
pub(super) fn event(cx: &Context<'_>, kind: EventKind, rollback: &Rollback) -> Event {
    let mut event = Event::new(kind, cx.now, Some(cx.memory.app.clone()));
    event.release = Some(rollback.bad.info());
    event.known_good = Some(rollback.target.info());
    event.mode = Some(cx.policy.mode);
    event.evidence = rollback.evidence.clone();
    event.regions = report(rollback);
    event.after_s = Some(cx.now.duration_since(rollback.started_at).as_secs_f64());
    event
}
