//! A bad release is undone, region by region.

use std::collections::BTreeMap;

use waveoff::{
    model::EventKind::{
        HoldPlaced, ReleaseDegraded, ReleaseDetected, RollbackCompleted, RollbackFailed,
        RollbackRegionConfirmed, RollbackStarted, RollbackStopped,
    },
    model::MachineReport,
    sim::{Behaviour, CallKind, ShipOptions, ShipStrategy, State, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_requests_is_undone_region_by_region() {
    // Given an app in three regions whose v41 is trusted
    let mut world = World::quick().await;
    world.trusted().await;
    // When v42 fails three requests in ten
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    // Then v41's image runs everywhere again
    world.all_run("v41");
    insta::assert_snapshot!(world.timeline().await, @r"
    0:00 release.detected v41 (first seen: it has to earn trust)
    1:02 release.trusted v41
    1:02 release.detected v42
    1:16 release.degraded v42
    1:16 rollback.planned v42
    1:16 rollback.started v42
    1:21 rollback.region_confirmed v42 [iad] (iad is well on the known-good release: 5xx 0 % (0 of 99), odds over 1 000 000:1)
    1:25 rollback.region_confirmed v42 [iad lhr] (lhr is well on the known-good release: 5xx 0 % (0 of 121), odds over 1 000 000:1)
    1:28 rollback.region_confirmed v42 [iad lhr syd] (syd is well on the known-good release: 5xx 0 % (0 of 115), odds over 1 000 000:1)
    1:28 rollback.completed v42 [iad lhr syd]
    ");
    world.finish().await;
}

/// Promise 3, and the platform's own rule: every write to a machine carries its lease's nonce.
#[tokio::test(start_paused = true)]
async fn no_machine_is_written_to_without_its_lease() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    let writes: Vec<_> = world
        .sim
        .calls()
        .into_iter()
        .filter(|call| matches!(call.action, CallKind::Update | CallKind::Start))
        .collect();
    assert_eq!(writes.len(), 6, "one update a machine");
    assert!(writes.iter().all(|call| call.leased), "{writes:?}");
    world.finish().await;
}

/// Promise 6: within a region, one machine of two at a time.
#[tokio::test(start_paused = true)]
async fn capacity_is_kept_within_a_region() {
    let mut fleet = fleet::demo();
    let api = fleet.apps.iter_mut().find(|app| app.name == APP).unwrap();
    *api = fleet::FleetApp::new(APP, "registry.fly.io/api:v41", &[("iad", 6)], 120.0);
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let ids = world.sim.machine_ids(APP, None);
    let mut fewest = 6;
    while world.last(RollbackCompleted).await.is_none() {
        let up = ids.iter().filter(|id| world.sim.state(id) == Some(State::Started)).count();
        fewest = fewest.min(up);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // A third of six, rounded up, is two.
    assert_eq!(fewest, 4, "two at a time");
    world.finish().await;
}

/// The numbers this project promises at its defaults: 100 requests a second, scrapes every 2 s.
#[tokio::test(start_paused = true)]
async fn decisions_are_as_fast_as_promised() {
    for (share, promised) in [(1.0, 20.0), (0.2, 40.0)] {
        let mut fleet = fleet::demo();
        fleet.apps.retain(|app| app.name == APP);
        fleet.apps[0].traffic.requests_per_s = 100.0;
        let mut world = World::new(&fleet, &policy("")).await;
        world.trusted().await;
        world.sim.add_image("registry.fly.io/api:bad", Behaviour::errors(share));
        let options = ShipOptions { strategy: ShipStrategy::Immediate, ..ShipOptions::default() };
        let failed_before = world.sim.totals(APP).failed;
        world.sim.ship(APP, "registry.fly.io/api:bad", options).unwrap();
        while world.sim.totals(APP).failed < failed_before + 5 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let first_failure = world.now();
        let started = world.until(RollbackStarted).await;
        let took = started.at.duration_since(first_failure).as_secs_f64();
        assert!(took <= promised, "{share} failing: decided after {took} s, not {promised} s");
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_release_is_undone() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:latency");
    let degraded = world.until(ReleaseDegraded).await;
    let p95 = degraded.evidence.iter().find(|e| e.threshold == "p95").unwrap();
    assert!(p95.value.unwrap() > 0.5, "{p95:?}");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// A crash loop ends as stopped machines; putting the image back must start them.
#[tokio::test(start_paused = true)]
async fn a_release_that_crashes_is_undone_and_its_stopped_machines_are_started() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.add_image("registry.fly.io/api:boot", Behaviour::crashing(0.0));
    world.ship("registry.fly.io/api:boot");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.run_for(5).await;
    for id in world.sim.machine_ids(APP, None) {
        assert_eq!(world.sim.state(&id), Some(State::Started), "{id}");
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_its_checks_is_undone() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:unhealthy");
    let degraded = world.until(ReleaseDegraded).await;
    let checks = degraded.evidence.iter().find(|e| e.threshold == "checks").unwrap();
    let note = waveoff::threshold::note(checks).unwrap();
    assert!(note.contains("3 times in a row"), "{checks:?}");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// Machines that autostop put to rest come back with the next peak: they get the image too, and
/// are left as they are.
#[tokio::test(start_paused = true)]
async fn stopped_machines_get_the_image_and_stay_stopped() {
    let mut world = World::quick().await;
    world.trusted().await;
    let resting = world.sim.machine_ids(APP, Some("lhr")).remove(0);
    world.sim.stop(&resting).unwrap();
    world.run_for(5).await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.sim.state(&resting), Some(State::Stopped));
    world.finish().await;
}

/// Promise 10: everything but the image and our own metadata comes back byte for byte.
#[tokio::test(start_paused = true)]
async fn a_machine_keeps_its_configuration() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(ReleaseDetected).await;
    world.run_for(12).await;
    let ids = world.sim.machine_ids(APP, None);
    let strip = |text: &str| {
        let mut config: serde_json::Value = serde_json::from_str(text).unwrap();
        config.as_object_mut().unwrap().remove("image");
        let metadata = config["metadata"].as_object_mut().unwrap();
        for own in ["fly_release_version", "fly_release_id", "waveoff_rollback"] {
            metadata.remove(own);
        }
        config.to_string()
    };
    let before: Vec<_> = ids.iter().map(|id| strip(&world.sim.config(id).unwrap())).collect();
    world.until(RollbackCompleted).await;
    let after: Vec<_> = ids.iter().map(|id| strip(&world.sim.config(id).unwrap())).collect();
    assert_eq!(before, after);
    world.finish().await;
}

/// The first region is the proof: when going back does not help, the rest is left as it is.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_does_not_help_stops_after_the_first_region() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    // Something else is broken: the known-good image fails now, too.
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::errors(0.3)).unwrap();
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("did not improve"));
    assert_eq!(world.count(RollbackStopped).await, 1);
    assert_eq!(world.images(), BTreeMap::from([("errors".into(), 4), ("v41".into(), 2)]));
    // And it stays so.
    world.run_for(900).await;
    assert_eq!(world.images(), BTreeMap::from([("errors".into(), 4), ("v41".into(), 2)]));
    world.finish().await;
}

/// The platform may accept an update and quietly give it up.
#[tokio::test(start_paused = true)]
async fn an_update_that_the_platform_reverts_is_made_again() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(ReleaseDegraded).await;
    for id in world.sim.machine_ids(APP, None) {
        world.sim.revert_next_update(&id).unwrap();
    }
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// The platform gave the crashing machines up, and then the update as well; with the machine's old
/// version it forgot how its process ended.
#[tokio::test(start_paused = true)]
async fn a_crashed_machine_is_started_although_its_first_update_was_reverted() {
    let observe = policy(QUICK).replace("\"rollback\"", "\"observe\"");
    let mut world = World::new(&fleet::demo(), &observe).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:crash");
    world.run_for(300).await;
    let ids = world.sim.machine_ids(APP, None);
    assert!(ids.iter().all(|id| world.sim.state(id) == Some(State::Stopped)), "given up");
    for id in &ids {
        world.sim.revert_next_update(id).unwrap();
    }
    world.rewrite_policy(&policy(QUICK)).await;
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let up = ids.iter().filter(|id| world.sim.state(id) == Some(State::Started));
    assert_eq!(up.count(), 6, "{}", world.timeline().await);
    world.finish().await;
}

/// Promise 9: what cannot be reached is named, and put right when it comes back.
#[tokio::test(start_paused = true)]
async fn a_dead_host_is_named_and_put_right_when_it_revives() {
    let mut world = World::quick().await;
    world.trusted().await;
    let dead = world.sim.machine_ids(APP, Some("syd")).remove(0);
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_host(&dead, "unreachable").unwrap();
    let completed = world.until(RollbackCompleted).await;
    let syd = completed.regions.iter().find(|r| r.region.as_str() == "syd").unwrap();
    assert_eq!(syd.machines[&dead.as_str().into()], MachineReport::HostUnreachable);
    assert_eq!(world.images()["errors"], 1);
    world.sim.set_host(&dead, "ok").unwrap();
    world.run_for(60).await;
    world.all_run("v41");
    world.finish().await;
}

/// An autoscaler clones the bad image while it is being replaced.
#[tokio::test(start_paused = true)]
async fn machines_that_an_autoscaler_adds_are_put_right_too() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let last = world.sim.machine_ids(APP, Some("syd")).pop().unwrap();
    world.sim.clone_machine(&last).unwrap();
    world.until(RollbackCompleted).await;
    // And one that comes back from the dead after it was over.
    world.run_for(60).await;
    world.all_run("v41");
    assert_eq!(world.sim.machine_ids(APP, None).len(), 7);
    world.finish().await;
}

