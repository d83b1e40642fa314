//! The daemon around the decisions: what one app's trouble may cost the others, apps that come and
//! go, and what is told of the configuration.

use waveoff::{
    model::EventKind::{
        ConfigRejected, MonitorBlind, MonitorRecovered, ReleaseTrusted, RollbackCompleted,
    },
    model::{OperatorHold, Order},
    ports::PlatformError,
    sim::{
        CallKind, Fault, FaultRule,
        fleet::{self, FleetApp},
    },
};

use crate::world::{APP, QUICK, World, policy};

/// The demo's `api` and `web` under one policy.
async fn two() -> World {
    let both = policy(QUICK).replace(r#"apps = ["api"]"#, r#"apps = ["api", "web"]"#);
    let mut fleet = fleet::demo();
    fleet.apps.retain(|app| app.name != "worker");
    World::new(&fleet, &both).await
}

fn set_state(world: &World, app: &str, state: &str) {
    world.tamper(&format!("UPDATE apps SET state = '{state}' WHERE app = '{app}'"));
}

/// A newer version's state, or a damaged one: that app is not watched, and nobody else suffers.
#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_read_costs_its_own_app_only() {
    for (state, why) in [
        (r#"{"format":99,"state":{"phase":"Dancing"}}"#, "newer version of waveoff (format 99"),
        (r#"{"app":"web","phase":"#, "it is damaged"),
    ] {
        let mut world = two().await;
        world.trusted().await;
        world.kill().await;
        let (revision, readable) = world.stored("web").await;
        set_state(&world, "web", state);

        world.start().await;
        world.ship("registry.fly.io/api:errors");
        world.until(RollbackCompleted).await;
        world.all_run("v41");

        let told = world.told(MonitorBlind).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].app, Some("web".into()));
        let reason = crate::world::why(&told[0]);
        assert!(reason.contains("stored state cannot be read") && reason.contains(why), "{reason}");
        let shown = world.board.app(&"web".into()).unwrap();
        assert_eq!(shown.blind, Some(reason));
        assert!(world.board.readiness().ready);
        assert_eq!(world.stored("web").await, (revision, state.to_owned()), "left as it was");

        // A restart says nothing twice; a version that can read it says so.
        world.restart().await;
        world.run_for(30).await;
        assert_eq!(world.told(MonitorBlind).await.len(), 1);
        world.kill().await;
        set_state(&world, "web", &readable);
        world.start().await;
        world.run_for(30).await;
        let recovered = world.told(MonitorRecovered).await;
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        assert_eq!(recovered[0].app, Some("web".into()));
        assert_eq!(world.board.app(&"web".into()).unwrap().blind, None);
        world.restart().await;
        world.run_for(30).await;
        assert_eq!(world.told(MonitorRecovered).await.len(), 1);
        world.finish().await;
    }
}

/// The journal of a version that knew no formats.
#[tokio::test(start_paused = true)]
async fn the_state_of_an_older_version_goes_on() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.kill().await;
    let (_, document) = world.stored(APP).await;
    let mut state = serde_json::from_str::<serde_json::Value>(&document).unwrap()["state"].take();
    // What is remembered lay beside the phase.
    let mut bare = state["memory"].take();
    bare["phase"] = state["phase"].take();
    bare.as_object_mut().unwrap().remove("mixed_announced").unwrap();
    set_state(&world, APP, &bare.to_string());

    world.start().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    world.finish().await;
}

/// A preview app that is deleted: no page about blindness, no task that polls for ever.
#[tokio::test(start_paused = true)]
async fn an_app_that_was_deleted_is_let_go_and_hired_again_when_it_comes_back() {
    let mut world = two().await;
    world.trusted().await;
    world.sim.remove_app("web").unwrap();
    world.run_for(40).await;
    assert_eq!(world.watched(), ["api"]);
    assert_eq!(world.told(MonitorBlind).await, []);
    let before = calls_about(&world, "web");
    world.run_for(300).await;
    assert_eq!(calls_about(&world, "web"), before, "nobody asks for it any more");
    assert_eq!(world.board.status(world.now()).apps_watched, 1);

    let again = FleetApp::new("web", "registry.fly.io/web:v41", &[("iad", 1)], 40.0);
    world.sim.add_app(&again);
    world.run_for(90).await;
    assert_eq!(world.watched(), ["api", "web"]);
    assert_eq!(world.board.app(&"web".into()).unwrap().phase.as_str(), "steady");
    world.finish().await;
}

fn calls_about(world: &World, app: &str) -> usize {
    world.sim.calls().iter().filter(|call| call.app == Some(app.into())).count()
}

