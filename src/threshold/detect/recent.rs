//! Is it still bad? A detector's alarm is final, and what it saw may be over when there is time to
//! act on it: after a countdown, a hold, or a while of blindness.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Rounds remembered.
const ROUNDS_MAX: usize = 120;
/// A recovery takes at least this many rounds and this long.
const ROUNDS_MIN: usize = 3;
const SPAN_MIN: SignedDuration = SignedDuration::from_secs(10);
/// A breach that eases is so many times less in its last moments than since it rose.
const EASES_BY: f64 = 3.0;
const EASES_WITHIN: SignedDuration = SignedDuration::from_secs(4);
/// What looks like a breach does so in a span no longer than this, by so many bad events at least.
const ABOVE_SPAN: SignedDuration = SignedDuration::from_secs(30);
const ABOVE_MIN: f64 = 3.0;
/// How seldom a span may look recovered although nothing has changed.
const BY_CHANCE: f64 = 0.01;

/// The last rounds of one threshold: when, events, bad events; the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent(VecDeque<(Timestamp, f64, f64)>);

impl Recent {
    /// Adds what one machine counted in the round of `now`.
    pub fn add(&mut self, now: Timestamp, n: f64, k: f64) {
        match self.0.back_mut() {
            Some((at, all, bad)) if *at == now => {
                *all += n;
                *bad += k;
            }
            _ => self.0.push_back((now, n, k)),
        }
        if self.0.len() > ROUNDS_MAX {
            self.0.pop_front();
        }
    }

    /// Forgets all but the last `rounds`.
    pub fn keep(&mut self, rounds: usize) {
        while self.0.len() > rounds {
            self.0.pop_front();
        }
    }

    /// Events and bad events at `from` and later.
    pub fn since(&self, from: Timestamp) -> (f64, f64) {
        let lately = self.0.iter().rev().take_while(|(at, ..)| *at >= from);
        lately.fold((0.0, 0.0), |(n, k), (_, all, bad)| (n + all, k + bad))
    }

    /// The last `least` events and bad events, in whole rounds; `None`: so many are not remembered.
    pub fn last(&self, least: f64) -> Option<(f64, f64)> {
        let (mut n, mut k) = (0.0, 0.0);
        for (_, all, bad) in self.0.iter().rev() {
            n += all;
            k += bad;
            if n >= least {
                return Some((n, k));
            }
        }
        None
    }

    /// Events and bad events since the share rose above `limit`: of all spans up to now the one of
    /// which it is the most unlikely that the limit holds (the largest likelihood ratio, as where
    /// a change is looked for in a series; Page, Biometrika 1954). `None`: none is above.
    pub fn since_it_rose(&self, limit: f64) -> Option<(f64, f64)> {
        self.rose(limit).map(|(_, counts)| counts)
    }

    /// When that was.
    pub fn rose_at(&self, limit: f64) -> Option<Timestamp> {
        self.rose(limit).map(|(at, _)| at)
    }

    fn rose(&self, limit: f64) -> Option<(Timestamp, (f64, f64))> {
        let (mut n, mut k) = (0.0, 0.0);
        let (mut most, mut worst) = (0.0, None);
        let mut rounds_before = 0;
        for (at, all, bad) in self.0.iter().rev() {
            n += all;
            k += bad;
            rounds_before += 1;
            let expected = limit * n;
            let against = k * (k / expected).ln() - (k - expected);
            if k > expected && expected > 0.0 && against > most {
                (most, worst) = (against, Some((*at, (n, k))));
                rounds_before = 0;
            } else if let Some((rose, then)) = worst {
                // What was bad before it was clearly well is another time.
                let long = rose.duration_since(*at) >= SPAN_MIN && rounds_before >= ROUNDS_MIN;
                if long && was_well((n, k), then, limit) {
                    break;
                }
            }
        }
        worst
    }

    /// Whether some span up to now is clearly above `limit`. This is no verdict: what is inside a
    /// span may all have one cause that passes.
    pub fn is_above(&self, limit: f64) -> bool {
        let Some((newest, ..)) = self.0.back() else { return false };
        let (mut n, mut k) = (0.0, 0.0);
        for (at, all, bad) in self.0.iter().rev() {
            if newest.duration_since(*at) > ABOVE_SPAN {
                return false;
            }
            n += all;
            k += bad;
            if k >= ABOVE_MIN && k > limit * n && is_far_above(k, limit * n) {
                return true;
            }
        }
        false
    }

    /// Whether some span up to now is above `limit` by more than two standard deviations: one in some
    /// thirty looks at what is at the limit, and hardly one at what is well within it.
    pub fn leans_above(&self, limit: f64) -> bool {
        let Some((newest, ..)) = self.0.back() else { return false };
        let (mut n, mut k) = (0.0, 0.0);
        for (at, all, bad) in self.0.iter().rev() {
            if newest.duration_since(*at) > ABOVE_SPAN {
                return false;
            }
            n += all;
            k += bad;
            let expected = limit * n;
            if k >= ABOVE_MIN && k > expected + 2.0 * expected.sqrt() {
                return true;
            }
        }
        false
    }

