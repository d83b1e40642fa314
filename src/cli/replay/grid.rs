//! At which moments the past is looked at, and when thresholds begin anew: at times of the calendar, so that
//! the same past shows the same whatever part of it is asked for.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{model::Policy, threshold::Span};

/// Nothing is looked at more often.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// Moments `every` so often, of which every so many begin a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    every_ms: i64,
    /// A multiple of it.
    span_ms: i64,
    /// How much before the part that is asked for is read, at least.
    lead_ms: i64,
}

impl Grid {
    /// For a past that is known `every` so often. A span is as long as a release is watched by the same
    /// stakes.
    pub(super) fn new(policy: &Policy, every: Duration) -> Self {
        let every_ms = milliseconds(every.max(EVERY_MIN));
        let watch_ms = milliseconds(policy.settings(Span::Release).watch);
        let looks = watch_ms / every_ms + i64::from(watch_ms % every_ms > 0);
        let span_ms = every_ms.saturating_mul(looks.max(1));
        // By then whatever a threshold remembers comes from what was read.
        let lasting = policy.thresholds.iter().filter_map(|one| one.room().must_last());
        let lead_ms = lasting.map(|(_, time)| milliseconds(time)).fold(span_ms, i64::max);
        Self { every_ms, span_ms, lead_ms }
    }

    pub(super) fn every(&self) -> SignedDuration {
        SignedDuration::from_millis(self.every_ms)
    }

    /// The moment from which on there has to be read for what is asked from `from` on.
    pub(super) fn begins(&self, from: Timestamp) -> Timestamp {
        let before = from.as_millisecond().saturating_sub(self.lead_ms);
        let begins = before.div_euclid(self.span_ms).saturating_mul(self.span_ms);
        Timestamp::from_millisecond(begins).unwrap_or(from)
    }

    /// In which span a moment is, counted from another.
    pub(super) fn span(&self, at: Timestamp, from: Timestamp) -> i64 {
        at.as_millisecond().saturating_sub(from.as_millisecond()).div_euclid(self.span_ms)
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
