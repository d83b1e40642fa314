//! What has to hold before a degradation after trust is told, its trust taken, or it undone: each by itself.

use super::*;
use crate::decide::state::{Late, Trusted};

fn late(stage: &Stage) -> &Late {
    match &stage.state.phase {
        Phase::Watching(watch) => watch.late.as_ref().expect("it degraded"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_trusted_is_no_news() {
    let mut stage = settled();
    stage.state.memory.trusted.retain(|one| one.revision.digest.as_str() == "sha256:1");
    serves(&mut stage, 20.0);
    stage.pass(180);
    assert_eq!(stage.told(EventKind::ReleaseDegraded), Vec::<&Event>::new());
}

/// A share near the limit looks bad for long before it is beyond doubt.
#[test]
fn what_only_looks_bad_is_not_told() {
    let mut stage = settled();
    serves(&mut stage, 5.0);
    let mut looked_bad_for = 0;
    loop {
        stage.look();
        if !stage.events.is_empty() {
            break;
        }
        if let Some(one) = &stage.state.memory.suspicion {
            looked_bad_for = at(stage.second).duration_since(one.since).as_secs();
        }
        assert!(looked_bad_for < 600);
    }
    let evidence = &stage.events[0].evidence[0];
    assert_eq!(evidence.verdict, Verdict::Breach);
    assert!(looked_bad_for >= 60, "it was told at once: {looked_bad_for} s");
}

#[test]
fn what_fades_is_waited_for() {
    let mut stage = settled();
    serves(&mut stage, 60.0);
    stage.pass(50);
    for bad in [16.0, 12.0, 9.0, 7.0, 5.0, 4.0, 3.5, 3.0] {
        serves(&mut stage, bad);
        stage.pass(4);
        assert_eq!(stage.events, [], "{bad}");
    }
}

#[test]
fn what_cannot_be_seen_or_nobody_was_heard_of_yet_is_not_told() {
    let cases: [(&str, How<'_>); 2] = [
        ("its pages", &|stage| stage.no_page = Some("timed out".to_owned())),
        ("the others", &|stage| stage.org.listening = true),
    ];
    for (missing, how) in cases {
        let mut stage = settled();
        serves(&mut stage, 20.0);
        stage.pass(50);
        how(&mut stage);
        stage.pass(20);
        assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 0, "{missing}");
        // And nothing is begun while it is so, where it was told before.
        let mut stage = settled();
        stage.policy.watch.late = OnBreach::Rollback;
        serves(&mut stage, 20.0);
        assert_eq!(degrades(&mut stage).stays, Some(Stays::NobodyVouches));
        how(&mut stage);
        neighbours_serve(&mut stage);
        stage.pass(20);
        assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0, "{missing}");
        assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0, "{missing}");
    }
}

#[test]
fn it_says_how_old_the_release_is_and_that_nothing_is_done() {
    let mut stage = settled();
    let since = stage.state.memory.current_since.unwrap();
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    let event = stage.events[0].clone();
    assert_eq!(event.mode, Some(Mode::Observe));
    assert_eq!(event.after_s, Some(event.at.duration_since(since).as_secs_f64()));
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    neighbours_serve(&mut stage);
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    assert_eq!(stage.events[0].mode, Some(Mode::Rollback));
}

/// What a person said of another release says nothing of this one.
#[test]
fn a_pin_a_word_or_a_bake_of_another_release_is_none_of_this_one() {
    let mut stage = settled();
    let memory = &mut stage.state.memory;
    for one in &mut memory.trusted {
        if one.revision.digest.as_str() == "sha256:1" {
            one.vouched = Some(signed(0));
        }
    }
    let [v2, v1] = [2, 1].map(|version| {
        let mut all = memory.trusted.iter();
        all.find(|one| one.revision.version == Some(ReleaseVersion(version))).unwrap().clone()
    });
    memory.baked = Some(v1.clone());
    serves(&mut stage, 20.0);
    assert!(degrades(&mut stage).revoked);
    assert_eq!(stage.state.memory.baked, Some(v1));
    // And with its trust goes its bake.
    let mut stage = settled();
    stage.state.memory.baked = Some(v2);
    serves(&mut stage, 20.0);
    assert!(degrades(&mut stage).revoked);
    assert_eq!(stage.state.memory.baked, None::<Trusted>);
}

#[test]
fn what_a_person_vouched_for_keeps_its_trust_when_it_degrades_later() {
    let mut stage = settled();
    drop(stage.order(Act::Trust { release: "v2".to_owned() }));
    stage.pass(120);
    serves(&mut stage, 20.0);
    assert!(!degrades(&mut stage).revoked);
    stage.pass(60);
    assert_eq!(known_good(&stage), Some(2));
}

#[test]
fn a_trouble_that_neighbours_shared_and_that_stays_when_they_are_well_is_its_own() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    neighbours_degrade(&mut stage);
    assert!(!degrades(&mut stage).revoked);
    stage.org.neighbours.clear();
    stage.pass(20);
    assert_eq!(known_good(&stage), Some(1));
}

