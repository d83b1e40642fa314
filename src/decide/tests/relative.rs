//! Worse than the known-good release, by its own past.

use super::{
    families::Dice,
    stage::{Stage, ratio},
    *,
};
use crate::{
    model::{Note, Ratio, Relative, Verdict},
    threshold::keys::SHARE_MAX,
};

const IDS: [&str; 3] = ["m1", "m2", "m3"];

/// Half as bad again, and two in a thousand more.
const USUAL: Relative = Relative { times: 1.5, plus: 0.002 };

fn relative(max: f64) -> Threshold {
    let mut threshold = ratio();
    let ThresholdKind::Ratio(ratio) = threshold.kind else { panic!() };
    threshold.kind = ThresholdKind::Ratio(Ratio { max, relative: Some(USUAL), ..ratio });
    threshold
}

/// Rounds for so many seconds, in which this share of 60 requests a second fails, by chance.
fn pass(stage: &mut Stage, dice: &mut Dice, seconds: i64, share: f64) {
    for _ in 0..seconds / 2 {
        let serves = IDS.iter().map(|id| {
            let (n, k) = dice.requests(20.0, share);
            (*id, n, k)
        });
        stage.serves = serves.collect();
        stage.look();
    }
}

/// An app whose first release ran for a quarter of an hour with this share of failures.
fn first_seen(dice: &mut Dice, max: f64, share: f64) -> Stage {
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds = vec![relative(max)];
    pass(&mut stage, dice, 900, share);
    assert!(is_trusted(&stage, "sha256:1"), "{:?}", stage.state.phase.word());
    stage
}

fn is_trusted(stage: &Stage, digest: &str) -> bool {
    stage.state.memory.newest_trusted().is_some_and(|one| one.revision.digest.as_str() == digest)
}

/// The limit in force and why, by the evidence of the first planned rollback.
fn told(stage: &Stage) -> (f64, Option<crate::model::Raised>) {
    let planned = stage.told(EventKind::RollbackPlanned);
    let evidence = &planned[0].evidence[0];
    (evidence.limit, evidence.raised.clone())
}

#[test]
fn a_release_that_is_worse_than_the_known_good_one_is_undone_though_its_share_would_be_fine() {
    // given: half a per cent always failed, and no share is written
    let mut dice = Dice::new(1);
    let mut stage = first_seen(&mut dice, SHARE_MAX, 0.005);
    // when: the next release fails two and a half per cent
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 120, 0.025);
    // then: it is undone, by a limit that follows from what ran before
    let (limit, raised) = told(&stage);
    let raised = raised.unwrap();
    assert!((0.0095..0.0125).contains(&limit), "{limit}");
    assert!((0.004..0.006).contains(&raised.share), "{raised:?}");
    assert_eq!((raised.by.as_str(), raised.relative), ("v1", Some(USUAL)));
}

#[test]
fn healthy_releases_are_trusted_one_after_the_other() {
    for seed in 0..8 {
        let mut dice = Dice::new(seed);
        let mut stage = first_seen(&mut dice, SHARE_MAX, 0.005);
        for (version, digest) in [(2, "sha256:2"), (3, "sha256:3")] {
            stage.ship(version, digest);
            pass(&mut stage, &mut dice, 1200, 0.005);
            assert!(is_trusted(&stage, digest), "{seed}: {:?}", stage.state.phase.word());
        }
        assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0, "{seed}");
    }
}

#[test]
fn the_lower_of_what_is_written_and_what_follows_counts() {
    let mut dice = Dice::new(2);
    let mut stage = first_seen(&mut dice, 0.02, 0.015);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 120, 0.1);
    let (limit, raised) = told(&stage);
    assert_eq!((limit, raised), (0.02, None), "1.5 times 1.5 % and 0.2 % is more than 2 %");
}

#[test]
fn while_nothing_is_known_of_before_the_written_limit_counts_and_the_evidence_says_so() {
    // given: an app that runs for a minute only
    let mut dice = Dice::new(3);
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds = vec![relative(SHARE_MAX)];
    pass(&mut stage, &mut dice, 120, 0.005);
    assert!(is_trusted(&stage, "sha256:1"));
    // when: a release comes that fails a tenth of its requests
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 60, 0.1);
    // then: nobody can say whether that is worse
    let Phase::Watching(watch) = &stage.state.phase else { panic!("{:?}", stage.state.phase) };
    assert_eq!(watch.evidence[0].note, Some(Note::NothingBefore));
    assert_eq!((watch.evidence[0].limit, watch.evidence[0].verdict), (SHARE_MAX, Verdict::Pass));
    // and one that fails nearly all of them is found all the same
    stage.ship(3, "sha256:3");
    pass(&mut stage, &mut dice, 60, 0.9);
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 1);
}

