//! Whether the daemon can see: the platform, the metrics, and what the machines run altogether.
//!
//! Blindness is a state of its own, told to people, and never evidence against a release.

use std::time::Duration;

use jiff::SignedDuration;

use super::{
    Step, fleet, signed,
    state::{Blind, Phase, Watch},
    verdict,
};
use crate::model::{Event, EventKind, Evidence, Machine, Observation, SourceName};

/// How long the platform may be unreadable before people are told.
const BLIND_ANNOUNCED_AFTER: Duration = Duration::from_secs(15);
/// How long an app may run two images outside any deploy before people are told.
const MIXED_ANNOUNCED_AFTER: Duration = Duration::from_secs(60);

/// A deploy that has not settled by then left its images mixed.
const DEPLOY_TAKES_MAX: SignedDuration = SignedDuration::from_mins(15);
/// Rounds in which a selector matches nothing anywhere before people are told: a process that has
/// just started may not have made its series yet.
const UNMATCHED_ROUNDS: u32 = 5;

impl Step<'_> {
    pub(super) fn blind(&mut self, reason: &str) {
        let now = self.now;
        let blind = self.state.platform_blind.get_or_insert_with(|| Blind {
            since: now,
            reason: reason.to_owned(),
            announced: false,
        });
        reason.clone_into(&mut blind.reason);
        let first_announcement =
            !blind.announced && now.duration_since(blind.since) >= signed(BLIND_ANNOUNCED_AFTER);
        blind.announced |= first_announcement;
        if first_announcement {
            self.say(EventKind::MonitorBlind, format!("the platform cannot be read: {reason}"));
        }
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::CountingDown { watch, .. } => {
                self.cancel_countdown(watch, "the platform cannot be read")
            }
            other => other,
        };
    }

    /// Why what the evidence rests on cannot be seen just now; `None`: it can.
    pub(super) fn cannot_see(&self, evidence: &[Evidence]) -> Option<&'static str> {
        if self.state.platform_blind.is_some() {
            return Some("the platform cannot be read");
        }
        let blind = self.state.blind.contains_key(&SourceName::Pages);
        (blind && verdict::rests_on_metrics(evidence)).then_some("the metrics cannot be read")
    }

    /// An answer of the platform that cannot be the whole truth; nothing is concluded from it.
    pub(super) fn makes_no_sense(&self, machines: &[&Machine]) -> Option<&'static str> {
        let rolling = matches!(self.state.phase, Phase::RollingBack(_));
        if machines.is_empty() && rolling {
            return Some("it lists no machine of an app that is being rolled back");
        }
        let unnamed = !machines.is_empty() && machines.iter().all(|m| m.digest().is_none());
        unnamed.then_some("it names no image digest for any machine of the app")
    }

    pub(super) fn sees_again(&mut self) {
        if let Some(blind) = self.state.platform_blind.take()
            && blind.announced
        {
            self.say(
                EventKind::MonitorRecovered,
                format!("the platform can be read again (was: {})", blind.reason),
            );
        }
    }

    /// Notices when no metrics page at all can be read, and when one can again.
    pub(super) fn sees_metrics(&mut self, machines: &[&Machine], observation: &Observation) {
        let now = self.now;
        let blind = observation.blind.get(&SourceName::Pages);
        // A release that takes its own metrics down is the release's fault, not ours: while
        // some machines are up and none answers, that is blindness all the same.
        let wanted = self.policy.wants_pages();
        let Some(reason) = blind.filter(|_| !machines.is_empty()).cloned() else {
            if (!observation.samples.is_empty() || !wanted)
                && let Some(was) = self.state.blind.remove(&SourceName::Pages)
                && was.announced
            {
                self.say(EventKind::MonitorRecovered, "metrics can be read again".to_owned());
            }
            return;
        };
        let state = self.state.blind.entry(SourceName::Pages).or_insert_with(|| Blind {
            since: now,
            reason: reason.clone(),
            announced: false,
        });
        let announce =
            !state.announced && now.duration_since(state.since) >= signed(BLIND_ANNOUNCED_AFTER);
        state.announced |= announce;
        if announce {
            self.say(
                EventKind::MonitorBlind,
                format!("no machine's metrics can be read: {reason}"),
            );
        }
    }

    /// Says once per watch which thresholds look for series that no machine has: a mistyped name
    /// must not pass for a healthy release.
    pub(super) fn notices_unmatched(&mut self, watch: &mut Watch) {
        let unmatched: Vec<String> = watch
            .thresholds
            .iter()
            .filter(|(_, state)| state.unmatched && state.rounds >= UNMATCHED_ROUNDS)
            .filter(|(_, state)| !state.unmatched_told)
            .map(|(threshold, _)| threshold.clone())
            .collect();
        for threshold in unmatched {
            let source = watch
                .evidence
                .iter()
                .find(|evidence| evidence.threshold == threshold)
                .map_or("", |evidence| evidence.source.as_str());
            let mut event: Event = self.event_about(EventKind::MonitorBlind, watch);
            event.reason = Some(format!(
                "threshold {threshold:?} judges nothing: {source} matches no series on any \
                 machine of the release"
            ));
            self.events.push(event);
            if let Some(state) = watch.thresholds.get_mut(&threshold) {
                state.unmatched_told = true;
            }
        }
    }

    pub(super) fn notices_mixed_images(&mut self, machines: &[&Machine]) {
        // During a deploy two images are what is to be expected.
        let quiet = match &self.state.phase {
            Phase::Steady => true,
            Phase::RolledBack(_) => self.state.pending.is_empty(),
            Phase::Watching(watch) => {
                let stuck = watch.settled_at.is_none()
                    && self.now.duration_since(watch.since) >= DEPLOY_TAKES_MAX;
                !watch.numbered || stuck
            }
            Phase::Unseen
            | Phase::CountingDown { .. }
            | Phase::CheckingImage { .. }
            | Phase::RollingBack(_)
            | Phase::Held { .. }
            | Phase::Stopped { .. } => false,
        };
        if !quiet || !fleet::is_mixed(machines) {
            self.state.mixed_since = None;
            self.state.mixed_announced = false;
            return;
        }
        let since = *self.state.mixed_since.get_or_insert(self.now);
        if !self.state.mixed_announced
            && self.now.duration_since(since) >= signed(MIXED_ANNOUNCED_AFTER)
        {
            self.state.mixed_announced = true;
            self.say(EventKind::ImageMixed, fleet::describe_mix(machines));
        }
    }
}
