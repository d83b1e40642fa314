//! What the platform does on a bad day, or does for some and not for others.

use super::{super::*, *};
use crate::model::CheckStatus;

fn scene_with(change: impl FnOnce(&mut Fleet), new: Behaviour) -> Scene {
    let mut fleet = fleet(new);
    change(&mut fleet);
    Scene::of(&fleet)
}

#[tokio::test(start_paused = true)]
async fn exits_survive_an_update_where_the_platform_keeps_its_events() {
    for survive in [false, true] {
        let quirks = Quirks { events_survive: survive, ..Quirks::default() };
        let scene = scene_with(|fleet| fleet.quirks = quirks, Behaviour::default());
        scene.sim.kill(scene.ids[0].as_str()).unwrap();
        pass(5).await;
        assert_eq!(scene.machine(0).await.exits.len(), 1);
        scene.put(0, NEW).await;
        pass(5).await;
        assert_eq!(scene.machine(0).await.exits.len(), usize::from(survive));
    }
}

/// What it does does not wait until a clock that was set back has caught up.
#[test]
fn a_process_goes_on_as_it_was_when_the_clock_is_set() {
    for skew in [-600, 600] {
        let sim = Sim::at(&fleet(Behaviour::default()), "2026-03-01T03:00:00Z".parse().unwrap());
        sim.set_behaviour(OLD, Behaviour::errors(0.5)).unwrap();
        let failed = || sim.totals("web").failed;
        sim.skip(std::time::Duration::from_secs(30));
        let before = failed();
        sim.set_skew(jiff::SignedDuration::from_secs(skew));
        sim.skip(std::time::Duration::from_secs(30));
        assert!(before > 10 && failed() > before + before / 2, "{skew}: {before}, {}", failed());
    }
}

