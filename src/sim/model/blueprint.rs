//! How a fleet's apps and machines are configured: what its app configuration says, and the machine
//! configuration that `fly deploy` makes of it. The two have to agree, or a deploy from outside
//! would take checks and metrics away.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    ledger::Entry,
    org::{Org, Placed, UP_SINCE},
};
use crate::sim::fleet::{Autostop, FleetApp, Group};

/// Where machines listen.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Listens {
    pub(in crate::sim) service: u16,
    pub(in crate::sim) metrics: u16,
}
/// The name of a fleet's volumes, and where machines have them.
const VOLUME: &str = "data";
const MOUNTED_AT: &str = "/data";

impl Org {
    /// Adds a fleet's app: its release, its machines.
    pub(in crate::sim) fn furnish(&mut self, app: &FleetApp) {
        let regions: BTreeSet<String> =
            app.all_groups().iter().flat_map(|group| group.machines.keys().cloned()).collect();
        let primary = regions.first().cloned().unwrap_or_else(|| "iad".to_owned());
        self.add_app(&app.name, app.traffic.clone());
        let release = Entry {
            id: release_id(app),
            app: app.name.clone(),
            version: app.version,
            status: "complete".to_owned(),
            strategy: "ROLLING".to_owned(),
            image: app.image.clone(),
            author: "dev@sim.test".to_owned(),
            created_at: self.now.checked_sub(UP_SINCE).unwrap_or(self.now),
            definition: definition(app, &primary, self.listens),
        };
        self.add_release(release);
        for group in app.all_groups() {
            let counts = [(&group.machines, true), (&group.stopped, false)];
            for (machines, started) in counts {
                for (region, count) in machines {
                    for _ in 0..*count {
                        let config = config(app, &group, self.listens, &primary);
                        let config = self.mounted(app, &group, region, config);
                        self.place(&app.name, Placed::new(region, started, config));
                    }
                }
            }
            self.place_standbys(app, &group, &primary);
        }
    }

    /// A configuration with a volume of its own, where machines of the group have one.
    fn mounted(&mut self, app: &FleetApp, group: &Group, region: &str, mut config: Value) -> Value {
        let volume = self.add_volume(&app.name, VOLUME, region, group.volume_gb);
        if let (Ok(id), Some(fields)) = (volume, config.as_object_mut()) {
            let mount = json!({
                "volume": id, "name": VOLUME, "path": MOUNTED_AT, "size_gb": group.volume_gb,
                "encrypted": true,
            });
            fields.insert("mounts".to_owned(), json!([mount]));
        }
        config
    }

    fn place_standbys(&mut self, app: &FleetApp, group: &Group, primary: &str) {
        for (region, count) in &group.standbys {
            let main = self.machines.values().find(|machine| {
                machine.app == app.name
                    && machine.is_started()
                    && machine.version.metadata("fly_process_group") == Some(&group.name)
            });
            let main = main.map(|machine| machine.id.clone()).unwrap_or_default();
            for _ in 0..*count {
                let mut config = config(app, group, self.listens, primary);
                if let Some(fields) = config.as_object_mut() {
                    fields.insert("standbys".to_owned(), json!([main]));
                }
                self.place(&app.name, Placed::new(region, false, config));
            }
        }
    }
}

fn release_id(app: &FleetApp) -> String {
    format!("rel_{}_{}", app.name, app.version)
}

fn concurrency(group: &Group) -> Value {
    json!({"type": "requests", "soft_limit": group.soft_limit, "hard_limit": group.soft_limit})
}

/// The health check of all machines; whoever has no service says which port it is on.
fn check(group: &Group) -> Map<String, Value> {
    let grace = format!("{}s", group.grace_period_s);
    let check = json!({
        "type": "http", "interval": "2s", "timeout": "1s", "grace_period": grace,
        "method": "GET", "path": "/healthz",
    });
    check.as_object().cloned().unwrap_or_default()
}

fn check_with_port(group: &Group, port: u16) -> Map<String, Value> {
    let mut check = check(group);
    check.insert("port".to_owned(), json!(port));
    check
}

