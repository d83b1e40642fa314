//! An hour in which everything happens at once: releases good and bad, failing calls, dead hosts,
//! killed machines, people at work by hand, and the daemon killed again and again.
//!
//! Whatever happens, the promises hold; and when calm returns, the next release is watched and
//! trusted as if nothing had been. `WAVEOFF_CHAOS=first..last` runs other seeds than the usual.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use waveoff::{
    model::EventKind::{ReleaseTrusted, RollbackStarted},
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, Rng, ShipOptions, ShipStrategy, fleet},
};

use crate::world::{APP, QUICK, World, policy};

/// Seeds that always run; each takes a few seconds.
const SEEDS: Range<u64> = 1..7;
/// Things that happen, one every 5 to 45 seconds.
const MISHAPS: u32 = 80;
/// More events than this in an hour are noise that nobody reads.
const EVENTS_MAX: usize = 250;

fn pick<'a, T>(dice: &mut Rng, of: &'a [T]) -> &'a T {
    let index = dice.roll(of.len() as u64);
    of.get(usize::try_from(index).unwrap()).unwrap()
}

const IMAGES: [&str; 6] = ["v41", "good", "errors", "latency", "crash", "unhealthy"];

fn image(tag: &str) -> String {
    format!("registry.fly.io/api:{tag}")
}

fn fault(dice: &mut Rng) -> FaultRule {
    let fault = match dice.roll(4) {
        0 => Fault::RequestLost,
        1 => Fault::AnswerLost,
        2 => Fault::Slow(Duration::from_secs(20)),
        _ => Fault::Fail(PlatformError::Unavailable("503".to_owned())),
    };
    let actions = [
        CallKind::Changes,
        CallKind::Apps,
        CallKind::Machines,
        CallKind::Machine,
        CallKind::Releases,
        CallKind::Lease,
        CallKind::Refresh,
        CallKind::Release,
        CallKind::Update,
        CallKind::Start,
        CallKind::Wait,
        CallKind::LogLines,
        CallKind::OpenRelease,
        CallKind::SetReleaseStatus,
        CallKind::Presence,
    ];
    FaultRule::new(fault).on(*pick(dice, &actions)).times(1 + dice.roll(15))
}

/// One thing that happens. What the platform refuses just then does not happen.
async fn mishap(world: &mut World, dice: &mut Rng) {
    let machines = world.sim.machine_ids(APP, None);
    let machine = pick(dice, &machines).clone();
    let refused = match dice.roll(16) {
        0..=3 => {
            let options = ShipOptions {
                strategy: *pick(dice, &[ShipStrategy::Rolling, ShipStrategy::Immediate]),
                checks: dice.roll(2) == 0,
                pause_s: 3.0,
                regions: if dice.roll(4) == 0 { vec!["iad".to_owned()] } else { Vec::new() },
                ..ShipOptions::default()
            };
            world.sim.ship(APP, &image(pick::<&str>(dice, &IMAGES)), options).is_err()
        }
        4 | 5 => {
            world.sim.add_fault(fault(dice));
            false
        }
        6 => world.sim.kill(&machine).is_err(),
        7 => world.sim.stop(&machine).is_err(),
        8 => {
            let status = *pick(dice, &["ok", "unreachable", "unknown"]);
            world.sim.set_host(&machine, status).is_err()
        }
        9 => {
            let time = Duration::from_secs(5 + dice.roll(60));
            world.sim.lease_as(&machine, "zoe@example.com", time).is_err()
        }
        10 => {
            let image = image(pick::<&str>(dice, &IMAGES));
            world.sim.with(|org| org.put_image(&machine, &image)).is_err()
        }
        11 => world.sim.revert_next_update(&machine).is_err(),
        12 => {
            world.sim.set_page_readable(&machine, dice.roll(2) == 0);
            false
        }
        13 => world.sim.set_traffic(APP, *pick(dice, &[0.0, 2.0, 60.0, 120.0])).is_err(),
        14 => {
            if machines.len() < 10 {
                world.sim.clone_machine(&machine).is_err()
            } else {
                world.sim.destroy(&machine).is_err()
            }
        }
        _ => {
            world.restart().await;
            false
        }
    };
    let _happened = !refused;
}

