//! From a server's raw samples to increments, machine by machine, each with the time it lies in.
//!
//! A series is followed by the times of its own samples: one that comes late, or twice, counts once,
//! and nothing is added for a sample that is not there. A counter that shrank counts from 0, if it can
//! have grown to what it holds since: one that lost a little did not begin anew (`followed`). What was
//! counted while a part of a machine's series was missing waits for these (`whole`). What a series held when it was first seen is a starting point; only one that appears beside others of its
//! machine, and not larger than their pace explains, was 0 before: the first error makes the error
//! counter, but one that was away for a while brings its whole past with it.

mod followed;
mod instances;
mod oddities;
mod series;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

pub(super) use self::instances::Listed;
use self::{
    followed::Followed,
    instances::Runs,
    series::{Ends, gauges, shares, slow},
    whole::Answered,
};
use crate::{
    config::MetricsServer,
    model::{AppName, Belated, Count, Oddity, Selection, Since, Tally},
    ports::SampledSeries,
};

/// A machine of which nothing came for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// Machines that are followed; what is beyond is not.
const MACHINES_MAX: usize = 20_000;
/// A series without a sample for so long, while its machine has others, is gone.
const GONE_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// Series of one machine; what is beyond is not followed.
const SERIES_MAX: usize = 2000;
/// Increments that wait for somebody to ask.
const WAITING_MAX: usize = 4000;
/// A new counter may hold this many events, and so many times what its machine's pace explains.
const NEW_MAX: f64 = 10.0;
const NEW_PACE_MAX: f64 = 4.0;
/// Series told apart of one machine at a time, the busiest.
const PARTS_TOLD: usize = 200;
/// All buckets of an app are asked for so often: others may have come.
const WHOLE_EVERY: Duration = Duration::from_secs(600);
/// Most buckets of an app that are asked for by name.
const ENDS_MAX: usize = 10;
/// Samples may come so late, besides the server's pace.
const SAMPLES_LAG: Duration = Duration::from_secs(15);
/// A bound may miss a bucket boundary by this share.
const SAME_BOUNDARY: f64 = 1e-9;

/// Events between two samples of a machine's series.
#[derive(Clone, Debug, PartialEq)]
struct Increment {
    from: Timestamp,
    to: Timestamp,
    n: f64,
    k: f64,
    /// Which of those that are told apart.
    part: Option<Arc<str>>,
    /// Which series are read together with it.
    group: u64,
}

/// What is followed of one machine.
#[derive(Debug)]
struct Machine {
    /// By a hash of the labels.
    series: BTreeMap<u64, Followed>,
    /// The newest sample of all.
    newest: Timestamp,
    /// Events a second of its busiest series so far.
    pace: f64,
    waiting: VecDeque<Increment>,
    /// Spans of which nobody knows what a group of series counted in them, the newest of each group.
    unknown: BTreeMap<u64, (Timestamp, Timestamp)>,
    /// What ran on it, as lists showed it.
    runs: Runs,
    /// When the gauge was told last.
    told: Option<Timestamp>,
    heard: Instant,
}

/// All events and those within the bound, or the bad ones; or a gauge's value.
type Values = [f64; 2];

/// What the samples of one question say.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    machines: BTreeMap<(AppName, String), Machine>,
    /// Apps that were asked for before. What lies before that nobody may be told: it may have been
    /// told by whoever asked before us.
    apps: BTreeSet<AppName>,
    /// The server has no such series for any app, since then.
    nothing_since: Option<Instant>,
    /// Why what it has of an app cannot be judged.
    oddities: BTreeMap<AppName, Oddity>,
    /// Where the buckets of an app end that are counted, and when all of them were asked for.
    ends: BTreeMap<AppName, (Instant, BTreeSet<String>)>,
    newest: Option<Timestamp>,
    /// How long after its last sample a machine is not known to have counted nothing.
    told_for: SignedDuration,
}

/// Samples of what counts as one series.
struct Points {
    key: u64,
    /// Which series are read together: those of one process whose events are told apart as good and bad.
    group: u64,
    /// Whether it counts all events, so that without it nobody knows how many there were.
    of_all: bool,
    part: Option<Arc<str>>,
    samples: Vec<(Timestamp, Values)>,
}

