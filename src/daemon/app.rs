//! One app's task: observe → decide → record → act, for as long as the app is watched.
//!
//! The task holds the only copy of the app's state. Whatever a step decided is committed to the
//! journal first; only then are its commands begun and its events told. A restart is nothing
//! special: the state is loaded, and the commands in it that are not known to be done are begun
//! again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::{info, warn};

use super::{
    Ports, document,
    logs::{self, LogLines},
    observe,
    orders::{self, Ordered},
    pace::{self, Pace},
    repeats::Repeats,
    shared::Shared,
    unreadable::Unreadable,
    writer,
};
use crate::{
    config::Config,
    decide::{AppState, Command, CommandId, Input, Outcome, Transition, distress, step},
    model::{AppName, Machine, MachineId, Observation, Order, Policy, Reply},
    store::StoreError,
};

/// Two rounds are never further apart, whatever the clock of the day does.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// How often the ledger is read while a release is watched, and otherwise.
const LEDGER_EVERY: Duration = Duration::from_secs(10);
const LEDGER_EVERY_IDLE: Duration = Duration::from_secs(60);
/// and no more often than with so many rounds.
const LEDGER_ROUNDS_IDLE: u32 = 4;
/// How long commands under way may take to give their leases back when the daemon stops.
const FAREWELL: Duration = Duration::from_secs(4);
/// How soon what could not be recorded is tried again.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// Attempts to write a commit before the journal counts as one that cannot be written.
pub(super) const COMMIT_ATTEMPTS: u32 = 5;
pub(super) const COMMIT_RETRY_AFTER: Duration = Duration::from_millis(200);

mod let_go;

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
    /// Ends this task alone, in the same way: its app is gone.
    pub dismissed: watch::Receiver<bool>,
    pub installation: String,
}

/// Where a task is: the app's state as recorded, and what is under way.
struct Course {
    state: AppState,
    /// The journal's revision of `state`.
    revision: u64,
    /// The policy as of the last round.
    policy: Option<Arc<Policy>>,
    work: JoinSet<Done>,
    /// Calls commands off that were decided and are not wanted any more.
    under_way: BTreeMap<CommandId, watch::Sender<bool>>,
    /// A round is being observed.
    looking: bool,
    next_round: Instant,
    /// Whether another app began to be in distress.
    alarms: watch::Receiver<u64>,
    pace: Pace,
    ledger_read: Option<Instant>,
    observed_at: Instant,
    /// Machines whose metrics could not be read in the last round, and why.
    unread: BTreeMap<MachineId, String>,
    /// The app's machines as they were listed last: what an operator's order is about.
    machines: Vec<Machine>,
    /// What was told lately.
    repeats: Repeats,
    /// What came of commands and could not be recorded, oldest first.
    parked: VecDeque<Input>,
    parked_until: Instant,
    lines: LogLines,
}

enum Next {
    Round,
    Input(Input),
    Order(Ordered),
}

enum Done {
    Observed(Box<Observation>),
    Command(CommandId, Outcome),
    Lines(logs::Fetched),
}

