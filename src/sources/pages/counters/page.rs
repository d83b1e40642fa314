//! One page against what is remembered: the counts and gauges of every threshold.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use tokio::time::Instant;

use super::{Reading, bucket_name, count_name};
use crate::{
    model::{
        Count, Matcher, Oddity, Selection, Selector, Since, Tally, Wanted, busiest, series_name,
    },
    sources::pages::parse::Series,
};

/// Remembered series of one threshold; with more, those absent from the newest page are forgotten.
const MAX_REMEMBERED: usize = 40_000;

/// A bound may miss a bucket boundary by this share, which is no more than a rounded last digit.
const SAME_BOUNDARY: f64 = 1e-9;

/// Most label names shown where one is missing.
const LABELS_SHOWN: usize = 12;

/// Series told apart on one page, the busiest; some more than are judged.
pub(super) const SERIES_TOLD: usize = 200;

/// A process that is new may have counted so many events, and so many times what the pace of the one
/// before explains.
const NEW_MAX: f64 = 10.0;
const NEW_PACE_MAX: f64 = 4.0;

/// So many pages in a row on which counters stay below what they were, and do not fall, are where
/// they start anew.
const LOW_PAGES: u32 = 4;

/// A bucket boundary farther than this share above the bound is worth a note.
const NEAR_BOUNDARY: f64 = 0.1;

/// What the counters of a page are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Past {
    /// Nothing: the first page of this instance.
    None,
    /// The process is another one than before: everything in its counters is new.
    Restarted,
    /// The same process.
    Known,
}

/// A threshold's counters as last used.
#[derive(Debug)]
pub(super) struct Track {
    /// What was looked for; another question has another past.
    question: String,
    /// Values by a hash of name and labels, so that a series costs the same however long its
    /// labels are. Two of 20 000 series share a hash once in 10^11 pages.
    values: BTreeMap<u64, f64>,
    /// When a page was used last.
    at: Option<Instant>,
    /// Events a second of its busiest series so far.
    pace: f64,
    /// Counters that seem to have shrunk, as the page before had them, and on how many in a row.
    low: BTreeMap<u64, f64>,
    low_pages: u32,
}

