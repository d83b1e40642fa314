//! Decides: what one round's facts, or one command's outcome, mean for an app.
//!
//! [`step`] is a pure function of the policy, the remembered state, the input and the time. It
//! never fails: what cannot be judged is inconclusive, what must not be done is a hold with its
//! reason. Commands and events come back as values; the caller stores them together with the new
//! state before anything is carried out or told.
//!
//! Behind it each phase is a function (`phases/`, and `rollback/` for the undoing) of its own data,
//! the round's facts and the [`Context`], which holds the policy, the time and what is remembered
//! of the app, to the next phase. Every way to a rollback leads through one door (`door`).

mod aftermath;
mod alerts;
mod arrivals;
pub mod changes;
pub mod command;
mod compared;
mod dispersion;
pub mod distress;
mod door;
mod endpoints;
mod fleet;
mod floor;
mod groups;
mod guards;
pub mod hands;
mod images;
mod late;
mod mirror;
pub mod name;
mod phases;
pub mod rival;
pub mod rollback;
mod setup;
pub mod sight;
pub mod silence;
mod spells;
pub mod state;
pub mod suspects;
pub mod trust;
mod unjudged;
mod verdict;
mod voucher;
mod wake;
mod watch;

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

pub use command::{
    Command, CommandId, Input, Outcome, PutImage, PutOutcome, StartMachine, StartOutcome,
};
pub use guards::ran_before;
pub use state::AppState;
pub use trust::bake_ends;

use crate::model::{
    Event, EventKind, Machine, Observation, Policy, ProcessGroup, Reason, Reply, event::ReleaseInfo,
};
use state::{Memory, Phase, Quarantined, Revision, Watch};

/// What a step decided.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// To be stored before anything is done. Holds the commands that are pending.
    pub state: AppState,
    /// New commands, oldest first; they are in `state.memory.pending` too.
    pub commands: Vec<CommandId>,
    /// What happened, to be told; in order.
    pub events: Vec<Event>,
    /// When the next round is wanted; one that is past means as soon as there can be one.
    pub wake_at: Timestamp,
    /// What came of an operator's order; `None`: there was none.
    pub reply: Option<Reply>,
}

/// What every phase works with besides its own data: the policy, the time, what is remembered of
/// the app, and what came out so far.
struct Context<'a> {
    policy: &'a Policy,
    now: Timestamp,
    memory: Memory,
    commands: Vec<CommandId>,
    events: Vec<Event>,
}

/// What one round saw: the machines that count, and the rest.
#[derive(Clone, Copy)]
struct Round<'a> {
    machines: &'a [&'a Machine],
    observation: &'a Observation,
}

/// Decides what one input means.
pub fn step(policy: &Policy, state: AppState, input: &Input, now: Timestamp) -> Transition {
    let AppState { memory, phase } = state;
    let mut cx = Context { policy, now, memory, commands: Vec::new(), events: Vec::new() };
    let mut reply = None;
    let phase = match input {
        Input::Observed(observation) => observed(phase, &mut cx, observation),
        Input::Finished { command, outcome } => finished(phase, &mut cx, *command, outcome),
        Input::Restarted => rollback::restarted(phase, now),
        Input::Unwatched => {
            cx.memory.pending.retain(|_, command| !command.is_beside());
            phases::unwatched(phase, &mut cx)
        }
        Input::Operator { order, machines } => {
            let (phase, answer) = hands::obey(phase, &mut cx, order, machines);
            reply = Some(answer);
            phase
        }
    };
    let wake_at = wake::at(policy, &phase, &cx.memory, input, now);
    let state = AppState { memory: cx.memory, phase };
    Transition { state, commands: cx.commands, events: cx.events, wake_at, reply }
}

fn observed(phase: Phase, cx: &mut Context<'_>, observation: &Observation) -> Phase {
    let machines = match &observation.machines {
        Ok(machines) => {
            fleet::note_release_command(&mut cx.memory, machines, cx.now);
            fleet::judged(machines)
        }
        Err(detail) => return sight::platform_unseen(phase, cx, detail, &observation.org),
    };
    if let Some(nonsense) = sight::makes_no_sense(&phase, &machines) {
        return sight::platform_unseen(phase, cx, nonsense, &observation.org);
    }
    sight::platform_seen(cx);
    cx.memory.org.clone_from(&observation.org);
    setup::note_secrets(cx, observation.secrets.as_ref());
    let round = Round { machines: &machines, observation };
    sight::sees_metrics(cx, &round);
    verdict::learn_jobs(&mut cx.memory, &machines);
    let phase = arrivals::take_in(phase, cx, &round);
    fleet::note_members(&mut cx.memory, &machines);
    silence::note(cx.policy, &mut cx.memory, &round, cx.now);
    let phase = phases::advance(phase, cx, &round);
    sight::notices_mixed_images(&phase, cx, &machines);
    groups::tell_of_unwatched(cx, &phase, &machines);
    groups::keep(cx, &phase, &machines);
    changes::note(cx, &phase, &round);
    floor::keep(cx, &phase, &round);
    dispersion::keep(cx, &phase);
    setup::keep(cx, &machines);
    images::look_daily(cx);
    mirror::keep_copied(cx);
    rollback::close_what_was_left_open(cx);
    rollback::start_what_was_left_down(cx, &round);
    phase
}

