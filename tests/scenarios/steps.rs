//! In which steps regions follow, and what each of them waits for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use waveoff::{
    model::EventKind::{
        RollbackCompleted, RollbackPaused, RollbackRegionConfirmed, RollbackStarted,
    },
    sim::{Behaviour, CallKind, State, fleet},
};

use crate::world::{APP, QUICK, World, policy, why};

/// When each region was first written to after `started`, and when each was confirmed, in order.
async fn course(world: &World) -> (Vec<(Timestamp, String)>, Vec<Timestamp>) {
    let events = world.events().await;
    let confirmed = events.iter().filter(|event| event.kind == RollbackRegionConfirmed);
    let confirmed: Vec<Timestamp> = confirmed.map(|event| event.at).collect();
    let started = world.last(RollbackStarted).await.unwrap().at;
    let region_of: BTreeMap<String, String> = ["iad", "lhr", "syd"]
        .iter()
        .flat_map(|region| {
            let ids = world.sim.machine_ids(APP, Some(region));
            ids.into_iter().map(|id| (id, (*region).to_owned()))
        })
        .collect();
    let mut first: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let calls = world.sim.calls();
    for call in calls.iter().filter(|call| call.action == CallKind::Update && call.at >= started) {
        let id = call.machine.as_ref().unwrap().as_str();
        first.entry(region_of.get(id).unwrap()).or_insert(call.at);
    }
    let mut first: Vec<_> = first.into_iter().map(|(region, at)| (at, region.to_owned())).collect();
    first.sort();
    (first, confirmed)
}

/// Promise 7: the first region proves that going back helps before any other is touched.
#[tokio::test(start_paused = true)]
async fn no_region_starts_before_the_first_one_is_confirmed() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    let (first, confirmed) = course(&world).await;
    assert_eq!((first.len(), confirmed.len()), (3, 3));
    for (at, region) in &first[1..] {
        assert!(*at >= confirmed[0], "{region} began before the proof");
    }
    // And the third does not wait for the second's confirmation, which goes on meanwhile.
    assert!(first[2].0 < confirmed[1], "{first:?} {confirmed:?}");
    world.finish().await;
}

/// Whoever wants it strictly one after the other gets it.
#[tokio::test(start_paused = true)]
async fn without_overlap_each_region_starts_when_the_one_before_is_confirmed() {
    let settings = format!("{QUICK}regions_at_once = 1\noverlap = false\n");
    let mut world = World::new(&fleet::demo(), &policy(&settings)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    let (first, confirmed) = course(&world).await;
    assert_eq!(confirmed.len(), 3);
    for (index, (at, region)) in first.iter().enumerate().skip(1) {
        assert!(*at >= confirmed[index - 1], "{region} began before the confirmation");
    }
    world.finish().await;
}

/// A region that turns out worse on the known-good image stops what has not begun.
#[tokio::test(start_paused = true)]
async fn a_region_that_is_worse_off_keeps_the_next_ones_from_being_begun() {
    // Given regions in a fixed order, and a known-good image that fails once the first is confirmed
    let settings = format!("{QUICK}order = [\"iad\", \"lhr\", \"syd\"]\n");
    let mut world = World::new(&fleet::demo(), &policy(&settings)).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    world.sim.set_behaviour("registry.fly.io/api:v41", Behaviour::errors(1.0)).unwrap();

    // When the second is updated, it does not get well
    world.run_for(60).await;

    // Then the third was not touched, and the rollback says for which region it waits
    let (first, _) = course(&world).await;
    let begun: Vec<&str> = first.iter().map(|(_, region)| region.as_str()).collect();
    assert_eq!(begun, ["iad", "lhr"]);
    assert_eq!(world.count(RollbackCompleted).await, 0);
    let paused = world.last(RollbackPaused).await.map(|event| why(&event)).unwrap_or_default();
    assert!(paused.contains("lhr is not well on the known-good release"), "{paused:?}");
    world.finish().await;
}

/// With nine requests in ten failing there is nothing left to protect: one machine proves that going
/// back helps, then all the others go at once.
#[tokio::test(start_paused = true)]
async fn a_total_outage_is_undone_everywhere_at_once_after_one_machine() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.sim.add_image("registry.fly.io/api:dead", Behaviour::errors(1.0));
    world.ship("registry.fly.io/api:dead");
    world.until(RollbackStarted).await;
    let ids = world.sim.machine_ids(APP, None);
    let mut down_at_once = Vec::new();
    while world.last(RollbackCompleted).await.is_none() {
        let down = ids.iter().filter(|id| world.sim.state(id) != Some(State::Started)).count();
        if down > 0 && down_at_once.last() != Some(&down) {
            down_at_once.push(down);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(down_at_once.first(), Some(&1), "{down_at_once:?}");
    assert!(down_at_once.iter().max() >= Some(&4), "{down_at_once:?}");
    world.all_run("v41");
    world.finish().await;
}
