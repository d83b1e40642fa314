//! What is waited for before a release is judged, and what a hold takes to end.

use super::{
    stage::{Stage, fail_checks, put, put_on, ratio},
    *,
};
use crate::model::{OperatorHold, Order};

/// v2 fails its checks, and no round has looked at it yet.
fn failing(ids: &[&str]) -> Stage {
    let mut stage = Stage::trusted(ids);
    stage.ship(2, "sha256:2");
    for machine in &mut stage.machines {
        fail_checks(machine);
    }
    stage
}

fn silent() -> Outcome {
    Outcome::ImageUnknown { reason: "503".to_owned() }
}

fn count(stage: &Stage, kind: EventKind) -> usize {
    stage.told(kind).len()
}

fn is_well(stage: &mut Stage) {
    for machine in &mut stage.machines {
        machine.checks.clear();
        machine.checks_configured = 0;
    }
}

#[test]
fn after_a_start_the_others_are_heard_before_a_release_is_judged() {
    let mut stage = failing(&["m1"]);
    stage.org.listening = true;
    stage.pass(60);
    assert_eq!(count(&stage, EventKind::ReleaseDegraded), 0);
    stage.org.listening = false;
    stage.pass(2);
    assert_eq!(count(&stage, EventKind::ReleaseDegraded), 1);
}

#[test]
fn requests_that_fail_are_no_breach_while_no_page_can_be_read() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 1000.0, 1000.0)];
    stage.no_page = Some("refused".to_owned());
    stage.pass(120);
    assert_eq!(count(&stage, EventKind::ReleaseDegraded), 0);
    stage.no_page = None;
    stage.pass(2);
    assert_eq!(count(&stage, EventKind::ReleaseDegraded), 1);
}

#[test]
fn a_countdown_does_not_end_before_the_others_were_heard() {
    let mut stage = failing(&["m1"]);
    stage.policy.watch.countdown = Duration::from_secs(30);
    stage.pass(30);
    assert_eq!(count(&stage, EventKind::RollbackPlanned), 1);
    stage.org.listening = true;
    assert_eq!(put_on(&stage.pass(120)), [""; 0]);
    stage.org.listening = false;
    assert_eq!(put_on(&stage.pass(6)), ["m1"]);
}

#[test]
fn a_rollback_without_a_countdown_says_no_seconds() {
    let planned = |countdown| {
        let mut stage = failing(&["m1"]);
        stage.policy.watch.countdown = countdown;
        stage.pass(60);
        stage.told(EventKind::RollbackPlanned)[0].reason.clone()
    };
    assert_eq!(planned(Duration::ZERO), None);
    let counts = Reason::CountsDown {
        seconds: 40,
        together: Vec::new(),
        unvouched: false,
        passed_before: false,
    };
    assert_eq!(planned(Duration::from_secs(40)), Some(counts));
}

#[test]
fn a_registry_that_does_not_answer_is_asked_four_times_a_minute_and_told_once() {
    let mut stage = failing(&["m1"]);
    stage.registry = silent();
    while count(&stage, EventKind::HoldPlaced) == 0 {
        stage.look();
    }
    let before = stage.state.memory.next_command;
    stage.pass(160);
    assert_eq!(stage.state.memory.next_command - before, 10, "every 16 s");
    assert_eq!(count(&stage, EventKind::HoldPlaced), 1);
    stage.registry = Outcome::ImagePresent;
    assert_eq!(put_on(&stage.pass(20)), ["m1"]);
    let cleared = stage.told(EventKind::HoldCleared);
    assert_eq!(cleared.len(), 1);
    assert_eq!(cleared[0].reason, Some(Reason::RegistryAnswers));
}

