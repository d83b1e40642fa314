//! How a rollback ends: completed, with nothing left to undo, or stopped half way.

use super::{
    super::{
        Command, Context, fleet, groups, hands,
        state::{Aftermath, LedgerEntry, Memory, Phase, Rollback},
    },
    event, ledger, left_down,
    report::left_behind,
};
use crate::model::{EventKind, HoldReason, Machine, Reason};

/// All is done that can be.
pub(super) fn finish(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    machines: &[&Machine],
) -> Phase {
    rollback.completed_at = Some(cx.now);
    rollback.pause = None;
    let current = rollback.gone_to();
    ledger::close(cx, &rollback, true);
    let mut event = event(cx, EventKind::RollbackCompleted, &rollback);
    event.reason = left_behind(&cx.memory, &rollback, machines);
    cx.events.push(event);
    if let Some(by_hand) = rollback.by_hand.clone()
        && let Some(phase) = hands::after_completion(&by_hand, &rollback.bad, &current, cx)
    {
        return phase;
    }
    fleet::make_current(&mut cx.memory, current, cx.now);
    if reached_another_group(&cx.memory, &rollback, machines) {
        leave_unfinished(cx, &rollback);
        return Phase::Steady;
    }
    Phase::RolledBack(rollback)
}

/// Whether the bad release came meanwhile to a group that its rollback is not for: what is gone back to there is
/// found out by itself.
fn reached_another_group(memory: &Memory, rollback: &Rollback, machines: &[&Machine]) -> bool {
    let bad = &rollback.bad.digest;
    let is_left = |machine: &&&Machine| {
        rollback.leaves.contains(&machine.group) && !groups::takes(memory, bad, &machine.group)
    };
    let mut left = machines.iter().filter(is_left);
    left.any(|machine| machine.digest() == Some(bad))
}

/// What still runs the bad image is judged anew, and undone all the same.
pub(super) fn leave_unfinished(cx: &mut Context<'_>, rollback: &Rollback) {
    let bad = &rollback.bad.digest;
    for old in cx.memory.quarantined.iter_mut().filter(|old| old.digest == *bad) {
        old.unfinished = true;
    }
}

/// Stops half way and pages.
pub(in crate::decide) fn stop(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    reason: HoldReason,
) -> Phase {
    ledger::close(cx, &rollback, false);
    drop_unstarted(cx, &rollback);
    left_down::remember(cx, &rollback);
    rollback.pause = None;
    rollback.stopped = Some(Box::new(Aftermath::begin(&rollback.evidence, cx.now)));
    for kind in [EventKind::RollbackStopped, EventKind::HoldPlaced] {
        let mut event = event(cx, kind, &rollback);
        event.reason = Some(reason.clone().into());
        cx.events.push(event);
    }
    Phase::Stopped { rollback, reason, since: cx.now }
}

/// A newer release wins: the rollback ends where it is. Whatever is newer shows up on the machines
/// and is watched from then on.
pub(in crate::decide) fn stop_for_rival(
    cx: &mut Context<'_>,
    rollback: &Rollback,
    newer: &str,
) -> Phase {
    ledger::close(cx, rollback, false);
    drop_unstarted(cx, rollback);
    left_down::remember(cx, rollback);
    // What the newer release does not reach.
    leave_unfinished(cx, rollback);
    let mut event = event(cx, EventKind::RollbackStopped, rollback);
    event.reason = Some(Reason::NewerRelease { label: newer.to_owned() });
    cx.events.push(event);
    Phase::Steady
}

/// A person wants something else: the rollback ends where it is.
pub(in crate::decide) fn stop_for_order(cx: &mut Context<'_>, rollback: &Rollback, why: Reason) {
    ledger::close(cx, rollback, false);
    drop_unstarted(cx, rollback);
    left_down::remember(cx, rollback);
    let mut event = event(cx, EventKind::RollbackStopped, rollback);
    event.reason = Some(why);
    cx.events.push(event);
}

/// Makes a new entry in the ledger for a rollback that had stopped, and goes on.
pub(in crate::decide) fn open_again(rollback: &mut Rollback, cx: &mut Context<'_>) {
    rollback.stopped = None;
    if let LedgerEntry::Open { version, .. } = rollback.ledger {
        rollback.ledger = LedgerEntry::Closed { version };
    }
    ledger::reopen(rollback, cx);
}

/// Forgets commands of a rollback that ended: none of them may begin now.
fn drop_unstarted(cx: &mut Context<'_>, rollback: &Rollback) {
    cx.memory.pending.retain(|_, command| match command {
        Command::PutImage(put) => put.rollback != rollback.id,
        Command::CheckImage { .. }
        | Command::MirrorImage { .. }
        | Command::OpenRelease { .. }
        | Command::StartMachine(_)
        | Command::CloseStray { .. }
        | Command::CloseRelease { .. } => true,
    });
}

/// There is nothing to be undone: no rollback, completed or not.
pub(super) fn nothing_left(
    rollback: &Rollback,
    cx: &mut Context<'_>,
    machines: &[&Machine],
) -> Phase {
    ledger::close(cx, rollback, false);
    let mut event = event(cx, EventKind::RollbackStopped, rollback);
    event.reason = Some(Reason::NothingLeft);
    cx.events.push(event);
    if let Some(by_hand) = &rollback.by_hand
        && let Some(phase) = hands::after_completion(by_hand, &rollback.bad, &rollback.target, cx)
    {
        return phase;
    }
    let runs = fleet::most_common(machines).filter(|runs| cx.is_trusted(runs));
    if let Some(runs) = runs {
        fleet::make_current(&mut cx.memory, runs, cx.now);
    }
    Phase::Steady
}
