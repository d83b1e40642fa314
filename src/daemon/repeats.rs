//! One message per thing: what flaps is told once and then summed up.
//!
//! Of events of one kind, cause and release one is told in ten minutes. The others are counted in
//! the next one; and when there is no next one, the last of them is told late, so that what people
//! heard last is how it is.

use std::mem::{Discriminant, discriminant};

use jiff::{SignedDuration, Timestamp};

use crate::model::{Digest, Event, EventKind, HoldReason, Reason, ReleaseVersion};

/// One message in so much time.
const ONCE_IN: SignedDuration = SignedDuration::from_mins(10);
/// Things remembered at once; beyond it the one told longest ago is told anew.
const KEPT_MAX: usize = 64;

/// What makes two events the same thing.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    kind: EventKind,
    cause: Option<Discriminant<Reason>>,
    hold: Option<Discriminant<HoldReason>>,
    release: Option<(Option<ReleaseVersion>, Digest)>,
}

impl Key {
    /// `None`: every one of these is told.
    fn of(event: &Event) -> Option<Self> {
        let flaps = matches!(
            event.kind,
            EventKind::ReleaseDegraded
                | EventKind::HoldPlaced
                | EventKind::HoldCleared
                | EventKind::MonitorBlind
                | EventKind::MonitorRecovered
                | EventKind::ImageMixed
        );
        let hold = match &event.reason {
            Some(Reason::Held { hold } | Reason::HoldOver { was: hold }) => Some(hold),
            _ => None,
        };
        // What a person does is no flapping.
        let by_hand = matches!(hold, Some(HoldReason::Operator { .. }));
        (flaps && !by_hand).then(|| Self {
            kind: event.kind,
            cause: event.reason.as_ref().map(discriminant),
            hold: hold.map(discriminant),
            release: event.release.as_ref().map(|info| (info.version, info.digest.clone())),
        })
    }
}

/// One thing, as it was told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    key: Key,
    at: Timestamp,
    /// How many came since.
    since: u32,
    /// The last of them.
    last: Option<(String, Event)>,
}

/// What was told lately of one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Repeats(Vec<Told>);

impl Repeats {
    /// Whether an event is to be told now; it is given the number of those that were not.
    pub(super) fn take(&mut self, id: &str, event: &mut Event, now: Timestamp) -> bool {
        let Some(key) = Key::of(event) else { return true };
        let Some(told) = self.0.iter_mut().find(|told| told.key == key) else {
            if self.0.len() >= KEPT_MAX {
                self.0.remove(0);
            }
            self.0.push(Told { key, at: now, since: 0, last: None });
            return true;
        };
        // The clock may have been put back.
        if now.duration_since(told.at).abs() < ONCE_IN {
            told.since = told.since.saturating_add(1);
            told.last = Some((id.to_owned(), event.clone()));
            return false;
        }
        event.repeats = std::mem::take(&mut told.since);
        told.at = now;
        told.last = None;
        true
    }

    /// Whether something is to be told late.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.0.iter().any(|told| told.last.is_some() && told.is_over(now))
    }

    /// What was not told in its time and has been the last word since, with its ids.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<(String, Event)> {
        let mut late = Vec::new();
        for told in &mut self.0 {
            if !told.is_over(now) {
                continue;
            }
            if let Some((id, mut event)) = told.last.take() {
                event.repeats = std::mem::take(&mut told.since).saturating_sub(1);
                told.at = now;
                late.push((id, event));
            }
        }
        late.sort_by_key(|(_, event)| event.at);
        late
    }
}

impl Told {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.at).abs() >= ONCE_IN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_772_000_000 + minute * 60).unwrap()
    }

    fn event(kind: EventKind, reason: Reason, minute: i64) -> Event {
        let mut event = Event::new(kind, at(minute), Some("api".into()));
        event.reason = Some(reason);
        event
    }

    fn blind(minute: i64) -> Event {
        let detail = format!("503 at {minute}");
        event(EventKind::MonitorBlind, Reason::PlatformUnreadable { detail }, minute)
    }

    #[test]
    fn one_in_ten_minutes_is_told_and_the_next_says_how_many_were_not() {
        let mut repeats = Repeats::default();
        let mut told = Vec::new();
        for minute in 0..21 {
            let mut blind = blind(minute);
            if repeats.take(&format!("m-{minute}"), &mut blind, at(minute)) {
                told.push((minute, blind.repeats));
            }
        }
        assert_eq!(told, [(0, 0), (10, 9), (20, 9)]);
    }

    #[test]
    fn the_last_word_is_told_late_when_nothing_follows() {
        let mut repeats = Repeats::default();
        for minute in [0, 1, 2, 3] {
            let first = repeats.take(&format!("m-{minute}"), &mut blind(minute), at(minute));
            assert_eq!(first, minute == 0);
        }
        assert!(!repeats.is_overdue(at(9)) && repeats.overdue(at(9)).is_empty());
        assert!(repeats.is_overdue(at(10)));
        let late = repeats.overdue(at(10));
        assert_eq!(late.len(), 1);
        assert_eq!((late[0].0.as_str(), late[0].1.repeats), ("m-3", 2));
        assert!(!repeats.is_overdue(at(60)));
    }

    #[test]
    fn other_kinds_causes_and_releases_are_other_things_and_some_are_always_told() {
        let mut repeats = Repeats::default();
        let hold = |hold| event(EventKind::HoldPlaced, Reason::Held { hold }, 0);
        let operator = HoldReason::Operator {
            hold: crate::model::OperatorHold {
                by: "dana".to_owned(),
                reason: "a sale".to_owned(),
                since: at(0),
                until: None,
            },
        };
        let completed = Event::new(EventKind::RollbackCompleted, at(0), Some("api".into()));
        for (mut event, again) in [
            (blind(0), false),
            (event(EventKind::MonitorBlind, Reason::MetricsReadable, 0), false),
            (hold(HoldReason::SameImage { drift: None }), false),
            (hold(HoldReason::Migrations), false),
            (hold(operator), true),
            (completed, true),
        ] {
            assert!(repeats.take("m-1", &mut event, at(0)), "{event:?}");
            assert_eq!(repeats.take("m-2", &mut event, at(1)), again, "{event:?}");
        }
    }
}
