//! What one round saw of one app. A source that could not be read is a value here, not an error.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ids::{AppName, InstanceId, MachineId, Region},
    machine::Machine,
    release::Release,
    selector::Selector,
};

/// Where facts come from. Each source is blind or not by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// The machines' own metrics pages.
    Pages,
}

/// What a threshold wants to be told, and by whom.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// The platform's list of machines has it all.
    Machines,
    /// Something on the machines' metrics pages.
    Pages(Selection),
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
}

/// A selection under the name of the threshold that wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub threshold: String,
    pub selection: Selection,
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
    /// Bad ones among them, never more than `n`.
    pub k: f64,
    pub since: Since,
}

/// What one machine's metrics page said, by threshold name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Ratio and latency thresholds. Absent: no increment could be formed.
    pub counts: BTreeMap<String, Count>,
    /// Gauge thresholds: the largest matching value.
    pub gauges: BTreeMap<String, f64>,
    /// Thresholds whose selector matched no series on this page.
    pub unmatched: BTreeSet<String>,
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

/// What the rest of the organization is doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OrgContext {
    /// Other apps that degraded lately, by region: several at once is the platform, not a release.
    pub degraded_elsewhere: BTreeMap<Region, BTreeSet<AppName>>,
    /// That the platform cannot be read is told of for the whole organization: no app need say so.
    pub platform_told: bool,
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
    pub samples: Vec<MachineSample>,
    /// Sources that saw nothing at all, and why, for people.
    pub blind: BTreeMap<SourceName, String>,
    pub org: OrgContext,
}
