//! Processes that end: crashes, kills for lack of memory, and what keeps ending without an error.

use super::*;
use crate::model::{Crashes, Exits, RestartPolicy};

/// Two exits beyond the usual ones are too many, and one kill for lack of memory.
fn told(ids: &[&str]) -> Told {
    Told::of(ThresholdKind::Crashes(Crashes { exits: 2, oom: 1, failing: 0.3 }), ids)
}

fn crash(told: &mut Told, id: &str) {
    let second = told.second + 1;
    told.machine(id).exits.insert(0, exit(second, 1));
}

fn named(evidence: &Evidence) -> Vec<Exits> {
    match &evidence.note {
        Some(Note::Exits(exits)) => exits.clone(),
        None => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// The machine stops for good after its process ended without an error.
fn ends(told: &mut Told, id: &str) {
    let second = told.second + 1;
    let machine = told.machine(id);
    machine.exits.insert(0, exit(second, 0));
    machine.state = MachineState::Stopped;
}

#[test]
fn two_exits_of_a_machine_are_too_many() {
    let mut told = told(&["m1"]);
    told.look();
    crash(&mut told, "m1");
    let one = told.look();
    assert_eq!((one.verdict, one.value, one.bad, one.total), (Verdict::Pass, Some(1.0), 0.0, 1.0));
    crash(&mut told, "m1");
    let two = told.look();
    assert_eq!((two.verdict, two.value, two.bad), (Verdict::Breach, Some(2.0), 1.0));
    let exits = Exits { machine: "m1".into(), exits: 2, out_of_memory: false, ends: 0 };
    assert_eq!(named(&two), [exits]);
    // Each is counted once.
    assert_eq!(told.look().value, Some(2.0));
}

#[test]
fn those_that_are_usual_are_left_out() {
    let mut told = told(&["m1"]);
    told.usual_exits = 1.0;
    told.look();
    crash(&mut told, "m1");
    told.look();
    crash(&mut told, "m1");
    assert_eq!(told.look().verdict, Verdict::Pass);
    crash(&mut told, "m1");
    assert_eq!(told.look().verdict, Verdict::Breach);
}

#[test]
fn what_ended_before_the_release_was_placed_is_not_its_own() {
    let mut told = told(&["m1"]);
    told.machine("m1").exits = vec![exit(0, 1), exit(-10, 1), exit(-20, 1)];
    told.look();
    assert_eq!(told.look().value, Some(1.0), "the one of that instant is");
}

#[test]
fn a_stop_that_somebody_asked_for_is_no_exit() {
    let mut told = told(&["m1"]);
    told.look();
    for _ in 0..3 {
        crash(&mut told, "m1");
        told.machine("m1").exits[0].requested_stop = true;
        told.look();
    }
    assert_eq!(told.judged().value, Some(0.0));
}

#[test]
fn one_kill_for_lack_of_memory_is_too_many_unless_memory_is_left_out() {
    for (oom, verdict) in [(1, Verdict::Breach), (2, Verdict::Pass), (0, Verdict::Pass)] {
        let kind = ThresholdKind::Crashes(Crashes { exits: 2, oom, failing: 0.3 });
        let mut told = Told::of(kind, &["m1"]);
        told.look();
        crash(&mut told, "m1");
        told.machine("m1").exits[0].oom_killed = true;
        let evidence = told.look();
        assert_eq!(evidence.verdict, verdict, "{oom}");
        assert_eq!(named(&evidence).iter().any(|exits| exits.out_of_memory), oom == 1);
    }
}

#[test]
fn it_takes_a_share_of_the_machines() {
    let mut told = told(&["m1", "m2", "m3", "m4"]);
    told.look();
    for id in ["m1", "m2"] {
        crash(&mut told, id);
        told.look();
        crash(&mut told, id);
        let evidence = told.look();
        let (bad, want) = if id == "m1" { (1.0, Verdict::Pass) } else { (2.0, Verdict::Breach) };
        assert_eq!((evidence.bad, evidence.total, evidence.verdict), (bad, 4.0, want));
    }
}

#[test]
fn no_more_than_five_machines_are_named() {
    let ids = ["m1", "m2", "m3", "m4", "m5", "m6", "m7"];
    let mut told = told(&ids);
    told.look();
    for _ in 0..2 {
        ids.iter().for_each(|id| crash(&mut told, id));
        told.look();
    }
    let evidence = told.judged();
    assert_eq!((evidence.bad, named(&evidence).len()), (7.0, 5));
}

/// The platform gives up after ten crashes in five minutes: what runs for ten minutes runs.
#[test]
fn a_machine_that_has_run_for_ten_minutes_since_is_well() {
    let mut told = told(&["m1"]);
    told.look();
    crash(&mut told, "m1");
    told.look();
    crash(&mut told, "m1");
    let crashed = told.second + 1;
    told.look();
    told.second = crashed + 595;
    assert_eq!(told.look().verdict, Verdict::Breach);
    told.second = crashed + 598;
    assert_eq!(told.look().verdict, Verdict::Pass);
    told.machine("m1").state = MachineState::Failed;
    assert_eq!(told.look().verdict, Verdict::Breach, "it does not run");
}

/// What rests, and never ran the release, says nothing for it.
#[test]
fn machines_at_rest_say_nothing_for_a_release() {
    let mut told = told(&["m1", "m2", "m3", "m4"]);
    for id in ["m2", "m3", "m4"] {
        told.machine(id).state = MachineState::Stopped;
    }
    told.look();
    crash(&mut told, "m1");
    told.look();
    crash(&mut told, "m1");
    assert_eq!(Some(told.look().total), Some(1.0));
    told.machine("m1").state = MachineState::Stopped;
    let gave_up = told.look();
    assert_eq!((gave_up.total, gave_up.verdict), (1.0, Verdict::Breach), "that one ran it");
    let mut rests = self::told(&["m1"]);
    rests.machine("m1").state = MachineState::Stopped;
    rests.look();
    let evidence = rests.look();
    assert_eq!((evidence.verdict, evidence.value), (Verdict::Inconclusive, None));
}

/// A job ends with exit code 0 as often as it likes.
#[test]
fn a_job_that_ends_is_done() {
    let mut told = told(&["m1"]);
    told.look();
    for _ in 0..5 {
        ends(&mut told, "m1");
        told.look();
    }
    assert_eq!(told.pass(60).verdict, Verdict::Inconclusive);
}

/// No services, and its group stayed up before: nothing starts it again.
#[test]
fn a_worker_that_ended_and_stays_so_for_ten_seconds_is_down() {
    let mut told = told(&["m1"]);
    told.stays_up = true;
    told.look();
    ends(&mut told, "m1");
    assert_eq!(told.breaches_within(60), Some(12));
    let exits = Exits { machine: "m1".into(), exits: 0, out_of_memory: false, ends: 1 };
    assert_eq!(named(&told.judged()), [exits]);
}

/// The proxy starts what somebody asks for; an end may be how it goes to sleep.
#[test]
fn a_server_that_ended_once_sleeps_and_one_that_keeps_ending_is_down() {
    let mut told = told(&["m1", "m2"]);
    told.machine("m1").has_services = true;
    told.machine("m2").has_services = true;
    told.stays_up = true;
    told.look();
    ends(&mut told, "m1");
    assert_eq!(told.breaches_within(60), None);
    told.machine("m1").state = MachineState::Started;
    told.look();
    ends(&mut told, "m1");
    assert_eq!(told.breaches_within(60), Some(12));
}

#[test]
fn a_server_that_ended_long_after_its_start_sleeps() {
    let mut told = told(&["m1", "m2"]);
    told.machine("m1").has_services = true;
    told.machine("m2").has_services = true;
    told.look();
    for _ in 0..3 {
        ends(&mut told, "m1");
        let second = told.second + 1;
        told.machine("m1").exits[0].started_at = Some(at(second - 60));
        told.look();
    }
    assert_eq!(told.breaches_within(60), None);
}

/// Nothing of a group that stayed up before is up any more: the proxy would have started one.
#[test]
fn a_group_of_servers_that_all_ended_is_down() {
    let both = |change: fn(&mut Told)| {
        let mut told = told(&["m1", "m2"]);
        told.machine("m1").has_services = true;
        told.machine("m2").has_services = true;
        told.stays_up = true;
        change(&mut told);
        told.look();
        ends(&mut told, "m1");
        ends(&mut told, "m2");
        change(&mut told);
        told.breaches_within(60)
    };
    assert_eq!(both(|_| {}), Some(12));
    assert_eq!(both(|told| told.machine("m2").state = MachineState::Started), None, "one is up");
    assert_eq!(both(|told| told.stays_up = false), None, "they never stayed up");
    let apart = both(|told| {
        told.machine("m2").group = "other".into();
        told.machine("m2").state = MachineState::Started;
    });
    assert_eq!(apart, Some(12), "what is up is of another group");
    let resting = both(|told| {
        told.machine("m2").exits.clear();
        told.machine("m2").state = MachineState::Stopped;
    });
    assert_eq!(resting, Some(12), "what rests is not up");
}

/// The platform starts it again at once, and it never stays at rest.
#[test]
fn one_that_is_always_restarted_and_keeps_ending_is_down() {
    let mut told = told(&["m1"]);
    told.machine("m1").restart = Some(RestartPolicy::Always);
    told.machine("m1").has_services = true;
    told.look();
    let end = |told: &mut Told| {
        let second = told.second + 1;
        told.machine("m1").exits.insert(0, exit(second, 0));
        told.look().verdict
    };
    assert_eq!(end(&mut told), Verdict::Pass);
    assert_eq!(end(&mut told), Verdict::Breach);
    told.machine("m1").restart = Some(RestartPolicy::OnFailure);
    assert_eq!(told.look().verdict, Verdict::Pass, "it runs");
    // A job that is always restarted is one.
    told.machine("m1").has_services = false;
    told.machine("m1").restart = Some(RestartPolicy::Always);
    assert_eq!(told.look().verdict, Verdict::Pass);
}

#[test]
fn exits_are_those_of_all_machines_on_average() {
    let mut told = told(&["m1", "m2"]);
    told.look();
    for _ in 0..3 {
        crash(&mut told, "m1");
        told.look();
    }
    assert_eq!(told.state.exits_per_machine(), Some(1.5));
}

/// A release that nobody asks anything is watched for weeks.
#[test]
fn a_process_that_ends_once_a_week_does_not_add_up() {
    let mut told = told(&["m1"]);
    told.look();
    for _ in 0..4 {
        crash(&mut told, "m1");
        assert_eq!(told.look().verdict, Verdict::Pass);
        told.second += 7 * 86_400;
        told.look();
    }
    // Two of a day do.
    crash(&mut told, "m1");
    told.look();
    told.second += 4 * 3600;
    crash(&mut told, "m1");
    assert_eq!(told.look().verdict, Verdict::Breach);
}
