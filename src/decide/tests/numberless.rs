//! A tool that writes whole configurations, without the number that flyctl leaves on machines.

use super::{
    stage::{Stage, fail_checks, put},
    *,
};

/// Another tool puts an image on a machine.
fn write(stage: &mut Stage, id: &str, digest: &str) {
    let now = at(stage.second);
    let machine = stage.machine(id);
    put(machine, 0, digest, now);
    machine.release = None;
}

fn digest(stage: &mut Stage, id: &str) -> String {
    stage.machine(id).digest().unwrap().to_string()
}

#[test]
fn an_image_without_a_number_is_seen_on_its_first_machine() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3", "m4"]);
    write(&mut stage, "m1", "sha256:bad");
    stage.look();
    let detected = stage.told(EventKind::ReleaseDetected);
    let digest = &detected.last().unwrap().release.as_ref().unwrap().digest;
    assert_eq!(digest.as_str(), "sha256:bad");
    let told = detected.len();
    stage.pass(10);
    assert_eq!(stage.told(EventKind::ReleaseDetected).len(), told, "the others are no news");
}

/// All machines, at once: the same machines are the same app.
#[test]
fn an_app_without_numbers_is_not_one_that_was_made_again() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(7, "sha256:1");
    stage.pass(90);
    for id in ["m1", "m2"] {
        write(&mut stage, id, "sha256:bad");
        fail_checks(stage.machine(id));
    }
    stage.opens = Some(super::stage::opened(8));
    stage.begin();
    assert_eq!(stage.state.memory.seen_version, ReleaseVersion(7));
    stage.undo();
    assert_eq!(digest(&mut stage, "m1"), "sha256:1");
}

/// The tool stops half way.
#[test]
fn what_it_left_on_some_machines_is_undone() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3", "m4"]);
    for id in ["m1", "m2"] {
        write(&mut stage, id, "sha256:bad");
        fail_checks(stage.machine(id));
    }
    stage.begin();
    stage.undo();
    for id in ["m1", "m2", "m3", "m4"] {
        assert_eq!(digest(&mut stage, id), "sha256:1", "{id}");
    }
}

#[test]
fn a_healthy_one_on_some_machines_is_told_as_a_mix() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3", "m4"]);
    write(&mut stage, "m1", "sha256:2");
    stage.pass(1800);
    assert_eq!(stage.told(EventKind::ImageMixed).len(), 1, "{:?}", stage.events);
}

/// `fly machine run` beside the app, with another image and without a number.
#[test]
fn a_machine_that_never_ran_a_release_is_nobodys_news() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    let before = stage.events.len();
    let mut side = stage.machines[0].clone();
    side.id = "side".into();
    stage.machines.push(side);
    write(&mut stage, "side", "sha256:tool");
    stage.pass(600);
    write(&mut stage, "side", "sha256:tool2");
    fail_checks(stage.machine("side"));
    stage.pass(1800);
    assert_eq!(stage.events.len(), before, "{:?}", stage.events);
}

/// Its group was deployed less often than the others: it carries an older number.
#[test]
fn an_image_set_by_hand_under_an_older_number_is_seen() {
    let mut stage = Stage::unknown(&["m1", "w1"]);
    stage.machine("w1").group = "worker".into();
    stage.pass(90);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.announce(2, "sha256:2");
    stage.pass(90);
    let now = at(stage.second);
    put(stage.machine("w1"), 1, "sha256:hand", now);
    stage.look();
    let detected = stage.told(EventKind::ReleaseDetected);
    let digest = &detected.last().unwrap().release.as_ref().unwrap().digest;
    assert_eq!(digest.as_str(), "sha256:hand");
    let told = detected.len();
    stage.pass(10);
    assert_eq!(stage.told(EventKind::ReleaseDetected).len(), told, "the others are no news");
}
