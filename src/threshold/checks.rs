//! Fly's own health checks, and machines that do not arrive.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Case, Judged, Look, Onset, Own, Room, Round, Took, apart,
    detect::runs::{consecutive_failures, quorum},
    keys::{self, Given, Key, Place, Schema, Takes, Unsaid, Value},
    later, machines,
    seen::{CLOCKS_DIFFER, Doing, started},
    signed, speak,
};
use crate::model::{
    Ailment, Alone, Check, CheckStatus, Checks, Evidence, HostStatus, Kind, Machine, MachineId,
    MachineState, Note, Tally, ThresholdKind, Trouble, Troubled, Unit, Verdict, Want,
    machine::UNTOLD_CHECK_INTERVAL,
};

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Checks,
    example: "checks = { failing = \"30%\", consecutive = 3 }",
    exceeded: "a Fly health check failed `consecutive` times in a row, on the share `failing` of the \
               machines; what fails in its `grace_period` (5 seconds if it has none) or the policy's \
               `warm_up` is still starting",
    keys: KEYS,
    instead: &[
        ("max", "write checks = { failing = \"30%\", consecutive = 3 }"),
        ("from", "leave it out: they come from Fly's own API"),
        ("quorum", "write `failing` in the braces"),
        ("for", "write `consecutive` in the braces"),
    ],
    make,
};

/// Its keys.
pub const KEYS: &[Key] = &[
    keys::quorum("failing", Place::Braces, "the share of the machines on which a check must fail"),
    Key {
        name: "consecutive",
        place: Place::Braces,
        takes: Takes::Whole { least: 1, most: 100 },
        unsaid: Unsaid::Means(Value::Whole(3)),
        doc: "how often a check must fail in a row",
    },
];

fn make(given: &Given) -> Option<ThresholdKind> {
    Some(ThresholdKind::Checks(Checks {
        failing: given.number("failing")?,
        consecutive: given.whole("consecutive")?,
    }))
}

/// How long a check that does not say may fail after a start: a process takes a moment to listen.
const UNTOLD_GRACE: std::time::Duration = std::time::Duration::from_secs(5);
/// Most machines named in the evidence.
const NAMED_MAX: usize = 5;
/// What fails on both releases for one cause begins to do so within this time.
const TOGETHER: SignedDuration = SignedDuration::from_secs(15);

/// What is remembered of a release's checks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChecksState {
    /// Failing checks whose results have no time, by machine: since when we saw them fail.
    untimed: BTreeMap<MachineId, BTreeMap<String, Timestamp>>,
    /// When a machine of the known-good release last passed all of its checks beside it.
    #[serde(default)]
    control_well_at: Option<Timestamp>,
    /// Since when a machine of the release fails, and all of the known-good release's do, of which there were so
    /// many.
    #[serde(default)]
    fails_since: Option<Timestamp>,
    #[serde(default)]
    control_fails: Option<(Timestamp, Tally)>,
}

impl ChecksState {
    /// Whether machines of the known-good release passed all of their checks at `from` and later.
    pub(super) fn control_is_well(&self, from: Timestamp) -> bool {
        self.control_well_at.is_some_and(|at| at >= from)
    }

    /// What the known-good release beside it shows of the same: all of its machines fail since then as well. What
    /// follows the release is its victim, and excuses nothing. It is remembered when they are gone.
    pub(super) fn control_alike(&self) -> Option<Tally> {
        let (since, machines) = self.control_fails?;
        let together = self.fails_since?.checked_add(TOGETHER).unwrap_or(since);
        (since <= together).then_some(machines)
    }

