//! What is asked: one query for all apps that want the same.
//!
//! A query asks for raw samples, with the times at which the server took them, and for increments or
//! sums of none: a server's own functions guess at the ends of their windows, and a sum over series
//! hides which of them began anew.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    config::MetricsServer,
    model::{AppName, LabelMatch, Matcher, Selection, Selector},
};

/// How far back raw samples are asked for, at least: late ones come in between.
const LOOK_BACK: Duration = Duration::from_secs(90);
/// and at least so many of the server's own readings.
const LOOK_BACK_SCRAPES: u32 = 4;

/// The series that a selection needs of some apps, as a query; of a histogram the buckets that end
/// at `ends`, or all.
pub(super) fn of(
    selection: &Selection,
    server: &MetricsServer,
    apps: &[AppName],
    ends: &BTreeSet<String>,
) -> String {
    let back = LOOK_BACK.max(server.scrape_every * LOOK_BACK_SCRAPES);
    bounded(selection, server, apps, back, ends)
}

/// The same as far `back` as is wanted. An expression is answered as it is now.
pub(super) fn since(
    selection: &Selection,
    server: &MetricsServer,
    apps: &[AppName],
    back: Duration,
) -> String {
    bounded(selection, server, apps, back, &BTreeSet::new())
}

fn bounded(
    selection: &Selection,
    server: &MetricsServer,
    apps: &[AppName],
    back: Duration,
    ends: &BTreeSet<String>,
) -> String {
    let (names, mut conditions) = match selection {
        Selection::Share { bad, total } => {
            let mut names = vec![total.metric.clone()];
            if bad.metric != total.metric {
                names.push(bad.metric.clone());
            }
            (names, common(bad, total))
        }
        Selection::Slow { histogram, .. } => {
            (vec![count_name(histogram), bucket_name(histogram)], conditions(histogram))
        }
        Selection::Largest { gauge } => (vec![gauge.metric.clone()], conditions(gauge)),
        // It is asked as it is written.
        Selection::Value { expression } => return expression.clone(),
        // Nobody's series: we ask the machines ourselves.
        Selection::Answer(_) => return String::new(),
    };
    if !ends.is_empty() {
        // What has no such label is the count.
        let ends: Vec<String> = ends.iter().map(|end| regex::escape(end)).collect();
        conditions.push(format!("le=~\"|{}\"", quoted(&ends.join("|"))));
    }
    let apps: Vec<String> = apps.iter().map(|app| regex::escape(app.as_str())).collect();
    let apps = format!("{}=~\"{}\"", server.app_label, quoted(&apps.join("|")));
    let conditions: Vec<String> = std::iter::once(apps).chain(conditions).collect();
    let conditions = conditions.join(",");
    let back = back.as_secs();
    match names.as_slice() {
        [name] => format!("{name}{{{conditions}}}[{back}s]"),
        names => {
            let names = quoted(&names.join("|"));
            format!("{{__name__=~\"{names}\",{conditions}}}[{back}s]")
        }
    }
}

/// What a server has now of some metrics of an app: names as they are, every series of each.
pub fn present(metrics: &[String], server: &MetricsServer, app: &AppName) -> String {
    let names = quoted(&metrics.join("|"));
    format!("{{__name__=~\"{names}\",{}=\"{}\"}}", server.app_label, quoted(app.as_str()))
}

/// How much a counter grew in a second, over the `hours` before, summed by these labels.
pub fn rates(metric: &str, by: &[&str], hours: u64) -> String {
    format!("sum by ({}) (rate({metric}[{hours}h]))", by.join(", "))
}

pub(super) fn count_name(histogram: &Selector) -> String {
    format!("{}_count", histogram.metric)
}

pub(super) fn bucket_name(histogram: &Selector) -> String {
    format!("{}_bucket", histogram.metric)
}

fn conditions(selector: &Selector) -> Vec<String> {
    selector.matchers.iter().map(condition).collect()
}

/// What both ask for: the rest is looked at here, so that what is not there can be told.
fn common(one: &Selector, other: &Selector) -> Vec<String> {
    let others = conditions(other);
    conditions(one).into_iter().filter(|condition| others.contains(condition)).collect()
}

