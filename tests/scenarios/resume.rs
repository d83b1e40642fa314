//! Promises 1 and 8: whatever is lost, and wherever the daemon dies, the end is the same.
//!
//! A calm run counts the platform calls and journal commits of a whole rollback. Then, for each of
//! them: the request is lost, its answer is lost, the daemon dies before it, the daemon dies after
//! it and is started again.

use std::collections::BTreeMap;

use waveoff::{
    model::EventKind::{
        HoldPlaced, ReleaseDegraded, RollbackCompleted, RollbackFailed, RollbackPlanned,
        RollbackStarted, RollbackStopped,
    },
    sim::{State, fleet},
};

use crate::{
    mortal::{At, Blow},
    world::{APP, QUICK, World, policy},
};

/// Two regions, three machines, one of them stopped: small, and everything happens in it.
fn small() -> fleet::Fleet {
    let mut fleet = fleet::demo();
    fleet.apps.clear();
    let image = "registry.fly.io/api:v41";
    fleet.apps.push(fleet::FleetApp::new(APP, image, &[("iad", 2), ("lhr", 1)], 60.0));
    fleet
}

/// What must be the same at the end of every run.
#[derive(Debug, PartialEq)]
struct End {
    images: BTreeMap<String, usize>,
    states: Vec<Option<State>>,
    decisions: Vec<(&'static str, usize)>,
    ledger: Vec<(u64, String)>,
}

/// One whole story under a decree; the calls and commits that it took.
async fn story(plan: Option<(At, Blow)>) -> (End, Vec<&'static str>, u64) {
    let mut world = World::new(&small(), &policy(QUICK)).await;
    let resting = world.sim.machine_ids(APP, Some("iad")).pop().unwrap();
    world.sim.stop(&resting).unwrap();
    world.trusted().await;
    world.ship("registry.fly.io/api:errors");
    world.run_for(8).await;
    world.fate.decree(plan);
    world.until(RollbackCompleted).await;
    // The last command, the ledger's final status, is under way.
    for _ in 0..10 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        if world.fate.has_struck() {
            world.restart().await;
            world.fate.spare();
        }
    }
    let (calls, commits) = world.fate.counted();
    world.fate.decree(None);
    world.run_for(40).await;
    let mut decisions = Vec::new();
    for kind in [
        ReleaseDegraded,
        RollbackPlanned,
        RollbackStarted,
        RollbackCompleted,
        RollbackStopped,
        RollbackFailed,
        HoldPlaced,
    ] {
        decisions.push((kind.as_str(), world.count(kind).await));
    }
    let ids = world.sim.machine_ids(APP, None);
    let end = End {
        images: world.images(),
        states: ids.iter().map(|id| world.sim.state(id)).collect(),
        decisions,
        ledger: world
            .sim
            .releases(APP)
            .into_iter()
            .map(|entry| (entry.version, entry.status))
            .collect(),
    };
    world.finish().await;
    (end, calls, commits)
}

async fn at_every(places: impl Iterator<Item = (At, String)>, blow: Blow, calm: &End) {
    let mut wrong = Vec::new();
    for (at, name) in places {
        let (end, ..) = story(Some((at, blow))).await;
        if end != *calm {
            wrong.push(format!("{blow:?} at {at:?} ({name}):\n{end:#?}"));
        }
    }
    assert!(wrong.is_empty(), "calm:\n{calm:#?}\n{}", wrong.join("\n"));
}

async fn calls(blow: Blow) {
    let (calm, calls, _) = story(None).await;
    assert!(calls.contains(&"update") && calls.contains(&"open_release"), "{calls:?}");
    let places = calls
        .iter()
        .enumerate()
        .map(|(index, name)| (At::Call(index as u64 + 1), (*name).to_owned()));
    at_every(places, blow, &calm).await;
}

async fn commits(blow: Blow) {
    let (calm, _, commits) = story(None).await;
    assert!(commits > 10, "{commits}");
    let places = (1..=commits).map(|number| (At::Commit(number), "commit".to_owned()));
    at_every(places, blow, &calm).await;
}

#[tokio::test(start_paused = true)]
async fn losing_any_request_changes_nothing_in_the_end() {
    calls(Blow::LoseRequest).await;
}

#[tokio::test(start_paused = true)]
async fn losing_any_answer_changes_nothing_in_the_end() {
    calls(Blow::LoseAnswer).await;
}

#[tokio::test(start_paused = true)]
async fn dying_before_any_call_changes_nothing_in_the_end() {
    calls(Blow::DieBefore).await;
}

#[tokio::test(start_paused = true)]
async fn dying_after_any_call_changes_nothing_in_the_end() {
    calls(Blow::DieAfter).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_once_changes_nothing_in_the_end() {
    commits(Blow::LoseRequest).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_changes_nothing_in_the_end() {
    commits(Blow::LoseAnswer).await;
}

#[tokio::test(start_paused = true)]
async fn dying_before_any_commit_changes_nothing_in_the_end() {
    commits(Blow::DieBefore).await;
}

#[tokio::test(start_paused = true)]
async fn dying_after_any_commit_changes_nothing_in_the_end() {
    commits(Blow::DieAfter).await;
}
