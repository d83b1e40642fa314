//! After trust: what runs is looked at on, and told of when it degrades.

mod guards;

use super::{
    stage::{Stage, fail_checks, put, ratio, signed},
    *,
};
use crate::model::{
    Act, Distress, Signed, Verdict, Well,
    reason::{Changed, Degradation, Stays},
};

/// v1 was trusted, and v2 after it, which replaced it; both served.
fn settled() -> Stage {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.policy.thresholds = vec![ratio()];
    serves(&mut stage, 0.0);
    stage.pass(60);
    stage.ship(2, "sha256:2");
    stage.pass(120);
    assert_eq!(known_good(&stage), Some(2), "{:?}", stage.events);
    stage.events.clear();
    stage
}

fn serves(stage: &mut Stage, bad: f64) {
    stage.serves = vec![("m1", 100.0, bad), ("m2", 100.0, bad)];
}

fn known_good(stage: &Stage) -> Option<u64> {
    stage.state.memory.known_good().and_then(|good| good.revision.version).map(|one| one.0)
}

/// Two apps beside it serve, now and at each round to come.
fn neighbours_serve(stage: &mut Stage) {
    let well = Well { since: [("iad".into(), at(stage.second + 100_000))].into() };
    stage.org.well = ["web", "shop"].iter().map(|app| (AppName::new(*app), well.clone())).collect();
}

/// Two apps that nobody deployed degrade as it does.
fn neighbours_degrade(stage: &mut Stage) {
    let distress =
        Distress { since: at(stage.second), regions: ["iad".into()].into(), deployed: false };
    stage.org.neighbours =
        ["web", "shop"].iter().map(|app| (AppName::new(*app), distress.clone())).collect();
}

fn degradation(event: &Event) -> &Degradation {
    match &event.reason {
        Some(Reason::DegradesLate { late }) => late,
        other => panic!("{other:?}"),
    }
}

/// Rounds until it is told that the release degrades; how that was said.
fn degrades(stage: &mut Stage) -> Degradation {
    for _ in 0..200 {
        stage.look();
        if let Some(event) = stage.told(EventKind::ReleaseDegraded).last() {
            return degradation(event).clone();
        }
    }
    panic!("{:?}", stage.state.phase);
}

#[test]
fn what_was_trusted_and_degrades_is_told_once_and_is_nothing_to_go_back_to() {
    let mut stage = settled();
    let from = stage.second;
    serves(&mut stage, 20.0);
    let told = degrades(&mut stage);
    assert!(stage.second - from <= 90, "{} s", stage.second - from);
    assert!((told.since.duration_since(at(from)).as_secs()).abs() <= 6, "{:?}", told.since);
    assert_eq!((told.stays, told.revoked), (Some(Stays::OnlyAlerts), true));
    assert_eq!((stage.state.phase.word(), known_good(&stage)), ("degraded", Some(1)));
    stage.pass(1800);
    let kinds: Vec<EventKind> = stage.events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::ReleaseDegraded], "and nothing is undone or held");
    assert!(stage.events[0].severity() >= crate::model::Severity::Error);
}

#[test]
fn what_passes_within_moments_is_not_told() {
    let mut stage = settled();
    serves(&mut stage, 50.0);
    stage.pass(24);
    serves(&mut stage, 0.0);
    stage.pass(600);
    assert_eq!(stage.events, []);
    assert_eq!((stage.state.phase.word(), known_good(&stage)), ("steady", Some(2)));
}

/// What passed before is no part of it.
#[test]
fn what_passes_within_moments_a_second_time_is_not_told_either() {
    let mut stage = settled();
    serves(&mut stage, 100.0);
    stage.pass(24);
    serves(&mut stage, 0.0);
    stage.pass(180);
    serves(&mut stage, 30.0);
    stage.pass(44);
    assert_eq!(stage.events, []);
    assert!(stage.state.memory.suspicion.is_some());
    serves(&mut stage, 0.0);
    stage.pass(300);
    assert_eq!(stage.events, []);
}

#[test]
fn a_recovery_is_told_once_it_lasts_and_trust_is_earned_anew() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    serves(&mut stage, 0.0);
    stage.pass(110);
    assert_eq!(stage.told(EventKind::ReleaseRecovered).len(), 0, "it has to last");
    stage.pass(60);
    let told = stage.told(EventKind::ReleaseRecovered);
    assert!(matches!(told[0].reason, Some(Reason::WellAgain { revoked: true, .. })), "{told:?}");
    assert_eq!((stage.state.phase.word(), known_good(&stage)), ("baking", Some(1)));
    stage.pass(90);
    let kinds: Vec<EventKind> = stage.events.iter().map(|event| event.kind).collect();
    let all = [EventKind::ReleaseDegraded, EventKind::ReleaseRecovered, EventKind::ReleaseTrusted];
    assert_eq!(kinds, all);
    assert_eq!(stage.events[2].reason, Some(Reason::TrustedAgain));
    assert_eq!((stage.state.phase.word(), known_good(&stage)), ("steady", Some(2)));
}