/// A list that fails or is empty is no list: everybody stays watched.
#[tokio::test(start_paused = true)]
async fn nobody_is_let_go_on_a_list_that_failed_or_is_empty() {
    let mut world = two().await;
    world.trusted().await;
    let down = Fault::Fail(PlatformError::Unavailable("503".to_owned()));
    world.sim.add_fault(FaultRule::new(down).on(CallKind::Apps));
    world.sim.remove_app("web").unwrap();
    world.run_for(300).await;
    assert_eq!(world.watched(), ["api", "web"]);

    world.sim.remove_app(APP).unwrap();
    world.sim.clear_faults();
    world.run_for(300).await;
    assert_eq!(world.watched(), ["api", "web"]);
    world.finish().await;
}

/// Two policies with equal claims: the app is not watched, and people hear of it, once each time.
#[tokio::test(start_paused = true)]
async fn a_tie_after_a_reload_is_told_once_each_time_it_comes_about() {
    let by = |glob: &str| policy(QUICK).replace(r#"apps = ["api"]"#, &format!("apps = [{glob:?}]"));
    let mut world = World::idle(&fleet::demo(), &by("ap*"));
    world.start().await;
    world.trusted().await;
    for times in 1..=2 {
        world.configure("thresholds/other.toml", &by("a*i"));
        world.run_for(300).await;
        assert_eq!(world.watched(), Vec::<String>::new());
        let told = world.told(ConfigRejected).await;
        assert_eq!(told.len(), times, "{told:?}");
        assert_eq!(told[times - 1].app, Some(APP.into()));
        let sentence = waveoff::notify::text::sentence(&told[times - 1]);
        let tie = "api: not watched: api is claimed equally by the policies api and other.";
        assert_eq!(sentence, tie);

        world.configure("thresholds/other.toml", &by("other"));
        world.run_for(90).await;
        assert_eq!(world.watched(), [APP]);
        assert_eq!(world.view().phase.as_str(), "steady");
    }
    world.finish().await;
}

/// A thoroughly broken file: the message names a few problems and where to see the rest.
#[tokio::test(start_paused = true)]
async fn a_refused_configuration_is_told_in_few_words() {
    let mut world = World::idle(&fleet::demo(), &policy(QUICK));
    world.start().await;
    world.trusted().await;
    let broken: String = (0..40).map(|n| format!("unknown_{n:02} = {n}\n")).collect();
    world.configure("thresholds/api.toml", &format!("{broken}{}", policy(QUICK)));
    world.run_for(10).await;
    let told = world.told(ConfigRejected).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let reason = crate::world::why(&told[0]);
    assert_eq!(reason.lines().count(), 6, "{reason}");
    assert!(reason.contains("api.toml:1: unknown_00"), "{reason}");
    assert!(reason.ends_with("and 35 more: run waveoff check"), "{reason}");
    assert!(reason.len() < 2000, "{reason}");
    assert_eq!(world.watched(), [APP], "the old one stays");
    world.finish().await;
}

fn hold(world: &World, minutes: i64) -> Order {
    Order::Hold(OperatorHold {
        by: "dana".to_owned(),
        reason: "a sale".to_owned(),
        since: world.now(),
        until: Some(world.now() + jiff::SignedDuration::from_mins(minutes)),
    })
}

fn held(world: &World, app: &str) -> Option<String> {
    world.board.app(&app.into()).unwrap().operator_hold.map(|hold| hold.reason)
}

/// An order is known at once, after a restart, and to apps that come later; and it ends.
#[tokio::test(start_paused = true)]
async fn an_operators_hold_reaches_every_app_and_outlives_the_daemon() {
    let mut world = two().await;
    world.trusted().await;
    world.sim.remove_app("web").unwrap();
    world.run_for(40).await;
    assert_eq!(world.watched(), ["api"]);
    assert_eq!(world.order(None, &hold(&world, 60)).await, ["api".into()]);
    assert_eq!(held(&world, "api").as_deref(), Some("a sale"));

    world.restart().await;
    world.sim.add_app(&FleetApp::new("web", "registry.fly.io/web:v41", &[("iad", 1)], 40.0));
    world.run_for(90).await;
    for app in ["api", "web"] {
        assert_eq!(held(&world, app).as_deref(), Some("a sale"), "{app}");
    }
    assert!(world.board.status(world.now()).hold.is_some());

    assert_eq!(world.order(Some("web"), &Order::Unhold(None)).await, ["web".into()]);
    world.restart().await;
    world.run_for(20).await;
    assert_eq!(held(&world, "web"), None, "the newest order about it stands");
    assert_eq!(held(&world, "api").as_deref(), Some("a sale"));
    world.run_for(3600).await;
    assert_eq!(held(&world, "api"), None, "its time is over");
    assert_eq!(world.board.status(world.now()).hold, None);
    world.finish().await;
}
