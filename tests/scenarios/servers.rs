//! Apps without a metrics page of their own: Fly's managed Prometheus is all there is, which reads its
//! proxies every fifteen seconds and shows what it has read another fifteen later.

use jiff::SignedDuration;
use waveoff::{
    model::{
        EventKind::{
            MonitorBlind, MonitorRecovered, ReleaseDegraded, ReleaseTrusted, RollbackCompleted,
            RollbackStarted,
        },
        Verdict,
    },
    ports::PlatformError,
    sim::{
        Behaviour, CallKind, Fault, FaultRule, Fleet, Org,
        fleet::{self, FleetImage},
    },
};

use crate::world::{World, why};

/// Nothing but what Fly's proxy counts.
const BY_FLY: &str = "apps = [\"api\", \"web\"]\nmode = \"rollback\"\nuse = [\"fly-http\"]\n\
    [watch]\nbake = \"3m\"\n[rollback]\nconfirm = \"90s\"\n";

fn without_pages() -> Fleet {
    let mut fleet = fleet::demo();
    for group in fleet.apps.iter_mut().flat_map(|app| &mut app.groups) {
        group.metrics = false;
    }
    fleet
}

fn refused() -> FaultRule {
    let error = PlatformError::Denied("401".to_owned());
    FaultRule::new(Fault::Fail(error)).on(CallKind::Query)
}

/// A starting point, two blocks of fifteen seconds, and what is on its way for as long.
#[tokio::test(start_paused = true)]
async fn a_release_that_fails_a_third_of_its_requests_is_found_after_a_minute_and_undone() {
    let mut world = World::new(&without_pages(), BY_FLY).await;
    world.trusted().await;
    let began = world.sim.platform_now();
    world.ship("registry.fly.io/api:errors");
    let degraded = world.until(ReleaseDegraded).await;
    let took = degraded.at.duration_since(began);
    assert!(took < SignedDuration::from_secs(75), "{took:?}");
    let breach = degraded.evidence.iter().find(|one| one.threshold == "fly-http 5xx").unwrap();
    assert!((0.25..0.35).contains(&breach.share().unwrap()), "{breach:?}");
    world.until(RollbackCompleted).await;
    let good = world.sim.digest("registry.fly.io/api:v41").unwrap();
    assert!(world.sim.running("api").values().all(|image| image.ends_with(&good)));
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_release_is_found_by_the_same_preset() {
    let mut fleet = without_pages();
    let slow = fleet.images.iter_mut().find(|image| image.reference.ends_with("latency")).unwrap();
    slow.behaviour.slow_ms = 4000.0;
    let mut world = World::new(&fleet, BY_FLY).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:latency");
    let degraded = world.until(ReleaseDegraded).await;
    let breach = |name: &str| {
        let one = degraded.evidence.iter().find(|one| one.threshold == name).unwrap();
        one.verdict == Verdict::Breach
    };
    assert!(breach("fly-http latency") && !breach("fly-http 5xx"), "{degraded:?}");
    world.until(RollbackCompleted).await;
    world.finish().await;
}

/// Proxies that are started anew, updates in place, lists that are late: none of it is the release's.
#[tokio::test(start_paused = true)]
async fn a_healthy_release_is_trusted_whatever_happens_to_its_counters() {
    let mut fleet = without_pages();
    fleet.list_lag_s.insert("lhr".to_owned(), 30.0);
    let mut world = World::new(&fleet, BY_FLY).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    for _ in 0..10 {
        world.run_for(37).await;
        world.sim.with(Org::restart_proxies);
    }
    world.until(ReleaseTrusted).await;
    assert!(world.told(ReleaseDegraded).await.is_empty());
    assert!(world.told(MonitorBlind).await.is_empty(), "{:?}", world.told(MonitorBlind).await);
    world.finish().await;
}

/// The server refuses the token: one message for all apps, and nothing is trusted or undone meanwhile.
#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_told_once_and_trusts_nothing() {
    let mut world = World::idle(&without_pages(), BY_FLY);
    world.sim.add_fault(refused());
    world.start().await;
    world.run_for(900).await;
    assert!(world.told(ReleaseTrusted).await.is_empty());
    let told = world.told(MonitorBlind).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].app, None);
    assert!(why(&told[0]).contains("Fly's managed Prometheus") && why(&told[0]).contains("401"));
    // A restart says nothing twice.
    world.restart().await;
    world.run_for(120).await;
    assert_eq!(world.told(MonitorBlind).await.len(), 1);
    world.sim.clear_faults();
    world.trusted().await;
    assert_eq!(world.told(MonitorRecovered).await.len(), 1);
    world.finish().await;
}

/// A deploy that is over before the first reading of its machines is told: an outage in it would look the same, so
/// that nobody vouches, and the rollback counts down.
#[tokio::test(start_paused = true)]
async fn what_a_server_tells_after_a_short_deploy_is_waited_for() {
    let mut fleet = without_pages();
    let dead = Behaviour::errors(1.0);
    fleet.images.push(FleetImage::new("registry.fly.io/api:dead", dead));
    for image in ["errors", "dead"] {
        let mut world = World::new(&fleet, BY_FLY).await;
        world.trusted().await;
        world.run_for(900).await;
        let began = world.sim.platform_now();
        world.ship(&format!("registry.fly.io/api:{image}"));
        let took = world.until(RollbackStarted).await.at.duration_since(began);
        assert!((60..=95).contains(&took.as_secs()), "{image}: {took:?}");
        world.until(RollbackCompleted).await;
        world.finish().await;
    }
}