/// Before it has earned its trust anew as well.
#[test]
fn what_passes_within_moments_is_not_told_after_a_recovery_either() {
    let mut stage = settled();
    stage.policy.watch.bake = Duration::from_secs(600);
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    serves(&mut stage, 0.0);
    stage.pass(240);
    assert_eq!(stage.state.phase.word(), "baking");
    stage.events.clear();
    serves(&mut stage, 60.0);
    stage.pass(50);
    serves(&mut stage, 0.0);
    stage.pass(240);
    assert_eq!(stage.events, []);
    serves(&mut stage, 60.0);
    let from = stage.second;
    degrades(&mut stage);
    assert!((58..90).contains(&(stage.second - from)), "{} s", stage.second - from);
}

#[test]
fn what_flaps_for_hours_is_told_of_a_few_times() {
    let mut stage = settled();
    for _ in 0..40 {
        serves(&mut stage, 20.0);
        stage.pass(300);
        serves(&mut stage, 0.0);
        stage.pass(600);
    }
    let told = stage.told(EventKind::ReleaseDegraded).len();
    assert!((2..=6).contains(&told), "{told}");
    assert!(stage.told(EventKind::ReleaseRecovered).len() <= told);
}

#[test]
fn a_state_that_is_read_again_in_a_degradation_goes_on_with_it() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    let text = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&text).unwrap();
    stage.second += 300;
    stage.pass(600);
    assert_eq!(stage.events.len(), 1, "{:?}", stage.events);
    assert_eq!((stage.state.phase.word(), known_good(&stage)), ("degraded", Some(1)));
    serves(&mut stage, 0.0);
    stage.pass(300);
    assert_eq!(stage.told(EventKind::ReleaseRecovered).len(), 1);
}

#[test]
fn where_the_policy_says_so_it_is_undone_to_what_it_replaced_while_neighbours_are_well() {
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    neighbours_serve(&mut stage);
    serves(&mut stage, 20.0);
    let told = degrades(&mut stage);
    assert_eq!((told.stays, told.well), (None, 2));
    stage.pass(4);
    let started = stage.told(EventKind::RollbackStarted);
    let good = started[0].known_good.as_ref().and_then(|good| good.version);
    assert_eq!(good, Some(ReleaseVersion(1)));
    assert_eq!(stage.told(EventKind::HoldPlaced), Vec::<&Event>::new());
    serves(&mut stage, 0.0);
    stage.undo();
    assert!(
        !stage.state.memory.trusted.iter().any(|one| one.revision.digest.as_str() == "sha256:2")
    );
}

/// A case in which it is left as it is, and how that is said.
type Case = (&'static str, fn(&mut Stage), Stays);

#[test]
fn it_is_left_as_it_is_where_anything_is_missing() {
    let cases: [Case; 6] = [
        ("the policy", |stage| stage.policy.watch.late = OnBreach::Alert, Stays::OnlyAlerts),
        ("the neighbours", |stage| stage.org.well.clear(), Stays::NobodyVouches),
        (
            "one of two neighbours",
            |stage| drop(stage.org.well.remove(&AppName::new("web"))),
            Stays::NobodyVouches,
        ),
        (
            "the day",
            |stage| {
                stage.second += 24 * 3600;
                neighbours_serve(stage);
                stage.pass(60);
            },
            Stays::TooOld,
        ),
        ("what it replaced", |stage| stage.state.memory.trusted.truncate(1), Stays::NotReplaced),
        (
            "a person's word for it",
            |stage| {
                drop(stage.order(Act::Trust { release: "v2".to_owned() }));
                stage.pass(90);
            },
            Stays::VouchedFor,
        ),
    ];
    for (missing, how, stays) in cases {
        let mut stage = settled();
        stage.policy.watch.late = OnBreach::Rollback;
        neighbours_serve(&mut stage);
        how(&mut stage);
        serves(&mut stage, 20.0);
        assert_eq!(degrades(&mut stage).stays, Some(stays), "{missing}");
        stage.pass(600);
        assert_eq!(stage.told(EventKind::RollbackPlanned), Vec::<&Event>::new(), "{missing}");
        assert_eq!(stage.told(EventKind::HoldPlaced), Vec::<&Event>::new(), "{missing}");
    }
}

/// What is done to a story.
type How<'a> = &'a dyn Fn(&mut Stage);

#[test]
fn every_guard_of_a_rollback_is_asked() {
    let hold = |stage: &mut Stage| {
        let Signed { by, reason, at } = signed(stage.second);
        stage.state.memory.operator_hold =
            Some(crate::model::OperatorHold { by, reason, since: at, until: None });
    };
    let cases: [(&str, How<'_>); 4] = [
        ("observe", &|stage| stage.policy.mode = Mode::Observe),
        ("held by an operator", &hold),
        ("the budget", &|stage| stage.policy.rollback.per_day_max = 0),
        ("the organization's budget", &|stage| stage.policy.per_organization_max = 0),
    ];
    for (guard, how) in cases {
        let mut stage = settled();
        stage.policy.watch.late = OnBreach::Rollback;
        neighbours_serve(&mut stage);
        how(&mut stage);
        serves(&mut stage, 20.0);
        degrades(&mut stage);
        stage.pass(300);
        assert_eq!(stage.told(EventKind::RollbackStarted), Vec::<&Event>::new(), "{guard}");
        assert_eq!(stage.told(EventKind::HoldPlaced).len(), 1, "{guard}: {:?}", stage.events);
    }
}

#[test]
fn neighbours_that_are_well_later_are_waited_for() {
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    stage.pass(120);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0);
    neighbours_serve(&mut stage);
    stage.pass(10);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1);
}

