//! One series as it is followed: what it held last, and what a smaller value of it means.

use jiff::Timestamp;

use super::{Points, Values};

/// So many readings in a row that stay below, and do not fall, are where a counter starts anew.
const LOW_READINGS: u32 = 4;

/// What is known of one series.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    /// When its newest sample was taken.
    pub(super) at: Timestamp,
    /// What its counters held, and when: of samples that only seem to have shrunk the ones before.
    pub(super) values: Values,
    pub(super) kept: Timestamp,
    /// Which series are read together with it.
    pub(super) group: u64,
    /// Whether it counts events, and not only bad ones among them.
    pub(super) of_all: bool,
    /// When it was first there.
    pub(super) since: Timestamp,
    /// When it was last seen to grow.
    pub(super) grew: Option<Timestamp>,
    /// How many samples came in a row wherever its neighbours have one. Some servers are told only what moved.
    pub(super) regular: u32,
    /// The process that counted it is gone, as far as its neighbours show.
    pub(super) ended: bool,
    low: Option<Low>,
}

/// Readings below what was there before.
#[derive(Clone, Copy, Debug)]
struct Low {
    values: Values,
    readings: u32,
}

impl Followed {
    pub(super) fn new(points: &Points, (at, values): (Timestamp, Values)) -> Self {
        let (group, of_all) = (points.group, points.of_all);
        let (kept, since) = (at, at);
        let (grew, regular, ended, low) = (None, 0, false, None);
        Self { at, values, kept, group, of_all, since, grew, regular, ended, low }
    }

    /// Whether one of its counters would have shrunk.
    pub(super) fn shrinks(&self, values: Values) -> bool {
        values.iter().zip(self.values).any(|(now, before)| *now < before)
    }

    /// Whether so small a value can be a beginning: who lost a little was written by two hands.
    pub(super) fn can_begin_with(&self, values: Values) -> bool {
        let largest = |values: Values| values.into_iter().fold(0.0, f64::max);
        largest(values) * 2.0 <= largest(self.values)
    }

    /// Whether its newest samples are left out.
    pub(super) fn is_low(&self) -> bool {
        self.low.is_some()
    }

    /// Takes a sample as it is.
    pub(super) fn take(&mut self, (at, values): (Timestamp, Values)) {
        (self.at, self.kept, self.values) = (at, at, values);
        (self.low, self.ended) = (None, false);
    }

    /// Leaves a sample out that cannot be smaller and is: what was there before goes on, unless it
    /// stays below and rises from there.
    pub(super) fn leave_out(&mut self, (at, values): (Timestamp, Values)) {
        let rises = |low: &Low| values.iter().zip(low.values).all(|(now, before)| *now >= before);
        let readings = self.low.filter(rises).map_or(1, |low| low.readings + 1);
        if readings >= LOW_READINGS {
            return self.take((at, values));
        }
        (self.at, self.ended) = (at, false);
        self.low = Some(Low { values, readings });
    }
}
