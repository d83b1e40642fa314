//! A gauge that stays above its bound.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Case, Look, Own, Room, Round, STALE_AFTER_SCRAPES, Took,
    detect::runs::{Sustained, quorum},
    keys::{self, FROM, Given, Key, Place, Schema, Takes, Unsaid, Value},
    machines, speak,
};
use crate::model::{
    Evidence, Gauge, Kind, MachineId, Note, Oddity, Origin, Selection, Tally, ThresholdKind, Unit,
    Verdict, Want,
};

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Gauge,
    example: "gauge = …",
    exceeded: "the gauge is above `max` on every scrape for the time `for`, on the share `quorum` \
               of the machines",
    keys: KEYS,
    instead: &[],
    make,
};

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "gauge",
        place: Place::Word,
        takes: Takes::Gauge,
        unsaid: Unsaid::Wrong("write a gauge, such as gauge = 'process_resident_memory_bytes'"),
        doc: "the gauge; of several series of a machine the largest counts",
    },
    Key {
        name: "max",
        place: Place::Beside,
        takes: Takes::Amount,
        unsaid: Unsaid::Wrong(
            "write the largest value that is still fine, such as max = \"400MB\"",
        ),
        doc: "the largest value that is still fine",
    },
    SUSTAIN,
    QUORUM,
    FROM,
];
pub(super) const FOR: &str = "for";
pub(super) const SUSTAIN: Key = Key {
    name: FOR,
    place: Place::Beside,
    takes: Takes::Span { least: Duration::ZERO, most: Duration::from_secs(86_400) },
    unsaid: Unsaid::Means(Value::Span(Duration::from_secs(30))),
    doc: "how long it must be above; shorter than `bake`",
};
pub(super) const QUORUM: Key =
    keys::quorum("quorum", Place::Beside, "the share of the machines on which it must be above");

fn make(given: &Given) -> Option<ThresholdKind> {
    Some(ThresholdKind::Gauge(Gauge {
        gauge: given.selector("gauge")?.clone(),
        max: given.number("max")?,
        sustain: given.span(FOR)?,
        quorum: given.number("quorum")?,
        from: given.origin(),
    }))
}

/// For how long nothing may be read of a machine, and how many looks of the idle pace, before what it shows is
/// another run.
const UNREAD_FOR: Duration = Duration::from_secs(60);
const LOOKS_MISSED: u32 = 3;
/// How much larger than beside it a value must be to be the release's own.
const ALIKE: f64 = 1.5;
const HALF: f64 = 0.5;

/// A gauge's part of a watch: its run on each machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GaugeState {
    /// The bound that the runs are above.
    max: f64,
    /// What is looked for, where that is an expression.
    #[serde(default)]
    question: String,
    /// Why it could not be judged in the last round.
    #[serde(default)]
    odd: Option<Oddity>,
    runs: BTreeMap<MachineId, Sustained>,
    /// What the known-good release beside it shows, as it was read last, while the release is above.
    #[serde(default)]
    beside: Option<Above>,
}

/// Machines of the known-good release: how many there are, how many are above the bound, and the largest value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Above {
    machines: Tally,
    worst: f64,
}

impl GaugeState {
    /// What the known-good release shows of the same breach: half of its machines are above the bound as well,
    /// and the release not half as much again. It is remembered when they are gone.
    pub(super) fn control_alike(&self) -> Option<Tally> {
        let Above { machines: Tally { n, k }, worst } = self.beside?;
        let largest = self.runs.values().filter_map(Sustained::last).reduce(f64::max)?;
        (k >= HALF * n && largest <= ALIKE * worst).then_some(Tally { n, k })
    }

    fn look_beside(&mut self, max: f64, values: impl Iterator<Item = f64>) {
        let mut beside: Option<Above> = None;
        for value in values {
            let Above { machines, worst } =
                beside.get_or_insert(Above { machines: Tally::default(), worst: value });
            machines.add(1.0, if value > max { 1.0 } else { 0.0 });
            *worst = worst.max(value);
        }
        let is_above = self.runs.values().any(|run| run.above_since().is_some());
        self.beside = beside.or(self.beside.filter(|_| is_above));
    }
}

impl Room for Gauge {
    fn kind(&self) -> Kind {
        Kind::Gauge
    }

