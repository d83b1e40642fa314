//! Holds: nothing is done, and people are told why; some end by themselves.

use jiff::{SignedDuration, Timestamp};

use super::{
    Step, guards,
    state::{HoldReason, Phase, Watch},
    verdict,
};
use crate::model::{EventKind, Machine, Observation, Verdict};

/// How often a registry that could not answer is asked again.
const REGISTRY_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(15);

impl Step<'_> {
    pub(super) fn hold(&mut self, mut watch: Box<Watch>, reason: HoldReason) -> Phase {
        let is_registry = matches!(reason, HoldReason::RegistryUnavailable { .. });
        // A registry that stays silent is asked quietly.
        if !(is_registry && watch.registry_told) {
            let mut event = self.event_about(EventKind::HoldPlaced, &watch);
            event.reason = Some(reason.to_string());
            event.mode = Some(self.policy.mode);
            self.events.push(event);
        }
        watch.registry_told = is_registry;
        Phase::Held { watch, reason, since: self.now }
    }

    /// A held release is still looked at: it may recover, and what forbade the rollback may be over.
    pub(super) fn held(
        &mut self,
        mut watch: Box<Watch>,
        reason: HoldReason,
        since: Timestamp,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        self.look_again(&mut watch, machines, observation);
        if self.cannot_see(&watch.evidence).is_some() {
            return Phase::Held { watch, reason, since };
        }
        if verdict::overall(&watch.evidence) != Verdict::Breach {
            self.clear_hold(&watch, "the release recovered");
            watch.registry_told = false;
            watch.recovered_at = Some(self.now);
            return Phase::Watching(watch);
        }
        if matches!(reason, HoldReason::RegistryUnavailable { .. }) {
            if self.now.duration_since(since) < REGISTRY_RETRY_AFTER {
                return Phase::Held { watch, reason, since };
            }
            return self.check_image(watch);
        }
        match guards::refusal(self.policy, &self.state, &watch, observation, self.now) {
            Some(now) if std::mem::discriminant(&now) == std::mem::discriminant(&reason) => {
                Phase::Held { watch, reason, since }
            }
            Some(other) => {
                self.clear_hold(&watch, &format!("was: {reason}"));
                self.hold(watch, other)
            }
            None => {
                self.clear_hold(&watch, &format!("was: {reason}"));
                self.decide_rollback(watch, observation)
            }
        }
    }

    pub(super) fn clear_hold(&mut self, watch: &Watch, why: &str) {
        let mut event = self.event_about(EventKind::HoldCleared, watch);
        event.reason = Some(why.to_owned());
        self.events.push(event);
    }
}
