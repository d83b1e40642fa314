//! What the lists show of machines while a release is undone, and what follows for each.

use super::{
    stage::{Stage, fail_checks, put, put_on, puts},
    *,
};
use crate::model::{MachineFailure, MachineId, MachineReport, Region, ReleaseStatus};
use state::{MachinePhase, RegionPhase};

fn phase<'a>(stage: &'a Stage, id: &str) -> &'a MachinePhase {
    &stage.rollback().machine(&MachineId::new(id)).expect("it is in the work list").phase
}

fn report(stage: &Stage, id: &str) -> MachineReport {
    let reports = rollback::report(stage.rollback());
    reports.iter().find_map(|region| region.machines.get(&MachineId::new(id))).unwrap().clone()
}

fn region<'a>(stage: &'a Stage, name: &str) -> &'a RegionPhase {
    let regions = &stage.rollback().regions;
    &regions.iter().find(|work| work.region.as_str() == name).expect("it is undone").phase
}

fn lost() -> Outcome {
    Outcome::Put(PutOutcome::Unavailable { reason: "no answer".to_owned() })
}

fn leased() -> Outcome {
    let owner = "ci@example.com".to_owned();
    Outcome::Put(PutOutcome::LeaseHeld { owner, description: String::new() })
}

/// A clone of v2, which an autoscaler made.
fn clone(stage: &mut Stage, id: &str, region: &str) {
    let mut clone = stage.machine("m1").clone();
    clone.id = id.into();
    clone.region = region.into();
    put(&mut clone, 2, "sha256:2", at(stage.second));
    stage.machines.push(clone);
}

/// v2 fails on m1 in iad and f1 in fra; what else there is, `change` says.
fn in_two_regions(change: impl FnOnce(&mut Stage)) -> Stage {
    let mut stage = Stage::trusted(&["f1", "m1"]);
    stage.machine("f1").region = "fra".into();
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    change(&mut stage);
    stage.begin();
    stage
}

#[test]
fn what_nobody_has_put_the_release_on_is_not_touched() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.machine("m2").region = "ams".into();
    stage.announce(2, "sha256:2");
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    fail_checks(stage.machine("m1"));
    stage.begin();
    stage.undo();
    assert!(stage.rollback().machine(&"m2".into()).is_none());
    let regions = &stage.rollback().regions;
    assert_eq!(regions.iter().map(|work| work.region.as_str()).collect::<Vec<_>>(), ["iad"]);
}

/// In its own region, too.
#[test]
fn nor_is_its_neighbour_that_the_release_has_not_reached() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    fail_checks(stage.machine("m1"));
    stage.begin();
    assert_eq!(put_on(&stage.look()), ["m1"]);
    assert!(stage.rollback().machine(&"m2".into()).is_none());
}

#[test]
fn somebody_who_was_faster_left_nothing_to_undo() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    let now = at(stage.second);
    for id in ["m1", "m2"] {
        put(stage.machine(id), 2, "sha256:1", now);
    }
    stage.look();
    assert_eq!(stage.state.phase, Phase::Steady);
    let stopped = stage.told(EventKind::RollbackStopped);
    assert_eq!(stopped.len(), 1);
    assert_eq!(stopped[0].reason, Some(Reason::NothingLeft));
    assert!(stage.told(EventKind::RollbackCompleted).is_empty());
    assert_eq!(stage.state.memory.current.as_ref().unwrap().digest, Digest::new("sha256:1"));
}

#[test]
fn a_machine_that_comes_up_in_another_region_is_put_right_there() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.look();
    clone(&mut stage, "a1", "ams");
    stage.look();
    assert_eq!(*phase(&stage, "a1"), MachinePhase::Todo);
    stage.undo();
    let regions = &stage.rollback().regions;
    assert_eq!(regions.iter().map(|work| work.region.as_str()).collect::<Vec<_>>(), ["iad", "ams"]);
    assert_eq!(*phase(&stage, "a1"), MachinePhase::OnTarget);
}