/// An operator's hold comes, and the policy is set to observe meanwhile.
#[test]
fn a_hold_that_becomes_another_is_told_as_another() {
    let mut stage = failing(&["m1"]);
    let hold = OperatorHold {
        by: "zoe".to_owned(),
        reason: "let me look".to_owned(),
        since: at(0),
        until: None,
    };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    stage.pass(60);
    let placed = count(&stage, EventKind::HoldPlaced);
    stage.pass(60);
    assert_eq!(count(&stage, EventKind::HoldPlaced), placed, "once");
    stage.policy.mode = Mode::Observe;
    let by = super::stage::signed(stage.second);
    let order = Order::Unhold(Some(by.clone()));
    stage.tell(&Input::Operator { order, machines: Vec::new() });
    let cleared = stage.told(EventKind::HoldCleared).pop().unwrap();
    let lifted = matches!(&cleared.reason, Some(Reason::HoldLifted { by: who, .. }) if *who == by);
    assert!(lifted, "{cleared:?}");
    stage.pass(2);
    let last = stage.told(EventKind::HoldPlaced).pop().unwrap();
    assert_eq!(last.reason, Some(HoldReason::ObserveMode.into()));
    assert!(matches!(stage.state.phase, Phase::Held { reason: HoldReason::ObserveMode, .. }));
}

#[test]
fn a_held_release_recovers_only_where_it_can_be_seen() {
    let mut stage = failing(&["m1"]);
    stage.registry = silent();
    stage.pass(60);
    is_well(&mut stage);
    stage.org.listening = true;
    stage.pass(10);
    assert!(matches!(stage.state.phase, Phase::Held { .. }), "{:?}", stage.state.phase);
    stage.org.listening = false;
    stage.pass(2);
    assert_eq!(stage.told(EventKind::HoldCleared)[0].reason, Some(Reason::Recovered));
    // What it had earned before is lost: it bakes anew.
    stage.pass(50);
    assert_eq!(count(&stage, EventKind::ReleaseTrusted), 1);
    stage.pass(20);
    assert_eq!(count(&stage, EventKind::ReleaseTrusted), 2);
}

/// Somebody put the image of before on every machine, without a release.
#[test]
fn a_release_that_nobody_runs_any_more_is_watched_for_a_minute() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(10);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:1", now);
    stage.pass(60);
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
    stage.pass(2);
    assert_eq!(stage.state.phase, Phase::Steady);
    assert_eq!(stage.state.memory.current.as_ref().unwrap().digest, Digest::new("sha256:1"));
    assert_eq!(count(&stage, EventKind::ReleaseTrusted), 1);
}

#[test]
fn a_release_that_is_back_within_a_minute_is_watched_on() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    stage.pass(10);
    for _ in 0..4 {
        let now = at(stage.second);
        put(stage.machine("m1"), 2, "sha256:1", now);
        stage.pass(40);
        put(stage.machine("m1"), 2, "sha256:2", now);
        stage.pass(10);
    }
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
}

/// A rollback that the mode stopped half way is judged anew: whatever runs the image, under whichever
/// number, is looked at.
#[test]
fn what_is_left_of_a_rollback_is_watched_under_any_number() {
    let mut stage = Stage::rolling_back(&["m1", "m2", "m3"]);
    stage.look();
    stage.put_right_now();
    stage.policy.mode = Mode::Observe;
    stage.pass(4);
    stage.policy.mode = Mode::Rollback;
    let now = at(stage.second);
    put(stage.machine("m1"), 3, "sha256:2", now);
    put(stage.machine("m2"), 2, "sha256:2", now);
    stage.pass(4);
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    let seen: Vec<&str> = watch.machines.keys().map(crate::model::MachineId::as_str).collect();
    assert_eq!(seen, ["m1", "m2"]);
}

#[test]
fn a_hold_for_want_of_anything_trusted_carries_what_ran_before() {
    // Given a release that never earned trust, when one comes that fails.
    let mut stage = Stage::unknown(&["m1"]);
    stage.pass(10);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.pass(60);
    // Then the hold says what ran before, which a person may go back to.
    let placed = stage.told(EventKind::HoldPlaced);
    assert_eq!(placed.len(), 1, "{placed:?}");
    assert_eq!(placed[0].reason, Some(HoldReason::NothingTrusted.into()));
    let previous = placed[0].previous.as_ref().and_then(|one| one.version);
    assert_eq!(previous, Some(ReleaseVersion(1)));
}

