//! Promise 6: within a region and a process group never fewer machines are up because of us than
//! `max_unavailable` leaves, whatever happens to the daemon, its leases and the machines.

use std::time::Duration;

use waveoff::{
    model::EventKind::{RollbackCompleted, RollbackStarted},
    ports::PlatformError,
    sim::{Behaviour, CallKind, Fault, FaultRule, ShipOptions, ShipStrategy, State, fleet},
};

use crate::{
    mortal::{At, Blow},
    world::{APP, QUICK, World, policy},
};

fn one_region(machines: u32) -> fleet::Fleet {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let image = "registry.fly.io/api:v41";
    fleet.apps.push(fleet::FleetApp::new(APP, image, &[("iad", machines)], 60.0));
    fleet
}

fn up(world: &World) -> usize {
    let ids = world.sim.machine_ids(APP, None);
    ids.iter().filter(|id| world.sim.state(id) == Some(State::Started)).count()
}

/// Two, or more, machines whose known-good image takes so long to boot, and the bad release that
/// is about to be undone.
async fn slow_to_boot(machines: u32, boot_s: f64) -> World {
    let mut world = World::new(&one_region(machines), &policy(QUICK)).await;
    world.trusted().await;
    let slow = Behaviour { boot_s, ..Behaviour::default() };
    world.sim.set_behaviour("registry.fly.io/api:v41", slow).unwrap();
    world
}

/// The fewest machines that were up at once until the rollback was completed.
async fn fewest_up(world: &mut World) -> usize {
    let mut fewest = usize::MAX;
    let mut left = 60_000;
    // The journal is asked once a second, the machines ten times.
    while left % 10 != 0 || world.last(RollbackCompleted).await.is_none() {
        fewest = fewest.min(up(world));
        tokio::time::sleep(Duration::from_millis(100)).await;
        if world.fate.has_struck() {
            world.restart().await;
            world.fate.spare();
        }
        left -= 1;
        assert!(left > 0, "it never ended\n{}", world.timeline().await);
    }
    fewest
}

/// The daemon dies right after its first update was accepted, while the machine boots.
#[tokio::test(start_paused = true)]
async fn a_machine_that_boots_after_a_restart_still_counts_as_down() {
    let mut world = slow_to_boot(2, 20.0).await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    while !world.sim.calls().iter().any(|call| call.action == CallKind::Update) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.run_for(1).await;
    world.restart().await;
    assert_eq!(fewest_up(&mut world).await, 1);
    world.all_run("v41");
    world.finish().await;
}

/// The daemon dies after each of the calls of a whole rollback, in turn.
#[tokio::test(start_paused = true)]
async fn one_of_two_machines_is_up_at_every_instant_wherever_the_daemon_dies() {
    let mut dark = Vec::new();
    for call in 1..60 {
        let mut world = slow_to_boot(2, 10.0).await;
        world.ship("registry.fly.io/api:errors");
        world.until(RollbackStarted).await;
        world.fate.decree(Some((At::Call(call), Blow::DieAfter)));
        if fewest_up(&mut world).await < 1 {
            let (calls, _) = world.fate.counted();
            dark.push((call, calls.get(usize::try_from(call - 1).unwrap()).copied()));
        }
    }
    assert!(dark.is_empty(), "no machine was up after a death at {dark:?}");
}

/// Leases cannot be renewed, so each attempt ends, unanswered, while its machine still boots.
#[tokio::test(start_paused = true)]
async fn machines_whose_attempt_was_lost_count_as_down_until_they_are_seen_up() {
    let mut world = slow_to_boot(6, 90.0).await;
    let down = PlatformError::Unavailable("503".to_owned());
    world.sim.add_fault(FaultRule::new(Fault::Fail(down)).on(CallKind::Refresh));
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let fewest = fewest_up(&mut world).await;
    assert!(fewest >= 4, "only {fewest} of 6 were up; at most 2 may be down because of us");
    world.finish().await;
}

/// Machines at rest when the rollback was planned are started by the proxy before it reaches them.
#[tokio::test(start_paused = true)]
async fn machines_that_were_started_meanwhile_count() {
    let mut world = World::new(&one_region(8), &policy(QUICK)).await;
    world.trusted().await;
    let ids = world.sim.machine_ids(APP, None);
    for id in &ids[2..] {
        world.sim.stop(id).unwrap();
    }
    world.run_for(5).await;
    let options = ShipOptions { strategy: ShipStrategy::Immediate, ..ShipOptions::default() };
    world.sim.ship(APP, "registry.fly.io/api:errors", options).unwrap();
    world.until(RollbackStarted).await;
    for id in &ids {
        world.sim.lease_as(id, "ci@example.com", Duration::from_secs(20)).ok();
    }
    world.run_for(8).await;
    for id in &ids[2..] {
        world.sim.start(id).unwrap();
    }
    world.run_for(4).await;
    assert_eq!(up(&world), 8, "everything is up and serves");
    let fewest = fewest_up(&mut world).await;
    assert!(fewest >= 5, "only {fewest} of 8 were up; at most 3 may be down because of us");
    world.finish().await;
}