/// A region with new work waits for its turn again, and is confirmed anew.
#[test]
fn a_region_that_was_confirmed_is_confirmed_again_when_a_machine_comes_back_in_it() {
    let mut stage = in_two_regions(|_| {});
    stage.look();
    stage.put_back("f1");
    while stage.pending(puts("m1")).is_none() {
        stage.look();
    }
    assert_eq!(*region(&stage, "fra"), RegionPhase::Confirmed);
    clone(&mut stage, "f9", "fra");
    stage.look();
    assert_ne!(*region(&stage, "fra"), RegionPhase::Confirmed);
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackRegionConfirmed).len(), 3);
}

#[test]
fn after_a_rollback_no_region_is_reopened() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    clone(&mut stage, "m9", "iad");
    assert_eq!(put_on(&stage.look()), ["m9"]);
    assert_eq!(*region(&stage, "iad"), RegionPhase::Confirmed);
}

/// What was begun goes before what revived meanwhile.
#[test]
fn a_region_whose_hosts_come_back_waits_for_the_one_that_is_under_way() {
    let mut stage = in_two_regions(|stage| stage.machine("f1").host = HostStatus::Unreachable);
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
    let unreachable = RegionPhase::Skipped(rollback::work::Skip::Unreachable);
    assert_eq!(*region(&stage, "fra"), unreachable);
    stage.machine("f1").host = HostStatus::Ok;
    stage.put_back("m1");
    assert_eq!(put_on(&stage.pass(28)), [""; 0]);
    assert_eq!(put_on(&stage.pass(6)), ["f1"]);
}

#[test]
fn one_whose_host_is_gone_is_not_ordered_until_it_is_back() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    stage.machine("m2").host = HostStatus::Unreachable;
    stage.look();
    assert_eq!(put_on(&stage.put_back("m1")), [""; 0]);
    assert_eq!(report(&stage, "m2"), MachineReport::HostUnreachable);
    stage.machine("m2").host = HostStatus::Ok;
    assert_eq!(put_on(&stage.look()), ["m2"]);
}

/// Somebody tries another image on it, and goes back to the bad one.
#[test]
fn one_that_comes_back_from_another_image_is_put_right() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    let now = at(stage.second);
    put(stage.machine("m2"), 2, "sha256:9", now);
    stage.look();
    assert_eq!(put_on(&stage.put_back("m1")), [""; 0]);
    put(stage.machine("m2"), 2, "sha256:2", now);
    assert_eq!(put_on(&stage.look()), ["m2"]);
}

/// A list may show for half a minute what a machine ran before.
#[test]
fn what_a_list_shows_of_a_machine_that_was_just_put_right_may_be_old() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.look();
    let before = stage.machine("m1").clone();
    stage.put_back("m1");
    *stage.machine("m1") = before;
    assert_eq!(put_on(&stage.pass(34)), [""; 0]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
}

/// The platform goes back to what it ran before, and after the fifth time it is given up.
#[test]
fn one_that_goes_back_by_itself_five_times_is_given_up() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    for time in 1..=5 {
        stage.second += 40;
        let now = at(stage.second);
        let verified = stage.rollback().machine(&"m1".into()).unwrap().verified.clone().unwrap();
        put(stage.machine("m1"), 2, "sha256:2", now);
        stage.machine("m1").instance = verified.replaced.unwrap();
        stage.look();
        let given_up = stage.rollback().machine(&"m1".into()).unwrap().given_up.clone();
        let want = (time == 5).then_some(MachineFailure::GoesBack);
        assert_eq!(given_up, want, "{time}");
        stage.put_right_now();
    }
}

#[test]
fn one_that_no_list_has_for_a_minute_is_gone_if_its_neighbours_are_listed() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    stage.put_back("m1");
    stage.look();
    let m1 = stage.machines.remove(0);
    stage.pass(60);
    assert_eq!(*phase(&stage, "m1"), MachinePhase::OnTarget);
    stage.look();
    assert_eq!(*phase(&stage, "m1"), MachinePhase::Gone);
    // One that is still to be put right is asked for by its own id.
    stage.answer(puts("m2"), leased());
    stage.machines = vec![m1];
    stage.pass(120);
    assert_ne!(*phase(&stage, "m2"), MachinePhase::Gone);
}

#[test]
fn a_region_that_no_list_has_is_not_gone() {
    let mut stage = in_two_regions(|_| {});
    stage.look();
    stage.put_back("f1");
    stage.look();
    stage.machines.remove(0);
    stage.pass(120);
    assert_eq!(*phase(&stage, "f1"), MachinePhase::OnTarget);
}

