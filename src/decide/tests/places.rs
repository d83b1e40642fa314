//! How many machines are put right at once.

use super::{
    stage::{Stage, fail_checks, put_on, puts},
    *,
};
use crate::model::{MaxUnavailable, RegionsAtOnce, Strategy, machine::Transition};

/// v2 fails its checks on these machines, each in its region, and is about to be undone.
fn undoing(machines: &[(&str, &str)], change: impl FnOnce(&mut Stage)) -> Stage {
    let ids: Vec<&str> = machines.iter().map(|(id, _)| *id).collect();
    let mut stage = Stage::trusted(&ids);
    for (id, region) in machines {
        stage.machine(id).region = (*region).into();
    }
    stage.ship(2, "sha256:2");
    for machine in &mut stage.machines {
        fail_checks(machine);
    }
    change(&mut stage);
    stage.begin();
    stage
}

const FIVE: [(&str, &str); 5] =
    [("m1", "iad"), ("m2", "iad"), ("m3", "iad"), ("m4", "iad"), ("m5", "iad")];

fn five(max_unavailable: MaxUnavailable) -> Stage {
    undoing(&FIVE, |stage| stage.policy.rollback.max_unavailable = max_unavailable)
}

fn is_down(stage: &mut Stage, ids: &[&str]) {
    for id in ids {
        stage.machine(id).state = MachineState::Transient(Transition::Replacing);
    }
}

#[test]
fn the_first_goes_alone_and_then_as_many_as_the_policy_says() {
    use MaxUnavailable::{Count, Share};
    for (max, then) in [
        (Count(1), &["m2"][..]),
        (Count(2), &["m2", "m3"]),
        (Count(9), &["m2", "m3", "m4", "m5"]),
        // Rounded up, and never none.
        (Share(0.0), &["m2"]),
        (Share(0.2), &["m2"]),
        (Share(0.21), &["m2", "m3"]),
        (Share(0.4), &["m2", "m3"]),
        (Share(1.0), &["m2", "m3", "m4", "m5"]),
    ] {
        let mut stage = five(max);
        assert_eq!(put_on(&stage.look()), ["m1"], "{max:?}");
        assert_eq!(put_on(&stage.look()), [""; 0], "{max:?}");
        assert_eq!(put_on(&stage.put_back("m1")), then, "{max:?}");
        assert_eq!(put_on(&stage.look()), [""; 0], "{max:?}");
    }
}

#[test]
fn all_go_at_once_where_the_policy_says_so() {
    let mut stage = undoing(&FIVE, |stage| stage.policy.rollback.strategy = Strategy::Immediate);
    assert_eq!(put_on(&stage.look()), ["m1", "m2", "m3", "m4", "m5"]);
}

/// What is down because of us would be up but for us: of five still two, and not one of three.
#[test]
fn a_share_is_one_of_all_machines_that_would_be_up() {
    let mut stage = five(MaxUnavailable::Share(0.4));
    stage.look();
    assert_eq!(put_on(&stage.put_back("m1")), ["m2", "m3"]);
    // The list is late, and shows them up.
    assert_eq!(put_on(&stage.look()), [""; 0]);
    is_down(&mut stage, &["m2", "m3"]);
    stage.look();
    assert_eq!(put_on(&stage.put_back("m2")), ["m4"]);
    // Nobody knows what became of m3: it keeps its place, and is no fewer for that.
    let reason = "no answer".to_owned();
    stage.answer(puts("m3"), Outcome::Put(PutOutcome::Unavailable { reason }));
    assert_eq!(put_on(&stage.look()), [""; 0]);
    stage.put_back("m4");
    assert_eq!(put_on(&stage.look()), ["m5"]);
}

/// One machine of another region, group or rest is none of theirs.
#[test]
fn each_region_and_each_group_has_places_of_its_own() {
    let machines =
        [("m1", "iad"), ("m2", "iad"), ("w1", "iad"), ("w2", "iad"), ("w3", "iad"), ("w4", "iad")];
    let mut stage = undoing(&machines, |stage| {
        for id in ["w1", "w2", "w3", "w4"] {
            stage.machine(id).group = "worker".into();
        }
        stage.policy.rollback.max_unavailable = MaxUnavailable::Share(0.5);
    });
    // The first of each group goes alone.
    assert_eq!(put_on(&stage.look()), ["m1", "w1"]);
    assert_eq!(put_on(&stage.put_back("m1")), ["m2"]);
    assert_eq!(put_on(&stage.put_back("w1")), ["w2", "w3"]);
    assert_eq!(put_on(&stage.put_back("m2")), [""; 0]);
    assert_eq!(put_on(&stage.put_back("w2")), ["w4"]);
}

/// a1 is the proof; then both regions are worked on at once.
fn two_regions_at_once(share: f64) -> Stage {
    let machines = [("a1", "ams"), ("f1", "fra"), ("f2", "fra"), ("l1", "lhr"), ("l2", "lhr")];
    let mut stage = undoing(&machines, |stage| {
        stage.policy.rollback.regions_at_once = RegionsAtOnce::All;
        stage.policy.rollback.max_unavailable = MaxUnavailable::Share(share);
    });
    stage.look();
    stage.put_back("a1");
    stage.pass(30);
    stage
}

