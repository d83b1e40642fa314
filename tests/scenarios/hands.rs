//! Hands on machines: what people put there themselves is theirs, what machines make is put right,
//! and nothing of an image that was rolled back is forgotten.

use std::{collections::BTreeMap, time::Duration};

use waveoff::{
    model::{
        EventKind::{
            HoldPlaced, ImageMixed, ReleaseDetected, RollbackCompleted, RollbackFailed,
            RollbackPlanned, RollbackRegionConfirmed, RollbackStarted, RollbackStopped,
        },
        MachineFailure, Reason,
    },
    ports::PlatformError,
    sim::{CallKind, Fault, FaultRule, ShipOptions, State, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

fn listed() -> String {
    policy(&QUICK.replace("[rollback]", "[rollback]\norder = [\"iad\", \"lhr\", \"syd\"]"))
}

/// Seconds until no machine runs an image any more.
async fn until_gone(world: &mut World, tag: &str, within: u64) {
    for _ in 0..within {
        if !world.images().contains_key(tag) {
            return;
        }
        world.run_for(1).await;
    }
    panic!("{:?} after {within} s\n{}", world.images(), world.timeline().await);
}

/// Somebody tries the bad image on one machine, to find out what is wrong with it, an hour after
/// the rollback.
#[tokio::test(start_paused = true)]
async fn a_machine_that_somebody_sets_to_the_bad_image_afterwards_is_left_and_told() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.run_for(3600).await;
    let theirs = world.sim.machine_ids(APP, None).remove(0);
    world.sim.with(|org| org.put_image(&theirs, "registry.fly.io/api:errors")).unwrap();
    world.run_for(60).await;
    let mixed = world.last(ImageMixed).await.expect("people are told within a minute");
    assert!(why(&mixed).contains(&theirs));
    world.run_for(1800).await;
    assert_eq!(world.images().get("errors"), Some(&1), "it was taken from somebody's hands");
    assert_eq!(world.count(ImageMixed).await, 1, "told once");
    world.finish().await;
}

/// The same while the rollback is still under way: it goes on, and the machine is named.
#[tokio::test(start_paused = true)]
async fn a_machine_that_somebody_sets_to_the_bad_image_meanwhile_ends_nothing_and_is_named() {
    let mut world = World::new(&fleet::demo(), &listed()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    // syd is leased by somebody for a while, so that the rollback lasts.
    for id in world.sim.machine_ids(APP, Some("syd")) {
        world.sim.lease_as(&id, "ci@example.com", Duration::from_secs(180)).unwrap();
    }
    world.run_for(60).await;
    let theirs = world.sim.machine_ids(APP, Some("iad")).remove(0);
    world.sim.with(|org| org.put_image(&theirs, "registry.fly.io/api:errors")).unwrap();
    let completed = world.until(RollbackCompleted).await;
    let sentence = waveoff::notify::text::sentence(&completed);
    assert!(sentence.contains(&theirs), "{sentence}");
    world.run_for(300).await;
    assert_eq!(world.images().get("errors"), Some(&1), "{:?}", world.images());
    assert_eq!(world.count(RollbackStopped).await, 0);
    assert_eq!(world.count(HoldPlaced).await, 0);
    world.finish().await;
}

/// An autoscaler copies a machine of the bad image, during the rollback and after it.
#[tokio::test(start_paused = true)]
async fn copies_that_an_autoscaler_made_are_put_right() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    let bad = |world: &World| {
        let running = world.sim.running(APP).into_iter();
        running.filter(|(_, image)| image.contains(":errors@")).map(|(id, _)| id).next_back()
    };
    let model = bad(&world).unwrap();
    world.sim.clone_machine(&model).unwrap();
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.sim.machine_ids(APP, None).len(), 7);
    world.finish().await;
}

/// Somebody puts a fix on every machine by hand in the last seconds of the countdown.
#[tokio::test(start_paused = true)]
async fn with_nothing_left_to_undo_nothing_is_begun() {
    let head = QUICK.replace("[watch]", "[watch]\ncountdown = \"1m\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.run_for(40).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.with(|org| org.put_image(&id, "registry.fly.io/api:good")).unwrap();
    }
    world.run_for(600).await;
    assert_eq!(world.count(RollbackStarted).await, 0, "{}", world.timeline().await);
    assert_eq!(world.count(RollbackCompleted).await, 0);
    world.all_run("good");
    world.finish().await;
}

