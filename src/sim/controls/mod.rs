//! What the world does to the organization: what tests, the demo and the control API pull at.

pub(super) mod incidents;
pub(super) mod script;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use crate::sim::{
    fleet::FleetApp,
    handle::Sim,
    model::{
        behaviour::Behaviour,
        change::Update,
        deploy::{GateResult, ShipOptions},
        image::Reference,
        lease::{Ask, Held},
        ledger::Entry,
        machine::{Death, Moment, State, later},
        org::{Org, Placed, Totals},
        refusal::Refusal,
    },
    ports::calls::{CallRecord, FaultRule},
};

impl Org {
    /// Changes how an image behaves, on the machines that run it too.
    ///
    /// # Errors
    /// When the registry has no such image.
    pub fn set_behaviour(&mut self, image: &str, behaviour: Behaviour) -> Result<(), Refusal> {
        let digest = self.images.resolve(image).ok_or_else(|| Refusal::no("image", image))?;
        self.images.set_behaviour(&digest, behaviour);
        self.recheck(&digest);
        Ok(())
    }

    /// Removes an image from the registry; machines that run it go on.
    ///
    /// # Errors
    /// When the registry has no such image.
    pub fn remove_image(&mut self, image: &str) -> Result<(), Refusal> {
        if self.images.remove(image) { Ok(()) } else { Err(Refusal::no("image", image)) }
    }

    /// A machine's process dies, killed; the supervisor does what its policy says.
    ///
    /// # Errors
    /// When there is no such machine, or nothing runs on it.
    pub fn kill(&mut self, id: &str) -> Result<(), Refusal> {
        self.end(id, crate::sim::model::advance::KILLED)
    }

    /// The process on a machine ends by itself with this exit code.
    ///
    /// # Errors
    /// When there is no such machine, or nothing runs on it.
    pub fn end(&mut self, id: &str, code: i64) -> Result<(), Refusal> {
        let app = self.app_of(id)?;
        let now = self.now;
        let machine = self.living(&app, id)?;
        if !machine.is_started() {
            return Err(Refusal::Precondition("machine not running".to_owned()));
        }
        machine.death = Some(Death { at: now, code, oom: false });
        self.advance(now);
        Ok(())
    }

    /// A copy of a machine with its image and metadata, as an autoscaler makes; tells its id.
    ///
    /// # Errors
    /// When there is no such machine, or no room for another.
    pub fn clone_machine(&mut self, id: &str) -> Result<String, Refusal> {
        let app = self.app_of(id)?;
        let machine = self.machine(&app, id)?;
        let mut config = machine.version.config.clone();
        let digest = machine.version.digest.clone();
        let region = machine.region.clone();
        if let (Some(fields), Some(digest)) = (config.as_object_mut(), digest) {
            let image = fields.get("image").and_then(Value::as_str).unwrap_or_default();
            let image = image.split('@').next().unwrap_or_default();
            let pinned = format!("{image}@{digest}");
            fields.insert("image".to_owned(), json!(pinned));
            fields.remove("standbys");
        }
        self.create(&app, Placed::new(&region, true, config), false)
    }

    /// Puts an image on one machine and makes no release of it, as `fly machine update` does.
    ///
    /// # Errors
    /// When there is no such machine, or somebody holds its lease.
    pub fn put_image(&mut self, id: &str, image: &str) -> Result<(), Refusal> {
        let app = self.app_of(id)?;
        let mut config = self.machine(&app, id)?.version.config.clone();
        if let Some(fields) = config.as_object_mut() {
            fields.insert("image".to_owned(), json!(image));
        }
        let update = Update { config, raw: None, current: None, skip_launch: false };
        self.update(&app, id, None, update).map(|_| ())
    }

    /// The images that an app's machines run: machine → `registry/repository[:tag]@digest`.
    pub fn running(&self, app: &str) -> BTreeMap<String, String> {
        self.of_app(app)
            .filter(|machine| !machine.is_destroyed())
            .map(|machine| {
                let Reference { registry, repository, tag, digest } = machine.version.reference();
                let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
                let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
                (machine.id.clone(), format!("{registry}/{repository}{tag}{digest}"))
            })
            .collect()
    }
}

/// Controls by name, for tests and the demo. Those about a machine that is not there say so.
impl Sim {
    /// Ships a release of `image`; it goes on by itself as time passes. See [`Org::ship`].
    ///
    /// # Errors
    /// When there is no such app or image.
    pub fn ship(&self, app: &str, image: &str, options: ShipOptions) -> Result<Entry, Refusal> {
        self.with(|org| org.ship(app, image, options))
    }

