//! Evidence: for each threshold, the numbers a person needs to check a decision.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ids::{MachineId, Region},
    machine::{MachineState, Transition},
    observation::{Oddity, SourceName},
    policy::{Kind, Relative},
    probe::ProbeFailure,
};

/// What a threshold, or a release, looks like now. Never inferred from absent data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Inconclusive,
    Breach,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Breach => "breach",
        }
    }
}

/// Bad and all events of one threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub n: f64,
    pub k: f64,
}

impl Tally {
    pub fn add(&mut self, n: f64, k: f64) {
        self.n += n;
        self.k += k;
    }

    /// The share of bad events, when there were any events.
    pub fn share(self) -> Option<f64> {
        (self.n > 0.0).then(|| self.k / self.n)
    }
}

/// In which unit a threshold's value and limit are, and what its counts count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share of requests.
    Requests,
    /// A share of events that are no requests, as far as the metric's name tells.
    #[default]
    Events,
    /// A share of requests: those slower than this many seconds.
    SlowerThan(f64),
    /// Plain numbers, measured on machines.
    Bytes,
    Seconds,
    Share,
    Plain,
    /// A share of machines.
    Machines,
    /// Exits of the worst machine.
    Exits,
}

/// What is wrong with one machine's checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A health check failed so many times in a row.
    Failing { check: String, times: u32 },
    /// It has been on its way for too long.
    Stuck { still: Transition, seconds: u64 },
    /// It could not be started, or gave up.
    Down { state: MachineState },
}

/// Why a threshold cannot say anything about an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotFed {
    /// No machine that could be read ever had such a series, and none takes requests.
    NoSeries,
    /// The machines have no metrics page.
    NoPage,
}

/// Why nothing is known of what a threshold looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The platform cannot be read.
    PlatformDown,
    /// What it is read from tells nothing at all.
    MonitorDown {
        source: SourceName,
    },
    /// It can say nothing about this app.
    NotFed(NotFed),
    /// Its selector matches no series of any machine.
    NoSeries,
    /// No bucket of its histogram ends at the limit or above it.
    NoBucket,
    /// No series has a label that it asks for.
    NoLabel {
        label: String,
    },
    /// A metrics server does not take its expression.
    Refused,
    /// Its numbers contradict themselves.
    Contradiction,
    /// Its series are there, and not one event was counted since the release came.
    NeverExercised,
    /// Events were counted until then, and no more.
    NoTraffic {
        since: Timestamp,
    },
    /// A gauge or an expression without a value, since then or from the beginning.
    NoValue {
        since: Option<Timestamp>,
    },
    /// No machine of the release is started.
    NothingStarted,
    NoChecks,
    NoFreshResult,
}

impl Unknown {
    /// The word for it in JSON and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::PlatformDown => "platform_down",
            Self::MonitorDown { .. } => "monitor_down",
            Self::NotFed(_) => "does_not_apply",
            Self::NoSeries => "no_series",
            Self::NoBucket => "no_bucket",
            Self::NoLabel { .. } => "no_label",
            Self::Refused => "query_refused",
            Self::Contradiction => "contradiction",
            Self::NeverExercised => "never_exercised",
            Self::NoTraffic { .. } => "no_traffic",
            Self::NoValue { .. } => "no_value",
            Self::NothingStarted => "nothing_started",
            Self::NoChecks => "no_checks",
            Self::NoFreshResult => "no_fresh_result",
        }
    }

    /// All of these words.
    pub const WORDS: [&'static str; 14] = [
        "platform_down",
        "monitor_down",
        "does_not_apply",
        "no_series",
        "no_bucket",
        "no_label",
        "query_refused",
        "contradiction",
        "never_exercised",
        "no_traffic",
        "no_value",
        "nothing_started",
        "no_checks",
        "no_fresh_result",
    ];
}

/// One machine that counts against the release, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubled {
    pub machine: MachineId,
    pub trouble: Trouble,
}

/// How often one machine's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exits {
    pub machine: MachineId,
    pub exits: u32,
    pub out_of_memory: bool,
    /// Ends without an error, of a machine that should stay up.
    #[serde(default)]
    pub ends: u32,
}

/// One machine that fails while its equals serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    pub machine: MachineId,
    pub region: Region,
    /// What it counted since it fails, as far as that is known.
    pub counted: Tally,
    /// Equals that were clearly well then, and what all others counted.
    pub beside: f64,
    pub rest: Tally,
    /// By what it fails.
    #[serde(default)]
    pub ailment: Ailment,
}

/// By what a machine fails alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ailment {
    /// What it counts.
    #[default]
    Counts,
    /// Its checks, or it does not come up.
    Checks(Trouble),
    /// Its process ends.
    Exits(Exits),
}

