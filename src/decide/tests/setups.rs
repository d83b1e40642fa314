//! How releases are configured besides the image: kept, compared, and put back.

use super::{
    stage::{Stage, fail_checks, put, put_on},
    *,
};
use crate::model::{Act, Change, Effect, PutBack, RawConfig, Reply, Secrets, Wish};

fn configured(env: &str) -> Option<RawConfig> {
    Some(RawConfig(format!(r#"{{"image":"i","env":{{"POOL":"{env}"}}}}"#).into()))
}

fn configure(stage: &mut Stage, env: &str) {
    for machine in &mut stage.machines {
        machine.config = configured(env);
    }
}

/// v1 is trusted with a pool of 5.
fn trusted(restore: bool) -> Stage {
    let mut stage = Stage::unknown(&["m1", "m2"]);
    stage.policy.rollback.restore_config = restore;
    configure(&mut stage, "5");
    stage.pass(90);
    assert!(stage.state.memory.newest_trusted().is_some(), "{:?}", stage.events);
    stage
}

/// v2 has the same image, and a pool of 0 on which it fails.
fn ship_configuration(stage: &mut Stage) {
    stage.ship(2, "sha256:1");
    configure(stage, "0");
    stage.machines.iter_mut().for_each(fail_checks);
}

fn names(changes: &[Change]) -> Vec<(&str, bool)> {
    changes.iter().map(|change| (change.name.as_str(), change.put_back)).collect()
}

fn held(stage: &Stage) -> Option<HoldReason> {
    match &stage.state.phase {
        Phase::Held { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

#[test]
fn a_release_that_changed_only_its_configuration_is_held_where_the_policy_keeps_it() {
    let mut stage = trusted(false);
    ship_configuration(&mut stage);
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    let Some(HoldReason::SameImage { drift: Some(drift) }) = held(&stage) else {
        panic!("{:?}", stage.state.phase);
    };
    assert_eq!((drift.image, names(&drift.changes)), (false, vec![("POOL", false)]));
    assert!(drift.could_be_put_back());
    // It is allowed, and the release still is bad.
    stage.policy.rollback.restore_config = true;
    assert_eq!(put_on(&stage.pass(10)), [""; 0], "what was not kept cannot be put back");
}

#[test]
fn where_the_policy_puts_it_back_the_machines_are_ordered_with_what_they_get() {
    let mut stage = trusted(true);
    ship_configuration(&mut stage);
    stage.begin();
    let ordered = stage.look();
    let Some(Command::PutImage(put)) = ordered.first() else { panic!("{ordered:?}") };
    assert_eq!(put.bad_release, Some(ReleaseVersion(2)));
    assert_eq!(put.put_back[&"app".into()].get("env"), Some(r#"{"POOL":"5"}"#));
    let started = stage.told(EventKind::RollbackStarted)[0];
    assert_eq!(names(&started.drift.as_ref().unwrap().changes), [("POOL", true)]);
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackCompleted)[0].reason, None);
    // The image is good, and this release is not undone twice.
    assert!(stage.state.memory.quarantined.is_empty());
    assert_eq!(stage.state.memory.newest_trusted().unwrap().revision.label(), "v1");
    assert!(stage.state.memory.undone.contains(&ReleaseVersion(2)));
    stage.pass(100);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1);
}

#[test]
fn a_release_whose_configuration_was_undone_is_not_undone_again() {
    let mut stage = trusted(true);
    let mut watch = watch_of(2, "sha256:1");
    configure(&mut stage, "0");
    stage.machines.iter_mut().for_each(|machine| machine.release = Some(ReleaseVersion(2)));
    let machines: Vec<&Machine> = stage.machines.iter().collect();
    setup::look(&mut watch, &stage.state.memory, &machines);
    assert_eq!(refused(&stage.policy, &stage.state, &watch), None);
    stage.state.memory.undone.insert(ReleaseVersion(2));
    let undone = Some(HoldReason::AlreadyRolledBack);
    assert_eq!(refused(&stage.policy, &stage.state, &watch), undone);
}

#[test]
fn of_many_releases_whose_configuration_was_undone_the_newest_are_remembered() {
    let mut stage = trusted(true);
    stage.state.memory.undone = (3..63).map(ReleaseVersion).collect();
    ship_configuration(&mut stage);
    stage.begin();
    let undone = &stage.state.memory.undone;
    assert_eq!(undone.len(), 50, "{undone:?}");
    assert!(undone.contains(&ReleaseVersion(62)) && !undone.contains(&ReleaseVersion(3)));
}

#[test]
fn observe_mode_in_the_middle_and_back_puts_the_rest_back() {
    let mut stage = trusted(true);
    ship_configuration(&mut stage);
    stage.begin();
    stage.look();
    stage.put_back("m1");
    stage.policy.mode = Mode::Observe;
    stage.look();
    assert!(matches!(stage.state.phase, Phase::Stopped { .. }), "{:?}", stage.state.phase);
    stage.policy.mode = Mode::Rollback;
    fail_checks(stage.machine("m2"));
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 2);
    let pool = |machine: &Machine| machine.config.as_ref().unwrap().0.contains(r#""POOL":"5""#);
    assert!(stage.machines.iter().all(pool));
}

#[test]
fn a_machine_that_comes_back_with_the_bad_configuration_is_put_right() {
    let mut stage = trusted(true);
    ship_configuration(&mut stage);
    stage.undo();
    stage.pass(60);
    // An autoscaler's clone.
    let mut clone = Machine { id: "m3".into(), ..stage.machines[0].clone() };
    put(&mut clone, 2, "sha256:1", at(stage.second));
    clone.config = configured("0");
    stage.machines.push(clone);
    assert_eq!(put_on(&stage.pass(4)), ["m3"]);
    assert_eq!(stage.told(EventKind::ImageMixed).len(), 1);
}

#[test]
fn a_pause_asks_the_guards_for_the_release_as_it_was_configured() {
    let mut stage = trusted(true);
    ship_configuration(&mut stage);
    stage.begin();
    stage.unreadable = Some("503".to_owned());
    stage.pass(60);
    stage.unreadable = None;
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackStopped).len(), 0, "{:?}", stage.events);
}

#[test]
fn secrets_are_compared_with_those_of_when_trust_was_earned() {
    let secrets = |digest: &str| -> Option<Secrets> {
        Some([("DB_URL".to_owned(), digest.to_owned())].into())
    };
    let mut stage = Stage::unknown(&["m1"]);
    stage.secrets = secrets("a");
    stage.pass(90);
    stage.secrets = secrets("b");
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage.begin();
    // What cannot be read is as it was read last.
    stage.secrets = None;
    let started = stage.told(EventKind::RollbackStarted)[0].drift.clone().unwrap();
    assert_eq!((started.image, names(&started.changes)), (true, vec![("DB_URL", false)]));
}

#[test]
fn what_was_not_kept_is_read_of_the_known_good_release_while_it_runs_alone() {
    let mut stage = trusted(false);
    let kept = |stage: &Stage| -> PutBack {
        let setup = stage.state.memory.trusted[0].setup.as_ref();
        setup.map(crate::model::Setups::put_back).unwrap_or_default()
    };
    assert_eq!(kept(&stage), PutBack::new(), "not wanted");
    stage.state.memory.trusted[0].setup = None;
    stage.look();
    assert!(stage.state.memory.trusted[0].setup.is_some(), "an older version did not keep it");
    // Its machines were changed by hand since: that is not how it earned trust.
    stage.policy.rollback.restore_config = true;
    configure(&mut stage, "7");
    stage.look();
    assert_eq!(kept(&stage), PutBack::new());
    configure(&mut stage, "5");
    stage.look();
    assert_eq!(kept(&stage)[&"app".into()].get("env"), Some(r#"{"POOL":"5"}"#));
    stage.policy.rollback.restore_config = false;
    stage.look();
    assert_eq!(kept(&stage), PutBack::new(), "not wanted any more");
    // Another release runs: nothing is read of its machines.
    stage.state.memory.trusted[0].setup = None;
    stage.ship(2, "sha256:2");
    stage.pass(4);
    assert!(stage.state.memory.trusted[0].setup.is_none());
}

#[test]
fn a_person_goes_back_to_the_configuration_of_before() {
    let mut stage = trusted(true);
    stage.ship(2, "sha256:1");
    configure(&mut stage, "0");
    stage.pass(10);
    let Reply::Done(Effect::Begun { plan }) = stage.order(Act::Rollback(Wish::default())) else {
        panic!("it is not refused");
    };
    assert_eq!((plan.from.label(), plan.to.label()), ("v2".to_owned(), "v1".to_owned()));
    assert_eq!(names(&plan.drift.unwrap().changes), [("POOL", true)]);
    stage.undo();
    // The image is none to be left alone for that.
    assert_eq!(stage.state.memory.newest_trusted().unwrap().revision.label(), "v1");
    assert!(stage.state.memory.quarantined.is_empty());
    // Where it is kept, there is nothing to be done.
    let mut stage = trusted(false);
    stage.ship(2, "sha256:1");
    configure(&mut stage, "0");
    stage.pass(10);
    let wish = Wish { to: Some("v1".to_owned()), ..Wish::default() };
    assert!(matches!(stage.order(Act::Rollback(wish)), Reply::Refused(_)));
}

#[test]
fn what_somebody_configured_by_hand_is_no_release_to_go_back_from() {
    let mut stage = trusted(true);
    // Under the known-good release's own number.
    configure(&mut stage, "0");
    assert!(matches!(stage.order(Act::Rollback(Wish::default())), Reply::Refused(_)));
    // And under that of a rollback.
    configure(&mut stage, "5");
    stage.pass(4);
    ship_configuration(&mut stage);
    stage.undo();
    stage.pass(4);
    configure(&mut stage, "7");
    assert!(matches!(stage.order(Act::Rollback(Wish::default())), Reply::Refused(_)));
}

#[test]
fn a_machine_that_could_not_be_configured_is_named_though_its_image_is_the_right_one() {
    let mut stage = trusted(true);
    ship_configuration(&mut stage);
    let lost = stage.machine("m2");
    (lost.host, lost.config) = (HostStatus::Unreachable, None);
    stage.undo();
    let completed = stage.told(EventKind::RollbackCompleted)[0];
    let Some(Reason::LeftBehind { machines }) = &completed.reason else { panic!("{completed:?}") };
    assert_eq!(machines.len(), 1);
    assert_eq!(machines[0].machine.as_str(), "m2");
    // It is found again, and put right.
    stage.machine("m2").host = HostStatus::Ok;
    stage.machine("m2").config = configured("0");
    assert_eq!(put_on(&stage.pass(4)), ["m2"]);
}

#[test]
fn a_configuration_put_back_in_one_region_by_hand_is_not_undone_for_that() {
    let mut stage = trusted(true);
    stage.machine("m2").region = "lhr".into();
    stage.ship(2, "sha256:1");
    configure(&mut stage, "0");
    stage.pass(10);
    let regions = ["lhr".into()].into();
    stage.order(Act::Rollback(Wish { regions, ..Wish::default() }));
    assert_eq!(stage.work(60, &[]).iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>(), ["m2"]);
    assert!(stage.state.memory.undone.is_empty());
}

#[test]
fn what_can_be_put_back_is_kept_of_the_three_newest_releases_and_a_pinned_one() {
    let mut stage = trusted(true);
    let pinned = Act::Pin { release: "v1".to_owned() };
    assert!(matches!(stage.order(pinned), Reply::Done(_)));
    for version in 2..=6 {
        stage.ship(version, &format!("sha256:{version}"));
        stage.pass(90);
    }
    let kept: Vec<(String, usize)> = stage
        .state
        .memory
        .trusted
        .iter()
        .map(|good| (good.revision.label(), good.setup.as_ref().unwrap().put_back().len()))
        .collect();
    let want = [("v6", 1), ("v5", 1), ("v4", 1), ("v3", 0), ("v2", 0), ("v1", 1)];
    assert_eq!(kept, want.map(|(label, texts)| (label.to_owned(), texts)));
}
