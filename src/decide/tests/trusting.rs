//! What a release is trusted for, and what earns it nothing.

#![expect(clippy::float_cmp, reason = "whole seconds, exactly counted")]

use super::{
    stage::{Stage, fail_checks, put, ratio},
    *,
};
use crate::model::{Obstacle, ReleaseStatus, machine::Transition};

/// v2 was just shipped, and nothing is wrong with it.
fn shipped(ids: &[&str]) -> Stage {
    let mut stage = Stage::trusted(ids);
    stage.ship(2, "sha256:2");
    stage
}

/// The same, where requests are what decides.
fn by_requests(ids: &[&str]) -> Stage {
    let mut stage = shipped(ids);
    stage.policy.thresholds = vec![ratio()];
    for machine in &mut stage.machines {
        machine.has_services = true;
    }
    stage
}

/// How many releases were trusted, the first one included.
fn trusted(stage: &Stage) -> usize {
    stage.told(EventKind::ReleaseTrusted).len()
}

fn is_baked(stage: &Stage) -> bool {
    stage.state.memory.baked.is_some()
}

fn watch(stage: &Stage) -> &Watch {
    match &stage.state.phase {
        Phase::Watching(watch) => watch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bake_is_sixty_seconds_of_being_seen_well() {
    let mut stage = shipped(&["m1"]);
    stage.pass(60);
    assert_eq!(trusted(&stage), 1);
    stage.pass(2);
    assert_eq!(trusted(&stage), 2);
}

/// Chats are not told of it.
#[test]
fn what_is_told_of_the_first_release_says_that_it_ran_before() {
    let mut stage = shipped(&["m1"]);
    stage.pass(62);
    let ran_before =
        |kind| -> Vec<bool> { stage.told(kind).iter().map(|event| event.ran_before).collect() };
    assert_eq!(ran_before(EventKind::ReleaseDetected), [true, false]);
    assert_eq!(ran_before(EventKind::ReleaseTrusted), [true, false]);
}

#[test]
fn the_end_of_a_bake_is_foretold_while_its_time_runs() {
    let mut stage = shipped(&["m1"]);
    stage.pass(2);
    let ends = |stage: &Stage| bake_ends(&stage.policy, watch(stage), at(stage.second));
    let begun = stage.second;
    stage.pass(20);
    assert_eq!(ends(&stage), Some(at(begun + 60)));
    stage.machine("m1").state = MachineState::Transient(Transition::Starting);
    stage.pass(2);
    assert_eq!(ends(&stage), None, "nothing is up");
    stage.machine("m1").state = MachineState::Started;
    stage.pass(2);
    // What lay between earned nothing.
    assert_eq!(ends(&stage), Some(at(begun + 64)));
}

/// Where requests are counted, they have to come for as long.
#[test]
fn the_end_of_a_bake_counts_from_the_first_requests() {
    let mut stage = by_requests(&["m1"]);
    stage.pass(30);
    let ends = |stage: &Stage| bake_ends(&stage.policy, watch(stage), at(stage.second));
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(2);
    let begun = stage.second;
    stage.pass(10);
    assert_eq!(ends(&stage), Some(at(begun + 60)));
}

/// Only time between two looks that both saw it well counts.
#[test]
fn time_on_either_side_of_an_obstacle_earns_nothing() {
    let mut stage = shipped(&["m1"]);
    for _ in 0..100 {
        stage.machine("m1").state = MachineState::Started;
        stage.look();
        stage.machine("m1").state = MachineState::Transient(Transition::Starting);
        stage.look();
    }
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, false));
}

#[test]
fn what_is_still_being_deployed_earns_nothing() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = ReleaseStatus::Running;
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:2", now);
    stage.pass(200);
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, false));
    assert_eq!(watch(&stage).obstacle, Some(Obstacle::NotSettled));
}

#[test]
fn what_is_not_up_earns_nothing() {
    let mut stage = shipped(&["m1"]);
    stage.machine("m1").state = MachineState::Stopped;
    stage.pass(200);
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, false));
    assert_eq!(watch(&stage).obstacle, Some(Obstacle::NothingUp));
}

/// Checks that say nothing new could say something.
#[test]
fn what_could_be_seen_and_is_not_earns_nothing() {
    let mut stage = shipped(&["m1"]);
    stage.machine("m1").checks_configured = 1;
    stage.pass(200);
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, false));
    let threshold = "checks".to_owned();
    assert_eq!(watch(&stage).obstacle, Some(Obstacle::Undecided { threshold }));
}

