//! Evidence: for each threshold, the numbers a person needs to check a decision.

use serde::{Deserialize, Serialize};

/// What a threshold, or a release, looks like now. Never inferred from absent data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// One threshold's numbers for one release at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub threshold: String,
    /// `ratio`, `latency`, `gauge`, `checks` or `crashes`.
    pub kind: String,
    pub verdict: Verdict,
    /// The measured value in the limit's unit: a share, seconds-exceeding share, a gauge value,
    /// a share of machines. `None` without data.
    pub value: Option<f64>,
    pub limit: f64,
    /// Resolved selectors or what was looked at, for people.
    pub source: String,
    /// Bad events (or machines) and all of them.
    pub bad: f64,
    pub total: f64,
    /// ln E of the detector, and what it needs; `None` for run rules.
    pub ln_odds: Option<f64>,
    pub ln_odds_needed: Option<f64>,
    /// Detector blocks that went into it.
    pub blocks: u32,
    /// The same threshold on the machines that still run the known-good release: bad and total.
    pub control: Option<(f64, f64)>,
    /// Why there is no verdict, or what tripped: a short phrase for people.
    pub note: Option<String>,
    /// Whether a breach may roll back (`false`: `action = "alert"`).
    pub may_roll_back: bool,
}

impl Evidence {
    /// The measured share of bad events, when there were any events.
    pub fn share(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.bad / self.total)
    }
}
