//! One app's task: observe → decide → record → act, for as long as the app is watched.
//!
//! The task holds the only copy of the app's state. Whatever a step decided is committed to the
//! journal first; only then are its commands begun and its events told. A restart is nothing
//! special: the state is loaded, and the commands in it that are not known to be done are begun
//! again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{error, info, warn};

use super::{Ports, act, logs, observe, shared::Shared};
use crate::{
    config::Config,
    decide::{AppState, Command, CommandId, Input, Outcome, Transition, step},
    model::{AppName, Event, EventKind, MachineId, Observation, Policy},
    store::{Commit, OutboxEntry, StoreError},
    web::RollbackOutcome,
};

/// Two rounds are at least this far apart, whoever asks for them (the list allows one a second).
const ROUND_GAP: Duration = Duration::from_secs(1);
/// How often the ledger is read while a release is watched, and otherwise.
const LEDGER_EVERY: Duration = Duration::from_secs(10);
const LEDGER_EVERY_IDLE: Duration = Duration::from_secs(60);
/// How long commands under way may take to give their leases back when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(4);
/// Attempts to write a commit before the daemon gives up and is restarted.
const COMMIT_ATTEMPTS: u32 = 5;
const COMMIT_RETRY_AFTER: Duration = Duration::from_millis(200);

/// What an app's task needs.
pub struct AppTask {
    pub app: AppName,
    pub ports: Arc<Ports>,
    pub config: watch::Receiver<Arc<Config>>,
    pub shared: Arc<Shared>,
    /// Asks for a round now.
    pub nudge: Arc<Notify>,
    /// Tells the outbox that there is something to deliver.
    pub mail: Arc<Notify>,
    /// Ends the task; commands under way are dropped, and taken up again by the next start.
    pub stop: watch::Receiver<bool>,
    pub installation: String,
}

enum Done {
    Observed(Box<Observation>),
    Command(CommandId, Outcome),
}

impl AppTask {
    /// Runs until told to stop.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read or written: without it nothing may be decided.
    pub async fn run(self) -> anyhow::Result<()> {
        let stored = self.ports.journal.load(&self.app).await.context("read the journal")?;
        let (mut state, mut revision) = match stored {
            Some(stored) => {
                let state: AppState = serde_json::from_str(&stored.state)
                    .with_context(|| format!("read the stored state of {}", self.app))?;
                (state, stored.revision)
            }
            None => (AppState::new(self.app.clone()), 0),
        };
        let mut work: JoinSet<Done> = JoinSet::new();
        for (id, command) in state.pending.clone() {
            info!(app = %self.app, "{}: taken up again: {}", self.app, command.describe());
            self.begin(&mut work, id, command);
        }
        let mut looking = false;
        let mut next_round = Instant::now();
        let mut last_round: Option<Instant> = None;
        let mut ledger_read: Option<Instant> = None;
        let nudge = self.nudge.clone();
        let mut stop = std::pin::pin!(super::until(self.stop.clone()));
        let mut observed_at = Instant::now();
        let mut unread = BTreeMap::new();
        loop {
            let input = tokio::select! {
                biased;
                () = &mut stop => {
                    wind_down(work).await;
                    return Ok(());
                }
                Some(done) = work.join_next(), if !work.is_empty() => match done {
                    Ok(Done::Observed(observation)) => {
                        looking = false;
                        Input::Observed(*observation)
                    }
                    Ok(Done::Command(command, outcome)) => Input::Finished { command, outcome },
                    Err(error) => anyhow::bail!("a task of {} ended: {error}", self.app),
                },
                () = nudge.notified(), if !looking => {
                    let earliest = last_round.map_or_else(Instant::now, |last| last + ROUND_GAP);
                    next_round = next_round.min(earliest);
                    continue;
                }
                () = tokio::time::sleep_until(next_round), if !looking => {
                    let Some(policy) = self.policy() else {
                        info!(app = %self.app, "{} is not watched any more", self.app);
                        return Ok(());
                    };
                    let every =
                        if state.is_active() { LEDGER_EVERY } else { LEDGER_EVERY_IDLE };
                    let ledger_due = ledger_read.is_none_or(|last| last.elapsed() >= every);
                    if ledger_due {
                        ledger_read = Some(Instant::now());
                    }
                    last_round = Some(Instant::now());
                    looking = true;
                    self.look(&mut work, &state, policy, ledger_due);
                    continue;
                }
            };
            let Some(policy) = self.policy() else { return Ok(()) };
            let was_command = matches!(input, Input::Finished { .. });
            if !was_command {
                let passed = std::mem::replace(&mut observed_at, Instant::now()).elapsed();
                if state.platform_blind.is_some() || state.metrics_blind.is_some() {
                    self.ports.board.blind_for(passed);
                }
            }
            self.log_outcome(&state, &input);
            if let Input::Observed(observation) = &input {
                self.note_unread(&mut unread, observation);
            }
            let now = self.ports.clock.now();
            let Transition { state: next, commands, mut events } =
                step(&policy, state.clone(), &input, now);
            if let Input::Observed(Observation { machines: Ok(machines), .. }) = &input {
                logs::attach(&self.ports, &self.app, &mut events, machines).await;
            }
            if next != state || !events.is_empty() {
                revision = self.record(revision, &next, &events).await?;
            }
            state = next;
            for id in commands {
                if let Some(command) = state.pending.get(&id) {
                    self.begin(&mut work, id, command.clone());
                }
            }
            self.publish(&state, &unread);
            let pace = if state.is_active() {
                policy.watch.scrape_every
            } else {
                policy.watch.idle_scrape_every
            };
            let since = last_round.unwrap_or_else(Instant::now);
            // A command's outcome is worth a look at once.
            next_round = since + if was_command { ROUND_GAP } else { pace.max(ROUND_GAP) };
        }
    }

