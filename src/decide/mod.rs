//! Decides: what one round's facts, or one command's outcome, mean for an app.
//!
//! [`step`] is a pure function of the policy, the remembered state, the input and the time. It
//! never fails: what cannot be judged is inconclusive, what must not be done is a hold with its
//! reason. Commands and events come back as values; the caller stores them together with the new
//! state before anything is carried out or told.

pub mod command;
pub mod detect;
mod fleet;
mod guards;
mod holds;
mod images;
pub mod rollback;
mod sight;
pub mod state;
mod verdict;
mod watch;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use command::{Command, CommandId, Input, Outcome, PutImage, PutOutcome};
pub use state::AppState;
pub use verdict::bake_ends;

use crate::model::{
    Event, EventKind, Machine, Mode, Observation, Policy, Verdict, event::ReleaseInfo,
};
use state::{HoldReason, Phase, Quarantined, Revision, TRUSTED_MAX, Trusted, Watch};

/// How long no machine may run a watched release before its watch ends: an update in progress
/// shows the new image at once, so this is not a deploy.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// What a step decided.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// To be stored before anything is done. Holds the commands that are pending.
    pub state: AppState,
    /// New commands, oldest first; they are in `state.pending` too.
    pub commands: Vec<CommandId>,
    /// What happened, to be told; in order.
    pub events: Vec<Event>,
}

/// The working copy of a step: the state as it will be, and what came out so far.
struct Step<'a> {
    policy: &'a Policy,
    now: Timestamp,
    state: AppState,
    commands: Vec<CommandId>,
    events: Vec<Event>,
}

/// Decides what one input means.
pub fn step(policy: &Policy, state: AppState, input: &Input, now: Timestamp) -> Transition {
    let mut step = Step { policy, now, state, commands: Vec::new(), events: Vec::new() };
    match input {
        Input::Observed(observation) => step.observed(observation),
        Input::Finished { command, outcome } => step.finished(*command, outcome),
    }
    Transition { state: step.state, commands: step.commands, events: step.events }
}

