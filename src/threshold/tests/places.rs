//! What fails in one region of several: found there, and said of it.

use super::*;
use crate::{
    model::{Note, Origin, Ratio, Region, Selector, Tally},
    sim::Rng,
};

const PLACES: [(&str, &str); 3] = [("m1", "iad"), ("m2", "lhr"), ("m3", "syd")];

fn told() -> Told {
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    let mut told = Told::of(ThresholdKind::Ratio(ratio), &PLACES.map(|(id, _)| id));
    for (id, region) in PLACES {
        told.machine(id).region = Region::new(region);
    }
    told
}

/// One look, 33 requests a second in each region; in the third this share of them fails.
fn look(told: &mut Told, dice: &mut Rng, elsewhere: f64, third: f64) -> Evidence {
    for (id, region) in PLACES {
        let share = if region == "syd" { third } else { elsewhere };
        let failed = (0..66).filter(|_| (dice.roll(100_000) as f64) < share * 100_000.0).count();
        told.serves(id, 66.0, f64::from(u32::try_from(failed).unwrap()));
    }
    told.look()
}

#[test]
fn a_twentieth_that_fails_in_one_region_of_three_is_found_there() {
    let mut took = Vec::new();
    for seed in 0..60 {
        let (mut told, mut dice) = (told(), Rng::new(seed));
        while told.second < 600 {
            let evidence = look(&mut told, &mut dice, 0.005, 0.05);
            if evidence.verdict == Verdict::Breach {
                assert_eq!(evidence.note, Some(Note::InRegion { region: Region::new("syd") }));
                assert!(evidence.value.is_some_and(|share| share > 0.03), "{evidence:?}");
                took.push(told.second);
                break;
            }
        }
    }
    took.sort_unstable();
    println!("5 % in one region of three: {} of 60, median {} s", took.len(), took[took.len() / 2]);
    assert!(took.len() >= 57, "{} of 60", took.len());
}

#[test]
fn regions_that_are_well_raise_no_alarm() {
    for seed in 0..60 {
        let (mut told, mut dice) = (told(), Rng::new(seed));
        while told.second < 600 {
            let evidence = look(&mut told, &mut dice, 0.015, 0.015);
            assert_ne!(evidence.verdict, Verdict::Breach, "{seed}: {evidence:?}");
        }
    }
}

/// The regions' odds may get there a block before those of the whole: that accuses none of them.
#[test]
fn what_strikes_all_regions_accuses_none() {
    let mut accused = 0;
    for seed in 0..60 {
        let (mut told, mut dice) = (told(), Rng::new(seed));
        let share = 0.05 + f64::from(u32::try_from(seed).unwrap()) / 100.0;
        while told.second < 60 {
            let bad = if told.second < 20 { 0.005 } else { share };
            let evidence = look(&mut told, &mut dice, bad, bad);
            if evidence.verdict == Verdict::Breach {
                accused += usize::from(evidence.note.is_some());
                break;
            }
        }
    }
    assert_eq!(accused, 0);
}

#[test]
fn what_fails_everywhere_is_the_whole_s_and_no_later() {
    let (mut told, mut dice) = (told(), Rng::new(7));
    let took = loop {
        let evidence = look(&mut told, &mut dice, 0.3, 0.3);
        if evidence.verdict == Verdict::Breach {
            assert_eq!(evidence.note, None);
            break told.second;
        }
    };
    assert!(took <= 18, "{took} s");
}

#[test]
fn a_region_that_recovers_takes_its_alarm_back() {
    let (mut told, mut dice) = (told(), Rng::new(9));
    while look(&mut told, &mut dice, 0.0, 0.06).verdict != Verdict::Breach {
        assert!(told.second < 300);
    }
    let since = told.second;
    while look(&mut told, &mut dice, 0.0, 0.0).verdict == Verdict::Breach {
        assert!(told.second < since + 60);
    }
    assert_eq!(told.judged().control, None::<(f64, f64)>);
    assert_eq!(told.state.region(&Region::new("fra")), None::<Tally>);
}

/// Detectors that begin anew after half an hour stake no more at once than the first ones did.
#[test]
fn what_fails_in_one_region_is_found_as_soon_after_half_an_hour_as_before() {
    let found_after = |well: i64| {
        let mut told = told();
        let mut look = |share: f64| {
            for (id, region) in PLACES {
                told.serves(id, 66.0, if region == "syd" { 66.0 * share } else { 0.3 });
            }
            let evidence = told.look();
            (told.second, evidence)
        };
        while look(0.005).0 < well {}
        while look(0.06).1.verdict != Verdict::Breach {}
        told.second - well
    };
    let (early, late) = (found_after(300), found_after(2100));
    assert!(late <= early + 10, "{late} s, not {early}");
}

/// Somebody takes the region's machines away: what is left of the release is well.
#[test]
fn a_region_that_has_no_machine_any_more_accuses_nobody() {
    let (mut told, mut dice) = (told(), Rng::new(9));
    while look(&mut told, &mut dice, 0.0, 0.06).verdict != Verdict::Breach {
        assert!(told.second < 300);
    }
    told.machines.retain(|machine| machine.region != Region::new("syd"));
    let evidence = told.pass(30);
    assert_eq!((evidence.verdict, evidence.bad), (Verdict::Pass, 0.0), "{evidence:?}");
}
