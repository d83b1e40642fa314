//! The platform's rate limits, kept by construction: a call waits here until it may be made.
//!
//! Documented are one request a second per action and identifier with a burst of three, and five
//! with a burst of ten for reading one machine. The bursts kept here are a little smaller: calls
//! that left a second apart can arrive closer together, and the difference absorbs that.
//!
//! A bucket is one time stamp (the generic cell rate algorithm): the moment at which it will be
//! full again. Whoever comes next moves it, which makes the queue fair and needs no task.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use tokio::time::{Instant, sleep_until};

/// What is done; every action has limits of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// The change feed, per organization.
    Feed,
    /// The list of apps, per organization.
    Apps,
    /// What our token reaches.
    Tokens,
    /// The list of machines, per app.
    Machines,
    /// One machine, per machine.
    Machine,
    Update,
    Start,
    Wait,
    Lease,
    LeaseRelease,
    /// The release ledger, per app. No limits are documented for it.
    Ledger,
    /// Names and digests of secrets, per app.
    Secrets,
    /// Log lines, per machine. No limits are documented.
    Logs,
    /// Manifests, per repository.
    Manifest,
    /// Blobs of images and their uploads, per repository.
    Blob,
}

/// How many calls a bucket allows.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Between two calls in the long run.
    interval: Duration,
    /// At once after a pause.
    burst: u32,
}

impl Action {
    fn rate(self) -> Rate {
        match self {
            Self::Machine => Rate { interval: Duration::from_millis(200), burst: 8 },
            // An assumption: every machine of a rollback looks into its app's ledger once.
            Self::Ledger | Self::Manifest | Self::Blob => {
                Rate { interval: Duration::from_millis(200), burst: 10 }
            }
            Self::Feed
            | Self::Apps
            | Self::Tokens
            | Self::Machines
            | Self::Update
            | Self::Start
            | Self::Wait
            | Self::Lease
            | Self::Secrets
            | Self::Logs
            | Self::LeaseRelease => Rate { interval: Duration::from_secs(1), burst: 2 },
        }
    }
}

/// Buckets kept at most. A bucket that is full again says nothing and is forgotten, so this many
/// are only ever reached by that many calls within some seconds.
const BUCKETS_MAX: usize = 10_000;

/// All buckets.
#[derive(Debug)]
pub(super) struct Limits {
    /// How many times faster than the platform allows; 1 but in tests on real sockets.
    speed: u32,
    /// When each bucket is full again.
    buckets: Mutex<BTreeMap<(Action, String), Instant>>,
}

impl Limits {
    pub(super) fn new(speed: u32) -> Self {
        Self { speed, buckets: Mutex::default() }
    }

    /// Waits until `action` may be done to `id`. The error is how long that would take, when it
    /// is longer than until `deadline`; then nothing was waited for.
    pub(super) async fn turn(
        &self,
        action: Action,
        id: &str,
        deadline: Instant,
    ) -> Result<(), Duration> {
        let now = Instant::now();
        let at = self.reserve(action, id, now, deadline).map_err(|at| at.duration_since(now))?;
        if at > now {
            sleep_until(at).await;
        }
        Ok(())
    }

    /// The platform turned a call away: nobody does this again for `pause`.
    pub(super) fn pause(&self, action: Action, id: &str, pause: Duration) {
        let rate = self.rate(action);
        let slack = rate.interval.saturating_mul(rate.burst.saturating_sub(1));
        let full = Instant::now() + pause + slack;
        let mut buckets = self.lock();
        make_room(&mut buckets);
        let bucket = buckets.entry((action, id.to_owned())).or_insert(full);
        *bucket = full.max(*bucket);
    }

    fn reserve(
        &self,
        action: Action,
        id: &str,
        now: Instant,
        deadline: Instant,
    ) -> Result<Instant, Instant> {
        let rate = self.rate(action);
        let slack = rate.interval.saturating_mul(rate.burst.saturating_sub(1));
        let mut buckets = self.lock();
        make_room(&mut buckets);
        let full = buckets.entry((action, id.to_owned())).or_insert(now);
        let from = now.max(*full);
        let at = from.checked_sub(slack).map_or(now, |at| at.max(now));
        if at > deadline {
            return Err(at);
        }
        *full = from + rate.interval;
        Ok(at)
    }

