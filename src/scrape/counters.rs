//! From cumulative series to increments per threshold, machine by machine.
//!
//! A counter that shrank, or whose process started anew, counts from 0. A series that appears in
//! a process already known counts from 0 too: the first error makes the error counter. A series
//! that vanishes just vanishes. Bad and total always come from the same page.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::parse::Series;
use crate::model::{
    Count, InstanceId, MachineId, Readings, Selector, Since, Threshold, ThresholdKind,
};

/// The gauge by which process restarts are told.
pub const PROCESS_START: &str = "process_start_time_seconds";

/// A process start time may wander by this many seconds: it is computed from the boot time.
const START_TOLERANCE_S: f64 = 2.0;

/// A machine not read for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// How often it is looked for machines to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Remembered series of one process; more, and those absent from the newest page are forgotten.
const MAX_REMEMBERED: usize = 40_000;

/// The metric names a policy reads from a page; empty when it reads none.
pub fn wanted_names(thresholds: &[Threshold]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for threshold in thresholds {
        match &threshold.kind {
            ThresholdKind::Ratio { bad, total, .. } => {
                names.extend([bad.metric.clone(), total.metric.clone()]);
            }
            ThresholdKind::Latency { histogram, .. } => {
                names.extend([count_name(histogram), bucket_name(histogram)]);
            }
            ThresholdKind::Gauge { gauge, .. } => {
                names.insert(gauge.metric.clone());
            }
            ThresholdKind::Checks { .. } | ThresholdKind::Crashes { .. } => {}
        }
    }
    if !names.is_empty() {
        names.insert(PROCESS_START.to_owned());
    }
    names
}

fn count_name(histogram: &Selector) -> String {
    format!("{}_count", histogram.metric)
}

fn bucket_name(histogram: &Selector) -> String {
    format!("{}_bucket", histogram.metric)
}

/// What one page said, and what people should know about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    pub readings: Readings,
    /// Thresholds the page can say nothing about although their series exist, with the reason.
    pub notes: BTreeMap<String, String>,
}

type Key = (String, BTreeMap<String, String>);

/// The counters of one process as last seen.
#[derive(Debug)]
struct Process {
    instance: InstanceId,
    /// Its own start time, in seconds since 1970, when it tells.
    started: Option<f64>,
    /// What was looked for; a series of a new question has no past.
    asked: Vec<String>,
    values: BTreeMap<Key, f64>,
    seen: Instant,
}

/// What is remembered of the processes of all machines.
#[derive(Debug, Default)]
pub struct Counters {
    machines: BTreeMap<MachineId, Process>,
    swept: Option<Instant>,
}

impl Counters {
    /// Takes one machine's page. The first page of an instance counts in full, marked
    /// [`Since::ProcessStart`]; every later one counts what was added, also across a restart of
    /// the process.
    pub fn read(
        &mut self,
        machine: &MachineId,
        instance: &InstanceId,
        series: &[Series],
        thresholds: &[Threshold],
        now: Instant,
    ) -> Reading {
        self.sweep(now);
        let before = self.machines.remove(machine).filter(|process| process.instance == *instance);
        let started = series
            .iter()
            .find(|series| series.name == PROCESS_START && series.value.is_finite())
            .map(|series| series.value);
        let mut page = Page::new(series, thresholds, before, started);
        let mut reading = Reading::default();
        for threshold in thresholds {
            page.judge(threshold, &mut reading);
        }
        self.machines.insert(machine.clone(), page.into_process(instance.clone(), now));
        reading
    }

    /// How many machines are remembered.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    fn sweep(&mut self, now: Instant) {
        let due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY);
        if due {
            self.swept = Some(now);
            self.machines
                .retain(|_, process| now.saturating_duration_since(process.seen) < FORGET_AFTER);
        }
    }
}

/// What the counters of a page are compared with.
#[derive(Clone, Copy, PartialEq)]
enum Past {
    /// Nothing: the first page of this instance.
    None,
    /// The process is another one than before: everything since then is in its counters.
    Restarted,
    /// The same process; `same_question`: a series not remembered did not exist.
    Known { same_question: bool },
}

/// One page being read.
struct Page<'a> {
    series: &'a [Series],
    past: Past,
    started: Option<f64>,
    asked: Vec<String>,
    old: BTreeMap<Key, f64>,
    /// This page's values and increments; a series listed twice counts once.
    new: BTreeMap<Key, (f64, f64)>,
}

impl<'a> Page<'a> {
    fn new(
        series: &'a [Series],
        thresholds: &[Threshold],
        before: Option<Process>,
        started: Option<f64>,
    ) -> Self {
        let asked: Vec<String> = thresholds.iter().filter_map(question).collect();
        let (past, old, started) = match before {
            None => (Past::None, BTreeMap::new(), started),
            Some(before) => match (before.started, started) {
                (Some(then), Some(now)) if now > then + START_TOLERANCE_S => {
                    (Past::Restarted, BTreeMap::new(), started)
                }
                (then, now) => {
                    let past = Past::Known { same_question: before.asked == asked };
                    // The first reading stays, so that a wandering one cannot creep away.
                    (past, before.values, then.or(now))
                }
            },
        };
        Self { series, past, started, asked, old, new: BTreeMap::new() }
    }

    fn into_process(self, instance: InstanceId, now: Instant) -> Process {
        let mut values = self.old;
        if values.len() + self.new.len() > MAX_REMEMBERED {
            values.clear();
        }
        values.extend(self.new.into_iter().map(|(key, (value, _))| (key, value)));
        Process { instance, started: self.started, asked: self.asked, values, seen: now }
    }

