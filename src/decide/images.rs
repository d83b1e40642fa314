//! The known-good image: looked up when it becomes trusted, daily, and before it is used.

use jiff::{SignedDuration, Timestamp};

use super::{
    Command, Context, door, groups, guards, hands, mirror,
    phases::hold,
    state::{Phase, Revision, Trusted, Watch},
};
use crate::model::{Event, EventKind, HoldReason, ImageRef, Reason};

/// How often the known-good image is looked up while nothing happens.
const IMAGE_CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// A rollback begins on what was seen lately, not on what a daemon that was away remembers.
const SEEN_LATELY: SignedDuration = SignedDuration::from_secs(45);

pub(super) fn is_seen_lately(watch: &Watch, now: Timestamp) -> bool {
    watch.looked_at.is_some_and(|at| now.duration_since(at) <= SEEN_LATELY)
}

/// Looks an image up.
pub(super) fn check(cx: &mut Context<'_>, image: ImageRef, before_use: bool) {
    let in_mirror = mirror::is_in_mirror(cx, &image);
    cx.command(Command::CheckImage { image, before_use, in_mirror });
}

/// Looks up the newest trusted image before anything is touched.
pub(super) fn check_before_use(watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    let Some(target) = guards::target(cx.policy, &cx.memory, &watch) else {
        let reason = groups::refusal(&cx.memory, &watch).unwrap_or(HoldReason::ImagesMissing);
        return hold(watch, cx, reason);
    };
    check(cx, target.image.clone(), true);
    Phase::CheckingImage { watch, target, by_hand: None }
}

/// Looks daily for the images of all trusted releases and for their copies, one at a time.
pub(super) fn look_daily(cx: &mut Context<'_>) {
    if cx.memory.pending.values().any(|c| matches!(c, Command::CheckImage { .. })) {
        return;
    }
    let now = cx.now;
    let is_due = |since: Timestamp| now.duration_since(since) >= IMAGE_CHECK_EVERY;
    let due = cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked).find_map(|trusted| {
        if is_due(trusted.image_checked_at.unwrap_or(trusted.at)) {
            trusted.image_checked_at = Some(now);
            return Some(trusted.revision.image.clone());
        }
        let mirror = trusted.mirror.as_mut()?;
        let since = mirror.checked_at.max(mirror.there_since)?;
        if !is_due(since) {
            return None;
        }
        mirror.checked_at = Some(now);
        Some(mirror.image.clone())
    });
    if let Some(image) = due {
        check(cx, image, false);
    }
}

pub(super) fn present(phase: Phase, cx: &mut Context<'_>, command: &Command) -> Phase {
    let Command::CheckImage { image, before_use, in_mirror } = command else { return phase };
    let now = cx.now;
    if *in_mirror {
        mirror::found(cx, image.digest.as_ref());
    }
    for trusted in cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked) {
        if is_its_own(trusted, image) {
            trusted.image_checked_at = Some(now);
            trusted.image_missing = false;
        }
    }
    match phase {
        Phase::CheckingImage { watch, target, by_hand } if *before_use && is_it(image, &target) => {
            let target = Revision { image: image.clone(), ..target };
            match by_hand {
                Some(by_hand) => door::enter_by_hand(watch, &target, *by_hand, cx),
                None => door::enter(watch, &target, cx),
            }
        }
        other => other,
    }
}

/// Whether what was looked up is what is to be gone back to: since it was asked for, a person may have ordered
/// another one.
fn is_it(image: &ImageRef, target: &Revision) -> bool {
    image.digest.as_ref() == Some(&target.digest)
}

/// Whether this is the image as the release was deployed, and not a copy of it.
fn is_its_own(trusted: &Trusted, image: &ImageRef) -> bool {
    let own = &trusted.revision.image;
    Some(&trusted.revision.digest) == image.digest.as_ref()
        && (&own.registry, &own.repository) == (&image.registry, &image.repository)
}

/// A release with the image of it that can be deployed, as far as is known.
fn available(cx: &Context<'_>, target: &Revision) -> Option<Revision> {
    let mut earned = cx.memory.trusted.iter().chain(&cx.memory.baked);
    let same = earned.find(|good| good.revision.digest == target.digest);
    same.filter(|good| good.is_available()).map(Trusted::deployable)
}

pub(super) fn missing(phase: Phase, cx: &mut Context<'_>, command: &Command) -> Phase {
    let Command::CheckImage { image, before_use, in_mirror } = command else { return phase };
    let now = cx.now;
    let mut is_news = *in_mirror && mirror::lost(cx, image.digest.as_ref());
    let (mut about, mut copy) = (None, None);
    for trusted in cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked) {
        if is_its_own(trusted, image) {
            is_news |= !trusted.image_missing;
            trusted.image_missing = true;
            trusted.image_checked_at = Some(now);
            copy = trusted.mirror.as_ref().filter(|mirror| mirror.image != *image).cloned();
        }
        if Some(&trusted.revision.digest) == image.digest.as_ref() {
            about = Some(trusted.revision.info());
            // The copy is lost, and is made again.
            is_news &= !*in_mirror || trusted.image_missing;
        }
    }
    // What nobody has trusted is no less gone.
    if is_news || about.is_none() {
        let mut event = Event::new(EventKind::ImageMissing, now, Some(cx.memory.app.clone()));
        event.known_good = about;
        let there = copy.as_ref().filter(|mirror| mirror.there_since.is_some());
        let mirror = there.map(|mirror| mirror.image.reference());
        event.reason = Some(Reason::ImageGone { image: image.reference(), mirror });
        cx.events.push(event);
    }
    match phase {
        Phase::CheckingImage { watch, target, by_hand: Some(by_hand) }
            if *before_use && is_it(image, &target) =>
        {
            // Its copy in the mirror, if there is one; what a person named is not exchanged.
            let copy = available(cx, &target).filter(|copy| copy.image != *image);
            let Some(target) = copy else {
                let image = image.reference();
                return hands::abandon(watch, cx, Reason::ImageGone { image, mirror: None });
            };
            check(cx, target.image.clone(), true);
            Phase::CheckingImage { watch, target, by_hand: Some(by_hand) }
        }
        Phase::CheckingImage { watch, target, by_hand: None }
            if *before_use && is_it(image, &target) =>
        {
            if cx.has_earned(&target) {
                // Its copy in the mirror, or the next older trusted release, if there is one.
                return check_before_use(watch, cx);
            }
            cx.memory.suspects.insert(0, target.digest);
            hold(watch, cx, HoldReason::NothingTrusted)
        }
        other => {
            if let Some(mirror) = copy {
                // Whether there is anything left to go back to is known before it is needed.
                check(cx, mirror.image, false);
            }
            other
        }
    }
}

pub(super) fn unknown(
    phase: Phase,
    cx: &mut Context<'_>,
    command: &Command,
    detail: &str,
) -> Phase {
    let Command::CheckImage { image, before_use: true, .. } = command else { return phase };
    match phase {
        // What is looked up now was ordered since.
        Phase::CheckingImage { ref target, .. } if !is_it(image, target) => phase,
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
