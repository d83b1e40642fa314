//! Is it simply down, or above a bound? Runs of failures, and what lasts.
//!
//! No statistics here: a health check that fails several times in a row, or a gauge above its
//! bound on every scrape for a while, on enough machines.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Check, CheckStatus, machine::UNTOLD_CHECK_INTERVAL};

/// How many times in a row the check has failed by now, not counting what failed before
/// `expected`: 1 when it only just turned critical, one more for every interval since. A check
/// without a result, or one that passes or merely warns (what the platform reports before the first
/// result), counts 0.
pub fn consecutive_failures(check: &Check, expected: Timestamp, now: Timestamp) -> u32 {
    match (check.status, check.changed_at) {
        (CheckStatus::Critical, Some(changed_at)) => {
            if now < expected {
                return 0;
            }
            let interval = check.interval.filter(|interval| !interval.is_zero());
            let interval = interval.unwrap_or(UNTOLD_CHECK_INTERVAL).as_nanos();
            // A change "in the future" is a clock a little off: it failed once.
            let since = changed_at.max(expected);
            let failing = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            let repeats = failing.as_nanos().checked_div(interval).unwrap_or(0);
            u32::try_from(repeats).unwrap_or(u32::MAX).saturating_add(1)
        }
        (CheckStatus::Critical, None) | (CheckStatus::Warning | CheckStatus::Passing, _) => 0,
    }
}

/// How many of `machines` are the share `share` of them, rounded up, and at least one.
pub fn quorum(share: f64, machines: usize) -> usize {
    let all = u32::try_from(machines).unwrap_or(u32::MAX);
    // A share such as 0.3 of 10 machines must not become 4 for the lack of a last digit.
    let wanted = (share.clamp(0.0, 1.0) * f64::from(all) - 1e-9).ceil();
    (1..machines)
        .find(|count| u32::try_from(*count).is_ok_and(|c| f64::from(c) >= wanted))
        .unwrap_or(machines.max(1))
}

/// Since when one machine's gauge has been above its bound on every scrape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    above_since: Option<Timestamp>,
    /// The newest scrape that confirmed it; time without scrapes confirms nothing.
    last_above: Option<Timestamp>,
    /// The newest value.
    last: Option<f64>,
}

impl Sustained {
    /// Begins anew where nothing was read for longer than `gap`: nobody knows what was in between. What had
    /// lasted for `sustain` by then goes on, until it is seen to be over.
    pub fn miss(&mut self, gap: Duration, sustain: Duration, now: Timestamp) {
        let apart = self.last_above.map(|at| now.duration_since(at));
        let is_long =
            apart.is_some_and(|apart| Duration::try_from(apart).is_ok_and(|apart| apart > gap));
        if is_long && !self.is_sustained(sustain) {
            (self.above_since, self.last_above) = (None, None);
        }
    }

    /// Takes one scrape's value; `None` (or NaN) is a missing sample, which changes nothing.
    pub fn sample(&mut self, value: Option<f64>, bound: f64, now: Timestamp) {
        match value {
            Some(value) if value > bound => {
                self.above_since.get_or_insert(now);
                self.last_above = Some(now);
            }
            Some(value) if value <= bound => *self = Self::default(),
            Some(_) | None => {}
        }
        if value.is_some_and(f64::is_finite) {
            self.last = value;
        }
    }

    /// Whether every sample was above the bound for at least `sustain`, from the first scrape
    /// that said so to the newest.
    pub fn is_sustained(&self, sustain: Duration) -> bool {
        let (Some(since), Some(last)) = (self.above_since, self.last_above) else {
            return false;
        };
        Duration::try_from(last.duration_since(since)).is_ok_and(|above| above >= sustain)
    }

    /// The newest value seen.
    pub fn last(&self) -> Option<f64> {
        self.last
    }

    /// When it went above its bound; `None` when it is not above.
    pub fn above_since(&self) -> Option<Timestamp> {
        self.above_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn check(status: CheckStatus, changed_at: Option<i64>, interval: Option<u64>) -> Check {
        Check {
            name: "http".into(),
            status,
            output: String::new(),
            changed_at: changed_at.map(at),
            interval: interval.map(Duration::from_secs),
            grace: None,
        }
    }

    #[test]
    fn failures_are_counted_from_the_change() {
        use CheckStatus::{Critical, Passing, Warning};
        let cases = [
            (Critical, Some(0), Some(10), 0, 1),
            (Critical, Some(0), Some(10), 9, 1),
            (Critical, Some(0), Some(10), 20, 3),
            (Critical, Some(0), None, 30, 3),
            (Critical, Some(0), Some(0), 30, 3),
            (Critical, Some(5), Some(10), 0, 1),
            (Critical, None, Some(10), 100, 0),
            (Warning, Some(0), Some(10), 100, 0),
            (Passing, Some(0), Some(10), 100, 0),
        ];
        for (status, changed, interval, now, want) in cases {
            let check = check(status, changed, interval);
            let failures = consecutive_failures(&check, at(-1000), at(now));
            assert_eq!(failures, want, "{check:?} at {now}");
        }
    }

    #[test]
    fn what_fails_before_it_is_expected_to_pass_is_not_counted() {
        let check = check(CheckStatus::Critical, Some(1), Some(2));
        assert_eq!(consecutive_failures(&check, at(45), at(44)), 0);
        assert_eq!(consecutive_failures(&check, at(45), at(45)), 1);
        assert_eq!(consecutive_failures(&check, at(45), at(49)), 3);
    }

    #[test]
    fn a_quorum_is_rounded_up_and_never_nobody() {
        let cases = [
            (0.3, 0, 1),
            (0.3, 1, 1),
            (0.3, 3, 1),
            (0.3, 4, 2),
            (0.3, 10, 3),
            (0.0, 5, 1),
            (1.0, 5, 5),
            (7.0, 5, 5),
            (f64::NAN, 5, 5),
        ];
        for (share, machines, want) in cases {
            assert_eq!(quorum(share, machines), want, "{share} of {machines}");
        }
    }

    #[test]
    fn a_gauge_above_its_bound_on_every_scrape_is_sustained() {
        let half_minute = Duration::from_secs(30);
        let mut gauge = Sustained::default();
        gauge.sample(Some(11.0), 10.0, at(0));
        gauge.sample(Some(12.0), 10.0, at(29));
        assert!(!gauge.is_sustained(half_minute));
        gauge.sample(Some(10.5), 10.0, at(30));
        assert!(gauge.is_sustained(half_minute));
        gauge.sample(Some(10.0), 10.0, at(32));
        assert_eq!(gauge.above_since(), None, "at the bound is not above it");
    }

    #[test]
    fn a_missing_sample_neither_confirms_nor_resets() {
        let half_minute = Duration::from_secs(30);
        let mut gauge = Sustained::default();
        gauge.sample(Some(11.0), 10.0, at(0));
        gauge.sample(None, 10.0, at(40));
        gauge.sample(Some(f64::NAN), 10.0, at(41));
        assert!(!gauge.is_sustained(half_minute), "silence is no evidence");
        assert_eq!(gauge.above_since(), Some(at(0)));
        gauge.sample(Some(11.0), 10.0, at(42));
        assert!(gauge.is_sustained(half_minute));
    }

    #[test]
    fn it_survives_a_restart() {
        let mut gauge = Sustained::default();
        gauge.sample(Some(11.0), 10.0, at(0));
        let text = serde_json::to_string(&gauge).unwrap();
        assert_eq!(serde_json::from_str::<Sustained>(&text).unwrap(), gauge);
    }
}