/// A machine list that lags behind must not be read as the platform going back on an update.
#[tokio::test(start_paused = true)]
async fn a_list_that_lags_is_not_believed_against_what_was_verified() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.stale_list(APP, std::time::Duration::from_secs(4)).unwrap();
    world.until(RollbackCompleted).await;
    let updates = world.sim.calls().iter().filter(|c| c.action == CallKind::Update).count();
    assert_eq!(updates, 6, "one update a machine");
    world.finish().await;
}

/// The ledger is not a documented interface; the rollback does not depend on it.
#[tokio::test(start_paused = true)]
async fn a_ledger_that_refuses_does_not_stop_a_rollback() {
    use waveoff::{
        ports::PlatformError,
        sim::{Fault, FaultRule},
    };
    let mut world = World::quick().await;
    world.trusted().await;
    let refusal = PlatformError::Denied("not yours".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(refusal.clone())).on(CallKind::OpenRelease));
    world.sim.add_fault(FaultRule::new(Fault::Fail(refusal)).on(CallKind::SetReleaseStatus));
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// `fly releases` shows the rollback, and tools that look at the ledger pause.
#[tokio::test(start_paused = true)]
async fn the_rollback_stands_in_the_ledger() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.run_for(3).await;
    let entry = world.sim.releases(APP).remove(0);
    assert_eq!((entry.version, entry.status.as_str()), (43, "running"));
    world.until(RollbackCompleted).await;
    world.run_for(3).await;
    let entry = world.sim.releases(APP).remove(0);
    assert_eq!((entry.version, entry.status.as_str()), (43, "complete"));
    // The machines carry its number, and nobody takes it for somebody's release.
    world.run_for(300).await;
    assert_eq!(world.count(ReleaseDetected).await, 2, "{}", world.timeline().await);
    world.finish().await;
}

