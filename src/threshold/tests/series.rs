//! What fails in one series of many: found there, named, and not held against a release that did not
//! make it so.

use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{Note, Origin, Ratio, Selector, Tally},
    sim::Rng,
};

const LIMIT: f64 = 0.02;

fn told() -> Told {
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: LIMIT,
        relative: None,
        strict: false,
        by: vec!["path".to_owned()],
        from: Origin::PAGES,
    };
    Told::of(ThresholdKind::Ratio(ratio), &["m1"])
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Two seconds of these endpoints: requests and the share that fails.
fn page(dice: &mut Rng, endpoints: &[(&str, u64, f64)]) -> Readings {
    let (mut all, mut series) = (Tally::default(), BTreeMap::new());
    for (path, requests, share) in endpoints {
        let failed = (0..*requests).filter(|_| (dice.roll(100_000) as f64) < share * 100_000.0);
        let tally = Tally { n: number(*requests), k: number(failed.count() as u64) };
        all.add(tally.n, tally.k);
        series.insert(format!("path=\"{path}\""), tally);
    }
    let mut page = counts(all.n, all.k, Since::LastScrape);
    page.series.insert("one".to_owned(), series);
    page
}

/// Until it breaches, at most so many seconds: when, and the evidence.
fn until_breach(
    told: &mut Told,
    dice: &mut Rng,
    endpoints: &[(&str, u64, f64)],
    seconds: i64,
) -> Option<(i64, Evidence)> {
    let began = told.second;
    while told.second < began + seconds {
        told.pages.insert("m1".into(), page(dice, endpoints));
        let evidence = told.look();
        if evidence.verdict == Verdict::Breach {
            return Some((told.second - began, evidence));
        }
    }
    None
}

#[test]
fn an_endpoint_that_breaks_alone_is_found_and_named() {
    // 100 requests a second: a hundredth of them fails wholly, or a fifth of a tenth of them.
    for (name, rare, usual, share) in [("a hundredth", 2, 198, 1.0), ("a tenth", 20, 180, 0.2)] {
        let mut took = Vec::new();
        for seed in 0..60 {
            let (mut told, mut dice) = (told(), Rng::new(seed));
            let endpoints = [("/", usual, 0.001), ("/checkout", rare, share)];
            let Some((second, evidence)) = until_breach(&mut told, &mut dice, &endpoints, 600)
            else {
                continue;
            };
            let series = "path=\"/checkout\"".to_owned();
            if evidence.note == Some(Note::InSeries { series }) {
                assert!(evidence.value.is_some_and(|value| value > share / 2.0), "{evidence:?}");
                assert!(evidence.ln_odds >= evidence.ln_odds_needed, "{evidence:?}");
            }
            took.push(second);
        }
        took.sort_unstable();
        println!("{name}: {} of 60, median {} s, last {:?}", took.len(), took[30], took.last());
        assert!(took.len() >= 57 && took[30] <= 50, "{name}: {took:?}");
    }
}

#[test]
fn sixty_endpoints_that_are_well_raise_no_alarm() {
    let names: Vec<String> = (0..60).map(|number| format!("/{number}")).collect();
    let endpoints: Vec<(&str, u64, f64)> =
        (1..).zip(&names).map(|(number, name)| (name.as_str(), number % 7 + 1, 0.012)).collect();
    for seed in 0..20 {
        let (mut told, mut dice) = (told(), Rng::new(seed));
        let found = until_breach(&mut told, &mut dice, &endpoints, 600);
        assert!(found.is_none(), "{seed}: {found:?}");
    }
}

#[test]
fn an_endpoint_that_always_failed_so_is_not_held_against_the_release() {
    let endpoints = [("/", 190, 0.001), ("/legacy", 10, 0.3)];
    let past = |n: f64, k: f64| BTreeMap::from([("path=\"/legacy\"".to_owned(), Tally { n, k })]);
    for (known, breaches) in
        [(past(2000.0, 600.0), false), (past(2000.0, 20.0), true), (past(20.0, 6.0), true)]
    {
        let (mut told, mut dice) = (told(), Rng::new(5));
        told.state.remember_series(Some(&known));
        let found = until_breach(&mut told, &mut dice, &endpoints, 300);
        assert_eq!(found.is_some(), breaches, "{known:?}: {found:?}");
    }
}

