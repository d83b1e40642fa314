//! A page as a whole: whatever is on it and in whatever pieces it comes; and machines, round after
//! round.

use std::collections::BTreeMap;

use async_trait::async_trait;
use proptest::prelude::*;

use super::{parse::Series, *};
use crate::{
    model::{
        Count, HostStatus, ImageRef, MachineId, MachineState, MetricsPage, Mode, NoData, OnBreach,
        Origin, Ratio, RollbackPolicy, Selector, Since, Threshold, ThresholdKind, WatchPolicy,
    },
    ports::{PageError, PageReader},
};

/// What a page was made from: the truth its reading is compared with.
#[derive(Clone, Debug)]
enum Line {
    Sample {
        name: &'static str,
        labels: BTreeMap<String, String>,
        value: f64,
        tail: &'static str,
    },
    /// Something that is no sample of a wanted family, right or wrong.
    Noise(String),
}

const WANTED: [&str; 4] = ["http_requests_total", "d_bucket", "ns:rate5m", "odd.name \"x\" größe"];

fn line() -> impl Strategy<Value = Line> {
    let names =
        [WANTED.as_slice(), &["http_requests", "http_requests_total_created", "up"]].concat();
    let labels = prop::collection::btree_map(
        "[a-z_][a-z0-9_]{0,5}|[a-z.ß]{1,4}",
        "\\PC{0,12}|[\\n\"\\\\{},=# ]{0,12}",
        0..4,
    );
    let tails =
        ["", " 1700000000000", " 17.5", " # {id=\"a } b\"} 1 2.5", " 17 # {} 1", "\t", " \r"];
    let value = prop_oneof![
        any::<f64>(),
        any::<u32>().prop_map(f64::from),
        prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0])
    ];
    let sample = (prop::sample::select(names), labels, value, prop::sample::select(tails.to_vec()))
        .prop_map(|(name, labels, value, tail)| Line::Sample { name, labels, value, tail });
    let noise = prop::sample::select(vec![
        "",
        "# HELP http_requests_total Requests, all of them.",
        "# TYPE http_requests_total counter",
        "# TYPE d histogram",
        "# UNIT d seconds",
        "# EOF",
        "#",
        "up{broken=\"",
        "up wtf",
        "{\"up\"",
        "http_requests_total_created{",
        "\u{feff}",
        "http_requests_tot",
        "}{ = , \\",
    ]);
    let noise = prop_oneof![noise.prop_map(str::to_owned), "[^\n<hdno{\\p{White_Space}]\\PC{0,20}"];
    prop_oneof![3 => sample, 1 => noise.prop_map(Line::Noise)]
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

fn written(line: &Line) -> String {
    let (name, labels, value, tail) = match line {
        Line::Sample { name, labels, value, tail } => (name, labels, value, tail),
        Line::Noise(text) => return text.clone(),
    };
    let mut inside = Vec::new();
    let mut text = String::new();
    if is_plain(name) {
        text.push_str(name);
    } else {
        inside.push(format!("\"{}\"", escaped(name)));
    }
    for (label, value) in labels {
        let quoted = format!("\"{}\"", escaped(label));
        let label = if is_plain(label) { label } else { &quoted };
        inside.push(format!("{label}=\"{}\"", escaped(value)));
    }
    if !inside.is_empty() {
        text.push_str(&format!("{{{}}}", inside.join(",")));
    }
    let value = match *value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value:e}"),
    };
    format!("{text} {value}{tail}")
}

/// The wanted samples among what a page was made from.
fn truth(lines: &[Line]) -> Vec<Series> {
    let wanted = lines.iter().filter_map(|line| match line {
        Line::Sample { name, labels, value, .. } if WANTED.contains(name) => {
            Some(Series { name: (*name).to_owned(), labels: labels.clone(), value: *value })
        }
        Line::Sample { .. } | Line::Noise(_) => None,
    });
    wanted.collect()
}

