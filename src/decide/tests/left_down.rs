//! What a rollback took down and left behind when it yielded is started again, and nothing else is.

use super::{
    stage::{Stage, put, put_on, started},
    *,
};
use crate::model::{ExitEvent, LeaseHolder};

/// m1 was just ordered when somebody's newer release showed on m2; m1 is left stopped by its deploy.
fn yielded() -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    let ordered = stage.look();
    assert_eq!(put_on(&ordered), ["m1"]);
    stage.announce(4, "sha256:4");
    let now = at(stage.second);
    for id in ["m1", "m2"] {
        put(stage.machine(id), 4, "sha256:4", now);
    }
    stage.machine("m1").state = MachineState::Stopped;
    stage.machine("m1").started_at = None;
    stage.look();
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1, "{:?}", stage.events);
    stage
}

#[test]
fn what_a_deploy_left_stopped_is_started_after_it_was_let_be() {
    let mut stage = yielded();
    assert_eq!(started(&stage.pass(8)), [""; 0], "most deploys start what they touch");
    let ordered = stage.pass(4);
    assert_eq!(started(&ordered), ["m1"]);
    // While that is under way it is not ordered twice.
    assert_eq!(started(&stage.pass(60)), [""; 0]);
    stage.answer(starts, Outcome::Start(StartOutcome::Started));
    assert!(stage.state.memory.left_down.is_empty());
}

#[test]
fn what_comes_up_by_itself_is_not_started() {
    let mut stage = yielded();
    stage.machine("m1").state = MachineState::Started;
    assert_eq!(started(&stage.pass(600)), [""; 0]);
    assert!(stage.state.memory.left_down.is_empty());
}

/// For as long as a deploy may still come to it, one that is up is not forgotten.
#[test]
fn what_a_deploy_comes_to_late_is_started_all_the_same() {
    let mut stage = yielded();
    stage.machine("m1").state = MachineState::Started;
    assert_eq!(started(&stage.pass(120)), [""; 0]);
    stage.machine("m1").state = MachineState::Stopped;
    assert_eq!(started(&stage.pass(4)), ["m1"]);
}

#[test]
fn what_somebody_stopped_is_theirs() {
    let mut stage = yielded();
    let now = at(stage.second);
    let machine = stage.machine("m1");
    machine.started_at = Some(now);
    machine.exits = vec![stop_at(now)];
    assert_eq!(started(&stage.pass(60)), [""; 0]);
    assert!(stage.state.memory.left_down.is_empty());
}

#[test]
fn what_never_ran_as_what_it_is_was_stopped_by_nobody() {
    let mut stage = yielded();
    let now = at(stage.second);
    let machine = stage.machine("m1");
    machine.exits = vec![stop_at(now)];
    // The version before it had run, and its end was ours.
    machine.started_at = Some(at(0));
    assert_eq!(started(&stage.pass(60)), ["m1"]);
}

#[test]
fn what_somebody_holds_is_not_started_before_they_are_done() {
    let mut stage = yielded();
    let until = at(stage.second + 60);
    stage.machine("m1").lease = Some(LeaseHolder {
        owner: "ci@example.com".to_owned(),
        description: String::new(),
        expires_at: until,
    });
    assert_eq!(started(&stage.pass(56)), [""; 0]);
    assert_eq!(started(&stage.pass(8)), ["m1"]);
}

#[test]
fn what_cannot_be_started_is_tried_ever_more_seldom_and_then_paged() {
    let mut stage = yielded();
    let mut orders = Vec::new();
    for _ in 0..150 {
        if started(&stage.look()) == ["m1"] {
            orders.push(stage.second);
            let reason = "503".to_owned();
            let outcome = StartOutcome::Not(PutOutcome::Unavailable { reason });
            stage.answer(starts, Outcome::Start(outcome));
        }
    }
    let gaps: Vec<i64> = orders.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [10, 20, 30, 40], "in seconds");
    let pages = stage.told(EventKind::RollbackFailed);
    assert_eq!(pages.len(), 1, "{pages:?}");
    let named = matches!(&pages[0].reason, Some(Reason::MachineFailed { machine, .. })
        if machine.as_str() == "m1");
    assert!(named, "{pages:?}");
    assert!(stage.state.memory.left_down.is_empty());
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut stage = yielded();
    stage.machines.retain(|machine| machine.id.as_str() != "m1");
    stage.pass(596);
    assert!(!stage.state.memory.left_down.is_empty(), "lists may lag");
    stage.pass(10);
    assert!(stage.state.memory.left_down.is_empty());
}

