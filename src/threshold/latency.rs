//! A latency quantile: the share of requests slower than a bound, from a histogram.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Case, Onset, Own, Room, Round, Took,
    counted::{self, Counted},
    keys::{BY, FROM, Given, Key, Place, SHARE_MAX, SHARE_MIN, STRICT, Schema, Takes, Unsaid},
    relative::{self, RELATIVE},
    speak,
};
use crate::model::{
    Evidence, Kind, Latency, Origin, Relative, Selection, ThresholdKind, Unit, Want,
};

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Latency,
    example: "latency = { histogram = …, quantile = 0.95 }",
    exceeded: "more requests than `quantile` allows (5 % with 0.95) are slower than `max`, beyond \
               doubt",
    keys: KEYS,
    instead: &[],
    make,
};

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "histogram",
        place: Place::Braces,
        takes: Takes::Histogram,
        unsaid: Unsaid::Wrong("write its name, such as 'http_request_duration_seconds'"),
        doc: "the histogram that holds how long requests took",
    },
    Key {
        name: "quantile",
        place: Place::Braces,
        takes: Takes::Quantile { least: SHARE_MAX, beyond: SHARE_MIN },
        unsaid: Unsaid::Wrong("write the share of requests that must be faster, such as 0.95"),
        doc: "the share of requests that must not be slower than `max`",
    },
    Key {
        name: "max",
        place: Place::Beside,
        takes: Takes::Latency { least: Duration::from_millis(1), most: Duration::from_secs(120) },
        unsaid: Unsaid::Wrong("write the longest time that is still fine, such as max = \"500ms\""),
        doc: "the longest time that is still fine",
    },
    RELATIVE,
    STRICT,
    BY,
    FROM,
];

fn make(given: &Given) -> Option<ThresholdKind> {
    Some(ThresholdKind::Latency(Latency {
        histogram: given.selector("histogram")?.clone(),
        quantile: given.number("quantile")?,
        bound_s: given.span("max")?.as_secs_f64(),
        relative: given.relative(),
        strict: given.flag("strict")?,
        by: given.labels().to_vec(),
        from: given.origin(),
    }))
}

impl Latency {
    fn share(&self) -> (f64, bool) {
        // Rounded, so that 0.95 allows 0.05 and not 0.050000000000000044.
        (((1.0 - self.quantile) * 1e9).round() / 1e9, self.strict)
    }
}

impl Room for Latency {
    fn kind(&self) -> Kind {
        Kind::Latency
    }

    fn want(&self) -> Want {
        Want::Series(
            self.from.source.clone(),
            Selection::Slow { histogram: self.histogram.clone(), bound_s: self.bound_s },
        )
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.from)
    }

    fn allowed_share(&self) -> Option<(f64, bool)> {
        Some(self.share())
    }

    fn relative(&self) -> Option<Relative> {
        self.relative
    }

    fn by(&self) -> &[String] {
        &self.by
    }

    fn begin(&self, now: Timestamp) -> Own {
        Own::Counted(Box::new(Counted::new(self.terms().2, self.share(), now)))
    }

    fn fits(&self, own: &Own) -> bool {
        counted::fits(own, &self.terms().2, self.share())
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        counted::absorb(name, own, round, (&self.from, &self.by))
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        counted::judge(own, case, &self.by, evidence);
        relative::note(self.relative, evidence);
    }

    fn onset(&self, own: &Own, _case: &Case<'_>) -> Onset {
        counted::onset(own)
    }

    fn terms(&self) -> (f64, Unit, String) {
        let (from, by) = (self.from.told(), speak::by(&self.by));
        let bound_ms = self.bound_s * 1000.0;
        let source = format!("{}{from}{by} slower than {bound_ms} ms", self.histogram);
        (self.share().0, Unit::SlowerThan(self.bound_s), source)
    }

    fn elsewhere(&self, origin: &Origin, times: f64) -> Option<ThresholdKind> {
        let bound_s = self.bound_s * times;
        Some(ThresholdKind::Latency(Self { bound_s, from: origin.clone(), ..self.clone() }))
    }

    fn describe(&self) -> String {
        format!(
            "{} {}{}{}{} slower than {}{}",
            speak::allowed(Some(self.share().0), self.relative),
            if self.relative.is_some() { "" } else { "of " },
            self.histogram,
            self.from.told(),
            speak::by(&self.by),
            speak::seconds(self.bound_s),
            speak::strictly(self.strict)
        )
    }
}

pub(super) fn says(evidence: &Evidence, share: f64) -> String {
    let slow = match evidence.unit {
        Unit::SlowerThan(bound) => format!("slower than {}", speak::seconds(bound)),
        _ => "too slow".to_owned(),
    };
    format!("{} {slow} ({} requests)", speak::share(share), speak::counts(evidence))
}
