//! What is not known, and why: each a state of its own, in what is shown and in what is told.

use super::{
    stage::{Stage, ratio},
    *,
};
use crate::model::{MachineSample, NotFed, Oddity, Readings, SourceName, Unknown};

/// v1 is trusted, and v2 was just put on both machines.
fn watching() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.bake = Duration::from_secs(60);
    stage.ship(2, "sha256:2");
    for id in ["m1", "m2"] {
        stage.machine(id).has_services = true;
    }
    stage
}

/// What is shown of the only threshold.
fn shown(stage: &Stage) -> Option<Unknown> {
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    let all =
        crate::decide::sight::unknown(&stage.policy, &stage.state.memory, watch, at(stage.second));
    all.into_iter().map(|(name, unknown)| (assert_eq!(name, "5xx"), unknown).1).next()
}

/// Rounds for so many seconds in which every page says this.
fn pages_say(stage: &mut Stage, seconds: i64, readings: &Readings) {
    let until = stage.second + seconds;
    while stage.second < until {
        stage.second += 2;
        let sample = |machine: &Machine| MachineSample {
            machine: machine.id.clone(),
            instance: machine.instance.clone(),
            source: SourceName::Pages,
            readings: Ok(readings.clone()),
        };
        let now = at(stage.second);
        let input = Input::Observed(Observation {
            began: now,
            machines: Ok(stage.machines.clone()),
            ledger: stage.ledger.clone(),
            secrets: None,
            samples: stage.machines.iter().map(sample).collect(),
            blind: std::collections::BTreeMap::new(),
            org: stage.org.clone(),
        });
        stage.tell(&input);
    }
}

fn reasons(stage: &Stage, kind: EventKind) -> Vec<&Reason> {
    stage.told(kind).into_iter().filter_map(|event| event.reason.as_ref()).collect()
}

#[test]
fn a_release_that_nobody_asked_anything_is_never_exercised_and_that_is_told_with_its_bake() {
    let mut stage = watching();
    stage.serves = vec![("m1", 0.0, 0.0), ("m2", 0.0, 0.0)];
    stage.pass(30);
    assert_eq!(shown(&stage), Some(Unknown::NeverExercised));
    stage.pass(120);
    let told = reasons(&stage, EventKind::ReleaseBaked);
    let want = Reason::NoRequests { threshold: "5xx".to_owned(), seconds: None };
    assert_eq!(told, [&want]);
}

#[test]
fn requests_that_stopped_are_no_traffic_since_then() {
    let mut stage = watching();
    stage.serves = vec![("m1", 1.0, 0.0), ("m2", 1.0, 0.0)];
    stage.pass(10);
    assert_eq!(shown(&stage), None);
    let since = at(stage.second);
    stage.serves = vec![("m1", 0.0, 0.0), ("m2", 0.0, 0.0)];
    stage.pass(58);
    assert_eq!(shown(&stage), None, "a pause is none");
    stage.pass(4);
    assert_eq!(shown(&stage), Some(Unknown::NoTraffic { since }));
    stage.pass(80);
    let told = reasons(&stage, EventKind::ReleaseBaked);
    assert!(
        matches!(told[..], [Reason::NoRequests { seconds: Some(seconds), .. }] if *seconds > 60),
        "{told:?}"
    );
    // and it is over with the next request
    stage.serves = vec![("m1", 1.0, 0.0)];
    stage.pass(2);
    assert_eq!(shown(&stage), None);
}

#[test]
fn pages_that_cannot_be_read_are_the_monitor_and_no_silence() {
    let mut stage = watching();
    stage.no_page = Some("refused".to_owned());
    stage.pass(20);
    assert_eq!(shown(&stage), Some(Unknown::MonitorDown { source: SourceName::Pages }));
    assert!(matches!(
        reasons(&stage, EventKind::MonitorBlind)[..],
        [Reason::MetricsUnreadable { .. }]
    ));
    stage.unreadable = Some("503".to_owned());
    stage.pass(4);
    assert_eq!(shown(&stage), Some(Unknown::PlatformDown));
}

#[test]
fn what_a_selector_or_a_bucket_or_a_label_lacks_is_told_once_and_its_end_too() {
    let name = || "5xx".to_owned();
    let odd =
        |oddity: Oddity| Readings { oddities: [(name(), oddity)].into(), ..Readings::default() };
    let seen = vec!["method".to_owned()];
    let no_label = || Unknown::NoLabel { label: "path".to_owned() };
    let cases = [
        (Readings { unmatched: [name()].into(), ..Readings::default() }, Unknown::NoSeries),
        (odd(Oddity::NoBucket { bound_s: 2.0, last_s: Some(1.0) }), Unknown::NoBucket),
        (odd(Oddity::NotBy { label: "path".to_owned(), seen: seen.clone() }), no_label()),
        (odd(Oddity::NoLabel { label: "path".to_owned(), seen }), no_label()),
        (odd(Oddity::Refused { detail: "parse error".to_owned() }), Unknown::Refused),
        (odd(Oddity::SeveralProcesses { series: "all".to_owned() }), Unknown::Contradiction),
        (
            odd(Oddity::Unanswered { detail: "503".to_owned() }),
            Unknown::MonitorDown { source: SourceName::Pages },
        ),
    ];
    for (readings, want) in cases {
        let mut stage = watching();
        // when: it is so, is over, and is so again
        pages_say(&mut stage, 40, &readings);
        assert_eq!(shown(&stage), Some(want.clone()));
        stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0)];
        stage.pass(6);
        assert_eq!(shown(&stage), None, "{want:?}");
        pages_say(&mut stage, 20, &readings);
        stage.pass(6);
        // then: both were told once
        assert_eq!(reasons(&stage, EventKind::MonitorBlind).len(), 1, "{want:?}");
        let over = reasons(&stage, EventKind::MonitorRecovered);
        assert_eq!(over, [&Reason::Judgeable { threshold: name() }], "{want:?}");
        assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0);
    }
}