impl AppTask {
    /// Runs until told to stop.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read or written: without it nothing may be decided.
    pub async fn run(self, mut orders: mpsc::Receiver<Ordered>) -> anyhow::Result<()> {
        let mut course = match self.load().await? {
            Ok(course) => course,
            Err(unreadable) => {
                self.stand_by(unreadable).await;
                return Ok(());
            }
        };
        if let Some(distress) = distress::of(&course.state) {
            // Known before the others act: a restart forgets nothing.
            self.shared.hear(&self.app, Some(distress), None);
        }
        self.tell_if_readable_again().await;
        self.shared.rolled_back(&self.app, &course.state.memory.rollbacks);
        let Some(policy) = self.policy().or_else(|| self.stand_in(&course)) else { return Ok(()) };
        course.policy = Some(policy.clone());
        let pending = course.state.memory.pending.clone();
        if !pending.is_empty() {
            self.take(&mut course, &policy, &Input::Restarted).await?;
        }
        for (id, command) in pending {
            info!(app = %self.app, "{}: taken up again: {}", self.app, command.describe());
            self.begin(&mut course, id, command);
        }
        self.stand_to(&mut course).await?;
        let mut stop = std::pin::pin!(self.ends());
        loop {
            let next = tokio::select! {
                biased;
                () = &mut stop => {
                    wind_down(course.work).await;
                    return Ok(());
                }
                Some(ordered) = orders.recv() => Next::Order(ordered),
                next = self.next(&mut course) => next?,
            };
            let Some(policy) = self.policy() else {
                return self.let_go(course).await;
            };
            course.policy = Some(policy.clone());
            match next {
                Next::Round => self.look(&mut course, policy),
                Next::Input(input) => {
                    self.take(&mut course, &policy, &input).await?;
                }
                Next::Order(Ordered { order, recorded }) => {
                    let machines = course.machines.clone();
                    let input = Input::Operator { order, machines };
                    if let Some(reply) = self.take(&mut course, &policy, &input).await? {
                        // Whoever asked may have gone meanwhile.
                        let _gone = recorded.send(reply).is_err();
                    }
                }
            }
        }
    }

    /// Takes the order that was noted while this task did not run.
    async fn stand_to(&self, course: &mut Course) -> anyhow::Result<()> {
        let order = orders::standing(self.ports.journal.as_ref(), Some(&self.app)).await;
        let order = order.context("read the orders")?;
        let (Some(order), Some(policy)) = (order, self.policy()) else { return Ok(()) };
        let known = course.state.memory.operator_hold.as_ref();
        let obeyed = match &order {
            // One that has run out needs no words any more.
            Order::Hold(hold) => known == Some(hold) || !hold.is_on(self.ports.clock.now()),
            Order::Unhold(_) => known.is_none(),
            // Done once, and not noted.
            Order::Act { .. } => true,
        };
        if obeyed {
            return Ok(());
        }
        let machines = Vec::new();
        self.take(course, &policy, &Input::Operator { order, machines }).await?;
        Ok(())
    }

    /// The outer error is the journal's, the inner one is about this app alone.
    async fn load(&self) -> anyhow::Result<Result<Course, Unreadable>> {
        let stored = match self.ports.journal.load(&self.app).await {
            Ok(stored) => stored,
            Err(error @ StoreError::Unreadable(_)) => return Ok(Err(error.into())),
            Err(error) => return Err(error).context("read the journal"),
        };
        let (state, revision) = match stored {
            Some(stored) => match document::read(&self.app, &stored.state) {
                Ok(state) => (state, stored.revision),
                Err(reason) => {
                    return Ok(Err(Unreadable { revision: stored.revision, reason }));
                }
            },
            None => (AppState::new(self.app.clone()), 0),
        };
        Ok(Ok(Course {
            state,
            revision,
            policy: None,
            work: JoinSet::new(),
            under_way: BTreeMap::new(),
            looking: false,
            next_round: Instant::now(),
            pace: Pace::default(),
            ledger_read: None,
            observed_at: Instant::now(),
            unread: BTreeMap::new(),
            machines: Vec::new(),
            repeats: Repeats::default(),
            parked: VecDeque::new(),
            parked_until: Instant::now(),
            lines: LogLines::default(),
            alarms: self.shared.alarms(),
        }))
    }

