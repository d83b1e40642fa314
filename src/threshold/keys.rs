//! What a kind's keys in the configuration are, as a table: what each takes and within which limits,
//! what holds when it is not written, and what it means.
//!
//! Each kind's file has its table. From the tables come the reader of the configuration (known keys,
//! limits, defaults, what is said of a key that only other kinds have) and the reference in
//! docs/configuration.md. Nothing here knows how a file is written.

use std::{collections::BTreeMap, time::Duration};

use super::{checks, crashes, gauge, latency, probe, promql, ratio};
use crate::model::{Kind, Origin, Relative, Selector, Statuses, ThresholdKind};

/// A share of requests below this is beyond what they can show.
pub const SHARE_MIN: f64 = 1e-6;
/// From here on a limit says that most requests may fail.
pub const SHARE_MAX: f64 = 0.5;

/// All that the configuration has to know of a kind.
pub struct Schema {
    pub kind: Kind,
    /// How it is written: what is shown to those who wrote something else.
    pub example: &'static str,
    /// When it is exceeded, for the reference.
    pub exceeded: &'static str,
    pub keys: &'static [Key],
    /// What to write instead of keys that only other kinds have; otherwise they are left out.
    pub instead: &'static [(&'static str, &'static str)],
    /// The kind's numbers; `None` as long as a key is missing.
    pub make: fn(&Given) -> Option<ThresholdKind>,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    pub name: &'static str,
    pub place: Place,
    pub takes: Takes,
    pub unsaid: Unsaid,
    /// One line for the reference.
    pub doc: &'static str,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the braces after the kind's word.
    Braces,
    /// In the `[[threshold]]` itself.
    Beside,
    /// The kind's own word is the key.
    Word,
}

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// The selector of a counter; of one that selects a part of what another key selects.
    Counter {
        part_of: Option<&'static str>,
    },
    /// The selector of a gauge.
    Gauge,
    /// The base name of a histogram, with conditions.
    Histogram,
    /// A share of events, from `least` to just below `below`.
    Share {
        least: f64,
        below: f64,
    },
    /// A quantile, from `least` to 1 without the share `beyond`.
    Quantile {
        least: f64,
        beyond: f64,
    },
    /// How long an answer may take.
    Latency {
        least: Duration,
        most: Duration,
    },
    /// A number in the unit of what is measured.
    Amount,
    /// A time.
    Span {
        least: Duration,
        most: Duration,
    },
    /// A share of machines, more than none.
    Machines,
    Whole {
        least: u32,
        most: u32,
    },
    Flag,
    /// Whom it is read from.
    Source,
    /// Which metrics server it is read from.
    Server,
    /// What a metrics server evaluates, with `$app` for the app.
    Expression,
    /// A path of a request, with its query.
    Path,
    /// Statuses of an answer, by number or class; one, or a list.
    Statuses,
    /// So many times what the known-good release shows, and so much more.
    Relative,
    /// Names of labels, in a list.
    Labels {
        most: usize,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some text.
    Text {
        most: usize,
    },
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unsaid {
    /// It has to be; with what to write.
    Wrong(&'static str),
    /// It has to be where this other key is not written.
    WrongWithout(&'static str, &'static str),
    Means(Value),
    /// It may be left out; with what holds then.
    Nothing(&'static str),
}

/// A value that is no selector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A share, a quantile or an amount.
    Number(f64),
    Span(Duration),
    Whole(u32),
    Flag(bool),
    Word(&'static str),
}

/// The keys of one threshold with their values: what was written, and the defaults for the rest.
#[derive(Clone, Debug, Default)]
pub struct Given {
    selectors: BTreeMap<&'static str, Selector>,
    values: BTreeMap<&'static str, Value>,
    origin: Option<Origin>,
    expression: Option<(String, Duration)>,
    texts: BTreeMap<&'static str, String>,
    statuses: Vec<Statuses>,
    labels: Vec<String>,
    relative: Option<Relative>,
}

impl Given {
    pub fn put(&mut self, key: &Key, value: Value) {
        self.values.insert(key.name, value);
    }

    pub fn select(&mut self, key: &Key, selector: Selector) {
        self.selectors.insert(key.name, selector);
    }

    /// Whom it is read from.
    pub fn read_from(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// An expression, and the longest range in it.
    pub fn evaluate(&mut self, expression: String, looks_back: Duration) {
        self.expression = Some((expression, looks_back));
    }

    /// A path, or some text.
    pub fn write(&mut self, key: &Key, text: String) {
        self.texts.insert(key.name, text);
    }

    /// What an answer's status may be.
    pub fn expect(&mut self, statuses: Vec<Statuses>) {
        self.statuses = statuses;
    }

    /// Labels by which series are told apart.
    pub fn tell_apart(&mut self, labels: Vec<String>) {
        self.labels = labels;
    }

    /// How much worse than the known-good release is still fine.
    pub fn compare(&mut self, relative: Relative) {
        self.relative = Some(relative);
    }

    pub(super) fn relative(&self) -> Option<Relative> {
        self.relative
    }

    /// Takes out a selector that cannot be meant.
    pub fn drop_selector(&mut self, key: &Key) {
        self.selectors.remove(key.name);
    }

    pub fn selector(&self, key: &str) -> Option<&Selector> {
        self.selectors.get(key)
    }

    pub(super) fn expression(&self) -> Option<(&str, Duration)> {
        self.expression.as_ref().map(|(text, looks_back)| (text.as_str(), *looks_back))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    /// Those that were written.
    pub(super) fn statuses(&self) -> &[Statuses] {
        &self.statuses
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    pub fn word(&self, key: &str) -> Option<&'static str> {
        match self.values.get(key)? {
            Value::Word(word) => Some(*word),
            Value::Number(_) | Value::Span(_) | Value::Whole(_) | Value::Flag(_) => None,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin.clone().unwrap_or(Origin::PAGES)
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.values.get(key)? {
            Value::Number(number) => Some(*number),
            Value::Span(_) | Value::Whole(_) | Value::Flag(_) | Value::Word(_) => None,
        }
    }

    pub(super) fn span(&self, key: &str) -> Option<Duration> {
        match self.values.get(key)? {
            Value::Span(span) => Some(*span),
            Value::Number(_) | Value::Whole(_) | Value::Flag(_) | Value::Word(_) => None,
        }
    }

    pub(super) fn whole(&self, key: &str) -> Option<u32> {
        match self.values.get(key)? {
            Value::Whole(whole) => Some(*whole),
            Value::Number(_) | Value::Span(_) | Value::Flag(_) | Value::Word(_) => None,
        }
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.values.get(key)? {
            Value::Flag(flag) => Some(*flag),
            Value::Number(_) | Value::Span(_) | Value::Whole(_) | Value::Word(_) => None,
        }
    }
}

impl Kind {
    /// What the configuration has to know of it.
    pub fn schema(self) -> &'static Schema {
        match self {
            Self::Ratio => &ratio::SCHEMA,
            Self::Latency => &latency::SCHEMA,
            Self::Gauge => &gauge::SCHEMA,
            Self::Promql => &promql::SCHEMA,
            Self::Probe => &probe::SCHEMA,
            Self::Checks => &checks::SCHEMA,
            Self::Crashes => &crashes::SCHEMA,
        }
    }

    /// The kind with nothing but defaults; `None`: something has to be said.
    pub fn preset(self) -> Option<ThresholdKind> {
        let schema = self.schema();
        let mut given = Given::default();
        for key in schema.keys {
            match key.unsaid {
                Unsaid::Means(value) => given.put(key, value),
                Unsaid::Nothing(_) => {}
                Unsaid::Wrong(_) | Unsaid::WrongWithout(..) => return None,
            }
        }
        (schema.make)(&given)
    }
}

impl Schema {
    /// Keys that only other kinds have, in the `[[threshold]]` itself, each once.
    pub fn strays(&self) -> Vec<&'static str> {
        let own =
            |name: &str| self.keys.iter().any(|key| key.place == Place::Beside && key.name == name);
        beside().into_iter().filter(|name| !own(name)).collect()
    }

    /// What to do about a key that only other kinds have.
    pub fn instead_of(&self, key: &str) -> &'static str {
        let instead = self.instead.iter().find(|(stray, _)| *stray == key);
        instead.map_or("leave it out", |(_, instead)| instead)
    }
}

/// Keys that kinds have in the `[[threshold]]` itself, each once.
pub fn beside() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    let keys = Kind::ALL.into_iter().flat_map(|kind| kind.schema().keys);
    for key in keys.filter(|key| key.place == Place::Beside) {
        if !names.contains(&key.name) {
            names.push(key.name);
        }
    }
    names
}

/// Whom a kind that reads series has them from.
pub(super) const FROM: Key = Key {
    name: "from",
    place: Place::Beside,
    takes: Takes::Source,
    unsaid: Unsaid::Means(Value::Word("machine")),
    doc: "where it is read: from the machine's own metrics page over the private network, from \
          Fly's managed Prometheus, or from a `[[metrics_server]]` of waveoff.toml",
};

/// Which metrics server evaluates an expression.
pub(super) const FROM_SERVER: Key = Key {
    name: "from",
    place: Place::Beside,
    takes: Takes::Server,
    unsaid: Unsaid::Means(Value::Word("fly")),
    doc: "which metrics server evaluates it: Fly's managed Prometheus, or a `[[metrics_server]]` of \
          waveoff.toml",
};

/// By which labels a kind that counts events judges series one by one as well.
pub(super) const BY: Key = Key {
    name: "by",
    place: Place::Beside,
    takes: Takes::Labels { most: 3 },
    unsaid: Unsaid::Nothing("none"),
    doc: "labels such as `path`: the busiest 50 series by them are judged one by one as well, each at its \
          share of `false_rollbacks`, so that an endpoint that breaks alone is found and named",
};

/// How a kind that counts events takes its blocks.
pub(super) const STRICT: Key = Key {
    name: "strict",
    place: Place::Beside,
    takes: Takes::Flag,
    unsaid: Unsaid::Means(Value::Flag(false)),
    doc: "`true`: only whole blocks count. Sound even when all requests of a block depend on each \
          other, and slower for mild regressions",
};

/// On which share of the machines something must show before it counts.
pub(super) const fn quorum(name: &'static str, place: Place, doc: &'static str) -> Key {
    Key { name, place, takes: Takes::Machines, unsaid: Unsaid::Means(Value::Number(0.3)), doc }
}
