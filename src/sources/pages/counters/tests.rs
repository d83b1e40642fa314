//! Pages in a row, as scenarios: what each adds to a threshold's count.

mod held;
mod series;
mod turns;

use jiff::Timestamp;
use regex::Regex;

use super::*;
use crate::{
    model::{
        Count, Oddity, Since,
        selector::{LabelMatch, Matcher},
    },
    ports::PageReader as _,
    sources::pages::{FamilySelector, Limits, parse::parse},
};

fn wanted(threshold: &str, selection: Selection) -> Wanted {
    Wanted { threshold: threshold.to_owned(), selection, by: Vec::new() }
}

/// `http_requests_total{code=~"5.."}` of `http_requests_total`.
fn errors() -> Wanted {
    let bad = Selector {
        metric: "http_requests_total".into(),
        matchers: vec![Matcher {
            label: "code".into(),
            is: LabelMatch::Regex(Regex::new("^(?:5..)$").unwrap()),
        }],
        text: r#"http_requests_total{code=~"5.."}"#.into(),
    };
    let total = Selector::metric("http_requests_total");
    wanted("5xx", Selection::Share { bad, total })
}

fn slow(bound_s: f64) -> Wanted {
    let histogram = Selector::metric("d");
    wanted("p95", Selection::Slow { histogram, bound_s })
}

fn memory() -> Wanted {
    let gauge = Selector::metric("mem");
    wanted("memory", Selection::Largest { gauge })
}

/// One machine whose pages come every two seconds.
struct Rounds {
    counters: Counters,
    thresholds: Vec<Wanted>,
    instance: InstanceId,
    now: Instant,
    /// When the list says that the machine started; `None`: a list as new as each page.
    listed: Option<i64>,
    pages: u32,
}

impl Rounds {
    fn of(threshold: Wanted) -> Self {
        let thresholds = vec![threshold];
        let counters = Counters::default();
        Self {
            counters,
            thresholds,
            instance: "i1".into(),
            now: Instant::now(),
            listed: None,
            pages: 0,
        }
    }

    fn page(&mut self, page: &str) -> Reading {
        self.now += Duration::from_secs(2);
        let limits = Limits::default();
        let mut selector = FamilySelector::new(wanted_names(&self.thresholds), limits);
        selector.chunk(page.as_bytes()).unwrap();
        let series = parse(&selector.finish().unwrap()).unwrap();
        let fresh = 2_000_000_000 + i64::from(self.pages);
        self.pages += 1;
        let listed = Timestamp::from_second(self.listed.unwrap_or(fresh)).ok();
        let instance = (&self.instance, listed);
        self.counters.read(&"m1".into(), instance, &series, &self.thresholds, self.now)
    }

    /// The count of the only threshold, as (n, k); `None` when there is none.
    fn added(&mut self, page: &str) -> Option<(f64, f64)> {
        let reading = self.page(page);
        let count = reading.readings.counts.get(&self.thresholds[0].threshold)?;
        Some((count.n, count.k))
    }
}

/// A page of `http_requests_total` with so many good and bad ones.
fn http(good: u32, bad: u32) -> String {
    format!(
        "http_requests_total{{code=\"200\"}} {good}\nhttp_requests_total{{code=\"500\"}} {bad}\n"
    )
}

fn started(at: f64, page: &str) -> String {
    format!("{PROCESS_START} {at}\n{page}")
}

/// A page of a process that started at `start`, when it tells.
fn since(start: Option<i64>, all: u32, bad: u32) -> String {
    let start = start.map(|at| format!("process_start_time_seconds {at}\n")).unwrap_or_default();
    format!("{}{start}", http(all, bad))
}

#[test]
fn the_first_page_counts_from_the_process_start_and_later_ones_from_the_page_before() {
    let mut rounds = Rounds::of(errors());
    let first = rounds.page(&http(90, 10)).readings.counts["5xx"];
    assert_eq!(first, Count { n: 100.0, k: 10.0, since: Since::ProcessStart });
    let second = rounds.page(&http(95, 11)).readings.counts["5xx"];
    assert_eq!(second, Count { n: 6.0, k: 1.0, since: Since::LastScrape });
    assert_eq!(rounds.added(&http(95, 11)), Some((0.0, 0.0)), "nothing happened");
}

