//! A release that answers nothing while the one before it serves.

use super::*;
use crate::{
    model::{CheckStatus, Note, Origin, Ratio, Selector},
    threshold::silent::Answered,
};

/// m1 has the release, m2 and m3 the one before; each answered 20 requests a second.
fn told() -> Told {
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: false,
        from: Origin::PAGES,
        by: Vec::new(),
    };
    let mut told = Told::of(ThresholdKind::Ratio(ratio), &["m1"]);
    told.state.expect(&usual(20.0));
    told.serves("m1", 0.0, 0.0);
    for id in ["m2", "m3"] {
        told.control.insert(id.into(), counts(60.0, 0.0, Since::LastScrape));
    }
    told
}

fn usual(rate: f64) -> BTreeMap<MachineId, Answered> {
    let answered = Answered { seconds: 60.0, n: rate * 60.0 };
    ["m1", "m2", "m3"].map(|id| (id.into(), answered)).into()
}

/// After how many seconds it breaches, of two minutes.
fn breaches(told: &mut Told) -> Option<i64> {
    let since = told.second;
    (0..60).find_map(|_| {
        let evidence = told.look();
        (evidence.verdict == Verdict::Breach).then_some(told.second - since)
    })
}

#[test]
fn a_release_that_answers_nothing_while_the_one_before_serves_is_found() {
    let mut told = told();
    let took = breaches(&mut told).unwrap();
    assert!(took <= 16, "{took} s");
    let evidence = told.look();
    let Some(Note::Silent { due, beside }) = evidence.note else { panic!("{evidence:?}") };
    assert!(due.n > 100.0 && due.k == 0.0 && beside.k > 400.0, "{evidence:?}");
    assert!(told.state.control_is_well(at(0)));
    // It answers after all.
    told.serves("m1", 40.0, 0.0);
    for _ in 0..4 {
        told.look();
    }
    assert!(told.last.forgave || told.look().verdict != Verdict::Breach);
}

/// A metrics server reads every 15 s, and shows it late: a new machine's first requests come after 45 s.
#[test]
fn what_is_told_late_is_no_silence() {
    let mut told = told();
    let ThresholdKind::Ratio(ratio) = &mut told.policy.thresholds[0].kind else { panic!() };
    ratio.from = Origin::server("fly", Duration::from_secs(15));
    told.state = ThresholdState::begin(&told.policy.thresholds[0], at(0));
    told.state.expect(&usual(20.0));
    let mut told_of = |seconds: std::ops::Range<i64>, m1: f64| {
        for second in seconds.step_by(2) {
            // In one round of each quarter of a minute.
            let shows = if second % 15 < 2 { 1.0 } else { 0.0 };
            told.serves("m1", m1 * shows, 0.0);
            for id in ["m2", "m3"] {
                told.control.insert(id.into(), counts(300.0 * shows, 0.0, Since::LastScrape));
            }
            assert_ne!(told.look().verdict, Verdict::Breach, "after {second} s");
        }
    };
    told_of(0..46, 0.0);
    told_of(46..300, 300.0);
}

#[test]
fn a_release_that_answers_a_little_is_no_hang() {
    let mut told = told();
    told.serves("m1", 3.0, 0.0);
    assert_eq!(breaches(&mut told), None);
}

#[test]
fn silence_is_nobodys_while_the_one_before_answers_nothing_either() {
    let mut told = told();
    for id in ["m2", "m3"] {
        told.control.insert(id.into(), counts(0.0, 0.0, Since::LastScrape));
    }
    assert_eq!(breaches(&mut told), None);
}

/// Nothing is due of a machine that answered nothing before, that nobody knows, or that is not in
/// service yet.
#[test]
fn nothing_is_due_of_a_machine_that_is_not_known_to_serve() {
    let mut idle = told();
    let mut of_old = usual(20.0);
    of_old.insert("m1".into(), Answered { seconds: 60.0, n: 0.0 });
    idle.state.expect(&of_old);
    assert_eq!(breaches(&mut idle), None);
    of_old.remove(&MachineId::from("m1"));
    idle.state.expect(&of_old);
    assert_eq!(breaches(&mut idle), None);
    let mut cordoned = told();
    cordoned.machine("m1").cordoned = true;
    assert_eq!(breaches(&mut cordoned), None);
    let mut unchecked = told();
    unchecked.machine("m1").checks_configured = 1;
    assert_eq!(breaches(&mut unchecked), None);
    let mut starting = told();
    starting.machine("m1").checks_configured = 1;
    starting.machine("m1").checks = vec![crate::model::Check {
        name: "http".to_owned(),
        status: CheckStatus::Warning,
        output: String::new(),
        changed_at: None,
        interval: None,
        grace: None,
    }];
    assert_eq!(breaches(&mut starting), None);
}
