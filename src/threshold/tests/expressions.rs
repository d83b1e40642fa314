//! Expressions that a metrics server evaluates.

use super::*;
use crate::model::{Oddity, Origin, Promql};

fn told(looks_back: u64, ids: &[&str]) -> Told {
    let promql = Promql {
        expression: "max by (instance) (age{app=\"$app\"})".to_owned(),
        looks_back: Duration::from_secs(looks_back),
        max: 90.0,
        sustain: Duration::from_secs(30),
        quorum: 0.5,
        from: Origin::server("fly", Duration::from_secs(15)),
    };
    Told::of(ThresholdKind::Promql(promql), ids)
}

fn value(value: f64) -> Readings {
    Readings { gauges: [("x".to_owned(), value)].into(), ..Readings::default() }
}

fn named(told: &Told, mut readings: Readings) -> Readings {
    let name = told.policy.thresholds[0].name.clone();
    readings.gauges = readings.gauges.into_values().map(|value| (name.clone(), value)).collect();
    readings
}

fn says(told: &mut Told, id: &str, readings: Readings) {
    let readings = named(told, readings);
    told.pages.insert(id.into(), readings);
}

#[test]
fn a_value_above_its_bound_for_long_enough_on_enough_machines_breaches() {
    let mut told = told(0, &["m1", "m2", "m3"]);
    says(&mut told, "m1", value(120.0));
    says(&mut told, "m2", value(10.0));
    says(&mut told, "m3", value(10.0));
    assert_eq!(told.pass(60).verdict, Verdict::Pass, "one of three");
    says(&mut told, "m2", value(130.0));
    assert_eq!(told.pass(20).verdict, Verdict::Pass, "not for long enough");
    let evidence = told.pass(20);
    assert_eq!((evidence.verdict, evidence.value), (Verdict::Breach, Some(130.0)));
    assert_eq!(evidence.source, "max by (instance) (age{app=\"$app\"}) from fly");
    let phrase = phrase(&evidence, "v1");
    assert!(phrase.contains("130 on 2 of 3 machines, limit 90"), "{phrase}");
}

#[test]
fn what_a_value_looks_back_on_has_to_be_the_releases_whole() {
    let mut told = told(300, &["m1"]);
    told.machine("m1").started_at = Some(at(0));
    says(&mut told, "m1", value(120.0));
    assert_eq!(told.pass(298).verdict, Verdict::Inconclusive);
    assert_eq!(told.pass(60).verdict, Verdict::Breach);
}

#[test]
fn a_value_of_the_whole_app_is_nobodys_while_the_known_good_release_runs_beside() {
    let mut told = told(0, &["m1"]);
    let whole = |told: &Told| {
        let mut readings = named(told, value(120.0));
        readings.whole_app = readings.gauges.keys().cloned().collect();
        readings
    };
    let readings = whole(&told);
    told.pages.insert("m1".into(), readings);
    told.control.insert("good".into(), Readings::default());
    assert_eq!(told.pass(120).verdict, Verdict::Inconclusive);
    told.control.clear();
    assert_eq!(told.pass(60).verdict, Verdict::Breach);
}

#[test]
fn an_expression_that_the_server_does_not_take_decides_nothing_and_says_why() {
    let mut told = told(0, &["m1"]);
    let name = told.policy.thresholds[0].name.clone();
    let oddity = Oddity::Refused { detail: "does not take the query (422)".to_owned() };
    let readings = Readings { oddities: [(name, oddity)].into(), ..Readings::default() };
    told.pages.insert("m1".into(), readings);
    let evidence = told.pass(60);
    assert_eq!(evidence.verdict, Verdict::Inconclusive);
    assert!(note(&evidence).is_some_and(|note| note.contains("(422)")), "{evidence:?}");
}

#[test]
fn another_expression_has_another_past() {
    let mut told = told(0, &["m1"]);
    says(&mut told, "m1", value(120.0));
    assert_eq!(told.pass(60).verdict, Verdict::Breach);
    if let ThresholdKind::Promql(promql) = &mut told.policy.thresholds[0].kind {
        promql.expression = "something else".to_owned();
    }
    assert_ne!(told.look().verdict, Verdict::Breach);
}
