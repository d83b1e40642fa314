//! Processes that end although nobody asked them to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Case, Own, Room, Round, Took, detect::runs::quorum, machines, speak};
use crate::model::{
    Crashes, Evidence, Exits, Kind, Machine, MachineId, MachineState, Note, Unit, Verdict, Want,
};

/// A machine whose last crash is this long ago runs: the platform's supervisor gives up after ten
/// crashes in five minutes.
const FADE_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Machines remembered before those that are gone are forgotten.
const MACHINES_REMEMBERED: usize = 2000;
/// Most machines named in the evidence.
const NAMED_MAX: usize = 5;

/// Exits counted on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrashCount {
    pub exits: u32,
    pub oom: u32,
    /// Exits up to this one are counted; the platform truncates and resets its event list.
    pub counted_to: Option<Timestamp>,
}

impl CrashCount {
    /// Adds the processes that failed since `since` and were not counted yet.
    pub fn count(&mut self, machine: &Machine, since: Timestamp) {
        let counted_to = self.counted_to;
        for exit in machine.crashes_since(since) {
            if counted_to.is_some_and(|to| exit.at <= to) {
                continue;
            }
            self.exits += 1;
            self.oom += u32::from(exit.oom_killed);
            self.counted_to = Some(self.counted_to.map_or(exit.at, |to| to.max(exit.at)));
        }
    }
}

/// What is remembered of a release's exits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrashesState {
    machines: BTreeMap<MachineId, CrashCount>,
}

impl CrashesState {
    /// Unplanned exits per machine.
    pub fn per_machine(&self) -> f64 {
        let exits: u32 = self.machines.values().map(|count| count.exits).sum();
        f64::from(exits) / machines(self.machines.len().max(1))
    }
}

impl Room for Crashes {
    fn kind(&self) -> Kind {
        Kind::Crashes
    }

    fn want(&self) -> Want {
        Want::Machines
    }

    fn begin(&self, _now: Timestamp) -> Own {
        Own::Crashes(CrashesState::default())
    }

    fn fits(&self, own: &Own) -> bool {
        matches!(own, Own::Crashes(_))
    }

    fn absorb(&self, _name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        let Own::Crashes(state) = own else { return Took::default() };
        for look in round.on {
            let count = state.machines.entry(look.machine.id.clone()).or_default();
            count.count(look.machine, look.exits_since);
        }
        if state.machines.len() > MACHINES_REMEMBERED {
            state.machines.retain(|id, _| round.on.iter().any(|look| look.machine.id == *id));
        }
        Took::default()
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        let Own::Crashes(state) = own else { return };
        let seen = |machine: &Machine| state.machines.get(&machine.id);
        // Machines that rest, and never ran the release, say nothing for it.
        let tried: Vec<&&Machine> = case
            .on
            .iter()
            .filter(|m| !m.state.is_at_rest() || seen(m).is_some_and(|count| count.exits > 0))
            .collect();
        if tried.is_empty() {
            return;
        }
        let mut tripped = Vec::new();
        let mut worst = 0u32;
        for machine in &tried {
            let Some(count) = seen(machine) else { continue };
            worst = worst.max(count.exits);
            let faded =
                count.counted_to.is_some_and(|at| case.now.duration_since(at) >= FADE_AFTER);
            if faded && matches!(machine.state, MachineState::Started) {
                continue;
            }
            let too_often =
                f64::from(count.exits) - case.usual_exits >= f64::from(self.exits.max(1));
            let out_of_memory = self.oom > 0 && count.oom >= self.oom;
            if too_often || out_of_memory {
                let machine = machine.id.clone();
                tripped.push(Exits { machine, exits: count.exits, out_of_memory });
            }
        }
        evidence.value = Some(f64::from(worst));
        evidence.bad = machines(tripped.len());
        evidence.total = machines(tried.len());
        evidence.verdict = if tripped.len() >= quorum(self.failing, tried.len()) {
            Verdict::Breach
        } else {
            Verdict::Pass
        };
        if !tripped.is_empty() {
            tripped.truncate(NAMED_MAX);
            evidence.note = Some(Note::Exits(tripped));
        }
    }

    fn terms(&self) -> (f64, Unit, String) {
        (f64::from(self.exits), Unit::Exits, "machine exit events".to_owned())
    }

    fn describe(&self) -> String {
        let oom = match self.oom {
            0 => String::new(),
            1 => " or 1 out-of-memory kill".to_owned(),
            many => format!(" or {many} out-of-memory kills"),
        };
        format!(
            "fewer than {} unplanned exits{oom} on {} of the machines",
            self.exits,
            speak::written(self.failing)
        )
    }
}

pub(super) fn says(evidence: &Evidence) -> String {
    format!("on {} machines", speak::counts(evidence))
}

pub(super) fn ended(exits: &Exits) -> String {
    let memory = if exits.out_of_memory { ", out of memory" } else { "" };
    format!("{} exited {} times{memory}", exits.machine, exits.exits)
}
