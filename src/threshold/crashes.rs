//! Processes that end although nobody asked them to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Case, Judged, Own, Room, Round, Span, Took, apart,
    detect::runs::quorum,
    keys::{self, Given, Key, Place, Schema, Takes, Unsaid, Value},
    machines,
    seen::Doing,
    speak,
};
use crate::model::{
    Ailment, Alone, Crashes, Evidence, ExitEvent, Exits, Kind, Machine, MachineId, MachineState,
    Note, RestartPolicy, ThresholdKind, Unit, Verdict, Want,
};

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Crashes,
    example: "crashes = { exits = 2, oom = 1 }",
    exceeded: "a machine exited unplanned, or was killed for lack of memory, so often more than \
               under the known-good release, on the share `failing` of the machines",
    keys: KEYS,
    instead: &[
        ("max", "write crashes = { exits = 2, oom = 1 }"),
        ("from", "leave it out: they come from Fly's own API"),
        ("quorum", "write `failing` in the braces"),
    ],
    make,
};

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "exits",
        place: Place::Braces,
        takes: Takes::Whole { least: 1, most: 1000 },
        unsaid: Unsaid::Means(Value::Whole(2)),
        doc: "how many unplanned exits of a machine, beyond those usual under the known-good release, are \
              too many",
    },
    Key {
        name: "oom",
        place: Place::Braces,
        takes: Takes::Whole { least: 0, most: 1000 },
        unsaid: Unsaid::Means(Value::Whole(1)),
        doc: "how many kills for lack of memory are too many; 0 leaves memory out",
    },
    keys::quorum("failing", Place::Braces, "the share of the machines on which it must happen"),
];

fn make(given: &Given) -> Option<ThresholdKind> {
    Some(ThresholdKind::Crashes(Crashes {
        exits: given.whole("exits")?,
        oom: given.whole("oom")?,
        failing: given.number("failing")?,
    }))
}

/// A machine whose last crash is this long ago runs: the platform's supervisor gives up after ten
/// crashes in five minutes.
const FADE_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Exits of a release that is not trusted yet belong together when they are no further apart than this. One that
/// nobody asks anything is watched for weeks.
const APART: SignedDuration = SignedDuration::from_hours(12);
/// A process that ends within this of its start did not end for want of work.
const SOON: SignedDuration = SignedDuration::from_secs(60);
/// A machine that ended and that nobody started again for so long, before our eyes, is down: the
/// platform's proxy starts what somebody asks for within seconds.
const ENDED_FOR: SignedDuration = SignedDuration::from_secs(10);
/// Machines remembered before those that are gone are forgotten.
const MACHINES_REMEMBERED: usize = 2000;
/// Kills for lack of memory, one soon after the other, of a release that was trusted.
const OFTEN: u32 = 2;
/// Most machines named in the evidence.
const NAMED_MAX: usize = 5;

/// Exits counted on one machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrashCount {
    pub exits: u32,
    pub oom: u32,
    /// Ends without an error soon after the start.
    #[serde(default)]
    pub ends: u32,
    /// Exits up to this one are counted; the platform truncates and resets its event list.
    pub counted_to: Option<Timestamp>,
}

impl CrashCount {
    /// Forgets exits of long ago, where a release is looked at for weeks or months: only what comes together
    /// counts.
    fn fade(&mut self, after: SignedDuration, now: Timestamp) {
        if self.counted_to.is_some_and(|at| now.duration_since(at) >= after) {
            *self = Self { counted_to: self.counted_to, ..Self::default() };
        }
    }

    /// Adds the processes that ended by themselves since `since` and were not counted yet.
    pub fn count(&mut self, machine: &Machine, since: Timestamp) {
        let counted_to = self.counted_to;
        let fresh = machine.exits.iter().filter(|exit| !exit.requested_stop && exit.at >= since);
        for exit in fresh.filter(|exit| counted_to.is_none_or(|to| exit.at > to)) {
            if exit.is_crash() {
                self.exits += 1;
                self.oom += u32::from(exit.oom_killed);
            } else if ended_soon(exit) {
                self.ends += 1;
            }
            self.counted_to = Some(self.counted_to.map_or(exit.at, |to| to.max(exit.at)));
        }
    }
}

