//! The known-good image: looked up when it becomes trusted, daily, and before it is used.

use jiff::SignedDuration;

use super::{
    Command, Step, guards,
    state::{HoldReason, Phase, Revision, Watch},
    verdict,
};
use crate::model::{Event, EventKind, Mode, Verdict};

/// How often the known-good image is looked up while nothing happens.
const IMAGE_CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// A rollback begins on what was seen lately, not on what a daemon that was away remembers.
const SEEN_LATELY: SignedDuration = SignedDuration::from_secs(45);

impl Step<'_> {
    /// Looks up the newest trusted image before anything is touched.
    pub(super) fn check_image(&mut self, watch: Box<Watch>) -> Phase {
        let Some(target) = guards::target(self.policy, &self.state, &watch) else {
            return self.hold(watch, HoldReason::ImagesMissing);
        };
        self.command(Command::CheckImage { image: target.image.clone(), before_use: true });
        Phase::CheckingImage { watch, target }
    }

    /// Looks daily for the images of all trusted releases, one at a time.
    pub(super) fn looks_for_images(&mut self) {
        let busy = self.state.pending.values().any(|c| matches!(c, Command::CheckImage { .. }));
        let now = self.now;
        let due = self.state.trusted.iter_mut().find(|trusted| {
            let checked = trusted.image_checked_at.unwrap_or(trusted.at);
            now.duration_since(checked) >= IMAGE_CHECK_EVERY
        });
        if let Some(trusted) = due.filter(|_| !busy) {
            trusted.image_checked_at = Some(now);
            let image = trusted.revision.image.clone();
            self.command(Command::CheckImage { image, before_use: false });
        }
    }

    pub(super) fn image_present(&mut self, command: &Command) {
        let Command::CheckImage { image, before_use } = command else { return };
        let now = self.now;
        for trusted in &mut self.state.trusted {
            if Some(&trusted.revision.digest) == image.digest.as_ref() {
                trusted.image_checked_at = Some(now);
                trusted.image_missing = false;
            }
        }
        if !before_use {
            return;
        }
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::CheckingImage { watch, target }
                if Some(&target.digest) == image.digest.as_ref() =>
            {
                // The look-up took a while; what was seen before it may be over, and the policy
                // may have been changed.
                let unseen = watch.looked_at.is_none_or(|at| now.duration_since(at) > SEEN_LATELY);
                if unseen {
                    self.cancel_countdown(watch, "it has to be looked at again first")
                } else if let Some(why) = self.cannot_see(&watch.evidence) {
                    self.cancel_countdown(watch, why)
                } else if verdict::overall(&watch.evidence) != Verdict::Breach {
                    self.cancel_countdown(watch, "the release recovered")
                } else if self.policy.mode == Mode::Observe {
                    self.hold(watch, HoldReason::ObserveMode)
                } else {
                    if watch.registry_told {
                        self.clear_hold(&watch, "the registry answers again");
                    }
                    self.start_rollback(&watch, &target)
                }
            }
            other => other,
        };
    }

    pub(super) fn image_missing(&mut self, command: &Command) {
        let Command::CheckImage { image, before_use } = command else { return };
        let now = self.now;
        let mut about = None;
        let mut is_known = false;
        for trusted in &mut self.state.trusted {
            if Some(&trusted.revision.digest) == image.digest.as_ref() {
                is_known = trusted.image_missing;
                trusted.image_missing = true;
                trusted.image_checked_at = Some(now);
                about = Some(trusted.revision.info());
            }
        }
        if !is_known {
            let mut event = Event::new(EventKind::ImageMissing, now, Some(self.state.app.clone()));
            event.known_good = about;
            event.reason = Some(format!("{} is not in the registry any more", image.reference()));
            self.events.push(event);
        }
        if !before_use {
            return;
        }
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            // The next older trusted release, if there is one.
            Phase::CheckingImage { watch, target } if !self.is_trusted(&target) => {
                self.state.suspects.insert(0, target.digest);
                self.hold(watch, HoldReason::NothingTrusted)
            }
            Phase::CheckingImage { watch, .. } => self.check_image(watch),
            other => other,
        };
    }

    pub(super) fn is_trusted(&self, target: &Revision) -> bool {
        self.state.trusted.iter().any(|trusted| trusted.revision.digest == target.digest)
    }

    pub(super) fn image_unknown(&mut self, command: &Command, reason: &str) {
        let Command::CheckImage { before_use: true, .. } = command else { return };
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::CheckingImage { watch, .. } => {
                self.hold(watch, HoldReason::RegistryUnavailable { reason: reason.to_owned() })
            }
            other => other,
        };
    }
}
