//! The control API: what the world does to the platform. Described in `docs/simulation.md`.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use std::time::Duration;

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Shared,
    call::Call,
    faults::Rule,
    limits::Limits,
    lock,
    organization_json::lease_json,
    reply::{Answer, Reply},
};
use crate::sim::{
    fleet::script::{Lists, STEPS_MAX, Step},
    handle::Sim,
    model::{
        behaviour::Behaviour, deploy::ShipOptions, lease::Ask, machine::seconds, org::Org,
        page::PageKind, quirks::Quirks, rights::Denial,
    },
};

/// The platform's clock is off by a day at most.
const SKEW_MAX_S: f64 = 86_400.0;

/// Answers a control request.
pub fn answer(shared: &Shared, call: &Call) -> Answer {
    let path: Vec<&str> = call.route.key.split('/').filter(|part| !part.is_empty()).collect();
    let sim = &shared.sim;
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["state"]) => Ok(Reply::ok(sim.with(|org| org.show_summary()))),
        ("GET", ["totals"]) => Ok(Reply::ok(sim.with(|org| org.show_totals()))),
        ("GET", ["proxy", "metrics"]) => Ok(Reply::page(sim.with(|org| org.proxy_page()))),
        ("POST", ["proxy", "restart"]) => {
            sim.with(Org::restart_proxies);
            done()
        }
        ("GET", ["calls"]) => {
            let log = lock(&shared.faults).log(call.number("after").unwrap_or(0));
            Ok(Reply::ok(json!({"calls": log})))
        }
        ("POST", ["faults"]) => {
            let rule: Rule = serde_json::from_value(call.body.clone())
                .map_err(|error| Reply::error(400, &error.to_string()))?;
            if !lock(&shared.faults).add(rule) {
                return Err(Reply::error(400, "too many faults are pending"));
            }
            done()
        }
        ("DELETE", ["faults"]) => {
            lock(&shared.faults).clear();
            done()
        }
        ("PUT", ["limits"]) => {
            let on = call.body["on"]
                .as_bool()
                .ok_or_else(|| Reply::error(400, "\"on\" is true or false"))?;
            *lock(&shared.limits) = on.then(Limits::default);
            done()
        }
        ("PUT", ["machines", id, "page"]) => {
            sim.ask(|org| org.app_of(id))?;
            let kind: PageKind = serde_json::from_value(call.body["kind"].clone())
                .map_err(|error| Reply::error(400, &format!("\"kind\": {error}")))?;
            sim.with(|org| org.set_page_kind(id, kind));
            done()
        }
        ("POST", ["machines", id, verb]) => machine(shared, id, verb, &call.body),
        _ => organization(sim, call, &path),
    }
}

/// What happens to the organization.
fn organization(sim: &Sim, call: &Call, path: &[&str]) -> Answer {
    match (call.method.as_str(), path) {
        ("POST", ["ship"]) => ship(sim, call),
        ("POST", ["secrets"]) => {
            let entry = sim.ship_secrets(text(&call.body, "app")?, options(&call.body)?)?;
            Ok(Reply::with(201, json!({"release": entry.id, "version": entry.version})))
        }
        ("POST", ["scale"]) => {
            let by = call.body["by"].as_u64().and_then(|by| u32::try_from(by).ok()).unwrap_or(1);
            let (app, region) = (text(&call.body, "app")?, text(&call.body, "region")?);
            Ok(Reply::ok(json!({"ids": sim.scale(app, region, by.min(100))?})))
        }
        ("DELETE", ["ships"]) => {
            sim.kill_ships(text(&call.body, "app")?);
            done()
        }
        ("GET", ["gates", app]) => Ok(Reply::ok(json!({"gates": sim.gates(app)}))),
        ("PUT", ["images"]) => {
            set_image(sim, &call.body)?;
            done()
        }
        ("DELETE", ["images"]) => {
            sim.remove_image(text(&call.body, "image")?)?;
            done()
        }
        ("PUT", ["clock"]) => {
            let skew_s = call.body["skew_s"].as_f64().filter(|skew_s| skew_s.abs() <= SKEW_MAX_S);
            let skew_s = skew_s.ok_or_else(|| Reply::error(400, "\"skew_s\" is within a day"))?;
            let skew = SignedDuration::try_from_secs_f64(skew_s).unwrap_or_default();
            sim.set_skew(skew);
            done()
        }
        ("PUT", ["quirks"]) => {
            let quirks: Quirks = parse(&call.body)?;
            sim.set_quirks(quirks);
            done()
        }
        ("POST", ["denied"]) => {
            let denial: Denial = parse(&call.body)?;
            if let Some(problem) = denial.problem() {
                return Err(Reply::error(400, &problem));
            }
            let time = denial.for_s.map(seconds);
            sim.deny(denial.whose().as_deref(), denial.right, denial.status, time);
            done()
        }
        ("DELETE", ["denied"]) => {
            sim.allow_all();
            done()
        }
        ("POST", ["script"]) => {
            let steps: Vec<Step> = parse(&call.body)?;
            if let Some(problem) = steps.iter().find_map(Step::problem) {
                return Err(Reply::error(400, &problem));
            }
            let fits = |org: &Org| org.planned() + steps.len() <= STEPS_MAX;
            if !sim.with(|org| fits(org)) {
                return Err(Reply::error(400, "too many steps are pending"));
            }
            steps.into_iter().for_each(|step| sim.plan(step));
            done()
        }
        ("PUT", ["lists"]) => {
            let lists: Lists = parse(&call.body)?;
            sim.with(|org| org.change_lists(&lists));
            done()
        }
        _ => Err(Reply::error(404, "the control API has no such path")),
    }
}

