//! The Machines API door: paths below `/v1`.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    apps,
    call::Call,
    organization_json::lease_json,
    reply::{Answer, Reply},
    route::Operation,
};
use crate::sim::{
    handle::Sim,
    model::{change::Update, lease::Ask},
};

/// Answers a Machines API request.
pub async fn answer(sim: &Sim, call: &Call) -> Answer {
    let app = call.route.app.as_str();
    let id = call.route.machine.as_str();
    let nonce = call.nonce.as_deref();
    match call.route.action {
        Operation::AppsList => apps::list(sim, call),
        Operation::AppGet => Ok(Reply::ok(sim.ask(|org| org.show_app(app))?)),
        Operation::AppCreate => apps::create(sim, call),
        Operation::AppDestroy => {
            sim.ask(|org| org.destroy_app(app))?;
            Ok(Reply::with(202, Value::Null))
        }
        Operation::MachinesList => machines(sim, call),
        Operation::OrgMachines => feed(sim, call),
        Operation::MachineCreate => create(sim, call),
        Operation::MachineGet => {
            Ok(Reply::ok(sim.ask(|org| org.show_machine(app, id, call.flag("include_leases")))?))
        }
        Operation::MachineUpdate => update(sim, call),
        Operation::MachineDestroy => {
            sim.ask(|org| org.destroy(app, id, nonce, call.flag("kill") || call.flag("force")))?;
            Ok(Reply::ok(json!({"ok": true})))
        }
        Operation::MachineStart => {
            let previous = sim.ask(|org| org.progress(app, id))?.state;
            sim.ask(|org| org.start(app, id, nonce))?;
            Ok(Reply::ok(json!({"previous_state": previous, "migrated": false, "new_host": ""})))
        }
        Operation::MachineStop => {
            if !call.body.is_null() && !call.body.is_object() {
                return Err(Reply::invalid(
                    "json: cannot unmarshal array into Go value of type struct",
                ));
            }
            sim.ask(|org| org.rest(app, id, nonce, false))?;
            Ok(Reply::ok(json!({"ok": true})))
        }
        Operation::MachineRestart => done(sim.ask(|org| org.restart(app, id, nonce))),
        Operation::MachineSuspend => done(sim.ask(|org| org.rest(app, id, nonce, true))),
        Operation::MachineSignal => signal(sim, call),
        Operation::MachineCordon => done(sim.ask(|org| org.cordon(app, id, nonce, true))),
        Operation::MachineUncordon => done(sim.ask(|org| org.cordon(app, id, nonce, false))),
        Operation::MachineWait => wait(sim, call).await,
        Operation::MachineEvents => events(sim, call),
        Operation::MachineVersions => Ok(Reply::ok(sim.ask(|org| org.show_versions(app, id))?)),
        Operation::LeaseGet | Operation::LeaseTake | Operation::LeaseRelease => lease(sim, call),
        Operation::MetadataGet
        | Operation::MetadataSet
        | Operation::MetadataKeyGet
        | Operation::MetadataKeySet
        | Operation::MetadataKeyDelete => metadata(sim, call),
        Operation::Processes => processes(sim, app, id),
        Operation::Ips => sim.ask(|org| org.show_app(app)).map(|_| Reply::ok(json!({"ips": []}))),
        Operation::SecretsList
        | Operation::SecretsSet
        | Operation::SecretGet
        | Operation::SecretSet
        | Operation::SecretDelete => apps::secrets(sim, call),
        Operation::Regions => Ok(Reply::ok(regions(sim))),
        _ => Err(Reply::not_found("path")),
    }
}

/// A signal that ends a process ends it; others are not noticed.
fn signal(sim: &Sim, call: &Call) -> Answer {
    let (app, id) = (&call.route.app, &call.route.machine);
    let signal = &call.body["signal"];
    let known = signal.is_u64() || signal.as_str().is_some_and(|name| name.starts_with("SIG"));
    if !known {
        return Err(Reply::invalid("unknown signal"));
    }
    if *signal == 9 || signal == "SIGKILL" {
        sim.ask(|org| org.kill(id))?;
    } else if *signal == 15 || signal == "SIGTERM" || signal == "SIGINT" {
        sim.ask(|org| org.rest(app, id, call.nonce.as_deref(), false))?;
    }
    Ok(Reply::ok(json!({"ok": true})))
}

fn done(result: Result<(), Reply>) -> Answer {
    result.map(|()| Reply::ok(json!({"ok": true})))
}

