//! In which order regions are undone, and which of them together.

use super::{
    stage::{Stage, fail_checks, put, put_on, puts, ratio},
    *,
};
use crate::model::{Region, RegionOrder};
use state::RegionPhase;

/// v2 fails on the machines of these regions, which are named after them.
fn failing(regions: &[&str]) -> Stage {
    let mut stage = Stage::trusted(regions);
    for region in regions {
        stage.machine(region).region = Region::new(*region);
    }
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(fail_checks);
    stage
}

/// The first of these regions is confirmed, and the second just begun.
fn proved(regions: &[&str], change: impl FnOnce(&mut Policy)) -> Stage {
    let mut stage = failing(regions);
    change(&mut stage.policy);
    stage.begin();
    assert_eq!(put_on(&stage.look()), regions[..1]);
    stage.put_back(regions[0]);
    assert_eq!(put_on(&stage.pass(30)), [""; 0], "the first one alone");
    assert_eq!(put_on(&stage.look()), regions[1..2]);
    stage
}

const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn the_regions_after_the_first_go_on_as_soon_as_machines_are_back() {
    let mut stage = proved(&FIVE, |_| {});
    assert_eq!(put_on(&stage.pass(60)), [""; 0], "b is not back");
    stage.put_back("b");
    assert_eq!(put_on(&stage.look()), ["c", "d"]);
    stage.put_back("c");
    assert_eq!(put_on(&stage.pass(10)), [""; 0]);
    stage.put_back("d");
    assert_eq!(put_on(&stage.look()), ["e"]);
    assert!(stage.told(EventKind::RollbackRegionConfirmed).len() < 3);
}

#[test]
fn without_overlap_they_wait_until_those_before_are_confirmed() {
    let mut stage = proved(&FIVE, |policy| policy.rollback.overlap = false);
    stage.put_back("b");
    assert_eq!(put_on(&stage.pass(30)), [""; 0]);
    assert_eq!(put_on(&stage.look()), ["c", "d"]);
}

#[test]
fn they_do_not_go_on_while_something_speaks_against_it() {
    let mut stage = proved(&FIVE, |_| {});
    stage.put_back("b");
    fail_checks(stage.machine("b"));
    assert_eq!(put_on(&stage.pass(60)), [""; 0]);
    stage.machine("b").checks.clear();
    stage.machine("b").checks_configured = 0;
    assert_eq!(put_on(&stage.pass(4)), ["c", "d"]);
}

/// a is confirmed, and both machines of the second region are ordered; c is the third.
fn both_of_b() -> Stage {
    let mut stage = failing(&["a", "b", "bb", "c"]);
    stage.machine("bb").region = Region::new("b");
    stage.policy.rollback.max_unavailable = crate::model::MaxUnavailable::Count(2);
    stage.policy.rollback.escalate = false;
    stage.begin();
    stage.look();
    stage.put_back("a");
    assert_eq!(put_on(&stage.pass(32)), ["b", "bb"], "a region may lose two at once");
    stage
}

/// With one machine of the region back and well, its last ones need not be waited for: they do not
/// serve the bad image any more.
#[test]
fn they_go_on_once_the_last_machines_of_those_before_are_written_to() {
    let mut stage = both_of_b();
    assert_eq!(put_on(&stage.pass(10)), [""; 0], "neither is back");
    let now = at(stage.second);
    put(stage.machine("bb"), 3, "sha256:1", now);
    stage.machine("bb").state =
        MachineState::Transient(crate::model::machine::Transition::Replacing);
    assert_eq!(put_on(&stage.pass(10)), [""; 0], "it is written to, and none is back");
    assert_eq!(put_on(&stage.put_back("b")), [""; 0], "not seen yet");
    assert_eq!(put_on(&stage.look()), ["c"]);
}

#[test]
fn they_do_not_go_on_while_the_last_machines_of_those_before_serve_the_bad_image() {
    let mut stage = both_of_b();
    stage.put_back("b");
    assert_eq!(put_on(&stage.pass(30)), [""; 0]);
}

#[test]
fn they_do_not_go_on_while_a_machine_of_those_before_is_open() {
    let mut stage = failing(&["a", "b", "bb", "c"]);
    stage.machine("bb").region = Region::new("b");
    stage.policy.rollback.max_unavailable = crate::model::MaxUnavailable::Share(0.5);
    stage.begin();
    stage.look();
    stage.put_back("a");
    assert_eq!(put_on(&stage.pass(32)), ["b"]);
    assert_eq!(put_on(&stage.put_back("b")), ["bb"]);
    assert_eq!(put_on(&stage.pass(60)), [""; 0], "there is a place for c");
    assert_eq!(put_on(&stage.put_back("bb")), ["c"]);
}

