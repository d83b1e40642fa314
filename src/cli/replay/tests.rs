//! A past at a server that is made up, replayed from different times on.

use std::sync::Mutex;

use async_trait::async_trait;

use super::{
    stage::{BEGAN, at, ratio, threshold},
    *,
};
use crate::{
    model::{LabelMatch, Matcher, NoData, Promql, Selector, ThresholdKind},
    ports::{SampledSeries, ServerError, ServerQuery},
};

/// One machine that answers fifty requests a second, read every 15 s from a time on; of those of one
/// burst 29 % fail.
struct Fake {
    since: i64,
    burst: std::ops::Range<i64>,
    /// It takes no expressions.
    refuses: bool,
    /// From when on it has no answer.
    fails_from: i64,
    asked: Mutex<Vec<String>>,
}

const HOUR: i64 = 3600;

impl Fake {
    /// Requests and failures up to a second.
    fn counted(&self, second: i64) -> [i64; 2] {
        let bad = (second.min(self.burst.end) - self.burst.start).max(0);
        [50 * (second - self.since), bad * 50 * 29 / 100]
    }
}

#[async_trait]
impl MetricsServers for Fake {
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError> {
        self.asked.lock().unwrap().push(query.query.to_owned());
        if self.refuses && query.query.starts_with('(') {
            let error = ServerError::plain("subqueries are not for us".to_owned());
            return Err(ServerError { query_refused: true, ..error });
        }
        let until = query.at.unwrap().as_second() - BEGAN;
        if until > self.fails_from {
            return Err(ServerError::plain("it took more memory than it may".to_owned()));
        }
        let seconds: Vec<i64> = (until - 1800..=until)
            .filter(|second| second.rem_euclid(15) == 4 && *second >= self.since)
            .collect();
        let series = |status: &str, of: &dyn Fn([i64; 2]) -> i64| {
            let counted = seconds.iter().map(|second| (*second, of(self.counted(*second))));
            let samples = counted.filter(|(_, events)| *events > 0);
            let samples = samples
                .map(|(second, events)| (at(second), f64::from(i32::try_from(events).unwrap())))
                .collect();
            let labels =
                [("__name__", "responses"), ("app", "api"), ("instance", "m1"), ("status", status)]
                    .map(|(label, value)| (label.to_owned(), value.to_owned()));
            SampledSeries { labels: labels.into(), samples }
        };
        let all = [series("200", &|[all, bad]| all - bad), series("500", &|[_, bad]| bad)];
        Ok(all.into_iter().filter(|one| !one.samples.is_empty()).collect())
    }
}

/// Of responses those with a status that is like this.
fn responses(status: &str) -> Selector {
    let is = LabelMatch::Regex(regex::Regex::new(status).unwrap());
    let matchers = vec![Matcher { label: "status".to_owned(), is }];
    Selector { matchers, ..Selector::metric("responses") }
}

/// At most 2 % of the requests may fail, and an expression may come to 20 at most.
fn policy(names: &[&str]) -> Arc<Policy> {
    let from = MetricsServer::fly().origin();
    let counted = ratio(responses("^5..$"), Selector::metric("responses"), from.clone());
    let promql = Promql {
        expression: "hanging{app=\"$app\"}".to_owned(),
        looks_back: Duration::from_secs(60),
        max: 20.0,
        sustain: Duration::from_secs(30),
        quorum: 0.3,
        from,
    };
    let kinds = [("5xx", counted), ("hang", ThresholdKind::Promql(promql))];
    let named = kinds.into_iter().filter(|(name, _)| names.contains(name));
    let all = named.map(|(name, kind)| threshold(name, kind, NoData::Hold));
    stage::policy(all.collect())
}

/// What is found of it between two times.
async fn found(
    fake: &Arc<Fake>,
    names: &[&str],
    (from, until): (i64, i64),
) -> anyhow::Result<Course> {
    let (app, policy, server) = (AppName::new("api"), policy(names), MetricsServer::fly());
    let grid = Grid::new(&policy, server.scrape_every);
    let mut both = Both::new((&app, &policy), &[], &server.origin(), &[], (at(from), grid));
    let begins = grid.begins(at(from));
    let mut past = Past::new(fake.clone(), server, &app, &both.wants(), begins);
    let times = (begins, at(until), grid.every());
    walk(&mut both, (&mut past, &mut []), times, |_| ()).await?;
    both.course.finish();
    Ok(both.course)
}

