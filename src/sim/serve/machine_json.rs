//! Machines as the Machines API shows them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::sim::model::{
    behaviour::CheckSays,
    machine::{CheckResult, SimMachine},
    org::Org,
    refusal::Refusal,
};

/// Whole seconds, as the platform writes its times.
pub(in crate::sim) fn rfc3339(at: Timestamp) -> String {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_string()
}

impl Org {
    pub(in crate::sim) fn show_machine(
        &self,
        app: &str,
        id: &str,
        lease: bool,
    ) -> Result<Value, Refusal> {
        Ok(self.show(self.machine(app, id)?, lease))
    }

    /// A machine as the answer to a write shows it: with the checks that have no result yet, so
    /// that the client knows that there are some to wait for.
    pub(in crate::sim) fn show_written(&self, app: &str, id: &str) -> Result<Value, Refusal> {
        let machine = self.machine(app, id)?;
        let mut shown = self.show(machine, false);
        if self.last_result(machine).is_none() {
            let to_come = machine.version.checks.iter().map(|(name, ..)| {
                json!({
                    "name": name, "status": CheckSays::Warning.status(),
                    "output": "the machine hasn't started", "updated_at": rfc3339(self.now),
                })
            });
            let to_come: Vec<Value> = to_come.collect();
            if let Some(Value::Array(checks)) = shown.get_mut("checks") {
                checks.extend(to_come);
            }
        }
        Ok(shown)
    }

    pub(in crate::sim) fn show_machines(
        &self,
        app: &str,
        lease: bool,
    ) -> Result<Vec<Value>, Refusal> {
        Ok(self.listed(app)?.into_iter().map(|machine| self.show(machine, lease)).collect())
    }

    /// Configurations submitted so far, newest first.
    pub(in crate::sim) fn show_versions(&self, app: &str, id: &str) -> Result<Value, Refusal> {
        let versions = &self.machine(app, id)?.versions;
        let shown: Vec<Value> = versions
            .iter()
            .map(|(version, config)| json!({"version": version, "user_config": config}))
            .collect();
        Ok(Value::Array(shown))
    }

    /// The change feed, as the Machines API shows it.
    pub(in crate::sim) fn show_feed(&self, after: Option<Timestamp>) -> Vec<Value> {
        let entry = |machine: &&SimMachine| {
            let config = &machine.version.config;
            json!({
                "id": machine.id, "name": machine.name, "app_name": machine.app,
                "region": machine.region, "state": machine.state.as_str(),
                "version": machine.version.instance,
                "private_ip": machine.address.to_string(),
                "created_at": rfc3339(machine.created_at),
                "updated_at": rfc3339(self.updated_at(machine)),
                "config": {
                    "image": config.get("image"), "guest": config.get("guest"),
                    "metadata": config.get("metadata"),
                },
            })
        };
        self.changed(after).iter().map(entry).collect()
    }

    fn show(&self, machine: &SimMachine, with_lease: bool) -> Value {
        let reference = machine.version.reference();
        let mut image = Map::new();
        image.insert("registry".to_owned(), json!(reference.registry));
        image.insert("repository".to_owned(), json!(reference.repository));
        for (key, value) in [("tag", reference.tag), ("digest", reference.digest)] {
            if let Some(value) = value {
                image.insert(key.to_owned(), json!(value));
            }
        }
        image.insert("labels".to_owned(), json!({}));
        let mut shown = json!({
            "id": machine.id, "name": machine.name, "state": machine.state.as_str(),
            "region": machine.region, "image_ref": image,
            "instance_id": machine.version.instance, "private_ip": machine.address.to_string(),
            "created_at": rfc3339(machine.created_at), "updated_at": rfc3339(self.updated_at(machine)),
            "config": machine.version.config, "events": machine.events, "checks": self.checks(machine),
            "host_status": machine.host, "cordoned": machine.cordoned,
        });
        let Some(fields) = shown.as_object_mut() else { return shown };
        if machine.host != "ok" {
            let config = fields.insert("config".to_owned(), Value::Null);
            fields.insert("incomplete_config".to_owned(), config.unwrap_or(Value::Null));
        }
        if let Some(lease) = machine.lease_at(self.now).filter(|_| with_lease) {
            let lease = json!({
                "owner": lease.owner, "description": lease.description,
                "expires_at": lease.expires_at.as_second(),
            });
            fields.insert("lease".to_owned(), lease);
        }
        shown
    }

    /// Last results; none before the first.
    fn checks(&self, machine: &SimMachine) -> Vec<Value> {
        let quirks = self.quirks;
        let updated_at = |at| (!quirks.checks_without_time).then(|| rfc3339(at));
        let names = machine.version.checks.iter().map(|(name, ..)| name.clone());
        let mut checks: Vec<Value> = match self.last_result(machine) {
            None => Vec::new(),
            Some(CheckResult { says, changed_at }) => names
                .map(|name| {
                    json!({
                        "name": name, "status": says.status(), "output": says.output(),
                        "updated_at": updated_at(changed_at),
                    })
                })
                .collect(),
        };
        if quirks.made_up_checks {
            checks.push(json!({
                "name": "bg_deployments_compat_1", "status": "critical", "output": "",
                "updated_at": null,
            }));
        }
        checks
    }
}