#[test]
fn what_cannot_apply_to_an_app_is_no_fault_of_the_selector() {
    let mut stage = watching();
    for id in ["m1", "m2"] {
        stage.machine(id).has_services = false;
        stage.machine(id).metrics = Some(crate::model::MetricsPage {
            port: 9091,
            path: "/metrics".to_owned(),
            https: false,
        });
    }
    stage.ship(3, "sha256:3");
    pages_say(
        &mut stage,
        60,
        &Readings { unmatched: ["5xx".to_owned()].into(), ..Readings::default() },
    );
    assert_eq!(shown(&stage), Some(Unknown::NotFed(NotFed::NoSeries)));
}

#[test]
fn a_steady_app_says_so_as_well() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.machine("m1").has_services = true;
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(20);
    let vigil = stage.state.memory.vigil.watch().unwrap();
    let all =
        crate::decide::sight::unknown(&stage.policy, &stage.state.memory, vigil, at(stage.second));
    assert_eq!(all, [("5xx".to_owned(), Unknown::NeverExercised)]);
}

#[test]
fn every_state_has_a_word_and_says_what_it_is() {
    let since = at(0);
    let all = [
        Unknown::PlatformDown,
        Unknown::MonitorDown { source: SourceName::Server("victoria".to_owned()) },
        Unknown::NotFed(NotFed::NoPage),
        Unknown::NoSeries,
        Unknown::NoBucket,
        Unknown::NoLabel { label: "path".to_owned() },
        Unknown::Refused,
        Unknown::Contradiction,
        Unknown::NeverExercised,
        Unknown::NoTraffic { since },
        Unknown::NoValue { since: Some(since) },
        Unknown::NothingStarted,
        Unknown::NoChecks,
        Unknown::NoFreshResult,
    ];
    assert_eq!(all.each_ref().map(Unknown::as_str), Unknown::WORDS);
}

/// A selector that no page has a series of.
fn unmatched() -> Readings {
    Readings { unmatched: ["5xx".to_owned()].into(), ..Readings::default() }
}

/// v1 is trusted, and serves; then the configuration is changed to a threshold that is mistyped.
fn steady_with_a_mistyped_selector() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    for id in ["m1", "m2"] {
        stage.machine(id).has_services = true;
    }
    stage.pass(60);
    stage.policy.thresholds.push(ratio());
    stage
}

#[test]
fn a_mistyped_selector_is_told_once_while_an_app_is_steady() {
    let mut stage = steady_with_a_mistyped_selector();
    pages_say(&mut stage, 60, &unmatched());
    assert_eq!(stage.state.phase.word(), "steady");
    let told = reasons(&stage, EventKind::MonitorBlind);
    assert!(matches!(told[..], [Reason::Unmatched { .. }]), "{told:?}");
    // A start and the next release change nothing of that.
    let text = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&text).unwrap();
    pages_say(&mut stage, 600, &unmatched());
    stage.ship(2, "sha256:2");
    pages_say(&mut stage, 600, &unmatched());
    assert_eq!(reasons(&stage, EventKind::MonitorBlind).len(), 1);
    // Another one that is mistyped is news, and so is that it judges in the end.
    let mut other = ratio();
    if let ThresholdKind::Ratio(ratio) = &mut other.kind {
        ratio.total = crate::model::Selector::metric("request");
    }
    *stage.policy.thresholds.last_mut().unwrap() = other;
    pages_say(&mut stage, 60, &unmatched());
    assert_eq!(reasons(&stage, EventKind::MonitorBlind).len(), 2);
    stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0)];
    stage.pass(60);
    assert_eq!(reasons(&stage, EventKind::MonitorRecovered).len(), 1);
}

#[test]
fn series_that_vanish_from_a_steady_app_are_told_of_when_that_lasts() {
    let mut stage = steady_with_a_mistyped_selector();
    stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0)];
    stage.pass(60);
    // Its processes were restarted, and make them with their first request.
    pages_say(&mut stage, 600, &unmatched());
    stage.pass(10);
    pages_say(&mut stage, 600, &unmatched());
    assert_eq!(reasons(&stage, EventKind::MonitorBlind).len(), 0);
    pages_say(&mut stage, 310, &unmatched());
    assert_eq!(reasons(&stage, EventKind::MonitorBlind).len(), 1);
    stage.pass(10);
    assert_eq!(reasons(&stage, EventKind::MonitorRecovered).len(), 1);
}

#[test]
fn a_mistyped_selector_is_told_once_while_a_release_is_held() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.mode = Mode::Observe;
    stage.ship(2, "sha256:2");
    for machine in &mut stage.machines {
        machine.has_services = true;
        super::stage::fail_checks(machine);
    }
    stage.pass(60);
    assert_eq!(stage.state.phase.word(), "held");
    stage.policy.thresholds.push(ratio());
    pages_say(&mut stage, 600, &unmatched());
    let told = reasons(&stage, EventKind::MonitorBlind);
    assert!(matches!(told[..], [Reason::Unmatched { .. }]), "{told:?}");
}

/// It has no such series by its nature.
#[test]
fn a_steady_worker_is_not_told_of_for_a_threshold_of_requests() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.machine("m1").metrics =
        Some(crate::model::MetricsPage { port: 9091, path: "/metrics".to_owned(), https: false });
    stage.pass(60);
    stage.policy.thresholds.push(ratio());
    pages_say(&mut stage, 3600, &unmatched());
    assert_eq!(reasons(&stage, EventKind::MonitorBlind), Vec::<&Reason>::new());
}
