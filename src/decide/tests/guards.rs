//! What forbids a rollback, guard by guard, and what is gone back to.

use super::{
    stage::{self, Stage},
    *,
};
use crate::model::{Act, Effect, Evidence, Kind, Refusal, Release, Reply, Unit, Verdict, Wish};

/// A policy under which a release may be undone, an app with v1 trusted, and the watch of v2.
fn case() -> (Policy, AppState, Watch) {
    let answer = Outcome::ImagePresent;
    let (state, _) = live(AppState::new("api".into()), &machine(1, "sha256:1"), 90, &answer);
    let (policy, watch) = (policy(Mode::Rollback), watch_of(2, "sha256:2"));
    assert_eq!(refused(&policy, &state, &watch), None);
    (policy, state, watch)
}

fn quarantine(state: &mut AppState, digest: &str) {
    let old = Quarantined {
        digest: Digest::new(digest),
        version: Some(ReleaseVersion(1)),
        at: at(0),
        unfinished: false,
        image: None,
        groups: std::collections::BTreeSet::new(),
    };
    state.memory.quarantined.push(old);
}

/// Breaching, with so many of 100 bad.
pub(super) fn breach(kind: Kind, bad: f64) -> Evidence {
    Evidence {
        threshold: "one".to_owned(),
        kind,
        verdict: Verdict::Breach,
        value: None,
        limit: 0.02,
        unit: Unit::Requests,
        source: String::new(),
        bad,
        total: 100.0,
        lately: None,
        ln_odds: None,
        ln_odds_needed: None,
        blocks: 5,
        last_blocks: Vec::new(),
        control: None,
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

fn baked(version: u64, digest: &str, seconds: i64) -> state::Trusted {
    state::Trusted {
        revision: watch_of(version, digest).revision,
        at: at(seconds),
        image_checked_at: None,
        image_missing: false,
        crashes_per_machine: 0.0,
        failing: state::FailingChecks::new(),
        stayed_up: std::collections::BTreeSet::new(),
        vouched: None,
        mirror: None,
        setup: None,
        dispersions: std::collections::BTreeMap::new(),
        revoked: None,
        ran: std::collections::BTreeMap::new(),
    }
}

fn target(policy: &Policy, state: &AppState, watch: &Watch) -> Option<u64> {
    Some(crate::decide::guards::target(policy, &state.memory, watch)?.version?.0)
}

#[test]
fn migrations_of_the_release_or_of_one_after_the_target_forbid_it() {
    let (mut policy, mut state, mut watch) = case();
    watch.revision.has_release_command = Some(true);
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::Migrations));
    watch.revision.has_release_command = Some(false);

    let mut watch = watch_of(5, "sha256:2");
    // Those of the target, and of what is newer than the bad release, are no obstacle.
    state.memory.migrated.extend([ReleaseVersion(1), ReleaseVersion(5), ReleaseVersion(6)]);
    assert_eq!(refused(&policy, &state, &watch), None);
    state.memory.migrated.insert(ReleaseVersion(3));
    let since = HoldReason::MigrationsSince { version: ReleaseVersion(3) };
    assert_eq!(refused(&policy, &state, &watch), Some(since));

    watch.revision.has_release_command = Some(true);
    policy.rollback.despite_migrations = true;
    assert_eq!(refused(&policy, &state, &watch), None);
}

#[test]
fn a_release_that_the_ledger_does_not_have_may_have_migrated() {
    let (policy, state, mut watch) = case();
    watch.revision.has_release_command = None;
    assert_eq!(refused(&policy, &state, &watch), None, "the ledger does not say");
    watch.in_ledger = false;
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::MigrationsUnknown));
    // What was put on machines by hand has no entry, and neither has what ran before us.
    watch.numbered = false;
    assert_eq!(refused(&policy, &state, &watch), None);
    watch.numbered = true;
    watch.learning = true;
    assert_eq!(refused(&policy, &state, &watch), None);
}

#[test]
fn the_same_image_is_nothing_to_go_back_to() {
    let (policy, state, _) = case();
    let watch = watch_of(2, "sha256:1");
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::SameImage { drift: None }));
}

#[test]
fn what_was_left_unfinished_may_be_undone_again() {
    let (policy, mut state, watch) = case();
    quarantine(&mut state, "sha256:2");
    state.memory.quarantined[0].version = watch.revision.version;
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::AlreadyRolledBack));
    state.memory.quarantined[0].unfinished = true;
    assert_eq!(refused(&policy, &state, &watch), None);
}

#[test]
fn without_an_image_the_hold_says_what_is_missing() {
    let (policy, mut state, watch) = case();
    state.memory.trusted[0].image_missing = true;
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::ImagesMissing));
    state.memory.baked = Some(baked(1, "sha256:b", 50));
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::OnlyBaked));
    quarantine(&mut state, "sha256:b");
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::ImagesMissing));
    state.memory.trusted.clear();
    assert_eq!(refused(&policy, &state, &watch), Some(HoldReason::NothingTrusted));
}