/// What is told of a machine that runs.
pub(super) struct Counted {
    /// `None`: nothing is known of now.
    pub(super) count: Option<Count>,
    /// The same told apart.
    pub(super) series: BTreeMap<String, Tally>,
    /// What the instance before counted.
    pub(super) belated: Option<Belated>,
}

type ByMachine = BTreeMap<(AppName, String), Vec<Points>>;

/// What an answer is the answer to.
#[derive(Clone, Copy)]
pub(super) struct What<'a> {
    pub(super) selection: &'a Selection,
    pub(super) server: &'a MetricsServer,
    /// Labels by which counts are told apart.
    pub(super) by: &'a [String],
    /// Whether all buckets were asked for, and not only those that are counted.
    pub(super) whole: bool,
}

impl Tracks {
    /// Takes the answer for these apps.
    pub(super) fn absorb(
        &mut self,
        what: What<'_>,
        apps: &[AppName],
        answer: &[SampledSeries],
        now: Instant,
    ) {
        let What { selection, server, by, whole } = what;
        let told_for = server.scrape_every * 2 + SAMPLES_LAG;
        self.told_for = SignedDuration::try_from(told_for).unwrap_or(SignedDuration::MAX);
        if whole {
            for (app, oddity) in oddities::of_each((selection, server), by, answer) {
                match oddity {
                    Some(oddity) => self.oddities.insert(app, oddity),
                    None => self.oddities.remove(&app),
                };
            }
        }
        let by_machine = match selection {
            Selection::Share { bad, total } => shares(server, answer, (bad, total), by),
            Selection::Slow { histogram, bound_s } => {
                let (found, ends) = slow(server, answer, (histogram, *bound_s), by);
                self.note_ends(ends, whole, now);
                found
            }
            Selection::Largest { gauge } => gauges(server, answer, gauge),
            // What is evaluated has values and no series.
            Selection::Value { .. } | Selection::Answer(_) => ByMachine::new(),
        };
        if by_machine.is_empty() && self.machines.is_empty() {
            self.nothing_since.get_or_insert(now);
        } else {
            self.nothing_since = None;
        }
        let counts = !matches!(selection, Selection::Largest { .. });
        let slow = matches!(selection, Selection::Slow { .. });
        for (whose, points) in by_machine {
            let is_new = !self.apps.contains(&whose.0);
            let machine = self.follow(whose, points, (counts, slow), now);
            if let Some(machine) = machine.filter(|_| is_new) {
                machine.waiting.clear();
            }
        }
        self.apps.extend(apps.iter().cloned());
        self.forget(now);
    }

    /// Notes which buckets are counted of each app; of one with a histogram that lacks its own, all
    /// are to be asked for.
    fn note_ends(&mut self, ends: Ends, whole: bool, now: Instant) {
        for (app, ends) in ends {
            match (ends, whole) {
                (Some(ends), true) => drop(self.ends.insert(app, (now, ends))),
                (Some(_), false) => {}
                (None, _) => drop(self.ends.remove(&app)),
            }
        }
    }

    /// Where the buckets end that are counted of an app, when they are known well enough to ask for
    /// no others.
    pub(super) fn ends(&self, app: &AppName, now: Instant) -> Option<&BTreeSet<String>> {
        let (whole_at, ends) = self.ends.get(app)?;
        let is_fresh = now.saturating_duration_since(*whole_at) < WHOLE_EVERY;
        (is_fresh && ends.len() <= ENDS_MAX).then_some(ends)
    }

    /// Forgets apps of which nobody asks any more.
    pub(super) fn keep(&mut self, wanted: impl Fn(&AppName) -> bool) {
        self.apps.retain(|app| wanted(app));
        self.oddities.retain(|app, _| wanted(app));
        self.ends.retain(|app, _| wanted(app));
    }