/// The app configuration of a fleet's app, as JSON.
fn definition(app: &FleetApp, primary: &str, listens: Listens) -> Value {
    let groups = app.all_groups();
    let names = |wanted: &dyn Fn(&Group) -> bool| {
        let names: Vec<&str> =
            groups.iter().filter(|group| wanted(group)).map(|group| group.name.as_str()).collect();
        (!names.is_empty()).then_some(names)
    };
    let mut whole = Map::new();
    let mut set = |key: &str, value: Value| {
        whole.insert(key.to_owned(), value);
    };
    set("app", json!(app.name));
    set("primary_region", json!(primary));
    let processes: Map<String, Value> =
        groups.iter().map(|group| (group.name.clone(), json!(""))).collect();
    set("processes", Value::Object(processes));
    if let Some(names) = names(&|group| group.services) {
        let mut service = json!({
            "internal_port": listens.service, "processes": names,
        });
        // One service stands for all of them.
        if let (Some(group), Some(fields)) =
            (groups.iter().find(|group| group.services), service.as_object_mut())
        {
            fields.insert("auto_stop_machines".to_owned(), json!(group.autostop));
            fields.insert("auto_start_machines".to_owned(), json!(group.autostart));
            if group.is_proxied() {
                let least = json!(group.min_machines_running);
                fields.insert("min_machines_running".to_owned(), least);
                fields.insert("concurrency".to_owned(), concurrency(group));
            }
        }
        let checked = groups.iter().find(|group| group.services && group.checks);
        if let (Some(group), Some(fields)) = (checked, service.as_object_mut()) {
            let mut check = check(group);
            check.remove("type");
            fields.insert("checks".to_owned(), json!([check]));
        }
        set("http_service", service);
    }
    let is_bare = |group: &Group| !group.services && group.checks;
    if let (Some(names), Some(group)) = (names(&is_bare), groups.iter().find(|g| is_bare(g))) {
        let mut check = check_with_port(group, listens.service);
        check.insert("processes".to_owned(), json!(names));
        set("checks", json!({"alive": check}));
    }
    if let Some(names) = names(&|group| group.metrics) {
        set("metrics", json!([{"port": listens.metrics, "path": "/metrics", "processes": names}]));
    }
    if let Some(names) = names(&|group| group.volume_gb > 0) {
        let mount = json!({"source": VOLUME, "destination": MOUNTED_AT, "processes": names});
        set("mounts", json!([mount]));
    }
    let sizes: Vec<Value> = groups
        .iter()
        .map(|group| {
            json!({"memory": format!("{}mb", group.memory_mb), "cpu_kind": "shared", "cpus": 1,
                   "processes": [group.name]})
        })
        .collect();
    set("vm", Value::Array(sizes));
    let restarts: Vec<Value> = groups
        .iter()
        .map(|group| {
            json!({"policy": group.restart.as_str(), "retries": 10, "processes": [group.name]})
        })
        .collect();
    set("restart", Value::Array(restarts));
    if let Some(command) = &app.release_command {
        set("deploy", json!({"release_command": command}));
    }
    Value::Object(whole)
}

/// The configuration of a machine of a fleet's app.
fn config(app: &FleetApp, group: &Group, listens: Listens, primary: &str) -> Value {
    let mut config = json!({
        "image": app.image,
        "env": {"FLY_PROCESS_GROUP": group.name, "PRIMARY_REGION": primary},
        "init": {},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": group.memory_mb},
        "metadata": {
            "fly_platform_version": "v2", "fly_process_group": group.name,
            "fly_release_id": release_id(app), "fly_release_version": app.version.to_string(),
            "fly_flyctl_version": "0.3.0",
        },
        "restart": {"policy": group.restart.as_str(), "max_retries": 10},
    });
    let Some(fields) = config.as_object_mut() else { return config };
    if group.services {
        let checks = if group.checks { json!([check(group)]) } else { json!([]) };
        // As the platform answers: only one of the ways to stop has a name.
        let autostop = match group.autostop {
            Autostop::Off => json!(false),
            Autostop::Stop => json!(true),
            Autostop::Suspend => json!("suspend"),
        };
        let mut service = json!({
            "protocol": "tcp", "internal_port": listens.service, "autostop": autostop,
            "autostart": group.autostart,
            "ports": [{"port": 80, "handlers": ["http"]},
                      {"port": 443, "handlers": ["tls", "http"]}],
            "checks": checks, "force_instance_key": null,
        });
        if let (true, Some(service)) = (group.is_proxied(), service.as_object_mut()) {
            let least = json!(group.min_machines_running);
            service.insert("min_machines_running".to_owned(), least);
            service.insert("concurrency".to_owned(), concurrency(group));
        }
        fields.insert("services".to_owned(), json!([service]));
    } else if group.checks {
        fields
            .insert("checks".to_owned(), json!({"alive": check_with_port(group, listens.service)}));
    }
    if group.metrics {
        let metrics = json!({"port": listens.metrics, "path": "/metrics"});
        fields.insert("metrics".to_owned(), metrics);
    }
    config
}
