//! Machines that do not arrive, and checks that fail.

use super::*;
use crate::model::{Check, CheckStatus, Checks, HostStatus, Transition, Trouble, Troubled};

fn told(ids: &[&str]) -> Told {
    Told::of(ThresholdKind::Checks(Checks { failing: 0.3, consecutive: 3 }), ids)
}

fn check(status: CheckStatus, changed_at: Option<i64>) -> Check {
    Check {
        name: "http".to_owned(),
        status,
        output: String::new(),
        changed_at: changed_at.map(at),
        interval: Some(Duration::from_secs(10)),
        grace: None,
    }
}

fn checked(told: &mut Told, id: &str, status: CheckStatus, changed_at: Option<i64>) {
    let machine = told.machine(id);
    machine.checks_configured = 1;
    machine.checks = vec![check(status, changed_at)];
}

fn troubled(evidence: &Evidence) -> Vec<Trouble> {
    match &evidence.note {
        Some(Note::Troubled(troubled)) => troubled.iter().map(|one| one.trouble.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

/// The start, and five seconds of grace, and three times ten seconds.
#[test]
fn a_check_that_fails_three_times_in_a_row_breaches() {
    let mut told = told(&["m1"]);
    checked(&mut told, "m1", CheckStatus::Critical, Some(1));
    assert_eq!(told.breaches_within(60), Some(26));
    let evidence = told.judged();
    let failing = Trouble::Failing { check: "http".to_owned(), times: 3 };
    assert_eq!(troubled(&evidence), [failing]);
    assert_eq!((evidence.bad, evidence.total, evidence.value), (1.0, 1.0, Some(1.0)));
}

/// What the platform tells of a check is when it changed last. One that is critical from before the start,
/// because it was set up so or because its result outlived an update, never changes if nobody ever listens.
#[test]
fn a_check_that_was_critical_before_the_start_and_stays_so_fails() {
    let mut told = told(&["m1"]);
    checked(&mut told, "m1", CheckStatus::Critical, Some(-1));
    // A first answer would have changed it by then: five seconds of grace, and twice ten.
    assert_eq!(told.breaches_within(60), Some(30));
    let failing = Trouble::Failing { check: "http".to_owned(), times: 3 };
    assert_eq!(troubled(&told.judged()), [failing]);
    // Its own grace is waited for as well.
    let mut graced = self::told(&["m1"]);
    checked(&mut graced, "m1", CheckStatus::Critical, Some(-1));
    graced.machine("m1").checks[0].grace = Some(Duration::from_secs(20));
    assert_eq!(graced.breaches_within(60), Some(40));
    // What was not asked yet is nobody's.
    let mut slow = self::told(&["m1"]);
    checked(&mut slow, "m1", CheckStatus::Critical, Some(-1));
    slow.machine("m1").checks[0].interval = Some(Duration::from_secs(60));
    let evidence = slow.pass(100);
    assert_eq!(
        (evidence.verdict, evidence.note),
        (Verdict::Inconclusive, Some(Note::NoFreshResult))
    );
    checked(&mut slow, "m1", CheckStatus::Passing, Some(101));
    assert_eq!(slow.pass(10).verdict, Verdict::Pass);
}

#[test]
fn what_fails_in_its_grace_or_the_warm_up_is_still_starting() {
    let mut graced = told(&["m1"]);
    checked(&mut graced, "m1", CheckStatus::Critical, Some(1));
    graced.machine("m1").checks[0].grace = Some(Duration::from_secs(20));
    assert_eq!(graced.breaches_within(60), Some(40));
    let mut warming = told(&["m1"]);
    checked(&mut warming, "m1", CheckStatus::Critical, Some(1));
    warming.policy.watch.warm_up = Duration::from_secs(30);
    assert_eq!(warming.breaches_within(60), Some(50));
}

/// A result without a time, or with one of another clock, fails since we saw it.
#[test]
fn results_without_a_usable_time_are_timed_by_our_own_looks() {
    for changed_at in [None, Some(1000)] {
        let mut told = told(&["m1"]);
        told.second = 50;
        checked(&mut told, "m1", CheckStatus::Critical, changed_at);
        assert_eq!(told.breaches_within(60), Some(22), "{changed_at:?}");
    }
    // One that passed in between begins anew.
    let mut told = told(&["m1"]);
    told.second = 50;
    checked(&mut told, "m1", CheckStatus::Critical, None);
    told.pass(10);
    checked(&mut told, "m1", CheckStatus::Passing, None);
    told.look();
    checked(&mut told, "m1", CheckStatus::Critical, None);
    assert_eq!(told.breaches_within(60), Some(22));
    // So does one whose machine did not run.
    told.machine("m1").state = MachineState::Stopped;
    told.look();
    told.machine("m1").state = MachineState::Started;
    assert_eq!(told.breaches_within(60), Some(22));
}

#[test]
fn a_check_that_nobody_has_asked_yet_is_no_result() {
    let mut told = told(&["m1"]);
    checked(&mut told, "m1", CheckStatus::Warning, None);
    let evidence = told.pass(20);
    assert_eq!(evidence.verdict, Verdict::Inconclusive);
    assert_eq!(evidence.note, Some(Note::NoFreshResult));
    checked(&mut told, "m1", CheckStatus::Passing, Some(1));
    let evidence = told.look();
    assert_eq!((evidence.verdict, evidence.note), (Verdict::Pass, None));
}

#[test]
fn machines_without_checks_pass_and_machines_that_rest_say_nothing() {
    let mut told = told(&["m1"]);
    let evidence = told.pass(4);
    assert_eq!((evidence.verdict, evidence.note), (Verdict::Pass, Some(Note::NoChecks)));
    checked(&mut told, "m1", CheckStatus::Passing, Some(1));
    told.machine("m1").state = MachineState::Stopped;
    let evidence = told.look();
    assert_eq!(evidence.verdict, Verdict::Inconclusive);
    assert_eq!(evidence.note, Some(Note::NoStartedMachine));
    let mut none = self::told(&[]);
    assert_eq!(none.look().note, Some(Note::NoStartedMachine));
}

/// Not those without checks, and not those that rest.
#[test]
fn the_share_is_one_of_the_machines_that_are_up_and_have_checks() {
    let mut told = told(&["m1", "m2", "m3", "m4", "m5"]);
    // It is the only one of its region: the others do not excuse it.
    told.machine("m1").region = "lhr".into();
    checked(&mut told, "m1", CheckStatus::Critical, Some(1));
    checked(&mut told, "m2", CheckStatus::Passing, Some(1));
    checked(&mut told, "m3", CheckStatus::Passing, Some(1));
    checked(&mut told, "m4", CheckStatus::Passing, Some(1));
    told.machine("m4").state = MachineState::Stopped;
    let evidence = told.pass(30);
    assert_eq!((evidence.bad, evidence.total), (1.0, 3.0));
    assert_eq!(evidence.verdict, Verdict::Breach);
    told.machine("m4").state = MachineState::Started;
    let evidence = told.look();
    assert_eq!((evidence.bad, evidence.total, evidence.verdict), (1.0, 4.0, Verdict::Pass));
}

#[test]
fn what_could_not_be_started_counts_after_two_looks_and_not_on_a_host_that_is_down() {
    let mut told = told(&["m1"]);
    checked(&mut told, "m1", CheckStatus::Passing, Some(1));
    told.machine("m1").state = MachineState::LaunchFailed;
    assert_eq!(told.look().verdict, Verdict::Inconclusive);
    let evidence = told.look();
    assert_eq!(evidence.verdict, Verdict::Breach);
    assert_eq!(troubled(&evidence), [Trouble::Down { state: MachineState::LaunchFailed }]);
    told.machine("m1").host = HostStatus::Unreachable;
    assert_eq!(told.look().note, Some(Note::NoStartedMachine));
}

#[test]
fn what_is_on_its_way_for_three_minutes_is_stuck() {
    let mut told = told(&["m1"]);
    checked(&mut told, "m1", CheckStatus::Passing, Some(1));
    told.machine("m1").state = MachineState::Transient(Transition::Starting);
    assert_eq!(told.breaches_within(300), Some(182));
    let stuck = Trouble::Stuck { still: Transition::Starting, seconds: 180 };
    assert_eq!(troubled(&told.judged()), [stuck]);
    told.machine("m1").host = HostStatus::Unreachable;
    assert_eq!(told.look().verdict, Verdict::Inconclusive);
    // What drains may take its time.
    let mut drains = self::told(&["m1"]);
    drains.machine("m1").state = MachineState::Transient(Transition::Stopping);
    assert_eq!(drains.breaches_within(300), None);
}

#[test]
fn no_more_than_five_machines_are_named() {
    let ids = ["m1", "m2", "m3", "m4", "m5", "m6", "m7"];
    let mut told = told(&ids);
    for id in ids {
        told.machine(id).state = MachineState::Failed;
    }
    told.look();
    let evidence = told.look();
    assert_eq!((evidence.bad, troubled(&evidence).len()), (7.0, 5));
}

#[test]
fn troubles_are_told_by_name() {
    let told = |trouble| checks::trouble(&Troubled { machine: "m1".into(), trouble });
    let failing = Trouble::Failing { check: "http".to_owned(), times: 3 };
    assert_eq!(told(failing), "http failed 3 times in a row on m1");
    let stuck = Trouble::Stuck { still: Transition::Starting, seconds: 180 };
    assert_eq!(told(stuck), "m1 is still starting after 180 s");
    assert_eq!(told(Trouble::Down { state: MachineState::Failed }), "m1 is failed");
}