#[tokio::test(start_paused = true)]
async fn updated_at_moves_with_every_state_or_with_the_configuration_alone() {
    for of_config in [false, true] {
        let quirks = Quirks { updated_at_of_config: of_config, ..Quirks::default() };
        let scene = scene_with(|fleet| fleet.quirks = quirks, Behaviour::default());
        let before = scene.machine(0).await.updated_at;
        pass(5).await;
        scene.sim.kill(scene.ids[0].as_str()).unwrap();
        pass(5).await;
        let restarted = scene.machine(0).await;
        assert_eq!(restarted.updated_at == before, of_config);
        scene.put(0, NEW).await;
        assert!(scene.machine(0).await.updated_at > restarted.updated_at);
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_late_by_region_while_a_single_machine_is_told_as_it_is() {
    let lags = [("iad".to_owned(), 5.0), ("lhr".to_owned(), 30.0)];
    let scene = scene_with(|fleet| fleet.list_lag_s = lags.into(), Behaviour::default());
    let (web, new) = ("web".into(), scene.digest(NEW));
    let listed = async || {
        let machines = scene.platform.machines(&web).await.unwrap();
        let on_new = |machine: &&Machine| machine.digest() == Some(&new);
        let regions: Vec<String> = machines
            .iter()
            .filter(on_new)
            .map(|machine| machine.region.as_str().to_owned())
            .collect();
        assert_eq!(machines.len(), 3);
        regions
    };
    assert!(listed().await.is_empty());
    for index in [0, 2] {
        scene.put(index, NEW).await;
    }
    pass(3).await;
    assert!(listed().await.is_empty());
    assert_eq!(scene.machine(2).await.digest(), Some(&new), "asked for by its id");
    assert!(scene.page(2).await.is_ok(), "pages are what they are");
    pass(3).await;
    assert_eq!(listed().await, ["iad"]);
    let told = scene.platform.changes(&FeedPosition::default()).await.unwrap().entries;
    let news = told.iter().filter(|entry| entry.instance == scene.id_of_version(2));
    assert_eq!(news.count(), 0, "the feed is as late");
    pass(25).await;
    assert_eq!(listed().await, ["iad", "lhr"]);

    // A machine that is new comes late as well, and one that is gone goes late.
    let clone = scene.sim.clone_machine(scene.ids[2].as_str()).unwrap();
    scene.sim.destroy(scene.ids[2].as_str()).unwrap();
    let ids = async || {
        let machines = scene.platform.machines(&web).await.unwrap();
        machines.into_iter().map(|machine| machine.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    pass(20).await;
    assert!(!ids().await.contains(&clone) && ids().await.contains(&scene.ids[2].to_string()));
    pass(15).await;
    assert!(ids().await.contains(&clone) && !ids().await.contains(&scene.ids[2].to_string()));

    // The lag can end while it runs, and a region can be missing altogether.
    scene.sim.set_list_lag("lhr", Duration::ZERO);
    scene.sim.hide_region("iad", Duration::from_secs(10));
    assert_eq!(ids().await, [clone]);
    pass(11).await;
    assert_eq!(ids().await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn all_times_are_those_of_the_platforms_own_clock() {
    let scene = scene_with(|fleet| fleet.skew_s = 300.0, Behaviour::default());
    let start: jiff::Timestamp = "2026-01-05T03:00:00Z".parse().unwrap();
    let ahead = start.checked_add(jiff::SignedDuration::from_secs(300)).unwrap();
    assert_eq!(scene.sim.platform_now(), ahead);
    scene.put(0, NEW).await;
    pass(5).await;
    let machine = scene.machine(0).await;
    assert!(machine.updated_at > ahead && machine.started_at.unwrap() > ahead);
    assert!(machine.checks[0].changed_at.unwrap() > ahead);
    assert!(
        scene.lease(0).await.expires_at
            > ahead.checked_add(jiff::SignedDuration::from_secs(30)).unwrap()
    );
    let release = scene.sim.ship("web", NEW, ShipOptions::default()).unwrap();
    assert!(release.created_at >= ahead);
    pass(45).await;
    assert_eq!(scene.sim.releases("web")[0].status, "complete", "our lease ran out meanwhile");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_moves_what_is_told_and_not_how_long_things_take() {
    let options = ShipOptions { pause_s: 5.0, ..ShipOptions::default() };
    let mut took = Vec::new();
    for skew in [0, 3600, -3600] {
        let scene = Scene::new(Behaviour::default());
        scene.sim.ship("web", NEW, options.clone()).unwrap();
        let lease = scene.sim.lease_as(scene.ids[0].as_str(), "x", TTL);
        pass(3).await;
        scene.sim.set_skew(jiff::SignedDuration::from_secs(skew));
        let mut seconds = 3;
        while scene.sim.is_shipping() {
            pass(1).await;
            seconds += 1;
            assert!(seconds < 200, "{skew}");
        }
        took.push((seconds, lease.is_ok()));
        let start: jiff::Timestamp = "2026-01-05T03:00:00Z".parse().unwrap();
        let ahead = scene.sim.platform_now().duration_since(start).as_secs() - seconds;
        assert_eq!(ahead, skew);
        let updated = scene.machine(2).await.updated_at.duration_since(start).as_secs();
        assert!((skew..skew + 200).contains(&updated), "{updated}");
    }
    assert!(took.iter().all(|one| *one == took[0]), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_launch_can_fail_or_hang_until_another_image_comes() {
    for (launch, state) in [
        (Launch::Failed, "failed"),
        (Launch::LaunchFailed, "launch_failed"),
        (Launch::Hangs, "starting"),
    ] {
        let scene = Scene::new(Behaviour::launching(launch));
        let instance = scene.put(0, NEW).await;
        assert!(!scene.wait(0, &instance, WaitFor::Started).await);
        pass(600).await;
        let machine = scene.machine(0).await;
        assert_eq!((machine.state.as_str(), machine.instance), (state, instance));
        assert!(machine.checks.is_empty() && scene.page(0).await.is_err());
        let lease = scene.lease(0).await;
        let mut back = Scene::update_of(&scene.machine(0).await, OLD);
        back.config = RawConfig(back.config.0.replace(NEW, OLD).into());
        let instance = scene.platform.update(&lease, &back).await.unwrap();
        assert!(scene.wait(0, &instance, WaitFor::Started).await);
    }
    let scene = Scene::new(Behaviour { boot_s: 90.0, ..Behaviour::default() });
    let instance = scene.put(0, NEW).await;
    pass(80).await;
    assert_eq!(scene.machine(0).await.state.as_str(), "starting");
    pass(20).await;
    assert!(scene.wait(0, &instance, WaitFor::Started).await);
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_and_is_run_again_only_where_its_policy_says_so() {
    for (policy, code, state, exits) in [
        (Restart::OnFailure, 0, "stopped", 1),
        (Restart::OnFailure, 3, "stopped", 11),
        (Restart::No, 3, "stopped", 1),
        (Restart::Always, 0, "started", 25),
    ] {
        let job = Behaviour::job(2.0, code);
        let shape = |fleet: &mut Fleet| {
            fleet.apps[0].groups[0].restart = policy;
            fleet.apps[0].groups[0].services = false;
        };
        let scene = scene_with(shape, job);
        scene.put(0, NEW).await;
        pass(300).await;
        let machine = scene.machine(0).await;
        assert_eq!(machine.exits.len(), exits, "{policy:?} {code}");
        assert!(machine.exits.iter().all(|exit| exit.exit_code == code && !exit.requested_stop));
        if policy != Restart::Always {
            assert_eq!(machine.state.as_str(), state, "{policy:?} {code}");
            scene.sim.start(scene.ids[0].as_str()).unwrap();
            pass(2).await;
            assert_eq!(scene.machine(0).await.state, MachineState::Started);
            pass(3).await;
            assert!(scene.machine(0).await.exits.len() > exits, "it ends again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn draining_takes_its_time_whether_to_stop_to_suspend_or_to_go() {
    let draining = Behaviour { drain_s: 20.0, ..Behaviour::default() };
    let scene = scene_with(|fleet| fleet.destroy_s = 15.0, draining);
    for index in 0..3 {
        scene.put(index, NEW).await;
    }
    pass(5).await;
    scene.sim.stop(scene.ids[0].as_str()).unwrap();
    scene.sim.suspend(scene.ids[1].as_str()).unwrap();
    scene.sim.destroy(scene.ids[2].as_str()).unwrap();
    pass(10).await;
    let states = async || {
        let mut states = Vec::new();
        for index in 0..3 {
            states.push(scene.machine(index).await.state.as_str().to_owned());
        }
        states
    };
    assert_eq!(states().await, ["stopping", "suspending", "destroying"]);
    pass(15).await;
    assert_eq!(states().await, ["stopped", "suspended", "destroyed"]);
}

#[tokio::test(start_paused = true)]
async fn checks_can_warn_say_nothing_wait_and_have_no_time() {
    let scene = Scene::new(Behaviour::checked(CheckSays::Warning));
    scene.put(0, NEW).await;
    pass(5).await;
    assert_eq!(scene.machine(0).await.checks[0].status, CheckStatus::Warning);
    scene.sim.set_behaviour(NEW, Behaviour::checked(CheckSays::Nothing)).unwrap();
    pass(5).await;
    let shown =
        scene.sim.with(|org| org.show_machine("web", scene.ids[0].as_str(), false)).unwrap();
    assert!(shown["checks"][0]["status"].is_null() && shown["checks"][0]["updated_at"].is_string());

    scene.sim.set_quirks(Quirks {
        checks_without_time: true,
        checks_wait: true,
        made_up_checks: true,
        ..Quirks::default()
    });
    let shown =
        scene.sim.with(|org| org.show_machine("web", scene.ids[0].as_str(), false)).unwrap();
    assert!(shown["checks"][0]["updated_at"].is_null());
    assert_eq!(shown["checks"][1]["name"], "bg_deployments_compat_1");
    assert_eq!(scene.machine(0).await.checks.len(), 1, "its clients leave it out");
    assert_eq!(scene.machine(0).await.checks[0].changed_at, None);
    let instance = scene.put(1, NEW).await;
    assert!(scene.wait(1, &instance, WaitFor::Started).await);
    assert_eq!(scene.machine(1).await.checks[0].status, CheckStatus::Warning);
}
