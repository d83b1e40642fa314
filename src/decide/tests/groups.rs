//! Process groups with images of their own: what a group is given when a release is undone.

use super::{
    stage::{Stage, fail_checks, opened, put, put_on},
    *,
};
use crate::model::{Act, Wish};

/// v1 runs in two groups, and is trusted.
fn two_groups() -> Stage {
    let mut stage = Stage::unknown(&["a1", "a2", "w1"]);
    stage.machine("w1").group = "worker".into();
    stage.pass(90);
    assert!(stage.state.memory.newest_trusted().is_some(), "{:?}", stage.events);
    stage
}

/// Somebody deploys to these machines alone.
fn deploy(stage: &mut Stage, version: u64, digest: &str, ids: &[&str]) {
    let now = at(stage.second);
    for id in ids {
        put(stage.machine(id), version, digest, now);
    }
    stage.announce(version, digest);
    stage.opens = Some(opened(version + 1));
}

fn break_down(stage: &mut Stage, ids: &[&str]) {
    for id in ids {
        fail_checks(stage.machine(id));
    }
}

/// v1 in both groups, and then an image of its own in `worker`, trusted as v2.
fn own_images() -> Stage {
    let mut stage = two_groups();
    deploy(&mut stage, 2, "sha256:w", &["w1"]);
    stage.pass(90);
    let trusted = stage.state.memory.newest_trusted().unwrap();
    assert_eq!(trusted.revision.digest.as_str(), "sha256:w");
    stage
}

/// One number and two images, as after `fly secrets set`: that of the newest machine is trusted.
fn one_number() -> Stage {
    let mut stage = Stage::unknown(&["a1", "a2", "w1"]);
    put(stage.machine("w1"), 1, "sha256:w", at(0));
    let worker = stage.machine("w1");
    worker.group = "worker".into();
    worker.updated_at = at(1);
    stage.pass(90);
    let trusted = stage.state.memory.newest_trusted().unwrap();
    assert_eq!(trusted.revision.digest.as_str(), "sha256:w");
    stage
}

fn runs(stage: &mut Stage, id: &str) -> String {
    stage.machine(id).digest().unwrap().to_string()
}

#[test]
fn a_group_is_given_the_newest_image_that_was_seen_healthy_in_it() {
    let mut stage = own_images();
    deploy(&mut stage, 3, "sha256:bad", &["a1", "a2"]);
    break_down(&mut stage, &["a1", "a2"]);
    stage.begin();
    assert_eq!(stage.rollback().target.digest.as_str(), "sha256:1");
    stage.undo();
    assert_eq!(runs(&mut stage, "a1"), "sha256:1");
    assert_eq!(runs(&mut stage, "a2"), "sha256:1");
    assert_eq!(runs(&mut stage, "w1"), "sha256:w", "it ran what it had");
}

#[test]
fn a_release_in_all_groups_goes_back_to_what_was_seen_in_all_of_them() {
    let mut stage = own_images();
    deploy(&mut stage, 3, "sha256:bad", &["a1", "a2", "w1"]);
    break_down(&mut stage, &["a1", "a2", "w1"]);
    stage.begin();
    stage.undo();
    for id in ["a1", "a2", "w1"] {
        assert_eq!(runs(&mut stage, id), "sha256:1");
    }
}

#[test]
fn an_image_that_was_never_seen_in_a_group_is_not_put_there() {
    let mut stage = one_number();
    deploy(&mut stage, 2, "sha256:bad", &["a1", "a2"]);
    break_down(&mut stage, &["a1", "a2"]);
    let ordered = stage.pass(180);
    assert_eq!(put_on(&ordered), [""; 0]);
    assert!(matches!(stage.state.phase, Phase::Held { .. }), "{:?}", stage.state.phase);
    assert!(stage.told(EventKind::RollbackStarted).is_empty());
}

#[test]
fn it_is_told_that_only_one_image_of_a_number_is_watched() {
    let stage = one_number();
    assert_eq!(stage.told(EventKind::ImageMixed).len(), 1, "{:?}", stage.events);
    let stage = own_images();
    assert!(stage.told(EventKind::ImageMixed).is_empty(), "{:?}", stage.events);
}

/// One image for all: a group that came with the bad release goes where the others go.
#[test]
fn a_group_without_an_image_of_its_own_goes_with_the_others() {
    let mut stage = Stage::trusted(&["a1", "a2"]);
    let mut new = stage.machines[0].clone();
    new.id = "w1".into();
    new.group = "worker".into();
    stage.machines.push(new);
    deploy(&mut stage, 2, "sha256:bad", &["a1", "a2", "w1"]);
    break_down(&mut stage, &["a1", "a2", "w1"]);
    stage.begin();
    stage.undo();
    for id in ["a1", "a2", "w1"] {
        assert_eq!(runs(&mut stage, id), "sha256:1");
    }
}

