//! One attempt at one machine, from taking its lease to giving it back.

use std::time::Duration;

use super::{
    Answer, Call, HeldLease, Next, Now, Renewal,
    await_ready::{self, Goal, Look, Readying, Wanted},
    containers,
    outcomes::{from_error, gone_or_not, held_by, look, unavailable},
    start_machine, update_machine,
};
use crate::{
    decide::{Outcome, PutImage, PutOutcome, StartMachine, StartOutcome, rival::Verified},
    model::{Machine, MachineId, Release},
    ports::{Lease, MachineUpdate, PlatformError},
};

/// What a call may take, beyond the client's own deadlines.
pub(super) const CALL_MAX: Duration = Duration::from_secs(30);
/// The platform plans an update before it answers.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// Giving a lease back, and asking who holds it, are courtesies.
pub(super) const COURTESY_MAX: Duration = Duration::from_secs(5);
/// What lease, update and looks may take besides getting ready.
pub(super) const OVERHEAD: Duration = Duration::from_secs(120);
/// What is wanted of the machine.
#[derive(Clone, Debug)]
enum Task {
    Update(Box<PutImage>),
    Start(Box<StartMachine>),
}

/// A write, with what is known of the machine when it is made.
#[derive(Clone, Debug)]
enum Write {
    Update { update: MachineUpdate, goal: Goal },
    Start(Box<Readying>),
}

#[derive(Clone, Debug)]
enum Stage {
    TakingLease,
    AskingWhoHoldsIt {
        owner: String,
    },
    AskingWhetherGone,
    Looking,
    ReadingLedger(Box<Machine>),
    /// Too little of the lease is left to write under it.
    AwaitingRenewal(Write),
    Writing(Write),
    GettingReady(Box<Readying>),
    GivingBack(Outcome),
    Done(Outcome),
}

/// One attempt at one machine.
#[derive(Clone, Debug)]
pub struct Errand {
    task: Task,
    stage: Stage,
    /// Counts the calls.
    number: u64,
    /// When the stage's call began, and when it is to be over.
    since: Duration,
    by: Duration,
    lease: Option<HeldLease>,
    /// It ends as soon as it is known whether the lease is held.
    stopping: bool,
}

impl Errand {
    /// Puts an image on a machine, unless somebody wants something newer.
    pub fn update(put: PutImage) -> Self {
        Self::new(Task::Update(Box::new(put)))
    }

    /// Starts a machine that we took down, unless it rests for another reason.
    pub fn start(start: StartMachine) -> Self {
        Self::new(Task::Start(Box::new(start)))
    }

    fn new(task: Task) -> Self {
        Self {
            task,
            stage: Stage::TakingLease,
            number: 1,
            since: Duration::ZERO,
            by: CALL_MAX,
            lease: None,
            stopping: false,
        }
    }

    /// The machine that it is about.
    pub fn machine(&self) -> &MachineId {
        match &self.task {
            Task::Update(put) => &put.machine,
            Task::Start(start) => &start.machine,
        }
    }

