//! What passes only delays a rollback: it waits under its id, says what it waits for, and goes on
//! by itself.

use std::time::Duration;

use waveoff::{
    model::{
        EventKind::{
            HoldPlaced, ReleaseDetected, RollbackCompleted, RollbackFailed, RollbackPaused,
            RollbackRegionConfirmed, RollbackResumed, RollbackStarted, RollbackStopped,
        },
        RegionStage,
    },
    notify::text,
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, State, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

fn failing(error: PlatformError) -> FaultRule {
    FaultRule::new(Fault::Fail(error))
}

/// A rollback of v42 whose first region is confirmed.
async fn half_way() -> World {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world
}

/// Completed once, under one id, without a hold or an end in between.
async fn went_on(world: &World) {
    let timeline = world.timeline().await;
    for (kind, times) in [
        (RollbackStarted, 1),
        (RollbackCompleted, 1),
        (RollbackStopped, 0),
        (RollbackFailed, 0),
        (HoldPlaced, 0),
    ] {
        assert_eq!(world.count(kind).await, times, "{}\n{timeline}", kind.as_str());
    }
    world.all_run("v41");
}

/// The platform's own authorization fails for a minute and a half.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_for_a_while_only_delays_a_rollback() {
    let mut world = half_way().await;
    let denied = PlatformError::Denied("401".to_owned());
    world.sim.add_fault(failing(denied).on(CallKind::Lease));
    world.run_for(90).await;
    assert_eq!(world.count(RollbackPaused).await, 1, "{}", world.timeline().await);
    let paused = world.last(RollbackPaused).await.unwrap();
    assert!(why(&paused).contains("401"));
    world.sim.clear_faults();
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackResumed).await, 1);
    went_on(&world).await;
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_read_only_delay_a_rollback() {
    let mut world = half_way().await;
    let unreadable = PlatformError::Unreadable("not JSON".to_owned());
    world.sim.add_fault(failing(unreadable).on(CallKind::Machine));
    world.run_for(120).await;
    world.sim.clear_faults();
    world.until(RollbackCompleted).await;
    went_on(&world).await;
    world.finish().await;
}

/// The list of machines is refused: the rollback waits, however often it is told so.
#[tokio::test(start_paused = true)]
async fn a_platform_that_cannot_be_read_only_delays_a_rollback() {
    let mut world = half_way().await;
    let denied = PlatformError::Denied("403".to_owned());
    world.sim.add_fault(failing(denied).on(CallKind::Machines));
    world.run_for(120).await;
    assert_eq!(world.count(RollbackPaused).await, 1, "{}", world.timeline().await);
    world.sim.clear_faults();
    world.until(RollbackCompleted).await;
    went_on(&world).await;
    world.finish().await;
}

/// Metrics that cannot be read for four minutes while the first region is confirmed.
#[tokio::test(start_paused = true)]
async fn a_short_blindness_only_delays_the_confirmation() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, false);
    }
    world.run_for(240).await;
    assert_eq!(world.count(RollbackRegionConfirmed).await, 0);
    assert_eq!(world.images()["v41"], 2, "the first region only: {:?}", world.images());
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_page_readable(&id, true);
    }
    world.until(RollbackCompleted).await;
    went_on(&world).await;
    world.finish().await;
}

/// The known-good image takes a minute and a half to boot, and `ready_timeout` is 20 s.
#[tokio::test(start_paused = true)]
async fn machines_that_boot_slowly_only_delay_a_rollback() {
    let head = QUICK.replace("[rollback]", "[rollback]\nready_timeout = \"20s\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    let slow = Behaviour { boot_s: 90.0, ..Behaviour::default() };
    world.sim.set_behaviour("registry.fly.io/api:v41", slow).unwrap();
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    went_on(&world).await;
    world.finish().await;
}

/// Nobody uses the app any more: silence proves nothing, and ends nothing.
#[tokio::test(start_paused = true)]
async fn a_first_region_without_traffic_is_waited_for() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_traffic(APP, 0.0).unwrap();
    let paused = world.until(RollbackPaused).await;
    assert!(why(&paused).contains("no traffic"));
    // What can be done about it is what its message says.
    let offered: Vec<String> = world.view().commands.into_iter().map(|one| one.command).collect();
    let said: Vec<String> = text::commands(&paused).into_iter().map(|(_, said)| said).collect();
    assert_eq!(offered, said);
    assert!(!said.is_empty());
    world.run_for(120).await;
    assert_eq!(world.images()["v41"], 2);
    world.sim.set_traffic(APP, 60.0).unwrap();
    world.until(RollbackCompleted).await;
    went_on(&world).await;
    world.finish().await;
}

