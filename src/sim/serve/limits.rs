//! The Machines API's rate limits: one token bucket per action and identifier.
//!
//! One request a second with a burst of three; reading a single machine five and ten. These are the
//! documented ones. What is documented for creating machines is not what holds: `fly deploy` makes
//! eight at once and `fly scale count` five, none of them tries again, and both work; fifteen at
//! once were seen refused.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// Buckets kept at most; full ones are forgotten first.
const MOST_BUCKETS: usize = 20_000;

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// All buckets.
#[derive(Default)]
pub struct Limits {
    buckets: BTreeMap<(&'static str, String), Bucket>,
}

/// How many requests a second, and how many at once.
fn rate(action: &str) -> (f64, f64) {
    match action {
        "machine_get" => (5.0, 10.0),
        "machine_create" => (1.0, 10.0),
        "app_destroy" => (100.0 / 60.0, 100.0),
        _ => (1.0, 3.0),
    }
}

impl Limits {
    /// Takes one token of `action` on `id`; otherwise how long until there is one.
    pub fn take(&mut self, action: &'static str, id: &str, now: Instant) -> Result<(), Duration> {
        if self.buckets.len() >= MOST_BUCKETS {
            self.buckets.retain(|_, bucket| now.duration_since(bucket.at).as_secs() < 10);
        }
        let (per_second, burst) = rate(action);
        let bucket = self
            .buckets
            .entry((action, id.to_owned()))
            .or_insert(Bucket { tokens: burst, at: now });
        let gained = now.duration_since(bucket.at).as_secs_f64() * per_second;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_machines_are_made_at_once_and_then_one_a_second() {
        let mut limits = Limits::default();
        let start = tokio::time::Instant::now();
        assert!((0..10).all(|_| limits.take("machine_create", "web", start).is_ok()));
        assert!(limits.take("machine_create", "web", start).is_err());
        let later = start + Duration::from_secs(1);
        assert!(limits.take("machine_create", "web", later).is_ok());
        assert!(limits.take("machine_create", "web", later).is_err());
    }

    #[test]
    fn a_burst_of_three_then_one_a_second() {
        let mut limits = Limits::default();
        let start = tokio::time::Instant::now();
        for _ in 0..3 {
            assert!(limits.take("machine_update", "m1", start).is_ok());
        }
        assert!(limits.take("machine_update", "m1", start).is_err());
        // Another machine, and another action, have buckets of their own.
        assert!(limits.take("machine_update", "m2", start).is_ok());
        assert!(limits.take("machine_start", "m1", start).is_ok());
        assert!(limits.take("machine_update", "m1", start + Duration::from_secs(1)).is_ok());
        assert!(limits.take("machine_update", "m1", start + Duration::from_secs(1)).is_err());
    }
}