/// What a region shows is that of its own machines.
#[test]
fn what_another_region_shows_speaks_against_no_region() {
    let mut stage = proved(&["a", "b", "c"], |_| {});
    fail_checks(stage.machine("a"));
    stage.put_back("b");
    assert_eq!(put_on(&stage.look()), ["c"]);
}

#[test]
fn a_region_that_the_policy_leaves_alone_delays_no_other() {
    let mut stage = Stage::trusted(&["a", "b", "c"]);
    for id in ["a", "b", "c"] {
        stage.machine(id).region = Region::new(id);
    }
    stage.policy.thresholds = vec![ratio()];
    stage.policy.rollback.only_breaching_regions = true;
    stage.ship(2, "sha256:2");
    stage.serves = vec![("a", 100.0, 50.0), ("b", 100.0, 0.0), ("c", 100.0, 50.0)];
    stage.begin();
    stage.serves = vec![("a", 1000.0, 0.0)];
    stage.look();
    stage.put_back("a");
    stage.look();
    assert_eq!(put_on(&stage.look()), ["c"]);
}

/// Of a total outage one region that proves it is enough.
#[test]
fn in_a_total_outage_all_regions_follow_the_first_that_is_well() {
    let mut stage = failing(&FIVE);
    stage.policy.rollback.escalate = true;
    stage.begin();
    assert_eq!(put_on(&stage.look()), ["a"]);
    assert_eq!(put_on(&stage.put_back("a")), [""; 0]);
    stage.look();
    assert_eq!(put_on(&stage.pass(30)), ["b", "c", "d", "e"]);
    for id in ["b", "c", "d", "e"] {
        assert!(stage.pending(puts(id)).is_some());
    }
}

