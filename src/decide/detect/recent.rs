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
/// Bad events that the recent ones would have held, had nothing changed. By chance none of five
/// turns up in fewer than one of 100 such spans.
const EXPECTED_BAD: f64 = 5.0;

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

    /// Events and bad events of the shortest recent span that would have held several bad ones at
    /// the share `then`; `None`: too little has been seen to tell.
    pub fn telling_span(&self, then: f64) -> Option<(f64, f64)> {
        let newest = self.0.back()?.0;
        let (mut n, mut k) = (0.0, 0.0);
        for (rounds, (at, all, bad)) in self.0.iter().rev().enumerate() {
            n += all;
            k += bad;
            let long = newest.duration_since(*at) >= SPAN_MIN && rounds + 1 >= ROUNDS_MIN;
            if long && n * then >= EXPECTED_BAD {
                return Some((n, k));
            }
        }
        None
    }

    /// Whether the share, which was `then`, has clearly come back within `limit`.
    pub fn is_within(&self, limit: f64, then: f64) -> bool {
        self.telling_span(then).is_some_and(|(n, k)| k <= limit * n)
    }
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
        assert!(!recent.is_within(0.02, 0.3), "{:?}", recent.telling_span(0.3));
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
