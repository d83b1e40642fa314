//! A gauge above its bound.

use super::*;
use crate::model::{Gauge, Origin, Selector};

fn kind(max: f64) -> ThresholdKind {
    ThresholdKind::Gauge(Gauge {
        gauge: Selector::metric("resident_bytes"),
        max,
        sustain: Duration::from_secs(30),
        quorum: 0.5,
        from: Origin::PAGES,
    })
}

fn shows(told: &mut Told, id: &str, value: f64) {
    let gauges = [("one".to_owned(), value)].into();
    told.pages.insert(id.into(), Readings { gauges, ..Readings::default() });
}

#[test]
fn above_its_bound_for_its_time_on_enough_machines_it_breaches() {
    let mut told = Told::of(kind(100.0), &["m1", "m2", "m3", "m4"]);
    for (id, value) in [("m1", 150.0), ("m2", 100.0), ("m3", 1.0), ("m4", 2.0)] {
        shows(&mut told, id, value);
    }
    let evidence = told.pass(40);
    assert_eq!((evidence.verdict, evidence.bad, evidence.total), (Verdict::Pass, 1.0, 4.0));
    assert_eq!(evidence.value, Some(150.0), "that of the worst");
    assert_eq!(evidence.note, Some(Note::Above { machines: 1, seconds: 30 }));
    shows(&mut told, "m2", 101.0);
    assert_eq!(told.breaches_within(60), Some(32));
    assert_eq!(told.judged().note, Some(Note::Above { machines: 2, seconds: 30 }));
    shows(&mut told, "m1", 99.0);
    let evidence = told.look();
    assert_eq!((evidence.verdict, evidence.value), (Verdict::Pass, Some(101.0)));
    shows(&mut told, "m2", 98.0);
    let evidence = told.look();
    assert_eq!(
        (evidence.verdict, evidence.note, evidence.value),
        (Verdict::Pass, None, Some(99.0))
    );
}

#[test]
fn without_a_page_it_says_nothing() {
    let mut told = Told::of(kind(100.0), &["m1"]);
    let evidence = told.pass(40);
    assert_eq!((evidence.verdict, evidence.value), (Verdict::Inconclusive, None));
}

/// What is gone says nothing, and another machine under its name begins anew.
#[test]
fn a_machine_that_went_is_forgotten() {
    let mut told = Told::of(kind(100.0), &["m1", "m2"]);
    shows(&mut told, "m1", 150.0);
    shows(&mut told, "m2", 1.0);
    told.pass(20);
    let m1 = told.machines.remove(0);
    told.look();
    told.machines.insert(0, m1);
    assert_eq!(told.breaches_within(60), Some(32));
}

/// What was above the old bound proves nothing about the new one.
#[test]
fn another_bound_begins_anew() {
    let mut told = Told::of(kind(100.0), &["m1"]);
    shows(&mut told, "m1", 150.0);
    told.pass(20);
    told.policy.thresholds[0].kind = kind(120.0);
    assert_eq!(told.breaches_within(60), Some(32));
}

#[test]
fn a_gauge_that_is_not_shown_any_more_is_no_data_after_five_scrapes() {
    let mut told = Told::of(kind(100.0), &["m1"]);
    shows(&mut told, "m1", 1.0);
    told.pass(10);
    told.pages.insert("m1".into(), Readings::default());
    assert_eq!(told.pass(10).verdict, Verdict::Pass);
    let evidence = told.look();
    assert_eq!(evidence.verdict, Verdict::Inconclusive);
    assert_eq!(evidence.note, Some(Note::NoDataFor { seconds: 12 }));
}