/// Why a threshold has no verdict, or what tripped it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    NoDataYet,
    NoDataFor {
        seconds: u64,
    },
    /// `no_data = "breach"`, and there was none for so long.
    NoDataIsBreach {
        seconds: u64,
    },
    /// Its selector matches no series on any machine of the release.
    Unmatched,
    /// More bad events than events: the selectors contradict each other.
    Inconsistent {
        bad: f64,
        total: f64,
    },
    /// A page's numbers cannot be judged.
    Odd(Oddity),
    /// It cannot say anything about this app.
    NotFed(NotFed),
    /// Counted, and not enough of it to tell.
    Undecided,
    /// The same where `no_data = "ignore"`: nothing has to be told.
    UndecidedIgnored,
    /// Too little is known of what ran before to compare it with.
    NothingBefore,
    /// A share: the whole is within the limit, and this region, whose numbers these are, is not.
    InRegion {
        region: Region,
    },
    /// A share: the whole is within its limit, and this series, whose numbers these are, is not.
    InSeries {
        series: String,
    },
    /// A share: this machine fails alone, and is left out.
    Apart(Alone),
    /// It answers nothing: what was due and answered, and the same on the machines beside it.
    Silent {
        due: Tally,
        beside: Tally,
    },
    /// It answers nothing for so long; the longest that it was silent in the last days before.
    Quiet {
        seconds: u64,
        longest: u64,
    },
    /// A gauge: above its bound for this long, on so many machines.
    Above {
        machines: u32,
        seconds: u64,
    },
    NoChecks,
    NoStartedMachine,
    NoFreshResult,
    Troubled(Vec<Troubled>),
    Exits(Vec<Exits>),
    /// Why probes failed, and how often: the most frequent first.
    Probes(Vec<(ProbeFailure, u32)>),
    /// What an older version wrote into its history.
    #[serde(untagged)]
    Said(String),
}

/// One closed block of a detector: what was counted in it, and the odds after it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// When it was closed.
    pub at: Timestamp,
    pub tally: Tally,
    /// ln E after it.
    pub ln_odds: f64,
    /// The same time on the machines that still run the known-good release.
    pub control: Tally,
}

/// One threshold's numbers for one release at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub threshold: String,
    pub kind: Kind,
    pub verdict: Verdict,
    /// The measured value in the limit's unit. `None` without data.
    pub value: Option<f64>,
    pub limit: f64,
    #[serde(default)]
    pub unit: Unit,
    /// Resolved selectors or what was looked at, for people.
    pub source: String,
    /// Bad events (or machines) and all of them.
    pub bad: f64,
    pub total: f64,
    /// The same of the last while alone, where a breach began late and that is much worse than the
    /// whole: what was well before it says nothing of how bad it is now.
    #[serde(default)]
    pub lately: Option<Tally>,
    /// ln E of the detector, and what it needs; `None` for run rules.
    pub ln_odds: Option<f64>,
    pub ln_odds_needed: Option<f64>,
    /// Detector blocks that went into it.
    pub blocks: u32,
    /// The last of these blocks, the oldest first; only of a breach, which is looked into later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_blocks: Vec<Block>,
    /// The same threshold on the machines that still run the known-good release: bad and total.
    pub control: Option<(f64, f64)>,
    /// Why there is no verdict, or what tripped.
    pub note: Option<Note>,
    /// Whether a breach may roll back (`false`: `action = "alert"`).
    pub may_roll_back: bool,
    /// Whether it can say anything about the app at all; one that cannot decides nothing.
    #[serde(default = "yes")]
    pub applies: bool,
    /// The limit is not the one that was written.
    #[serde(default)]
    pub raised: Option<Raised>,
    /// What it looks at cannot be seen just now: what it shows is of before.
    #[serde(default)]
    pub unseen: bool,
}

/// A limit in force that is not the written one: it was raised, because the app stood above it before,
/// or it follows from what the known-good release showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    /// What it was, and is now.
    pub from: f64,
    pub to: f64,
    /// What ran then, and with what share.
    pub by: String,
    pub share: f64,
    /// How it follows from that; `None`: it was raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative: Option<Relative>,
}

fn yes() -> bool {
    true
}

impl Evidence {
    /// The measured share of bad events, when there were any events.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.bad / self.total)
    }

    /// It passes because nothing has to be told (`no_data = "ignore"`), and not for what was counted.
    pub fn let_pass(&mut self) {
        self.verdict = Verdict::Pass;
        if self.note == Some(Note::Undecided) {
            self.note = Some(Note::UndecidedIgnored);
        }
    }

    /// The series whose numbers these are, where a part breaches alone.
    pub fn series(&self) -> Option<&str> {
        match &self.note {
            Some(Note::InSeries { series }) => Some(series),
            _ => None,
        }
    }

    /// The share of bad events since it is bad.
    pub fn share_lately(&self) -> Option<f64> {
        self.lately.and_then(Tally::share).or(self.share())
    }
}
