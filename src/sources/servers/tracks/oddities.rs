//! What makes the series of an app impossible to judge, although the server has some.

use std::collections::{BTreeMap, BTreeSet};

use super::{SAME_BOUNDARY, series::selects};
use crate::{
    config::MetricsServer,
    model::{AppName, Matcher, Oddity, Selection, Selector},
    ports::SampledSeries,
    sources::servers::query::{bucket_name, count_name},
};

/// Most label names shown where one is missing.
const LABELS_SHOWN: usize = 12;

/// Why the series of each of these apps cannot be judged, if they cannot. An app without series has
/// no answer.
pub(super) fn of_each(
    (selection, server): (&Selection, &MetricsServer),
    by: &[String],
    answer: &[SampledSeries],
) -> BTreeMap<AppName, Option<Oddity>> {
    let mut apps: BTreeMap<&String, Vec<&SampledSeries>> = BTreeMap::new();
    for series in answer {
        if let Some(app) = series.labels.get(&server.app_label) {
            apps.entry(app).or_default().push(series);
        }
    }
    let of = |series: &[&SampledSeries]| match selection {
        Selection::Share { bad, total } => {
            not_by(by, total, &total.metric, series).or_else(|| without_label(bad, total, series))
        }
        Selection::Slow { histogram, bound_s } => {
            not_by(by, histogram, &count_name(histogram), series)
                .or_else(|| no_bucket(histogram, *bound_s, series))
        }
        Selection::Largest { .. } | Selection::Value { .. } | Selection::Answer(_) => None,
    };
    apps.into_iter().map(|(app, series)| (AppName::new(app.clone()), of(&series))).collect()
}

/// No bucket of any of these histograms ends at the bound or above it.
fn no_bucket(histogram: &Selector, bound_s: f64, answer: &[&SampledSeries]) -> Option<Oddity> {
    let bucket = bucket_name(histogram);
    let of_it = answer.iter().filter(|series| selects(histogram, &bucket, series));
    let ends: Vec<f64> =
        of_it.filter_map(|series| series.labels.get("le")?.parse::<f64>().ok()).collect();
    let last = ends.iter().copied().filter(|end| end.is_finite()).reduce(f64::max);
    let reaches = last.is_some_and(|last| last >= bound_s * (1.0 - SAME_BOUNDARY));
    (!ends.is_empty() && !reaches).then_some(Oddity::NoBucket { bound_s, last_s: last })
}

/// A label by which series are to be told apart and that none of them has.
fn not_by(
    by: &[String],
    selector: &Selector,
    metric: &str,
    answer: &[&SampledSeries],
) -> Option<Oddity> {
    let all: Vec<&SampledSeries> =
        answer.iter().copied().filter(|series| selects(selector, metric, series)).collect();
    let missing = |label: &&String| all.iter().all(|one| !one.labels.contains_key(*label));
    let label = by.iter().find(missing).filter(|_| !all.is_empty())?;
    Some(Oddity::NotBy { label: label.clone(), seen: labels_of(all.iter().copied()) })
}

/// The labels that series have, but for their name; not too many.
fn labels_of<'a>(series: impl Iterator<Item = &'a SampledSeries>) -> Vec<String> {
    let names: BTreeSet<&String> = series.flat_map(|series| series.labels.keys()).collect();
    let names = names.into_iter().filter(|name| *name != "__name__");
    names.take(LABELS_SHOWN).cloned().collect()
}

/// A label that the bad events' selector asks for and that no series of their metric has: nothing
/// would ever be bad.
fn without_label(bad: &Selector, total: &Selector, answer: &[&SampledSeries]) -> Option<Oddity> {
    if bad.metric != total.metric || answer.is_empty() {
        return None;
    }
    let missing =
        |one: &&Matcher| answer.iter().all(|series| !series.labels.contains_key(&one.label));
    let label = bad.matchers.iter().find(missing)?;
    let seen = labels_of(answer.iter().copied());
    Some(Oddity::NoLabel { label: label.label.clone(), seen })
}
