//! One history: the apps, the daemon that watches them, and the queue of what comes.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    super::super::rules::{Answer, Call},
    course::Course,
    errands::Fate,
    late::LatePlan,
    mishaps::Mishap,
    stage::{APPS, fleet, policy},
};
use crate::{
    decide::{Command, CommandId, Input},
    model::{Observation, Policy},
    ports::{Lease, PlatformError, WaitFor},
    sim::{Rng, Sim, ports::SimPlatform},
};

pub const US: &str = "waveoff@tokens.fly.io";
/// The longest that the first release may take to earn trust.
const TRUSTED_BY_MS: u64 = 240_000;
/// How long after the last disturbance nothing may be left of a bad release.
const RESUMES_MS: u64 = 1_800_000;
/// Where calls are limited, one of a kind is let through in so long.
const LIMIT_MS: u64 = 2_000;
/// How long it is looked on after everything is well.
const QUIET_MS: u64 = 45_000;

/// Which app in which of the daemon's lives: what was dropped since comes to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Whose {
    pub life: u32,
    pub of: usize,
}

/// What comes next; numbers tell to which call of an errand it belongs.
pub enum What {
    Round(Whose),
    Seen(Whose, Box<Observation>),
    Arrive(Whose, CommandId, u64, Box<(Call, Option<Lease>)>),
    Answer(Whose, CommandId, u64, Box<Answer>),
    Wait(Whose, CommandId, u64, Box<(String, WaitFor)>, u64),
    Tick(Whose, CommandId),
    Renew(Whose, CommandId, u32, Box<Lease>),
    Renewed(Whose, CommandId, u32, Box<Result<Lease, PlatformError>>),
    Other(Whose, CommandId, Box<Command>),
    Mishap(usize, Box<Mishap>),
    Start,
}

pub struct World {
    pub sim: Sim,
    pub platform: SimPlatform,
    pub policy: Policy,
    pub courses: Vec<Course>,
    /// Milliseconds since the history began.
    pub t: u64,
    pub origin: Instant,
    queue: BTreeMap<(u64, u64), What>,
    planned: u64,
    pub dice: Rng,
    pub alive: bool,
    /// Counts the daemon's lives.
    pub epoch: u32,
    pub started_at: u64,
    /// Until when calls go wrong, how, and how many of ten.
    pub trouble: (u64, Fate, u64),
    /// Until when the platform counts calls, and when each kind was last let through.
    pub limits: (u64, BTreeMap<(usize, String, &'static str), u64>),
    pub registry_silent: bool,
    pub slow_until: u64,
    /// The daemon is killed at that call from now.
    pub dies_at_call: Option<u32>,
    /// Something changed that has not been looked at.
    pub dirty: bool,
    /// What was trusted degrades in it.
    pub late: Option<LatePlan>,
    /// Whether what happens is written down.
    tells: bool,
    log: Vec<(u64, String)>,
}

impl World {
    pub fn new(seed: u64, tells: bool) -> Self {
        let mut dice = Rng::new(seed ^ 0x5EED);
        let fleet = fleet(seed, &mut dice);
        let start: Timestamp = "2026-03-01T03:00:00Z".parse().unwrap();
        let sim = Sim::at(&fleet, start);
        let apps = &APPS[..fleet.apps.len()];
        let mut policy = policy(&mut dice);
        let late = LatePlan::of(seed, &mut policy);
        Self {
            platform: SimPlatform::new(sim.clone(), US),
            policy,
            courses: apps.iter().map(|app| Course::new(&sim, app)).collect(),
            sim,
            t: 0,
            origin: Instant::now(),
            queue: BTreeMap::new(),
            planned: 0,
            dice,
            alive: true,
            epoch: 1,
            started_at: 0,
            trouble: (0, Fate::Fine, 0),
            limits: (0, BTreeMap::new()),
            registry_silent: false,
            slow_until: 0,
            dies_at_call: None,
            dirty: true,
            late,
            tells,
            log: Vec::new(),
        }
    }

    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tells {
            self.log.push((self.t, text()));
        }
    }

    /// Notes something about one app; it is named where there are several.
    pub fn note_of(&mut self, of: usize, text: impl FnOnce() -> String) {
        if self.tells {
            let text = text();
            let app = if self.courses.len() > 1 { APPS[of] } else { "" };
            self.log.push((self.t, format!("{app:<4}{text}").trim_start().to_owned()));
        }
    }

    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        self.courses.iter().find_map(|course| course.truth.problem())
    }