/// Whether a process ended before it can have gone to sleep for want of work.
fn ended_soon(exit: &ExitEvent) -> bool {
    exit.started_at.is_none_or(|started| exit.at.duration_since(started) < SOON)
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

impl Crashes {
    /// Whether a machine that is no job keeps ending with exit code 0: it is down, whatever the
    /// code says.
    fn keeps_ending(&self, case: &Case<'_>, one: &Judged<'_>, count: &CrashCount) -> bool {
        let often = count.ends >= self.exits.max(1);
        let is_job = !one.machine.has_services && !one.stays_up;
        if is_job {
            return false;
        }
        if one.machine.restart == Some(RestartPolicy::Always) && often {
            return true;
        }
        if one.seen.doing != Doing::Ended || one.seen.lasts() < ENDED_FOR {
            return false;
        }
        // Without services nothing starts it again; with them the proxy does, unless nothing of the
        // group, which stayed up before, is up at all.
        let nothing_up = one.stays_up
            && !case.on.iter().any(|other| {
                other.machine.group == one.machine.group
                    && other.seen.doing == Doing::Fine
                    && !other.machine.state.is_at_rest()
            });
        !one.machine.has_services || often || (nothing_up && count.ends > 0)
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
            let after = match round.span {
                Span::Month => FADE_AFTER,
                Span::Release => APART,
            };
            count.fade(after, round.now);
            count.count(look.machine, look.exits_since);
        }
        if state.machines.len() > MACHINES_REMEMBERED {
            state.machines.retain(|id, _| round.on.iter().any(|look| look.machine.id == *id));
        }
        Took::default()
    }

    fn sees(&self, round: &Round<'_>) -> bool {
        round.on.iter().any(|look| !look.machine.state.is_at_rest())
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        let Own::Crashes(state) = own else { return };
        let count =
            |one: &Judged<'_>| state.machines.get(&one.machine.id).cloned().unwrap_or_default();
        // Machines that rest, and never ran the release, say nothing for it.
        let tried: Vec<(&Judged<'_>, CrashCount, bool)> = case
            .on
            .iter()
            .map(|one| (one, count(one), self.keeps_ending(case, one, &count(one))))
            .filter(|(one, count, ends)| {
                *ends || !one.machine.state.is_at_rest() || count.exits > 0
            })
            .collect();
        if tried.is_empty() {
            return;
        }
        let mut tripped = Vec::new();
        let mut worst = 0u32;
        for (one, count, keeps_ending) in &tried {
            let machine = one.machine;
            worst = worst.max(count.exits);
            let faded =
                count.counted_to.is_some_and(|at| case.now.duration_since(at) >= FADE_AFTER);
            if faded && matches!(machine.state, MachineState::Started) {
                continue;
            }
            let too_often =
                f64::from(count.exits) - case.usual_exits >= f64::from(self.exits.max(1));
            // In months a single one comes to the best.
            let least = if case.span == Span::Month { OFTEN } else { 1 };
            let out_of_memory = self.oom > 0 && count.oom >= self.oom.max(least);
            if too_often || out_of_memory || *keeps_ending {
                let ends = if *keeps_ending { count.ends.max(1) } else { 0 };
                let machine = machine.id.clone();
                tripped.push(Exits { machine, exits: count.exits, out_of_memory, ends });
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
        if let [only] = tripped.as_slice()
            && let Some(alone) = alone(&tried, only)
        {
            evidence.verdict = Verdict::Pass;
            evidence.note = Some(Note::Apart(alone));
            return;
        }
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

/// Whether the only machine that ends does so beside equals that never did. Memory is the release's: what
/// one of them reaches first the others reach later.
fn alone(tried: &[(&Judged<'_>, CrashCount, bool)], only: &Exits) -> Option<Alone> {
    if only.out_of_memory {
        return None;
    }
    let (failing, ..) = tried.iter().find(|(one, ..)| one.machine.id == only.machine)?;
    let is_well = |(one, count, keeps_ending): &&(&Judged<'_>, CrashCount, bool)| {
        one.machine.state == MachineState::Started
            && count.exits == 0
            && count.ends == 0
            && !keeps_ending
    };
    let well: Vec<&Machine> = tried.iter().filter(is_well).map(|(one, ..)| one.machine).collect();
    apart::only_one(failing.machine, &well, Ailment::Exits(only.clone()))
}

pub(super) fn says(evidence: &Evidence) -> String {
    format!("on {} machines", speak::counts(evidence))
}

pub(super) fn ended(exits: &Exits) -> String {
    let machine = &exits.machine;
    if exits.ends > 0 && exits.exits == 0 {
        return format!("{machine} keeps ending by itself with exit code 0 ({})", exits.ends);
    }
    let memory = if exits.out_of_memory { ", out of memory, which has its own limit" } else { "" };
    let times = if exits.exits == 1 { "once".to_owned() } else { format!("{} times", exits.exits) };
    format!("{machine} exited {times}{memory}")
}
