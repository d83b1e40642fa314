//! Scenes of our own: what `flyctl` and the daemon rely on, without any recording.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use waveoff::sim::{Behaviour, Sim, serve};

use crate::served::{Answer, Served, X, Y, id, on};

/// The machine's configuration with another image and release, as a deploy sends it.
async fn update_body(web: &Served, number: u32, image: &str) -> Value {
    let machine = web.machine(number).await;
    let mut config = machine["config"].clone();
    config["image"] = json!(image);
    let skip_launch = machine["state"] != "started";
    json!({"config": config, "region": machine["region"], "skip_launch": skip_launch})
}

async fn lease(web: &Served, number: u32) -> String {
    let answer = web.post(&on(number, "/lease?ttl=13"), None, Value::Null).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.body["status"], "success");
    answer.body["data"]["nonce"].as_str().unwrap().to_owned()
}

async fn update(web: &Served, number: u32, image: &str, nonce: Option<&str>) -> Answer {
    let body = update_body(web, number, image).await;
    web.post(&on(number, ""), nonce, body).await
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let web = Served::web(Behaviour::default()).await;
    let response = reqwest::get(web.url("/v1/apps/web")).await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(response.headers().contains_key("fly-request-id"));
}

#[tokio::test]
async fn the_reads_show_the_organization() {
    let web = Served::web(Behaviour::default()).await;
    let app = web.get("/v1/apps/web").await.body;
    assert_eq!(
        (&app["status"], &app["organization"]["slug"]),
        (&json!("deployed"), &json!("acme"))
    );
    assert!(app["internal_numeric_id"].is_u64());
    let machines = web.get("/v1/apps/web/machines").await.body;
    let machines = machines.as_array().unwrap();
    assert_eq!(machines.len(), 4);
    let first = &machines[0];
    assert_eq!(first["image_ref"]["tag"], X.rsplit_once(':').unwrap().1);
    assert_eq!(first["instance_id"].as_str().unwrap().len(), 26);
    assert_eq!(first["events"][0]["type"], "start", "newest first");
    assert!(first["checks"][0]["updated_at"].is_string());
    assert_eq!((&first["host_status"], &first["nonce"]), (&json!("ok"), &Value::Null));
    let stopped = web.get("/v1/apps/web/machines?state=stopped,suspended&region=lhr").await.body;
    assert_eq!(stopped[0]["id"], id(4).as_str());
    let by_release = web.get("/v1/apps/web/machines?metadata.fly_release_version=41").await;
    assert_eq!(by_release.body, json!([]));

    let releases = web
        .graphql(
            "query($appName: String!, $limit: Int!) { app(name: $appName) { releases: \
             releasesUnprocessed(first: $limit) { nodes { id version } } } }",
            json!({"appName": "web", "limit": 25}),
        )
        .await;
    let nodes = releases["data"]["app"]["releases"]["nodes"].as_array().unwrap();
    assert_eq!(
        nodes.iter().map(|node| node["version"].as_u64()).collect::<Vec<_>>(),
        [Some(42), Some(41)]
    );
    assert!(nodes[0]["user"]["email"].is_string());
    let unknown = web
        .graphql("query { appcompact:app(name: $appName) { id } }", json!({"appName": "no"}))
        .await;
    assert!(unknown["errors"][0]["message"].as_str().unwrap().contains("Could not find App"));
    assert_eq!(web.get("/v1/apps/no/machines").await.status, 404);
    assert_eq!(web.get(&on(9, "")).await.status, 404);
    assert_eq!(web.get("/api/v1/organizations/other").await.status, 404);
}

