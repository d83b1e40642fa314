//! Rarer things that happen to an organization, for scenario tests.

use std::time::Duration;

use serde_json::{Value, json};

use crate::sim::{
    handle::Sim,
    model::{
        behaviour::CheckSays,
        change::Update,
        deploy::released,
        ledger::NewEntry,
        machine::{State, later},
        org::{Org, Placed},
        quirks::Quirks,
        refusal::Refusal,
        rights::Right,
    },
};

/// How a machine really stands, whatever lists show.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub id: &'a str,
    pub region: &'a str,
    pub state: State,
    pub instance: &'a str,
    pub digest: Option<&'a str>,
    /// The release's number in its metadata.
    pub release: Option<u64>,
    /// Its checks pass, or it has none.
    pub passes: bool,
    pub host_answers: bool,
}

impl Org {
    /// An app's machines as they are, without the destroyed ones.
    pub fn standings<'a>(&'a self, app: &'a str) -> impl Iterator<Item = Standing<'a>> {
        self.of_app(app).filter(|machine| !machine.is_destroyed()).map(|machine| {
            let version = &machine.version;
            let result = self.last_result(machine).map(|result| result.says);
            Standing {
                id: &machine.id,
                region: &machine.region,
                state: machine.state,
                instance: &version.instance,
                digest: version.digest.as_deref(),
                release: version.metadata("fly_release_version").and_then(|v| v.parse().ok()),
                passes: result == Some(CheckSays::Passing) || version.checks.is_empty(),
                host_answers: machine.host == "ok",
            }
        })
    }

