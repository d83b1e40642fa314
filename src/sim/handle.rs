//! The organization as many hold it at once, and its time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::ports::Clock;
use crate::sim::{
    fleet::Fleet,
    model::{machine::later, org::Org},
    ports::calls::Faults,
};

/// Where the model's time comes from.
#[derive(Debug)]
enum Time {
    /// It moves with tokio's clock, real or paused.
    Clock(Clock),
    /// It moves when told to: for tests that need real sockets and minutes of model time.
    Manual(Mutex<Timestamp>),
}

impl Time {
    fn ahead_by(&self, skew: SignedDuration) -> Timestamp {
        let now = match self {
            // Whoever shares the clock may correct it by what the model tells.
            Self::Clock(clock) => clock.host_now(),
            Self::Manual(now) => *lock(now),
        };
        whole(now.checked_add(skew).unwrap_or(now))
    }
}

#[derive(Debug)]
struct Inner {
    org: Mutex<Org>,
    time: Time,
    /// By how much the platform's clock is ahead of that time.
    skew: Mutex<SignedDuration>,
    faults: Mutex<Faults>,
}

/// A simulated organization. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Sim(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The model counts in milliseconds, as the platform's events do.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

impl Sim {
    /// The fleet's organization, on `clock`.
    pub fn new(fleet: &Fleet, clock: Clock) -> Self {
        Self::with_time(fleet, Time::Clock(clock))
    }

    /// The fleet's organization at `now`, where it stays until [`Sim::skip`].
    pub fn at(fleet: &Fleet, now: Timestamp) -> Self {
        Self::with_time(fleet, Time::Manual(Mutex::new(now)))
    }

    fn with_time(fleet: &Fleet, time: Time) -> Self {
        let skew = SignedDuration::from_millis(fleet.skew_ms());
        let now = time.ahead_by(skew);
        Self(Arc::new(Inner {
            org: Mutex::new(Org::new(fleet, now)),
            time,
            skew: Mutex::new(skew),
            faults: Mutex::new(Faults::default()),
        }))
    }

    /// The model's time: what the platform's own clock shows. All times that the platform tells
    /// are by this clock.
    pub fn platform_now(&self) -> Timestamp {
        self.0.time.ahead_by(*lock(&self.0.skew))
    }

    /// By how much that clock is ahead of the host's.
    pub(super) fn skew(&self) -> SignedDuration {
        *lock(&self.0.skew)
    }

    /// Moves a time that is moved by hand; any other is left alone.
    pub fn skip(&self, by: Duration) {
        if let Time::Manual(now) = &self.0.time {
            let mut now = lock(now);
            *now = whole(later(*now, by));
        }
    }

    /// Moves a time that is moved by hand to when something happens next, but no further than so
    /// much, and plays what is due then; how far it moved, and whether anything was due.
    pub fn skip_to_next(&self, at_most: Duration) -> (Duration, bool) {
        let now = self.platform_now();
        let mut org = lock(&self.0.org);
        let wait = org.next_due().map(|due| due.duration_since(now));
        // What is due already is played as time goes on.
        let soonest = Duration::from_millis(1);
        let wait = wait.map(|wait| Duration::try_from(wait).unwrap_or(soonest).max(soonest));
        let due = wait.filter(|wait| *wait <= at_most);
        let wait = due.unwrap_or(at_most);
        self.skip(wait);
        org.advance(self.platform_now());
        (wait, due.is_some())
    }

    /// Sets the platform's clock, to be ahead of the time that moves it by so much from now on;
    /// below zero: behind.
    pub fn set_skew(&self, skew: SignedDuration) {
        let now = self.platform_now();
        let mut org = lock(&self.0.org);
        org.advance(now);
        let mut ahead = lock(&self.0.skew);
        org.set_clock(skew - *ahead);
        *ahead = skew;
    }

    /// The organization as it is now.
    pub fn with<R>(&self, look: impl FnOnce(&mut Org) -> R) -> R {
        let now = self.platform_now();
        let mut org = lock(&self.0.org);
        org.advance(now);
        look(&mut org)
    }

    pub(in crate::sim) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.0.faults)
    }
}
