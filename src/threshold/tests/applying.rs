//! Whether a threshold says anything about an app, and where a release is sick by itself.

use super::*;
use crate::model::{MetricsPage, NotFed, Origin, Ratio, Region, Selector};

fn told(ids: &[&str]) -> Told {
    let kind = ThresholdKind::Ratio(Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    });
    Told::of(kind, ids)
}

fn applies(told: &Told) -> Applies {
    super::applies(&told.policy.thresholds[0], &told.state)
}

const NO_SERIES: Applies = Applies::NotFed { why: NotFed::NoSeries };
const NO_PAGE: Applies = Applies::NotFed { why: NotFed::NoPage };

fn page() -> Option<MetricsPage> {
    Some(MetricsPage { port: 9091, path: "/metrics".to_owned(), https: false })
}

#[test]
fn without_a_page_it_cannot_be_fed() {
    let mut told = told(&["m1"]);
    told.look();
    assert_eq!(applies(&told), NO_PAGE);
    let evidence = told.judged();
    assert!(!evidence.applies);
    assert_eq!(evidence.note, Some(Note::NotFed(NotFed::NoPage)));
    told.policy.metrics_port = Some(9091);
    told.look();
    assert_eq!(applies(&told), Applies::Yes);
}

/// A release of which every machine failed has its page all the same: nobody could read it.
#[test]
fn a_machine_that_does_not_run_has_a_page_and_only_one_that_is_started_takes_requests() {
    let mut told = told(&["m1"]);
    told.machine("m1").state = MachineState::Stopped;
    told.machine("m1").has_services = true;
    told.look();
    assert_eq!(applies(&told), NO_PAGE);
    told.machine("m1").metrics = page();
    told.look();
    assert_eq!(applies(&told), Applies::Yes, "nothing was read yet");
    told.machine("m1").state = MachineState::Started;
    told.look();
    assert_eq!(applies(&told), Applies::Yes);
    told.machine("m1").state = MachineState::Stopped;
    told.look();
    assert_eq!(applies(&told), Applies::Yes, "it had them");
}

/// A worker's page has no such series: that is found out over ten rounds.
#[test]
fn a_page_without_the_series_feeds_nothing() {
    let mut told = told(&["m1"]);
    told.machine("m1").metrics = page();
    told.look();
    assert_eq!(applies(&told), Applies::Yes, "nothing was read yet");
    told.pages.insert("m1".into(), Readings::default());
    told.pass(18);
    assert_eq!(applies(&told), Applies::Yes);
    told.look();
    assert_eq!(applies(&told), NO_SERIES);
    // Until it has it once.
    told.serves("m1", 0.0, 0.0);
    told.look();
    told.pages.insert("m1".into(), Readings::default());
    told.look();
    assert_eq!(applies(&told), Applies::Yes);
}

#[test]
fn rounds_in_which_nothing_was_read_do_not_count() {
    let mut told = told(&["m1"]);
    told.machine("m1").metrics = page();
    told.pass(100);
    assert_eq!(applies(&told), Applies::Yes);
}

#[test]
fn a_machine_that_takes_requests_can_feed_it() {
    let mut told = told(&["m1"]);
    told.machine("m1").metrics = page();
    told.machine("m1").has_services = true;
    told.pages.insert("m1".into(), Readings::default());
    told.pass(60);
    assert_eq!(applies(&told), Applies::Yes);
}

fn sick(told: &Told) -> Option<(&Region, Tally)> {
    told.state.sight.sick_region(at(told.second))
}

/// Half of the last ten requests and more.
#[test]
fn a_region_is_sick_when_half_of_its_last_requests_failed() {
    for (n, k, is_sick) in
        [(10.0, 5.0, true), (10.0, 4.9, false), (9.0, 9.0, false), (100.0, 50.0, true)]
    {
        let mut told = told(&["m1", "m2"]);
        told.machine("m2").region = "fra".into();
        told.serves("m1", 1000.0, 0.0);
        told.serves("m2", n, k);
        told.look();
        let want = is_sick.then(|| Region::new("fra"));
        assert_eq!(sick(&told).map(|(region, _)| region.clone()), want, "{k} of {n}");
    }
}

#[test]
fn the_worst_of_two_sick_regions_is_named() {
    let mut told = told(&["m1", "m2"]);
    told.machine("m2").region = "fra".into();
    told.serves("m1", 20.0, 20.0);
    told.serves("m2", 30.0, 30.0);
    told.look();
    let worst = sick(&told).map(|(region, tally)| (region.as_str().to_owned(), tally.n));
    assert_eq!(worst, Some(("fra".to_owned(), 30.0)));
}

/// Requests are remembered for one to two minutes, in two halves.
#[test]
fn the_requests_of_the_last_minutes_count() {
    let mut told = told(&["m1"]);
    told.serves("m1", 10.0, 8.0);
    told.look();
    told.serves("m1", 1.0, 0.0);
    told.pass(58);
    assert_eq!(sick(&told).map(|(_, tally)| tally), None, "8 of 39");
    told.serves("m1", 0.0, 0.0);
    let tally = |told: &Told| {
        let bad = told.state.sight.clone();
        bad.sick_region(at(told.second)).map(|(_, tally)| tally)
    };
    assert_eq!(tally(&told), None);

    let mut told = self::told(&["m1"]);
    told.serves("m1", 10.0, 10.0);
    told.look();
    told.pages.clear();
    told.second += 60;
    told.serves("m1", 10.0, 0.0);
    told.look();
    assert_eq!(tally(&told), Some(Tally { n: 20.0, k: 10.0 }), "half a minute before");
    told.pages.clear();
    told.second += 60;
    told.serves("m1", 10.0, 10.0);
    told.look();
    assert_eq!(tally(&told), Some(Tally { n: 20.0, k: 10.0 }), "the first ten are forgotten");
    told.pages.clear();
    told.second += 118;
    assert!(tally(&told).is_some());
    told.second += 2;
    assert_eq!(tally(&told), None, "of another time");
    told.serves("m1", 10.0, 10.0);
    told.second += 200;
    told.look();
    assert_eq!(tally(&told), Some(Tally { n: 10.0, k: 10.0 }), "after a silence, those alone");
}

/// A page may count a failure a moment before its request.
#[test]
fn no_more_fail_than_there_are() {
    let mut told = told(&["m1"]);
    told.serves("m1", 10.0, 11.0);
    told.look();
    assert_eq!(sick(&told).map(|(_, tally)| tally), Some(Tally { n: 10.0, k: 10.0 }));
}
