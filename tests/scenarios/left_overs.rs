//! An image that was rolled back is not forgotten where something newer did not reach it.

use waveoff::{
    model::EventKind::{ImageMixed, ReleaseDetected, RollbackRegionConfirmed, RollbackStarted},
    sim::{ShipOptions, ShipStrategy, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

/// Regions in a fixed order, so that a scenario knows which is last.
async fn in_order() -> World {
    let head = QUICK.replace("[rollback]", "[rollback]\norder = [\"iad\", \"lhr\", \"syd\"]");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world
}

/// `fly secrets set` gives every machine a new number and leaves it the image it has.
#[tokio::test(start_paused = true)]
async fn new_secrets_in_the_middle_of_a_rollback_hide_no_bad_image() {
    let mut world = in_order().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    // When somebody sets a secret: iad, which is well again, is stamped first
    world.sim.ship_secrets(APP, ShipOptions::default()).unwrap();
    // Then what still runs the image is undone under its new number
    for _ in 0..300 {
        if world.images().keys().all(|tag| tag == "v41") {
            break;
        }
        world.run_for(1).await;
    }
    world.all_run("v41");
    assert_eq!(world.count(RollbackStarted).await, 2, "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_fix_for_one_region_leaves_no_other_on_the_bad_image() {
    let mut world = in_order().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    // When somebody ships a fix to syd alone
    let regions = vec!["syd".to_owned()];
    let options = ShipOptions { regions, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", options).unwrap();
    world.run_for(240).await;
    // Then the fix stays where it is, and the others are undone
    let images = world.images();
    assert_eq!(images.get("good"), Some(&2), "{images:?}");
    assert_eq!(images.get("errors"), None, "{}", world.timeline().await);
    world.finish().await;
}

/// A newer release that takes its time: people know meanwhile what still serves.
#[tokio::test(start_paused = true)]
async fn people_know_within_a_minute_that_an_image_that_was_rolled_back_serves() {
    let mut world = in_order().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    let strategy = ShipStrategy::Rolling;
    let options = ShipOptions { strategy, pause_s: 40.0, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", options).unwrap();
    while world.count(ReleaseDetected).await < 3 {
        world.run_for(1).await;
    }
    let since = world.now();
    let told = world.until(ImageMixed).await;
    assert!(why(&told).contains("was rolled back serves on"), "{}", why(&told));
    assert!(told.at.duration_since(since).as_secs() <= 60);
    // And the deploy is left to itself.
    world.run_for(300).await;
    assert_eq!(world.count(RollbackStarted).await, 1, "{}", world.timeline().await);
    world.all_run("good");
    world.finish().await;
}
