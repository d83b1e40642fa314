//! What a threshold's selectors find among real series: pure, so that every mistake has its test.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Grade};
use crate::{
    model::{Note, Oddity, Selector},
    numbers::plain,
    sources::pages::parse::Series,
    threshold::remark,
};

/// Names and values shown, at most.
const SHOWN: usize = 8;
/// A bucket is the one of a bound when it is so near to it.
const SAME: f64 = 1e-9;
/// Names are taken for one that was misspelt from so much likeness on.
const ALIKE: f64 = 0.93;

fn number(value: f64) -> String {
    plain(value, 6)
}

/// The series that a share is made of.
pub(super) fn share(what: &str, bad: &Selector, total: &Selector, seen: &[Series]) -> Finding {
    let (of_bad, of_total) = (bad, total);
    let total = match chosen(of_total, seen) {
        Ok(total) => total,
        Err((why, next)) => return Finding::wrong(what, why, next),
    };
    let bad = match chosen(of_bad, seen) {
        Ok(bad) => bad,
        // A series of errors comes with the first of them.
        Err(_) if of_bad.metric == of_total.metric => Vec::new(),
        Err((why, next)) => return Finding::wrong(what, why, next),
    };
    if let Some(label) = lacking(of_bad, seen) {
        let has = labels(&of_bad.metric, seen);
        let why = format!("no series of {} has a label {label}", of_bad.metric);
        return Finding::wrong(what, why, format!("they have {has}"));
    }
    let of = |series: &[&Series]| series.iter().map(|one| one.value).sum::<f64>();
    let (k, n) = (of(&bad), of(&total));
    if k > n {
        let why = format!(
            "`bad` counts {} and `total` {}, which should hold them all",
            number(k),
            number(n)
        );
        return Finding::wrong(what, why, "write the selector of all events as `total`".to_owned());
    }
    let has = labels(&of_bad.metric, seen);
    let counted = format!("{} of {} events so far are bad", number(k), number(n));
    Finding::ok(what, format!("{counted}, in {} of {} series; {has}", bad.len(), total.len()))
}

/// The buckets by which slow requests are told apart; `bound` in seconds.
pub(super) fn slow(what: &str, histogram: &Selector, bound: f64, seen: &[Series]) -> Finding {
    let base = &histogram.metric;
    let bucket = Selector { metric: format!("{base}_bucket"), ..histogram.clone() };
    let buckets = match chosen(&bucket, seen) {
        Ok(buckets) => buckets,
        Err(_) if seen.iter().any(|s| s.name == *base && s.labels.contains_key("quantile")) => {
            let why = format!("{base} is a summary, which has no buckets");
            let next = "have the app count it in a histogram, or use a gauge on its quantile";
            return Finding::wrong(what, why, next.to_owned());
        }
        Err(_) if base.ends_with("_bucket") => {
            let name = base.trim_end_matches("_bucket");
            let why = format!("a histogram goes by its base name, and {base} is its buckets'");
            return Finding::wrong(what, why, format!("write {name}"));
        }
        Err((why, next)) => return Finding::wrong(what, why, next),
    };
    let mut ends: Vec<f64> = buckets
        .iter()
        .filter_map(|series| series.label("le")?.parse::<f64>().ok())
        .filter(|end| end.is_finite())
        .collect();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    let shown: Vec<String> = ends.iter().map(|end| number(*end)).collect();
    let shown = shown.join(", ");
    match ends.iter().find(|end| **end >= bound * (1.0 - SAME)) {
        None => {
            // As the daemon says it.
            let oddity = Oddity::NoBucket { bound_s: bound, last_s: ends.last().copied() };
            let why = remark(&Note::Odd(oddity), what);
            // Here it is known which end that is.
            let why = why.split_once("; write ").map_or(why.as_str(), |(why, _)| why);
            let last = ends.last().map(|last| format!("write max = \"{}\", ", span(*last)));
            let next = format!("{}the buckets end at {shown} s", last.unwrap_or_default());
            Finding::wrong(what, why.to_owned(), next)
        }
        Some(end) if *end > bound * (1.0 + SAME) => {
            let why = format!(
                "no bucket ends at {} s: what counts as slow is slower than {} s",
                number(bound),
                number(*end)
            );
            Finding::new(Grade::Look, what, why, format!("the buckets end at {shown} s"))
        }
        Some(_) => Finding::ok(what, format!("a bucket ends there; all end at {shown} s")),
    }
}

