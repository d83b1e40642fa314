//! When a failed call is made again: a bounded number of times, ever later, never past the call's
//! deadline.
//!
//! The crate `backoff` computes the delays and nothing else. It is unmaintained, so this is the
//! one file that knows it; everything here has names of its own, and waiting is tokio's.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff as _};
use tokio::time::{Instant, sleep};

/// The longest wait the platform may ask for.
pub(super) const ASKED_MAX: Duration = Duration::from_secs(30);

/// Which failures may be answered with the same call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Every transient failure: doing it twice is the same as doing it once.
    Always,
    /// Only what certainly was not carried out: the connection was refused, or the rate limit
    /// turned it away at the door.
    IfUndone,
}

/// How often and how late a call is repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Attempts in all, the first included.
    pub(super) attempts: u32,
    /// Around this long after the first attempt; doubled each time.
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { attempts: 4, first: Duration::from_millis(250), longest: Duration::from_secs(4) }
    }
}

/// The attempts of one call.
pub(super) struct Attempts {
    left: u32,
    deadline: Instant,
    delays: ExponentialBackoff,
}

impl Attempts {
    /// Attempts of a call that must be over at `deadline`.
    pub(super) fn new(schedule: Schedule, deadline: Instant) -> Self {
        let delays = ExponentialBackoff {
            initial_interval: schedule.first,
            current_interval: schedule.first,
            max_interval: schedule.longest,
            multiplier: 2.0,
            randomization_factor: 0.5,
            // Time is bounded by the deadline, on tokio's clock.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { left: schedule.attempts.max(1), deadline, delays }
    }

    /// After a failure: waits until the next attempt is due. `false` when there is none, because
    /// the attempts are used up or it would come after the deadline. `asked` is what the platform
    /// wants to be waited for at least.
    pub(super) async fn again(&mut self, asked: Option<Duration>) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return false;
        }
        let Some(own) = self.delays.next_backoff() else { return false };
        let delay = asked.map_or(own, |asked| asked.min(ASKED_MAX).max(own));
        if Instant::now() + delay >= self.deadline {
            return false;
        }
        sleep(delay).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule =
        Schedule { attempts: 6, first: Duration::from_secs(1), longest: Duration::from_secs(3) };

    fn within(seconds: u64) -> Attempts {
        Attempts::new(SCHEDULE, Instant::now() + Duration::from_secs(seconds))
    }

    /// Seconds that passed while waiting for the next attempt.
    async fn wait(attempts: &mut Attempts, asked: Option<u64>) -> Option<f64> {
        let before = Instant::now();
        let again = attempts.again(asked.map(Duration::from_secs)).await;
        again.then(|| before.elapsed().as_secs_f64())
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_with_jitter_up_to_a_bound_and_end() {
        let mut attempts = within(1000);
        for around in [1.0, 2.0, 3.0, 3.0, 3.0] {
            let waited = wait(&mut attempts, None).await.unwrap();
            assert!(waited >= around * 0.5 - 0.01 && waited <= around * 1.5 + 0.01, "{waited}");
        }
        assert_eq!(wait(&mut attempts, None).await, None, "the sixth attempt was the last");
    }

    #[tokio::test(start_paused = true)]
    async fn two_calls_that_fail_together_do_not_come_back_together() {
        let mut waits = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let waited = wait(&mut within(1000), None).await.unwrap();
            waits.insert((waited * 1000.0).round().to_string());
        }
        assert!(waits.len() > 5, "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_platform_may_ask_for_a_longer_wait_within_bounds() {
        let waited = wait(&mut within(1000), Some(7)).await.unwrap();
        assert!((6.99..7.1).contains(&waited), "{waited}");
        let waited = wait(&mut within(1000), Some(3600)).await.unwrap();
        assert!((29.99..30.1).contains(&waited), "{waited}");
        let waited = wait(&mut within(1000), Some(0)).await.unwrap();
        assert!(waited >= 0.49, "its zero does not make a hot loop: {waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_past_the_deadline() {
        let before = Instant::now();
        assert_eq!(wait(&mut within(5), Some(20)).await, None);
        assert_eq!(before.elapsed(), Duration::ZERO, "and that is said at once");
    }
}
