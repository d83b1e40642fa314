//! What runs on when something newer came and went is watched again.

use super::{
    stage::{Stage, fail_checks, named, put},
    *,
};

/// v1 was seen for twenty seconds, and has earned nothing yet; then a canary of v2 comes, and is taken away.
fn canary() -> Stage {
    let mut stage = Stage::unknown(&["m1", "m2"]);
    stage.pass(20);
    let mut canary = named("c1", machine(2, "sha256:2"));
    put(&mut canary, 2, "sha256:2", at(stage.second));
    stage.announce(2, "sha256:2");
    stage.machines.push(canary);
    stage.pass(30);
    stage.machines.retain(|one| one.id.as_str() != "c1");
    stage
}

fn known_good(stage: &Stage) -> Option<&str> {
    stage.state.memory.newest_trusted().map(|good| good.revision.digest.as_str())
}

#[test]
fn a_canary_that_is_taken_away_ends_no_watch_of_what_runs_on() {
    // Given an app whose first release is still to earn its trust
    let mut stage = canary();
    // When the canary of the next one is gone for a minute
    stage.pass(64);
    // Then the first is watched again
    assert_eq!(stage.state.phase.word(), "learning", "{:?}", stage.events);
    stage.pass(120);
    assert_eq!(known_good(&stage), Some("sha256:1"), "{:?}", stage.events);
}

/// What never ran on its own is no way back.
#[test]
fn what_came_and_went_is_nothing_to_go_back_to() {
    let mut stage = canary();
    stage.policy.rollback.first_target_previous = true;
    stage.pass(70);
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(120);
    assert_eq!(stage.told(EventKind::RollbackStarted), [] as [&Event; 0]);
    assert_eq!(stage.told(EventKind::HoldPlaced).len(), 1, "{:?}", stage.events);
}

#[test]
fn what_somebody_put_back_by_hand_before_it_earned_anything_is_watched() {
    // Given v2, which fails, before v1 has earned its trust
    let mut stage = Stage::unknown(&["m1", "m2"]);
    stage.pass(20);
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(60);
    // When somebody puts the image of v1 back on all machines
    for machine in &mut stage.machines {
        put(machine, 2, "sha256:1", at(stage.second));
    }
    stage.pass(70);
    // Then it is watched, as what was set by hand
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert!(!watch.numbered);
    stage.pass(120);
    assert_eq!(known_good(&stage), Some("sha256:1"), "{:?}", stage.events);
}

#[test]
fn what_is_part_of_no_release_is_not_watched_for_want_of_another() {
    let mut stage = canary();
    let mut shell = named("x1", machine(1, "sha256:1"));
    shell.release = None;
    stage.machines = vec![shell];
    stage.events.clear();
    stage.pass(120);
    assert_eq!(stage.events, []);
    assert_eq!(stage.state.phase.word(), "steady");
}
