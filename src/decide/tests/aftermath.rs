//! After a rollback that stopped half way what runs is looked at on, and nothing is begun by that.

use super::{
    stage::{Stage, put_on, ratio},
    *,
};
use crate::model::{Act, Effect, RegionStage};

/// Half of the requests fail on m1 in iad, and on m2 in the other region, and go on failing where the
/// rollback was: it stopped.
fn stopped(other: &str) -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.machine("m2").region = other.into();
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    serves(&mut stage, 50.0);
    stage.begin();
    let until = stage.second + 300;
    while !matches!(stage.state.phase, Phase::Stopped { .. }) {
        assert!(stage.second < until, "{:?}", stage.events);
        stage.look();
        stage.put_right_now();
    }
    assert_eq!(stage.told(EventKind::HoldPlaced).len(), 1);
    stage.events.clear();
    stage
}

fn serves(stage: &mut Stage, bad: f64) {
    stage.serves = vec![("m1", 100.0, bad), ("m2", 100.0, bad)];
}

fn kinds(stage: &Stage) -> Vec<EventKind> {
    stage.events.iter().map(|event| event.kind).collect()
}

#[test]
fn that_it_is_well_again_and_degrades_again_is_told_and_nothing_is_begun() {
    // One region, of which all machines were put right; two, of which one was.
    for other in ["iad", "fra"] {
        let mut stage = stopped(other);
        assert_eq!(put_on(&stage.pass(600)), [""; 0]);
        assert_eq!(kinds(&stage), [], "{other}: what people know is told once");
        serves(&mut stage, 0.0);
        stage.pass(100);
        assert_eq!(kinds(&stage), [], "it has to last");
        stage.pass(400);
        assert_eq!(kinds(&stage), [EventKind::ReleaseRecovered], "{other}");
        assert!(matches!(stage.events[0].reason, Some(Reason::WellAfterStop { .. })));
        serves(&mut stage, 95.0);
        let ordered = stage.pass(600);
        let both = [EventKind::ReleaseRecovered, EventKind::ReleaseDegraded];
        assert_eq!(kinds(&stage), both, "{other}");
        assert!(stage.events[1].severity() >= crate::model::Severity::Error);
        assert!(stage.events[1].evidence.iter().any(|one| one.share_lately() > Some(0.9)));
        assert!(ordered.is_empty(), "{ordered:?}");
        assert_eq!(stage.state.phase.word(), "held");
    }
}

#[test]
fn what_becomes_far_worse_is_told_once() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    serves(&mut stage, 20.0);
    stage.begin();
    while !matches!(stage.state.phase, Phase::Stopped { .. }) {
        assert!(stage.second < 900, "{:?}", stage.events);
        stage.look();
        stage.put_right_now();
    }
    stage.events.clear();
    serves(&mut stage, 95.0);
    stage.pass(1200);
    assert_eq!(kinds(&stage), [EventKind::ReleaseDegraded]);
}

#[test]
fn what_is_shown_is_of_now_and_the_region_is_not_confirming_for_ever() {
    let mut stage = stopped("fra");
    serves(&mut stage, 0.0);
    stage.pass(300);
    let watch = stage.state.memory.vigil.watch().expect("it is looked at");
    let shown = watch.evidence.iter().find(|one| one.threshold == "5xx").unwrap();
    assert_eq!(shown.verdict, crate::model::Verdict::Pass, "{shown:?}");
    let stages: Vec<RegionStage> =
        rollback::report(stage.rollback()).iter().map(|region| region.phase).collect();
    assert!(stages.contains(&RegionStage::Stopped), "{stages:?}");
    assert!(!stages.contains(&RegionStage::Confirming), "{stages:?}");
}

#[test]
fn a_start_tells_nothing_again_and_an_older_journal_is_read() {
    let mut stage = stopped("fra");
    serves(&mut stage, 0.0);
    stage.pass(500);
    let text = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&text).unwrap();
    stage.second += 60;
    stage.pass(600);
    assert_eq!(kinds(&stage), [EventKind::ReleaseRecovered]);
    // One that knows nothing of what came after the stop.
    let mut stage = stopped("fra");
    if let Phase::Stopped { rollback, .. } = &mut stage.state.phase {
        rollback.stopped = None;
    }
    serves(&mut stage, 0.0);
    stage.pass(500);
    assert_eq!(kinds(&stage), [EventKind::ReleaseRecovered]);
}

