//! Any expression that a metrics server evaluates, and that stays above its bound.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Case, Own, Room, Round, Took, gauge,
    gauge::{FOR, Lasts, QUORUM, SUSTAIN},
    keys::{FROM_SERVER, Given, Key, Place, Schema, Takes, Unsaid},
    later, speak,
};
use crate::{
    model::{Evidence, Kind, Origin, Promql, Selection, ThresholdKind, Unit, Want},
    numbers::cut,
};

/// Of an expression, where it is described in a sentence, in characters.
const SHOWN_MAX: usize = 60;

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Promql,
    example: "promql = …",
    exceeded: "an expression that a metrics server evaluates is above `max` each time, for the time `for`, on \
               the share `quorum` of the machines",
    keys: KEYS,
    instead: &[],
    make,
};

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "promql",
        place: Place::Word,
        takes: Takes::Expression,
        unsaid: Unsaid::Wrong(
            "write an expression, such as promql = 'max by (instance) (queue_seconds{app=\"$app\"})'",
        ),
        doc: "the expression, with `$app` for the app's name; one value per machine (by the \
              server's `machine_label`), or one for the whole app",
    },
    Key {
        name: "max",
        place: Place::Beside,
        takes: Takes::Amount,
        unsaid: Unsaid::Wrong("write the largest value that is still fine, such as max = \"90s\""),
        doc: "the largest value that is still fine",
    },
    SUSTAIN,
    QUORUM,
    FROM_SERVER,
];

fn make(given: &Given) -> Option<ThresholdKind> {
    let (expression, looks_back) = given.expression()?;
    Some(ThresholdKind::Promql(Promql {
        expression: expression.to_owned(),
        looks_back,
        max: given.number("max")?,
        sustain: given.span(FOR)?,
        quorum: given.number("quorum")?,
        from: given.origin(),
    }))
}

impl Room for Promql {
    fn kind(&self) -> Kind {
        Kind::Promql
    }

    fn want(&self) -> Want {
        let expression = self.expression.clone();
        Want::Series(self.from.source.clone(), Selection::Value { expression })
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.from)
    }

    fn begin(&self, _now: Timestamp) -> Own {
        gauge::begin(self.max, &self.terms().2)
    }

    fn fits(&self, own: &Own) -> bool {
        gauge::fits(own, self.max, &self.terms().2)
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        let lasts = Lasts { max: self.max, sustain: self.sustain, every: self.from.every };
        gauge::absorb(name, own, &lasts, round, |look| {
            let readings = look.readings?;
            // What it looks back on has to be the release's whole.
            let began = look.machine.started_at.unwrap_or(look.machine.updated_at);
            let is_own = later(began, self.looks_back) <= round.now;
            // Of one value for the whole app nobody can say whose it is while another release runs.
            let is_ones = round.control.is_empty() || !readings.whole_app.contains(name);
            readings.gauges.get(name).copied().filter(|_| is_own && is_ones)
        })
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        gauge::judge(own, case, (self.sustain, self.quorum), evidence);
    }

    fn terms(&self) -> (f64, Unit, String) {
        (self.max, Unit::Plain, format!("{}{}", self.expression, self.from.told()))
    }

    fn must_last(&self) -> Option<(&'static str, Duration)> {
        // Before it has run for its longest range a release is not judged by it.
        Some(("promql", self.looks_back.saturating_add(self.sustain)))
    }

    fn elsewhere(&self, origin: &Origin, times: f64) -> Option<ThresholdKind> {
        let max = self.max * times;
        Some(ThresholdKind::Promql(Self { max, from: origin.clone(), ..self.clone() }))
    }

    fn describe(&self) -> String {
        let (max, unit, _) = self.terms();
        // It is written over several lines, and the whole of it stands in its file.
        let words: Vec<&str> = self.expression.split_whitespace().collect();
        format!(
            "{}{} not above {} for {} on {} of the machines",
            cut(&words.join(" "), SHOWN_MAX),
            self.from.told(),
            speak::value(max, unit),
            speak::duration(self.sustain.as_secs_f64()),
            speak::written(self.quorum)
        )
    }
}
