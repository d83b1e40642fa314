//! A machine that cannot be put right: the others do not wait for it, and it is tried again for as
//! long as it serves the bad image.

use super::{
    stage::{Stage, fail_checks, ratio},
    *,
};
use crate::model::{MachineFailure, MachineReport, Region};

fn completed(stage: &Stage) -> usize {
    stage.told(EventKind::RollbackCompleted).len()
}

fn confirmed(stage: &Stage) -> usize {
    stage.told(EventKind::RollbackRegionConfirmed).len()
}

/// How often a machine was ordered.
fn times(ordered: &[(i64, String)], id: &str) -> usize {
    ordered.iter().filter(|(_, machine)| machine == id).count()
}

/// Half of the requests fail in fra, m2 and m3, and iad, m1, is well; the policy leaves it so.
fn limited() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    for id in ["m2", "m3"] {
        stage.machine(id).region = Region::new("fra");
    }
    stage.policy.thresholds = vec![ratio()];
    stage.policy.rollback.only_breaching_regions = true;
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 50.0), ("m3", 100.0, 50.0)];
    stage.begin();
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0), ("m3", 100.0, 0.0)];
    stage
}

#[test]
fn a_region_is_confirmed_without_a_machine_that_was_given_up() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.work(200, &["m2"]);
    assert_eq!(confirmed(&stage), 1, "{:?}", stage.events);
    assert_eq!(completed(&stage), 0, "m2 serves the bad image");
}

#[test]
fn one_that_was_given_up_is_tried_again_when_all_else_is_done() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.work(200, &["m2"]);
    assert_eq!(confirmed(&stage), 1);
    let ordered = stage.work(180, &["m2"]);
    assert!((3..=6).contains(&times(&ordered, "m2")), "{ordered:?}");
    stage.work(70, &[]);
    assert_eq!(completed(&stage), 1, "{:?}", stage.rollback().regions);
    assert_eq!(confirmed(&stage), 1, "the region was confirmed without it");
}

/// Nobody is served by it: people are told of it, and the rollback is over.
#[test]
fn one_that_rests_keeps_no_rollback_open() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.machine("m2").state = MachineState::Stopped;
    fail_checks(stage.machine("m1"));
    stage.begin();
    stage.work(200, &["m2"]);
    assert_eq!(completed(&stage), 1, "{:?}", stage.rollback().regions);
    let left = stage.told(EventKind::RollbackCompleted)[0].reason.clone();
    let failure = MachineFailure::Refused { detail: "no".to_owned() };
    let Some(Reason::LeftBehind { machines }) = left else { panic!("{left:?}") };
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].state, MachineReport::Failed { failure });
}

#[test]
fn a_region_that_the_policy_leaves_alone_is_never_touched_and_keeps_nothing_open() {
    let mut stage = limited();
    let ordered = stage.work(200, &[]);
    assert_eq!((times(&ordered, "m1"), times(&ordered, "m2")), (0, 1));
    assert_eq!(completed(&stage), 1, "{:?}", stage.rollback().regions);
    let left = stage.told(EventKind::RollbackCompleted)[0].reason.clone();
    let Some(Reason::LeftBehind { machines }) = left else { panic!("{left:?}") };
    assert_eq!(machines[0].state, MachineReport::RegionLeftAlone);
    let reports = rollback::report(stage.rollback());
    let iad = reports.iter().find(|report| report.region.as_str() == "iad").unwrap();
    assert_eq!(iad.machines.values().collect::<Vec<_>>(), [&MachineReport::RegionLeftAlone]);
}

#[test]
fn nor_is_it_touched_while_machines_elsewhere_are_tried_again() {
    let mut stage = limited();
    let ordered = stage.work(400, &["m3"]);
    assert_eq!(times(&ordered, "m1"), 0, "{ordered:?}");
    assert!(times(&ordered, "m3") > 5, "{ordered:?}");
    assert_eq!(completed(&stage), 0);
}

/// A region of which nothing came back is given up, and confirmed when a machine does come back.
#[test]
fn a_region_at_rest_that_was_given_up_is_tried_again_while_the_rollback_lasts() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    stage.machine("m3").region = Region::new("fra");
    stage.ship(2, "sha256:2");
    stage.machine("m3").state = MachineState::Stopped;
    for id in ["m1", "m2"] {
        fail_checks(stage.machine(id));
    }
    stage.begin();
    stage.work(300, &["m2", "m3"]);
    let given_up = state::RegionPhase::Skipped(rollback::work::Skip::GivenUp);
    let fra = |stage: &Stage| {
        let work = stage.rollback().regions.iter().find(|work| work.region.as_str() == "fra");
        work.unwrap().phase.clone()
    };
    assert_eq!(fra(&stage), given_up);
    let ordered = stage.work(70, &["m2"]);
    assert_eq!(times(&ordered, "m3"), 1, "{ordered:?}");
    assert_eq!(fra(&stage), state::RegionPhase::Confirmed);
}
