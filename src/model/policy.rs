//! A policy: what one threshold file says, validated. Durations and shares are plain numbers here.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    freeze::Freeze,
    ids::{AppName, Digest, Region},
    machine::ImageRef,
    observation::Origin,
    probe::ProbeRequest,
    selector::Selector,
};

/// What the daemon may do about a breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Say what would have been done.
    Observe,
    /// Ask a person, and do it when they say yes in time.
    Approve,
    /// Do it.
    Rollback,
}

/// What it means that a threshold has no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// Inconclusive: the release is not trusted while it lasts, and not rolled back for it.
    Hold,
    /// As if the threshold were not there.
    Ignore,
    /// As if it were exceeded.
    Breach,
}

/// What a breach of a threshold may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBreach {
    Alert,
    Rollback,
}

/// One configured limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Unique within the policy; the key under which evidence is kept.
    pub name: String,
    pub kind: ThresholdKind,
    pub no_data: NoData,
    pub on_breach: OnBreach,
}

/// The kinds of thresholds, by the configuration's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Ratio,
    Latency,
    Gauge,
    Promql,
    Probe,
    Checks,
    Crashes,
}

/// What is measured and the limit on it. What each kind means is in `threshold/`.
#[derive(Clone, Debug, PartialEq)]
pub enum ThresholdKind {
    Ratio(Ratio),
    Latency(Latency),
    Gauge(Gauge),
    Promql(Promql),
    Probe(Probe),
    Checks(Checks),
    Crashes(Crashes),
}

/// How much worse than the known-good release may be: so many times its share, and so much more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relative {
    pub times: f64,
    pub plus: f64,
}

/// Share of bad events among all, from two counters.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    pub bad: Selector,
    pub total: Selector,
    /// One half where only `relative` is written.
    pub max: f64,
    pub relative: Option<Relative>,
    pub strict: bool,
    /// Labels by which series are judged one by one as well.
    pub by: Vec<String>,
    pub from: Origin,
}

/// Share of requests slower than `bound_s` seconds, which may not exceed `1 - quantile`.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    /// The family's base name, without `_bucket`.
    pub histogram: Selector,
    pub quantile: f64,
    pub bound_s: f64,
    pub relative: Option<Relative>,
    pub strict: bool,
    /// Labels by which series are judged one by one as well.
    pub by: Vec<String>,
    pub from: Origin,
}

/// A gauge above `max` on every scrape for `sustain`, on at least `quorum` of the machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    pub gauge: Selector,
    pub max: f64,
    pub sustain: Duration,
    pub quorum: f64,
    pub from: Origin,
}

/// An expression above `max` each time that a metrics server evaluates it, for `sustain`, on at least
/// `quorum` of the machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Promql {
    /// `$app` stands for the app's name.
    pub expression: String,
    /// Its longest range.
    pub looks_back: Duration,
    pub max: f64,
    pub sustain: Duration,
    pub quorum: f64,
    pub from: Origin,
}

/// Share of probes that fail, each of them a request that we make ourselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub request: ProbeRequest,
    pub max: f64,
    pub from: Origin,
}

/// `consecutive` failures of a Fly health check, on at least the share `failing` of machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    pub failing: f64,
    pub consecutive: u32,
}

/// Unplanned exits, or kills for lack of memory, of one machine, above what the known-good release
/// had; on at least the share `failing` of machines.
#[derive(Clone, Debug, PartialEq)]
pub struct Crashes {
    pub exits: u32,
    pub oom: u32,
    pub failing: f64,
}

/// How a release is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchPolicy {
    pub scrape_every: Duration,
    pub idle_scrape_every: Duration,
    pub warm_up: Duration,
    /// How long a settled release is watched before it can be trusted.
    pub bake: Duration,
    /// Length of a detector block: whatever happens inside one is one vote.
    pub block: Duration,
    /// False rollbacks per healthy release, over all thresholds together (`1 in 1000` = 0.001).
    pub false_rollbacks: f64,
    pub countdown: Duration,
    /// The least of it where nothing vouches that it is the release.
    pub unvouched_countdown: Duration,
    /// Whether limits that the app always stood above are raised.
    pub floor: bool,
    /// What a degradation after trust may cause.
    pub late: OnBreach,
    /// False alarms after trust per app and 30 days, over all thresholds together.
    pub false_late_alarms: f64,
    /// How long a person's yes is waited for, in mode `approve`.
    pub approve_within: Duration,
}

impl WatchPolicy {
    /// How long a block is where readings are `every` so long apart: as many whole ones as `block` has
    /// room for, and one at least. A block that ends between two readings would end with the next, and hold
    /// one more than its neighbour.
    pub fn block_of(&self, every: Duration) -> Duration {
        let whole = self.block.as_millis().checked_div(every.as_millis()).unwrap_or(1);
        every * u32::try_from(whole).unwrap_or(u32::MAX).max(1)
    }
}

