//! What the platform's users do not see: the control API, faults of the wire, rate limits, and the
//! machines' metrics pages.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};
use waveoff::sim::{Behaviour, Sim, serve};

use crate::served::{Served, X, Y, id, on, update_body};

#[tokio::test]
async fn the_control_api_ships_breaks_and_counts() {
    let web = Served::web(Behaviour::default()).await;
    let shipped =
        web.post("/_sim/ship", None, json!({"app": "web", "image": Y, "regions": ["lhr"]})).await;
    assert_eq!((shipped.status, &shipped.body["version"]), (201, &json!(43)));
    web.pass(10_000);
    let releases = web.get("/api/v1/apps/web/releases?limit=1").await.body;
    assert_eq!(releases["releases"][0]["status"], "complete");
    let machines = web.get("/v1/apps/web/machines").await.body;
    let images: Vec<_> = machines
        .as_array()
        .unwrap()
        .iter()
        .map(|machine| machine["config"]["image"].as_str().unwrap())
        .collect();
    assert_eq!(images, [X, X, Y, Y]);
    let unknown = web.post("/_sim/ship", None, json!({"app": "web", "image": "a/b:c"})).await;
    assert_eq!(unknown.status, 404);
    let typo = web.post("/_sim/ship", None, json!({"app": "web", "image": Y, "region": "lhr"}));
    assert!(typo.await.error().contains("unknown field `region`"));

    let fault = json!({"kind": "status", "status": 429, "retry_after": 2, "action": "apps_list"});
    assert_eq!(web.post("/_sim/faults", None, fault).await.status, 200);
    assert_eq!(web.get("/v1/apps?org_slug=acme").await.status, 429);
    assert_eq!(web.get("/v1/apps?org_slug=acme").await.status, 200);
    let host = json!({"status": "unreachable"});
    web.post(&format!("/_sim/machines/{}/host", id(1)), None, host).await;
    let machine = web.machine(1).await;
    assert_eq!(
        (&machine["config"], &machine["host_status"]),
        (&Value::Null, &json!("unreachable"))
    );
    assert!(machine["incomplete_config"].is_object());
    let calls = web.get("/_sim/calls").await.body["calls"].clone();
    assert!(calls.as_array().unwrap().iter().any(|call| call["status"] == 429));
    let state = web.get("/_sim/state").await.body;
    assert_eq!(state["apps"][0]["machines"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_lost_request_changes_nothing_and_a_lost_answer_hides_a_change() {
    let web = Served::web(Behaviour::default()).await;
    let before = web.machine(1).await["instance_id"].clone();
    let body = update_body(&web, 1, Y).await;
    for (kind, changed) in [("request_lost", false), ("answer_lost", true)] {
        web.post("/_sim/faults", None, json!({"kind": kind, "action": "machine_update"})).await;
        assert!(web.try_ask(("POST", &on(1, "")), None, &body).await.is_err(), "{kind}");
        assert_eq!(web.machine(1).await["instance_id"] != before, changed, "{kind}");
    }
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let web = Served::web(Behaviour::default()).await;
    web.ask(("PUT", "/_sim/limits"), None, &json!({"on": true})).await;
    let mut refused = None;
    for _ in 0..50 {
        let answer = web.get("/v1/apps/web/machines").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    assert!(refused.unwrap().error().contains("rate limit exceeded"));
    // Other actions, other machines and the other doors have limits of their own, or none.
    assert_eq!(web.get(&on(1, "")).await.status, 200);
    assert_eq!(web.get("/api/v1/organizations/acme").await.status, 200);
}

#[tokio::test]
async fn the_control_api_plays_deploys_rights_and_lists_too() {
    let web = Served::web(Behaviour::unhealthy()).await;
    let canary = json!({"app": "web", "image": Y, "strategy": "canary", "checks": true,
                        "wait_timeout_s": 10});
    assert_eq!(web.post("/_sim/ship", None, canary).await.status, 201);
    web.pass(20_000);
    let gates = web.get("/_sim/gates/web").await.body["gates"].clone();
    assert_eq!((&gates[0]["kind"], &gates[0]["passed"]), (&json!("canary"), &json!(false)));
    assert_eq!(web.get("/api/v1/apps/web/releases/current").await.body["status"], "failed");

    let secrets = web.post("/_sim/secrets", None, json!({"app": "web"})).await;
    assert_eq!((secrets.status, &secrets.body["version"]), (201, &json!(44)));
    web.pass(20_000);
    assert_eq!(web.machine(3).await["config"]["metadata"]["fly_release_version"], "44");
    let made = web.post("/_sim/scale", None, json!({"app": "web", "region": "lhr", "by": 1})).await;
    assert_eq!(made.body["ids"].as_array().unwrap().len(), 1);

    let lists = json!({"lag_s": {"*": 30}, "hidden_s": {"lhr": 10}});
    assert_eq!(web.ask(("PUT", "/_sim/lists"), None, &lists).await.status, 200);
    let listed = web.get("/v1/apps/web/machines").await.body;
    assert!(listed.as_array().unwrap().iter().all(|machine| machine["region"] == "iad"));
    let step = json!([{"after_s": 1, "stop": {"app": "web", "region": "iad"}}]);
    assert_eq!(web.post("/_sim/script", None, step).await.status, 200);
    web.pass(2_000);
    assert_eq!(web.machine(1).await["state"], "stopped");
    let listed = web.get("/v1/apps/web/machines").await.body;
    assert_eq!(listed[0]["state"], "started", "the list is late");
    let two = json!([{"stop": {"app": "web", "region": "iad"}, "allow_all": true}]);
    assert!(web.post("/_sim/script", None, two).await.error().contains("exactly one thing"));
    let quirks = json!({"events_survive": true});
    assert_eq!(web.ask(("PUT", "/_sim/quirks"), None, &quirks).await.status, 200);
}

#[tokio::test]
async fn a_token_is_told_what_it_may_do_and_refused_the_rest() {
    let web = Served::web(Behaviour::default()).await;
    let ask = |access: Value| {
        let body = json!({"header": "Bearer sim-token", "access": access});
        web.post("/v1/tokens/authorize", None, body)
    };
    let write = || json!({"action": "rw", "org_slug": "acme", "app_name": "web"});
    assert_eq!(ask(write()).await.status, 200);
    let current = web.get("/v1/tokens/current").await;
    assert_eq!(current.body["tokens"][0]["org_slug"], "acme");

    let denial = json!({"right": "write", "token": "sim-token", "for_s": 60});
    assert_eq!(web.post("/_sim/denied", None, denial).await.status, 200);
    assert_eq!(ask(write()).await.status, 400);
    assert_eq!(ask(json!({"action": 1, "app_name": "web"})).await.status, 200, "bits, too");
    let images = json!({"action": "r", "app_name": "web", "app_feature": "images"});
    assert_eq!(ask(images).await.status, 200);
    assert_eq!(web.post(&on(1, "/lease?ttl=13"), None, Value::Null).await.status, 403);
    assert_eq!(web.get(&on(1, "")).await.status, 200);
    web.pass(61_000);
    assert_eq!(ask(write()).await.status, 200);

    for right in ["read", "ledger", "registry"] {
        let denial = json!({"right": right, "status": 401});
        assert_eq!(web.post("/_sim/denied", None, denial).await.status, 200);
    }
    assert_eq!(web.get("/v1/tokens/current").await.status, 401);
    assert_eq!(web.get("/v2/web/manifests/v1").await.status, 401);
    web.ask(("DELETE", "/_sim/denied"), None, &Value::Null).await;
    assert_eq!(web.get("/v1/tokens/current").await.status, 200);
}

#[tokio::test]
async fn the_date_of_an_answer_is_by_the_platforms_own_clock() {
    let mut fleet = waveoff::sim::fleet::demo();
    fleet.skew_s = -300.0;
    let web = Served::serve(Sim::at(&fleet, "2026-01-05T03:00:00Z".parse().unwrap())).await;
    let response = reqwest::get(web.url("/_sim/state")).await.unwrap();
    assert_eq!(response.headers()["date"], "Mon, 05 Jan 2026 02:55:00 GMT");
    let set = web.ask(("PUT", "/_sim/clock"), None, &json!({"skew_s": 60})).await;
    assert_eq!(set.status, 200);
    let response = reqwest::get(web.url("/_sim/state")).await.unwrap();
    assert_eq!(response.headers()["date"], "Mon, 05 Jan 2026 03:01:00 GMT");
}

#[tokio::test]
async fn every_running_machine_serves_its_metrics_on_its_own_address() {
    // A port that is free on one loopback address is free on the others.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut fleet = waveoff::sim::fleet::demo();
    (fleet.network, fleet.metrics_port) = ([127, 91, 0, 0].into(), port);
    let web = Served::serve(Sim::at(&fleet, "2026-01-05T03:00:00Z".parse().unwrap())).await;
    let pages = tokio::spawn(serve::metrics::serve(web.sim.clone()));
    web.pass(10_000);
    let mut texts = Vec::new();
    let reading = async {
        for machine in 1..=6 {
            let url = format!("http://127.91.0.{machine}:{port}/metrics");
            let text = loop {
                match reqwest::get(&url).await {
                    Ok(response) => break response.text().await.unwrap(),
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            texts.push(text);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    let series = "http_requests_total{method=\"GET\",path=\"/users/{id}\",status=\"200\"} ";
    for text in &texts {
        let count = text.lines().find_map(|line| line.strip_prefix(series)).unwrap();
        assert!((195..=200).contains(&count.parse::<u64>().unwrap()), "{text}");
    }
    let totals = web.get("/_sim/totals").await.body;
    assert!((1195..=1200).contains(&totals["api"]["requests"].as_u64().unwrap()), "{totals}");
    pages.abort();
}

#[tokio::test]
async fn the_command_says_how_to_reach_it_and_serves_until_it_is_told_to_stop() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waveoff"))
        .args(["sim", "serve", "--listen", "127.0.0.1:0", "--metrics-port", "0"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
    let mut environment = std::collections::BTreeMap::new();
    let mut is_without_websockets = false;
    while !environment.contains_key("FLY_TRACE_COLLECTOR_URL") {
        let line = lines.next_line().await.unwrap().unwrap();
        is_without_websockets |= line.contains("wire_guard_websockets: false");
        if let Some((name, value)) =
            line.strip_prefix("export ").and_then(|line| line.split_once('='))
        {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    assert_eq!(environment["FLY_API_TOKEN"], "sim-token");
    assert!(is_without_websockets, "flyctl builds its tunnels over UDP");
    let base = &environment["FLY_FLAPS_BASE_URL"];
    assert_eq!(base, &format!("http://{}", environment["FLY_REGISTRY_HOST"]));
    let state = reqwest::get(format!("{base}/_sim/state")).await.unwrap().text().await.unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["apps"][0]["name"], "api");
    let pid = command.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), command.wait()).await.unwrap();
    assert!(ended.unwrap().success());
}

#[tokio::test]
async fn a_fleet_file_with_a_mistake_is_refused_with_its_place() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "organization = \"acme\"\nsed = 1\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_waveoff"))
        .args(["sim", "serve", "--listen", "127.0.0.1:0", "--fleet"])
        .arg(file.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 2") && said.contains("unknown field `sed`"), "{said}");
}
