//! The release endpoints, builds and logs: paths below `/api/v1`.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use serde_json::{Value, json};

use super::{
    call::Call,
    desk::{Desk, Entry},
    reply::{Answer, Reply},
    route::Action,
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

fn is_over(status: &str) -> bool {
    matches!(status, "complete" | "failed" | "interrupted" | "succeeded" | "dead")
}

/// Answers a request to these endpoints.
pub fn answer(desk: &dyn Desk, call: &Call) -> Answer {
    let app = call.route.app.as_str();
    match call.route.action {
        Action::Organization => organization(desk, app),
        Action::BuildStart | Action::BuildFinish => {
            Ok(Reply::ok(json!({"id": 1, "status": "created", "wallclock_time_ms": 0})))
        }
        Action::ReleaseCreate => create(desk, call),
        Action::ReleasePatch => patch(desk, call),
        Action::ReleasesList => {
            let limit = usize::try_from(call.number("limit").unwrap_or(25)).unwrap_or(25);
            let all = desk.releases(app)?;
            let releases: Vec<Value> = all.iter().take(limit).map(release).collect();
            Ok(Reply::ok(json!({"releases": releases})))
        }
        Action::ReleaseCurrent => {
            let all = desk.releases(app)?;
            all.first()
                .map(|entry| Reply::ok(release(entry)))
                .ok_or_else(|| Reply::not_found("release"))
        }
        Action::ReleasesAllCurrent => {
            let mut times = serde_json::Map::new();
            for app in desk.app_names() {
                if let Some(entry) = desk.releases(&app)?.first() {
                    times.insert(app, Value::from(entry.created_at.to_string()));
                }
            }
            Ok(Reply::ok(Value::Object(times)))
        }
        Action::Logs => logs(desk, call),
        _ => Err(Reply::not_found("path")),
    }
}

fn organization(desk: &dyn Desk, slug: &str) -> Answer {
    desk.check_organization(slug)?;
    let slug = desk.organization();
    Ok(Reply::ok(json!({"organization": {
        "id": "org_sim", "internal_numeric_id": 1, "slug": slug, "raw_slug": slug,
        "paid_plan": true, "personal": false, "billing_status": "CURRENT", "name": slug,
        "billable": true, "remote_builder_image": "",
    }})))
}

fn create(desk: &dyn Desk, call: &Call) -> Answer {
    let body = &call.body;
    let (Some(app), Some(image)) = (body["app_name"].as_str(), body["image"].as_str()) else {
        return Err(Reply::error(422, "app_name and image are required"));
    };
    let strategy = body["strategy"].as_str().unwrap_or("ROLLING");
    let entry = desk.create_release(app, image, strategy, &body["definition"], &call.owner)?;
    Ok(Reply::with(201, json!({"release": release(&entry)})))
}

fn patch(desk: &dyn Desk, call: &Call) -> Answer {
    let id = call.route.key.as_str();
    let entry = desk.release(id)?;
    if is_over(&entry.status) {
        return Err(Reply::error(422, "release has already finished"));
    }
    let Some(status) = call.body["status"].as_str() else {
        return Err(Reply::error(422, "status is required"));
    };
    desk.set_release_status(id, status)?;
    Ok(Reply::ok(release(&desk.release(id)?)))
}

/// Never without a line: a client that only wants what is there asks until it gets one.
fn logs(desk: &dyn Desk, call: &Call) -> Answer {
    let app = &call.route.app;
    desk.app(app)?;
    let instance = call.parameter("instance").unwrap_or_default();
    let region = call.parameter("region").unwrap_or_default();
    let lines = if instance.is_empty() {
        vec!["simulated platform".to_owned()]
    } else {
        desk.log_lines(app, instance)?
    };
    let now = desk.now().to_string();
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
