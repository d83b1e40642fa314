//! A machine, a lease and what the Machines API answers to a wait.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    config::Config,
    image::{self, WireImage},
    lenient,
};
use crate::model::{
    AppName, Check, CheckStatus, ExitEvent, HostStatus, InstanceId, LeaseHolder, Machine,
    MachineId, MachineState, ProcessGroup, RawConfig, Region, ReleaseVersion,
};

/// Checks that the platform makes up for old clients have names that begin so.
const MADE_UP_CHECK: &str = "bg_deployments_compat";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireMachine {
    #[serde(deserialize_with = "lenient::text")]
    id: String,
    #[serde(deserialize_with = "lenient::text")]
    region: String,
    #[serde(deserialize_with = "lenient::text")]
    state: String,
    #[serde(deserialize_with = "lenient::text")]
    instance_id: String,
    #[serde(deserialize_with = "lenient::text")]
    version: String,
    image_ref: Option<WireImage>,
    /// Its text is kept as it came; see [`RawConfig`].
    config: Option<Box<RawValue>>,
    incomplete_config: Option<Box<RawValue>>,
    #[serde(deserialize_with = "lenient::text")]
    host_status: String,
    #[serde(deserialize_with = "lenient::text")]
    private_ip: String,
    #[serde(deserialize_with = "lenient::time")]
    created_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::time")]
    updated_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::or_default")]
    events: Vec<WireEvent>,
    #[serde(deserialize_with = "lenient::or_default")]
    checks: Vec<WireCheck>,
    #[serde(deserialize_with = "lenient::flag")]
    cordoned: bool,
    lease: Option<WireHolder>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireEvent {
    #[serde(rename = "type", deserialize_with = "lenient::text")]
    kind: String,
    #[serde(deserialize_with = "lenient::time")]
    timestamp: Option<Timestamp>,
    /// A free object.
    request: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireCheck {
    #[serde(deserialize_with = "lenient::text")]
    name: String,
    #[serde(deserialize_with = "lenient::text")]
    status: String,
    #[serde(deserialize_with = "lenient::text")]
    output: String,
    #[serde(deserialize_with = "lenient::time")]
    updated_at: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireHolder {
    #[serde(deserialize_with = "lenient::text")]
    owner: String,
    #[serde(deserialize_with = "lenient::text")]
    description: String,
    #[serde(deserialize_with = "lenient::time")]
    expires_at: Option<Timestamp>,
}

impl WireMachine {
    /// The id of this version of the machine; empty when the platform does not say.
    pub(crate) fn instance(&self) -> &str {
        if self.instance_id.is_empty() { &self.version } else { &self.instance_id }
    }

    /// The machine, or what is wrong with it.
    pub(crate) fn into_machine(self, app: &AppName) -> Result<Machine, String> {
        if self.id.is_empty() {
            return Err("a machine without an id".to_owned());
        }
        // The incomplete configuration is only fit to be looked at, but that it is.
        let shown = self.config.as_ref().or(self.incomplete_config.as_ref());
        let config: Config = match shown {
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|error| format!("machine {}: its configuration: {error}", self.id))?,
            None => Config::default(),
        };
        let metadata = config.metadata();
        let group = ["fly_process_group", "process_group"]
            .into_iter()
            .find_map(|key| metadata.get(key).filter(|group| !group.is_empty()))
            .map_or("app", String::as_str);
        let host = match self.host_status.as_str() {
            "ok" => HostStatus::Ok,
            "unreachable" => HostStatus::Unreachable,
            // Without a word on the host, a whole configuration says that it answered.
            "" if self.config.is_some() => HostStatus::Ok,
            _ => HostStatus::Unknown,
        };
        let newest = |kind: Option<&str>| {
            let events = self.events.iter();
            let events = events.filter(|event| kind.is_none_or(|kind| event.kind == kind));
            events.filter_map(|event| event.timestamp).max()
        };
        let updated_at = self.updated_at.or(self.created_at).or_else(|| newest(None));
        let starts = |before: Timestamp| {
            let events = self.events.iter().filter(|event| event.kind == "start");
            events.filter_map(|event| event.timestamp).filter(|at| *at <= before).max()
        };
        let mut exits: Vec<ExitEvent> = self.events.iter().filter_map(WireEvent::exit).collect();
        for exit in &mut exits {
            exit.started_at = starts(exit.at);
        }
        exits.sort_by_key(|exit| std::cmp::Reverse(exit.at));
        Ok(Machine {
            app: app.clone(),
            instance: InstanceId::new(self.instance()),
            region: Region::new(self.region.as_str()),
            group: ProcessGroup::new(group),
            state: MachineState::parse(if self.state.is_empty() { "unknown" } else { &self.state }),
            host,
            image: image::of(self.image_ref.as_ref(), &config.image),
            release: release_of(metadata.get("fly_release_version").map(String::as_str)),
            config: self.config.as_ref().map(|raw| RawConfig(Arc::from(raw.get()))),
            checks: self.checks.iter().filter_map(|check| check.check(&config)).collect(),
            checks_configured: config.checks_configured(),
            exits,
            started_at: newest(Some("start")),
            placed_at: newest(Some("update")).max(newest(Some("launch"))),
            updated_at: updated_at.unwrap_or(Timestamp::UNIX_EPOCH),
            private_ip: self.private_ip.parse().ok(),
            metrics: config.metrics(),
            lease: self.lease.and_then(WireHolder::holder),
            cordoned: self.cordoned,
            standby: config.is_standby(),
            has_services: config.has_services(),
            service_port: config.service_port(),
            own_schedule: config.has_own_schedule(),
            restart: config.restart(),
            metadata,
            id: MachineId::new(self.id),
        })
    }
}

/// `fly_release_version`: a decimal text.
pub(crate) fn release_of(text: Option<&str>) -> Option<ReleaseVersion> {
    text?.trim().parse().ok().map(ReleaseVersion)
}

impl WireEvent {
    /// The exit this event tells of. One without particulars is left out: whether it was asked
    /// for is not known.
    fn exit(&self) -> Option<ExitEvent> {
        if self.kind != "exit" {
            return None;
        }
        let object = |path: &str| self.request.pointer(path).filter(|value| value.is_object());
        let own = object("/exit_event");
        let monitor = object("/MonitorEvent/exit_event");
        let exit = own.or(monitor)?;
        // The monitor's word wins for the code.
        let code = |exit: &Value| {
            let field = |name: &str| exit.get(name).and_then(Value::as_i64);
            field("exit_code").or_else(|| field("guest_exit_code"))
        };
        let exit_code = monitor.and_then(code).or_else(|| code(exit)).unwrap_or(0);
        let flag = |name: &str| exit.get(name).and_then(Value::as_bool).unwrap_or(false);
        let at = exit.get("exited_at").and_then(lenient::time_of).or(self.timestamp)?;
        Some(ExitEvent {
            at,
            exit_code,
            oom_killed: flag("oom_killed"),
            requested_stop: flag("requested_stop"),
            started_at: None,
        })
    }
}

impl WireCheck {
    fn check(&self, config: &Config) -> Option<Check> {
        if self.name.starts_with(MADE_UP_CHECK) {
            return None;
        }
        let timing = config.timing(&self.name);
        Some(Check {
            name: self.name.clone(),
            status: match self.status.as_str() {
                "passing" => CheckStatus::Passing,
                "critical" => CheckStatus::Critical,
                // Neither good nor bad: also what this version does not know.
                _ => CheckStatus::Warning,
            },
            output: self.output.clone(),
            changed_at: self.updated_at,
            interval: timing.interval,
            grace: timing.grace,
        })
    }
}

impl WireHolder {
    fn holder(self) -> Option<LeaseHolder> {
        if self.owner.is_empty() && self.expires_at.is_none() {
            return None;
        }
        Some(LeaseHolder {
            owner: self.owner,
            description: self.description,
            // A lease that is shown is held; one without an end is held until it is not shown.
            expires_at: self.expires_at.unwrap_or(Timestamp::MAX),
        })
    }
}

/// A lease: in an envelope, as it is seen, or bare, as it is documented.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireLease {
    data: Option<WireGrant>,
    #[serde(flatten)]
    bare: WireGrant,
}

/// What is granted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireGrant {
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) nonce: String,
    #[serde(deserialize_with = "lenient::time")]
    pub(crate) expires_at: Option<Timestamp>,
}

impl WireLease {
    pub(crate) fn grant(self) -> WireGrant {
        self.data.filter(|data| !data.nonce.is_empty()).unwrap_or(self.bare)
    }
}

/// What a wait ended with.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireWait {
    pub(crate) ok: Option<bool>,
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) state: String,
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) version: String,
}

/// What the tokens of a request reach.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireTokens {
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) tokens: Vec<WireToken>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireToken {
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) org_slug: String,
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) apps: Vec<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) restricted_to_machine: String,
}

/// An app's secrets. Values are never asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireSecrets {
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) secrets: Vec<WireSecret>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireSecret {
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) name: String,
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) digest: String,
}

/// The organization's apps.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireApps {
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) apps: Vec<WireApp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireApp {
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) name: String,
}