#[test]
fn a_missed_page_is_in_the_next_one() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&http(10, 0));
    rounds.now += Duration::from_secs(60);
    assert_eq!(rounds.added(&http(40, 2)), Some((32.0, 2.0)));
}

#[test]
fn a_series_that_does_not_exist_yet_is_zero_while_the_others_move() {
    let mut rounds = Rounds::of(errors());
    rounds.page("http_requests_total{code=\"200\"} 10");
    assert_eq!(rounds.added("http_requests_total{code=\"200\"} 20"), Some((10.0, 0.0)));
    assert_eq!(rounds.added(&http(20, 3)), Some((3.0, 3.0)), "the first errors count");
    assert_eq!(rounds.added("http_requests_total{code=\"200\"} 21"), Some((1.0, 0.0)));
    assert_eq!(rounds.added(&http(21, 5)), Some((2.0, 2.0)), "a series that was away goes on");
}

#[test]
fn a_threshold_without_series_is_unmatched_until_they_appear() {
    let mut rounds = Rounds::of(errors());
    let reading = rounds.page("other 1\n");
    assert!(reading.readings.unmatched.contains("5xx") && reading.readings.counts.is_empty());
    let count = rounds.page(&http(4, 1)).readings.counts["5xx"];
    assert_eq!(count, Count { n: 5.0, k: 1.0, since: Since::LastScrape });
}

#[test]
fn a_process_that_started_anew_counts_from_zero_even_past_its_old_values() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&started(1000.0, &http(10, 0)));
    let count = rounds.page(&started(1003.0, &http(50, 50))).readings.counts["5xx"];
    assert_eq!(count, Count { n: 100.0, k: 50.0, since: Since::LastScrape });
    assert_eq!(rounds.added(&started(1003.0, &http(51, 50))), Some((1.0, 0.0)));
}

#[test]
fn a_start_time_that_wanders_or_jumps_with_the_clock_is_no_restart() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&started(1000.0, &http(10, 0)));
    for step in 1..=10 {
        let wandering = 1000.0 + f64::from(step % 3) * 0.9;
        let page = started(wandering, &http(10 + step, 0));
        assert_eq!(rounds.added(&page), Some((1.0, 0.0)), "step {step}");
    }
    // The process has been watched for 20 s, so another one would have started 20 s later.
    assert_eq!(rounds.added(&started(1010.0, &http(21, 0))), Some((1.0, 0.0)), "a clock was set");
    assert_eq!(rounds.added(&started(1010.5, &http(22, 0))), Some((1.0, 0.0)));
    assert_eq!(rounds.added(&started(1040.0, &http(30, 0))), Some((30.0, 0.0)), "a restart");
}

#[test]
fn without_a_start_time_a_counter_that_shrank_is_a_restart_of_all() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&http(0, 0));
    rounds.page(&http(100, 50));
    // By itself, the good counter would have added 20, and the bad one all of its 40.
    assert_eq!(rounds.added(&http(120, 40)), Some((160.0, 40.0)));
}

#[test]
fn with_a_start_time_a_counter_that_shrank_was_reset_alone() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&started(1000.0, &http(1000, 50)));
    assert_eq!(rounds.added(&started(1000.0, &http(1100, 4))), Some((104.0, 4.0)));
}

#[test]
fn a_page_of_several_processes_has_no_one_start() {
    let page = |a: u32, b: u32, good: u32| {
        format!("{PROCESS_START}{{p=\"a\"}} {a}\n{PROCESS_START}{{p=\"b\"}} {b}\n{}", http(good, 0))
    };
    let mut rounds = Rounds::of(errors());
    rounds.page(&page(1000, 2000, 500));
    assert_eq!(rounds.added(&page(9000, 2000, 510)), Some((10.0, 0.0)));
}

