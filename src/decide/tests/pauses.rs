//! A rollback that comes no further: what is told when, and what it takes to go on.

use super::{
    stage::{Stage, opened, put_on, puts},
    *,
};
use crate::model::{Distress, OperatorHold, Order, ReleaseStatus, Severity, Wait};

fn leased() -> Outcome {
    let owner = "ci@example.com".to_owned();
    Outcome::Put(PutOutcome::LeaseHeld { owner, description: String::new() })
}

/// Somebody keeps the lease of the only machine for so long.
fn waits(stage: &mut Stage, seconds: i64) -> Vec<Command> {
    let until = stage.second + seconds;
    let mut ordered = Vec::new();
    while stage.second < until {
        ordered.extend(stage.look());
        if stage.pending(puts("m1")).is_some() {
            ordered.extend(stage.answer(puts("m1"), leased()));
        }
    }
    ordered
}

fn holds(stage: &Stage) -> Vec<&Reason> {
    let placed = stage.told(EventKind::HoldPlaced).into_iter();
    placed.filter_map(|event| event.reason.as_ref()).collect()
}

#[test]
fn what_passes_in_a_moment_is_told_to_nobody() {
    let mut stage = Stage::rolling_back(&["m1"]);
    waits(&mut stage, 8);
    stage.undo();
    assert!(stage.told(EventKind::RollbackPaused).is_empty());
    assert!(stage.told(EventKind::RollbackResumed).is_empty());
}

#[test]
fn what_lasts_is_told_once_and_so_is_its_end() {
    let mut stage = Stage::rolling_back(&["m1"]);
    waits(&mut stage, 240);
    let told = stage.told(EventKind::RollbackPaused);
    assert_eq!(told.len(), 1, "{told:?}");
    let lease = Wait::Lease { machine: "m1".into(), owner: "ci@example.com".to_owned() };
    assert_eq!(told[0].reason, Some(Reason::Waits { wait: lease.clone() }));
    stage.undo();
    let told = stage.told(EventKind::RollbackResumed);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, Some(Reason::WaitOver { was: lease }));
}

/// Other tools wait for an open entry: it is closed, and another one made when it goes on.
#[test]
fn the_entry_is_closed_after_a_quarter_of_an_hour_and_made_anew() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let is_close = |command: &Command| matches!(command, Command::CloseRelease { .. });
    assert!(!waits(&mut stage, 14 * 60).iter().any(is_close));
    let ordered = waits(&mut stage, 2 * 60);
    let closed: Vec<&Command> = ordered.iter().filter(|command| is_close(command)).collect();
    assert_eq!(closed, [&Command::CloseRelease { id: "rel_3".to_owned(), complete: false }]);
    stage.opens = Some(opened(5));
    stage.undo();
    let close = stage.pending(
        |command| matches!(command, Command::CloseRelease { id, complete: true } if id == "rel_5"),
    );
    assert!(close.is_some(), "{:?}", stage.state.memory.pending);
}

#[test]
fn half_an_hour_without_progress_is_paged_once() {
    let mut stage = Stage::rolling_back(&["m1"]);
    waits(&mut stage, 29 * 60);
    assert!(stage.told(EventKind::RollbackFailed).is_empty());
    waits(&mut stage, 60 * 60);
    let told = stage.told(EventKind::RollbackFailed);
    assert_eq!(told.len(), 1, "{told:?}");
    let named = matches!(&told[0].reason, Some(Reason::NoProgress { minutes: 30, wait })
        if matches!(wait, Wait::Lease { .. }));
    assert!(named, "{:?}", told[0].reason);
}

/// After ten minutes the release has to show its breach again.
#[test]
fn after_a_long_pause_a_release_that_recovered_is_held_and_not_touched() {
    let mut stage = Stage::rolling_back(&["m1"]);
    waits(&mut stage, 11 * 60);
    stage.machine("m1").checks.clear();
    stage.machine("m1").checks_configured = 0;
    // It may be ordered no more.
    assert_eq!(put_on(&waits(&mut stage, 2 * 60)).len(), 0);
    assert_eq!(holds(&stage), Vec::<&Reason>::new());
    assert_eq!(put_on(&waits(&mut stage, 30 * 60)).len(), 0);
    assert_eq!(holds(&stage), [&HoldReason::NoFreshBreach.into()], "once");
    // Until it breaches again.
    stage::fail_checks(stage.machine("m1"));
    stage.undo();
    let cleared = stage.told(EventKind::HoldCleared);
    assert_eq!(cleared.len(), 1, "{cleared:?}");
}

/// An entry without a definition says nothing of a release command: that was known when the rollback
/// began, and keeps it from going on no more than it kept it from beginning.
#[test]
fn after_a_long_pause_a_ledger_that_cannot_tell_of_migrations_stops_nothing() {
    // Given a release of which the ledger has no definition, and that is being undone
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].has_release_command = None;
    stage::fail_checks(stage.machine("m1"));
    stage.begin();
    // When somebody keeps the lease of its machine for eleven minutes
    waits(&mut stage, 11 * 60);
    // Then it goes on as soon as the breach was seen again
    stage.undo();
    assert_eq!(holds(&stage), Vec::<&Reason>::new());
}

