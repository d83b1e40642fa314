//! From cumulative series to increments per threshold, machine by machine.
//!
//! A counter whose process started anew counts from 0, and so does one that shrank, if it can have
//! grown to what it holds since: what was there before goes on otherwise. Where several processes
//! answer in turn (`turns`) nothing is judged. A series that appears in
//! a process already known counts from 0 too: the first error makes the error counter. A series
//! that vanishes just vanishes. Bad and total always come from the same page, and when one of
//! them cannot be used neither is: the next good page then holds what both missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::parse::Series;
use crate::model::{InstanceId, MachineId, Oddity, Readings, Selection, Selector, Wanted};

mod held;
mod page;
mod turns;

use self::{
    held::Held,
    page::{Page, Past, Track},
    turns::Turns,
};

/// The gauge by which process restarts are told.
pub const PROCESS_START: &str = "process_start_time_seconds";

/// A process start time may wander by this many seconds: it is computed from the boot time.
const START_TOLERANCE_S: f64 = 2.0;

/// A machine not read for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// A process that started this long after the list says that its machine did may be another one.
const STARTS_WITHIN_S: f64 = 60.0;
/// How often it is looked for machines to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Remembered machines; with more, the one not read for longest is forgotten.
const MAX_MACHINES: usize = 10_000;