/// Whether a machine is asked for by the list's filters.
fn is_wanted(call: &Call, machine: &Value) -> bool {
    let state = machine["state"].as_str().unwrap_or_default();
    let destroyed = state == "destroyed" && !call.flag("include_deleted");
    let other_region =
        call.parameter("region").is_some_and(|region| Some(region) != machine["region"].as_str());
    let other_state = call
        .parameter("state")
        .is_some_and(|states| !states.split(',').any(|wanted| wanted == state));
    let other_metadata = call.query.iter().any(|(name, value)| {
        name.strip_prefix("metadata.")
            .is_some_and(|key| machine["config"]["metadata"][key].as_str() != Some(value.as_str()))
    });
    !(destroyed || other_region || other_state || other_metadata)
}

fn machines(sim: &Sim, call: &Call) -> Answer {
    let mut machines =
        sim.ask(|org| org.show_machines(&call.route.app, call.flag("include_leases")))?;
    machines.retain(|machine| is_wanted(call, machine));
    if call.flag("summary") {
        for machine in machines.iter_mut().filter_map(Value::as_object_mut) {
            for field in ["config", "checks", "events", "host_status", "nonce"] {
                machine.remove(field);
            }
        }
    }
    Ok(Reply::ok(Value::Array(machines)))
}

/// The organization's change feed.
fn feed(sim: &Sim, call: &Call) -> Answer {
    sim.ask(|org| org.check_slug(&call.route.app))?;
    let limit = call.number("limit").unwrap_or(1000).clamp(1, 1000);
    // The cursor wins over the time; it is a position in the answer for that time.
    let (after, skip) = match call.parameter("cursor") {
        Some(cursor) => {
            let (skip, after) = cursor
                .split_once('~')
                .ok_or_else(|| Reply::invalid("cursor is not one of ours"))?;
            let skip = skip.parse::<u64>().map_err(|_| Reply::invalid("cursor is not a number"))?;
            (Some(after).filter(|after| !after.is_empty()), skip)
        }
        None => (call.parameter("updated_after"), 0),
    };
    let position = after
        .map(str::parse::<jiff::Timestamp>)
        .transpose()
        .map_err(|_| Reply::invalid("updated_after is not an RFC 3339 time"))?;
    let (mut entries, error_regions) =
        sim.with(|org| (org.show_feed(position), org.unread_regions.clone()));
    entries.retain(|entry| is_wanted(call, entry));
    let total = entries.len();
    let first = usize::try_from(skip).unwrap_or(usize::MAX);
    let count = usize::try_from(limit).unwrap_or(1000);
    let page: Vec<Value> = entries.into_iter().skip(first).take(count).collect();
    let last = page.last().cloned().unwrap_or(Value::Null);
    let mut body = json!({"machines": page, "error_regions": error_regions});
    let end = first.saturating_add(count);
    if let Some(body) = body.as_object_mut() {
        if end < total {
            let cursor = format!("{end}~{}", after.unwrap_or_default());
            body.insert("next_cursor".into(), Value::from(cursor));
        }
        if !last.is_null() {
            body.insert("last_updated_at".into(), last["updated_at"].clone());
            body.insert("last_machine_id".into(), last["id"].clone());
        }
    }
    Ok(Reply::ok(body))
}

fn config_of(body: &Value) -> Result<Value, Reply> {
    match body.get("config") {
        Some(config) if config["image"].is_string() => Ok(config.clone()),
        Some(config) if config.is_object() => Err(Reply::invalid("config.image is required")),
        _ => Err(Reply::invalid("config is required")),
    }
}

fn create(sim: &Sim, call: &Call) -> Answer {
    let body = &call.body;
    let region = body["region"].as_str().filter(|region| !region.is_empty());
    let name = body["name"].as_str();
    let lease_ttl = body["lease_ttl"].as_u64().filter(|ttl| *ttl > 0);
    let skip_launch = body["skip_launch"].as_bool().unwrap_or(false);
    let app = &call.route.app;
    let config = config_of(body)?;
    let id = sim.ask(|org| org.create_near(app, region, name, config, skip_launch))?;
    let mut machine = sim.ask(|org| org.show_written(app, &id))?;
    if let Some(ttl) = lease_ttl {
        let lease = lease_json(&sim.ask(|org| {
            org.take_lease(
                app,
                &id,
                Ask {
                    nonce: None,
                    ttl: Duration::from_secs(ttl),
                    owner: &call.owner,
                    description: "",
                },
            )
        })?);
        if let Some(machine) = machine.as_object_mut() {
            machine.insert("nonce".into(), lease["nonce"].clone());
        }
    }
    Ok(Reply::ok(machine))
}

