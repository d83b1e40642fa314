//! Machines as the Machines API shows them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{machine::SimMachine, org::Org, refusal::Refusal};

/// Whole seconds, as the platform writes its times.
pub(super) fn rfc3339(at: Timestamp) -> String {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_string()
}

impl Org {
    pub(super) fn show_machine(&self, app: &str, id: &str, lease: bool) -> Result<Value, Refusal> {
        Ok(show(self.machine(app, id)?, lease, self.now))
    }

    pub(super) fn show_machines(&self, app: &str, lease: bool) -> Result<Vec<Value>, Refusal> {
        Ok(self.listed(app)?.into_iter().map(|machine| show(machine, lease, self.now)).collect())
    }

    /// Configurations submitted so far, newest first.
    pub(super) fn show_versions(&self, app: &str, id: &str) -> Result<Value, Refusal> {
        let versions = &self.machine(app, id)?.versions;
        let shown: Vec<Value> = versions
            .iter()
            .map(|(version, config)| json!({"version": version, "user_config": config}))
            .collect();
        Ok(Value::Array(shown))
    }

    /// An app as the Machines API shows it.
    pub(super) fn show_app(&self, name: &str) -> Result<Value, Refusal> {
        let app = self.app(name)?;
        let machines = self.of_app(name).filter(|machine| !machine.is_destroyed()).count();
        Ok(json!({
            "id": format!("app_{name}"), "name": name, "internal_numeric_id": app.number,
            "network": "default", "status": "deployed", "machine_count": machines,
            "volume_count": 0,
            "organization": {
                "name": self.slug, "slug": self.slug, "internal_numeric_id": 1,
            },
        }))
    }

    /// Machines that changed after a time, oldest change first.
    pub(super) fn changed(&self, after: Option<Timestamp>) -> Vec<&SimMachine> {
        let mut changed: Vec<&SimMachine> = self
            .machines
            .values()
            .filter(|machine| after.is_none_or(|after| machine.updated_at > after))
            .filter(|machine| {
                super::machine::later(machine.updated_at, self.feed_delay) <= self.now
            })
            .filter(|machine| !self.unread_regions.contains(&machine.region))
            .collect();
        changed.sort_by_key(|machine| machine.updated_at);
        changed
    }

    /// The change feed, as the Machines API shows it.
    pub(super) fn show_feed(&self, after: Option<Timestamp>) -> Vec<Value> {
        let entry = |machine: &&SimMachine| {
            let config = &machine.version.config;
            json!({
                "id": machine.id, "name": machine.name, "app_name": machine.app,
                "region": machine.region, "state": machine.state.as_str(),
                "version": machine.version.instance,
                "private_ip": machine.address.to_string(),
                "created_at": rfc3339(machine.created_at),
                "updated_at": rfc3339(machine.updated_at),
                "config": {
                    "image": config.get("image"), "guest": config.get("guest"),
                    "metadata": config.get("metadata"),
                },
            })
        };
        self.changed(after).iter().map(entry).collect()
    }
}

fn show(machine: &SimMachine, with_lease: bool, now: Timestamp) -> Value {
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
        "created_at": rfc3339(machine.created_at), "updated_at": rfc3339(machine.updated_at),
        "config": machine.version.config, "events": machine.events, "checks": checks(machine),
        "host_status": machine.host, "cordoned": machine.cordoned,
    });
    let Some(fields) = shown.as_object_mut() else { return shown };
    if machine.host != "ok" {
        let config = fields.insert("config".to_owned(), Value::Null);
        fields.insert("incomplete_config".to_owned(), config.unwrap_or(Value::Null));
    }
    if let Some(lease) = machine.lease_at(now).filter(|_| with_lease) {
        let lease = json!({
            "owner": lease.owner, "description": lease.description,
            "expires_at": lease.expires_at.as_second(),
        });
        fields.insert("lease".to_owned(), lease);
    }
    shown
}

/// What a check says besides its status.
pub(super) fn check_output(passing: bool) -> &'static str {
    if passing { "200 OK" } else { "500 Internal Server Error" }
}

/// Last results; none before the first.
fn checks(machine: &SimMachine) -> Vec<Value> {
    let Some(result) = machine.check else { return Vec::new() };
    let status = if result.passing { "passing" } else { "critical" };
    machine
        .version
        .checks()
        .into_iter()
        .map(|(name, ..)| {
            json!({
                "name": name, "status": status, "output": check_output(result.passing),
                "updated_at": rfc3339(result.changed_at),
            })
        })
        .collect()
}