#[tokio::test]
async fn a_rolling_deploy_holds_its_leases_and_finishes_its_release() {
    let web = Served::web(Behaviour::default()).await;
    let release = web
        .post(
            "/api/v1/releases",
            None,
            json!({"app_name": "web", "build_id": 1, "definition": {"app": "web"}, "image": Y,
                   "strategy": "ROLLING"}),
        )
        .await;
    assert_eq!(release.status, 201);
    let release = &release.body["release"];
    assert_eq!((&release["version"], &release["status"]), (&json!(43), &json!("pending")));
    let path = format!("/api/v1/releases/{}", release["id"].as_str().unwrap());
    let patch = |status: &str| json!({"status": status, "metadata": null});
    assert_eq!(web.ask(("PATCH", &path), None, &patch("running")).await.status, 200);

    let nonces = [lease(&web, 1).await, lease(&web, 2).await];
    for (number, nonce) in [(1, &nonces[0]), (2, &nonces[1])] {
        let reply = update(&web, number, Y, Some(nonce)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.body["state"], "replacing", "the reply comes first");
        web.pass(4000);
        let refresh = web.post(&on(number, "/lease?ttl=13"), Some(nonce), Value::Null).await;
        assert_eq!((refresh.status, &refresh.body["data"]["nonce"]), (201, &json!(nonce)));
        let wait = web.get(&on(number, "/wait?state=started&timeout=60")).await;
        assert_eq!(wait.status, 200);
        assert_eq!(wait.body["version"], reply.body["instance_id"]);
        let machine = web.machine(number).await;
        assert_eq!(machine["checks"][0]["status"], "passing");
        assert_eq!(machine["config"]["image"], Y);
        let types: Vec<_> =
            machine["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
        assert_eq!(types, ["start", "update"], "the event list starts anew");
        let listeners = web.get(&on(number, "/ps")).await.body;
        assert_eq!(listeners[0]["listen_sockets"][0]["address"], "0.0.0.0:8080");
    }
    for (number, nonce) in [(1, &nonces[0]), (2, &nonces[1])] {
        let call = ("DELETE", &*on(number, "/lease"));
        assert_eq!(web.ask(call, Some(nonce), &Value::Null).await.status, 200);
        let again = web.ask(call, Some(nonce), &Value::Null).await;
        assert_eq!(again.status, 404);
        assert!(again.error().contains("lease not found"));
    }
    assert_eq!(web.ask(("PATCH", &path), None, &patch("complete")).await.status, 200);
    let late = web.ask(("PATCH", &path), None, &patch("failed")).await;
    assert_eq!((late.status, late.error()), (422, "release has already finished"));
    assert_eq!(web.machine(3).await["config"]["image"], X, "lhr was not asked for");
}

#[tokio::test]
async fn a_leased_machine_refuses_whoever_has_no_nonce_until_the_lease_runs_out() {
    let web = Served::web(Behaviour::default()).await;
    let nonce = lease(&web, 1).await;
    let taken = web.post(&on(1, "/lease?ttl=13"), None, Value::Null).await;
    assert_eq!(taken.status, 409);
    assert!(taken.error().contains("lease currently held by"), "{taken:?}");
    assert!(taken.error().contains("expires at 2026-11-23T23:10:15Z"), "{taken:?}");
    assert_eq!(update(&web, 1, Y, None).await.status, 409);
    for verb in ["start", "stop", "restart", "suspend", "cordon", "uncordon"] {
        let refused = web.post(&on(1, &format!("/{verb}")), None, Value::Null).await;
        assert_eq!(refused.status, 409, "{verb}");
    }
    let destroyed = web.ask(("DELETE", &on(1, "?kill=true")), None, &Value::Null).await;
    assert_eq!(destroyed.status, 409);
    // Metadata needs no lease and makes no version.
    let before = web.machine(1).await["instance_id"].clone();
    let written = web.post(&on(1, "/metadata/colour"), None, json!({"value": "blue"})).await;
    assert_eq!(written.status, 204);
    let machine = web.machine(1).await;
    assert_eq!(machine["config"]["metadata"]["colour"], "blue");
    assert_eq!(machine["instance_id"], before);
    let path = on(1, "/metadata");
    let bulk = json!({"metadata": {"colour": null, "size": "big"}, "machine_version": before});
    assert_eq!(web.ask(("PATCH", &path), None, &bulk).await.status, 204);
    let metadata = web.get(&path).await.body;
    assert_eq!((&metadata["colour"], &metadata["size"]), (&Value::Null, &json!("big")));
    assert_eq!(metadata["fly_release_version"], "42");
    let stale = json!({"metadata": {}, "machine_version": "01HXXXXXXXXXXXXXXXXXXXXXXX"});
    assert_eq!(web.ask(("PATCH", &path), None, &stale).await.status, 412);

    let listed = web.get("/v1/apps/web/machines?include_leases=true").await.body;
    assert!(listed[0]["lease"]["owner"].is_string() && listed[0]["lease"]["nonce"].is_null());
    web.pass(13_000);
    assert_eq!(web.get(&on(1, "/lease")).await.status, 404);
    let next = lease(&web, 1).await;
    assert_ne!(next, nonce);
    assert_eq!(update(&web, 1, Y, Some(&nonce)).await.status, 409, "a dead nonce is none");
    assert_eq!(update(&web, 1, Y, Some(&next)).await.status, 200);
}

#[tokio::test]
async fn updates_in_a_row_collide_and_a_stale_version_is_refused() {
    let web = Served::web(Behaviour::default()).await;
    let old = web.machine(1).await["instance_id"].clone();
    assert_eq!(update(&web, 1, Y, None).await.status, 200);
    let again = update(&web, 1, Y, None).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.error(), "aborted: machine is replacing: concurrent update in progress");
    let start = web.post(&on(1, "/start"), None, Value::Null).await;
    assert_eq!(start.status, 412);
    assert!(start.error().contains("machine getting replaced, refusing to start"));
    web.pass(1000);
    let mut body = update_body(&web, 1, X).await;
    body["current_version"] = old;
    let stale = web.post(&on(1, ""), None, body).await;
    assert_eq!(stale.status, 412);
    let empty = web.post(&on(1, ""), None, json!({"skip_launch": false})).await;
    assert!(empty.status == 400 && empty.error().contains("config is required"));
}