/// What rested when the rollback came to it is left at rest.
#[test]
fn what_rested_before_is_not_started() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.machine("m1").state = MachineState::Stopped;
    stage::fail_checks(stage.machine("m2"));
    let ordered = stage.pass(60);
    assert!(put_on(&ordered).contains(&"m1"), "{:?}", stage.state.phase);
    stage.ship(4, "sha256:4");
    stage.machine("m1").state = MachineState::Stopped;
    assert_eq!(started(&stage.pass(60)), [""; 0]);
}

/// Somebody asked a machine to stop, a second after `now`.
fn stop_at(now: Timestamp) -> ExitEvent {
    ExitEvent {
        at: now.checked_add(SignedDuration::from_secs(1)).unwrap(),
        started_at: None,
        exit_code: 0,
        oom_killed: false,
        requested_stop: true,
    }
}

fn starts(command: &Command) -> bool {
    matches!(command, Command::StartMachine(_))
}

/// m1 was just put right when somebody's release came, whose deploy found it `replacing`.
fn overtaken(after: i64) -> Stage {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    stage.put_back("m1");
    while stage.second < after {
        stage.look();
        if stage.pending(stage::puts("m2")).is_some() {
            let (owner, description) = ("ci@example.com".to_owned(), String::new());
            let leased = PutOutcome::LeaseHeld { owner, description };
            stage.answer(stage::puts("m2"), Outcome::Put(leased));
        }
    }
    stage.announce(4, "sha256:4");
    let now = at(stage.second);
    for id in ["m1", "m2"] {
        put(stage.machine(id), 4, "sha256:4", now);
    }
    stage.machine("m1").state = MachineState::Stopped;
    stage.machine("m1").started_at = None;
    stage.look();
    stage
}

#[test]
fn one_that_was_put_right_a_moment_before_may_be_left_stopped_too() {
    assert_eq!(started(&overtaken(0).pass(20)), ["m1"]);
    assert_eq!(started(&overtaken(600).pass(60)), [""; 0], "that deploy was long over");
}

/// Its end was ours: it came before we yielded.
#[test]
fn a_stop_from_before_we_yielded_was_ours() {
    let mut stage = yielded();
    let now = at(stage.second);
    let machine = stage.machine("m1");
    machine.started_at = Some(now);
    machine.exits = vec![ExitEvent { at: now, ..stop_at(now) }];
    assert_eq!(started(&stage.pass(60)), ["m1"]);
}

#[test]
fn what_is_up_when_no_deploy_can_come_any_more_is_forgotten() {
    let mut stage = yielded();
    stage.machine("m1").state = MachineState::Started;
    stage.pass(290);
    assert!(!stage.state.memory.left_down.is_empty());
    stage.pass(20);
    assert!(stage.state.memory.left_down.is_empty());
}

/// What rests is waited for, however long somebody keeps its lease; what hangs in between is not.
#[test]
fn what_is_neither_up_nor_at_rest_for_ten_minutes_is_left() {
    let mut stage = yielded();
    stage.machine("m1").state =
        MachineState::Transient(crate::model::machine::Transition::Starting);
    stage.pass(594);
    assert!(!stage.state.memory.left_down.is_empty());
    stage.pass(10);
    assert!(stage.state.memory.left_down.is_empty());

    let mut stage = yielded();
    let until = at(stage.second + 700);
    let (owner, description) = ("ci@example.com".to_owned(), String::new());
    stage.machine("m1").lease = Some(LeaseHolder { owner, description, expires_at: until });
    assert_eq!(started(&stage.pass(690)), [""; 0]);
    assert_eq!(started(&stage.pass(20)), ["m1"]);
}

/// It is being put right by another rollback.
#[test]
fn what_is_written_to_is_not_started_meanwhile() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    let command = stage.pending(stage::puts("m1")).unwrap();
    let Command::PutImage(put) = stage.state.memory.pending[&command].clone() else { panic!() };
    let mut stage = yielded();
    stage.state.memory.pending.insert(999, Command::PutImage(put));
    assert_eq!(started(&stage.pass(60)), [""; 0]);
    stage.state.memory.pending.clear();
    assert_eq!(started(&stage.pass(4)), ["m1"]);
}