/// A daemon that was away for so long does not know either.
#[test]
fn after_a_long_absence_a_release_that_recovered_is_not_touched() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.second += 11 * 60;
    stage.machine("m1").checks.clear();
    stage.machine("m1").checks_configured = 0;
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    // One that was away for less goes on.
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.second += 9 * 60;
    stage.machine("m1").checks.clear();
    assert_eq!(put_on(&stage.pass(10)), ["m1"]);
}

#[test]
fn an_operators_hold_stops_it_before_the_next_machine_until_it_is_lifted() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let hold = OperatorHold {
        by: "zoe".to_owned(),
        reason: "let me look".to_owned(),
        since: at(stage.second),
        until: None,
    };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(stage.told(EventKind::RollbackPaused).len(), 1);
    stage.tell(&Input::Operator { order: Order::Unhold(None), machines: Vec::new() });
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
}

#[test]
fn a_hold_that_ran_out_is_none() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let until = Some(at(stage.second + 60));
    let (by, reason) = ("zoe".to_owned(), String::new());
    let hold = OperatorHold { by, reason, since: at(stage.second), until };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    assert_eq!(put_on(&stage.pass(56)), [""; 0]);
    assert_eq!(put_on(&stage.pass(8)), ["m1"]);
}

/// Somebody's release is in the ledger and on no machine yet.
#[test]
fn a_release_that_is_only_announced_is_waited_for_and_told() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.announce(4, "sha256:4");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    assert_eq!(put_on(&stage.pass(300)), [""; 0]);
    let told = stage.told(EventKind::RollbackPaused);
    let wait = Wait::Announced { version: ReleaseVersion(4) };
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, Some(Reason::Waits { wait }));
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Failed;
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
}

/// Before it goes on, everything that forbids a rollback is asked again.
#[test]
fn what_forbids_a_rollback_forbids_to_go_on() {
    let mut stage = Stage::rolling_back(&["m1"]);
    waits(&mut stage, 60);
    let region = || std::collections::BTreeSet::from([crate::model::Region::new("iad")]);
    let witness = |since| Distress { since, regions: region(), deployed: false };
    for _ in 0..30 {
        let since = at(stage.second);
        for app in ["billing", "shop"] {
            stage.org.neighbours.insert(AppName::new(app), witness(since));
        }
        assert_eq!(put_on(&stage.look()), [""; 0]);
    }
    let last = stage.told(EventKind::RollbackPaused).pop().unwrap();
    let held = matches!(&last.reason, Some(Reason::Waits { wait: Wait::Held { hold } })
        if matches!(hold, HoldReason::PlatformIncident { .. }));
    assert!(held, "{:?}", last.reason);
    stage.org.neighbours.clear();
    assert_eq!(put_on(&stage.pass(4)), ["m1"]);
}

#[test]
fn observe_mode_stops_it_at_once() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.policy.mode = Mode::Observe;
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    assert_eq!(holds(&stage), [&HoldReason::ObserveMode.into()]);
}

#[test]
fn a_platform_that_cannot_be_read_pauses_it() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.unreadable = Some("503".to_owned());
    assert_eq!(put_on(&stage.pass(20)), [""; 0]);
    assert_eq!(stage.told(EventKind::RollbackPaused).len(), 1);
    stage.unreadable = None;
    assert_eq!(put_on(&stage.look()), ["m1"]);
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackResumed).len(), 1);
}

/// A list without any machine is no list of an app that is being rolled back.
#[test]
fn a_list_that_makes_no_sense_is_none() {
    let mut stage = Stage::rolling_back(&["m1"]);
    let machines = std::mem::take(&mut stage.machines);
    stage.pass(120);
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)), "{:?}", stage.state.phase);
    assert_eq!(stage.told(EventKind::RollbackPaused).len(), 1);
    stage.machines = machines;
    // Nor is one that names no image.
    let digest = stage.machine("m1").image.digest.take();
    assert_eq!(put_on(&stage.pass(20)), [""; 0]);
    stage.machine("m1").image.digest = digest;
    assert_eq!(put_on(&stage.pass(2)), ["m1"]);
}

