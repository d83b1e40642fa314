//! One machine that fails while its equals serve.

use super::*;
use crate::model::{Alone, Note, Origin, Ratio, Region, Selector};

/// Machines, each with its region.
fn told(machines: &[(&str, &str)]) -> Told {
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    let ids: Vec<&str> = machines.iter().map(|(id, _)| *id).collect();
    let mut told = Told::of(ThresholdKind::Ratio(ratio), &ids);
    for (id, region) in machines {
        told.machine(id).region = Region::new(*region);
        told.serves(id, 30.0, 0.0);
    }
    for _ in 0..30 {
        told.look();
    }
    told
}

const SIX: [(&str, &str); 6] =
    [("m1", "iad"), ("m2", "iad"), ("m3", "lhr"), ("m4", "lhr"), ("m5", "syd"), ("m6", "syd")];

fn breaches(told: &mut Told, looks: usize) -> bool {
    (0..looks).any(|_| told.look().verdict == Verdict::Breach)
}

fn apart(told: &Told) -> Option<&Alone> {
    told.state.alone()
}

#[test]
fn a_machine_that_fails_alone_is_set_apart_and_the_release_is_judged_without_it() {
    let mut told = told(&SIX);
    told.serves("m3", 30.0, 9.0);
    assert!(!breaches(&mut told, 120));
    let alone = apart(&told).unwrap();
    assert_eq!((alone.machine.as_str(), alone.region.as_str()), ("m3", "lhr"));
    assert_eq!((alone.beside, alone.rest.k), (5.0, 0.0));
    assert!(alone.counted.share().unwrap() > 0.1, "{alone:?}");
    let evidence = told.look();
    assert_eq!(evidence.verdict, Verdict::Pass);
    assert!(evidence.bad < 0.5);
    assert!(matches!(evidence.note, Some(Note::Apart(alone)) if alone.machine.as_str() == "m3"));
    for id in ["m1", "m2", "m4", "m5", "m6"] {
        told.serves(id, 30.0, 9.0);
    }
    assert!(breaches(&mut told, 30), "then it is the release");
}

#[test]
fn a_second_machine_that_fails_is_the_release_s() {
    let mut told = told(&SIX);
    told.serves("m3", 30.0, 9.0);
    assert!(!breaches(&mut told, 120));
    told.serves("m5", 30.0, 9.0);
    assert!(breaches(&mut told, 120));
}

/// Who may be compared with it: machines of its group, one of them in its region.
#[test]
fn it_takes_two_that_are_well_and_one_of_them_in_its_region() {
    for (machines, is_apart) in [
        (&SIX[..], true),
        (&[("m3", "lhr"), ("m4", "lhr")][..], false),
        (&[("m3", "lhr"), ("m4", "lhr"), ("m5", "syd")][..], true),
        (&[("m3", "lhr"), ("m1", "iad"), ("m2", "iad"), ("m5", "syd")][..], false),
    ] {
        let mut told = told(machines);
        told.serves("m3", 30.0, 9.0);
        assert_eq!(!breaches(&mut told, 60), is_apart, "{machines:?}");
        assert_eq!(apart(&told).is_some(), is_apart, "{machines:?}");
    }
    let mut told = told(&SIX);
    told.machine("m4").group = "worker".into();
    told.serves("m3", 30.0, 9.0);
    assert!(breaches(&mut told, 60), "m4 does something else");
}

#[test]
fn a_few_requests_that_were_served_do_not_make_a_machine_well() {
    let mut told = told(&SIX);
    for (id, _) in SIX {
        told.serves(id, 0.2, 0.0);
    }
    for _ in 0..200 {
        told.look();
    }
    told.serves("m3", 30.0, 9.0);
    assert!(breaches(&mut told, 60));
}

#[test]
fn a_machine_that_is_well_again_or_was_replaced_counts_again() {
    for replaced in [false, true] {
        let mut told = told(&SIX);
        told.serves("m3", 30.0, 9.0);
        assert!(!breaches(&mut told, 60));
        assert!(apart(&told).is_some());
        if replaced {
            told.machine("m3").instance = "another".into();
        } else {
            told.serves("m3", 30.0, 0.0);
        }
        for _ in 0..10 {
            told.look();
        }
        assert_eq!(apart(&told), None, "{replaced}");
    }
}

/// Of one request that failed half an hour ago a trace is left, which is no failing machine.
#[test]
fn a_machine_that_answered_its_last_request_badly_long_ago_does_not_hide_which_one_fails() {
    let mut told = told(&SIX);
    told.serves("m6", 0.0, 0.0);
    told.pass(1200);
    told.serves("m6", 1.0, 1.0);
    told.look();
    told.serves("m6", 0.0, 0.0);
    told.pass(600);
    told.serves("m3", 30.0, 9.0);
    assert!(!breaches(&mut told, 60));
    assert_eq!(apart(&told).map(|alone| alone.machine.as_str()), Some("m3"));
}