    /// Waits for what comes next. Nothing is lost when this is dropped half way.
    async fn next(&self, course: &mut Course) -> anyhow::Result<Next> {
        loop {
            tokio::select! {
                biased;
                Some(done) = course.work.join_next(), if !course.work.is_empty() => {
                    return match done {
                        Ok(Done::Observed(observation)) => {
                            course.looking = false;
                            Ok(Next::Input(Input::Observed(*observation)))
                        }
                        Ok(Done::Command(command, outcome)) => {
                            Ok(Next::Input(Input::Finished { command, outcome }))
                        }
                        Ok(Done::Lines(fetched)) => {
                            course.lines.take(fetched);
                            continue;
                        }
                        Err(error) => anyhow::bail!("a task of {} ended: {error}", self.app),
                    };
                }
                () = tokio::time::sleep_until(course.parked_until), if !course.parked.is_empty() => {
                    if let Some(input) = course.parked.pop_front() {
                        return Ok(Next::Input(input));
                    }
                }
                Ok(()) = course.alarms.changed(), if !course.looking => {
                    course.next_round = course.next_round.min(course.pace.earliest().unwrap_or_else(Instant::now));
                }
                () = self.nudge.notified(), if !course.looking => {
                    course.next_round = course.next_round.min(course.pace.earliest().unwrap_or_else(Instant::now));
                }
                () = tokio::time::sleep_until(course.next_round), if !course.looking => {
                    return Ok(Next::Round);
                }
            }
        }
    }

    /// Decides what an input means, records it, and begins what follows. What cannot be recorded has
    /// no effect: a round is looked at again, an order that takes effect once is answered with
    /// nothing, everything else is kept until it can. Answers with what came of an order.
    async fn take(
        &self,
        course: &mut Course,
        policy: &Policy,
        input: &Input,
    ) -> anyhow::Result<Option<Reply>> {
        self.log_outcome(&course.state, input);
        let now = self.ports.keep_time();
        let Transition { state, commands, mut events, wake_at, reply } =
            step(policy, course.state.clone(), input, now);
        if let Input::Observed(observation) = input {
            self.note_blindness(course);
            self.note_unread(&mut course.unread, observation);
            if let Ok(machines) = &observation.machines {
                course.lines.attach(&mut events, machines);
            }
        }
        if state != course.state || !events.is_empty() || course.repeats.is_overdue(now) {
            let recording = self.record(course.revision, &state, &events, &mut course.repeats);
            let Some(revision) = recording.await? else {
                course.postpone(input);
                return Ok(None);
            };
            course.revision = revision;
        }
        if course.state.memory.rollbacks != state.memory.rollbacks {
            self.shared.rolled_back(&self.app, &state.memory.rollbacks);
        }
        course.state = state;
        let pending = &course.state.memory.pending;
        course.under_way.retain(|id, call_off| {
            let wanted = pending.contains_key(id);
            if !wanted {
                call_off.send_replace(true);
            }
            wanted
        });
        for id in commands {
            if let Some(command) = course.state.memory.pending.get(&id) {
                self.begin(course, id, command.clone());
            }
        }
        if matches!(input, Input::Observed(_)) {
            let state = &course.state;
            self.shared.hear(&self.app, distress::of(state), distress::wellness(state));
            let memory = &state.memory;
            if let Some((runs, since)) = memory.current.as_ref().zip(memory.current_since)
                && memory.previous.is_some()
            {
                self.shared.runs(&self.app, since, &runs.label());
            }
        }
        let mut view = super::view::app_view(&course.state, policy, now);
        view.unread.clone_from(&course.unread);
        view.operator_hold = view.operator_hold.filter(|hold| hold.is_on(now));
        if let Input::Observed(observation) = input
            && let Ok(machines) = &observation.machines
        {
            course.machines.clone_from(machines);
            let suspicious = view.evidence.iter().any(logs::is_suspicious);
            self.fetch_lines(course, machines, suspicious);
        }
        self.ports.board.know(&self.app, super::known::releases(&course.state));
        let explained = super::explained::explained(&course.state, &course.machines, (policy, now));
        self.ports.board.explain(&self.app, explained);
        self.ports.board.publish(view);
        // A round is never far behind: the clock of the day may be put back.
        let pause = Duration::try_from(wake_at.duration_since(self.ports.clock.now()));
        let pause = pause.unwrap_or(Duration::ZERO).min(PAUSE_MAX);
        let wanted = Instant::now() + pace::spread(&self.app, pause, self.shared.apps());
        course.next_round = course.pace.earliest().map_or(wanted, |earliest| wanted.max(earliest));
        Ok(reply)
    }

