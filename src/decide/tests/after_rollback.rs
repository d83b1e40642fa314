//! What a rollback went to is looked at on, wherever it runs, and whatever else there is beside it.

use super::{
    stage::{Stage, fail_checks, named, put, ratio},
    *,
};

fn serves(stage: &mut Stage, bad: f64) {
    stage.serves = vec![("m1", 100.0, bad), ("m2", 100.0, bad)];
}

/// v2 failed its checks on m1, m2 and what `beside` adds, and was undone five minutes ago.
fn undone(beside: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds.push(ratio());
    serves(&mut stage, 0.0);
    stage.pass(120);
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    beside(&mut stage);
    stage.begin();
    stage.undo();
    stage.pass(300);
    stage.events.clear();
    stage
}

/// A third of the requests fail for five minutes: what is told.
fn degrades(stage: &mut Stage) -> Vec<EventKind> {
    serves(stage, 30.0);
    stage.pass(300);
    stage.events.iter().map(|event| event.kind).collect()
}

/// It may stay so for weeks.
#[test]
fn a_machine_that_is_part_of_no_release_does_not_hide_that_it_degrades() {
    let mut stage = undone(|stage| {
        let mut shell = named("x1", machine(1, "sha256:9"));
        shell.release = None;
        shell.group = "".into();
        stage.machines.push(shell);
    });
    assert_eq!(degrades(&mut stage), [EventKind::ReleaseDegraded]);
}

#[test]
fn neither_does_a_host_that_does_not_answer_and_is_said_to_run_the_bad_image() {
    let mut stage = undone(|stage| {
        let mut dead = named("x1", machine(2, "sha256:2"));
        dead.host = HostStatus::Unreachable;
        stage.machines.push(dead);
    });
    assert_eq!(degrades(&mut stage), [EventKind::ReleaseDegraded]);
    // And when it answers again, what it runs is said.
    stage.machine("x1").host = HostStatus::Ok;
    stage.pass(60);
    assert_eq!(stage.told(EventKind::ImageMixed).len(), 1, "{:?}", stage.events);
}

/// m3 was put right, and somebody set it back to v2 by hand.
fn set_by_hand() -> Stage {
    let mut stage = undone(|stage| {
        stage.serves.push(("m3", 0.0, 0.0));
        stage.machines.push(named("m3", machine(2, "sha256:2")));
    });
    let now = at(stage.second);
    put(stage.machine("m3"), 3, "sha256:2", now);
    stage.pass(120);
    stage.events.clear();
    stage
}

#[test]
fn neither_does_one_that_somebody_set_back_by_hand() {
    let mut stage = set_by_hand();
    let told = degrades(&mut stage);
    assert_eq!(told, [EventKind::ReleaseDegraded, EventKind::ImageMixed]);
    assert_eq!(stage.state.phase.word(), "degraded", "and that is not forgotten");
}

/// They carry the number of before, and those that were put right carry ours.
#[test]
fn machines_that_the_bad_release_never_reached_are_looked_at_as_well() {
    // Given v2, which came to one machine of three, and was undone there
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    stage.policy.thresholds.push(ratio());
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0), ("m3", 100.0, 0.0)];
    stage.pass(120);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.announce(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.begin();
    stage.undo();
    stage.pass(300);
    stage.events.clear();
    // When the two others degrade
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 60.0), ("m3", 100.0, 60.0)];
    stage.pass(300);
    // Then that is told
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1, "{:?}", stage.events);
}

/// A daemon that was started anew has no watch of before.
#[test]
fn so_they_are_when_it_recovered_and_the_daemon_began_anew() {
    let mut stage = undone(|stage| {
        stage.machines.extend(["m3", "m4"].map(|id| named(id, machine(1, "sha256:1"))));
    });
    let others = |stage: &mut Stage, bad| {
        serves(stage, 0.0);
        stage.serves.extend([("m3", 100.0, bad), ("m4", 100.0, bad)]);
    };
    others(&mut stage, 60.0);
    stage.pass(300);
    others(&mut stage, 0.0);
    stage.pass(900);
    assert!(matches!(stage.state.phase, Phase::Steady), "{:?}", stage.events);
    let text = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&text).unwrap();
    stage.events.clear();
    others(&mut stage, 60.0);
    stage.pass(300);
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1, "{:?}", stage.events);
}
