//! What people order, and what comes of it at once: accepted, with its effect, or refused, with what
//! stands against it. Rollbacks by hand go through the door like all others.

mod lists;
mod plan;

use super::{
    Context, door, images, phases,
    state::{Phase, RegionPhase, Rollback, Watch},
    verdict,
};
use crate::model::{
    Act, Effect, EventKind, HoldReason, Machine, Mode, OperatorHold, Order, Reason, Refusal, Reply,
    Signed, Verdict,
};
pub use plan::would_take;
pub(super) use plan::{abandon, after_completion, note_begun};

/// Carries an order out. `machines`: the app's, as they were listed last.
pub(super) fn obey(
    phase: Phase,
    cx: &mut Context<'_>,
    order: &Order,
    machines: &[Machine],
) -> (Phase, Reply) {
    match order {
        Order::Hold(hold) => {
            place_hold(cx, hold);
            (phase, Reply::Done(Effect::Held))
        }
        Order::Unhold(by) => {
            lift_hold(cx, by.clone());
            (phase, Reply::Done(Effect::Unheld))
        }
        Order::Act { act, signed } => match act {
            Act::Rollback(wish) => plan::rollback(phase, cx, wish, signed, machines),
            Act::Approve => approve(phase, cx, signed),
            Act::Veto => veto(phase, cx, signed),
            Act::Resume => resume(phase, cx, signed),
            Act::Pin { release } => lists::pin(phase, cx, release, signed),
            Act::Unpin => lists::unpin(phase, cx, signed),
            Act::Quarantine { release } => lists::quarantine(phase, cx, release, signed),
            Act::Unquarantine { release } => lists::unquarantine(phase, cx, release, signed),
            Act::Trust { release } => lists::trust(phase, cx, release, signed, machines),
        },
    }
}

/// The next phase and what was done, or the phase as it was and what stands against it.
type Done = (Phase, Reply);

fn place_hold(cx: &mut Context<'_>, hold: &OperatorHold) {
    cx.memory.operator_hold = Some(hold.clone());
    cx.say(EventKind::HoldPlaced, HoldReason::Operator { hold: hold.clone() }.into());
}

fn lift_hold(cx: &mut Context<'_>, by: Option<Signed>) {
    if let Some(hold) = cx.memory.operator_hold.take() {
        let was = HoldReason::Operator { hold };
        let reason = match by {
            Some(by) => Reason::HoldLifted { was, by },
            None => Reason::HoldOver { was },
        };
        cx.say(EventKind::HoldCleared, reason);
    }
}

/// Yes to a rollback that waits for it: the door is asked once more, and opens.
fn approve(phase: Phase, cx: &mut Context<'_>, signed: &Signed) -> Done {
    let mut watch = match phase {
        Phase::CountingDown { watch, for_approval: true, .. } => watch,
        Phase::Held { watch, reason: HoldReason::NotApproved, .. }
            if cx.policy.mode == Mode::Approve =>
        {
            watch
        }
        other => return (other, Reply::Refused(Refusal::NothingToApprove)),
    };
    watch.lapsed = false;
    watch.approved = Some(signed.clone());
    let release = watch.revision.info();
    let phase = match door::refusal(cx, &watch) {
        Some(reason) => phases::hold(watch, cx, reason),
        None => images::check_before_use(watch, cx),
    };
    (phase, Reply::Done(Effect::Approved { release }))
}

