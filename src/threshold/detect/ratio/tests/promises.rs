//! The two promises, by simulation with fixed seeds: how seldom a healthy release alarms, and how
//! soon a bad one does.

use super::{SETTINGS, at, uniform};
use crate::threshold::detect::{RatioDetector, RatioSettings};
use std::time::Duration;

const LIMIT: f64 = 0.02;

/// Draws from a binomial distribution by its cumulative shares.
struct Binomial(Vec<f64>);

impl Binomial {
    fn new(n: u32, p: f64) -> Self {
        let mut share = (1.0 - p).powf(f64::from(n));
        let mut sum = 0.0;
        let cumulative = (0..=n).map(|k| {
            sum += share;
            share *= f64::from(n - k) / f64::from(k + 1) * p / (1.0 - p);
            sum
        });
        Self(cumulative.take_while(|sum| *sum < 1.0 - 1e-12).collect())
    }

    fn draw(&self, seed: &mut u64) -> f64 {
        let u = uniform(seed);
        self.0.partition_point(|sum| *sum < u) as f64
    }
}

/// How many of `runs` watches of `blocks` blocks, of 500 events each, alarm.
fn alarms(
    (runs, blocks): (u32, i64),
    detector: &RatioDetector,
    alpha: f64,
    mut bad: impl FnMut() -> f64,
) -> u32 {
    let settings = RatioSettings { alpha, ..SETTINGS };
    let alarms = (0..runs).map(|_| {
        let mut detector = detector.clone();
        detector.start(at(0));
        for block in 1..=blocks {
            detector.add(500.0, bad());
            detector.close_if_due(at(block * 5), &settings);
        }
        u32::from(detector.alarmed())
    });
    alarms.sum()
}

#[test]
fn two_thousand_healthy_releases_do_not_alarm_more_than_twice() {
    let mut seed = 11;
    let healthy = Binomial::new(500, 0.015);
    let detector = RatioDetector::new(LIMIT, false);
    let alarmed = alarms((2000, 60), &detector, 1e-3, || healthy.draw(&mut seed));
    assert!(alarmed <= 2, "{alarmed} of 2000 releases with 1.5 % alarmed at 2 %");
}

#[test]
fn requests_that_fail_in_clusters_are_within_the_promise() {
    // Twenty requests stand or fall together, and the share is exactly the limit.
    let mut seed = 12;
    let clusters = Binomial::new(25, LIMIT);
    let detector = RatioDetector::new(LIMIT, false);
    let alarmed = alarms((600, 100), &detector, 0.05, || 20.0 * clusters.draw(&mut seed));
    assert!(alarmed <= 46, "{alarmed} of 600 alarmed, 30 are promised, 46 are three deviations");
}

#[test]
fn bursts_that_fill_whole_blocks_are_within_the_promise_of_the_strict_half() {
    // One block in ten fails to a fifth, the others not at all: on average exactly the limit.
    let mut seed = 13;
    let detector = RatioDetector::new(LIMIT, true);
    let burst = || if uniform(&mut seed) < 0.1 { 100.0 } else { 0.0 };
    let alarmed = alarms((600, 150), &detector, 0.05, burst);
    assert!(alarmed <= 46, "{alarmed} of 600 alarmed, 30 are promised, 46 are three deviations");
}

/// Seconds from the first failing request to the alarm: 100 requests a second from `first` on,
/// scraped every 2 s; from `healthy_for` seconds on a share `bad` of them fails.
fn delay(detector: &mut RatioDetector, first: f64, bad: f64, healthy_for: f64) -> f64 {
    // One promise in a thousand, shared with four other thresholds.
    let settings = RatioSettings { alpha: 1e-3 / 5.0, ..SETTINGS };
    let mut seed = 14;
    let failing_from = first + healthy_for;
    detector.start(at(0));
    for scrape in 1..900_i32 {
        let (mut n, mut failed) = (0.0, 0.0);
        for request in 0..200_i32 {
            let time = f64::from(scrape - 1) * 2.0 + f64::from(request) / 100.0;
            n += f64::from(u8::from(time >= first));
            failed += f64::from(u8::from(time >= failing_from && uniform(&mut seed) < bad));
        }
        detector.add(n, failed);
        detector.close_if_due(at(i64::from(scrape) * 2), &settings);
        if detector.alarmed() {
            return f64::from(scrape) * 2.0 - failing_from;
        }
    }
    f64::INFINITY
}

#[test]
fn a_bad_release_is_found_within_seconds_of_its_first_failing_request() {
    for strict in [false, true] {
        for tenths in 0..120 {
            let first = f64::from(tenths) / 10.0;
            for (bad, within) in [(1.0, 20.0), (0.2, 40.0)] {
                let mut detector = RatioDetector::new(LIMIT, strict);
                let delay = delay(&mut detector, first, bad, 0.0);
                assert!(
                    delay <= within,
                    "{bad} bad from {first} s on, strict {strict}: found after {delay} s"
                );
            }
        }
    }
}

#[test]
fn a_release_that_turns_bad_later_is_found_a_block_or_two_later() {
    for strict in [false, true] {
        for tenths in (0..60).step_by(5) {
            let healthy_for = 300.0 + f64::from(tenths) / 10.0;
            for (bad, within) in [(1.0, 30.0), (0.2, 48.0)] {
                let mut detector = RatioDetector::new(LIMIT, strict);
                let delay = delay(&mut detector, 0.0, bad, healthy_for);
                assert!(
                    delay <= within,
                    "{bad} bad after {healthy_for} s, strict {strict}: found after {delay} s"
                );
            }
        }
    }
}

#[test]
fn with_little_traffic_a_total_failure_is_still_found_and_a_single_error_is_not() {
    // One request in ten seconds.
    let settings = RatioSettings { block: Duration::from_secs(5), ..SETTINGS };
    for (bad, blocks, alarms) in [(1.0, 4, true), (0.0, 100, false)] {
        let mut detector = RatioDetector::new(LIMIT, false);
        detector.start(at(0));
        for block in 1..=blocks {
            detector.add(1.0, bad);
            detector.close_if_due(at(block * 10), &settings);
        }
        assert_eq!(detector.alarmed(), alarms, "{bad} bad");
    }
    let mut detector = RatioDetector::new(LIMIT, false);
    detector.start(at(0));
    for block in 1..=100 {
        detector.add(1.0, if block == 1 { 1.0 } else { 0.0 });
        detector.close_if_due(at(block * 10), &settings);
    }
    assert!(!detector.alarmed(), "one failed request of a hundred is no breach");
}
