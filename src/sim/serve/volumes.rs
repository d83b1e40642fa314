//! Volumes as the Machines API shows and changes them.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Value, json};

use super::{
    call::Call,
    machine_json::rfc3339,
    reply::{Answer, Reply, set_field},
    route::Operation,
};
use crate::sim::{
    handle::Sim,
    model::{
        org::Org,
        refusal::Refusal,
        volumes::{SIZE_MAX_GB, Volume},
    },
};

/// Gigabytes of a volume when nobody says how many.
const SIZE_GB: u64 = 1;

/// Answers a request about volumes.
pub(super) fn answer(sim: &Sim, call: &Call) -> Answer {
    let (app, id) = (call.route.app.as_str(), call.route.key.as_str());
    match call.route.action {
        Operation::Volumes => Ok(Reply::ok(Value::Array(sim.ask(|org| org.show_volumes(app))?))),
        Operation::VolumeCreate => create(sim, call),
        Operation::VolumeUpdate => sim
            .ask(|org| {
                let volume = org.volume_mut(app, id)?;
                if let Some(days) = call.body["snapshot_retention"].as_u64() {
                    volume.snapshot_retention = days;
                }
                if let Some(on) = call.body["auto_backup_enabled"].as_bool() {
                    volume.auto_backup = on;
                }
                org.show_volume(app, id)
            })
            .map(Reply::ok),
        Operation::VolumeExtend => extend(sim, call),
        Operation::VolumeDestroy => sim
            .ask(|org| {
                let volume = org.destroy_volume(app, id)?;
                let mut shown = org.volume_json(&volume);
                set_field(&mut shown, "state", "pending_destroy");
                Ok(shown)
            })
            .map(Reply::ok),
        Operation::VolumeSnapshots => sim.ask(|org| org.volume(app, id).map(|_| ())).map(|()| {
            // There are none, and whoever asks for one is refused.
            Reply::ok(json!([]))
        }),
        Operation::OrgVolumes => {
            sim.ask(|org| org.check_slug(app))?;
            let names = sim.with(|org| org.app_names());
            let mut volumes = Vec::new();
            for name in names {
                for mut volume in sim.ask(|org| org.show_volumes(&name))? {
                    set_field(&mut volume, "app_name", name.as_str());
                    volumes.push(volume);
                }
            }
            Ok(Reply::ok(json!({"volumes": volumes})))
        }
        _ => sim.ask(|org| org.show_volume(app, id)).map(Reply::ok),
    }
}

fn create(sim: &Sim, call: &Call) -> Answer {
    let body = &call.body;
    let app = call.route.app.as_str();
    for key in ["snapshot_id", "source_volume_id"] {
        if body[key].as_str().is_some_and(|id| !id.is_empty()) {
            return Err(Reply::not_simulated(&format!("volumes from a {key}")));
        }
    }
    let size_gb = body["size_gb"].as_u64().unwrap_or(SIZE_GB);
    let size_gb = u32::try_from(size_gb).unwrap_or(SIZE_MAX_GB + 1);
    let region = body["region"].as_str().filter(|region| !region.is_empty());
    let shown = sim.ask(|org| {
        let region = region.map_or_else(|| org.nearest_region(), str::to_owned);
        let id =
            org.add_volume(app, body["name"].as_str().unwrap_or_default(), &region, size_gb)?;
        org.show_volume(app, &id)
    })?;
    Ok(Reply::ok(shown))
}

fn extend(sim: &Sim, call: &Call) -> Answer {
    let (app, id) = (call.route.app.as_str(), call.route.key.as_str());
    let size_gb = call.body["size_gb"].as_u64().and_then(|size| u32::try_from(size).ok());
    let size_gb = size_gb.filter(|size| *size <= SIZE_MAX_GB).unwrap_or(0);
    sim.ask(|org| {
        let volume = org.volume_mut(app, id)?;
        if size_gb < volume.size_gb {
            let text = format!("size_gb must be from {} to {SIZE_MAX_GB}", volume.size_gb);
            return Err(Refusal::Invalid(text));
        }
        volume.size_gb = size_gb;
        // A file system does not grow under a machine that runs.
        let holder = org.volume(app, id)?.machine.clone();
        let runs = holder.and_then(|id| org.clone_of(&id)).is_some_and(|one| one.is_started());
        Ok(json!({"volume": org.show_volume(app, id)?, "needs_restart": runs}))
    })
    .map(Reply::ok)
}

impl Org {
    fn show_volumes(&self, app: &str) -> Result<Vec<Value>, Refusal> {
        self.app(app)?;
        Ok(self.volumes_of(app).map(|volume| self.volume_json(volume)).collect())
    }

    pub(super) fn show_volume(&self, app: &str, id: &str) -> Result<Value, Refusal> {
        Ok(self.volume_json(self.volume(app, id)?))
    }

    fn volume_json(&self, volume: &Volume) -> Value {
        let blocks = u64::from(volume.size_gb) * (1 << 18);
        let mut shown = json!({
            "id": volume.id, "name": volume.name, "state": "created", "size_gb": volume.size_gb,
            "region": volume.region, "zone": volume.zone, "encrypted": true, "fstype": "ext4",
            "created_at": rfc3339(volume.created_at), "type": "local",
            "snapshot_retention": volume.snapshot_retention,
            "auto_backup_enabled": volume.auto_backup,
            "host_status": self.host_status(&volume.zone),
            "block_size": 4096, "blocks": blocks, "blocks_free": blocks, "blocks_avail": blocks,
            "bytes_total": blocks * 4096, "bytes_used": 0,
        });
        // Whoever reads it takes an empty id for one.
        if let Some(machine) = self.holder(volume) {
            set_field(&mut shown, "attached_machine_id", machine);
        }
        shown
    }
}