#[test]
fn an_endpoint_that_fails_on_the_known_good_release_as_well_is_not_held_against_the_new_one() {
    let endpoints = [("/", 190, 0.001), ("/pay", 10, 0.3)];
    let (mut told, mut dice) = (told(), Rng::new(6));
    let began = told.second;
    while told.second < began + 300 {
        told.control.insert("good".into(), page(&mut dice, &endpoints));
        let found = until_breach(&mut told, &mut dice, &endpoints, 2);
        assert!(found.is_none(), "{found:?}");
    }
    // Where it is well beside, it is the release.
    let (mut told, mut dice) = (self::told(), Rng::new(6));
    let well = page(&mut dice, &[("/", 190, 0.001), ("/pay", 10, 0.0)]);
    told.control.insert("good".into(), well);
    let (_, evidence) = until_breach(&mut told, &mut dice, &endpoints, 300).unwrap();
    let (bad, all) = evidence.control.unwrap();
    assert!(bad < 0.5 && all > 10.0, "the endpoint's own: {evidence:?}");
}

#[test]
fn an_endpoint_that_becomes_one_of_the_busiest_is_judged_from_then_on() {
    let names: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    let mut endpoints: Vec<(&str, u64, f64)> =
        names.iter().map(|name| (name.as_str(), 4, 0.0)).collect();
    let (mut told, mut dice) = (told(), Rng::new(7));
    assert!(until_breach(&mut told, &mut dice, &endpoints, 30).is_none());
    endpoints.push(("/new", 3, 1.0));
    let found = until_breach(&mut told, &mut dice, &endpoints, 90);
    assert!(found.is_none(), "it is not one of the fifty busiest: {found:?}");
    endpoints.pop();
    endpoints.push(("/new", 12, 0.3));
    let (took, evidence) = until_breach(&mut told, &mut dice, &endpoints, 300).unwrap();
    let series = "path=\"/new\"".to_owned();
    assert_eq!(evidence.note, Some(Note::InSeries { series }), "after {took} s");
}

#[test]
fn an_endpoint_that_recovers_takes_its_alarm_back() {
    let (mut told, mut dice) = (told(), Rng::new(8));
    let bad = [("/", 190, 0.0), ("/pay", 10, 0.5)];
    until_breach(&mut told, &mut dice, &bad, 300).unwrap();
    let well = [("/", 190, 0.0), ("/pay", 10, 0.0)];
    let since = told.second;
    while told.judged().verdict == Verdict::Breach {
        told.pages.insert("m1".into(), page(&mut dice, &well));
        told.look();
        assert!(told.second < since + 120);
    }
}

/// What befell both while they ran side by side is the one thing, and what breaks later the other.
#[test]
fn an_endpoint_that_breaks_when_the_known_good_release_is_gone_is_not_excused_by_a_few_failures_before()
 {
    // given: an endpoint of which a few requests always fail, on both releases side by side
    let (mut told, mut dice) = (told(), Rng::new(9));
    let usual = [("/", 190, 0.001), ("/pay", 10, 0.015)];
    let began = told.second;
    while told.second < began + 200 {
        told.control.insert("good".into(), page(&mut dice, &usual));
        assert_eq!(until_breach(&mut told, &mut dice, &usual, 2), None);
    }
    told.control.clear();
    assert_eq!(until_breach(&mut told, &mut dice, &usual, 60), None);
    // when: it fails wholly on the release, which runs alone by now
    let broken = [("/", 198, 0.001), ("/pay", 2, 1.0)];
    let found = until_breach(&mut told, &mut dice, &broken, 120);
    // then
    assert!(found.is_some());
}

/// A cause that strikes both is in the recent past of the release for a while.
#[test]
fn what_struck_an_endpoint_of_both_releases_stays_excused_when_the_known_good_one_is_gone() {
    let (mut told, mut dice) = (told(), Rng::new(10));
    let (well, struck) =
        ([("/", 190, 0.001), ("/pay", 10, 0.0)], [("/", 190, 0.001), ("/pay", 10, 0.8)]);
    for (seconds, endpoints) in [(100, &well), (20, &struck)] {
        let began = told.second;
        while told.second < began + seconds {
            told.control.insert("good".into(), page(&mut dice, endpoints));
            assert_eq!(until_breach(&mut told, &mut dice, endpoints, 2), None);
        }
    }
    told.control.clear();
    assert_eq!(until_breach(&mut told, &mut dice, &struck, 4), None);
    assert_eq!(until_breach(&mut told, &mut dice, &well, 200), None);
}