#[test]
fn what_no_data_means_is_the_policy_s_to_say() {
    for (no_data, after_58, after_60) in [
        (NoData::Hold, Verdict::Inconclusive, Verdict::Inconclusive),
        (NoData::Ignore, Verdict::Pass, Verdict::Pass),
        (NoData::Breach, Verdict::Inconclusive, Verdict::Breach),
    ] {
        let mut told = Told::of(kind(100.0), &["m1"]);
        told.policy.metrics_port = Some(9091);
        told.policy.thresholds[0].no_data = no_data;
        // It never had any: counted from the beginning of the watch.
        assert_eq!(told.pass(58).verdict, after_58);
        assert_eq!(told.look().verdict, after_60);
        // From when it had some.
        shows(&mut told, "m1", 1.0);
        told.look();
        told.pages.clear();
        assert_eq!(told.pass(58).verdict, after_58);
        assert_eq!(told.look().verdict, after_60);
    }
    let mut told = Told::of(kind(100.0), &["m1"]);
    told.policy.metrics_port = Some(9091);
    told.policy.thresholds[0].no_data = NoData::Breach;
    let evidence = told.pass(60);
    assert_eq!(evidence.note, Some(Note::NoDataIsBreach { seconds: 60 }));
    assert_eq!(told.pass(2).verdict, Verdict::Breach);
}

/// A server that has not answered since the daemon began, and one that was down: nobody listened.
#[test]
fn silence_is_counted_only_while_its_source_is_heard() {
    let mut told = Told::of(kind(100.0), &["m1"]);
    told.policy.metrics_port = Some(9091);
    told.policy.thresholds[0].no_data = NoData::Breach;
    told.pass(40);
    // It is not heard for minutes
    told.heard = false;
    assert_eq!(told.pass(300).verdict, Verdict::Inconclusive);
    // then it is, and nothing is there: that has to last from here on.
    told.heard = true;
    assert_eq!(told.pass(60).verdict, Verdict::Inconclusive);
    assert_eq!(told.pass(2).verdict, Verdict::Breach);
    // Nobody looked for an hour.
    told.second += 3600;
    assert_eq!(told.pass(60).verdict, Verdict::Inconclusive);
    assert_eq!(told.pass(2).verdict, Verdict::Breach);
}

#[test]
fn a_selector_that_matches_nothing_says_so() {
    let mut told = Told::of(kind(100.0), &["m1", "m2"]);
    told.policy.metrics_port = Some(9091);
    let unmatched = Readings { unmatched: ["one".to_owned()].into(), ..Readings::default() };
    told.pages.insert("m1".into(), unmatched.clone());
    told.pages.insert("m2".into(), Readings::default());
    assert_eq!(told.look().note, Some(Note::NoDataYet));
    told.pages.insert("m2".into(), unmatched);
    assert_eq!(told.look().note, Some(Note::Unmatched));
    told.pages.clear();
    assert_eq!(told.look().note, Some(Note::Unmatched), "as of the last page");
}

#[test]
fn its_unit_is_that_of_its_name() {
    let unit = |name: &str| {
        let gauge = Gauge {
            gauge: Selector::metric(name),
            max: 1.0,
            sustain: Duration::from_secs(30),
            quorum: 0.5,
            from: Origin::PAGES,
        };
        gauge.terms()
    };
    assert_eq!(unit("resident_bytes_max"), (1.0, Unit::Bytes, "resident_bytes_max".to_owned()));
    assert_eq!(unit("lag_seconds").1, Unit::Seconds);
    assert_eq!(unit("busy_ratio").1, Unit::Share);
    assert_eq!(unit("seconds_waiting").1, Unit::Plain);
}

/// A machine that sleeps between two moments above the bound was not above it all that time.
#[test]
fn time_in_which_nothing_was_read_is_no_time_above_the_bound() {
    // given: the last reading before a machine goes to sleep is above the bound
    let mut told = Told::of(kind(100.0), &["m1"]);
    shows(&mut told, "m1", 50.0);
    told.pass(20);
    shows(&mut told, "m1", 150.0);
    told.pass(4);
    // when: it sleeps for hours, and the first reading when it wakes is above it as well
    told.pages.clear();
    told.pass(3600);
    shows(&mut told, "m1", 150.0);
    // then: it counts from there
    assert_eq!(told.breaches_within(60), Some(32));
}

#[test]
fn a_reading_that_is_missing_now_and_then_resets_nothing() {
    let mut told = Told::of(kind(100.0), &["m1"]);
    shows(&mut told, "m1", 150.0);
    told.pass(10);
    let page = std::mem::take(&mut told.pages);
    told.pass(16);
    told.pages = page;
    assert_eq!(told.breaches_within(60), Some(6));
}
