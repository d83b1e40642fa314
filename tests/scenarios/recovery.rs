//! What was bad and is well again is left alone.

use waveoff::{
    model::EventKind::{
        HoldCleared, HoldPlaced, ReleaseTrusted, RollbackCompleted, RollbackPlanned,
        RollbackStarted, RollbackStopped,
    },
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, ShipOptions, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

/// A share of failed requests can recover, too: half a minute of a dependency's outage.
#[tokio::test(start_paused = true)]
async fn requests_that_succeed_again_end_the_countdown() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"5m\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.sim.set_behaviour("registry.fly.io/api:errors", Behaviour::default()).unwrap();
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("recovered"));
    // It has to earn its trust from the recovery on.
    let recovered = world.now();
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    let took = world.now().duration_since(recovered).as_secs();
    assert!((60..80).contains(&took), "trusted {took} s after the recovery");
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_recovers_while_the_registry_is_down_is_left_alone() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.run_for(5).await;
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Presence));
    world.ship("registry.fly.io/api:errors");
    world.until(HoldPlaced).await;
    world.run_for(600).await;
    assert_eq!(world.count(HoldPlaced).await, 1, "said once: {}", world.timeline().await);
    world.sim.set_behaviour("registry.fly.io/api:errors", Behaviour::default()).unwrap();
    let cleared = world.until(HoldCleared).await;
    assert!(why(&cleared).contains("recovered"));
    world.sim.clear_faults();
    world.run_for(300).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}

/// The daemon's first minutes fall into an incident: once it is over, learning goes on.
#[tokio::test(start_paused = true)]
async fn a_hold_for_want_of_a_target_ends_with_the_incident() {
    let mut world = World::idle(&fleet::demo(), &policy(QUICK));
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::errors(0.5)).unwrap();
    world.start().await;
    world.until(HoldPlaced).await;
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::default()).unwrap();
    world.until(HoldCleared).await;
    world.until(ReleaseTrusted).await;
    // And the next bad release is undone.
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A database outage in the middle of a deploy: old and new machines fail alike.
#[tokio::test(start_paused = true)]
async fn a_release_is_not_blamed_for_what_the_old_machines_do_as_well() {
    let mut world = World::quick().await;
    world.trusted().await;
    let slow = ShipOptions { pause_s: 20.0, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", slow).unwrap();
    world.run_for(20).await;
    for image in ["registry.fly.io/api:v41", "registry.fly.io/api:good"] {
        world.sim.set_behaviour(image, Behaviour::errors(0.4)).unwrap();
    }
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("fail as well"));
    for image in ["registry.fly.io/api:v41", "registry.fly.io/api:good"] {
        world.sim.set_behaviour(image, Behaviour::default()).unwrap();
    }
    world.until(HoldCleared).await;
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.all_run("good");
    world.finish().await;
}

/// Checks fail while a process starts; that is what a grace period is for.
#[tokio::test(start_paused = true)]
async fn a_slow_start_within_its_grace_period_is_no_breach() {
    let mut fleet = fleet::demo();
    let api = fleet.apps.iter_mut().find(|app| app.name == APP).unwrap();
    for group in &mut api.groups {
        group.grace_period_s = 60;
    }
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:unhealthy");
    world.run_for(45).await;
    world.sim.set_behaviour("registry.fly.io/api:unhealthy", Behaviour::default()).unwrap();
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    assert_eq!(world.count(RollbackStarted).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

/// The policy is taken away and comes back an hour later: what was seen before says nothing of now.
#[tokio::test(start_paused = true)]
async fn an_old_alarm_does_not_undo_a_release_that_is_well_by_now() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"10s\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.rewrite_policy(&policy(&head).replace("[\"api\"]", "[\"other\"]")).await;
    world.sim.set_behaviour("registry.fly.io/api:errors", Behaviour::default()).unwrap();
    world.run_for(3600).await;
    world.rewrite_policy(&policy(QUICK)).await;
    world.run_for(600).await;
    assert_eq!(world.count(RollbackStarted).await, 0, "{}", world.timeline().await);
    assert_eq!(world.count(RollbackPlanned).await, 1);
    world.finish().await;
}

/// The platform cannot be read for an hour, and the release recovers meanwhile.
#[tokio::test(start_paused = true)]
async fn blindness_ends_with_new_evidence_and_not_with_the_old() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"1m\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Machines));
    world.until(RollbackStopped).await;
    world.sim.set_behaviour("registry.fly.io/api:errors", Behaviour::default()).unwrap();
    world.run_for(3600).await;
    world.sim.clear_faults();
    world.run_for(300).await;
    assert_eq!(world.count(RollbackPlanned).await, 1, "{}", world.timeline().await);
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}
