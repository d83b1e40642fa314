//! `config = "restore"`: what a release changed in the configuration of its machines is put back.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use waveoff::{
    model::{
        Act, Event,
        EventKind::{
            HoldPlaced, ReleaseTrusted, RollbackCompleted, RollbackFailed, RollbackStarted,
        },
        Wish,
    },
    sim::{Behaviour, Fleet, ShipOptions, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

const IMAGE: &str = "registry.fly.io/api:v41";

async fn world(fleet: &Fleet) -> World {
    let head = QUICK.replace("[rollback]", "[rollback]\nconfig = \"restore\"");
    let mut world = World::new(fleet, &policy(&head)).await;
    world.trusted().await;
    world
}

fn ship(world: &World, image: &str, options: &Value) {
    let options: ShipOptions = serde_json::from_value(options.clone()).unwrap();
    world.sim.ship(APP, image, options).unwrap();
}

/// The known-good image breaks where `POOL` is 0.
fn breaks_on_its_environment(world: &World) {
    let broken = Behaviour::errors(0.5).only_with("POOL", "0");
    world.sim.set_behaviour(IMAGE, broken).unwrap();
}

fn config(world: &World, machine: &str) -> Value {
    serde_json::from_str(&world.sim.config(machine).unwrap()).unwrap()
}

fn configs(world: &World) -> Vec<Value> {
    world.sim.machine_ids(APP, None).iter().map(|id| config(world, id)).collect()
}

fn put_back(event: &Event) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let changes = &event.drift.as_ref().unwrap().changes;
    let names = |back: bool| {
        changes.iter().filter(|one| one.put_back == back).map(|one| one.name.as_str()).collect()
    };
    (names(true), names(false))
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_environment_is_what_broke_gets_the_old_one_back() {
    let mut world = world(&fleet::demo()).await;
    breaks_on_its_environment(&world);
    let before = configs(&world);
    let options = json!({
        "config": {"env": {"POOL": "0"}, "guest": {"memory_mb": 512}, "init": {"cmd": ["x"]}},
        "unset": ["/services/0/checks/0"],
        "secrets": {"DB_URL": "new"},
    });
    ship(&world, IMAGE, &options);
    let completed = world.until(RollbackCompleted).await;
    assert_eq!(completed.reason, None, "nothing is left behind");
    assert_eq!(
        put_back(&completed),
        (BTreeSet::from(["POOL", "cmd", "http on 8080"]), BTreeSet::from(["DB_URL", "memory_mb"]))
    );
    for (config, was) in configs(&world).iter().zip(&before) {
        for key in ["env", "services", "init", "checks"] {
            assert_eq!(config[key], was[key], "{key}");
        }
        assert_eq!(config["guest"]["memory_mb"], 512, "never put back");
        assert_eq!(config["metadata"]["fly_release_version"], "43");
    }
    // What was put back is healthy, and the image is not taken for bad.
    world.run_for(300).await;
    assert_eq!(world.count(RollbackStarted).await, 1);
    let (_, state) = world.stored(APP).await;
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["state"]["memory"]["quarantined"], json!([]));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_image_is_put_back_together_with_the_configuration_of_before() {
    let mut world = world(&fleet::demo()).await;
    let before = configs(&world);
    let options = json!({"config": {"env": {"LOG_LEVEL": "debug"}, "services": [], "checks":
        {"alive": {"type": "tcp", "port": 8080, "interval": "2s"}}}});
    ship(&world, "registry.fly.io/api:unhealthy", &options);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    for (config, was) in configs(&world).iter().zip(&before) {
        assert_eq!((&config["env"], &config["services"]), (&was["env"], &was["services"]));
        assert_eq!(config.get("checks"), was.get("checks"));
    }
    world.finish().await;
}

/// A daemon that is killed in the middle goes on with what was to be put back.
#[tokio::test(start_paused = true)]
async fn what_is_to_be_put_back_survives_the_end_of_the_daemon() {
    let mut world = world(&fleet::demo()).await;
    breaks_on_its_environment(&world);
    ship(&world, IMAGE, &json!({"config": {"env": {"POOL": "0"}}}));
    world.until(RollbackStarted).await;
    for seconds in [1, 3, 6, 10] {
        world.run_for(seconds).await;
        world.kill().await;
        world.start().await;
    }
    world.until(RollbackCompleted).await;
    assert!(configs(&world).iter().all(|config| config["env"].get("POOL").is_none()));
    assert_eq!(world.count(RollbackStarted).await, 1);
    world.finish().await;
}

/// The platform gives the update up and goes back: with the same image the version is what tells.
#[tokio::test(start_paused = true)]
async fn an_update_that_the_platform_gave_up_is_made_again() {
    let mut world = world(&fleet::demo()).await;
    breaks_on_its_environment(&world);
    for id in world.sim.machine_ids(APP, None) {
        world.sim.revert_next_update(&id).unwrap();
    }
    // The deploy's own update is given up as well: the next one is ours.
    ship(&world, IMAGE, &json!({"config": {"env": {"POOL": "0"}}}));
    world.run_for(60).await;
    ship(&world, IMAGE, &json!({"config": {"env": {"POOL": "0"}}}));
    world.until(RollbackStarted).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.revert_next_update(&id).unwrap();
    }
    world.until(RollbackCompleted).await;
    assert!(configs(&world).iter().all(|config| config["env"].get("POOL").is_none()));
    assert_eq!(world.count(RollbackFailed).await, 0);
    world.finish().await;
}

