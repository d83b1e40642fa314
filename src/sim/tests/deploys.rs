//! Other people's deploys, as `flyctl` does them, and what their gates see.

use super::{super::*, *};

fn careful(strategy: ShipStrategy) -> ShipOptions {
    ShipOptions { strategy, checks: true, wait_timeout_s: 12.0, ..ShipOptions::default() }
}

impl Scene {
    /// Digests that the app's machines run, by region, in the order of their ids.
    fn running(&self) -> Vec<String> {
        self.sim.running("web").into_values().collect()
    }

    fn count_of(&self, image: &str) -> usize {
        let digest = self.digest(image);
        self.running().iter().filter(|image| image.ends_with(digest.as_str())).count()
    }

    fn newest(&self) -> Entry {
        self.sim.releases("web").remove(0)
    }

    fn metadata(&self, id: &str, key: &str) -> Option<String> {
        let config: serde_json::Value = serde_json::from_str(&self.sim.config(id)?).unwrap();
        config["metadata"][key].as_str().map(str::to_owned)
    }
}

#[tokio::test(start_paused = true)]
async fn an_immediate_deploy_looks_at_nothing_and_is_complete_at_once() {
    let scene = Scene::new(Behaviour::unhealthy());
    scene.sim.ship("web", NEW, careful(ShipStrategy::Immediate)).unwrap();
    pass(1).await;
    assert_eq!((scene.newest().status.as_str(), scene.count_of(NEW)), ("complete", 3));
    assert!(scene.sim.gates("web").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_made_judged_and_destroyed_before_any_machine_is_touched() {
    let scene = Scene::new(Behaviour::default());
    scene.sim.ship("web", NEW, careful(ShipStrategy::Canary)).unwrap();
    pass(1).await;
    let machines = scene.platform.machines(&"web".into()).await.unwrap();
    let canary = machines.iter().find(|machine| machine.metadata.contains_key("fly_canary"));
    let canary = canary.expect("a machine of its own").clone();
    assert_eq!((machines.len(), scene.count_of(NEW)), (4, 1));
    assert!(canary.lease.is_some() && canary.region.as_str() == "iad");
    assert!(machines.iter().all(|machine| machine.lease.is_some() == (machine.id == canary.id)));
    pass(30).await;
    assert_eq!((scene.newest().status.as_str(), scene.running().len()), ("complete", 3));
    assert_eq!(scene.count_of(NEW), 3);
    let gates = scene.sim.gates("web");
    let kinds: Vec<GateKind> = gates.iter().map(|gate| gate.kind).collect();
    assert_eq!(kinds, [GateKind::Canary, GateKind::Machine, GateKind::Machine, GateKind::Machine]);
    assert!(gates.iter().all(|gate| gate.passed && !gate.was_defeated()));
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_ends_the_deploy_and_is_left_behind() {
    let scene = Scene::new(Behaviour::unhealthy());
    scene.sim.ship("web", NEW, careful(ShipStrategy::Canary)).unwrap();
    pass(30).await;
    assert_eq!(scene.newest().status, "failed");
    assert_eq!((scene.running().len(), scene.count_of(NEW)), (4, 1));
    assert!(!scene.sim.gates("web")[0].passed);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_was_shown_another_image_is_told_as_defeated() {
    let scene = Scene::new(Behaviour::unhealthy());
    let options = ShipOptions { canary_lease_s: 0.0, ..careful(ShipStrategy::Canary) };
    scene.sim.ship("web", NEW, options).unwrap();
    pass(5).await;
    let canary = scene.sim.machine_ids("web", None);
    let canary = canary.into_iter().find(|id| scene.metadata(id, "fly_canary").is_some()).unwrap();
    scene.sim.put_image(&canary, OLD).unwrap();
    pass(20).await;
    let gates = scene.sim.gates("web");
    assert!(gates[0].was_defeated(), "{gates:?}");
    assert_eq!(scene.count_of(NEW), 1, "it went on to the first machine, and failed there");
    assert_eq!(scene.newest().status, "failed");
}

#[tokio::test(start_paused = true)]
async fn greens_take_over_when_all_are_healthy() {
    let scene = Scene::new(Behaviour::default());
    let blues = scene.sim.machine_ids("web", None);
    scene.sim.ship("web", NEW, careful(ShipStrategy::Bluegreen)).unwrap();
    pass(1).await;
    let machines = scene.platform.machines(&"web".into()).await.unwrap();
    assert_eq!((machines.len(), scene.count_of(NEW)), (6, 3));
    let tag = "fly_bluegreen_deployment_tag";
    let is_green = |machine: &&Machine| machine.metadata.contains_key(tag);
    assert!(machines.iter().filter(is_green).all(|green| green.cordoned && green.lease.is_none()));
    pass(5).await;
    assert!(blues.iter().all(|id| scene.metadata(id, tag).as_deref() == Some("safe_to_destroy")));
    let before = scene.sim.totals("web");
    pass(30).await;
    assert_eq!((scene.newest().status.as_str(), scene.running().len()), ("complete", 3));
    assert_eq!(scene.count_of(NEW), 3);
    assert!(scene.sim.machine_ids("web", None).iter().all(|id| !blues.contains(id)));
    assert_eq!(scene.sim.totals("web").failed, before.failed, "nobody noticed");
    assert_eq!(scene.sim.gates("web").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn greens_that_do_not_get_healthy_go_away_and_mixed_blues_are_refused() {
    let scene = Scene::new(Behaviour::unhealthy());
    let blues = scene.sim.machine_ids("web", None);
    scene.sim.ship("web", NEW, careful(ShipStrategy::Bluegreen)).unwrap();
    pass(30).await;
    assert_eq!(scene.newest().status, "failed");
    assert_eq!(scene.sim.machine_ids("web", None), blues);
    assert_eq!(scene.count_of(OLD), 3);
    assert_eq!(scene.sim.totals("web").failed, 0);

    scene.sim.put_image(&blues[0], NEW).unwrap();
    pass(5).await;
    scene.sim.ship("web", NEW, careful(ShipStrategy::Bluegreen)).unwrap();
    pass(5).await;
    assert_eq!(scene.newest().status, "failed", "found multiple image versions");
    assert_eq!(scene.sim.machine_ids("web", None), blues);
}

#[tokio::test(start_paused = true)]
async fn new_secrets_give_every_machine_a_number_and_leave_it_its_image() {
    let scene = Scene::new(Behaviour::default());
    scene.sim.put_image(scene.ids[0].as_str(), NEW).unwrap();
    pass(5).await;
    scene.sim.ship_secrets("web", ShipOptions::default()).unwrap();
    pass(2).await;
    let numbers = || {
        let ids = scene.sim.machine_ids("web", None);
        ids.iter().filter_map(|id| scene.metadata(id, "fly_release_version")).collect::<Vec<_>>()
    };
    assert_eq!(numbers(), ["42", "42", "41"], "in the order of their ids");
    pass(20).await;
    assert_eq!(numbers(), ["42", "42", "42"]);
    assert_eq!((scene.count_of(NEW), scene.count_of(OLD)), (1, 2));
    assert_eq!((scene.newest().version, scene.newest().image), (42, OLD.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_replacing_when_a_deploy_began_stays_stopped() {
    let scene = Scene::new(Behaviour::default());
    let lease = scene.lease(0).await;
    let update = Scene::update_of(&scene.machine(0).await, OLD);
    scene.platform.update(&lease, &update).await.unwrap();
    assert_eq!(scene.machine(0).await.state.as_str(), "replacing");
    scene.sim.ship("web", NEW, ShipOptions::default()).unwrap();
    pass(3).await;
    scene.platform.release(&lease).await.unwrap();
    pass(30).await;
    assert_eq!(scene.newest().status, "complete");
    assert_eq!(scene.count_of(NEW), 3);
    assert_eq!(scene.machine(0).await.state, MachineState::Stopped);
    assert_eq!(scene.machine(1).await.state, MachineState::Started);
}

#[tokio::test(start_paused = true)]
async fn scaling_by_hand_and_a_killed_client_leave_what_they_leave() {
    let scene = Scene::new(Behaviour::default());
    scene.sim.announce("web", NEW, "complete").unwrap();
    let made = scene.sim.scale("web", "lhr", 2).unwrap();
    pass(5).await;
    assert_eq!((scene.running().len(), scene.count_of(NEW)), (5, 2));
    assert_eq!(scene.metadata(&made[0], "fly_release_version").as_deref(), Some("42"));
    assert_eq!(scene.newest().version, 42, "scaling makes no release");

    let options = ShipOptions { pause_s: 5.0, ..ShipOptions::default() };
    scene.sim.ship("web", NEW, options).unwrap();
    pass(3).await;
    scene.sim.kill_ships("web");
    pass(60).await;
    assert_eq!((scene.newest().status.as_str(), scene.sim.is_shipping()), ("running", false));
    let machines = scene.platform.machines(&"web".into()).await.unwrap();
    assert!(machines.iter().all(|machine| machine.lease.is_none()), "they ran out");
    assert_eq!(scene.count_of(OLD), 2);
}