    fn follow(
        &mut self,
        whose: (AppName, String),
        mut all: Vec<Points>,
        (counts, slow): (bool, bool),
        now: Instant,
    ) -> Option<&mut Machine> {
        let times = all.iter().flat_map(|points| points.samples.iter().map(|(at, _)| *at));
        let times: BTreeSet<Timestamp> = times.collect();
        let newest = times.last().copied()?;
        self.newest = self.newest.max(Some(newest));
        let known = self.machines.get(&whose).map(|machine| machine.newest);
        if known.is_none() && self.machines.len() >= MACHINES_MAX {
            return None;
        }
        let machine = self.machines.entry(whose).or_insert_with(|| Machine {
            series: BTreeMap::new(),
            newest,
            pace: 0.0,
            waiting: VecDeque::new(),
            unknown: BTreeMap::new(),
            runs: Runs::default(),
            told: None,
            heard: now,
        });
        machine.heard = now;
        machine.newest = machine.newest.max(newest);
        // Those that were there before tell the pace by which new ones are looked at.
        all.sort_by_key(|points| points.samples.first().map(|(at, _)| *at));
        let answered = Answered::new(&all);
        for points in &all {
            let first = points.samples.first().map(|(at, _)| *at);
            let before = first.filter(|first| known.is_none_or(|known| *first > known));
            let before = before.and_then(|first| times.range(..first).next_back().copied());
            let before = before.max(known.filter(|_| before.is_some()));
            machine.take(points, &answered, before, (counts, slow));
        }
        while machine.waiting.len() > WAITING_MAX {
            machine.waiting.pop_front();
        }
        Some(machine)
    }

    fn forget(&mut self, now: Instant) {
        let silent = |machine: &Machine| now.saturating_duration_since(machine.heard);
        self.machines.retain(|_, machine| silent(machine) < FORGET_AFTER);
    }

    /// What was counted on a machine since it was last asked, up to `until`: of the instance that is
    /// listed, and of the one before. An increment over the change is nobody's. `None`: the server has
    /// nothing of this machine.
    pub(super) fn count(
        &mut self,
        app: &AppName,
        machine: &str,
        listed: &Listed,
        until: Timestamp,
    ) -> Option<Counted> {
        let told_for = self.told_for;
        let machine = self.machines.get_mut(&(app.clone(), machine.to_owned()))?;
        machine.runs.note(listed);
        let belated = machine.take_belated(until);
        let started = listed.started;
        let known = machine.known(started);
        let is_its = |one: &Increment| one.from >= started && one.to <= until && known.holds(one);
        let (Tally { n, k }, series) = machine.draw(is_its);
        // One that is read no more counts nothing that is known, and is not silent for that.
        let newest = known.until().map_or(machine.newest, |known| known.min(machine.newest));
        let is_unknown = n <= 0.0 && k <= 0.0 && until.duration_since(newest) > told_for;
        let count = Count { n, k, since: Since::LastScrape };
        Some(Counted { count: (!is_unknown).then_some(count), series, belated })
    }

    /// The largest value of a machine's gauge, if there is one that was not told yet.
    pub(super) fn gauge(
        &mut self,
        app: &AppName,
        machine: &str,
        started: Timestamp,
    ) -> Option<f64> {
        let machine = self.machines.get_mut(&(app.clone(), machine.to_owned()))?;
        let newest = machine.newest;
        if newest < started || machine.told.is_some_and(|told| told >= newest) {
            return None;
        }
        machine.told = Some(newest);
        let of_now = machine.series.values().filter(|one| one.at == newest);
        of_now.map(|one| one.values[0]).reduce(f64::max)
    }

    pub(super) fn knows(&self, app: &AppName, machine: &str) -> bool {
        self.machines.contains_key(&(app.clone(), machine.to_owned()))
    }

    /// How long the server has had no such series for any app.
    pub(super) fn nothing_for(&self, now: Instant) -> Option<Duration> {
        self.nothing_since.map(|since| now.saturating_duration_since(since))
    }

    /// Why what the server has of an app cannot be judged.
    pub(super) fn oddity(&self, app: &AppName) -> Option<&Oddity> {
        self.oddities.get(app)
    }

    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.newest
    }
}

