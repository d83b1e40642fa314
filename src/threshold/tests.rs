//! Each kind, told of machines round by round.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::model::{
    Count, ExitEvent, MachineId, MachineState, Mode, RollbackPolicy, Since, WatchPolicy,
};

mod applying;
mod bundles;
mod counting;
mod down;
mod exits;
mod expressions;
mod gauges;
mod hosts;
mod places;
mod series;
mod silence;
mod words;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A machine of the release, placed and started at the beginning.
fn machine(id: &str) -> Machine {
    Machine {
        id: id.into(),
        placed_at: Some(at(0)),
        started_at: Some(at(0)),
        updated_at: at(0),
        ..crate::model::machine::tests::machine(MachineState::Started)
    }
}

fn threshold(kind: ThresholdKind) -> Threshold {
    Threshold { name: "one".to_owned(), kind, no_data: NoData::Hold, on_breach: OnBreach::Rollback }
}

/// One threshold in a watch that began at the beginning.
struct Told {
    policy: Policy,
    state: ThresholdState,
    second: i64,
    looks: u32,
    machines: Vec<Machine>,
    /// What each machine's page says in every round.
    pages: BTreeMap<MachineId, Readings>,
    /// The same for machines of the known-good release.
    control: BTreeMap<MachineId, Readings>,
    seen: BTreeMap<MachineId, MachineSeen>,
    stays_up: bool,
    usual_exits: f64,
    learning: bool,
    span: Span,
    past_counts: bool,
    /// Whether the source is heard.
    heard: bool,
    last: Took,
}

impl Told {
    fn of(kind: ThresholdKind, ids: &[&str]) -> Self {
        let one = threshold(kind);
        let state = ThresholdState::begin(&one, at(0));
        let policy = Policy {
            name: "test".to_owned(),
            mode: Mode::Rollback,
            watch: WatchPolicy { bake: Duration::from_secs(60), ..WatchPolicy::default() },
            thresholds: vec![one],
            rollback: RollbackPolicy::default(),
            freezes: Vec::new(),
            per_organization_max: 10,
            metrics_port: None,
            metrics_path: None,
            metrics_https: None,
        };
        Self {
            policy,
            state,
            second: 0,
            looks: 0,
            machines: ids.iter().map(|id| machine(id)).collect(),
            pages: BTreeMap::new(),
            control: BTreeMap::new(),
            seen: BTreeMap::new(),
            stays_up: false,
            usual_exits: 0.0,
            learning: false,
            span: Span::Release,
            past_counts: false,
            heard: true,
            last: Took::default(),
        }
    }

    fn machine(&mut self, id: &str) -> &mut Machine {
        self.machines.iter_mut().find(|machine| machine.id.as_str() == id).unwrap()
    }

    /// What a machine's page counts in every round from now on.
    fn serves(&mut self, id: &str, n: f64, k: f64) {
        self.pages.insert(id.into(), counts(n, k, Since::LastScrape));
    }

    /// A round, two seconds after the one before; its evidence.
    fn look(&mut self) -> Evidence {
        self.second += 2;
        let now = at(self.second);
        self.looks += 1;
        for machine in &self.machines {
            self.seen
                .entry(machine.id.clone())
                .and_modify(|seen| seen.look(machine, self.stays_up, now))
                .or_insert_with(|| MachineSeen::new(machine, self.stays_up, now));
        }
        let one = &self.policy.thresholds[0];
        let good = machine("good");
        let looks = |machine| Look {
            machine,
            readings: self.pages.get(&machine.id),
            past_counts: self.past_counts,
            exits_since: self.seen[&machine.id].exits_since(),
        };
        let on: Vec<Look<'_>> = self.machines.iter().map(looks).collect();
        let control: Vec<Look<'_>> = self
            .control
            .values()
            .map(|readings| Look {
                machine: &good,
                readings: Some(readings),
                past_counts: false,
                exits_since: now,
            })
            .collect();
        let round = Round {
            belated: &[],
            parted: None,
            policy: &self.policy,
            now,
            span: self.span,
            learning: self.learning,
            on: &on,
            control: &control,
            heard: self.heard,
        };
        self.last = absorb(one, &mut self.state, &round);
        self.judged()
    }

    /// The evidence as of the last round.
    fn judged(&self) -> Evidence {
        let judged =
            |machine| Judged { machine, seen: &self.seen[&machine.id], stays_up: self.stays_up };
        let on: Vec<Judged<'_>> = self.machines.iter().map(judged).collect();
        let case = Case {
            policy: &self.policy,
            now: at(self.second),
            span: self.span,
            since: at(0),
            first_look: self.looks < 2,
            on: &on,
            usual_exits: self.usual_exits,
        };
        judge(&self.policy.thresholds[0], &self.state, &case)
    }

    /// Rounds for so many seconds; the last evidence.
    fn pass(&mut self, seconds: i64) -> Evidence {
        let until = self.second + seconds;
        while self.second < until {
            self.look();
        }
        self.judged()
    }

    /// The seconds that pass until it breaches.
    fn breaches_within(&mut self, seconds: i64) -> Option<i64> {
        let began = self.second;
        while self.second < began + seconds {
            if self.look().verdict == Verdict::Breach {
                return Some(self.second - began);
            }
        }
        None
    }
}

fn counts(n: f64, k: f64, since: Since) -> Readings {
    let counts = [("one".to_owned(), Count { n, k, since })].into();
    Readings { counts, ..Readings::default() }
}

fn exit(second: i64, exit_code: i64) -> ExitEvent {
    ExitEvent {
        at: at(second),
        started_at: Some(at(second - 1)),
        exit_code,
        oom_killed: false,
        requested_stop: false,
    }
}
