//! Machine lists that are late, each region by itself: what they still show is nobody's fault, and
//! is not taken for what is.

use std::time::Duration;

use waveoff::{
    model::EventKind::{
        HoldPlaced, ReleaseDegraded, ReleaseTrusted, RollbackCompleted, RollbackFailed,
        RollbackStarted,
    },
    sim::{CallKind, ShipOptions, ShipStrategy},
};

use crate::world::{APP, World};

const LATE: Duration = Duration::from_secs(30);

fn at_once() -> ShipOptions {
    ShipOptions { strategy: ShipStrategy::Immediate, ..ShipOptions::default() }
}

fn calls(world: &World, kind: CallKind) -> usize {
    world.sim.calls().iter().filter(|call| call.action == kind).count()
}

/// Lists go on showing the bad image on machines that were put right half a minute ago.
#[tokio::test(start_paused = true)]
async fn a_rollback_under_late_lists_ends_whole_and_writes_to_each_machine_once() {
    for late in [&["syd"][..], &["iad", "lhr"], &["*"]] {
        // Given lists that are late in some regions
        let mut world = World::quick().await;
        world.trusted().await;
        for region in late {
            world.sim.set_list_lag(region, LATE);
        }
        // When a bad release is shipped, and undone
        world.sim.ship(APP, "registry.fly.io/api:errors", at_once()).unwrap();
        world.until(RollbackCompleted).await;
        world.run_for(300).await;
        // Then it is everywhere, and each machine was touched once
        world.all_run("v41");
        let timeline = world.timeline().await;
        assert_eq!(calls(&world, CallKind::Update), 6, "late in {late:?}\n{timeline}");
        assert_eq!(calls(&world, CallKind::Lease), 6, "late in {late:?}\n{timeline}");
        assert_eq!(world.count(RollbackStarted).await, 1);
        assert_eq!(world.count(RollbackCompleted).await, 1);
        assert_eq!(world.count(RollbackFailed).await, 0);
        world.finish().await;
    }
}

/// In the late regions the bad release's errors come from machines that are listed with the image
/// before it: that one does not fail as well.
#[tokio::test(start_paused = true)]
async fn what_a_bad_release_fails_is_not_held_against_the_image_that_late_lists_show() {
    let mut world = World::quick().await;
    world.trusted().await;
    for region in ["lhr", "syd"] {
        world.sim.set_list_lag(region, LATE);
    }
    world.sim.ship(APP, "registry.fly.io/api:errors", at_once()).unwrap();
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(HoldPlaced).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

/// A good release is in its bake when a bad one is shipped over it; for half a minute the lists
/// show the good one where the bad one fails.
#[tokio::test(start_paused = true)]
async fn a_healthy_release_is_not_blamed_for_the_one_that_late_lists_do_not_show_yet() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.ship(APP, "registry.fly.io/api:good", at_once()).unwrap();
    world.run_for(30).await;
    world.sim.set_list_lag("*", LATE);
    world.sim.ship(APP, "registry.fly.io/api:errors", at_once()).unwrap();
    world.until(RollbackCompleted).await;
    for event in world.told(ReleaseDegraded).await {
        assert_eq!(event.release.unwrap().label(), "v43", "{}", world.timeline().await);
    }
    assert_eq!(world.count(RollbackStarted).await, 1);
    world.finish().await;
}

/// A fix is shipped over a release that fails: late lists show the fix as it comes, and the old
/// image's errors are not the fix's.
#[tokio::test(start_paused = true)]
async fn a_fix_is_not_undone_for_what_it_replaces_in_regions_that_are_listed_late() {
    let mut world = World::quick().await;
    world.trusted().await;
    // Given a known-good image that began to fail by itself
    let failing = waveoff::sim::Behaviour::errors(0.5);
    world.sim.set_behaviour("registry.fly.io/api:v41", failing).unwrap();
    for region in ["iad", "syd"] {
        world.sim.set_list_lag(region, LATE);
    }
    world.sim.set_list_lag("lhr", Duration::from_secs(7));
    // When its fix is shipped, machine by machine
    world.ship("registry.fly.io/api:good");
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    // Then it is trusted, and was never held to be bad
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    assert_eq!(calls(&world, CallKind::Update), 0);
    world.all_run("good");
    world.finish().await;
}
