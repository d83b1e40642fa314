//! What of a round is the watched release's: whose counts, whose exits, and for how long they count.

#![expect(clippy::float_cmp, reason = "whole requests, exactly counted")]

use std::collections::BTreeMap;

use super::{
    stage::{Stage, fail_checks, put, ratio},
    *,
};
use crate::decide::distress;
use crate::model::{Count, Crashes, ExitEvent, MachineSample, Oddity, Readings, Since, SourceName};

/// v2 was just shipped, and its requests decide.
fn by_requests() -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.machine("m1").has_services = true;
    stage.ship(2, "sha256:2");
    stage
}

/// The same, where exits decide.
fn by_exits(mut stage: Stage) -> Stage {
    let crashes = Crashes { exits: 2, oom: 1, failing: 0.3 };
    stage.policy.thresholds[0] =
        Threshold { kind: ThresholdKind::Crashes(crashes), ..stage.policy.thresholds[0].clone() };
    stage
}

fn watch(stage: &Stage) -> &Watch {
    match &stage.state.phase {
        Phase::Watching(watch) => watch,
        other => panic!("{other:?}"),
    }
}

fn counts(n: f64, since: Since) -> Readings {
    let counts = [("5xx".to_owned(), Count { n, k: 0.0, since })].into();
    Readings { counts, ..Readings::default() }
}

/// A round, two seconds later, in which m1's page says this of that instance.
fn reads(stage: &mut Stage, instance: &str, readings: Readings) {
    stage.second += 2;
    let now = at(stage.second);
    let sample = MachineSample {
        machine: "m1".into(),
        instance: instance.into(),
        source: SourceName::Pages,
        readings: Ok(readings),
    };
    stage.tell(&Input::Observed(Observation {
        began: now,
        machines: Ok(stage.machines.clone()),
        ledger: stage.ledger.clone(),
        secrets: None,
        samples: vec![sample],
        blind: BTreeMap::new(),
        org: OrgContext::default(),
    }));
}

fn counted(stage: &Stage) -> f64 {
    let tally = watch(stage).thresholds["5xx"].region(&"iad".into());
    tally.unwrap_or_default().n
}

#[test]
fn only_the_instance_that_is_listed_and_up_is_counted() {
    let mut stage = by_requests();
    let instance = stage.machine("m1").instance.clone();
    let page = || counts(10.0, Since::LastScrape);
    reads(&mut stage, instance.as_str(), page());
    assert_eq!(counted(&stage), 10.0);
    reads(&mut stage, "another", page());
    assert_eq!(counted(&stage), 10.0);
    reads(&mut stage, instance.as_str(), Readings { unconfirmed: true, ..page() });
    assert_eq!(counted(&stage), 10.0, "no list has confirmed that process");
    stage.machine("m1").state = MachineState::Stopped;
    reads(&mut stage, instance.as_str(), page());
    assert_eq!(counted(&stage), 10.0);
}

/// What a process counted before the first look is the release's if the process is, and once.
#[test]
fn the_past_of_a_process_counts_once_and_only_if_it_began_with_the_release() {
    for (began, counts_it) in [(0, true), (-60, true), (-61, false)] {
        let mut stage = by_requests();
        let since = stage.second + 2;
        stage.machine("m1").started_at = Some(at(since + began));
        let instance = stage.machine("m1").instance.clone();
        reads(&mut stage, instance.as_str(), counts(10.0, Since::ProcessStart));
        let first = if counts_it { 10.0 } else { 0.0 };
        assert_eq!(counted(&stage), first, "{began} s");
        reads(&mut stage, instance.as_str(), counts(10.0, Since::ProcessStart));
        assert_eq!(counted(&stage), first, "{began} s");
        reads(&mut stage, instance.as_str(), counts(1.0, Since::LastScrape));
        assert_eq!(counted(&stage), first + 1.0, "{began} s");
    }
    let mut stage = by_requests();
    stage.machine("m1").started_at = None;
    let instance = stage.machine("m1").instance.clone();
    reads(&mut stage, instance.as_str(), counts(10.0, Since::ProcessStart));
    assert_eq!(counted(&stage), 0.0, "nobody says when it began");
}