#[test]
fn a_recovery_is_one_stretch_of_health() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    for _ in 0..3 {
        serves(&mut stage, 0.0);
        stage.pass(100);
        serves(&mut stage, 40.0);
        stage.pass(40);
    }
    assert_eq!(stage.told(EventKind::ReleaseRecovered).len(), 0);
    // Neither is what nobody asks for anything health.
    stage.serves = Vec::new();
    stage.pass(600);
    assert_eq!(stage.told(EventKind::ReleaseRecovered).len(), 0);
    serves(&mut stage, 0.0);
    stage.pass(180);
    assert_eq!(stage.told(EventKind::ReleaseRecovered).len(), 1);
}

#[test]
fn each_degradation_of_a_day_doubles_how_long_a_recovery_has_to_last() {
    let recovers_after = |before: &[i64]| {
        let mut stage = settled();
        let ago = |hours: &i64| at(stage.second - hours * 3600);
        stage.state.memory.degraded_late = before.iter().map(ago).collect();
        serves(&mut stage, 20.0);
        degrades(&mut stage);
        serves(&mut stage, 0.0);
        let from = stage.second;
        while stage.told(EventKind::ReleaseRecovered).is_empty() {
            stage.look();
        }
        // The first seconds of it are not clearly well yet.
        (stage.second - from + 20) / 60
    };
    assert_eq!(recovers_after(&[]), 2);
    assert_eq!(recovers_after(&[5]), 4);
    assert_eq!(recovers_after(&[30, 26, 25]), 2, "of another day");
    assert_eq!(recovers_after(&[1; 40]), 120, "at most");
}

#[test]
fn degradations_that_are_remembered_are_bounded() {
    let mut stage = settled();
    stage.state.memory.degraded_late = vec![at(stage.second); 40];
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    assert_eq!(stage.state.memory.degraded_late.len(), 20);
    assert_eq!(stage.state.memory.degraded_late.last(), Some(&at(stage.second)));
}

#[test]
fn a_rollback_that_is_called_off_three_times_is_left_to_a_person() {
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    stage.policy.watch.countdown = Duration::from_secs(120);
    neighbours_serve(&mut stage);
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    for _ in 0..5 {
        serves(&mut stage, 20.0);
        stage.pass(90);
        serves(&mut stage, 0.0);
        stage.pass(40);
    }
    // What was called off is no recovery: it is the same degradation, and is told of once.
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1);
    assert_eq!(late(&stage).attempts, 3);
    let planned = stage.told(EventKind::RollbackPlanned).len();
    assert!((2..=3).contains(&planned), "{planned}");
    serves(&mut stage, 20.0);
    stage.pass(300);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), planned);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
}

