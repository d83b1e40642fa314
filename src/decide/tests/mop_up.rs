//! After a rollback: what comes back is put right, as far as people let it, and what they set is left.

use super::{
    stage::{Stage, put, put_on, puts},
    *,
};
use crate::model::{OperatorHold, Order, Wait};

/// m1 and m2 were put right a minute ago, and a clone of the bad release comes up.
fn cloned(before: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.pass(60);
    before(&mut stage);
    let mut clone = stage.machine("m1").clone();
    clone.id = "m9".into();
    put(&mut clone, 2, "sha256:2", at(stage.second));
    stage.machines.push(clone);
    stage
}

fn hold() -> Input {
    let order = Order::Hold(OperatorHold {
        by: "zoe".to_owned(),
        reason: "let me look".to_owned(),
        since: at(0),
        until: None,
    });
    Input::Operator { order, machines: Vec::new() }
}

/// What was told of the machines that run the bad image again.
fn told(stage: &Stage) -> Vec<&Reason> {
    let mixed = stage.told(EventKind::ImageMixed).into_iter();
    mixed.filter_map(|event| event.reason.as_ref()).collect()
}

fn again(put_right: bool) -> Reason {
    Reason::RunsAgain { machines: vec!["m9".into()], put_right }
}

#[test]
fn a_clone_of_the_bad_release_is_put_right_and_told() {
    let mut stage = cloned(|_| {});
    assert_eq!(put_on(&stage.look()), ["m9"]);
    assert_eq!(told(&stage), [&again(true)]);
}

#[test]
fn under_an_operators_hold_it_is_told_and_left_until_the_hold_is_lifted() {
    let mut stage = cloned(|stage| drop(stage.tell(&hold())));
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(told(&stage)[0], &again(false));
    stage.tell(&Input::Operator { order: Order::Unhold(None), machines: Vec::new() });
    assert_eq!(put_on(&stage.pass(4)), ["m9"]);
}

#[test]
fn in_observe_mode_it_is_told_and_left() {
    let mut stage = cloned(|stage| stage.policy.mode = Mode::Observe);
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(told(&stage)[0], &again(false));
}

/// The daemon died with a command under way: the machine may be down, and no other is taken down.
#[test]
fn what_was_under_way_when_the_daemon_began_anew_may_be_down() {
    let mut stage = cloned(|_| {});
    assert_eq!(put_on(&stage.look()), ["m9"]);
    stage.tell(&Input::Restarted);
    let clone = stage.rollback().machine(&"m9".into()).unwrap();
    assert_eq!(clone.down_since, Some(at(stage.second)));
}

#[test]
fn what_somebody_sets_to_the_bad_image_is_told_and_left() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.pass(60);
    let now = at(stage.second);
    put(stage.machine("m2"), 3, "sha256:2", now);
    assert_eq!(put_on(&stage.pass(300)), [""; 0]);
    assert_eq!(told(&stage), [&Reason::SetByHand { machines: vec!["m2".into()] }]);
    // One that they put back is well.
    put(stage.machine("m2"), 3, "sha256:1", now);
    stage.pass(10);
    assert!(!stage.rollback().is_set_by_hand());
}

/// Somebody's deploy goes on, and holds the leases of what it writes.
#[test]
fn who_keeps_it_from_being_put_right_is_named_once() {
    let mut stage = cloned(|_| {});
    let owner = "ci@example.com".to_owned();
    for _ in 0..60 {
        stage.look();
        if stage.pending(puts("m9")).is_some() {
            let (owner, description) = (owner.clone(), String::new());
            stage.answer(puts("m9"), Outcome::Put(PutOutcome::LeaseHeld { owner, description }));
        }
    }
    let wait = Wait::Lease { machine: "m9".into(), owner };
    assert_eq!(told(&stage), [&again(true), &Reason::Waits { wait }]);
    // When it is free, nothing is waited for any more
    stage.work(60, &[]);
    assert_eq!(stage.rollback().pause, None);
}

/// Clones come and go for weeks where somebody's tool makes them from the bad image.
#[test]
fn machines_that_are_gone_for_an_hour_are_forgotten() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    for n in 0..60 {
        let mut clone = stage.machine("m1").clone();
        clone.id = format!("c{n}").as_str().into();
        put(&mut clone, 2, "sha256:2", at(stage.second));
        stage.machines.push(clone);
        stage.look();
        stage.put_right_now();
        stage.machines.pop();
        stage.pass(120);
    }
    let known: usize = stage.rollback().regions.iter().map(|work| work.machines.len()).sum();
    assert!((20..40).contains(&known), "{known}");
}
