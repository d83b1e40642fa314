//! How many machines are down because of us follows from what was ordered and from what was seen
//! since.

use super::{
    stage::{Stage, fail_checks, put, put_on, puts},
    *,
};
use crate::model::{HostStatus, Region, machine::Transition};

fn lost() -> Outcome {
    Outcome::Put(PutOutcome::Unavailable { reason: "no answer".to_owned() })
}

fn leased() -> Outcome {
    let owner = "ci@example.com".to_owned();
    Outcome::Put(PutOutcome::LeaseHeld { owner, description: String::new() })
}

fn replacing(stage: &mut Stage, id: &str) {
    stage.machine(id).state = MachineState::Transient(Transition::Replacing);
}

/// m1 was ordered, nobody knows whether it was written to, and it is leased by somebody now: m2 may
/// go first, if there is a place.
fn lost_and_leased() -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.answer(puts("m1"), lost());
    replacing(&mut stage, "m1");
    stage
}

/// The machines that are ordered while somebody keeps the lease of m1.
fn ordered_beside_m1(stage: &mut Stage, seconds: i64) -> Vec<String> {
    let until = stage.second + seconds;
    let mut ordered = Vec::new();
    while stage.second < until {
        let mut commands = stage.look();
        if put_on(&commands).contains(&"m1") {
            commands.extend(stage.answer(puts("m1"), leased()));
            commands.extend(stage.look_at_once());
        }
        let put = put_on(&commands).into_iter().filter(|id| *id != "m1");
        ordered.extend(put.map(str::to_owned));
    }
    ordered
}

#[test]
fn a_machine_that_may_be_down_because_of_us_keeps_its_place() {
    let mut stage = lost_and_leased();
    assert_eq!(ordered_beside_m1(&mut stage, 120), [""; 0]);
}

#[test]
fn one_that_is_seen_up_as_another_version_gives_its_place_back() {
    let mut stage = lost_and_leased();
    assert_eq!(ordered_beside_m1(&mut stage, 10), [""; 0]);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    assert_eq!(ordered_beside_m1(&mut stage, 10), ["m2"]);
}

/// The list may still show the version that we replaced.
#[test]
fn one_that_is_seen_up_as_it_was_may_be_an_old_list() {
    let mut stage = lost_and_leased();
    stage.machine("m1").state = MachineState::Started;
    stage.machine("m1").checks.clear();
    stage.machine("m1").checks_configured = 0;
    assert_eq!(ordered_beside_m1(&mut stage, 28), [""; 0]);
    assert_eq!(ordered_beside_m1(&mut stage, 12), ["m2"]);
}

#[test]
fn one_that_is_up_and_fails_its_checks_is_not_back() {
    let mut stage = lost_and_leased();
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    fail_checks(stage.machine("m1"));
    assert_eq!(ordered_beside_m1(&mut stage, 120), [""; 0]);
}

/// The daemon died with a command under way: what it had done by then is not known, whatever comes
/// of its next attempt.
#[test]
fn what_was_under_way_when_the_daemon_began_anew_may_be_down() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.tell(&Input::Restarted);
    replacing(&mut stage, "m1");
    stage.answer(puts("m1"), leased());
    assert_eq!(ordered_beside_m1(&mut stage, 120), [""; 0]);
}

/// Nothing was written: the other may go first, in the same moment.
#[test]
fn a_machine_that_is_waited_for_takes_no_place() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    assert_eq!(put_on(&stage.answer(puts("m1"), leased())), ["m2"]);
}

/// Between two rounds only what was seen lately is gone by.
#[test]
fn a_place_that_is_freed_long_after_the_last_round_is_taken_by_the_next_one() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.second += 10;
    assert_eq!(put_on(&stage.answer(puts("m1"), leased())), [""; 0]);
    assert_eq!(put_on(&stage.look()).len(), 1);
}

/// An operator's hold stands between an outcome and the next machine, as between two rounds.
#[test]
fn an_outcome_begins_no_machine_while_an_operator_holds() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    let hold = crate::model::OperatorHold {
        by: "ops".to_owned(),
        reason: "look at it first".to_owned(),
        since: at(0),
        until: None,
    };
    stage.tell(&Input::Operator { order: crate::model::Order::Hold(hold), machines: Vec::new() });
    assert_eq!(put_on(&stage.answer(puts("m1"), leased())), [""; 0]);
}

/// A newer release that the ledger announces does so too.
#[test]
fn an_outcome_begins_no_machine_while_a_newer_release_is_announced() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.announce(9, "sha256:9");
    if let Some(release) = stage.ledger.as_mut().and_then(|ledger| ledger.first_mut()) {
        release.status = crate::model::ReleaseStatus::Running;
    }
    stage.look();
    assert_eq!(put_on(&stage.answer(puts("m1"), leased())), [""; 0]);
}