#[test]
fn what_it_is_compared_with_holds_for_as_long_as_it_runs_and_across_restarts() {
    // given: the second release runs for so long that its own past is known
    let mut dice = Dice::new(4);
    let mut stage = first_seen(&mut dice, SHARE_MAX, 0.005);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 1200, 0.008);
    assert!(is_trusted(&stage, "sha256:2"));
    let recorded = serde_json::to_string(&stage.state).unwrap();
    stage.state = serde_json::from_str(&recorded).unwrap();
    // when: the third is three times as bad as the first, and no worse than the second allows
    stage.ship(3, "sha256:3");
    pass(&mut stage, &mut dice, 240, 0.03);
    // then: it is the second that it is compared with
    let (limit, raised) = told(&stage);
    assert!((0.013..0.018).contains(&limit), "{limit}");
    assert_eq!(raised.unwrap().by, "v2");
}

#[test]
fn a_release_that_follows_within_minutes_is_compared_with_what_ran_for_longer() {
    let mut dice = Dice::new(5);
    let mut stage = first_seen(&mut dice, SHARE_MAX, 0.005);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 400, 0.005);
    assert!(is_trusted(&stage, "sha256:2"));
    stage.ship(3, "sha256:3");
    pass(&mut stage, &mut dice, 120, 0.03);
    assert_eq!(told(&stage).1.unwrap().by, "v1");
}

#[test]
fn what_befalls_the_known_good_release_beside_it_as_well_is_held_against_nobody() {
    // given: the new release runs on one machine, the known-good one on two
    let mut dice = Dice::new(6);
    let mut stage = first_seen(&mut dice, SHARE_MAX, 0.005);
    stage.announce(2, "sha256:2");
    stage.ledger.as_mut().unwrap()[0].status = crate::model::ReleaseStatus::Running;
    let now = at(stage.second);
    super::stage::put(stage.machine("m1"), 2, "sha256:2", now);
    // when: both fail three per cent
    pass(&mut stage, &mut dice, 120, 0.03);
    // then
    assert_eq!(stage.told(EventKind::RollbackStarted).len(), 0);
}

/// The question is another one: what was counted for the old one says nothing of it.
#[test]
fn what_ran_before_is_not_compared_with_by_another_question() {
    // given: an app of which nothing fails, as its policy counts it
    let mut dice = Dice::new(7);
    let mut stage = first_seen(&mut dice, 0.02, 0.0005);
    // when: the policy counts more as failures from now on, one in a hundred, and a release is no worse
    let ThresholdKind::Ratio(ratio) = &mut stage.policy.thresholds[0].kind else { panic!() };
    ratio.bad = crate::model::Selector::metric("refused");
    pass(&mut stage, &mut dice, 120, 0.01);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 400, 0.01);
    // then: it is not undone
    assert_eq!(stage.told(EventKind::RollbackPlanned).len(), 0, "{:?}", told(&stage));
}

/// A limit that was raised from another one caps nothing.
#[test]
fn a_limit_that_was_raised_from_what_is_not_written_any_more_lets_nothing_pass() {
    // given: an app that always stood above its limit, so that this was raised to 5 %
    let mut dice = Dice::new(8);
    let mut stage = Stage::unknown(&IDS);
    stage.policy.thresholds = vec![relative(0.02)];
    pass(&mut stage, &mut dice, 900, 0.03);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 1200, 0.025);
    assert!(is_trusted(&stage, "sha256:2"), "{:?}", stage.state.phase.word());
    // when: somebody writes 1 %, and the next release fails 3 %
    let ThresholdKind::Ratio(ratio) = &mut stage.policy.thresholds[0].kind else { panic!() };
    ratio.max = 0.01;
    stage.ship(3, "sha256:3");
    pass(&mut stage, &mut dice, 300, 0.03);
    // then: it is found by what is written
    let planned = stage.told(EventKind::RollbackPlanned);
    assert!(!planned.is_empty());
    assert_eq!(planned[0].evidence[0].limit.to_bits(), 0.01_f64.to_bits());
}

/// What is gone back to is compared with what it was compared with before.
#[test]
fn a_release_that_is_gone_back_to_is_judged_as_it_was() {
    // given: the second release runs, compared with the first, and the third is undone
    let mut dice = Dice::new(9);
    let mut stage = first_seen(&mut dice, SHARE_MAX, 0.005);
    stage.ship(2, "sha256:2");
    pass(&mut stage, &mut dice, 1200, 0.005);
    assert!(is_trusted(&stage, "sha256:2"));
    stage.ship(3, "sha256:3");
    stage.serves = IDS.iter().map(|id| (*id, 40.0, 20.0)).collect();
    stage.undo();
    pass(&mut stage, &mut dice, 400, 0.005);
    // then
    let vigil = stage.state.memory.vigil.watch().unwrap();
    let raised = vigil.evidence[0].raised.clone();
    assert_eq!(raised.map(|raised| raised.by), Some("v1".to_owned()), "{:?}", vigil.evidence[0]);
}
