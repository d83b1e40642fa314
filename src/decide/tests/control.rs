//! The known-good release beside the one that is judged: what fails on both is not the release.

use super::{
    stage::{Stage, fail_checks, put, ratio},
    *,
};
use crate::model::{CheckStatus, ReleaseStatus};

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

/// What v1 shows is a little above its limit by chance, and then it is gone.
#[test]
fn a_few_failures_too_many_of_the_one_before_excuse_no_release_that_is_far_worse() {
    let mut stage = beside();
    stage.serves = vec![("m1", 35.0, 0.9), ("m2", 35.0, 10.5)];
    stage.pass(8);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.serves = vec![("m1", 35.0, 10.5), ("m2", 35.0, 10.5)];
    assert!(!ends_held(&mut stage, 60));
}

/// The outage had just begun when v1 went: what it showed by then is less by chance, and no proof
/// against the release.
#[test]
fn what_befell_both_excuses_a_release_that_is_not_clearly_worse() {
    let mut stage = beside();
    stage.serves = vec![("m1", 100.0, 0.5), ("m2", 100.0, 0.5)];
    stage.pass(60);
    stage.serves = vec![("m1", 100.0, 12.0), ("m2", 100.0, 30.0)];
    stage.pass(4);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.serves = vec![("m1", 100.0, 30.0), ("m2", 100.0, 30.0)];
    assert!(ends_held(&mut stage, 120));
}

#[test]
fn a_request_a_second_is_enough_to_see_that_the_one_before_fails_as_well() {
    assert!(held((1.0, 1.0), (1.0, 1.0)));
    assert!(!held((0.0, 1.0), (1.0, 1.0)));
}

#[test]
fn what_the_one_before_showed_at_another_time_says_nothing() {
    let mut stage = beside();
    stage.serves = vec![("m1", 100.0, 100.0), ("m2", 100.0, 0.0)];
    stage.pass(30);
    stage.serves = vec![("m2", 100.0, 0.0)];
    stage.pass(20);
    stage.serves = vec![("m2", 1000.0, 1000.0)];
    assert!(!ends_held(&mut stage, 64));
}

/// Both fail, then the last machine of v1 gets v2 as well.
fn fails_with_both_and_then_alone() -> Stage {
    let mut stage = beside();
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(30);
    stage.serves = vec![("m1", 100.0, 50.0), ("m2", 100.0, 50.0)];
    stage.pass(10);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage
}

#[test]
fn that_both_failed_is_remembered_when_the_one_before_is_gone() {
    let mut stage = fails_with_both_and_then_alone();
    assert!(ends_held(&mut stage, 900), "for as long as it lasts");
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(30);
    assert_eq!(stage.told(EventKind::HoldCleared).len(), 1);
    // What comes after a recovery is another matter.
    stage.serves = vec![("m1", 100.0, 50.0), ("m2", 100.0, 50.0)];
    assert!(!ends_held(&mut stage, 90));
}

#[test]
fn a_release_that_stays_bad_when_the_one_before_is_well_again_is_to_blame() {
    let mut stage = beside();
    stage.serves = vec![("m1", 100.0, 50.0), ("m2", 100.0, 50.0)];
    assert!(ends_held(&mut stage, 60));
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 50.0)];
    assert!(!ends_held(&mut stage, 60));
}

/// It breaks in the middle of its deploy: v1 beside it vouches for that at once.
#[test]
fn a_release_that_breaks_beside_a_healthy_one_waits_for_no_countdown() {
    let mut stage = beside();
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(60);
    let broke = stage.second;
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 50.0)];
    stage.begin();
    let took = stage.second - broke;
    assert!(took <= 32, "{took} s");
}

/// Other apps fail as well, and v1 beside it does not: it is no trouble of all.
#[test]
fn neighbours_in_distress_do_not_hold_a_release_against_a_healthy_one_beside_it() {
    for (control, held) in [(0.0, false), (50.0, true)] {
        let mut stage = beside();
        stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
        stage.pass(60);
        let since = at(stage.second);
        for app in ["shop", "blog"] {
            let regions = [crate::model::Region::new("iad")].into();
            let theirs = crate::model::Distress { since, regions, deployed: false };
            stage.org.neighbours.insert(AppName::new(app), theirs);
        }
        stage.serves = vec![("m1", 100.0, control), ("m2", 100.0, 50.0)];
        stage.pass(40);
        assert_eq!(matches!(stage.state.phase, Phase::Held { .. }), held, "{control}");
    }
}

/// What v1 showed beside it vouches also when it has gone meanwhile.
#[test]
fn that_the_one_before_was_well_is_remembered_when_it_is_gone() {
    let mut stage = beside();
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(60);
    let broke = stage.second;
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 50.0)];
    stage.pass(20);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.serves = vec![("m1", 100.0, 50.0), ("m2", 100.0, 50.0)];
    stage.begin();
    let took = stage.second - broke;
    assert!(took <= 36, "{took} s");
}

/// v2 came to m2, m1 still runs v1, and the checks of both pass.
fn checked() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    let now = at(stage.second);
    put(stage.machine("m2"), 2, "sha256:2", now);
    stage.machines.iter_mut().for_each(pass_checks);
    stage.pass(40);
    stage
}

fn pass_checks(machine: &mut Machine) {
    fail_checks(machine);
    machine.checks[0].status = CheckStatus::Passing;
}

/// Something that both depend on is away.
#[test]
fn checks_that_fail_on_the_one_before_as_well_hold_the_release() {
    let mut stage = checked();
    stage.machines.iter_mut().for_each(fail_checks);
    assert!(ends_held(&mut stage, 180));
    stage.machines.iter_mut().for_each(pass_checks);
    stage.pass(30);
    assert_eq!(stage.told(EventKind::HoldCleared).len(), 1);
    // On the release alone it is the release.
    fail_checks(stage.machine("m2"));
    assert!(!ends_held(&mut stage, 60));
}

/// A queue that grows, whichever release looks at it.
#[test]
fn a_gauge_that_is_above_its_bound_on_the_one_before_as_well_holds_the_release() {
    let mut stage = beside();
    let gauge = crate::model::Gauge {
        gauge: crate::model::Selector::metric("waiting"),
        max: 100.0,
        sustain: Duration::from_secs(10),
        quorum: 0.3,
        from: crate::model::Origin::PAGES,
    };
    stage.policy.thresholds = vec![Threshold { kind: ThresholdKind::Gauge(gauge), ..ratio() }];
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.gauges = vec![("m1", 50.0), ("m2", 50.0)];
    stage.pass(30);
    stage.gauges = vec![("m1", 200.0), ("m2", 200.0)];
    assert!(ends_held(&mut stage, 60));
    stage.gauges = vec![("m1", 50.0), ("m2", 200.0)];
    assert!(!ends_held(&mut stage, 60), "it is the release's own");
}
