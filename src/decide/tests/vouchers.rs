//! Who vouches that a breach is the release's own, and what happens where nobody does.

use super::{
    stage::{Stage, fail_checks, put, ratio},
    *,
};
use crate::model::{CheckStatus, Crashes, ExitEvent, ReleaseStatus, Well};

/// v2 runs on both machines, and was well for a minute and a half; v1 was before.
fn settled() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.bake = Duration::from_secs(600);
    serves(&mut stage, 0.0);
    stage.pass(60);
    stage.ship(2, "sha256:2");
    stage.pass(90);
    stage
}

fn serves(stage: &mut Stage, bad: f64) {
    stage.serves = vec![("m1", 100.0, bad), ("m2", 100.0, bad)];
}

/// Rounds until a rollback is planned; how long it counts down.
fn planned(stage: &mut Stage) -> u64 {
    for _ in 0..60 {
        stage.look();
        if let [event] = stage.told(EventKind::RollbackPlanned)[..] {
            return match event.reason {
                Some(Reason::CountsDown { seconds, unvouched, .. }) => {
                    assert!(unvouched);
                    seconds
                }
                None => 0,
                ref other => panic!("{other:?}"),
            };
        }
    }
    panic!("{:?}", stage.events);
}

/// Two apps were seen to serve since so many seconds after now, in this region.
fn well(stage: &mut Stage, apps: &[&str], later: i64, region: &str) {
    let since = at(stage.second + later);
    let well = Well { since: [(region.into(), since)].into() };
    stage.org.well = apps.iter().map(|app| (AppName::new(*app), well.clone())).collect();
}

#[test]
fn what_comes_late_with_nobody_to_compare_with_counts_down_and_a_recovery_calls_it_off() {
    let mut stage = settled();
    serves(&mut stage, 100.0);
    assert_eq!(planned(&mut stage), 30);
    serves(&mut stage, 0.0);
    stage.pass(60);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
    assert_eq!(stage.told(EventKind::RollbackStopped)[0].reason, Some(Reason::Recovered));
}

#[test]
fn the_policy_says_how_long_is_waited_where_nobody_vouches() {
    for (seconds, configured, counts) in [(12, 0, 12), (0, 0, 0)] {
        let mut stage = settled();
        stage.policy.watch.unvouched_countdown = Duration::from_secs(seconds);
        stage.policy.watch.countdown = Duration::from_secs(configured);
        serves(&mut stage, 100.0);
        assert_eq!(planned(&mut stage), counts);
    }
}

/// v1 was above the limit for most of a minute, and recovered; then v2 was well for a minute and a half.
fn settled_after_a_spell() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.bake = Duration::from_secs(600);
    serves(&mut stage, 0.0);
    stage.pass(60);
    while at(stage.second).as_second().rem_euclid(60) != 0 {
        stage.look();
    }
    serves(&mut stage, 5.0);
    stage.pass(40);
    serves(&mut stage, 0.0);
    stage.pass(100);
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 0);
    stage.ship(2, "sha256:2");
    stage.pass(90);
    stage
}

#[test]
fn where_the_release_before_recovered_from_the_like_it_is_waited_for_as_long() {
    let mut stage = settled_after_a_spell();
    serves(&mut stage, 5.0);
    assert_eq!(planned(&mut stage), 120);
    let planned = stage.told(EventKind::RollbackPlanned)[0].reason.clone();
    assert!(matches!(planned, Some(Reason::CountsDown { passed_before: true, .. })), "{planned:?}");
    serves(&mut stage, 0.0);
    stage.pass(60);
    assert_eq!(stage.told(EventKind::RollbackStopped)[0].reason, Some(Reason::Recovered));
}

#[test]
fn nothing_like_it_passed_before_where_it_is_far_worse_or_vouched_for() {
    let mut stage = settled_after_a_spell();
    serves(&mut stage, 100.0);
    assert_eq!(planned(&mut stage), 30);
    let mut stage = settled_after_a_spell();
    serves(&mut stage, 5.0);
    assert_eq!(planned(&mut stage), 120);
    let began = stage.second;
    well(&mut stage, &["shop", "blog"], 0, "iad");
    stage.begin();
    assert!(stage.second - began < 10);
}

#[test]
fn a_bad_beginning_after_a_past_that_was_well_needs_no_countdown() {
    for (past, counts) in [(0.0, 0), (100.0, 30)] {
        let mut stage = Stage::trusted(&["m1", "m2"]);
        stage.policy.thresholds = vec![ratio()];
        serves(&mut stage, 0.0);
        stage.pass(60);
        // What ran before breaks a moment before it is replaced, or does not.
        serves(&mut stage, past);
        stage.pass(4);
        serves(&mut stage, 100.0);
        stage.ship(2, "sha256:2");
        assert_eq!(planned(&mut stage), counts, "{past}");
    }
}

#[test]
fn a_past_of_which_nothing_was_counted_says_nothing() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    serves(&mut stage, 100.0);
    stage.ship(2, "sha256:2");
    assert_eq!(planned(&mut stage), 30);
}

