//! A person's brake works at any moment.

use waveoff::model::{
    EventKind::{HoldPlaced, RollbackCompleted, RollbackRegionConfirmed, RollbackStarted},
    OperatorHold, Order,
};

use crate::world::{APP, World, why};

fn hold(world: &World) -> Order {
    let (since, until) = (world.now(), None);
    Order::Hold(OperatorHold { by: "dana".into(), reason: "a sale".into(), since, until })
}

/// In the middle of a rollback no further machine is touched, also after a restart, and it goes on
/// when the brake is lifted.
#[tokio::test(start_paused = true)]
async fn an_operators_hold_stops_a_rollback_where_it_is() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackRegionConfirmed).await;
    assert_eq!(world.order(Some(APP), &hold(&world)).await, [APP.into()]);
    // What was begun may end.
    world.run_for(60).await;
    let images = world.images();
    assert!(images.contains_key("errors"), "{images:?}");
    world.restart().await;
    world.run_for(300).await;
    assert_eq!(world.images(), images, "{}", world.timeline().await);
    assert_eq!(world.order(Some(APP), &Order::Unhold(None)).await, [APP.into()]);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

/// Before one: the release is held, with the operator's own words.
#[tokio::test(start_paused = true)]
async fn an_operators_hold_keeps_a_rollback_from_beginning() {
    let mut world = World::quick().await;
    world.trusted().await;
    assert_eq!(world.order(Some(APP), &hold(&world)).await, [APP.into()]);
    world.ship("registry.fly.io/api:errors");
    world.run_for(120).await;
    assert_eq!(world.count(RollbackStarted).await, 0, "{}", world.timeline().await);
    assert!(why(&world.last(HoldPlaced).await.unwrap()).contains("a sale"));
    assert_eq!(world.order(Some(APP), &Order::Unhold(None)).await, [APP.into()]);
    world.until(RollbackCompleted).await;
    world.finish().await;
}