#[tokio::test]
async fn an_unknown_image_is_resolved_to_null_and_a_machine_on_it_goes_back() {
    let web = Served::web(Behaviour::default()).await;
    let resolve = "query ($appName: String!, $imageRef: String!) { app(name: $appName) { id \
                   image(ref: $imageRef) { id digest ref compressedSize: compressedSizeFull } } }";
    let known = web.graphql(resolve, json!({"appName": "web", "imageRef": Y})).await;
    assert_eq!(known["data"]["app"]["image"]["ref"], Y);
    assert!(known["data"]["app"]["image"]["compressedSize"].is_string());
    let gone = "registry.fly.io/web:v0.9";
    let unknown = web.graphql(resolve, json!({"appName": "web", "imageRef": gone})).await;
    assert_eq!(unknown["data"]["app"]["image"], Value::Null);
    let manifest = web.get("/v2/web/manifests/v0.9").await;
    assert_eq!(
        (manifest.status, &manifest.body["errors"][0]["code"]),
        (404, &json!("MANIFEST_UNKNOWN"))
    );

    let before = web.machine(1).await;
    let reply = update(&web, 1, gone, None).await;
    assert_eq!(reply.status, 200, "the platform finds out later");
    web.pass(1000);
    let wait = web.get(&on(1, "/wait?state=started&timeout=60")).await;
    assert_eq!(wait.status, 200, "without a version the wait is satisfied");
    assert_ne!(wait.body["version"], reply.body["instance_id"]);
    let after = web.machine(1).await;
    assert_eq!(after["instance_id"], before["instance_id"]);
    assert_eq!(after["image_ref"], before["image_ref"]);
}