fn condition(matcher: &Matcher) -> String {
    let (is, value) = match &matcher.is {
        LabelMatch::Equal(value) => ("=", value.as_str()),
        LabelMatch::NotEqual(value) => ("!=", value.as_str()),
        LabelMatch::Regex(pattern) => ("=~", pattern.as_str()),
        LabelMatch::NotRegex(pattern) => ("!~", pattern.as_str()),
    };
    format!("{}{is}\"{}\"", matcher.label, quoted(value))
}

/// A text as it stands in quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Selector;

    fn matching(metric: &str, matchers: &[(&str, LabelMatch)]) -> Selector {
        let matchers = matchers
            .iter()
            .map(|(label, is)| Matcher { label: (*label).to_owned(), is: is.clone() })
            .collect();
        Selector { metric: metric.to_owned(), matchers, text: metric.to_owned() }
    }

    fn asked(selection: &Selection) -> String {
        of(selection, &MetricsServer::fly(), &["api".into(), "web.1".into()], &BTreeSet::new())
    }

    #[test]
    fn all_apps_are_asked_for_at_once() {
        let pattern = LabelMatch::Regex(regex::Regex::new("5..").unwrap());
        let selection = Selection::Share {
            bad: matching("responses", &[("status", pattern)]),
            total: Selector::metric("responses"),
        };
        assert_eq!(asked(&selection), r#"responses{app=~"api|web\\.1"}[90s]"#);
    }

    #[test]
    fn what_both_selectors_ask_for_is_asked_of_the_server() {
        let get = || ("method", LabelMatch::Equal("a\"b\\".to_owned()));
        let other = ("path", LabelMatch::NotEqual("/".to_owned()));
        let selection = Selection::Share {
            bad: matching("errors", &[get(), other]),
            total: matching("responses", &[get()]),
        };
        assert_eq!(
            asked(&selection),
            r#"{__name__=~"responses|errors",app=~"api|web\\.1",method="a\"b\\"}[90s]"#
        );
    }

    #[test]
    fn a_histogram_is_its_counts_and_its_buckets() {
        let selection = Selection::Slow { histogram: Selector::metric("took"), bound_s: 0.5 };
        assert_eq!(
            asked(&selection),
            r#"{__name__=~"took_count|took_bucket",app=~"api|web\\.1"}[90s]"#
        );
    }

    #[test]
    fn what_is_there_of_an_app_and_how_fast_all_apps_counted_is_asked_as_a_server_reads_it() {
        let metrics = ["took_bucket".to_owned(), "took_count".to_owned()];
        let server = MetricsServer { app_label: "service".to_owned(), ..MetricsServer::fly() };
        assert_eq!(
            present(&metrics, &server, &"a\"b".into()),
            r#"{__name__=~"took_bucket|took_count",service="a\"b"}"#
        );
        assert_eq!(
            rates("responses", &["app", "status"], 6),
            "sum by (app, status) (rate(responses[6h]))"
        );
    }

    #[test]
    fn of_a_histogram_whose_buckets_are_known_the_counted_one_is_asked_for() {
        let selection = Selection::Slow { histogram: Selector::metric("took"), bound_s: 0.5 };
        let ends = ["0.5".to_owned(), "1e+06".to_owned()].into();
        assert_eq!(
            of(&selection, &MetricsServer::fly(), &["api".into()], &ends),
            r#"{__name__=~"took_count|took_bucket",app=~"api",le=~"|0\\.5|1e\\+06"}[90s]"#
        );
    }

    #[test]
    fn a_server_that_reads_seldom_is_asked_for_a_longer_time() {
        let server =
            MetricsServer { scrape_every: Duration::from_secs(60), ..MetricsServer::fly() };
        let selection = Selection::Largest { gauge: Selector::metric("bytes") };
        assert_eq!(
            of(&selection, &server, &["api".into()], &BTreeSet::new()),
            r#"bytes{app=~"api"}[240s]"#
        );
    }
}