/// A list may lack a machine for a round: its counters are still known.
#[test]
fn the_processes_that_were_counted_are_remembered() {
    let mut stage = by_requests();
    let instance = stage.machine("m1").instance.clone();
    reads(&mut stage, instance.as_str(), counts(10.0, Since::ProcessStart));
    let listed = std::mem::take(&mut stage.machines);
    let mut other = listed[0].clone();
    other.id = "m2".into();
    other.instance = "m2-1".into();
    stage.machines.push(other);
    stage.look();
    assert!(watch(&stage).absorbed.contains(&instance));
    assert!(watch(&stage).machines.contains_key(&"m1".into()));
    // More than two thousand of them are too many.
    let Phase::Watching(watching) = &mut stage.state.phase else { panic!() };
    for n in 0..2001 {
        let id = format!("old{n}");
        watching.absorbed.insert(id.as_str().into());
        let seen = watching.machines[&"m1".into()].clone();
        watching.machines.insert(id.as_str().into(), seen);
    }
    stage.look();
    assert!(watch(&stage).absorbed.is_empty(), "none of them is listed");
    let seen: Vec<&str> =
        watch(&stage).machines.keys().map(crate::model::MachineId::as_str).collect();
    assert_eq!(seen, ["m2"]);
}

fn crashed(second: i64) -> ExitEvent {
    ExitEvent {
        at: at(second),
        started_at: None,
        exit_code: 1,
        oom_killed: false,
        requested_stop: false,
    }
}

fn exits(stage: &Stage) -> Option<f64> {
    let state = watch(stage).thresholds.values().next()?;
    state.exits_per_machine()
}

#[test]
fn exits_since_a_machine_was_placed_are_the_release_s_and_of_what_ran_before_us_those_we_saw() {
    let mut stage = by_exits(Stage::trusted(&["m1"]));
    stage.ship(2, "sha256:2");
    let placed = stage.second;
    stage.second += 30;
    stage.machine("m1").exits = vec![crashed(placed + 10), crashed(placed - 10)];
    stage.look();
    assert_eq!(exits(&stage), Some(1.0));

    let mut learning = by_exits(Stage::unknown(&["m1"]));
    learning.second = 100;
    learning.machine("m1").placed_at = Some(at(0));
    learning.machine("m1").exits = vec![crashed(50)];
    learning.look();
    assert_eq!(exits(&learning), Some(0.0));
    learning.machine("m1").exits.insert(0, crashed(103));
    learning.look();
    assert_eq!(exits(&learning), Some(1.0));
}

#[test]
fn the_exits_of_a_release_are_remembered_when_it_is_trusted() {
    let mut stage = by_exits(Stage::trusted(&["m1", "m2"]));
    stage.ship(2, "sha256:2");
    let second = stage.second;
    stage.machine("m1").exits = vec![crashed(second + 3)];
    stage.pass(70);
    assert_eq!(stage.state.memory.trusted[0].crashes_per_machine, 0.5);
}

/// It ended without an error: under the known-good release its group stayed up.
#[test]
fn a_worker_that_ends_is_down_where_its_group_stayed_up() {
    let degraded = |stayed_up: bool| {
        let mut stage = by_exits(Stage::trusted(&["m1"]));
        if !stayed_up {
            stage.state.memory.trusted[0].stayed_up.clear();
        }
        stage.ship(2, "sha256:2");
        stage.look();
        let second = stage.second + 1;
        let machine = stage.machine("m1");
        machine.state = MachineState::Stopped;
        machine.exits = vec![ExitEvent { exit_code: 0, ..crashed(second) }];
        stage.pass(30);
        stage.told(EventKind::ReleaseDegraded).len()
    };
    assert_eq!((degraded(true), degraded(false)), (1, 0));
}

