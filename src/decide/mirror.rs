//! Copies of trusted images in a registry of our own: made in the background, one at a time, and
//! gone back to when the platform's registry has lost the image.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Command, Context,
    state::{Memory, Trusted},
};
use crate::model::{Digest, Event, EventKind, ImageRef, MirrorTrouble, Reason};

/// After a copy that failed the next attempt comes so late, later each time.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(60);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
/// A passing trouble is told of when it did not pass for so many attempts.
const TOLD_AFTER: u32 = 3;

/// The copy of a trusted image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// By its digest.
    pub image: ImageRef,
    /// Since when it is known to be there.
    pub there_since: Option<Timestamp>,
    /// When it was last looked for there.
    pub checked_at: Option<Timestamp>,
    /// The mirror says that it does not have it.
    pub missing: bool,
    /// Attempts that failed in a row, and when the next one is due.
    pub tries: u32,
    pub next: Timestamp,
    pub trouble: Option<MirrorTrouble>,
    /// What was said to that.
    pub detail: String,
    /// People know of the trouble.
    pub told: bool,
}

impl Mirror {
    fn wanted(image: ImageRef, now: Timestamp) -> Self {
        Self {
            image,
            there_since: None,
            checked_at: None,
            missing: false,
            tries: 0,
            next: now,
            trouble: None,
            detail: String::new(),
            told: false,
        }
    }

    fn is_there(&mut self, now: Timestamp) {
        self.there_since.get_or_insert(now);
        self.checked_at = Some(now);
        self.missing = false;
        self.tries = 0;
        self.trouble = None;
        self.detail.clear();
        self.told = false;
    }
}

/// Whether an image is looked up as one of the mirror's.
pub(super) fn is_in_mirror(cx: &Context<'_>, image: &ImageRef) -> bool {
    let known = cx.memory.trusted.iter().filter_map(|trusted| trusted.mirror.as_ref());
    let place = |image: &ImageRef| (image.registry.clone(), image.repository.clone());
    known.map(|mirror| &mirror.image).any(|mirror| place(mirror) == place(image))
}

/// Keeps every trusted image copied: begins the next copy that is due, the newest release first, and
/// calls off one that nobody wants any more.
pub(super) fn keep_copied(cx: &mut Context<'_>) {
    let now = cx.now;
    let (app, rule) = (cx.memory.app.clone(), cx.policy.rollback.mirror.as_ref());
    for trusted in &mut cx.memory.trusted {
        let place = rule.map(|rule| rule.place(&app, &trusted.revision.digest));
        if trusted.mirror.as_ref().map(|mirror| &mirror.image) != place.as_ref() {
            trusted.mirror = place.map(|place| Mirror::wanted(place, now));
        }
    }
    let Memory { pending, trusted, .. } = &mut cx.memory;
    let is_wanted = |to: &ImageRef| {
        let mut places = trusted.iter().filter_map(|trusted| trusted.mirror.as_ref());
        places.any(|mirror| is_copy(&mirror.image, to))
    };
    pending.retain(|_, command| match command {
        Command::MirrorImage { to, .. } => is_wanted(to),
        _ => true,
    });
    if pending.values().any(|command| matches!(command, Command::MirrorImage { .. })) {
        return;
    }
    let next = trusted.iter().filter(|trusted| !trusted.image_missing).find_map(|trusted| {
        let mirror = trusted.mirror.as_ref()?;
        (mirror.there_since.is_none() && mirror.next <= now)
            .then(|| (trusted.revision.image.clone(), named(trusted, &mirror.image)))
    });
    if let Some((from, to)) = next {
        cx.command(Command::MirrorImage { from, to });
    }
}

/// A place in the mirror with a name that no other image has: some registries sweep up what has none.
fn named(trusted: &Trusted, place: &ImageRef) -> ImageRef {
    let digest = trusted.revision.digest.short();
    let tag = match trusted.revision.version {
        Some(version) => format!("{version}-{digest}"),
        None => digest.to_owned(),
    };
    ImageRef { tag: Some(tag), ..place.clone() }
}

fn is_copy(place: &ImageRef, to: &ImageRef) -> bool {
    *place == ImageRef { tag: None, ..to.clone() }
}

pub(super) fn copied(cx: &mut Context<'_>, command: &Command) {
    let Command::MirrorImage { to, .. } = command else { return };
    let now = cx.now;
    if let Some(mirror) = place(&mut cx.memory, to.digest.as_ref()) {
        mirror.is_there(now);
    }
}

pub(super) fn copy_failed(
    cx: &mut Context<'_>,
    command: &Command,
    trouble: MirrorTrouble,
    detail: &str,
) {
    let Command::MirrorImage { to, .. } = command else { return };
    let now = cx.now;
    let Some(mirror) = place(&mut cx.memory, to.digest.as_ref()) else { return };
    mirror.tries = mirror.tries.saturating_add(1);
    let doubled = 2_i32.checked_pow(mirror.tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let pause = FIRST_PAUSE.checked_mul(doubled).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
    mirror.next = now.checked_add(pause).unwrap_or(Timestamp::MAX);
    mirror.trouble = Some(trouble);
    detail.clone_into(&mut mirror.detail);
    if mirror.told || (trouble.is_passing() && mirror.tries < TOLD_AFTER) {
        return;
    }
    mirror.told = true;
    let reason = Reason::NotMirrored {
        mirror: mirror.image.reference(),
        trouble,
        detail: detail.to_owned(),
    };
    let mut event = Event::new(EventKind::ImageNotMirrored, now, Some(cx.memory.app.clone()));
    let about =
        cx.memory.trusted.iter().find(|one| Some(&one.revision.digest) == to.digest.as_ref());
    event.known_good = about.map(|trusted| trusted.revision.info());
    event.reason = Some(reason);
    cx.events.push(event);
}

/// The mirror was asked for an image, and has it.
pub(super) fn found(cx: &mut Context<'_>, digest: Option<&Digest>) {
    let now = cx.now;
    if let Some(mirror) = place(&mut cx.memory, digest) {
        mirror.is_there(now);
    }
}

/// The mirror does not have it: whether that is news.
pub(super) fn lost(cx: &mut Context<'_>, digest: Option<&Digest>) -> bool {
    let now = cx.now;
    let Some(mirror) = place(&mut cx.memory, digest) else { return false };
    let was_there = mirror.there_since.take().is_some();
    mirror.checked_at = Some(now);
    mirror.missing = true;
    mirror.next = now;
    was_there
}

fn place<'m>(memory: &'m mut Memory, digest: Option<&Digest>) -> Option<&'m mut Mirror> {
    let mut trusted = memory.trusted.iter_mut();
    trusted.find(|one| Some(&one.revision.digest) == digest)?.mirror.as_mut()
}
