//! What a process counted of which nobody knows yet whose it is: a list of machines may lag, and the process
//! be one of an instance that it does not show yet.
//!
//! What comes in is kept, process by process, and given out once a list confirms it. One that is restarted
//! in its place over and over never lives long enough to be confirmed itself: what those before it
//! counted is.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{Count, Readings, Tally, busiest};

use super::page::SERIES_TOLD;

/// Lists may lag behind by half a minute. One that shows the same instance for longer after its
/// process began anew confirms it: it was restarted in its place.
const CONFIRMED_AFTER: Duration = Duration::from_secs(40);

/// Processes held one behind the other; the counts of more are held with those of the newest of them.
const HELD_MAX: usize = 40;

/// The processes of one machine that are held, oldest first.
#[derive(Debug, Default)]
pub(super) struct Held {
    processes: VecDeque<Process>,
}

#[derive(Debug)]
struct Process {
    since: Instant,
    counts: Counts,
}

/// By threshold: all that was counted, and series by series.
#[derive(Debug, Default)]
struct Counts {
    all: BTreeMap<String, Count>,
    series: BTreeMap<String, BTreeMap<String, Tally>>,
}

impl Counts {
    /// Takes what a page counted; its place is left empty.
    fn take(&mut self, readings: &mut Readings) {
        let counts = std::mem::take(&mut readings.counts);
        let series = std::mem::take(&mut readings.series);
        self.add(Self { all: counts, series });
    }

    fn add(&mut self, other: Self) {
        for (threshold, count) in other.all {
            let sum = self.all.entry(threshold).or_insert(Count { n: 0.0, k: 0.0, ..count });
            sum.n += count.n;
            sum.k += count.k;
        }
        for (threshold, series) in other.series {
            let all = self.series.entry(threshold).or_default();
            for (name, tally) in series {
                all.entry(name).or_default().add(tally.n, tally.k);
            }
            if all.len() > SERIES_TOLD {
                *all = busiest(std::mem::take(all), SERIES_TOLD);
            }
        }
    }
}

impl Held {
    /// A process began that no list has confirmed.
    pub(super) fn begin(&mut self, now: Instant) {
        let is_full = self.processes.len() >= HELD_MAX;
        match self.processes.back_mut().filter(|_| is_full) {
            Some(newest) => newest.since = now,
            None => self.processes.push_back(Process { since: now, counts: Counts::default() }),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    /// What is held is nobody's.
    pub(super) fn drop_all(&mut self) {
        self.processes.clear();
    }

    /// Puts what a page counted to what is held, and gives out what is confirmed instead: by a list that
    /// shows the process itself (`listed`), or by time.
    pub(super) fn pass(&mut self, readings: &mut Readings, listed: bool, now: Instant) {
        let Some(newest) = self.processes.back_mut() else { return };
        newest.counts.take(readings);
        let lasted = |one: &Process| now.saturating_duration_since(one.since) >= CONFIRMED_AFTER;
        let mut confirmed = Counts::default();
        let mut any = false;
        while self.processes.front().is_some_and(|one| listed || lasted(one)) {
            confirmed.add(self.processes.pop_front().map(|one| one.counts).unwrap_or_default());
            any = true;
        }
        (readings.counts, readings.series) = (confirmed.all, confirmed.series);
        if !self.processes.is_empty() {
            // What the process that runs now shows is not of one that is confirmed.
            readings.gauges.clear();
            readings.unconfirmed = !any;
        }
    }
}