/// The alarm of before says nothing of now when nobody looked for a minute, or three idle rounds.
#[test]
fn after_an_absence_an_alarm_of_before_is_forgotten() {
    for (idle, gap, forgotten) in
        [(15, 60, false), (15, 62, true), (60, 170, false), (60, 182, true)]
    {
        let mut stage = by_requests();
        stage.policy.watch.idle_scrape_every = Duration::from_secs(idle);
        // The others are to be heard first: it is not acted on.
        stage.org.listening = true;
        stage.serves = vec![("m1", 100.0, 50.0)];
        stage.pass(60);
        assert_eq!(watch(&stage).evidence[0].verdict, crate::model::Verdict::Breach);
        stage.serves.clear();
        stage.second += gap - 2;
        stage.look();
        let breaches = watch(&stage).evidence[0].verdict == crate::model::Verdict::Breach;
        assert_eq!(breaches, !forgotten, "{gap} s");
    }
}

#[test]
fn what_is_clearly_over_begins_the_bake_anew() {
    let mut stage = by_requests();
    stage.policy.thresholds.push(policy(Mode::Rollback).thresholds.remove(0));
    stage.org.listening = true;
    stage.serves = vec![("m1", 100.0, 50.0)];
    stage.pass(60);
    assert_eq!(watch(&stage).recovered_at, None);
    stage.serves = vec![("m1", 100.0, 0.0)];
    stage.pass(60);
    assert!(watch(&stage).recovered_at.is_some());
}

/// After half an hour of silence the requests are those of a new beginning.
#[test]
fn half_an_hour_of_silence_ends_what_requests_have_earned() {
    for (silence, anew) in [(1798, false), (1800, false), (1802, true)] {
        let mut stage = by_requests();
        stage.policy.watch.bake = Duration::from_secs(1500);
        stage.serves = vec![("m1", 1.0, 0.0)];
        stage.pass(20);
        let begun = watch(&stage).traffic_since;
        stage.serves = vec![("m1", 0.0, 0.0)];
        stage.pass(silence - 2);
        stage.serves = vec![("m1", 1.0, 0.0)];
        stage.look();
        let want = if anew { Some(at(stage.second)) } else { begun };
        assert_eq!(watch(&stage).traffic_since, want, "{silence} s");
    }
}

/// Only machines of the same groups are compared with it.
#[test]
fn another_group_of_the_known_good_release_is_no_control() {
    for (group, compared) in [("app", true), ("worker", false)] {
        let mut stage = Stage::trusted(&["m1", "m2"]);
        stage.policy.thresholds = vec![ratio()];
        stage.machine("m2").group = group.into();
        stage.announce(2, "sha256:2");
        let now = at(stage.second);
        put(stage.machine("m1"), 2, "sha256:2", now);
        stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 1.0)];
        stage.pass(6);
        assert_eq!(watch(&stage).evidence[0].control.is_some(), compared, "{group}");
    }
    // What is neither the release nor the known-good one is none either.
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 1.0)];
    stage.look();
    stage.machine("m2").image.digest = Some(Digest::new("sha256:7"));
    stage.pass(6);
    assert_eq!(watch(&stage).evidence[0].control, None);
}

/// A mistyped name must not pass for a healthy release; a process that just started may not have made
/// its series yet.
#[test]
fn a_selector_that_matches_nothing_is_told_of_after_five_rounds_once() {
    let mut stage = by_requests();
    let instance = stage.machine("m1").instance.clone();
    let page = || Readings { unmatched: ["5xx".to_owned()].into(), ..Readings::default() };
    for _ in 0..4 {
        reads(&mut stage, instance.as_str(), page());
    }
    assert!(stage.told(EventKind::MonitorBlind).is_empty());
    for _ in 0..10 {
        reads(&mut stage, instance.as_str(), page());
    }
    let told = stage.told(EventKind::MonitorBlind);
    assert_eq!(told.len(), 1, "{told:?}");
    let unmatched = matches!(&told[0].reason, Some(Reason::Unmatched { threshold, .. })
        if threshold == "5xx");
    assert!(unmatched, "{:?}", told[0].reason);
}

#[test]
fn a_selector_that_matches_somewhere_is_not_told_of() {
    let mut stage = by_requests();
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(40);
    assert!(stage.told(EventKind::MonitorBlind).is_empty());
}

