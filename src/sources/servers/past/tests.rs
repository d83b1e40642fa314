//! What a server has of the past, from a server that is made up.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::model::{Selector, SourceName};

/// One server: each machine has one good and one bad counter, read every 15 s, which grow by 150 and by 3.
#[derive(Default)]
struct Fake {
    /// Queries and their times.
    asked: Mutex<Vec<(String, Timestamp)>>,
    /// How many of the next queries fail, and whether for good.
    fails: Mutex<(u32, bool)>,
}

const BEGAN: i64 = 1_772_366_400;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGAN + second).unwrap()
}

#[async_trait]
impl MetricsServers for Fake {
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError> {
        let until = query.at.unwrap();
        self.asked.lock().unwrap().push((query.query.to_owned(), until));
        let mut fails = self.fails.lock().unwrap();
        if fails.0 > 0 {
            fails.0 -= 1;
            let error = ServerError::plain("no".to_owned());
            return Err(ServerError { query_refused: fails.1, ..error });
        }
        let whole = query.query.starts_with('(');
        let series = |machine: &str, name: &str, per_reading: f64| SampledSeries {
            labels: [("__name__", name), ("app", "api"), ("instance", machine), ("region", "iad")]
                .into_iter()
                .filter(|(label, _)| !whole || *label == "app")
                .map(|(label, value)| (label.to_owned(), value.to_owned()))
                .collect(),
            samples: (0_u32..1000)
                .map(|reading| (at(i64::from(reading) * 15), f64::from(reading) * per_reading))
                // Both ends, as some servers answer.
                .filter(|(time, _)| *time <= until && *time >= earlier(until))
                .collect(),
        };
        if whole {
            return Ok(vec![series("-", "", 7.0)]);
        }
        Ok(["m1", "m2"]
            .into_iter()
            .flat_map(|machine| [series(machine, "all", 150.0), series(machine, "bad", 3.0)])
            .collect())
    }
}

fn earlier(until: Timestamp) -> Timestamp {
    until.checked_sub(SignedDuration::from_secs(1800)).unwrap()
}

fn share(threshold: &str) -> Wanted {
    let selection =
        Selection::Share { bad: Selector::metric("bad"), total: Selector::metric("all") };
    Wanted { threshold: threshold.to_owned(), selection, by: Vec::new() }
}

fn past(port: &Arc<Fake>, wanted: &[Wanted]) -> Past {
    Past::new(port.clone(), MetricsServer::fly(), &"api".into(), wanted, at(0))
}

#[tokio::test]
async fn every_event_of_the_past_is_counted_once_across_chunks() {
    // Given two thresholds that want the same
    let port = Arc::new(Fake::default());
    let mut past = past(&port, &[share("5xx"), share("5xx@2")]);

    // When two hours are read
    let (mut n, mut k, mut rounds) = (0.0, 0.0, 0);
    for second in (15..=7200).step_by(15) {
        let read = past.read(at(second)).await.unwrap();
        assert_eq!(read.len(), 2);
        for (machine, readings) in &read {
            assert_eq!(machine.region.as_str(), "iad");
            assert_eq!(readings.counts["5xx"], readings.counts["5xx@2"]);
            n += readings.counts["5xx"].n;
            k += readings.counts["5xx"].k;
        }
        rounds += 1;
    }

    // Then nothing is missing but what the first reading began with, and each chunk was asked for once
    assert_eq!(rounds, 480);
    assert!(
        (n - 2.0 * 150.0 * 479.0).abs() < 1e-6 && (k - 2.0 * 3.0 * 479.0).abs() < 1e-6,
        "{n} {k}"
    );
    let asked = port.asked.lock().unwrap();
    let times: Vec<i64> = asked.iter().map(|(_, time)| time.as_second() - BEGAN).collect();
    assert_eq!(times, [1800, 3600, 5400, 7200]);
    assert_eq!(asked[0].0, r#"{__name__=~"all|bad",app=~"api"}[1800s]"#);
}

#[tokio::test]
async fn an_expression_is_asked_for_all_its_moments_at_once_and_may_tell_of_the_whole_app() {
    let port = Arc::new(Fake::default());
    let expression = "max(age{app=\"$app\"})".to_owned();
    let selection = Selection::Value { expression };
    let mut past =
        past(&port, &[Wanted { threshold: "age".to_owned(), selection, by: Vec::new() }]);
    for second in [15, 30, 45] {
        let read = past.read(at(second)).await.unwrap();
        let told: Vec<f64> = read.iter().map(|(_, readings)| readings.gauges["age"]).collect();
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        let want = vec![second as f64 / 15.0 * 7.0];
        assert_eq!(told, want, "one that stands for all");
        assert!(read[0].1.whole_app.contains("age"));
    }
    assert_eq!(port.asked.lock().unwrap()[0].0, "(max(age{app=\"api\"}))[1800s:15s]");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_is_asked_again_and_one_that_refuses_the_query_is_not() {
    let port = Arc::new(Fake::default());
    *port.fails.lock().unwrap() = (2, false);
    assert!(past(&port, &[share("5xx")]).read(at(15)).await.is_ok());
    *port.fails.lock().unwrap() = (3, false);
    assert!(past(&port, &[share("5xx")]).read(at(15)).await.is_err());
    // What it does not take is named once, for all that want it, and nobody is told anything of it.
    *port.fails.lock().unwrap() = (1, true);
    let before = port.asked.lock().unwrap().len();
    let mut past = past(&port, &[share("5xx"), share("5xx@2")]);
    let refused = past.reach(at(15)).await.unwrap();
    assert_eq!(refused, ["5xx", "5xx@2"].map(|name| (name.to_owned(), "no".to_owned())));
    for second in [15, 1815, 3615] {
        assert_eq!(past.reach(at(second)).await.unwrap(), []);
        let read = past.read(at(second)).await.unwrap();
        assert!(read.iter().all(|(_, readings)| readings.counts.is_empty()));
    }
    assert_eq!(port.asked.lock().unwrap().len(), before + 1);
}

#[test]
fn no_reading_of_the_server_lies_in_two_chunks() {
    for every in [1, 7, 15, 40, 59, 3600] {
        let every = Duration::from_secs(every);
        let chunk = chunk(&MetricsServer { scrape_every: every, ..MetricsServer::fly() });
        assert!(
            chunk >= CHUNK
                && chunk < CHUNK + every
                && chunk.as_secs().is_multiple_of(every.as_secs())
        );
    }
}

#[test]
fn the_origin_of_the_past_is_the_server() {
    assert_eq!(MetricsServer::fly().origin().source, SourceName::Server("fly".to_owned()));
}