/// While a region is confirmed no machine is to be begun: nothing has to breach for that.
#[test]
fn a_region_that_waits_for_requests_is_not_held_for_want_of_a_breach() {
    for ids in [&["m1"][..], &["f1", "m1"]] {
        let mut stage = Stage::trusted(ids);
        stage.machine(ids[0]).region = "fra".into();
        stage.policy.thresholds = vec![stage::ratio()];
        stage.ship(2, "sha256:2");
        stage.serves = ids.iter().map(|id| (*id, 100.0, 50.0)).collect();
        stage.begin();
        stage.look();
        stage.put_back(ids[0]);
        stage.serves = ids.iter().map(|id| (*id, 0.0, 0.0)).collect();
        stage.pass(30 * 60 - 10);
        assert_eq!(holds(&stage), Vec::<&Reason>::new());
        let told = stage.told(EventKind::RollbackPaused);
        // With a machine left it is half way, which people are told as well.
        assert_eq!(told.len(), ids.len(), "{told:?}");
        let waits = matches!(&told[0].reason, Some(Reason::Waits { wait })
            if matches!(wait, Wait::NoEvidence { .. }));
        assert!(waits, "{:?}", told[0].reason);
    }
}

/// One machine is back, and the next one waits for the same: it went on in between.
#[test]
fn what_came_further_and_waits_again_has_gone_on() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    waits(&mut stage, 60);
    while stage.pending(puts("m1")).is_none() {
        stage.look();
        if stage.pending(puts("m2")).is_some() {
            stage.answer(puts("m2"), leased());
        }
    }
    stage.put_back("m1");
    for _ in 0..10 {
        stage.look();
        if stage.pending(puts("m2")).is_some() {
            stage.answer(puts("m2"), leased());
        }
    }
    assert_eq!(stage.told(EventKind::RollbackResumed).len(), 1, "{:?}", stage.rollback().pause);
    assert_eq!(stage.told(EventKind::RollbackPaused).len(), 2);
}

/// Ten minutes sharp.
#[test]
fn an_absence_is_long_from_ten_minutes_on() {
    for (away, touched) in [(598, true), (600, false)] {
        let mut stage = Stage::rolling_back(&["m1"]);
        stage.machine("m1").checks.clear();
        stage.machine("m1").checks_configured = 0;
        stage.second += away - 2;
        assert_eq!(put_on(&stage.look()) == ["m1"], touched, "{away} s");
    }
}

/// Its last machine is under way: no other is to be begun, and nothing has to breach for that.
#[test]
fn a_machine_that_is_under_way_after_a_long_pause_needs_no_breach() {
    let mut stage = Stage::rolling_back(&["m1"]);
    waits(&mut stage, 11 * 60);
    while stage.pending(puts("m1")).is_none() {
        stage.look();
    }
    let machine = stage.machine("m1");
    machine.state = crate::model::MachineState::Transient(crate::model::Transition::Replacing);
    machine.checks.clear();
    machine.checks_configured = 0;
    stage.pass(10 * 60);
    assert_eq!(holds(&stage), Vec::<&Reason>::new());
}

/// A machine that waits for its turn is destroyed, such as the canary of a deploy, while no machine may
/// be begun.
#[test]
fn a_machine_that_is_not_there_any_more_keeps_no_rollback_open() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    let hold = OperatorHold { by: "zoe".into(), reason: "wait".into(), since: at(0), until: None };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    stage.put_right_now();
    stage.machines.retain(|machine| machine.id.as_str() != "m2");
    stage.pass(50);
    assert!(matches!(stage.state.phase, Phase::RollingBack(_)), "lists may be late");
    stage.pass(80);
    assert!(matches!(stage.state.phase, Phase::RolledBack(_)), "{:?}", stage.rollback().regions);
}

/// The lease of `m2` is somebody's for so long.
fn keeps_m2(stage: &mut Stage, seconds: i64) {
    let until = stage.second + seconds;
    while stage.second < until {
        stage.look();
        if stage.pending(puts("m2")).is_some() {
            stage.answer(puts("m2"), leased());
        }
    }
}

#[test]
fn machines_that_are_half_way_for_three_minutes_are_an_error() {
    // Given a rollback that put one of two machines back, when the other one cannot be written to.
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.look();
    stage.put_back("m1");
    keeps_m2(&mut stage, 150);
    let severities = |stage: &Stage| -> Vec<Severity> {
        stage.told(EventKind::RollbackPaused).into_iter().map(Event::severity).collect()
    };
    // Then what passes soon is a warning,
    assert!(severities(&stage).iter().all(|one| *one == Severity::Warning));
    // and what lasts is an error, once.
    keeps_m2(&mut stage, 180);
    let told = severities(&stage);
    assert_eq!(told.iter().filter(|one| **one >= Severity::Error).count(), 1, "{told:?}");
    keeps_m2(&mut stage, 120);
    assert_eq!(severities(&stage), told);
}

#[test]
fn a_pause_before_the_first_machine_or_by_a_person_is_no_error() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    waits(&mut stage, 300);
    let mut held = Stage::rolling_back(&["m1", "m2"]);
    held.look();
    held.put_back("m1");
    let (by, reason) = ("zoe".to_owned(), "let me look".to_owned());
    let hold = OperatorHold { by, reason, since: at(held.second), until: None };
    held.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    held.pass(300);
    for stage in [stage, held] {
        let told = stage.told(EventKind::RollbackPaused);
        assert!(told.iter().all(|one| one.severity() == Severity::Warning), "{told:?}");
    }
}
