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

    /// Events and bad events at `from` and later.
    pub fn since(&self, from: Timestamp) -> (f64, f64) {
        let lately = self.0.iter().rev().take_while(|(at, ..)| *at >= from);
        lately.fold((0.0, 0.0), |(n, k), (_, all, bad)| (n + all, k + bad))
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

/// The probability of at most `k` events where `expected` are (Poisson; the normal approximation
/// where there are many).
fn at_most(k: f64, expected: f64) -> f64 {
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
