//! Others at work on the same machines: they win, and are waited for.

use std::time::Duration;

use waveoff::{
    model::EventKind::{
        ReleaseDetected, ReleaseTrusted, RollbackCompleted, RollbackStarted, RollbackStopped,
    },
    sim::ShipOptions,
};

use crate::world::{APP, World, why};

/// Promise 5: a human's newer release always wins.
#[tokio::test(start_paused = true)]
async fn a_newer_release_stops_the_rollback_and_is_watched() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.run_for(4).await;
    // When somebody ships the fix meanwhile
    let author = "zoe@example.com".to_owned();
    let options = ShipOptions { author, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", options).unwrap();
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("a newer release wins"));
    // Then every machine gets it, and it earns trust like any other
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    world.all_run("good");
    let detected = world.last(ReleaseDetected).await.unwrap().release.unwrap();
    assert_eq!(detected.author.as_deref(), Some("zoe@example.com"));
    assert_eq!(world.count(RollbackCompleted).await, 0);
    world.finish().await;
}

/// A deploy holds the leases of all its machines until it ends: the rollback waits, and goes on.
#[tokio::test(start_paused = true)]
async fn machines_leased_by_somebody_else_are_waited_for() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let last = world.sim.machine_ids(APP, Some("syd")).pop().unwrap();
    world.sim.lease_as(&last, "ci@example.com", Duration::from_secs(300)).unwrap();
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let took = world.seconds_between(RollbackStarted, RollbackCompleted).await;
    assert!(took >= 300.0, "nothing is done to a machine that somebody holds: {took} s");
    world.finish().await;
}

/// A slow deploy of the bad release, still going on when it is judged.
#[tokio::test(start_paused = true)]
async fn a_deploy_under_way_is_judged_at_once_and_undone_when_its_leases_are_free() {
    let mut world = World::quick().await;
    world.trusted().await;
    let slow = ShipOptions { pause_s: 10.0, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:errors", slow).unwrap();
    world.until(RollbackStarted).await;
    assert!(world.sim.is_shipping(), "judged before the deploy is over");
    world.until(RollbackCompleted).await;
    world.run_for(30).await;
    world.all_run("v41");
    world.finish().await;
}

/// A lease that is never given back: people are told, after half an hour without progress.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_comes_no_further_says_so() {
    use waveoff::model::EventKind::RollbackFailed;
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    for id in world.sim.machine_ids(APP, Some("syd")) {
        world.sim.lease_as(&id, "stuck@example.com", Duration::from_secs(86_400)).unwrap();
    }
    let failed = world.until(RollbackFailed).await;
    let reason = why(&failed);
    assert!(reason.contains("leased by stuck@example.com"), "{reason}");
    world.finish().await;
}
