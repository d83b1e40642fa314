//! The gates of a deploy: a look at a machine that decides whether the deploy goes on.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{Ship, Target};
use crate::sim::model::{
    behaviour::CheckSays,
    clock::moved,
    machine::{SimMachine, State, later, seconds},
    org::Org,
    refusal::Refusal,
};

/// Decisions of gates that are kept.
const RESULTS_MAX: usize = 1000;

/// Which machine a gate looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// One of the app's own, after its update.
    Machine,
    Canary,
    /// One of the second fleet.
    Green,
}

/// How a gate decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateResult {
    pub at: Timestamp,
    pub app: String,
    /// Number of the release that was deployed.
    pub release: u64,
    pub kind: GateKind,
    pub machine: String,
    pub passed: bool,
    /// The digest that was to be judged.
    pub wanted: Option<String>,
    /// The digest that the machine ran.
    pub ran: Option<String>,
}

impl GateResult {
    /// Whether the gate let something pass that it never saw: somebody had changed the machine.
    pub fn was_defeated(&self) -> bool {
        self.passed && self.ran != self.wanted
    }
}

pub(super) fn note(results: &mut VecDeque<GateResult>, result: GateResult) {
    if results.len() >= RESULTS_MAX {
        results.pop_front();
    }
    results.push_back(result);
}

/// A machine that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) id: String,
    kind: GateKind,
    /// Whether it is to come up.
    launch: bool,
    wanted: Option<String>,
    deadline: Timestamp,
    up_since: Option<Timestamp>,
}

impl Gate {
    pub(super) fn new(org: &Org, ship: &Ship, kind: GateKind, id: &str, target: &Target) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            launch: target.launch,
            wanted: target.digest.clone(),
            deadline: later(org.now, seconds(ship.options.wait_timeout_s)),
            up_since: None,
        }
    }

    pub(super) fn set_clock(&mut self, by: SignedDuration) {
        moved(&mut self.deadline, by);
        self.up_since.iter_mut().for_each(|at| moved(at, by));
    }
}

impl Org {
    /// Whether a gate is through; an error ends the deploy. `checks`: it looks at health, and its
    /// decision is kept.
    pub(super) fn pass_gate(
        &mut self,
        ship: &Ship,
        gate: &mut Gate,
        checks: bool,
    ) -> Result<bool, Refusal> {
        let result = self.ask_gate(ship, gate, checks);
        if checks && gate.launch && !matches!(result, Ok(false)) {
            let ran = self.machine(&ship.release.app, &gate.id).ok();
            self.note_gate(GateResult {
                at: self.now,
                app: ship.release.app.clone(),
                release: ship.release.version,
                kind: gate.kind,
                machine: gate.id.clone(),
                passed: result.is_ok(),
                wanted: gate.wanted.clone(),
                ran: ran.and_then(|machine| machine.version.digest.clone()),
            });
        }
        result
    }

    fn ask_gate(&self, ship: &Ship, gate: &mut Gate, checks: bool) -> Result<bool, Refusal> {
        let machine = self.machine(&ship.release.app, &gate.id)?;
        if machine.is_destroyed() {
            return Ok(true);
        }
        if !gate.launch {
            return Ok(machine.state.is_settled());
        }
        if checks && machine.restarts.len() > 1 {
            return Err(Refusal::Precondition("the app appears to be crashing".to_owned()));
        }
        let up = if checks { is_healthy(machine) } else { has_started(machine) };
        if up {
            let since = *gate.up_since.get_or_insert(self.now);
            return Ok(self.now >= later(since, seconds(ship.options.pause_s)));
        }
        if self.now < gate.deadline {
            return Ok(false);
        }
        Err(Refusal::Precondition(format!("machine {} did not get ready", gate.id)))
    }
}

fn has_started(machine: &SimMachine) -> bool {
    machine.state == State::Started
        || machine.events.iter().any(|event| event.get("type") == Some(&json!("start")))
}

fn is_healthy(machine: &SimMachine) -> bool {
    let checked = machine.version.checks.is_empty()
        || machine.check.is_some_and(|check| check.says == CheckSays::Passing);
    machine.state == State::Started && checked
}