    fn judge(&mut self, threshold: &Threshold, reading: &mut Reading) {
        let name = &threshold.name;
        let readings = &mut reading.readings;
        match &threshold.kind {
            ThresholdKind::Ratio { bad, total, .. } => {
                let all = self.matching(&total.metric, total);
                if all.is_empty() {
                    readings.unmatched.insert(name.clone());
                }
                let failed = self.matching(&bad.metric, bad);
                let k = self.sum(&failed).unwrap_or(0.0);
                if let Some(n) = self.sum(&all) {
                    readings.counts.insert(name.clone(), self.count(n, k));
                }
            }
            ThresholdKind::Latency { histogram, bound_s, .. } => {
                self.judge_latency(name, histogram, *bound_s, reading);
            }
            ThresholdKind::Gauge { gauge, .. } => {
                let matching = self.matching(&gauge.metric, gauge);
                if matching.is_empty() {
                    readings.unmatched.insert(name.clone());
                }
                let values = matching.iter().map(|series| series.value).filter(|v| !v.is_nan());
                if let Some(largest) = values.reduce(f64::max) {
                    readings.gauges.insert(name.clone(), largest);
                }
            }
            ThresholdKind::Checks { .. } | ThresholdKind::Crashes { .. } => {}
        }
    }

    /// Slow is what is in no bucket up to the smallest boundary at or above the bound: a request
    /// faster than the bound is never blamed.
    fn judge_latency(&mut self, name: &str, of: &Selector, bound: f64, reading: &mut Reading) {
        let counts = self.matching(&count_name(of), of);
        let buckets = self.matching(&bucket_name(of), of);
        if counts.is_empty() || buckets.is_empty() {
            reading.readings.unmatched.insert(name.to_owned());
            return;
        }
        let mut within: BTreeMap<BTreeMap<&str, &str>, (f64, &Series)> = BTreeMap::new();
        for bucket in buckets {
            let boundary = bucket.label("le").and_then(|le| le.parse::<f64>().ok());
            let Some(boundary) = boundary.filter(|le| le.is_finite() && *le >= bound) else {
                continue;
            };
            let best = within.entry(without_le(bucket)).or_insert((boundary, bucket));
            if boundary < best.0 {
                *best = (boundary, bucket);
            }
        }
        if within.is_empty() {
            reading.readings.unmatched.insert(name.to_owned());
            reading.notes.insert(
                name.to_owned(),
                format!("no bucket of {of} has a boundary at or above {bound} s"),
            );
        }
        let (mut n, mut k, mut any) = (0.0, 0.0, false);
        for count in counts {
            let fast = within.get(&without_le(count)).map(|(_, bucket)| self.increment(bucket));
            let all = self.increment(count);
            // A bucket that is no number leaves its requests out altogether.
            if let (Some(all), None | Some(Some(_))) = (all, fast) {
                any = true;
                n += all;
                k += fast.flatten().map_or(0.0, |fast| (all - fast).max(0.0));
            }
        }
        if any {
            reading.readings.counts.insert(name.to_owned(), self.count(n, k));
        }
    }

    fn count(&self, n: f64, k: f64) -> Count {
        let since = match self.past {
            Past::None => Since::ProcessStart,
            Past::Restarted | Past::Known { .. } => Since::LastScrape,
        };
        Count { n, k: k.clamp(0.0, n), since }
    }

    fn matching(&self, metric: &str, selector: &Selector) -> Vec<&'a Series> {
        self.series
            .iter()
            .filter(|series| series.name == metric && selector.matches(|name| series.label(name)))
            .collect()
    }

    /// The increments of all these series together; `None` when none of them has a value.
    fn sum(&mut self, series: &[&Series]) -> Option<f64> {
        let once: BTreeMap<_, _> = series.iter().map(|series| (&series.labels, *series)).collect();
        let increments = once.into_values().filter_map(|series| self.increment(series));
        increments.fold(None, |sum, more| Some(sum.unwrap_or(0.0) + more))
    }

    /// What was added to a counter; `None` when its value is not one a counter can have.
    fn increment(&mut self, series: &Series) -> Option<f64> {
        let value = series.value;
        if !value.is_finite() || value < 0.0 {
            return None;
        }
        let key = (series.name.clone(), series.labels.clone());
        if let Some((_, increment)) = self.new.get(&key) {
            return Some(*increment);
        }
        let increment = match (self.past, self.old.get(&key)) {
            (Past::Known { .. }, Some(before)) if value >= *before => value - before,
            (Past::Known { same_question: false }, None) => 0.0,
            _ => value,
        };
        self.new.insert(key, (value, increment));
        Some(increment)
    }
}

fn without_le(series: &Series) -> BTreeMap<&str, &str> {
    let labels = series.labels.iter().filter(|(name, _)| *name != "le");
    labels.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// What a threshold looks for on a page, as a text that changes when it does.
fn question(threshold: &Threshold) -> Option<String> {
    match &threshold.kind {
        ThresholdKind::Ratio { bad, total, .. } => Some(format!("{bad} of {total}")),
        ThresholdKind::Latency { histogram, bound_s, .. } => {
            Some(format!("{histogram} above {bound_s}"))
        }
        ThresholdKind::Gauge { .. }
        | ThresholdKind::Checks { .. }
        | ThresholdKind::Crashes { .. } => None,
    }
}

#[cfg(test)]
mod tests;
