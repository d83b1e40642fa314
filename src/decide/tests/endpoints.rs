//! Endpoints that are judged one by one, and what is known of how they always were.

use super::{
    stage::{Stage, ratio},
    *,
};
use crate::model::Ratio;

/// An app that is judged by path, and of which 40 % of the few requests for one path always fail.
fn chronic() -> Stage {
    let mut stage = Stage::unknown(&["m1"]);
    let mut by_path = ratio();
    let ThresholdKind::Ratio(ratio) = by_path.kind else { panic!() };
    by_path.kind = ThresholdKind::Ratio(Ratio { by: vec!["path".to_owned()], ..ratio });
    stage.policy.thresholds = vec![by_path];
    stage.serves = vec![("m1", 201.0, 0.5)];
    stage.endpoints = vec![("/", 200.0, 0.1), ("/legacy", 1.0, 0.4)];
    stage
}

fn is_trusted(stage: &Stage, digest: &str) -> bool {
    stage.state.memory.newest_trusted().is_some_and(|one| one.revision.digest.as_str() == digest)
}

/// v2 follows v1, and v3 follows as soon as v2 is trusted; nothing changes.
fn three_releases(stage: &mut Stage) {
    stage.pass(900);
    assert!(is_trusted(stage, "sha256:1"), "{:?}", stage.state.phase.word());
    for (version, digest) in [(2, "sha256:2"), (3, "sha256:3")] {
        stage.ship(version, digest);
        let until = stage.second + 400;
        while !is_trusted(stage, digest) && stage.second < until {
            stage.look();
        }
        let planned = stage.told(EventKind::RollbackPlanned);
        assert!(planned.is_empty(), "{planned:?}");
        assert!(is_trusted(stage, digest), "{digest}");
    }
}

#[test]
fn what_always_failed_is_not_held_against_a_release_that_follows_soon_after_another() {
    three_releases(&mut chronic());
}

#[test]
fn it_is_known_where_no_limit_is_raised() {
    let mut stage = chronic();
    stage.policy.watch.floor = false;
    three_releases(&mut stage);
}

/// What a release mended is not excused by what ran before it.
#[test]
fn what_was_mended_and_breaks_again_is_found() {
    let mut stage = chronic();
    stage.pass(900);
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 201.0, 0.1)];
    stage.endpoints = vec![("/", 200.0, 0.1), ("/legacy", 1.0, 0.0)];
    stage.pass(900);
    assert!(is_trusted(&stage, "sha256:2"));
    stage.ship(3, "sha256:3");
    stage.serves = vec![("m1", 201.0, 0.5)];
    stage.endpoints = vec![("/", 200.0, 0.1), ("/legacy", 1.0, 0.4)];
    stage.pass(300);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 1);
}

/// A journal of a version that kept nothing of what ran before.
#[test]
fn what_an_older_version_counted_can_be_read() {
    let mut stage = chronic();
    stage.pass(900);
    let mut state = serde_json::to_value(&stage.state).unwrap();
    let past = state["memory"]["past"].as_object_mut().unwrap();
    assert!(past["series"]["5xx"]["/legacy"]["n"].as_f64().unwrap() > 100.0);
    for new in ["series_of", "series_before", "questions"] {
        assert!(past.remove(new).is_some(), "{new}");
    }
    stage.state = serde_json::from_value(state).unwrap();
    three_releases(&mut stage);
}
