//! An endpoint with a hundredth of the traffic that breaks alone: lost in the whole, and found where
//! series are judged one by one.

use waveoff::{
    model::{
        EventKind::{MonitorBlind, ReleaseDegraded, ReleaseTrusted, RollbackCompleted},
        Note,
    },
    sim::{
        Behaviour, Fleet,
        fleet::{self, FleetImage},
    },
};

use crate::world::{QUICK, World, policy, why};

const BY: &str = "total = 'http_requests_total' }\nby = [\"path\"]\nmax";

fn judged_by_path() -> String {
    policy(QUICK).replace("total = 'http_requests_total' }\nmax", BY)
}

/// Every hundredth request is for `/checkout`; of the next release this share of them fails.
fn fleet(fails: f64) -> Fleet {
    let behaviour = |checkout_error_share| Behaviour {
        error_share: 0.001,
        checkout_share: 0.01,
        checkout_error_share,
        ..Behaviour::default()
    };
    let mut fleet = fleet::demo();
    fleet.images.retain(|image| !image.reference.ends_with("api:v41"));
    fleet.images.push(FleetImage::new("registry.fly.io/api:v41", behaviour(0.0)));
    fleet.images.push(FleetImage::new("registry.fly.io/api:next", behaviour(fails)));
    fleet
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_breaks_alone_is_named_and_its_release_undone() {
    let mut world = World::new(&fleet(1.0), &judged_by_path()).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:next");
    let degraded = world.until(ReleaseDegraded).await;
    let breach = degraded.evidence.iter().find(|one| one.threshold == "5xx").unwrap();
    let series = "path=\"/checkout\"".to_owned();
    assert_eq!(breach.note, Some(Note::InSeries { series }), "{breach:?}");
    assert_eq!(breach.value, Some(1.0));
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    let text = world.sentences().await;
    assert!(text.contains("path=\"/checkout\" alone"), "{text}");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn without_by_it_is_lost_in_the_whole() {
    let mut world = World::new(&fleet(1.0), &policy(QUICK)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:next");
    while world.count(ReleaseTrusted).await < 2 {
        world.run_for(5).await;
    }
    assert_eq!(world.count(ReleaseDegraded).await, 0);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_label_that_is_not_there_is_told_with_those_that_are() {
    let slip = judged_by_path().replace("by = [\"path\"]", "by = [\"route\"]");
    let mut world = World::new(&fleet(0.0), &slip).await;
    world.until(MonitorBlind).await;
    world.run_for(120).await;
    let told = world.told(MonitorBlind).await;
    assert_eq!(told.len(), 1, "{}", world.timeline().await);
    let text = why(&told[0]);
    assert!(text.contains("label `route` of `by`; they have method, path, status"), "{text}");
    assert_eq!(world.count(ReleaseTrusted).await, 0, "what cannot be judged earns nothing");
    world.finish().await;
}