    fn rate(&self, action: Action) -> Rate {
        let Rate { interval, burst } = action.rate();
        Rate { interval: interval.checked_div(self.speed).unwrap_or(interval), burst }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Action, String), Instant>> {
        // The map is whole after every statement, so a panic elsewhere did not break it.
        self.buckets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Forgets full buckets when there are many, and at the very bound those that are full soonest.
fn make_room(buckets: &mut BTreeMap<(Action, String), Instant>) {
    if buckets.len() < BUCKETS_MAX {
        return;
    }
    let now = Instant::now();
    buckets.retain(|_, full| *full > now);
    while buckets.len() >= BUCKETS_MAX {
        let soonest = buckets.iter().min_by_key(|(_, full)| **full).map(|(key, _)| key.clone());
        let Some(soonest) = soonest else { return };
        buckets.remove(&soonest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_seconds(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    /// When each of `count` calls was let through, in milliseconds.
    async fn calls(limits: &Limits, action: Action, id: &str, count: usize) -> Vec<u128> {
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..count {
            limits.turn(action, id, in_seconds(100)).await.unwrap();
            times.push(start.elapsed().as_millis());
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_burst_and_then_one_a_second() {
        let limits = Limits::new(1);
        assert_eq!(calls(&limits, Action::Update, "m1", 5).await, [0, 0, 1000, 2000, 3000]);
        // After a pause there is a burst again.
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(calls(&limits, Action::Update, "m1", 3).await, [0, 0, 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_machine_can_be_read_more_often() {
        let times = calls(&Limits::new(1), Action::Machine, "m1", 12).await;
        assert_eq!(times[..8], [0; 8]);
        assert_eq!(times[8..], [200, 400, 600, 800]);
    }

    #[tokio::test(start_paused = true)]
    async fn other_machines_and_other_actions_do_not_wait() {
        let limits = Limits::new(1);
        calls(&limits, Action::Update, "m1", 2).await;
        assert_eq!(calls(&limits, Action::Update, "m2", 2).await, [0, 0]);
        assert_eq!(calls(&limits, Action::Start, "m1", 2).await, [0, 0]);
        assert_eq!(calls(&limits, Action::Update, "m1", 1).await, [1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_the_same_time_are_spread_in_their_order() {
        let limits = Limits::new(1);
        let start = Instant::now();
        let turns = (0..4).map(|_| async {
            limits.turn(Action::Feed, "acme", in_seconds(60)).await.unwrap();
            start.elapsed().as_secs()
        });
        assert_eq!(futures_util::future::join_all(turns).await, [0, 0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_past_the_deadline_is_refused_at_once_and_costs_nothing() {
        let limits = Limits::new(1);
        calls(&limits, Action::Update, "m1", 4).await;
        let start = Instant::now();
        let refused = limits.turn(Action::Update, "m1", start + Duration::from_millis(500)).await;
        assert_eq!(refused, Err(Duration::from_secs(1)));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(calls(&limits, Action::Update, "m1", 1).await, [1000], "not 2000");
    }

    #[tokio::test(start_paused = true)]
    async fn being_turned_away_holds_everybody_back() {
        let limits = Limits::new(1);
        limits.pause(Action::Machines, "web", Duration::from_secs(5));
        assert_eq!(calls(&limits, Action::Machines, "web", 2).await, [5000, 6000]);
        assert_eq!(calls(&limits, Action::Machines, "api", 1).await, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_are_bounded_in_number() {
        let limits = Limits::new(1);
        for number in 0..BUCKETS_MAX + 50 {
            limits.turn(Action::Machine, &number.to_string(), in_seconds(1)).await.unwrap();
        }
        assert_eq!(limits.lock().len(), BUCKETS_MAX);
        tokio::time::sleep(Duration::from_secs(5)).await;
        limits.turn(Action::Machine, "next", in_seconds(1)).await.unwrap();
        assert_eq!(limits.lock().len(), 1, "full ones are forgotten");
    }
}