/// The daemon is away for half an hour in the middle of a rollback.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_away_for_half_an_hour_goes_on() {
    let mut world = half_way().await;
    world.run_for(2).await;
    world.kill().await;
    world.run_for(31 * 60).await;
    world.start().await;
    world.run_for(600).await;
    went_on(&world).await;
    world.finish().await;
}

/// After ten minutes of waiting the release has to show its breach again before another machine
/// is touched.
#[tokio::test(start_paused = true)]
async fn after_a_long_pause_a_release_that_is_well_by_now_is_left_alone() {
    let mut world = half_way().await;
    let denied = PlatformError::Denied("401".to_owned());
    world.sim.add_fault(failing(denied).on(CallKind::Lease));
    world.run_for(120).await;
    world.sim.set_behaviour("registry.fly.io/api:errors", Behaviour::default()).unwrap();
    world.run_for(600).await;
    let then = world.images();
    world.sim.clear_faults();
    world.until(HoldPlaced).await;
    world.run_for(600).await;
    assert_eq!(world.images(), then, "{}", world.timeline().await);
    assert_eq!(world.count(HoldPlaced).await, 1);
    // And it shows it again: the rollback goes on.
    world.sim.set_behaviour("registry.fly.io/api:errors", Behaviour::errors(0.3)).unwrap();
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// An open entry of the ledger stops other tools: it is closed after a quarter of an hour, and a
/// new one is made when the rollback goes on.
#[tokio::test(start_paused = true)]
async fn the_ledger_entry_of_a_rollback_that_waits_for_long_is_closed_and_made_anew() {
    let mut world = half_way().await;
    let denied = PlatformError::Denied("401".to_owned());
    world.sim.add_fault(failing(denied).on(CallKind::Lease));
    world.run_for(14 * 60).await;
    let ours = |world: &World| -> Vec<(u64, String)> {
        let entries = world.sim.releases(APP).into_iter().filter(|entry| entry.version > 42);
        entries.map(|entry| (entry.version, entry.status)).collect()
    };
    assert_eq!(ours(&world), [(43, "running".to_owned())]);
    world.run_for(2 * 60).await;
    assert_eq!(ours(&world), [(43, "failed".to_owned())]);
    world.sim.clear_faults();
    world.until(RollbackCompleted).await;
    world.run_for(5).await;
    assert_eq!(ours(&world), [(44, "complete".to_owned()), (43, "failed".to_owned())]);
    assert_eq!(world.count(ReleaseDetected).await, 2, "our own entries are nobody's release");
    went_on(&world).await;
    world.finish().await;
}

/// A lease that is never given back: people are told, once, and the rollback goes on when it is.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_comes_no_further_pages_once_and_goes_on_trying() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    for id in world.sim.machine_ids(APP, Some("syd")) {
        world.sim.lease_as(&id, "stuck@example.com", Duration::from_secs(45 * 60)).unwrap();
    }
    let paused = world.until(RollbackPaused).await;
    assert!(why(&paused).contains("stuck@example.com"));
    let page = world.until(RollbackFailed).await;
    assert!(why(&page).contains("stuck@example.com"));
    world.run_for(300).await;
    assert_eq!(world.count(RollbackFailed).await, 1);
    assert_eq!(world.count(RollbackStopped).await, 0);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A known-good release near its limit still is an improvement on one at thirty percent.