    /// Whether the share of the last moments is far below what it was since `rose`.
    pub fn is_easing(&self, rose: Timestamp) -> bool {
        let Some((newest, ..)) = self.0.back() else { return false };
        let lately = newest.checked_sub(EASES_WITHIN).unwrap_or(*newest);
        let ((n, k), (all, bad)) = (self.since(lately), self.since(rose));
        n > 0.0 && k * all * EASES_BY <= bad * n
    }

    /// Whether the share, which was `then`, has clearly come back within `limit`: some recent span
    /// is within it, and would hardly have been by chance at the share of before.
    pub fn is_within(&self, limit: f64, then: f64) -> bool {
        let Some((newest, ..)) = self.0.back() else { return false };
        let (mut n, mut k) = (0.0, 0.0);
        for (rounds, (at, all, bad)) in self.0.iter().rev().enumerate() {
            n += all;
            k += bad;
            let long = newest.duration_since(*at) >= SPAN_MIN && rounds + 1 >= ROUNDS_MIN;
            if long && k <= limit * n && at_most(k, n * then) < BY_CHANCE {
                return true;
            }
        }
        false
    }
}

/// Whether what was counted up to a span, `all` less `then`, was within the limit, and would hardly have
/// been by chance at the span's share.
fn was_well(all: (f64, f64), then: (f64, f64), limit: f64) -> bool {
    let (n, k) = (all.0 - then.0, all.1 - then.1);
    k <= limit * n && is_far_below(k, n * then.1 / then.0)
}

/// Whether so few events, or fewer, hardly come by chance where `expected` are.
fn is_far_below(k: f64, expected: f64) -> bool {
    if expected > 50.0 {
        return (k + 0.5 - expected) / expected.sqrt() < -3.72;
    }
    at_most(k, expected) < 1e-4
}

/// Whether so many events, or more, hardly come by chance where `expected` are.
pub fn is_far_above(k: f64, expected: f64) -> bool {
    if expected > 50.0 {
        // The tail above 3.72 standard deviations is one in 10 000.
        return (k - 0.5 - expected) / expected.sqrt() > 3.72;
    }
    1.0 - at_most(k - 1.0, expected) < 1e-4
}