/// The metric names that are looked for on a page; empty when nothing is.
pub fn wanted_names(wanted: &[Wanted]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for one in wanted {
        match &one.selection {
            Selection::Share { bad, total } => {
                names.extend([bad.metric.clone(), total.metric.clone()]);
            }
            Selection::Slow { histogram, .. } => {
                names.extend([count_name(histogram), bucket_name(histogram)]);
            }
            Selection::Largest { gauge } => {
                names.insert(gauge.metric.clone());
            }
            // A page evaluates nothing.
            Selection::Value { .. } | Selection::Answer(_) => {}
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
    /// By threshold: why the page says nothing about it although its series exist, or less than
    /// its numbers seem to.
    pub notes: BTreeMap<String, String>,
}

/// The counters of one process as last seen.
#[derive(Debug)]
struct Process {
    instance: InstanceId,
    /// Its own start time, in seconds since 1970, when it tells.
    started: Option<f64>,
    first_seen: Instant,
    seen: Instant,
    /// When the list said that the machine had started, as of the page before.
    listed: Option<Timestamp>,
    /// What was counted and no list has confirmed yet.
    held: Held,
    turns: Turns,
    /// By threshold name.
    tracks: BTreeMap<String, Track>,
}

impl Process {
    fn new(instance: InstanceId, started: Option<f64>, now: Instant) -> Self {
        Self {
            instance,
            started,
            first_seen: now,
            seen: now,
            listed: None,
            held: Held::default(),
            turns: Turns::default(),
            tracks: BTreeMap::new(),
        }
    }

    /// Whether the list shows the very start of this process. `None`: there is nothing to compare.
    fn is_listed(&self, listed: Option<Timestamp>) -> Option<bool> {
        let listed = listed?.as_duration().as_secs_f64();
        Some(self.started? - listed <= STARTS_WITHIN_S)
    }

    /// Holds back what a process counts that began after what the list shows of its machine:
    /// whose it is, the instance listed or one that is not listed yet, a later list will tell. Answers
    /// whether this one does.
    fn confirm(&mut self, past: Past, listed: Option<Timestamp>, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.listed, listed);
        let is_listed = self.is_listed(listed) != Some(false);
        // A list that is as new as the page shows another start than it did before.
        let moved = before.is_some() && listed > before && is_listed;
        let began = match past {
            Past::None => !is_listed,
            Past::Restarted => !moved,
            Past::Known => false,
        };
        if began {
            self.held.begin(now);
        }
        moved
    }

    /// Takes the start time of the next page, and tells whether it is another process's.
    fn meet(&mut self, started: Option<f64>, now: Instant) -> Past {
        let watched = self.seen.saturating_duration_since(self.first_seen).as_secs_f64();
        self.seen = now;
        let (Some(then), Some(later)) = (self.started, started) else {
            self.started = self.started.or(started);
            return Past::Known;
        };
        let moved = later - then;
        if moved <= START_TOLERANCE_S {
            // The first reading stays, so that a wandering one cannot creep away.
            return Past::Known;
        }
        self.started = started;
        if moved + START_TOLERANCE_S < watched {
            // Another process would have started after the page before, and so later than this:
            // the machine's clock was set, or it slept.
            return Past::Known;
        }
        self.first_seen = now;
        for track in self.tracks.values_mut() {
            track.clear();
        }
        Past::Restarted
    }
}

/// What is remembered of the processes of all machines.
#[derive(Debug, Default)]
pub struct Counters {
    machines: BTreeMap<MachineId, Process>,
    swept: Option<Instant>,
}

impl Counters {
    /// Takes one machine's page. The first page of an instance counts in full, marked
    /// [`Since::ProcessStart`](crate::model::Since::ProcessStart); every later one counts what was
    /// added, also across a restart of the process.
    pub fn read(
        &mut self,
        machine: &MachineId,
        (instance, listed): (&InstanceId, Option<Timestamp>),
        series: &[Series],
        wanted: &[Wanted],
        now: Instant,
    ) -> Reading {
        self.sweep(now);
        let started = started(series);
        let before = self.machines.remove(machine).filter(|process| process.instance == *instance);
        let (mut process, past) = match before {
            Some(mut process) => {
                let past = process.meet(started, now);
                (process, past)
            }
            None => (Process::new(instance.clone(), started, now), Past::None),
        };
        let mut past = past;
        let mut page = Page { series, past, now };
        let falls = page.falls(wanted, &process.tracks);
        if past != Past::Known || (process.listed.is_some() && listed > process.listed) {
            // Another process has counters of its own, and answers alone.
            process.turns = Turns::default();
        }
        let values = page.values(process.turns.keys());
        let in_turn = process.turns.meet(&falls, &values).map(str::to_owned);
        let (mut reading, mut is_shown) = (Reading::default(), false);
        if in_turn.is_some() {
            process.held.drop_all();
            (process.listed, past) = (listed, Past::Known);
        } else {
            let fell = past == Past::Known && !falls.is_empty();
            if fell && started.is_none() && page.can_be_new(wanted, &process.tracks) {
                // Without a start time, a counter that shrank tells of another process.
                past = Past::Restarted;
                for track in process.tracks.values_mut() {
                    track.clear();
                }
            }
            is_shown = process.confirm(past, listed, now);
        }
        page.past = past;
        let mut tracks = BTreeMap::new();
        for one in wanted {
            let before = process.tracks.remove(&one.threshold);
            if let Some(track) = page.look_for(one, before, &mut reading) {
                tracks.insert(one.threshold.clone(), track);
            }
        }
        process.tracks = tracks;
        if let Some(series) = in_turn {
            set_aside(&mut reading.readings, wanted, &series);
        }
        process.held.pass(&mut reading.readings, is_shown, now);
        self.machines.insert(machine.clone(), process);
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
        while self.machines.len() >= MAX_MACHINES {
            let oldest = self.machines.iter().min_by_key(|(_, process)| process.seen);
            let Some(oldest) = oldest.map(|(machine, _)| machine.clone()) else { break };
            self.machines.remove(&oldest);
        }
    }
}

/// Judges no count, since several processes answer in turn, as this series shows.
fn set_aside(readings: &mut Readings, wanted: &[Wanted], series: &str) {
    readings.counts.clear();
    readings.series.clear();
    for one in wanted {
        let counts = matches!(one.selection, Selection::Share { .. } | Selection::Slow { .. });
        if counts && !readings.unmatched.contains(&one.threshold) {
            let oddity = Oddity::SeveralProcesses { series: series.to_owned() };
            readings.oddities.entry(one.threshold.clone()).or_insert(oddity);
        }
    }
}

/// When the process on the page started. A page of several processes has no one start.
fn started(series: &[Series]) -> Option<f64> {
    let mut all = series.iter().filter(|series| series.name == PROCESS_START);
    let only = all.next().filter(|series| series.value.is_finite())?;
    all.all(|other| other.labels == only.labels).then_some(only.value)
}

#[cfg(test)]
mod tests;
