//! How far counts spread is measured on the known-good release, and decides what a failure is worth.

use super::{
    families::Dice,
    stage::{Stage, ratio},
    *,
};
use crate::threshold::detect::Dispersion;

/// Rounds for so many seconds, in which of 100 requests a second one in a hundred fails on average: one by
/// one, or, `of` of them at a time, in bundles.
fn pass(stage: &mut Stage, dice: &mut Dice, seconds: i64, of: f64) {
    for _ in 0..seconds / 2 {
        let (_, bundles) = dice.requests(100.0 / of, 0.01);
        stage.serves = vec![("m1", 200.0, bundles * of)];
        stage.look();
    }
}

/// v1 is trusted by requests that fail in such bundles.
fn known(of: f64, seconds: i64) -> (Stage, Dice) {
    let mut stage = Stage::unknown(&["m1"]);
    stage.policy.thresholds = vec![ratio()];
    stage.policy.watch.bake = Duration::from_secs(300);
    let mut dice = Dice::new(1);
    pass(&mut stage, &mut dice, seconds, of);
    assert!(stage.state.memory.newest_trusted().is_some());
    (stage, dice)
}

fn measured(stage: &Stage) -> Option<Dispersion> {
    stage.state.memory.newest_trusted().and_then(|one| one.dispersions.get("5xx").copied())
}

/// The bundles by which the watched release is judged.
fn bundles(stage: &Stage) -> f64 {
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    watch.thresholds["5xx"].bundles().unwrap().0
}

#[test]
fn it_is_measured_on_what_runs_and_the_next_release_is_judged_by_it() {
    for (of, within) in [(1.0, 1.0..2.0), (10.0, 4.0..25.0)] {
        let (mut stage, mut dice) = known(of, 3000);
        let phi = measured(&stage).unwrap().phi;
        assert!(within.contains(&phi), "{of}: {phi}");
        stage.ship(2, "sha256:2");
        pass(&mut stage, &mut dice, 20, of);
        assert_eq!(bundles(&stage).to_bits(), phi.to_bits());
    }
}

#[test]
fn while_nothing_is_measured_twenty_failures_count_as_one() {
    let (mut stage, mut dice) = known(1.0, 400);
    assert_eq!(measured(&stage), None);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 20, 1.0);
    assert_eq!(bundles(&stage).to_bits(), 20.0_f64.to_bits());
}

#[test]
fn it_is_recorded_with_the_release_now_and_then_and_outlives_a_restart() {
    let (mut stage, mut dice) = known(1.0, 1000);
    let first = measured(&stage).unwrap();
    pass(&mut stage, &mut dice, 300, 1.0);
    assert_eq!(measured(&stage), Some(first), "not with each round");
    pass(&mut stage, &mut dice, 400, 1.0);
    let second = measured(&stage).unwrap();
    assert!(second.at > first.at && second.minutes > first.minutes);
    let text = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&text).unwrap();
    assert_eq!(measured(&stage), Some(second));
    // Of the minutes before nothing is left, and a few new ones do not say more than they did.
    pass(&mut stage, &mut dice, 900, 0.1);
    assert!(measured(&stage).unwrap().phi >= second.phi);
}

/// Ten quiet minutes are no proof that failures come one by one now.
#[test]
fn a_release_of_which_little_was_measured_spreads_at_least_as_far_as_the_one_before() {
    let (mut stage, mut dice) = known(10.0, 3000);
    let before = measured(&stage).unwrap();
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 900, 1.0);
    let newest = stage.state.memory.newest_trusted().unwrap();
    assert_eq!(newest.revision.digest.as_str(), "sha256:2");
    assert_eq!(measured(&stage).map(|one| one.phi.to_bits()), Some(before.phi.to_bits()));
    pass(&mut stage, &mut dice, 2400, 1.0);
    assert!(measured(&stage).unwrap().phi < 2.0, "by its own half hour");
}

/// What another question counted spreads as it likes.
#[test]
fn what_was_measured_for_another_question_says_nothing() {
    let (mut stage, mut dice) = known(10.0, 3000);
    assert!(measured(&stage).is_some());
    let ThresholdKind::Ratio(ratio) = &mut stage.policy.thresholds[0].kind else { panic!() };
    ratio.bad = crate::model::Selector::metric("failed");
    pass(&mut stage, &mut dice, 20, 1.0);
    assert_eq!(measured(&stage), None);
}

/// A journal that was written before this was measured.
#[test]
fn a_trusted_release_of_which_nothing_was_recorded_can_be_read() {
    let (stage, _) = known(1.0, 1000);
    let mut state = serde_json::to_value(&stage.state).unwrap();
    let trusted = state["memory"]["trusted"][0].as_object_mut().unwrap();
    assert!(trusted.remove("dispersions").is_some());
    let state: AppState = serde_json::from_value(state).unwrap();
    assert!(state.memory.trusted[0].dispersions.is_empty());
}
