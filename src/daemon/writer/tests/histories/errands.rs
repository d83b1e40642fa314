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
    world::{What, Whose, World},
};
use crate::{
    decide::{Command, CommandId, Outcome},
    ports::{ImagePresence, Lease, Platform as _, PlatformError, Registry as _, WaitFor},
};

/// A wait looks when something is due, and after so long at the latest.
const LOOK_MS: u64 = 2_000;

/// An errand under way.
pub struct Run {
    pub errand: Errand,
    began: u64,
    number: u64,
    ticks: Option<u64>,
    renewals: u32,
    is_called_off: bool,
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
    /// 429 at once.
    Limited,
    /// 401 at once.
    Denied,
    /// An answer that nobody understands, of a call that was carried out.
    Garbled,
    /// It never arrives, and there is no answer.
    RequestLost,
    /// It is carried out, and there is no answer.
    AnswerLost,
}

fn failed() -> PlatformError {
    PlatformError::Unavailable("503".to_owned())
}

impl Fate {
    /// Whether it is refused, and how.
    fn refusal(self) -> Option<PlatformError> {
        match self {
            Self::Fails => Some(failed()),
            Self::Limited => Some(PlatformError::Unavailable("429".to_owned())),
            Self::Denied => Some(PlatformError::Denied("401".to_owned())),
            Self::Fine | Self::Garbled | Self::RequestLost | Self::AnswerLost => None,
        }
    }
}

impl World {
    /// Begins a command.
    pub fn begin(&mut self, of: usize, id: CommandId, command: Command) {
        let errand = match command {
            Command::PutImage(put) => Errand::update(*put),
            Command::StartMachine(start) => Errand::start(*start),
            other => {
                let at = self.t + 200 + self.dice.roll(1500);
                return self.plan(at, What::Other(self.whose(of), id, Box::new(other)));
            }
        };
        let course = &mut self.courses[of];
        course.truth.errands += 1;
        let run = Run {
            errand,
            began: self.t,
            number: 0,
            ticks: None,
            renewals: 0,
            is_called_off: false,
        };
        course.runs.insert(id, run);
        self.pump(of, id);
    }

    fn whose(&self, of: usize) -> Whose {
        Whose { life: self.epoch, of }
    }

    /// The errand that still waits for the answer to a call.
    fn waiting(&self, of: usize, (id, number): (CommandId, u64)) -> Option<&Run> {
        self.courses[of].runs.get(&id).filter(|run| run.number == number)
    }

    fn now_of(&self, run: &Run) -> Now {
        Now { elapsed: Duration::from_millis(self.t - run.began), clock: self.clock() }
    }

    /// Commands that are not wanted any more: their errands give their leases back, and end.
    pub fn call_off(&mut self, of: usize) {
        let course = &self.courses[of];
        let pending = &course.state.memory.pending;
        let unwanted: Vec<CommandId> = course
            .runs
            .iter()
            .filter(|(id, run)| !run.is_called_off && !pending.contains_key(id))
            .map(|(id, _)| *id)
            .collect();
        for id in unwanted {
            let Some(mut run) = self.courses[of].runs.remove(&id) else { continue };
            run.is_called_off = true;
            let now = self.now_of(&run);
            run.errand.stop(now);
            self.courses[of].runs.insert(id, run);
            self.pump(of, id);
        }
    }

