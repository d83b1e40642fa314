//! A machine as the platform reports it: what runs where, and how it feels.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{AppName, Digest, InstanceId, MachineId, ProcessGroup, Region, ReleaseVersion};

/// The image a machine really runs, in the parts the platform reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRef {
    /// Registry host, such as `registry.fly.io`.
    pub registry: String,
    /// Repository in it, usually the app's name.
    pub repository: String,
    /// For people; may be absent and may move.
    pub tag: Option<String>,
    /// The identity; the platform may omit it, and then nothing can be decided about the image.
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// `registry/repository[:tag][@digest]`, the form the platform deploys.
    pub fn reference(&self) -> String {
        let mut text = format!("{}/{}", self.registry, self.repository);
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

/// A machine's whole configuration as the JSON text the platform sent: never a closed struct,
/// because an update replaces the configuration and unknown fields must survive it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawConfig(pub Arc<str>);

impl fmt::Debug for RawConfig {
    // A configuration's env can hold what nobody wants in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawConfig({} bytes)", self.0.len())
    }
}

/// A machine's state; names are the platform's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineState {
    Created,
    Started,
    Stopped,
    Suspended,
    Failed,
    Destroyed,
    /// On its way somewhere (`starting`, `replacing`, …); the name is kept for messages.
    Transient(String),
    /// A name this version does not know: treated as neither up nor down.
    Unknown(String),
}

impl MachineState {
    /// Parses the platform's name of a state.
    pub fn parse(name: &str) -> Self {
        match name {
            "created" => Self::Created,
            "started" => Self::Started,
            "stopped" => Self::Stopped,
            "suspended" => Self::Suspended,
            "failed" => Self::Failed,
            "destroyed" | "replaced" | "migrated" => Self::Destroyed,
            "creating" | "starting" | "stopping" | "restarting" | "suspending" | "destroying"
            | "launch_failed" | "updating" | "replacing" => Self::Transient(name.to_owned()),
            _ => Self::Unknown(name.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Suspended => "suspended",
            Self::Failed => "failed",
            Self::Destroyed => "destroyed",
            Self::Transient(name) | Self::Unknown(name) => name,
        }
    }

    /// Whether the machine rests until somebody starts it.
    pub fn is_at_rest(&self) -> bool {
        match self {
            Self::Created | Self::Stopped | Self::Suspended => true,
            Self::Started
            | Self::Failed
            | Self::Destroyed
            | Self::Transient(_)
            | Self::Unknown(_) => false,
        }
    }
}

impl fmt::Display for MachineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the host under a machine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostStatus {
    Ok,
    Unknown,
    Unreachable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckStatus {
    Passing,
    Warning,
    Critical,
}

/// The last result of one of Fly's health checks on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub status: CheckStatus,
    pub output: String,
    /// When the status last *changed*; `None` before the first result.
    pub changed_at: Option<Timestamp>,
    /// How often the check runs, from the machine's configuration, when it says so.
    pub interval: Option<Duration>,
    /// How long it may fail after the machine started, when the configuration says so.
    pub grace: Option<Duration>,
}

/// How often a check is taken to run when the configuration does not say (the platform's default).
pub const UNTOLD_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// A check that has been passing for this long after a start was asked since: longer than the
/// platform's longest grace period (one minute).
const PASSING_SETTLES_AFTER: Duration = Duration::from_secs(75);

/// A process that ended on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitEvent {
    pub at: Timestamp,
    pub exit_code: i64,
    pub oom_killed: bool,
    /// Somebody asked for the stop: not a crash.
    pub requested_stop: bool,
}

/// Where a machine serves its metrics: its own `metrics` setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsPage {
    pub port: u16,
    pub path: String,
}

/// Who holds a machine's lease. The nonce is never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    pub owner: String,
    pub description: String,
    pub expires_at: Timestamp,
}

/// One machine, from one reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub app: AppName,
    pub id: MachineId,
    pub instance: InstanceId,
    pub region: Region,
    pub group: ProcessGroup,
    pub state: MachineState,
    pub host: HostStatus,
    pub image: ImageRef,
    /// `fly_release_version` of its metadata. It can be stale: `fly machine update` leaves it.
    pub release: Option<ReleaseVersion>,
    /// All of `config.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `None` when the host does not answer.
    pub config: Option<RawConfig>,
    pub checks: Vec<Check>,
    /// How many checks the configuration asks for; fewer in `checks` means no result yet.
    pub checks_configured: usize,
    /// Unplanned and planned exits, newest first, as far as the platform still shows them.
    pub exits: Vec<ExitEvent>,
    /// The newest `start` event.
    pub started_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// 6PN address (IPv6 on Fly; loopback in the simulation).
    pub private_ip: Option<std::net::IpAddr>,
    pub metrics: Option<MetricsPage>,
    pub lease: Option<LeaseHolder>,
    pub cordoned: bool,
    /// Whether it only stands by for another machine.
    pub standby: bool,
}

impl Machine {
    /// Whether the machine belongs to a group that runs once and ends (release commands, consoles).
    pub fn is_ephemeral(&self) -> bool {
        matches!(
            self.group.as_str(),
            "fly_app_release_command" | "fly_app_test_machine_command" | "fly_app_console"
        )
    }

    /// The identity of what it runs, when the platform says.
    pub fn digest(&self) -> Option<&Digest> {
        self.image.digest.as_ref()
    }

    /// Whether a check's result is about this instance. What the platform says of a check is when
    /// its status last *changed*: a result from before the start is another instance's, unless it
    /// says "passing" for so long after the start that a failing check would have changed it.
    pub fn is_fresh(&self, check: &Check, now: Timestamp) -> bool {
        let Some(changed_at) = check.changed_at else { return false };
        let started = self.started_at.unwrap_or(self.updated_at);
        if changed_at >= started {
            return true;
        }
        let interval = check.interval.unwrap_or(UNTOLD_CHECK_INTERVAL);
        let settled = (interval * 3).max(PASSING_SETTLES_AFTER);
        check.status == CheckStatus::Passing
            && Duration::try_from(now.duration_since(started)).is_ok_and(|up| up >= settled)
    }

    /// Exits nobody asked for, at or after `since`.
    pub fn crashes_since(&self, since: Timestamp) -> impl Iterator<Item = &ExitEvent> {
        self.exits.iter().filter(move |exit| !exit.requested_stop && exit.at >= since)
    }
}