#[test]
fn a_person_lets_it_go_on_and_a_newer_release_ends_it() {
    let mut stage = stopped("fra");
    serves(&mut stage, 0.0);
    stage.pass(500);
    stage.opens = Some(super::stage::opened(4));
    let reply = stage.order(Act::Resume);
    assert!(matches!(reply, Reply::Done(Effect::Resumed { .. })), "{reply:?}");
    stage.undo();
    assert_eq!(stage.told(EventKind::RollbackCompleted).len(), 1);
    let mut stage = stopped("fra");
    serves(&mut stage, 0.0);
    stage.pass(500);
    stage.ship(9, "sha256:9");
    stage.pass(4);
    assert_eq!(stage.told(EventKind::HoldCleared).len(), 1);
    assert_eq!(stage.told(EventKind::ReleaseDetected).len(), 1);
}

/// A rollback is stopped by the mode of the policy when so many machines are left on v2; `ids`: those that may be
/// put right before.
fn stopped_with(left: usize, ids: &[&'static str], mut stage: Stage) -> Stage {
    stage.begin();
    let until = stage.second + 300;
    let on_bad = |stage: &Stage| {
        let runs = |one: &&Machine| one.digest().is_some_and(|it| it.as_str() == "sha256:2");
        stage.machines.iter().filter(runs).count()
    };
    while on_bad(&stage) > left {
        assert!(stage.second < until, "{:?}", stage.events);
        stage.look();
        for id in ids {
            if on_bad(&stage) > left && stage.pending(super::stage::puts(id)).is_some() {
                stage.put_back(id);
            }
        }
    }
    stage.policy.mode = Mode::Observe;
    stage.look();
    assert!(matches!(stage.state.phase, Phase::Stopped { .. }), "{:?}", stage.state.phase);
    stage.events.clear();
    stage
}

#[test]
fn a_machine_that_is_left_on_the_bad_image_is_not_one_that_fails_alone() {
    // Given one machine of five that still runs what fails
    let ids = ["m1", "m2", "m3", "m4", "m5"];
    let mut stage = Stage::trusted(&ids);
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    stage.serves = ids.map(|id| (id, 100.0, 50.0)).to_vec();
    let mut stage = stopped_with(1, &ids[..4], stage);
    stage.serves = ids.map(|id| (id, 100.0, if id == "m5" { 50.0 } else { 0.0 })).to_vec();
    // When it is looked at for long
    stage.pass(1800);
    // Then no host is blamed, and nothing is said to be well
    let watch = stage.state.memory.vigil.watch().unwrap();
    assert!(crate::decide::suspects::is_any_apart(watch), "it fails alone");
    assert_eq!(crate::decide::suspects::shown(watch).count(), 0, "nobody is told to clone it");
    assert_eq!(kinds(&stage), []);
    // until that one serves as well.
    stage.serves = ids.map(|id| (id, 100.0, 0.0)).to_vec();
    stage.pass(1800);
    assert_eq!(kinds(&stage), [EventKind::ReleaseRecovered]);
}

/// What was put right is no better than the rest of the machines, which all fail half of their requests.
fn stopped_as_no_better(mut stage: Stage) -> Stage {
    stage.policy.thresholds = vec![ratio()];
    stage.ship(2, "sha256:2");
    stage.serves = stage.serves.iter().map(|one| (one.0, 100.0, 50.0)).collect();
    stage.begin();
    let until = stage.second + 300;
    while !matches!(stage.state.phase, Phase::Stopped { .. }) {
        assert!(stage.second < until, "{:?}", stage.events);
        stage.look();
        stage.put_right_now();
    }
    stage.events.clear();
    stage
}

#[test]
fn what_is_told_of_does_not_begin_anew_with_machines_that_come_and_go() {
    // Given two images of which now the one and now the other is on most machines that are up
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    for id in ["m2", "m3"] {
        stage.machine(id).region = "fra".into();
    }
    stage.serves = ["m1", "m2", "m3"].map(|id| (id, 100.0, 0.0)).to_vec();
    let mut stage = stopped_as_no_better(stage);
    // When all is well
    for turn in 0..120 {
        let is_up = turn % 2 == 1;
        for id in ["m2", "m3"] {
            stage.machine(id).state =
                if is_up { MachineState::Started } else { MachineState::Stopped };
        }
        stage.serves = vec![("m1", 100.0, 0.0)];
        if is_up {
            stage.serves.extend([("m2", 100.0, 0.0), ("m3", 100.0, 0.0)]);
        }
        stage.pass(20);
    }
    // Then that is seen
    assert_eq!(kinds(&stage), [EventKind::ReleaseRecovered]);
}

#[test]
fn what_only_alerts_is_told_once_after_a_stop() {
    let mut stage = Stage::trusted(&["m1", "m2", "m3"]);
    stage.policy.watch.floor = false;
    let only_alerts = Threshold { on_breach: OnBreach::Alert, ..ratio() };
    stage.policy.thresholds = vec![stage.policy.thresholds[0].clone(), only_alerts];
    for id in ["m2", "m3"] {
        stage.machine(id).region = "fra".into();
    }
    stage.ship(2, "sha256:2");
    stage.machines.iter_mut().for_each(super::stage::fail_checks);
    let mut stage = stopped_with(2, &["m1", "m2", "m3"], stage);
    for turn in 0..24 {
        let is_up = turn % 2 == 1;
        stage.machine("m3").state =
            if is_up { MachineState::Started } else { MachineState::Stopped };
        stage.serves = vec![("m1", 100.0, 50.0), ("m2", 100.0, 50.0)];
        stage.serves.extend(is_up.then_some(("m3", 100.0, 50.0)));
        stage.pass(300);
    }
    let alerts = |one: &&&Event| matches!(one.reason, Some(Reason::OnlyAlerts { .. }));
    let told = stage.told(EventKind::ReleaseDegraded);
    assert_eq!(told.iter().filter(alerts).count(), 1, "{:?}", stage.events);
}

/// The release that what runs is looked at as.
fn looked_at_as(stage: &Stage) -> String {
    let stopped = stage.rollback().stopped.as_ref().unwrap();
    stopped.looked_at_as.as_ref().unwrap().digest.to_string()
}

#[test]
fn it_is_looked_at_as_what_most_of_those_that_are_up_run_for_as_long_as_some_machine_does() {
    // Given two machines, of which one was put right
    let mut stage = stopped("fra");
    let is_back = stage.machine("m1").digest().unwrap().as_str() == "sha256:1";
    let (back, left) = if is_back { ("m1", "m2") } else { ("m2", "m1") };
    // When that one rests, and more that rest run what it does
    stage.machine(back).state = MachineState::Stopped;
    for id in ["m3", "m4"] {
        let mut resting = stage.machine(back).clone();
        resting.id = id.into();
        stage.machines.push(resting);
    }
    stage.serves = vec![(left, 100.0, 50.0)];
    stage.look();
    // Then it is looked at as the release that the other one serves
    assert_eq!(looked_at_as(&stage), "sha256:2");
    // And when no machine runs that any more, as the one that was gone back to
    stage.machines.retain(|one| one.id.as_str() != left);
    stage.serves.clear();
    stage.look();
    assert_eq!(looked_at_as(&stage), "sha256:1");
}

#[test]
fn what_cannot_be_seen_or_is_seen_before_the_others_were_heard_is_no_news() {
    for unheard in [true, false] {
        let mut stage = stopped("fra");
        serves(&mut stage, 0.0);
        stage.pass(500);
        assert_eq!(kinds(&stage), [EventKind::ReleaseRecovered]);
        stage.events.clear();
        if unheard {
            stage.org.listening = true;
        } else {
            stage.no_page = Some("connection refused".to_owned());
        }
        serves(&mut stage, 95.0);
        stage.pass(300);
        let degraded = stage.told(EventKind::ReleaseDegraded);
        assert_eq!(degraded, [] as [&Event; 0], "{unheard}");
    }
}
