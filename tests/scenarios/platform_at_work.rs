//! What the platform does by itself while a release is watched and undone: the proxy stops and
//! starts machines with the traffic, standbys step in, volumes keep their machines where they are.

use std::collections::BTreeMap;

use waveoff::{
    model::EventKind::{ImageMixed, ReleaseDegraded, RollbackCompleted, RollbackStarted},
    sim::{
        ShipOptions, ShipStrategy, State,
        fleet::{self, Autostop, Fleet, FleetApp, Group, Pulse},
    },
};

use crate::world::{APP, QUICK, World, policy};

const V41: &str = "registry.fly.io/api:v41";

/// The demo's images and one app of this group, with 60 requests a second.
fn fleet_of(group: Group) -> Fleet {
    let mut fleet = fleet::demo();
    let mut app = FleetApp::new(APP, V41, &[], 60.0);
    app.groups = vec![group];
    fleet.apps = vec![app];
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_rollback_gets_to_all_machines_while_the_proxy_stops_and_starts_them() {
    // Given traffic that comes and goes, and a proxy that follows it every few seconds.
    let mut fleet = fleet_of(Group {
        autostop: Autostop::Stop,
        autostart: true,
        soft_limit: 1,
        min_machines_running: 1,
        ..Group::of(&[("iad", 3), ("lhr", 3)])
    });
    fleet.proxy_s = 4.0;
    fleet.apps[0].traffic.pulse = Some(Pulse { every_s: 30.0, busy_s: 12.0, busy: 2.0, rest: 0.3 });
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    // When a bad release comes and is undone meanwhile.
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let at = world.now();
    world.until(RollbackCompleted).await;
    // Then every machine has the known-good image, at rest or not, and the proxy goes on.
    world.all_run("v41");
    let moved = |state| {
        let history = world.sim.history(APP).into_iter();
        history.filter(|moment| moment.at > at && moment.state == state).count()
    };
    assert!(moved(State::Stopped) > 0, "the proxy stopped some: {}", world.timeline().await);
    world.run_for(90).await;
    world.all_run("v41");
    assert_eq!(world.count(RollbackCompleted).await, 1, "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_steps_in_runs_the_known_good_image() {
    // Given a worker with a standby beside the machines that serve.
    let mut fleet = fleet_of(Group::of(&[("iad", 2), ("lhr", 2)]));
    fleet.apps[0].groups.push(Group {
        name: "worker".to_owned(),
        standbys: [("lhr".to_owned(), 1)].into(),
        services: false,
        metrics: false,
        ..Group::of(&[("iad", 1)])
    });
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    // When a bad release is being undone and the worker's host is lost.
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let is_worker = |id: &String| {
        let config = world.sim.config(id).unwrap();
        config.contains("\"fly_process_group\":\"worker\"") && !config.contains("\"standbys\"")
    };
    let worker = world.sim.machine_ids(APP, Some("iad")).into_iter().find(is_worker).unwrap();
    world.sim.set_host(&worker, "unreachable").unwrap();
    world.run_for(180).await;
    // Then the standby stands in, with the known-good image.
    let is_standby = |id: &String| world.sim.config(id).unwrap().contains("\"standbys\"");
    let standby = world.sim.machine_ids(APP, None).into_iter().find(is_standby).unwrap();
    assert_eq!(world.sim.state(&standby), Some(State::Started), "{}", world.timeline().await);
    assert!(world.sim.running(APP)[&standby].contains(":v41"), "{}", world.timeline().await);
    // And the lost one is put right when it is back.
    world.sim.set_host(&worker, "ok").unwrap();
    world.run_for(120).await;
    world.all_run("v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_alone_is_no_sign_of_a_bad_release() {
    let mut fleet = fleet_of(Group::of(&[("iad", 2), ("lhr", 2)]));
    fleet.apps[0].groups.push(Group {
        name: "worker".to_owned(),
        standbys: [("lhr".to_owned(), 1)].into(),
        services: false,
        metrics: false,
        ..Group::of(&[("iad", 1)])
    });
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    world.run_for(20).await;
    let worker = world.sim.machine_ids(APP, Some("iad")).pop().unwrap();
    world.sim.set_host(&worker, "unreachable").unwrap();
    world.run_for(240).await;
    assert_eq!(world.count(ReleaseDegraded).await, 0, "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn machines_with_volumes_are_put_right_where_they_are() {
    // Given machines that each mount a volume.
    let fleet = fleet_of(Group { volume_gb: 3, ..Group::of(&[("iad", 2), ("lhr", 2)]) });
    let mut world = World::new(&fleet, &policy(QUICK)).await;
    let mounts = |world: &World| -> BTreeMap<String, String> {
        let ids = world.sim.machine_ids(APP, None).into_iter();
        let mount = |id: String| {
            let config = world.sim.config(&id).unwrap();
            let config: serde_json::Value = serde_json::from_str(&config).unwrap();
            (id, config["mounts"].to_string())
        };
        ids.map(mount).collect()
    };
    let before = mounts(&world);
    assert!(before.values().all(|mount| mount.contains("vol_")), "{before:?}");
    world.trusted().await;
    // When a bad release is undone.
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    // Then the same machines mount the same volumes.
    world.all_run("v41");
    assert_eq!(mounts(&world), before);
    world.finish().await;
}

/// A fix got to one region only and went to rest there: nobody can judge it, and the rest goes on
/// with what it was to fix.
#[tokio::test(start_paused = true)]
async fn what_else_runs_is_told_while_a_release_at_rest_is_watched() {
    // Given a release on all machines and right after it another one in one region.
    let mut world =
        World::new(&fleet_of(Group::of(&[("iad", 2), ("lhr", 2)])), &policy(QUICK)).await;
    world.trusted().await;
    let at_once = |regions: &[&str]| ShipOptions {
        strategy: ShipStrategy::Immediate,
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        ..ShipOptions::default()
    };
    world.sim.ship(APP, "registry.fly.io/api:errors", at_once(&["iad", "lhr"])).unwrap();
    world.run_for(2).await;
    world.sim.ship(APP, "registry.fly.io/api:good", at_once(&["lhr"])).unwrap();
    world.run_for(4).await;
    // When that region goes to rest before anybody could see it at work.
    for id in world.sim.machine_ids(APP, Some("lhr")) {
        world.sim.stop(&id).unwrap();
    }
    world.run_for(1200).await;
    // Then people hear that two images run.
    assert_eq!(world.count(ImageMixed).await, 1, "{}", world.timeline().await);
    world.finish().await;
}
