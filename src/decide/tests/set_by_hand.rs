//! An image that somebody set on machines by hand, under the number of the release before: it is not
//! that release.

use super::{
    stage::{Stage, entry, fail_checks, put},
    *,
};
use crate::model::{HoldReason, Release};

/// v2 came with migrations on v1, and is trusted where `trusted` says so.
fn migrated(trusted: bool) -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    let ledger = stage.ledger.as_mut().unwrap();
    ledger[0] = Release { has_release_command: Some(true), ..ledger[0].clone() };
    stage.pass(if trusted { 90 } else { 20 });
    assert_eq!(stage.state.memory.trusted.len(), if trusted { 2 } else { 1 });
    stage
}

/// `fly machine update --image …`: the machines keep their number.
fn set(stage: &mut Stage, digest: &str) {
    let now = at(stage.second);
    for id in ["m1", "m2"] {
        put(stage.machine(id), 2, digest, now);
        fail_checks(stage.machine(id));
    }
}

#[test]
fn it_did_not_run_the_migrations_of_the_release_before_and_is_nobodys() {
    let mut stage = migrated(true);
    set(&mut stage, "sha256:hand");
    stage.look();
    let detected = stage.told(EventKind::ReleaseDetected);
    let release = detected.last().unwrap().release.clone().unwrap();
    assert_eq!((release.digest.as_str(), release.author), ("sha256:hand", None));
    stage.begin();
    let started = stage.told(EventKind::RollbackStarted);
    let undone = started[0].release.clone().unwrap();
    assert_eq!((undone.digest.as_str(), undone.author), ("sha256:hand", None));
}

/// The schema moved on all the same, when what is gone back to is older than that release.
#[test]
fn nothing_goes_back_past_the_migrations_of_the_release_before() {
    let mut stage = migrated(true);
    stage.state.memory.trusted.remove(0);
    set(&mut stage, "sha256:hand");
    stage.pass(120);
    let Phase::Held { reason, .. } = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!(*reason, HoldReason::MigrationsSince { version: ReleaseVersion(2) });
}

/// The ledger's own release is known by its number, however its image is written there.
#[test]
fn a_deploy_is_known_by_its_number() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.ship(2, "sha256:2");
    let ledger = stage.ledger.as_mut().unwrap();
    ledger[0] = Release {
        has_release_command: Some(true),
        image: "docker.io/acme/api:latest".to_owned(),
        ..ledger[0].clone()
    };
    for id in ["m1", "m2"] {
        fail_checks(stage.machine(id));
    }
    stage.pass(120);
    let Phase::Held { reason, .. } = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!(*reason, HoldReason::Migrations);
}

/// References come with a tag, a digest or both; one that does not tell is believed of a deploy, and
/// of what came again.
#[test]
fn an_entry_of_another_image_says_nothing_of_what_was_set_by_hand() {
    use crate::decide::fleet::Came::{Again, ByHand, Deployed};
    let by = |image: &str, came| {
        let mut revision = watch_of(2, "sha256:2").revision;
        revision.image.tag = Some("v2".to_owned());
        let entry = Release { image: image.to_owned(), ..entry(2, "x") };
        crate::decide::fleet::complete(&mut revision, Some(&[entry]), came);
        revision.author.is_some()
    };
    let (own, other) = ("registry.fly.io/api:v2", "registry.fly.io/api:v1");
    for (image, deployed, again, by_hand) in [
        (own, true, true, true),
        (other, true, false, false),
        ("registry.fly.io/api:other@sha256:2", true, true, true),
        ("registry.fly.io/api:v2@sha256:3", true, false, false),
        ("api:v2", true, true, false),
        ("localhost:5000/api", true, true, false),
        ("", true, true, false),
    ] {
        let all = (by(image, Deployed), by(image, Again), by(image, ByHand));
        assert_eq!(all, (deployed, again, by_hand), "{image}");
    }
}