    /// See [`Org::ship_secrets`].
    ///
    /// # Errors
    /// When there is no such app.
    pub fn ship_secrets(&self, app: &str, options: ShipOptions) -> Result<Entry, Refusal> {
        self.with(|org| org.ship_secrets(app, options))
    }

    /// See [`Org::kill_ships`].
    pub fn kill_ships(&self, app: &str) {
        self.with(|org| org.kill_ships(app));
    }

    /// See [`Org::gates`].
    pub fn gates(&self, app: &str) -> Vec<GateResult> {
        self.with(|org| org.gates(app))
    }

    /// See [`Org::set_behaviour`].
    ///
    /// # Errors
    /// When the registry has no such image.
    pub fn set_behaviour(&self, image: &str, behaviour: Behaviour) -> Result<(), Refusal> {
        self.with(|org| org.set_behaviour(image, behaviour))
    }

    /// Adds an image to the registry.
    pub fn add_image(&self, image: &str, behaviour: Behaviour) {
        self.with(|org| org.add_image(image, None, behaviour));
    }

    /// See [`Org::remove_image`].
    ///
    /// # Errors
    /// When the registry has no such image.
    pub fn remove_image(&self, image: &str) -> Result<(), Refusal> {
        self.with(|org| org.remove_image(image))
    }

    /// The digest behind an image in the registry.
    pub fn digest(&self, image: &str) -> Option<String> {
        self.with(|org| org.images.resolve(image))
    }

    /// Somebody else takes a machine's lease for `ttl` and does nothing with it.
    ///
    /// # Errors
    /// When there is no such machine, or it is leased already.
    pub fn lease_as(&self, machine: &str, owner: &str, ttl: Duration) -> Result<Held, Refusal> {
        self.with(|org| {
            let app = org.app_of(machine)?;
            org.take_lease(&app, machine, Ask { nonce: None, ttl, owner, description: "" })
        })
    }

    /// See [`Org::kill`].
    ///
    /// # Errors
    /// When there is no such machine, or nothing runs on it.
    pub fn kill(&self, machine: &str) -> Result<(), Refusal> {
        self.with(|org| org.kill(machine))
    }

