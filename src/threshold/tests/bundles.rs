//! Blocks of whole readings, and how many failures count as one.

use super::{super::detect::Dispersion, counting::told, *};
use crate::model::Origin;

/// Pages are read every 2 s: a block of 5 s would end with the look after, and hold 6 s of them.
#[test]
fn a_block_is_as_many_whole_readings_as_it_has_room_for() {
    let mut told = told();
    let block = |told: &Told| told.policy.settings(Span::Release).block.as_secs();
    assert_eq!(block(&told), 4);
    told.policy.watch.block = Duration::from_secs(1);
    assert_eq!(block(&told), 2, "never less than one");
    told.policy.watch.block = Duration::from_secs(40);
    let origin = Origin::server("fly", Duration::from_secs(15));
    assert_eq!(told.policy.settings_for(Span::Release, &origin).block, Duration::from_secs(30));
    assert_eq!(block(&told), 40);
}

#[test]
fn failures_count_in_bundles_as_large_as_were_measured() {
    let bad = |phi: Option<f64>| {
        let mut told = told();
        let measured = |phi| Dispersion { phi, minutes: 40, at: at(0) };
        told.state.measured(phi.map(measured));
        told.serves("m1", 600.0, 33.0);
        let took = told.breaches_within(600).unwrap();
        (took, told.state.bundles().map(|(phi, _)| phi))
    };
    let [(few, _), (usual, assumed), (many, phi)] = [Some(1.0), None, Some(200.0)].map(bad);
    assert!(few < usual && usual < many, "{few} {usual} {many} s");
    assert_eq!((assumed, phi), (Some(20.0), Some(200.0)));
}

/// What is bet on must be known before it is looked at.
#[test]
fn a_detector_that_has_begun_keeps_the_bundles_that_it_began_with() {
    let mut told = told();
    told.serves("m1", 200.0, 11.0);
    told.pass(10);
    let measured = Dispersion { phi: 1.0, minutes: 40, at: at(10) };
    told.state.measured(Some(measured));
    assert_eq!(told.state.bundles(), Some((20.0, Some(measured))));
    told.pass(20);
    assert_eq!(told.state.bundles(), Some((20.0, Some(measured))));
    // It begins anew.
    told.state.forget_alarms(at(told.second));
    assert_eq!(told.state.bundles(), Some((1.0, Some(measured))));
}

#[test]
fn its_own_minutes_say_how_far_its_counts_spread() {
    let mut told = told();
    for minute in 0..15 {
        told.serves("m1", 200.0, if minute % 5 == 0 { 3.0 } else { 0.5 });
        assert_eq!(told.state.dispersion(at(told.second)).is_some(), minute >= 10, "{minute}");
        told.pass(60);
    }
    let phi = told.state.dispersion(at(told.second)).unwrap().phi;
    assert!((20.0..40.0).contains(&phi), "{phi}");
}

/// Connections are made, caches are empty: 20 %, and less by half every 3 s.
#[test]
fn a_cold_start_is_no_regression_and_what_stays_is_one() {
    let breaches = |fades: bool| {
        let mut told = told();
        told.state.measured(Some(Dispersion { phi: 1.0, minutes: 40, at: at(0) }));
        (0..20).find_map(|round| {
            let age = f64::from(2 * round);
            let share = if fades { 0.2 * (-age / 5.0).exp() } else { 0.2 };
            told.serves("m1", 34.0, 34.0 * (0.005 + share));
            (told.look().verdict == Verdict::Breach).then_some(told.second)
        })
    };
    assert_eq!(breaches(true), None);
    assert!(breaches(false).is_some_and(|took| took <= 20));
}
