//! The life of a release: learning, deploying, baking, trusted.

use waveoff::{
    model::EventKind::{
        HoldCleared, HoldPlaced, MonitorBlind, ReleaseDegraded, ReleaseDetected, ReleaseTrusted,
        RollbackCompleted,
    },
    sim::{Behaviour, ShipOptions, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

/// What runs when the daemon first comes has to earn trust like any other release.
#[tokio::test(start_paused = true)]
async fn the_first_release_is_trusted_after_its_bake() {
    let mut world = World::quick().await;
    let trusted = world.until(ReleaseTrusted).await;
    assert_eq!(trusted.release.unwrap().label(), "v41");
    let took = world.seconds_between(ReleaseDetected, ReleaseTrusted).await;
    assert!((60.0..70.0).contains(&took), "{took} s");
    assert_eq!(world.view().phase.as_str(), "steady");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_good_release_is_watched_through_its_deploy_and_trusted() {
    // Given an app whose v41 is trusted
    let mut world = World::quick().await;
    world.trusted().await;
    // When a good v42 is shipped
    world.ship("registry.fly.io/api:good");
    world.run_for(2).await;
    assert_eq!(world.view().phase.as_str(), "deploying");
    world.run_for(20).await;
    assert_eq!(world.view().phase.as_str(), "baking");
    world.run_for(70).await;
    // Then it is the known-good one
    let view = world.view();
    assert_eq!(view.phase.as_str(), "steady");
    assert_eq!(view.known_good.unwrap().label(), "v42");
    assert_eq!(world.count(ReleaseDegraded).await, 0);
    world.all_run("good");
    world.finish().await;
}

/// Silence is no proof: neither of health nor of the opposite.
#[tokio::test(start_paused = true)]
async fn a_release_without_traffic_is_neither_trusted_nor_rolled_back() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.set_traffic(APP, 0.0).unwrap();
    world.ship("registry.fly.io/api:errors");
    world.run_for(1800).await;
    assert_eq!(world.view().phase.as_str(), "baking");
    assert_eq!(world.count(ReleaseTrusted).await, 1);
    assert_eq!(world.count(ReleaseDegraded).await, 0);
    // And when traffic comes, it is judged.
    world.sim.set_traffic(APP, 100.0).unwrap();
    world.until(ReleaseDegraded).await;
    world.finish().await;
}

/// At little traffic one error is a huge percentage, and proves nothing.
#[tokio::test(start_paused = true)]
async fn a_single_error_at_little_traffic_degrades_nothing() {
    let mut fleet = fleet::demo();
    fleet.apps.retain(|app| app.name == APP);
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    world.sim.set_traffic(APP, 0.2).unwrap();
    world.sim.add_image(
        "registry.fly.io/api:v42",
        Behaviour { error_share: 0.01, ..Behaviour::default() },
    );
    world.ship("registry.fly.io/api:v42");
    world.run_for(1800).await;
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

/// A deploy to one region only is over when the ledger says so.
#[tokio::test(start_paused = true)]
async fn a_deploy_to_some_regions_settles_when_its_release_is_complete() {
    let mut world = World::quick().await;
    world.trusted().await;
    let options = ShipOptions { regions: vec!["iad".to_owned()], ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", options).unwrap();
    world.run_for(90).await;
    assert_eq!(world.view().known_good.unwrap().label(), "v42");
    world.finish().await;
}

/// A mistyped name must not pass for health: it is told by name, and nothing is trusted.
#[tokio::test(start_paused = true)]
async fn a_threshold_that_matches_nothing_is_reported_by_name() {
    let typo =
        policy(QUICK).replace("total = 'http_requests_total'", "total = 'http_request_total'");
    let mut world = World::new(&fleet::demo(), &typo).await;
    let told = world.until(MonitorBlind).await;
    let reason = why(&told);
    assert!(reason.contains("\"5xx\"") && reason.contains("http_request_total"), "{reason}");
    world.run_for(600).await;
    assert_eq!(world.count(MonitorBlind).await, 1, "once is enough");
    assert_eq!(world.count(ReleaseTrusted).await, 0);
    world.finish().await;
}

/// A stopped daemon comes back to a release it has not seen.
#[tokio::test(start_paused = true)]
async fn a_release_shipped_while_the_daemon_was_away_is_watched_from_its_return() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.stop().await;
    world.ship("registry.fly.io/api:errors");
    world.run_for(120).await;
    world.start().await;
    let degraded = world.until(ReleaseDegraded).await;
    assert_eq!(degraded.release.unwrap().label(), "v42");
    world.finish().await;
}

/// What somebody tries on one machine by hand is judged, and never something to go back to.
#[tokio::test(start_paused = true)]
async fn an_image_put_on_one_machine_by_hand_is_not_trusted() {
    let mut world = World::quick().await;
    world.trusted().await;
    let one = world.sim.machine_ids(APP, None).remove(0);
    world.sim.with(|org| org.put_image(&one, "registry.fly.io/api:good")).unwrap();
    world.run_for(900).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    assert_eq!(world.view().known_good.unwrap().tag.as_deref(), Some("v41"));
    world.finish().await;
}

/// And when it is bad, it is undone on that machine.
#[tokio::test(start_paused = true)]
async fn a_bad_image_put_on_one_machine_by_hand_is_undone() {
    let mut world = World::quick().await;
    world.trusted().await;
    let one = world.sim.machine_ids(APP, None).remove(0);
    world.sim.with(|org| org.put_image(&one, "registry.fly.io/api:errors")).unwrap();
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// Somebody goes back by hand, without a release: the watch of what is gone ends.
#[tokio::test(start_paused = true)]
async fn a_release_that_no_machine_runs_any_more_is_not_watched_for_ever() {
    let observe = policy(QUICK).replace("\"rollback\"", "\"observe\"");
    let mut world = World::new(&fleet::demo(), &observe).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(HoldPlaced).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.with(|org| org.put_image(&id, "registry.fly.io/api:v41")).unwrap();
    }
    let cleared = world.until(HoldCleared).await;
    assert!(why(&cleared).contains("no machine runs this release"));
    assert_eq!(world.view().phase.as_str(), "steady");
    world.finish().await;
}

/// Three in a hundred where two are allowed, and few requests: no breach yet when the bake is over,
/// and nothing to trust.
#[tokio::test(start_paused = true)]
async fn a_release_that_leans_towards_a_breach_is_not_trusted() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.set_traffic(APP, 20.0).unwrap();
    world.sim.add_image("registry.fly.io/api:v42", Behaviour::errors(0.04));
    world.ship("registry.fly.io/api:v42");
    world.until(ReleaseDegraded).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    let took = world.seconds_between(ReleaseDetected, ReleaseDegraded).await;
    assert!(took > 70.0, "decided after {took} s, before the bake was over: nothing was shown");
    world.finish().await;
}
