//! What everybody has seen the platform do.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_update_replies_first_and_then_the_machine_comes_up_as_a_new_instance() {
    let scene = Scene::new(Behaviour::default());
    let before = scene.machine(0).await;
    let instance = scene.put(0, NEW).await;
    let during = scene.machine(0).await;
    assert_eq!(during.state, MachineState::Transient(Transition::Replacing));
    assert_ne!(instance, before.instance);
    assert_eq!(instance.as_str().len(), 26);
    assert_eq!(during.started_at, None, "the event list starts anew");

    assert!(scene.wait(0, &instance, WaitFor::Started).await);
    let after = scene.machine(0).await;
    assert_eq!(after.instance, instance);
    assert_eq!(after.digest(), Some(&scene.digest(NEW)));
    assert!(after.started_at.unwrap() > before.updated_at);
    assert!(after.checks.is_empty(), "no result before the first");
    pass(1).await;
    assert!(scene.machine(0).await.checks[0].changed_at.unwrap() > after.started_at.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_machine_gets_the_image_and_stays_stopped() {
    let scene = Scene::new(Behaviour::default());
    scene.sim.stop(scene.ids[0].as_str()).unwrap();
    pass(1).await;
    let machine = scene.machine(0).await;
    assert_eq!(machine.state, MachineState::Stopped);
    assert!(machine.exits[0].requested_stop);

    let lease = scene.lease(0).await;
    let mut update = Scene::update_of(&machine, NEW);
    update.skip_launch = false;
    let instance = scene.platform.update(&lease, &update).await.unwrap();
    let refused = scene.platform.start(&lease).await.unwrap_err();
    assert!(refused.to_string().contains("machine getting replaced, refusing to start"));
    assert!(scene.wait(0, &instance, WaitFor::Settled).await);
    pass(10).await;
    let machine = scene.machine(0).await;
    assert_eq!(machine.state, MachineState::Stopped);
    assert_eq!(machine.digest(), Some(&scene.digest(NEW)));

    scene.platform.start(&lease).await.unwrap();
    assert!(scene.wait(0, &instance, WaitFor::Started).await);
}

#[tokio::test(start_paused = true)]
async fn two_updates_at_once_and_stale_ones_are_refused() {
    let scene = Scene::new(Behaviour::default());
    let (machine, lease) = (scene.machine(0).await, scene.lease(0).await);
    let update = Scene::update_of(&machine, NEW);
    let instance = scene.platform.update(&lease, &update).await.unwrap();
    let again = MachineUpdate { current: instance.clone(), ..update.clone() };
    let refused = scene.platform.update(&lease, &again).await.unwrap_err();
    assert!(
        matches!(&refused, PlatformError::Conflict(text)
            if text.contains("machine is replacing: concurrent update in progress")),
        "{refused}"
    );
    assert!(scene.wait(0, &instance, WaitFor::Started).await);
    let stale = scene.platform.update(&lease, &update).await.unwrap_err();
    assert!(matches!(stale, PlatformError::Conflict(_)), "{stale}");
}

#[tokio::test(start_paused = true)]
async fn an_image_nobody_has_is_accepted_and_then_given_up() {
    let scene = Scene::new(Behaviour::default());
    let before = scene.machine(0).await;
    let instance = scene.put(0, "registry.fly.io/web:gone").await;
    assert!(!scene.wait(0, &instance, WaitFor::Started).await);
    let after = scene.machine(0).await;
    assert_eq!(after.state, MachineState::Started);
    assert_eq!((after.instance, after.image), (before.instance, before.image));

    // The same when the platform gives up for reasons of its own.
    scene.sim.revert_next_update(scene.ids[1].as_str()).unwrap();
    let instance = scene.put(1, NEW).await;
    assert!(!scene.wait(1, &instance, WaitFor::Started).await);
    assert_eq!(scene.machine(1).await.digest(), Some(&scene.digest(OLD)));
    let instance = scene.put(1, NEW).await;
    assert!(scene.wait(1, &instance, WaitFor::Started).await, "once only");
}

#[tokio::test(start_paused = true)]
async fn a_leased_machine_is_only_changed_with_the_nonce() {
    let scene = Scene::new(Behaviour::default());
    let id = scene.ids[0].as_str();
    scene.sim.lease_as(id, "ci@acme.test", Duration::from_secs(13)).unwrap();
    let refused = scene.platform.lease(&"web".into(), &scene.ids[0], TTL).await.unwrap_err();
    let PlatformError::LeaseHeld { owner, .. } = &refused else { panic!("{refused}") };
    assert_eq!(owner, "ci@acme.test");
    let machine = scene.machine(0).await;
    assert_eq!(machine.lease.as_ref().unwrap().owner, "ci@acme.test");
    let forged = Lease {
        app: "web".into(),
        machine: scene.ids[0].clone(),
        nonce: "forged".to_owned(),
        expires_at: machine.updated_at,
    };
    let update = Scene::update_of(&machine, NEW);
    let refused = scene.platform.update(&forged, &update).await.unwrap_err();
    assert!(matches!(refused, PlatformError::LeaseHeld { .. }));
    assert!(!scene.sim.calls().last().unwrap().leased);

    pass(13).await;
    let lease = scene.lease(0).await;
    let longer = scene.platform.refresh(&lease, TTL).await.unwrap();
    assert_eq!(longer.nonce, lease.nonce);
    scene.platform.update(&longer, &update).await.unwrap();
    assert!(scene.sim.calls().last().unwrap().leased);
    scene.platform.release(&lease).await.unwrap();
    scene.platform.release(&lease).await.unwrap();
    assert!(scene.platform.refresh(&lease, TTL).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_ends_as_a_stopped_machine_with_its_exits_on_record() {
    let scene = Scene::new(Behaviour::crashing(1.0));
    scene.put(0, NEW).await;
    pass(120).await;
    let machine = scene.machine(0).await;
    assert_eq!(machine.state, MachineState::Stopped);
    assert_eq!(machine.exits.len(), 11, "the first run and ten restarts");
    assert!(machine.exits.iter().all(|exit| exit.exit_code == 1 && !exit.requested_stop));
    assert_eq!(scene.sim.state(scene.ids[0].as_str()), Some(State::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_leak_ends_with_the_process_killed_for_memory() {
    let leaking = Behaviour { leak_bytes_per_s: 20e6, ..Behaviour::default() };
    let scene = Scene::new(leaking);
    scene.put(0, NEW).await;
    pass(5).await;
    let memory = value(&scene.page(0).await.unwrap(), "process_resident_memory_bytes").unwrap();
    assert!((120e6..170e6).contains(&memory), "{memory}");
    pass(10).await;
    let exit = scene.machine(0).await.exits[0].clone();
    assert!(exit.oom_killed && exit.exit_code == 137);
}

#[tokio::test(start_paused = true)]
async fn a_shipped_release_goes_from_machine_to_machine_under_leases() {
    let scene = Scene::new(Behaviour::errors(0.5));
    let options = ShipOptions { pause_s: 5.0, ..ShipOptions::default() };
    let release = scene.sim.ship("web", NEW, options).unwrap();
    assert_eq!((release.version, release.status.as_str()), (42, "running"));
    pass(3).await;
    let machines = scene.platform.machines(&"web".into()).await.unwrap();
    let on_new =
        machines.iter().filter(|machine| machine.digest() == Some(&scene.digest(NEW))).count();
    assert_eq!(on_new, 1);
    assert!(machines.iter().all(|machine| machine.lease.is_some()), "all are leased at once");

    pass(30).await;
    assert!(!scene.sim.is_shipping());
    let machines = scene.platform.machines(&"web".into()).await.unwrap();
    assert!(machines.iter().all(|machine| machine.digest() == Some(&scene.digest(NEW))));
    assert!(machines.iter().all(|machine| machine.lease.is_none()));
    assert!(machines.iter().all(|machine| machine.release.unwrap().0 == 42));
    let ledger = scene.platform.releases(&"web".into(), 5).await.unwrap();
    assert_eq!(ledger[0].status.as_str(), "complete");
    let history = scene.sim.history("web");
    let began: Vec<_> = history.iter().filter(|moment| moment.state == State::Replacing).collect();
    assert_eq!(began.len(), 3);
    assert!(began.is_sorted_by(|one, next| { next.at.duration_since(one.at).as_secs_f64() > 5.0 }));
    let failed = scene.sim.totals("web").failed;
    assert!((300..700).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_careful_deploy_stops_at_the_first_machine_whose_checks_fail() {
    let scene = Scene::new(Behaviour::unhealthy());
    let options = ShipOptions { checks: true, wait_timeout_s: 12.0, ..ShipOptions::default() };
    scene.sim.ship("web", NEW, options).unwrap();
    pass(20).await;
    assert_eq!(scene.sim.releases("web")[0].status, "failed");
    let running = scene.sim.running("web");
    let digest = scene.digest(NEW);
    let bad = running.values().filter(|image| image.ends_with(digest.as_str()));
    assert_eq!(bad.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_count_what_the_users_got_and_a_series_begins_with_its_first_event() {
    let scene = Scene::new(Behaviour::errors(0.2));
    pass(10).await;
    let page = scene.page(0).await.unwrap();
    assert!((95.0..=100.0).contains(&value(&page, OK_SERIES).unwrap()), "{page}");
    assert_eq!(value(&page, FAILED_SERIES), None);
    scene.put(0, NEW).await;
    pass(60).await;
    let page = scene.page(0).await.unwrap();
    let (ok, failed) = (value(&page, OK_SERIES).unwrap(), value(&page, FAILED_SERIES).unwrap());
    assert!((0.1..0.3).contains(&(failed / (ok + failed))), "{page}");
    let totals = scene.sim.totals("web");
    assert!((2080..=2100).contains(&totals.requests), "{totals:?}");
    assert!((totals.failed as f64 - failed).abs() < 0.5, "{totals:?}");

    scene.sim.set_page_readable(scene.ids[0].as_str(), false);
    assert!(scene.page(0).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn slow_answers_are_seen_in_the_buckets() {
    let scene = Scene::new(Behaviour::slow(0.5));
    scene.put(2, NEW).await;
    pass(60).await;
    let page = scene.page(2).await.unwrap();
    let bucket = |bound: &str| {
        value(&page, &format!("http_request_duration_seconds_bucket{{le=\"{bound}\"}}")).unwrap()
    };
    let total = bucket("+Inf");
    assert!((0.4..0.6).contains(&(bucket("0.5") / total)), "{page}");
    assert!((bucket("1") - total).abs() < 0.5 && (bucket("0.05") - bucket("0.25")).abs() < 0.5);
}

#[tokio::test(start_paused = true)]
async fn users_without_a_machine_are_failed_users() {
    let scene = Scene::new(Behaviour::default());
    for id in &scene.ids {
        scene.sim.stop(id.as_str()).unwrap();
    }
    pass(1).await;
    let before = scene.sim.totals("web");
    pass(10).await;
    let after = scene.sim.totals("web");
    assert!((295..=305).contains(&(after.failed - before.failed)), "{after:?}");
    assert_eq!(after.requests - before.requests, after.failed - before.failed);
}

#[tokio::test(start_paused = true)]
async fn an_image_can_be_bad_in_one_region_alone_and_change_its_ways() {
    let scene = Scene::new(Behaviour::unhealthy().only_in(&["lhr"]));
    for index in 0..3 {
        scene.put(index, NEW).await;
    }
    pass(10).await;
    let passing = |machine: &Machine| {
        machine.checks.iter().all(|check| check.status == crate::model::CheckStatus::Passing)
    };
    assert!(passing(&scene.machine(0).await) && !passing(&scene.machine(2).await));
    scene.sim.set_behaviour(NEW, Behaviour::default()).unwrap();
    pass(5).await;
    assert!(passing(&scene.machine(2).await));
}

#[tokio::test(start_paused = true)]
async fn lost_requests_are_not_applied_and_lost_answers_are() {
    let scene = Scene::new(Behaviour::default());
    let (machine, lease) = (scene.machine(0).await, scene.lease(0).await);
    let update = Scene::update_of(&machine, NEW);
    scene.sim.add_fault(FaultRule::new(Fault::RequestLost).on(CallKind::Update).times(1));
    assert!(scene.platform.update(&lease, &update).await.unwrap_err().is_transient());
    assert_eq!(scene.machine(0).await.instance, machine.instance);
    scene.sim.add_fault(
        FaultRule::new(Fault::AnswerLost)
            .on(CallKind::Update)
            .machine(scene.ids[0].as_str())
            .times(1),
    );
    assert!(scene.platform.update(&lease, &update).await.unwrap_err().is_transient());
    assert_ne!(scene.machine(0).await.instance, machine.instance);

    // Every call but the first of an action, until the script is cleared.
    let denied = PlatformError::Denied("no".to_owned());
    scene.sim.add_fault(FaultRule::new(Fault::Fail(denied.clone())).on(CallKind::Apps).after(1));
    assert!(scene.platform.apps().await.is_ok());
    assert_eq!(scene.platform.apps().await.unwrap_err(), denied);
    scene.sim.clear_faults();
    assert!(scene.platform.apps().await.is_ok());
    let updates = scene.sim.calls().into_iter().filter(|call| call.action == CallKind::Update);
    assert_eq!(
        updates.map(|call| (call.faulty, call.leased)).collect::<Vec<_>>(),
        [(true, true), (true, true)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_configuration_comes_back_as_it_was_sent_to_the_byte() {
    let scene = Scene::new(Behaviour::default());
    let (machine, lease) = (scene.machine(0).await, scene.lease(0).await);
    let text = format!(r#"{{ "odd": 1.50, "image":"{NEW}",  "big": 12345678901234567890123 }}"#);
    let config = RawConfig(text.as_str().into());
    let update = MachineUpdate { config: config.clone(), ..Scene::update_of(&machine, NEW) };
    scene.platform.update(&lease, &update).await.unwrap();
    assert_eq!(scene.machine(0).await.config, Some(config));
}

#[tokio::test(start_paused = true)]
async fn the_feed_tells_what_changed_since_and_which_regions_it_could_not_read() {
    let scene = Scene::new(Behaviour::default());
    let all = scene.platform.changes(&FeedPosition::default()).await.unwrap();
    assert_eq!(all.entries.len(), 3);
    pass(5).await;
    assert!(scene.platform.changes(&all.next).await.unwrap().entries.is_empty());
    let instance = scene.put(0, NEW).await;
    let news = scene.platform.changes(&all.next).await.unwrap();
    assert_eq!(news.entries.len(), 1);
    assert_eq!(news.entries[0].instance, instance);

    scene.sim.set_unread_regions(&["lhr"]);
    scene.put(2, NEW).await;
    let blind = scene.platform.changes(&news.next).await.unwrap();
    assert!(blind.error_regions == ["lhr".into()] && blind.entries.is_empty());
    scene.sim.set_unread_regions(&[]);
    let seen = scene.platform.changes(&blind.next).await.unwrap();
    assert!(seen.entries.iter().any(|entry| entry.machine == scene.ids[2]));
}

#[tokio::test(start_paused = true)]
async fn the_ledger_numbers_releases_and_finished_ones_change_no_more() {
    let scene = Scene::new(Behaviour::default());
    let new = NewRelease { app: "web".into(), image: OLD.to_owned() };
    let release = scene.platform.open_release(&new).await.unwrap();
    assert_eq!(release.version.0, 42);
    assert_eq!(release.author.as_deref(), Some("us@acme.test"));
    let set = |status| scene.platform.set_release_status(&release.id, status);
    set(crate::model::ReleaseStatus::Running).await.unwrap();
    set(crate::model::ReleaseStatus::Complete).await.unwrap();
    let refused = set(crate::model::ReleaseStatus::Failed).await.unwrap_err();
    assert!(refused.to_string().contains("release has already finished"));
    let options =
        ShipOptions { release_command: Some("bin/migrate".to_owned()), ..ShipOptions::default() };
    scene.sim.ship("web", NEW, options).unwrap();
    let ledger = scene.platform.releases(&"web".into(), 2).await.unwrap();
    assert_eq!(ledger.len(), 2);
    assert_eq!(ledger[0].has_release_command, Some(true));
    assert_eq!(ledger[1].has_release_command, Some(false));
}

#[tokio::test(start_paused = true)]
async fn the_registry_forgets_an_image_that_machines_go_on_running() {
    let scene = Scene::new(Behaviour::default());
    let image = scene.machine(0).await.image;
    assert_eq!(scene.platform.presence(&image).await.unwrap(), ImagePresence::Present);
    scene.sim.remove_image(OLD).unwrap();
    assert_eq!(scene.platform.presence(&image).await.unwrap(), ImagePresence::Missing);
    assert_eq!(scene.machine(0).await.state, MachineState::Started);
}

#[tokio::test(start_paused = true)]
async fn hosts_clones_and_stale_lists() {
    let scene = Scene::new(Behaviour::default());
    scene.sim.set_host(scene.ids[0].as_str(), "unreachable").unwrap();
    let machine = scene.machine(0).await;
    assert_eq!(machine.host, crate::model::HostStatus::Unreachable);
    assert!(machine.config.is_none());
    scene.sim.stale_list("web", Duration::from_secs(10)).unwrap();
    let clone = scene.sim.clone_machine(scene.ids[2].as_str()).unwrap();
    assert_eq!(scene.platform.machines(&"web".into()).await.unwrap().len(), 3);
    pass(11).await;
    let machines = scene.platform.machines(&"web".into()).await.unwrap();
    let clone = machines.iter().find(|machine| machine.id.as_str() == clone).unwrap();
    assert_eq!(clone.digest(), scene.machine(2).await.digest());
    assert_eq!((clone.state.as_str(), clone.region.as_str()), ("started", "lhr"));
    scene.sim.set_capacity("lhr", Some(0));
    assert!(scene.sim.clone_machine(scene.ids[2].as_str()).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_story_and_a_week_takes_no_time() {
    async fn story() -> (u64, String) {
        let scene = Scene::new(Behaviour::errors(0.1));
        scene.sim.ship("web", NEW, ShipOptions::default()).unwrap();
        for _ in 0..20 {
            pass(3).await;
            scene.platform.machines(&"web".into()).await.unwrap();
        }
        let page = scene.page(1).await.unwrap();
        pass(7 * 24 * 3600).await;
        assert!(scene.sim.totals("web").requests > 18_000_000);
        (scene.sim.totals("web").failed, page)
    }
    let first = story().await;
    assert_eq!(first, story().await);
    assert!(first.0 > 0);
}
