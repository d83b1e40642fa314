//! The published vectors, the guarantee by simulation, and what must hold for any input.

use proptest::prelude::*;

use super::*;

mod promises;

const SETTINGS: RatioSettings = RatioSettings {
    alpha: 1e-3,
    watch: Duration::from_secs(1800),
    block: Duration::from_secs(5),
    early: Duration::ZERO,
    from_start: true,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Feeds blocks of (n, k, seconds) and collects ln E.
fn run(detector: &mut RatioDetector, blocks: &[(f64, f64, i64)]) -> Vec<f64> {
    let mut now = 0;
    detector.start(at(now));
    let close = |&(n, k, seconds): &(f64, f64, i64)| {
        detector.add(n, k);
        now += seconds;
        detector.close_if_due(at(now), &SETTINGS).expect("a due block closes")
    };
    blocks.iter().map(close).collect()
}

fn assert_close(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < 1e-6, "ln E is {got}, expected {want}");
    }
}

#[test]
fn total_failure_alarms_at_the_third_block() {
    let mut detector = RatioDetector::new(0.02, true);
    let got = run(&mut detector, &[(100.0, 100.0, 5); 2]);
    assert!(!detector.alarmed());
    assert_close(&got, &[2.364_217, 5.865_353]);
    detector.add(100.0, 100.0);
    let third = detector.close_if_due(at(15), &SETTINGS).unwrap();
    assert_close(&[third], &[9.528_144]);
    assert!(detector.alarmed());
    assert_eq!(detector.blocks(), 3);
    assert_eq!(detector.totals(), (300.0, 300.0));
}

#[test]
fn a_regression_after_a_healthy_start_is_found() {
    let mut blocks = vec![(50.0, 0.0, 5); 2];
    blocks.extend([(50.0, 10.0, 5); 6]);
    let mut detector = RatioDetector::new(0.02, true);
    let want =
        [-1.222_252, -1.483_888, -0.542_169, 0.682_481, 2.163_745, 3.833_334, 5.635_262, 7.537_503];
    assert_close(&run(&mut detector, &blocks), &want);
    assert!(detector.alarmed());
}

#[test]
fn a_mild_regression_with_much_traffic_uses_the_event_level_half() {
    let mut detector = RatioDetector::new(0.02, false);
    let got = run(&mut detector, &[(5000.0, 250.0, 5); 3]);
    assert_close(&got, &[0.816_841, 3.761_582, 7.004_061]);
}

#[test]
fn few_requests_are_still_evidence() {
    let mut detector = RatioDetector::new(0.05, false);
    let got = run(&mut detector, &[(1.0, 1.0, 5), (2.0, 1.0, 10), (1.0, 1.0, 5)]);
    assert_close(&got, &[0.911_767, 2.725_085, 5.436_530]);
}

#[test]
fn a_block_waits_for_its_age_and_for_an_event() {
    let mut detector = RatioDetector::new(0.02, false);
    detector.start(at(0));
    detector.add(10.0, 0.0);
    assert_eq!(detector.close_if_due(at(4), &SETTINGS), None);
    assert!(detector.close_if_due(at(5), &SETTINGS).is_some());
    assert_eq!(detector.close_if_due(at(600), &SETTINGS), None, "no event, no block");
    assert_eq!(detector.blocks(), 1);
}

#[test]
fn a_clock_that_goes_back_opens_the_block_again() {
    let mut detector = RatioDetector::new(0.02, false);
    detector.start(at(1000));
    detector.add(1.0, 0.0);
    assert_eq!(detector.close_if_due(at(0), &SETTINGS), None);
    assert!(detector.close_if_due(at(5), &SETTINGS).is_some());
}

#[test]
fn a_tiny_allowed_share_needs_two_blocks() {
    let mut detector = RatioDetector::new(1e-6, true);
    let first = run(&mut detector, &[(1.0, 1.0, 5)]);
    assert!(first[0] > RatioDetector::needed(SETTINGS.alpha));
    assert!(!detector.alarmed());
    detector.add(1.0, 1.0);
    detector.close_if_due(at(10), &SETTINGS).unwrap();
    assert!(detector.alarmed());
}

#[test]
fn an_alarm_is_final() {
    let mut detector = RatioDetector::new(0.02, false);
    run(&mut detector, &[(1000.0, 1000.0, 5); 4]);
    assert!(detector.alarmed());
    for second in 5..500 {
        detector.add(1000.0, 0.0);
        detector.close_if_due(at(second * 5), &SETTINGS);
    }
    assert!(detector.ln_odds() < Some(0.0));
    assert!(detector.peak() > Some(6.9));
    assert!(detector.alarmed());
}

#[test]
fn numbers_that_are_no_counts_are_dropped() {
    let mut detector = RatioDetector::new(f64::NAN, false);
    for (n, k) in [(f64::NAN, 0.0), (f64::INFINITY, 1.0), (-1.0, 0.0), (5.0, f64::NAN)] {
        detector.add(n, k);
    }
    assert_eq!(detector.pending(), (0.0, 0.0));
    detector.add(2.0, 9.0);
    assert_eq!(detector.pending(), (2.0, 2.0));
}

