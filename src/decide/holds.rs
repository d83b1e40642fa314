//! Holds: nothing is done, and people are told why; some end by themselves.

use jiff::{SignedDuration, Timestamp};

use super::{
    Step, guards,
    state::{HoldReason, Phase, Watch},
    verdict, watch,
};
use crate::model::{EventKind, Machine, Observation, Verdict};

/// How often a registry that could not answer is asked again.
const REGISTRY_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(15);

impl Step<'_> {
    pub(super) fn hold(&mut self, watch: Box<Watch>, reason: HoldReason) -> Phase {
        let mut event = self.event_about(EventKind::HoldPlaced, &watch);
        event.reason = Some(reason.to_string());
        event.mode = Some(self.policy.mode);
        self.events.push(event);
        Phase::Held { watch, reason, since: self.now }
    }

    pub(super) fn held(
        &mut self,
        mut watch: Box<Watch>,
        reason: HoldReason,
        since: Timestamp,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        if !reason.is_passing() {
            return Phase::Held { watch, reason, since };
        }
        let known_good = self.state.known_good().cloned();
        watch::absorb(self.policy, &mut watch, machines, observation, self.now);
        verdict::refresh(self.policy, &mut watch, known_good.as_ref(), machines, self.now);
        if verdict::overall(&watch.evidence) != Verdict::Breach {
            self.clear_hold(&watch, "the release recovered");
            return Phase::Watching(watch);
        }
        let over = match &reason {
            HoldReason::RegistryUnavailable { .. } => {
                self.now.duration_since(since) >= REGISTRY_RETRY_AFTER
            }
            HoldReason::PlatformIncident { .. } => !matches!(
                guards::refusal(self.policy, &self.state, &watch, observation),
                Some(HoldReason::PlatformIncident { .. })
            ),
            _ => false,
        };
        if !over {
            return Phase::Held { watch, reason, since };
        }
        self.clear_hold(&watch, &format!("was: {reason}"));
        self.decide_rollback(watch, observation)
    }

    pub(super) fn clear_hold(&mut self, watch: &Watch, why: &str) {
        let mut event = self.event_about(EventKind::HoldCleared, watch);
        event.reason = Some(why.to_owned());
        self.events.push(event);
    }
}