/// Reads a page that comes in pieces, cut after each of `cuts` bytes in turn.
fn read(page: &[u8], cuts: &[usize]) -> Result<Vec<Series>, PageError> {
    let mut selector = FamilySelector::new(WANTED.map(str::to_owned), Limits::default());
    let mut rest = page;
    for cut in cuts.iter().cycle().take(page.len()) {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        selector.chunk(piece)?;
        rest = after;
    }
    selector.chunk(rest)?;
    selector.finish().and_then(|lines| parse(&lines))
}

fn same(a: &Series, b: &Series) -> bool {
    a.name == b.name && a.labels == b.labels && a.value.total_cmp(&b.value).is_eq()
}

proptest! {
    #[test]
    fn every_wanted_sample_is_read_exactly_and_nothing_else(
        lines in prop::collection::vec(line(), 0..25),
        cuts in prop::collection::vec(1..60_usize, 1..6),
        line_end in prop::sample::select(vec!["\n", "\r\n"]),
        is_finished: bool,
    ) {
        let mut page = lines.iter().map(written).collect::<Vec<_>>().join(line_end);
        if is_finished {
            page.push_str(line_end);
        }
        let read = read(page.as_bytes(), &cuts).map_err(|error| TestCaseError::fail(error.0))?;
        let truth = truth(&lines);
        prop_assert_eq!(read.len(), truth.len(), "{}", page);
        for (read, truth) in read.iter().zip(&truth) {
            prop_assert!(same(read, truth), "{:?} is not {:?}", read, truth);
        }
    }

    #[test]
    fn a_broken_wanted_line_is_named_wherever_it_stands(
        before in prop::collection::vec(line(), 0..10),
        after in prop::collection::vec(line(), 0..10),
        broken in prop::sample::select(vec![
            "http_requests_total", "http_requests_total{a=\"b\"}", "d_bucket{le=\"1} 2",
            "ns:rate5m 1,5", "ns:rate5m{a=b} 1", "http_requests_total 1 soon", "d_bucket} 3",
        ]),
        cut in 1..40_usize,
    ) {
        let lines: Vec<_> = before.iter().map(written).chain([broken.to_owned()])
            .chain(after.iter().map(written)).collect();
        let error = read(lines.join("\n").as_bytes(), &[cut]).unwrap_err();
        let place = format!("line {} cannot be read", before.len() + 1);
        prop_assert!(error.0.starts_with(&place) && error.0.contains(broken), "{}", error);
    }
}

/// What a machine does when its page is read.
#[derive(Clone)]
enum Answer {
    Page(String),
    Failure(&'static str),
    Hangs,
}

#[derive(Default)]
struct Fleet {
    answers: Mutex<BTreeMap<MachineId, Answer>>,
    asked: Mutex<Vec<ScrapeTarget>>,
}

impl Fleet {
    fn set(&self, machine: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(machine.into(), answer);
    }

