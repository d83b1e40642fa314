//! A machine as the platform reports it: what runs where, and how it feels.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
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

    /// Reads what [`reference`](Self::reference) writes, and what people write: a name without a
    /// registry is Docker Hub's.
    pub fn parse(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::new(digest))),
            None => (text, None),
        };
        let host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if host(first) => (first, rest),
            _ => ("docker.io", name),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest }
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

/// What a machine is on its way to; names are the platform's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transition {
    Creating,
    Starting,
    Restarting,
    Updating,
    Replacing,
    Stopping,
    Suspending,
    Destroying,
}

impl Transition {
    const ALL: [Self; 8] = [
        Self::Creating,
        Self::Starting,
        Self::Restarting,
        Self::Updating,
        Self::Replacing,
        Self::Stopping,
        Self::Suspending,
        Self::Destroying,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Restarting => "restarting",
            Self::Updating => "updating",
            Self::Replacing => "replacing",
            Self::Stopping => "stopping",
            Self::Suspending => "suspending",
            Self::Destroying => "destroying",
        }
    }

    /// Whether it leads to rest: a machine that drains may take its time.
    pub fn is_draining(self) -> bool {
        match self {
            Self::Stopping | Self::Suspending | Self::Destroying => true,
            Self::Creating
            | Self::Starting
            | Self::Restarting
            | Self::Updating
            | Self::Replacing => false,
        }
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
    /// It was to be started and could not be.
    LaunchFailed,
    /// On its way somewhere.
    Transient(Transition),
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
            "launch_failed" => Self::LaunchFailed,
            _ => match Transition::ALL.into_iter().find(|moving| moving.as_str() == name) {
                Some(moving) => Self::Transient(moving),
                None => Self::Unknown(name.to_owned()),
            },
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
            Self::LaunchFailed => "launch_failed",
            Self::Transient(moving) => moving.as_str(),
            Self::Unknown(name) => name,
        }
    }

    /// Whether the machine rests until somebody starts it.
    pub fn is_at_rest(&self) -> bool {
        match self {
            Self::Created | Self::Stopped | Self::Suspended => true,
            Self::Started
            | Self::Failed
            | Self::Destroyed
            | Self::LaunchFailed
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

/// After so long a machine that is started runs what it was last given, whatever its times say.
const CLOCK_CATCHES_UP: SignedDuration = SignedDuration::from_mins(5);

/// How often a check is taken to run when the configuration does not say (the platform's default).
pub const UNTOLD_CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// A check that has been passing for this long after a start was asked since: longer than the
/// platform's longest grace period (one minute).
const PASSING_SETTLES_AFTER: Duration = Duration::from_secs(75);
/// One that has been critical for this long after a start, and was asked twice, is this instance's.
const CRITICAL_SETTLES_AFTER: Duration = Duration::from_secs(30);

/// A process that ended on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitEvent {
    pub at: Timestamp,
    pub exit_code: i64,
    pub oom_killed: bool,
    /// Somebody asked for the stop: not a crash.
    pub requested_stop: bool,
    /// When the process that ended had started, as far as the platform still shows it.
    pub started_at: Option<Timestamp>,
}

/// When the platform starts a machine anew whose process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    No,
    OnFailure,
    Always,
}

/// Where a machine serves its metrics: its own `metrics` setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsPage {
    pub port: u16,
    pub path: String,
    #[serde(default)]
    pub https: bool,
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
    /// The newest `update` or `launch` event: since when it runs what it runs. What ended before
    /// was another release's process. `None`: the platform does not show it any more.
    pub placed_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// 6PN address (IPv6 on Fly; loopback in the simulation).
    pub private_ip: Option<std::net::IpAddr>,
    pub metrics: Option<MetricsPage>,
    pub lease: Option<LeaseHolder>,
    pub cordoned: bool,
    /// Whether it only stands by for another machine.
    pub standby: bool,
    /// Whether requests reach it through the platform's proxy.
    pub has_services: bool,
    /// The port of its first service, inside the machine.
    #[serde(default)]
    pub service_port: Option<u16>,
    /// Whether its configuration says when it runs (`schedule`), or that it runs once
    /// (`auto_destroy`): nobody else has to start it.
    #[serde(default)]
    pub own_schedule: bool,
    /// `None`: it does not say, which is the platform's `OnFailure`.
    pub restart: Option<RestartPolicy>,
}

