//! Blindness: told, never evidence against a release, and never a reason to act.

use waveoff::{
    model::EventKind::{
        HoldPlaced, ImageMixed, MonitorBlind, MonitorRecovered, ReleaseDegraded, ReleaseTrusted,
        RollbackCompleted, RollbackPaused, RollbackPlanned, RollbackStarted, RollbackStopped,
    },
    ports::PlatformError,
    sim::{CallKind, Fault, FaultRule, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

fn down() -> FaultRule {
    FaultRule::new(Fault::Fail(PlatformError::Unavailable("503".to_owned())))
}

/// Promise 4: with the platform unreadable nothing is decided, and the countdown ends.
#[tokio::test(start_paused = true)]
async fn a_platform_that_cannot_be_read_cancels_the_countdown() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"1m\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.run_for(10).await;
    world.sim.add_fault(down().on(CallKind::Machines));
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("cannot be read"));
    world.until(MonitorBlind).await;
    world.run_for(300).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    assert_eq!(world.count(MonitorBlind).await, 1);
    // When it can be read again, the release still is what it was.
    world.sim.clear_faults();
    world.until(MonitorRecovered).await;
    world.until(RollbackCompleted).await;
    world.finish().await;
}

/// The monitor is down: that says nothing of the release, whatever `no_data` says.
#[tokio::test(start_paused = true)]
async fn metrics_that_cannot_be_read_are_not_held_against_the_release() {
    let strict = policy(QUICK).replace("max = \"2%\"", "max = \"2%\"\nno_data = \"breach\"");
    let mut world = World::new(&fleet::demo(), &strict).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    world.run_for(10).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, false);
    }
    let blind = world.until(MonitorBlind).await;
    assert!(why(&blind).contains("no machine's metrics can be read"));
    world.run_for(600).await;
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, true);
    }
    world.until(MonitorRecovered).await;
    world.run_for(120).await;
    assert_eq!(world.view().phase.as_str(), "steady");
    world.finish().await;
}

/// One machine's broken page costs that machine's numbers and nothing else.
#[tokio::test(start_paused = true)]
async fn one_unreadable_page_blinds_nobody() {
    let mut world = World::quick().await;
    world.trusted().await;
    let one = world.sim.machine_ids(APP, None).remove(0);
    world.sim.set_page_readable(&one, false);
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(MonitorBlind).await, 0);
    world.finish().await;
}

/// Going blind in the middle of a rollback: no region is confirmed on missing evidence.
#[tokio::test(start_paused = true)]
async fn a_region_is_not_confirmed_while_blind() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, false);
    }
    let paused = world.until(RollbackPaused).await;
    assert!(why(&paused).contains("cannot be confirmed"));
    world.run_for(900).await;
    assert_eq!(world.images()["v41"], 2, "the first region only: {:?}", world.images());
    assert_eq!(world.count(HoldPlaced).await, 0, "nothing is known against it");
    world.finish().await;
}

/// Two images side by side, outside any deploy: after a failed deploy, for instance.
#[tokio::test(start_paused = true)]
async fn mixed_images_are_told() {
    let mut world = World::quick().await;
    world.trusted().await;
    let one = world.sim.machine_ids(APP, None).remove(0);
    world.sim.with(|org| org.put_image(&one, "registry.fly.io/api:good")).unwrap();
    let mixed = world.until(ImageMixed).await;
    assert!(why(&mixed).contains("different images"));
    world.finish().await;
}

/// The registry takes its time, and the metrics go dark meanwhile: nothing is begun on what was
/// seen before.
#[tokio::test(start_paused = true)]
async fn going_dark_while_the_image_is_looked_up_ends_the_attempt() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.run_for(5).await;
    let slow = Fault::Slow(std::time::Duration::from_secs(10));
    world.sim.add_fault(FaultRule::new(slow).on(CallKind::Presence));
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, false);
    }
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("cannot be read"));
    world.run_for(60).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}

/// The last seconds of a bake in the dark are no part of it.
#[tokio::test(start_paused = true)]
async fn nothing_is_trusted_in_the_dark() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    world.run_for(55).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, false);
    }
    world.run_for(30).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1);
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, true);
    }
    world.run_for(30).await;
    assert_eq!(world.count(ReleaseTrusted).await, 2, "{}", world.timeline().await);
    world.finish().await;
}