/// Only the region that is bad is rolled back, when the policy says so.
#[tokio::test(start_paused = true)]
async fn only_breaching_regions_are_touched_when_the_policy_says_so() {
    let head = QUICK.replace("[rollback]", "[rollback]\nonly_breaching_regions = true");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    let bad = Behaviour::errors(0.5).only_in(&["lhr"]);
    world.sim.add_image("registry.fly.io/api:lhr", bad);
    world.ship("registry.fly.io/api:lhr");
    world.until(RollbackCompleted).await;
    assert_eq!(world.images(), BTreeMap::from([("lhr".into(), 4), ("v41".into(), 2)]));
    world.finish().await;
}

/// A machine that never comes up on the known-good image stops the rollback: to go on would take
/// more down.
#[tokio::test(start_paused = true)]
async fn a_region_whose_machines_do_not_come_up_stops_the_rollback() {
    let head = QUICK.replace("[rollback]", "[rollback]\nready_timeout = \"20s\"");
    let mut world = World::new(&fleet::demo(), &policy(&head)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::unhealthy()).unwrap();
    let failed = world.until(RollbackFailed).await;
    let reason = why(&failed);
    assert!(reason.contains("checks do not pass"), "{reason}");
    // One machine was taken down, and no second one.
    assert_eq!(world.images()["v41"], 1, "{:?}", world.images());
    world.finish().await;
}

/// A release that stays `running` pauses other tools for ever: it is closed when the ledger answers.
#[tokio::test(start_paused = true)]
async fn the_ledger_entry_is_closed_even_after_an_outage_of_the_ledger() {
    use waveoff::{
        ports::PlatformError,
        sim::{Fault, FaultRule},
    };
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    let down = Fault::Fail(PlatformError::Unavailable("503".to_owned()));
    world.sim.add_fault(FaultRule::new(down).on(CallKind::SetReleaseStatus));
    world.until(RollbackCompleted).await;
    world.run_for(300).await;
    assert_eq!(world.sim.releases(APP).remove(0).status, "running");
    world.sim.clear_faults();
    world.run_for(600).await;
    assert_eq!(world.sim.releases(APP).remove(0).status, "complete");
    world.finish().await;
}

/// A check that never passed on one machine, under a policy that asks for three in ten: going back
/// does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_check_that_failed_when_the_image_was_trusted_does_not_stop_the_rollback() {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let image = "registry.fly.io/api:v41";
    let machines = [("iad", 2), ("lhr", 2), ("syd", 1)];
    fleet.apps.push(fleet::FleetApp::new(APP, image, &machines, 120.0));
    let mut world = World::idle(&fleet, &policy(QUICK));
    world.sim.set_behaviour(image, Behaviour::unhealthy().only_in(&["syd"])).unwrap();
    world.start().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let took = world.seconds_between(RollbackStarted, RollbackCompleted).await;
    assert!(took < 90.0, "{took} s");
    world.finish().await;
}

/// The ledger made our entry and answered too late: it is found and closed at the end.
#[tokio::test(start_paused = true)]
async fn a_ledger_entry_that_was_made_without_an_answer_is_closed_too() {
    use waveoff::sim::{Fault, FaultRule};
    let mut world = World::quick().await;
    world.trusted().await;
    let slow = Fault::Slow(std::time::Duration::from_secs(60));
    world.sim.add_fault(FaultRule::new(slow).on(CallKind::OpenRelease));
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.run_for(10).await;
    let entry = world.sim.releases(APP).remove(0);
    assert_eq!((entry.version, entry.status.as_str()), (43, "complete"));
    world.all_run("v41");
    world.finish().await;
}
