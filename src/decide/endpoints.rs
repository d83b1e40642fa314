//! What each series of a threshold counted under what runs steadily, where `by` tells them apart: one that always
//! failed so much is not held against the next release.
//!
//! A release that has just earned its trust has counted little of the rare ones. Until it has enough of a series,
//! what ran before it says how that is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Context, Round, state::Phase};
use crate::{
    model::{Digest, Since, Tally},
    threshold::SERIES_PAST_MIN,
};

/// Series whose past is kept, and the events of the busiest that are.
const SERIES_MAX: usize = 200;
const EVENTS_MAX: f64 = 1e5;

/// Tallies by threshold and series.
type BySeries = BTreeMap<String, BTreeMap<String, Tally>>;

/// What each series counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Endpoints {
    /// What runs.
    #[serde(default, rename = "series_of")]
    of: Option<Digest>,
    #[serde(default, rename = "series")]
    now: BySeries,
    /// What ran before it, as far as that counted enough to say something.
    #[serde(default, rename = "series_before")]
    before: BySeries,
}

/// Takes in what this round counted of what runs steadily.
pub(super) fn keep(cx: &mut Context<'_>, phase: &Phase, round: &Round<'_>) {
    let Some(current) = &cx.memory.current else { return };
    let endpoints = &mut cx.memory.past.endpoints;
    let by_series = |name: &String| {
        let mut all = cx.policy.thresholds.iter();
        all.any(|one| one.name == *name && !one.room().by().is_empty())
    };
    endpoints.now.retain(|name, _| by_series(name));
    endpoints.before.retain(|name, _| by_series(name));
    if phase.runs_steadily() != Some(true) {
        return;
    }
    endpoints.begin(&current.digest);
    for threshold in cx.policy.thresholds.iter().filter(|one| by_series(&one.name)) {
        endpoints.count(round, &threshold.name);
    }
}

impl Endpoints {
    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.before.is_empty()
    }

    /// What each series of a threshold counted under what ran until now.
    pub(super) fn past(&self, threshold: &str) -> Option<BTreeMap<String, Tally>> {
        let mut past = self.before.get(threshold).cloned().unwrap_or_default();
        for (name, tally) in self.now.get(threshold).into_iter().flatten() {
            if tally.n >= SERIES_PAST_MIN || !past.contains_key(name) {
                past.insert(name.clone(), *tally);
            }
        }
        (!past.is_empty()).then_some(past)
    }

    /// Another question has other series.
    pub(super) fn forget(&mut self, threshold: &str) {
        self.now.remove(threshold);
        self.before.remove(threshold);
    }

    fn begin(&mut self, of: &Digest) {
        if self.of.as_ref() == Some(of) {
            return;
        }
        self.of = Some(of.clone());
        for (threshold, series) in std::mem::take(&mut self.now) {
            let before = self.before.entry(threshold).or_default();
            for (name, tally) in series.into_iter().filter(|(_, one)| one.n >= SERIES_PAST_MIN) {
                if before.len() < SERIES_MAX || before.contains_key(&name) {
                    before.insert(name, tally);
                }
            }
        }
    }

    fn count(&mut self, round: &Round<'_>, threshold: &str) {
        let series = self.now.entry(threshold.to_owned()).or_default();
        let readings =
            round.observation.samples.iter().filter_map(|one| one.readings.as_ref().ok());
        let since_before = readings.filter(|readings| {
            readings.counts.get(threshold).is_some_and(|count| count.since == Since::LastScrape)
        });
        for (name, tally) in
            since_before.filter_map(|readings| readings.series.get(threshold)).flatten()
        {
            if series.len() < SERIES_MAX || series.contains_key(name) {
                series.entry(name.clone()).or_default().add(tally.n, tally.k.min(tally.n));
            }
        }
        // What was long ago counts less and less.
        if series.values().any(|one| one.n > EVENTS_MAX) {
            for one in series.values_mut() {
                (one.n, one.k) = (one.n / 2.0, one.k / 2.0);
            }
            series.retain(|_, one| one.n >= 1.0);
        }
    }
}