fn finished(phase: Phase, cx: &mut Context<'_>, id: CommandId, outcome: &Outcome) -> Phase {
    let Some(command) = cx.memory.pending.remove(&id) else {
        // Decided by a state that was left since; whoever left it accounted for it.
        return phase;
    };
    match outcome {
        Outcome::ImagePresent => images::present(phase, cx, &command),
        Outcome::ImageMissing => images::missing(phase, cx, &command),
        Outcome::ImageUnknown { reason } => images::unknown(phase, cx, &command, reason),
        Outcome::Mirrored => {
            mirror::copied(cx, &command);
            phase
        }
        Outcome::MirrorFailed { trouble, reason } => {
            mirror::copy_failed(cx, &command, *trouble, reason);
            phase
        }
        Outcome::ReleaseOpened { id, version } => rollback::release_opened(phase, cx, id, *version),
        Outcome::LedgerRefused { reason } => rollback::ledger_refused(phase, reason),
        Outcome::ReleaseClosed => {
            rollback::release_closed(cx, &command);
            phase
        }
        Outcome::ReleaseLeftOpen => {
            rollback::release_left_open(cx, &command);
            phase
        }
        Outcome::Put(outcome) => rollback::put_finished(phase, cx, &command, outcome),
        // Nothing orders a start yet.
        Outcome::Start(outcome) => {
            rollback::start_finished(cx, &command, outcome);
            phase
        }
    }
}

impl Context<'_> {
    fn quarantine(&mut self, revision: &Revision, groups: &BTreeSet<ProcessGroup>) {
        self.memory.quarantined.insert(
            0,
            Quarantined {
                digest: revision.digest.clone(),
                version: revision.version,
                at: self.now,
                unfinished: false,
                image: Some(revision.image.clone()),
                groups: groups.clone(),
            },
        );
        self.memory.quarantined.truncate(state::QUARANTINED_MAX);
    }

    /// Makes a release one to go back to, the newest of them.
    fn trust(&mut self, mut trusted: state::Trusted) {
        let digest = trusted.revision.digest.clone();
        let memory = &mut self.memory;
        let before = memory.trusted.iter().find(|old| old.revision.digest == digest);
        trusted.mirror = before.and_then(|old| old.mirror.clone());
        memory.trusted.retain(|old| old.revision.digest != digest);
        memory.quarantined.retain(|old| old.digest != digest);
        memory.suspects.retain(|old| *old != digest);
        memory.trusted.insert(0, trusted);
        setup::bound_texts(memory);
        if memory.trusted.len() > state::TRUSTED_MAX {
            // The oldest goes, but for one that a person pinned, and the newest that a process
            // group with images of its own has.
            let pinned = memory.pinned.as_ref().map(|pinned| &pinned.digest);
            let may_go = |place: &usize| {
                memory.trusted.get(*place).is_some_and(|old| Some(&old.revision.digest) != pinned)
            };
            let mut places = (0..memory.trusted.len()).rev().filter(may_go);
            let oldest = places.clone().find(|place| !groups::is_last_of_a_group(memory, *place));
            if let Some(oldest) = oldest.or_else(|| places.next()) {
                memory.trusted.remove(oldest);
            }
        }
    }

    fn command(&mut self, command: Command) -> CommandId {
        let id = self.memory.next_command;
        self.memory.next_command += 1;
        self.memory.pending.insert(id, command);
        self.commands.push(id);
        id
    }

    fn known_good_info(&self) -> Option<ReleaseInfo> {
        self.memory.known_good().map(|trusted| trusted.revision.info())
    }

    /// An event about the release of a watch.
    fn event_about(&self, kind: EventKind, watch: &Watch) -> Event {
        let mut event = Event::new(kind, self.now, Some(self.memory.app.clone()));
        event.release = Some(watch.revision.info());
        let good = self.memory.known_good_for(&watch.groups);
        event.known_good = good.map(|good| good.revision.info());
        event.evidence = watch.evidence.clone();
        if kind.is_about_undoing() {
            event.drift = good
                .and_then(|good| setup::drift(self.policy, &self.memory, &good.revision, watch));
        }
        event.after_s = Some(self.now.duration_since(watch.since).as_secs_f64());
        event.ran_before = watch.learning;
        event
    }

    /// Tells of something about the release of a watch.
    fn tell(&mut self, kind: EventKind, watch: &Watch, reason: impl Into<Option<Reason>>) {
        let mut event = self.event_about(kind, watch);
        event.reason = reason.into();
        self.events.push(event);
    }

    /// Tells of something about what the app runs.
    fn say(&mut self, kind: EventKind, reason: Reason) {
        let mut event = Event::new(kind, self.now, Some(self.memory.app.clone()));
        event.release = self.memory.current.as_ref().map(Revision::info);
        event.known_good = self.known_good_info();
        event.reason = Some(reason);
        self.events.push(event);
    }

    /// Whether it is trusted or baked.
    fn has_earned(&self, target: &Revision) -> bool {
        let baked = self.memory.baked.as_ref();
        self.is_trusted(target) || baked.is_some_and(|one| one.revision.digest == target.digest)
    }

    fn is_trusted(&self, target: &Revision) -> bool {
        let mut trusted = self.memory.trusted.iter();
        trusted.any(|one| one.revision.digest == target.digest && one.revoked.is_none())
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
