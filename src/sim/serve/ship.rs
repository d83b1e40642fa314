//! A deploy by somebody else: what a CI job does, from the inside.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    desk::{Desk, Entry, Update},
    reply::{Reply, put},
};

/// Lease of the deploying job, as `fly deploy` takes it.
const TTL: Duration = Duration::from_secs(13);

/// How long one machine may take to settle.
const PATIENCE: Duration = Duration::from_secs(60);

const OWNER: &str = "ci@sim.test";

/// Writes the release and starts updating machines, one after the other; answers at once.
pub fn begin(
    desk: &Arc<dyn Desk>,
    app: &str,
    image: &str,
    regions: Option<&[&str]>,
) -> Result<Entry, Reply> {
    let definition = desk.releases(app)?.first().map_or(Value::Null, |old| old.definition.clone());
    let entry = desk.create_release(app, image, "ROLLING", &definition, OWNER)?;
    let machines: Vec<String> = desk
        .machines(app, false)?
        .iter()
        .filter(|machine| machine["state"] != "destroyed")
        .filter(|machine| {
            regions.is_none_or(|regions| {
                machine["region"].as_str().is_some_and(|region| regions.contains(&region))
            })
        })
        .filter_map(|machine| machine["id"].as_str().map(str::to_owned))
        .collect();
    let (desk, release) = (Arc::clone(desk), entry.clone());
    tokio::spawn(async move {
        let status = match roll(&*desk, &release, &machines).await {
            Ok(()) => "complete",
            Err(refusal) => {
                tracing::warn!(release = release.version, body = %refusal.body, "a shipped release failed");
                "failed"
            }
        };
        if let Err(refusal) = desk.set_release_status(&release.id, status) {
            tracing::warn!(body = %refusal.body, "a shipped release could not be finished");
        }
    });
    Ok(entry)
}

async fn roll(desk: &dyn Desk, release: &Entry, machines: &[String]) -> Result<(), Reply> {
    desk.set_release_status(&release.id, "running")?;
    let app = release.app.as_str();
    for id in machines {
        let lease = desk.take_lease(app, id, None, TTL, OWNER, "")?;
        let nonce = lease["nonce"].as_str().unwrap_or_default();
        let result = one(desk, release, id, nonce).await;
        desk.release_lease(app, id, nonce)?;
        result?;
    }
    Ok(())
}

async fn one(desk: &dyn Desk, release: &Entry, id: &str, nonce: &str) -> Result<(), Reply> {
    let app = release.app.as_str();
    let machine = desk.machine(app, id, false)?;
    let mut config = machine["config"].clone();
    if !config.is_object() {
        return Err(Reply::error(412, "failed_precondition: the machine's host does not answer"));
    }
    put(&mut config, "image", release.image.as_str());
    if let Some(metadata) = config.get_mut("metadata") {
        put(metadata, "fly_release_id", release.id.as_str());
        put(metadata, "fly_release_version", release.version.to_string());
    }
    let skip_launch = machine["state"] != "started";
    desk.update(app, id, Some(nonce), &Update { config, current: None, skip_launch })?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !desk.progress(app, id)?.is_settled {
        if tokio::time::Instant::now() >= deadline {
            return Err(Reply::error(408, "deadline_exceeded: the machine did not settle"));
        }
        desk.take_lease(app, id, Some(nonce), TTL, OWNER, "")?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