    /// Writes a release into the ledger that no machine gets, as a client does that is killed or
    /// fails before it touches one.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn announce(&mut self, app: &str, image: &str, status: &str) -> Result<(), Refusal> {
        let definition = Value::Null;
        let author = "ci@sim.test";
        let new = NewEntry { image, strategy: "ROLLING", definition: &definition, author };
        let entry = self.create_release(app, new)?;
        self.set_release_status(&entry.id, status)
    }

    /// Gives every machine a new release's number and leaves it its own image, as `fly secrets set`
    /// does; the release names the image of the one before.
    ///
    /// # Errors
    /// When there is no such app, or the platform refuses an update.
    pub fn renumber(&mut self, app: &str) -> Result<(), Refusal> {
        let image = self.releases(app)?.first().map(|old| old.image.clone()).unwrap_or_default();
        self.announce(app, &image, "complete")?;
        let version = self.releases(app)?.first().map_or(0, |entry| entry.version);
        let machines: Vec<(String, Value, Option<String>)> = self
            .of_app(app)
            .filter(|machine| !machine.is_destroyed())
            .map(|machine| {
                let nonce = machine.lease.as_ref().map(|lease| lease.nonce.clone());
                (machine.id.clone(), machine.version.config.clone(), nonce)
            })
            .collect();
        for (id, mut config, nonce) in machines {
            if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("fly_release_version".to_owned(), json!(version.to_string()));
            }
            let update = Update { config, raw: None, current: None, skip_launch: false };
            match self.update(app, &id, nonce.as_deref(), update) {
                Ok(_) | Err(Refusal::Conflict(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    /// Adds started machines in a region, as `fly scale count` does: like the app's first one, with
    /// image and number of its newest release, whatever the machines run. Tells their ids.
    ///
    /// # Errors
    /// When there is no such app, or it has no machine or no release, or there is no room.
    pub fn scale(&mut self, app: &str, region: &str, by: u32) -> Result<Vec<String>, Refusal> {
        let newest = self.app(app)?.releases.last().cloned();
        let newest = newest.ok_or_else(|| Refusal::no("release", app))?;
        let first = self
            .of_app(app)
            .find(|machine| !machine.is_destroyed() && !machine.version.is_standby());
        let first = first.ok_or_else(|| Refusal::no("machine", app))?;
        let config = released(&first.version.config, &newest, &newest.image);
        (0..by)
            .map(|_| {
                let config = self.with_new_volumes(app, region, config.clone())?;
                self.create(app, Placed::new(region, true, config), false)
            })
            .collect()
    }

    /// Destroys an app's machines and forgets its releases; then one machine of `image` runs as
    /// release 1.
    ///
    /// # Errors
    /// When there is no such app, or it has no machine.
    pub fn recreate(&mut self, app: &str, image: &str) -> Result<(), Refusal> {
        let ids: Vec<String> = self
            .of_app(app)
            .filter(|machine| !machine.is_destroyed())
            .map(|machine| machine.id.clone())
            .collect();
        let first = ids.first().ok_or_else(|| Refusal::no("machine", app))?;
        let copy = self.clone_machine(first)?;
        self.app_mut(app)?.releases.clear();
        self.announce(app, image, "complete")?;
        let mut config = self.machine(app, &copy)?.version.config.clone();
        if let Some(fields) = config.as_object_mut() {
            fields.insert("image".to_owned(), json!(image));
        }
        if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("fly_release_version".to_owned(), json!("1"));
        }
        let update = Update { config, raw: None, current: None, skip_launch: false };
        self.update(app, &copy, None, update)?;
        for id in ids {
            self.living(app, &id)?.lease = None;
            self.destroy(app, &id, None, true)?;
        }
        Ok(())
    }
}

impl Org {
    /// Starts a machine, leased or not; one that runs goes on.
    pub(in crate::sim) fn force_start(&mut self, app: &str, id: &str) -> Result<(), Refusal> {
        let found = self.machine(app, id)?;
        if found.state.is_up() {
            return Ok(());
        }
        let nonce = found.lease.as_ref().map(|lease| lease.nonce.clone());
        self.start(app, id, nonce.as_deref())
    }

    /// Destroys a machine, leased or not.
    pub(in crate::sim) fn force_destroy(&mut self, app: &str, id: &str) -> Result<(), Refusal> {
        self.living(app, id)?.lease = None;
        self.destroy(app, id, None, true)
    }

    /// Whether nobody holds a machine's lease.
    pub fn is_free(&self, id: &str) -> bool {
        let now = self.now;
        self.machines.get(id).is_some_and(|machine| {
            machine.lease.as_ref().is_none_or(|lease| lease.expires_at <= now)
        })
    }
}

impl Sim {
    /// See [`Org::announce`].
    ///
    /// # Errors
    /// When there is no such app.
    pub fn announce(&self, app: &str, image: &str, status: &str) -> Result<(), Refusal> {
        self.with(|org| org.announce(app, image, status))
    }

    /// See [`Org::renumber`].
    ///
    /// # Errors
    /// When there is no such app, or the platform refuses an update.
    pub fn renumber(&self, app: &str) -> Result<(), Refusal> {
        self.with(|org| org.renumber(app))
    }

    /// See [`Org::scale`].
    ///
    /// # Errors
    /// When there is no such app, or it has no machine or no release, or there is no room.
    pub fn scale(&self, app: &str, region: &str, by: u32) -> Result<Vec<String>, Refusal> {
        self.with(|org| org.scale(app, region, by))
    }

    /// See [`Org::put_image`].
    ///
    /// # Errors
    /// When there is no such machine, or somebody holds its lease.
    pub fn put_image(&self, machine: &str, image: &str) -> Result<(), Refusal> {
        self.with(|org| org.put_image(machine, image))
    }

    /// See [`Org::recreate`].
    ///
    /// # Errors
    /// When there is no such app, or it has no machine.
    pub fn recreate(&self, app: &str, image: &str) -> Result<(), Refusal> {
        self.with(|org| org.recreate(app, image))
    }

    /// Starts a machine, leased or not, as the proxy's autostart does; one that runs goes on.
    ///
    /// # Errors
    /// When there is no such machine, or it cannot be started now.
    pub fn start(&self, machine: &str) -> Result<(), Refusal> {
        self.with(|org| org.app_of(machine).and_then(|app| org.force_start(&app, machine)))
    }

    /// See [`Org::set_list_lag`].
    pub fn set_list_lag(&self, region: &str, lag: Duration) {
        self.with(|org| org.set_list_lag(region, lag));
    }

    /// See [`Org::hide_region`].
    pub fn hide_region(&self, region: &str, time: Duration) {
        self.with(|org| org.hide_region(region, time));
    }

    /// See [`Org::deny`].
    pub fn deny(&self, owner: Option<&str>, right: Right, status: u16, time: Option<Duration>) {
        self.with(|org| org.deny(owner, right, status, time));
    }

    /// See [`Org::allow_all`].
    pub fn allow_all(&self) {
        self.with(Org::allow_all);
    }

    /// Whether an owner's tokens may do this.
    pub fn may(&self, owner: &str, right: Right) -> bool {
        self.with(|org| org.denied(owner, right).is_none())
    }

    /// What the platform does besides what everybody has seen, from now on.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.with(|org| org.quirks = quirks);
    }

    /// For so long, an app's machine list is empty.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn empty_list(&self, app: &str, time: Duration) -> Result<(), Refusal> {
        self.with(|org| {
            let until = later(org.now, time);
            org.app_mut(app)?.stale = Some((until, Vec::new()));
            Ok(())
        })
    }
}
