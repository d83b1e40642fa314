//! What the platform's answers say of the time: their `Date`, to the second.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// `Date` says the second in which an answer was made.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);
/// Differences up to this beyond what the evidence allows change nothing.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// An exchange in which the host's clock and ours moved apart by more than this says nothing.
const LEAP: SignedDuration = SignedDuration::from_secs(1);
/// An answer that was under way for longer only bounds the difference.
const PROMPT: SignedDuration = SignedDuration::from_secs(3);

/// A moment on both clocks: the host's, which can be set, and tokio's, which cannot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) host: Timestamp,
    pub(super) tokio: Instant,
}

impl Moment {
    /// By how much the host's clock leapt since `earlier`.
    fn leapt_since(&self, earlier: &Self) -> SignedDuration {
        let passed = SignedDuration::try_from(self.tokio.duration_since(earlier.tokio));
        self.host.duration_since(earlier.host) - passed.unwrap_or_default()
    }
}

/// How far the platform's clock is ahead of the host's.
#[derive(Debug, Default)]
pub(super) struct Difference(Mutex<Option<(SignedDuration, Moment)>>);

impl Difference {
    /// Takes in an answer that carried `date`, was asked for at `sent` and arrived at `came`.
    pub(super) fn note(&self, date: Timestamp, sent: &Moment, came: &Moment) {
        if came.leapt_since(sent).abs() > LEAP {
            return;
        }
        // The answer was made between the two.
        let least = date.duration_since(came.host);
        let most = date.duration_since(sent.host) + RESOLUTION;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.filter(|(_, then)| came.leapt_since(then).abs() <= LEAP);
        let before = before.map(|(offset, _)| offset);
        let offset = match before {
            Some(offset) if offset >= least - SLACK && offset <= most + SLACK => offset,
            _ if most - least <= PROMPT => least + (most - least) / 2,
            // As little as the evidence demands.
            other => other.unwrap_or_default().clamp(least.min(most), most),
        };
        *known = Some((offset, *came));
    }

    /// The difference, unless the host's clock was set since it was measured.
    pub(super) fn now(&self, now: &Moment) -> Option<SignedDuration> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(_, then)| now.leapt_since(then).abs() <= LEAP).map(|(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: f64) -> Timestamp {
        Timestamp::from_millisecond((1_772_000_000_000.0 + second * 1000.0).round() as i64).unwrap()
    }

    struct Tried(Difference, Instant);

    impl Tried {
        fn new() -> Self {
            Self(Difference::default(), Instant::now())
        }

        fn moment(&self, host: f64, tokio: f64) -> Moment {
            Moment { host: at(host), tokio: self.1 + Duration::from_secs_f64(tokio) }
        }

        /// An exchange of a fifth of a second at this time; the offset in seconds afterwards.
        fn answer(&self, date: f64, host: f64, tokio: f64) -> f64 {
            let (sent, came) = (self.moment(host, tokio), self.moment(host + 0.2, tokio + 0.2));
            self.0.note(at(date), &sent, &came);
            self.0.now(&came).unwrap().as_secs_f64()
        }
    }

    #[test]
    fn clocks_that_agree_differ_by_less_than_the_resolution_and_stay_where_they_are() {
        let tried = Tried::new();
        let first = tried.answer(0.0, 0.5, 0.5);
        assert!(first.abs() <= 1.0, "{first}");
        for second in 1..60 {
            let second = f64::from(second);
            assert!((tried.answer(second, second, second) - first).abs() < 1e-9);
        }
    }

    #[test]
    fn five_minutes_either_way_and_a_leap_of_the_platform_are_seen_at_once() {
        let tried = Tried::new();
        for (date, want) in [(300.0, 300.0), (1.0, 0.0), (-298.0, -300.0)] {
            let offset = tried.answer(date, 1.0, 1.0);
            assert!((offset - want).abs() < 1.5, "{offset}, not {want}");
        }
    }

    #[test]
    fn after_the_host_was_set_nothing_is_known_until_the_next_answer() {
        let tried = Tried::new();
        tried.answer(0.0, 0.0, 0.0);
        assert!(tried.0.now(&tried.moment(10.0, 10.0)).is_some());
        assert_eq!(tried.0.now(&tried.moment(310.0, 10.0)), None);
        let offset = tried.answer(11.0, 311.0, 11.0);
        assert!((offset + 300.0).abs() < 1.5, "{offset}");
        // Set in the middle of an exchange: that one says nothing.
        let (sent, came) = (tried.moment(320.0, 20.0), tried.moment(20.5, 20.5));
        tried.0.note(at(20.0), &sent, &came);
        assert_eq!(tried.0.now(&came), None);
    }

    #[test]
    fn a_slow_answer_moves_nothing_that_it_allows() {
        let tried = Tried::new();
        let first = tried.answer(0.0, 0.0, 0.0);
        let (sent, came) = (tried.moment(10.0, 10.0), tried.moment(40.0, 40.0));
        tried.0.note(at(11.0), &sent, &came);
        assert!((tried.0.now(&came).unwrap().as_secs_f64() - first).abs() < 1e-9);
        // Alone it is taken for as little as it demands.
        let alone = Tried::new();
        alone.0.note(at(11.0), &sent, &came);
        assert_eq!(alone.0.now(&came), Some(SignedDuration::ZERO));
    }
}