    /// Stops a machine, leased or not, as the proxy's autostop does.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn stop(&self, machine: &str) -> Result<(), Refusal> {
        self.with(|org| org.app_of(machine).and_then(|app| org.force_rest(&app, machine, false)))
    }

    /// Suspends a machine, leased or not.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn suspend(&self, machine: &str) -> Result<(), Refusal> {
        self.with(|org| org.app_of(machine).and_then(|app| org.force_rest(&app, machine, true)))
    }

    /// Destroys a machine, leased or not.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn destroy(&self, machine: &str) -> Result<(), Refusal> {
        self.with(|org| org.app_of(machine).and_then(|app| org.force_destroy(&app, machine)))
    }

    /// A new app with machines, as the fleet at the beginning.
    pub fn add_app(&self, app: &FleetApp) {
        self.with(|org| org.furnish(app));
    }

    /// Destroys an app with all its machines.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn remove_app(&self, app: &str) -> Result<(), Refusal> {
        self.with(|org| org.destroy_app(app))
    }

    /// See [`Org::set_host`].
    ///
    /// # Errors
    /// When there is no such machine or no such status.
    pub fn set_host(&self, machine: &str, status: &str) -> Result<(), Refusal> {
        self.with(|org| org.set_host(machine, status))
    }

    /// See [`Org::clone_machine`].
    ///
    /// # Errors
    /// When there is no such machine, or no room for another.
    pub fn clone_machine(&self, machine: &str) -> Result<String, Refusal> {
        self.with(|org| org.clone_machine(machine))
    }

    /// The platform will accept the machine's next update and then give it up.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn revert_next_update(&self, machine: &str) -> Result<(), Refusal> {
        self.with(|org| {
            let app = org.app_of(machine)?;
            org.living(&app, machine)?.revert_next = true;
            Ok(())
        })
    }

    /// For so long, an app's machine list shows what it shows now.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn stale_list(&self, app: &str, time: Duration) -> Result<(), Refusal> {
        self.with(|org| {
            let until = later(org.now, time);
            let machines = org.of_app(app).cloned().collect();
            org.app_mut(app)?.stale = Some((until, machines));
            Ok(())
        })
    }

    /// Secrets that are set without a release, as `fly secrets set --stage` does; an empty value
    /// takes one away.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn set_secrets(&self, app: &str, values: &[(&str, &str)]) -> Result<(), Refusal> {
        let names: Vec<String> = values.iter().map(|(name, _)| (*name).to_owned()).collect();
        let given = names
            .iter()
            .zip(values)
            .map(|(name, (_, value))| (name, Some(*value).filter(|value| !value.is_empty())));
        self.with(|org| org.set_secrets(app, &given.collect::<Vec<_>>()))
    }

    /// Changes the requests a second of an app's users.
    ///
    /// # Errors
    /// When there is no such app.
    pub fn set_traffic(&self, app: &str, requests_per_s: f64) -> Result<(), Refusal> {
        self.with(|org| {
            org.serve_traffic();
            org.app_mut(app)?.traffic.requests_per_s = requests_per_s;
            Ok(())
        })
    }

    /// Regions that the change feed cannot read from now on.
    pub fn set_unread_regions(&self, regions: &[&str]) {
        let regions: BTreeSet<String> = regions.iter().map(|&region| region.to_owned()).collect();
        self.with(|org| org.unread_regions = regions);
    }

    /// Changes are seen in the change feed so much later.
    pub fn set_feed_delay(&self, delay: Duration) {
        self.with(|org| org.feed_delay = delay);
    }

    /// A region has room for so many further machines; `None`: for any number.
    pub fn set_capacity(&self, region: &str, room: Option<u32>) {
        self.with(|org| match room {
            Some(room) => {
                org.capacity.insert(region.to_owned(), room);
            }
            None => {
                org.capacity.remove(region);
            }
        });
    }

    /// Whether a machine's metrics page answers.
    pub fn set_page_readable(&self, machine: &str, readable: bool) {
        self.with(|org| {
            if readable {
                org.unreadable.remove(machine);
            } else {
                org.unreadable.insert(machine.to_owned());
            }
        });
    }

    /// See [`Org::running`].
    pub fn running(&self, app: &str) -> BTreeMap<String, String> {
        self.with(|org| org.running(app))
    }

    /// Ids of an app's machines that are not destroyed, in one region or in all.
    pub fn machine_ids(&self, app: &str, region: Option<&str>) -> Vec<String> {
        self.with(|org| {
            org.of_app(app)
                .filter(|machine| !machine.is_destroyed())
                .filter(|machine| region.is_none_or(|region| region == machine.region))
                .map(|machine| machine.id.clone())
                .collect()
        })
    }

    /// Every state that an app's machines came into, oldest first.
    pub fn history(&self, app: &str) -> Vec<Moment> {
        self.with(|org| {
            let machines = org.of_app(app);
            let mut all: Vec<Moment> =
                machines.flat_map(|machine| machine.history.iter().cloned()).collect();
            all.sort_by_key(|moment| moment.at);
            all
        })
    }

    /// A machine's state, destroyed ones included.
    pub fn state(&self, machine: &str) -> Option<State> {
        self.with(|org| org.machines.get(machine).map(|machine| machine.state))
    }

    /// A machine's whole configuration, as the text it was sent as.
    pub fn config(&self, machine: &str) -> Option<String> {
        self.with(|org| org.machines.get(machine).map(|machine| machine.version.raw.to_string()))
    }

    /// What an app's users got so far.
    pub fn totals(&self, app: &str) -> Totals {
        self.with(|org| org.apps.get(app).map(|app| app.totals).unwrap_or_default())
    }

    /// An app's releases, newest first.
    pub fn releases(&self, app: &str) -> Vec<Entry> {
        self.with(|org| org.releases(app).unwrap_or_default())
    }

    /// Whether somebody's deploy is still under way.
    pub fn is_shipping(&self) -> bool {
        self.with(|org| !org.ships.is_empty())
    }

    /// Scripts a fault of the ports.
    pub fn add_fault(&self, rule: FaultRule) {
        self.faults().add(rule);
    }

    /// Ends all faults of the ports.
    pub fn clear_faults(&self) {
        self.faults().clear();
    }

    /// Every call of the ports, oldest first.
    pub fn calls(&self) -> Vec<CallRecord> {
        self.faults().log().to_vec()
    }

    /// How many calls of the ports there were.
    pub fn call_count(&self) -> u64 {
        self.faults().count()
    }
}