impl Track {
    fn new(question: String) -> Self {
        let (values, low) = (BTreeMap::new(), BTreeMap::new());
        Self { question, values, at: None, pace: 0.0, low, low_pages: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.low.clear();
    }

    /// What a counter can hold that began at 0 after the page before.
    fn explained(&self, now: Instant) -> f64 {
        NEW_MAX + NEW_PACE_MAX * self.pace * self.seconds(now)
    }

    fn seconds(&self, now: Instant) -> f64 {
        let since = self.at.map(|at| now.saturating_duration_since(at).as_secs_f64());
        since.unwrap_or_default().max(0.001)
    }

    /// Notes the counters that were left out, as they seem to have shrunk. They are where they start
    /// anew when they rise from there.
    fn leave_out(&mut self, left: BTreeMap<u64, f64>) {
        let rises = |(key, now): (&u64, &f64)| self.low.get(key).is_none_or(|low| now >= low);
        let rising = !self.low.is_empty() && left.iter().all(rises);
        self.low_pages = match (left.is_empty(), rising) {
            (true, _) => 0,
            (false, true) => self.low_pages.saturating_add(1),
            (false, false) => 1,
        };
        if self.low_pages < LOW_PAGES {
            self.low = left;
        } else {
            self.low.clear();
            self.low_pages = 0;
            self.values.extend(left);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    fn remember(&mut self, now: BTreeMap<u64, f64>) {
        if self.values.len() + now.len() > MAX_REMEMBERED {
            self.values.clear();
        }
        self.values.extend(now);
    }
}

/// Series by hash; of a series listed twice the first.
type Found<'a> = BTreeMap<u64, &'a Series>;

/// Series that shrink together, or not at all.
struct Group<'a> {
    all: Found<'a>,
    /// A ratio's bad events.
    bad: Found<'a>,
    /// A histogram's events within the bound.
    within: Found<'a>,
}

/// A counter that is smaller than it was.
pub(super) struct Fall {
    pub(super) key: u64,
    pub(super) before: f64,
    pub(super) now: f64,
}

/// One page being read.
pub(super) struct Page<'a> {
    pub(super) series: &'a [Series],
    pub(super) past: Past,
    pub(super) now: Instant,
}

impl<'a> Page<'a> {
    /// Adds what the page says about what is wanted, and answers with what to remember for the next.
    pub(super) fn look_for(
        &self,
        wanted: &Wanted,
        before: Option<Track>,
        reading: &mut Reading,
    ) -> Option<Track> {
        let name = &wanted.threshold;
        let groups = match &wanted.selection {
            Selection::Share { bad, total } => {
                let all = self.matching(&total.metric, total);
                let bad_events = self.matching(&bad.metric, bad);
                if all.is_empty() {
                    Vec::new()
                } else {
                    vec![Group { all, bad: bad_events, within: Found::new() }]
                }
            }
            Selection::Slow { histogram, bound_s } => {
                self.histograms(name, histogram, *bound_s, reading)
            }
            Selection::Value { .. } | Selection::Answer(_) => return None,
            Selection::Largest { gauge } => {
                self.gauge(name, gauge, reading);
                return None;
            }
        };
        let question = wanted.selection.to_string();
        let before = before.filter(|track| track.question == question);
        if groups.is_empty() && !reading.readings.oddities.contains_key(name) {
            reading.readings.unmatched.insert(name.clone());
        } else if let Some(series) = groups.iter().find_map(Group::unusable) {
            let (series, value) = (series.name.clone(), series.value.to_string());
            reading.readings.oddities.insert(name.clone(), Oddity::NoCounter { series, value });
            return before;
        } else if let Some(oddity) = not_by(&wanted.by, &groups) {
            reading.readings.oddities.insert(name.clone(), oddity);
        } else if let Some(oddity) = self.without_label(&wanted.selection) {
            reading.readings.oddities.insert(name.clone(), oddity);
        }
        // A threshold new to a process that is not has its starting point in this page.
        let starts_here = before.is_none() && self.past == Past::Known;
        let mut track = before.unwrap_or_else(|| Track::new(question));
        let (count, series) = self.count(&groups, &mut track, &wanted.by);
        if !count.n.is_finite() || !count.k.is_finite() {
            let oddity = Oddity::Overflow { series: track.question.clone() };
            reading.readings.oddities.insert(name.clone(), oddity);
        } else if !groups.is_empty() && !starts_here {
            reading.readings.counts.insert(name.clone(), count);
            if !series.is_empty() {
                let series = busiest(series, SERIES_TOLD);
                reading.readings.series.insert(name.clone(), series);
            }
        }
        Some(track)
    }

    /// The counters that are smaller than they were.
    pub(super) fn falls(&self, wanted: &[Wanted], tracks: &BTreeMap<String, Track>) -> Vec<Fall> {
        let mut falls = Vec::new();
        for one in wanted {
            let Some(track) = tracks.get(&one.threshold) else { continue };
            for series in self.counters(&one.selection) {
                let key = key(series);
                if let Some(before) = track.values.get(&key).filter(|then| series.value < **then) {
                    falls.push(Fall { key, before: *before, now: series.value });
                }
            }
        }
        falls
    }

    /// Whether a process that began anew can have counted all that this page has.
    pub(super) fn can_be_new(&self, wanted: &[Wanted], tracks: &BTreeMap<String, Track>) -> bool {
        let explained = tracks.values().map(|track| track.explained(self.now)).fold(0.0, f64::max);
        let looked_at = wanted.iter().filter(|one| tracks.contains_key(&one.threshold));
        let mut counters = looked_at.flat_map(|one| self.counters(&one.selection));
        counters.all(|series| series.value <= explained)
    }

    /// What these series hold, and their names.
    pub(super) fn values<'k>(
        &self,
        keys: impl Iterator<Item = &'k u64>,
    ) -> BTreeMap<u64, (&'a str, f64)> {
        let keys: BTreeSet<u64> = keys.copied().collect();
        if keys.is_empty() {
            return BTreeMap::new();
        }
        let known = self.series.iter().map(|one| (key(one), (one.name.as_str(), one.value)));
        known.filter(|(key, _)| keys.contains(key)).collect()
    }

