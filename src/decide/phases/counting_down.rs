//! A rollback is announced and begins when its countdown is over, unless the release recovers or
//! something forbids it by then.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    super::{
        Context, Round, door, images, later, sight,
        state::{Phase, Watch},
        verdict,
    },
    hold, look_again,
};
use crate::model::{EventKind, HoldReason, Mode, Reason, Verdict};

/// Starts a countdown; without one the image is looked up at once.
pub(in crate::decide) fn begin_countdown(
    watch: Box<Watch>,
    countdown: Duration,
    cx: &mut Context<'_>,
) -> Phase {
    if countdown.is_zero() {
        return images::check_before_use(watch, cx);
    }
    Phase::CountingDown { watch, until: later(cx.now, countdown), for_approval: false }
}

pub(super) fn counting_down(
    mut watch: Box<Watch>,
    until: Timestamp,
    for_approval: bool,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    look_again(&mut watch, cx, round);
    let unseen = sight::unseen(cx, &watch.evidence);
    if for_approval && unseen.is_some() && cx.now < until {
        // Nothing happens without a yes, and the door asks again what can be seen.
        return Phase::CountingDown { watch, until, for_approval };
    }
    if verdict::overall(&watch.evidence) != Verdict::Breach {
        cx.tell(EventKind::RollbackStopped, &watch, Reason::Recovered);
        watch.recovers(cx.now);
        return Phase::Watching(watch);
    }
    if let Some(what) = unseen.filter(|_| !for_approval) {
        return cancel_countdown(watch, cx, Reason::NotSeen { what });
    }
    // Whatever forbids it by now: the policy may have been changed since.
    if let Some(reason) = door::refusal(cx, &watch) {
        tell_cancelled(&watch, cx, reason.clone().into());
        return hold(watch, cx, reason);
    }
    if for_approval != (cx.policy.mode == Mode::Approve && watch.approved.is_none()) {
        // The mode was changed meanwhile.
        return door::after_breach(watch, cx);
    }
    // Nothing runs it any more: there is nothing to undo, and it is over when that lasts.
    let early = cx.now < until || cx.memory.org.listening;
    if early || watch.gone_since.is_some() {
        return Phase::CountingDown { watch, until, for_approval };
    }
    if for_approval {
        watch.lapsed = true;
        tell_cancelled(&watch, cx, HoldReason::NotApproved.into());
        return hold(watch, cx, HoldReason::NotApproved);
    }
    images::check_before_use(watch, cx)
}

/// Calls a countdown off: the release is watched again.
pub(in crate::decide) fn cancel_countdown(
    mut watch: Box<Watch>,
    cx: &mut Context<'_>,
    cause: Reason,
) -> Phase {
    tell_cancelled(&watch, cx, cause);
    watch.approved = None;
    Phase::Watching(watch)
}

pub(in crate::decide) fn tell_cancelled(watch: &Watch, cx: &mut Context<'_>, cause: Reason) {
    let cause = Box::new(cause);
    cx.tell(EventKind::RollbackStopped, watch, Reason::CountdownCancelled { cause });
}
