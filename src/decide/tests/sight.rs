//! Blindness is told of after a moment, stops what is counted down, and is no evidence.

use super::{
    stage::{Stage, fail_checks, put, put_on},
    *,
};
use crate::model::{ReleaseStatus, Severity};

fn blind(stage: &Stage) -> usize {
    stage.told(EventKind::MonitorBlind).len()
}

fn recovered(stage: &Stage) -> usize {
    stage.told(EventKind::MonitorRecovered).len()
}

#[test]
fn a_platform_that_cannot_be_read_is_told_of_after_a_quarter_of_a_minute_once() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.unreadable = Some("503".to_owned());
    stage.pass(16);
    assert_eq!(blind(&stage), 0);
    stage.pass(2);
    assert_eq!(blind(&stage), 1);
    stage.pass(120);
    assert_eq!(blind(&stage), 1);
    stage.unreadable = None;
    stage.pass(10);
    assert_eq!(recovered(&stage), 1);
}

#[test]
fn blindness_that_lasts_is_told_once_more_and_as_an_error() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.unreadable = Some("503".to_owned());
    stage.pass(30 * 60);
    let told = stage.told(EventKind::MonitorBlind);
    let told: Vec<Severity> = told.into_iter().map(Event::severity).collect();
    assert_eq!(told, [Severity::Warning, Severity::Error]);
}

#[test]
fn blindness_while_a_release_is_watched_or_undone_is_an_error_at_once() {
    let mut watched = Stage::trusted(&["m1"]);
    watched.ship(2, "sha256:2");
    watched.look();
    let undone = Stage::rolling_back(&["m1"]);
    for mut stage in [watched, undone] {
        stage.unreadable = Some("503".to_owned());
        stage.pass(600);
        let told = stage.told(EventKind::MonitorBlind);
        let told: Vec<Severity> = told.into_iter().map(Event::severity).collect();
        assert_eq!(told, [Severity::Error]);
    }
}

#[test]
fn what_passes_in_a_moment_is_told_to_nobody() {
    let mut stage = Stage::trusted(&["m1"]);
    for _ in 0..10 {
        stage.unreadable = Some("503".to_owned());
        stage.pass(10);
        stage.unreadable = None;
        stage.pass(10);
    }
    assert_eq!((blind(&stage), recovered(&stage)), (0, 0));
}

#[test]
fn an_outage_that_is_told_of_for_all_is_not_told_of_by_each() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.unreadable = Some("503".to_owned());
    stage.org.platform_told = true;
    stage.pass(600);
    stage.unreadable = None;
    stage.pass(10);
    assert_eq!((blind(&stage), recovered(&stage)), (0, 0));
}

#[test]
fn pages_that_nobody_can_read_are_told_of_once() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.no_page = Some("refused".to_owned());
    stage.pass(14);
    assert_eq!(blind(&stage), 0);
    stage.pass(600);
    assert_eq!(blind(&stage), 1);
    stage.no_page = None;
    stage.pass(2);
    assert_eq!(recovered(&stage), 1);
    // An app without machines has no pages to be read.
    stage.machines.clear();
    stage.no_page = Some("none".to_owned());
    stage.pass(600);
    assert_eq!(blind(&stage), 1);
}

/// A countdown that nobody can look at is cancelled, and another is begun when somebody can.
#[test]
fn a_countdown_is_cancelled_by_blindness() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.watch.countdown = Duration::from_secs(60);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.pass(30);
    assert!(matches!(stage.state.phase, Phase::CountingDown { .. }), "{:?}", stage.events);
    stage.unreadable = Some("503".to_owned());
    stage.pass(2);
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 1);
    stage.pass(120);
    assert!(stage.told(EventKind::RollbackStarted).is_empty());
    stage.unreadable = None;
    stage.pass(20);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 2);
    assert_eq!(put_on(&stage.pass(70)), ["m1"]);
}

/// Time in which nothing could be seen earns nothing.
#[test]
fn a_bake_does_not_go_on_while_the_platform_cannot_be_read() {
    let mut stage = Stage::trusted(&["m1"]);
    let trusted = |stage: &Stage| stage.told(EventKind::ReleaseTrusted).len();
    stage.ship(2, "sha256:2");
    stage.pass(40);
    for _ in 0..60 {
        stage.unreadable = Some("503".to_owned());
        stage.pass(2);
        stage.unreadable = None;
        stage.pass(2);
    }
    assert_eq!(trusted(&stage), 1, "no two looks in a row saw it");
    stage.pass(30);
    assert_eq!(trusted(&stage), 2);
}

#[test]
fn two_images_outside_any_deploy_are_told_of_after_a_minute_once() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    let mixed = |stage: &Stage| stage.told(EventKind::ImageMixed).len();
    let now = at(-1000);
    // A machine that was revived, with an image that the app knows.
    stage.state.memory.previous = Some(watch_of(1, "sha256:0").revision);
    let before = stage.machine("m2").clone();
    put(stage.machine("m2"), 1, "sha256:0", now);
    stage.pass(60);
    assert_eq!(mixed(&stage), 0);
    stage.pass(2);
    assert_eq!(mixed(&stage), 1);
    stage.pass(600);
    assert_eq!(mixed(&stage), 1);
    let revived = stage.machine("m2").clone();
    *stage.machine("m2") = before;
    stage.pass(10);
    *stage.machine("m2") = revived;
    stage.pass(30);
    assert_eq!(mixed(&stage), 1, "counted anew");
    stage.pass(40);
    assert_eq!(mixed(&stage), 2);
}

#[test]
fn a_deploy_has_two_images_for_a_quarter_of_an_hour() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.pass(15 * 60);
    assert!(stage.told(EventKind::ImageMixed).is_empty());
    stage.pass(70);
    assert_eq!(stage.told(EventKind::ImageMixed).len(), 1);
}

#[test]
fn a_worker_without_a_page_is_not_blind_for_want_of_one() {
    // Given a policy that reads pages, and an app that takes no requests and has none
    let mut stage = Stage::unknown(&["w1"]);
    stage.policy.metrics_port = None;
    stage.policy.thresholds.push(super::stage::ratio());
    stage.no_page = Some("the machines have no metrics page".to_owned());
    stage.pass(300);

    // Then nobody is told of blindness, and it is trusted by what applies
    assert!(stage.told(EventKind::MonitorBlind).is_empty(), "{:?}", stage.events);
    assert_eq!(stage.told(EventKind::ReleaseTrusted).len(), 1, "{:?}", stage.events);

    // And one that takes requests is blind
    stage.machine("w1").has_services = true;
    stage.pass(60);
    assert_eq!(stage.told(EventKind::MonitorBlind).len(), 1);
}