#[test]
fn a_page_that_cannot_be_judged_is_told_of_once() {
    let mut stage = by_requests();
    let instance = stage.machine("m1").instance.clone();
    for _ in 0..5 {
        let oddity = Oddity::Overflow { series: "bad".to_owned() };
        let oddities = [("5xx".to_owned(), oddity)].into();
        let page = Readings { oddities, ..counts(10.0, Since::LastScrape) };
        reads(&mut stage, instance.as_str(), page);
    }
    let told = stage.told(EventKind::MonitorBlind);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(told[0].reason, Some(Reason::Unjudgeable { .. })), "{:?}", told[0].reason);
}

/// A steady app bears witness, and says where it is.
#[test]
fn a_steady_app_whose_requests_fail_is_in_distress() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.machine("m1").has_services = true;
    stage.serves = vec![("m1", 100.0, 0.0)];
    stage.pass(20);
    assert_eq!(distress::of(&stage.state), None);
    stage.serves = vec![("m1", 100.0, 50.0)];
    stage.pass(2);
    let since = at(stage.second);
    stage.pass(10);
    let distress = distress::of(&stage.state).unwrap();
    assert_eq!((distress.since, distress.deployed), (since, false));
    assert_eq!(distress.regions, [crate::model::Region::new("iad")].into());
}

#[test]
fn a_release_in_distress_says_so_from_its_first_suspicion() {
    let mut stage = by_requests();
    stage.pass(4);
    assert_eq!(distress::of(&stage.state), None);
    stage.serves = vec![("m1", 100.0, 50.0)];
    stage.pass(2);
    let since = at(stage.second);
    let is = |stage: &Stage| distress::of(&stage.state).map(|one| (one.since, one.deployed));
    assert_eq!(is(&stage), Some((since, true)));
    stage.policy.mode = Mode::Observe;
    stage.pass(60);
    assert!(matches!(stage.state.phase, Phase::Held { .. }));
    assert_eq!(is(&stage), Some((since, true)));
}

#[test]
fn a_rollback_is_distress_in_the_regions_that_are_left() {
    let mut stage = Stage::trusted(&["f1", "m1"]);
    stage.machine("f1").region = "fra".into();
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.begin();
    stage.look();
    stage.put_back("f1");
    stage.pass(40);
    let distress = distress::of(&stage.state).unwrap();
    assert!(distress.deployed);
    assert_eq!(distress.regions, [crate::model::Region::new("iad")].into());
    stage.undo();
    assert_eq!(distress::of(&stage.state), None);
}

#[test]
fn a_release_is_told_of_with_what_it_would_be_undone_to() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.begin();
    let known_good = stage.told(EventKind::ReleaseDegraded)[0].known_good.clone();
    assert_eq!(known_good.and_then(|info| info.version), Some(ReleaseVersion(1)));
}

/// A few failures in every round add up.
#[test]
fn a_steady_app_whose_requests_fail_now_and_then_is_in_distress_in_the_end() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.machine("m1").has_services = true;
    stage.serves = vec![("m1", 10.0, 1.0)];
    stage.pass(4);
    assert_eq!(distress::of(&stage.state), None);
    stage.pass(26);
    assert!(distress::of(&stage.state).is_some());
}

/// The first page of a machine is read when its warm-up is over: what it counted until then is in it.
#[test]
fn what_fails_in_a_warm_up_is_not_counted_by_a_page_that_is_read_late() {
    // given: a policy with a warm-up, and a release whose pages are not read at once
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.warm_up = Duration::from_secs(10);
    stage.ship(2, "sha256:2");
    stage.pass(14);
    // when: the first page has all failures of the start, and nothing fails later
    stage.since = crate::model::Since::ProcessStart;
    stage.serves = vec![("m1", 300.0, 200.0)];
    stage.look();
    stage.since = crate::model::Since::LastScrape;
    stage.serves = vec![("m1", 100.0, 0.0)];
    stage.pass(60);
    // then
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!(watch.evidence[0].bad, 0.0);
}