/// After two hours it is looked at every quarter of a minute.
#[test]
fn rounds_of_the_idle_pace_are_contiguous_when_it_is_looked_at_so_seldom() {
    let mut stage = shipped(&["m1"]);
    stage.machine("m1").state = MachineState::Stopped;
    stage.pass(2);
    stage.second += 2 * 3600 - 100;
    stage.machine("m1").state = MachineState::Started;
    let look_after = |stage: &mut Stage, gap: i64| {
        stage.second += gap - 2;
        stage.look();
        watch(stage).seen_s
    };
    look_after(&mut stage, 2);
    assert_eq!(look_after(&mut stage, 16), 0.0, "more than three rounds of two seconds");
    assert_eq!(look_after(&mut stage, 10), 10.0);
    look_after(&mut stage, 72);
    assert_eq!(watch(&stage).since, at(stage.second - 2 * 3600));
    assert_eq!(look_after(&mut stage, 46), 10.0);
    assert_eq!(look_after(&mut stage, 45), 55.0);
}

/// What can be read has to be read: two of three, and something of each region and group.
#[test]
fn pages_that_cannot_be_read_earn_nothing() {
    let unread = |serves: &[&'static str], change: fn(&mut Stage)| {
        let mut stage = by_requests(&["m1", "m2", "m3"]);
        for machine in &mut stage.machines {
            machine.private_ip = Some("fdaa::1".parse().unwrap());
        }
        stage.policy.metrics_port = Some(9091);
        change(&mut stage);
        stage.serves = serves.iter().map(|id| (*id, 10.0, 0.0)).collect();
        stage.pass(40);
        match &watch(&stage).obstacle {
            Some(Obstacle::Unread { machines, of }) => Some((*machines, *of)),
            None => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unread(&["m1", "m2", "m3"], |_| {}), None);
    assert_eq!(unread(&["m1", "m2"], |_| {}), None, "one in three may be unread");
    assert_eq!(unread(&["m1"], |_| {}), Some((2, 3)));
    assert_eq!(unread(&[], |_| {}), None, "a policy that wants nothing of pages reads none");
    let apart = |stage: &mut Stage| stage.machine("m3").region = "fra".into();
    assert_eq!(unread(&["m1", "m2"], apart), Some((1, 3)), "all of a region");
    let grouped = |stage: &mut Stage| stage.machine("m3").group = "worker".into();
    assert_eq!(unread(&["m1", "m2"], grouped), Some((1, 3)), "all of a group");
    // What has no address, or no page, cannot be read by anybody.
    let hidden = |stage: &mut Stage| stage.machine("m3").private_ip = None;
    assert_eq!(unread(&["m1", "m2"], hidden), None);
    let unpaged = |stage: &mut Stage| {
        stage.machine("m3").group = "worker".into();
        stage.policy.metrics_port = None;
    };
    assert_eq!(unread(&["m1", "m2"], unpaged), None);
    let paged = |stage: &mut Stage| {
        stage.machine("m3").group = "worker".into();
        stage.policy.metrics_port = None;
        stage.machine("m3").metrics = Some(crate::model::MetricsPage {
            port: 9091,
            path: "/metrics".to_owned(),
            https: false,
        });
    };
    assert_eq!(unread(&["m1", "m2"], paged), Some((1, 3)), "it says that it has a page");
}

/// Once read, a group's pages are to be had.
#[test]
fn a_page_that_was_read_once_is_missed() {
    let mut stage = by_requests(&["m1", "m2"]);
    for machine in &mut stage.machines {
        machine.private_ip = Some("fdaa::1".parse().unwrap());
    }
    stage.machine("m2").group = "worker".into();
    stage.serves = vec![("m1", 10.0, 0.0), ("m2", 10.0, 0.0)];
    stage.pass(10);
    assert_eq!(watch(&stage).obstacle, None);
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(2);
    assert_eq!(watch(&stage).obstacle, Some(Obstacle::Unread { machines: 1, of: 2 }));
}

/// Baked, and no more: nobody knows what its requests would say.
#[test]
fn without_requests_it_is_baked_and_told_of_after_a_minute_once() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(60);
    assert!(!is_baked(&stage));
    stage.pass(2);
    assert!(is_baked(&stage));
    let checks = |command: &Command| matches!(command, Command::CheckImage { .. });
    assert!(stage.pending(checks).is_none(), "its image was looked up, and is there");
    stage.pass(58);
    assert!(stage.told(EventKind::ReleaseBaked).is_empty());
    stage.pass(2);
    assert_eq!(stage.told(EventKind::ReleaseBaked).len(), 1);
    let at_first = stage.state.memory.baked.as_ref().unwrap().at;
    stage.pass(600);
    assert_eq!(stage.told(EventKind::ReleaseBaked).len(), 1);
    assert_eq!(stage.state.memory.baked.as_ref().unwrap().at, at_first);
    assert_eq!(trusted(&stage), 1);
}