    fn asked(&self) -> Vec<ScrapeTarget> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl MetricsPages for Fleet {
    async fn read(
        &self,
        target: &ScrapeTarget,
        reader: &mut dyn PageReader,
    ) -> Result<(), PageError> {
        self.asked.lock().unwrap().push(target.clone());
        let answer = self.answers.lock().unwrap().get(&target.machine).cloned();
        match answer.expect("the machine is known") {
            Answer::Page(page) => reader.chunk(page.as_bytes()),
            Answer::Failure(why) => Err(PageError(why.to_owned())),
            Answer::Hangs => std::future::pending().await,
        }
    }
}

fn machine(id: &str) -> Machine {
    Machine {
        app: "api".into(),
        id: id.into(),
        instance: "i1".into(),
        region: "iad".into(),
        group: "app".into(),
        state: MachineState::Started,
        host: HostStatus::Ok,
        image: ImageRef {
            registry: "registry.fly.io".into(),
            repository: "api".into(),
            tag: None,
            digest: None,
        },
        release: None,
        metadata: BTreeMap::new(),
        config: None,
        checks: Vec::new(),
        checks_configured: 0,
        exits: Vec::new(),
        started_at: None,
        placed_at: None,
        updated_at: jiff::Timestamp::UNIX_EPOCH,
        private_ip: Some("fdaa::3".parse().unwrap()),
        metrics: Some(MetricsPage { port: 9091, path: "/stats".into(), https: false }),
        lease: None,
        cordoned: false,
        standby: false,
        has_services: false,
        service_port: None,
        own_schedule: false,
        restart: None,
    }
}

fn policy(kind: ThresholdKind) -> Policy {
    let threshold =
        Threshold { name: "t".into(), kind, no_data: NoData::Hold, on_breach: OnBreach::Rollback };
    Policy {
        name: "web".into(),
        mode: Mode::Rollback,
        watch: WatchPolicy::default(),
        thresholds: vec![threshold],
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 20,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    }
}

fn failures() -> Policy {
    let (bad, total) = (Selector::metric("bad_total"), Selector::metric("all_total"));
    policy(ThresholdKind::Ratio(Ratio {
        bad,
        total,
        max: 0.1,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    }))
}

/// Reads one machine's page as a round does.
async fn scrape(
    scraper: &Scraper,
    app: &AppName,
    machine: &Machine,
    policy: &Policy,
) -> MachineSample {
    let wanted = policy.wants(&SourceName::Pages);
    let machines = std::slice::from_ref(machine);
    let source = &SourceName::Pages;
    let listed = jiff::Timestamp::UNIX_EPOCH;
    let question = Question { app, source, listed, machines, wanted: &wanted, policy };
    scraper.read(question).await.samples.remove(0)
}

fn page(all: u32, bad: u32) -> Answer {
    Answer::Page(format!("all_total {all}\nbad_total {bad}\n"))
}

fn count(sample: &MachineSample) -> Count {
    sample.readings.as_ref().unwrap().counts["t"]
}

#[tokio::test]
async fn a_failed_reading_is_a_value_and_the_next_page_holds_what_it_missed() {
    let fleet = Arc::new(Fleet::default());
    let scraper = Scraper::new(fleet.clone(), CONCURRENCY);
    let (app, machine, policy) = ("api".into(), machine("m1"), failures());
    let read = || scrape(&scraper, &app, &machine, &policy);
    fleet.set("m1", page(10, 1));
    assert_eq!(count(&read().await), Count { n: 10.0, k: 1.0, since: Since::ProcessStart });
    for (answer, why) in [
        (Answer::Failure("nobody there"), "nobody there"),
        (Answer::Page("<html>".into()), "HTML, not metrics"),
        (Answer::Page("all_total wtf\n".into()), "line 1 cannot be read"),
    ] {
        fleet.set("m1", answer);
        let error = read().await.readings.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    fleet.set("m1", page(30, 4));
    assert_eq!(count(&read().await), Count { n: 20.0, k: 3.0, since: Since::LastScrape });
}

#[tokio::test]
async fn the_policy_says_where_the_page_is_before_the_machine_does() {
    let fleet = Arc::new(Fleet::default());
    fleet.set("m1", page(0, 0));
    let scraper = Scraper::new(fleet.clone(), CONCURRENCY);
    let mut bare = machine("m1");
    bare.metrics = None;
    let mut empty_path = machine("m1");
    empty_path.metrics = Some(MetricsPage { port: 1, path: String::new(), https: false });
    let said = Policy { metrics_port: Some(80), metrics_path: Some("/m".into()), ..failures() };
    let cases = [
        (machine("m1"), failures(), 9091, "/stats"),
        (machine("m1"), said.clone(), 80, "/m"),
        (bare, Policy { metrics_path: None, ..said }, 80, "/metrics"),
        (empty_path, failures(), 1, "/metrics"),
    ];
    for (machine, policy, port, path) in cases {
        scrape(&scraper, &"api".into(), &machine, &policy).await.readings.unwrap();
        let asked = fleet.asked().pop().unwrap();
        assert_eq!((asked.port, asked.path.as_str()), (port, path));
        assert_eq!(Some(asked.address), machine.private_ip);
    }
    // Whether by https, likewise
    for (own, said, https) in [
        (false, None, false),
        (true, None, true),
        (true, Some(false), false),
        (false, Some(true), true),
    ] {
        let mut machine = machine("m1");
        machine.metrics = Some(MetricsPage { port: 1, path: String::new(), https: own });
        let policy = Policy { metrics_https: said, ..failures() };
        scrape(&scraper, &"api".into(), &machine, &policy).await.readings.unwrap();
        assert_eq!(fleet.asked().pop().unwrap().https, https, "{own} {said:?}");
    }
}

#[tokio::test]
async fn a_machine_without_a_page_is_told_apart_and_not_asked() {
    let fleet = Arc::new(Fleet::default());
    let scraper = Scraper::new(fleet.clone(), CONCURRENCY);
    let mut silent = machine("m1");
    silent.metrics = None;
    let sample = scrape(&scraper, &"api".into(), &silent, &failures()).await;
    assert!(sample.readings.unwrap_err().contains("m1 has no [metrics] section"));
    let mut homeless = machine("m1");
    homeless.private_ip = None;
    let sample = scrape(&scraper, &"api".into(), &homeless, &failures()).await;
    assert!(sample.readings.unwrap_err().contains("m1 has no private address"));
    assert!(fleet.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn machines_that_hang_cost_a_deadline_and_hold_up_nobody_else() {
    // Given a fleet of which half hangs, with fewer of them than turns.
    let fleet = Arc::new(Fleet::default());
    let machines: Vec<_> = (0..60).map(|index| machine(&format!("m{index}"))).collect();
    for (index, machine) in machines.iter().enumerate() {
        let answer = if index % 2 == 0 { Answer::Hangs } else { page(1, 0) };
        fleet.set(machine.id.as_str(), answer);
    }
    let scraper = Scraper::new(fleet, CONCURRENCY);
    let (app, policy, began) = ("api".into(), failures(), Instant::now());
    // When all are read at the same time.
    let reads = machines.iter().map(async |machine| {
        let sample = scrape(&scraper, &app, machine, &policy).await;
        (sample.readings, began.elapsed())
    });
    let reads = futures_util::future::join_all(reads).await;
    // Then the others are read at once, and those that hang give up after the deadline.
    for (index, (readings, after)) in reads.into_iter().enumerate() {
        if index % 2 == 0 {
            assert_eq!(readings.unwrap_err(), "the page did not finish within 5s");
            assert_eq!(after.as_secs(), 5);
        } else {
            assert!(readings.is_ok());
            assert_eq!(after, Duration::ZERO);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_pages_are_read_at_once_than_allowed() {
    let fleet = Arc::new(Fleet::default());
    let machines: Vec<_> = (0..8).map(|index| machine(&format!("m{index}"))).collect();
    for machine in &machines {
        fleet.set(machine.id.as_str(), Answer::Hangs);
    }
    let scraper = Scraper::new(fleet.clone(), 2).with_deadline(Duration::from_secs(4));
    let (app, policy) = ("api".into(), failures());
    let reads = machines.iter().map(|machine| scrape(&scraper, &app, machine, &policy));
    let reads = futures_util::future::join_all(reads).await;
    // Turns come at 0, 4 and 8 s; after 10 s nobody waits any longer.
    assert_eq!(fleet.asked().len(), 6);
    let late = reads.iter().filter(|sample| {
        sample.readings.as_ref().is_err_and(|error| error.contains("no turn within 10s"))
    });
    assert_eq!(late.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_hangs_slows_one_round_in_six_and_is_read_when_it_answers_again() {
    let fleet = Arc::new(Fleet::default());
    fleet.set("m1", Answer::Hangs);
    let scraper = Scraper::new(fleet.clone(), CONCURRENCY);
    let (app, machine, policy) = ("api".into(), machine("m1"), failures());
    let mut took = Vec::new();
    for _ in 0..8 {
        let began = Instant::now();
        assert!(scrape(&scraper, &app, &machine, &policy).await.readings.is_err());
        took.push(began.elapsed().as_secs());
    }
    assert_eq!(took, [5, 1, 1, 1, 1, 1, 5, 1]);
    fleet.set("m1", page(10, 1));
    assert!(scrape(&scraper, &app, &machine, &policy).await.readings.is_ok());
    fleet.set("m1", Answer::Hangs);
    let began = Instant::now();
    assert!(scrape(&scraper, &app, &machine, &policy).await.readings.is_err());
    assert_eq!(began.elapsed().as_secs(), 5, "what was before is forgotten");
}
