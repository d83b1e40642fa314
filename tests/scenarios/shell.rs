//! The daemon around the decisions: what one app's trouble may cost the others, apps that come and
//! go, and what is told of the configuration.

use waveoff::{
    model::EventKind::{MonitorBlind, MonitorRecovered, ReleaseTrusted, RollbackCompleted},
    sim::fleet,
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
        let reason = told[0].reason.clone().unwrap();
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
    let mut bare = serde_json::from_str::<serde_json::Value>(&document).unwrap()["state"].take();
    bare.as_object_mut().unwrap().remove("mixed_announced").unwrap();
    set_state(&world, APP, &bare.to_string());

    world.start().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    assert_eq!(world.count(ReleaseTrusted).await, 1, "{}", world.timeline().await);
    world.finish().await;
}
