//! Who is to blame: jobs that end, machines that drain or hang, exits of another release.

use std::time::Duration;

use serde_json::json;
use waveoff::{
    model::EventKind::{
        ReleaseDegraded, ReleaseDetected, ReleaseTrusted, RollbackCompleted, RollbackStarted,
    },
    sim::{Behaviour, Launch, Quirks, ShipOptions, ShipStrategy, State, fleet},
};

use crate::world::{APP, QUICK, World, policy};

const V41: &str = "registry.fly.io/api:v41";

fn two_groups(job: bool) -> fleet::Fleet {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let mut app = fleet::FleetApp::new(APP, V41, &[("iad", 2), ("lhr", 2)], 60.0);
    let mut group = fleet::FleetApp::new(APP, V41, &[("iad", 2)], 0.0).groups.remove(0);
    group.name = if job { "job" } else { "worker" }.to_owned();
    group.services = false;
    group.checks = false;
    group.metrics = false;
    app.groups.push(group);
    fleet.apps.push(app);
    fleet
}

fn immediate() -> ShipOptions {
    ShipOptions { strategy: ShipStrategy::Immediate, ..ShipOptions::default() }
}

/// A release with this behaviour, put on all machines at once.
fn ship(world: &World, name: &str, behaviour: Behaviour) {
    let image = format!("registry.fly.io/api:{name}");
    world.sim.add_image(&image, behaviour);
    world.sim.ship(APP, &image, immediate()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_exits_of_the_release_before_are_not_held_against_its_fix() {
    // Given a platform that keeps a machine's events over updates, and a release that crashes.
    let observe = policy(&QUICK.replace("\"rollback\"", "\"observe\""));
    let mut world = World::new(&fleet::demo(), &observe).await;
    world.sim.set_quirks(Quirks { events_survive: true, ..Quirks::default() });
    world.trusted().await;
    ship(&world, "loops", Behaviour::crashing(3.0));
    world.until(ReleaseDegraded).await;
    // When somebody ships the fix.
    ship(&world, "fix", Behaviour::default());
    world.until(ReleaseTrusted).await;
    // Then it was never blamed for the loop.
    let degraded = world.told(ReleaseDegraded).await;
    assert!(
        degraded.iter().all(|event| event.release.as_ref().unwrap().tag.as_deref() != Some("fix")),
        "{}",
        world.timeline().await
    );
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_starts_long_after_its_last_update_is_not_stuck() {
    // Given a platform whose `updated_at` moves with the configuration alone.
    let mut world = World::quick().await;
    world.sim.set_quirks(Quirks { updated_at_of_config: true, ..Quirks::default() });
    world.trusted().await;
    ship(&world, "slow", Behaviour { boot_s: 40.0, ..Behaviour::default() });
    world.until(ReleaseDetected).await;
    world.run_for(45).await;
    let id = world.sim.machine_ids(APP, None).remove(0);
    world.sim.stop(&id).unwrap();
    world.run_for(170).await;
    // When autostart brings one back long after, and it takes a while.
    world.sim.start(&id).unwrap();
    world.run_for(60).await;
    // Then nobody takes it for stuck.
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_machines_never_arrive_is_undone() {
    for launch in [Launch::Failed, Launch::LaunchFailed, Launch::Hangs] {
        let mut world = World::quick().await;
        world.trusted().await;
        ship(&world, "dud", Behaviour::launching(launch));
        let shipped = world.now();
        world.until(RollbackStarted).await;
        let took = world.now().duration_since(shipped).as_secs();
        let hangs = launch == Launch::Hangs;
        assert_eq!(took >= 180, hangs, "{launch:?}: {took} s\n{}", world.timeline().await);
        world.until(RollbackCompleted).await;
        world.all_run("v41");
        world.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn machines_that_drain_are_not_failing() {
    let mut world = World::quick().await;
    world.trusted().await;
    ship(&world, "drains", Behaviour { drain_s: 300.0, ..Behaviour::default() });
    world.run_for(20).await;
    for id in world.sim.machine_ids(APP, Some("iad")) {
        world.sim.stop(&id).unwrap();
    }
    world.run_for(250).await;
    let id = world.sim.machine_ids(APP, Some("iad")).remove(0);
    assert_eq!(world.sim.state(&id), Some(State::Stopping));
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_done_is_no_crash_and_is_not_run_again() {
    // Given a job under the known-good release, which ends each time it is run.
    let mut world = World::idle(&two_groups(true), &policy(QUICK));
    let jobs = world.sim.machine_ids(APP, None).split_off(4);
    world.start().await;
    for id in &jobs {
        world.sim.with(|org| org.end(id, 0)).unwrap();
    }
    world.trusted().await;
    // When a bad release comes and is rolled back.
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    // Then the jobs have the known-good image and were left at rest.
    world.all_run("v41");
    for id in &jobs {
        assert_eq!(world.sim.state(id), Some(State::Stopped), "{id}");
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn machines_that_keep_ending_with_0_are_down_and_started_by_the_rollback() {
    let mut world = World::new(&two_groups(false), &policy(QUICK)).await;
    world.trusted().await;
    ship(&world, "quits", Behaviour::job(2.0, 0));
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.run_for(10).await;
    for id in world.sim.machine_ids(APP, None).iter().take(4) {
        assert_eq!(world.sim.state(id), Some(State::Started), "{id}");
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn machines_that_go_to_sleep_with_0_are_not_held_against_a_release() {
    let mut world = World::quick().await;
    world.trusted().await;
    ship(&world, "sleepy", Behaviour::default());
    world.run_for(10).await;
    let quiet = world.sim.machine_ids(APP, Some("syd"));
    for _ in 0..4 {
        for id in &quiet {
            world.sim.with(|org| org.end(id, 0)).unwrap();
        }
        world.run_for(4).await;
        for id in &quiet {
            world.sim.start(id).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    world.run_for(60).await;
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

/// A job that runs by a schedule of the platform's is not run because a release is undone.
#[tokio::test(start_paused = true)]
async fn a_scheduled_job_that_failed_is_put_right_and_not_run() {
    // Given an app with a daily job, which failed when it ran last
    let mut world = World::new(&two_groups(true), &policy(QUICK)).await;
    let daily = json!({"schedule": "daily", "restart": {"policy": "no"}});
    let options = json!({"groups": ["job"], "config": daily});
    let options: ShipOptions = serde_json::from_value(options).unwrap();
    world.sim.ship(APP, V41, options).unwrap();
    world.trusted().await;
    let is_job = |id: &String| world.sim.config(id).unwrap().contains("daily");
    let jobs: Vec<String> = world.sim.machine_ids(APP, None).into_iter().filter(is_job).collect();
    assert_eq!(jobs.len(), 2);
    for job in &jobs {
        world.sim.with(|org| org.end(job, 1)).unwrap();
    }
    world.run_for(30).await;
    // When a bad release is rolled back
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.run_for(60).await;
    // Then the job has the known-good image, and was not run
    world.all_run("v41");
    for job in &jobs {
        assert_eq!(world.sim.state(job), Some(State::Stopped), "{}", world.timeline().await);
    }
    world.finish().await;
}