impl Machine {
    /// Whether the machine belongs to a group that runs once and ends (release commands, consoles).
    pub fn is_ephemeral(&self) -> bool {
        matches!(
            self.group.as_str(),
            "fly_app_release_command" | "fly_app_test_machine_command" | "fly_app_console"
        )
    }

    /// Whether it runs a release's command (migrations), and nothing else.
    pub fn is_release_command(&self) -> bool {
        self.group.as_str() == "fly_app_release_command"
    }

    /// The identity of what it runs, when the platform says.
    pub fn digest(&self) -> Option<&Digest> {
        self.image.digest.as_ref()
    }

    /// Whether a check's result is about this instance. What the platform says of a check is when
    /// its status last *changed*: a result from before the start is another instance's, unless it
    /// has stayed for so long after the start that this one's answers would have changed it.
    pub fn is_fresh(&self, check: &Check, now: Timestamp) -> bool {
        let interval = check.interval.unwrap_or(UNTOLD_CHECK_INTERVAL);
        let Some(changed_at) = check.changed_at else {
            // A result without a time is this instance's once it has been asked.
            return check.status == CheckStatus::Passing && self.has_run_for(interval, now);
        };
        let started = self.started_at.unwrap_or(self.updated_at);
        if changed_at >= started {
            return true;
        }
        match check.status {
            CheckStatus::Passing => {
                let settled = interval.saturating_mul(3).max(PASSING_SETTLES_AFTER);
                Duration::try_from(now.duration_since(started)).is_ok_and(|up| up >= settled)
            }
            // It was set up as critical, or outlived an update: one that nobody ever answers does not change.
            CheckStatus::Critical => {
                let asked =
                    check.grace.unwrap_or_default().saturating_add(interval.saturating_mul(2));
                self.has_run_for(asked.max(CRITICAL_SETTLES_AFTER), now)
            }
            CheckStatus::Warning => false,
        }
    }

    /// Whether it is known to run what it was last given, and to have done so for `span`.
    fn has_run_for(&self, span: Duration, now: Timestamp) -> bool {
        let Some(started) = self.started_at else { return false };
        matches!(self.state, MachineState::Started)
            && self.placed_at.is_none_or(|placed| {
                // A clock that was set back between the two would deny it for ever.
                placed <= started || now.duration_since(placed) >= CLOCK_CATCHES_UP
            })
            && Duration::try_from(now.duration_since(started)).is_ok_and(|up| up >= span)
    }

    /// Whether every configured check has a result of this instance, and all pass but those that
    /// did not pass when its image earned trust either.
    pub fn checks_pass(&self, tolerated: &BTreeSet<String>, now: Timestamp) -> bool {
        let known = self.checks.iter().filter(|check| tolerated.contains(&check.name)).count();
        let asked = self.checks.iter().filter(|check| !tolerated.contains(&check.name));
        let fresh: Vec<_> = asked.filter(|check| self.is_fresh(check, now)).collect();
        fresh.len() + known >= self.checks_configured
            && fresh.iter().all(|check| check.status == CheckStatus::Passing)
    }

    /// Processes that failed, at or after `since`.
    pub fn crashes_since(&self, since: Timestamp) -> impl Iterator<Item = &ExitEvent> {
        self.exits.iter().filter(move |exit| exit.is_crash() && exit.at >= since)
    }
}

#[cfg(test)]
pub(crate) mod tests;