    fn policy(&self) -> Option<Arc<Policy>> {
        self.config.borrow().policy_for(&self.app)
    }

    fn look(
        &self,
        work: &mut JoinSet<Done>,
        state: &AppState,
        policy: Arc<Policy>,
        ledger_due: bool,
    ) {
        let (ports, shared) = (self.ports.clone(), self.shared.clone());
        let look = observe::Look {
            app: self.app.clone(),
            policy,
            seen_version: state.seen_version,
            ledger_due,
        };
        work.spawn(async move {
            Done::Observed(Box::new(observe::observe(&ports, &shared, &look).await))
        });
    }

    fn begin(&self, work: &mut JoinSet<Done>, id: CommandId, command: Command) {
        let (ports, app, stop) = (self.ports.clone(), self.app.clone(), self.stop.clone());
        work.spawn(
            async move { Done::Command(id, act::carry_out(&ports, &app, &command, stop).await) },
        );
    }

    /// Writes state, events and outbox in one transaction.
    async fn record(
        &self,
        revision: u64,
        state: &AppState,
        events: &[Event],
    ) -> anyhow::Result<u64> {
        let config = self.config.borrow().clone();
        let mut commit = Commit { state: serde_json::to_string(state)?, ..Commit::default() };
        for (index, event) in events.iter().enumerate() {
            // Made from the revision, so that a repeated commit carries the same ids.
            let id = format!("msg_{}_{}_{}_{index}", self.installation, self.app, revision + 1);
            for receiver in config.receivers.values() {
                if receiver.events.is_empty() || receiver.events.contains(&event.kind) {
                    commit.outbox.push(OutboxEntry {
                        receiver: receiver.name.clone(),
                        message_id: id.clone(),
                        event: event.clone(),
                    });
                }
            }
            commit.events.push((id, event.clone()));
        }
        let now = self.ports.clock.now();
        let mut attempt = 0;
        let revision = loop {
            attempt += 1;
            let commit = commit.clone();
            match self.ports.journal.commit(&self.app, revision, commit, now).await {
                Ok(revision) => break revision,
                Err(StoreError::Failed(reason)) if attempt < COMMIT_ATTEMPTS => {
                    warn!(app = %self.app, "{}: not recorded, trying again: {reason}", self.app);
                    tokio::time::sleep(COMMIT_RETRY_AFTER * attempt).await;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("record {}", self.app));
                }
            }
        };
        for event in events {
            self.told(event);
        }
        if !commit.outbox.is_empty() {
            self.mail.notify_one();
        }
        Ok(revision)
    }

    fn told(&self, event: &Event) {
        let text = crate::notify::text::sentence(event);
        let name = event.kind.as_str();
        match event.kind {
            EventKind::HoldPlaced
            | EventKind::RollbackFailed
            | EventKind::MonitorBlind
            | EventKind::ImageMissing => error!(app = %self.app, event = name, "{text}"),
            EventKind::ReleaseDegraded
            | EventKind::RollbackStopped
            | EventKind::ImageMixed
            | EventKind::ConfigRejected => warn!(app = %self.app, event = name, "{text}"),
            EventKind::ReleaseDetected
            | EventKind::ReleaseTrusted
            | EventKind::RollbackPlanned
            | EventKind::RollbackStarted
            | EventKind::RollbackRegionConfirmed
            | EventKind::RollbackCompleted
            | EventKind::HoldCleared
            | EventKind::MonitorRecovered
            | EventKind::ConfigReloaded => info!(app = %self.app, event = name, "{text}"),
        }
        let ended = match event.kind {
            EventKind::RollbackCompleted => Some(RollbackOutcome::Completed),
            EventKind::RollbackStopped => Some(RollbackOutcome::Stopped),
            EventKind::RollbackFailed => Some(RollbackOutcome::Failed),
            _ => None,
        };
        if let Some(outcome) = ended {
            self.ports.board.rollback_ended(outcome);
        }
        if event.kind == EventKind::ReleaseDegraded {
            let regions: BTreeSet<_> =
                event.regions.iter().map(|report| report.region.clone()).collect();
            self.shared.degraded(&self.app, event.at, regions);
        }
    }

    fn log_outcome(&self, state: &AppState, input: &Input) {
        let Input::Finished { command, outcome } = input else { return };
        if let Some(command) = state.pending.get(command) {
            info!(app = %self.app, "{}: {}: {outcome:?}", self.app, command.describe());
        }
    }

    fn publish(&self, state: &AppState, unread: &BTreeMap<MachineId, String>) {
        if let Some(policy) = self.policy() {
            let mut view = super::view::app_view(state, &policy);
            view.unread.clone_from(unread);
            self.ports.board.publish(view);
        }
    }

    /// Keeps which machines' metrics cannot be read, and says what changed.
    fn note_unread(&self, unread: &mut BTreeMap<MachineId, String>, observation: &Observation) {
        if observation.machines.is_err() {
            return;
        }
        let app = &self.app;
        let mut now = BTreeMap::new();
        for sample in &observation.samples {
            let machine = &sample.machine;
            match &sample.readings {
                Err(reason) => {
                    if !unread.contains_key(machine) {
                        warn!(app = %app, "{app}: metrics of {machine} cannot be read: {reason}");
                    }
                    now.insert(machine.clone(), reason.clone());
                }
                Ok(_) if unread.contains_key(machine) => {
                    info!(app = %app, "{app}: metrics of {machine} can be read again");
                }
                Ok(_) => {}
            }
        }
        *unread = now;
    }
}

/// Lets what is under way give its leases back; the rest is dropped.
async fn wind_down(mut work: JoinSet<Done>) {
    let ended = async { while work.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, ended).await.is_err() {
        work.abort_all();
    }
}