fn in_flight(stage: &Stage) -> Vec<&str> {
    let pending = stage.state.memory.pending.values().filter_map(|command| match command {
        Command::PutImage(put) => Some(put.machine.as_str()),
        _ => None,
    });
    let mut ids: Vec<&str> = pending.collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_group_has_no_more_places_in_all_regions_together() {
    for (share, at_once) in [
        // One in each region, and one of all five, two, and all.
        (0.2, &["f1"][..]),
        (0.3, &["f1", "l1"]),
        (0.9, &["f1", "f2", "l1", "l2"]),
    ] {
        let mut stage = two_regions_at_once(share);
        stage.pass(10);
        assert_eq!(in_flight(&stage), at_once, "{share}");
        assert_eq!(put_on(&stage.look()), [""; 0], "{share}");
    }
}

#[test]
fn machines_at_rest_go_four_at_once_and_take_no_place_of_those_that_serve() {
    let rest = ["r1", "r2", "r3", "r4", "r5", "r6"];
    let mut machines: Vec<(&str, &str)> = rest.iter().map(|id| (*id, "iad")).collect();
    machines.extend([("m1", "iad"), ("m2", "iad"), ("m3", "iad")]);
    let mut stage = undoing(&machines, |stage| {
        for id in rest {
            stage.machine(id).state = MachineState::Stopped;
        }
    });
    assert_eq!(put_on(&stage.look()), ["r1", "r2", "r3", "r4", "m1"]);
    assert_eq!(put_on(&stage.look()), [""; 0]);
    assert_eq!(put_on(&stage.put_back("r1")), ["r5"]);
    assert_eq!(put_on(&stage.put_back("m1")), ["m2"]);
}

/// What was at rest and is started by a request while we write to it serves, and has to be counted.
#[test]
fn one_that_came_up_while_it_is_written_to_takes_a_place() {
    let mut stage = undoing(&[("m1", "iad"), ("m2", "iad"), ("m3", "iad")], |stage| {
        stage.machine("m1").state = MachineState::Stopped;
        stage.policy.rollback.max_unavailable = MaxUnavailable::Count(1);
    });
    assert_eq!(put_on(&stage.look()), ["m1", "m2"]);
    stage.machine("m1").state = MachineState::Started;
    stage.machine("m1").image.digest = Some(Digest::new("sha256:1"));
    stage.look();
    assert_eq!(put_on(&stage.put_back("m2")), [""; 0]);
    assert_eq!(put_on(&stage.put_back("m1")), ["m3"]);
}

/// It serves nobody, and putting it right costs nothing; but it is to serve, and no other of its
/// region goes meanwhile.
#[test]
fn one_that_crashed_goes_first_and_takes_a_place() {
    let mut stage = undoing(&[("m1", "iad"), ("m2", "iad")], |stage| {
        stage.machine("m2").state = MachineState::Failed;
    });
    assert_eq!(put_on(&stage.look()), ["m2"]);
    assert_eq!(put_on(&stage.put_back("m2")), ["m1"]);
}

/// Of a total outage one machine is proof enough.
#[test]
fn in_a_total_outage_all_follow_the_first_that_is_well() {
    let mut stage = undoing(&FIVE, |stage| stage.policy.rollback.escalate = true);
    assert_eq!(put_on(&stage.look()), ["m1"]);
    assert_eq!(put_on(&stage.put_back("m1")), ["m2"], "one by one until it is seen to be well");
    assert_eq!(put_on(&stage.look()), [""; 0]);
    assert_eq!(put_on(&stage.look()), ["m3", "m4", "m5"]);
}

#[test]
fn in_a_total_outage_none_follow_together_while_the_first_is_not_well() {
    let mut stage = undoing(&FIVE, |stage| stage.policy.rollback.escalate = true);
    stage.look();
    assert_eq!(put_on(&stage.put_back("m1")), ["m2"]);
    fail_checks(stage.machine("m1"));
    assert_eq!(put_on(&stage.pass(20)), [""; 0]);
}

/// One of which nobody knows would be up but for us, like those that are under way.
#[test]
fn what_may_be_down_because_of_us_makes_the_share_no_smaller() {
    let mut machines = FIVE.to_vec();
    machines.extend([("m6", "iad"), ("m7", "iad")]);
    let mut stage = undoing(&machines, |stage| {
        stage.policy.rollback.max_unavailable = MaxUnavailable::Share(0.5);
    });
    stage.look();
    assert_eq!(put_on(&stage.put_back("m1")), ["m2", "m3", "m4", "m5"]);
    is_down(&mut stage, &["m2", "m3", "m4", "m5"]);
    stage.look();
    let reason = "no answer".to_owned();
    stage.answer(puts("m2"), Outcome::Put(PutOutcome::Unavailable { reason }));
    assert_eq!(put_on(&stage.put_back("m3")), [""; 0], "no list shows it up yet");
    assert_eq!(put_on(&stage.look()), ["m6"], "four of seven");
}
