//! What comes new: a release by somebody else starts a watch, and ends what was under way.

use super::{
    Context, Round, fleet, rollback,
    state::{Phase, Revision},
    watch,
};
use crate::model::{EventKind, Reason};

/// Takes in what the ledger and the machines show that is new.
pub(super) fn take_in(mut phase: Phase, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    let ledger = round.observation.ledger.as_deref();
    if let Some(ledger) = ledger {
        fleet::learn_from_ledger(&mut phase, ledger);
    }
    let phase = rollback::mind_rivals(phase, cx, round.machines, ledger);
    let Some(newest) = fleet::newest_change(&cx.memory, round.machines, ledger) else {
        return phase;
    };
    let learning = cx.memory.current.is_none();
    let numbered = learning || fleet::is_numbered(&cx.memory, &newest);
    if !numbered && is_occupied(&phase) {
        // An image put on a machine by hand waits until the release under way is done with.
        return phase;
    }
    leave(phase, cx, &newest);
    let quarantined = cx.memory.quarantined.iter().any(|old| old.digest == newest.digest);
    let mut watch = watch::begin(newest.clone(), cx.now, learning);
    watch.no_mercy = quarantined;
    watch.numbered = numbered;
    let reason = if quarantined {
        Some(Reason::RolledBackBefore)
    } else {
        learning.then_some(Reason::FirstSeen)
    };
    cx.tell(EventKind::ReleaseDetected, &watch, reason);
    fleet::make_current(&mut cx.memory, newest, cx.now);
    let mut phase = Phase::Watching(Box::new(watch));
    if let Some(ledger) = ledger {
        fleet::learn_from_ledger(&mut phase, ledger);
    }
    phase
}

/// Whether a release with a number of its own is being dealt with.
fn is_occupied(phase: &Phase) -> bool {
    match phase {
        Phase::Watching(watch) | Phase::Held { watch, .. } => watch.numbered,
        Phase::CountingDown { .. } | Phase::CheckingImage { .. } | Phase::RollingBack(_) => true,
        Phase::Unseen | Phase::Steady | Phase::RolledBack(_) | Phase::Stopped { .. } => false,
    }
}

/// Says what ends because something newer came.
fn leave(phase: Phase, cx: &mut Context<'_>, newest: &Revision) {
    let newer = Reason::NewerRelease { label: newest.label() };
    match phase {
        Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => {
            cx.tell(EventKind::RollbackStopped, &watch, newer);
        }
        Phase::Held { watch, .. } => cx.tell(EventKind::HoldCleared, &watch, newer),
        Phase::RollingBack(rollback) => {
            rollback::stop_for_rival(cx, &rollback, &newest.label());
        }
        Phase::Stopped { rollback, .. } => {
            let mut event = rollback::event(cx, EventKind::HoldCleared, &rollback);
            event.reason = Some(newer);
            cx.events.push(event);
        }
        Phase::Unseen | Phase::Watching(_) | Phase::Steady | Phase::RolledBack(_) => {}
    }
}
