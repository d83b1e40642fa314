//! After a rollback, and during one: what is said to run, what would be gone back to, and that a person can
//! still say of the release what they want.

use waveoff::{
    model::{
        Act, Effect,
        EventKind::{ReleaseTrusted, RollbackCompleted, RollbackPlanned, RollbackStarted},
        Mode, Reply, Wish,
    },
    notify::text,
    sim::fleet,
    web::view::{ReleaseView, RunningView},
};

use crate::world::{APP, QUICK, World, policy};

fn done(reply: Reply) -> Effect {
    match reply {
        Reply::Done(effect) => effect,
        Reply::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn named(release: &str) -> String {
    release.to_owned()
}

/// The labels of the releases for which `is` holds.
fn marked(world: &World, is: fn(&ReleaseView) -> bool) -> Vec<String> {
    let releases = world.board.releases(&APP.into()).unwrap();
    releases.iter().filter(|one| is(one)).map(|one| one.version.unwrap().to_string()).collect()
}

fn running(world: &World) -> Vec<String> {
    world.view().running.iter().map(RunningView::name).collect()
}

async fn would_go_to(world: &World) -> String {
    let asked = Act::Rollback(Wish { dry_run: true, ..Wish::default() });
    match done(world.act(asked).await) {
        Effect::Planned { plan } => plan.to.label(),
        other => panic!("{other:?}"),
    }
}

/// v42 went back to v41 by itself.
async fn rolled_back() -> World {
    let mut world = World::quick().await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackCompleted).await;
    world.all_run("v41");
    world
}

#[tokio::test(start_paused = true)]
async fn after_a_rollback_what_runs_is_its_own_entry_and_while_it_is_half_way_both() {
    let mut world = World::quick().await;
    world.trusted().await;
    assert_eq!(running(&world), ["v41"]);
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackStarted).await;
    let half_way = async {
        for _ in 0..600 {
            if running(&world) == ["v42 (errors)", "v43 (v41)"] {
                return marked(&world, |one| one.runs);
            }
            world.run_for(1).await;
        }
        panic!("{:?}", running(&world));
    };
    assert_eq!(half_way.await, ["v43", "v42"]);
    world.until(RollbackCompleted).await;
    world.run_for(5).await;
    assert_eq!(running(&world), ["v43 (v41)"]);
    assert_eq!(marked(&world, |one| one.runs), ["v43"]);
    assert_eq!(world.view().target.unwrap().label(), "v41");
    let commands = |world: &World| -> Vec<(String, String)> {
        let offered = world.view().commands.into_iter();
        offered.map(|one| (one.purpose, one.command)).collect()
    };
    let named = |purpose: &str, command: &str| (purpose.to_owned(), command.to_owned());
    let undo = named("undo", "waveoff rollback api --to v42");
    assert_eq!(commands(&world), [undo.clone(), named("pin", "waveoff pin api v41")]);
    let told = world.last(RollbackCompleted).await.unwrap();
    assert!(text::message(&told).ends_with("\nPin it: waveoff pin api v41"), "as the message says");
    done(world.act(Act::Pin { release: "v41".to_owned() }).await);
    world.run_for(5).await;
    assert_eq!(commands(&world), [undo]);
    done(world.act(Act::Unpin).await);

    // When the next release runs, one is gone back to, and called what a dry run calls it.
    world.ship("registry.fly.io/api:good");
    world.run_for(60).await;
    assert_eq!(would_go_to(&world).await, "v41");
    assert_eq!(marked(&world, |one| one.is_target), ["v41"]);
    world.finish().await;
}

/// Whoever let a release out of quarantine after it was rolled back can put it there again: it does not run.
#[tokio::test(start_paused = true)]
async fn what_was_rolled_back_is_let_out_of_quarantine_and_put_there_again() {
    let world = rolled_back().await;
    done(world.act(Act::Unquarantine { release: named("v42") }).await);
    done(world.act(Act::Quarantine { release: named("v42") }).await);
    let standing = world.view().quarantined;
    assert_eq!(standing.iter().filter(|one| one.version.unwrap().0 == 42).count(), 1);
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn who_vouches_for_what_was_rolled_back_is_told_of_that_and_can_take_it_back() {
    let mut world = rolled_back().await;
    let effect = done(world.act(Act::Trust { release: named("v42") }).await);
    let said = text::effect(&APP.into(), &effect);
    assert!(said.contains("was rolled back or quarantined at 2026-03-01 03:"), "{said}");
    assert!(
        said.contains("5xx") && said.ends_with("`waveoff quarantine api v42` takes that back"),
        "{said}"
    );
    world.run_for(5).await;
    assert_eq!(would_go_to(&world).await, "v42");
    assert_eq!(world.view().target.unwrap().label(), "v41", "what the rollback went to");
    done(world.act(Act::Quarantine { release: named("v42") }).await);
    world.run_for(5).await;
    assert_eq!(world.view().known_good.unwrap().label(), "v41");
    world.finish().await;
}

/// The policy only observes, and a person does it: that was done.
#[tokio::test(start_paused = true)]
async fn a_rollback_by_hand_is_told_as_done_while_the_policy_only_observes() {
    let observing = policy(QUICK).replace("mode = \"rollback\"", "mode = \"observe\"");
    let mut world = World::new(&fleet::demo(), &observing).await;
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.until(RollbackPlanned).await;
    world.run_for(5).await;
    let held = world.view();
    assert!(held.protection.braked, "{:?}", held.protection);
    assert_eq!(held.commands[0].command, "waveoff rollback api --to v41");
    done(world.act(Act::Rollback(Wish::default())).await);
    let completed = world.until(RollbackCompleted).await;
    assert_eq!(completed.mode, Some(Mode::Rollback));
    assert_eq!(world.last(RollbackPlanned).await.unwrap().mode, Some(Mode::Observe));
    world.run_for(60).await;
    let told = world.received(RollbackCompleted);
    assert_eq!(told[0]["data"]["mode"], "rollback");
    world.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_names_the_commands_for_it() {
    let asking = policy(QUICK).replace("mode = \"rollback\"", "mode = \"approve\"");
    let counting = policy(&QUICK.replace("[watch]", "[watch]\ncountdown = \"1m\""));
    let asked = ["waveoff approve api", "waveoff veto api"].as_slice();
    for (policy, wanted) in [(asking, asked), (counting, &["waveoff veto api"])] {
        let mut world = World::new(&fleet::demo(), &policy).await;
        world.until(ReleaseTrusted).await;
        world.ship("registry.fly.io/api:errors");
        world.until(RollbackPlanned).await;
        let commands = world.view().commands.into_iter().map(|one| one.command);
        assert_eq!(commands.collect::<Vec<_>>(), wanted);
        world.finish().await;
    }
}
