//! Somebody's canary or bluegreen deploy: its own gate sees the truth, and then it is undone.

use std::time::Duration;

use waveoff::{
    model::EventKind::{
        ReleaseDegraded, RollbackCompleted, RollbackPaused, RollbackResumed, RollbackStarted,
    },
    sim::{CallKind, ShipOptions, ShipStrategy},
};

use crate::world::{APP, World, why};

fn strategy(strategy: ShipStrategy) -> ShipOptions {
    // Without leases, so that nothing but the marks on its machines keeps anybody away.
    ShipOptions { strategy, checks: true, canary_lease_s: 0.0, ..ShipOptions::default() }
}

/// A canary that fails its checks, and would pass with the old image on it.
#[tokio::test(start_paused = true)]
async fn a_canary_is_judged_and_not_written_to_while_its_deploy_looks_at_it() {
    let mut world = World::quick().await;
    world.trusted().await;
    // When a release that fails its checks is deployed with a canary
    world.sim.ship(APP, "registry.fly.io/api:unhealthy", strategy(ShipStrategy::Canary)).unwrap();
    // Then it is judged while the deploy waits for it
    world.until(RollbackStarted).await;
    assert!(world.sim.is_shipping(), "judged before the deploy is over");
    let canary = world
        .sim
        .running(APP)
        .into_iter()
        .find(|(_, image)| image.contains(":unhealthy"))
        .map(|(machine, _)| machine)
        .unwrap();
    while world.sim.is_shipping() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let written = world.sim.calls().into_iter().any(|call| {
            call.action == CallKind::Update
                && call.machine.as_ref().is_some_and(|machine| machine.as_str() == canary)
        });
        assert!(!written || !world.sim.is_shipping(), "the gate saw another image");
    }
    // And put right when the deploy has failed by its own gate
    world.until(RollbackCompleted).await;
    let gates = world.sim.gates(APP);
    assert!(gates.iter().any(|gate| !gate.passed), "{gates:?}");
    assert!(gates.iter().all(|gate| !gate.was_defeated()), "{gates:?}");
    world.all_run("v41");
    world.finish().await;
}

fn written(world: &World) -> usize {
    world.sim.calls().iter().filter(|call| call.action == CallKind::Update).count()
}

/// Somebody's canary takes minutes: people hear whom the rollback waits for, and when it goes on.
#[tokio::test(start_paused = true)]
async fn whoever_is_waited_for_is_named_and_the_end_of_the_deploy_is_not_missed() {
    let mut world = World::quick().await;
    world.trusted().await;
    let author = "zoe@example.com".to_owned();
    let options = ShipOptions { author, wait_timeout_s: 180.0, ..strategy(ShipStrategy::Canary) };
    world.sim.ship(APP, "registry.fly.io/api:unhealthy", options).unwrap();
    // When it is judged while the deploy still looks at its canary
    let paused = world.until(RollbackPaused).await;
    assert!(world.sim.is_shipping());
    assert!(why(&paused).contains("zoe@example.com"), "{}", why(&paused));
    while world.sim.is_shipping() {
        assert_eq!(written(&world), 0, "while the deploy went on");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let ended = world.now();
    // Then it goes on as soon as the deploy is over, and says so
    let resumed = world.until(RollbackResumed).await;
    let took = resumed.at.duration_since(ended).as_secs();
    assert!(took <= 20, "{took} s after the deploy's end");
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackPaused).await, 1, "{}", world.timeline().await);
    world.all_run("v41");
    world.finish().await;
}

/// The client of a canary deploy is killed: the ledger says for ever that it is going on.
#[tokio::test(start_paused = true)]
async fn a_canary_that_its_deploy_left_behind_is_put_right_in_the_end() {
    let mut world = World::quick().await;
    world.trusted().await;
    let options = ShipOptions { wait_timeout_s: 600.0, ..strategy(ShipStrategy::Canary) };
    world.sim.ship(APP, "registry.fly.io/api:unhealthy", options).unwrap();
    world.until(RollbackStarted).await;
    world.sim.kill_ships(APP);
    world.run_for(600).await;
    assert_eq!(written(&world), 0, "it may still be going on");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// Greens become production when the deploy is over: then they are undone like any others.
#[tokio::test(start_paused = true)]
async fn greens_are_not_written_to_before_they_are_production() {
    let mut world = World::quick().await;
    world.trusted().await;
    let options = ShipOptions { cutover_s: 60.0, ..strategy(ShipStrategy::Bluegreen) };
    world.sim.ship(APP, "registry.fly.io/api:errors", options).unwrap();
    world.until(ReleaseDegraded).await;
    let before = world.sim.calls().len();
    while world.sim.is_shipping() {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let calls = world.sim.calls();
    let written = calls.iter().skip(before).filter(|call| call.action == CallKind::Update);
    assert_eq!(written.count(), 0, "while the deploy went on");
    world.until(RollbackCompleted).await;
    let gates = world.sim.gates(APP);
    assert!(gates.iter().all(|gate| !gate.was_defeated()), "{gates:?}");
    world.all_run("v41");
    world.finish().await;
}
