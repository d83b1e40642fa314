//! One page against what is remembered: the counts and gauges of every threshold.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

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
const SERIES_TOLD: usize = 200;

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
}

impl Track {
    pub(super) fn clear(&mut self) {
        self.values.clear();
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

/// One page being read.
pub(super) struct Page<'a> {
    pub(super) series: &'a [Series],
    pub(super) past: Past,
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
        let (question, groups) = match &wanted.selection {
            Selection::Share { bad, total } => {
                let all = self.matching(&total.metric, total);
                let bad_events = self.matching(&bad.metric, bad);
                let groups = if all.is_empty() {
                    Vec::new()
                } else {
                    vec![Group { all, bad: bad_events, within: Found::new() }]
                };
                (format!("{bad} of {total}"), groups)
            }
            Selection::Slow { histogram, bound_s } => {
                let groups = self.histograms(name, histogram, *bound_s, reading);
                (format!("{histogram} above {bound_s}"), groups)
            }
            Selection::Value { .. } | Selection::Answer(_) => return None,
            Selection::Largest { gauge } => {
                self.gauge(name, gauge, reading);
                return None;
            }
        };
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
        let mut track = before.unwrap_or(Track { question, values: BTreeMap::new() });
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

    /// Whether a counter is smaller than it was.
    pub(super) fn shrank(&self, wanted: &[Wanted], tracks: &BTreeMap<String, Track>) -> bool {
        wanted.iter().any(|one| {
            let Some(track) = tracks.get(&one.threshold) else { return false };
            let metrics = match &one.selection {
                Selection::Share { bad, total } => vec![bad.metric.clone(), total.metric.clone()],
                Selection::Slow { histogram, .. } => {
                    vec![count_name(histogram), bucket_name(histogram)]
                }
                Selection::Largest { .. } | Selection::Value { .. } | Selection::Answer(_) => {
                    return false;
                }
            };
            // A value that no counter can have tells nothing.
            let counts = |series: &&Series| metrics.contains(&series.name) && series.value >= 0.0;
            self.series.iter().filter(counts).any(|series| {
                track.values.get(&key(series)).is_some_and(|before| series.value < *before)
            })
        })
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
        for group in groups {
            // A histogram shrinks as a whole, even if one of its counters is past its old value.
            let anew = !group.within.is_empty() && group.shrank(&track.values);
            // `add`: what one more event of it adds to all events, and to the bad ones.
            let mut added = |found: &Found<'_>, add: (f64, f64)| {
                let mut sum = 0.0;
                for (key, series) in found {
                    let before = if anew { None } else { track.values.get(key).copied() };
                    let base = before.filter(|before| series.value >= *before);
                    let more = series.value - base.unwrap_or(0.0);
                    sum += more;
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
