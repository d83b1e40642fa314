//! Fly's own health checks, and machines that do not arrive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Case, Own, Room, Round, Took,
    detect::runs::{consecutive_failures, quorum},
    later, machines, signed, speak,
};
use crate::model::{
    Check, CheckStatus, Checks, Evidence, HostStatus, Kind, Machine, MachineState, Note, Policy,
    Trouble, Troubled, Unit, Verdict, Want,
};

/// How long a check that does not say may fail after a start: a process takes a moment to listen.
const UNTOLD_GRACE: std::time::Duration = std::time::Duration::from_secs(5);
/// Most machines named in the evidence.
const NAMED_MAX: usize = 5;

/// What is remembered of a release's checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChecksState {}

impl Room for Checks {
    fn kind(&self) -> Kind {
        Kind::Checks
    }

    fn want(&self) -> Want {
        Want::Machines
    }

    fn begin(&self, _now: Timestamp) -> Own {
        Own::Checks(ChecksState::default())
    }

    fn fits(&self, own: &Own) -> bool {
        matches!(own, Own::Checks(_))
    }

    fn absorb(&self, _name: &str, _own: &mut Own, _round: &Round<'_>) -> Took {
        Took::default()
    }

    fn judge(&self, _own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        let stuck: Vec<Troubled> =
            case.on.iter().filter_map(|machine| stuck(case, machine)).collect();
        let up: Vec<&&Machine> = case
            .on
            .iter()
            .filter(|m| matches!(m.state, MachineState::Started) && m.checks_configured > 0)
            .collect();
        if up.is_empty() && stuck.is_empty() {
            let none_configured =
                !case.on.is_empty() && case.on.iter().all(|m| m.checks_configured == 0);
            evidence.note =
                Some(if none_configured { Note::NoChecks } else { Note::NoStartedMachine });
            if none_configured {
                // Nothing to look at is configuration, not missing evidence.
                evidence.verdict = Verdict::Pass;
            }
            return;
        }
        let judged = up.len() + stuck.len();
        let mut troubled = stuck;
        let mut with_result = 0usize;
        for machine in &up {
            let fresh: Vec<_> =
                machine.checks.iter().filter(|c| machine.is_fresh(c, case.now)).collect();
            if !fresh.is_empty() {
                with_result += 1;
            }
            let failed = fresh
                .iter()
                .filter(|check| check.status == CheckStatus::Critical)
                .map(|check| (check, failures(case.policy, machine, check, case.now)))
                .find(|(_, times)| *times >= self.consecutive);
            if let Some((check, _)) = failed {
                let trouble =
                    Trouble::Failing { check: check.name.clone(), times: self.consecutive };
                troubled.push(Troubled { machine: machine.id.clone(), trouble });
            }
        }
        evidence.bad = machines(troubled.len());
        evidence.total = machines(judged);
        evidence.value = Some(evidence.bad / evidence.total);
        evidence.verdict = if troubled.len() >= quorum(self.failing, judged) {
            Verdict::Breach
        } else if with_result == 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        };
        evidence.note = if troubled.is_empty() {
            (with_result == 0).then_some(Note::NoFreshResult)
        } else {
            troubled.truncate(NAMED_MAX);
            Some(Note::Troubled(troubled))
        };
    }

    fn terms(&self) -> (f64, Unit, String) {
        (self.failing, Unit::Machines, "Fly health checks".to_owned())
    }

    fn describe(&self) -> String {
        format!(
            "no Fly check failing {} times in a row on {} of the machines",
            self.consecutive,
            speak::written(self.failing)
        )
    }
}

/// How many times in a row a check has failed since its machine was expected to answer it: what
/// fails during its grace period, or the policy's warm-up, is still starting.
fn failures(policy: &Policy, machine: &Machine, check: &Check, now: Timestamp) -> u32 {
    let started = machine.started_at.unwrap_or(machine.updated_at);
    let grace = check.grace.unwrap_or(UNTOLD_GRACE).max(policy.watch.warm_up);
    consecutive_failures(check, later(started, grace), now)
}

/// A machine that has been on its way for so long that it will not arrive.
fn stuck(case: &Case<'_>, machine: &Machine) -> Option<Troubled> {
    let MachineState::Transient(still) = machine.state else { return None };
    let late =
        case.now.duration_since(machine.updated_at) >= signed(case.policy.rollback.ready_timeout);
    (machine.host == HostStatus::Ok && late)
        .then(|| Troubled { machine: machine.id.clone(), trouble: Trouble::Stuck { still } })
}

pub(super) fn says(evidence: &Evidence) -> String {
    format!("failing on {} machines", speak::counts(evidence))
}

pub(super) fn trouble(troubled: &Troubled) -> String {
    let id = &troubled.machine;
    match &troubled.trouble {
        Trouble::Failing { check, times } => {
            format!("{check} failed {times} times in a row on {id}")
        }
        Trouble::Stuck { still } => format!("{id} is still {}", still.as_str()),
        Trouble::Down { state } => format!("{id} is {state}"),
    }
}