/// A worker whose configuration the release did not touch is not touched either.
#[tokio::test(start_paused = true)]
async fn only_the_groups_are_put_back_whose_configuration_changed() {
    let mut fleet = fleet::demo();
    let mut worker = fleet::Group::of(&[("iad", 2)]);
    worker.name = "worker".to_owned();
    worker.services = false;
    fleet.apps[0].groups.push(worker);
    let mut world = world(&fleet).await;
    breaks_on_its_environment(&world);
    let options = json!({"config": {"env": {"POOL": "0"}}, "groups": ["app"]});
    ship(&world, IMAGE, &options);
    world.until(RollbackCompleted).await;
    for config in configs(&world) {
        let worker = config["metadata"]["fly_process_group"] == "worker";
        assert!(config["env"].get("POOL").is_none());
        assert_eq!(config["metadata"].get("waveoff_rollback").is_none(), worker);
    }
    world.finish().await;
}

/// What rests is configured as well, and rests on.
#[tokio::test(start_paused = true)]
async fn a_stopped_machine_is_put_back_and_not_started() {
    let mut world = world(&fleet::demo()).await;
    breaks_on_its_environment(&world);
    let resting = world.sim.machine_ids(APP, Some("iad"))[0].clone();
    world.sim.stop(&resting).unwrap();
    world.run_for(10).await;
    ship(&world, IMAGE, &json!({"config": {"env": {"POOL": "0"}}}));
    world.until(RollbackCompleted).await;
    world.run_for(60).await;
    assert!(config(&world, &resting)["env"].get("POOL").is_none());
    assert_eq!(world.sim.state(&resting).unwrap().as_str(), "stopped");
    world.finish().await;
}

/// A change of configuration that works earns trust, and is what is put back from then on.
#[tokio::test(start_paused = true)]
async fn a_healthy_change_is_trusted_and_becomes_what_is_put_back() {
    let mut world = world(&fleet::demo()).await;
    breaks_on_its_environment(&world);
    ship(&world, IMAGE, &json!({"config": {"env": {"POOL": "5"}}}));
    world.run_for(200).await;
    assert_eq!(world.count(ReleaseTrusted).await, 2);
    ship(&world, IMAGE, &json!({"config": {"env": {"POOL": "0"}}}));
    world.until(RollbackCompleted).await;
    assert!(configs(&world).iter().all(|config| config["env"]["POOL"] == "5"));
    world.finish().await;
}

/// Secrets cannot be put back: only they changed, and the release is held.
#[tokio::test(start_paused = true)]
async fn where_only_secrets_changed_nothing_could_be_put_back() {
    let mut world = world(&fleet::demo()).await;
    world.sim.set_behaviour(IMAGE, Behaviour::default()).unwrap();
    let options: ShipOptions = serde_json::from_value(json!({"secrets": {"DB_URL": "x"}})).unwrap();
    world.sim.ship_secrets(APP, options).unwrap();
    world.run_for(10).await;
    world.sim.set_behaviour(IMAGE, Behaviour::errors(0.5)).unwrap();
    let held = world.until(HoldPlaced).await;
    assert_eq!(
        why(&held),
        "the image is that of the known-good release, so an image rollback cannot help: between \
         v41 and v42 changed secret DB_URL (new)"
    );
    world.finish().await;
}

/// A person goes back to the configuration of before without naming anything.
#[tokio::test(start_paused = true)]
async fn a_rollback_by_hand_does_what_the_policy_says() {
    let mut world = world(&fleet::demo()).await;
    ship(&world, IMAGE, &json!({"config": {"env": {"LOG_LEVEL": "debug"}}}));
    world.run_for(30).await;
    let reply = world.act(Act::Rollback(Wish::default())).await;
    assert!(matches!(reply, waveoff::model::Reply::Done(_)), "{reply:?}");
    world.until(RollbackCompleted).await;
    assert!(configs(&world).iter().all(|config| config["env"].get("LOG_LEVEL").is_none()));
    world.finish().await;
}
