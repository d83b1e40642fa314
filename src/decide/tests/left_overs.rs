//! An image that was rolled back and serves on because something newer did not reach every machine.

use super::{
    stage::{Stage, put},
    *,
};
use crate::model::{MachineId, ReleaseStatus};

/// v2 was being undone when somebody's v4 came, which is on m1 alone so far.
fn left_over(status: ReleaseStatus) -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.announce(4, "sha256:4");
    set_status(&mut stage, status);
    let now = at(stage.second);
    put(stage.machine("m1"), 4, "sha256:4", now);
    stage.look();
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1, "{:?}", stage.events);
    stage
}

fn set_status(stage: &mut Stage, status: ReleaseStatus) {
    stage.ledger.as_mut().unwrap()[0].status = status;
}

/// The releases that were watched, by their number, since the stage was set.
fn watched(stage: &Stage) -> Vec<u64> {
    let detected = stage.told(EventKind::ReleaseDetected);
    let numbers = detected.iter().filter_map(|event| event.release.as_ref()?.version);
    numbers.map(|version| version.0).collect()
}

#[test]
fn when_nobody_deploys_any_more_it_is_watched_anew() {
    let mut stage = left_over(ReleaseStatus::Complete);
    stage.pass(28);
    assert_eq!(watched(&stage), [1, 2, 4]);
    stage.pass(6);
    assert_eq!(watched(&stage), [1, 2, 4, 2]);
    let again = stage.told(EventKind::ReleaseDetected)[3];
    assert_eq!(again.reason, Some(Reason::RolledBackBefore));
}

#[test]
fn while_somebody_deploys_it_is_told_once_and_left() {
    let mut stage = left_over(ReleaseStatus::Running);
    stage.pass(36);
    assert_eq!(stage.told(EventKind::ImageMixed), Vec::<&Event>::new());
    stage.pass(600);
    let told = stage.told(EventKind::ImageMixed);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, Some(Reason::QuarantinedServes { machines: vec!["m2".into()] }));
    assert_eq!(watched(&stage), [1, 2, 4]);
    // A client that was killed leaves its entry running for ever.
    stage.pass(400);
    assert_eq!(watched(&stage), [1, 2, 4, 2]);
}

#[test]
fn a_deploy_that_goes_on_machine_by_machine_is_waited_for() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3", "m4"]);
    stage.announce(4, "sha256:4");
    for id in ["m1", "m2", "m3", "m4"] {
        let now = at(stage.second);
        put(stage.machine(id), 4, "sha256:4", now);
        stage.pass(24);
    }
    stage.pass(60);
    assert_eq!(watched(&stage), [1, 2, 4]);
}

#[test]
fn what_rests_serves_nobody() {
    let mut stage = left_over(ReleaseStatus::Complete);
    stage.machine("m2").state = MachineState::Stopped;
    stage.pass(120);
    assert_eq!(watched(&stage), [1, 2, 4]);
}

/// One that is put right in time is nobody's concern, and a later one is waited for anew.
#[test]
fn what_went_away_is_forgotten() {
    let mut stage = left_over(ReleaseStatus::Complete);
    stage.pass(20);
    let left = stage.machine("m2").clone();
    let now = at(stage.second);
    put(stage.machine("m2"), 4, "sha256:4", now);
    stage.pass(4);
    *stage.machine("m2") = left;
    stage.pass(20);
    assert_eq!(watched(&stage), [1, 2, 4]);
}

/// v2 was being undone when somebody set secrets (v4), which reached m1 alone: the same image under
/// two numbers, of which one is watched.
fn stamped_in_part(status: ReleaseStatus) -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.policy.mode = Mode::Observe;
    stage.announce(4, "sha256:2");
    set_status(&mut stage, status);
    let now = at(stage.second);
    put(stage.machine("m1"), 4, "sha256:2", now);
    stage.look();
    assert_eq!(watched(&stage), [1, 2, 4], "{:?}", stage.events);
    stage
}

fn looked_at(stage: &Stage) -> Vec<&str> {
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    watch.machines.keys().map(MachineId::as_str).collect()
}

#[test]
fn the_same_image_under_an_old_number_is_told_while_its_new_one_is_deployed() {
    let mut stage = stamped_in_part(ReleaseStatus::Running);
    stage.pass(36);
    assert_eq!(stage.told(EventKind::ImageMixed), Vec::<&Event>::new());
    stage.pass(6);
    let told = stage.told(EventKind::ImageMixed);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, Some(Reason::QuarantinedServes { machines: vec!["m2".into()] }));
    assert_eq!(
        looked_at(&stage),
        ["m1"],
        "a deploy that may change its configuration is waited for"
    );
}

#[test]
fn the_same_image_under_an_old_number_is_watched_with_its_new_one_when_nobody_deploys() {
    let mut stage = stamped_in_part(ReleaseStatus::Complete);
    stage.pass(40);
    assert_eq!(looked_at(&stage), ["m1", "m2"]);
    assert_eq!(watched(&stage), [1, 2, 4], "one watch goes on");
}

/// What the platform went back on, say: it was not among those that were told.
#[test]
fn one_that_serves_it_later_is_told_too() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3"]);
    stage.announce(4, "sha256:4");
    set_status(&mut stage, ReleaseStatus::Running);
    let before = stage.machine("m3").clone();
    for id in ["m1", "m3"] {
        let now = at(stage.second);
        put(stage.machine(id), 4, "sha256:4", now);
    }
    stage.pass(60);
    *stage.machine("m3") = before;
    stage.pass(60);
    let told = stage.told(EventKind::ImageMixed);
    let reasons: Vec<_> = told.iter().filter_map(|event| event.reason.clone()).collect();
    let serves = |ids: &[&str]| Reason::QuarantinedServes {
        machines: ids.iter().map(|id| MachineId::from(*id)).collect(),
    };
    assert_eq!(reasons, [serves(&["m2"]), serves(&["m2", "m3"])]);
}
