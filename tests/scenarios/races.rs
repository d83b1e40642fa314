//! Everybody else who touches machines while a release is undone: each race, by its name.

use waveoff::{
    model::EventKind::{ImageMixed, RollbackCompleted, RollbackStarted, RollbackStopped},
    sim::State,
};

use crate::world::{APP, World};

/// A rollback of a release that fails requests, which has just begun.
async fn begun() -> World {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world
}

/// A machine of lhr and one of syd, which come after iad.
fn later(world: &World) -> (String, String) {
    let one = |region| world.sim.machine_ids(APP, Some(region)).remove(0);
    (one("lhr"), one("syd"))
}

async fn completes(mut world: World) -> World {
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackStopped).await, 0, "{}", world.timeline().await);
    world.all_run("v41");
    world
}

/// Its memory is of another version and is dropped: it rests, and starts cold when it is asked for.
#[tokio::test(start_paused = true)]
async fn a_machine_that_the_proxy_suspends_meanwhile_gets_the_image_and_is_not_woken() {
    let world = begun().await;
    let (suspended, _) = later(&world);
    world.sim.suspend(&suspended).unwrap();
    let world = completes(world).await;
    assert!(matches!(world.sim.state(&suspended), Some(State::Suspended | State::Stopped)));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_the_proxy_wakes_meanwhile_is_put_right_and_serves_on() {
    let mut world = World::quick().await;
    world.trusted().await;
    let (woken, _) = later(&world);
    world.sim.stop(&woken).unwrap();
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.start(&woken).unwrap();
    let world = completes(world).await;
    assert_eq!(world.sim.state(&woken), Some(State::Started));
    world.finish().await;
}

/// `fly machine restart`, or the runtime after an exit: no release, and the same image.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_restarted_by_hand_meanwhile_is_put_right_like_the_others() {
    let world = begun().await;
    let (exited, restarted) = later(&world);
    world.sim.kill(&exited).unwrap();
    world.sim.stop(&restarted).unwrap();
    let mut world = world;
    while world.sim.state(&restarted) != Some(State::Stopped) {
        world.run_for(1).await;
    }
    world.sim.start(&restarted).unwrap();
    completes(world).await.finish().await;
}

/// `fly scale count`, or fly-autoscaler, down: what is gone is no reason to wait.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_destroyed_meanwhile_keeps_nobody_waiting() {
    let world = begun().await;
    let (destroyed, _) = later(&world);
    world.sim.destroy(&destroyed).unwrap();
    let world = completes(world).await;
    assert!(matches!(world.sim.state(&destroyed), None | Some(State::Destroyed)));
    let (began, ended) = (world.last(RollbackStarted).await, world.last(RollbackCompleted).await);
    let took = ended.unwrap().at.duration_since(began.unwrap().at).as_secs();
    assert!(took < 60, "{took} s\n{}", world.timeline().await);
    world.finish().await;
}

/// `fly scale count`, or fly-autoscaler, up, while the region is worked on: copies run what the first
/// machine listed runs, and that is the bad image.
#[tokio::test(start_paused = true)]
async fn machines_that_are_added_meanwhile_are_put_right_before_it_is_called_complete() {
    let world = begun().await;
    let (copied, _) = later(&world);
    let copy = world.sim.clone_machine(&copied).unwrap();
    let world = completes(world).await;
    assert_eq!(world.sim.state(&copy), Some(State::Started));
    assert_eq!(world.count(ImageMixed).await, 0, "nothing came back afterwards");
    world.finish().await;
}