#[test]
fn another_instance_of_the_machine_is_another_process() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&http(100, 0));
    rounds.instance = "i2".into();
    let count = rounds.page(&http(120, 0)).readings.counts["5xx"];
    assert_eq!(count, Count { n: 120.0, k: 0.0, since: Since::ProcessStart });
}

#[test]
fn bad_events_are_counted_as_the_page_has_them() {
    let mut other = errors();
    let (bad, total) = (Selector::metric("failures_total"), Selector::metric("requests_total"));
    other.selection = Selection::Share { bad, total };
    let mut rounds = Rounds::of(other);
    rounds.page("failures_total 0\nrequests_total 0\n");
    assert_eq!(rounds.added("failures_total 9\nrequests_total 5\n"), Some((5.0, 9.0)));
    assert_eq!(rounds.added("failures_total 12\nrequests_total 5\n"), Some((0.0, 3.0)));
}

#[test]
fn a_value_no_counter_can_have_postpones_the_count_of_its_threshold() {
    for odd in ["NaN", "-1", "+Inf", "-Inf"] {
        let mut rounds = Rounds::of(errors());
        rounds.page(&http(100, 0));
        let page = format!(
            "http_requests_total{{code=\"200\"}} {odd}\nhttp_requests_total{{code=\"500\"}} 9\n"
        );
        let reading = rounds.page(&page);
        assert!(reading.readings.counts.is_empty(), "9 of 9 failed? Nobody knows: {odd}");
        assert!(reading.readings.oddities.contains_key("5xx"), "{odd}");
        assert_eq!(rounds.added(&http(200, 9)), Some((109.0, 9.0)), "the next page has it all");
    }
}

#[test]
fn a_series_listed_twice_counts_once() {
    let mut rounds = Rounds::of(errors());
    assert_eq!(rounds.added(&http(5, 1).repeat(2)), Some((6.0, 1.0)));
    let turned = "http_requests_total{code=\"500\",a=\"b\"} 1\nhttp_requests_total{a=\"b\",code=\"500\"} 1\n";
    let mut rounds = Rounds::of(errors());
    assert_eq!(rounds.added(turned), Some((1.0, 1.0)), "labels have no order");
}

#[test]
fn a_new_threshold_starts_where_the_process_is_and_disturbs_no_other() {
    let mut rounds = Rounds::of(errors());
    rounds.page(&http(100, 50));
    rounds.thresholds.push(slow(0.5));
    let page = |slow: u32| format!("{}d_bucket{{le=\"0.5\"}} 7\nd_count {slow}\n", http(101, 50));
    let reading = rounds.page(&page(1000));
    let count = reading.readings.counts["5xx"];
    assert_eq!((count.n, count.k), (1.0, 0.0));
    assert!(!reading.readings.counts.contains_key("p95"), "993 slow ones are of another time");
    let count = rounds.page(&page(1003)).readings.counts["p95"];
    assert_eq!(count, Count { n: 3.0, k: 3.0, since: Since::LastScrape });
    // The same name with another bound is another question.
    rounds.thresholds[1] = slow(0.25);
    assert!(!rounds.page(&page(1100)).readings.counts.contains_key("p95"));
}

/// A histogram of 100 events: 60 up to 0.1 s, 90 up to 0.5 s, 95 up to 1 s.
const HISTOGRAM: &str = "d_bucket{le=\"0.1\"} 60\nd_bucket{le=\"0.5\"} 90\n\
    d_bucket{le=\"1.0\"} 95\nd_bucket{le=\"+Inf\"} 100\nd_sum 40\nd_count 100\n";