/// Every machine of the first region is on an unreachable host.
#[tokio::test(start_paused = true)]
async fn a_region_that_nobody_can_reach_is_not_confirmed() {
    let counted = listed().replace("[watch]", "[watch]\ncountdown = \"10s\"");
    let mut world = World::new(&fleet::demo(), &counted).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    let dead = world.sim.machine_ids(APP, Some("iad"));
    for id in &dead {
        world.sim.set_host(id, "unreachable").unwrap();
    }
    let completed = world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackRegionConfirmed).await, 2, "{}", world.timeline().await);
    let sentence = waveoff::notify::text::sentence(&completed);
    assert!(dead.iter().all(|id| sentence.contains(id)), "{sentence}");
    // They come back, and are put right.
    for id in &dead {
        world.sim.set_host(id, "ok").unwrap();
    }
    until_gone(&mut world, "errors", 120).await;
    world.finish().await;
}

/// The first region is lost while it is to prove that going back helps: the next one proves it.
#[tokio::test(start_paused = true)]
async fn a_region_that_is_lost_while_it_is_confirmed_keeps_no_other_waiting() {
    let slow = listed()
        .replace("confirm = \"10s\"", "confirm = { at_least = \"30s\", at_most = \"40s\" }");
    let mut world = World::new(&fleet::demo(), &slow).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.run_for(15).await;
    let lost = world.sim.machine_ids(APP, Some("iad"));
    let on_target = world.sim.running(APP).into_iter().filter(|(_, image)| image.contains(":v41@"));
    assert_eq!(on_target.count(), lost.len(), "iad is updated, and nothing else");
    for id in &lost {
        world.sim.set_host(id, "unreachable").unwrap();
    }
    let began = world.last(RollbackStarted).await.unwrap().at;
    let completed = world.until(RollbackCompleted).await;
    let took = completed.at.duration_since(began).as_secs();
    assert!(took < 300, "{took} s\n{}", world.timeline().await);
    assert_eq!(world.count(RollbackRegionConfirmed).await, 2);
    assert!(waveoff::notify::text::sentence(&completed).contains("iad skipped"));
    world.all_run("v41");
    world.finish().await;
}

/// A part of the platform is out: for half a minute the list lacks one region.
#[tokio::test(start_paused = true)]
async fn a_region_missing_from_the_list_is_neither_gone_nor_confirmed() {
    let mut world = World::new(&fleet::demo(), &listed()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.fate.hide_region(Some("lhr"));
    world.run_for(30).await;
    let bad = world.sim.digest("registry.fly.io/api:errors").unwrap();
    let running = world.sim.running(APP);
    let lhr = world.sim.machine_ids(APP, Some("lhr"));
    if lhr.iter().any(|id| running[id].contains(&bad)) {
        let confirmed = world.count(RollbackRegionConfirmed).await;
        assert_eq!(confirmed, 1, "{}", world.timeline().await);
    }
    world.fate.hide_region(None);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.count(RollbackRegionConfirmed).await, 3);
    world.finish().await;
}

/// The platform refuses the updates of one machine for ten minutes: it serves the bad image, so
/// nothing is complete, and it is put right as soon as that is possible.
#[tokio::test(start_paused = true)]
async fn a_machine_that_was_given_up_is_tried_for_as_long_as_it_serves() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let stuck = world.sim.machine_ids(APP, Some("syd")).pop().unwrap();
    let refusal = PlatformError::Refused("no capacity".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(refusal)).on(CallKind::Update).machine(&stuck));
    let calls = world.sim.calls().len();
    world.run_for(600).await;
    assert_eq!(world.count(RollbackCompleted).await, 0, "{}", world.timeline().await);
    assert_eq!(world.count(RollbackFailed).await, 1, "people are told once");
    let page = world.last(RollbackFailed).await.unwrap();
    assert!(why(&page).contains(&stuck));
    assert_eq!(world.sim.releases(APP)[0].status, "running");
    let tries = world.sim.calls().into_iter().skip(calls);
    let tries = tries
        .filter(|call| call.action == CallKind::Update)
        .filter(|call| call.machine.as_ref().is_some_and(|id| id.as_str() == stuck))
        .count();
    assert!((8..40).contains(&tries), "{tries} attempts in ten minutes");
    world.sim.clear_faults();
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.run_for(5).await;
    assert_eq!(world.sim.releases(APP)[0].status, "complete");
    world.finish().await;
}

