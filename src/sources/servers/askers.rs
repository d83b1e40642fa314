//! Who asks a server, how often, and of whom it is to be asked next: an app that is looked at every
//! fifteen seconds is asked for as often, just before it is.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::model::AppName;

/// The apps that want one thing.
#[derive(Debug, Default)]
pub(super) struct Askers(BTreeMap<AppName, Asker>);

#[derive(Debug)]
struct Asker {
    /// When it asked last, and how long after the time before.
    at: Instant,
    every: Duration,
    /// When the server was asked for it last.
    polled: Option<Instant>,
}

impl Askers {
    /// An app asks.
    pub(super) fn note(&mut self, app: &AppName, now: Instant) {
        let fresh = || Asker { at: now, every: Duration::ZERO, polled: None };
        let asker = self.0.entry(app.clone()).or_insert_with(fresh);
        asker.every = now.saturating_duration_since(asker.at);
        asker.at = now;
    }

    /// Forgets those that asked longer ago.
    pub(super) fn forget(&mut self, now: Instant, after: Duration) {
        self.0.retain(|_, asker| now.saturating_duration_since(asker.at) < after);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, app: &AppName) -> bool {
        self.0.contains_key(app)
    }

    /// Whether anybody asked since `span` ago.
    pub(super) fn asked_within(&self, span: Duration, now: Instant) -> bool {
        self.0.values().any(|asker| now.saturating_duration_since(asker.at) < span)
    }

    /// Those that will ask within `gap`, after which the server is asked again, and those that asked
    /// and were told what was older than that.
    pub(super) fn due(&self, now: Instant, gap: Duration) -> Vec<AppName> {
        let due = self.0.iter().filter(|(_, asker)| asker.is_due(now, gap));
        due.map(|(app, _)| app.clone()).collect()
    }

    /// When the server was last asked for an app.
    pub(super) fn last_polled(&self, app: &AppName) -> Option<Instant> {
        self.0.get(app)?.polled
    }

    /// The server answered for these.
    pub(super) fn polled(&mut self, apps: &[AppName], at: Instant) {
        for app in apps {
            if let Some(asker) = self.0.get_mut(app) {
                asker.polled = Some(at);
            }
        }
    }
}

impl Asker {
    fn is_due(&self, now: Instant, gap: Duration) -> bool {
        let Some(polled) = self.polled else { return true };
        let next = self.at + self.every;
        let will_ask = now + gap > next && now < next + gap;
        will_ask || self.at >= polled + gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(5);

    /// The seconds at which a server that can be asked every five seconds is asked for an app that
    /// asks at these, when others ask all the time.
    fn polled(asks: impl Fn(u64) -> bool, until: u64) -> Vec<u64> {
        let (start, app) = (Instant::now(), AppName::new("api"));
        let mut askers = Askers::default();
        let mut polled = Vec::new();
        for second in 0..until {
            let now = start + Duration::from_secs(second);
            if asks(second) {
                askers.note(&app, now);
            }
            if second % 5 == 3 && askers.due(now, GAP).contains(&app) {
                askers.polled(std::slice::from_ref(&app), now);
                polled.push(second);
            }
        }
        polled
    }

    #[test]
    fn one_that_asks_all_the_time_is_asked_for_each_time() {
        assert_eq!(polled(|second| second % 2 == 0, 30), [3, 8, 13, 18, 23, 28]);
    }

    #[test]
    fn one_that_asks_seldom_is_asked_for_as_often_just_before_it_asks() {
        // It asks at 0, 15, 30, 45, 60 …
        assert_eq!(polled(|second| second % 15 == 0, 75), [3, 18, 28, 43, 58, 73]);
    }

    #[test]
    fn one_that_begins_to_ask_often_is_asked_for_at_once() {
        let polled = polled(|second| second % 15 == 0 || second > 31 && second % 2 == 0, 50);
        assert_eq!(polled[2..], [28, 33, 38, 43, 48]);
    }

    #[test]
    fn one_that_asks_no_more_is_asked_for_no_more() {
        assert_eq!(polled(|second| second < 31 && second % 15 == 0, 300), [3, 18, 28, 43, 48]);
    }

    #[test]
    fn one_that_asks_alone_is_asked_for_when_it_does() {
        let (start, app) = (Instant::now(), AppName::new("api"));
        let mut askers = Askers::default();
        for round in 0..4 {
            let now = start + Duration::from_secs(15 * round);
            askers.note(&app, now);
            assert_eq!(askers.due(now, GAP), std::slice::from_ref(&app));
            askers.polled(std::slice::from_ref(&app), now);
            assert!(askers.due(now, GAP).is_empty() || round == 0);
        }
        askers.forget(start + Duration::from_secs(700), Duration::from_secs(600));
        assert!(askers.is_empty());
    }
}
