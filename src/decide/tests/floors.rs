//! An app that always stood above a limit: what its own past makes of the limit.

use super::{
    families::Dice,
    stage::{Stage, ratio},
    *,
};

const IDS: [&str; 2] = ["m1", "m2"];

/// Rounds for so many seconds, in which this share of 50 requests a second fails, by chance.
fn pass(stage: &mut Stage, dice: &mut Dice, seconds: i64, share: f64) {
    for _ in 0..seconds / 2 {
        stage.serves = IDS
            .iter()
            .map(|id| {
                let (n, k) = dice.requests(25.0, share);
                (*id, n, k)
            })
            .collect();
        stage.look();
    }
}

/// An app that is first seen as it always fails so many of its requests.
fn first_seen(dice: &mut Dice, share: f64) -> Stage {
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds = vec![ratio()];
    pass(&mut stage, dice, 900, share);
    stage
}

fn raised(stage: &Stage) -> Vec<f64> {
    let told = stage.told(EventKind::ConfigWarning).into_iter();
    told.map(|event| match &event.reason {
        Some(Reason::LimitRaised { threshold, raised }) if threshold == "5xx" => raised.to,
        other => panic!("{other:?}"),
    })
    .collect()
}

fn is_trusted(stage: &Stage, digest: &str) -> bool {
    stage.state.memory.newest_trusted().is_some_and(|one| one.revision.digest.as_str() == digest)
}

#[test]
fn an_app_that_always_stood_above_its_limit_is_trusted_and_no_release_is_undone_for_it() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut stage = first_seen(&mut dice, 0.03);
        let told = raised(&stage);
        assert!(matches!(told[..], [to] if (0.045..0.055).contains(&to)), "{told:?}");
        assert!(is_trusted(&stage, "sha256:1"));
        stage.ship(2, "sha256:2");
        pass(&mut stage, &mut dice, 400, 0.03);
        assert!(is_trusted(&stage, "sha256:2"), "{seed}: {:?}", stage.state.phase.word());
        assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0);
        assert_eq!(raised(&stage).len(), 1, "told once");
    }
}

#[test]
fn without_a_floor_the_limit_is_the_one_that_is_written() {
    let mut dice = Dice::new(1);
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.floor = false;
    pass(&mut stage, &mut dice, 900, 0.03);
    assert!(raised(&stage).is_empty() && !is_trusted(&stage, "sha256:1"));
}

#[test]
fn what_is_clearly_worse_than_the_past_is_undone_all_the_same() {
    let mut dice = Dice::new(2);
    let mut stage = first_seen(&mut dice, 0.03);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 60, 0.2);
    let planned = stage.told(EventKind::RollbackPlanned);
    let limit = planned[0].evidence[0].limit;
    assert!((0.045..0.055).contains(&limit), "{limit}");
}

#[test]
fn later_releases_inherit_it_as_it_is() {
    let mut dice = Dice::new(3);
    let mut stage = first_seen(&mut dice, 0.03);
    let limit = raised(&stage);
    for (version, digest) in [(2, "sha256:2"), (3, "sha256:3"), (4, "sha256:4")] {
        stage.ship(version, digest);
        pass(&mut stage, &mut dice, 1200, 0.04);
        assert!(is_trusted(&stage, digest));
    }
    assert_eq!(raised(&stage), limit, "it does not creep");
}

#[test]
fn a_release_that_passes_the_written_limit_ends_it() {
    let mut dice = Dice::new(4);
    let mut stage = first_seen(&mut dice, 0.03);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 400, 0.003);
    assert!(is_trusted(&stage, "sha256:2"));
    stage.ship(3, "sha256:3");
    pass(&mut stage, &mut dice, 200, 0.03);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 1);
}

#[test]
fn what_was_counted_outlives_a_restart() {
    let mut dice = Dice::new(5);
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds = vec![ratio()];
    pass(&mut stage, &mut dice, 500, 0.03);
    let recorded = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&recorded).unwrap();
    pass(&mut stage, &mut dice, 260, 0.03);
    assert_eq!(raised(&stage).len(), 1);
}

/// The limit was raised for another question.
#[test]
fn another_question_has_a_past_of_its_own() {
    // given: a limit that was raised, as what is counted always stood above it
    let mut dice = Dice::new(6);
    let mut stage = first_seen(&mut dice, 0.03);
    assert_eq!(raised(&stage).len(), 1);
    // when: the selector is put right, and nothing fails by it until a release does
    let ThresholdKind::Ratio(ratio) = &mut stage.policy.thresholds[0].kind else { panic!() };
    ratio.bad = crate::model::Selector::metric("failed");
    pass(&mut stage, &mut dice, 1800, 0.001);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 200, 0.04);
    // then: it is found by the limit that is written
    let planned = stage.told(EventKind::RollbackPlanned);
    assert_eq!(planned.first().map(|event| event.evidence[0].limit), Some(0.02));
}

/// A threshold that only alerts says that something is wrong until it is not.
#[test]
fn what_only_alerts_is_not_taken_for_over_because_it_lasts() {
    // given: a release that was trusted as it passed the limit
    let mut dice = Dice::new(7);
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds.push(Threshold { on_breach: OnBreach::Alert, ..ratio() });
    pass(&mut stage, &mut dice, 2400, 0.002);
    assert!(is_trusted(&stage, "sha256:1"), "{:?}", stage.state.phase.word());
    // when: a twentieth of its requests fails for two hours
    pass(&mut stage, &mut dice, 7200, 0.05);
    // then: that is told, and not that it is over
    assert_eq!(stage.told(EventKind::ReleaseDegraded).len(), 1);
    assert_eq!(stage.told(EventKind::ReleaseRecovered).len(), 0, "{:?}", raised(&stage));
}

#[test]
fn what_only_alerts_has_its_limit_raised_where_it_always_stood_above_it() {
    let mut dice = Dice::new(8);
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds.push(Threshold { on_breach: OnBreach::Alert, ..ratio() });
    pass(&mut stage, &mut dice, 1500, 0.03);
    assert_eq!(raised(&stage).len(), 1);
}