    fn note_blindness(&self, course: &mut Course) {
        let passed = std::mem::replace(&mut course.observed_at, Instant::now()).elapsed();
        let memory = &course.state.memory;
        if memory.platform_blind.is_some() || !memory.blind.is_empty() {
            self.ports.board.blind_for(passed);
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

    /// Completes when the task has to end.
    pub(super) fn ends(&self) -> impl Future<Output = ()> + Send + use<> {
        let (stop, dismissed) = (self.stop.clone(), self.dismissed.clone());
        async move {
            tokio::select! {
                () = super::until(stop) => {}
                () = super::until(dismissed) => {}
            }
        }
    }

    pub(super) fn policy(&self) -> Option<Arc<Policy>> {
        let policy = self.config.borrow().policy_for(&self.app)?;
        Some(self.shared.beside.keep(policy, self.shared.apps()))
    }

    fn look(&self, course: &mut Course, policy: Arc<Policy>) {
        let AppState { phase, memory } = &course.state;
        let active = phase.is_active(memory, self.ports.clock.now());
        let idle = LEDGER_EVERY_IDLE.max(policy.watch.idle_scrape_every * LEDGER_ROUNDS_IDLE);
        let every = if active { LEDGER_EVERY } else { idle };
        let ledger_due = course.ledger_read.is_none_or(|last| last.elapsed() >= every);
        if ledger_due {
            course.ledger_read = Some(Instant::now());
        }
        course.pace.begin(Instant::now());
        course.looking = true;
        let (ports, shared) = (self.ports.clone(), self.shared.clone());
        let look = observe::Look {
            app: self.app.clone(),
            policy,
            seen_version: course.state.memory.seen_version,
            ledger_due,
        };
        course.work.spawn(async move {
            Done::Observed(Box::new(observe::observe(&ports, &shared, &look).await))
        });
    }

    /// Fetches log lines beside the rounds, so that they are there when something is told of.
    fn fetch_lines(&self, course: &mut Course, machines: &[Machine], suspicious: bool) {
        let wanted = course.lines.wanted(machines, suspicious);
        if wanted.is_empty() {
            return;
        }
        let (ports, app) = (self.ports.clone(), self.app.clone());
        course.work.spawn(async move { Done::Lines(logs::fetch(&ports, &app, wanted).await) });
    }

    fn begin(&self, course: &mut Course, id: CommandId, command: Command) {
        let (ports, app, stop) = (self.ports.clone(), self.app.clone(), self.stop.clone());
        let (call_off, called_off) = watch::channel(false);
        course.under_way.insert(id, call_off);
        course.work.spawn(async move {
            let (end, ends) = watch::channel(false);
            let mut work = std::pin::pin!(writer::carry_out(&ports, &app, &command, ends));
            let outcome = tokio::select! {
                outcome = &mut work => outcome,
                () = super::until(stop) => {
                    end.send_replace(true);
                    work.await
                }
                () = super::until(called_off) => {
                    // Nobody wants it any more: it gives its lease back, and ends.
                    end.send_replace(true);
                    work.await
                }
            };
            Done::Command(id, outcome)
        });
    }
}

impl Course {
    /// Keeps what could not be recorded.
    fn postpone(&mut self, input: &Input) {
        let again = Instant::now() + RECORD_AGAIN;
        let lasts =
            !matches!(input, Input::Observed(_) | Input::Operator { order: Order::Act { .. }, .. });
        if lasts {
            self.parked.push_front(input.clone());
            self.parked_until = again;
        }
        self.next_round = again;
    }
}

/// Lets what is under way give its leases back; the rest is dropped.
async fn wind_down(mut work: JoinSet<Done>) {
    let ended = async { while work.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, ended).await.is_err() {
        work.abort_all();
    }
}
