//! Recorded answers in, increments out.

mod falls;
mod instances;
mod whole;

use super::*;
use crate::model::Selector;

const APP: &str = "api";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A series of a machine by `name{label=value,…}`, with samples at these seconds.
fn series(
    machine: &str,
    name: &str,
    labels: &[(&str, &str)],
    samples: &[(i64, f64)],
) -> SampledSeries {
    let own = [("__name__", name), ("app", APP), ("instance", machine), ("region", "iad")];
    let labels = own.iter().chain(labels);
    SampledSeries {
        labels: labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        samples: samples.iter().map(|(second, value)| (at(*second), *value)).collect(),
    }
}

fn responses(machine: &str, status: &str, samples: &[(i64, f64)]) -> SampledSeries {
    series(machine, "responses", &[("status", status), ("proxy_id", "p1")], samples)
}

fn failures() -> Selection {
    let pattern = crate::model::LabelMatch::Regex(regex::Regex::new("^(?:5..)$").unwrap());
    Selection::Share {
        bad: Selector {
            metric: "responses".to_owned(),
            matchers: vec![crate::model::Matcher { label: "status".to_owned(), is: pattern }],
            text: "responses{status=~\"5..\"}".to_owned(),
        },
        total: Selector::metric("responses"),
    }
}

/// Whose, events and bad ones, and the seconds they lie in.
type Late = (String, f64, f64, i64, i64);

fn late(belated: Belated) -> Late {
    let Belated { instance, tally, from, to, .. } = belated;
    let second = |time: Timestamp| time.as_second() - at(0).as_second();
    (instance.to_string(), tally.n, tally.k, second(from), second(to))
}

fn listed(instance: &str, started: Timestamp, at: Timestamp) -> Listed {
    Listed { instance: instance.into(), started, at }
}

struct Told {
    tracks: Tracks,
    selection: Selection,
    now: Instant,
}

/// The whole question about Fly's server.
fn what<'a>(selection: &'a Selection, by: &'a [String]) -> What<'a> {
    static FLY: std::sync::LazyLock<MetricsServer> = std::sync::LazyLock::new(MetricsServer::fly);
    What { selection, server: &FLY, by, whole: true }
}

impl Told {
    fn of(selection: Selection) -> Self {
        let mut told = Self { tracks: Tracks::default(), selection, now: Instant::now() };
        // Asked for before, when there was nothing.
        told.hears(&[]);
        told
    }

    fn hears(&mut self, answer: &[SampledSeries]) {
        self.tracks.absorb(what(&self.selection, &[]), &[APP.into()], answer, self.now);
    }

    /// What was counted on a machine that has been up for long.
    fn count(&mut self, machine: &str) -> Option<(f64, f64)> {
        let until = self.tracks.newest().unwrap_or(at(0));
        self.count_of(machine, at(-1000), until)
    }

    fn count_of(&mut self, machine: &str, from: Timestamp, until: Timestamp) -> Option<(f64, f64)> {
        let count =
            self.tracks.count(&APP.into(), machine, &listed("i1", from, until), until)?.count?;
        assert_eq!(count.since, Since::LastScrape);
        Some((count.n, count.k))
    }

    /// What is told late of machines that run no more.
    fn left(&mut self, running: &[&str], second: i64) -> Vec<Late> {
        let running = running.iter().copied().collect();
        let left = self.tracks.left(&APP.into(), &running, at(second - 15));
        left.into_iter().map(|(_, belated)| late(belated)).collect()
    }
}

#[tokio::test]
async fn what_is_added_between_samples_counts_once_however_often_it_is_answered() {
    let mut told = Told::of(failures());
    let answer = [
        responses("m1", "200", &[(0, 1000.0), (15, 1150.0)]),
        responses("m1", "500", &[(0, 7.0), (15, 9.0)]),
    ];
    told.hears(&answer);
    assert_eq!(told.count("m1"), Some((152.0, 2.0)));
    told.hears(&answer);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)));
    told.hears(&[responses("m1", "200", &[(15, 1150.0), (30, 1160.0)])]);
    assert_eq!(told.count("m1"), Some((10.0, 0.0)));
    assert_eq!(told.count("m2"), None, "nothing is known of another machine");
}