#[test]
fn checks_that_never_passed_are_the_release_s_and_those_that_fail_late_may_not_be() {
    for (late, counts) in [(0, 0), (60, 30)] {
        let mut stage = Stage::trusted(&["m1", "m2"]);
        stage.policy.watch.bake = Duration::from_secs(600);
        stage.ship(2, "sha256:2");
        stage.pass(late);
        stage.machines.iter_mut().for_each(fail_checks);
        assert_eq!(planned(&mut stage), counts, "{late} s");
    }
}

#[test]
fn checks_that_pass_on_the_release_before_vouch() {
    for (passes, counts) in [(true, 0), (false, 30)] {
        let mut stage = Stage::trusted(&["m1", "m2"]);
        stage.announce(2, "sha256:2");
        stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
        let now = at(stage.second);
        put(stage.machine("m2"), 2, "sha256:2", now);
        stage.pass(60);
        stage.machines.iter_mut().for_each(fail_checks);
        // One that merely warns says nothing.
        stage.machine("m1").checks[0].status =
            if passes { CheckStatus::Passing } else { CheckStatus::Warning };
        assert_eq!(planned(&mut stage), counts, "{passes}");
    }
}

#[test]
fn processes_that_end_are_the_release_s_whenever_they_do() {
    let mut stage = settled();
    let crashes = Crashes { exits: 2, oom: 1, failing: 0.3 };
    stage.policy.thresholds[0].kind = ThresholdKind::Crashes(crashes);
    stage.pass(10);
    let second = stage.second;
    let exit = |second| ExitEvent {
        at: at(second),
        started_at: Some(at(second - 60)),
        exit_code: 1,
        oom_killed: false,
        requested_stop: false,
    };
    for machine in &mut stage.machines {
        machine.exits = vec![exit(second), exit(second - 5)];
    }
    assert_eq!(planned(&mut stage), 0);
}

#[test]
fn two_apps_that_serve_in_the_same_region_meanwhile_vouch() {
    for (apps, later, region, counts) in [
        (&["shop", "blog"][..], 10, "iad", 0),
        (&["shop"][..], 10, "iad", 30),
        (&["shop", "blog"][..], 10, "lhr", 30),
        (&["shop", "blog"][..], -10, "iad", 30),
    ] {
        let mut stage = settled();
        serves(&mut stage, 100.0);
        well(&mut stage, apps, later, region);
        assert_eq!(planned(&mut stage), counts, "{apps:?} {later} s {region}");
    }
}

#[test]
fn a_countdown_ends_when_somebody_vouches_and_not_before_what_the_policy_asks_for() {
    for (configured, least, most) in [(0, 2, 4), (20, 20, 24)] {
        let mut stage = settled();
        stage.policy.watch.countdown = Duration::from_secs(configured);
        serves(&mut stage, 100.0);
        assert_eq!(planned(&mut stage), 30);
        let began = stage.second;
        well(&mut stage, &["shop", "blog"], 0, "iad");
        stage.begin();
        let lasted = stage.second - began;
        assert!((least..=most).contains(&lasted), "{lasted} s");
    }
}

#[test]
fn an_image_that_was_rolled_back_before_needs_nobody_to_vouch() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.policy.thresholds = vec![ratio()];
    stage.pass(10);
    serves(&mut stage, 100.0);
    stage.events.clear();
    stage.ship(7, "sha256:2");
    assert_eq!(planned(&mut stage), 0);
}

#[test]
fn one_that_earned_its_trust_since_is_judged_like_any_other() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.pass(10);
    stage.ship(7, "sha256:2");
    stage.pass(120);
    assert_eq!(stage.state.phase.word(), "steady", "{:?}", stage.events);
    let watch = stage.state.memory.vigil.watch().unwrap();
    assert_eq!(watch.revision.digest.as_str(), "sha256:2");
    assert!(!watch.no_mercy);
}

/// What a steady app shows its neighbours after these rounds of requests on one machine: for how many
/// seconds it was seen to serve.
fn shown(rounds: &[(f64, f64)]) -> Option<i64> {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.look();
    for (n, k) in rounds {
        stage.serves = vec![("m1", *n, *k)];
        stage.look();
    }
    let well = crate::decide::distress::wellness(&stage.state)?;
    let since = well.since.get(&"iad".into())?;
    Some(at(stage.second).duration_since(*since).as_secs())
}

#[test]
fn a_steady_app_shows_since_when_ten_requests_were_served() {
    assert_eq!(shown(&[(10.0, 0.0)]), Some(2));
    assert_eq!(shown(&[(5.0, 0.0), (5.0, 0.0)]), Some(4));
    assert_eq!(shown(&[(100.0, 0.0), (5.0, 0.0), (0.0, 0.0), (5.0, 0.0)]), Some(6));
    assert_eq!(shown(&[(5.0, 0.0)]), None);
    assert_eq!(shown(&[(100.0, 0.0), (4.0, 2.0)]), None, "half of the last requests failed");
    assert_eq!(shown(&[(4.0, 2.0), (10.0, 0.0)]), Some(2));
    assert_eq!(shown(&[(100.0, 60.0)]), None);
}