/// The regions in the order in which they are to be undone, when so many of so many requests failed
/// in each.
fn planned(served: &[(&'static str, f64, f64)], order: RegionOrder) -> Vec<String> {
    let ids: Vec<&str> = served.iter().map(|(id, ..)| *id).collect();
    let mut stage = failing(&ids);
    for machine in &mut stage.machines {
        machine.checks.clear();
        machine.checks_configured = 0;
    }
    stage.policy.thresholds = vec![ratio()];
    stage.policy.rollback.order = order;
    stage.policy.watch.warm_up = Duration::ZERO;
    // By so many rounds it is found out.
    let rounds = 6.0;
    stage.serves = served.iter().map(|(id, n, k)| (*id, n / rounds, k / rounds)).collect();
    stage.begin();
    let degraded = stage.told(EventKind::ReleaseDegraded)[0];
    assert_eq!(degraded.regions.len(), served.len());
    let all: f64 = served.iter().map(|(_, n, _)| n).sum();
    assert!((degraded.evidence[0].total - all).abs() < 1.0, "{:?}", degraded.evidence);
    degraded.regions.iter().map(|report| report.region.to_string()).collect()
}

/// One bad request of one is no proof: the count weighs in.
const SERVED: [(&str, f64, f64); 5] = [
    ("ams", 1000.0, 0.0),
    ("iad", 3.0, 3.0),
    ("lhr", 100.0, 30.0),
    ("nrt", 6.0, 6.0),
    ("syd", 1000.0, 400.0),
];

#[test]
fn the_worst_region_goes_first_and_what_is_little_seen_later() {
    let order = planned(&SERVED, RegionOrder::WorstFirst);
    assert_eq!(order, ["syd", "nrt", "lhr", "iad", "ams"]);
}

#[test]
fn alike_regions_go_by_their_names() {
    let served = SERVED.map(|(id, ..)| (id, 100.0, 50.0));
    let order = planned(&served, RegionOrder::WorstFirst);
    assert_eq!(order, ["ams", "iad", "lhr", "nrt", "syd"]);
}

#[test]
fn a_list_says_the_order_and_the_worst_of_the_rest_go_where_it_has_its_place() {
    let named = |name: &str| Some(Region::new(name));
    let list = RegionOrder::Listed(vec![named("iad"), None, named("gru"), named("nrt")]);
    assert_eq!(planned(&SERVED, list), ["iad", "syd", "lhr", "ams", "nrt"]);
    let list = RegionOrder::Listed(vec![named("ams"), named("gru"), named("lhr")]);
    assert_eq!(planned(&SERVED, list), ["ams", "lhr", "syd", "nrt", "iad"], "the rest at last");
}

/// The regions that the policy leaves alone because they do not show the breach.
fn left_alone(served: &[(&'static str, f64, f64)], checks: bool) -> Vec<String> {
    let ids: Vec<&str> = served.iter().map(|(id, ..)| *id).collect();
    let mut stage = failing(&ids);
    if !checks {
        for machine in &mut stage.machines {
            machine.checks.clear();
            machine.checks_configured = 0;
        }
        stage.policy.thresholds = vec![ratio()];
    }
    stage.policy.rollback.only_breaching_regions = true;
    stage.serves = served.to_vec();
    stage.begin();
    let regions = stage.rollback().regions.iter();
    let left = regions.filter(|work| work.is_left_alone());
    let mut left: Vec<String> = left.map(|work| work.region.to_string()).collect();
    left.sort();
    left
}

#[test]
fn a_region_within_its_limit_may_be_left_alone() {
    let served = [
        ("a", 100.0, 50.0),
        ("b", 100.0, 3.0),
        ("c", 100.0, 2.0),
        ("d", 100.0, 1.0),
        ("e", 0.0, 0.0),
    ];
    assert_eq!(left_alone(&served, false), ["c", "d", "e"]);
}

/// By what it does now: minutes of health before it neither spare a region nor hurry past it.
#[test]
fn a_region_that_broke_late_is_undone_and_first() {
    let mut stage = failing(&["a", "b", "c"]);
    stage.machines.iter_mut().for_each(|machine| machine.checks.clear());
    stage.policy.thresholds = vec![ratio()];
    stage.policy.rollback.only_breaching_regions = true;
    stage.policy.watch.bake = std::time::Duration::from_secs(1200);
    stage.serves = vec![("a", 100.0, 1.5), ("b", 100.0, 1.0), ("c", 100.0, 1.9)];
    stage.pass(600);
    stage.serves = vec![("a", 100.0, 0.0), ("b", 100.0, 80.0), ("c", 100.0, 3.0)];
    stage.begin();
    let rollback = stage.rollback();
    let regions: Vec<_> =
        rollback.regions.iter().map(|work| (work.region.as_str(), work.phase.clone())).collect();
    let skipped = RegionPhase::Skipped(super::rollback::work::Skip::NotBreaching);
    assert_eq!(regions[0], ("b", RegionPhase::Waiting));
    assert_eq!(regions[2], ("a", skipped));
    assert!(rollback.evidence[0].lately.is_some(), "{:?}", rollback.evidence);
}

/// Checks, crashes and gauges are told by machine: no region is ruled out by them.
#[test]
fn checks_rule_no_region_out() {
    assert_eq!(left_alone(&[("a", 0.0, 0.0), ("b", 0.0, 0.0)], true), [""; 0]);
}

#[test]
fn an_outage_is_total_when_nine_of_ten_fail_and_one_of_one_is_none() {
    let escalates = |kind: fn(&mut Stage), ids: &[&str]| {
        let mut stage = failing(ids);
        kind(&mut stage);
        stage.policy.rollback.escalate = true;
        stage.begin();
        stage.rollback().escalated
    };
    fn requests(stage: &mut Stage, bad: f64) {
        stage.policy.thresholds = vec![ratio()];
        stage.serves = vec![("a", 100.0, bad)];
    }
    assert!(escalates(|_| {}, &["a", "b"]));
    assert!(!escalates(|_| {}, &["a"]), "one machine of one, early in a deploy, is none yet");
    assert!(escalates(|stage| requests(stage, 90.0), &["a"]));
    assert!(!escalates(|stage| requests(stage, 89.0), &["a"]));
}

/// Nothing of it is up: it was confirmed, and proves nothing.
#[test]
fn a_region_at_rest_is_done_with_at_once() {
    let mut stage = failing(&["a", "b"]);
    stage.machine("a").state = MachineState::Stopped;
    stage.begin();
    stage.look();
    stage.put_back("a");
    stage.machine("a").state = MachineState::Stopped;
    assert_eq!(put_on(&stage.look()), ["b"]);
    let work = &stage.rollback().regions[0];
    assert_eq!((&work.phase, work.has_proved()), (&RegionPhase::Confirmed, false));
}
