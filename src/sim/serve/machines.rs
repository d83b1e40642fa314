//! The Machines API door: paths below `/v1`.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::{
    call::Call,
    desk::{Desk, Update},
    reply::{Answer, Reply},
    route::Action,
};

/// Answers a Machines API request.
pub async fn answer(desk: &dyn Desk, call: &Call) -> Answer {
    let app = call.route.app.as_str();
    let id = call.route.machine.as_str();
    let nonce = call.nonce.as_deref();
    match call.route.action {
        Action::AppsList => apps(desk, call),
        Action::AppGet => Ok(Reply::ok(desk.app(app)?)),
        Action::MachinesList => machines(desk, call),
        Action::OrgMachines => feed(desk, call),
        Action::MachineCreate => create(desk, call),
        Action::MachineGet => Ok(Reply::ok(desk.machine(app, id, call.flag("include_leases"))?)),
        Action::MachineUpdate => update(desk, call),
        Action::MachineDestroy => {
            desk.destroy(app, id, nonce, call.flag("kill") || call.flag("force"))?;
            Ok(Reply::ok(json!({"ok": true})))
        }
        Action::MachineStart => {
            let previous = desk.progress(app, id)?.state;
            desk.start(app, id, nonce)?;
            Ok(Reply::ok(json!({"previous_state": previous, "migrated": false, "new_host": ""})))
        }
        Action::MachineStop => {
            if !call.body.is_null() && !call.body.is_object() {
                return Err(Reply::invalid(
                    "json: cannot unmarshal array into Go value of type struct",
                ));
            }
            desk.stop(app, id, nonce)?;
            Ok(Reply::ok(json!({"ok": true})))
        }
        Action::MachineRestart => done(desk.restart(app, id, nonce)),
        Action::MachineSuspend => done(desk.suspend(app, id, nonce)),
        Action::MachineSignal => signal(desk, call),
        Action::MachineCordon => done(desk.cordon(app, id, nonce, true)),
        Action::MachineUncordon => done(desk.cordon(app, id, nonce, false)),
        Action::MachineWait => wait(desk, call).await,
        Action::MachineEvents => events(desk, call),
        Action::MachineVersions => Ok(Reply::ok(desk.versions(app, id)?)),
        Action::LeaseGet | Action::LeaseTake | Action::LeaseRelease => lease(desk, call),
        Action::MetadataGet
        | Action::MetadataSet
        | Action::MetadataKeyGet
        | Action::MetadataKeySet
        | Action::MetadataKeyDelete => metadata(desk, call),
        Action::Processes => processes(desk, app, id),
        Action::Volumes => desk.app(app).map(|_| Reply::ok(json!([]))),
        Action::Ips => desk.app(app).map(|_| Reply::ok(json!({"ips": []}))),
        Action::SecretsList => Ok(Reply::ok(json!({"secrets": desk.secrets(app)?}))),
        Action::SecretsSet => secrets_set(desk, call),
        Action::Regions => Ok(Reply::ok(regions(desk))),
        _ => Err(Reply::not_found("path")),
    }
}

/// A signal that ends a process ends it; others are not noticed.
fn signal(desk: &dyn Desk, call: &Call) -> Answer {
    let (app, id) = (&call.route.app, &call.route.machine);
    let signal = &call.body["signal"];
    let known = signal.is_u64() || signal.as_str().is_some_and(|name| name.starts_with("SIG"));
    if !known {
        return Err(Reply::invalid("unknown signal"));
    }
    if *signal == 9 || signal == "SIGKILL" {
        desk.kill(app, id)?;
    } else if *signal == 15 || signal == "SIGTERM" || signal == "SIGINT" {
        desk.stop(app, id, call.nonce.as_deref())?;
    }
    Ok(Reply::ok(json!({"ok": true})))
}

fn done(result: Result<(), Reply>) -> Answer {
    result.map(|()| Reply::ok(json!({"ok": true})))
}