#[test]
fn what_would_be_gone_back_to_has_to_be_what_it_replaced() {
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    neighbours_serve(&mut stage);
    let previous = stage.state.memory.previous.as_mut().unwrap();
    previous.digest = "sha256:0".into();
    serves(&mut stage, 20.0);
    assert_eq!(degrades(&mut stage).stays, Some(Stays::NotReplaced));
    // Where nothing is known of either, nothing is undone as well.
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    neighbours_serve(&mut stage);
    stage.state.memory.previous = None;
    stage.state.memory.trusted.retain(|one| one.revision.digest.as_str() == "sha256:2");
    serves(&mut stage, 20.0);
    assert_eq!(degrades(&mut stage).stays, Some(Stays::NotReplaced));
}

/// While something is still to be put right, that comes first.
#[test]
fn what_was_gone_back_to_is_looked_at_on_once_nothing_is_left_to_be_put_right_for_two_minutes() {
    let told = |how: fn(&mut Stage), seconds| {
        let mut stage = Stage::rolling_back(&["m1", "m2"]);
        stage.undo();
        stage.events.clear();
        how(&mut stage);
        stage.machines.iter_mut().for_each(fail_checks);
        stage.pass(seconds);
        stage.told(EventKind::ReleaseDegraded).len()
    };
    assert_eq!(told(|_| {}, 110), 0, "it is too soon");
    assert_eq!(told(|_| {}, 240), 1);
    let elsewhere = |stage: &mut Stage| {
        let machine = stage.machine("m2");
        machine.image.digest = Some("sha256:9".into());
    };
    assert_eq!(told(elsewhere, 240), 1, "another image is somebody's, and stays");
    let returns = |stage: &mut Stage| {
        let clone = Machine { id: "m3".into(), instance: "m3-1".into(), ..machine(2, "sha256:2") };
        stage.machines.push(clone);
    };
    assert_eq!(told(returns, 240), 0, "a clone that serves the bad image");
}

/// Nobody who could tell is well any more while it counts down: then it may be anything.
#[test]
fn what_counts_down_is_left_when_those_that_vouched_are_not_well_any_more() {
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    stage.policy.watch.countdown = Duration::from_secs(60);
    neighbours_serve(&mut stage);
    serves(&mut stage, 20.0);
    assert_eq!(degrades(&mut stage).stays, None);
    assert_eq!(stage.state.phase.word(), "counting_down");
    stage.org.well.clear();
    stage.pass(120);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0, "{:?}", stage.events);
    let stopped = stage.told(EventKind::RollbackStopped);
    let cause = Box::new(HoldReason::Late { stays: Stays::NobodyVouches }.into());
    let called_off = Some(Reason::CountdownCancelled { cause });
    assert_eq!(stopped.iter().map(|one| one.reason.clone()).collect::<Vec<_>>(), [called_off]);
    // And when they are, it is undone.
    neighbours_serve(&mut stage);
    stage.pass(120);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{:?}", stage.events);
}

/// What passes, and what only alerts, is neither what was there before nor anything new to undo it for.
#[test]
fn only_what_decides_and_breaches_is_held_against_what_was_there_before() {
    let mut stage = settled();
    stage.policy.watch.bake = Duration::from_secs(600);
    let checks = policy(Mode::Rollback).thresholds.remove(0);
    let alerts = Threshold { name: "hint".to_owned(), on_breach: OnBreach::Alert, ..checks };
    let mut passes = ratio();
    passes.name = "other".to_owned();
    stage.policy.thresholds.extend([passes, alerts]);
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    stage.ship(3, "sha256:3");
    for machine in &mut stage.machines {
        fail_checks(machine);
    }
    stage.pass(180);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0, "{:?}", stage.events);
    let held = stage.told(EventKind::HoldPlaced);
    let reason = held.first().and_then(|one| one.reason.as_ref());
    let is_before =
        matches!(reason, Some(Reason::Held { hold: HoldReason::DegradedBefore { .. } }));
    assert!(is_before, "{held:?}");
}