impl Step<'_> {
    fn observed(&mut self, observation: &Observation) {
        let machines = match &observation.machines {
            Ok(machines) => machines,
            Err(reason) => return self.blind(reason),
        };
        self.sees_again();
        let machines = fleet::judged(machines);
        if let Some(ledger) = &observation.ledger {
            fleet::learn_from_ledger(&mut self.state, ledger);
        }
        self.sees_metrics(&machines, observation);
        if self.newer_release(&machines, observation) {
            // The new watch judges from this very round on.
            return self.advance(&machines, observation);
        }
        self.advance(&machines, observation);
        self.notices_mixed_images(&machines);
    }

    /// Moves the phase as far as this round's facts carry it.
    fn advance(&mut self, machines: &[&Machine], observation: &Observation) {
        if self.everybody_left(machines) {
            return;
        }
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::Unseen => Phase::Unseen,
            Phase::Watching(watch) => self.watching(watch, machines, observation),
            Phase::Steady => self.steady(),
            Phase::CountingDown { watch, until } => {
                self.counting_down(watch, until, machines, observation)
            }
            Phase::CheckingImage { mut watch, target } => {
                watch::absorb(self.policy, &mut watch, machines, observation, self.now);
                Phase::CheckingImage { watch, target }
            }
            Phase::RollingBack(work) => self.rolling_back(work, machines, observation),
            Phase::RolledBack(work) => self.mopping_up(work, machines, observation.began),
            Phase::Held { watch, reason, since } => {
                self.held(watch, reason, since, machines, observation)
            }
            Phase::Stopped { rollback, reason, since } => {
                Phase::Stopped { rollback, reason, since }
            }
        };
    }

    /// Ends a watch whose release no machine runs any more: somebody put another image on the
    /// machines without making a release of it.
    fn everybody_left(&mut self, machines: &[&Machine]) -> bool {
        let now = self.now;
        let watch = match &mut self.state.phase {
            Phase::Watching(watch)
            | Phase::CountingDown { watch, .. }
            | Phase::Held { watch, .. } => watch,
            Phase::Unseen
            | Phase::Steady
            | Phase::CheckingImage { .. }
            | Phase::RollingBack(_)
            | Phase::RolledBack(_)
            | Phase::Stopped { .. } => return false,
        };
        let gone = !machines.is_empty()
            && !machines.iter().any(|machine| machine.digest() == Some(&watch.revision.digest));
        if !gone {
            watch.gone_since = None;
            return false;
        }
        if now.duration_since(*watch.gone_since.get_or_insert(now)) < GONE_AFTER {
            return false;
        }
        let watch = watch.clone();
        let held = matches!(self.state.phase, Phase::Held { .. });
        let kind = if held { EventKind::HoldCleared } else { EventKind::RollbackStopped };
        let mut event = self.event_about(kind, &watch);
        event.reason = Some("no machine runs this release any more".to_owned());
        self.events.push(event);
        if let Some(runs) = fleet::most_common(machines) {
            fleet::make_current(&mut self.state, runs, now);
        }
        self.state.phase = Phase::Steady;
        true
    }

    fn watching(
        &mut self,
        mut watch: Box<Watch>,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        let known_good = self.state.known_good().cloned();
        watch::absorb(self.policy, &mut watch, machines, observation, self.now);
        verdict::refresh(self.policy, &mut watch, known_good.as_ref(), machines, self.now);
        self.notices_unmatched(&mut watch);
        self.alert(&mut watch);
        match verdict::overall(&watch.evidence) {
            Verdict::Breach if self.cannot_see(&watch.evidence).is_some() => Phase::Watching(watch),
            Verdict::Breach => self.degraded(watch, observation),
            Verdict::Inconclusive => Phase::Watching(watch),
            Verdict::Pass => self.trust_if_baked(watch),
        }
    }

    /// Tells, once per watch, of breaches that may not cause a rollback.
    fn alert(&mut self, watch: &mut Watch) {
        let breaching: Vec<String> = watch
            .evidence
            .iter()
            .filter(|evidence| evidence.verdict == Verdict::Breach && !evidence.may_roll_back)
            .map(|evidence| evidence.threshold.clone())
            .filter(|threshold| !watch.alerted.contains(threshold))
            .collect();
        if breaching.is_empty() {
            return;
        }
        let mut event = self.event_about(EventKind::ReleaseDegraded, watch);
        event.mode = Some(Mode::Observe);
        event.reason = Some(format!("{} only alerts: nothing is done", breaching.join(", ")));
        self.events.push(event);
        watch.alerted.extend(breaching);
    }

    /// A breach: announced, and undone unless something forbids it.
    fn degraded(&mut self, watch: Box<Watch>, observation: &Observation) -> Phase {
        let mut event = self.event_about(EventKind::ReleaseDegraded, &watch);
        event.mode = Some(self.policy.mode);
        event.regions = rollback::preview(self.policy, &watch);
        self.events.push(event);
        self.decide_rollback(watch, observation)
    }

    fn decide_rollback(&mut self, watch: Box<Watch>, observation: &Observation) -> Phase {
        if let Some(reason) = guards::refusal(self.policy, &self.state, &watch, observation) {
            if reason == HoldReason::ObserveMode {
                // Say what would have been done, and with which image.
                let mut event = self.event_about(EventKind::RollbackPlanned, &watch);
                event.mode = Some(Mode::Observe);
                event.reason = Some("observe mode: nothing is done".to_owned());
                self.events.push(event);
            }
            return self.hold(watch, reason);
        }
        let mut event = self.event_about(EventKind::RollbackPlanned, &watch);
        event.mode = Some(Mode::Rollback);
        event.regions = rollback::preview(self.policy, &watch);
        if !self.policy.watch.countdown.is_zero() {
            event.reason = Some(format!("in {} s", self.policy.watch.countdown.as_secs()));
        }
        self.events.push(event);
        if self.policy.watch.countdown.is_zero() {
            return self.check_image(watch);
        }
        Phase::CountingDown { watch, until: later(self.now, self.policy.watch.countdown) }
    }

    fn counting_down(
        &mut self,
        mut watch: Box<Watch>,
        until: Timestamp,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        let known_good = self.state.known_good().cloned();
        watch::absorb(self.policy, &mut watch, machines, observation, self.now);
        verdict::refresh(self.policy, &mut watch, known_good.as_ref(), machines, self.now);
        if verdict::overall(&watch.evidence) != Verdict::Breach {
            let mut event = self.event_about(EventKind::RollbackStopped, &watch);
            event.reason = Some("recovered during the countdown".to_owned());
            self.events.push(event);
            return Phase::Watching(watch);
        }
        if let Some(why) = self.cannot_see(&watch.evidence) {
            return self.cancel_countdown(watch, why);
        }
        if self.now < until {
            return Phase::CountingDown { watch, until };
        }
        self.check_image(watch)
    }

    fn cancel_countdown(&mut self, watch: Box<Watch>, why: &str) -> Phase {
        let mut event = self.event_about(EventKind::RollbackStopped, &watch);
        event.reason = Some(format!("countdown cancelled: {why}"));
        self.events.push(event);
        Phase::Watching(watch)
    }

    /// Trusts the release if it was watched long enough, with traffic.
    fn trust_if_baked(&mut self, watch: Box<Watch>) -> Phase {
        let blind = self.state.metrics_blind.is_some();
        let baked = verdict::bake_ends(self.policy, &watch).is_some_and(|end| self.now >= end);
        if blind || !baked || verdict::leans_against(&watch.evidence) {
            return Phase::Watching(watch);
        }
        self.events.push(self.event_about(EventKind::ReleaseTrusted, &watch));
        let revision = watch.revision.clone();
        self.state.trusted.retain(|trusted| trusted.revision.digest != revision.digest);
        self.state.quarantined.retain(|old| old.digest != revision.digest);
        let machines = watch.crashes.len().max(1);
        let exits: u32 = watch.crashes.values().map(|count| count.exits).sum();
        let trusted = Trusted {
            revision: revision.clone(),
            at: self.now,
            image_seen_at: None,
            image_missing: false,
            crashes_per_machine: f64::from(exits)
                / f64::from(u32::try_from(machines).unwrap_or(u32::MAX)),
        };
        self.state.trusted.insert(0, trusted);
        self.state.trusted.truncate(TRUSTED_MAX);
        self.command(Command::CheckImage { image: revision.image, before_use: false });
        Phase::Steady
    }

    /// Starts a watch, or yields a rollback, when somebody ships something newer.
    fn newer_release(&mut self, machines: &[&Machine], observation: &Observation) -> bool {
        let ledger = observation.ledger.as_deref();
        if let Phase::RollingBack(work) = &self.state.phase
            && let Some(newer) = fleet::rival(&self.state, work, machines, ledger)
        {
            self.yield_to(&newer);
        }
        let Some(newest) = fleet::newest_change(&self.state, machines, ledger) else {
            return false;
        };
        let learning = self.state.current.is_none();
        let quarantined = self.state.quarantined.iter().any(|old| old.digest == newest.digest);
        let mut watch = watch::begin(newest.clone(), self.now, learning);
        watch.no_mercy = quarantined;
        watch.numbered = learning || newest.version.is_some_and(|v| v > self.state.seen_version);
        let mut event = self.event_about(EventKind::ReleaseDetected, &watch);
        if quarantined {
            event.reason = Some(
                "this image was rolled back before: it is watched without a warm-up".to_owned(),
            );
        } else if learning {
            event.reason = Some("first seen: it has to earn trust".to_owned());
        }
        self.events.push(event);
        fleet::make_current(&mut self.state, newest, self.now);
        self.state.phase = Phase::Watching(Box::new(watch));
        true
    }

    fn finished(&mut self, id: CommandId, outcome: &Outcome) {
        let Some(command) = self.state.pending.remove(&id) else {
            // Decided by a state that was left since; whoever left it accounted for it.
            return;
        };
        match outcome {
            Outcome::ImagePresent => self.image_present(&command),
            Outcome::ImageMissing => self.image_missing(&command),
            Outcome::ImageUnknown { reason } => self.image_unknown(&command, reason),
            Outcome::ReleaseOpened { id, version } => self.release_opened(id, *version),
            Outcome::LedgerRefused { reason } => self.ledger_refused(reason),
            Outcome::ReleaseClosed => {}
            Outcome::Put(outcome) => self.put_finished(&command, outcome),
        }
    }

    fn quarantine(&mut self, revision: &Revision) {
        self.state.quarantined.insert(
            0,
            Quarantined {
                digest: revision.digest.clone(),
                version: revision.version,
                at: self.now,
            },
        );
        self.state.quarantined.truncate(state::QUARANTINED_MAX);
    }

    fn command(&mut self, command: Command) -> CommandId {
        let id = self.state.next_command;
        self.state.next_command += 1;
        self.state.pending.insert(id, command);
        self.commands.push(id);
        id
    }

    fn known_good_info(&self) -> Option<ReleaseInfo> {
        self.state.known_good().map(|trusted| trusted.revision.info())
    }

    fn event_about(&self, kind: EventKind, watch: &Watch) -> Event {
        let mut event = Event::new(kind, self.now, Some(self.state.app.clone()));
        event.release = Some(watch.revision.info());
        event.known_good = self.known_good_info();
        event.evidence = watch.evidence.clone();
        event.after_s = Some(self.now.duration_since(watch.since).as_secs_f64());
        event
    }

    fn say(&mut self, kind: EventKind, reason: String) {
        let mut event = Event::new(kind, self.now, Some(self.state.app.clone()));
        event.release = self.state.current.as_ref().map(Revision::info);
        event.known_good = self.known_good_info();
        event.reason = Some(reason);
        self.events.push(event);
    }
}

/// `at` plus a duration, clamped to the end of time.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(signed(by)).unwrap_or(Timestamp::MAX)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