#[test]
fn what_degrades_with_its_neighbours_keeps_its_trust() {
    let mut stage = settled();
    stage.policy.watch.late = OnBreach::Rollback;
    serves(&mut stage, 20.0);
    neighbours_degrade(&mut stage);
    let told = degrades(&mut stage);
    assert_eq!((told.revoked, told.with.len()), (false, 2));
    assert_eq!(known_good(&stage), Some(2));
    stage.pass(300);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0);
}

#[test]
fn what_a_person_pinned_keeps_its_trust() {
    let mut stage = settled();
    stage.order(Act::Pin { release: "v2".to_owned() });
    serves(&mut stage, 20.0);
    assert!(!degrades(&mut stage).revoked);
    assert_eq!(known_good(&stage), Some(2));
}

/// v3 comes into an app that fails 20 % already, and fails as much itself, or more.
#[test]
fn a_release_is_not_blamed_for_what_was_there_before_it() {
    for (bad, undone) in [(20.0, false), (25.0, false), (60.0, true)] {
        let mut stage = settled();
        stage.policy.watch.bake = Duration::from_secs(600);
        serves(&mut stage, 20.0);
        degrades(&mut stage);
        stage.ship(3, "sha256:3");
        serves(&mut stage, bad);
        stage.opens = Some(super::stage::opened(4));
        stage.pass(180);
        let started = stage.told(EventKind::RollbackStarted).len();
        assert_eq!(started, usize::from(undone), "{bad} %: {:?}", stage.events);
        if !undone {
            let held = stage.told(EventKind::HoldPlaced);
            let is_before = matches!(
                &held[0].reason,
                Some(Reason::Held { hold: HoldReason::DegradedBefore { by, .. } }) if by == "v2"
            );
            assert!(is_before, "{held:?}");
            serves(&mut stage, 0.0);
            stage.pass(120);
            assert_eq!(stage.told(EventKind::HoldCleared).len(), 1, "it ends by itself");
            // Once it was well for a while it is judged by itself.
            serves(&mut stage, 20.0);
            stage.pass(120);
            assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{bad}");
        }
    }
}

#[test]
fn what_degraded_before_its_deploy_bears_witness_on() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(10);
    let since = distress::of(&stage.state).expect("it is in distress").since;
    stage.ship(3, "sha256:3");
    stage.pass(20);
    let distress = distress::of(&stage.state).expect("it still is");
    assert_eq!((distress.since, distress.deployed), (since, false));
    // One that was well until its deploy does not.
    let mut stage = settled();
    stage.ship(3, "sha256:3");
    serves(&mut stage, 20.0);
    stage.pass(20);
    assert!(distress::of(&stage.state).is_some_and(|distress| distress.deployed));
}

#[test]
fn what_changed_around_it_is_told() {
    let mut stage = settled();
    stage.pass(4);
    let now = at(stage.second);
    stage.machine("m1").started_at = Some(now);
    stage.machine("m2").started_at = Some(now);
    let secret = |digest: &str| crate::model::Secrets::from([("KEY".into(), digest.into())]);
    stage.secrets = Some(secret("a"));
    stage.pass(2);
    stage.secrets = Some(secret("b"));
    stage.org.deploys = [(AppName::new("web"), (at(stage.second - 60), "v7".to_owned()))].into();
    serves(&mut stage, 20.0);
    let changes = degrades(&mut stage).changes;
    let what: Vec<Changed> = changes.into_iter().map(|change| change.what).collect();
    let web = Changed::Deployed { app: "web".into(), label: "v7".to_owned() };
    assert!(what.contains(&web), "{what:?}");
    assert!(what.contains(&Changed::Secrets), "{what:?}");
    assert!(what.contains(&Changed::Restarted { machines: 2 }), "{what:?}");
}

