//! The one door to a rollback. Whatever leads there (a breach, a hold that ended, a countdown that
//! ended, an image that was found) asks the same guards in the same order, and nothing but
//! [`enter`] begins one.

use super::{
    Context, guards, images,
    phases::{begin_countdown, cancel_countdown, clear_hold, hold},
    rollback, sight,
    state::{Phase, Revision, Watch},
    verdict,
};
use crate::model::{EventKind, HoldReason, Mode, Reason, Verdict};

/// Why the watched release may not be rolled back now; `None`: it may.
pub(super) fn refusal(cx: &Context<'_>, watch: &Watch) -> Option<HoldReason> {
    let asked = guards::Asked { policy: cx.policy, memory: &cx.memory, watch, now: cx.now };
    guards::refusal(&asked)
}

/// Why a rollback that is under way, or mops up, may not take its next step now; `None`: it may.
pub(super) fn resume(cx: &Context<'_>) -> Option<HoldReason> {
    guards::brake(cx.policy, &cx.memory, cx.now)
}

/// A breach that nothing is known against: announced, then counted down.
pub(super) fn after_breach(watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    if let Some(reason) = refusal(cx, &watch) {
        if reason == HoldReason::ObserveMode {
            // Say what would have been done, and with which image.
            let mut event = cx.event_about(EventKind::RollbackPlanned, &watch);
            event.mode = Some(Mode::Observe);
            event.reason = Some(Reason::ObservesOnly);
            cx.events.push(event);
        }
        return hold(watch, cx, reason);
    }
    let mut event = cx.event_about(EventKind::RollbackPlanned, &watch);
    event.mode = Some(Mode::Rollback);
    event.regions = rollback::preview(cx.policy, &watch);
    if !cx.policy.watch.countdown.is_zero() {
        event.reason = Some(Reason::CountsDown { seconds: cx.policy.watch.countdown.as_secs() });
    }
    cx.events.push(event);
    begin_countdown(watch, cx)
}

/// The last step: the image is there. What was seen before the look-up may be over, and the policy
/// may have been changed: everything is asked once more.
pub(super) fn enter(watch: Box<Watch>, target: &Revision, cx: &mut Context<'_>) -> Phase {
    if !images::is_seen_lately(&watch, cx.now) {
        return cancel_countdown(watch, cx, Reason::NotSeenLately);
    }
    if let Some(what) = sight::unseen(cx, &watch.evidence) {
        return cancel_countdown(watch, cx, Reason::NotSeen { what });
    }
    if verdict::overall(&watch.evidence) != Verdict::Breach {
        return cancel_countdown(watch, cx, Reason::Recovered);
    }
    if watch.gone_since.is_some() {
        // Somebody put another image everywhere meanwhile.
        return cancel_countdown(watch, cx, Reason::NothingLeft);
    }
    if let Some(reason) = refusal(cx, &watch) {
        return hold(watch, cx, reason);
    }
    if watch.registry_told {
        clear_hold(&watch, cx, Reason::RegistryAnswers);
    }
    rollback::begin(&watch, target, cx)
}
