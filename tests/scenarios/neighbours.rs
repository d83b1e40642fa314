//! Other apps bear witness: what nobody deployed and what degrades all the same is the platform.

use waveoff::{
    model::{
        EventKind::{
            HoldCleared, HoldPlaced, ReleaseTrusted, RollbackPlanned, RollbackStarted,
            RollbackStopped,
        },
        Reason,
    },
    sim::{Behaviour, ShipOptions, fleet},
};

use crate::world::{QUICK, World, policy, why};

/// Some apps in one region, each with an image for every one of these tags.
pub fn apps(names: &[&str]) -> fleet::Fleet {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    for name in names {
        let image = format!("registry.fly.io/{name}:v41");
        fleet.apps.push(fleet::FleetApp::new(name, &image, &[("iad", 2)], 100.0));
        for tag in ["v41", "v42"] {
            let image = format!("registry.fly.io/{name}:{tag}");
            fleet.images.retain(|old| old.reference != image);
            fleet.images.push(fleet::FleetImage::new(&image, Behaviour::default()));
        }
    }
    fleet
}

async fn trusted(names: &[&str]) -> World {
    let all = policy(QUICK).replace("[\"api\"]", "[\"*\"]");
    let mut world = World::new(&apps(names), &all).await;
    while world.told(ReleaseTrusted).await.len() < names.len() {
        world.run_for(1).await;
    }
    world
}

pub fn ship(world: &World, name: &str) {
    let image = format!("registry.fly.io/{name}:v42");
    world.sim.ship(name, &image, ShipOptions::default()).unwrap();
}

/// From now on these apps fail every request, whatever they run.
fn breaks(world: &World, names: &[&str], how: &Behaviour) {
    for name in names {
        for tag in ["v41", "v42"] {
            let image = format!("registry.fly.io/{name}:{tag}");
            world.sim.set_behaviour(&image, how.clone()).unwrap();
        }
    }
}

/// A region breaks while one app has a release in its bake: three others, which nobody touched,
/// fail all their requests just the same.
#[tokio::test(start_paused = true)]
async fn steady_apps_in_the_same_trouble_hold_the_release() {
    let names = ["api", "web", "shop", "blog"];
    let mut world = trusted(&names).await;
    ship(&world, "api");
    world.run_for(20).await;
    breaks(&world, &names, &Behaviour::errors(1.0));
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("looks like the platform"), "{}", why(&held));
    // However long it lasts, and through a restart
    world.run_for(20).await;
    world.restart().await;
    world.run_for(600).await;
    assert_eq!(world.told(RollbackStarted).await, [], "{}", world.timeline().await);
    // And when it is over, the release is well.
    breaks(&world, &names, &Behaviour::default());
    world.until(HoldCleared).await;
    world.run_for(120).await;
    assert_eq!(world.told(RollbackStarted).await, []);
    world.finish().await;
}

/// Several releases degrade at once, and nobody could tell why: each counts down, and a recovery
/// calls it off.
#[tokio::test(start_paused = true)]
async fn releases_that_degrade_together_count_down_and_a_recovery_calls_it_off() {
    let names = ["api", "web"];
    let mut world = trusted(&names).await;
    for name in names {
        ship(&world, name);
    }
    world.run_for(20).await;
    breaks(&world, &names, &Behaviour::errors(1.0));
    let planned = world.until(RollbackPlanned).await;
    let Some(Reason::CountsDown { seconds, together, .. }) = &planned.reason else {
        panic!("{:?}", planned.reason);
    };
    assert_eq!((*seconds, together.as_slice()), (30, &["web".into()][..]));
    breaks(&world, &names, &Behaviour::default());
    world.until(RollbackStopped).await;
    world.run_for(120).await;
    assert_eq!(world.told(RollbackStarted).await, [], "{}", world.timeline().await);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn releases_that_stay_bad_together_are_undone_after_the_countdown() {
    let names = ["api", "web"];
    let mut world = trusted(&names).await;
    for name in names {
        let image = format!("registry.fly.io/{name}:v42");
        world.sim.set_behaviour(&image, Behaviour::errors(1.0)).unwrap();
        ship(&world, name);
    }
    while world.told(RollbackStarted).await.len() < 2 {
        world.run_for(1).await;
    }
    let waited = world.seconds_between(RollbackPlanned, RollbackStarted).await;
    assert!((29.0..34.0).contains(&waited), "{waited} s");
    world.finish().await;
}

/// The victims of a bad release follow it: they are no witnesses for it.
#[tokio::test(start_paused = true)]
async fn apps_that_fail_after_a_release_do_not_hold_it() {
    let names = ["api", "web", "shop"];
    let mut world = trusted(&names).await;
    world.sim.set_behaviour("registry.fly.io/api:v42", Behaviour::errors(0.2)).unwrap();
    ship(&world, "api");
    world.run_for(18).await;
    breaks(&world, &["web", "shop"], &Behaviour::errors(0.5));
    world.until(RollbackStarted).await;
    assert_eq!(world.told(HoldPlaced).await, [], "{}", world.timeline().await);
    world.finish().await;
}
