//! Reading a metrics page: selecting three families and parsing them, beside giving the whole page
//! to `prometheus-parse`, in the same run.
//!
//! The page is made here: 237 families of all types, about 190 kB. A page of your own is measured
//! as well when `WAVEOFF_BENCH_PAGE` names its file; `WAVEOFF_BENCH_FAMILIES` says which families
//! of it are wanted, separated by commas (a histogram by its `_bucket` and `_count` names).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on has nothing to measure"
)]

use std::{fmt::Write as _, sync::LazyLock};

use divan::{Bencher, black_box, counter::BytesCount};
use prometheus_parse::Scrape;
use waveoff::{
    ports::PageReader as _,
    sources::pages::{
        FamilySelector, Limits,
        parse::{Series, parse},
    },
};

/// How much of a page arrives at once.
const CHUNK: usize = 16 << 10;

struct Page {
    text: String,
    wanted: Vec<String>,
}

static PAGES: LazyLock<Vec<Page>> =
    LazyLock::new(|| [Some(made()), own()].into_iter().flatten().collect());

fn main() {
    for page in PAGES.iter() {
        assert!(!read(page).is_empty(), "none of {:?} is on the page", page.wanted);
    }
    divan::main();
}

fn pages() -> Vec<&'static str> {
    ["made", "own"].into_iter().take(PAGES.len()).collect()
}

fn page(name: &str) -> &'static Page {
    PAGES.get(usize::from(name == "own")).expect("the page is there")
}

#[divan::bench(args = pages())]
fn select_and_parse(bencher: Bencher<'_, '_>, name: &str) {
    let page = page(name);
    bencher.counter(BytesCount::of_str(&page.text)).bench(|| read(black_box(page)));
}

#[divan::bench(args = pages())]
fn select_only(bencher: Bencher<'_, '_>, name: &str) {
    let page = page(name);
    bencher.counter(BytesCount::of_str(&page.text)).bench(|| select(black_box(page)).finish());
}

#[divan::bench(args = pages())]
fn plain_prometheus_parse(bencher: Bencher<'_, '_>, name: &str) {
    let page = page(name);
    bencher.counter(BytesCount::of_str(&page.text)).bench(|| {
        Scrape::parse(black_box(page).text.lines().map(|line| Ok(line.to_owned()))).unwrap()
    });
}

fn select(page: &Page) -> FamilySelector {
    let mut selector = FamilySelector::new(page.wanted.iter().cloned(), Limits::default());
    for chunk in page.text.as_bytes().chunks(CHUNK) {
        selector.chunk(chunk).unwrap();
    }
    selector
}

fn read(page: &Page) -> Vec<Series> {
    parse(&select(page).finish().unwrap()).unwrap()
}

fn own() -> Option<Page> {
    let path = std::env::var_os("WAVEOFF_BENCH_PAGE")?;
    let text = std::fs::read_to_string(path).expect("WAVEOFF_BENCH_PAGE can be read");
    let families = std::env::var("WAVEOFF_BENCH_FAMILIES")
        .unwrap_or_else(|_| "process_start_time_seconds,process_resident_memory_bytes".to_owned());
    Some(Page { text, wanted: families.split(',').map(str::to_owned).collect() })
}

/// 112 counters, 97 gauges, 15 histograms and 13 summaries, as the runtime, the process, the HTTP
/// server and the stores of a service have them.
fn made() -> Page {
    const AREAS: [&str; 7] =
        ["runtime", "process", "http_server", "store", "queue", "cache", "net"];
    let mut text = String::new();
    let area = |index: usize| AREAS.get(index % AREAS.len()).copied().unwrap_or("other");
    for index in 0..111 {
        let name = format!("bench_{}_operations_{index}_total", area(index));
        head(&mut text, &name, "counter");
        for series in 0..=index % 3 {
            writeln!(text, "{name}{{kind=\"kind-{series}\",zone=\"z\"}} {}", index * 977).unwrap();
        }
    }
    head(&mut text, "http_requests_total", "counter");
    for handler in 0..16 {
        for code in ["200", "302", "404", "500", "503"] {
            let labels =
                format!("code=\"{code}\",handler=\"/api/v1/things/{{id}}/part/{handler}\"");
            writeln!(text, "http_requests_total{{{labels}}} {}", handler * 31_337).unwrap();
        }
    }
    head(&mut text, "process_start_time_seconds", "gauge");
    text.push_str("process_start_time_seconds 1.73806369023e+09\n");
    for index in 0..96 {
        let name = format!("bench_{}_level_{index}_bytes", area(index));
        head(&mut text, &name, "gauge");
        writeln!(text, "{name} {}.5e+06", index * 13 + 1).unwrap();
    }
    histogram(&mut text, "request_duration_seconds", 1);
    for index in 0..14 {
        histogram(&mut text, &format!("bench_{}_latency_{index}_seconds", area(index)), 9);
    }
    for index in 0..13 {
        let name = format!("bench_{}_size_{index}_bytes", area(index));
        head(&mut text, &name, "summary");
        for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
            writeln!(text, "{name}{{quantile=\"{quantile}\"}} {}.25e-05", index + 7).unwrap();
        }
        writeln!(text, "{name}_sum 44.985611511\n{name}_count 190932").unwrap();
    }
    let wanted = [
        "http_requests_total",
        "request_duration_seconds_bucket",
        "request_duration_seconds_count",
        "process_start_time_seconds",
    ];
    Page { text, wanted: wanted.map(str::to_owned).to_vec() }
}

fn head(text: &mut String, name: &str, kind: &str) {
    writeln!(text, "# HELP {name} What this service has counted or measured under this name.")
        .unwrap();
    writeln!(text, "# TYPE {name} {kind}").unwrap();
}

fn histogram(text: &mut String, name: &str, handlers: usize) {
    head(text, name, "histogram");
    for handler in 0..handlers {
        let labels = format!("handler=\"/api/v1/series/{handler}\"");
        for (index, le) in
            ["0.1", "0.2", "0.4", "1", "3", "8", "20", "60", "120", "+Inf"].iter().enumerate()
        {
            writeln!(text, "{name}_bucket{{{labels},le=\"{le}\"}} {}", 29_000 + index).unwrap();
        }
        writeln!(text, "{name}_sum{{{labels}}} 22.5\n{name}_count{{{labels}}} 29009").unwrap();
    }
}