#[tokio::test]
async fn a_sample_that_comes_late_or_is_missing_costs_no_event() {
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &[(0, 100.0), (15, 200.0)]),
        responses("m1", "500", &[(0, 0.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((100.0, 0.0)));
    // The second sample of the errors was on its way.
    told.hears(&[
        responses("m1", "200", &[(0, 100.0), (15, 200.0)]),
        responses("m1", "500", &[(0, 0.0), (15, 50.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((50.0, 50.0)));
    // One reading fell out altogether.
    told.hears(&[responses("m1", "200", &[(15, 200.0), (45, 400.0)])]);
    assert_eq!(told.count("m1"), Some((200.0, 0.0)));
}

#[tokio::test]
async fn a_counter_that_shrank_counts_from_0_and_a_new_proxy_does_as_well() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 5000.0), (15, 5150.0)])]);
    assert_eq!(told.count("m1"), Some((150.0, 0.0)));
    told.hears(&[responses("m1", "200", &[(15, 5150.0), (30, 20.0)])]);
    assert_eq!(told.count("m1"), Some((20.0, 0.0)));
    // The old proxy's series is still answered; it adds nothing, and it is not a fall of the sum.
    let new = series("m1", "responses", &[("status", "200"), ("proxy_id", "p2")], &[(45, 130.0)]);
    told.hears(&[responses("m1", "200", &[(15, 5150.0), (30, 20.0)]), new.clone()]);
    assert_eq!(told.count("m1"), Some((130.0, 0.0)));
    told.hears(&[new]);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)), "a series that vanishes is gone, and no more");
}

#[tokio::test]
async fn the_first_error_makes_the_error_counter() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 100.0), (15, 250.0)])]);
    told.count("m1");
    told.hears(&[
        responses("m1", "200", &[(15, 250.0), (30, 260.0)]),
        responses("m1", "500", &[(30, 140.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((150.0, 140.0)));
}

#[tokio::test]
async fn within_the_first_answer_a_counter_may_begin_as_well() {
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "500", &[(30, 140.0), (45, 290.0)]),
        responses("m1", "200", &[(0, 100.0), (15, 250.0), (30, 260.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((450.0, 290.0)));
}

#[tokio::test]
async fn a_counter_that_was_away_brings_its_whole_past_and_that_is_nobodys() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 100.0), (15, 110.0)])]);
    told.count("m1");
    // Errors of last week, in a series that the server had not answered for a while.
    told.hears(&[
        responses("m1", "200", &[(15, 110.0), (30, 120.0)]),
        responses("m1", "503", &[(30, 90_000.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((10.0, 0.0)));
    told.hears(&[responses("m1", "503", &[(30, 90_000.0), (45, 90_003.0)])]);
    assert_eq!(told.count("m1"), Some((3.0, 3.0)), "what is added from then on counts");
}

#[tokio::test]
async fn a_series_whose_older_samples_come_late_was_there_before() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 100.0), (15, 250.0), (30, 400.0)])]);
    told.count("m1");
    told.hears(&[
        responses("m1", "200", &[(0, 100.0), (15, 250.0), (30, 400.0)]),
        responses("m1", "500", &[(15, 80.0), (30, 81.0)]),
    ]);
    assert_eq!(
        told.count("m1"),
        Some((1.0, 1.0)),
        "what it held when it was first seen is no error of now"
    );
}

#[tokio::test]
async fn the_first_sample_of_a_machine_is_where_it_starts() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "500", &[(0, 70_000.0)])]);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)));
}

#[tokio::test]
async fn what_began_before_the_instance_is_nobodys() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "500", &[(0, 0.0), (15, 100.0), (30, 250.0), (45, 400.0)])]);
    // Updated at second 20: of the increment over it nobody can say whose it is.
    assert_eq!(told.count_of("m1", at(20), at(60)), Some((150.0, 150.0)));
}

#[tokio::test]
async fn what_is_newer_than_the_list_waits_for_the_next_one() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 0.0), (15, 100.0), (30, 250.0)])]);
    assert_eq!(told.count_of("m1", at(-1000), at(20)), Some((100.0, 0.0)));
    // The next list shows that the machine was updated at second 16.
    assert_eq!(told.count_of("m1", at(16), at(60)), Some((0.0, 0.0)));
}

#[tokio::test]
async fn what_waited_while_a_machine_was_down_is_nobodys() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 0.0), (15, 100.0)])]);
    assert_eq!(told.left(&[], 60), []);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)));
}

