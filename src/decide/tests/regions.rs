//! What regions have to show on the known-good image: the first one that going back helps, the others
//! that nothing speaks against them.

#![expect(clippy::float_cmp, reason = "whole seconds, exactly counted")]

use super::{
    stage::{Stage, fail_checks, put_on, ratio},
    *,
};
use crate::model::{Region, Unwell, Wait, machine::Transition, reason::Unseen};

type Serves = (&'static str, f64, f64);

/// Half of the requests fail in fra, f1, and in iad, m1; f1 was just put right, and serves like this.
fn first_back(serves: &[Serves]) -> Stage {
    let mut stage = Stage::trusted(&["f1", "m1"]);
    stage.machine("f1").region = "fra".into();
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    stage.serves = vec![("f1", 100.0, 50.0), ("m1", 100.0, 50.0)];
    stage.begin();
    stage.serves.clear();
    assert_eq!(put_on(&stage.look()), ["f1"]);
    stage.serves = serves.to_vec();
    stage.put_back("f1");
    stage
}

/// The first region is confirmed, m1 of the second was just put right, and serves like this.
fn second_back(serves: &[Serves]) -> Stage {
    let mut stage = first_back(&[("f1", 1000.0, 0.0)]);
    while stage.pending(stage::puts("m1")).is_none() {
        stage.look();
    }
    stage.serves = serves.to_vec();
    stage.put_back("m1");
    stage
}

/// The same for checks: they fail on all machines, and f1 was just put right.
fn first_back_of_checks() -> Stage {
    let mut stage = Stage::trusted(&["f1", "m1"]);
    stage.machine("f1").region = "fra".into();
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.begin();
    assert_eq!(put_on(&stage.look()), ["f1"]);
    stage.put_back("f1");
    stage
}

/// The regions that were confirmed, in order.
fn confirmed(stage: &Stage) -> Vec<String> {
    let regions = &stage.rollback().regions;
    let confirmed = regions.iter().filter(|work| work.phase == state::RegionPhase::Confirmed);
    confirmed.map(|work| work.region.to_string()).collect()
}

/// Why a rollback that goes on comes no further, as people were told last.
fn told(stage: &Stage) -> Option<Wait> {
    match stage.told(EventKind::RollbackPaused).pop()?.reason.clone()? {
        Reason::Waits { wait } | Reason::NoProgress { wait, .. } => Some(wait),
        other => panic!("{other:?}"),
    }
}

fn stopped(stage: &Stage) -> Option<&HoldReason> {
    match &stage.state.phase {
        Phase::Stopped { reason, .. } => Some(reason),
        _ => None,
    }
}

#[test]
fn requests_that_are_clearly_better_confirm_after_two_seconds() {
    let mut stage = first_back(&[("f1", 1000.0, 0.0)]);
    stage.look();
    assert_eq!(confirmed(&stage), [""; 0]);
    stage.look();
    assert_eq!(confirmed(&stage), ["fra"]);
    let event = stage.told(EventKind::RollbackRegionConfirmed)[0];
    let well = matches!(&event.reason, Some(Reason::RegionWell { shown: Some(_), watched_s, .. })
        if *watched_s == 2.0);
    assert!(well, "{:?}", event.reason);
}

#[test]
fn without_requests_the_first_region_waits_until_some_come() {
    let mut stage = first_back(&[("f1", 0.0, 0.0)]);
    stage.pass(88);
    assert_eq!(told(&stage), None, "three times half a minute");
    stage.pass(20);
    let (region, threshold) = (Region::new("fra"), Some("5xx".to_owned()));
    assert_eq!(told(&stage), Some(Wait::NoEvidence { region, threshold }));
    stage.pass(300);
    assert_eq!(confirmed(&stage), [""; 0]);
    // Once, and once more when it lasts: one is back, and the other is not.
    assert_eq!(stage.told(EventKind::RollbackPaused).len(), 2);
    stage.serves = vec![("f1", 1000.0, 0.0)];
    stage.pass(4);
    assert_eq!(confirmed(&stage), ["fra"]);
}

/// An endpoint that is rarely asked for had failed as well, and nobody asks for it now.
fn with_a_rare_one(mut stage: Stage) -> Stage {
    let rare = || "rare".to_owned();
    stage.policy.thresholds.push(Threshold { name: rare(), ..ratio() });
    let Phase::RollingBack(rollback) = &mut stage.state.phase else { panic!() };
    let mut evidence = rollback.evidence[0].clone();
    evidence.threshold = rare();
    rollback.evidence.insert(0, evidence);
    stage
}

#[test]
fn one_threshold_that_is_better_is_enough_in_the_end_where_another_is_silent() {
    let mut stage = with_a_rare_one(first_back(&[("f1", 1000.0, 0.0)]));
    stage.pass(88);
    assert_eq!(confirmed(&stage), [""; 0], "three times half a minute");
    stage.pass(4);
    assert_eq!(confirmed(&stage), ["fra"]);
}

#[test]
fn the_silence_of_one_threshold_hides_nothing_of_another_that_is_as_bad_as_before() {
    let mut stage = with_a_rare_one(first_back(&[("f1", 100.0, 50.0)]));
    stage.pass(32);
    assert!(matches!(stopped(&stage), Some(HoldReason::NoImprovement { .. })));
}

#[test]
fn without_requests_a_later_region_is_well_after_half_a_minute() {
    let mut stage = second_back(&[("f1", 1000.0, 0.0), ("m1", 0.0, 0.0)]);
    stage.pass(30);
    assert_eq!(confirmed(&stage), ["fra"]);
    stage.look();
    assert_eq!(confirmed(&stage), ["fra", "iad"]);
}

/// Five good requests are no proof: the first region is given three times half a minute for more.
#[test]
fn a_few_good_requests_confirm_the_first_region_in_the_end() {
    let mut stage = first_back(&[("f1", 5.0, 0.0)]);
    stage.look();
    stage.serves.clear();
    // The page can be read all the time.
    stage.serves = vec![("f1", 0.0, 0.0)];
    stage.pass(88);
    assert_eq!(confirmed(&stage), [""; 0]);
    stage.pass(4);
    assert_eq!(confirmed(&stage), ["fra"]);
}

#[test]
fn a_few_good_requests_confirm_a_later_region_after_half_a_minute() {
    let mut stage = second_back(&[("m1", 5.0, 0.0)]);
    stage.look();
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(28);
    assert_eq!(confirmed(&stage), ["fra"]);
    stage.look();
    assert_eq!(confirmed(&stage), ["fra", "iad"]);
}

#[test]
fn a_few_requests_that_lean_towards_the_bad_share_confirm_nothing() {
    for back in [first_back, |_: &[Serves]| second_back(&[])] {
        let mut stage = back(&[]);
        let before = confirmed(&stage);
        // One bad of three; then silence.
        stage.serves = vec![("f1", 3.0, 1.0), ("m1", 3.0, 1.0)];
        stage.look();
        stage.serves = vec![("f1", 0.0, 0.0), ("m1", 0.0, 0.0)];
        stage.pass(200);
        assert_eq!(confirmed(&stage), before);
        assert!(matches!(told(&stage), Some(Wait::NoEvidence { threshold: None, .. })));
    }
}

#[test]
fn a_first_region_that_is_as_bad_as_before_ends_the_rollback_after_half_a_minute() {
    let mut stage = first_back(&[("f1", 100.0, 50.0)]);
    stage.pass(30);
    assert_eq!(stopped(&stage), None, "for bad news all the time is used");
    stage.look();
    let Some(HoldReason::NoImprovement { region, detail }) = stopped(&stage) else {
        panic!("{:?}", stage.state.phase)
    };
    assert_eq!(region.as_str(), "fra");
    assert!(matches!(detail, Unwell::NoBetter { threshold, .. } if threshold == "5xx"));
}

/// Going back helped once: where it does not seem to it is waited for, and told.
#[test]
fn a_later_region_that_is_as_bad_as_before_is_waited_for() {
    let mut stage = second_back(&[("m1", 100.0, 50.0)]);
    stage.pass(60);
    assert!(
        matches!(told(&stage), Some(Wait::Unhealthy { region, .. }) if region.as_str() == "iad")
    );
    stage.pass(300);
    assert_eq!(stopped(&stage), None);
    assert_eq!(confirmed(&stage), ["fra"]);
    stage.serves = vec![("m1", 1000.0, 0.0)];
    stage.pass(200);
    assert_eq!(confirmed(&stage), ["fra", "iad"]);
}

#[test]
fn machines_that_stay_down_end_the_rollback_of_a_release_whose_checks_failed() {
    let mut stage = first_back_of_checks();
    fail_checks(stage.machine("f1"));
    stage.pass(88);
    assert_eq!(stopped(&stage), None, "three times half a minute");
    stage.pass(4);
    let Some(HoldReason::NoImprovement { detail, .. }) = stopped(&stage) else {
        panic!("{:?}", stage.state.phase)
    };
    assert_eq!(*detail, Unwell::Down { machines: vec!["f1".into()] });
}

/// The breach was one of requests: what machines do says nothing of whether going back helps.
#[test]
fn machines_that_stay_down_are_waited_for_where_requests_had_failed() {
    let mut stage = first_back(&[("f1", 1000.0, 0.0)]);
    fail_checks(stage.machine("f1"));
    stage.pass(88);
    assert_eq!(told(&stage), None);
    stage.pass(200);
    assert!(matches!(told(&stage), Some(Wait::Unhealthy { .. })));
    assert_eq!((stopped(&stage), confirmed(&stage)), (None, Vec::new()));
}

#[test]
fn machines_of_a_later_region_that_stay_down_are_waited_for() {
    let mut stage = first_back_of_checks();
    while stage.pending(stage::puts("m1")).is_none() {
        stage.look();
    }
    stage.put_back("m1");
    fail_checks(stage.machine("m1"));
    stage.pass(300);
    assert_eq!((stopped(&stage), confirmed(&stage)), (None, vec!["fra".to_owned()]));
    assert!(matches!(told(&stage), Some(Wait::Unhealthy { .. })));
}

#[test]
fn one_that_could_not_be_started_is_down_without_any_check() {
    let mut stage = first_back_of_checks();
    stage.machine("f1").state = MachineState::Failed;
    stage.pass(92);
    assert!(matches!(stopped(&stage), Some(HoldReason::NoImprovement { .. })));
}

#[test]
fn a_check_that_failed_when_the_target_was_trusted_speaks_against_nothing() {
    let mut stage = first_back_of_checks();
    fail_checks(stage.machine("f1"));
    let failing = state::FailingChecks::from([("f1".into(), ["http".to_owned()].into())]);
    let Phase::RollingBack(rollback) = &mut stage.state.phase else { panic!() };
    rollback.tolerated = failing;
    stage.pass(34);
    assert_eq!(confirmed(&stage), ["fra"]);
}

#[test]
fn a_process_that_ends_with_an_error_speaks_against_a_region() {
    let mut stage = first_back_of_checks();
    stage.pass(4);
    let exit = crate::model::ExitEvent {
        at: at(stage.second + 1),
        started_at: None,
        exit_code: 1,
        oom_killed: false,
        requested_stop: false,
    };
    stage.machine("f1").exits = vec![exit];
    stage.pass(28);
    assert_eq!(confirmed(&stage), [""; 0]);
    // Another half minute in which it does not happen again.
    stage.pass(30);
    assert_eq!(confirmed(&stage), ["fra"]);
}

#[test]
fn a_first_region_that_went_to_rest_proves_nothing() {
    let mut stage = first_back(&[("f1", 0.0, 0.0)]);
    stage.machine("f1").state = MachineState::Stopped;
    stage.pass(88);
    assert_eq!(confirmed(&stage), [""; 0]);
    stage.pass(4);
    assert_eq!(confirmed(&stage), ["fra"]);
    // The next one has to show that going back helps.
    assert_eq!(in_flight(&stage), 1);
    stage.serves = vec![("m1", 100.0, 50.0)];
    stage.put_back("m1");
    stage.pass(32);
    assert!(matches!(stopped(&stage), Some(HoldReason::NoImprovement { .. })));
}

#[test]
fn a_later_region_that_went_to_rest_is_done_with() {
    let mut stage = second_back(&[]);
    stage.machine("m1").state = MachineState::Stopped;
    stage.pass(32);
    assert_eq!(confirmed(&stage), ["fra", "iad"]);
}

/// Not all of it rests, and what does not is not seen to be up either.
#[test]
fn a_machine_on_its_way_is_no_machine_that_is_up() {
    let mut stage = first_back_of_checks();
    stage.machine("f1").state = MachineState::Transient(Transition::Starting);
    stage.pass(200);
    assert_eq!(confirmed(&stage), [""; 0]);
    stage.machine("f1").state = MachineState::Started;
    stage.pass(32);
    assert_eq!(confirmed(&stage), ["fra"]);
}

/// What was counted before says nothing of a region that nobody can see now.
#[test]
fn good_news_is_taken_only_of_a_region_that_is_seen() {
    let mut stage = first_back(&[("f1", 1000.0, 0.0)]);
    stage.look();
    stage.no_page = Some("refused".to_owned());
    stage.serves.clear();
    stage.pass(200);
    assert_eq!(confirmed(&stage), [""; 0]);
    let what = Unseen::Metrics;
    assert_eq!(told(&stage), Some(Wait::NotSeen { region: Some("fra".into()), what }));
    stage.no_page = None;
    stage.serves = vec![("f1", 10.0, 0.0)];
    stage.pass(4);
    assert_eq!(confirmed(&stage), ["fra"]);
}

/// Other pages can be read, and none of this region: after five scrapes it is not seen.
#[test]
fn a_region_whose_pages_cannot_be_read_is_not_confirmed() {
    let mut stage = first_back(&[("f1", 5.0, 0.0)]);
    stage.look();
    stage.serves = vec![("m1", 100.0, 50.0)];
    stage.pass(200);
    assert_eq!(confirmed(&stage), [""; 0]);
    let what = Unseen::RegionsPages;
    assert_eq!(told(&stage), Some(Wait::NotSeen { region: Some("fra".into()), what }));
    // Its page was read ten seconds ago.
    let mut stage = first_back(&[("f1", 0.0, 0.0)]);
    stage.pass(84);
    stage.serves = vec![("f1", 5.0, 0.0)];
    stage.look();
    stage.serves = vec![("m1", 100.0, 50.0)];
    stage.pass(6);
    assert_eq!(confirmed(&stage), ["fra"]);
}

#[test]
fn a_region_that_no_list_has_is_not_confirmed() {
    let mut stage = first_back(&[("f1", 5.0, 0.0), ("m1", 100.0, 50.0)]);
    stage.pass(4);
    stage.serves.remove(0);
    let f1 = stage.machines.remove(0);
    stage.pass(200);
    assert_eq!(confirmed(&stage), [""; 0]);
    assert!(matches!(told(&stage), Some(Wait::Unlisted { region }) if region.as_str() == "fra"));
    stage.machines.insert(0, f1);
    stage.serves = vec![("f1", 1000.0, 0.0)];
    stage.pass(4);
    assert_eq!(confirmed(&stage), ["fra"]);
}

fn in_flight(stage: &Stage) -> usize {
    let pending = stage.state.memory.pending.values();
    pending.filter(|command| matches!(command, Command::PutImage(_))).count()
}
