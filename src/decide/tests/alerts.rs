//! What only alerts is told for as long as a release runs, once for each spell.

use super::{
    stage::{Stage, fail_checks, ratio},
    *,
};

/// v1 is trusted, and serves; more than 2 % of failures are only told of.
fn settled() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    // An app that always was so is another matter.
    stage.policy.watch.floor = false;
    let only_alerts = Threshold { on_breach: OnBreach::Alert, ..ratio() };
    stage.policy.thresholds = vec![stage.policy.thresholds[0].clone(), only_alerts];
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!(stage.state.phase.word(), "steady");
    stage.events.clear();
    stage
}

fn serves(stage: &mut Stage, bad: f64) {
    stage.serves = vec![("m1", 100.0, bad), ("m2", 100.0, bad)];
}

/// How often it was told that it breaches, and that it does so no more.
fn told(stage: &Stage) -> (usize, usize) {
    let degraded = stage.told(EventKind::ReleaseDegraded);
    let over = stage.told(EventKind::ReleaseRecovered);
    let begins = |one: &&&Event| matches!(&one.reason, Some(Reason::OnlyAlerts { thresholds }) if *thresholds == ["5xx"]);
    let ends = |one: &&&Event| matches!(&one.reason, Some(Reason::AlertsOver { thresholds, .. }) if *thresholds == ["5xx"]);
    (degraded.iter().filter(begins).count(), over.iter().filter(ends).count())
}

#[test]
fn what_only_alerts_is_told_of_a_trusted_release_once_and_its_end_as_well() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(120);
    assert_eq!(told(&stage), (1, 0), "{:?}", stage.events);
    stage.pass(3600);
    assert_eq!(told(&stage), (1, 0), "it is said once");
    assert_eq!(stage.state.phase.word(), "steady", "and nothing follows from it");
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!(told(&stage), (1, 1));
    assert_eq!(stage.events.len(), 2, "{:?}", stage.events);
    serves(&mut stage, 20.0);
    stage.pass(120);
    assert_eq!(told(&stage), (2, 1), "another spell is told by itself");
}

#[test]
fn what_only_alerts_and_passes_within_moments_is_no_news() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(30);
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!(stage.events, []);
}

#[test]
fn what_flaps_and_only_alerts_is_told_of_a_few_times() {
    let mut stage = settled();
    for _ in 0..40 {
        serves(&mut stage, 20.0);
        stage.pass(300);
        serves(&mut stage, 0.0);
        stage.pass(600);
    }
    let (began, ended) = told(&stage);
    assert!((2..=6).contains(&began) && ended <= began, "{began} {ended}");
}

#[test]
fn what_was_told_of_is_not_told_again_after_a_start() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(120);
    let text = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&text).unwrap();
    stage.second += 300;
    stage.pass(600);
    assert_eq!(told(&stage), (1, 0), "{:?}", stage.events);
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!(told(&stage), (1, 1));
}

/// It was told of in its watch, and goes on after that.
#[test]
fn what_was_told_of_in_a_watch_is_not_told_again_after_it() {
    let mut stage = settled();
    stage.ship(2, "sha256:2");
    serves(&mut stage, 20.0);
    stage.pass(600);
    assert_eq!(stage.told(EventKind::ReleaseTrusted).len(), 1, "{:?}", stage.events);
    assert_eq!(told(&stage), (1, 0));
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!(told(&stage), (1, 1));
}

#[test]
fn what_only_alerts_is_told_of_a_release_that_is_held_as_well() {
    let mut stage = settled();
    stage.policy.mode = Mode::Observe;
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(60);
    assert_eq!(stage.state.phase.word(), "held");
    serves(&mut stage, 20.0);
    stage.pass(120);
    assert_eq!(told(&stage), (1, 0), "{:?}", stage.events);
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!((told(&stage), stage.state.phase.word()), ((1, 1), "held"));
}

#[test]
fn what_an_older_version_told_of_is_not_told_again() {
    let mut stage = settled();
    stage.policy.watch.bake = Duration::from_secs(3600);
    stage.ship(2, "sha256:2");
    stage.look();
    let Phase::Watching(watch) = &mut stage.state.phase else { panic!("{:?}", stage.events) };
    watch.alerted.insert("5xx".to_owned());
    serves(&mut stage, 20.0);
    stage.pass(600);
    assert_eq!(told(&stage), (0, 0));
}

#[test]
fn what_was_told_of_has_an_end_when_a_newer_release_is_within_its_limit() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(120);
    assert_eq!(told(&stage), (1, 0));
    serves(&mut stage, 0.0);
    stage.ship(2, "sha256:2");
    stage.pass(3600);
    assert_eq!(told(&stage), (1, 1), "{:?}", stage.events);
    // One that is not is told of by itself.
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(120);
    stage.ship(2, "sha256:2");
    stage.pass(600);
    assert_eq!(told(&stage), (2, 0), "{:?}", stage.events);
}

#[test]
fn a_threshold_that_was_told_of_and_is_taken_out_is_told_to_be_gone() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(120);
    stage.policy.thresholds.remove(1);
    stage.pass(3600);
    let reasons: Vec<&Reason> = stage.events.iter().filter_map(|one| one.reason.as_ref()).collect();
    let only = vec!["5xx".to_owned()];
    let want = [
        &Reason::OnlyAlerts { thresholds: only.clone() },
        &Reason::AlertsGone { thresholds: only },
    ];
    assert_eq!(reasons, want);
    assert_eq!(stage.events[1].kind, EventKind::ReleaseRecovered);
}
