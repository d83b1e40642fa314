//! One history: the app, the daemon's course without its shell, and the queue of what comes.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    super::super::rules::{Answer, Call},
    errands::{Fate, Run},
    mishaps::Mishap,
    stage::{fleet, policy},
    truth::Truth,
};
use crate::{
    decide::{AppState, Command, CommandId, Input, Outcome, step},
    model::{MachineSample, MachineState, Observation, OrgContext, Policy, SourceName},
    ports::{Lease, Platform as _, PlatformError, WaitFor},
    sim::{Rng, Sim, ports::SimPlatform},
    sources::pages::{counters::Counters, parse::Series},
};

pub const APP: &str = "api";
pub const US: &str = "waveoff@tokens.fly.io";
pub const OLD: &str = "registry.fly.io/api:v41";
pub const BAD: &str = "registry.fly.io/api:bad";
pub const GOOD: &str = "registry.fly.io/api:good";
pub const NEWER: &str = "registry.fly.io/api:newer";
pub const REGIONS: [&str; 3] = ["ams", "iad", "lhr"];

pub const BAKE_S: u64 = 60;
pub const SCRAPE_S: u64 = 5;
/// The longest that the first release may take to earn trust.
const TRUSTED_BY_MS: u64 = 240_000;
/// How long after the last disturbance nothing may be left of a bad release.
const RESUMES_MS: u64 = 1_800_000;
/// How long it is looked on after everything is well.
const QUIET_MS: u64 = 90_000;

/// What comes next; numbers tell what it belonged to, so that what was dropped comes to nothing.
pub enum What {
    Round(u32),
    Seen(u32, Box<Observation>),
    Arrive(u32, CommandId, u64, Box<(Call, Option<Lease>)>),
    Answer(u32, CommandId, u64, Box<Answer>),
    Wait(u32, CommandId, u64, Box<(String, WaitFor)>, u64),
    Tick(u32, CommandId),
    Renew(u32, CommandId, u32, Box<Lease>),
    Renewed(u32, CommandId, u32, Box<Result<Lease, PlatformError>>),
    Other(u32, CommandId, Box<Command>),
    Mishap(Box<Mishap>),
    Start,
}