#[tokio::test]
async fn a_stopped_machine_stays_stopped_whatever_it_is_updated_to() {
    let web = Served::web(Behaviour::default()).await;
    let mut body = update_body(&web, 4, Y).await;
    body["skip_launch"] = json!(false);
    let reply = web.post(&on(4, ""), None, body).await;
    web.pass(1000);
    let version = reply.body["instance_id"].as_str().unwrap();
    let wait = web.get(&on(4, &format!("/wait?state=settled&version={version}"))).await;
    assert_eq!((wait.status, &wait.body["state"]), (200, &json!("stopped")));
    assert_eq!(web.machine(4).await["image_ref"]["tag"], Y.rsplit_once(':').unwrap().1);
    assert_eq!(
        web.post(&on(4, "/start"), None, Value::Null).await.body["previous_state"],
        "stopped"
    );
    web.pass(1000);
    assert_eq!(web.machine(4).await["state"], "started");
    let versions = web.get(&on(4, "/versions")).await.body;
    assert_eq!(versions[0]["user_config"]["image"], Y);
    assert_eq!(versions[1]["user_config"]["image"], X);
}

#[tokio::test]
async fn a_wait_has_its_rules() {
    let web = Served::web(Behaviour::default()).await;
    let long = web.get(&on(1, "/wait?timeout=61")).await;
    assert!(long.status == 400 && long.error().contains("must be inside range [1s, 1m0s]"));
    let versionless = web.get(&on(1, "/wait?state=stopped")).await;
    assert_eq!(versionless.status, 400);
    let path = on(4, "/wait?state=started,failed&timeout=1");
    let (waited, ()) = tokio::join!(web.get(&path), async {
        // Until the request has surely come in, time is moved again and again.
        for _ in 0..200 {
            web.pass(100);
            web.get("/v1/apps/web").await;
        }
    });
    assert_eq!(waited.status, 408);
    assert!(waited.error().contains("deadline_exceeded: machine failed to reach desired state"));
    assert!(waited.error().ends_with("currently stopped"), "{waited:?}");
}

