//! Holds: nothing is done, and people are told why; some end by themselves.

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        Context, Round, aftermath, alerts, door, guards, images, sight,
        state::{Phase, Rollback, Watch},
        suspects, unjudged, verdict, watch,
    },
    look_again,
};
use crate::model::{EventKind, HoldReason, Mode, Reason, Verdict};

/// How often a registry that could not answer is asked again.
const REGISTRY_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(15);

pub(in crate::decide) fn hold(
    mut watch: Box<Watch>,
    cx: &mut Context<'_>,
    reason: HoldReason,
) -> Phase {
    if let HoldReason::Late { .. } = reason {
        // It was told that it degrades, and that nothing is undone.
        return Phase::Watching(watch);
    }
    let is_registry = matches!(reason, HoldReason::RegistryUnavailable { .. });
    // A registry that stays silent is asked quietly.
    if !(is_registry && watch.registry_told) {
        let mut event = cx.event_about(EventKind::HoldPlaced, &watch);
        event.reason = Some(reason.clone().into());
        event.mode = Some(cx.policy.mode);
        if reason == HoldReason::NothingTrusted {
            event.previous = guards::ran_before(&cx.memory, &watch.revision.digest);
        }
        cx.events.push(event);
    }
    watch.registry_told = is_registry;
    Phase::Held { watch, reason, since: cx.now }
}

/// A held release is still looked at: it may recover, and what forbade the rollback may be over.
pub(super) fn held(
    mut watch: Box<Watch>,
    reason: HoldReason,
    since: Timestamp,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    look_again(&mut watch, cx, round);
    unjudged::tell(cx, &watch);
    alerts::tell(cx, &mut watch);
    // After a start the others are heard first: what held it may hold it still.
    if cx.memory.org.listening || sight::unseen_of(cx, &watch).is_some() {
        return Phase::Held { watch, reason, since };
    }
    if watch::is_judged_anew(&watch, cx.now) {
        return Phase::Held { watch, reason, since };
    }
    watch.forgot_at = None;
    if verdict::overall(&watch.evidence) != Verdict::Breach {
        let why = suspects::why_well(&watch);
        clear_hold(&watch, cx, why);
        watch.registry_told = false;
        watch.recovers(cx.now);
        return Phase::Watching(watch);
    }
    if matches!(reason, HoldReason::RegistryUnavailable { .. }) {
        if cx.now.duration_since(since) < REGISTRY_RETRY_AFTER {
            return Phase::Held { watch, reason, since };
        }
        return images::check_before_use(watch, cx);
    }
    match door::refusal(cx, &watch) {
        Some(now) if now.is_same_kind(&reason) => Phase::Held { watch, reason, since },
        // That was told when it was ordered.
        Some(other @ HoldReason::Operator { .. }) => {
            Phase::Held { watch, reason: other, since: cx.now }
        }
        Some(other) => {
            is_over(&watch, cx, reason);
            hold(watch, cx, other)
        }
        None => {
            is_over(&watch, cx, reason);
            door::after_breach(watch, cx)
        }
    }
}

/// Tells that what held a release is over. What a person lifted was told when it was ordered; what ran out was
/// not.
fn is_over(watch: &Watch, cx: &mut Context<'_>, was: HoldReason) {
    if matches!(&was, HoldReason::Operator { hold } if hold.is_on(cx.now)) {
        return;
    }
    let never_told = was == HoldReason::MigrationsUnknown && !watch.in_ledger;
    let why = if never_told { Reason::NoCommandSeen } else { Reason::HoldOver { was } };
    clear_hold(watch, cx, why);
}

/// A rollback that stopped half way. One that the mode stopped is over; when the mode is put back, what
/// still runs the release is judged anew, and comes to the door like any other.
pub(super) fn stopped(
    mut rollback: Box<Rollback>,
    reason: HoldReason,
    since: Timestamp,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    let still_braked = cx.policy.mode == Mode::Observe;
    if reason != HoldReason::ObserveMode || still_braked || round.machines.is_empty() {
        aftermath::look_on(&mut rollback, cx, round);
        return Phase::Stopped { rollback, reason, since };
    }
    let digest = &rollback.bad.digest;
    for old in cx.memory.quarantined.iter_mut().filter(|old| old.digest == *digest) {
        old.unfinished = true;
    }
    if let Some(version) = rollback.bad.version {
        cx.memory.undone.remove(&version);
    }
    let mut watch = watch::begin(rollback.bad.clone(), cx.now, false);
    watch.no_mercy = true;
    watch.in_ledger = true;
    // With the known-good image, its number is what tells a machine of it.
    watch.any_number = !rollback.keeps_the_image();
    clear_hold(&watch, cx, Reason::HoldOver { was: reason });
    Phase::Watching(Box::new(watch))
}

pub(in crate::decide) fn clear_hold(watch: &Watch, cx: &mut Context<'_>, why: Reason) {
    cx.tell(EventKind::HoldCleared, watch, why);
}