/// No to the rollback of this release, now and later.
fn veto(phase: Phase, cx: &mut Context<'_>, signed: &Signed) -> Done {
    let refuse = HoldReason::Vetoed { by: signed.clone() };
    let (mut watch, was) = match phase {
        Phase::CheckingImage { by_hand: Some(_), .. } | Phase::RollingBack(_) => {
            return (phase, Reply::Refused(Refusal::UnderWay));
        }
        Phase::Watching(mut watch) => {
            // It shows nothing yet that would have it rolled back.
            let release = watch.revision.info();
            watch.veto(signed);
            cx.tell(EventKind::OperatorOrder, &watch, Reason::VetoedBy { by: signed.clone() });
            return (Phase::Watching(watch), Reply::Done(Effect::Vetoed { release }));
        }
        Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => (watch, None),
        // It was vetoed before: nothing is new.
        Phase::Held { watch, reason: reason @ HoldReason::Vetoed { .. }, since } => {
            let release = watch.revision.info();
            let phase = Phase::Held { watch, reason, since };
            return (phase, Reply::Done(Effect::Vetoed { release }));
        }
        Phase::Held { watch, reason, .. } => (watch, Some(reason)),
        other => return (other, Reply::Refused(Refusal::NothingToVeto)),
    };
    match was {
        Some(was) => phases::clear_hold(&watch, cx, Reason::HoldOver { was }),
        None => phases::tell_cancelled(&watch, cx, Reason::VetoedBy { by: signed.clone() }),
    }
    watch.veto(signed);
    watch.approved = None;
    let release = watch.revision.info();
    (phases::hold(watch, cx, refuse), Reply::Done(Effect::Vetoed { release }))
}

/// Go on: with what a veto forbade, or with a rollback that came to a stop.
fn resume(phase: Phase, cx: &mut Context<'_>, signed: &Signed) -> Done {
    if let Some(hold) = cx.memory.operator_hold.clone().filter(|hold| hold.is_on(cx.now)) {
        return (phase, Reply::Refused(Refusal::Held { hold }));
    }
    match phase {
        Phase::Watching(mut watch) if watch.vetoed.is_some() => {
            watch.lift_veto();
            let release = watch.revision.info();
            cx.tell(EventKind::OperatorOrder, &watch, Reason::ResumedBy { by: signed.clone() });
            (Phase::Watching(watch), Reply::Done(Effect::Resumed { release }))
        }
        Phase::Held { watch, .. } if watch.vetoed.is_some() => {
            let release = watch.revision.info();
            (lift_veto(watch, cx, signed), Reply::Done(Effect::Resumed { release }))
        }
        Phase::Stopped { rollback, reason, .. } => {
            let release = rollback.bad.info();
            (go_on(rollback, cx, signed, &reason), Reply::Done(Effect::Resumed { release }))
        }
        Phase::RollingBack(mut rollback) if rollback.waits_for_a_breach() => {
            let release = rollback.bad.info();
            rollback.insisted = Some(signed.clone());
            (Phase::RollingBack(rollback), Reply::Done(Effect::Resumed { release }))
        }
        other => (other, Reply::Refused(Refusal::NothingToResume)),
    }
}

fn lift_veto(mut watch: Box<Watch>, cx: &mut Context<'_>, signed: &Signed) -> Phase {
    watch.lift_veto();
    phases::clear_hold(&watch, cx, Reason::ResumedBy { by: signed.clone() });
    if verdict::overall(&watch.evidence) == Verdict::Breach {
        return door::after_breach(watch, cx);
    }
    Phase::Watching(watch)
}

/// A rollback that stopped half way goes on where it stopped. What had not improved counts as good
/// enough for whoever orders it.
fn go_on(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    signed: &Signed,
    was: &HoldReason,
) -> Phase {
    rollback.insisted = Some(signed.clone());
    rollback.progress_at = cx.now;
    rollback.looked_at = cx.now;
    rollback.awake_since = cx.now;
    rollback.stall_told = false;
    for work in &mut rollback.regions {
        if let RegionPhase::Confirming(_) = work.phase {
            work.phase = RegionPhase::Updating;
            work.counted = None;
        }
    }
    super::rollback::open_again(&mut rollback, cx);
    let mut event = super::rollback::event(cx, EventKind::HoldCleared, &rollback);
    event.reason = Some(Reason::HoldOver { was: was.clone() });
    cx.events.push(event);
    let mut event = super::rollback::event(cx, EventKind::RollbackResumed, &rollback);
    event.reason = Some(Reason::ResumedBy { by: signed.clone() });
    cx.events.push(event);
    Phase::RollingBack(rollback)
}
