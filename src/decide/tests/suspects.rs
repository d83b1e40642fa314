//! A machine that fails alone is told of, and nothing is undone for it.

use super::{
    stage::{Stage, ratio},
    *,
};

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
