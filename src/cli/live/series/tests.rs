//! Every mistake about a selector, and what is said of it.

use super::*;
use crate::model::{LabelMatch, Matcher};

fn one(name: &str, labels: &[(&str, &str)], value: f64) -> Series {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Series { name: name.to_owned(), labels: labels.collect(), value }
}

fn page() -> Vec<Series> {
    vec![
        one("requests_total", &[("status", "200"), ("method", "GET")], 97.0),
        one("requests_total", &[("status", "500"), ("method", "GET")], 3.0),
        one("took_bucket", &[("le", "0.5")], 90.0),
        one("took_bucket", &[("le", "1")], 95.0),
        one("took_bucket", &[("le", "+Inf")], 100.0),
        one("took_count", &[], 100.0),
        one("wait", &[("quantile", "0.95")], 0.2),
        one("memory_bytes", &[], 80e6),
    ]
}

fn selector(metric: &str, label: Option<(&str, &str)>) -> Selector {
    let matchers = label.map(|(label, value)| Matcher {
        label: label.to_owned(),
        is: LabelMatch::Equal(value.to_owned()),
    });
    let text = label.map_or(metric.to_owned(), |(l, v)| format!("{metric}{{{l}=\"{v}\"}}"));
    Selector { metric: metric.to_owned(), matchers: matchers.into_iter().collect(), text }
}

fn of_ratio(bad: &Selector, total: &Selector) -> Finding {
    share("5xx", bad, total, &page())
}

fn of_latency(base: &str, bound_s: f64) -> Finding {
    slow("p95", &selector(base, None), bound_s, &page())
}

#[test]
fn what_is_there_is_shown_with_its_labels() {
    let found = of_ratio(
        &selector("requests_total", Some(("status", "500"))),
        &selector("requests_total", None),
    );
    assert_eq!(found.grade, Grade::Ok);
    assert_eq!(
        found.says,
        "3 of 100 events so far are bad, in 1 of 2 series; method GET; status 200, 500"
    );
    // Errors that never came have no series yet.
    let found = of_ratio(
        &selector("requests_total", Some(("status", "503"))),
        &selector("requests_total", None),
    );
    assert_eq!((found.grade, found.says.contains("0 of 100 events so far")), (Grade::Ok, true));
    let gauge_of = |metric: &str| largest("memory", &selector(metric, None), &page());
    assert_eq!(gauge_of("memory_bytes").says, "1 series, the largest is 80 000 000 now");
    assert_eq!(gauge_of("memory_byte").next, "did you mean memory_bytes?");
}

#[test]
fn a_label_that_no_series_has_is_told_with_those_they_have() {
    let found = of_ratio(
        &selector("requests_total", Some(("code", "500"))),
        &selector("requests_total", None),
    );
    assert_eq!(found.grade, Grade::Wrong);
    assert_eq!(found.says, "no series of requests_total has a label code");
    assert_eq!(found.next, "they have method GET; status 200, 500");
}

#[test]
fn a_name_that_is_not_there_is_told_with_the_likeliest() {
    let found = of_ratio(&selector("requests_total", None), &selector("request_total", None));
    assert_eq!(found.says, "there is no series request_total");
    assert_eq!(found.next, "did you mean requests_total?");
    let found = of_ratio(&selector("requests_total", None), &selector("xyz", None));
    assert!(found.next.starts_with("of the 5 names there, the likeliest are "), "{}", found.next);
}

#[test]
fn a_pair_that_is_swapped_is_told() {
    let found = of_ratio(
        &selector("requests_total", None),
        &selector("requests_total", Some(("status", "500"))),
    );
    assert_eq!(found.grade, Grade::Wrong);
    assert_eq!(found.says, "`bad` counts 100 and `total` 3, which should hold them all");
}

#[test]
fn a_limit_above_the_last_bucket_and_one_between_two_are_told() {
    assert_eq!(of_latency("took", 0.5).grade, Grade::Ok);
    let between = of_latency("took", 0.7);
    assert_eq!(between.grade, Grade::Look);
    assert_eq!(between.says, "no bucket ends at 0.7 s: what counts as slow is slower than 1 s");
    let above = of_latency("took", 2.0);
    assert_eq!(above.grade, Grade::Wrong);
    assert_eq!(
        above.says,
        "no bucket ends at 2 s or above (the last ends at 1 s): what is slower cannot be told apart"
    );
    assert_eq!(above.next, "write max = \"1s\", the buckets end at 0.5, 1 s");
}

#[test]
fn what_is_no_histogram_is_called_what_it_is() {
    assert_eq!(of_latency("wait", 0.5).says, "wait is a summary, which has no buckets");
    assert_eq!(of_latency("took_bucket", 0.5).next, "write took");
}

#[test]
fn a_label_by_which_series_are_told_apart_is_looked_for_among_them() {
    let seen = page();
    let by = |label: &str| apart("5xx", &[label.to_owned()], "requests_total", &seen);
    assert_eq!(by("status"), None);
    let missing = by("path").unwrap();
    assert_eq!(missing.grade, Grade::Wrong);
    assert!(missing.says.starts_with("no series has the label `path` of `by`; they have "));
    assert_eq!(apart("5xx", &["path".to_owned()], "unheard_of", &seen), None);
}
