//! Volumes, and the hosts they lie on. A volume is bound to a region and to a host, and so is the
//! machine that mounts it: it starts there or not at all.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{machine::Version, org::Org, refusal::Refusal};

/// Volumes at most.
const VOLUMES_MAX: usize = 10_000;
/// Gigabytes of one at most.
pub(in crate::sim) const SIZE_MAX_GB: u32 = 500;
/// Letters of a name at most.
const NAME_MAX: usize = 30;

/// A volume, by its id.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Volume {
    pub(in crate::sim) id: String,
    pub(in crate::sim) app: String,
    pub(in crate::sim) name: String,
    pub(in crate::sim) region: String,
    /// The host it lies on.
    pub(in crate::sim) zone: String,
    pub(in crate::sim) size_gb: u32,
    pub(in crate::sim) created_at: Timestamp,
    /// The machine that mounts it.
    pub(in crate::sim) machine: Option<String>,
    pub(in crate::sim) snapshot_retention: u64,
    pub(in crate::sim) auto_backup: bool,
}

impl Org {
    /// Makes a volume on a host of its own, and tells its id.
    ///
    /// # Errors
    /// When there is no such app, or the name or the size is none.
    pub fn add_volume(
        &mut self,
        app: &str,
        name: &str,
        region: &str,
        size_gb: u32,
    ) -> Result<String, Refusal> {
        self.app(app)?;
        let fits = (1..=NAME_MAX).contains(&name.len())
            && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        if !fits {
            let text = format!(
                "volume name {name:?}: lowercase letters, digits and underscores, {NAME_MAX} at most"
            );
            return Err(Refusal::Invalid(text));
        }
        if !(1..=SIZE_MAX_GB).contains(&size_gb) {
            return Err(Refusal::Invalid(format!("size_gb must be from 1 to {SIZE_MAX_GB}")));
        }
        if self.volumes.len() >= VOLUMES_MAX {
            return Err(Refusal::NoCapacity("too many volumes".to_owned()));
        }
        self.volumes_made += 1;
        let id = format!("vol_{:016x}", self.volumes_made);
        let volume = Volume {
            id: id.clone(),
            app: app.to_owned(),
            name: name.to_owned(),
            region: region.to_owned(),
            zone: format!("v{:03x}", self.volumes_made),
            size_gb,
            created_at: self.now,
            machine: None,
            snapshot_retention: 5,
            auto_backup: true,
        };
        self.volumes.insert(id.clone(), volume);
        Ok(id)
    }

    pub(in crate::sim) fn volume(&self, app: &str, id: &str) -> Result<&Volume, Refusal> {
        self.app(app)?;
        let volume = self.volumes.get(id).filter(|volume| volume.app == app);
        volume.ok_or_else(|| Refusal::no("volume", id))
    }

    pub(in crate::sim) fn volume_mut(
        &mut self,
        app: &str,
        id: &str,
    ) -> Result<&mut Volume, Refusal> {
        self.volume(app, id)?;
        self.volumes.get_mut(id).ok_or_else(|| Refusal::no("volume", id))
    }

