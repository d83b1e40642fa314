//! How long a rollback takes, beside the deploy that it replaces.
//!
//! `fly deploy --image` with its rolling strategy was timed on such fleets (boot 2 s, checks after
//! 1 s): the seconds until every machine was healthy are written down here. The floor of our order
//! is steps × waves × (boot + check), and the first confirmation.

use std::collections::BTreeMap;

use waveoff::{
    model::EventKind::{RollbackCompleted, RollbackStarted},
    sim::{
        Behaviour, CallKind, Fleet, ShipOptions, ShipStrategy, State,
        fleet::{self, FleetApp, FleetImage},
    },
};

use crate::world::{APP, QUICK, World, policy};

const GOOD: &str = "registry.fly.io/api:v41";

/// So many regions with so many machines each, that boot in 2 s and are checked 1 s after.
fn fleet_of(regions: usize, each: u32) -> Fleet {
    const REGIONS: [&str; 12] =
        ["iad", "lhr", "syd", "fra", "ams", "nrt", "sin", "gru", "ord", "sjc", "dfw", "cdg"];
    let machines: Vec<_> = REGIONS.iter().take(regions).map(|region| (*region, each)).collect();
    let well = Behaviour { error_share: 0.001, ..Behaviour::default() };
    Fleet {
        boot_s: 2.0,
        replace_s: 0.0,
        check_s: 1.0,
        apps: vec![FleetApp::new(APP, GOOD, &machines, 120.0)],
        images: vec![
            FleetImage::new(GOOD, well.clone()),
            FleetImage::new("registry.fly.io/api:errors", Behaviour { error_share: 0.3, ..well }),
            FleetImage::new("registry.fly.io/api:dead", Behaviour::errors(1.0)),
        ],
        ..fleet::demo()
    }
}

/// What a rollback took.
struct Took {
    /// Seconds until every machine was up on the known-good image, and until it was completed.
    healthy: f64,
    completed: f64,
    /// The most calls of the Machines API that one machine cost.
    calls: usize,
}

async fn undo(fleet: &Fleet, image: &str, settings: &str) -> Took {
    let mut world = World::new(fleet, &policy(&format!("{QUICK}{settings}"))).await;
    world.trusted().await;
    ship_at_once(&world, image);
    took(world).await
}

/// All at once: its leases are gone before it is found out.
fn ship_at_once(world: &World, image: &str) {
    let at_once = ShipOptions { strategy: ShipStrategy::Immediate, ..ShipOptions::default() };
    world.sim.ship(APP, image, at_once).unwrap();
}

/// What the rollback that comes takes.
async fn took(mut world: World) -> Took {
    let started = world.until(RollbackStarted).await.at;
    let completed = world.until(RollbackCompleted).await.at;
    world.all_run("v41");
    let ids = world.sim.machine_ids(APP, None);
    assert!(ids.iter().all(|id| world.sim.state(id) == Some(State::Started)));
    let calls: Vec<_> = world.sim.calls().into_iter().filter(|call| call.at >= started).collect();
    let releases = calls.iter().filter(|call| call.action == CallKind::Release);
    let last = releases.map(|call| call.at).max().expect("leases were given back");
    let mut of_machine: BTreeMap<&str, usize> = BTreeMap::new();
    for call in &calls {
        let of_writer = !matches!(call.action, CallKind::Page | CallKind::LogLines);
        if let Some(machine) = call.machine.as_ref().filter(|_| of_writer) {
            *of_machine.entry(machine.as_str()).or_default() += 1;
        }
    }
    let seconds = |at: jiff::Timestamp| at.duration_since(started).as_secs_f64();
    let took = Took {
        healthy: seconds(last),
        completed: seconds(completed),
        calls: of_machine.into_values().max().unwrap_or_default(),
    };
    println!("{:.1} s, {:.1} s, {} calls", took.healthy, took.completed, took.calls);
    world.finish().await;
    took
}

/// A third of a region at a time, region after region, each share of it proved: in about half of the
/// time of the deploy.
#[tokio::test(start_paused = true)]
async fn three_regions_of_four_take_half_of_the_deploy() {
    let took = undo(&fleet_of(3, 4), "registry.fly.io/api:errors", "").await;
    assert!(took.healthy <= 0.55 * 41.6, "{:.1} s", took.healthy);
    assert!(took.calls <= 7, "{} calls", took.calls);
}

#[tokio::test(start_paused = true)]
async fn six_regions_of_two_take_two_thirds_of_the_deploy() {
    let took = undo(&fleet_of(6, 2), "registry.fly.io/api:errors", "").await;
    assert!(took.healthy <= 0.65 * 41.4, "{:.1} s", took.healthy);
}

#[tokio::test(start_paused = true)]
async fn twelve_regions_of_one_take_two_thirds_of_the_deploy() {
    let took = undo(&fleet_of(12, 1), "registry.fly.io/api:errors", "").await;
    assert!(took.healthy <= 0.65 * 41.4, "{:.1} s", took.healthy);
}

/// Two hundred machines: sixteen waves of three seconds, and the first confirmation; each machine costs
/// as many calls as one of twelve.
#[tokio::test(start_paused = true)]
async fn ten_regions_of_twenty_take_little_more_than_their_waves() {
    let took = undo(&fleet_of(10, 20), "registry.fly.io/api:errors", "").await;
    assert!(took.healthy <= 1.3 * 48.0 + 3.0, "{:.1} s", took.healthy);
    assert!(took.calls <= 7, "{} calls", took.calls);
}

/// One machine proves it; then all the others at once.
#[tokio::test(start_paused = true)]
async fn a_total_outage_takes_two_boots_and_a_proof() {
    let took = undo(&fleet_of(3, 4), "registry.fly.io/api:dead", "").await;
    assert!(took.healthy <= 2.5 * 4.0, "{:.1} s", took.healthy);
}

/// What was well for minutes before is no reason to go slowly.
#[tokio::test(start_paused = true)]
async fn a_total_outage_that_comes_late_takes_as_long() {
    let long = QUICK.replace("bake = \"1m\"", "bake = \"4m\"");
    assert_ne!(long, QUICK);
    let mut world = World::new(&fleet_of(3, 4), &policy(&long)).await;
    world.trusted().await;
    let image = "registry.fly.io/api:late";
    world.sim.add_image(image, Behaviour { error_share: 0.001, ..Behaviour::default() });
    ship_at_once(&world, image);
    world.run_for(200).await;
    world.sim.set_behaviour(image, Behaviour::errors(1.0)).unwrap();
    let took = took(world).await;
    assert!(took.healthy <= 2.5 * 4.0, "{:.1} s", took.healthy);
}

#[tokio::test(start_paused = true)]
async fn immediate_takes_two_boots_and_a_proof() {
    let settings = "strategy = \"immediate\"\n";
    let took = undo(&fleet_of(3, 4), "registry.fly.io/api:errors", settings).await;
    assert!(took.healthy <= 2.5 * 4.0, "{:.1} s", took.healthy);
}
