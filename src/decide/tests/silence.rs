//! An app that answers nothing any more is found by those of its machines that can be read.

use super::{
    stage::{Stage, ratio},
    *,
};
use crate::model::{Note, Well};

const SERVES: [(&str, f64, f64); 2] = [("m1", 100.0, 0.0), ("m2", 100.0, 0.0)];
const SILENT: [(&str, f64, f64); 2] = [("m1", 0.0, 0.0), ("m2", 0.0, 0.0)];

/// v1 serves on m1 and m2 for an hour, and two apps beside it do; w1, of another group, counts nothing.
fn served(groups: &[(&str, &str)]) -> Stage {
    let mut ids = vec!["m1", "m2"];
    ids.extend(groups.iter().map(|(id, _)| *id));
    let mut stage = Stage::unknown(&ids);
    for (id, group) in groups {
        stage.machine(id).group = (*group).into();
    }
    for machine in &mut stage.machines {
        machine.started_at = Some(at(-1));
    }
    for id in ["m1", "m2"] {
        stage.machine(id).has_services = true;
    }
    stage.policy.thresholds.push(ratio());
    stage.serves = SERVES.to_vec();
    stage.pass(3900 + 600);
    assert_eq!(stage.state.phase.word(), "steady", "{:?}", stage.events);
    let well = Well { since: [("iad".into(), at(stage.second + 100_000))].into() };
    stage.org.well = ["web", "shop"].iter().map(|app| (AppName::new(*app), well.clone())).collect();
    stage.events.clear();
    stage
}

fn is_told(stage: &Stage) -> bool {
    let mut told = stage.told(EventKind::ReleaseDegraded).into_iter();
    told.any(|event| event.evidence.iter().any(|one| matches!(one.note, Some(Note::Quiet { .. }))))
}

#[test]
fn a_worker_that_counts_no_requests_does_not_hide_that_the_web_answers_nothing() {
    let mut stage = served(&[("w1", "worker")]);
    stage.serves = SILENT.to_vec();
    stage.pass(180);
    assert!(is_told(&stage), "{:?}", stage.state.memory.silence);
}

/// One that starts may have its page later; one of a group that never counted any has none.
#[test]
fn neither_does_a_worker_that_starts_again_and_again() {
    let mut stage = served(&[("w1", "worker")]);
    stage.serves = SILENT.to_vec();
    for _ in 0..18 {
        stage.machine("w1").started_at = Some(at(stage.second));
        stage.pass(10);
    }
    assert!(is_told(&stage), "{:?}", stage.state.memory.silence);
}

#[test]
fn a_machine_that_cannot_be_read_for_good_does_not_hide_it_either() {
    let mut stage = served(&[("m3", "app")]);
    stage.serves = SILENT.to_vec();
    stage.pass(180);
    assert!(is_told(&stage), "{:?}", stage.state.memory.silence);
}

#[test]
fn a_page_that_is_missing_now_and_then_does_not_begin_the_silence_anew() {
    let mut stage = served(&[]);
    for _ in 0..20 {
        stage.serves = SILENT.to_vec();
        stage.pass(8);
        stage.serves.pop();
        stage.look();
    }
    assert!(is_told(&stage), "{:?}", stage.state.memory.silence);
}

/// It may be the one that answers all of them.
#[test]
fn a_machine_that_was_read_until_now_is_waited_for() {
    let mut stage = served(&[]);
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(3600 * 3);
    assert!(!is_told(&stage), "{:?}", stage.state.memory.silence);
}

/// What a machine answered before it went to sleep says nothing of what it is due now.
#[test]
fn a_machine_that_slept_is_not_expected_to_answer_what_it_did_before() {
    // given: m2 answered as much as m1 until it was stopped, hours ago
    let mut stage = served(&[]);
    stage.machine("m2").state = MachineState::Stopped;
    stage.serves = vec![("m1", 100.0, 0.0)];
    stage.pass(4 * 3600);
    // when: the next release starts it, and m1 goes on to serve all there is
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = crate::model::ReleaseStatus::Running;
    let now = at(stage.second);
    super::stage::put(stage.machine("m2"), 2, "sha256:2", now);
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 0.0, 0.0)];
    stage.pass(60);
    // then
    assert_eq!(stage.told(EventKind::ReleaseDegraded), Vec::<&Event>::new());
}

fn counts(stage: &mut Stage, metric: &str) {
    let ThresholdKind::Ratio(ratio) = &mut stage.policy.thresholds[1].kind else { panic!() };
    ratio.total = crate::model::Selector::metric(metric);
}

/// What is counted now may be silent for minutes every day.
#[test]
fn what_a_changed_policy_counts_is_no_silence_of_what_was_counted_before() {
    // Given an app that answers all the time
    let mut stage = served(&[]);
    // When the policy counts its orders instead, of which there is one in an hour
    counts(&mut stage, "orders");
    stage.serves = SILENT.to_vec();
    stage.pass(600);
    // Then that is no silence
    assert!(!is_told(&stage), "{:?}", stage.state.memory.silence);
}

#[test]
fn so_it_is_where_a_threshold_is_renamed_and_not_where_one_is_added() {
    let other = || {
        let mut other = ratio();
        other.name = "other".to_owned();
        other
    };
    let mut renamed = served(&[]);
    renamed.policy.thresholds[1] = other();
    let mut added = served(&[]);
    added.policy.thresholds.push(other());
    for (stage, told) in [(&mut renamed, false), (&mut added, true)] {
        stage.serves = SILENT.to_vec();
        stage.pass(300);
        assert_eq!(is_told(stage), told, "{:?}", stage.state.memory.silence);
    }
}