#[test]
fn what_was_trusted_before_is_not_noted_as_baked() {
    let mut stage = Stage::trusted(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.machine("m1").has_services = true;
    stage.ship(2, "sha256:1");
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(300);
    assert!(matches!(stage.state.phase, Phase::Watching(_)), "{:?}", stage.state.phase);
    assert!(!is_baked(&stage));
    assert!(stage.told(EventKind::ReleaseBaked).is_empty());
}

#[test]
fn requests_to_the_end_of_the_bake_make_it_trusted() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(60);
    assert_eq!(trusted(&stage), 1);
    stage.pass(4);
    assert_eq!((trusted(&stage), is_baked(&stage)), (2, false));
}

/// A burst at its beginning says nothing of the rest.
#[test]
fn requests_at_the_beginning_alone_do_not() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(40);
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(20);
    assert_eq!(trusted(&stage), 1);
    stage.pass(200);
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, true));
}

/// Up to a third of the bake may be silent at its end.
#[test]
fn requests_that_stopped_a_moment_ago_do() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 20.0, 0.0)];
    stage.pass(46);
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(18);
    assert_eq!(trusted(&stage), 2);
}

/// Two requests a round, all of them answered: that they are within the limit is not 20 to 1 before some
/// three hundred came.
#[test]
fn with_little_traffic_it_is_baked_and_said_how_many_requests_are_missing() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 2.0, 0.0)];
    stage.pass(130);
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, true));
    let baked = stage.told(EventKind::ReleaseBaked);
    let Some(Reason::RequestsMissing { threshold, missing }) = &baked[0].reason else {
        panic!("{baked:?}");
    };
    assert!(threshold == "5xx" && (100.0..220.0).contains(missing), "{missing}");
    stage.pass(200);
    assert_eq!((trusted(&stage), is_baked(&stage)), (2, false));
}

/// It was well for most of its bake, and is not at its end: the whole is within the limit all the same.
#[test]
fn what_was_well_before_does_not_speak_for_what_is_bad_now() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 20.0, 0.0)];
    stage.pass(40);
    stage.serves = vec![("m1", 20.0, 0.5)];
    stage.pass(60);
    assert_eq!(trusted(&stage), 1);
    stage.serves = vec![("m1", 20.0, 0.0)];
    stage.pass(90);
    assert_eq!(trusted(&stage), 2);
}

#[test]
fn a_few_requests_in_one_block_do_not() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 1.0, 0.0)];
    stage.pass(2);
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(56);
    stage.serves = vec![("m1", 1.0, 0.0)];
    stage.pass(6);
    assert_eq!(trusted(&stage), 1);
}

#[test]
fn where_their_absence_is_ignored_none_have_to_come() {
    let mut stage = by_requests(&["m1"]);
    stage.policy.thresholds[0].no_data = NoData::Ignore;
    stage.serves = vec![("m1", 0.0, 0.0)];
    stage.pass(64);
    assert_eq!(trusted(&stage), 2);
}

/// A worker that serves no requests cannot feed a ratio of them.
#[test]
fn a_threshold_that_the_app_cannot_feed_asks_for_nothing() {
    let mut stage = by_requests(&["m1"]);
    stage.policy.thresholds.push(policy(Mode::Rollback).thresholds.remove(0));
    stage.policy.metrics_port = None;
    stage.machine("m1").has_services = false;
    stage.pass(64);
    assert_eq!(trusted(&stage), 2);
}

/// Above the limit, and the odds against it rise: no breach yet, and no health.
#[test]
fn requests_that_lean_against_it_earn_nothing() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 100.0, 3.0)];
    let mut leaned = 0;
    for _ in 0..60 {
        stage.look();
        let Phase::Watching(watch) = &stage.state.phase else { break };
        let threshold = "5xx".to_owned();
        leaned += usize::from(watch.obstacle == Some(Obstacle::Undecided { threshold }));
    }
    assert!(leaned > 3, "{:?}", stage.state.phase);
    assert_eq!((trusted(&stage), is_baked(&stage)), (1, false));
}

/// Within its limit on the whole, and half of one region's requests fail: no breach yet, and no health. What
/// only alerts keeps nothing from trust.
#[test]
fn a_region_that_is_sick_by_itself_is_no_health() {
    for (on_breach, is_sick) in [(OnBreach::Rollback, true), (OnBreach::Alert, false)] {
        let mut stage = by_requests(&["m1", "m2"]);
        stage.machine("m2").region = "fra".into();
        stage.serves = vec![("m1", 1000.0, 0.0), ("m2", 5.0, 3.0)];
        stage.policy.thresholds[0].on_breach = on_breach;
        stage.pass(8);
        let (region, threshold) = ("fra".into(), "5xx".to_owned());
        let sick = Some(Obstacle::SickRegion { region, threshold });
        assert_eq!(watch(&stage).obstacle == sick, is_sick, "{:?}", watch(&stage).obstacle);
    }
}