    /// Sees to it that what the errand wants is under way.
    fn pump(&mut self, of: usize, id: CommandId) {
        let Some(mut run) = self.courses[of].runs.remove(&id) else { return };
        match run.errand.next() {
            Next::Done(outcome) => {
                let machine = run.errand.machine();
                self.note_of(of, || format!("errand {id} on {machine} ends: {outcome:?}"));
                return self.finished(of, id, outcome);
            }
            Next::Make { number, call, by } => {
                if number != run.number {
                    run.number = number;
                    if call != Call::Pause {
                        let lease = run.errand.lease().cloned();
                        let at = self.t + self.latency();
                        let call = Box::new((call, lease));
                        let what = What::Arrive(self.whose(of), id, number, call);
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
                    self.plan(tick, What::Tick(self.whose(of), id));
                }
            }
        }
        self.courses[of].runs.insert(id, run);
    }

    /// A time that an errand asked to be woken at.
    pub fn tick(&mut self, of: usize, id: CommandId) {
        let Some(mut run) = self.courses[of].runs.remove(&id) else { return };
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
                self.plan(at, What::Renew(self.whose(of), id, run.renewals, Box::new(lease)));
            }
        }
        self.courses[of].runs.insert(id, run);
        self.pump(of, id);
    }

    /// A call reaches the platform, unless it was dropped before.
    pub fn arrive(
        &mut self,
        of: usize,
        which: (CommandId, u64),
        call: Call,
        lease: Option<&Lease>,
    ) {
        let Some(run) = self.waiting(of, which) else { return };
        let machine = run.errand.machine().clone();
        let fate = self.fate((of, Some(machine.as_str())), short(&call));
        self.note_of(of, || format!("call {} {machine} {fate:?}", short(&call)));
        if fate == Fate::RequestLost {
            return;
        }
        if let (Call::WaitFor { instance, state, slice }, None) = (&call, fate.refusal()) {
            let until = self.t + ms(*slice);
            return self.wait(of, which, (instance.as_str().to_owned(), *state), until);
        }
        let answer = if let Some(refusal) = fate.refusal() {
            refused(&call, refusal)
        } else {
            let course = &self.courses[of];
            let before = call.is_write().then(|| course.truth.before_write(&self.sim, &machine));
            let wrote = call.clone();
            let app = course.app.clone();
            let platform = self.platform.clone();
            let made = make(&platform, &app, machine.clone(), lease.cloned(), call).now_or_never();
            let answer = made.expect("the model answers at once");
            if let Some(before) = before {
                self.dirty = true;
                let course = &mut self.courses[of];
                let now = (self.t, &course.state);
                course.truth.wrote(&self.sim, now, &before, (&wrote, lease), &answer);
            }
            if fate == Fate::Garbled {
                refused(&wrote, PlatformError::Unreadable("<html>".to_owned()))
            } else {
                answer
            }
        };
        if self.dies_now() || fate == Fate::AnswerLost {
            return;
        }
        let at = self.t + self.latency();
        self.plan(at, What::Answer(self.whose(of), which.0, which.1, Box::new(answer)));
    }

    /// A wait that is under way looks.
    pub fn wait(
        &mut self,
        of: usize,
        which: (CommandId, u64),
        wanted: (String, WaitFor),
        until: u64,
    ) {
        let Some(run) = self.waiting(of, which) else { return };
        let (machine, app) = (run.errand.machine(), &self.courses[of].app);
        let (seen, due) =
            self.sim.with(|org| (org.progress(app.as_str(), machine.as_str()), org.next_due()));
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
                let due = due.map(|due| due.duration_since(self.clock()).as_millis());
                let due = due.and_then(|due| u64::try_from(due).ok()).unwrap_or(LOOK_MS);
                let at = self.t + due.clamp(100, LOOK_MS);
                let what = What::Wait(self.whose(of), which.0, which.1, Box::new(wanted), until);
                return self.plan(at, what);
            }
        };
        let answer = Box::new(Answer::Waited(answer));
        self.plan(self.t, What::Answer(self.whose(of), which.0, which.1, answer));
    }

    /// An answer comes back.
    pub fn answer(&mut self, of: usize, which: (CommandId, u64), answer: Answer) {
        let Some(run) = self.waiting(of, which) else { return };
        let now = self.now_of(run);
        if let Some(run) = self.courses[of].runs.get_mut(&which.0) {
            run.errand.answered(now, answer);
        }
        self.pump(of, which.0);
    }

    /// A renewal reaches the platform.
    pub fn renew(&mut self, of: usize, (id, number): (CommandId, u32), lease: &Lease) {
        if self.courses[of].runs.get(&id).is_none_or(|run| run.renewals != number) {
            return;
        }
        let fate = self.fate((of, Some(lease.machine.as_str())), "renew");
        self.note_of(of, || format!("call renew {} {fate:?}", lease.machine));
        let result = match fate.refusal() {
            _ if fate == Fate::RequestLost => return,
            Some(refusal) => Err(refusal),
            None => {
                let made = self.platform.refresh(lease, LEASE_TTL).now_or_never();
                made.expect("the model answers at once")
            }
        };
        if matches!(fate, Fate::AnswerLost | Fate::Garbled) || self.dies_now() {
            return;
        }
        let at = self.t + self.latency();
        self.plan(at, What::Renewed(self.whose(of), id, number, Box::new(result)));
    }

    pub fn renewed(
        &mut self,
        of: usize,
        (id, number): (CommandId, u32),
        result: Result<Lease, PlatformError>,
    ) {
        let run = self.courses[of].runs.get(&id);
        let Some(run) = run.filter(|run| run.renewals == number) else { return };
        let now = self.now_of(run);
        if let Some(run) = self.courses[of].runs.get_mut(&id)
            && run.errand.renewing_until().is_some()
        {
            run.errand.renewed(now, result);
        }
        self.pump(of, id);
    }

    /// A command that is about no machine, in one piece.
    pub fn carry_out(&mut self, of: usize, id: CommandId, command: &Command) {
        let fate = self.fate((of, None), "command");
        self.note_of(of, || format!("command {id}: {} {fate:?}", command.describe()));
        let app = self.courses[of].app.clone();
        let platform = self.platform.clone();
        let fails = fate == Fate::RequestLost || fate.refusal().is_some();
        let lost = fate != Fate::Fine;
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
            // No policy of a history has a mirror.
            Command::MirrorImage { .. } => Outcome::Mirrored,
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
            self.finished(of, id, outcome);
        }
    }
}

fn refused(call: &Call, error: PlatformError) -> Answer {
    match call {
        Call::TakeLease => Answer::Lease(Err(error)),
        Call::LookAtMachine => Answer::Machine(Err(error)),
        Call::ListMachines => Answer::Machines(Err(error)),
        Call::ReadLedger => Answer::Ledger(Err(error)),
        Call::Update(_) => Answer::Updated(Err(error)),
        Call::Start => Answer::Started(Err(error)),
        Call::WaitFor { .. } => Answer::Waited(Err(error)),
        Call::Pause | Call::GiveLeaseBack => Answer::GivenBack(Err(error)),
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
