//! The platform answers oddly, and people do things by hand: nothing is concluded from what cannot
//! be, and nothing is lost sight of.

use std::{collections::BTreeMap, time::Duration};

use waveoff::{
    model::EventKind::{
        HoldPlaced, ImageMixed, ReleaseDegraded, ReleaseDetected, ReleaseTrusted,
        RollbackCompleted, RollbackFailed, RollbackPaused, RollbackRegionConfirmed,
        RollbackStarted, RollbackStopped,
    },
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, ShipOptions, State, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

fn unavailable() -> Fault {
    Fault::Fail(PlatformError::Unavailable("503".to_owned()))
}

/// Somebody tries an image on one machine while a rollback goes on: that machine is theirs, the
/// rest is still undone.
#[tokio::test(start_paused = true)]
async fn an_image_put_on_a_machine_by_hand_does_not_end_the_rollback() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let theirs = world.sim.machine_ids(APP, Some("syd")).pop().unwrap();
    world.sim.with(|org| org.put_image(&theirs, "registry.fly.io/api:good")).unwrap();
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackStopped).await, 0);
    assert_eq!(world.images(), BTreeMap::from([("good".into(), 1), ("v41".into(), 5)]));
    world.finish().await;
}

/// A killed deploy leaves a release `running` with no machine on it; it is waited for, not for ever.
#[tokio::test(start_paused = true)]
async fn a_release_that_never_reaches_a_machine_only_delays_the_rollback() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.run_for(2).await;
    world.sim.announce(APP, "registry.fly.io/api:good", "running").unwrap();
    world.run_for(300).await;
    assert_eq!(world.count(RollbackCompleted).await, 0, "a newer release may be coming");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A rival release that fails before it touches anything.
#[tokio::test(start_paused = true)]
async fn a_newer_release_that_fails_at_once_does_not_end_the_rollback() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.announce(APP, "registry.fly.io/api:good", "failed").unwrap();
    world.until(RollbackCompleted).await;
    let took = world.seconds_between(RollbackStarted, RollbackCompleted).await;
    assert!(took < 90.0, "{took} s");
    world.all_run("v41");
    world.finish().await;
}

/// The rival's machines show before its ledger entry can be read, and the list lags: the machine
/// itself, read under its lease, tells.
#[tokio::test(start_paused = true)]
async fn a_machine_that_somebody_else_updated_is_left_alone_whatever_the_list_says() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let calls = world.sim.calls().len();
    world.sim.add_fault(FaultRule::new(unavailable()).on(CallKind::Releases));
    world.sim.stale_list(APP, Duration::from_secs(30)).unwrap();
    let options =
        ShipOptions { strategy: waveoff::sim::ShipStrategy::Immediate, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:good", options).unwrap();
    world.until(RollbackStopped).await;
    world.sim.clear_faults();
    world.run_for(60).await;
    let ours = world.sim.calls().into_iter().skip(calls);
    let updates = ours.filter(|call| call.action == CallKind::Update).count();
    assert!(updates <= 1, "{updates} machines were taken from the newer release");
    world.all_run("good");
    world.finish().await;
}

/// One empty list among good ones is no proof that every machine is gone.
#[tokio::test(start_paused = true)]
async fn an_empty_machine_list_confirms_nothing() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.empty_list(APP, Duration::from_secs(5)).unwrap();
    world.run_for(6).await;
    assert_eq!(world.count(RollbackRegionConfirmed).await, 0);
    assert_eq!(world.count(RollbackCompleted).await, 0);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// Two web machines and three workers in one region: the workers prove nothing for the web.
