//! Which series of an answer count as one, and whose they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use jiff::Timestamp;

use super::{ByMachine, Points, SAME_BOUNDARY};
use crate::{
    config::MetricsServer,
    model::{AppName, Selector, series_name},
    ports::SampledSeries,
    sources::servers::query::{bucket_name, count_name},
};

/// Whose a series is.
fn whose(server: &MetricsServer, series: &SampledSeries) -> Option<(AppName, String)> {
    let app = series.labels.get(&server.app_label)?;
    let machine = series.labels.get(&server.machine_label)?;
    Some((AppName::new(app.clone()), machine.clone()))
}

pub(super) fn selects(selector: &Selector, metric: &str, series: &SampledSeries) -> bool {
    series.labels.get("__name__").is_some_and(|name| name == metric)
        && selector.matches(|label| series.labels.get(label).map(String::as_str))
}

/// The samples that a counter can have.
fn counted(series: &SampledSeries) -> impl Iterator<Item = (Timestamp, f64)> {
    series.samples.iter().copied().filter(|(_, value)| value.is_finite() && *value >= 0.0)
}

pub(super) fn shares(
    server: &MetricsServer,
    answer: &[SampledSeries],
    (bad, total): (&Selector, &Selector),
    by: &[String],
) -> ByMachine {
    let mut found = ByMachine::new();
    for series in answer {
        let of_all = selects(total, &total.metric, series);
        let of_bad = selects(bad, &bad.metric, series);
        let Some(whose) = whose(server, series).filter(|_| of_all || of_bad) else { continue };
        let part = |is_of_it: bool, value: f64| if is_of_it { value } else { 0.0 };
        let samples =
            counted(series).map(|(at, value)| (at, [part(of_all, value), part(of_bad, value)]));
        let (key, part) = (key(&series.labels), part_of(by, series));
        let (group, of_all) = (beside(series, bad), of_all);
        let points = Points { key, group, of_all, part, samples: samples.collect() };
        found.entry(whose).or_default().push(points);
    }
    found
}

/// A histogram's parts under the labels that they share.
#[derive(Default)]
struct Histogram<'a> {
    count: Option<&'a SampledSeries>,
    /// The smallest bucket that ends at or above the bound.
    within: Option<(f64, &'a SampledSeries)>,
}

/// Where the counted buckets of an app end, as the server writes it; `None`: one is missing.
pub(super) type Ends = BTreeMap<AppName, Option<BTreeSet<String>>>;

pub(super) fn slow(
    server: &MetricsServer,
    answer: &[SampledSeries],
    (histogram, bound_s): (&Selector, f64),
    by: &[String],
) -> (ByMachine, Ends) {
    let (count, bucket) = (count_name(histogram), bucket_name(histogram));
    let mut histograms: BTreeMap<BTreeMap<&str, &str>, Histogram<'_>> = BTreeMap::new();
    for series in answer {
        let mut labels: BTreeMap<&str, &str> =
            series.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        labels.remove("__name__");
        let le = labels.remove("le").and_then(|le| le.parse::<f64>().ok());
        if selects(histogram, &count, series) {
            histograms.entry(labels).or_default().count = Some(series);
        } else if selects(histogram, &bucket, series)
            && let Some(le) =
                le.filter(|le| le.is_finite() && *le >= bound_s * (1.0 - SAME_BOUNDARY))
        {
            let within = &mut histograms.entry(labels).or_default().within;
            if within.is_none_or(|(other, _)| le < other) {
                *within = Some((le, series));
            }
        }
    }
    let (mut found, mut ends) = (ByMachine::new(), Ends::new());
    for Histogram { count, within } in histograms.into_values() {
        let Some(count) = count else { continue };
        let Some(whose) = whose(server, count) else { continue };
        let of_app = ends.entry(whose.0.clone()).or_insert_with(|| Some(BTreeSet::new()));
        let Some((_, within)) = within else {
            *of_app = None;
            continue;
        };
        if let (Some(ends), Some(end)) = (of_app, within.labels.get("le")) {
            ends.insert(end.clone());
        }
        // Only what was read together can be compared.
        let below: BTreeMap<Timestamp, f64> = counted(within).collect();
        let samples = counted(count).filter_map(|(at, all)| Some((at, [all, *below.get(&at)?])));
        let (key, part) = (key(&count.labels), part_of(by, count));
        let samples = samples.collect();
        let points = Points { key, group: key, of_all: false, part, samples };
        found.entry(whose).or_default().push(points);
    }
    (found, ends)
}

pub(super) fn gauges(
    server: &MetricsServer,
    answer: &[SampledSeries],
    gauge: &Selector,
) -> ByMachine {
    let mut found = ByMachine::new();
    for series in answer.iter().filter(|series| selects(gauge, &gauge.metric, series)) {
        let Some(whose) = whose(server, series) else { continue };
        let samples = series.samples.iter().filter(|(_, value)| !value.is_nan());
        let samples = samples.map(|(at, value)| (*at, [*value, 0.0])).collect();
        let key = key(&series.labels);
        let points = Points { key, group: key, of_all: false, part: None, samples };
        found.entry(whose).or_default().push(points);
    }
    found
}

/// Which series are read together with this one: they differ by what tells bad events from others.
fn beside(series: &SampledSeries, bad: &Selector) -> u64 {
    let tells = |name: &String| bad.matchers.iter().any(|matcher| matcher.label == *name);
    let mut hasher = DefaultHasher::new();
    for label in series.labels.iter().filter(|(name, _)| *name != "__name__" && !tells(name)) {
        label.hash(&mut hasher);
    }
    hasher.finish()
}

/// Which of those that are told apart a series belongs to.
fn part_of(by: &[String], series: &SampledSeries) -> Option<Arc<str>> {
    let label = |name: &str| series.labels.get(name).map(String::as_str);
    (!by.is_empty()).then(|| series_name(by, label).into())
}

fn key(labels: &BTreeMap<String, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    labels.hash(&mut hasher);
    hasher.finish()
}
