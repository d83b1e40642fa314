//! What the organization shows on the wire besides its machines; JSON objects, as clients read them.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{
    machine_json::rfc3339,
    reply::{Reply, set_field},
};
use crate::sim::{
    handle::Sim,
    model::{
        behaviour::CheckSays,
        image::Reference,
        lease::Held,
        org::{Org, Placed},
        refusal::Refusal,
    },
};

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let mut reply = Self::error(refusal.status(), &refusal.text());
        if matches!(refusal, Refusal::NoCapacity(_)) {
            set_field(&mut reply.body, "status", "insufficient_capacity");
        }
        reply
    }
}

impl Sim {
    /// Asks the organization something as it is now; a refusal is an answer already.
    pub(super) fn ask<T>(
        &self,
        ask: impl FnOnce(&mut Org) -> Result<T, Refusal>,
    ) -> Result<T, Reply> {
        self.with(ask).map_err(Reply::from)
    }
}

/// Where a machine is to answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetricsSite {
    pub(super) address: SocketAddr,
    pub(super) app: String,
    pub(super) machine: String,
}

/// A lease as whoever holds it sees it.
pub(super) fn lease_json(held: &Held) -> Value {
    json!({
        "nonce": held.nonce, "expires_at": held.expires_at.as_second(), "owner": held.owner,
        "description": held.description, "version": held.instance,
    })
}

impl Org {
    /// # Errors
    /// For an organization that is not this one; `personal` is anybody's own.
    pub(super) fn check_slug(&self, slug: &str) -> Result<(), Refusal> {
        if slug == self.slug || slug == "personal" {
            Ok(())
        } else {
            Err(Refusal::no("organization", slug))
        }
    }

    pub(super) fn app_names(&self) -> Vec<String> {
        self.apps.keys().cloned().collect()
    }

    /// Regions in which the organization has machines.
    pub(super) fn regions(&self) -> Vec<String> {
        let mut regions: Vec<String> =
            self.machines.values().map(|machine| machine.region.clone()).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// The region that a client is nearest to: the first one in which the organization is.
    pub(super) fn nearest_region(&self) -> String {
        self.regions().into_iter().next().unwrap_or_else(|| "iad".to_owned())
    }

    /// Creates a machine in a region, or else in the nearest one, and tells its id.
    pub(super) fn create_near(
        &mut self,
        app: &str,
        region: Option<&str>,
        name: Option<&str>,
        config: Value,
        skip_launch: bool,
    ) -> Result<String, Refusal> {
        // The nearest region is the one with the app's first machine.
        let nearest = self.of_app(app).next().map(|machine| machine.region.clone());
        // Where it mounts a volume it has no choice.
        let bound = config.pointer("/mounts/0/volume").and_then(Value::as_str);
        let bound = bound.and_then(|id| self.volumes.get(id)).map(|volume| volume.region.clone());
        let nearest = bound.or(nearest);
        let region = region.map(str::to_owned).or(nearest).unwrap_or_else(|| self.nearest_region());
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        self.create(app, Placed { id: None, name, region, started: true, config }, skip_launch)
    }

    /// An app as the Machines API shows it.
    pub(super) fn show_app(&self, name: &str) -> Result<Value, Refusal> {
        let app = self.app(name)?;
        let machines = self.of_app(name).filter(|machine| !machine.is_destroyed()).count();
        let is_new = app.releases.is_empty() && machines == 0;
        let status = if is_new { "pending" } else { "deployed" };
        Ok(json!({
            "id": format!("app_{name}"), "name": name, "internal_numeric_id": app.number,
            "network": app.network, "status": status, "machine_count": machines,
            "volume_count": self.volumes_of(name).count(),
            "organization": {
                "name": self.slug, "slug": self.slug, "internal_numeric_id": 1,
            },
        }))
    }

    /// Where running machines are to answer: their metrics, and requests.
    pub(super) fn metrics_sites(&self) -> Vec<MetricsSite> {
        let running = self.machines.values().filter(|machine| machine.is_started());
        running
            .flat_map(|machine| {
                let metrics = machine.version.metrics().map(|(port, _)| port);
                let service = machine.version.service_port().filter(|port| Some(*port) != metrics);
                metrics.into_iter().chain(service).map(|port| MetricsSite {
                    address: SocketAddr::new(machine.address, port),
                    app: machine.app.clone(),
                    machine: machine.id.clone(),
                })
            })
            .collect()
    }

    /// What the apps' users got so far.
    pub(super) fn show_totals(&self) -> Value {
        let apps = self.apps.values().map(|app| {
            let totals = json!({
                "requests": app.totals.requests, "failed": app.totals.failed, "slow": app.totals.slow,
            });
            (app.name.clone(), totals)
        });
        Value::Object(apps.collect())
    }

    /// State in short, for people.
    pub(super) fn show_summary(&self) -> Value {
        let apps: Vec<Value> = self
            .apps
            .values()
            .map(|app| {
                let machines: Vec<Value> = self
                    .of_app(&app.name)
                    .filter(|machine| !machine.is_destroyed())
                    .map(|machine| {
                        let Reference { tag, digest, .. } = machine.version.reference();
                        let is_passing = |says| says == CheckSays::Passing;
                        json!({
                            "id": machine.id, "region": machine.region,
                            "state": machine.state.as_str(), "tag": tag, "digest": digest,
                            "address": machine.address.to_string(), "host": machine.host,
                            "healthy": machine.check.map(|check| is_passing(check.says)),
                            "leased_by": machine.lease_at(self.now).map(|lease| &lease.owner),
                        })
                    })
                    .collect();
                let release = app.releases.last().map(|entry| {
                    json!({"version": entry.version, "status": entry.status, "image": entry.image})
                });
                json!({"name": app.name, "release": release, "machines": machines})
            })
            .collect();
        json!({
            "organization": self.slug, "now": rfc3339(self.now), "apps": apps,
            "images": self.images.tags(),
        })
    }
}
