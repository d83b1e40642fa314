//! The release endpoints, builds and logs: paths below `/api/v1`.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Value, json};

use super::{
    call::Call,
    reply::{Answer, Reply},
    route::Operation,
};
use crate::sim::{
    handle::Sim,
    model::ledger::{Entry, NewEntry, is_over},
};

/// A release as these endpoints show it.
fn release(entry: &Entry) -> Value {
    json!({
        "id": entry.id, "version": entry.version, "stable": entry.status == "complete",
        "in_progress": !is_over(&entry.status), "status": entry.status,
        "strategy": entry.strategy, "user": entry.author,
        "created_at": entry.created_at.to_string(), "image_ref": entry.image,
    })
}

/// Answers a request to these endpoints.
pub fn answer(sim: &Sim, call: &Call) -> Answer {
    let app = call.route.app.as_str();
    match call.route.action {
        Operation::Organization => organization(sim, app),
        Operation::BuildStart | Operation::BuildFinish => {
            Ok(Reply::ok(json!({"id": 1, "status": "created", "wallclock_time_ms": 0})))
        }
        Operation::ReleaseCreate => create(sim, call),
        Operation::ReleasePatch => patch(sim, call),
        Operation::ReleasesList => {
            let limit = usize::try_from(call.number("limit").unwrap_or(25)).unwrap_or(25);
            let all = sim.ask(|org| org.releases(app))?;
            let releases: Vec<Value> = all.iter().take(limit).map(release).collect();
            Ok(Reply::ok(json!({"releases": releases})))
        }
        Operation::ReleaseCurrent => {
            let all = sim.ask(|org| org.releases(app))?;
            all.first()
                .map(|entry| Reply::ok(release(entry)))
                .ok_or_else(|| Reply::not_found("release"))
        }
        Operation::ReleasesAllCurrent => {
            let mut times = serde_json::Map::new();
            for app in sim.with(|org| org.app_names()) {
                if let Some(entry) = sim.ask(|org| org.releases(&app))?.first() {
                    times.insert(app, Value::from(entry.created_at.to_string()));
                }
            }
            Ok(Reply::ok(Value::Object(times)))
        }
        Operation::Logs => logs(sim, call),
        _ => Err(Reply::not_found("path")),
    }
}

fn organization(sim: &Sim, slug: &str) -> Answer {
    sim.ask(|org| org.check_slug(slug))?;
    let slug = sim.with(|org| org.slug.clone());
    Ok(Reply::ok(json!({"organization": {
        "id": "org_sim", "internal_numeric_id": 1, "slug": slug, "raw_slug": slug,
        "paid_plan": true, "personal": false, "billing_status": "CURRENT", "name": slug,
        "billable": true, "remote_builder_image": "",
    }})))
}

fn create(sim: &Sim, call: &Call) -> Answer {
    let body = &call.body;
    let (Some(app), Some(image)) = (body["app_name"].as_str(), body["image"].as_str()) else {
        return Err(Reply::error(422, "app_name and image are required"));
    };
    let strategy = body["strategy"].as_str().unwrap_or("ROLLING");
    let entry = sim.ask(|org| {
        org.create_release(
            app,
            NewEntry { image, strategy, definition: &body["definition"], author: &call.owner },
        )
    })?;
    Ok(Reply::with(201, json!({"release": release(&entry)})))
}

fn patch(sim: &Sim, call: &Call) -> Answer {
    let id = call.route.key.as_str();
    let entry = sim.ask(|org| org.release(id))?;
    if is_over(&entry.status) {
        return Err(Reply::error(422, "release has already finished"));
    }
    let Some(status) = call.body["status"].as_str() else {
        return Err(Reply::error(422, "status is required"));
    };
    sim.ask(|org| org.set_release_status(id, status))?;
    Ok(Reply::ok(release(&sim.ask(|org| org.release(id))?)))
}

/// Never without a line: a client that only wants what is there asks until it gets one.
fn logs(sim: &Sim, call: &Call) -> Answer {
    let app = &call.route.app;
    sim.ask(|org| org.show_app(app))?;
    let instance = call.parameter("instance").unwrap_or_default();
    let region = call.parameter("region").unwrap_or_default();
    let lines = if instance.is_empty() {
        vec!["simulated platform".to_owned()]
    } else {
        sim.ask(|org| org.log_lines(app, instance))?
    };
    let now = sim.platform_now().to_string();
    let data: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(number, message)| {
            json!({"id": number.to_string(), "type": "log", "attributes": {
                "timestamp": now, "message": message, "level": "info",
                "instance": instance, "region": region,
                "meta": {"instance": instance, "region": region,
                         "event": {"provider": "app"}, "http": {}, "error": {}, "url": {}},
            }})
        })
        .collect();
    Ok(Reply::ok(json!({"data": data, "meta": {"next_token": ""}})))
}
