//! What can be asked of a machine: create, update, start, stop and the rest. Every call answers at
//! once; what takes time is played by `advance`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    image::digest_of,
    machine::{Death, Next, SimMachine, State, later, seconds},
    org::{Org, Placed},
    refusal::Refusal,
};

/// Destroyed machines kept.
const DESTROYED_MAX: usize = 1000;

/// A machine's new version, as asked for.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    pub config: Value,
    /// The configuration's exact text, where it is known.
    pub raw: Option<Arc<str>>,
    /// The instance the caller last read; the platform refuses if it moved on.
    pub current: Option<&'a str>,
    pub skip_launch: bool,
}

/// How far a machine is on its way.
#[derive(Clone, Debug)]
pub struct Progress {
    pub state: String,
    pub instance: String,
    /// No transition in progress.
    pub is_settled: bool,
    /// Id of the newest event.
    pub event: String,
}

impl Org {
    pub fn progress(&self, app: &str, id: &str) -> Result<Progress, Refusal> {
        let machine = self.machine(app, id)?;
        let event = machine.events.front().and_then(|event| event.get("id")?.as_str());
        Ok(Progress {
            state: machine.state.as_str().to_owned(),
            instance: machine.version.instance.clone(),
            is_settled: machine.state.is_settled(),
            event: event.unwrap_or_default().to_owned(),
        })
    }

    /// Creates a machine and tells its id.
    pub fn create(
        &mut self,
        app: &str,
        placed: Placed,
        skip_launch: bool,
    ) -> Result<String, Refusal> {
        self.app(app)?;
        if let Some(name) = &placed.name
            && let Some(other) =
                self.of_app(app).find(|other| other.name == *name && !other.is_destroyed())
        {
            let text = format!("unique machine name violation, machine ID {} has it", other.id);
            return Err(Refusal::Conflict(text));
        }
        if let Some(room) = self.capacity.get_mut(&placed.region) {
            if *room == 0 {
                let text = format!("could not reserve resource for machine in {}", placed.region);
                return Err(Refusal::NoCapacity(text));
            }
            *room -= 1;
        }
        let now = self.now;
        let mut machine = self.new_machine(app, placed, State::Created, now);
        if machine.version.digest.is_none() {
            let text = format!("failed to get manifest {}", machine.version.image());
            return Err(Refusal::Invalid(text));
        }
        let volumes = self.claimed(app, &machine.region, &machine.id, &machine.version.config)?;
        if let Some(zone) = self.zone_of(&volumes) {
            if self.host_status(&zone) != "ok" {
                let text = format!("could not reserve resource for machine on host {zone}");
                return Err(Refusal::NoCapacity(text));
            }
            machine.zone = zone;
        }
        self.tell_mounts(&mut machine.version, &volumes);
        self.claim(&machine.id, &volumes);
        let event = self.rng.ulid(now);
        machine.push_event(&event, ["launch", "created", "user"], now);
        if skip_launch {
            machine.next = Some((later(now, self.timing.replace), Next::Rest(State::Stopped)));
        } else {
            machine.enter(State::Starting, now);
            machine.next = Some((later(now, self.timing.boot), Next::Start));
        }
        let id = machine.id.clone();
        self.add(machine);
        Ok(id)
    }

