//! What a person orders, carried out by the whole daemon.

use waveoff::{
    model::{
        Act, Effect,
        EventKind::{
            self, HoldPlaced, OperatorOrder, ReleaseTrusted, RollbackCompleted, RollbackPlanned,
            RollbackRegionConfirmed, RollbackStarted, RollbackStopped,
        },
        Refusal, Reply, Wish,
    },
    sim::fleet,
};

use crate::world::{APP, QUICK, World, policy, why};

fn to(release: &str) -> Act {
    Act::Rollback(Wish { to: Some(release.to_owned()), ..Wish::default() })
}

fn done(reply: &Reply) -> &Effect {
    match reply {
        Reply::Done(effect) => effect,
        Reply::Refused(refusal) => panic!("{refusal:?}"),
    }
}

/// Lets time pass until it happened for the `times`-th time.
async fn until(world: &mut World, kind: EventKind, times: usize) {
    for _ in 0..1800 {
        if world.count(kind).await >= times {
            return;
        }
        world.run_for(1).await;
    }
    panic!("{} not {times} times\n{}", kind.as_str(), world.timeline().await);
}

/// v42 is as good as v41, and a person wants v41 all the same.
#[tokio::test(start_paused = true)]
async fn a_person_goes_back_from_a_healthy_release_and_forth_again() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    until(&mut world, ReleaseTrusted, 2).await;

    let reply = world.act(Act::Rollback(Wish::default())).await;
    let Effect::Begun { plan } = done(&reply) else { panic!("{reply:?}") };
    assert_eq!(plan.to.label(), "v41");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.sim.releases(APP)[0].status, "complete");
    world.run_for(300).await;

    // With the command that the message gives.
    let completed = world.last(RollbackCompleted).await.unwrap();
    let message = waveoff::notify::text::message(&completed);
    let next: Vec<&str> = message.lines().rev().take(2).collect();
    let wanted = ["Pin it: waveoff pin api v41", "Undo it: waveoff rollback api --to v42"];
    assert_eq!(next, wanted, "{message}");
    done(&world.act(to("v42")).await);
    until(&mut world, RollbackCompleted, 2).await;
    world.all_run("good");
    world.run_for(600).await;
    world.all_run("good");
    assert_eq!(world.count(RollbackStarted).await, 2, "{}", world.timeline().await);
    world.finish().await;
}

/// A bad release was undone, and a person puts it back to look into it: nobody fights them.
#[tokio::test(start_paused = true)]
async fn a_bad_release_that_a_person_puts_back_is_told_and_left() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    done(&world.act(to("v42")).await);
    until(&mut world, RollbackCompleted, 2).await;
    world.all_run("errors");
    let held = world.until(HoldPlaced).await;
    assert!(why(&held).contains("dana"), "{}", why(&held));
    world.run_for(900).await;
    world.all_run("errors");
    // They have seen enough.
    done(&world.act(Act::Resume).await);
    until(&mut world, RollbackCompleted, 3).await;
    world.all_run("v41");
    world.finish().await;
}

/// The daemon is killed between the order and its end.
#[tokio::test(start_paused = true)]
async fn an_order_outlives_the_daemon() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:good");
    until(&mut world, ReleaseTrusted, 2).await;
    done(&world.act(Act::Rollback(Wish::default())).await);
    world.restart().await;
    world.until(RollbackRegionConfirmed).await;
    world.restart().await;
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn in_mode_approve_a_yes_undoes_and_a_no_does_not() {
    let asking = policy(QUICK).replace("mode = \"rollback\"", "mode = \"approve\"");
    let mut world = World::new(&fleet::demo(), &asking).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.run_for(120).await;
    assert_eq!(world.count(RollbackStarted).await, 0);
    assert_eq!(world.act(Act::Unpin).await, Reply::Refused(Refusal::NothingPinned));
    done(&world.act(Act::Approve).await);
    world.until(RollbackCompleted).await;
    world.all_run("v41");

    world.ship("registry.fly.io/api:errors");
    until(&mut world, RollbackPlanned, 2).await;
    done(&world.act(Act::Veto).await);
    world.run_for(600).await;
    world.all_run("errors");
    world.finish().await;
}

/// A release that does not help either was stopped at its first region; a person insists.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_did_not_help_goes_on_when_a_person_insists() {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    // Whatever it is, it is not the release.
    let bad = waveoff::sim::Behaviour { error_share: 0.3, ..waveoff::sim::Behaviour::default() };
    world.sim.set_behaviour("registry.fly.io/api:v41", bad).unwrap();
    world.until(RollbackStopped).await;
    let images = world.images();
    assert!(images.contains_key("errors"), "{images:?}");
    done(&world.act(Act::Resume).await);
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_says_of_releases_is_told_and_kept() {
    let mut world = World::quick().await;
    world.trusted().await;
    done(&world.act(Act::Pin { release: "v41".to_owned() }).await);
    world.ship("registry.fly.io/api:good");
    until(&mut world, ReleaseTrusted, 2).await;
    world.restart().await;
    world.run_for(10).await;
    assert_eq!(world.view().pinned.unwrap().signed.by, "dana");
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    assert_eq!(world.count(OperatorOrder).await, 1);
    assert!(why(&world.last(OperatorOrder).await.unwrap()).contains("the sale"));
    world.finish().await;
}
