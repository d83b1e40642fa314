//! What came of an attempt at a machine: what passes is waited for, what does not work out is tried
//! ever more seldom, and nothing is complete while it serves the bad image.

use super::{
    stage::{Stage, put, put_on, puts},
    *,
};
use crate::model::{MachineFailure, MachineId, MachineReport, Wait};

fn refused() -> PutOutcome {
    PutOutcome::Refused { reason: "no".to_owned() }
}

/// When the machine is ordered in so many seconds if each attempt comes to this.
fn ordered_at(stage: &mut Stage, outcome: &PutOutcome, seconds: i64) -> Vec<i64> {
    let began = stage.second;
    let mut times = Vec::new();
    while stage.second < began + seconds {
        stage.look();
        if stage.pending(puts("m1")).is_some() {
            times.push(stage.second - began);
            stage.answer(puts("m1"), Outcome::Put(outcome.clone()));
        }
    }
    times
}

fn gaps(times: &[i64]) -> Vec<i64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn what_does_not_work_out_is_tried_ever_more_seldom_and_told_once() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let times = ordered_at(&mut stage, &refused(), 900);
    let gaps = gaps(&times);
    // After 3, 6, 9 … seconds, with a look every two; at last once a minute, but for the one time
    // when it has to show its breach again.
    assert_eq!(gaps[..5], [4, 6, 10, 12, 16]);
    assert!(gaps.iter().all(|gap| *gap <= 64), "{gaps:?}");
    assert_eq!(gaps[gaps.len() - 3..], [60, 60, 60]);
    let pages = stage.told(EventKind::RollbackFailed);
    assert_eq!(pages.len(), 1, "{pages:?}");
    let failure = MachineFailure::Refused { detail: "no".to_owned() };
    let (machine, region) = ("m1".into(), "iad".into());
    assert_eq!(pages[0].reason, Some(Reason::MachineFailed { machine, region, failure }));
    assert!(stage.told(EventKind::RollbackCompleted).is_empty(), "it serves the bad image");
    assert!(stage.told(EventKind::RollbackRegionConfirmed).is_empty());
    // And when it works at last it is confirmed like any other.
    stage.pass(60);
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackRegionConfirmed).len(), 1);
}

#[test]
fn a_machine_is_given_up_after_five_attempts() {
    let mut stage = Stage::rolling_back(&["m1"]);
    for attempt in 1..=5 {
        while stage.pending(puts("m1")).is_none() {
            stage.look();
        }
        assert!(stage.told(EventKind::RollbackFailed).is_empty(), "{attempt}");
        stage.answer(puts("m1"), Outcome::Put(refused()));
    }
    assert_eq!(stage.told(EventKind::RollbackFailed).len(), 1);
}

/// Passing causes are no attempts: none of them is given up.
#[test]
fn what_passes_is_waited_for_and_named() {
    let text = || "why".to_owned();
    let since = at(0);
    let lease = PutOutcome::LeaseHeld { owner: text(), description: String::new() };
    let announced = PutOutcome::Announced { version: ReleaseVersion(9), by: None };
    for (outcome, every, wait) in [
        (lease, 2, Wait::Lease { machine: "m1".into(), owner: text() }),
        (announced, 6, Wait::Announced { version: ReleaseVersion(9) }),
        (PutOutcome::Denied { reason: text() }, 6, Wait::Denied { detail: text() }),
        (PutOutcome::Unreadable { reason: text() }, 6, Wait::Unreadable { detail: text() }),
        (PutOutcome::Unavailable { reason: text() }, 6, Wait::Unanswered { detail: text() }),
        (
            PutOutcome::NotReadyYet { state: text(), since },
            6,
            Wait::NotReady { machine: "m1".into(), state: text() },
        ),
    ] {
        let mut stage = Stage::rolling_back(&["m1"]);
        let times = ordered_at(&mut stage, &outcome, 120);
        assert!(gaps(&times).iter().all(|gap| *gap == every), "{outcome:?}: {times:?}");
        let told = stage.told(EventKind::RollbackPaused);
        assert_eq!(told.len(), 1, "{outcome:?}");
        assert_eq!(told[0].reason, Some(Reason::Waits { wait }));
        assert!(stage.told(EventKind::RollbackFailed).is_empty());
    }
}

#[test]
fn a_machine_that_is_not_found_is_gone_when_no_list_has_it() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    // It is listed: it may be found yet.
    stage.answer(puts("m1"), Outcome::Put(PutOutcome::Gone));
    assert!(stage.rollback().machine(&"m1".into()).unwrap().is_open());
    stage.machines.remove(0);
    let began = stage.second;
    let is_gone = |stage: &Stage| {
        stage.rollback().machine(&"m1".into()).unwrap().phase == state::MachinePhase::Gone
    };
    while !is_gone(&stage) && stage.second < began + 60 {
        stage.look();
        if stage.pending(puts("m2")).is_some() {
            let (owner, description) = ("ci@example.com".to_owned(), String::new());
            stage.answer(puts("m2"), Outcome::Put(PutOutcome::LeaseHeld { owner, description }));
            stage.look_at_once();
        }
        if stage.pending(puts("m1")).is_some() {
            stage.answer(puts("m1"), Outcome::Put(PutOutcome::Gone));
        }
    }
    let after = stage.second - began;
    assert!((10..20).contains(&after), "after {after} s");
}