impl Machine {
    /// Takes the samples of one series that are newer than what is known of it. `answered`: what came
    /// with it. `before`: when the machine's others were read last before its first one, if it was not
    /// there then.
    fn take(
        &mut self,
        points: &Points,
        answered: &Answered<'_>,
        before: Option<Timestamp>,
        (counts, slow): (bool, bool),
    ) {
        if !self.has_room(points.key) {
            return;
        }
        let mut samples = points.samples.iter().copied();
        let mut last = match self.series.get(&points.key).cloned() {
            Some(last) => last,
            None => {
                let Some(first) = samples.next() else { return };
                let mut new = Followed::new(points, first);
                if let Some(before) = before.filter(|_| counts)
                    && self.explains(first, before)
                {
                    self.add(first, (before, [0.0; 2]), slow, points);
                    new.grew = Some(first.0);
                }
                new
            }
        };
        for sample in samples {
            if sample.0 <= last.at {
                continue;
            }
            if !counts {
                last.take(sample);
                continue;
            }
            let skipped = answered.is_read_between(last.group, last.at, sample.0);
            last.regular = if skipped { 0 } else { last.regular.saturating_add(1) };
            // A histogram shrinks as a whole, even if one of its counters is past its old value.
            let shrinks = last.shrinks(sample.1);
            if shrinks && !self.begins_anew(&last, sample, answered) {
                let kept = last.kept;
                last.leave_out(sample);
                if !last.is_low() {
                    self.leave_out(points.group, kept, sample.0);
                }
                continue;
            }
            if shrinks {
                self.end_others(points.group, sample.0);
            }
            let base = if shrinks { [0.0; 2] } else { last.values };
            if sample.1.iter().zip(base).any(|(now, before)| *now > before) {
                last.grew = Some(sample.0);
            }
            self.pace = self.pace.max(per_second(sample.1[0] - base[0], last.kept, sample.0));
            self.add(sample, (last.kept, base), slow, points);
            last.take(sample);
        }
        self.series.insert(points.key, last);
    }

    /// Whether a counter that shrank began anew: a process that does brings all its counters near 0,
    /// so that none of those that were read with it holds more than its pace explains.
    fn begins_anew(
        &self,
        last: &Followed,
        (at, values): (Timestamp, Values),
        answered: &Answered<'_>,
    ) -> bool {
        let most = answered.most(last.group, at).max(values[0]);
        last.can_begin_with(values) && self.explains((at, [most, values[1]]), last.kept)
    }

    /// Whether a series can be followed. One that is not would be counted anew by each answer.
    fn has_room(&mut self, key: u64) -> bool {
        if self.series.len() >= SERIES_MAX && !self.series.contains_key(&key) {
            // Those of proxies that are gone.
            let newest = self.newest;
            self.series.retain(|_, one| newest.duration_since(one.at) < GONE_AFTER);
        }
        self.series.len() < SERIES_MAX || self.series.contains_key(&key)
    }

    /// Whether a counter that appears can have been 0 before, by what its machine's others count.
    fn explains(&self, (at, [all, other]): (Timestamp, Values), known: Timestamp) -> bool {
        let seconds = at.duration_since(known).as_secs_f64();
        all.max(other) <= NEW_MAX + NEW_PACE_MAX * self.pace * seconds
    }

    fn add(
        &mut self,
        (to, now): (Timestamp, Values),
        (from, base): (Timestamp, Values),
        slow: bool,
        points: &Points,
    ) {
        let (n, other) = (now[0] - base[0], now[1] - base[1]);
        let k = if slow { (n - other).max(0.0) } else { other };
        if n > 0.0 || k > 0.0 {
            let (part, group) = (points.part.clone(), points.group);
            let one = Increment { from, to, n, k, part, group };
            if !self.is_unknown(&one) {
                self.waiting.push_back(one);
            }
        }
    }
}

fn per_second(events: f64, from: Timestamp, to: Timestamp) -> f64 {
    events.max(0.0) / to.duration_since(from).as_secs_f64().max(0.001)
}

#[cfg(test)]
mod tests;
