//! Carries commands out in a history: the writer's rules, with calls that take their time, get
//! lost, or are never answered.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::{
    super::super::{
        ledger_entry::{self, Own, final_status},
        make_calls::make,
        rules::{Answer, Call, Errand, LEASE_TTL, Next, Now},
    },
    world::{APP, What, World},
};
use crate::{
    decide::{Command, CommandId, Outcome},
    ports::{ImagePresence, Lease, Platform as _, PlatformError, Registry as _, WaitFor},
};

/// How often a wait looks.
const LOOK_MS: u64 = 500;

/// An errand under way.
pub struct Run {
    pub errand: Errand,
    began: u64,
    number: u64,
    ticks: Option<u64>,
    renewals: u32,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Fine,
    /// 503 at once.
    Fails,
    /// It never arrives, and there is no answer.
    RequestLost,
    /// It is carried out, and there is no answer.
    AnswerLost,
}

fn failed() -> PlatformError {
    PlatformError::Unavailable("503".to_owned())
}

impl World {
    /// Begins a command.
    pub fn begin(&mut self, id: CommandId, command: Command) {
        let errand = match command {
            Command::PutImage(put) => Errand::update(*put),
            Command::StartMachine(start) => Errand::start(*start),
            other => {
                let at = self.t + 200 + self.dice.roll(1500);
                return self.plan(at, What::Other(self.epoch, id, Box::new(other)));
            }
        };
        self.truth.errands += 1;
        let run = Run { errand, began: self.t, number: 0, ticks: None, renewals: 0 };
        self.runs.insert(id, run);
        self.pump(id);
    }

    fn now_of(&self, run: &Run) -> Now {
        Now { elapsed: Duration::from_millis(self.t - run.began), clock: self.clock() }
    }