#[test]
fn slow_is_what_is_above_the_smallest_boundary_at_or_above_the_bound() {
    let cases = [
        (0.1, 40.0, false),
        (0.5, 10.0, false),
        (0.499_999_999_99, 10.0, false),
        (0.500_000_000_000_1, 10.0, false),
        (0.46, 10.0, false),
        (0.4, 10.0, true),
        (0.51, 5.0, true),
        (1.0, 5.0, false),
        (0.95, 5.0, false),
    ];
    for (bound, k, noted) in cases {
        let mut rounds = Rounds::of(slow(bound));
        let reading = rounds.page(HISTOGRAM);
        let count = reading.readings.counts["p95"];
        assert_eq!((count.n, count.k), (100.0, k), "bound {bound}");
        assert_eq!(reading.notes.contains_key("p95"), noted, "bound {bound}: {:?}", reading.notes);
    }
}

#[test]
fn a_boundary_may_be_written_in_any_way() {
    for le in ["1", "1.0", "1e0", "+1.00"] {
        let page = format!("d_bucket{{le=\"+Inf\"}} 9\nd_count 9\nd_bucket{{le=\"{le}\"}} 4\n");
        assert_eq!(Rounds::of(slow(1.0)).added(&page), Some((9.0, 5.0)), "le={le}");
    }
}

#[test]
fn a_histogram_that_cannot_tell_is_no_evidence_of_health() {
    let mut rounds = Rounds::of(slow(2.0));
    let reading = rounds.page(HISTOGRAM);
    assert!(reading.readings.counts.is_empty() && reading.readings.unmatched.is_empty());
    let last_s = Some(1.0);
    let none_there = Oddity::NoBucket { bound_s: 2.0, last_s };
    assert_eq!(reading.readings.oddities["p95"], none_there);
    let without_ends = Rounds::of(slow(2.0)).page("d_bucket 5\nd_count 5\n");
    let none_there = Oddity::NoBucket { bound_s: 2.0, last_s: None };
    assert_eq!(without_ends.readings.oddities["p95"], none_there);
    for page in ["d_count 5\n", "d_bucket{le=\"2\"} 5\n", "other 1\n"] {
        let reading = Rounds::of(slow(2.0)).page(page);
        assert!(reading.readings.counts.is_empty(), "{page}");
        assert!(reading.readings.unmatched.contains("p95"), "{page}");
    }
}

#[test]
fn every_series_of_a_histogram_is_judged_by_its_own_boundaries() {
    let page = "d_bucket{h=\"a\",le=\"1\"} 8\nd_bucket{le=\"0.5\",h=\"a\"} 7\nd_count{h=\"a\"} 10\n\
        d_bucket{le=\"0.75\",h=\"b\"} 1\nd_count{h=\"b\"} 5\n\
        d_bucket{le=\"0.1\",h=\"c\"} 0\nd_count{h=\"c\"} 1000\n";
    // `c` has no boundary at or above 0.5 s: nobody knows how slow its requests were.
    assert_eq!(Rounds::of(slow(0.5)).added(page), Some((15.0, 3.0 + 4.0)));
}

#[test]
fn a_histogram_shrinks_as_a_whole() {
    let page = |fast: u32, all: u32| {
        started(1000.0, &format!("d_bucket{{le=\"1\"}} {fast}\nd_count {all}\n"))
    };
    let mut rounds = Rounds::of(slow(1.0));
    rounds.page(&page(1, 10));
    // By itself, the bucket would have added 4, and one of five would seem slow.
    assert_eq!(rounds.added(&page(5, 5)), Some((5.0, 0.0)));
}

#[test]
fn a_bucket_read_before_its_count_never_makes_negative_events() {
    let mut rounds = Rounds::of(slow(1.0));
    assert_eq!(rounds.added("d_bucket{le=\"1\"} 11\nd_count 10\n"), Some((10.0, 0.0)));
}

