//! A round through the whole Machines API, held against its official description by whoever asks.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use std::time::Duration;

use serde_json::{Value, json};
use waveoff::{
    config::Secret,
    fly::{Fly, FlySettings},
    model::AppName,
    ports::{FeedPosition, MachineUpdate, Platform as _},
    sim::Behaviour,
};

use crate::{
    between::Between,
    openapi::description,
    served::{Served, Y, on, update_body},
};

#[tokio::test]
async fn every_request_and_answer_stays_within_the_official_description() {
    let Some(described) = description() else {
        println!(
            "the official description is not here (WAVEOFF_FLY_OPENAPI): nothing was held against it"
        );
        return;
    };
    let web = Served::web(Behaviour::default()).await;
    apps_and_volumes(&web).await;
    machines(&web).await;
    for path in ["/v1/orgs/acme/machines?limit=3", "/v1/platform/regions", "/v1/tokens/current"] {
        assert_eq!(web.get(path).await.status, 200, "{path}");
    }
    let access =
        json!({"header": "Bearer sim-token", "access": {"action": "rw", "app_name": "web"}});
    assert_eq!(web.post("/v1/tokens/authorize", None, access).await.status, 200);
    let (seen, all) = described.coverage();
    println!("{} of {all} operations were held against the official description", seen.len());
    assert!(seen.len() >= 47, "{seen:#?}");
}

/// Asks, and holds the answer against its status.
async fn ask(web: &Served, call: (&str, &str), body: Value, status: u16) -> Value {
    let answer = web.ask(call, None, &body).await;
    assert_eq!(answer.status, status, "{call:?} {answer:?}");
    answer.body
}

async fn apps_and_volumes(web: &Served) {
    let shop = json!({"name": "shop", "org_slug": "acme"});
    ask(web, ("POST", "/v1/apps"), shop, 201).await;
    for path in ["/v1/apps?org_slug=acme", "/v1/apps/shop", "/v1/apps/shop/ip_assignments"] {
        ask(web, ("GET", path), Value::Null, 200).await;
    }
    let secrets = "/v1/apps/shop/secrets";
    let values = json!({"values": {"A": "b", "C": null}});
    ask(web, ("POST", secrets), values, 200).await;
    ask(web, ("GET", secrets), Value::Null, 200).await;
    let one = "/v1/apps/shop/secrets/A";
    ask(web, ("POST", one), json!({"value": "c"}), 201).await;
    ask(web, ("GET", one), Value::Null, 200).await;
    ask(web, ("DELETE", one), Value::Null, 200).await;
    let volumes = "/v1/apps/shop/volumes";
    let made = json!({"name": "data", "region": "ams", "size_gb": 2});
    let made = ask(web, ("POST", volumes), made, 200).await;
    let one = format!("{volumes}/{}", made["id"].as_str().unwrap());
    let config = json!({"image": Y, "mounts": [{"volume": made["id"], "path": "/data"}]});
    let machine = json!({"config": config, "region": "ams", "lease_ttl": 60});
    ask(web, ("POST", "/v1/apps/shop/machines"), machine, 200).await;
    for path in [volumes, &one, &format!("{one}/snapshots"), "/v1/orgs/acme/volumes"] {
        ask(web, ("GET", path), Value::Null, 200).await;
    }
    ask(web, ("PUT", &one), json!({"snapshot_retention": 7}), 200).await;
    ask(web, ("PUT", &format!("{one}/extend")), json!({"size_gb": 3}), 200).await;
    let spare = json!({"name": "spare", "region": "ams", "size_gb": 1});
    let spare = ask(web, ("POST", volumes), spare, 200).await;
    let spare = format!("{volumes}/{}", spare["id"].as_str().unwrap());
    ask(web, ("DELETE", &spare), Value::Null, 200).await;
    ask(web, ("DELETE", "/v1/apps/shop"), Value::Null, 202).await;
}

async fn machines(web: &Served) {
    ask(web, ("GET", "/v1/apps/web/machines?include_leases=true"), Value::Null, 200).await;
    ask(web, ("GET", "/v1/apps/web/machines?summary=true&state=started"), Value::Null, 200).await;
    let body = update_body(web, 1, Y).await;
    ask(web, ("POST", &on(1, "")), body, 200).await;
    web.pass(5_000);
    for rest in ["", "/events?limit=5", "/versions", "/ps", "/metadata", "/wait?state=settled"] {
        ask(web, ("GET", &on(1, rest)), Value::Null, 200).await;
    }
    ask(web, ("POST", &on(1, "/metadata/a")), json!({"value": "b"}), 204).await;
    ask(web, ("GET", &on(1, "/metadata/a")), Value::Null, 200).await;
    ask(web, ("DELETE", &on(1, "/metadata/a")), Value::Null, 204).await;
    let pairs = json!({"metadata": {"a": "b"}});
    ask(web, ("PATCH", &on(1, "/metadata")), pairs.clone(), 204).await;
    ask(web, ("PUT", &on(2, "/metadata")), pairs, 204).await;
    for rest in ["/cordon", "/uncordon", "/restart?timeout=5", "/suspend"] {
        ask(web, ("POST", &on(1, rest)), Value::Null, 200).await;
        web.pass(5_000);
    }
    ask(web, ("POST", &on(1, "/start")), Value::Null, 200).await;
    web.pass(5_000);
    ask(web, ("POST", &on(1, "/signal")), json!({"signal": "SIGUSR1"}), 200).await;
    ask(web, ("POST", &on(1, "/stop")), json!({"signal": "SIGTERM", "timeout": "1s"}), 200).await;
    let lease = json!({"description": "a test", "ttl": 30});
    let lease = ask(web, ("POST", &on(2, "/lease")), lease, 201).await;
    ask(web, ("GET", &on(2, "/lease")), Value::Null, 200).await;
    let nonce = lease["data"]["nonce"].as_str();
    let gone = web.ask(("DELETE", &on(2, "/lease")), nonce, &Value::Null).await;
    assert_eq!(gone.status, 200);
    ask(web, ("DELETE", &on(2, "?force=true")), Value::Null, 200).await;
}

/// What Waveoff itself asks of the platform.
#[tokio::test]
async fn what_waveoff_asks_stays_within_the_official_description_too() {
    let web = Served::web(Behaviour::default()).await;
    let between = Between::of(&web.url("")).await;
    let url = || between.base.clone();
    let settings = FlySettings {
        organization: "acme".to_owned(),
        token: Secret::new("sim-token"),
        api_url: url(),
        flaps_url: url(),
        uiex_url: url(),
        registry_url: url(),
        mirror_login: None,
    };
    let fly = Fly::new(settings).unwrap();
    let app = AppName::new("web");
    fly.apps().await.unwrap();
    fly.token_scope().await.unwrap();
    fly.changes(&FeedPosition::default()).await.unwrap();
    let machine = fly.machines(&app).await.unwrap().remove(0);
    let lease = fly.lease(&app, &machine.id, Duration::from_secs(30)).await.unwrap();
    let lease = fly.refresh(&lease, Duration::from_secs(30)).await.unwrap();
    let update = MachineUpdate {
        config: machine.config.clone().unwrap(),
        current: machine.instance.clone(),
        skip_launch: false,
    };
    fly.update(&lease, &update).await.unwrap();
    web.pass(5_000);
    fly.machine(&app, &machine.id).await.unwrap();
    fly.start(&lease).await.unwrap();
    fly.release(&lease).await.unwrap();
    assert_eq!(between.problems(), Vec::<String>::new());
}