    /// Sees to it that what the errand wants is under way.
    fn pump(&mut self, id: CommandId) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        match run.errand.next() {
            Next::Done(outcome) => {
                self.note(format!("errand {id} on {} ends: {outcome:?}", run.errand.machine()));
                return self.finished(id, outcome);
            }
            Next::Make { number, call, by } => {
                if number != run.number {
                    run.number = number;
                    if call != Call::Pause {
                        let lease = run.errand.lease().cloned();
                        let at = self.t + self.latency();
                        let what = What::Arrive(self.epoch, id, number, Box::new((call, lease)));
                        self.plan(at, what);
                    }
                }
                let renewal = run.errand.renewal().map(|renewal| renewal.due);
                let until = run.errand.renewing_until();
                let wakes = [Some(by), renewal, until].into_iter().flatten().min();
                let tick = run.began + ms(wakes.unwrap_or(by));
                let tick = tick.max(self.t);
                if run.ticks != Some(tick) {
                    run.ticks = Some(tick);
                    self.plan(tick, What::Tick(self.epoch, id));
                }
            }
        }
        self.runs.insert(id, run);
    }

    /// A time that an errand asked to be woken at.
    pub fn tick(&mut self, id: CommandId) {
        let Some(mut run) = self.runs.remove(&id) else { return };
        run.ticks = None;
        let now = self.now_of(&run);
        let due = |at: Duration| ms(at) <= ms(now.elapsed);
        if let Next::Make { by, .. } = run.errand.next()
            && due(by)
        {
            run.errand.answered(now, Answer::Nothing);
        } else if run.errand.renewing_until().is_some_and(due) {
            run.errand.renewed(now, Err(failed()));
        } else if run.errand.renewal().is_some_and(|renewal| due(renewal.due)) {
            run.errand.renewal_sent(now);
            run.renewals += 1;
            if let Some(lease) = run.errand.lease().cloned() {
                let at = self.t + self.latency();
                self.plan(at, What::Renew(self.epoch, id, run.renewals, Box::new(lease)));
            }
        }
        self.runs.insert(id, run);
        self.pump(id);
    }

    /// A call reaches the platform, unless it was dropped before.
    pub fn arrive(&mut self, id: CommandId, number: u64, call: Call, lease: Option<&Lease>) {
        let Some(run) = self.runs.get(&id).filter(|run| run.number == number) else { return };
        let machine = run.errand.machine().clone();
        let fate = self.fate(call.is_write());
        self.note(format!("call {} {machine} {fate:?}", short(&call)));
        if fate == Fate::RequestLost {
            return;
        }
        if let Call::WaitFor { instance, state, slice } = call {
            let until = self.t + ms(slice);
            return self.wait(id, number, (instance.as_str().to_owned(), state), until);
        }
        let answer = if fate == Fate::Fails {
            failure_of(&call)
        } else {
            let before = call.is_write().then(|| self.truth.before_write(&self.sim, &machine));
            let wrote = call.clone();
            let app = APP.into();
            let platform = self.platform.clone();
            let made = make(&platform, &app, machine.clone(), lease.cloned(), call).now_or_never();
            let answer = made.expect("the model answers at once");
            if let Some(before) = before {
                let now = self.t;
                let state = &self.state;
                self.truth.wrote(&self.sim, (now, state), &before, (&wrote, lease), &answer);
            }
            answer
        };
        if self.dies_now() || fate == Fate::AnswerLost {
            return;
        }
        let at = self.t + self.latency();
        self.plan(at, What::Answer(self.epoch, id, number, Box::new(answer)));
    }

    /// A wait that is under way looks.
    pub fn wait(&mut self, id: CommandId, number: u64, wanted: (String, WaitFor), until: u64) {
        let Some(run) = self.runs.get(&id).filter(|run| run.number == number) else { return };
        let machine = run.errand.machine().clone();
        let seen = self.sim.with(|org| org.progress(APP, machine.as_str()));
        let there = seen.as_ref().is_ok_and(|seen| {
            let there = match wanted.1 {
                WaitFor::Started => seen.state == "started",
                WaitFor::Settled => seen.is_settled,
            };
            there && seen.instance == wanted.0
        });
        let answer = match seen {
            Err(refusal) => Err(PlatformError::from(refusal)),
            Ok(_) if there || self.t >= until => Ok(there),
            Ok(_) => {
                let at = self.t + LOOK_MS;
                return self.plan(at, What::Wait(self.epoch, id, number, Box::new(wanted), until));
            }
        };
        self.plan(self.t, What::Answer(self.epoch, id, number, Box::new(Answer::Waited(answer))));
    }

    /// An answer comes back.
    pub fn answer(&mut self, id: CommandId, number: u64, answer: Answer) {
        let Some(run) = self.runs.get(&id).filter(|run| run.number == number) else { return };
        let now = self.now_of(run);
        if let Some(run) = self.runs.get_mut(&id) {
            run.errand.answered(now, answer);
        }
        self.pump(id);
    }

    /// A renewal reaches the platform.
    pub fn renew(&mut self, id: CommandId, number: u32, lease: &Lease) {
        if self.runs.get(&id).is_none_or(|run| run.renewals != number) {
            return;
        }
        let fate = self.fate(false);
        self.note(format!("call renew {} {fate:?}", lease.machine));
        let result = match fate {
            Fate::RequestLost => return,
            Fate::Fails => Err(failed()),
            Fate::Fine | Fate::AnswerLost => {
                let made = self.platform.refresh(lease, LEASE_TTL).now_or_never();
                made.expect("the model answers at once")
            }
        };
        if fate == Fate::Fine && !self.dies_now() {
            let at = self.t + self.latency();
            self.plan(at, What::Renewed(self.epoch, id, number, Box::new(result)));
        }
    }

    pub fn renewed(&mut self, id: CommandId, number: u32, result: Result<Lease, PlatformError>) {
        let Some(run) = self.runs.get(&id).filter(|run| run.renewals == number) else { return };
        let now = self.now_of(run);
        if let Some(run) = self.runs.get_mut(&id)
            && run.errand.renewing_until().is_some()
        {
            run.errand.renewed(now, result);
        }
        self.pump(id);
    }

    /// A command that is about no machine, in one piece.
    pub fn carry_out(&mut self, id: CommandId, command: &Command) {
        self.note(format!("command {id}: {}", command.describe()));
        let fate = self.fate(false);
        let app = APP.into();
        let platform = self.platform.clone();
        let (fails, lost) = (matches!(fate, Fate::Fails | Fate::RequestLost), fate != Fate::Fine);
        let outcome = match command {
            Command::CheckImage { image, .. } => {
                let presence = platform.presence(image).now_or_never().expect("at once");
                match presence {
                    _ if lost || self.registry_silent => {
                        Outcome::ImageUnknown { reason: "no answer".to_owned() }
                    }
                    Ok(ImagePresence::Present) => Outcome::ImagePresent,
                    Ok(ImagePresence::Missing) => Outcome::ImageMissing,
                    Err(error) => Outcome::ImageUnknown { reason: error.to_string() },
                }
            }
            Command::OpenRelease { .. } if fails => {
                Outcome::LedgerRefused { reason: "no answer".to_owned() }
            }
            Command::OpenRelease { image, after, since } => {
                let own = Own { image, after: *after, since: *since };
                let opened = ledger_entry::open(&platform, &app, own).now_or_never();
                match opened.expect("the model answers at once") {
                    Ok((id, version)) if !lost => Outcome::ReleaseOpened { id, version },
                    Ok(_) => Outcome::LedgerRefused { reason: "no answer".to_owned() },
                    Err(error) => Outcome::LedgerRefused { reason: error.to_string() },
                }
            }
            Command::CloseStray { image, after, since, complete } => {
                let own = Own { image, after: *after, since: *since };
                let closed = ledger_entry::close_strays(&platform, &app, own, *complete);
                let _told = closed.now_or_never().expect("at once").is_ok();
                Outcome::ReleaseClosed
            }
            Command::CloseRelease { .. } if fails => Outcome::ReleaseLeftOpen,
            Command::CloseRelease { id, complete } => {
                let closed = platform.set_release_status(id, final_status(*complete));
                match closed.now_or_never().expect("at once") {
                    Ok(()) | Err(PlatformError::Refused(_) | PlatformError::NotFound(_)) => {
                        Outcome::ReleaseClosed
                    }
                    Err(_) => Outcome::ReleaseLeftOpen,
                }
            }
            Command::PutImage(_) | Command::StartMachine(_) => return,
        };
        if !self.dies_now() {
            self.finished(id, outcome);
        }
    }
}

fn failure_of(call: &Call) -> Answer {
    match call {
        Call::TakeLease => Answer::Lease(Err(failed())),
        Call::LookAtMachine => Answer::Machine(Err(failed())),
        Call::ListMachines => Answer::Machines(Err(failed())),
        Call::ReadLedger => Answer::Ledger(Err(failed())),
        Call::Update(_) => Answer::Updated(Err(failed())),
        Call::Start => Answer::Started(Err(failed())),
        Call::WaitFor { .. } => Answer::Waited(Err(failed())),
        Call::Pause | Call::GiveLeaseBack => Answer::GivenBack(Err(failed())),
    }
}

fn short(call: &Call) -> &'static str {
    match call {
        Call::TakeLease => "lease",
        Call::LookAtMachine => "look",
        Call::ListMachines => "list",
        Call::ReadLedger => "ledger",
        Call::Update(_) => "UPDATE",
        Call::Start => "START",
        Call::WaitFor { .. } => "wait",
        Call::Pause => "pause",
        Call::GiveLeaseBack => "release",
    }
}