/// A look of the same instant is none that was made after it.
#[test]
fn one_that_is_seen_up_in_the_same_instant_may_be_down() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.answer(puts("m1"), lost());
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.look_at_once();
    let m1 = |stage: &Stage| stage.rollback().machine(&"m1".into()).unwrap().down_since;
    assert_eq!(m1(&stage), Some(now));
    stage.look();
    assert_eq!(m1(&stage), None);
}

/// A rollback that waits goes on with a round, which asks everything again.
#[test]
fn an_outcome_begins_no_machine_while_the_rollback_waits() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    assert_eq!(put_on(&stage.answer(puts("m1"), leased())), ["m2"]);
    assert_eq!(put_on(&stage.answer(puts("m2"), leased())), [""; 0]);
    let ordered = stage.look();
    assert!(stage.rollback().pause.is_some());
    let first = put_on(&ordered)[0].to_owned();
    assert_eq!(put_on(&stage.answer(puts(&first), leased())), [""; 0]);
}

/// m1 may be down because of us, and its host does not answer: the next region is begun, and gets no
/// place. Then the host is back.
#[test]
fn what_may_be_down_because_of_us_is_seen_to_whichever_region_was_begun_meanwhile() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.machine("m2").region = Region::new("syd");
    let mut ordered = stage.pass(4);
    while ordered.is_empty() {
        ordered = stage.look();
    }
    let first = put_on(&ordered)[0].to_owned();
    let lost = PutOutcome::Unavailable { reason: "no answer".to_owned() };
    stage.answer(puts(&first), Outcome::Put(lost));
    stage.machine(&first).host = HostStatus::Unreachable;
    assert_eq!(put_on(&stage.pass(10)), [""; 0], "it has the only place");
    stage.pass(20);
    let paused = stage.told(EventKind::RollbackPaused);
    assert_eq!(paused.len(), 1, "people know that nothing goes on: {:?}", stage.events);
    stage.machine(&first).host = HostStatus::Ok;
    assert_eq!(put_on(&stage.pass(10)), [first.as_str()]);
    stage.undo();
}

/// A rollback is stopped while m1 is on its way up, and another begins: m1 is still down because of us.
#[test]
fn what_the_rollback_before_took_down_keeps_its_place() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    let now = at(stage.second);
    put(stage.machine("m1"), 3, "sha256:1", now);
    replacing(&mut stage, "m1");
    stage.policy.mode = crate::model::Mode::Observe;
    stage.look();
    stage.policy.mode = crate::model::Mode::Rollback;
    stage.begin();
    assert_eq!(put_on(&stage.pass(20)), [""; 0], "m1 is not back");
    let machine = stage.machine("m1");
    machine.state = MachineState::Started;
    fail_checks(machine);
    assert_eq!(put_on(&stage.pass(20)), [""; 0], "it is up and not well");
    let machine = stage.machine("m1");
    (machine.checks, machine.checks_configured) = (Vec::new(), 0);
    assert_eq!(put_on(&stage.pass(4)), ["m2"]);
}

/// It was ordered when the rollback was stopped, and still runs the bad image: what may be down
/// because of us has its place already.
#[test]
fn a_machine_that_an_earlier_rollback_took_down_does_not_block_itself() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    stage.put_back("m1");
    stage.policy.mode = Mode::Observe;
    stage.look();
    stage.policy.mode = Mode::Rollback;
    fail_checks(stage.machine("m2"));
    assert_eq!(put_on(&stage.pass(60)), ["m2"], "{:?}", stage.state.phase);
}

/// They were ordered when the rollback was stopped, and never written to: they serve, badly, and each
/// needs a place to be taken down.
#[test]
fn machines_that_are_up_have_no_place_of_an_earlier_rollback() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3"]);
    stage.policy.rollback.max_unavailable = crate::model::MaxUnavailable::Count(2);
    stage.policy.rollback.escalate = false;
    stage.look();
    assert_eq!(put_on(&stage.put_back("m1")), ["m2", "m3"]);
    stage.policy.mode = Mode::Observe;
    stage.look();
    stage.policy.mode = Mode::Rollback;
    stage.policy.rollback.max_unavailable = crate::model::MaxUnavailable::Count(1);
    for id in ["m2", "m3"] {
        fail_checks(stage.machine(id));
    }
    assert_eq!(put_on(&stage.pass(60)), ["m2"], "{:?}", stage.state.phase);
}