    pub fn timeline(&self) -> String {
        let mut text = String::new();
        for (at, line) in &self.log {
            let (whole, part) = (at / 1000, at % 1000);
            writeln!(text, "{whole:>6}.{part:03} {line}").unwrap();
        }
        text
    }

    pub fn clock(&self) -> Timestamp {
        self.sim.platform_now()
    }

    pub fn plan(&mut self, at: u64, what: What) {
        self.planned += 1;
        self.queue.insert((at.max(self.t), self.planned), what);
    }

    /// How long a call is on its way, one way.
    pub fn latency(&mut self) -> u64 {
        if self.t < self.slow_until {
            return 200 + self.dice.roll(12_000);
        }
        20 + self.dice.roll(300)
    }

    /// How a call of a kind, about an app or one of its machines, goes.
    pub fn fate(&mut self, (of, machine): (usize, Option<&str>), kind: &'static str) -> Fate {
        let (until, fate, of_ten) = self.trouble;
        if self.t < until && self.dice.roll(10) < of_ten {
            return fate;
        }
        if self.t < self.limits.0 {
            let call = (of, machine.unwrap_or_default().to_owned(), kind);
            let last = self.limits.1.get(&call).copied();
            if last.is_some_and(|last| self.t < last + LIMIT_MS) {
                return Fate::Limited;
            }
            self.limits.1.insert(call, self.t);
        }
        Fate::Fine
    }

    /// From the first round until nothing is left to come.
    pub fn play(&mut self) {
        for of in 0..self.courses.len() {
            self.plan_round(of, 0);
        }
        let mut calm_at = None;
        let mut well_since = None;
        while let Some(((at, number), _)) = self.queue.first_key_value().map(|(k, v)| (*k, v)) {
            self.pass(at);
            let Some(what) = self.queue.remove(&(at, number)) else { break };
            self.happen(what);
            let changed = self.dirty;
            self.look();
            if changed && self.problem().is_some() {
                return;
            }
            let Some(calm_at) = calm_at else {
                calm_at = self.begin_in_earnest();
                if self.problem().is_some() {
                    return;
                }
                continue;
            };
            if self.t < calm_at {
                continue;
            }
            if changed && !self.is_well() {
                well_since = None;
            } else if well_since.is_some() || changed {
                let since = *well_since.get_or_insert(self.t);
                if self.t >= since + QUIET_MS {
                    return;
                }
            }
            if self.t >= calm_at + RESUMES_MS {
                for course in &mut self.courses {
                    course.truth.at_the_end(&self.sim, &course.state);
                }
                return;
            }
        }
    }

    /// As soon as what is to be trusted is: chooses what happens from now on, and when that is over.
    fn begin_in_earnest(&mut self) -> Option<u64> {
        let mut memories = self.courses.iter().map(|course| &course.state.memory);
        let all = memories.all(|memory| memory.newest_trusted().is_some());
        let begun = self.late.as_ref().map(|late| late.begun);
        match begun {
            None if all => return Some(self.plan_mishaps()),
            Some(false) if all => self.ship_second(),
            Some(true) if all && self.is_second_trusted() => return Some(self.plan_late()),
            _ => {}
        }
        // A deploy waits for machines that the proxy has stopped: then it is a history like the others.
        let waits = self.late.as_ref().is_some_and(|late| late.begun);
        if waits && self.t > 4 * TRUSTED_BY_MS {
            self.late = None;
            return Some(self.plan_mishaps());
        }
        if !waits && self.t > TRUSTED_BY_MS {
            self.courses[0].truth.broken("the first releases did not earn trust");
        }
        None
    }

