//! The organization as the doors of [`serve`](super::serve) ask for it: in the terms of the wire.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    behaviour::{Behaviour, CheckSays},
    change::{Progress, Update},
    deploy::ShipOptions,
    handle::Sim,
    image::{Reference, digest_of},
    lease::{Ask, Held},
    ledger::{Entry, NewEntry},
    org::{Org, Placed},
    page::PageKind,
    refusal::Refusal,
    serve::{
        desk::{Desk, MetricsSite},
        reply::{Reply, put},
    },
    show::rfc3339,
};

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let mut reply = Self::error(refusal.status(), &refusal.text());
        if matches!(refusal, Refusal::NoCapacity(_)) {
            put(&mut reply.body, "status", "insufficient_capacity");
        }
        reply
    }
}

fn lease(held: &Held) -> Value {
    json!({
        "nonce": held.nonce, "expires_at": held.expires_at.as_second(), "owner": held.owner,
        "description": held.description, "version": held.instance,
    })
}

impl Sim {
    fn ask<T>(&self, ask: impl FnOnce(&mut Org) -> Result<T, Refusal>) -> Result<T, Reply> {
        self.with(ask).map_err(Reply::from)
    }
}

impl Desk for Sim {
    fn now(&self) -> Timestamp {
        self.platform_now()
    }

    fn sim(&self) -> &Sim {
        self
    }

    fn organization(&self) -> String {
        self.with(|org| org.slug.clone())
    }

    fn app_names(&self) -> Vec<String> {
        self.with(|org| org.apps.keys().cloned().collect())
    }

    fn regions(&self) -> Vec<String> {
        self.with(|org| {
            let mut regions: Vec<String> =
                org.machines.values().map(|machine| machine.region.clone()).collect();
            regions.sort_unstable();
            regions.dedup();
            regions
        })
    }

    fn app(&self, app: &str) -> Result<Value, Reply> {
        self.ask(|org| org.show_app(app))
    }

    fn machines(&self, app: &str, with_leases: bool) -> Result<Vec<Value>, Reply> {
        self.ask(|org| org.show_machines(app, with_leases))
    }

    fn machine(&self, app: &str, id: &str, with_leases: bool) -> Result<Value, Reply> {
        self.ask(|org| org.show_machine(app, id, with_leases))
    }

    fn progress(&self, app: &str, id: &str) -> Result<Progress, Reply> {
        self.ask(|org| org.progress(app, id))
    }

    fn versions(&self, app: &str, id: &str) -> Result<Value, Reply> {
        self.ask(|org| org.show_versions(app, id))
    }

    fn feed(&self, after: Option<Timestamp>) -> Result<(Vec<Value>, Vec<String>), Reply> {
        Ok(self.with(|org| (org.show_feed(after), org.unread_regions.iter().cloned().collect())))
    }

    fn create(
        &self,
        app: &str,
        region: Option<&str>,
        name: Option<&str>,
        config: Value,
        skip_launch: bool,
    ) -> Result<String, Reply> {
        self.ask(|org| {
            // The nearest region is the one with the app's first machine.
            let nearest = org.of_app(app).next().map(|machine| machine.region.clone());
            let region = region.map(str::to_owned).or(nearest).unwrap_or_else(|| "iad".to_owned());
            let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
            org.create(app, Placed { id: None, name, region, started: true, config }, skip_launch)
        })
    }

    fn update(
        &self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        update: Update<'_>,
    ) -> Result<Value, Reply> {
        self.ask(|org| {
            org.update(app, id, nonce, update)?;
            org.show_machine(app, id, false)
        })
    }

    fn destroy(&self, app: &str, id: &str, nonce: Option<&str>, force: bool) -> Result<(), Reply> {
        self.ask(|org| org.destroy(app, id, nonce, force))
    }