/// The probability of at most `k` events where `expected` are (Poisson; the normal approximation
/// where there are many).
pub fn at_most(k: f64, expected: f64) -> f64 {
    if expected > 50.0 {
        // The tail below 2.33 standard deviations is one in 100.
        let deviations = (k + 0.5 - expected) / expected.sqrt();
        return if deviations < -2.33 { 0.0 } else { 1.0 };
    }
    let (mut term, mut sum, mut i) = ((-expected).exp(), 0.0, 0.0);
    while i <= k {
        sum += term;
        i += 1.0;
        term *= expected / i;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Rounds of 2 s with these counts.
    fn rounds(counts: &[(f64, f64)]) -> Recent {
        let mut recent = Recent::default();
        for (second, (n, k)) in (0..).step_by(2).zip(counts) {
            recent.add(at(second), *n, *k);
        }
        recent
    }

    #[test]
    fn ten_seconds_of_health_after_an_outage_are_a_recovery() {
        let mut counts = vec![(200.0, 60.0); 10];
        counts.extend([(200.0, 0.0); 5]);
        assert!(!rounds(&counts).is_within(0.02, 0.3), "8 s are too short");
        counts.push((200.0, 1.0));
        assert!(rounds(&counts).is_within(0.02, 0.3));
    }

    #[test]
    fn a_third_of_what_it_was_is_easing() {
        let rose = at(0);
        let storm = |share: f64| {
            let mut counts = vec![(100.0, 60.0); 10];
            counts.extend([(100.0, share); 3]);
            rounds(&counts).is_easing(rose)
        };
        assert!(storm(15.0) && !storm(20.0));
        assert!(!Recent::default().is_easing(rose));
        assert!(!rounds(&[(100.0, 60.0); 20]).is_easing(rose));
    }

    /// Twenty seconds of failures, three minutes of health, and failures again.
    #[test]
    fn what_was_bad_before_it_was_well_again_is_another_time() {
        let mut counts = vec![(60.0, 60.0); 10];
        counts.extend(vec![(60.0, 0.0); 90]);
        counts.extend(vec![(60.0, 20.0); 3]);
        let recent = rounds(&counts);
        assert_eq!(recent.rose_at(0.02), Some(at(200)));
        assert_eq!(recent.since_it_rose(0.02), Some((180.0, 60.0)));
        // A moment without failures is none, and no traffic is no health.
        for pause in [vec![(60.0, 0.0); 4], vec![(60.0, 1.0); 5], vec![(0.0, 0.0); 60]] {
            let mut counts = vec![(60.0, 3.0); 20];
            counts.extend(pause);
            counts.extend(vec![(60.0, 3.0); 20]);
            assert_eq!(rounds(&counts).rose_at(0.02), Some(at(0)));
        }
    }

    #[test]
    fn a_few_good_requests_prove_nothing() {
        // At three in ten, the last 8 requests would have held 2.4 bad ones.
        let counts = [(10.0, 3.0), (2.0, 0.0), (2.0, 0.0), (2.0, 0.0), (1.0, 0.0), (1.0, 0.0)];
        let recent = rounds(&counts);
        assert!(!recent.is_within(0.02, 0.3));
    }

    /// At three in a hundred, where two are allowed, luck is common and health is hard to tell.
    #[test]
    fn a_share_just_above_the_limit_is_not_forgiven_for_a_lucky_minute() {
        let mut counts = vec![(20.0, 0.6); 60];
        counts.extend([(20.0, 0.0); 6]);
        assert!(!rounds(&counts).is_within(0.02, 0.03), "none of 120 is luck in one of 36");
        counts.extend([(20.0, 0.0); 6]);
        assert!(!rounds(&counts).is_within(0.02, 0.03) || at_most(0.0, 240.0 * 0.03) < 0.01);
        counts.extend([(20.0, 0.0); 20]);
        assert!(rounds(&counts).is_within(0.02, 0.03));
    }

    #[test]
    fn the_probability_of_few_events_is_that_of_the_tables() {
        assert!((at_most(0.0, 3.0) - 0.0498).abs() < 1e-4);
        assert!((at_most(2.0, 5.0) - 0.1247).abs() < 1e-4);
        assert!(at_most(20.0, 60.0) < 0.01 && at_most(55.0, 60.0) > 0.01);
    }

    #[test]
    fn a_burst_of_bad_events_is_suspicious_and_a_few_are_not() {
        assert!(rounds(&[(200.0, 0.0), (200.0, 60.0)]).is_above(0.02));
        assert!(!rounds(&[(200.0, 4.0); 20]).is_above(0.02), "at the limit");
        assert!(!rounds(&[(2.0, 2.0)]).is_above(0.02), "two are too few");
        let mut over = vec![(200.0, 60.0); 5];
        over.extend([(200.0, 0.0); 20]);
        assert!(!rounds(&over).is_above(0.02), "what is over for half a minute");
    }

    /// One in 10 000, by the exact sum where few are expected and by the normal curve where many are.
    #[test]
    fn far_above_is_what_hardly_comes_by_chance() {
        for (expected, first) in [(1.0, 7.0), (10.0, 25.0), (100.0, 138.0)] {
            assert!(is_far_above(first, expected), "{first} of {expected}");
            assert!(!is_far_above(first - 1.0, expected), "{first} of {expected}");
        }
    }

    #[test]
    fn few_of_many_are_told_by_the_normal_curve() {
        assert!(at_most(76.0, 100.0) < 0.01 && at_most(77.0, 100.0) > 0.01);
    }

    /// Three bad ones at least, of all that came in half a minute.
    #[test]
    fn what_adds_up_within_half_a_minute_is_suspicious() {
        assert!(rounds(&[(1.0, 1.0), (2.0, 2.0)]).is_above(0.02), "three of three");
        assert!(!rounds(&[(100.0, 3.0)]).is_above(0.02), "three where two are expected");
        assert!(rounds(&[(10.0, 1.0); 10]).is_above(0.02));
        // The first of them is more than half a minute old.
        let late = |seconds| {
            let mut recent = rounds(&[(10.0, 10.0)]);
            recent.add(at(seconds), 1.0, 0.0);
            recent.is_above(0.02)
        };
        assert!(late(30) && !late(31));
    }

    #[test]
    fn what_rose_late_is_counted_from_where_it_rose() {
        let mut counts = vec![(200.0, 1.0); 50];
        assert_eq!(rounds(&counts).since_it_rose(0.02), None);
        counts.extend([(100.0, 40.0); 4]);
        assert_eq!(rounds(&counts).since_it_rose(0.02), Some((400.0, 160.0)));
        // A lucky round within it does not hide what was before.
        counts.extend([(100.0, 1.0), (100.0, 40.0)]);
        assert_eq!(rounds(&counts).since_it_rose(0.02), Some((600.0, 201.0)));
        assert_eq!(rounds(&[(10.0, 4.0); 3]).since_it_rose(0.02), Some((30.0, 12.0)), "all of it");
        assert_eq!(Recent::default().since_it_rose(0.02), None);
    }

    #[test]
    fn silence_is_no_recovery() {
        assert!(!Recent::default().is_within(0.02, 0.3));
        assert!(!rounds(&[(0.0, 0.0); 50]).is_within(0.02, 0.3));
    }

    #[test]
    fn machines_of_one_round_are_added_up_and_the_memory_is_bounded() {
        let mut recent = Recent::default();
        for second in 0..1000 {
            recent.add(at(second), 1.0, 0.0);
            recent.add(at(second), 2.0, 1.0);
        }
        assert_eq!(recent.0.len(), ROUNDS_MAX);
        assert_eq!(recent.0.back(), Some(&(at(999), 3.0, 1.0)));
    }
}
