//! What one round saw of one app. A source that could not be read is a value here, not an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    evidence::Tally,
    ids::{AppName, InstanceId, MachineId, Region},
    machine::Machine,
    probe::{ProbeFailure, ProbeRequest},
    release::Release,
    selector::Selector,
    setup::Secrets,
};

/// Where facts come from. Each source is blind or not by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum SourceName {
    /// The machines' own metrics pages.
    Pages,
    /// Requests that we make to the machines ourselves.
    Probes,
    /// A metrics server, by its name in the configuration; `fly` is the platform's own.
    Server(String),
}

/// What no metrics server can be called.
const PAGES: &str = "pages";
const PROBES: &str = "probes";

impl SourceName {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pages => PAGES,
            Self::Probes => PROBES,
            Self::Server(name) => name,
        }
    }
}

impl From<SourceName> for String {
    fn from(source: SourceName) -> Self {
        source.as_str().to_owned()
    }
}

impl From<String> for SourceName {
    fn from(text: String) -> Self {
        match text.as_str() {
            PAGES => Self::Pages,
            PROBES => Self::Probes,
            _ => Self::Server(text),
        }
    }
}

/// Whom a threshold's numbers are read from, and how far apart they are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub source: SourceName,
    /// How often a metrics server reads its targets; 0: each look is a reading.
    pub every: Duration,
}

impl Origin {
    /// The machines' own pages.
    pub const PAGES: Self = Self { source: SourceName::Pages, every: Duration::ZERO };

    /// Requests of our own.
    pub const PROBES: Self = Self { source: SourceName::Probes, every: Duration::ZERO };

    /// A metrics server that reads its targets so often.
    pub fn server(name: &str, every: Duration) -> Self {
        Self { source: SourceName::Server(name.to_owned()), every }
    }

    /// ` from fly`, where it is not the machines' pages.
    pub fn told(&self) -> String {
        match &self.source {
            SourceName::Pages | SourceName::Probes => String::new(),
            SourceName::Server(name) => format!(" from {name}"),
        }
    }
}

/// What a threshold wants to be told, and by whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// The platform's list of machines has it all.
    Machines,
    /// Something among the series of the machines, in a source.
    Series(SourceName, Selection),
}

/// What is looked for among the series of one machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// Bad events and all of them, from two counters.
    Share { bad: Selector, total: Selector },
    /// Events slower than a bound, and all of them, from a histogram.
    Slow { histogram: Selector, bound_s: f64 },
    /// The largest value of a gauge.
    Largest { gauge: Selector },
    /// The value of an expression, in which `$app` is the app's name.
    Value { expression: String },
    /// How it answers a request.
    Answer(ProbeRequest),
}

impl fmt::Display for Selection {
    /// What is asked: two that look for the same are written the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { bad, total } => write!(f, "{bad} of {total}"),
            Self::Slow { histogram, bound_s } => write!(f, "{histogram} above {bound_s}"),
            Self::Largest { gauge } => write!(f, "largest {gauge}"),
            Self::Value { expression } => write!(f, "value of {expression}"),
            Self::Answer(request) => request.fmt(f),
        }
    }
}

/// A selection under the name of the threshold that wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub threshold: String,
    pub selection: Selection,
    /// Labels by which its counts are told apart as well; none: they are not.
    pub by: Vec<String>,
}

/// Longest value of a label in a series' name.
const LABEL_MAX: usize = 100;

/// What a series is called by some of its labels: `path="/users"`.
pub fn series_name<'a>(by: &[String], label: impl Fn(&str) -> Option<&'a str>) -> String {
    let one = |name: &String| {
        let value: String = label(name).unwrap_or_default().chars().take(LABEL_MAX).collect();
        format!("{name}={value:?}")
    };
    by.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The busiest `most` of some series.
pub fn busiest(series: BTreeMap<String, Tally>, most: usize) -> BTreeMap<String, Tally> {
    if series.len() <= most {
        return series;
    }
    let mut all: Vec<(String, Tally)> = series.into_iter().collect();
    all.sort_by(|(_, a), (_, b)| b.n.total_cmp(&a.n));
    all.truncate(most);
    all.into_iter().collect()
}

/// Why the numbers of a page cannot be judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oddity {
    /// A series whose value no counter can have; the value is as the page has it.
    NoCounter { series: String, value: String },
    /// A sum beyond all numbers.
    Overflow { series: String },
    /// A metrics server does not take the expression, and why.
    Refused { detail: String },
    /// A metrics server does not answer what is asked for this one, and why; other questions it does.
    Unanswered { detail: String },
    /// A counter goes back and forth, as where several processes answer on one port.
    SeveralProcesses { series: String },
    /// No series of the bad events' metric has a label that their selector asks for.
    NoLabel { label: String, seen: Vec<String> },
    /// No bucket of a histogram ends at the bound or above it: it, and the last end below, in seconds.
    NoBucket { bound_s: f64, last_s: Option<f64> },
    /// No series has a label by which they are to be told apart.
    NotBy { label: String, seen: Vec<String> },
}

