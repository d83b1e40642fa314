//! How an image behaves on a machine: what makes a release a good or a bad one.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What becomes of a machine that is launched with an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Launch {
    /// The process comes up.
    #[default]
    Works,
    /// The machine ends as `failed`.
    Failed,
    /// The machine ends as `launch_failed`.
    LaunchFailed,
    /// The machine stays `starting`.
    Hangs,
}

/// What a health check reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckSays {
    #[default]
    Passing,
    Warning,
    Critical,
    /// A status of null.
    Nothing,
}

impl CheckSays {
    /// The status by the platform's name; `None`: null.
    pub(in crate::sim) fn status(self) -> Option<&'static str> {
        match self {
            Self::Passing => Some("passing"),
            Self::Warning => Some("warning"),
            Self::Critical => Some("critical"),
            Self::Nothing => None,
        }
    }

    /// What a check says besides its status.
    pub(in crate::sim) fn output(self) -> &'static str {
        match self {
            Self::Passing => "200 OK",
            Self::Warning => "waiting for status update",
            Self::Critical => "500 Internal Server Error",
            Self::Nothing => "",
        }
    }
}

/// How an image behaves on a machine. Everything defaults to "well".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// What becomes of a machine that starts with it.
    pub launch: Launch,
    /// Seconds it takes to start, besides the fleet's.
    pub boot_s: f64,
    /// Seconds it takes to stop, besides the fleet's: it drains.
    pub drain_s: f64,
    /// Share of requests answered with 500, from 0 to 1.
    pub error_share: f64,
    /// Share of requests that are for `/checkout`, and share of those answered with 500, from 0 to 1.
    pub checkout_share: f64,
    pub checkout_error_share: f64,
    /// Share of requests that are taken and never answered, from 0 to 1.
    pub hang_share: f64,
    /// Share of requests that take `slow_ms` instead of 40 ms, from 0 to 1.
    pub slow_share: f64,
    pub slow_ms: f64,
    /// Seconds after its start at which the process dies with exit code 1, every time; 0: on boot.
    pub crash_after_s: Option<f64>,
    /// That death is the kernel's doing: out of memory.
    pub oom: bool,
    /// Seconds after its start at which the process ends with `exit_code`, every time: a job.
    pub exits_after_s: Option<f64>,
    pub exit_code: i64,
    /// What its health checks report.
    pub checks: CheckSays,
    /// Its health checks fail: short for `checks = "critical"`.
    pub checks_fail: bool,
    /// Memory of the process when it starts, in bytes.
    pub memory_bytes: f64,
    /// Bytes of memory lost per second; at the machine's size the process is killed.
    pub leak_bytes_per_s: f64,
    /// Only in these regions; elsewhere it behaves well. Empty: everywhere.
    pub regions: Vec<String>,
    /// Only on machines whose environment has all of these; elsewhere it behaves well.
    pub env: BTreeMap<String, String>,
    /// Seconds from the start of the process for which errors, slowness and bad checks wait.
    pub after_s: f64,
}

/// What behaves well in every way.
pub(in crate::sim) static WELL: LazyLock<Behaviour> = LazyLock::new(Behaviour::default);

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            launch: Launch::Works,
            boot_s: 0.0,
            drain_s: 0.0,
            error_share: 0.0,
            checkout_share: 0.0,
            checkout_error_share: 0.0,
            hang_share: 0.0,
            slow_share: 0.0,
            slow_ms: 800.0,
            crash_after_s: None,
            oom: false,
            exits_after_s: None,
            exit_code: 0,
            checks: CheckSays::Passing,
            checks_fail: false,
            memory_bytes: 80e6,
            leak_bytes_per_s: 0.0,
            regions: Vec::new(),
            env: BTreeMap::new(),
            after_s: 0.0,
        }
    }
}

impl Behaviour {
    /// Fails this share of the requests.
    pub fn errors(share: f64) -> Self {
        Self { error_share: share, ..Self::default() }
    }

    /// Takes this share of the requests and never answers them.
    pub fn hanging(share: f64) -> Self {
        Self { hang_share: share, ..Self::default() }
    }

    /// Answers this share of the requests slowly.
    pub fn slow(share: f64) -> Self {
        Self { slow_share: share, ..Self::default() }
    }

    /// Dies so many seconds after every start.
    pub fn crashing(after_s: f64) -> Self {
        Self { crash_after_s: Some(after_s), ..Self::default() }
    }

    /// Has one thing to do, and ends with this exit code so many seconds after every start.
    pub fn job(after_s: f64, exit_code: i64) -> Self {
        Self { exits_after_s: Some(after_s), exit_code, ..Self::default() }
    }

    /// Fails its health checks.
    pub fn unhealthy() -> Self {
        Self { checks_fail: true, ..Self::default() }
    }

    /// Its checks report this.
    pub fn checked(says: CheckSays) -> Self {
        Self { checks: says, ..Self::default() }
    }

    /// Machines that start with it end like this.
    pub fn launching(launch: Launch) -> Self {
        Self { launch, ..Self::default() }
    }

    /// The same, in these regions only.
    pub fn only_in(self, regions: &[&str]) -> Self {
        Self { regions: regions.iter().map(|&region| region.to_owned()).collect(), ..self }
    }

    /// The same, on machines with this in their environment only.
    pub fn only_with(self, name: &str, value: &str) -> Self {
        Self { env: [(name.to_owned(), value.to_owned())].into(), ..self }
    }

    /// How it behaves in a region, on a machine that is configured so.
    pub(in crate::sim) fn on(&self, region: &str, config: &Value) -> &Self {
        let here = self.regions.is_empty() || self.regions.iter().any(|name| name == region);
        let has = |(name, value): (&String, &String)| {
            config.get("env").and_then(|env| env.get(name)).and_then(Value::as_str) == Some(value)
        };
        if here && self.env.iter().all(has) { self } else { &WELL }
    }

    /// What its checks report once `after_s` is over.
    pub(in crate::sim) fn check_says(&self) -> CheckSays {
        if self.checks_fail { CheckSays::Critical } else { self.checks }
    }

    /// What is wrong with the numbers, with the key.
    pub(in crate::sim) fn problem(&self) -> Option<String> {
        let shares = [
            ("error_share", self.error_share),
            ("checkout_share", self.checkout_share),
            ("checkout_error_share", self.checkout_error_share),
            ("hang_share", self.hang_share),
            ("slow_share", self.slow_share),
        ];
        for (key, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Some(format!("{key} = {share}: a share is between 0 and 1"));
            }
        }
        let amounts = [
            ("boot_s", self.boot_s),
            ("drain_s", self.drain_s),
            ("slow_ms", self.slow_ms),
            ("crash_after_s", self.crash_after_s.unwrap_or(0.0)),
            ("exits_after_s", self.exits_after_s.unwrap_or(0.0)),
            ("memory_bytes", self.memory_bytes),
            ("leak_bytes_per_s", self.leak_bytes_per_s),
            ("after_s", self.after_s),
        ];
        amounts
            .iter()
            .find(|(_, amount)| !amount.is_finite() || *amount < 0.0)
            .map(|(key, amount)| format!("{key} = {amount}: must not be negative"))
    }
}
