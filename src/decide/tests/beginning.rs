//! What is written down when a rollback begins.

use super::{
    stage::{Stage, fail_checks, ratio},
    *,
};
use crate::model::{CheckStatus, Region};

/// The regions in order, and whether the policy leaves them alone.
fn regions(stage: &Stage) -> Vec<(&str, bool)> {
    let regions = &stage.rollback().regions;
    regions.iter().map(|work| (work.region.as_str(), work.is_left_alone())).collect()
}

/// Half of the requests fail in fra, and none in iad.
fn fails_in_fra(policy: impl FnOnce(&mut Policy)) -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.machine("m2").region = Region::new("fra");
    stage.policy.thresholds = vec![ratio()];
    policy(&mut stage.policy);
    stage.ship(2, "sha256:2");
    stage.serves = vec![("m1", 100.0, 0.0), ("m2", 100.0, 50.0)];
    stage.begin();
    stage
}

#[test]
fn every_region_is_undone_the_worst_first() {
    assert_eq!(regions(&fails_in_fra(|_| {})), [("fra", false), ("iad", false)]);
}

#[test]
fn where_the_policy_says_so_a_region_that_is_well_is_left_alone() {
    let stage = fails_in_fra(|policy| policy.rollback.only_breaching_regions = true);
    assert_eq!(regions(&stage), [("fra", false), ("iad", true)]);
}

#[test]
fn what_failed_when_the_target_was_trusted_is_tolerated() {
    let mut stage = Stage::trusted(&["m1"]);
    let failing = state::FailingChecks::from([("m1".into(), ["slow".to_owned()].into())]);
    let mut older = stage.state.memory.trusted[0].clone();
    older.revision.digest = Digest::new("sha256:0");
    stage.state.memory.trusted[0].failing.clone_from(&failing);
    stage.state.memory.trusted.push(older);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.begin();
    assert_eq!(stage.rollback().tolerated, failing);
}

/// Nothing is left to protect: one machine that comes back is proof enough for all.
#[test]
fn only_a_total_outage_escalates_and_only_where_the_policy_lets_it() {
    let escalates = |failing: &[&str], escalate| {
        let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
        stage.policy.rollback.escalate = escalate;
        stage.ship(2, "sha256:2");
        for machine in &mut stage.machines {
            fail_checks(machine);
            if !failing.contains(&machine.id.as_str()) {
                machine.checks[0].status = CheckStatus::Passing;
            }
        }
        stage.begin();
        stage.rollback().escalated
    };
    assert!(escalates(&["m1", "m2", "m3"], true));
    assert!(!escalates(&["m1", "m2"], true));
    assert!(!escalates(&["m1", "m2", "m3"], false));
}

/// The day's budget counts it from its beginning, however it ends.
#[test]
fn it_counts_for_the_budget_of_a_day() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    let hours_ago = |hours: i64| at(-hours * 3600);
    stage.state.memory.rollbacks = vec![hours_ago(25), hours_ago(23)];
    stage.begin();
    let now = at(stage.second);
    assert_eq!(stage.state.memory.rollbacks, [hours_ago(23), now]);
}

/// A budget counts what is remembered: what is forgotten sooner than it is used up limits nothing.
#[test]
fn as_many_are_remembered_as_a_budget_can_allow() {
    // Given a budget of thirty rollbacks a day, of which all but one are used up
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.rollback.per_day_max = 30;
    stage.policy.per_organization_max = 2000;
    stage.state.memory.rollbacks = (0..29).map(|minutes| at(minutes - 3600)).collect();
    // When one more begins
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.begin();
    // Then it is the last one
    assert_eq!(stage.state.memory.rollbacks.len(), 30);
    // And however many were allowed, no more are kept than a budget can ask for
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.rollback.per_day_max = 2000;
    stage.policy.per_organization_max = 2000;
    stage.state.memory.rollbacks = (0..1000).map(|seconds| at(seconds - 3600)).collect();
    stage.ship(2, "sha256:2");
    fail_checks(stage.machine("m1"));
    stage.begin();
    let remembered = &stage.state.memory.rollbacks;
    assert_eq!(remembered.len(), 1000);
    assert_eq!((remembered[0], remembered[999]), (at(-3599), at(stage.second)));
}
