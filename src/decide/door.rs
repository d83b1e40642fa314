//! The one door to a rollback. Whatever leads there (a breach, a hold that ended, a countdown that
//! ended, an image that was found) asks the same guards in the same order, and nothing but
//! [`enter`] begins one.

use std::time::Duration;

use super::{
    Context,
    distress::neighbourhood,
    guards, hands, images, later,
    phases::{Times, begin_countdown, cancel_countdown, clear_hold, hold},
    rollback, sight, spells,
    state::{ByHand, Phase, Revision, Rollback, Watch},
    verdict, voucher,
};
use crate::model::{EventKind, HoldReason, Mode, Reason, Verdict};

/// The countdown of releases that degrade at the same time.
const TOGETHER_COUNTDOWN: Duration = Duration::from_secs(30);

/// Why the watched release may not be rolled back now; `None`: it may.
pub(super) fn refusal(cx: &Context<'_>, watch: &Watch) -> Option<HoldReason> {
    let asked = guards::Asked { policy: cx.policy, memory: &cx.memory, watch, now: cx.now };
    guards::refusal(&asked)
}

/// Why a rollback that is under way, or mops up, may not take its next step now; `None`: it may.
pub(super) fn resume(cx: &Context<'_>, rollback: &Rollback) -> Option<HoldReason> {
    guards::brake(cx.policy, &cx.memory, rollback.is_wanted_by_hand(), cx.now)
}

/// Why a rollback that was paused may not go on now: the same guards in the same order, but for
/// those that ask whether there may be one at all.
pub(super) fn refusal_to_go_on(cx: &Context<'_>, watch: &Watch) -> Option<HoldReason> {
    let asked = guards::Asked { policy: cx.policy, memory: &cx.memory, watch, now: cx.now };
    guards::refusal_to_go_on(&asked)
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
    if cx.policy.mode == Mode::Approve && watch.approved.is_none() {
        return ask_for_approval(watch, cx);
    }
    let together = neighbourhood(&cx.memory.org, &watch, cx.now).together;
    let mut least = cx.policy.watch.countdown;
    if !together.is_empty() {
        // Several at once, and nobody who could tell why: a recovery calls it off.
        least = least.max(TOGETHER_COUNTDOWN);
    }
    let unvouched = !voucher::vouches(cx, &watch);
    let waits = cx.policy.watch.unvouched_countdown
        * if voucher::is_regional(&watch, cx.now) { 2 } else { 1 };
    // What passed before may pass again.
    let spell = spells::longest(cx, &watch).filter(|spell| unvouched && *spell > waits);
    let countdown = if unvouched { least.max(waits).max(spell.unwrap_or_default()) } else { least };
    let unvouched = countdown > least;
    let mut event = cx.event_about(EventKind::RollbackPlanned, &watch);
    event.mode = Some(cx.policy.mode);
    event.regions = rollback::preview(cx.policy, &watch, cx.now);
    if !countdown.is_zero() {
        let seconds = countdown.as_secs();
        let passed_before = spell == Some(countdown);
        event.reason = Some(Reason::CountsDown { seconds, together, unvouched, passed_before });
    }
    cx.events.push(event);
    begin_countdown(watch, Times::of(countdown, least, cx.now), cx)
}

/// Says what would be done, and waits for a person's yes.
fn ask_for_approval(watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    let until = later(cx.now, cx.policy.watch.approve_within);
    let mut event = cx.event_about(EventKind::RollbackPlanned, &watch);
    event.mode = Some(Mode::Approve);
    event.regions = rollback::preview(cx.policy, &watch, cx.now);
    event.reason = Some(Reason::AwaitsApproval { until });
    cx.events.push(event);
    Times { until, for_approval: true, if_vouched: None }.counts(watch)
}

/// The last step: the image is there. What was seen before the look-up may be over, and the policy
/// may have been changed: everything is asked once more.
pub(super) fn enter(watch: Box<Watch>, target: &Revision, cx: &mut Context<'_>) -> Phase {
    if !images::is_seen_lately(&watch, cx.now) {
        return cancel_countdown(watch, cx, Reason::NotSeenLately);
    }
    if let Some(what) = sight::unseen_of(cx, &watch) {
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
        if let HoldReason::Late { .. } = reason {
            return cancel_countdown(watch, cx, reason.into());
        }
        return hold(watch, cx, reason);
    }
    // What to go back to may be another one by now: a person pinned one, or does not want this one.
    let wanted = guards::target(cx.policy, &cx.memory, &watch);
    if wanted.is_some_and(|wanted| wanted.digest != target.digest) {
        return images::check_before_use(watch, cx);
    }
    if watch.registry_told {
        clear_hold(&watch, cx, Reason::RegistryAnswers);
    }
    go_through(&watch, target, None, cx)
}

/// The last step of a rollback that a person ordered: what they were asked is answered, and only
/// the brake can still be against it.
pub(super) fn enter_by_hand(
    watch: Box<Watch>,
    target: &Revision,
    by_hand: ByHand,
    cx: &mut Context<'_>,
) -> Phase {
    if let Some(hold) = guards::held_by_an_operator(&cx.memory, cx.now) {
        return hands::abandon(watch, cx, hold.into());
    }
    go_through(&watch, target, Some(by_hand), cx)
}

/// Behind everything that could forbid it.
fn go_through(
    watch: &Watch,
    target: &Revision,
    by_hand: Option<ByHand>,
    cx: &mut Context<'_>,
) -> Phase {
    rollback::begin(watch, target, by_hand, cx)
}