fn update(sim: &Sim, call: &Call) -> Answer {
    let update = Update {
        config: config_of(&call.body)?,
        raw: None,
        current: call.body["current_version"].as_str().filter(|text| !text.is_empty()),
        skip_launch: call.body["skip_launch"].as_bool().unwrap_or(false),
    };
    let (app, id) = (&call.route.app, &call.route.machine);
    Ok(Reply::ok(sim.ask(|org| {
        org.update(app, id, call.nonce.as_deref(), update)?;
        org.show_written(app, id)
    })?))
}

/// Seconds a wait may take.
const WAIT_SECONDS: std::ops::RangeInclusive<u64> = 1..=60;

/// How often a wait looks; the model announces nothing.
const LOOK: Duration = Duration::from_millis(50);

async fn wait(sim: &Sim, call: &Call) -> Answer {
    let bad_timeout = || {
        Reply::invalid("invalid WaitMachineRequest.Timeout: value must be inside range [1s, 1m0s]")
    };
    let seconds = match call.parameter("timeout") {
        None => 60,
        Some(text) => text.trim_end_matches('s').parse::<u64>().map_err(|_| bad_timeout())?,
    };
    if !WAIT_SECONDS.contains(&seconds) {
        return Err(bad_timeout());
    }
    let mut wanted: Vec<&str> = call
        .query
        .iter()
        .filter(|(name, _)| name == "state")
        .flat_map(|(_, states)| states.split(','))
        .collect();
    if wanted.is_empty() {
        wanted.push("started");
    }
    const KNOWN: [&str; 6] = ["started", "stopped", "suspended", "destroyed", "failed", "settled"];
    if let Some(odd) = wanted.iter().find(|state| !KNOWN.contains(state)) {
        return Err(Reply::invalid(&format!("unknown state {odd}")));
    }
    let version = call.parameter("version").or_else(|| call.parameter("instance_id"));
    let (app, id) = (call.route.app.as_str(), call.route.machine.as_str());
    // `fly deploy` leaves it out for the machine of a release command, which has only one.
    if version.is_none()
        && wanted.contains(&"stopped")
        && sim
            .ask(|org| org.show_versions(app, id))?
            .as_array()
            .is_some_and(|versions| versions.len() > 1)
    {
        return Err(Reply::invalid("version is required when waiting for state stopped"));
    }
    // In the model's time, which a test may move by hand.
    let wanted_by = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(60));
    let deadline = sim.platform_now().checked_add(wanted_by).unwrap_or(jiff::Timestamp::MAX);
    loop {
        let seen = sim.ask(|org| org.progress(app, id))?;
        let right_version = version.is_none_or(|version| version == seen.instance);
        let there = wanted
            .iter()
            .any(|state| if *state == "settled" { seen.is_settled } else { *state == seen.state });
        if right_version && there {
            return Ok(Reply::ok(json!({
                "ok": true, "state": seen.state, "version": seen.instance, "event_id": seen.event,
            })));
        }
        if sim.platform_now() >= deadline {
            return Err(Reply::error(
                408,
                &format!(
                    "deadline_exceeded: machine failed to reach desired state, {}, currently {}",
                    wanted.join(","),
                    seen.state
                ),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn events(sim: &Sim, call: &Call) -> Answer {
    let machine = sim.ask(|org| org.show_machine(&call.route.app, &call.route.machine, false))?;
    let limit = usize::try_from(call.number("limit").unwrap_or(20).clamp(1, 50)).unwrap_or(20);
    let events = machine["events"].as_array().cloned().unwrap_or_default();
    Ok(Reply::ok(Value::Array(events.into_iter().take(limit).collect())))
}

fn envelope(status: u16, lease: &Value) -> Reply {
    Reply::with(status, json!({"status": "success", "data": lease}))
}

fn lease(sim: &Sim, call: &Call) -> Answer {
    let (app, id) = (call.route.app.as_str(), call.route.machine.as_str());
    let nonce = call.nonce.as_deref();
    match call.route.action {
        Operation::LeaseGet => Ok(envelope(200, &lease_json(&sim.ask(|org| org.lease(app, id))?))),
        Operation::LeaseTake => {
            let seconds = call.number("ttl").or_else(|| call.body["ttl"].as_u64()).unwrap_or(30);
            let ttl = Duration::from_secs(seconds.clamp(1, 86_400));
            let description = call.body["description"].as_str().unwrap_or_default();
            let lease = lease_json(&sim.ask(|org| {
                org.take_lease(app, id, Ask { nonce, ttl, owner: &call.owner, description })
            })?);
            Ok(envelope(201, &lease))
        }
        _ => {
            sim.ask(|org| org.release_lease(app, id, nonce.unwrap_or_default()))?;
            Ok(Reply::ok(json!({"ok": true})))
        }
    }
}

fn metadata(sim: &Sim, call: &Call) -> Answer {
    let (app, id, key) = (&call.route.app, &call.route.machine, &call.route.key);
    match call.route.action {
        Operation::MetadataGet | Operation::MetadataKeyGet => {
            let machine = sim.ask(|org| org.show_machine(app, id, false))?;
            let all = machine["config"]["metadata"].as_object().cloned().unwrap_or_default();
            if call.route.action == Operation::MetadataGet {
                return Ok(Reply::ok(Value::Object(all)));
            }
            let value = all.get(key).ok_or_else(|| Reply::not_found("metadata key"))?;
            Ok(Reply::ok(json!({"value": value})))
        }
        Operation::MetadataSet => {
            let Some(wanted) = call.body["metadata"].as_object() else {
                return Err(Reply::invalid("metadata is required"));
            };
            let version = call.body["machine_version"].as_str().filter(|text| !text.is_empty());
            if version.is_some_and(|version| !is_version(sim, app, id, version)) {
                let text = "failed_precondition: machine_version is not the current one";
                return Err(Reply::error(412, text));
            }
            let value =
                |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            let mut pairs: BTreeMap<String, Option<String>> =
                wanted.iter().map(|(key, text)| (key.clone(), value(text))).collect();
            // PUT means these and no others.
            if call.method == "PUT" {
                let machine = sim.ask(|org| org.show_machine(app, id, false))?;
                let have = machine["config"]["metadata"].as_object().cloned().unwrap_or_default();
                for key in have.into_iter().map(|(key, _)| key) {
                    pairs.entry(key).or_insert(None);
                }
            }
            sim.ask(|org| org.set_metadata(app, id, &pairs))?;
            Ok(Reply::with(204, Value::Null))
        }
        Operation::MetadataKeySet => {
            let Some(value) = call.body["value"].as_str() else {
                return Err(Reply::invalid("value is required"));
            };
            let pairs = BTreeMap::from([(key.clone(), Some(value.to_owned()))]);
            sim.ask(|org| org.set_metadata(app, id, &pairs))?;
            Ok(Reply::with(204, Value::Null))
        }
        _ => {
            sim.ask(|org| org.set_metadata(app, id, &BTreeMap::from([(key.clone(), None)])))?;
            Ok(Reply::with(204, Value::Null))
        }
    }
}

fn is_version(sim: &Sim, app: &str, id: &str, version: &str) -> bool {
    sim.ask(|org| org.progress(app, id)).is_ok_and(|progress| progress.instance == version)
}

/// A running machine's one process, listening where its services point.
fn processes(sim: &Sim, app: &str, id: &str) -> Answer {
    let machine = sim.ask(|org| org.show_machine(app, id, false))?;
    if machine["state"] != "started" {
        return Err(Reply::error(412, "failed_precondition: machine not running"));
    }
    let ports: Vec<Value> = machine["config"]["services"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|service| service["internal_port"].as_u64())
        .map(|port| json!({"proto": "tcp", "address": format!("0.0.0.0:{port}")}))
        .collect();
    Ok(Reply::ok(json!([{
        "pid": 1, "stime": 1, "rtime": 1, "command": "web", "directory": "/", "cpu": 0,
        "rss": 16_777_216, "listen_sockets": ports,
    }])))
}

fn regions(sim: &Sim) -> Value {
    let regions: Vec<Value> = sim
        .with(|org| org.regions())
        .into_iter()
        .map(|code| {
            json!({"code": code, "name": code, "latitude": 0.0, "longitude": 0.0,
                "geo_region": "simulated", "deprecated": false, "gateway_available": true})
        })
        .collect();
    let nearest = regions.first().map_or(Value::Null, |region| region["code"].clone());
    json!({"nearest": nearest, "regions": regions})
}