#[test]
fn checks_that_fail_late_are_told_as_well() {
    let mut stage = Stage::trusted(&["m1", "m2"]);
    stage.pass(600);
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(90);
    let told = stage.told(EventKind::ReleaseDegraded);
    assert_eq!(told.len(), 1);
    assert_eq!(degradation(told[0]).stays, Some(Stays::OnlyAlerts));
    assert!(told[0].evidence.iter().any(|one| one.verdict == Verdict::Breach));
}

#[test]
fn what_was_gone_back_to_is_looked_at_on_as_well() {
    let mut stage = Stage::rolling_back(&["m1", "m2"]);
    stage.undo();
    stage.events.clear();
    stage.pass(180);
    stage.machines.iter_mut().for_each(fail_checks);
    stage.pass(90);
    let kept = stage.state.memory.vigil.watch().map(|watch| &watch.evidence);
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1, "{kept:?}");
    assert_eq!(stage.state.phase.word(), "degraded");
}

#[test]
fn an_image_by_hand_does_not_wait_for_what_degrades() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    degrades(&mut stage);
    stage.pass(10);
    let now = at(stage.second);
    put(stage.machine("m1"), 2, "sha256:9", now);
    stage.pass(4);
    let detected = stage.told(EventKind::ReleaseDetected);
    assert_eq!(detected[0].release.as_ref().unwrap().digest.as_str(), "sha256:9");
}

#[test]
fn a_look_that_leans_towards_trouble_is_followed_by_faster_ones() {
    let mut stage = settled();
    stage.pass(60);
    assert!(!stage.state.phase.is_active(&stage.state.memory, at(stage.second)), "idle");
    // 4 % where 2 % are allowed: far from certain.
    serves(&mut stage, 4.0);
    stage.pass(4);
    assert!(stage.state.memory.suspicion.is_none());
    assert!(stage.state.phase.is_active(&stage.state.memory, at(stage.second)));
    serves(&mut stage, 0.0);
    stage.pass(120);
    assert!(!stage.state.phase.is_active(&stage.state.memory, at(stage.second)));
}

/// They vouched for it with its failures.
#[test]
fn what_a_person_vouched_for_as_it_was_is_no_news() {
    let mut stage = settled();
    serves(&mut stage, 20.0);
    stage.pass(20);
    drop(stage.order(Act::Trust { release: "v2".to_owned() }));
    stage.pass(600);
    assert_eq!(stage.told(EventKind::ReleaseDegraded), Vec::<&Event>::new());
    serves(&mut stage, 0.0);
    stage.pass(120);
    serves(&mut stage, 20.0);
    assert_eq!(degrades(&mut stage).stays, Some(Stays::OnlyAlerts), "this it is");
}

/// Nothing fails: nothing is answered at all.
#[test]
fn what_answers_nothing_any_more_is_told_while_its_neighbours_serve() {
    for (neighbours, is_told) in [(true, true), (false, false)] {
        let mut stage = settled();
        stage.pass(3600);
        if neighbours {
            neighbours_serve(&mut stage);
        }
        stage.serves = vec![("m1", 0.0, 0.0), ("m2", 0.0, 0.0)];
        stage.pass(50);
        assert_eq!(stage.events, [], "a moment of silence is nothing");
        stage.pass(100);
        assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), usize::from(is_told));
        if is_told {
            let evidence = &stage.told(EventKind::ReleaseDegraded)[0].evidence[0];
            assert!(
                matches!(evidence.note, Some(crate::model::Note::Quiet { .. })),
                "{evidence:?}"
            );
        }
    }
}

/// The same in the bake of a release: it is undone where neighbours vouch for it that it hangs.
#[test]
fn a_release_that_falls_silent_in_its_bake_is_undone_while_its_neighbours_serve() {
    let mut stage = settled();
    stage.pass(3600);
    stage.policy.watch.bake = Duration::from_secs(600);
    stage.ship(3, "sha256:3");
    stage.opens = Some(super::stage::opened(4));
    stage.pass(60);
    neighbours_serve(&mut stage);
    stage.serves = vec![("m1", 0.0, 0.0), ("m2", 0.0, 0.0)];
    stage.pass(100);
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 1, "{:?}", stage.events);
}