    /// The lease, while it is held.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().map(|held| &held.lease)
    }

    /// What is to be under way now.
    pub fn next(&self) -> Next {
        let call = match &self.stage {
            Stage::TakingLease => Call::TakeLease,
            Stage::AskingWhoHoldsIt { .. } | Stage::Looking => Call::LookAtMachine,
            Stage::AskingWhetherGone => Call::ListMachines,
            Stage::ReadingLedger(_) => Call::ReadLedger,
            Stage::AwaitingRenewal(_) => Call::Pause,
            Stage::Writing(Write::Update { update, .. }) => Call::Update(update.clone()),
            Stage::Writing(Write::Start(_)) => Call::Start,
            Stage::GettingReady(readying) => readying.call(),
            Stage::GivingBack(_) => Call::GiveLeaseBack,
            Stage::Done(outcome) => return Next::Done(outcome.clone()),
        };
        let by = self.by.min(self.bound());
        Next::Make { number: self.number, call, by }
    }

    /// When the call under way has to be over, whatever it is.
    fn bound(&self) -> Duration {
        let under_lease = self.lease.as_ref().map(|held| match &self.stage {
            Stage::Writing(_) | Stage::AwaitingRenewal(_) => held.writes_end(),
            Stage::GivingBack(_) => Duration::MAX,
            _ => held.ends(),
        });
        let whole = match self.stage {
            Stage::GivingBack(_) => Duration::MAX,
            _ => self.give_up_at(),
        };
        whole.min(under_lease.unwrap_or(Duration::MAX))
    }

    fn ready_timeout(&self) -> Duration {
        match &self.task {
            Task::Update(put) => put.ready_timeout,
            Task::Start(start) => start.ready_timeout,
        }
    }

    fn give_up_at(&self) -> Duration {
        self.ready_timeout().saturating_add(OVERHEAD)
    }

    /// When the lease is to be prolonged; `None` while there is nothing to prolong, or it is being
    /// done.
    pub fn renewal(&self) -> Option<Renewal> {
        let held = self.lease.as_ref().filter(|held| !held.is_being_renewed())?;
        match self.stage {
            Stage::GivingBack(_) | Stage::Done(_) => None,
            Stage::AwaitingRenewal(_) => Some(Renewal { due: held.retry_at(), by: held.ends() }),
            _ => Some(Renewal { due: held.renew_at(), by: held.ends() }),
        }
    }

    /// Whether a renewal is under way that still matters, and when it stops to.
    pub fn renewing_until(&self) -> Option<Duration> {
        let held = self.lease.as_ref().filter(|held| held.is_being_renewed())?;
        match self.stage {
            Stage::GivingBack(_) | Stage::Done(_) => None,
            _ => Some(held.ends()),
        }
    }

    /// A renewal leaves now.
    pub fn renewal_sent(&mut self, now: Now) {
        if let Some(held) = &mut self.lease {
            held.renewal_sent(now);
        }
    }

    /// What came of a renewal.
    pub fn renewed(&mut self, now: Now, result: Result<Lease, PlatformError>) {
        if matches!(self.stage, Stage::GivingBack(_) | Stage::Done(_)) {
            return;
        }
        let Some(held) = &mut self.lease else { return };
        match result {
            Ok(lease) => {
                held.confirmed(lease);
                if let Stage::AwaitingRenewal(write) = &self.stage {
                    let write = write.clone();
                    self.write(now, write);
                }
            }
            // It is somebody else's now, or nobody's: no use in giving it back.
            Err(error @ (PlatformError::NotFound(_) | PlatformError::LeaseHeld { .. })) => {
                self.lease = None;
                self.end(now, unavailable(format!("the lease was lost: {error}")));
            }
            Err(_) => held.not_confirmed(now),
        }
    }

    /// Ends it as soon as the lease is given back.
    pub fn stop(&mut self, now: Now) {
        self.stopping = true;
        match self.stage {
            // It may be granted this moment, and would keep others out.
            Stage::TakingLease | Stage::GivingBack(_) | Stage::Done(_) => {}
            _ => self.end(now, unavailable("the daemon is stopping")),
        }
    }

    /// What the call under way came to.
    pub fn answered(&mut self, now: Now, answer: Answer) {
        let nothing = matches!(answer, Answer::Nothing);
        let leased = !matches!(self.stage, Stage::GivingBack(_) | Stage::Done(_));
        if nothing && leased && now.elapsed >= self.give_up_at() {
            return self.end(now, unavailable("not done in time"));
        }
        if nothing && leased && self.lease.as_ref().is_some_and(|held| now.elapsed >= held.ends()) {
            return self.end(now, unavailable("the lease ended before it could be prolonged"));
        }
        match std::mem::replace(&mut self.stage, Stage::Looking) {
            Stage::TakingLease => self.lease_taken(now, answer),
            Stage::AskingWhoHoldsIt { owner } => {
                let outcome = held_by(owner, answer);
                self.end(now, outcome);
            }
            Stage::AskingWhetherGone => {
                let outcome = gone_or_not(self.machine(), answer);
                self.end(now, outcome);
            }
            Stage::Looking => match look(answer) {
                Ok(machine) => self.looked(now, machine),
                Err(error) => self.failed(now, error),
            },
            Stage::ReadingLedger(machine) => {
                // The ledger is a hint; the machine itself, read under the lease, is the truth.
                let ledger = match answer {
                    Answer::Ledger(Ok(ledger)) => Some(ledger),
                    _ => None,
                };
                self.ledger_read(now, &machine, ledger.as_deref());
            }
            Stage::AwaitingRenewal(_) => {
                self.end(now, unavailable("too little of the lease is left to write under it"));
            }
            Stage::Writing(write) => self.written(now, write, answer),
            Stage::GettingReady(readying) => self.came_further(now, *readying, answer),
            Stage::GivingBack(outcome) | Stage::Done(outcome) => self.stage = Stage::Done(outcome),
        }
    }

    fn lease_taken(&mut self, now: Now, answer: Answer) {
        match answer {
            Answer::Lease(Ok(lease)) => {
                self.lease = Some(HeldLease::new(lease, self.since, now));
                if self.stopping {
                    return self.end(now, unavailable("the daemon is stopping"));
                }
                self.go_on(now, Stage::Looking, CALL_MAX);
            }
            Answer::Lease(Err(PlatformError::LeaseHeld { owner, .. })) if !self.stopping => {
                self.go_on(now, Stage::AskingWhoHoldsIt { owner }, COURTESY_MAX);
            }
            Answer::Lease(Err(error)) => self.failed(now, error),
            _ => self.end(now, unavailable("no answer to the request for its lease")),
        }
    }

    /// A fresh look under the lease.
    fn looked(&mut self, now: Now, machine: Box<Machine>) {
        use update_machine::Step;
        match &self.task {
            Task::Update(put) => match update_machine::after_look(put, &machine, now) {
                Step::End(outcome) => self.end(now, outcome),
                Step::AskLedger => self.go_on(now, Stage::ReadingLedger(machine), CALL_MAX),
                Step::SeeThrough(goal) => {
                    let instance = machine.instance.clone();
                    let mut readying = Readying::new(instance, goal, now, wanted_of(put));
                    readying.digest.clone_from(&put.target.digest);
                    self.judge(now, readying, &machine);
                }
            },
            Task::Start(start) => match start_machine::after_look(start, &machine) {
                Err(outcome) => self.finish(now, Outcome::Start(outcome)),
                Ok(()) => {
                    let wanted = Wanted {
                        ready_timeout: start.ready_timeout,
                        tolerates: &start.tolerates,
                        stays_up: start.stays_up,
                    };
                    let instance = machine.instance.clone();
                    let readying = Readying::new(instance, Goal::Up, now, wanted);
                    self.judge(now, readying, &machine);
                }
            },
        }
    }

    fn ledger_read(&mut self, now: Now, machine: &Machine, ledger: Option<&[Release]>) {
        let Task::Update(put) = &self.task else { return };
        match update_machine::still_wanted(put, machine, ledger, now) {
            Ok((update, goal)) => self.write(now, Write::Update { update, goal }),
            Err(outcome) => self.end(now, outcome),
        }
    }

    /// Makes a write as soon as enough of the lease is left for it.
    fn write(&mut self, now: Now, write: Write) {
        let Some(held) = &self.lease else {
            return self.end(now, unavailable("the lease was lost"));
        };
        if held.has_time_to_write(now) {
            self.go_on(now, Stage::Writing(write), WRITE_MAX);
        } else {
            self.go_on(now, Stage::AwaitingRenewal(write), WRITE_MAX);
        }
    }

    fn written(&mut self, now: Now, write: Write, answer: Answer) {
        match (write, answer) {
            (Write::Update { update, goal }, Answer::Updated(Ok(instance))) => {
                let Task::Update(put) = &self.task else { return };
                let mut readying = Readying::new(instance, goal, now, wanted_of(put));
                readying.digest.clone_from(&put.target.digest);
                readying.replaced = Some(update.current);
                readying.containers = containers::images(&update.config);
                readying.wrote = true;
                readying.launched = !update.skip_launch;
                let at_most = readying.call_takes();
                self.go_on(now, Stage::GettingReady(Box::new(readying)), at_most);
            }
            (Write::Update { .. }, Answer::Updated(Err(error))) => self.failed(now, error),
            (Write::Update { .. }, _) => {
                self.end(
                    now,
                    unavailable("no answer to the update: whether it was done is not known"),
                );
            }
            (Write::Start(mut readying), Answer::Started(Ok(()))) => {
                readying.was_started();
                let at_most = readying.call_takes();
                self.go_on(now, Stage::GettingReady(readying), at_most);
            }
            (Write::Start(mut readying), Answer::Started(Err(error))) => {
                if error.is_transient() && readying.may_start_again(now) {
                    // An answer may have been lost: what already runs refuses to be started.
                    readying.look_again_later();
                    let by = await_ready::LOOK_EVERY;
                    return self.go_on(now, Stage::GettingReady(readying), by);
                }
                self.failed(now, error);
            }
            (Write::Start(mut readying), _) => {
                readying.look_again_later();
                self.go_on(now, Stage::GettingReady(readying), await_ready::LOOK_EVERY);
            }
        }
    }

    fn came_further(&mut self, now: Now, mut readying: Readying, answer: Answer) {
        match answer {
            Answer::Machine(Ok(machine)) => self.judge(now, readying, &machine),
            // Gone or not: the list knows.
            Answer::Machine(Err(error)) => self.failed(now, error),
            Answer::Waited(Err(error))
                if !error.is_transient() && !matches!(error, PlatformError::NotFound(_)) =>
            {
                self.failed(now, error);
            }
            // Not there yet, or a pause that is over.
            _ => {
                readying.go_on();
                let at_most = readying.call_takes();
                self.go_on(now, Stage::GettingReady(Box::new(readying)), at_most);
            }
        }
    }

    /// What a look at a machine that is getting ready means.
    fn judge(&mut self, now: Now, mut readying: Readying, machine: &Machine) {
        match readying.judge(machine, now) {
            Look::Ready => {
                let instance = readying.instance.clone();
                let verified = Verified { instance, replaced: readying.replaced.clone() };
                let outcome = match &self.task {
                    Task::Update(_) if readying.wrote => {
                        Outcome::Put(PutOutcome::Updated { verified })
                    }
                    Task::Update(_) => Outcome::Put(PutOutcome::AlreadyOnTarget { verified }),
                    Task::Start(_) => Outcome::Start(StartOutcome::Started),
                };
                self.finish(now, outcome);
            }
            Look::NotYet => {
                let by = readying.call_takes();
                self.go_on(now, Stage::GettingReady(Box::new(readying)), by);
            }
            Look::ToBeStarted => self.write(now, Write::Start(Box::new(readying))),
            Look::Not(outcome) => self.end(now, outcome),
        }
    }

    fn failed(&mut self, now: Now, error: PlatformError) {
        if matches!(error, PlatformError::NotFound(_)) {
            return self.go_on(now, Stage::AskingWhetherGone, CALL_MAX);
        }
        self.end(now, from_error(error));
    }

    /// What was not done, and why.
    fn end(&mut self, now: Now, outcome: PutOutcome) {
        let outcome = match self.task {
            Task::Update(_) => Outcome::Put(outcome),
            Task::Start(_) => Outcome::Start(StartOutcome::Not(outcome)),
        };
        self.finish(now, outcome);
    }

    fn finish(&mut self, now: Now, outcome: Outcome) {
        if self.lease.is_some() {
            self.go_on(now, Stage::GivingBack(outcome), COURTESY_MAX);
        } else {
            self.go_on(now, Stage::Done(outcome), CALL_MAX);
        }
    }

    fn go_on(&mut self, now: Now, stage: Stage, at_most: Duration) {
        self.stage = stage;
        self.number += 1;
        self.since = now.elapsed;
        self.by = now.elapsed.saturating_add(at_most);
    }
}

fn wanted_of(put: &PutImage) -> Wanted<'_> {
    Wanted { ready_timeout: put.ready_timeout, tolerates: &put.tolerates, stays_up: put.stays_up }
}
