//! How soon an app may be looked at again, whoever asks for it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{AppName, Policy, WatchPolicy};

/// Rounds are this far apart in the long run: the platform's list allows one a second…
const GAP: Duration = Duration::from_secs(1);
/// …and a few at once after a pause, of which one is kept for others: a round that is wanted at once
/// need not wait for all of it.
const SOONEST: Duration = Duration::from_millis(270);

/// However many apps there are, no more rounds than one in this time begin while nothing is watched:
/// what an organization costs has an end.
const IDLE_ROUND: Duration = Duration::from_millis(50);

/// Policies as they are kept beside many watched apps: each is made once, for all its apps.
#[derive(Debug, Default)]
pub(super) struct Beside(Mutex<Vec<Stretched>>);

#[derive(Debug)]
struct Stretched {
    policy: Arc<Policy>,
    pace: Duration,
    stretched: Arc<Policy>,
}

impl Beside {
    /// A policy beside so many apps: with more than 300 of them a steady one is looked at more seldom than
    /// every 15 seconds.
    pub(super) fn keep(&self, policy: Arc<Policy>, apps: usize) -> Arc<Policy> {
        let pace = idle_pace(apps);
        if pace <= policy.watch.idle_scrape_every {
            return policy;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find(|one| one.pace == pace && Arc::ptr_eq(&one.policy, &policy));
        if let Some(known) = known {
            return known.stretched.clone();
        }
        // What nobody else holds is of a configuration that is gone.
        all.retain(|one| one.pace == pace && Arc::strong_count(&one.policy) > 1);
        let mut stretched = Policy::clone(&policy);
        stretched.watch.idle_scrape_every = pace;
        let stretched = Arc::new(stretched);
        all.push(Stretched { policy, pace, stretched: stretched.clone() });
        stretched
    }
}

fn idle_pace(apps: usize) -> Duration {
    IDLE_ROUND.saturating_mul(u32::try_from(apps).unwrap_or(u32::MAX))
}

/// How long an app that is looked at seldom waits for its next round: where there are many, each has a
/// pace of its own, up to a tenth faster, so that they do not all ask the platform in the same moment.
pub(super) fn spread(app: &AppName, pause: Duration, apps: usize) -> Duration {
    let pace = idle_pace(apps);
    if pace <= WatchPolicy::default().idle_scrape_every || pause < pace.mul_f64(0.9) {
        return pause;
    }
    let mut hash = DefaultHasher::new();
    app.as_str().hash(&mut hash);
    let part = f64::from(u16::try_from(hash.finish() % 1000).unwrap_or(0)) / 1000.0;
    pause.mul_f64(1.0 - part / 10.0)
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
    use crate::model::{Mode, RollbackPolicy};

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
            metrics_https: None,
        });
        let beside = Beside::default();
        let idle = |apps| beside.keep(policy.clone(), apps).watch.idle_scrape_every;
        assert_eq!([0, 12, 300].map(idle), [Duration::from_secs(15); 3]);
        assert_eq!(idle(1000), Duration::from_secs(50));
        assert_eq!(idle(2000), Duration::from_secs(100));
        assert!(Arc::ptr_eq(&policy, &beside.keep(policy.clone(), 300)), "it is the same one");
        let [one, other] = [1000, 1000].map(|apps| beside.keep(policy.clone(), apps));
        assert!(Arc::ptr_eq(&one, &other), "it is made once");
        // A new configuration: what was made of the old one goes.
        let renewed = Arc::new(Policy::clone(&policy));
        drop(policy);
        beside.keep(renewed, 1000);
        assert_eq!(beside.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn beside_many_apps_each_has_a_pace_of_its_own_and_none_is_slower() {
        let seconds = Duration::from_secs;
        let pauses = |pause, apps| -> Vec<Duration> {
            let names = (0..100).map(|number| AppName::new(format!("app-{number}")));
            names.map(|app| spread(&app, pause, apps)).collect()
        };
        // A round takes a moment of it.
        let apart = pauses(Duration::from_millis(49_900), 1000);
        let apart: std::collections::BTreeSet<Duration> = apart.into_iter().collect();
        assert!(apart.len() > 80, "{}", apart.len());
        assert!(apart.iter().all(|one| (44..=50).contains(&one.as_secs())), "{apart:?}");
        assert!(pauses(seconds(15), 300).iter().all(|one| *one == seconds(15)), "few enough");
        assert!(pauses(seconds(2), 1000).iter().all(|one| *one == seconds(2)), "it is watched");
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