    /// An app's volumes, oldest first.
    pub(in crate::sim) fn volumes_of<'a>(
        &'a self,
        app: &'a str,
    ) -> impl Iterator<Item = &'a Volume> {
        self.volumes.values().filter(move |volume| volume.app == app)
    }

    /// Removes a volume that no machine mounts.
    pub(in crate::sim) fn destroy_volume(
        &mut self,
        app: &str,
        id: &str,
    ) -> Result<Volume, Refusal> {
        if let Some(machine) = self.holder(self.volume(app, id)?) {
            let text = format!("volume {id} is currently bound to machine: {machine}");
            return Err(Refusal::Precondition(text));
        }
        self.volumes.remove(id).ok_or_else(|| Refusal::no("volume", id))
    }

    /// Whether the host answers: `ok`, `unknown` or `unreachable`.
    pub(in crate::sim) fn host_status(&self, zone: &str) -> &str {
        self.hosts.get(zone).map_or("ok", |(status, _)| status)
    }

    /// The volumes that a configuration mounts; each is named by its id, or by its name.
    ///
    /// # Errors
    /// When one is not there, lies elsewhere, or belongs to another machine.
    pub(super) fn claimed(
        &self,
        app: &str,
        region: &str,
        machine: &str,
        config: &Value,
    ) -> Result<Vec<String>, Refusal> {
        let mut claimed = Vec::new();
        for mount in mounts(config) {
            let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
            let (id, name) = (text("volume"), text("name"));
            let mut there = self.volumes_of(app).filter(|volume| volume.region == region);
            let found = if id.is_empty() {
                there.find(|volume| {
                    volume.name == name
                        && !claimed.contains(&volume.id)
                        && self.holder(volume).is_none_or(|other| other == machine)
                })
            } else {
                self.volumes_of(app).find(|volume| volume.id == id)
            };
            let Some(volume) = found else {
                return Err(Refusal::Invalid("volume does not exist".to_owned()));
            };
            if volume.region != region {
                let text = format!("volume {} is in {}, not in {region}", volume.id, volume.region);
                return Err(Refusal::Invalid(text));
            }
            if let Some(other) = self.holder(volume).filter(|other| *other != machine) {
                let text = format!("volume {} is already claimed by machine {other}", volume.id);
                return Err(Refusal::Precondition(text));
            }
            claimed.push(volume.id.clone());
        }
        Ok(claimed)
    }

    /// The volumes of a machine that is updated: an update may mount one elsewhere and leave one
    /// out; it brings no other.
    pub(super) fn kept(&self, app: &str, id: &str, config: &Value) -> Result<Vec<String>, Refusal> {
        let machine = self.machine(app, id)?;
        let wanted = self.claimed(app, &machine.region, id, config)?;
        let is_mine =
            |volume: &Volume| wanted.contains(&volume.id) && self.holder(volume) == Some(id);
        if self.volumes_of(app).filter(|volume| is_mine(volume)).count() == wanted.len() {
            return Ok(wanted);
        }
        Err(Refusal::Invalid("volume does not exist".to_owned()))
    }

    /// The machine that mounts a volume.
    pub(in crate::sim) fn holder<'a>(&self, volume: &'a Volume) -> Option<&'a str> {
        let id = volume.machine.as_deref()?;
        self.machines.get(id).is_some_and(|machine| !machine.is_destroyed()).then_some(id)
    }

    /// From now on these volumes are a machine's, and no others.
    pub(in crate::sim) fn claim(&mut self, machine: &str, volumes: &[String]) {
        for volume in self.volumes.values_mut() {
            let wanted = volumes.contains(&volume.id);
            if wanted {
                volume.machine = Some(machine.to_owned());
            } else if volume.machine.as_deref() == Some(machine) {
                volume.machine = None;
            }
        }
    }

    /// Says in a version's configuration what its mounts are, where whoever sent it did not.
    pub(super) fn tell_mounts(&self, version: &mut Version, volumes: &[String]) {
        let Some(Value::Array(mounts)) = version.config.get_mut("mounts") else { return };
        let mut has_told = false;
        for (mount, id) in mounts.iter_mut().zip(volumes) {
            let (Some(mount), Some(volume)) = (mount.as_object_mut(), self.volumes.get(id)) else {
                continue;
            };
            let known = [
                ("volume", json!(id)),
                ("name", json!(volume.name)),
                ("size_gb", json!(volume.size_gb)),
                ("encrypted", json!(true)),
            ];
            for (key, value) in known {
                let is_said = mount.get(key).is_some_and(|said| !said.is_null() && said != "");
                if !is_said {
                    mount.insert(key.to_owned(), value);
                    has_told = true;
                }
            }
        }
        if has_told {
            version.raw = version.config.to_string().into();
        }
    }

    /// The volume that a machine with this configuration has to be beside.
    pub(super) fn zone_of(&self, volumes: &[String]) -> Option<String> {
        volumes.iter().find_map(|id| self.volumes.get(id)).map(|volume| volume.zone.clone())
    }

    /// New volumes in the place of those that a configuration mounts: for a copy of its machine.
    pub(in crate::sim) fn with_new_volumes(
        &mut self,
        app: &str,
        region: &str,
        mut config: Value,
    ) -> Result<Value, Refusal> {
        let Some(Value::Array(all)) = config.get_mut("mounts") else { return Ok(config) };
        for mount in all {
            let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
            let old = self.volumes.get(text("volume"));
            let (name, size_gb) =
                old.map_or((text("name").to_owned(), 1), |old| (old.name.clone(), old.size_gb));
            let id = self.add_volume(app, &name, region, size_gb)?;
            if let Some(mount) = mount.as_object_mut() {
                mount.insert("volume".to_owned(), json!(id));
            }
        }
        Ok(config)
    }

    /// What the host under a machine says: `ok`, `unknown` or `unreachable`. Whoever else is there
    /// shares its fate.
    ///
    /// # Errors
    /// When there is no such machine or no such status.
    pub fn set_host(&mut self, id: &str, status: &str) -> Result<(), Refusal> {
        if !["ok", "unknown", "unreachable"].contains(&status) {
            return Err(Refusal::Invalid(format!("no host status {status}")));
        }
        let app = self.app_of(id)?;
        let zone = self.living(&app, id)?.zone.clone();
        for machine in self.machines.values_mut().filter(|machine| machine.zone == zone) {
            status.clone_into(&mut machine.host);
        }
        if status == "ok" {
            self.hosts.remove(&zone);
        } else {
            let since = self.hosts.get(&zone).filter(|(before, _)| before == status);
            let since = since.map_or(self.now, |(_, since)| *since);
            self.hosts.insert(zone, (status.to_owned(), since));
        }
        Ok(())
    }
}

fn mounts(config: &Value) -> impl Iterator<Item = &Value> {
    config.get("mounts").and_then(Value::as_array).into_iter().flatten()
}
