//! How soon an app may be looked at again, whoever asks for it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::Policy;

/// Rounds are this far apart in the long run: the platform's list allows one a second…
const GAP: Duration = Duration::from_secs(1);
/// …and a few at once after a pause, of which one is kept for others: a round that is wanted at once
/// need not wait for all of it.
const SOONEST: Duration = Duration::from_millis(270);

/// However many apps there are, no more rounds than one in this time begin while nothing is watched:
/// what an organization costs has an end.
const IDLE_ROUND: Duration = Duration::from_millis(50);

/// A policy as it is kept beside so many watched apps: with more than 300 of them a steady one is
/// looked at more seldom than every 15 seconds.
pub(super) fn beside(policy: Arc<Policy>, apps: usize) -> Arc<Policy> {
    let pace = IDLE_ROUND.saturating_mul(u32::try_from(apps).unwrap_or(u32::MAX));
    if pace <= policy.watch.idle_scrape_every {
        return policy;
    }
    let mut policy = Arc::unwrap_or_clone(policy);
    policy.watch.idle_scrape_every = pace;
    Arc::new(policy)
}

/// Room for the rounds of one app, as one time stamp (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// When there is room for all that may come at once again.
    full_at: Option<Instant>,
}

impl Pace {
    /// A round begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last = Some(now);
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + GAP);
    }

    /// When the next one may begin.
    pub(super) fn earliest(self) -> Option<Instant> {
        let (last, full_at) = (self.last?, self.full_at?);
        // Two may come at once.
        Some((full_at - GAP).max(last + SOONEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mode, RollbackPolicy, WatchPolicy};

    /// How long after the last of these rounds the next may begin, in milliseconds.
    fn gap(begun_ms: &[u64]) -> Option<u128> {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut last = start;
        for ms in begun_ms {
            last = start + Duration::from_millis(*ms);
            pace.begin(last);
        }
        pace.earliest().map(|at| at.duration_since(last).as_millis())
    }

    #[test]
    fn beside_many_apps_a_steady_one_is_looked_at_more_seldom() {
        let policy = Arc::new(Policy {
            name: "web".into(),
            mode: Mode::Observe,
            watch: WatchPolicy::default(),
            thresholds: Vec::new(),
            rollback: RollbackPolicy::default(),
            freezes: Vec::new(),
            per_organization_max: 20,
            metrics_port: None,
            metrics_path: None,
        });
        let idle = |apps| beside(policy.clone(), apps).watch.idle_scrape_every;
        assert_eq!([0, 12, 300].map(idle), [Duration::from_secs(15); 3]);
        assert_eq!(idle(1000), Duration::from_secs(50));
        assert!(Arc::ptr_eq(&policy, &beside(policy.clone(), 300)), "it is the same one");
    }

    #[test]
    fn a_round_that_is_wanted_after_a_pause_begins_almost_at_once() {
        assert_eq!(gap(&[]), None);
        assert_eq!(gap(&[0]), Some(270));
        assert_eq!(gap(&[0, 2000]), Some(270));
        assert_eq!(gap(&[0, 1000, 2000, 3000]), Some(270), "a second apart");
    }

    #[test]
    fn in_the_long_run_there_is_one_a_second() {
        assert_eq!(gap(&[0, 270]), Some(730));
        assert_eq!(gap(&[0, 270, 1000]), Some(1000));
        assert_eq!(gap(&[0, 270, 1250]), Some(750));
        assert_eq!(gap(&[0, 270, 1250, 2250, 3250, 4250]), Some(750), "what was used stays used");
        assert_eq!(gap(&[0, 270, 3000]), Some(270), "until there was a pause");
    }
}
