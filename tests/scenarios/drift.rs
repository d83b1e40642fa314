//! Releases that change more than the image, or something else: what people are told of it.

use serde_json::{Value, json};
use waveoff::{
    model::{
        ChangeKind, Drift, Edit, Event,
        EventKind::{self, HoldPlaced, RollbackCompleted, RollbackPlanned, RollbackStarted},
    },
    sim::{Behaviour, ShipOptions},
};

use crate::world::{APP, World, why};

/// Ships an image with changes of the machines' configuration, and of secrets.
fn ship_changed(world: &World, image: &str, options: &Value) {
    let options: ShipOptions = serde_json::from_value(options.clone()).unwrap();
    world.sim.ship(APP, &format!("registry.fly.io/api:{image}"), options).unwrap();
}

fn changes(event: &Event) -> Vec<(ChangeKind, String, Edit)> {
    let drift = event.drift.as_ref().expect("it is known what changed");
    drift.changes.iter().map(|one| (one.kind, one.name.clone(), one.edit)).collect()
}

/// The message that a receiver got of a kind.
fn message(world: &World, kind: EventKind) -> Value {
    let got = world.inbox.got.lock().unwrap();
    let mut bodies = got.iter().map(|(_, body)| body);
    bodies.find(|body| body["type"] == kind.as_str()).cloned().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_rollback_says_what_else_changed_and_that_it_stays() {
    let mut world = World::quick().await;
    world.sim.set_secrets(APP, &[("DB_URL", "one")]).unwrap();
    world.trusted().await;
    // Read with the ledger, so that the secrets of the known-good release are known.
    let options = json!({
        "config": {"env": {"LOG_LEVEL": "debug-value"}, "guest": {"memory_mb": 512}},
        "unset": ["/services/0/checks/0"],
        "secrets": {"DB_URL": "secret-value"},
    });
    ship_changed(&world, "errors", &options);
    world.until(RollbackCompleted).await;
    // Messages follow what is recorded.
    world.run_for(5).await;
    for kind in [RollbackPlanned, RollbackStarted, RollbackCompleted] {
        let told = world.last(kind).await.unwrap();
        assert_eq!(
            changes(&told),
            [
                (ChangeKind::Env, "LOG_LEVEL".to_owned(), Edit::Added),
                (ChangeKind::Secret, "DB_URL".to_owned(), Edit::Changed),
                (ChangeKind::Check, "http on 8080".to_owned(), Edit::Removed),
                (ChangeKind::Guest, "memory_mb".to_owned(), Edit::Changed),
            ],
            "{kind:?}"
        );
        assert!(told.drift.as_ref().unwrap().image);
        let body = message(&world, kind);
        let text = body["data"]["text"].as_str().unwrap();
        let line = "Between v41 and v42 also changed, and stays: env LOG_LEVEL (new), secret \
                    DB_URL, check http on 8080 (gone), guest memory_mb";
        assert!(text.contains(line), "{text}");
        assert_eq!(body["data"]["drift"]["image_changed"], json!(true));
        assert_eq!(body["data"]["drift"]["changes"][0]["name"], json!("LOG_LEVEL"));
    }
    // Nothing of it was touched, and no value was kept.
    let id = world.sim.machine_ids(APP, None)[0].clone();
    assert!(world.sim.config(&id).unwrap().contains("debug-value"));
    let kept = world.stored(APP).await.1;
    assert!(kept.contains("LOG_LEVEL") && !kept.contains("debug-value"));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_of_the_same_image_is_held_with_what_it_changed_instead() {
    let mut world = World::quick().await;
    world.trusted().await;
    let broken = Behaviour::errors(0.5).only_with("POOL", "0");
    world.sim.set_behaviour("registry.fly.io/api:v41", broken).unwrap();
    ship_changed(&world, "v41", &json!({"config": {"env": {"POOL": "0"}}}));
    let held = world.until(HoldPlaced).await;
    assert_eq!(
        why(&held),
        "the image is that of the known-good release, so an image rollback cannot help: between \
         v41 and v42 changed env POOL (new) (config = \"restore\" puts back environment, \
         services, checks and init)"
    );
    assert_eq!(changes(&held), [(ChangeKind::Env, "POOL".to_owned(), Edit::Added)]);
    assert_eq!(held.drift.map(|drift: Drift| drift.image), Some(false));
    world.finish().await;
}

/// The setup of the known-good release is remembered over restarts.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_restarted_still_knows_what_changed() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.kill().await;
    world.start().await;
    ship_changed(&world, "errors", &json!({"config": {"init": {"cmd": ["x"]}}}));
    let started = world.until(RollbackStarted).await;
    assert_eq!(changes(&started), [(ChangeKind::Init, "cmd".to_owned(), Edit::Added)]);
    world.until(RollbackCompleted).await;
    world.finish().await;
}