#[tokio::test(start_paused = true)]
async fn capacity_is_kept_within_each_process_group() {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let mut app = fleet::FleetApp::new(APP, "registry.fly.io/api:v41", &[("iad", 2)], 100.0);
    let mut worker = fleet::Group::of(&[("iad", 3)]);
    worker.name = "worker".to_owned();
    worker.services = false;
    app.groups.push(worker);
    fleet.apps.push(app);
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    let all = world.sim.machine_ids(APP, None);
    let is_web =
        |id: &String| world.sim.config(id).is_some_and(|config| config.contains("\"services\":[{"));
    let web: Vec<String> = all.iter().filter(|id| is_web(id)).cloned().collect();
    assert_eq!((all.len(), web.len()), (5, 2));
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let mut fewest = 2;
    while world.last(RollbackCompleted).await.is_none() {
        let up = web.iter().filter(|id| world.sim.state(id) == Some(State::Started)).count();
        fewest = fewest.min(up);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(fewest, 1, "one web machine stays up");
    world.all_run("v41");
    world.finish().await;
}

/// The known-good image does not come up: one machine is tried, and no second one of six.
#[tokio::test(start_paused = true)]
async fn the_first_machine_goes_alone() {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let image = "registry.fly.io/api:v41";
    fleet.apps.push(fleet::FleetApp::new(APP, image, &[("iad", 6)], 120.0));
    let head = QUICK.replace("[rollback]", "[rollback]\nready_timeout = \"20s\"");
    let mut world = World::new(&fleet, &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_behaviour(image, Behaviour::unhealthy()).unwrap();
    world.until(RollbackFailed).await;
    assert_eq!(world.images()["v41"], 1, "{:?}", world.images());
    world.finish().await;
}

/// The first region has to show that going back helps; silence does not.
#[tokio::test(start_paused = true)]
async fn the_first_region_is_not_confirmed_by_silence() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_traffic(APP, 0.0).unwrap();
    let paused = world.until(RollbackPaused).await;
    assert!(why(&paused).contains("cannot be confirmed"));
    assert_eq!(world.images()["v41"], 2);
    world.finish().await;
}

/// A deploy that failed on its second machine is no release to go back to.
#[tokio::test(start_paused = true)]
async fn a_failed_deploy_is_not_trusted_and_its_mix_is_told() {
    let mut world = World::quick().await;
    world.trusted().await;
    // The deploy waits for checks and gives up at the first machine that fails them.
    let careful = ShipOptions { checks: true, wait_timeout_s: 5.0, ..ShipOptions::default() };
    let calm = policy(QUICK).replace("consecutive = 3", "consecutive = 100");
    world.rewrite_policy(&calm).await;
    world.sim.ship(APP, "registry.fly.io/api:unhealthy", careful).unwrap();
    world.run_for(30).await;
    world.sim.set_behaviour("registry.fly.io/api:unhealthy", Behaviour::default()).unwrap();
    world.until(ImageMixed).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    world.finish().await;
}

/// A burst of requests at the beginning, and silence after it.
#[tokio::test(start_paused = true)]
async fn a_burst_of_traffic_does_not_earn_trust_for_the_silence_after_it() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    world.run_for(20).await;
    world.sim.set_traffic(APP, 0.0).unwrap();
    world.run_for(900).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1);
    world.sim.set_traffic(APP, 50.0).unwrap();
    world.run_for(30).await;
    assert_eq!(world.count(ReleaseTrusted).await, 2);
    world.finish().await;
}

/// Secrets are set in the middle of a rollback: both images carry the new number, and the bad one
/// is the one that is judged.
#[tokio::test(start_paused = true)]
async fn a_release_that_carries_two_images_is_judged_by_the_bad_one() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.sim.renumber(APP).unwrap();
    world.until(RollbackStopped).await;
    while world.count(RollbackCompleted).await == 0 {
        world.run_for(1).await;
    }
    world.all_run("v41");
    world.finish().await;
}

/// Whether a release ran migrations is not known before its ledger entry was read.
#[tokio::test(start_paused = true)]
async fn a_release_is_not_undone_before_its_ledger_entry_was_read() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.add_fault(FaultRule::new(unavailable()).on(CallKind::Releases));
    let migrating = ShipOptions {
        release_command: Some("rails db:migrate".to_owned()),
        ..ShipOptions::default()
    };
    world.sim.ship(APP, "registry.fly.io/api:errors", migrating).unwrap();
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("has not told yet"));
    world.sim.clear_faults();
    world.run_for(60).await;
    let held = world.last(HoldPlaced).await.unwrap();
    assert!(why(&held).contains("ran a release_command"));
    assert_eq!(world.count(RollbackStarted).await, 0);
    world.finish().await;
}

