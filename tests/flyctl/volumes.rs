//! Volumes: bound to a region and a host, with the machine that mounts them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use serde_json::{Value, json};
use waveoff::sim::Behaviour;

use crate::served::{Answer, Served, X, Y};

const VOLUMES: &str = "/v1/apps/web/volumes";

async fn volume(web: &Served, region: &str) -> String {
    let asked = json!({"name": "data", "region": region, "size_gb": 3, "encrypted": true});
    let made = web.post(VOLUMES, None, asked).await;
    assert_eq!(made.status, 200, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

async fn show(web: &Served, id: &str) -> Value {
    web.get(&format!("{VOLUMES}/{id}")).await.body
}

async fn launch(web: &Served, region: &str, mounts: Value) -> Answer {
    let config = json!({"image": X, "mounts": mounts, "guest": {"memory_mb": 256}});
    web.post("/v1/apps/web/machines", None, json!({"config": config, "region": region})).await
}

fn mount(id: &str) -> Value {
    json!([{"volume": id, "path": "/data"}])
}

#[tokio::test]
async fn a_volume_is_made_listed_extended_and_destroyed() {
    let web = Served::web(Behaviour::default()).await;
    assert_eq!(web.get(VOLUMES).await.body, json!([]));
    let id = volume(&web, "ams").await;
    let shown = show(&web, &id).await;
    assert_eq!(
        (&shown["name"], &shown["region"], &shown["size_gb"], &shown["state"]),
        (&json!("data"), &json!("ams"), &json!(3), &json!("created"))
    );
    assert!(shown.get("attached_machine_id").is_none(), "an empty id would be one");
    assert_eq!(web.get(VOLUMES).await.body, json!([shown]));
    assert_eq!(web.get("/v1/apps/web").await.body["volume_count"], 1);
    assert_eq!(web.get("/v1/orgs/acme/volumes").await.body["volumes"][0]["app_name"], "web");

    let path = format!("{VOLUMES}/{id}/extend");
    let more = web.ask(("PUT", &path), None, &json!({"size_gb": 5})).await.body;
    assert_eq!((&more["volume"]["size_gb"], &more["needs_restart"]), (&json!(5), &json!(false)));
    assert_eq!(web.ask(("PUT", &path), None, &json!({"size_gb": 4})).await.status, 400);
    let kept = json!({"snapshot_retention": 9});
    let kept = web.ask(("PUT", &format!("{VOLUMES}/{id}")), None, &kept).await.body;
    assert_eq!(kept["snapshot_retention"], 9);
    for wrong in [json!({"name": "Da ta", "size_gb": 1}), json!({"name": "data", "size_gb": 0})] {
        assert_eq!(web.post(VOLUMES, None, wrong.clone()).await.status, 400, "{wrong}");
    }
    let restored = json!({"name": "data", "snapshot_id": "vs_1"});
    assert!(web.post(VOLUMES, None, restored).await.error().contains("has no volumes from a"));
    let gone = web.ask(("DELETE", &format!("{VOLUMES}/{id}")), None, &Value::Null).await;
    assert_eq!((gone.status, &gone.body["state"]), (200, &json!("pending_destroy")));
    assert_eq!(web.get(VOLUMES).await.body, json!([]));
}

#[tokio::test]
async fn a_machine_that_mounts_a_volume_is_where_the_volume_is_and_nobody_else_has_it() {
    let web = Served::web(Behaviour::default()).await;
    let id = volume(&web, "ams").await;
    let elsewhere = launch(&web, "iad", mount(&id)).await;
    assert_eq!(elsewhere.status, 400);
    assert!(elsewhere.error().contains("is in ams, not in iad"), "{elsewhere:?}");
    let made = launch(&web, "", mount(&id)).await;
    assert_eq!((made.status, &made.body["region"]), (200, &json!("ams")), "{made:?}");
    let machine = made.body["id"].as_str().unwrap();
    assert_eq!(show(&web, &id).await["attached_machine_id"], machine);
    let told = &made.body["config"]["mounts"][0];
    assert_eq!(
        (&told["name"], &told["size_gb"], &told["encrypted"], &told["path"]),
        (&json!("data"), &json!(3), &json!(true), &json!("/data")),
        "the platform says what is mounted"
    );
    let second = launch(&web, "ams", mount(&id)).await;
    assert_eq!(second.status, 412);
    assert!(second.error().contains("already claimed"), "{second:?}");
    let unknown = launch(&web, "ams", mount("vol_0")).await;
    assert_eq!((unknown.status, unknown.error()), (400, "invalid_argument: volume does not exist"));
    let bound = web.ask(("DELETE", &format!("{VOLUMES}/{id}")), None, &Value::Null).await;
    assert_eq!(bound.status, 412);

    web.pass(5_000);
    let host = |status: &str| json!({"status": status});
    let control = format!("/_sim/machines/{machine}/host");
    web.post(&control, None, host("unreachable")).await;
    assert_eq!(show(&web, &id).await["host_status"], "unreachable");
    assert_eq!(web.machine(1).await["host_status"], "ok", "it lies on a host of its own");
    let path = format!("/v1/apps/web/machines/{machine}?force=true");
    assert_eq!(web.ask(("DELETE", &path), None, &Value::Null).await.status, 200);
    let stuck = launch(&web, "ams", mount(&id)).await;
    assert_eq!(stuck.body["status"], "insufficient_capacity", "the volume's host does not answer");
}

#[tokio::test]
async fn an_update_keeps_its_volume_or_leaves_it_and_takes_no_other() {
    let web = Served::web(Behaviour::default()).await;
    let (mine, other) = (volume(&web, "ams").await, volume(&web, "ams").await);
    let machine = launch(&web, "ams", mount(&mine)).await.body;
    web.pass(5_000);
    let path = format!("/v1/apps/web/machines/{}", machine["id"].as_str().unwrap());
    let body = |mounts: Value| json!({"config": {"image": Y, "mounts": mounts}});
    let elsewhere = json!([{"volume": mine, "path": "/elsewhere"}]);
    assert_eq!(web.post(&path, None, body(elsewhere)).await.status, 200);
    web.pass(5_000);
    let swapped = web.post(&path, None, body(mount(&other))).await;
    assert_eq!((swapped.status, swapped.error()), (400, "invalid_argument: volume does not exist"));
    let named = json!([{"name": "data", "path": "/data"}]);
    assert_eq!(web.post(&path, None, body(named)).await.status, 200, "by its name");
    web.pass(5_000);
    assert_eq!(show(&web, &mine).await["attached_machine_id"], machine["id"]);
    let shown = web.get(&path).await.body;
    assert_eq!(shown["config"]["mounts"][0]["volume"], json!(mine), "it says which one");
    assert_eq!(web.post(&path, None, body(json!([]))).await.status, 200);
    assert_eq!(show(&web, &mine).await.get("attached_machine_id"), None);
}