/// v1 is trusted, v2 baked since, and v3 fails.
#[test]
fn only_a_failure_of_everything_goes_back_to_what_is_baked() {
    let (policy, mut state, _) = case();
    let mut watch = watch_of(3, "sha256:3");
    state.memory.baked = Some(baked(2, "sha256:2", 200));
    for (evidence, want) in [
        (breach(Kind::Ratio, 50.0), 2),
        (breach(Kind::Ratio, 49.0), 1),
        // Since it rose, which was late.
        (
            Evidence {
                lately: Some(crate::model::Tally { n: 40.0, k: 20.0 }),
                ..breach(Kind::Ratio, 10.0)
            },
            2,
        ),
        (
            Evidence {
                lately: Some(crate::model::Tally { n: 40.0, k: 19.0 }),
                ..breach(Kind::Ratio, 10.0)
            },
            1,
        ),
        (breach(Kind::Checks, 40.0), 2),
        (breach(Kind::Crashes, 3.0), 2),
        (breach(Kind::Latency, 100.0), 1),
        (breach(Kind::Gauge, 100.0), 1),
        (Evidence { may_roll_back: false, ..breach(Kind::Checks, 100.0) }, 1),
        (Evidence { verdict: Verdict::Pass, ..breach(Kind::Checks, 100.0) }, 1),
    ] {
        watch.evidence = vec![evidence];
        assert_eq!(target(&policy, &state, &watch), Some(want), "{:?}", watch.evidence);
    }
    watch.evidence = vec![breach(Kind::Checks, 100.0)];
    // An older one did not earn more than what is trusted since.
    let mut older = state.clone();
    older.memory.baked = Some(baked(2, "sha256:2", 10));
    assert_eq!(target(&policy, &older, &watch), Some(1));
    let mut undone = state.clone();
    quarantine(&mut undone, "sha256:2");
    assert_eq!(target(&policy, &undone, &watch), Some(1));
    let mut same = state.clone();
    same.memory.baked = Some(baked(2, "sha256:3", 200));
    assert_eq!(target(&policy, &same, &watch), Some(1));
    state.memory.trusted.clear();
    assert_eq!(target(&policy, &state, &watch), Some(2), "for want of a trusted one");
}

#[test]
fn a_freeze_holds_until_it_is_over_and_then_the_release_is_undone() {
    use crate::decide::tests::stage::{Stage, fail_checks, put_on};
    let mut stage = Stage::trusted(&["m1"]);
    let begins = at(stage.second).to_zoned(jiff::tz::TimeZone::UTC);
    let begins = format!("{} {} * * *", begins.minute(), begins.hour());
    let freeze = |minutes: u64| crate::model::Freeze {
        reason: "the sale".to_owned(),
        begins: crate::model::Calendar::parse(&begins).unwrap(),
        lasts: Duration::from_secs(minutes * 60),
        zone: jiff::tz::TimeZone::UTC,
    };
    stage.policy.freezes = vec![freeze(5), freeze(10)];
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    assert_eq!(put_on(&stage.pass(400)), [""; 0]);
    let held = stage.told(EventKind::HoldPlaced);
    let Some(Reason::Held { hold: HoldReason::Frozen { reason, until } }) = &held[0].reason else {
        panic!("{held:?}");
    };
    assert_eq!((held.len(), reason.as_str()), (1, "the sale"));
    let left = until.duration_since(at(stage.second)).as_secs();
    assert!((100..=200).contains(&left), "the one that ends last: {left}");
    assert_eq!(put_on(&stage.pass(left + 4)), ["m1"]);
}

#[test]
fn the_rollbacks_of_all_apps_are_counted_together() {
    let (policy, mut state, watch) = case();
    let policy = Policy { per_organization_max: 3, ..policy };
    state.memory.org.rollbacks = 2;
    assert_eq!(refused(&policy, &state, &watch), None);
    state.memory.rollbacks = vec![at(90)];
    let budget = HoldReason::OrganizationBudget { max: 3 };
    assert_eq!(refused(&policy, &state, &watch), Some(budget.clone()));
    (state.memory.rollbacks, state.memory.org.rollbacks) = (Vec::new(), 3);
    assert_eq!(refused(&policy, &state, &watch), Some(budget));
    let free = Policy { per_organization_max: 4, ..policy };
    assert_eq!(refused(&free, &state, &watch), None);
}