impl Default for WatchPolicy {
    fn default() -> Self {
        Self {
            scrape_every: Duration::from_secs(2),
            idle_scrape_every: Duration::from_secs(15),
            warm_up: Duration::ZERO,
            bake: Duration::from_secs(600),
            block: Duration::from_secs(5),
            false_rollbacks: 0.001,
            countdown: Duration::ZERO,
            unvouched_countdown: Duration::from_secs(30),
            floor: true,
            late: OnBreach::Alert,
            false_late_alarms: 0.001,
            approve_within: Duration::from_secs(1800),
        }
    }
}

/// In which order regions are rolled back.
#[derive(Clone, Debug, PartialEq)]
pub enum RegionOrder {
    /// The region with the largest share of bad events first.
    WorstFirst,
    /// As listed; `None` stands for `*`, every region not named.
    Listed(Vec<Option<Region>>),
}

/// How many machines of a region may be down because of a rollback.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxUnavailable {
    /// A share of the region's machines, rounded up.
    Share(f64),
    Count(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    Rolling,
    Immediate,
}

/// How long a region is watched on the known-good release, from its first machine that is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmTime {
    /// Not confirmed sooner, however clear the evidence.
    pub at_least: Duration,
    /// As long as this when there is too little to tell: then checks and exits decide.
    pub at_most: Duration,
    /// Somebody said so: nothing makes it longer.
    pub is_written: bool,
}

impl ConfirmTime {
    /// What a region is watched for at least, unless the most is less.
    pub const AT_LEAST: Duration = Duration::from_secs(2);

    /// Somebody wants it to take at most so long, and at least as long as usual.
    pub fn at_most(at_most: Duration) -> Self {
        Self { at_least: Self::AT_LEAST.min(at_most), at_most, is_written: true }
    }
}

impl Default for ConfirmTime {
    fn default() -> Self {
        let at_most = Duration::from_secs(30);
        Self { at_least: Self::AT_LEAST, at_most, is_written: false }
    }
}

/// How many regions are begun together once the first one is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionsAtOnce {
    /// One, then two, then four, and so on.
    Doubling,
    Count(u32),
    All,
}

/// Where trusted images are copied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRule {
    /// Host, and port where there is one.
    pub registry: String,
    /// Repository; `{app}` stands for the app's name.
    pub repository: String,
}

impl MirrorRule {
    /// Where the copy of an app's image is, by its digest.
    pub fn place(&self, app: &AppName, digest: &Digest) -> ImageRef {
        ImageRef {
            registry: self.registry.clone(),
            repository: self.repository.replace("{app}", app.as_str()),
            tag: None,
            digest: Some(digest.clone()),
        }
    }
}

/// The most rollbacks in 24 hours that a budget can allow: as many are remembered.
pub const BUDGET_MAX: u32 = 1000;

/// How a rollback is done and what limits it.
#[derive(Clone, Debug, PartialEq)]
pub struct RollbackPolicy {
    pub order: RegionOrder,
    /// How long a region is watched on the known-good release before it counts as healthy.
    pub confirm: ConfirmTime,
    /// How many regions are begun together once the first one is confirmed.
    pub regions_at_once: RegionsAtOnce,
    /// Whether regions are begun while those before them are still being confirmed.
    pub overlap: bool,
    pub strategy: Strategy,
    pub max_unavailable: MaxUnavailable,
    /// Whether a total outage is undone everywhere at once after one healthy machine.
    pub escalate: bool,
    pub only_breaching_regions: bool,
    /// `true`: a release that ran a release command may be rolled back.
    pub despite_migrations: bool,
    /// `true`: with nothing trusted yet, the release that ran before may be the target.
    pub first_target_previous: bool,
    /// Rollbacks per app in 24 hours; [`BUDGET_MAX`] at most.
    pub per_day_max: u32,
    /// How long an updated machine may take to start and pass its checks.
    pub ready_timeout: Duration,
    /// Where trusted images are copied to; `None`: nowhere.
    pub mirror: Option<MirrorRule>,
    /// Whether environment, services, checks and init are put back as well as the image.
    pub restore_config: bool,
}

impl Default for RollbackPolicy {
    fn default() -> Self {
        Self {
            order: RegionOrder::WorstFirst,
            confirm: ConfirmTime::default(),
            regions_at_once: RegionsAtOnce::Doubling,
            overlap: true,
            strategy: Strategy::Rolling,
            max_unavailable: MaxUnavailable::Share(0.33),
            escalate: true,
            only_breaching_regions: false,
            despite_migrations: false,
            first_target_previous: false,
            per_day_max: 3,
            ready_timeout: Duration::from_secs(180),
            mirror: None,
            restore_config: false,
        }
    }
}

/// One threshold file, validated: what holds for the apps it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The file's stem, for messages.
    pub name: String,
    pub mode: Mode,
    pub watch: WatchPolicy,
    pub thresholds: Vec<Threshold>,
    pub rollback: RollbackPolicy,
    /// Times in which nothing is rolled back by itself.
    pub freezes: Vec<Freeze>,
    /// Rollbacks of all apps of the organization in 24 hours.
    pub per_organization_max: u32,
    /// Port and path of the metrics page, where the policy overrides the machine's own setting.
    pub metrics_port: Option<u16>,
    pub metrics_path: Option<String>,
    pub metrics_https: Option<bool>,
}
