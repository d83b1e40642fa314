//! The policy is changed while something is under way: what people want now counts.

use waveoff::{
    model::EventKind::{
        HoldCleared, HoldPlaced, ReleaseDegraded, RollbackCompleted, RollbackPlanned,
        RollbackRegionConfirmed, RollbackStarted, RollbackStopped,
    },
    sim::{CallKind, Fault, FaultRule, fleet},
};

use crate::world::{QUICK, World, policy, why};

fn observing() -> String {
    policy(QUICK).replace("mode = \"rollback\"", "mode = \"observe\"")
}

fn counting(seconds: u32) -> String {
    policy(&QUICK.replace("[watch]", &format!("[watch]\ncountdown = \"{seconds}s\"")))
}

#[tokio::test(start_paused = true)]
async fn observe_mode_ends_a_countdown() {
    let mut world = World::new(&fleet::demo(), &counting(120)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.rewrite_policy(&counting(120).replace("\"rollback\"", "\"observe\"")).await;
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("only observes"));
    world.run_for(600).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.all_run("errors");
    world.finish().await;
}

/// What was begun and has not written yet is called off with the rollback.
#[tokio::test(start_paused = true)]
async fn a_write_that_has_not_begun_is_called_off_with_the_rollback() {
    let mut world = World::quick().await;
    world.trusted().await;
    // The platform takes its time with leases.
    let slow = Fault::Slow(std::time::Duration::from_secs(10));
    world.sim.add_fault(FaultRule::new(slow).on(CallKind::Lease));
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.run_for(2).await;
    world.rewrite_policy(&observing()).await;
    world.until(RollbackStopped).await;
    world.run_for(60).await;
    world.all_run("errors");
    let calls = world.sim.calls();
    assert!(calls.iter().all(|call| call.action != CallKind::Update), "{calls:?}");
    world.finish().await;
}

/// The operator's brake: no machine is begun after it.
#[tokio::test(start_paused = true)]
async fn observe_mode_stops_a_rollback_where_it_is() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.rewrite_policy(&observing()).await;
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("only observes"));
    let then = world.images();
    world.run_for(900).await;
    assert_eq!(world.images(), then);
    assert!(then["errors"] >= 2, "{then:?}");
    // The ledger does not stay open: other tools would pause for ever.
    let entry = world.sim.releases("api").remove(0);
    assert_eq!((entry.version, entry.status.as_str()), (43, "failed"));
    world.finish().await;
}

/// The brake is let go: what still is bad is judged anew, and undone.
#[tokio::test(start_paused = true)]
async fn arming_the_policy_again_undoes_what_its_brake_left_half_way() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.rewrite_policy(&observing()).await;
    world.until(HoldPlaced).await;
    world.run_for(60).await;
    world.rewrite_policy(&policy(QUICK)).await;
    world.until(HoldCleared).await;
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.count(RollbackStarted).await, 2);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_no_policy_names_any_more_is_let_go_with_a_word() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.rewrite_policy(&policy(QUICK).replace("[\"api\"]", "[\"other\"]")).await;
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("no policy names this app"));
    world.run_for(30).await;
    let then = world.images();
    let entry = world.sim.releases("api").remove(0);
    assert_eq!(entry.status, "failed");
    // Named again, it does not go on with what was given up.
    world.rewrite_policy(&policy(QUICK)).await;
    world.run_for(300).await;
    assert_eq!(world.images(), then);
    world.finish().await;
}

/// Whoever stops a rollback in that way deploys a Waveoff whose configuration does not name the app.
#[tokio::test(start_paused = true)]
async fn an_app_that_no_policy_names_when_the_daemon_begins_is_let_go_with_a_word_too() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.kill().await;
    world.change_policy(&policy(QUICK).replace("[\"api\"]", "[\"other\"]"));
    world.start().await;
    let stopped = world.until(RollbackStopped).await;
    assert!(why(&stopped).contains("no policy names this app"));
    world.run_for(30).await;
    let then = world.images();
    assert_eq!(world.sim.releases("api").remove(0).status, "failed");
    // Named again, it does not go on with what was given up.
    world.restart().await;
    world.rewrite_policy(&policy(QUICK)).await;
    world.run_for(300).await;
    assert_eq!(world.images(), then);
    assert_eq!(world.count(RollbackStopped).await, 1);
    world.finish().await;
}

/// Watching first, arming later: the release that was only observed is undone then.
#[tokio::test(start_paused = true)]
async fn arming_the_policy_undoes_a_release_that_still_is_bad() {
    let mut world = World::new(&fleet::demo(), &observing()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(HoldPlaced).await;
    world.run_for(60).await;
    world.rewrite_policy(&policy(QUICK)).await;
    world.until(HoldCleared).await;
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// Evidence against the old limit is none against the new one.
#[tokio::test(start_paused = true)]
async fn a_raised_limit_ends_the_countdown() {
    let mut world = World::new(&fleet::demo(), &counting(120)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.rewrite_policy(&counting(120).replace("\"2%\"", "\"45%\"")).await;
    world.until(RollbackStopped).await;
    world.run_for(300).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    assert_eq!(world.count(ReleaseDegraded).await, 1);
    world.finish().await;
}