    fn start(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply> {
        self.ask(|org| org.start(app, id, nonce))
    }

    fn stop(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply> {
        self.ask(|org| org.rest(app, id, nonce, false))
    }

    fn suspend(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply> {
        self.ask(|org| org.rest(app, id, nonce, true))
    }

    fn restart(&self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Reply> {
        self.ask(|org| org.restart(app, id, nonce))
    }

    fn cordon(&self, app: &str, id: &str, nonce: Option<&str>, on: bool) -> Result<(), Reply> {
        self.ask(|org| org.cordon(app, id, nonce, on))
    }

    fn set_metadata(
        &self,
        app: &str,
        id: &str,
        pairs: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Reply> {
        self.ask(|org| org.set_metadata(app, id, pairs))
    }

    fn lease(&self, app: &str, id: &str) -> Result<Value, Reply> {
        self.ask(|org| org.lease(app, id).map(|held| lease(&held)))
    }

    fn take_lease(
        &self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        ttl: Duration,
        owner: &str,
        description: &str,
    ) -> Result<Value, Reply> {
        let ask = Ask { nonce, ttl, owner, description };
        self.ask(|org| org.take_lease(app, id, ask).map(|held| lease(&held)))
    }

    fn release_lease(&self, app: &str, id: &str, nonce: &str) -> Result<(), Reply> {
        self.ask(|org| org.release_lease(app, id, nonce))
    }

    fn releases(&self, app: &str) -> Result<Vec<Entry>, Reply> {
        self.ask(|org| org.releases(app))
    }

    fn release(&self, id: &str) -> Result<Entry, Reply> {
        self.ask(|org| org.release(id))
    }

    fn create_release(
        &self,
        app: &str,
        image: &str,
        strategy: &str,
        definition: &Value,
        author: &str,
    ) -> Result<Entry, Reply> {
        let new = NewEntry { image, strategy, definition, author };
        self.ask(|org| org.create_release(app, new))
    }

    fn set_release_status(&self, id: &str, status: &str) -> Result<(), Reply> {
        self.ask(|org| org.set_release_status(id, status))
    }

    fn ship(&self, app: &str, image: &str, options: ShipOptions) -> Result<Entry, Reply> {
        self.ask(|org| org.ship(app, image, options))
    }

    fn resolve(&self, reference: &str) -> Option<String> {
        self.digest(reference)
    }

    fn secrets(&self, app: &str) -> Result<Vec<Value>, Reply> {
        self.ask(|org| {
            let at = rfc3339(org.began);
            let show = |(name, digest): (&String, &String)| {
                json!({"name": name, "digest": digest, "created_at": at, "updated_at": at})
            };
            Ok(org.app(app)?.secrets.iter().map(show).collect())
        })
    }

    fn set_secret(&self, app: &str, name: &str, value: Option<&str>) -> Result<(), Reply> {
        self.ask(|org| {
            let secrets = &mut org.app_mut(app)?.secrets;
            match value {
                // Values are never shown again, so only what tells them apart is kept.
                Some(value) => {
                    let digest = digest_of(value).chars().skip("sha256:".len()).take(16).collect();
                    secrets.insert(name.to_owned(), digest);
                }
                None => {
                    secrets.remove(name);
                }
            }
            Ok(())
        })
    }

    fn metrics_pages(&self) -> Vec<MetricsSite> {
        self.with(|org| {
            org.machines
                .values()
                .filter(|machine| machine.is_started())
                .filter_map(|machine| {
                    let (port, _) = machine.version.metrics()?;
                    Some(MetricsSite {
                        address: SocketAddr::new(machine.address, port),
                        app: machine.app.clone(),
                        machine: machine.id.clone(),
                    })
                })
                .collect()
        })
    }

    fn page(&self, app: &str, id: &str, path: &str) -> Option<String> {
        self.with(|org| org.page(app, id, path))
    }

    fn page_kind(&self, id: &str) -> PageKind {
        self.with(|org| org.odd_pages.get(id).copied().unwrap_or_default())
    }

    fn set_page_kind(&self, id: &str, kind: PageKind) {
        self.with(|org| {
            org.odd_pages.remove(id);
            if kind != PageKind::Normal {
                org.odd_pages.insert(id.to_owned(), kind);
            }
        });
    }

    fn log_lines(&self, app: &str, id: &str) -> Result<Vec<String>, Reply> {
        self.ask(|org| org.log_lines(app, id))
    }

    fn summary(&self) -> Result<Value, Reply> {
        Ok(self.with(|org| org.summary()))
    }

    fn totals(&self) -> Value {
        self.with(|org| {
            let apps = org.apps.values().map(|app| {
                let totals = json!({
                    "requests": app.totals.requests, "failed": app.totals.failed,
                });
                (app.name.clone(), totals)
            });
            Value::Object(apps.collect())
        })
    }

    fn app_of(&self, id: &str) -> Result<String, Reply> {
        self.ask(|org| org.app_of(id))
    }

    fn set_image(&self, body: &Value) -> Result<(), Reply> {
        let bad = |text: &str| Reply::error(400, text);
        let image = body.get("image").and_then(Value::as_str);
        let image = image.ok_or_else(|| bad("\"image\" is required"))?;
        let behaviour = body.get("behaviour").cloned().unwrap_or_else(|| json!({}));
        let behaviour: Behaviour =
            serde_json::from_value(behaviour).map_err(|error| bad(&error.to_string()))?;
        if let Some(problem) = behaviour.problem() {
            return Err(bad(&problem));
        }
        self.ask(|org| {
            if org.images.resolve(image).is_none() {
                org.add_image(image, None, behaviour.clone());
            }
            org.set_behaviour(image, behaviour)
        })
    }

    fn remove_image(&self, image: &str) -> Result<(), Reply> {
        self.ask(|org| org.remove_image(image))
    }

    fn kill(&self, _app: &str, id: &str) -> Result<(), Reply> {
        self.ask(|org| org.kill(id))
    }

    fn force_stop(&self, app: &str, id: &str) -> Result<(), Reply> {
        self.ask(|org| org.force_rest(app, id, false))
    }

    fn set_host(&self, _app: &str, id: &str, status: &str) -> Result<(), Reply> {
        self.ask(|org| org.set_host(id, status))
    }

    fn clone_machine(&self, _app: &str, id: &str) -> Result<String, Reply> {
        self.ask(|org| org.clone_machine(id))
    }
}

impl Org {
    /// State in short, for people.
    fn summary(&self) -> Value {
        let apps: Vec<Value> = self
            .apps
            .values()
            .map(|app| {
                let machines: Vec<Value> = self
                    .of_app(&app.name)
                    .filter(|machine| !machine.is_destroyed())
                    .map(|machine| {
                        let Reference { tag, digest, .. } = machine.version.reference();
                        json!({
                            "id": machine.id, "region": machine.region,
                            "state": machine.state.as_str(), "tag": tag, "digest": digest,
                            "address": machine.address.to_string(), "host": machine.host,
                            "healthy": machine.check.map(|check| check.says == CheckSays::Passing),
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