    /// The counters that a selection looks at. A value that no counter can have tells nothing.
    fn counters(&self, selection: &Selection) -> impl Iterator<Item = &'a Series> + use<'a> {
        let metrics = match selection {
            Selection::Share { bad, total } => vec![bad.metric.clone(), total.metric.clone()],
            Selection::Slow { histogram, .. } => {
                vec![count_name(histogram), bucket_name(histogram)]
            }
            Selection::Largest { .. } | Selection::Value { .. } | Selection::Answer(_) => {
                Vec::new()
            }
        };
        self.series.iter().filter(move |one| metrics.contains(&one.name) && one.value >= 0.0)
    }

    /// A label that the bad events' selector asks for and that no series of their metric has:
    /// nothing would ever be bad.
    fn without_label(&self, selection: &Selection) -> Option<Oddity> {
        let Selection::Share { bad, .. } = selection else { return None };
        if !self.matching(&bad.metric, bad).is_empty() {
            return None;
        }
        let all: Vec<&Series> = self.series.iter().filter(|one| one.name == bad.metric).collect();
        let missing = |label: &&Matcher| all.iter().all(|one| one.label(&label.label).is_none());
        let label = bad.matchers.iter().find(missing).filter(|_| !all.is_empty())?;
        let seen: BTreeSet<String> =
            all.iter().flat_map(|one| one.labels.keys().cloned()).collect();
        let seen = seen.into_iter().take(LABELS_SHOWN).collect();
        Some(Oddity::NoLabel { label: label.label.clone(), seen })
    }

    fn gauge(&self, name: &str, gauge: &Selector, reading: &mut Reading) {
        let matching = self.matching(&gauge.metric, gauge);
        if matching.is_empty() {
            reading.readings.unmatched.insert(name.to_owned());
        }
        let values = matching.values().map(|series| series.value).filter(|v| !v.is_nan());
        if let Some(largest) = values.reduce(f64::max) {
            reading.readings.gauges.insert(name.to_owned(), largest);
        }
    }

    /// What was added, of all and series by series.
    fn count(
        &self,
        groups: &[Group<'_>],
        track: &mut Track,
        by: &[String],
    ) -> (Count, BTreeMap<String, Tally>) {
        let (mut n, mut k, mut now) = (0.0, 0.0, BTreeMap::new());
        let mut parts: BTreeMap<String, Tally> = BTreeMap::new();
        let (explained, seconds) = (track.explained(self.now), track.seconds(self.now));
        let (mut left, mut pace) = (BTreeMap::new(), track.pace);
        // One that lost a little did not begin anew.
        let begins = |value: f64, before: f64| value <= explained && value * 2.0 <= before;
        for group in groups {
            // A histogram shrinks as a whole, even if one of its counters is past its old value.
            let anew = !group.within.is_empty() && group.shrank(&track.values);
            let fell = |(key, one): (&u64, &&Series)| {
                track.values.get(key).is_none_or(|before| begins(one.value, *before))
            };
            let lost = |(key, one): (&u64, &Series)| {
                let before = track.values.get(key);
                before.is_some_and(|then| one.value < *then && !begins(one.value, *then))
            };
            // Without those that lost a little the others would seem to be all that there is.
            let is_odd = if anew { !group.all.iter().all(fell) } else { group.series().any(lost) };
            if is_odd {
                left.extend(group.series().map(|(key, series)| (*key, series.value)));
                continue;
            }
            // `add`: what one more event of it adds to all events, and to the bad ones.
            let mut added = |found: &Found<'_>, add: (f64, f64)| {
                let mut sum = 0.0;
                for (key, series) in found {
                    let before = if anew { None } else { track.values.get(key).copied() };
                    let base = before.filter(|before| series.value >= *before);
                    let more = series.value - base.unwrap_or(0.0);
                    sum += more;
                    pace = pace.max(more / seconds);
                    now.insert(*key, series.value);
                    if !by.is_empty() && more > 0.0 {
                        let name = series_name(by, |label| series.label(label));
                        parts.entry(name).or_default().add(add.0 * more, add.1 * more);
                    }
                }
                sum
            };
            let is_histogram = !group.within.is_empty();
            let all = added(&group.all, (1.0, if is_histogram { 1.0 } else { 0.0 }));
            n += all;
            k += added(&group.bad, (0.0, 1.0));
            if is_histogram {
                k += (all - added(&group.within, (0.0, -1.0))).max(0.0);
            }
        }
        track.remember(now);
        track.leave_out(left);
        // The first page holds the whole life of a process, and tells of no pace.
        if track.at.is_some() {
            track.pace = pace;
        }
        track.at = Some(self.now);
        let since = match self.past {
            Past::None => Since::ProcessStart,
            Past::Restarted | Past::Known => Since::LastScrape,
        };
        parts.retain(|_, part| part.n > 0.0);
        for part in parts.values_mut() {
            part.k = part.k.clamp(0.0, part.n);
        }
        (Count { n, k: k.max(0.0), since }, parts)
    }

