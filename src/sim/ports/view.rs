//! Machines and releases in the daemon's own terms, as the client of the real platform makes them.

use serde_json::Value;

use crate::model::{
    Check, CheckStatus, Digest, ExitEvent, HostStatus, ImageRef, LeaseHolder, Machine,
    MachineState, MetricsPage, RawConfig, Release, ReleaseStatus, ReleaseVersion, RestartPolicy,
};
use crate::sim::model::{
    behaviour::CheckSays,
    ledger::Entry,
    machine::{CheckAsked, CheckResult, SimMachine},
    org::Org,
    refusal::Refusal,
};

/// Reading the organization as the daemon's ports do, without them.
impl Org {
    /// An app's machines that are not destroyed, as a list shows them: late, where it is.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn read_machines(&self, app: &str) -> Result<Vec<Machine>, Refusal> {
        let listed = self.listed(app)?;
        let living = listed.into_iter().filter(|machine| !machine.is_destroyed());
        Ok(living.map(|machine| self.view(machine)).collect())
    }

    /// One machine as it is.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn read_machine(&self, app: &str, id: &str) -> Result<Machine, Refusal> {
        Ok(self.view(self.machine(app, id)?))
    }

    /// An app's newest releases, newest first.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn read_releases(&self, app: &str, limit: usize) -> Result<Vec<Release>, Refusal> {
        Ok(self.app(app)?.releases.iter().rev().take(limit).map(release).collect())
    }

    pub(in crate::sim) fn view(&self, machine: &SimMachine) -> Machine {
        let version = &machine.version;
        let reference = version.reference();
        let host = match machine.host.as_str() {
            "ok" => HostStatus::Ok,
            "unreachable" => HostStatus::Unreachable,
            _ => HostStatus::Unknown,
        };
        let text = |key: &str| version.metadata(key).map(str::to_owned);
        let metadata = version.config.get("metadata").and_then(Value::as_object);
        let metadata = metadata
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        let lease = machine.lease_at(self.now).map(|lease| LeaseHolder {
            owner: lease.owner.clone(),
            description: lease.description.clone(),
            expires_at: lease.expires_at,
        });
        Machine {
            app: machine.app.as_str().into(),
            id: machine.id.as_str().into(),
            instance: version.instance.as_str().into(),
            region: machine.region.as_str().into(),
            group: text("fly_process_group").unwrap_or_else(|| "app".to_owned()).as_str().into(),
            state: MachineState::parse(machine.state.as_str()),
            host,
            image: ImageRef {
                registry: reference.registry,
                repository: reference.repository,
                tag: reference.tag,
                digest: reference.digest.map(Digest::new),
            },
            release: text("fly_release_version")
                .and_then(|version| version.parse().ok())
                .map(ReleaseVersion),
            metadata,
            config: (host == HostStatus::Ok).then(|| RawConfig(version.raw.clone())),
            checks: checks(machine, self.last_result(machine), self.quirks.checks_without_time),
            checks_configured: version.checks.len(),
            exits: exits(machine),
            started_at: newest(machine, &["start"]),
            placed_at: newest(machine, &["update", "launch"]),
            updated_at: self.updated_at(machine),
            private_ip: Some(machine.address),
            metrics: version.metrics().map(|(port, path)| {
                let https = version.config.pointer("/metrics/https");
                let https = https.and_then(serde_json::Value::as_bool).unwrap_or(false);
                MetricsPage { port, path, https }
            }),
            lease,
            cordoned: machine.cordoned,
            standby: version.is_standby(),
            has_services: version.has_services(),
            service_port: version.service_port(),
            own_schedule: version.has_own_schedule(),
            restart: match version.restart_policy().0 {
                "no" => Some(RestartPolicy::No),
                "always" => Some(RestartPolicy::Always),
                _ => Some(RestartPolicy::OnFailure),
            },
        }
    }
}

/// Without those that the platform makes up for old clients.
fn checks(machine: &SimMachine, result: Option<CheckResult>, without_time: bool) -> Vec<Check> {
    let Some(result) = result else { return Vec::new() };
    let status = match result.says {
        CheckSays::Passing => CheckStatus::Passing,
        CheckSays::Critical => CheckStatus::Critical,
        CheckSays::Warning | CheckSays::Nothing => CheckStatus::Warning,
    };
    let check = |(name, interval, grace): &CheckAsked| Check {
        name: name.clone(),
        status,
        output: result.says.output().to_owned(),
        changed_at: (!without_time).then_some(result.changed_at),
        interval: *interval,
        grace: *grace,
    };
    machine.version.checks.iter().map(check).collect()
}

/// Its exits, newest first, each with the start before it.
fn exits(machine: &SimMachine) -> Vec<ExitEvent> {
    let mut exits = Vec::new();
    for (index, event) in machine.events.iter().enumerate() {
        let before = || machine.events.iter().skip(index);
        if let Some(exit) = exit(event) {
            let started_at = before().find_map(|event| of_kind(event, &["start"]));
            exits.push(ExitEvent { started_at, ..exit });
        }
    }
    exits
}

fn exit(event: &Value) -> Option<ExitEvent> {
    let exit = event.get("request")?.get("exit_event")?;
    let flag = |key: &str| exit.get(key).and_then(Value::as_bool).unwrap_or(false);
    Some(ExitEvent {
        at: exit.get("exited_at")?.as_str()?.parse().ok()?,
        exit_code: exit.get("exit_code")?.as_i64()?,
        oom_killed: flag("oom_killed"),
        requested_stop: flag("requested_stop"),
        started_at: None,
    })
}

/// When the newest event of these kinds was.
fn newest(machine: &SimMachine, kinds: &[&str]) -> Option<jiff::Timestamp> {
    machine.events.iter().find_map(|event| of_kind(event, kinds))
}

fn of_kind(event: &Value, kinds: &[&str]) -> Option<jiff::Timestamp> {
    if !kinds.contains(&event.get("type")?.as_str()?) {
        return None;
    }
    jiff::Timestamp::from_millisecond(event.get("timestamp")?.as_i64()?).ok()
}

/// A release as the ledger's readers see it.
pub(in crate::sim) fn release(entry: &Entry) -> Release {
    let command = entry.definition.get("deploy").and_then(|deploy| deploy.get("release_command"));
    Release {
        id: entry.id.clone(),
        version: ReleaseVersion(entry.version),
        status: ReleaseStatus::parse(&entry.status),
        image: entry.image.clone(),
        author: (!entry.author.is_empty()).then(|| entry.author.clone()),
        created_at: entry.created_at,
        has_release_command: (!entry.definition.is_null()).then_some(command.is_some()),
        is_brief: false,
    }
}
