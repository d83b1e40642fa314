//! The time of day as the platform has it.
//!
//! What happens is judged by times that the platform wrote: when a machine changed, when a check
//! answered. So the platform's clock is the one that is shown, as far as its answers tell it; the
//! host's may be wrong. Everything that waits uses tokio's clock, so that simulated time moves both.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Differences up to this are the resolution of the evidence, and change nothing.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// A leap of the host's clock is followed when so much time brought no evidence about it.
const LEAP_BELIEVED_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// Reads the time; clones show the same.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    course: Mutex<Course>,
}

/// Where the time of day comes from.
#[derive(Debug)]
enum Host {
    /// The host's clock, read anew each time: it may be set, and it goes on while the host sleeps.
    System,
    /// Simulated: this, and what passed on tokio's clock.
    Simulated { wall: Timestamp, start: Instant },
}

/// What is known of the difference.
#[derive(Debug)]
struct Course {
    /// Added to the host's time.
    correction: SignedDuration,
    /// The host's clock and tokio's when they were last looked at.
    seen: (Timestamp, Instant),
    /// The host's clock leapt: by how much, and when that was seen. Until evidence comes, what is
    /// shown goes on as if it had not.
    leap: Option<(SignedDuration, Instant)>,
}

impl Clock {
    /// The real time of day.
    pub fn system() -> Self {
        Self::on(Host::System)
    }

    /// A clock that shows `wall` now and moves with tokio's clock.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self::on(Host::Simulated { wall, start: Instant::now() })
    }

    fn on(host: Host) -> Self {
        let seen = (host.read(), Instant::now());
        let course = Course { correction: SignedDuration::ZERO, seen, leap: None };
        Self(Arc::new(Inner { host, course: Mutex::new(course) }))
    }

    /// The time: the platform's, as far as it is known.
    pub fn now(&self) -> Timestamp {
        let host = self.0.host.read();
        let mut course = self.0.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.look(host, Instant::now());
        plus(host, course.correction)
    }

    /// How far the platform is ahead of the host, as corrected for; `None` just after the host's
    /// clock was set, while there is no evidence.
    pub fn correction(&self) -> Option<SignedDuration> {
        let course = self.0.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.leap.is_none().then_some(course.correction)
    }

    /// The host's own time of day.
    pub fn host_now(&self) -> Timestamp {
        self.0.host.read()
    }

    /// Takes in how far the platform is ahead of the host, measured a moment ago. Answers with the
    /// new correction when it is another one.
    pub fn platform_is_ahead(&self, by: SignedDuration) -> Option<SignedDuration> {
        let host = self.0.host.read();
        let mut course = self.0.course.lock().unwrap_or_else(PoisonError::into_inner);
        course.look(host, Instant::now());
        course.leap = None;
        if (by - course.correction).abs() <= SLACK {
            return None;
        }
        course.correction = by;
        Some(by)
    }
}

impl Host {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn read(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Simulated { wall, start } => {
                let passed = SignedDuration::try_from(start.elapsed()).unwrap_or_default();
                plus(*wall, passed)
            }
        }
    }
}

impl Course {
    /// Notices leaps of the host's clock, which tokio's does not make.
    fn look(&mut self, host: Timestamp, now: Instant) {
        let (wall, then) = self.seen;
        self.seen = (host, now);
        let passed = SignedDuration::try_from(now.duration_since(then)).unwrap_or_default();
        let leapt = host.duration_since(wall) - passed;
        if leapt.abs() > SLACK {
            self.correction -= leapt;
            let before = self.leap.map_or(SignedDuration::ZERO, |(before, _)| before);
            self.leap = Some((before + leapt, now));
        }
        if let Some((leapt, since)) = self.leap
            && now.duration_since(since) >= LEAP_BELIEVED_AFTER.unsigned_abs()
        {
            // The host slept, or was set right while the platform is silent.
            self.correction += leapt;
            self.leap = None;
        }
    }
}

fn plus(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + second).unwrap()
    }

    fn s(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    /// A course at which somebody looks, with the host's clock and tokio's in seconds.
    struct Looked(Course, Instant);

    impl Looked {
        fn new() -> Self {
            let start = Instant::now();
            Self(Course { correction: s(0), seen: (at(0), start), leap: None }, start)
        }

        fn shown(&mut self, host: i64, tokio: u64) -> i64 {
            self.0.look(at(host), self.1 + Duration::from_secs(tokio));
            plus(at(host), self.0.correction).duration_since(at(0)).as_secs()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_time_moves_with_tokio_and_shows_the_platforms() {
        let clock = Clock::starting_at(at(0));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), at(60));
        assert_eq!(clock.platform_is_ahead(s(2)), None, "the resolution of the evidence");
        assert_eq!(clock.now(), at(60));
        assert_eq!(clock.platform_is_ahead(s(-300)), Some(s(-300)));
        assert_eq!(clock.clone().now(), at(-240));
        assert_eq!(clock.host_now(), at(60));
        assert_eq!(clock.platform_is_ahead(s(-301)), None);
        assert_eq!(clock.platform_is_ahead(s(0)), Some(s(0)));
    }

    #[test]
    fn a_host_that_is_set_changes_nothing_until_the_platform_or_time_says_so() {
        let mut looked = Looked::new();
        assert_eq!(looked.shown(10, 10), 10);
        assert_eq!(looked.shown(312, 12), 12, "set five minutes ahead");
        assert_eq!(looked.shown(320, 20), 20);
        assert_eq!(looked.shown(322, 22), 322, "nobody objected: the host slept");
        assert_eq!(looked.shown(24, 24), 24 + 300, "set back");
    }

    #[test]
    fn several_leaps_before_any_evidence_add_up() {
        let mut looked = Looked::new();
        assert_eq!(looked.shown(300, 0), 0);
        assert_eq!(looked.shown(0, 0), 0);
        assert_eq!(looked.shown(900, 0), 0);
        assert_eq!(looked.shown(910, 10), 910);
    }
}
