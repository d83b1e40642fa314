//! A rollback is announced and begins when its countdown is over, unless the release recovers or
//! something forbids it by then.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    super::{
        Context, Round, door, images, later, sight,
        state::{Phase, Watch},
        suspects, verdict, voucher, watch,
    },
    hold, look_again,
};
use crate::model::{EventKind, HoldReason, Mode, Reason, Verdict};

/// How long a countdown lasts, and for what it waits.
#[derive(Clone, Copy)]
pub(in crate::decide) struct Times {
    pub(in crate::decide) until: Timestamp,
    pub(in crate::decide) for_approval: bool,
    pub(in crate::decide) if_vouched: Option<Timestamp>,
}

impl Times {
    /// So long, and no longer than `if_vouched` once somebody vouches that it is the release.
    pub(in crate::decide) fn of(countdown: Duration, if_vouched: Duration, now: Timestamp) -> Self {
        let sooner = (if_vouched < countdown).then(|| later(now, if_vouched));
        Self { until: later(now, countdown), for_approval: false, if_vouched: sooner }
    }

    pub(in crate::decide) fn counts(self, watch: Box<Watch>) -> Phase {
        let Self { until, for_approval, if_vouched } = self;
        Phase::CountingDown { watch, until, for_approval, if_vouched }
    }
}

/// Starts a countdown; without one the image is looked up at once.
pub(in crate::decide) fn begin_countdown(
    watch: Box<Watch>,
    times: Times,
    cx: &mut Context<'_>,
) -> Phase {
    if times.until <= cx.now {
        return images::check_before_use(watch, cx);
    }
    times.counts(watch)
}

pub(super) fn counting_down(
    mut watch: Box<Watch>,
    times: Times,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    let Times { until, for_approval, if_vouched } = times;
    look_again(&mut watch, cx, round);
    let unseen = sight::unseen_of(cx, &watch);
    if for_approval && unseen.is_some() && cx.now < until {
        // Nothing happens without a yes, and the door asks again what can be seen.
        return times.counts(watch);
    }
    if for_approval && watch::is_judged_anew(&watch, cx.now) {
        return times.counts(watch);
    }
    watch.forgot_at = None;
    if let Some(what) = unseen.filter(|_| !for_approval) {
        return cancel_countdown(watch, cx, Reason::NotSeen { what });
    }
    if verdict::overall(&watch.evidence) != Verdict::Breach {
        cx.tell(EventKind::RollbackStopped, &watch, suspects::why_well(&watch));
        voucher::called_off(&mut watch, cx.now);
        watch.recovers(cx.now);
        return Phase::Watching(watch);
    }
    // Whatever forbids it by now: the policy may have been changed since.
    if let Some(reason) = door::refusal(cx, &watch) {
        tell_cancelled(&watch, cx, reason.clone().into());
        if let HoldReason::Operator { .. } = reason {
            // That was told when it was ordered.
            return Phase::Held { watch, reason, since: cx.now };
        }
        return hold(watch, cx, reason);
    }
    if for_approval != (cx.policy.mode == Mode::Approve && watch.approved.is_none()) {
        // The mode was changed meanwhile.
        return door::after_breach(watch, cx);
    }
    // Nothing runs it any more: there is nothing to undo, and it is over when that lasts.
    let vouched = voucher::vouches(cx, &watch);
    let enough = if_vouched.filter(|_| vouched).map_or(until, |at| at.min(until));
    // What is about to be over is waited for.
    let eases = if_vouched.is_some() && !vouched && voucher::is_easing(&watch);
    let eases = eases && cx.now < later(until, cx.policy.watch.unvouched_countdown);
    let early = cx.now < enough || eases || cx.memory.org.listening;
    if early || watch.gone_since.is_some() {
        return times.counts(watch);
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
