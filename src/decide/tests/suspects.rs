//! A machine that fails alone is told of, and nothing is undone for it.

use super::{
    stage::{Stage, fail_checks, ratio},
    *,
};
use crate::model::{Ailment, CheckStatus, ExitEvent, Trouble};

const ALL: [&str; 3] = ["m1", "m2", "m3"];

fn serves(stage: &mut Stage, third: f64) {
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0), ("m3", 100.0, third)];
}

fn settled() -> Stage {
    let mut stage = Stage::trusted(&ALL);
    stage.policy.thresholds = vec![ratio()];
    serves(&mut stage, 0.0);
    stage.ship(2, "sha256:2");
    stage.pass(30);
    stage
}

#[test]
fn a_machine_that_fails_alone_is_named_once_and_nothing_is_undone() {
    let mut stage = settled();
    serves(&mut stage, 30.0);
    stage.pass(180);
    let told = stage.told(EventKind::MachineSuspect);
    assert_eq!(told.len(), 1);
    let Some(Reason::FailsAlone { threshold, alone }) = &told[0].reason else { panic!("{told:?}") };
    assert_eq!((threshold.as_str(), alone.machine.as_str()), ("5xx", "m3"));
    assert_eq!(stage.told(EventKind::ReleaseDegraded), Vec::<&Event>::new());
    assert_eq!(
        stage.told(EventKind::ReleaseTrusted).last().unwrap().release.as_ref().unwrap().label(),
        "v2"
    );
    // It is well again, and then it is not.
    serves(&mut stage, 0.0);
    stage.pass(60);
    serves(&mut stage, 30.0);
    stage.pass(120);
    assert_eq!(stage.told(EventKind::MachineSuspect).len(), 2);
}

#[test]
fn a_release_that_fails_everywhere_names_no_machine() {
    let mut stage = settled();
    stage.serves = ALL.map(|id| (id, 100.0, 30.0)).to_vec();
    stage.begin();
    assert_eq!(stage.told(EventKind::MachineSuspect).len(), 0);
}

/// Too few requests to tell, at first: what was taken for the release's is called off.
#[test]
fn a_countdown_ends_when_it_turns_out_to_be_one_machine() {
    let mut stage = Stage::trusted(&ALL);
    stage.policy.thresholds = vec![ratio()];
    let few = |third| vec![("m1", 0.1, 0.0), ("m2", 0.1, 0.0), ("m3", 100.0, third)];
    stage.serves = few(0.0);
    stage.ship(2, "sha256:2");
    stage.pass(30);
    stage.serves = few(30.0);
    while stage.told(EventKind::RollbackPlanned).is_empty() {
        stage.look();
    }
    serves(&mut stage, 30.0);
    stage.pass(40);
    let ended = stage.told(EventKind::RollbackStopped);
    assert!(matches!(ended[0].reason, Some(Reason::FailsAlone { .. })), "{ended:?}");
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
}

/// v2 runs on three machines of one region, and a fourth elsewhere; their checks pass.
fn checked() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2", "m3", "m4"]);
    stage.policy.watch.bake = Duration::from_secs(600);
    stage.machine("m4").region = "lhr".into();
    stage.ship(2, "sha256:2");
    for id in ["m1", "m2", "m3", "m4"] {
        check(stage.machine(id), CheckStatus::Passing);
    }
    stage.pass(30);
    stage
}

fn check(machine: &mut Machine, status: CheckStatus) {
    fail_checks(machine);
    for check in &mut machine.checks {
        check.status = status;
        check.changed_at = machine.started_at;
    }
}

/// The process of a machine ended by itself so often.
fn exit(stage: &mut Stage, id: &str, times: i64, oom_killed: bool) {
    let now = stage.second;
    let machine = stage.machine(id);
    let exit = |before: i64| ExitEvent {
        at: at(now - before),
        exit_code: 1,
        oom_killed,
        requested_stop: false,
        started_at: machine.started_at,
    };
    machine.exits = (0..times).map(exit).collect();
}

#[test]
fn a_machine_of_which_alone_the_checks_fail_is_named_and_nothing_is_undone() {
    let mut stage = checked();
    check(stage.machine("m3"), CheckStatus::Critical);
    stage.pass(120);
    let told = stage.told(EventKind::MachineSuspect);
    let Some(Reason::FailsAlone { alone, .. }) = &told[0].reason else { panic!("{told:?}") };
    assert_eq!((told.len(), alone.machine.as_str(), alone.beside), (1, "m3", 3.0));
    assert!(matches!(alone.ailment, Ailment::Checks(Trouble::Failing { times: 3, .. })));
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 0);
    // A second one is the release's.
    check(stage.machine("m2"), CheckStatus::Critical);
    stage.pass(60);
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1);
}

#[test]
fn a_machine_whose_process_alone_ends_is_named_and_memory_is_the_releases() {
    let crashes = ThresholdKind::Crashes(crate::model::Crashes { exits: 2, oom: 1, failing: 0.25 });
    for (oom, degraded) in [(false, 0), (true, 1)] {
        let mut stage = checked();
        stage.policy.thresholds[0].kind = crashes.clone();
        stage.pass(10);
        exit(&mut stage, "m3", 2, oom);
        stage.pass(60);
        assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), degraded, "{oom}");
        assert_eq!(stage.told(EventKind::MachineSuspect).len(), 1 - degraded, "{oom}");
    }
}

#[test]
fn without_two_equals_that_are_well_one_of_them_near_it_is_the_releases() {
    // the only one of its region
    let mut far = checked();
    far.policy.thresholds[0].kind =
        ThresholdKind::Checks(crate::model::Checks { failing: 0.1, consecutive: 3 });
    check(far.machine("m4"), CheckStatus::Critical);
    far.pass(60);
    assert_eq!(far.told(EventKind::ReleaseDegraded).len(), 1);
    // the others are of other groups
    let mut mixed = checked();
    mixed.policy.thresholds[0].kind =
        ThresholdKind::Checks(crate::model::Checks { failing: 0.1, consecutive: 3 });
    for id in ["m1", "m2"] {
        mixed.machine(id).group = "worker".into();
    }
    mixed.pass(4);
    check(mixed.machine("m3"), CheckStatus::Critical);
    mixed.pass(60);
    assert_eq!(mixed.told(EventKind::ReleaseDegraded).len(), 1);
}