/// Peace: everything works again.
fn calm(world: &World) {
    world.sim.clear_faults();
    world.sim.set_traffic(APP, 120.0).unwrap();
    for id in world.sim.machine_ids(APP, None) {
        world.sim.set_host(&id, "ok").unwrap();
        world.sim.set_page_readable(&id, true);
    }
}

/// Promises that hold at every moment, read from what was done and told.
async fn promises_hold(world: &World) {
    // 3: no machine is written to without its lease. A fault that lost the request wrote nothing.
    let writes = world.sim.calls();
    let writes = writes.iter().filter(|c| matches!(c.action, CallKind::Update | CallKind::Start));
    for call in writes.filter(|call| !call.faulty) {
        assert!(call.leased, "{call:?}");
    }
    let events = world.events().await;
    // 1: at most one rollback per release.
    let mut rollbacks: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.kind == RollbackStarted) {
        let bad = event.release.as_ref().unwrap();
        *rollbacks.entry(format!("{} {}", bad.label(), bad.digest)).or_default() += 1;
    }
    assert!(rollbacks.values().all(|count| *count == 1), "{rollbacks:?}");
    // 2: only what was trusted is put on machines.
    let trusted: BTreeSet<String> = events
        .iter()
        .filter(|event| event.kind == ReleaseTrusted)
        .filter_map(|event| event.release.as_ref().map(|release| release.digest.to_string()))
        .collect();
    for event in events.iter().filter(|event| event.kind == RollbackStarted) {
        let target = event.known_good.as_ref().unwrap();
        assert!(trusted.contains(target.digest.as_str()), "{target:?} was never trusted");
    }
    assert!(events.len() < EVENTS_MAX, "{} events", events.len());
}

async fn an_hour(seed: u64) {
    let mut dice = Rng::new(seed);
    let mut fleet = fleet::demo();
    fleet.seed = seed;
    fleet.apps.retain(|app| app.name == APP);
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    for _ in 0..MISHAPS {
        mishap(&mut world, &mut dice).await;
        world.run_for(5 + dice.roll(40)).await;
    }
    promises_hold(&world).await;
    // When calm returns
    calm(&world);
    world.run_for(120).await;
    world.sim.add_image(&image("final"), Behaviour::default());
    // Then the next release is watched and trusted, and runs everywhere. The platform may still go
    // back on an update that it was told to go back on; people ship again then.
    let mut version = 0;
    for _ in 0..3 {
        world.ship(&image("final"));
        version = world.sim.releases(APP).remove(0).version;
        while world.sim.is_shipping() {
            world.run_for(1).await;
        }
        world.run_for(10).await;
        if world.images().len() == 1 {
            break;
        }
    }
    for id in world.sim.machine_ids(APP, None) {
        world.sim.start(&id).unwrap_or_else(|refusal| panic!("{id}: {refusal:?}"));
    }
    trusted(&mut world, seed, version).await;
    world.all_run("final");
    promises_hold(&world).await;
    world.finish().await;
}

/// Lets time pass until this release is the known-good one.
async fn trusted(world: &mut World, seed: u64, version: u64) {
    for _ in 0..1200 {
        world.run_for(1).await;
        let known_good = world.view().known_good.and_then(|release| release.version);
        if known_good.is_some_and(|known_good| known_good.0 == version) {
            return;
        }
    }
    let timeline = world.timeline().await;
    let tail: Vec<&str> = timeline.lines().rev().take(30).collect();
    panic!(
        "seed {seed}: v{version} not trusted: {:#?} {:?} {tail:#?}",
        world.view(),
        world.images()
    );
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_the_promises_hold_and_the_next_release_is_watched() {
    let seeds = std::env::var("WAVEOFF_CHAOS").ok().map_or(SEEDS, |text| {
        let (first, last) = text.split_once("..").expect("WAVEOFF_CHAOS=first..last");
        first.parse().unwrap()..last.parse().unwrap()
    });
    for seed in seeds {
        an_hour(seed).await;
    }
}