fn apps(desk: &dyn Desk, call: &Call) -> Answer {
    let Some(slug) = call.parameter("org_slug") else {
        return Err(Reply::invalid("org_slug is required"));
    };
    desk.check_organization(slug)?;
    let apps: Vec<Value> =
        desk.app_names().iter().map(|name| desk.app(name)).collect::<Result<_, _>>()?;
    Ok(Reply::ok(json!({"total_apps": apps.len(), "apps": apps})))
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

fn machines(desk: &dyn Desk, call: &Call) -> Answer {
    let mut machines = desk.machines(&call.route.app, call.flag("include_leases"))?;
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
fn feed(desk: &dyn Desk, call: &Call) -> Answer {
    desk.check_organization(&call.route.app)?;
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
    let (mut entries, error_regions) = desk.feed(position)?;
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

fn create(desk: &dyn Desk, call: &Call) -> Answer {
    let body = &call.body;
    let region = body["region"].as_str();
    let name = body["name"].as_str();
    let lease_ttl = body["lease_ttl"].as_u64().filter(|ttl| *ttl > 0);
    let skip_launch = body["skip_launch"].as_bool().unwrap_or(false);
    let app = &call.route.app;
    let id = desk.create(app, region, name, config_of(body)?, skip_launch)?;
    let mut machine = desk.machine(app, &id, false)?;
    if let Some(ttl) = lease_ttl {
        let lease = desk.take_lease(app, &id, None, Duration::from_secs(ttl), &call.owner, "")?;
        if let Some(machine) = machine.as_object_mut() {
            machine.insert("nonce".into(), lease["nonce"].clone());
        }
    }
    Ok(Reply::ok(machine))
}

fn update(desk: &dyn Desk, call: &Call) -> Answer {
    let update = Update {
        config: config_of(&call.body)?,
        raw: None,
        current: call.body["current_version"].as_str().filter(|text| !text.is_empty()),
        skip_launch: call.body["skip_launch"].as_bool().unwrap_or(false),
    };
    let (app, id) = (&call.route.app, &call.route.machine);
    Ok(Reply::ok(desk.update(app, id, call.nonce.as_deref(), update)?))
}

/// Seconds a wait may take.
const WAIT_SECONDS: std::ops::RangeInclusive<u64> = 1..=60;

/// How often a wait looks; the model announces nothing.
const LOOK: Duration = Duration::from_millis(50);

async fn wait(desk: &dyn Desk, call: &Call) -> Answer {
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
        && desk.versions(app, id)?.as_array().is_some_and(|versions| versions.len() > 1)
    {
        return Err(Reply::invalid("version is required when waiting for state stopped"));
    }
    // In the model's time, which a test may move by hand.
    let wanted_by = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(60));
    let deadline = desk.now().checked_add(wanted_by).unwrap_or(jiff::Timestamp::MAX);
    loop {
        let seen = desk.progress(app, id)?;
        let right_version = version.is_none_or(|version| version == seen.instance);
        let there = wanted
            .iter()
            .any(|state| if *state == "settled" { seen.is_settled } else { *state == seen.state });
        if right_version && there {
            return Ok(Reply::ok(json!({
                "ok": true, "state": seen.state, "version": seen.instance, "event_id": seen.event,
            })));
        }
        if desk.now() >= deadline {
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

fn events(desk: &dyn Desk, call: &Call) -> Answer {
    let machine = desk.machine(&call.route.app, &call.route.machine, false)?;
    let limit = usize::try_from(call.number("limit").unwrap_or(20).clamp(1, 50)).unwrap_or(20);
    let events = machine["events"].as_array().cloned().unwrap_or_default();
    Ok(Reply::ok(Value::Array(events.into_iter().take(limit).collect())))
}

fn envelope(status: u16, lease: &Value) -> Reply {
    Reply::with(status, json!({"status": "success", "data": lease}))
}

fn lease(desk: &dyn Desk, call: &Call) -> Answer {
    let (app, id) = (call.route.app.as_str(), call.route.machine.as_str());
    let nonce = call.nonce.as_deref();
    match call.route.action {
        Action::LeaseGet => Ok(envelope(200, &desk.lease(app, id)?)),
        Action::LeaseTake => {
            let seconds = call.number("ttl").or_else(|| call.body["ttl"].as_u64()).unwrap_or(30);
            let ttl = Duration::from_secs(seconds.clamp(1, 86_400));
            let description = call.body["description"].as_str().unwrap_or_default();
            let lease = desk.take_lease(app, id, nonce, ttl, &call.owner, description)?;
            Ok(envelope(201, &lease))
        }
        _ => {
            desk.release_lease(app, id, nonce.unwrap_or_default())?;
            Ok(Reply::ok(json!({"ok": true})))
        }
    }
}

fn metadata(desk: &dyn Desk, call: &Call) -> Answer {
    let (app, id, key) = (&call.route.app, &call.route.machine, &call.route.key);
    match call.route.action {
        Action::MetadataGet | Action::MetadataKeyGet => {
            let machine = desk.machine(app, id, false)?;
            let all = machine["config"]["metadata"].as_object().cloned().unwrap_or_default();
            if call.route.action == Action::MetadataGet {
                return Ok(Reply::ok(Value::Object(all)));
            }
            let value = all.get(key).ok_or_else(|| Reply::not_found("metadata key"))?;
            Ok(Reply::ok(json!({"value": value})))
        }
        Action::MetadataSet => {
            let Some(wanted) = call.body["metadata"].as_object() else {
                return Err(Reply::invalid("metadata is required"));
            };
            let version = call.body["machine_version"].as_str().filter(|text| !text.is_empty());
            if version.is_some_and(|version| !is_version(desk, app, id, version)) {
                let text = "failed_precondition: machine_version is not the current one";
                return Err(Reply::error(412, text));
            }
            let value =
                |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            let mut pairs: BTreeMap<String, Option<String>> =
                wanted.iter().map(|(key, text)| (key.clone(), value(text))).collect();
            // PUT means these and no others.
            if call.method == "PUT" {
                let machine = desk.machine(app, id, false)?;
                let have = machine["config"]["metadata"].as_object().cloned().unwrap_or_default();
                for key in have.into_iter().map(|(key, _)| key) {
                    pairs.entry(key).or_insert(None);
                }
            }
            desk.set_metadata(app, id, &pairs)?;
            Ok(Reply::with(204, Value::Null))
        }
        Action::MetadataKeySet => {
            let Some(value) = call.body["value"].as_str() else {
                return Err(Reply::invalid("value is required"));
            };
            let pairs = BTreeMap::from([(key.clone(), Some(value.to_owned()))]);
            desk.set_metadata(app, id, &pairs)?;
            Ok(Reply::with(204, Value::Null))
        }
        _ => {
            desk.set_metadata(app, id, &BTreeMap::from([(key.clone(), None)]))?;
            Ok(Reply::with(204, Value::Null))
        }
    }
}

fn is_version(desk: &dyn Desk, app: &str, id: &str, version: &str) -> bool {
    desk.progress(app, id).is_ok_and(|progress| progress.instance == version)
}

/// A running machine's one process, listening where its services point.
fn processes(desk: &dyn Desk, app: &str, id: &str) -> Answer {
    let machine = desk.machine(app, id, false)?;
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

fn secrets_set(desk: &dyn Desk, call: &Call) -> Answer {
    let empty = Map::new();
    let values = call.body["values"].as_object().unwrap_or(&empty);
    for (name, value) in values {
        desk.set_secret(&call.route.app, name, value.as_str())?;
    }
    let secrets = desk.secrets(&call.route.app)?;
    Ok(Reply::ok(json!({"secrets": secrets, "version": 1})))
}

fn regions(desk: &dyn Desk) -> Value {
    let regions: Vec<Value> = desk
        .regions()
        .into_iter()
        .map(|code| {
            json!({"code": code, "name": code, "latitude": 0.0, "longitude": 0.0,
                "geo_region": "simulated", "deprecated": false, "gateway_available": true})
        })
        .collect();
    let nearest = regions.first().map_or(Value::Null, |region| region["code"].clone());
    json!({"nearest": nearest, "regions": regions})
}
