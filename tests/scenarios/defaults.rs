//! The policy that ships, but that it may act: a team that changes nothing else is protected against errors,
//! latency, crashes and hangs, with apps that show nothing themselves.

use jiff::SignedDuration;
use waveoff::{
    model::EventKind::{
        ConfigWarning, MonitorBlind, ReleaseDegraded, ReleaseTrusted, RollbackCompleted,
    },
    sim::{
        Behaviour, Fleet,
        fleet::{self, FleetImage},
    },
};

use crate::world::World;

const SHIPPED: &str = include_str!("../../config/thresholds/default.toml");
const NEXT: &str = "registry.fly.io/api:next";

fn shipped() -> String {
    assert!(SHIPPED.contains("\nmode = \"observe\"\n"));
    SHIPPED.replace("\nmode = \"observe\"\n", "\nmode = \"rollback\"\n")
}

/// The demo's fleet, in which no app has a metrics page, and what comes next.
fn fleet(behaviour: Behaviour) -> Fleet {
    let mut fleet = fleet::demo();
    for group in fleet.apps.iter_mut().flat_map(|app| &mut app.groups) {
        group.metrics = false;
    }
    fleet.images.push(FleetImage::new(NEXT, behaviour));
    fleet
}

/// Ships what comes next so long after the first release was trusted, and sees it undone: within so many
/// seconds, by this threshold.
async fn is_undone(behaviour: Behaviour, after_s: u64, within_s: i64, by: &str) {
    let mut world = World::new(&fleet(behaviour), &shipped()).await;
    world.trusted().await;
    world.run_for(after_s).await;
    let began = world.sim.platform_now();
    world.ship(NEXT);
    let degraded = world.until(ReleaseDegraded).await;
    let took = degraded.at.duration_since(began);
    println!("{by}: degraded after {} s", took.as_secs());
    assert!(took < SignedDuration::from_secs(within_s), "{took:?}\n{}", world.timeline().await);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let text = world.sentences().await;
    assert!(text.contains(by), "{text}");
    for quiet in [MonitorBlind, ConfigWarning] {
        assert_eq!(world.count(quiet).await, 0, "{}", world.timeline().await);
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn errors_are_undone_by_what_ships() {
    is_undone(Behaviour::errors(0.3), 60, 90, "fly-http 5xx").await;
}

#[tokio::test(start_paused = true)]
async fn latency_is_undone_by_what_ships() {
    let slow = Behaviour { slow_share: 0.5, slow_ms: 4000.0, ..Behaviour::default() };
    is_undone(slow, 60, 120, "fly-http latency").await;
}

#[tokio::test(start_paused = true)]
async fn crashes_are_undone_by_what_ships() {
    is_undone(Behaviour::crashing(4.0), 60, 60, "crashes").await;
}

/// Its checks pass, and nothing counts what it does not answer. Twenty minutes of past are compared with.
#[tokio::test(start_paused = true)]
async fn hangs_are_undone_by_what_ships() {
    is_undone(Behaviour::hanging(1.0), 900, 180, "hang").await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_is_well_is_trusted_by_what_ships() {
    let mut world = World::new(&fleet(Behaviour::errors(0.001)), &shipped()).await;
    world.trusted().await;
    world.run_for(900).await;
    world.ship(NEXT);
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(10).await;
    }
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}
