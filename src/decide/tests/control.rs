//! The known-good release beside the one that is judged: what fails on both is not the release.

use super::{
    stage::{Stage, put, ratio},
    *,
};
use crate::model::ReleaseStatus;

/// v2 came to m2; m1 still runs v1.
fn beside() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    let now = at(stage.second);
    put(stage.machine("m2"), 2, "sha256:2", now);
    stage
}

/// What becomes of v2 when so many of so many fail on v1, and on v2, in every round.
fn held(control: (f64, f64), release: (f64, f64)) -> bool {
    let mut stage = beside();
    stage.serves = vec![("m1", control.1, control.0), ("m2", release.1, release.0)];
    ends_held(&mut stage, 120)
}

fn ends_held(stage: &mut Stage, seconds: i64) -> bool {
    stage.pass(seconds);
    match &stage.state.phase {
        Phase::Held { reason: HoldReason::ControlToo { .. }, .. } => true,
        Phase::RollingBack(_) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_release_is_held_while_the_one_before_fails_as_well() {
    assert!(held((50.0, 100.0), (50.0, 100.0)));
    assert!(!held((0.0, 100.0), (50.0, 100.0)));
}

#[test]
fn a_release_that_is_half_as_bad_again_is_to_blame_all_the_same() {
    assert!(held((34.0, 100.0), (50.0, 100.0)));
    assert!(!held((33.0, 100.0), (50.0, 100.0)));
}

#[test]
fn what_the_one_before_shows_within_its_limit_says_nothing() {
    assert!(held((210.0, 10_000.0), (300.0, 10_000.0)));
    assert!(!held((200.0, 10_000.0), (290.0, 10_000.0)));
}

#[test]
fn a_few_requests_on_the_one_before_say_nothing() {
    assert!(!held((1.0, 1.0), (50.0, 100.0)));
}

#[test]
fn what_the_one_before_showed_a_minute_ago_is_of_another_time() {
    for (since, held) in [(20, true), (64, false)] {
        let mut stage = beside();
        stage.serves = vec![("m1", 100.0, 100.0), ("m2", 100.0, 0.0)];
        stage.pass(30);
        stage.serves = vec![("m2", 100.0, 0.0)];
        stage.pass(since);
        stage.serves = vec![("m2", 1000.0, 1000.0)];
        assert_eq!(ends_held(&mut stage, 64), held, "{since} s");
    }
}
