//! Machines with several containers: the app's image is in one of them, and others have their own.

use serde_json::{Value, json};
use waveoff::{
    model::{
        EventKind::{HoldPlaced, ReleaseDegraded, RollbackCompleted, RollbackStarted},
        HoldReason, Reason,
    },
    sim::ShipOptions,
};

use crate::world::{APP, World};

/// Ships an image to machines with these containers; `.` is the image.
fn ship(world: &World, image: &str, containers: &Value) {
    let options = json!({"config": {"containers": containers}});
    let options: ShipOptions = serde_json::from_value(options).unwrap();
    world.sim.ship(APP, &format!("registry.fly.io/api:{image}"), options).unwrap();
}

/// What the machines are configured with: their own image, and those of their containers.
fn images(world: &World) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value, key: &str| -> String {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let machines = world.sim.machine_ids(APP, None);
    let configs = machines
        .iter()
        .map(|id| -> Value { serde_json::from_str(&world.sim.config(id).unwrap()).unwrap() });
    let containers = |config: &Value| {
        let list = config.get("containers").and_then(Value::as_array);
        list.into_iter().flatten().map(|one| text(one, "image")).collect()
    };
    configs.map(|config| (text(&config, "image"), containers(&config))).collect()
}

async fn with_containers() -> World {
    let mut world = World::quick().await;
    let containers = json!([{"name": "app", "image": "."}, {"name": "proxy", "image": "envoy:1"}]);
    ship(&world, "v41", &containers);
    world.trusted().await;
    world
}

#[tokio::test(start_paused = true)]
async fn the_app_s_image_is_put_back_in_its_container_as_well() {
    // Given an app whose machines run its image in a container, and another one beside it
    let mut world = with_containers().await;
    // When a release with a bad image is rolled back, that has a newer neighbour too
    let containers = json!([{"name": "app", "image": "."}, {"name": "proxy", "image": "envoy:2"}]);
    ship(&world, "errors", &containers);
    let completed = world.until(RollbackCompleted).await;
    // Then no container runs the bad image, and what stays is told
    for (image, containers) in images(&world) {
        assert!(image.starts_with("registry.fly.io/api:v41@sha256:"), "{image}");
        assert_eq!(containers, [image, "envoy:2".to_owned()]);
    }
    let drift = completed.drift.unwrap();
    let names: Vec<_> = drift.changes.iter().map(|one| (one.name.as_str(), one.put_back)).collect();
    assert_eq!(names, [("image of container proxy", false)]);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_a_rollback_would_not_come_to_is_said_before_anything_is_written() {
    // Given the same app
    let mut world = with_containers().await;
    // When its own container gets an image of another name, and fails
    let containers = json!([
        {"name": "app", "image": "ghcr.io/acme/api:2"}, {"name": "proxy", "image": "envoy:1"},
    ]);
    ship(&world, "errors", &containers);
    world.until(ReleaseDegraded).await;
    let held = world.until(HoldPlaced).await;
    // Then nothing is rolled back, for that reason
    let containers = vec!["app".to_owned()];
    let want = Reason::Held { hold: HoldReason::ContainersStay { containers } };
    assert_eq!(held.reason, Some(want));
    world.run_for(120).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}
