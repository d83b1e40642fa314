//! Requests of our own are all there is: a release that hangs while its checks pass, one that is slow to
//! start, and a private network that is down for us alone.

use jiff::SignedDuration;
use waveoff::{
    model::EventKind::{
        MonitorBlind, MonitorRecovered, ReleaseDegraded, ReleaseTrusted, RollbackCompleted,
        RollbackPlanned,
    },
    ports::PlatformError,
    sim::{
        Behaviour, CallKind, Fault, FaultRule, Fleet,
        fleet::{self, FleetImage},
    },
};

use crate::world::{World, why};

/// Probes, and what comes without metrics.
const PROBED: &str = "apps = [\"api\"]\nmode = \"rollback\"\nuse = [\"checks\", \"crashes\"]\n\
    [watch]\nbake = \"1m\"\n[rollback]\nconfirm = \"10s\"\n\
    [[threshold]]\nname = \"probe\"\nprobe = { path = \"/healthz\", body = \"ok\" }\n";

/// The demo's fleet without metrics pages, and an image besides.
fn fleet(behaviour: Behaviour) -> Fleet {
    let mut fleet = fleet::demo();
    for group in fleet.apps.iter_mut().flat_map(|app| &mut app.groups) {
        group.metrics = false;
    }
    fleet.images.push(FleetImage::new("registry.fly.io/api:next", behaviour));
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_release_that_hangs_while_its_checks_pass_is_found_and_undone() {
    let mut world = World::new(&fleet(Behaviour::hanging(1.0)), PROBED).await;
    world.trusted().await;
    let began = world.sim.platform_now();
    world.ship("registry.fly.io/api:next");
    let degraded = world.until(ReleaseDegraded).await;
    let took = degraded.at.duration_since(began);
    assert!(took < SignedDuration::from_secs(45), "{took:?}");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let text = world.sentences().await;
    let said = "within 1 s";
    assert!(degraded.evidence.iter().any(|one| one.source.contains(said)), "{degraded:?}");
    assert!(text.contains("probes), limit 10 %"), "{text}");
    assert!(text.contains("no whole answer in time"), "{text}");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_answers_another_status_is_undone_and_the_status_is_told() {
    let mut world = World::new(&fleet(Behaviour::errors(0.6)), PROBED).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:next");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let text = world.sentences().await;
    assert!(text.contains("answered 500"), "{text}");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_takes_its_time_to_start_is_trusted() {
    let slow = Behaviour { boot_s: 40.0, ..Behaviour::default() };
    let mut world = World::new(&fleet(slow), PROBED).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:next");
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(5).await;
    }
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.all_run("next");
    world.finish().await;
}

/// The way to every machine is gone for us alone: that is no evidence, and is told.
#[tokio::test(start_paused = true)]
async fn a_private_network_that_is_down_is_blindness_and_blames_nobody() {
    let mut world = World::new(&fleet(Behaviour::default()), PROBED).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:next");
    world.run_for(20).await;
    let lost = PlatformError::Unavailable("no route to host".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(lost)).on(CallKind::Probe));
    world.run_for(300).await;
    let blind = world.told(MonitorBlind).await;
    assert_eq!(blind.len(), 1, "{}", world.timeline().await);
    assert!(why(&blind[0]).contains("can be reached with a probe"), "{blind:?}");
    assert_eq!(world.count(RollbackPlanned).await, 0);
    assert_eq!(world.count(ReleaseTrusted).await, 1, "unseen time earns nothing");
    world.sim.clear_faults();
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(5).await;
    }
    assert_eq!(world.count(MonitorRecovered).await, 1);
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}