#[tokio::test]
async fn slow_is_what_is_in_no_bucket_up_to_the_bound() {
    let mut told = Told::of(Selection::Slow { histogram: Selector::metric("took"), bound_s: 0.4 });
    let of = |status: &str, le: &str, samples: &[(i64, f64)]| {
        series("m1", "took_bucket", &[("status", status), ("le", le)], samples)
    };
    let all = |status: &str, samples: &[(i64, f64)]| {
        series("m1", "took_count", &[("status", status)], samples)
    };
    let second = [
        of("200", "0.1", &[(0, 5.0), (15, 5.0)]),
        of("200", "0.5", &[(0, 90.0), (15, 150.0)]),
        of("200", "1", &[(0, 99.0), (15, 390.0)]),
        of("200", "+Inf", &[(0, 100.0), (15, 400.0)]),
        all("200", &[(0, 100.0), (15, 400.0)]),
        // Of these the bucket's second sample is not there yet.
        of("500", "0.5", &[(0, 1.0)]),
        all("500", &[(0, 1.0), (15, 41.0)]),
    ];
    told.hears(&second);
    assert_eq!(told.count("m1"), Some((300.0, 240.0)));
    told.hears(&[of("500", "0.5", &[(0, 1.0), (15, 1.0)]), all("500", &[(0, 1.0), (15, 41.0)])]);
    assert_eq!(told.count("m1"), Some((40.0, 40.0)));
    // It shrinks as a whole, even where one of its counters is past its old value.
    told.hears(&[
        of("200", "0.5", &[(15, 150.0), (30, 160.0)]),
        all("200", &[(15, 400.0), (30, 170.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((170.0, 10.0)));
}

#[tokio::test]
async fn a_histogram_without_a_boundary_above_the_bound_tells_nothing() {
    let mut told = Told::of(Selection::Slow { histogram: Selector::metric("took"), bound_s: 5.0 });
    told.hears(&[
        series("m1", "took_bucket", &[("le", "1")], &[(0, 1.0), (15, 2.0)]),
        series("m1", "took_bucket", &[("le", "+Inf")], &[(0, 1.0), (15, 4.0)]),
        series("m1", "took_count", &[], &[(0, 1.0), (15, 4.0)]),
    ]);
    assert_eq!(told.count("m1"), None);
    let none_there = Oddity::NoBucket { bound_s: 5.0, last_s: Some(1.0) };
    assert_eq!(told.tracks.oddity(&APP.into()), Some(&none_there));
    told.hears(&[
        series("m1", "took_bucket", &[("le", "5.0")], &[(15, 2.0), (30, 3.0)]),
        series("m1", "took_bucket", &[("le", "+Inf")], &[(15, 4.0), (30, 8.0)]),
        series("m1", "took_count", &[], &[(15, 4.0), (30, 8.0)]),
    ]);
    assert_eq!(told.tracks.oddity(&APP.into()), None, "it is there by now");
}

#[tokio::test]
async fn of_a_gauge_the_largest_of_the_newest_reading_counts_once() {
    let mut told = Told::of(Selection::Largest { gauge: Selector::metric("bytes") });
    let bytes =
        |core: &str, samples: &[(i64, f64)]| series("m1", "bytes", &[("core", core)], samples);
    told.hears(&[bytes("0", &[(0, 9.0), (15, 3.0)]), bytes("1", &[(15, 5.0)])]);
    let value = |told: &mut Told, from| told.tracks.gauge(&APP.into(), "m1", at(from));
    assert_eq!(value(&mut told, 16), None, "it was read before the instance began");
    assert_eq!(value(&mut told, 0), Some(5.0));
    assert_eq!(value(&mut told, 0), None, "the same reading is no further one");
    told.hears(&[bytes("0", &[(30, 1.0)])]);
    assert_eq!(value(&mut told, 0), Some(1.0), "what is not there any more does not count");
}

#[tokio::test]
async fn samples_that_no_counter_can_have_are_left_out() {
    let mut told = Told::of(failures());
    told.hears(&[responses(
        "m1",
        "200",
        &[(0, 100.0), (15, f64::NAN), (30, -5.0), (45, f64::INFINITY), (60, 130.0)],
    )]);
    assert_eq!(told.count("m1"), Some((30.0, 0.0)));
}

#[tokio::test]
async fn a_label_that_no_series_has_is_told_with_those_that_there_are() {
    let mut told = Told::of(failures());
    told.hears(&[series("m1", "responses", &[("code", "500")], &[(0, 1.0)])]);
    let Some(Oddity::NoLabel { label, seen }) = told.tracks.oddity(&APP.into()) else {
        panic!("no oddity")
    };
    assert_eq!(label, "status");
    assert_eq!(seen, &["app", "code", "instance", "region"]);
}

#[tokio::test]
async fn series_without_the_labels_of_app_and_machine_are_nobodys() {
    let mut told = Told::of(failures());
    let mut strange = responses("m1", "200", &[(0, 1.0), (15, 9.0)]);
    strange.labels.remove("instance");
    told.hears(&[strange]);
    assert_eq!(told.count("m1"), None);
    assert!(told.tracks.nothing_for(Instant::now()).is_some());
}

#[tokio::test]
async fn what_lies_before_an_app_is_asked_for_is_told_to_nobody() {
    let selection = failures();
    let mut tracks = Tracks::default();
    let mut hears = |apps: &[&str], samples: &[(i64, f64)]| {
        let apps: Vec<AppName> = apps.iter().map(|app| AppName::new(*app)).collect();
        let answer = [responses("m1", "500", samples)];
        tracks.absorb(what(&selection, &[]), &apps, &answer, Instant::now());
        tracks.keep(|app| apps.contains(app));
        let until = tracks.newest().unwrap_or(at(0));
        let listed = listed("i1", at(-1000), until);
        Some(tracks.count(&APP.into(), "m1", &listed, until)?.count?.n)
    };
    // Another daemon, or this one before its restart, may have told it already.
    assert_eq!(hears(&["api"], &[(0, 10.0), (15, 90.0)]), Some(0.0));
    assert_eq!(hears(&["api"], &[(0, 10.0), (15, 90.0), (30, 95.0)]), Some(5.0));
    // Nor is what was counted while nobody asked for it.
    assert_eq!(hears(&["shop"], &[]), Some(0.0));
    assert_eq!(hears(&["api"], &[(900, 7000.0)]), Some(0.0));
    assert_eq!(hears(&["api"], &[(900, 7000.0), (915, 7001.0)]), Some(1.0));
}

#[tokio::test]
async fn series_of_proxies_that_are_gone_make_room_for_new_ones() {
    let mut told = Told::of(failures());
    let of = |proxy: usize, samples: &[(i64, f64)]| {
        let proxy = proxy.to_string();
        series("m1", "responses", &[("status", "200"), ("proxy_id", &proxy)], samples)
    };
    let old: Vec<SampledSeries> = (0..SERIES_MAX).map(|proxy| of(proxy, &[(0, 1.0)])).collect();
    told.hears(&old);
    told.hears(&[of(SERIES_MAX, &[(15, 1.0), (30, 2.0)])]);
    told.count("m1");
    told.hears(&[of(SERIES_MAX, &[(30, 2.0), (45, 9.0)])]);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)), "there is no room");
    told.hears(&[of(SERIES_MAX, &[(900, 9.0), (915, 12.0)])]);
    told.count("m1");
    told.hears(&[of(SERIES_MAX, &[(915, 12.0), (930, 19.0)])]);
    assert_eq!(told.count("m1"), Some((7.0, 0.0)));
    assert_eq!(told.tracks.machines.len(), 1);
}

#[tokio::test]
async fn series_are_told_apart_by_their_labels_and_added_up_over_the_rest() {
    let by = ["path".to_owned()];
    let selection = failures();
    let one = |path: &str, status: &str, samples: &[(i64, f64)]| {
        series("m1", "responses", &[("path", path), ("status", status)], samples)
    };
    let mut tracks = Tracks::default();
    let (app, now) = (AppName::from(APP), Instant::now());
    tracks.absorb(what(&selection, &by), std::slice::from_ref(&app), &[], now);
    let answer = [
        one("/", "200", &[(0, 100.0), (15, 190.0)]),
        one("/", "500", &[(0, 0.0), (15, 10.0)]),
        one("/pay", "500", &[(0, 7.0), (15, 12.0)]),
    ];
    tracks.absorb(what(&selection, &by), std::slice::from_ref(&app), &answer, now);
    let listed = listed("i1", at(-1000), at(15));
    let Counted { count, series: parts, .. } = tracks.count(&app, "m1", &listed, at(15)).unwrap();
    let count = count.unwrap();
    assert_eq!((count.n, count.k), (105.0, 15.0));
    let of = |name: &str| parts.get(name).map(|part| (part.n, part.k));
    assert_eq!(of("path=\"/\""), Some((100.0, 10.0)));
    assert_eq!(of("path=\"/pay\""), Some((5.0, 5.0)));
    let by = ["route".to_owned()];
    tracks.absorb(what(&selection, &by), std::slice::from_ref(&app), &answer, now);
    let told = tracks.oddity(&APP.into()).cloned();
    assert!(matches!(told, Some(Oddity::NotBy { label, .. }) if label == "route"));
}

/// A histogram's samples: of those with a bucket, by where it ends.
fn took(app: &str, ends: &[&str]) -> Vec<SampledSeries> {
    let samples = [(0, 100.0), (15, 200.0)];
    let mut all = vec![series("m1", "took_count", &[], &samples)];
    all.extend(ends.iter().map(|end| series("m1", "took_bucket", &[("le", end)], &samples)));
    for series in &mut all {
        series.labels.insert("app".to_owned(), app.to_owned());
    }
    all
}

#[tokio::test]
async fn the_buckets_that_are_counted_are_known_until_one_is_missing_or_for_a_while() {
    let selection = Selection::Slow { histogram: Selector::metric("took"), bound_s: 0.5 };
    let (mut tracks, app, start) = (Tracks::default(), AppName::from(APP), Instant::now());
    let whole = what(&selection, &[]);
    let counted = What { whole: false, ..whole };
    let apps = std::slice::from_ref(&app);
    assert_eq!(tracks.ends(&app, start), None, "nobody asked yet");
    // Given an answer with all buckets, the one that is counted is known
    tracks.absorb(whole, apps, &took(APP, &["0.25", "0.5", "1", "+Inf"]), start);
    let half: BTreeSet<String> = ["0.5".to_owned()].into();
    assert_eq!(tracks.ends(&app, start), Some(&half));
    // An answer with that one changes nothing
    tracks.absorb(counted, apps, &took(APP, &["0.5"]), start);
    assert_eq!(tracks.ends(&app, start), Some(&half));
    // All are to be asked for again after a while
    let later = start + WHOLE_EVERY;
    assert_eq!(tracks.ends(&app, later), None);
    // and at once when a histogram has it no more
    tracks.absorb(counted, apps, &took(APP, &[]), start);
    assert_eq!(tracks.ends(&app, start), None);
}

#[tokio::test]
async fn a_bound_without_a_bucket_is_told_of_its_app_alone() {
    let selection = Selection::Slow { histogram: Selector::metric("took"), bound_s: 0.5 };
    let (mut tracks, now) = (Tracks::default(), Instant::now());
    let mut answer = took(APP, &["0.25", "+Inf"]);
    answer.extend(took("shop", &["0.5", "+Inf"]));
    tracks.absorb(what(&selection, &[]), &[APP.into(), "shop".into()], &answer, now);
    let told = tracks.oddity(&APP.into()).cloned();
    assert!(matches!(told, Some(Oddity::NoBucket { .. })), "{told:?}");
    assert_eq!(tracks.oddity(&"shop".into()), None);
    // An answer with some buckets says nothing of the rest
    let counted = What { whole: false, ..what(&selection, &[]) };
    tracks.absorb(counted, &["shop".into()], &took("shop", &[]), now);
    assert_eq!(tracks.oddity(&"shop".into()), None);
}

/// A target that is gone is nothing that anybody knows, and no silence of the app.
#[tokio::test]
async fn a_machine_that_is_read_no_more_is_unknown_and_one_that_is_read_and_counts_nothing_silent()
{
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "200", &[(0, 10.0)]), responses("m2", "200", &[(0, 10.0)])]);
    told.hears(&[responses("m2", "200", &[(15, 10.0), (30, 10.0), (45, 10.0), (60, 10.0)])]);
    let nothing = Some((0.0, 0.0));
    // Between two samples, and a late one, both say that there was nothing
    assert_eq!(told.count_of("m1", at(-1000), at(45)), nothing);
    // and afterwards only the one that is still read
    assert_eq!(told.count_of("m1", at(-1000), at(46)), None);
    assert_eq!(told.count_of("m2", at(-1000), at(60)), nothing);
}