#[test]
fn a_few_failures_of_a_region_do_not_make_it_sick() {
    for serves in [[("m1", 1000.0, 0.0), ("m2", 5.0, 0.1)], [("m1", 1000.0, 0.0), ("m2", 0.1, 0.1)]]
    {
        let mut stage = by_requests(&["m1", "m2"]);
        stage.machine("m2").region = "fra".into();
        stage.serves = serves.to_vec();
        stage.pass(64);
        assert_eq!(trusted(&stage), 2, "{serves:?}");
    }
}

#[test]
fn an_app_that_nothing_protects_is_told_of_after_three_bakes_once() {
    let mut stage = Stage::unknown(&["m1"]);
    stage.machine("m1").state = MachineState::Stopped;
    stage.pass(180);
    assert!(stage.told(EventKind::ReleaseUntrusted).is_empty());
    stage.pass(2);
    stage.pass(600);
    let told = stage.told(EventKind::ReleaseUntrusted);
    assert_eq!(told.len(), 1, "{told:?}");
    let obstacle = Obstacle::NothingUp;
    assert_eq!(told[0].reason, Some(Reason::NothingProtects { obstacle }));
}

#[test]
fn one_that_has_something_to_go_back_to_is_protected() {
    for baked in [false, true] {
        let mut stage = shipped(&["m1"]);
        stage.machine("m1").state = MachineState::Stopped;
        if baked {
            stage.state.memory.baked = stage.state.memory.trusted.pop();
        }
        stage.pass(600);
        assert!(stage.told(EventKind::ReleaseUntrusted).is_empty(), "{baked}");
    }
}

/// A failed check at the first look is nothing yet; neither is a machine that could not be started.
#[test]
fn nothing_is_judged_on_the_first_look() {
    let mut stage = shipped(&["m1"]);
    stage.machine("m1").state = MachineState::Failed;
    stage.look();
    assert!(stage.told(EventKind::ReleaseDegraded).is_empty());
    stage.look();
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1);
}

/// What only alerts is told once, and decides nothing.
#[test]
fn a_threshold_that_only_alerts_is_told_of_once_and_undoes_nothing() {
    let mut stage = shipped(&["m1"]);
    stage.policy.thresholds[0].on_breach = OnBreach::Alert;
    stage.policy.thresholds.push(Threshold { on_breach: OnBreach::Alert, ..ratio() });
    fail_checks(stage.machine("m1"));
    stage.pass(120);
    let told = stage.told(EventKind::ReleaseDegraded);
    assert_eq!(told.len(), 1, "{told:?}");
    let thresholds = vec!["checks".to_owned()];
    assert_eq!(told[0].reason, Some(Reason::OnlyAlerts { thresholds }));
    assert!(stage.told(EventKind::RollbackStarted).is_empty());
}

/// While no page can be read, nobody knows what its requests would say.
#[test]
fn requests_of_before_say_nothing_while_no_page_can_be_read() {
    let mut stage = by_requests(&["m1"]);
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(56);
    stage.serves.clear();
    stage.no_page = Some("refused".to_owned());
    stage.pass(10);
    assert_eq!(trusted(&stage), 1);
    stage.no_page = None;
    stage.serves = vec![("m1", 10.0, 0.0)];
    stage.pass(4);
    assert_eq!(trusted(&stage), 2);
}

#[test]
fn it_leans_against_a_release_when_its_share_is_above_the_limit_and_the_odds_rise() {
    let leans = |bad, odds, may_roll_back| {
        let evidence = crate::model::Evidence {
            lately: None,
            ln_odds: Some(odds),
            may_roll_back,
            ..super::guards::breach(crate::model::Kind::Ratio, bad)
        };
        crate::decide::verdict::leans_against(&[evidence])
    };
    assert!(leans(3.0, 1.0, true));
    assert!(!leans(2.0, 1.0, true), "at the limit");
    assert!(!leans(3.0, 0.0, true) && !leans(3.0, -1.0, true), "the odds say nothing");
    assert!(!leans(1.0, 1.0, true));
    assert!(!leans(3.0, 1.0, false), "what only alerts decides nothing");
}

/// What only alerts is no obstacle to trust.
#[test]
fn a_breach_that_only_alerts_keeps_no_release_from_trust() {
    let mut stage = shipped(&["m1"]);
    stage.policy.thresholds[0].on_breach = OnBreach::Alert;
    let crashes = crate::model::Crashes { exits: 2, oom: 1, failing: 0.3 };
    let kind = ThresholdKind::Crashes(crashes);
    stage.policy.thresholds.push(Threshold { name: "exits".to_owned(), kind, ..ratio() });
    fail_checks(stage.machine("m1"));
    stage.pass(64);
    assert_eq!(trusted(&stage), 2);
}