/// As a configuration has it: `10s`, `250ms`.
fn span(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{}ms", number(seconds * 1000.0))
    } else {
        format!("{}s", number(seconds))
    }
}

/// Whether the labels are there by which series are told apart; `None`: they are.
pub(super) fn apart(what: &str, by: &[String], metric: &str, seen: &[Series]) -> Option<Finding> {
    let named = || seen.iter().filter(|one| one.name == metric);
    named().next()?;
    let label = by.iter().find(|label| named().all(|one| !one.labels.contains_key(*label)))?;
    let names: BTreeSet<&String> = named().flat_map(|one| one.labels.keys()).collect();
    let seen_labels = names.into_iter().take(SHOWN).cloned().collect();
    let oddity = Oddity::NotBy { label: label.clone(), seen: seen_labels };
    let next = format!("they have {}", labels(metric, seen));
    Some(Finding::wrong(what, remark(&Note::Odd(oddity), what), next))
}

/// The series of a gauge.
pub(super) fn largest(what: &str, gauge: &Selector, seen: &[Series]) -> Finding {
    match chosen(gauge, seen) {
        Ok(series) => {
            let largest = series.iter().map(|one| one.value).fold(f64::MIN, f64::max);
            let says = format!("{} series, the largest is {} now", series.len(), number(largest));
            Finding::ok(what, says)
        }
        Err((why, next)) => Finding::wrong(what, why, next),
    }
}

/// The series that a selector selects; otherwise why there are none, and what there is.
fn chosen<'a>(
    selector: &Selector,
    seen: &'a [Series],
) -> Result<Vec<&'a Series>, (String, String)> {
    let named: Vec<&Series> = seen.iter().filter(|one| one.name == selector.metric).collect();
    if named.is_empty() {
        let why = format!("there is no series {}", selector.metric);
        return Err((why, near(&selector.metric, seen)));
    }
    let chosen: Vec<&Series> =
        named.into_iter().filter(|one| selector.matches(|label| one.label(label))).collect();
    if chosen.is_empty() {
        let has = labels(&selector.metric, seen);
        return Err((format!("no series is as {selector} wants it"), format!("they have {has}")));
    }
    Ok(chosen)
}

/// A label that a selector asks for and that no series of its metric has.
fn lacking<'a>(selector: &'a Selector, seen: &[Series]) -> Option<&'a str> {
    let mut asked = selector.matchers.iter().map(|matcher| matcher.label.as_str());
    asked.find(|label| {
        let mut named = seen.iter().filter(|one| one.name == selector.metric).peekable();
        named.peek().is_some() && named.all(|one| !one.labels.contains_key(*label))
    })
}

/// Labels that say where something was counted, which every series of a server has.
const PLACES: [&str; 5] = ["app", "host", "instance", "proxy_id", "region"];

/// `status 200, 404; method GET`: the labels of a metric and their values, but for [`PLACES`].
fn labels(metric: &str, seen: &[Series]) -> String {
    let is_told = |name: &str| name != "le" && !PLACES.contains(&name);
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for series in seen.iter().filter(|one| one.name == metric) {
        for (name, value) in series.labels.iter().filter(|(name, _)| is_told(name)) {
            labels.entry(name).or_default().insert(value);
        }
    }
    if labels.is_empty() {
        return "no labels".to_owned();
    }
    let list = |values: &BTreeSet<&str>| {
        let mut shown: Vec<&str> = values.iter().take(SHOWN).copied().collect();
        if values.len() > SHOWN {
            shown.push("…");
        }
        shown.join(", ")
    };
    let all: Vec<String> = labels
        .iter()
        .take(SHOWN)
        .map(|(name, values)| format!("{name} {}", list(values)))
        .collect();
    all.join("; ")
}

/// What is there and has a name like it.
fn near(metric: &str, seen: &[Series]) -> String {
    let names: BTreeSet<&str> = seen.iter().map(|one| one.name.as_str()).collect();
    if names.is_empty() {
        return "the page has no series at all".to_owned();
    }
    let mut by_likeness: Vec<(&str, f64)> =
        names.iter().map(|name| (*name, strsim::jaro_winkler(name, metric))).collect();
    by_likeness.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let near: Vec<&str> = by_likeness.iter().take(3).map(|(name, _)| *name).collect();
    match by_likeness.first() {
        Some((name, likeness)) if *likeness > ALIKE => format!("did you mean {name}?"),
        _ => format!("of the {} names there, the likeliest are {}", names.len(), near.join(", ")),
    }
}

#[cfg(test)]
mod tests;