#[tokio::test]
async fn a_crashing_image_leaves_exits_that_flyctl_can_read_and_ends_stopped() {
    let web = Served::web(Behaviour::crashing(0.5)).await;
    update(&web, 1, Y, None).await;
    web.pass(5000);
    let machine = web.machine(1).await;
    let events = machine["events"].as_array().unwrap();
    let exit = events.iter().find(|event| event["type"] == "exit").unwrap();
    assert!(exit["request"]["restart_count"].as_u64().unwrap() > 1);
    let exit = &exit["request"]["exit_event"];
    assert_eq!((&exit["exit_code"], &exit["requested_stop"]), (&json!(1), &json!(false)));
    assert_eq!(exit["restarting"], true);
    assert!(exit["exited_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    web.pass(60_000);
    assert_eq!(web.machine(1).await["state"], "stopped");
    let events = web.get(&on(1, "/events?limit=3")).await.body;
    assert_eq!(events.as_array().unwrap().len(), 3);
    assert_eq!(events[0]["request"]["exit_event"]["restarting"], false);
    let logs = web.get(&format!("/api/v1/apps/web/logs?instance={}", id(1))).await.body;
    assert!(!logs["data"].as_array().unwrap().is_empty(), "a log without a line never ends");
}

#[tokio::test]
async fn failing_checks_are_critical_after_the_first_result() {
    let web = Served::web(Behaviour::unhealthy()).await;
    update(&web, 1, Y, None).await;
    web.pass(250);
    assert_eq!(web.machine(1).await["checks"], json!([]));
    web.pass(1000);
    let machine = web.machine(1).await;
    assert_eq!(machine["state"], "started", "a failing check stops nothing");
    assert_eq!(machine["checks"][0]["name"], "servicecheck-00-http-8080");
    assert_eq!(machine["checks"][0]["status"], "critical");
}

#[tokio::test]
async fn secrets_are_set_and_shown_as_digests() {
    let web = Served::web(Behaviour::default()).await;
    let set = web.post("/v1/apps/web/secrets", None, json!({"values": {"A": "b"}})).await;
    assert_eq!((set.status, &set.body["secrets"][0]["name"]), (200, &json!("A")));
    let first = web.get("/v1/apps/web/secrets").await.body["secrets"][0]["digest"].clone();
    web.post("/v1/apps/web/secrets", None, json!({"values": {"A": "c"}})).await;
    let listed = web.get("/v1/apps/web/secrets").await;
    assert_ne!(listed.body["secrets"][0]["digest"], first);
    assert!(!listed.body.to_string().contains("\"c\""), "values are not shown");
    web.post("/v1/apps/web/secrets", None, json!({"values": {"A": null}})).await;
    assert_eq!(web.get("/v1/apps/web/secrets").await.body["secrets"], json!([]));
}

#[tokio::test]
async fn a_machine_update_by_hand_writes_no_release_and_keeps_the_number() {
    let web = Served::web(Behaviour::default()).await;
    let nonce = lease(&web, 1).await;
    let pinned = format!("{Y}@sha256:{}", "41".repeat(32));
    assert_eq!(update(&web, 1, &pinned, Some(&nonce)).await.status, 200);
    web.pass(1000);
    let wait = web.get(&on(1, "/wait?state=settled&timeout=60")).await;
    assert_eq!((wait.status, &wait.body["state"]), (200, &json!("started")));
    let machine = web.machine(1).await;
    assert_eq!(machine["image_ref"]["digest"], format!("sha256:{}", "41".repeat(32)));
    assert_eq!(machine["config"]["image"], pinned);
    assert_eq!(machine["config"]["metadata"]["fly_release_version"], "42");
    let current = web.get("/api/v1/apps/web/releases/current").await.body;
    assert_eq!(current["version"], 42);
}

#[tokio::test]
async fn machines_are_created_and_destroyed_and_the_feed_tells() {
    let web = Served::web(Behaviour::default()).await;
    let feed = web.get("/v1/orgs/acme/machines").await.body;
    let seen = feed["last_updated_at"].as_str().unwrap().to_owned();
    web.pass(1000);
    let config = web.machine(1).await["config"].clone();
    let body = json!({"config": config, "region": "syd", "lease_ttl": 60});
    let created = web.post("/v1/apps/web/machines", None, body).await;
    assert_eq!(created.status, 200);
    let (new, nonce) = (created.body["id"].as_str().unwrap(), created.body["nonce"].as_str());
    let news = web.get(&format!("/v1/orgs/acme/machines?updated_after={seen}")).await.body;
    assert_eq!(news["machines"].as_array().unwrap().len(), 1);
    assert_eq!(news["machines"][0]["id"], new);
    let path = format!("/v1/apps/web/machines/{new}");
    assert_eq!(web.ask(("DELETE", &path), nonce, &Value::Null).await.status, 412, "not stopped");
    let forced = web.ask(("DELETE", &format!("{path}?force=true")), nonce, &Value::Null).await;
    assert_eq!(forced.status, 200);
    assert_eq!(web.get("/v1/apps/web/machines").await.body.as_array().unwrap().len(), 4);
    let all = web.get("/v1/apps/web/machines?include_deleted=true").await.body;
    assert_eq!(all.as_array().unwrap().len(), 5);
    let page = web.get("/v1/orgs/acme/machines?limit=3").await.body;
    let rest = page["next_cursor"].as_str().unwrap();
    let page = web.get(&format!("/v1/orgs/acme/machines?limit=3&cursor={rest}")).await.body;
    assert_eq!(
        (page["machines"].as_array().unwrap().len(), &page["next_cursor"]),
        (1, &Value::Null)
    );
    web.sim.set_capacity("syd", Some(0));
    let full = web.post("/v1/apps/web/machines", None, json!({"config": config, "region": "syd"}));
    assert_eq!(full.await.body["status"], "insufficient_capacity");
}

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
async fn every_running_machine_serves_its_metrics_on_its_own_address() {
    // A port that is free on one loopback address is free on the others.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut fleet = waveoff::sim::fleet::demo();
    (fleet.network, fleet.metrics_port) = ([127, 91, 0, 0].into(), port);
    let web = Served::serve(Sim::at(&fleet, "2026-01-05T03:00:00Z".parse().unwrap())).await;
    let pages = tokio::spawn(serve::metrics::serve(Arc::new(web.sim.clone())));
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
