//! Trust is earned by what was seen, in two steps: baked, and trusted.

use waveoff::{
    model::EventKind::{
        HoldPlaced, ReleaseBaked, ReleaseDetected, ReleaseTrusted, ReleaseUntrusted,
        RollbackCompleted, RollbackStarted,
    },
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, ShipOptions, ShipStrategy, fleet},
    web::view::ProtectionLevel,
};

use crate::world::{APP, QUICK, World, policy, why};

/// Judged by checks and exits alone.
const CHECKS: &str = "
apps = [\"*\"]
mode = \"rollback\"
use = [\"checks\", \"crashes\"]
";

fn one_region(machines: u32) -> fleet::Fleet {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let image = "registry.fly.io/api:v41";
    fleet.apps.push(fleet::FleetApp::new(APP, image, &[("iad", machines)], 60.0));
    fleet
}

fn at_once() -> ShipOptions {
    ShipOptions { strategy: ShipStrategy::Immediate, ..ShipOptions::default() }
}

/// Seconds until a second release is trusted, from now on.
async fn until_trusted_again(world: &mut World) -> i64 {
    let from = world.now();
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    world.now().duration_since(from).as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_bake_that_nobody_watched_earns_nothing() {
    let mut world = World::new(&one_region(2), CHECKS).await;
    world.trusted().await;
    world.sim.ship(APP, "registry.fly.io/api:good", at_once()).unwrap();
    world.until(ReleaseDetected).await;
    world.run_for(8).await;
    // When the daemon is away for the whole bake, in which checks fail for nine minutes
    world.kill().await;
    world.sim.set_behaviour("registry.fly.io/api:good", Behaviour::unhealthy()).unwrap();
    world.run_for(560).await;
    world.sim.set_behaviour("registry.fly.io/api:good", Behaviour::default()).unwrap();
    world.run_for(60).await;
    world.start().await;
    let took = until_trusted_again(&mut world).await;
    assert!(took > 550, "trusted {took} s after the daemon came back; it was seen for 8 s before");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_bake_in_the_dark_earns_nothing() {
    let mut world = World::new(&one_region(2), CHECKS).await;
    world.trusted().await;
    world.sim.ship(APP, "registry.fly.io/api:good", at_once()).unwrap();
    world.run_for(12).await;
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Machines));
    world.run_for(620).await;
    world.sim.clear_faults();
    let took = until_trusted_again(&mut world).await;
    assert!(took > 550, "trusted {took} s after the platform could be read again");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_pages_are_mostly_unread_earns_nothing() {
    let mut world = World::quick().await;
    world.trusted().await;
    let half = Behaviour::errors(0.5).only_in(&["lhr", "syd"]);
    world.sim.add_image("registry.fly.io/api:half", half);
    world.ship("registry.fly.io/api:half");
    for region in ["lhr", "syd"] {
        for id in world.sim.machine_ids(APP, Some(region)) {
            world.sim.set_page_readable(&id, false);
        }
    }
    world.run_for(600).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_small_region_that_answers_nothing_but_errors_is_no_health() {
    let mut fleet = one_region(1);
    let image = "registry.fly.io/api:v41";
    let mut app = fleet::FleetApp::new(APP, image, &[("iad", 4), ("syd", 2)], 0.0);
    app.traffic.regions = [("iad".to_owned(), 300.0), ("syd".to_owned(), 4.0)].into();
    fleet.apps = vec![app];
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    let dead_in_syd = Behaviour::errors(1.0).only_in(&["syd"]);
    world.sim.add_image("registry.fly.io/api:syd", dead_in_syd);
    world.ship("registry.fly.io/api:syd");
    world.run_for(900).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    world.finish().await;
}

/// An app that hardly anybody asks anything: what was seen well is gone back to all the same when
/// its successor does not work at all.
#[tokio::test(start_paused = true)]
async fn an_app_without_requests_is_protected_against_a_failure_of_everything() {
    let mut fleet = one_region(2);
    fleet.apps[0] = fleet::FleetApp::new(APP, "registry.fly.io/api:v41", &[("iad", 2)], 0.0);
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    let baked = world.until(ReleaseBaked).await;
    assert!(why(&baked).contains("not one request was counted"), "{}", why(&baked));
    assert_eq!(world.view().protection.level, ProtectionLevel::Baked);
    world.ship("registry.fly.io/api:unhealthy");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.count(ReleaseTrusted).await, 0);
    world.finish().await;
}

/// A partial failure is no reason to go back to what requests never spoke for.
#[tokio::test(start_paused = true)]
async fn a_baked_release_is_no_target_for_a_partial_failure() {
    let mut fleet = one_region(2);
    fleet.apps[0] = fleet::FleetApp::new(APP, "registry.fly.io/api:v41", &[("iad", 2)], 0.0);
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.until(ReleaseBaked).await;
    world.sim.set_traffic(APP, 100.0).unwrap();
    world.ship("registry.fly.io/api:errors");
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("only a baked release"), "{}", why(&held));
    world.run_for(60).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_nothing_protects_is_told_of_once_with_the_cause() {
    let mut world = World::idle(&fleet::demo(), &policy(QUICK));
    for id in world.sim.machine_ids(APP, Some("syd")) {
        world.sim.set_page_readable(&id, false);
    }
    world.start().await;
    let told = world.until(ReleaseUntrusted).await;
    assert!(why(&told).contains("2 of its 6 started machines"), "{}", why(&told));
    let view = world.view().protection;
    assert_eq!(view.level, ProtectionLevel::None);
    assert!(view.why_not.unwrap().contains("2 of its 6"));
    world.run_for(1200).await;
    assert_eq!(world.count(ReleaseUntrusted).await, 1);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn one_machine_that_cannot_be_read_among_many_is_no_obstacle() {
    let mut world = World::idle(&fleet::demo(), &policy(QUICK));
    let one = world.sim.machine_ids(APP, Some("syd")).remove(0);
    world.sim.set_page_readable(&one, false);
    world.start().await;
    world.trusted().await;
    world.finish().await;
}
