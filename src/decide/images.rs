//! The known-good image: looked up when it becomes trusted, daily, and before it is used.

use jiff::{SignedDuration, Timestamp};

use super::{
    Command, Context, door, guards, hands,
    phases::hold,
    state::{Phase, Watch},
};
use crate::model::{Event, EventKind, HoldReason, Reason};

/// How often the known-good image is looked up while nothing happens.
const IMAGE_CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// A rollback begins on what was seen lately, not on what a daemon that was away remembers.
const SEEN_LATELY: SignedDuration = SignedDuration::from_secs(45);

pub(super) fn is_seen_lately(watch: &Watch, now: Timestamp) -> bool {
    watch.looked_at.is_some_and(|at| now.duration_since(at) <= SEEN_LATELY)
}

/// Looks up the newest trusted image before anything is touched.
pub(super) fn check_before_use(watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    let Some(target) = guards::target(cx.policy, &cx.memory, &watch) else {
        return hold(watch, cx, HoldReason::ImagesMissing);
    };
    cx.command(Command::CheckImage { image: target.image.clone(), before_use: true });
    Phase::CheckingImage { watch, target, by_hand: None }
}

/// Looks daily for the images of all trusted releases, one at a time.
pub(super) fn look_daily(cx: &mut Context<'_>) {
    let busy = cx.memory.pending.values().any(|c| matches!(c, Command::CheckImage { .. }));
    let now = cx.now;
    let due = cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked).find(|trusted| {
        let checked = trusted.image_checked_at.unwrap_or(trusted.at);
        now.duration_since(checked) >= IMAGE_CHECK_EVERY
    });
    if let Some(trusted) = due.filter(|_| !busy) {
        trusted.image_checked_at = Some(now);
        let image = trusted.revision.image.clone();
        cx.command(Command::CheckImage { image, before_use: false });
    }
}

pub(super) fn present(phase: Phase, cx: &mut Context<'_>, command: &Command) -> Phase {
    let Command::CheckImage { image, before_use } = command else { return phase };
    let now = cx.now;
    for trusted in cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked) {
        if Some(&trusted.revision.digest) == image.digest.as_ref() {
            trusted.image_checked_at = Some(now);
            trusted.image_missing = false;
        }
    }
    match phase {
        Phase::CheckingImage { watch, target, by_hand }
            if *before_use && Some(&target.digest) == image.digest.as_ref() =>
        {
            match by_hand {
                Some(by_hand) => door::enter_by_hand(watch, &target, *by_hand, cx),
                None => door::enter(watch, &target, cx),
            }
        }
        other => other,
    }
}

pub(super) fn missing(phase: Phase, cx: &mut Context<'_>, command: &Command) -> Phase {
    let Command::CheckImage { image, before_use } = command else { return phase };
    let now = cx.now;
    let mut about = None;
    let mut is_known = false;
    for trusted in cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked) {
        if Some(&trusted.revision.digest) == image.digest.as_ref() {
            is_known = trusted.image_missing;
            trusted.image_missing = true;
            trusted.image_checked_at = Some(now);
            about = Some(trusted.revision.info());
        }
    }
    if !is_known {
        let mut event = Event::new(EventKind::ImageMissing, now, Some(cx.memory.app.clone()));
        event.known_good = about;
        event.reason = Some(Reason::ImageGone { image: image.reference() });
        cx.events.push(event);
    }
    match phase {
        Phase::CheckingImage { watch, by_hand: Some(_), .. } if *before_use => {
            hands::abandon(watch, cx, Reason::ImageGone { image: image.reference() })
        }
        Phase::CheckingImage { watch, target, by_hand: None } if *before_use => {
            if cx.has_earned(&target) {
                // The next older trusted release, if there is one.
                return check_before_use(watch, cx);
            }
            cx.memory.suspects.insert(0, target.digest);
            hold(watch, cx, HoldReason::NothingTrusted)
        }
        other => other,
    }
}

pub(super) fn unknown(
    phase: Phase,
    cx: &mut Context<'_>,
    command: &Command,
    detail: &str,
) -> Phase {
    let Command::CheckImage { before_use: true, .. } = command else { return phase };
    match phase {
        // Whoever insists takes it on trust that the image is there, as any deploy does.
        Phase::CheckingImage { watch, target, by_hand: Some(by_hand) } if by_hand.force => {
            door::enter_by_hand(watch, &target, *by_hand, cx)
        }
        Phase::CheckingImage { watch, by_hand: Some(_), .. } => {
            hands::abandon(watch, cx, Reason::RegistrySilent { detail: detail.to_owned() })
        }
        Phase::CheckingImage { watch, by_hand: None, .. } => {
            hold(watch, cx, HoldReason::RegistryUnavailable { detail: detail.to_owned() })
        }
        other => other,
    }
}