pub struct World {
    pub sim: Sim,
    pub platform: SimPlatform,
    pub policy: Policy,
    pub state: AppState,
    counters: Counters,
    /// Milliseconds since the history began.
    pub t: u64,
    origin: Instant,
    queue: BTreeMap<(u64, u64), What>,
    planned: u64,
    pub dice: Rng,
    pub runs: BTreeMap<CommandId, Run>,
    pub alive: bool,
    /// Counts the daemon's lives.
    pub epoch: u32,
    looking: bool,
    next_round: Option<u64>,
    last_round: u64,
    ledger_at: Option<u64>,
    /// Until when calls go wrong, how, and how many of ten.
    pub trouble: (u64, Fate, u64),
    pub registry_silent: bool,
    pub slow_until: u64,
    /// The daemon is killed at that call from now.
    pub dies_at_call: Option<u32>,
    pub truth: Truth,
    log: Vec<(u64, String)>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Rng::new(seed ^ 0x5EED);
        let fleet = fleet(seed, &mut dice);
        let start: Timestamp = "2026-03-01T03:00:00Z".parse().unwrap();
        let sim = Sim::at(&fleet, start);
        let truth = Truth::new(&sim);
        Self {
            platform: SimPlatform::new(sim.clone(), US),
            sim,
            policy: policy(&mut dice),
            state: AppState::new(APP.into()),
            counters: Counters::default(),
            t: 0,
            origin: Instant::now(),
            queue: BTreeMap::new(),
            planned: 0,
            dice,
            runs: BTreeMap::new(),
            alive: true,
            epoch: 1,
            looking: false,
            next_round: None,
            last_round: 0,
            ledger_at: None,
            trouble: (0, Fate::Fine, 0),
            registry_silent: false,
            slow_until: 0,
            dies_at_call: None,
            truth,
            log: Vec::new(),
        }
    }

    pub fn note(&mut self, text: String) {
        self.log.push((self.t, text));
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

    pub fn fate(&mut self, _write: bool) -> Fate {
        let (until, fate, of_ten) = self.trouble;
        if self.t < until && self.dice.roll(10) < of_ten { fate } else { Fate::Fine }
    }

    /// From the first round until nothing is left to come.
    pub fn play(&mut self) {
        self.plan_round(0);
        let mut begun = None;
        let mut calm_at = u64::MAX;
        let mut well_since = None;
        while let Some(((at, number), _)) = self.queue.first_key_value().map(|(k, v)| (*k, v)) {
            self.pass(at);
            let Some(what) = self.queue.remove(&(at, number)) else { break };
            self.happen(what);
            self.look();
            if begun.is_none() {
                let trusted = self.state.memory.newest_trusted().is_some();
                if trusted {
                    begun = Some(self.t);
                    calm_at = self.plan_mishaps();
                } else if self.t > TRUSTED_BY_MS {
                    return self.truth.broken("the first release did not earn trust");
                }
                continue;
            }
            if self.t < calm_at || self.truth.is_broken() {
                if self.truth.is_broken() {
                    return;
                }
                continue;
            }
            if !self.is_well() {
                well_since = None;
            } else if self.t >= *well_since.get_or_insert(self.t) + QUIET_MS {
                return;
            }
            if self.t >= calm_at + RESUMES_MS {
                return self.truth.at_the_end(&self.sim, &self.state);
            }
        }
    }

    /// Nothing bad serves, and nothing is under way.
    fn is_well(&self) -> bool {
        self.runs.is_empty()
            && self.state.memory.pending.is_empty()
            && self.truth.nothing_bad_serves(&self.sim)
            && !self.sim.is_shipping()
    }

    /// Lets time pass, and looks at every instant at which anything changes.
    fn pass(&mut self, to: u64) {
        while let Some(due) = self.sim.with(|org| org.next_due()) {
            let wait = due.duration_since(self.sim.platform_now()).as_millis();
            let wait = u64::try_from(wait.max(1)).unwrap();
            if self.t + wait >= to {
                break;
            }
            self.sim.skip(Duration::from_millis(wait));
            self.t += wait;
            self.look();
        }
        self.sim.skip(Duration::from_millis(to - self.t));
        self.t = to;
        self.sim.with(|_| ());
    }

    fn look(&mut self) {
        self.truth.look(&self.sim, self.t, &self.state, self.alive);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Round(life) if life == self.epoch && self.next_round == Some(self.t) => {
                self.round();
            }
            What::Seen(life, observation) if life == self.epoch => {
                self.looking = false;
                self.take(&Input::Observed(*observation));
            }
            What::Arrive(life, id, number, what) if life == self.epoch => {
                let (call, lease) = *what;
                self.arrive(id, number, call, lease.as_ref());
            }
            What::Answer(life, id, number, answer) if life == self.epoch => {
                self.answer(id, number, *answer);
            }
            What::Wait(life, id, number, wanted, until) if life == self.epoch => {
                self.wait(id, number, *wanted, until);
            }
            What::Tick(life, id) if life == self.epoch => self.tick(id),
            What::Renew(life, id, number, lease) if life == self.epoch => {
                self.renew(id, number, &lease);
            }
            What::Renewed(life, id, number, result) if life == self.epoch => {
                self.renewed(id, number, *result);
            }
            What::Other(life, id, command) if life == self.epoch => self.carry_out(id, &command),
            What::Mishap(mishap) => self.befall(&mishap),
            What::Start if !self.alive => self.start(),
            // Of another life, or put off.
            _ => {}
        }
    }

    fn plan_round(&mut self, at: u64) {
        let at = at.max(self.t).max(self.last_round + 1000);
        if self.next_round != Some(at) || self.looking {
            self.next_round = Some(at);
            self.plan(at, What::Round(self.epoch));
        }
    }

    /// One round's look.
    fn round(&mut self) {
        if self.looking {
            return;
        }
        self.next_round = None;
        self.last_round = self.t;
        self.looking = true;
        let observation = self.observe();
        if self.dies_now() {
            return;
        }
        let at = self.t + self.latency();
        self.plan(at, What::Seen(self.epoch, Box::new(observation)));
    }

    fn observe(&mut self) -> Observation {
        let mut observation = Observation {
            began: self.clock(),
            machines: Err("503".to_owned()),
            ledger: None,
            samples: Vec::new(),
            blind: BTreeMap::new(),
            org: OrgContext::default(),
        };
        if self.fate(false) != Fate::Fine {
            return observation;
        }
        let (app, platform) = (APP.into(), self.platform.clone());
        let machines = platform.machines(&app).now_or_never().expect("at once");
        let machines = match machines {
            Ok(machines) => machines,
            Err(error) => {
                observation.machines = Err(error.to_string());
                return observation;
            }
        };
        let seen = self.state.memory.seen_version;
        let news = machines.iter().any(|machine| machine.release.is_some_and(|v| v > seen));
        if news || self.ledger_at.is_none_or(|at| self.t >= at + 10_000) {
            self.ledger_at = Some(self.t);
            let ledger = platform.releases(&app, 25).now_or_never().expect("at once");
            observation.ledger = ledger.ok().filter(|_| self.fate(false) == Fate::Fine);
        }
        let wanted = self.policy.wants(SourceName::Pages);
        let up = machines.iter().filter(|m| matches!(m.state, MachineState::Started));
        let now = self.origin + Duration::from_millis(self.t);
        for machine in up {
            let counted = self.sim.with(|org| org.counted(APP, machine.id.as_str()));
            let readings = counted.ok_or_else(|| "it cannot be reached".to_owned()).map(|page| {
                #[expect(clippy::cast_precision_loss, reason = "some thousands of requests")]
                let series = [
                    ("process_start_time_seconds", page.since.as_duration().as_secs_f64()),
                    ("requests_total", (page.ok + page.failed) as f64),
                    ("errors_total", page.failed as f64),
                ]
                .map(|(name, value)| Series {
                    name: name.to_owned(),
                    labels: BTreeMap::new(),
                    value,
                });
                let which = (&machine.instance, machine.started_at);
                self.counters.read(&machine.id, which, &series, &wanted, now).readings
            });
            observation.samples.push(MachineSample {
                machine: machine.id.clone(),
                instance: machine.instance.clone(),
                source: SourceName::Pages,
                readings,
            });
        }
        let samples = &observation.samples;
        if !samples.is_empty() && samples.iter().all(|sample| sample.readings.is_err()) {
            observation.blind.insert(SourceName::Pages, "no page answers".to_owned());
        }
        observation.machines = Ok(machines);
        observation
    }

    /// Decides, records, begins.
    pub fn take(&mut self, input: &Input) {
        let now = self.clock();
        let done = step(&self.policy, self.state.clone(), input, now);
        self.truth.decided(self.t, input, &done);
        for event in &done.events {
            let release = event.release.as_ref().map(crate::model::event::ReleaseInfo::label);
            let reason = event.reason.as_ref().map(|reason| format!("{reason:?}"));
            let evidence: Vec<String> = event
                .evidence
                .iter()
                .map(|one| {
                    let (name, verdict) = (&one.threshold, one.verdict.as_str());
                    format!("{name} {verdict} {}/{}", one.bad, one.total)
                })
                .collect();
            self.note(format!(
                "** {} {} {} [{}]",
                event.kind.as_str(),
                release.unwrap_or_default(),
                reason.unwrap_or_default(),
                evidence.join(", ")
            ));
        }
        let before = self.state.phase.word();
        self.state = done.state;
        if before != self.state.phase.word() {
            self.note(format!("phase {before} -> {}", self.state.phase.word()));
        }
        for id in done.commands {
            if let Some(command) = self.state.memory.pending.get(&id).cloned() {
                self.begin(id, command);
            }
        }
        let pause = done.wake_at.duration_since(now).max(SignedDuration::ZERO).as_millis();
        let pause = u64::try_from(pause).unwrap().min(600_000);
        self.plan_round(self.t + pause);
    }

    pub fn finished(&mut self, command: CommandId, outcome: Outcome) {
        self.take(&Input::Finished { command, outcome });
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

    /// The process is gone: of the state the record is left, of the rest nothing.
    pub fn kill(&mut self) {
        self.dies_at_call = None;
        if !self.alive {
            return;
        }
        self.note("!! the daemon is killed".to_owned());
        self.alive = false;
        self.epoch += 1;
        self.runs.clear();
        self.counters = Counters::default();
        self.looking = false;
        self.next_round = None;
        self.ledger_at = None;
        let recorded = serde_json::to_string(&self.state).unwrap();
        self.state = serde_json::from_str(&recorded).unwrap();
        let at = self.t + 500 + self.dice.roll(60_000);
        self.plan(at, What::Start);
    }

    fn start(&mut self) {
        self.note("!! the daemon starts".to_owned());
        self.alive = true;
        self.last_round = 0;
        let pending = self.state.memory.pending.clone();
        if !pending.is_empty() {
            self.take(&Input::Restarted);
        }
        for (id, command) in pending {
            if self.state.memory.pending.contains_key(&id) && !self.runs.contains_key(&id) {
                self.begin(id, command);
            }
        }
        self.plan_round(self.t);
    }
}
