//! What forbids a rollback, and what people are told instead.

use waveoff::{
    model::EventKind::{
        HoldCleared, HoldPlaced, ImageMissing, ReleaseDegraded, ReleaseTrusted, RollbackCompleted,
        RollbackPlanned, RollbackStarted, RollbackStopped,
    },
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, ShipOptions, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

fn untouched(world: &World, tag: &str) {
    world.all_run(tag);
    let writes = world.sim.calls().iter().filter(|call| call.action == CallKind::Update).count();
    assert_eq!(writes, 0, "nothing is touched");
}

/// As shipped: what would have been done is said, and nothing is done.
#[tokio::test(start_paused = true)]
async fn observe_mode_says_what_it_would_do_and_does_nothing() {
    let observe = policy(QUICK).replace("\"rollback\"", "\"observe\"");
    let mut world = World::new(&fleet::demo(), &observe).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    let planned = world.until(RollbackPlanned).await;
    assert_eq!(planned.known_good.unwrap().label(), "v41");
    world.run_for(300).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    assert_eq!(world.count(ReleaseDegraded).await, 1, "said once");
    untouched(&world, "errors");
    world.finish().await;
}

/// Promise 2: only what has earned trust is gone back to.
#[tokio::test(start_paused = true)]
async fn with_nothing_trusted_yet_nothing_is_done() {
    let mut world = World::quick().await;
    world.run_for(5).await;
    world.ship("registry.fly.io/api:errors");
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("nothing to go back to"));
    untouched(&world, "errors");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn with_nothing_trusted_the_release_before_may_be_allowed_as_the_target() {
    let head = QUICK.replace("[rollback]", "[rollback]\nfirst_target = \"previous-complete\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.run_for(5).await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A release that changed only secrets or configuration: another image cannot help.
#[tokio::test(start_paused = true)]
async fn a_release_of_the_same_image_is_held() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:v41");
    world.run_for(10).await;
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::errors(0.5)).unwrap();
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("image rollback cannot help"));
    untouched(&world, "v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_ran_migrations_is_held_unless_the_policy_allows_it() {
    let migrating = || ShipOptions {
        release_command: Some("rails db:migrate".to_owned()),
        ..ShipOptions::default()
    };
    // As shipped
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.ship(APP, "registry.fly.io/api:errors", migrating()).unwrap();
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("migrations"));
    untouched(&world, "errors");
    world.finish().await;
    // Allowed
    let head = QUICK.replace("[rollback]", "[rollback]\nmigrations = \"rollback\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.sim.ship(APP, "registry.fly.io/api:errors", migrating()).unwrap();
    world.until(RollbackCompleted).await;
    world.finish().await;
}

/// Promise 1, as far as humans go: shipping the same image again is a new release, which is
/// announced, watched without a warm-up, and undone again; but not for ever.
#[tokio::test(start_paused = true)]
async fn the_daily_budget_ends_a_tug_of_war() {
    let mut world = World::quick().await;
    world.trusted().await;
    for round in 1..=3 {
        world.ship("registry.fly.io/api:errors");
        while world.count(RollbackCompleted).await < round {
            world.run_for(1).await;
        }
        world.run_for(20).await;
    }
    world.ship("registry.fly.io/api:errors");
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("budget of 3 rollbacks"));
    assert_eq!(world.count(RollbackCompleted).await, 3);
    let again = world.events().await;
    let again = again.iter().filter(|event| why(event).contains("rolled back before"));
    assert_eq!(again.count(), 3, "each redeploy of the bad image is announced");
    world.finish().await;
}

/// An image that was pruned is found out when it is not yet needed, and again before use.
#[tokio::test(start_paused = true)]
async fn a_pruned_image_is_passed_over_for_the_next_older_trusted_one() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(1).await;
    }
    world.sim.remove_image("registry.fly.io/api:good").unwrap();
    world.ship("registry.fly.io/api:errors");
    world.until(ImageMissing).await;
    let completed = world.until(RollbackCompleted).await;
    assert_eq!(completed.known_good.unwrap().label(), "v41");
    world.all_run("v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn with_every_image_pruned_nothing_is_done() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.remove_image("registry.fly.io/api:v41").unwrap();
    world.ship("registry.fly.io/api:errors");
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("no trusted release's image is left"));
    untouched(&world, "errors");
    world.finish().await;
}

/// A registry that cannot be asked is not a registry that says no.
#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_answer_holds_the_rollback_until_it_does() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.run_for(5).await;
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Presence));
    world.ship("registry.fly.io/api:errors");
    world.until(HoldPlaced).await;
    untouched(&world, "errors");
    world.sim.clear_faults();
    world.until(HoldCleared).await;
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A countdown gives people time, and a recovery ends it.
#[tokio::test(start_paused = true)]
async fn a_countdown_is_announced_and_cancelled_by_a_recovery() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"2m\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:unhealthy");
    let planned = world.until(RollbackPlanned).await;
    assert_eq!(why(&planned), "in 120 s");
    world.run_for(30).await;
    world.sim.set_behaviour("registry.fly.io/api:unhealthy", Behaviour::default()).unwrap();
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("recovered"));
    world.run_for(300).await;
    untouched(&world, "unhealthy");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_countdown_that_runs_out_is_followed_by_the_rollback() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"1m\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    let waited = world.seconds_between(RollbackPlanned, RollbackStarted).await;
    assert!((60.0..65.0).contains(&waited), "{waited} s");
    world.finish().await;
}

/// A threshold that only alerts tells, once, and does not keep the release from being trusted.
#[tokio::test(start_paused = true)]
async fn a_threshold_that_only_alerts_tells_and_does_nothing() {
    let alert = policy(QUICK).replace("max = \"2%\"", "max = \"2%\"\naction = \"alert\"");
    let mut world = World::new(&fleet::demo(), &alert).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    let told = world.until(ReleaseDegraded).await;
    assert!(why(&told).contains("only alerts"));
    world.run_for(120).await;
    assert_eq!(world.count(ReleaseDegraded).await, 1);
    untouched(&world, "errors");
    world.finish().await;
}
