//! What a region has to show on the known-good image, and for how long.

use super::{
    stage::{Stage, put, ratio},
    *,
};
use crate::model::HostStatus;

fn confirmed(stage: &Stage) -> usize {
    stage.told(EventKind::RollbackRegionConfirmed).len()
}

/// A release that failed its checks, whose two machines were just put right.
fn put_right() -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    while stage.rollback().regions.iter().any(|work| work.machines.len() < 2)
        || !stage.rollback().regions[0].machines.values().all(state::MachineWork::is_on_target)
    {
        stage.look();
        stage.put_right_now();
    }
    stage.look();
    stage
}

/// Checks that pass are no proof that nothing ends a minute later: without requests the whole time
/// is used.
#[test]
fn without_requests_a_region_is_watched_for_the_whole_time() {
    let mut stage = put_right();
    stage.pass(24);
    assert_eq!(confirmed(&stage), 0);
    stage.pass(8);
    assert_eq!(confirmed(&stage), 1);
}

/// A machine that comes back with the bad image in the last seconds is watched as long as the others.
#[test]
fn a_region_that_is_worked_on_again_is_watched_anew() {
    let mut stage = put_right();
    stage.pass(20);
    let mut clone = machine(2, "sha256:2");
    clone.id = "m3".into();
    clone.instance = "m3-1".into();
    stage.machines.push(clone);
    stage.look();
    stage.put_right_now();
    stage.look();
    stage.put_right_now();
    stage.pass(20);
    assert_eq!(confirmed(&stage), 0, "{:?}", stage.rollback().regions);
    stage.pass(14);
    assert_eq!(confirmed(&stage), 1);
}

/// Nothing of v2 works anywhere. The first machine that is back proves that it is the release; while
/// another one of its region takes its time, the other region fails on for a reason of its own.
#[test]
fn once_a_total_outage_is_proven_to_be_the_release_one_region_stops_no_other() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    stage.machine("m3").region = crate::model::Region::new("syd");
    stage.policy.rollback.escalate = true;
    stage.policy.thresholds.push(ratio());
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 100.0, 100.0), ("m2", 100.0, 100.0), ("m3", 100.0, 100.0)];
    while !matches!(stage.state.phase, Phase::RollingBack(_)) {
        stage.look();
    }
    assert!(stage.rollback().escalated);
    stage.serves = vec![("m1", 100.0, 0.0), ("m3", 100.0, 100.0)];
    for _ in 0..60 {
        stage.look();
        stage.put_right_but("m2");
    }
    assert!(stage.rollback().proven);
    assert_eq!(confirmed(&stage), 0, "m2 is not back");
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)), "{:?}", stage.events);
    stage.put_right_now();
    stage.pass(60);
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 0);
}

/// The list is behind, and shows on the known-good image only the one whose host does not answer.
#[test]
fn machines_that_a_late_list_does_not_show_are_not_lost() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    stage.policy.thresholds.push(ratio());
    stage.machine("m3").host = HostStatus::Unreachable;
    stage.announce(2, "sha256:2");
    let now = at(stage.second);
    for id in ["m1", "m2"] {
        put(stage.machine(id), 2, "sha256:2", now);
    }
    stage.serves = vec![("m1", 100.0, 50.0), ("m2", 100.0, 50.0)];
    stage.begin();
    stage.look();
    let before = stage.machines.clone();
    while !stage.rollback().regions[0].machines.values().all(state::MachineWork::is_on_target) {
        stage.look();
        stage.put_right_now();
    }
    stage.machines = before;
    stage.serves = Vec::new();
    stage.pass(33);
    let phase = &stage.rollback().regions[0].phase;
    assert!(matches!(phase, state::RegionPhase::Confirming(_)), "{phase:?}");
    // But when the list has caught up, and none of their hosts answers, others prove it
    for id in ["m1", "m2"] {
        let now = at(stage.second);
        put(stage.machine(id), 3, "sha256:1", now);
        stage.machine(id).host = HostStatus::Unreachable;
    }
    stage.pass(40);
    let phase = &stage.rollback().regions[0].phase;
    assert_eq!(*phase, state::RegionPhase::Skipped(rollback::work::Skip::Unreachable));
}