fn breaches(course: &Course) -> Vec<Vec<(Timestamp, Option<Timestamp>)>> {
    let each = course.ladders.iter().flat_map(|ladder| &ladder.rungs);
    each.map(|rung| rung.breaches.iter().map(|one| (one.at, one.until)).collect()).collect()
}

#[tokio::test]
async fn one_outage_is_found_alike_in_every_window_that_holds_it() {
    // Given a past that begins at some minute, and an outage of a minute and three quarters in it, once
    // in the midst of a half hour and once across the end of one
    let until = 3 * HOUR;
    for (since, burst) in [(4500, 6100), (5390, 7150), (-9 * HOUR, 5350)] {
        let asked = Mutex::default();
        let fake = Arc::new(Fake {
            since,
            burst: burst..burst + 105,
            refuses: false,
            fails_from: i64::MAX,
            asked,
        });
        let whole = found(&fake, &["5xx"], (-6 * HOUR, until)).await.unwrap();
        let own = whole.ladders[0].as_it_is().unwrap();
        assert_eq!(own.breaches.len(), 1, "since {since}, at {burst}: {:?}", own.breaches);
        assert!(own.breaches[0].at > at(burst) && own.breaches[0].at < at(burst + 120));

        // When the window begins at any minute before it, then the same is found at every limit
        for from in (burst - 2 * HOUR..burst).step_by(11 * 60 + 13) {
            let course = found(&fake, &["5xx"], (from, until)).await.unwrap();
            assert_eq!(breaches(&course), breaches(&whole), "since {since}, at {burst}, {from}");
            assert_eq!((course.from, course.until), (Some(at(from)), Some(at(until))));
        }

        // And nothing of it once it is over
        let course = found(&fake, &["5xx"], (burst + 1200, until)).await.unwrap();
        assert!(breaches(&course).iter().all(Vec::is_empty), "{:?}", breaches(&course));
    }
}

