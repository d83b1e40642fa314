//! The known-good image: looked up when it becomes trusted, daily, and before it is used.

use jiff::SignedDuration;

use super::{
    Command, Step, guards,
    state::{HoldReason, Phase, Revision, Watch},
};
use crate::model::{Event, EventKind};

/// How often the known-good image is looked up while nothing happens.
const IMAGE_CHECK_EVERY: SignedDuration = SignedDuration::from_hours(24);

impl Step<'_> {
    /// Looks up the newest trusted image before anything is touched.
    pub(super) fn check_image(&mut self, watch: Box<Watch>) -> Phase {
        let Some(target) = guards::target(self.policy, &self.state, &watch) else {
            return self.hold(watch, HoldReason::ImagesMissing);
        };
        self.command(Command::CheckImage { image: target.image.clone(), before_use: true });
        Phase::CheckingImage { watch, target }
    }

    pub(super) fn steady(&mut self) -> Phase {
        let due = self.state.trusted.first().is_some_and(|trusted| {
            let seen = trusted.image_seen_at.unwrap_or(trusted.at);
            self.now.duration_since(seen) >= IMAGE_CHECK_EVERY
        });
        if due
            && self.state.pending.is_empty()
            && let Some(trusted) = self.state.trusted.first()
        {
            let image = trusted.revision.image.clone();
            self.command(Command::CheckImage { image, before_use: false });
        }
        Phase::Steady
    }

    pub(super) fn image_present(&mut self, command: &Command) {
        let Command::CheckImage { image, before_use } = command else { return };
        let now = self.now;
        for trusted in &mut self.state.trusted {
            if Some(&trusted.revision.digest) == image.digest.as_ref() {
                trusted.image_seen_at = Some(now);
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
                match self.cannot_see(&watch.evidence) {
                    // The look-up took a while; what was seen before it may be over.
                    Some(why) => self.cancel_countdown(watch, why),
                    None => self.start_rollback(&watch, &target),
                }
            }
            other => other,
        };
    }

    pub(super) fn image_missing(&mut self, command: &Command) {
        let Command::CheckImage { image, before_use } = command else { return };
        let mut about = None;
        for trusted in &mut self.state.trusted {
            if Some(&trusted.revision.digest) == image.digest.as_ref() {
                trusted.image_missing = true;
                about = Some(trusted.revision.info());
            }
        }
        let mut event = Event::new(EventKind::ImageMissing, self.now, Some(self.state.app.clone()));
        event.known_good = about;
        event.reason = Some(format!("{} is not in the registry any more", image.reference()));
        self.events.push(event);
        if !before_use {
            return;
        }
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            // The next older trusted release, if there is one.
            Phase::CheckingImage { watch, target } if !self.is_trusted(&target) => {
                self.hold(watch, HoldReason::ImagesMissing)
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