/// An app deleted and made again under its old name counts its releases from 1.
#[tokio::test(start_paused = true)]
async fn an_app_made_again_under_its_name_is_watched() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.add_image("registry.fly.io/api:new", Behaviour::errors(0.5));
    world.sim.recreate(APP, "registry.fly.io/api:new").unwrap();
    world.until(ReleaseDegraded).await;
    let detected = world.last(ReleaseDetected).await.unwrap().release.unwrap();
    assert_eq!(detected.label(), "v1");
    world.finish().await;
}

/// A machine that comes back with the bad image and cannot be put right is named.
#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_put_right_afterwards_is_named() {
    let mut world = World::quick().await;
    world.trusted().await;
    let dead = world.sim.machine_ids(APP, Some("syd")).remove(0);
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_host(&dead, "unreachable").unwrap();
    let completed = world.until(RollbackCompleted).await;
    assert!(why(&completed).contains(&dead), "what is left behind is named");
    let refusal = PlatformError::Refused("no".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(refusal)).on(CallKind::Update));
    world.sim.set_host(&dead, "ok").unwrap();
    let failed = world.until(RollbackFailed).await;
    assert!(why(&failed).contains(&dead));
    world.finish().await;
}

/// A machine that takes a minute to be ready stays ours meanwhile, and is given back after.
#[tokio::test(start_paused = true)]
async fn a_lease_is_held_while_a_machine_gets_ready_and_given_back_after() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::unhealthy()).unwrap();
    world.run_for(60).await;
    let under_way: Vec<String> = world
        .sim
        .running(APP)
        .into_iter()
        .filter(|(_, image)| image.contains(":v41@"))
        .map(|(id, _)| id)
        .collect();
    assert_eq!(under_way.len(), 1);
    let taken = world.sim.lease_as(&under_way[0], "ci@example.com", Duration::from_secs(5));
    assert!(taken.is_err(), "the lease lapsed while the machine got ready");
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::default()).unwrap();
    world.until(RollbackCompleted).await;
    for id in world.sim.machine_ids(APP, None) {
        let free = world.sim.lease_as(&id, "ci@example.com", Duration::from_secs(1));
        assert!(free.is_ok(), "the lease of {id} was not given back");
    }
    world.finish().await;
}

/// A newer bad release comes to one region while an older bad one is being undone elsewhere: both
/// are undone.
#[tokio::test(start_paused = true)]
async fn an_older_bad_image_left_where_its_rollback_was_stopped_is_undone_with_the_newer_one() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.sim.add_image("registry.fly.io/api:worse", Behaviour::errors(0.5));
    let options = ShipOptions { regions: vec!["iad".to_owned()], ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:worse", options).unwrap();
    world.until(RollbackCompleted).await;
    world.run_for(30).await;
    world.all_run("v41");
    world.finish().await;
}

/// Somebody puts another image on every machine by hand: it is not taken for granted.
#[tokio::test(start_paused = true)]
async fn a_foreign_image_on_all_machines_is_judged() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    world.run_for(20).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.with(|org| org.put_image(&id, "registry.fly.io/api:errors")).unwrap();
    }
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// The list lags, and the machine read under its lease runs somebody's own image: it is left to
/// them, and the others are put right.
#[tokio::test(start_paused = true)]
async fn a_machine_found_with_a_foreign_image_is_left_alone_and_the_rollback_goes_on() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    let rest: Vec<String> = world
        .sim
        .running(APP)
        .into_iter()
        .filter(|(id, image)| image.contains(":errors@") && world.sim.with(|org| org.is_free(id)))
        .map(|(id, _)| id)
        .collect();
    let theirs = rest.first().unwrap().clone();
    world.sim.stale_list(APP, Duration::from_secs(12)).unwrap();
    world.sim.with(|org| org.put_image(&theirs, "registry.fly.io/api:good")).unwrap();
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(RollbackStopped).await, 0);
    assert_eq!(world.images(), BTreeMap::from([("good".into(), 1), ("v41".into(), 5)]));
    world.finish().await;
}