    fn look_beside(&mut self, round: &Round<'_>) {
        let fails = |look: &Look<'_>| {
            let up = look.machine.state == MachineState::Started;
            let mut checks = look.machine.checks.iter();
            up && checks.any(|check| check.status == CheckStatus::Critical)
        };
        if round.on.iter().any(fails) {
            self.fails_since.get_or_insert(round.now);
        } else {
            self.fails_since = None;
        }
        let is_checked = |look: &&Look<'_>| {
            look.machine.state == MachineState::Started && look.machine.checks_configured > 0
        };
        let checked: Vec<&Look<'_>> = round.control.iter().filter(is_checked).collect();
        if checked.is_empty() {
            self.control_fails = self.control_fails.filter(|_| self.fails_since.is_some());
        } else if checked.iter().all(|look| fails(look)) {
            let all = machines(checked.len());
            let since = self.control_fails.map_or(round.now, |(since, _)| since);
            self.control_fails = Some((since, Tally { n: all, k: all }));
        } else {
            self.control_fails = None;
        }
    }

    fn look(&mut self, round: &Round<'_>) {
        self.look_beside(round);
        let passes = |machine: &Machine| {
            machine.state == MachineState::Started
                && machine.checks_configured > 0
                && machine.checks.iter().all(|check| check.status == CheckStatus::Passing)
                && machine.checks.iter().any(|check| machine.is_fresh(check, round.now))
        };
        if round.control.iter().any(|look| passes(look.machine)) {
            self.control_well_at = Some(round.now);
        }
        let before = std::mem::take(&mut self.untimed);
        for machine in round.on.iter().map(|look| look.machine) {
            let untimed = machine.checks.iter().filter(|check| {
                check.status == CheckStatus::Critical && !has_time(check, round.now)
            });
            let known = before.get(&machine.id);
            let since = |check: &Check| {
                let known = known.and_then(|checks| checks.get(&check.name));
                (check.name.clone(), known.copied().unwrap_or(round.now))
            };
            let failing: BTreeMap<String, Timestamp> = untimed.map(since).collect();
            if !failing.is_empty() && machine.state == MachineState::Started {
                self.untimed.insert(machine.id.clone(), failing);
            }
        }
    }

    /// When a machine was expected to pass a check.
    fn expected(case: &Case<'_>, one: &Judged<'_>, check: &Check) -> Timestamp {
        let started = started(one.machine, Some(one.seen), case.now);
        later(started, check.grace.unwrap_or(UNTOLD_GRACE).max(case.policy.watch.warm_up))
    }

    /// Since when a check fails, by its own time or ours.
    fn failing_since(&self, case: &Case<'_>, one: &Judged<'_>, check: &Check) -> Option<Timestamp> {
        if has_time(check, case.now) && one.machine.is_fresh(check, case.now) {
            return check.changed_at;
        }
        self.untimed.get(&one.machine.id).and_then(|checks| checks.get(&check.name)).copied()
    }

    /// Whether a check of a machine never passed when it was expected to.
    fn never_passed(&self, case: &Case<'_>, one: &Judged<'_>, check: &Check) -> bool {
        let interval = check.interval.unwrap_or(UNTOLD_CHECK_INTERVAL);
        let by = later(Self::expected(case, one, check), interval.saturating_add(UNTOLD_GRACE));
        self.failing_since(case, one, check).is_some_and(|since| since <= by)
    }

    /// How many times in a row a check has failed since its machine was expected to answer it: what
    /// fails during its grace period, or the policy's warm-up, is still starting.
    fn failures(&self, case: &Case<'_>, one: &Judged<'_>, check: &Check) -> u32 {
        self.failing_since(case, one, check).map_or(0, |since| {
            let timed = Check { changed_at: Some(since), ..check.clone() };
            consecutive_failures(&timed, Self::expected(case, one, check), case.now)
        })
    }
}