    /// Nothing bad serves, and nothing is under way.
    fn is_well(&self) -> bool {
        !self.sim.is_shipping()
            && self.courses.iter().all(|course| {
                course.runs.is_empty()
                    && course.state.memory.pending.is_empty()
                    && course.truth.late.is_over()
                    && course.truth.nothing_bad_serves(&self.sim)
            })
    }

    /// Lets time pass, and looks at every instant at which anything changes.
    fn pass(&mut self, to: u64) {
        while self.t < to {
            let left = Duration::from_millis(to - self.t);
            let (wait, happened) = self.sim.skip_to_next(left);
            self.t += u64::try_from(wait.as_millis()).unwrap();
            self.dirty |= happened;
            if self.t < to {
                self.look();
            }
        }
    }

    /// Looks at the platform, if anything changed since the last time.
    fn look(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let (t, alive) = (self.t, self.alive);
        let courses = &mut self.courses;
        self.sim.with(|org| {
            for course in courses {
                course.truth.look(org, t, &course.state, alive);
            }
        });
    }

    fn happen(&mut self, what: What) {
        let life = self.epoch;
        match what {
            What::Round(w) if w.life == life => self.round(w.of),
            What::Seen(w, observation) if w.life == life => self.seen(w.of, *observation),
            What::Arrive(w, id, number, what) if w.life == life => {
                let (call, lease) = *what;
                self.arrive(w.of, (id, number), call, lease.as_ref());
            }
            What::Answer(w, id, number, answer) if w.life == life => {
                self.answer(w.of, (id, number), *answer);
            }
            What::Wait(w, id, number, wanted, until) if w.life == life => {
                self.wait(w.of, (id, number), *wanted, until);
            }
            What::Tick(w, id) if w.life == life => self.tick(w.of, id),
            What::Renew(w, id, number, lease) if w.life == life => {
                self.renew(w.of, (id, number), &lease);
            }
            What::Renewed(w, id, number, result) if w.life == life => {
                self.renewed(w.of, (id, number), *result);
            }
            What::Other(w, id, command) if w.life == life => self.carry_out(w.of, id, &command),
            What::Mishap(of, mishap) => self.befall(of, &mishap),
            What::Start if !self.alive => self.start(),
            // Of another life, or put off.
            _ => {}
        }
    }

    /// Whether the daemon is killed at this call.
    pub fn dies_now(&mut self) -> bool {
        match self.dies_at_call {
            Some(0) => {
                self.kill();
                true
            }
            Some(left) => {
                self.dies_at_call = Some(left - 1);
                false
            }
            None => false,
        }
    }

    /// The process is gone.
    pub fn kill(&mut self) {
        self.dies_at_call = None;
        if !self.alive {
            return;
        }
        self.note(|| "!! the daemon is killed".to_owned());
        self.dirty = true;
        self.alive = false;
        self.epoch += 1;
        self.courses.iter_mut().for_each(Course::dies);
        let at = self.t + 500 + self.dice.roll(60_000);
        self.plan(at, What::Start);
    }

    fn start(&mut self) {
        self.note(|| "!! the daemon starts".to_owned());
        self.dirty = true;
        self.alive = true;
        self.started_at = self.t;
        for of in 0..self.courses.len() {
            let pending = self.courses[of].state.memory.pending.clone();
            if !pending.is_empty() {
                self.take(of, &Input::Restarted);
            }
            for (id, command) in pending {
                let course = &self.courses[of];
                if course.state.memory.pending.contains_key(&id) && !course.runs.contains_key(&id) {
                    self.begin(of, id, command);
                }
            }
            self.plan_round(of, self.t);
        }
    }
}