impl Oddity {
    /// Whether nothing is to be seen for a while, where there may be something; the others say that something is
    /// wrong with what is asked or shown.
    pub fn hides(&self) -> bool {
        match self {
            Self::Unanswered { .. } | Self::SeveralProcesses { .. } => true,
            Self::NoCounter { .. }
            | Self::Overflow { .. }
            | Self::Refused { .. }
            | Self::NoLabel { .. }
            | Self::NoBucket { .. }
            | Self::NotBy { .. } => false,
        }
    }
}

/// Where a count starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Since {
    /// Since the scrape before: always safe to add.
    LastScrape,
    /// Since the process started: the first scrape of a process. Only for a process that the
    /// watched release itself started, and only once.
    ProcessStart,
}

/// Events counted on one machine for one ratio or latency threshold, from one scrape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// All events.
    pub n: f64,
    /// Bad ones among them, as the page has them: more than `n` where it contradicts itself.
    pub k: f64,
    pub since: Since,
}

/// Events that a machine counted under an instance that it runs no more, and that are told only now: a
/// metrics server is late.
#[derive(Clone, Debug, PartialEq)]
pub struct Belated {
    /// What ran then.
    pub instance: InstanceId,
    pub tally: Tally,
    /// The same told apart, as in [`Readings::series`].
    pub series: BTreeMap<String, Tally>,
    /// The time it lies in.
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What one machine's metrics page said, by threshold name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Ratio and latency thresholds. Absent: no increment could be formed.
    pub counts: BTreeMap<String, Count>,
    /// The same told apart by the labels that a threshold names, the busiest of them.
    pub series: BTreeMap<String, BTreeMap<String, Tally>>,
    /// What the instance before counted, and is told late.
    pub belated: BTreeMap<String, Belated>,
    /// Gauge thresholds: the largest matching value.
    pub gauges: BTreeMap<String, f64>,
    /// Those of them that tell of the app as a whole.
    pub whole_app: BTreeSet<String>,
    /// Thresholds whose selector matched no series on this page.
    pub unmatched: BTreeSet<String>,
    /// Thresholds that cannot be judged by this page, and why.
    pub oddities: BTreeMap<String, Oddity>,
    /// Probes that failed, and why.
    pub failures: BTreeMap<String, ProbeFailure>,
    /// What it counts belongs to a process that no list has confirmed yet: it is nobody's.
    pub unconfirmed: bool,
}

/// One machine's scrape in this round.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineSample {
    pub machine: MachineId,
    pub instance: InstanceId,
    pub source: SourceName,
    /// `Err`: why the page could not be read, for people.
    pub readings: Result<Readings, String>,
}

/// An app that degrades, or looks as if it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distress {
    /// Since when, by its own evidence.
    pub since: Timestamp,
    /// Where its machines are.
    pub regions: BTreeSet<Region>,
    /// A release of its own is being watched or undone: it may be that release's fault.
    pub deployed: bool,
}

/// An app that nobody deployed and that serves its requests: by region, since when it was seen to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Well {
    pub since: BTreeMap<Region, Timestamp>,
}

/// What the rest of the organization is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrgContext {
    /// Other apps that are in distress now.
    pub neighbours: BTreeMap<AppName, Distress>,
    /// Other apps that are well, where that may matter. It is of the moment, and not recorded.
    #[serde(skip)]
    pub well: BTreeMap<AppName, Well>,
    /// Other apps' releases of the last hour, where that may matter: since when, and what. It is of the
    /// moment, and not recorded.
    #[serde(skip)]
    pub deploys: BTreeMap<AppName, (Timestamp, String)>,
    /// The daemon has just started, and not every app has spoken yet.
    pub listening: bool,
    /// That the platform cannot be read is told of for the whole organization: no app need say so.
    pub platform_told: bool,
    /// Sources of which it is told for the whole organization that they tell nothing.
    #[serde(default)]
    pub sources_told: BTreeSet<SourceName>,
    /// Rollbacks of other apps in the last 24 hours.
    #[serde(default)]
    pub rollbacks: u32,
}

/// One round's facts about one app.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// When the round began to look: what happened since may not be in it.
    pub began: Timestamp,
    /// `Err`: the platform could not be read; the reason, for people.
    pub machines: Result<Vec<Machine>, String>,
    /// The release ledger, newest first; `None` when it was not read this round.
    pub ledger: Option<Vec<Release>>,
    /// Digests of the app's secrets; `None` when they were not read this round.
    pub secrets: Option<Secrets>,
    pub samples: Vec<MachineSample>,
    /// Sources that saw nothing at all, and why, for people.
    pub blind: BTreeMap<SourceName, String>,
    pub org: OrgContext,
}