/// A deploy reaches another group when its rollback is under way already.
#[test]
fn what_a_group_has_for_itself_is_kept_from_a_rollback_under_way() {
    let mut stage = one_number();
    deploy(&mut stage, 2, "sha256:w2", &["w1"]);
    break_down(&mut stage, &["w1"]);
    stage.begin();
    let now = at(stage.second);
    put(stage.machine("a1"), 2, "sha256:w2", now);
    while stage.told(EventKind::RollbackCompleted).is_empty() {
        stage.look();
        stage.put_right_now();
    }
    assert_eq!(runs(&mut stage, "w1"), "sha256:w");
    assert_eq!(runs(&mut stage, "a1"), "sha256:w2", "left, and named");
}

#[test]
fn a_rollback_by_hand_keeps_to_the_groups_too() {
    let mut stage = own_images();
    deploy(&mut stage, 3, "sha256:bad", &["a1", "a2"]);
    stage.pass(10);
    stage.order(Act::Rollback(Wish::default()));
    stage.undo();
    assert_eq!(runs(&mut stage, "a1"), "sha256:1");
    assert_eq!(runs(&mut stage, "w1"), "sha256:w");
}

/// A journal of before, in which it was not noted which group ran what.
#[test]
fn what_an_older_journal_does_not_know_is_taken_from_what_runs() {
    let mut stage = own_images();
    let configs = [("a1", "1"), ("a2", "1"), ("w1", "2")];
    for (id, env) in configs {
        let text = format!(r#"{{"env":{{"A":"{env}"}}}}"#);
        stage.machine(id).config = Some(crate::model::RawConfig(text.into()));
    }
    let mut journal = serde_json::to_value(&stage.state).unwrap();
    for good in journal["memory"]["trusted"].as_array_mut().unwrap() {
        good.as_object_mut().unwrap().remove("ran").unwrap();
    }
    stage.state = serde_json::from_value(journal).unwrap();
    stage.pass(10);
    deploy(&mut stage, 3, "sha256:bad", &["a1", "a2"]);
    break_down(&mut stage, &["a1", "a2"]);
    stage.begin();
    stage.undo();
    assert_eq!(runs(&mut stage, "a1"), "sha256:1");
    assert_eq!(runs(&mut stage, "w1"), "sha256:w");
}

/// v1 in both groups, and then v2 in `app` alone, trusted.
fn app_is_newer() -> Stage {
    let mut stage = two_groups();
    deploy(&mut stage, 2, "sha256:2", &["a1", "a2"]);
    stage.pass(90);
    let trusted = stage.state.memory.newest_trusted().unwrap();
    assert_eq!(trusted.revision.digest.as_str(), "sha256:2");
    stage
}

#[test]
fn a_group_that_a_deploy_reaches_after_the_breach_is_put_right_as_well() {
    // Given a rollback of what has reached one group only, when it comes to the other one meanwhile
    let mut stage = app_is_newer();
    deploy(&mut stage, 3, "sha256:bad", &["a1"]);
    break_down(&mut stage, &["a1"]);
    stage.begin();
    let now = at(stage.second);
    for id in ["a2", "w1"] {
        put(stage.machine(id), 3, "sha256:bad", now);
        fail_checks(stage.machine(id));
    }
    stage.opens = Some(opened(5));
    let until = stage.second + 1200;
    while stage.second < until {
        stage.look();
        stage.put_right_now();
    }

    // Then each goes back to what ran well in it
    assert_eq!(
        ["a1", "a2", "w1"].map(|id| runs(&mut stage, id)),
        ["sha256:2", "sha256:2", "sha256:1"]
    );
    let completed = stage.told(EventKind::RollbackCompleted);
    assert_eq!(completed.len(), 2, "{:?}", stage.events);
    assert_eq!(completed[0].severity(), crate::model::Severity::Warning, "it left a machine");
}

#[test]
fn an_image_that_another_group_cannot_run_keeps_its_trust_where_it_is_good() {
    let mut stage = app_is_newer();
    deploy(&mut stage, 3, "sha256:w3", &["w1"]);
    stage.pass(90);
    deploy(&mut stage, 4, "sha256:2", &["w1"]);
    break_down(&mut stage, &["w1"]);
    stage.begin();
    stage.undo();
    assert_eq!(runs(&mut stage, "w1"), "sha256:w3");
    let memory = &stage.state.memory;
    assert!(memory.trusted.iter().any(|good| good.revision.digest.as_str() == "sha256:2"));
    assert!(memory.quarantined.is_empty(), "{:?}", memory.quarantined);
    let completed = stage.told(EventKind::RollbackCompleted);
    assert_eq!(completed[0].reason, None, "nothing is left behind");
}

#[test]
fn a_pin_binds_the_groups_that_its_image_is_for() {
    let mut stage = app_is_newer();
    stage.order(Act::Pin { release: "v2".to_owned() });
    deploy(&mut stage, 3, "sha256:w3", &["w1"]);
    break_down(&mut stage, &["w1"]);
    stage.begin();
    assert_eq!(stage.rollback().target.digest.as_str(), "sha256:1");
}