/// `splitmix64`, so that the runs below are the same everywhere.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn a_release_exactly_at_the_limit_alarms_no_more_often_than_promised() {
    let settings = RatioSettings { alpha: 0.05, ..SETTINGS };
    let mut seed = 7;
    let mut alarms = 0;
    for _ in 0..400 {
        let mut detector = RatioDetector::new(0.1, false);
        detector.start(at(0));
        for block in 1..=360 {
            let bad = (0..10).filter(|_| uniform(&mut seed) < 0.1).count();
            detector.add(10.0, bad as f64);
            detector.close_if_due(at(block * 5), &settings);
        }
        alarms += u32::from(detector.alarmed());
    }
    // 20 expected at the bound; 40 is beyond four standard deviations.
    assert!(alarms <= 40, "{alarms} of 400 healthy runs alarmed");
}

fn block() -> impl Strategy<Value = (f64, f64, i64)> {
    (0.0..1e18_f64, 0.0..=1.0_f64, 5..2000_i64).prop_map(|(n, x, dt)| {
        let n = n.max(1.0);
        (n, n * x, dt)
    })
}

proptest! {
    #[test]
    fn odds_stay_finite(
        p0 in 0.0..=1.0_f64,
        strict: bool,
        blocks in prop::collection::vec(block(), 1..60),
    ) {
        let mut detector = RatioDetector::new(p0, strict);
        for ln_e in run(&mut detector, &blocks) {
            prop_assert!(ln_e.is_finite());
        }
    }

    #[test]
    fn no_bad_event_no_alarm(
        p0 in 0.0..=1.0_f64,
        strict: bool,
        blocks in prop::collection::vec(block(), 1..60),
    ) {
        let mut detector = RatioDetector::new(p0, strict);
        let clean: Vec<_> = blocks.iter().map(|&(n, _, dt)| (n, 0.0, dt)).collect();
        for ln_e in run(&mut detector, &clean) {
            prop_assert!(ln_e < 1e-9);
        }
        prop_assert!(!detector.alarmed());
    }

    #[test]
    fn a_restart_in_the_middle_changes_nothing(
        p0 in 1e-6..0.5_f64,
        blocks in prop::collection::vec(block(), 2..40),
        cut in 0..40_usize,
    ) {
        let mut straight = RatioDetector::new(p0, false);
        let mut restarted = straight.clone();
        let mut now = 0;
        straight.start(at(0));
        restarted.start(at(0));
        for (index, &(n, k, dt)) in blocks.iter().enumerate() {
            straight.add(n, k);
            restarted.add(n, k);
            if index == cut % blocks.len() {
                let text = serde_json::to_string(&restarted).unwrap();
                restarted = serde_json::from_str(&text).unwrap();
            }
            now += dt;
            let want = straight.close_if_due(at(now), &SETTINGS);
            prop_assert_eq!(restarted.close_if_due(at(now), &SETTINGS), want);
        }
        prop_assert_eq!(straight, restarted);
    }
}

#[test]
fn a_block_is_over_with_the_look_that_comes_a_little_early() {
    let settings = RatioSettings {
        block: Duration::from_secs(4),
        early: Duration::from_millis(500),
        ..SETTINGS
    };
    let later = |millis: i64| at(0) + jiff::SignedDuration::from_millis(millis);
    let mut detector = RatioDetector::new(0.02, false);
    detector.start(at(0));
    detector.add(10.0, 0.0);
    assert_eq!(detector.close_if_due(later(3499), &settings), None);
    assert!(detector.close_if_due(later(3500), &settings).is_some());
}

#[test]
fn one_that_begins_anew_asks_the_same_of_the_same_traffic() {
    let mut detector = RatioDetector::new(0.02, true).with_phi(3.0);
    run(&mut detector, &[(100.0, 100.0, 5); 2]);
    assert_eq!(detector.anew(), RatioDetector::new(0.02, true).with_phi(3.0));
}

/// A process's first moments are one event more than many.
#[test]
fn what_fails_in_the_first_moments_of_a_process_counts_less_and_a_total_failure_as_soon() {
    let blocks_until = |young: bool, k: f64| {
        let mut detector = RatioDetector::new(0.02, false).with_phi(1.0);
        detector.start(at(0));
        (1..=100).find(|block| {
            if young {
                detector.add_young(100.0, k);
            } else {
                detector.add(100.0, k);
            }
            detector.close_if_due(at(5 * block), &SETTINGS);
            detector.alarmed()
        })
    };
    let [old, young] = [false, true].map(|young| blocks_until(young, 10.0));
    assert!(young > old.map(|old| old + 2), "{young:?} after {old:?}");
    assert_eq!([false, true].map(|young| blocks_until(young, 100.0)), [Some(3); 2]);
}

#[test]
fn what_a_process_counts_first_is_among_all_that_is_counted() {
    let mut detector = RatioDetector::new(0.02, false);
    detector.start(at(0));
    detector.add(10.0, 1.0);
    detector.add_young(5.0, 9.0);
    assert_eq!(detector.pending(), (15.0, 6.0), "no more bad ones than all");
    detector.close_if_due(at(5), &SETTINGS);
    assert_eq!((detector.totals(), detector.pending()), ((15.0, 6.0), (0.0, 0.0)));
}