    fn want(&self) -> Want {
        Want::Series(self.from.source.clone(), Selection::Largest { gauge: self.gauge.clone() })
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.from)
    }

    fn begin(&self, _now: Timestamp) -> Own {
        begin(self.max, "")
    }

    fn fits(&self, own: &Own) -> bool {
        fits(own, self.max, "")
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        let lasts = Lasts { max: self.max, sustain: self.sustain, every: self.from.every };
        absorb(name, own, &lasts, round, |look| look.readings?.gauges.get(name).copied())
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        judge(own, case, (self.sustain, self.quorum), evidence);
    }

    fn terms(&self) -> (f64, Unit, String) {
        // By Prometheus' conventions a metric's name says what it is in.
        let name = &self.gauge.metric;
        let unit = if name.contains("bytes") {
            Unit::Bytes
        } else if name.ends_with("_seconds") {
            Unit::Seconds
        } else if name.ends_with("_ratio") {
            Unit::Share
        } else {
            Unit::Plain
        };
        (self.max, unit, format!("{}{}", self.gauge, self.from.told()))
    }

    fn must_last(&self) -> Option<(&'static str, Duration)> {
        Some((FOR, self.sustain))
    }

    fn elsewhere(&self, origin: &Origin, times: f64) -> Option<ThresholdKind> {
        let max = self.max * times;
        Some(ThresholdKind::Gauge(Self { max, from: origin.clone(), ..self.clone() }))
    }

    fn describe(&self) -> String {
        let (max, unit, source) = self.terms();
        format!(
            "{source} not above {} for {} on {} of the machines",
            speak::value(max, unit),
            speak::duration(self.sustain.as_secs_f64()),
            speak::written(self.quorum)
        )
    }
}

pub(super) fn begin(max: f64, question: &str) -> Own {
    let (question, runs) = (question.to_owned(), BTreeMap::new());
    Own::Gauge(GaugeState { max, question, odd: None, runs, beside: None })
}

pub(super) fn fits(own: &Own, max: f64, question: &str) -> bool {
    matches!(own, Own::Gauge(state)
        if state.max.to_bits() == max.to_bits() && state.question == question)
}

/// What is above `max` for `sustain`, by readings that come `every` so often.
pub(super) struct Lasts {
    pub(super) max: f64,
    pub(super) sustain: Duration,
    pub(super) every: Duration,
}

impl Lasts {
    /// Two readings further apart than this do not follow each other.
    fn gap(&self, round: &Round<'_>) -> Duration {
        let looks = round.policy.watch.idle_scrape_every * LOOKS_MISSED;
        looks.max(self.every * STALE_AFTER_SCRAPES).max(UNREAD_FOR)
    }
}

/// Takes in what `value` says of each machine.
pub(super) fn absorb(
    name: &str,
    own: &mut Own,
    lasts: &Lasts,
    round: &Round<'_>,
    value: impl Fn(&Look<'_>) -> Option<f64>,
) -> Took {
    let Own::Gauge(state) = own else { return Took::default() };
    let read = round.on.iter().filter_map(|look| look.readings);
    state.odd = read.filter_map(|readings| readings.oddities.get(name)).next().cloned();
    state.runs.retain(|id, _| round.on.iter().any(|look| look.machine.id == *id));
    for look in round.on {
        if let Some(value) = value(look) {
            let run = state.runs.entry(look.machine.id.clone()).or_default();
            run.miss(lasts.gap(round), lasts.sustain, round.now);
            run.sample(Some(value), lasts.max, round.now);
        }
    }
    state.look_beside(lasts.max, round.control.iter().filter_map(value));
    Took::default()
}

pub(super) fn judge(
    own: &Own,
    case: &Case<'_>,
    (sustain, share): (Duration, f64),
    evidence: &mut Evidence,
) {
    let Own::Gauge(state) = own else { return };
    if let Some(odd) = &state.odd {
        evidence.note = Some(Note::Odd(odd.clone()));
        return;
    }
    let on: Vec<_> = case.on.iter().filter_map(|one| state.runs.get(&one.machine.id)).collect();
    if on.is_empty() {
        return;
    }
    let above = on.iter().filter(|run| run.is_sustained(sustain)).count();
    evidence.value = on.iter().filter_map(|run| run.last()).reduce(f64::max);
    evidence.bad = machines(above);
    evidence.total = machines(on.len());
    evidence.verdict =
        if above >= quorum(share, on.len()) { Verdict::Breach } else { Verdict::Pass };
    evidence.note = (above > 0).then(|| Note::Above {
        machines: u32::try_from(above).unwrap_or(u32::MAX),
        seconds: sustain.as_secs(),
    });
}

pub(super) fn says(evidence: &Evidence, value: f64) -> String {
    let value = speak::value(value, evidence.unit);
    if evidence.total > 0.0 {
        format!("{value} on {} machines", speak::counts(evidence))
    } else {
        value
    }
}
