//! A platform that answers nobody: who is woken, and what somebody outside sees of it.

use std::sync::atomic::Ordering;

use waveoff::{
    model::{
        EventKind::{MonitorBlind, MonitorRecovered, RollbackCompleted},
        Severity,
    },
    ports::PlatformError,
    sim::{
        CallKind, Fault, FaultRule,
        fleet::{self, FleetApp},
    },
    web::Board,
};

use crate::world::{APP, QUICK, World, policy};

fn denied() -> FaultRule {
    FaultRule::new(Fault::Fail(PlatformError::Denied("GET /v1/apps answered 401".to_owned())))
}

fn down() -> FaultRule {
    FaultRule::new(Fault::Fail(PlatformError::Unavailable("503".to_owned())))
}

async fn severities(world: &World) -> Vec<Severity> {
    world.told(MonitorBlind).await.iter().map(waveoff::model::Event::severity).collect()
}

/// The token is revoked, and the daemon starts anew while it is.
#[tokio::test(start_paused = true)]
async fn while_the_token_is_refused_no_heart_beats_and_no_app_looks_well() {
    // Given a daemon whose heart beats,
    let mut world = World::quick().await;
    world.trusted().await;
    world.run_for(90).await;
    let beats = |world: &World| world.inbox.beats.load(Ordering::Relaxed);
    assert!(beats(&world) > 0);
    // when its token is refused,
    world.sim.add_fault(denied());
    world.run_for(60).await;
    // then that is an error, and nobody outside hears that all is well,
    assert_eq!(severities(&world).await, [Severity::Error]);
    let before = beats(&world);
    world.run_for(300).await;
    assert_eq!(beats(&world), before);
    // nor after a start, which shows the apps that it cannot see.
    world.kill().await;
    world.board = Board::new("acme", world.now());
    world.start().await;
    world.run_for(120).await;
    assert_eq!(beats(&world), before);
    let status = world.board.status(world.now());
    assert_eq!((status.apps_watched, status.ready), (1, false));
    let blind = world.board.app(&APP.into()).unwrap().blind.unwrap();
    assert!(blind.contains("401"), "{blind}");
    assert_eq!(severities(&world).await, [Severity::Error], "it was told");
    // And when it is taken again, all of that is over.
    world.sim.clear_faults();
    world.run_for(120).await;
    assert_eq!(world.told(MonitorRecovered).await.len(), 1);
    assert!(beats(&world) > before);
    assert_eq!(world.view().blind, None);
    assert!(world.board.status(world.now()).ready);
    world.finish().await;
}

/// The list of apps fails, and so does the feed, which shows them too; each app can be read.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_starts_while_the_apps_are_not_listed_watches_those_of_before() {
    // Given a daemon that ends, and no answer that names the apps,
    let mut world = World::quick().await;
    world.trusted().await;
    world.kill().await;
    world.board = Board::new("acme", world.now());
    world.sim.add_fault(down().on(CallKind::Apps));
    world.sim.add_fault(down().on(CallKind::Changes));
    // when it starts anew, and a bad release is shipped,
    world.start().await;
    world.run_for(60).await;
    assert_eq!(world.watched(), [APP]);
    world.ship("registry.fly.io/api:errors");
    world.run_for(300).await;
    // then it is undone;
    assert_eq!(world.told(RollbackCompleted).await.len(), 1);
    // and one that is gone by the first list is let go.
    world.sim.remove_app(APP).unwrap();
    world.sim.add_app(&FleetApp::new("web", "registry.fly.io/web:v41", &[("iad", 1)], 40.0));
    world.sim.clear_faults();
    world.run_for(120).await;
    assert_eq!(world.watched(), Vec::<String>::new());
    world.finish().await;
}

/// One message when it begins, one when a person has to look.
#[tokio::test(start_paused = true)]
async fn an_outage_that_lasts_is_an_error_and_one_beside_a_new_release_is_so_at_once() {
    let all = policy(QUICK).replace(r#"apps = ["api"]"#, r#"apps = ["*"]"#);
    let mut world = World::new(&fleet::demo(), &all).await;
    world.trusted().await;
    world.run_for(60).await;
    world.sim.add_fault(down());
    world.run_for(1200).await;
    assert_eq!(severities(&world).await, [Severity::Warning, Severity::Error]);
    world.sim.clear_faults();
    world.run_for(120).await;
    assert_eq!(world.told(MonitorRecovered).await.len(), 1);
    world.ship("registry.fly.io/api:good");
    world.run_for(10).await;
    world.sim.add_fault(down());
    world.run_for(1200).await;
    let told = severities(&world).await;
    assert_eq!(told, [Severity::Warning, Severity::Error, Severity::Error]);
    world.sim.clear_faults();
    world.run_for(120).await;
    world.finish().await;
}
