//! Which releases of an app can be named.

use super::*;
use crate::decide::name::{self, Unresolved};

fn tagged(mut machine: Machine, tag: &str) -> Machine {
    machine.image.tag = Some(tag.to_owned());
    machine
}

#[test]
fn what_runs_what_is_trusted_and_what_was_rolled_back_can_be_named() {
    // Given v1, trusted, and v2, which was rolled back.
    let v1 = tagged(machine(1, "sha256:1111111"), "autumn");
    let (mut state, _) = live(AppState::new("api".into()), &v1, 90, &Outcome::ImagePresent);
    let v2 = tagged(machine(2, "sha256:2222222"), "winter");
    let mut bad = watch_of(2, "sha256:2222222").revision;
    bad.image = v2.image;
    let policy = policy(Mode::Rollback);
    let mut cx = Context {
        policy: &policy,
        now: at(100),
        memory: state.memory.clone(),
        commands: Vec::new(),
        events: Vec::new(),
    };
    cx.quarantine(&bad, &std::collections::BTreeSet::new());
    state.memory = cx.memory;

    // When a person writes a name.
    let known = name::releases(&state);
    let meant = |text: &str| name::resolve(text, &known).map(|one| one.release.label());

    // Then each is found, by whichever name, and listed once.
    for (text, label) in
        [("v1", "v1"), ("autumn", "v1"), ("111111", "v1"), ("2", "v2"), ("winter", "v2")]
    {
        assert_eq!(meant(text).as_deref(), Ok(label), "{text}");
    }
    let labels: Vec<String> = known.iter().map(|one| one.release.label()).collect();
    assert_eq!(labels, ["v2", "v1"], "the newest first");
    assert!(matches!(meant("v3"), Err(Unresolved::Unknown { .. })));
}

#[test]
fn an_old_journal_knows_a_digest_that_was_rolled_back_without_its_tag() {
    let old = serde_json::json!({ "digest": "sha256:2222222", "version": 2, "at": at(0) });
    let mut state = AppState::new("api".into());
    state.memory.quarantined.push(serde_json::from_value(old).unwrap());
    let known = name::releases(&state);
    let found = name::resolve("sha256:2222222", &known).unwrap();
    assert_eq!((found.release.version, &found.image), (Some(ReleaseVersion(2)), &None));
}