/// 30 % fail on the machines of the release that is held, as nothing but that is looked at.
fn held_at_30_percent() -> Stage {
    let mut stage = Stage::unknown(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(120);
    stage.policy.mode = Mode::Observe;
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 100.0, 30.0), ("m2", 100.0, 30.0)];
    stage.pass(120);
    assert_eq!(stage.state.phase.word(), "held", "{:?}", stage.events);
    stage.events.clear();
    stage
}

#[test]
fn a_release_that_could_not_be_seen_for_minutes_has_not_recovered_by_that() {
    // Given a release that is held and fails, when the platform cannot be read for two minutes and a half
    let mut stage = held_at_30_percent();
    stage.unreadable = Some("401".to_owned());
    stage.pass(150);
    stage.unreadable = None;
    stage.pass(120);

    // Then it is held on without a word of a recovery
    assert_eq!(stage.state.phase.word(), "held");
    assert_eq!(count(&stage, EventKind::HoldCleared), 0);
    assert_eq!(count(&stage, EventKind::ReleaseDegraded), 0);

    // And a recovery is told when it is one
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
    stage.pass(900);
    assert_eq!(count(&stage, EventKind::HoldCleared), 1);
}

#[test]
fn what_shows_nothing_after_that_is_not_held_for_ever() {
    let mut stage = held_at_30_percent();
    stage.unreadable = Some("401".to_owned());
    stage.pass(150);
    stage.unreadable = None;
    stage.serves.clear();
    stage.pass(280);
    assert_eq!(count(&stage, EventKind::HoldCleared), 0);
    stage.pass(40);
    assert_eq!(count(&stage, EventKind::HoldCleared), 1);
}

#[test]
fn a_yes_that_is_waited_for_is_waited_for_after_minutes_of_blindness_too() {
    let mut stage = held_at_30_percent();
    stage.policy.mode = Mode::Approve;
    stage.policy.watch.approve_within = Duration::from_secs(1800);
    stage.pass(60);
    assert_eq!(stage.state.phase.word(), "awaiting_approval", "{:?}", stage.events);
    stage.events.clear();
    stage.unreadable = Some("401".to_owned());
    stage.pass(150);
    stage.unreadable = None;
    stage.pass(60);
    assert_eq!(stage.state.phase.word(), "awaiting_approval");
    assert_eq!(count(&stage, EventKind::RollbackStopped), 0, "{:?}", stage.events);
}

#[test]
fn a_hold_that_a_person_places_and_lifts_is_told_once_each_whatever_holds_it_besides() {
    let mut stage = held_at_30_percent();
    let (by, reason, since) = ("zoe".to_owned(), "wait".to_owned(), at(stage.second));
    let hold = OperatorHold { by, reason, since, until: None };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    stage.pass(20);
    assert_eq!(
        (count(&stage, EventKind::HoldPlaced), count(&stage, EventKind::HoldCleared)),
        (1, 0)
    );
    stage.tell(&Input::Operator { order: Order::Unhold(None), machines: Vec::new() });
    stage.pass(20);
    assert_eq!(count(&stage, EventKind::HoldCleared), 1, "{:?}", stage.events);
    assert_eq!(count(&stage, EventKind::HoldPlaced), 2, "what holds it now is told again");
}

#[test]
fn that_a_hold_of_a_person_ran_out_is_told() {
    let mut stage = held_at_30_percent();
    let (by, reason, since) = ("zoe".to_owned(), "wait".to_owned(), at(stage.second));
    let hold = OperatorHold { by, reason, since, until: Some(at(stage.second + 10)) };
    stage.tell(&Input::Operator { order: Order::Hold(hold), machines: Vec::new() });
    stage.pass(40);
    assert_eq!(count(&stage, EventKind::HoldCleared), 1, "{:?}", stage.events);
}
