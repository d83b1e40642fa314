//! What was trusted is watched on, and told of when it degrades.

use waveoff::{
    model::EventKind::{
        self, HoldPlaced, ReleaseDegraded, ReleaseRecovered, ReleaseTrusted, RollbackCompleted,
        RollbackPlanned, RollbackStarted,
    },
    sim::Behaviour,
};

use crate::{
    neighbours::{apps, ship},
    world::{QUICK, World, policy, why},
};

const NAMES: [&str; 3] = ["api", "web", "shop"];

/// Three apps are trusted, and api's v42 after it; nothing was deployed for three minutes then.
async fn settled(watch: &str) -> World {
    let all = policy(QUICK).replace("[\"api\"]", "[\"*\"]").replace("[watch]", watch);
    let mut world = World::new(&apps(&NAMES), &all).await;
    until(&mut world, ReleaseTrusted, NAMES.len()).await;
    ship(&world, "api");
    until(&mut world, ReleaseTrusted, NAMES.len() + 1).await;
    world.run_for(180).await;
    world
}

async fn until(world: &mut World, kind: EventKind, times: usize) {
    for _ in 0..900 {
        if world.told(kind).await.len() >= times {
            return;
        }
        world.run_for(1).await;
    }
    panic!("{}", world.timeline().await);
}

fn becomes(world: &World, name: &str, how: &Behaviour) {
    let image = format!("registry.fly.io/{name}:v42");
    world.sim.set_behaviour(&image, how.clone()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_release_that_breaks_after_trust_is_told_once_across_a_restart_and_so_is_its_recovery() {
    let mut world = settled("[watch]").await;
    let broke = world.now();
    becomes(&world, "api", &Behaviour::errors(0.3));
    let told = world.until(ReleaseDegraded).await;
    let took = told.at.duration_since(broke).as_secs();
    assert!((55..=100).contains(&took), "{took} s");
    assert!(why(&told).contains("late = \"alert\""), "{}", why(&told));
    assert_eq!(world.view().phase.as_str(), "degraded");
    let known_good = world.view().known_good.unwrap().label();
    assert_eq!(known_good, "v41", "it is nothing to go back to");
    // When the daemon starts again
    world.run_for(30).await;
    world.restart().await;
    world.run_for(600).await;
    assert_eq!(world.count(ReleaseDegraded).await, 1, "{}", world.timeline().await);
    assert_eq!(world.view().phase.as_str(), "degraded");
    // And when it is well again
    becomes(&world, "api", &Behaviour::default());
    world.until(ReleaseRecovered).await;
    until(&mut world, ReleaseTrusted, NAMES.len() + 2).await;
    assert_eq!(world.view().phase.as_str(), "steady");
    assert_eq!(world.view().known_good.unwrap().label(), "v42");
    for never in [HoldPlaced, RollbackPlanned, RollbackStarted] {
        assert_eq!(world.told(never).await, [], "{}", world.timeline().await);
    }
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_policy_says_so_it_is_undone_while_its_neighbours_are_well() {
    let mut world = settled("[watch]\nlate = \"rollback\"").await;
    becomes(&world, "api", &Behaviour::errors(0.3));
    let done = world.until(RollbackCompleted).await;
    assert_eq!(done.known_good.unwrap().label(), "v41");
    world.all_run("v41");
    assert_eq!(world.told(HoldPlaced).await, [], "{}", world.timeline().await);
    world.finish().await;
}

/// They all depend on what broke.
#[tokio::test(start_paused = true)]
async fn what_breaks_for_all_of_them_is_undone_for_none() {
    let mut world = settled("[watch]\nlate = \"rollback\"").await;
    for name in NAMES {
        for tag in ["v41", "v42"] {
            let image = format!("registry.fly.io/{name}:{tag}");
            world.sim.set_behaviour(&image, Behaviour::errors(0.3)).unwrap();
        }
    }
    until(&mut world, ReleaseDegraded, NAMES.len()).await;
    world.run_for(900).await;
    assert_eq!(world.told(RollbackPlanned).await, [], "{}", world.timeline().await);
    // They have not lost their trust by it.
    assert_eq!(world.view().known_good.unwrap().label(), "v42");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_into_an_app_that_is_degraded_already_is_not_blamed_for_it() {
    let mut world = settled("[watch]").await;
    becomes(&world, "api", &Behaviour::errors(0.3));
    world.until(ReleaseDegraded).await;
    world.sim.add_image("registry.fly.io/api:v43", Behaviour::errors(0.3));
    world.sim.ship("api", "registry.fly.io/api:v43", waveoff::sim::ShipOptions::default()).unwrap();
    let held = world.until(HoldPlaced).await;
    world.run_for(300).await;
    assert_eq!(world.told(RollbackStarted).await, [], "{}", world.timeline().await);
    assert!(why(&held).contains("was degraded as much"), "{}", why(&held));
    world.finish().await;
}
