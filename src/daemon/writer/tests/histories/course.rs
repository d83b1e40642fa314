//! One app's course in a history: what the daemon does with it round by round, without its shell.

use std::{collections::BTreeMap, time::Duration};

use futures_util::FutureExt as _;
use jiff::SignedDuration;

use super::{
    errands::{Fate, Run},
    truth::Truth,
    world::{What, Whose, World},
};
use crate::{
    decide::{AppState, CommandId, Input, Outcome, Transition, distress, step},
    model::{AppName, MachineSample, MachineState, Observation, OrgContext, SourceName},
    ports::Platform as _,
    sim::Sim,
    sources::pages::{counters::Counters, parse::Series},
};

/// After a start the others are heard first, for so long at most.
const LISTENING_MS: u64 = 10_000;
/// A round follows another after so long at the earliest.
const ROUND_MS: u64 = 1_000;
/// How old the ledger may be that a round goes by.
const LEDGER_MS: u64 = 10_000;

/// What the daemon remembers of one app, and what it has under way.
pub struct Course {
    pub app: AppName,
    pub state: AppState,
    pub runs: BTreeMap<CommandId, Run>,
    pub truth: Truth,
    counters: Counters,
    looking: bool,
    next_round: Option<u64>,
    last_round: u64,
    ledger_at: Option<u64>,
    /// Whether it has spoken since the daemon started.
    heard: bool,
}

impl Course {
    pub fn new(sim: &Sim, app: &str) -> Self {
        Self {
            app: app.into(),
            state: AppState::new(app.into()),
            runs: BTreeMap::new(),
            truth: Truth::new(sim, app),
            counters: Counters::default(),
            looking: false,
            next_round: None,
            last_round: 0,
            ledger_at: None,
            heard: false,
        }
    }

    /// The process is gone: of the state the record is left, of the rest nothing.
    pub fn dies(&mut self) {
        self.runs.clear();
        self.counters = Counters::default();
        self.looking = false;
        self.next_round = None;
        self.ledger_at = None;
        self.heard = false;
        self.last_round = 0;
        let recorded = serde_json::to_string(&self.state).unwrap();
        self.state = serde_json::from_str(&recorded).unwrap();
    }
}

impl World {
    pub fn plan_round(&mut self, of: usize, at: u64) {
        let course = &mut self.courses[of];
        let at = at.max(self.t).max(course.last_round + ROUND_MS);
        if course.next_round != Some(at) || course.looking {
            course.next_round = Some(at);
            self.plan(at, What::Round(Whose { life: self.epoch, of }));
        }
    }

    /// One round's look.
    pub fn round(&mut self, of: usize) {
        let course = &mut self.courses[of];
        if course.looking || course.next_round != Some(self.t) {
            return;
        }
        course.next_round = None;
        course.last_round = self.t;
        course.looking = true;
        let observation = self.observe(of);
        if self.dies_now() {
            return;
        }
        let at = self.t + self.latency();
        let whose = Whose { life: self.epoch, of };
        self.plan(at, What::Seen(whose, Box::new(observation)));
    }

    /// What a round saw comes in.
    pub fn seen(&mut self, of: usize, mut observation: Observation) {
        self.courses[of].looking = false;
        observation.org = self.org_context(of);
        self.take(of, &Input::Observed(observation));
    }

    /// What the others are doing, from one app's point of view.
    fn org_context(&self, of: usize) -> OrgContext {
        let mut org = OrgContext::default();
        for (number, other) in self.courses.iter().enumerate() {
            if number != of
                && let Some(distress) = distress::of(&other.state)
            {
                org.neighbours.insert(other.app.clone(), distress);
            }
            if let Some(well) = distress::wellness(&other.state).filter(|_| number != of) {
                org.well.insert(other.app.clone(), well);
            }
        }
        let silent = self.courses.iter().any(|course| !course.heard);
        org.listening = silent && self.t < self.started_at + LISTENING_MS;
        org
    }

    fn observe(&mut self, of: usize) -> Observation {
        let mut observation = Observation {
            began: self.clock(),
            machines: Err("503".to_owned()),
            ledger: None,
            secrets: None,
            samples: Vec::new(),
            blind: BTreeMap::new(),
            org: OrgContext::default(),
        };
        let app = self.courses[of].app.clone();
        let fate = self.fate((of, None), "list");
        if fate != Fate::Fine {
            return observation;
        }
        let platform = self.platform.clone();
        let machines = platform.machines(&app).now_or_never().expect("at once");
        let machines = match machines {
            Ok(machines) => machines,
            Err(error) => {
                observation.machines = Err(error.to_string());
                return observation;
            }
        };
        let seen = self.courses[of].state.memory.seen_version;
        let news = machines.iter().any(|machine| machine.release.is_some_and(|v| v > seen));
        if news || self.courses[of].ledger_at.is_none_or(|at| self.t >= at + LEDGER_MS) {
            self.courses[of].ledger_at = Some(self.t);
            if self.fate((of, None), "ledger") == Fate::Fine {
                let ledger = platform.releases(&app, 25).now_or_never().expect("at once");
                observation.ledger = ledger.ok();
            }
        }
        let wanted = self.policy.wants(&SourceName::Pages);
        let up = machines.iter().filter(|m| matches!(m.state, MachineState::Started));
        let now = self.origin + Duration::from_millis(self.t);
        let pages: Vec<_> = self.sim.with(|org| {
            up.map(|machine| (machine, org.counted(app.as_str(), machine.id.as_str()))).collect()
        });
        let counters = &mut self.courses[of].counters;
        for (machine, counted) in pages {
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
                counters.read(&machine.id, which, &series, &wanted, now).readings
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
    pub fn take(&mut self, of: usize, input: &Input) {
        let now = self.clock();
        let course = &mut self.courses[of];
        let before = course.state.phase.word();
        let troubled = distress::of(&course.state).is_some();
        let state = std::mem::replace(&mut course.state, AppState::new(course.app.clone()));
        let done = step(&self.policy, state, input, now);
        let beside = (&self.policy, self.beside(of));
        let course = &mut self.courses[of];
        course.heard = true;
        course.truth.decided(self.t, input, &done, beside);
        self.dirty = true;
        self.tell(of, &done);
        let course = &mut self.courses[of];
        course.state = done.state;
        let after = course.state.phase.word();
        let alarm = !troubled && distress::of(&course.state).is_some();
        if before != after {
            self.note_of(of, || format!("phase {before} -> {after}"));
        }
        self.call_off(of);
        for id in done.commands {
            if let Some(command) = self.courses[of].state.memory.pending.get(&id).cloned() {
                self.begin(of, id, command);
            }
        }
        let pause = done.wake_at.duration_since(now).max(SignedDuration::ZERO).as_millis();
        let pause = u64::try_from(pause).unwrap().min(600_000);
        self.plan_round(of, self.t + pause);
        if alarm {
            // The others look as well.
            for other in (0..self.courses.len()).filter(|other| *other != of) {
                self.plan_round(other, self.t + 100);
            }
        }
    }

    /// What a step tells, for the timeline.
    fn tell(&mut self, of: usize, done: &Transition) {
        for event in &done.events {
            self.note_of(of, || {
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
                format!(
                    "** {} {} {} [{}]",
                    event.kind.as_str(),
                    release.unwrap_or_default(),
                    reason.unwrap_or_default(),
                    evidence.join(", ")
                )
            });
        }
    }

    pub fn finished(&mut self, of: usize, command: CommandId, outcome: Outcome) {
        self.take(of, &Input::Finished { command, outcome });
    }
}
