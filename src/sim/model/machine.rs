//! One simulated machine: its versions, its states, its process, its events.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{behaviour::CheckSays, image::Reference, proxied::Proxied};

/// Events kept per machine, as the platform truncates its list.
const EVENTS_MAX: usize = 50;
/// Configurations kept per machine.
const VERSIONS_MAX: usize = 20;
/// States kept per machine.
const HISTORY_MAX: usize = 1000;

/// A machine's state, by the platform's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Created,
    Starting,
    Started,
    Stopping,
    Stopped,
    Suspending,
    Suspended,
    Restarting,
    Replacing,
    Failed,
    LaunchFailed,
    Destroying,
    Destroyed,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Suspending => "suspending",
            Self::Suspended => "suspended",
            Self::Restarting => "restarting",
            Self::Replacing => "replacing",
            Self::Failed => "failed",
            Self::LaunchFailed => "launch_failed",
            Self::Destroying => "destroying",
            Self::Destroyed => "destroyed",
        }
    }

    /// No transition in progress.
    pub fn is_settled(self) -> bool {
        match self {
            Self::Started | Self::Stopped | Self::Suspended | Self::Failed | Self::Destroyed => {
                true
            }
            Self::Created
            | Self::Starting
            | Self::Stopping
            | Self::Suspending
            | Self::Restarting
            | Self::Replacing
            | Self::LaunchFailed
            | Self::Destroying => false,
        }
    }

    /// It runs, or is about to.
    pub(in crate::sim) fn is_up(self) -> bool {
        matches!(self, Self::Started | Self::Starting | Self::Restarting)
    }

    /// Its launch came to nothing.
    pub(in crate::sim) fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::LaunchFailed)
    }
}

/// What a machine is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Next {
    /// The new version is put in place, and started if `run`.
    Place { run: bool },
    /// The platform is done; the image may take longer.
    Start,
    /// The process comes up.
    Up,
    /// It comes to rest.
    Rest(State),
}

/// How a process ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Death {
    pub(in crate::sim) at: Timestamp,
    pub(in crate::sim) code: i64,
    pub(in crate::sim) oom: bool,
}

/// One version of a machine.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Version {
    pub(in crate::sim) instance: String,
    pub(in crate::sim) config: Value,
    /// The configuration as it was sent, to the byte.
    pub(in crate::sim) raw: Arc<str>,
    /// What `config.image` stood for when the version was made; `None`: no such image.
    pub(in crate::sim) digest: Option<String>,
    /// The checks that the configuration asks for.
    pub(in crate::sim) checks: Vec<CheckAsked>,
}

/// A check: name, interval, grace period.
pub(in crate::sim) type CheckAsked = (String, Option<Duration>, Option<Duration>);

impl Version {
    pub(in crate::sim) fn image(&self) -> &str {
        self.config.get("image").and_then(Value::as_str).unwrap_or_default()
    }

    /// The image in its parts, with the digest that runs.
    pub(in crate::sim) fn reference(&self) -> Reference {
        Reference { digest: self.digest.clone(), ..Reference::parse(self.image()) }
    }

    pub(in crate::sim) fn metadata(&self, key: &str) -> Option<&str> {
        self.config.get("metadata")?.get(key)?.as_str()
    }

    /// Port and path of the metrics page.
    pub(in crate::sim) fn metrics(&self) -> Option<(u16, String)> {
        let metrics = self.config.get("metrics")?;
        let port = u16::try_from(metrics.get("port")?.as_u64()?).ok()?;
        let path = metrics.get("path").and_then(Value::as_str).unwrap_or("/metrics");
        Some((port, path.to_owned()))
    }

    /// The checks that a configuration asks for.
    pub(in crate::sim) fn checks_of(config: &Value) -> Vec<CheckAsked> {
        let mut found = Vec::new();
        let mut add = |name: String, check: &Value| {
            let duration =
                |key: &str| check.get(key).and_then(Value::as_str).and_then(parse_duration);
            found.push((name, duration("interval"), duration("grace_period")));
        };
        if let Some(checks) = config.get("checks").and_then(Value::as_object) {
            for (name, check) in checks {
                add(name.clone(), check);
            }
        }
        let services = config.get("services").and_then(Value::as_array);
        let mut number = config.get("checks").and_then(Value::as_object).map_or(0, Map::len);
        for service in services.into_iter().flatten() {
            let port = service.get("internal_port").and_then(Value::as_u64).unwrap_or(0);
            let checks = service.get("checks").and_then(Value::as_array);
            for check in checks.into_iter().flatten() {
                let kind = check.get("type").and_then(Value::as_str).unwrap_or("tcp");
                add(format!("servicecheck-{number:02}-{kind}-{port}"), check);
                number += 1;
            }
        }
        found
    }

