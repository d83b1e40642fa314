//! Scenes of our own: what `flyctl` and the daemon rely on, without any recording.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use serde_json::{Value, json};
use waveoff::sim::Behaviour;

use crate::served::{Answer, Served, X, Y, id, on, update_body};

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
             releasesUnprocessed(first: $limit) { nodes { id version user { email } } } } }",
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

/// Moves time, again and again.
async fn tick(web: &Served) -> Answer {
    loop {
        web.pass(100);
        web.get("/v1/apps/web").await;
    }
}

#[tokio::test]
async fn a_wait_has_its_rules() {
    let web = Served::web(Behaviour::default()).await;
    let long = web.get(&on(1, "/wait?timeout=61")).await;
    assert!(long.status == 400 && long.error().contains("must be inside range [1s, 1m0s]"));
    update(&web, 1, Y, None).await;
    let versionless = web.get(&on(1, "/wait?state=stopped")).await;
    assert_eq!(versionless.status, 400);
    let path = on(4, "/wait?state=started,failed&timeout=1");
    let waited = tokio::select! {
        answered = web.get(&path) => answered,
        never = tick(&web) => never,
    };
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

/// As `fly deploy` runs a release command: a machine that ends by itself and is gone with that.
#[tokio::test]
async fn a_release_command_runs_once_on_a_machine_that_goes_away() {
    let web = Served::web(Behaviour::default()).await;
    let config = json!({
        "image": Y, "auto_destroy": true, "restart": {"policy": "no"},
        "env": {"RELEASE_COMMAND": "1"},
        "metadata": {"fly_process_group": "fly_app_release_command"},
    });
    let body = json!({"config": config, "region": "iad", "skip_launch": true});
    let created = web.post("/v1/apps/web/machines", None, body).await.body;
    assert_eq!(created["state"], "created");
    let path = format!("/v1/apps/web/machines/{}", created["id"].as_str().unwrap());
    web.pass(500);
    let stopped = web.get(&format!("{path}/wait?state=stopped&timeout=60")).await;
    assert_eq!(stopped.status, 200);
    assert_eq!(web.post(&format!("{path}/start"), None, Value::Null).await.status, 200);
    web.pass(500);
    assert_eq!(web.get(&format!("{path}/wait?state=started")).await.status, 200);
    web.pass(2000);
    assert_eq!(web.get(&format!("{path}/wait?state=destroyed")).await.status, 200);
    let machine = web.get(&path).await.body;
    let exit = &machine["events"][0];
    assert_eq!(
        (&exit["type"], &exit["request"]["exit_event"]["exit_code"]),
        (&json!("exit"), &json!(0))
    );
}

#[tokio::test]
async fn an_image_that_starts_slowly_is_waited_for() {
    let web = Served::web(Behaviour { boot_s: 30.0, ..Behaviour::default() }).await;
    update(&web, 1, Y, None).await;
    web.pass(20_000);
    assert_eq!(web.machine(1).await["state"], "starting");
    web.pass(11_000);
    assert_eq!(web.machine(1).await["state"], "started");
}
