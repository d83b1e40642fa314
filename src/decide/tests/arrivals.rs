//! What comes new ends what was under way, and says so.

use super::{
    stage::{Stage, fail_checks, put},
    *,
};

fn newer() -> Option<Reason> {
    Some(Reason::NewerRelease { label: "v9".to_owned() })
}

/// v2 fails its checks; v9 comes so many seconds later.
fn overtaken(policy: impl FnOnce(&mut Policy)) -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    policy(&mut stage.policy);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.pass(40);
    stage.ship(9, "sha256:9");
    stage.pass(2);
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
    stage
}

#[test]
fn a_newer_release_ends_a_countdown() {
    let stage = overtaken(|policy| policy.watch.countdown = Duration::from_secs(600));
    assert_eq!(stage.told(EventKind::RollbackStopped)[0].reason, newer());
}

#[test]
fn a_newer_release_ends_a_hold() {
    let stage = overtaken(|policy| policy.mode = Mode::Observe);
    assert_eq!(stage.told(EventKind::HoldCleared)[0].reason, newer());
}

#[test]
fn a_newer_release_ends_the_hold_of_a_rollback_that_stopped() {
    let mut stage = Stage::rolling_back(&["m1"]);
    stage.tell(&Input::Unwatched);
    assert!(matches!(stage.state.phase, Phase::Stopped { .. }));
    stage.ship(9, "sha256:9");
    stage.pass(2);
    assert_eq!(stage.told(EventKind::HoldCleared)[0].reason, newer());
}

/// Secrets are set while v4 is being deployed: m2 has the number of v4, and the image that was
/// rolled back.
#[test]
fn an_image_that_was_rolled_back_is_news_under_a_number_that_was_seen() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.announce(4, "sha256:4");
    let now = at(stage.second);
    put(stage.machine("m1"), 4, "sha256:4", now);
    stage.pass(4);
    put(stage.machine("m2"), 4, "sha256:2", now);
    stage.pass(2);
    let detected = stage.told(EventKind::ReleaseDetected).pop().unwrap();
    assert_eq!(detected.reason, Some(Reason::RolledBackBefore));
}

/// An image put on one machine by hand waits until the release under way is done with.
#[test]
fn an_image_without_a_number_interrupts_nothing() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    stage.pass(10);
    let now = at(stage.second);
    put(stage.machine("m2"), 2, "sha256:7", now);
    stage.pass(20);
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!(watch.revision.digest, Digest::new("sha256:2"));
}

/// Without an image to trust, what ran before is gone back to: not if it degraded itself.
#[test]
fn every_release_that_degraded_is_remembered() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.mode = Mode::Observe;
    for version in [2, 4, 6] {
        stage.ship(version, &format!("sha256:{version}"));
        fail_checks(stage.machine("m1"));
        stage.pass(40);
    }
    let suspects = &stage.state.memory.suspects;
    let want: Vec<Digest> = ["sha256:6", "sha256:4", "sha256:2"].map(Digest::new).into();
    assert_eq!(*suspects, want);
}
