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
pub use fleet::is_announced;
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
        Input::Unwatched => step.unwatched(),
        Input::Operator(_) => {}
    }
    Transition { state: step.state, commands: step.commands, events: step.events }
}

impl Step<'_> {
    fn observed(&mut self, observation: &Observation) {
        let machines = match &observation.machines {
            Ok(machines) => machines,
            Err(reason) => return self.blind(reason),
        };
        let machines = fleet::judged(machines);
        if let Some(reason) = self.makes_no_sense(&machines) {
            return self.blind(reason);
        }
        self.sees_again();
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
        self.looks_for_images();
        self.closes_what_was_left_open();
    }

    /// No policy names the app any more: what was begun ends here, and people are told.
    fn unwatched(&mut self) {
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        self.state.phase = match phase {
            Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => {
                self.cancel_countdown(watch, &HoldReason::NotWatched.to_string())
            }
            Phase::RollingBack(rollback) => self.stop(rollback, HoldReason::NotWatched),
            other => other,
        };
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
            Phase::Steady => Phase::Steady,
            Phase::CountingDown { watch, until } => {
                self.counting_down(watch, until, machines, observation)
            }
            Phase::CheckingImage { mut watch, target } => {
                self.look_again(&mut watch, machines, observation);
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
        let kind = match &self.state.phase {
            Phase::Held { .. } => Some(EventKind::HoldCleared),
            Phase::CountingDown { .. } => Some(EventKind::RollbackStopped),
            _ => None,
        };
        if let Some(kind) = kind {
            let mut event = self.event_about(kind, &watch);
            event.reason = Some("no machine runs this release any more".to_owned());
            self.events.push(event);
        }
        // What was not trusted before is news, and is watched from the next round on.
        let runs = fleet::most_common(machines);
        if let Some(runs) = runs.filter(|runs| self.is_trusted(runs)) {
            fleet::make_current(&mut self.state, runs, now);
        }
        self.state.phase = Phase::Steady;
        true
    }

    /// Takes a round into a watch.
    fn look_again(&mut self, watch: &mut Watch, machines: &[&Machine], observation: &Observation) {
        let known_good = self.state.known_good().cloned();
        let digest = known_good.as_ref().map(|trusted| &trusted.revision.digest);
        watch::absorb(self.policy, watch, machines, observation, digest, self.now);
        verdict::refresh(self.policy, watch, known_good.as_ref(), machines, self.now);
    }

    fn watching(
        &mut self,
        mut watch: Box<Watch>,
        machines: &[&Machine],
        observation: &Observation,
    ) -> Phase {
        self.look_again(&mut watch, machines, observation);
        self.notices_unmatched(&mut watch);
        self.alert(&mut watch);
        match verdict::overall(&watch.evidence) {
            Verdict::Breach if self.cannot_see(&watch.evidence).is_some() => Phase::Watching(watch),
            Verdict::Breach => self.degraded(watch, observation),
            Verdict::Inconclusive => Phase::Watching(watch),
            Verdict::Pass => self.trust_if_baked(watch, machines),
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
        let digest = watch.revision.digest.clone();
        self.state.suspects.retain(|old| *old != digest);
        self.state.suspects.insert(0, digest);
        self.state.suspects.truncate(state::SUSPECTS_MAX);
        self.decide_rollback(watch, observation)
    }

    fn decide_rollback(&mut self, watch: Box<Watch>, observation: &Observation) -> Phase {
        if let Some(reason) =
            guards::refusal(self.policy, &self.state, &watch, observation, self.now)
        {
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
        self.look_again(&mut watch, machines, observation);
        if verdict::overall(&watch.evidence) != Verdict::Breach {
            let mut event = self.event_about(EventKind::RollbackStopped, &watch);
            event.reason = Some("recovered during the countdown".to_owned());
            self.events.push(event);
            watch.recovered_at = Some(self.now);
            return Phase::Watching(watch);
        }
        if let Some(why) = self.cannot_see(&watch.evidence) {
            return self.cancel_countdown(watch, why);
        }
        // Whatever forbids it by now: the policy may have been changed since.
        let refusal = guards::refusal(self.policy, &self.state, &watch, observation, self.now);
        if let Some(reason) = refusal {
            let phase = self.cancel_countdown(watch, &reason.to_string());
            return match phase {
                Phase::Watching(watch) => self.hold(watch, reason),
                other => other,
            };
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
    fn trust_if_baked(&mut self, watch: Box<Watch>, machines: &[&Machine]) -> Phase {
        let blind = self.state.metrics_blind.is_some();
        let baked = verdict::bake_ends(self.policy, &watch).is_some_and(|end| self.now >= end);
        let exercised = verdict::is_exercised(self.policy, &watch, self.now);
        if blind || !baked || !exercised || verdict::leans_against(&watch.evidence) {
            return Phase::Watching(watch);
        }
        self.events.push(self.event_about(EventKind::ReleaseTrusted, &watch));
        let revision = watch.revision.clone();
        self.state.trusted.retain(|trusted| trusted.revision.digest != revision.digest);
        self.state.quarantined.retain(|old| old.digest != revision.digest);
        self.state.suspects.retain(|old| *old != revision.digest);
        let counted = watch.crashes.len().max(1);
        let exits: u32 = watch.crashes.values().map(|count| count.exits).sum();
        let trusted = Trusted {
            revision: revision.clone(),
            at: self.now,
            image_checked_at: None,
            image_missing: false,
            crashes_per_machine: f64::from(exits)
                / f64::from(u32::try_from(counted).unwrap_or(u32::MAX)),
            failing: verdict::failing_checks(&watch, machines),
        };
        self.state.trusted.insert(0, trusted);
        self.state.trusted.truncate(TRUSTED_MAX);
        self.command(Command::CheckImage { image: revision.image, before_use: false });
        Phase::Steady
    }

    /// Starts a watch, or yields a rollback, when somebody ships something newer.
    fn newer_release(&mut self, machines: &[&Machine], observation: &Observation) -> bool {
        let ledger = observation.ledger.as_deref();
        self.minds_rivals(machines, ledger);
        let Some(newest) = fleet::newest_change(&self.state, machines, ledger) else {
            return false;
        };
        let learning = self.state.current.is_none();
        let numbered = learning || fleet::is_numbered(&self.state, &newest);
        if !numbered && self.is_occupied() {
            // An image put on a machine by hand waits until the release under way is done with.
            return false;
        }
        self.leave(&newest);
        let quarantined = self.state.quarantined.iter().any(|old| old.digest == newest.digest);
        let mut watch = watch::begin(newest.clone(), self.now, learning);
        watch.no_mercy = quarantined;
        watch.numbered = numbered;
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
        if let Some(ledger) = ledger {
            fleet::learn_from_ledger(&mut self.state, ledger);
        }
        true
    }

    /// Whether a release with a number of its own is being dealt with.
    fn is_occupied(&self) -> bool {
        match &self.state.phase {
            Phase::Watching(watch) | Phase::Held { watch, .. } => watch.numbered,
            Phase::CountingDown { .. } | Phase::CheckingImage { .. } | Phase::RollingBack(_) => {
                true
            }
            Phase::Unseen | Phase::Steady | Phase::RolledBack(_) | Phase::Stopped { .. } => false,
        }
    }

    /// Says what ends because something newer came.
    fn leave(&mut self, newest: &Revision) {
        let newer = format!("a newer release came: {}", newest.label());
        let phase = std::mem::replace(&mut self.state.phase, Phase::Unseen);
        let (kind, watch) = match phase {
            Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => {
                (EventKind::RollbackStopped, watch)
            }
            Phase::Held { watch, .. } => (EventKind::HoldCleared, watch),
            Phase::RollingBack(rollback) => {
                self.state.phase = self.stop_for_rival(&rollback, &newest.label());
                return;
            }
            Phase::Stopped { rollback, .. } => {
                let mut event = self.rollback_event(EventKind::HoldCleared, &rollback);
                event.reason = Some(newer);
                self.events.push(event);
                return;
            }
            Phase::Unseen | Phase::Watching(_) | Phase::Steady | Phase::RolledBack(_) => return,
        };
        let mut event = self.event_about(kind, &watch);
        event.reason = Some(newer);
        self.events.push(event);
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
            Outcome::ReleaseClosed => self.release_closed(&command),
            Outcome::ReleaseLeftOpen => self.release_left_open(&command),
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

#[cfg(test)]
mod tests;