/// A stage on which v2 fails while the ledger tells nothing of it.
fn untold(migrates: bool) -> Stage {
    let mut stage = Stage::trusted(&["m1"]);
    if migrates {
        let mut command = stage.machines[0].clone();
        command.id = "m9".into();
        command.group = "fly_app_release_command".into();
        stage.machines.push(command);
        stage.pass(4);
        stage.machines.pop();
    }
    stage.ship(2, "sha256:2");
    stage.ledger = None;
    stage::fail_checks(stage.machine("m1"));
    stage.pass(60);
    let held = stage.told(EventKind::HoldPlaced);
    assert_eq!(held[0].reason, Some(HoldReason::MigrationsUnknown.into()));
    stage
}

fn cleared(stage: &Stage) -> Vec<&Reason> {
    stage.told(EventKind::HoldCleared).into_iter().filter_map(|one| one.reason.as_ref()).collect()
}

#[test]
fn a_ledger_that_never_tells_is_waited_for_and_then_gone_without() {
    // Given a release of which the ledger tells nothing, after ones without a command
    let mut stage = untold(false);
    // When two minutes are over
    stage.pass(200);
    // Then it is undone, and people are told on what grounds
    assert_eq!(cleared(&stage), [&Reason::NoCommandSeen]);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1);
}

#[test]
fn a_command_that_was_seen_at_work_is_not_passed_over() {
    let mut stage = untold(true);
    stage.pass(1200);
    assert_eq!(cleared(&stage), [&Reason::NoCommandSeen; 0]);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
}

#[test]
fn neither_is_a_command_of_the_release_before() {
    let mut stage = untold(false);
    stage.state.memory.trusted[0].revision.has_release_command = Some(true);
    stage.pass(1200);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
}

#[test]
fn an_entry_without_its_configuration_tells_who_and_not_what_it_ran() {
    // Given the same, and a ledger that has the release by its name alone
    let mut stage = untold(false);
    let entry = |is_brief| Release { is_brief, ..stage::entry(2, "sha256:2") };
    let brief = Release { has_release_command: None, ..entry(true) };
    stage.ledger = Some(vec![brief]);
    stage.pass(4);
    assert_eq!(cleared(&stage), [&Reason::NoCommandSeen; 0]);
    // When it tells all of it
    stage.ledger = Some(vec![entry(false)]);
    stage.pass(4);
    // Then the hold is over at once
    let was = HoldReason::MigrationsUnknown;
    assert_eq!(cleared(&stage), [&Reason::HoldOver { was }]);
    stage.begin();
    let started = stage.told(EventKind::RollbackStarted);
    assert_eq!(started[0].release.as_ref().unwrap().author.as_deref(), Some("zoe@example.com"));
}

#[test]
fn what_the_ledger_told_of_a_command_outlasts_an_entry_without_it() {
    let mut revision = Stage::trusted(&["m1"]).state.memory.trusted[0].revision.clone();
    revision.has_release_command = Some(true);
    let entry = stage::entry(1, "sha256:1");
    let brief = [Release { has_release_command: None, is_brief: true, ..entry }];
    fleet::complete(&mut revision, Some(&brief), fleet::Came::Deployed);
    assert_eq!(revision.has_release_command, Some(true));
}

#[test]
fn a_machine_of_whose_containers_none_runs_the_apps_image_is_not_rolled_back_in_vain() {
    let config = |image: &str, web: &str| {
        let containers = format!(r#"[{{"name":"web","image":"ghcr.io/acme/web:{web}"}}]"#);
        let text =
            format!(r#"{{"image":"registry.fly.io/api@{image}","containers":{containers}}}"#);
        Some(crate::model::RawConfig(text.into()))
    };
    let mut stage = Stage::unknown(&["m1", "m2"]);
    for machine in &mut stage.machines {
        machine.config = config("sha256:1", "41");
    }
    stage.pass(90);
    stage.ship(2, "sha256:2");
    for machine in &mut stage.machines {
        machine.config = config("sha256:2", "42");
        stage::fail_checks(machine);
    }
    stage.pass(60);
    let held = stage.told(EventKind::HoldPlaced);
    let stay = HoldReason::ContainersStay { containers: vec!["web".to_owned()] };
    assert_eq!(held.last().and_then(|event| event.reason.clone()), Some(stay.into()));
    assert!(stage.told(EventKind::RollbackStarted).is_empty());
    // Nor by hand, unless who orders it insists.
    let mut wish = Wish { to: Some("v1".to_owned()), ..Wish::default() };
    let refused = stage.order(Act::Rollback(wish.clone()));
    let Reply::Refused(refusal) = &refused else { panic!("{refused:?}") };
    assert!(
        matches!(refusal, Refusal::ContainersStay { containers, .. } if *containers == ["web"])
    );
    let said = crate::notify::text::refusal(&"api".into(), refusal);
    assert!(said.contains("container `web` has an image of its own"), "{said}");
    wish.force = true;
    assert!(matches!(stage.order(Act::Rollback(wish)), Reply::Done(Effect::Begun { .. })));
}