    /// The restart policy and its number of retries.
    pub(in crate::sim) fn restart_policy(&self) -> (&str, usize) {
        let restart = self.config.get("restart");
        let policy = restart.and_then(|restart| restart.get("policy")).and_then(Value::as_str);
        let retries = restart
            .and_then(|restart| restart.get("max_retries"))
            .and_then(Value::as_u64)
            .and_then(|retries| usize::try_from(retries).ok())
            .filter(|retries| *retries > 0);
        (policy.unwrap_or("on-failure"), retries.unwrap_or(10))
    }

    /// Memory of the machine, in bytes.
    pub(in crate::sim) fn memory_bytes(&self) -> f64 {
        let guest = self.config.get("guest");
        let mb = guest.and_then(|guest| guest.get("memory_mb")).and_then(Value::as_f64);
        mb.filter(|mb| *mb > 0.0).unwrap_or(256.0) * 1024.0 * 1024.0
    }

    /// Whether its process has one thing to do and ends: a release command.
    pub(in crate::sim) fn runs_once(&self) -> bool {
        self.config.pointer("/env/RELEASE_COMMAND").is_some()
    }

    /// Whether it says itself when it runs, or that it runs once.
    pub(in crate::sim) fn has_own_schedule(&self) -> bool {
        let schedule = self.config.get("schedule").and_then(Value::as_str);
        schedule.is_some_and(|schedule| !schedule.is_empty()) || self.is_auto_destroyed()
    }

    /// Whether the machine goes away with its process.
    pub(in crate::sim) fn is_auto_destroyed(&self) -> bool {
        self.config.get("auto_destroy").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(in crate::sim) fn is_standby(&self) -> bool {
        let standbys = self.config.get("standbys").and_then(Value::as_array);
        standbys.is_some_and(|standbys| !standbys.is_empty())
    }

    /// The port of its first service.
    pub(in crate::sim) fn service_port(&self) -> Option<u16> {
        let port = self.config.get("services")?.get(0)?.get("internal_port")?.as_u64()?;
        u16::try_from(port).ok()
    }

    /// Whether users' requests can reach it.
    pub(in crate::sim) fn has_services(&self) -> bool {
        let services = self.config.get("services").and_then(Value::as_array);
        services.is_some_and(|services| !services.is_empty())
    }
}

/// `"15s"`, `"1m30s"` or `"500ms"`.
fn parse_duration(text: &str) -> Option<Duration> {
    let signed: SignedDuration = text.parse().ok()?;
    Duration::try_from(signed).ok()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct LeaseState {
    pub(in crate::sim) nonce: String,
    pub(in crate::sim) owner: String,
    pub(in crate::sim) description: String,
    pub(in crate::sim) expires_at: Timestamp,
}

/// A running process and what it counted.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Process {
    /// When it started, as it tells.
    pub(in crate::sim) since: Timestamp,
    /// The same, by the clock as it is now.
    pub(in crate::sim) runs_since: Timestamp,
    pub(in crate::sim) ok: u64,
    pub(in crate::sim) failed: u64,
    /// Those of them that were for `/checkout`: answered well, and not.
    pub(in crate::sim) checkout: (u64, u64),
    /// Slow ones, by the place of their histogram bucket.
    pub(in crate::sim) slow: BTreeMap<usize, u64>,
    /// Seconds its requests took together.
    pub(in crate::sim) seconds: f64,
    /// The part of a request that is still to come.
    pub(in crate::sim) carry: f64,
}

impl Process {
    pub(in crate::sim) fn new(since: Timestamp) -> Self {
        Self {
            since,
            runs_since: since,
            ok: 0,
            failed: 0,
            checkout: (0, 0),
            slow: BTreeMap::new(),
            seconds: 0.0,
            carry: 0.0,
        }
    }
}

/// The last result of a machine's checks; all of them agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct CheckResult {
    pub(in crate::sim) says: CheckSays,
    pub(in crate::sim) changed_at: Timestamp,
}

/// A machine came into a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    pub machine: String,
    pub region: String,
    pub state: State,
    /// What its version runs, or is to run.
    pub digest: Option<String>,
}

