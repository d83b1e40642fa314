//! What changes in a steady app is noted, so that it can be told when what runs degrades.

use super::{
    stage::{Stage, named},
    *,
};
use crate::model::{InstanceId, reason::Changed};

/// A steady app whose machines were seen.
fn steady(ids: &[&str]) -> Stage {
    let mut stage = Stage::trusted(ids);
    stage.pass(20);
    assert_eq!(stage.state.phase.word(), "steady");
    assert_eq!(noted(&stage), [], "nothing has changed yet");
    stage
}

fn noted(stage: &Stage) -> Vec<Changed> {
    stage.state.memory.changes.iter().map(|change| change.what.clone()).collect()
}

/// A process begins anew, under the configuration that it has.
fn restart(stage: &mut Stage, id: &str) {
    let now = at(stage.second);
    stage.machine(id).started_at = Some(now);
    stage.look();
}

/// Somebody writes a machine's configuration, and leaves it this image.
fn configure(stage: &mut Stage, id: &str, instance: &str, digest: &str) {
    let now = at(stage.second);
    let machine = stage.machine(id);
    machine.instance = InstanceId::new(instance);
    machine.started_at = Some(now);
    machine.image.digest = Some(Digest::new(digest));
    stage.look();
}

#[test]
fn machines_that_are_restarted_one_after_the_other_are_one_change() {
    let mut stage = steady(&["m1", "m2", "m3"]);
    restart(&mut stage, "m1");
    stage.pass(118);
    restart(&mut stage, "m2");
    assert_eq!(noted(&stage), [Changed::Restarted { machines: 2 }], "within two minutes");
    stage.pass(120);
    restart(&mut stage, "m3");
    let alone = Changed::Restarted { machines: 1 };
    assert_eq!(noted(&stage), [Changed::Restarted { machines: 2 }, alone]);
}

#[test]
fn what_is_configured_anew_is_no_restart_and_another_image_is_neither() {
    let mut stage = steady(&["m1", "m2"]);
    configure(&mut stage, "m1", "i2", "sha256:1");
    assert_eq!(noted(&stage), [Changed::Configured { machines: 1 }]);
    configure(&mut stage, "m2", "i3", "sha256:other");
    assert_eq!(noted(&stage), [Changed::Configured { machines: 1 }]);
}

#[test]
fn machines_that_come_and_go_are_told_from_how_many_to_how_many() {
    let mut stage = steady(&["m1"]);
    for id in ["m2", "m3"] {
        let machine = named(id, stage.machines[0].clone());
        stage.machines.push(machine);
        stage.look();
    }
    assert_eq!(noted(&stage), [Changed::Scaled { from: 1, to: 3 }]);
    stage.pass(124);
    stage.machines.truncate(1);
    stage.look();
    assert_eq!(noted(&stage)[1], Changed::Scaled { from: 3, to: 1 });
}

#[test]
fn while_a_release_comes_nothing_else_is_noted_nor_what_was_before_it_compared_after_it() {
    let mut stage = steady(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.look();
    restart(&mut stage, "m1");
    stage.pass(120);
    assert_eq!(stage.state.phase.word(), "steady", "{:?}", stage.events);
    assert_eq!(noted(&stage), []);
}

#[test]
fn a_list_that_is_empty_for_a_moment_is_no_change() {
    let mut stage = steady(&["m1", "m2"]);
    let machines = std::mem::take(&mut stage.machines);
    stage.look();
    stage.machines = machines;
    stage.pass(4);
    assert_eq!(noted(&stage), []);
}

#[test]
fn what_is_remembered_is_bounded_and_the_oldest_is_forgotten() {
    let mut stage = steady(&["m1"]);
    for turn in 0..22 {
        restart(&mut stage, "m1");
        configure(&mut stage, "m1", &format!("i{turn}"), "sha256:1");
        stage.pass(124);
    }
    let noted = noted(&stage);
    assert_eq!(noted.len(), 20);
    assert_eq!(noted.last(), Some(&Changed::Configured { machines: 1 }));
}

#[test]
fn what_was_half_an_hour_before_is_told_and_what_was_earlier_is_not() {
    let mut stage = steady(&["m1"]);
    restart(&mut stage, "m1");
    let changed = stage.state.memory.changes[0].at;
    let around = |minutes| {
        let since = changed.checked_add(SignedDuration::from_mins(minutes)).unwrap();
        crate::decide::changes::around(&stage.state.memory, since).len()
    };
    assert_eq!((around(30), around(31)), (1, 0));
}