#[tokio::test(start_paused = true)]
async fn a_known_good_release_near_its_limit_confirms() {
    for seed in 1..13 {
        let mut fleet = fleet::demo();
        fleet.seed = seed;
        let mut world = World::idle(&fleet, &policy("[watch]\nbake = \"1m\"\n"));
        world.start().await;
        world.trusted().await;
        // Trust of what is so near takes a hundred thousand requests: it came near afterwards.
        world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::errors(0.019)).unwrap();
        world.run_for(60).await;
        world.ship("registry.fly.io/api:errors");
        world.until(RollbackStarted).await;
        world.run_for(600).await;
        went_on(&world).await;
        world.finish().await;
    }
}

fn in_order() -> String {
    policy(&QUICK.replace("[rollback]", "[rollback]\norder = [\"iad\", \"lhr\", \"syd\"]"))
}

/// The proxy's autostop stops the first region's machines as soon as they are put right.
async fn until_the_first_region_rests(world: &mut World) {
    world.until(RollbackStarted).await;
    // Requests would prove it in a moment.
    world.sim.set_traffic(APP, 0.0).unwrap();
    let is_put_right = |world: &World| {
        let regions = world.view().regions;
        regions.iter().any(|one| one.phase == RegionStage::Confirming)
    };
    while !is_put_right(world) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for id in world.sim.machine_ids(APP, Some("iad")) {
        world.sim.stop(&id).unwrap();
    }
    world.sim.set_traffic(APP, 120.0).unwrap();
}

/// Nobody asks the first region for anything at night, and the proxy stops its machines before they
/// have proved anything.
#[tokio::test(start_paused = true)]
async fn a_first_region_that_goes_to_rest_leaves_the_proof_to_the_next() {
    for bad in ["errors", "unhealthy"] {
        let mut world = World::new(&fleet::demo(), &in_order()).await;
        world.trusted().await;
        world.ship(&format!("registry.fly.io/api:{bad}"));
        until_the_first_region_rests(&mut world).await;
        world.run_for(600).await;
        assert_eq!(world.count(RollbackCompleted).await, 1, "{}", world.timeline().await);
        world.all_run("v41");
        let rests = world.sim.machine_ids(APP, Some("iad"));
        assert!(rests.iter().all(|id| world.sim.state(id) == Some(State::Stopped)));
        world.finish().await;
    }
}

/// What rests proves nothing: where going back does not help, that shows in the next region, and the
/// last one is left as it is.
#[tokio::test(start_paused = true)]
async fn a_first_region_at_rest_is_no_proof() {
    let mut world = World::new(&fleet::demo(), &in_order()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    until_the_first_region_rests(&mut world).await;
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::errors(0.3)).unwrap();
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("lhr did not improve"), "{}", why(&held));
    assert_eq!(world.images()["errors"], 2, "syd is left as it is");
    world.finish().await;
}

fn hosts(world: &World, region: &str, status: &str) {
    for id in world.sim.machine_ids(APP, Some(region)) {
        world.sim.set_host(&id, status).unwrap();
    }
}

fn calls(world: &World, kind: CallKind, region: &str) -> usize {
    let ids = world.sim.machine_ids(APP, Some(region));
    let calls = world.sim.calls().into_iter().filter(|call| call.action == kind);
    calls
        .filter(|call| call.machine.as_ref().is_some_and(|id| ids.contains(&id.to_string())))
        .count()
}

/// A region that was skipped, because nobody could reach it, revives while the next is at work: it
/// waits for its turn.
#[tokio::test(start_paused = true)]
async fn a_region_that_revives_waits_until_the_one_at_work_is_confirmed() {
    let mut world = World::new(&fleet::demo(), &in_order()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.run_for(10).await;
    hosts(&world, "iad", "unreachable");
    while calls(&world, CallKind::Update, "lhr") == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    hosts(&world, "iad", "ok");
    while world.count(RollbackRegionConfirmed).await == 0 {
        assert_eq!(calls(&world, CallKind::Update, "iad"), 0, "{}", world.timeline().await);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackRegionConfirmed).await, 3);
    went_on(&world).await;
    world.finish().await;
}