#[derive(Clone, Debug)]
pub(in crate::sim) struct SimMachine {
    pub(in crate::sim) id: String,
    pub(in crate::sim) name: String,
    pub(in crate::sim) app: String,
    pub(in crate::sim) region: String,
    /// The host under it.
    pub(in crate::sim) zone: String,
    pub(in crate::sim) state: State,
    pub(in crate::sim) version: Version,
    /// What comes back when the platform gives an update up, and the state it was in.
    pub(in crate::sim) previous: Option<(Box<Version>, State)>,
    /// Configurations so far, newest first.
    pub(in crate::sim) versions: VecDeque<(String, Value)>,
    pub(in crate::sim) created_at: Timestamp,
    /// When it last changed in any way.
    pub(in crate::sim) updated_at: Timestamp,
    /// When its configuration last changed.
    pub(in crate::sim) configured_at: Timestamp,
    pub(in crate::sim) next: Option<(Timestamp, Next)>,
    /// Newest first.
    pub(in crate::sim) events: VecDeque<Value>,
    pub(in crate::sim) lease: Option<LeaseState>,
    /// `ok`, `unknown` or `unreachable`.
    pub(in crate::sim) host: String,
    pub(in crate::sim) cordoned: bool,
    pub(in crate::sim) address: IpAddr,
    pub(in crate::sim) process: Option<Process>,
    /// What the proxy counted of it, whatever process ran.
    pub(in crate::sim) proxied: Proxied,
    pub(in crate::sim) death: Option<Death>,
    pub(in crate::sim) check: Option<CheckResult>,
    pub(in crate::sim) check_due: Option<Timestamp>,
    /// When the supervisor restarted it, within its window.
    pub(in crate::sim) restarts: VecDeque<Timestamp>,
    /// Every state it came into, oldest first.
    pub(in crate::sim) history: VecDeque<Moment>,
    /// The platform will give up the next update.
    pub(in crate::sim) revert_next: bool,
}

impl SimMachine {
    pub(in crate::sim) fn is_destroyed(&self) -> bool {
        self.state == State::Destroyed
    }

    pub(in crate::sim) fn is_started(&self) -> bool {
        self.state == State::Started
    }

    /// Whether users' requests are sent to it.
    pub(in crate::sim) fn takes_requests(&self) -> bool {
        self.is_started() && !self.cordoned && self.host == "ok" && self.version.has_services()
    }

    pub(in crate::sim) fn enter(&mut self, state: State, at: Timestamp) {
        self.state = state;
        self.updated_at = at;
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(Moment {
            at,
            machine: self.id.clone(),
            region: self.region.clone(),
            state,
            digest: self.version.digest.clone(),
        });
    }

    /// When something happens to it by itself.
    pub(in crate::sim) fn due(&self) -> Option<Timestamp> {
        let next = self.next.map(|(at, _)| at);
        let death = self.death.map(|death| death.at);
        sooner(sooner(next, death), self.check_due)
    }

    /// The lease, unless it ran out.
    pub(in crate::sim) fn lease_at(&self, now: Timestamp) -> Option<&LeaseState> {
        self.lease.as_ref().filter(|lease| lease.expires_at > now)
    }

    pub(in crate::sim) fn push_event(&mut self, id: &str, what: [&str; 3], at: Timestamp) {
        let [kind, status, source] = what;
        self.events.push_front(json!({
            "id": id, "type": kind, "status": status, "source": source,
            "timestamp": at.as_millisecond(),
        }));
        self.events.truncate(EVENTS_MAX);
    }

    /// A process ended; `requested`: somebody asked for it.
    pub(in crate::sim) fn push_exit(
        &mut self,
        id: &str,
        death: Death,
        requested: bool,
        again: bool,
    ) {
        let exited_at = Timestamp::from_millisecond(death.at.as_millisecond());
        self.events.push_front(json!({
            "id": id, "type": "exit", "status": "stopped", "source": "flyd",
            "timestamp": death.at.as_millisecond(),
            "request": {
                "exit_event": {
                    "exit_code": death.code, "guest_exit_code": death.code, "guest_signal": -1,
                    "oom_killed": death.oom, "requested_stop": requested, "restarting": again,
                    "signal": -1, "exited_at": exited_at.unwrap_or(death.at).to_string(),
                },
                "restart_count": self.restarts.len(),
            },
        }));
        self.events.truncate(EVENTS_MAX);
    }

    /// The process is gone, and what it knew with it.
    pub(in crate::sim) fn end_process(&mut self) {
        self.process = None;
        self.death = None;
        self.check = None;
        self.check_due = None;
    }

    pub(in crate::sim) fn remember_version(&mut self) {
        let entry = (self.version.instance.clone(), self.version.config.clone());
        self.versions.push_front(entry);
        self.versions.truncate(VERSIONS_MAX);
    }
}

/// The sooner of two times, where there are any.
fn sooner(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// `at`, so much later.
pub(in crate::sim) fn later(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Seconds as a duration, to the millisecond; what is no duration is none.
pub(in crate::sim) fn seconds(amount: f64) -> Duration {
    Duration::try_from_secs_f64((amount * 1000.0).round() / 1000.0).unwrap_or(Duration::ZERO)
}