/// Whether the time of a result is of any use: one in the future is another clock's.
fn has_time(check: &Check, now: Timestamp) -> bool {
    check.changed_at.is_some_and(|at| at <= later(now, CLOCKS_DIFFER))
}

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

    fn absorb(&self, _name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        if let Own::Checks(state) = own {
            state.look(round);
        }
        Took::default()
    }

    fn sees(&self, round: &Round<'_>) -> bool {
        let has_result = |machine: &Machine| {
            machine.state == MachineState::Started
                && machine.checks.iter().any(|check| machine.is_fresh(check, round.now))
        };
        round.on.iter().any(|look| has_result(look.machine))
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        let Own::Checks(state) = own else { return };
        let mut troubled: Vec<Troubled> =
            case.on.iter().filter_map(|one| down(case, one)).collect();
        let is_up = |one: &&Judged<'_>| {
            one.machine.state == MachineState::Started && one.machine.checks_configured > 0
        };
        let up: Vec<&Judged<'_>> = case.on.iter().filter(is_up).collect();
        if up.is_empty() && troubled.is_empty() {
            let none_configured =
                !case.on.is_empty() && case.on.iter().all(|one| one.machine.checks_configured == 0);
            evidence.note =
                Some(if none_configured { Note::NoChecks } else { Note::NoStartedMachine });
            if none_configured {
                // Nothing to look at is configuration, not missing evidence.
                evidence.verdict = Verdict::Pass;
            }
            return;
        }
        let judged = up.len() + troubled.len();
        let mut with_result = 0usize;
        for one in up {
            let machine = one.machine;
            let failing = |check: &&Check| check.status == CheckStatus::Critical;
            if machine.checks.iter().any(|check| machine.is_fresh(check, case.now)) {
                with_result += 1;
            }
            let failed = machine
                .checks
                .iter()
                .filter(failing)
                .find(|check| state.failures(case, one, check) >= self.consecutive);
            if let Some(check) = failed {
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
        if let [only] = troubled.as_slice()
            && let Some(alone) = self.alone(case, only)
        {
            // It is its host's, or its own: people are told, and the release is not blamed.
            evidence.verdict = Verdict::Pass;
            evidence.note = Some(Note::Apart(alone));
            return;
        }
        evidence.note = if troubled.is_empty() {
            (with_result == 0).then_some(Note::NoFreshResult)
        } else {
            troubled.truncate(NAMED_MAX);
            Some(Note::Troubled(troubled))
        };
    }

    fn onset(&self, own: &Own, case: &Case<'_>) -> Onset {
        let Own::Checks(state) = own else { return Onset::Own };
        if case.on.iter().any(|one| down(case, one).is_some()) {
            return Onset::Own;
        }
        let mut failing = case.on.iter().flat_map(|one| {
            let checks = one.machine.checks.iter();
            let failing = checks.filter(|check| check.status == CheckStatus::Critical);
            failing.map(|check| state.never_passed(case, one, check))
        });
        if failing.all(|never| never) { Onset::AtOnce } else { Onset::Later }
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

impl Checks {
    /// Whether the only machine that fails does so beside equals that pass all of their checks.
    fn alone(&self, case: &Case<'_>, only: &Troubled) -> Option<Alone> {
        let failing = case.on.iter().find(|one| one.machine.id == only.machine)?;
        let is_well = |one: &&Judged<'_>| {
            let machine = one.machine;
            machine.state == MachineState::Started
                && machine.checks.iter().all(|check| check.status == CheckStatus::Passing)
                && machine.checks.iter().any(|check| machine.is_fresh(check, case.now))
        };
        let well: Vec<&Machine> = case.on.iter().filter(is_well).map(|one| one.machine).collect();
        apart::only_one(failing.machine, &well, Ailment::Checks(only.trouble.clone()))
    }
}

/// A machine that does not come up: it failed to start, or has been on its way for so long, before
/// our eyes, that it will not arrive.
fn down(case: &Case<'_>, one: &Judged<'_>) -> Option<Troubled> {
    let machine = one.machine;
    if machine.host != HostStatus::Ok {
        return None;
    }
    let trouble = if one.seen.has_failed() {
        Trouble::Down { state: machine.state.clone() }
    } else if one.seen.doing == Doing::Arriving
        && one.seen.lasts() >= signed(case.policy.rollback.ready_timeout)
    {
        let MachineState::Transient(still) = machine.state else { return None };
        Trouble::Stuck { still, seconds: one.seen.seconds() }
    } else {
        return None;
    };
    Some(Troubled { machine: machine.id.clone(), trouble })
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
        Trouble::Stuck { still, seconds } => {
            format!("{id} is still {} after {seconds} s", still.as_str())
        }
        Trouble::Down { state } => format!("{id} is {state}"),
    }
}