/// A whole body; what is wrong with it is told.
fn parse<T: DeserializeOwned>(body: &Value) -> Result<T, Reply> {
    serde_json::from_value(body.clone()).map_err(|error| Reply::error(400, &error.to_string()))
}

fn done() -> Answer {
    Ok(Reply::ok(json!({"ok": true})))
}

fn text<'a>(body: &'a Value, field: &str) -> Result<&'a str, Reply> {
    body[field].as_str().ok_or_else(|| Reply::error(400, &format!("\"{field}\" is required")))
}

fn machine(shared: &Shared, id: &str, verb: &str, body: &Value) -> Answer {
    let sim = &shared.sim;
    let app = sim.ask(|org| org.app_of(id))?;
    match verb {
        "lease" => {
            let owner = body["owner"].as_str().unwrap_or("somebody@else.test");
            let seconds = body["seconds"].as_u64().unwrap_or(13).clamp(1, 86_400);
            let ttl = Duration::from_secs(seconds);
            Ok(Reply::ok(lease_json(&sim.ask(|org| {
                org.take_lease(&app, id, Ask { nonce: None, ttl, owner, description: "" })
            })?)))
        }
        "stop" => sim.ask(|org| org.force_rest(&app, id, false)).and_then(|()| done()),
        "kill" => sim.ask(|org| org.kill(id)).and_then(|()| done()),
        "image" => {
            sim.put_image(id, text(body, "image")?)?;
            done()
        }
        "suspend" => {
            sim.suspend(id)?;
            done()
        }
        "start" => {
            sim.start(id)?;
            done()
        }
        "destroy" => {
            sim.destroy(id)?;
            done()
        }
        "clone" => Ok(Reply::ok(json!({"id": sim.ask(|org| org.clone_machine(id))?}))),
        "host" => {
            let status = text(body, "status")?;
            sim.ask(|org| org.set_host(id, status)).and_then(|()| done())
        }
        _ => Err(Reply::error(404, "a machine has no such control")),
    }
}

/// Adds an image, or changes how one behaves.
fn set_image(sim: &Sim, body: &Value) -> Result<(), Reply> {
    let image = text(body, "image")?;
    let behaviour = body.get("behaviour").cloned().unwrap_or_else(|| json!({}));
    let behaviour: Behaviour = parse(&behaviour)?;
    if let Some(problem) = behaviour.problem() {
        return Err(Reply::error(400, &problem));
    }
    sim.ask(|org| org.change_image(image, None, behaviour))
}

/// What a body says of a deploy besides app and image.
fn options(body: &Value) -> Result<ShipOptions, Reply> {
    let mut options = body.clone();
    if let Some(fields) = options.as_object_mut() {
        fields.remove("app");
        fields.remove("image");
    }
    parse(&options)
}

/// Ships a release the way a CI job does: entry in the ledger, then one machine after the other.
fn ship(sim: &Sim, call: &Call) -> Answer {
    let (app, image) = (text(&call.body, "app")?, text(&call.body, "image")?);
    let entry = sim.ship(app, image, options(&call.body)?)?;
    Ok(Reply::with(201, json!({"release": entry.id, "version": entry.version})))
}