/// Secrets are set in the middle of a rollback; the platform stamps the machines of the known-good
/// image first.
#[tokio::test(start_paused = true)]
async fn new_secrets_in_the_middle_of_a_rollback_do_not_make_the_bad_image_forgotten() {
    let mut world = World::new(&fleet::demo(), &listed()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.sim.renumber(APP).unwrap();
    until_gone(&mut world, "errors", 300).await;
    world.finish().await;
}

/// A fix is shipped to one region only, in the middle of a rollback.
#[tokio::test(start_paused = true)]
async fn a_fix_for_one_region_does_not_leave_the_others_on_the_bad_image() {
    let mut world = World::new(&fleet::demo(), &listed()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let options = ShipOptions { regions: vec!["syd".to_owned()], ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", options).unwrap();
    world.until(RollbackStopped).await;
    until_gone(&mut world, "errors", 300).await;
    assert!(world.count(ReleaseDetected).await >= 3);
    let theirs = world.sim.machine_ids(APP, Some("syd"));
    let running = world.sim.running(APP);
    assert!(theirs.iter().all(|id| running[id].contains(":good@")), "{running:?}");
    world.finish().await;
}

/// A newer release comes while a machine is down because of us, and its deploy leaves it so: what
/// `fly deploy` finds `replacing`, it leaves stopped. Tells which one.
async fn overtaken_while_one_is_down(world: &mut World) -> String {
    world.trusted().await;
    let slow = waveoff::sim::Behaviour { boot_s: 15.0, ..waveoff::sim::Behaviour::default() };
    world.sim.set_behaviour("registry.fly.io/api:v41", slow).unwrap();
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let updated = loop {
        let calls = world.sim.calls();
        let update = calls.into_iter().find(|call| call.action == CallKind::Update);
        if let Some(id) = update.and_then(|call| call.machine) {
            break id.to_string();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    world.sim.ship(APP, "registry.fly.io/api:good", ShipOptions::default()).unwrap();
    world.until(RollbackStopped).await;
    updated
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_down_is_started_again_after_yielding() {
    let mut world = World::quick().await;
    let updated = overtaken_while_one_is_down(&mut world).await;
    while world.sim.is_shipping() {
        world.run_for(1).await;
    }
    world.run_for(120).await;
    assert_eq!(world.sim.state(&updated), Some(State::Started), "{}", world.timeline().await);
    assert_eq!(world.images(), BTreeMap::from([("good".to_owned(), 6)]));
    world.finish().await;
}

/// It cannot be started again, however often that is tried: people are told which one it is, once.
#[tokio::test(start_paused = true)]
async fn what_was_taken_down_and_cannot_be_started_again_is_paged() {
    let mut world = World::quick().await;
    let no_room = PlatformError::Refused("no capacity".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(no_room)).on(CallKind::Start));
    let updated = overtaken_while_one_is_down(&mut world).await;
    let page = world.until(RollbackFailed).await;
    let Some(Reason::MachineFailed { machine, failure, .. }) = &page.reason else {
        panic!("{:?}", page.reason);
    };
    assert_eq!((machine.as_str(), failure), (updated.as_str(), &MachineFailure::StaysDown));
    assert_eq!(world.sim.state(&updated), Some(State::Stopped));
    world.run_for(600).await;
    assert_eq!(world.count(RollbackFailed).await, 1, "{}", world.timeline().await);
    let tries = world.sim.calls().into_iter().filter(|call| call.action == CallKind::Start);
    let tries = tries.count();
    assert!((3..=20).contains(&tries), "{tries} attempts to start it");
    world.finish().await;
}