#[test]
fn a_gauge_is_the_largest_of_its_series() {
    let cases = [
        ("mem{a=\"1\"} 5\nmem{a=\"2\"} 7\nmem{a=\"3\"} NaN\n", Some(7.0)),
        ("mem -3\n", Some(-3.0)),
        ("mem +Inf\n", Some(f64::INFINITY)),
        ("mem NaN\n", None),
        ("memory 3\n", None),
    ];
    for (page, want) in cases {
        let reading = Rounds::of(memory()).page(page);
        assert_eq!(reading.readings.gauges.get("memory").copied(), want, "{page}");
        let unmatched = reading.readings.unmatched.contains("memory");
        assert_eq!(unmatched, !page.contains("mem ") && !page.contains("mem{"), "{page}");
    }
}

#[test]
fn only_what_thresholds_read_is_wanted() {
    let names =
        |thresholds: &[Wanted]| -> Vec<String> { wanted_names(thresholds).into_iter().collect() };
    assert!(names(&[]).is_empty(), "no page is read for nothing");
    let all = [errors(), slow(1.0), memory()];
    assert_eq!(
        names(&all),
        ["d_bucket", "d_count", "http_requests_total", "mem", "process_start_time_seconds"]
    );
}

#[test]
fn machines_that_are_gone_are_forgotten() {
    let mut counters = Counters::default();
    let start = Instant::now();
    let mut read = |machine: String, at: Duration| {
        counters.read(&machine.as_str().into(), (&"i".into(), None), &[], &[errors()], start + at);
        counters.len()
    };
    for minute in 0..600 {
        let left = read(format!("m{minute}"), Duration::from_secs(60 * minute));
        assert!(left <= 61, "{left} machines are remembered after {minute} minutes");
    }
    let mut counters = Counters::default();
    for machine in 0..(MAX_MACHINES + 50) {
        let id = format!("m{machine}").as_str().into();
        counters.read(
            &id,
            (&"i".into(), None),
            &[],
            &[],
            start + Duration::from_micros(machine as u64),
        );
    }
    assert_eq!(counters.len(), MAX_MACHINES);
    assert!(!counters.machines.contains_key(&"m0".into()), "the one not read for longest is gone");
}

#[test]
fn series_that_come_and_go_do_not_pile_up() {
    let mut rounds = Rounds::of(errors());
    for page in 0..12 {
        let lines: String = (0..10_000)
            .map(|line| format!("http_requests_total{{id=\"{page}-{line}\"}} 1\n"))
            .collect();
        assert_eq!(rounds.added(&lines), Some((10_000.0, 0.0)));
    }
    let process = rounds.counters.machines.values().next().unwrap();
    assert!(process.tracks.values().all(|track| track.len() <= 40_000));
    rounds.thresholds = vec![memory()];
    rounds.page("mem 1\n");
    let process = rounds.counters.machines.values().next().unwrap();
    assert!(process.tracks.is_empty(), "thresholds that are gone are forgotten");
}

#[test]
fn what_cannot_be_counted_is_told_with_its_numbers() {
    let odd = |page: &str| {
        let mut rounds = Rounds::of(errors());
        rounds.page(&http(1, 0));
        let readings = rounds.page(page).readings;
        (readings.oddities.get("5xx").cloned(), readings.counts.contains_key("5xx"))
    };
    for value in ["+Inf", "NaN", "-3"] {
        let page = format!("http_requests_total{{code=\"200\"}} {value}\n");
        assert!(matches!(odd(&page), (Some(Oddity::NoCounter { .. }), false)), "{value}");
    }
    let most = format!("{:e}", f64::MAX);
    let page = format!(
        "http_requests_total{{code=\"200\"}} {most}\nhttp_requests_total{{code=\"500\"}} {most}\n"
    );
    assert!(matches!(odd(&page), (Some(Oddity::Overflow { .. }), false)));
    let page = "http_requests_total{status=\"500\",path=\"/\"} 3\n";
    let (found, counted) = odd(page);
    let seen = ["path", "status"].map(str::to_owned).to_vec();
    assert_eq!(found, Some(Oddity::NoLabel { label: "code".to_owned(), seen }));
    assert!(counted, "what there is is counted all the same");
    assert_eq!(odd(&http(2, 0)).0, None, "no error yet is no missing label");
}
