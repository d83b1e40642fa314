//! The share of bad events among all, from two counters.

use jiff::Timestamp;

use super::{
    Case, Onset, Own, Room, Round, Took,
    counted::{self, Counted},
    keys::{BY, FROM, Given, Key, Place, SHARE_MAX, SHARE_MIN, STRICT, Schema, Takes, Unsaid},
    relative::{self, RELATIVE},
    speak,
};
use crate::model::{Evidence, Kind, Origin, Ratio, Relative, Selection, ThresholdKind, Unit, Want};

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Ratio,
    example: "ratio = { bad = …, total = … }, each a counter",
    exceeded: "the share of bad events, from two counters, is above `max`, beyond doubt",
    keys: KEYS,
    instead: &[],
    make,
};

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "bad",
        place: Place::Braces,
        takes: Takes::Counter { part_of: Some("total") },
        unsaid: Unsaid::Wrong(
            "write a counter, such as bad = 'http_requests_total{status=~\"5..\"}'",
        ),
        doc: "what counts the bad events among all",
    },
    Key {
        name: "total",
        place: Place::Braces,
        takes: Takes::Counter { part_of: None },
        unsaid: Unsaid::Wrong("write a counter, such as total = 'http_requests_total'"),
        doc: "what counts all events, the bad ones included",
    },
    Key {
        name: "max",
        place: Place::Beside,
        takes: Takes::Share { least: SHARE_MIN, below: SHARE_MAX },
        unsaid: Unsaid::WrongWithout(
            "relative",
            "write the share that is still fine, such as max = \"2%\", or relative = { times = 1.5, \
             plus = \"0.2%\" }",
        ),
        doc: "the share of bad events that is still fine",
    },
    RELATIVE,
    STRICT,
    BY,
    FROM,
];

fn make(given: &Given) -> Option<ThresholdKind> {
    let relative = given.relative();
    Some(ThresholdKind::Ratio(Ratio {
        bad: given.selector("bad")?.clone(),
        total: given.selector("total")?.clone(),
        max: given.number("max").or_else(|| relative.map(|_| SHARE_MAX))?,
        relative,
        strict: given.flag("strict")?,
        by: given.labels().to_vec(),
        from: given.origin(),
    }))
}

impl Room for Ratio {
    fn kind(&self) -> Kind {
        Kind::Ratio
    }

    fn want(&self) -> Want {
        Want::Series(
            self.from.source.clone(),
            Selection::Share { bad: self.bad.clone(), total: self.total.clone() },
        )
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.from)
    }

    fn allowed_share(&self) -> Option<(f64, bool)> {
        Some((self.max, self.strict))
    }

    fn relative(&self) -> Option<Relative> {
        self.relative
    }

    fn by(&self) -> &[String] {
        &self.by
    }

    fn begin(&self, now: Timestamp) -> Own {
        Own::Counted(Box::new(Counted::new(self.terms().2, (self.max, self.strict), now)))
    }

    fn fits(&self, own: &Own) -> bool {
        counted::fits(own, &self.terms().2, (self.max, self.strict))
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
        let source = format!("{} / {}{from}{by}", self.bad, self.total);
        let of_requests = source.contains("request") || source.contains("http");
        (self.max, if of_requests { Unit::Requests } else { Unit::Events }, source)
    }

    fn elsewhere(&self, origin: &Origin, times: f64) -> Option<ThresholdKind> {
        let max = (self.max * times).min(SHARE_MAX);
        let relative = self.relative.map(|one| relative::scaled(one, times));
        Some(ThresholdKind::Ratio(Self { max, relative, from: origin.clone(), ..self.clone() }))
    }

    fn describe(&self) -> String {
        let limit = speak::allowed((self.max < SHARE_MAX).then_some(self.max), self.relative);
        let (strictly, from) = (speak::strictly(self.strict), self.from.told());
        let by = speak::by(&self.by);
        format!("{limit} {} of {}{from}{by}{strictly}", self.bad, self.total)
    }
}

pub(super) fn says(evidence: &Evidence, share: f64) -> String {
    let events = if evidence.unit == Unit::Requests { "requests" } else { "events" };
    format!("{} ({} {events})", speak::share(share), speak::counts(evidence))
}
