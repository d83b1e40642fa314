//! Waiting without sleeping blindly: something is looked for, often, until it is there or the time
//! is over.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// One look, at most: a look that hangs must not outlast the wait.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Seconds.
pub fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Looks until there is something, and hands it over.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Ok(Some(found)) = timeout(LOOK_MAX, look()).await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
    }
}