    /// Replaces a machine's configuration and tells the new instance.
    pub fn update(
        &mut self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        update: Update<'_>,
    ) -> Result<String, Refusal> {
        self.living(app, id)?;
        self.guard(app, id, nonce)?;
        let now = self.now;
        let mut version = self.new_version(update.config, update.raw, now);
        let event = self.rng.ulid(now);
        let due = later(now, self.timing.replace);
        let events_survive = self.quirks.events_survive;
        reachable(self.machine(app, id)?)?;
        let volumes = self.kept(app, id, &version.config)?;
        self.tell_mounts(&mut version, &volumes);
        let machine = self.living(app, id)?;
        if update.current.is_some_and(|current| current != machine.version.instance) {
            let text = format!("current version is {}", machine.version.instance);
            return Err(Refusal::Precondition(text));
        }
        if machine.state == State::Replacing {
            let text = "machine is replacing: concurrent update in progress";
            return Err(Refusal::Conflict(text.to_owned()));
        }
        if machine.state == State::Destroying {
            return Err(Refusal::Precondition("machine is being destroyed".to_owned()));
        }
        let instance = version.instance.clone();
        let launched = machine.state.is_up() || machine.state.has_failed();
        let run = launched && !update.skip_launch;
        let old = std::mem::replace(&mut machine.version, version);
        machine.previous = Some((Box::new(old), machine.state));
        machine.remember_version();
        machine.end_process();
        machine.restarts.clear();
        machine.configured_at = now;
        if !events_survive {
            machine.events.clear();
        }
        machine.push_event(&event, ["update", "replacing", "user"], now);
        machine.enter(State::Replacing, now);
        machine.next = Some((due, Next::Place { run }));
        self.claim(id, &volumes);
        Ok(instance)
    }

    pub fn start(&mut self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Refusal> {
        self.living(app, id)?;
        self.guard(app, id, nonce)?;
        let (now, boot) = (self.now, self.timing.boot);
        let machine = self.living(app, id)?;
        reachable(machine)?;
        match machine.state {
            State::Started | State::Starting | State::Restarting => Ok(()),
            State::Created => {
                let text = "unable to start machine from current state: 'created'";
                Err(Refusal::Precondition(text.to_owned()))
            }
            State::Stopped | State::Suspended | State::Failed | State::LaunchFailed => {
                machine.restarts.clear();
                machine.enter(State::Starting, now);
                machine.next = Some((later(now, boot), Next::Start));
                Ok(())
            }
            State::Replacing => {
                Err(Refusal::Precondition("machine getting replaced, refusing to start".to_owned()))
            }
            State::Stopping | State::Suspending | State::Destroying | State::Destroyed => {
                Err(Refusal::Precondition("machine still active, refusing to start".to_owned()))
            }
        }
    }

    /// Stops or suspends a machine; one that rests already is left alone.
    pub fn rest(
        &mut self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        suspend: bool,
    ) -> Result<(), Refusal> {
        self.living(app, id)?;
        self.guard(app, id, nonce)?;
        self.force_rest(app, id, suspend)
    }

    /// The same without a lease, as the proxy's autostop does it.
    pub(in crate::sim) fn force_rest(
        &mut self,
        app: &str,
        id: &str,
        suspend: bool,
    ) -> Result<(), Refusal> {
        let drain = seconds(self.behaviour_of(self.machine(app, id)?).drain_s);
        let (now, stop) = (self.now, self.timing.stop + drain);
        let machine = self.living(app, id)?;
        reachable(machine)?;
        if machine.state == State::Replacing {
            let text = "machine is replacing: concurrent update in progress";
            return Err(Refusal::Conflict(text.to_owned()));
        }
        if !machine.state.is_up() {
            return Ok(());
        }
        let (through, to) = if suspend {
            (State::Suspending, State::Suspended)
        } else {
            (State::Stopping, State::Stopped)
        };
        machine.enter(through, now);
        machine.death = None;
        machine.next = Some((later(now, stop), Next::Rest(to)));
        Ok(())
    }

    pub fn restart(&mut self, app: &str, id: &str, nonce: Option<&str>) -> Result<(), Refusal> {
        self.living(app, id)?;
        self.guard(app, id, nonce)?;
        let (now, boot) = (self.now, self.timing.boot);
        let event = self.rng.ulid(now);
        let machine = self.living(app, id)?;
        reachable(machine)?;
        if !machine.state.is_settled() {
            let text = format!("machine is {}", machine.state.as_str());
            return Err(Refusal::Precondition(text));
        }
        if machine.process.is_some() {
            machine.push_exit(&event, Death { at: now, code: 0, oom: false }, true, false);
        }
        machine.end_process();
        machine.restarts.clear();
        machine.enter(State::Restarting, now);
        machine.next = Some((later(now, boot), Next::Start));
        Ok(())
    }

    pub fn cordon(
        &mut self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        on: bool,
    ) -> Result<(), Refusal> {
        self.living(app, id)?;
        self.guard(app, id, nonce)?;
        self.living(app, id)?.cordoned = on;
        Ok(())
    }

    pub fn destroy(
        &mut self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
        force: bool,
    ) -> Result<(), Refusal> {
        self.living(app, id)?;
        self.guard(app, id, nonce)?;
        let (now, takes) = (self.now, self.timing.destroy);
        let event = self.rng.ulid(now);
        let machine = self.living(app, id)?;
        if machine.state == State::Destroying {
            return Ok(());
        }
        if !force && machine.state.is_up() {
            let text = "unable to destroy machine, not currently in stopped state";
            return Err(Refusal::Precondition(text.to_owned()));
        }
        machine.end_process();
        if !takes.is_zero() {
            machine.enter(State::Destroying, now);
            machine.next = Some((later(now, takes), Next::Rest(State::Destroyed)));
            return Ok(());
        }
        machine.enter(State::Destroyed, now);
        machine.next = None;
        machine.lease = None;
        machine.push_event(&event, ["destroy", "destroyed", "user"], now);
        self.forget();
        Ok(())
    }

    /// Destroyed machines are shown for a while, not for ever.
    pub(in crate::sim) fn forget(&mut self) {
        let destroyed = self.machines.values().filter(|machine| machine.is_destroyed());
        if destroyed.clone().count() <= DESTROYED_MAX {
            return;
        }
        let oldest = destroyed.min_by_key(|machine| machine.updated_at);
        if let Some(id) = oldest.map(|machine| machine.id.clone()) {
            self.remove(&id);
        }
    }

    /// Sets metadata keys, or with `None` removes them. Makes no version and needs no lease.
    pub fn set_metadata(
        &mut self,
        app: &str,
        id: &str,
        pairs: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let machine = self.living(app, id)?;
        machine.configured_at = now;
        let version = &mut machine.version;
        let Some(config) = version.config.as_object_mut() else { return Ok(()) };
        let metadata = config.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            for (key, value) in pairs {
                match value {
                    Some(value) => metadata.insert(key.clone(), json!(value)),
                    None => metadata.remove(key),
                };
            }
        }
        version.raw = version.config.to_string().into();
        Ok(())
    }
}