#[tokio::test]
async fn what_the_server_does_not_take_is_left_out_and_named_and_the_rest_is_judged() {
    // Given a server that takes no expressions
    let fake = Arc::new(Fake {
        since: 0,
        burst: 2000..2105,
        refuses: true,
        fails_from: i64::MAX,
        asked: Mutex::default(),
    });

    // When a policy has one besides what is counted, then that alone is left out, and asked for once
    let course = found(&fake, &["5xx", "hang"], (0, 2 * HOUR)).await.unwrap();
    let refused: Vec<(&str, &str)> =
        course.refused.iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    assert_eq!(refused, [("hang", "subqueries are not for us")]);
    assert_eq!(course.ladders.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["5xx"]);
    assert_eq!(course.ladders[0].as_it_is().unwrap().breaches.len(), 1);
    let asked = fake.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|query| query.starts_with('(')).count(), 1, "{asked:?}");
    let lived = Lived::new(
        (&"api".into(), &policy(&["hang"])),
        &[],
        &MetricsServer::fly().origin(),
        &[],
        at(0),
    );
    let shown = page::text(&"api".into(), &policy(&["5xx", "hang"]), &course, &lived);
    assert!(shown.contains("does not take its query: hang: subqueries are not for us"), "{shown}");

    // And when nothing else is wanted, that is an error
    let error = found(&fake, &["hang"], (0, 2 * HOUR)).await.err().unwrap().to_string();
    assert!(error.contains("hang: subqueries are not for us"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_told_before_it_failed_is_not_lost() {
    // Given a server that has no answer for the last of four hours
    let (burst, asked) = (2000..2105, Mutex::default());
    let fake = Arc::new(Fake { since: -HOUR, burst, refuses: false, fails_from: 2 * HOUR, asked });

    // When they are replayed
    let course = found(&fake, &["5xx"], (0, 3 * HOUR)).await.unwrap();

    // Then the outage before is found, and it says where it ends and why, after the query was tried again
    assert_eq!(course.ladders[0].as_it_is().unwrap().breaches.len(), 1);
    let (app, policy) = (AppName::new("api"), policy(&["5xx"]));
    let origin = MetricsServer::fly().origin();
    let mut lived = Lived::new((&app, &policy), &[], &origin, &[], at(0));
    lived.deploys = vec![super::lived::Deploy {
        at: at(HOUR + 3000),
        release: crate::model::ReleaseVersion(2),
        undone: None,
        events: Vec::new(),
    }];
    let text = page::text(&app, &policy, &course, &lived);
    let said =
        "it ends at 2026-03-01 14:00:00, since the server answered no more: it took more memory";
    assert!(text.contains(said), "{text}");
    assert!(text.contains("left as it is, and not trusted in 10 min"), "{text}");
    let json = page::json(&app, &policy, &course, &lived);
    assert_eq!(json["cut"], "it took more memory than it may");
    assert_eq!(json["until"], "2026-03-01T14:00:00Z");
    let asked = fake.asked.lock().unwrap().len();
    assert_eq!(asked, 5 + 3, "five half hours, and the one that fails three times");

    // And one that tells nothing at all is an error
    let error = found(&fake, &["5xx"], (3 * HOUR, 4 * HOUR)).await.err().unwrap().to_string();
    assert_eq!(error, "it took more memory than it may");
}

#[tokio::test]
async fn where_the_past_begins_late_or_ends_early_it_is_said_from_when_to_when_it_is() {
    let shown = async |since: i64, ends: Option<i64>| {
        let window = (-3 * HOUR, 3 * HOUR);
        let asked = Mutex::default();
        let fake =
            Arc::new(Fake { since, burst: 0..0, refuses: false, fails_from: i64::MAX, asked });
        let (app, policy) = (AppName::new("api"), policy(&["5xx"]));
        let mut course = found(&fake, &["5xx"], window).await.unwrap();
        if let (Some(ends), Some((_, last))) = (ends, &mut course.found) {
            *last = at(ends);
        }
        let lived =
            Lived::new((&app, &policy), &[], &MetricsServer::fly().origin(), &[], at(window.0));
        let json = page::json(&app, &policy, &course, &lived);
        (page::text(&app, &policy, &course, &lived), json)
    };
    // Six hours are asked for, and the server has an hour and three quarters
    let (text, json) = shown(4500, None).await;
    let said = "there is nothing before 2026-03-01 13:15:15: 1 h 44 min of the 6 h are judged\n";
    assert!(text.contains(said), "{text}");
    assert_eq!(json["found_from"], "2026-03-01T13:15:15Z", "{json}");
    assert_eq!(json["found_until"], json["until"], "{json}");
    // And it went away in the last hour
    let (text, json) = shown(4500, Some(2 * HOUR)).await;
    let said = "nothing before 2026-03-01 13:15:15 and after 2026-03-01 14:00:00: 44 min 45 s of";
    assert!(text.contains(said), "{text}");
    assert_eq!(json["found_until"], "2026-03-01T14:00:00Z", "{json}");
    // It has all of them
    let (text, json) = shown(-9 * HOUR, None).await;
    assert!(!text.contains("there is nothing"), "{text}");
    assert_eq!(json["found_from"], json["from"], "{json}");
}

#[test]
fn the_past_is_looked_at_at_the_same_moments_whatever_is_asked_for() {
    // Of a server that reads every 7 s a span is half an hour and some seconds
    for every in [1, 7, 15, 3600] {
        let grid = Grid::new(&policy(&["5xx"]), Duration::from_secs(every));
        let every_ms = grid.every().as_millis();
        let mut begun: Vec<i128> = Vec::new();
        for from in (0..20_000).step_by(997) {
            let begins = grid.begins(at(from));
            assert!(begins <= at(from) && grid.span(at(from), begins) >= 1);
            begun.push(i128::from(begins.as_millisecond()));
        }
        assert!(begun.iter().all(|one| (one - begun[0]) % every_ms == 0), "{every}: {begun:?}");
    }
    let grid = Grid::new(&policy(&["5xx"]), Duration::from_secs(15));
    assert_eq!(grid.begins(at(HOUR + 1)), at(1800), "a span before it, on the half hour");
}
