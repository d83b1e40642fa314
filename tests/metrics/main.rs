//! Our reading of metrics pages against Prometheus itself: it scrapes the same pages from the same
//! socket, and every value it answers a query with must be the one we read.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

mod judge;
mod pages;

use std::collections::{BTreeMap, BTreeSet};

use judge::Judge;
use waveoff::{
    ports::{MetricsPages as _, ScrapeTarget},
    sources::pages::{
        FamilySelector, HttpPages, Limits,
        parse::{Series, parse},
    },
};

/// What must come out the same: a value is compared by its bits, except that any NaN is one.
type Sample = (String, BTreeMap<String, String>, u64);

fn sample(name: &str, labels: BTreeMap<String, String>, value: f64) -> Sample {
    let value = if value.is_nan() { f64::NAN } else { value };
    (name.to_owned(), labels, value.to_bits())
}

/// Reads a page of the judge's server as the daemon reads a machine's.
async fn ours(judge: &Judge, path: &str, wanted: &[String]) -> Result<Vec<Series>, String> {
    let target = ScrapeTarget {
        app: "api".into(),
        machine: "m1".into(),
        address: judge.pages.ip(),
        port: judge.pages.port(),
        path: path.to_owned(),
        https: false,
    };
    let mut page = FamilySelector::new(wanted.iter().cloned(), Limits::default());
    let pages = HttpPages::new().expect("an HTTP client");
    pages.read(&target, &mut page).await.map_err(|error| error.to_string())?;
    page.finish().and_then(|lines| parse(&lines)).map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_value_is_the_one_prometheus_reads() {
    let served = [("/text", pages::text()), ("/openmetrics", pages::openmetrics())];
    let judge = Judge::over(&served).await;
    for (path, page) in served {
        let theirs: BTreeSet<Sample> = judge.samples(path).await.into_iter().collect();
        let lines = page.body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert_eq!(theirs.len(), lines.count(), "prometheus keeps every line of {path} apart");
        let names: BTreeSet<String> = theirs.iter().map(|(name, ..)| name.clone()).collect();
        let names: Vec<_> = names.into_iter().collect();
        let read = ours(&judge, path, &names).await.unwrap();
        let ours: BTreeSet<Sample> = read
            .into_iter()
            .map(|series| {
                // To Prometheus an empty label is none.
                let labels = series.labels.into_iter().filter(|(_, value)| !value.is_empty());
                sample(&series.name, labels.collect(), series.value)
            })
            .collect();
        let only_ours: Vec<_> = ours.difference(&theirs).collect();
        let only_theirs: Vec<_> = theirs.difference(&ours).collect();
        assert!(
            only_ours.is_empty() && only_theirs.is_empty(),
            "{path}: only we read {only_ours:#?}; only prometheus reads {only_theirs:#?}"
        );
        // One family at a time, as policies ask, gives the same values.
        for name in &names {
            let read = self::ours(&judge, path, std::slice::from_ref(name)).await.unwrap();
            let count = ours.iter().filter(|(other, ..)| other == name).count();
            assert_eq!(read.len(), count, "{name} of {path}");
        }
    }
}

#[tokio::test]
async fn what_prometheus_refuses_we_refuse_and_name() {
    let paths: Vec<String> =
        (0..pages::BROKEN.len()).map(|index| format!("/broken/{index}")).collect();
    let served: Vec<_> = paths
        .iter()
        .zip(pages::BROKEN)
        .map(|(path, line)| {
            (path.as_str(), pages::Page::text(format!("good 1\n{line}\nafter 1\n")))
        })
        .collect();
    let judge = Judge::over(&served).await;
    for ((path, _), line) in served.iter().zip(pages::BROKEN) {
        assert!(!judge.is_up(path).await, "prometheus reads {line}");
        let wanted = ["good", "m", "after"].map(str::to_owned);
        let error = ours(&judge, path, &wanted).await.expect_err(line);
        assert!(error.starts_with("line 2 cannot be read") && error.contains(line), "{error}");
        // Where the broken line is not wanted it costs nothing.
        let read = ours(&judge, path, &wanted[..1]).await.unwrap();
        assert_eq!(read.len(), 1, "{line}");
    }
}
