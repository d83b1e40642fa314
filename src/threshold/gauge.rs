//! A gauge that stays above its bound.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Case, Own, Room, Round, Took,
    detect::runs::{Sustained, quorum},
    keys::{self, FROM, Given, Key, Place, Schema, Takes, Unsaid, Value},
    machines, speak,
};
use crate::model::{
    Evidence, Gauge, Kind, MachineId, Note, Origin, Selection, ThresholdKind, Unit, Verdict, Want,
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
    Key {
        name: FOR,
        place: Place::Beside,
        takes: Takes::Span { least: Duration::ZERO, most: Duration::from_secs(86_400) },
        unsaid: Unsaid::Means(Value::Span(Duration::from_secs(30))),
        doc: "how long it must be above; shorter than `bake`",
    },
    keys::quorum("quorum", Place::Beside, "the share of the machines on which it must be above"),
    FROM,
];
const FOR: &str = "for";

fn make(given: &Given) -> Option<ThresholdKind> {
    Some(ThresholdKind::Gauge(Gauge {
        gauge: given.selector("gauge")?.clone(),
        max: given.number("max")?,
        sustain: given.span(FOR)?,
        quorum: given.number("quorum")?,
        from: given.origin(),
    }))
}

/// A gauge's part of a watch: its run on each machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GaugeState {
    /// The bound that the runs are above.
    max: f64,
    runs: BTreeMap<MachineId, Sustained>,
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
        Own::Gauge(GaugeState { max: self.max, runs: BTreeMap::new() })
    }

    fn fits(&self, own: &Own) -> bool {
        matches!(own, Own::Gauge(state) if state.max.to_bits() == self.max.to_bits())
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        let Own::Gauge(state) = own else { return Took::default() };
        state.runs.retain(|id, _| round.on.iter().any(|look| look.machine.id == *id));
        for look in round.on {
            let value = look.readings.and_then(|readings| readings.gauges.get(name));
            if let Some(value) = value {
                let run = state.runs.entry(look.machine.id.clone()).or_default();
                run.sample(Some(*value), self.max, round.now);
            }
        }
        Took::default()
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        let Own::Gauge(state) = own else { return };
        let on: Vec<_> = case.on.iter().filter_map(|one| state.runs.get(&one.machine.id)).collect();
        if on.is_empty() {
            return;
        }
        let above = on.iter().filter(|run| run.is_sustained(self.sustain)).count();
        evidence.value = on.iter().filter_map(|run| run.last()).reduce(f64::max);
        evidence.bad = machines(above);
        evidence.total = machines(on.len());
        evidence.verdict =
            if above >= quorum(self.quorum, on.len()) { Verdict::Breach } else { Verdict::Pass };
        evidence.note = (above > 0).then(|| Note::Above {
            machines: u32::try_from(above).unwrap_or(u32::MAX),
            seconds: self.sustain.as_secs(),
        });
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

pub(super) fn says(evidence: &Evidence, value: f64) -> String {
    let value = speak::value(value, evidence.unit);
    if evidence.total > 0.0 {
        format!("{value} on {} machines", speak::counts(evidence))
    } else {
        value
    }
}