    /// Slow is what is in no bucket up to the smallest boundary at or above the bound: a request
    /// faster than the bound is never blamed. A histogram without such a boundary cannot tell and
    /// is left out.
    fn histograms(
        &self,
        name: &str,
        of: &Selector,
        bound: f64,
        reading: &mut Reading,
    ) -> Vec<Group<'a>> {
        let counts = self.matching(&count_name(of), of);
        let buckets = self.matching(&bucket_name(of), of);
        let exist = !counts.is_empty() && !buckets.is_empty();
        let mut best: BTreeMap<_, (f64, u64, &'a Series)> = BTreeMap::new();
        let mut last: Option<f64> = None;
        for (key, bucket) in buckets {
            let boundary = bucket.label("le").and_then(|le| le.parse::<f64>().ok());
            let boundary = boundary.filter(|le| le.is_finite());
            last = last.into_iter().chain(boundary).reduce(f64::max);
            let near = boundary.filter(|le| *le >= bound * (1.0 - SAME_BOUNDARY));
            let Some(boundary) = near else { continue };
            let chosen = best.entry(without_le(bucket)).or_insert((boundary, key, bucket));
            if boundary < chosen.0 {
                *chosen = (boundary, key, bucket);
            }
        }
        let mut groups = Vec::new();
        let mut farthest = 0.0_f64;
        for (key, count) in counts {
            if let Some((boundary, bucket_key, bucket)) = best.get(&without_le(count)) {
                farthest = farthest.max(*boundary);
                groups.push(Group {
                    all: Found::from([(key, count)]),
                    bad: Found::new(),
                    within: Found::from([(*bucket_key, *bucket)]),
                });
            }
        }
        if exist && groups.is_empty() {
            let oddity = Oddity::NoBucket { bound_s: bound, last_s: last };
            reading.readings.oddities.insert(name.to_owned(), oddity);
        } else if farthest > bound * (1.0 + NEAR_BOUNDARY) {
            let note = format!(
                "the bound of {bound} s is judged at {farthest} s, the next bucket boundary of {of}"
            );
            reading.notes.insert(name.to_owned(), note);
        }
        groups
    }

    fn matching(&self, metric: &str, selector: &Selector) -> Found<'a> {
        let mut found = Found::new();
        for series in self.series {
            if series.name == metric && selector.matches(|name| series.label(name)) {
                found.entry(key(series)).or_insert(series);
            }
        }
        found
    }
}

/// A label by which series are to be told apart and that none of them has.
fn not_by(by: &[String], groups: &[Group<'_>]) -> Option<Oddity> {
    let all = || groups.iter().flat_map(|group| group.all.values());
    let label = by.iter().find(|label| all().all(|one| one.label(label).is_none()))?;
    let seen: BTreeSet<String> = all().flat_map(|one| one.labels.keys().cloned()).collect();
    let seen = seen.into_iter().take(LABELS_SHOWN).collect();
    Some(Oddity::NotBy { label: label.clone(), seen })
}

impl<'a> Group<'a> {
    fn series(&self) -> impl Iterator<Item = (&u64, &'a Series)> {
        let found = self.all.iter().chain(&self.bad).chain(&self.within);
        found.map(|(key, series)| (key, *series))
    }

    /// A series whose value no counter can have.
    fn unusable(&self) -> Option<&'a Series> {
        self.series()
            .map(|(_, series)| series)
            .find(|series| !series.value.is_finite() || series.value < 0.0)
    }

    fn shrank(&self, before: &BTreeMap<u64, f64>) -> bool {
        self.series()
            .any(|(key, series)| before.get(key).is_some_and(|before| series.value < *before))
    }
}

fn key(series: &Series) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&series.name, &series.labels).hash(&mut hasher);
    hasher.finish()
}

fn without_le(series: &Series) -> Vec<(&str, &str)> {
    let labels = series.labels.iter().filter(|(name, _)| *name != "le");
    labels.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