#[test]
fn a_region_that_is_not_listed_from_the_beginning_is_waited_for_a_minute() {
    let mut stage = in_two_regions(|_| {});
    let f1 = stage.machines.remove(0);
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    let (unlisted, mine) = (Region::new("fra"), stage.told(EventKind::RollbackPaused));
    let wait = crate::model::Wait::Unlisted { region: unlisted };
    assert_eq!(mine[0].reason, Some(Reason::Waits { wait }));
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
    let nothing = RegionPhase::Skipped(rollback::work::Skip::NothingHere);
    assert_eq!(*region(&stage, "fra"), nothing);
    stage.machines.insert(0, f1);
    stage.undo();
    assert_eq!(*phase(&stage, "f1"), MachinePhase::OnTarget);
}

/// A machine that is verified tells by itself that its region is there.
#[test]
fn a_region_is_confirmed_from_when_its_last_machine_is_back_even_if_it_is_not_listed() {
    let mut stage = in_two_regions(|_| {});
    stage.look();
    stage.put_back("f1");
    stage.machines.remove(0);
    stage.look();
    assert!(matches!(region(&stage, "fra"), RegionPhase::Confirming(_)));
}

/// flyctl's own gate has to see the truth of its canary.
#[test]
fn a_canary_is_left_to_its_deploy_until_that_is_over() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    stage.machine("m1").metadata.insert("fly_canary".to_owned(), "true".to_owned());
    stage.machines.iter_mut().for_each(fail_checks);
    stage.begin();
    assert_eq!(put_on(&stage.look()), ["m2"]);
    stage.put_back("m2");
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    let by = Some("zoe@example.com".to_owned());
    assert_eq!(report(&stage, "m1"), MachineReport::OfDeploy { by });
    stage.ledger.as_mut().unwrap()[1].status = ReleaseStatus::Failed;
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Failed;
    assert_eq!(put_on(&stage.look()), ["m1"]);
}

#[test]
fn the_reports_say_who_is_waited_for_and_what_rests() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.machine("m1").state = MachineState::Stopped;
    fail_checks(stage.machine("m2"));
    stage.begin();
    assert_eq!(put_on(&stage.look()), ["m1", "m2"]);
    stage.answer(puts("m2"), leased());
    stage.put_back("m1");
    assert_eq!(report(&stage, "m1"), MachineReport::OnTarget { at_rest: true });
    let owner = "ci@example.com".to_owned();
    assert_eq!(report(&stage, "m2"), MachineReport::LeasedBy { owner });
    stage.look();
    stage.put_back("m2");
    assert_eq!(report(&stage, "m2"), MachineReport::OnTarget { at_rest: false });
}

/// It was changed after it was planned: the version that counts is the one that was ordered.
#[test]
fn the_version_that_was_ordered_is_the_one_that_an_old_list_shows() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    stage.answer(puts("m1"), leased());
    stage.answer(puts("m2"), leased());
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.machine("m1").instance = "m1-again".into();
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.answer(puts("m1"), lost());
    // Up, as it was: the list may be old, and m1 keeps its place.
    for _ in 0..10 {
        let ordered = stage.look();
        assert!(!put_on(&ordered).contains(&"m2"), "{} s", stage.second);
        if stage.pending(puts("m1")).is_some() {
            stage.answer(puts("m1"), leased());
        }
    }
}

/// What came of the commands of an earlier rollback says nothing of this one.
#[test]
fn an_outcome_of_another_rollback_is_nobody_s() {
    for over in [false, true] {
        let mut stage = Stage::rolling_back(&["m1"]);
        stage.look();
        let command = stage.pending(puts("m1")).unwrap();
        let Command::PutImage(mut old) = stage.state.memory.pending[&command].clone() else {
            panic!()
        };
        if over {
            stage.undo();
        }
        old.rollback = "api-v1-1".to_owned();
        stage.state.memory.pending.clear();
        stage.state.memory.pending.insert(999, Command::PutImage(old));
        let before = stage.state.phase.clone();
        stage.answer(puts("m1"), lost());
        assert_eq!(stage.state.phase, before);
    }
}