/// The only machine's host does not answer: nothing is confirmed, and it is put right when it does.
#[test]
fn a_machine_that_cannot_be_reached_is_put_right_when_it_can() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.look();
    let status = "unreachable".to_owned();
    stage.machine("m1").host = HostStatus::Unreachable;
    stage.answer(puts("m1"), Outcome::Put(PutOutcome::HostDown { status }));
    assert_eq!(put_on(&stage.pass(600)), [""; 0]);
    assert!(stage.told(EventKind::RollbackRegionConfirmed).is_empty());
    let reports = rollback::report(stage.rollback());
    let report = &reports[0].machines[&MachineId::new("m1")];
    assert_eq!(*report, MachineReport::HostUnreachable);
    stage.machine("m1").host = HostStatus::Ok;
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
}

#[test]
fn what_somebody_put_on_a_machine_is_left() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    let digest = Some(Digest::new("sha256:9"));
    let answer = Outcome::Put(PutOutcome::OtherImage { digest });
    assert_eq!(put_on(&stage.answer(puts("m1"), answer)), ["m2"]);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:9", now);
    stage.undo();
    assert_eq!(put_on(&stage.pass(300)), [""; 0]);
    let completed = stage.told(EventKind::RollbackCompleted);
    let Some(Reason::LeftBehind { machines }) = &completed[0].reason else {
        panic!("{:?}", completed[0].reason)
    };
    assert_eq!(machines[0].machine.as_str(), "m1");
}

/// A newer release that a machine was found to carry ends the rollback at once.
#[test]
fn a_newer_release_that_only_the_writer_saw_ends_it() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    let version = ReleaseVersion(9);
    stage.answer(puts("m1"), Outcome::Put(PutOutcome::NewerRelease { version, by: None }));
    assert_eq!(stage.state.phase, Phase::Steady);
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1);
}

/// The platform takes an update back, again and again.
#[test]
fn what_goes_back_by_itself_is_put_right_again_until_it_is_given_up() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.undo();
    let mut orders = 0;
    for _ in 0..8 {
        stage.second += 40;
        let now = at(stage.second);
        let before = stage.rollback().machine(&"m1".into()).unwrap().verified.clone().unwrap();
        put(stage.machine("m1"), 2, "sha256:2", now);
        stage.machine("m1").instance = before.replaced.unwrap();
        stage.look();
        if stage.pending(puts("m1")).is_some() {
            orders += 1;
            stage.put_right_now();
        }
    }
    assert!((4..=8).contains(&orders), "{orders}");
    assert!(!stage.told(EventKind::ImageMixed).is_empty());
}

/// Where it is gone nothing is down any more: its place is another's.
#[test]
fn a_machine_that_is_gone_keeps_no_place() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    let reason = "no answer".to_owned();
    stage.answer(puts("m1"), Outcome::Put(PutOutcome::Unavailable { reason }));
    stage.machines.remove(0);
    assert!(!put_on(&stage.pass(12)).contains(&"m2"));
    stage.answer(puts("m1"), Outcome::Put(PutOutcome::Gone));
    assert_eq!(put_on(&stage.look()), ["m2"]);
}

/// What one machine waits for is told of that machine; those that could not be put right are told
/// together.
#[test]
fn a_region_of_which_nothing_could_be_put_right_waits_and_says_for_what() {
    let mut stage = Stage::rolling_back(&["m1"]);
    ordered_at(&mut stage, &refused(), 120);
    let told = stage.told(EventKind::RollbackPaused).pop().unwrap();
    let failure = MachineFailure::Refused { detail: "no".to_owned() };
    let machines = [(MachineId::new("m1"), failure)].into();
    assert_eq!(told.reason, Some(Reason::Waits { wait: Wait::Failing { machines } }));
}

#[test]
fn the_machines_carry_the_number_of_our_entry_and_the_app_runs_it_then() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let ordered = stage.look();
    let [Command::PutImage(put)] = &ordered[..] else { panic!("{ordered:?}") };
    assert_eq!(put.release, Some(ReleaseVersion(3)));
    assert_eq!(put.release_id.as_deref(), Some("rel_3"));
    stage.undo();
    let current = stage.state.memory.current.as_ref().unwrap();
    assert_eq!(current.version, Some(ReleaseVersion(3)));
    assert_eq!(current.digest, Digest::new("sha256:1"));
}

/// What the newer release does not reach is news, and no other image is for that.
#[test]
fn a_rollback_that_a_newer_release_ended_is_unfinished() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    let other = Quarantined {
        digest: Digest::new("sha256:0"),
        version: None,
        at: at(0),
        unfinished: false,
        image: None,
        groups: std::collections::BTreeSet::new(),
    };
    stage.state.memory.quarantined.push(other);
    stage.look();
    stage.announce(9, "sha256:9");
    let now = at(stage.second);
    put(stage.machine("m1"), 9, "sha256:9", now);
    stage.look();
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1);
    let quarantined = &stage.state.memory.quarantined;
    let unfinished: Vec<_> =
        quarantined.iter().map(|q| (q.digest.as_str(), q.unfinished)).collect();
    assert_eq!(unfinished, [("sha256:2", true), ("sha256:0", false)]);
}