impl Org {
    /// Sets secrets, or with `None` removes them. Values are never shown again, so only what tells
    /// them apart is kept.
    pub(in crate::sim) fn set_secrets(
        &mut self,
        app: &str,
        values: &[(&String, Option<&str>)],
    ) -> Result<(), Refusal> {
        let app = self.app_mut(app)?;
        app.secrets_version += 1;
        for (name, value) in values {
            match value {
                Some(value) => {
                    let digest = digest_of(value).chars().skip("sha256:".len()).take(16).collect();
                    app.secrets.insert((*name).clone(), digest);
                }
                None => {
                    app.secrets.remove(*name);
                }
            }
        }
        Ok(())
    }

    /// Destroys an app with all its machines, leased or not.
    pub(in crate::sim) fn destroy_app(&mut self, app: &str) -> Result<(), Refusal> {
        self.app(app)?;
        for machine in self.living_of(app) {
            self.force_destroy(app, &machine.id)?;
        }
        self.volumes.retain(|_, volume| volume.app != app);
        self.apps.remove(app);
        Ok(())
    }
}

fn reachable(machine: &SimMachine) -> Result<(), Refusal> {
    if machine.host == "ok" {
        return Ok(());
    }
    Err(Refusal::Unreachable(format!("the host of machine {} does not answer", machine.id)))
}
