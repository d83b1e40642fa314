//! Counters that go down without having begun anew.

use super::*;

/// What two replicas of one server write to one store, a second each: the clock of one is ahead, so
/// that a value comes after one that is newer.
fn in_two_hands(start: f64, each: f64, seconds: std::ops::Range<i64>) -> Vec<(i64, f64)> {
    let at = |half: i64| start + each * half as f64 / 2.0;
    seconds
        .flat_map(|second| [(2 * second, at(2 * second)), (2 * second + 1, at(2 * second - 2))])
        .collect()
}

#[tokio::test]
async fn a_counter_that_goes_a_little_down_and_up_again_counts_what_was_added() {
    // Given counters of months, each written by two replicas
    let mut told = Told::of(failures());
    let both = |seconds: std::ops::Range<i64>| {
        [
            responses("m1", "200", &in_two_hands(36_000_000.0, 200.0, seconds.clone())),
            responses("m1", "503", &in_two_hands(1_800_000.0, 2.0, seconds)),
        ]
    };
    told.hears(&both(0..10));
    told.hears(&both(5..40));
    // Then only what was added counts
    let (n, k) = told.count("m1").unwrap();
    assert!((7500.0..=8100.0).contains(&n), "{n}");
    assert!((75.0..=81.0).contains(&k), "{k}");
}

#[tokio::test]
async fn a_rare_counter_that_goes_down_beside_a_busy_one_did_not_begin_anew() {
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &[(0, 1e7), (1, 1e7 + 60.0), (2, 1e7 + 120.0), (3, 1e7 + 110.0)]),
        responses("m1", "503", &[(0, 90.0), (1, 91.0), (2, 92.0), (3, 91.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((122.0, 2.0)));
    // Neither does one that has no busy one beside it, when it lost no more than a few.
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "503", &[(0, 0.0), (15, 90.0), (30, 150.0), (31, 149.0)])]);
    assert_eq!(told.count("m1"), Some((150.0, 150.0)));
}

#[tokio::test]
async fn one_that_stays_below_starts_where_it_is() {
    let mut told = Told::of(failures());
    told.hears(&[responses("m1", "503", &[(0, 9e6), (15, 9e6 + 30.0)])]);
    assert_eq!(told.count("m1"), Some((30.0, 30.0)));
    // Given a value that no pace explains, then nothing of it counts
    told.hears(&[responses("m1", "503", &[(30, 5e6), (45, 5e6 + 3.0), (60, 5e6 + 6.0)])]);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)));
    // until it has risen from there for several readings
    told.hears(&[responses("m1", "503", &[(75, 5e6 + 9.0), (90, 5e6 + 12.0), (105, 5e6 + 20.0)])]);
    let (n, k) = told.count("m1").unwrap();
    assert!((n - k).abs() < 1e-9 && n <= 14.0, "{n}");
    told.hears(&[responses("m1", "503", &[(120, 5e6 + 27.0)])]);
    assert_eq!(told.count("m1"), Some((7.0, 7.0)));
}

/// What is counted of a machine whose 200s lost a little after a minute, of whose 100 requests a second one
/// fails, when it is told of these spans, one answer each.
fn counted_in(answers: &[(i64, i64)]) -> Vec<Option<(f64, f64)>> {
    let mut told = Told::of(failures());
    let both = |(from, to): (i64, i64), less: f64| {
        let line = |start: f64, each: f64| -> Vec<(i64, f64)> {
            (from..=to).step_by(15).map(|at| (at, start + each * at as f64)).collect()
        };
        [
            responses("m1", "200", &line(40_000.0 - less, 99.0)),
            responses("m1", "503", &line(400.0, 1.0)),
        ]
    };
    told.hears(&both((0, 60), 0.0));
    assert_eq!(told.count("m1"), Some((6000.0, 60.0)));
    let mut counted = Vec::new();
    for span in answers {
        told.hears(&both(*span, 9000.0));
        counted.push(told.count("m1"));
    }
    counted
}

#[tokio::test]
async fn one_that_lost_a_little_is_left_out_together_with_its_errors() {
    let one_by_one: Vec<(i64, i64)> = (5..=10).map(|one| (15 * one, 15 * one)).collect();
    let by_two: Vec<(i64, i64)> = (0..3).map(|one| (75 + 30 * one, 90 + 30 * one)).collect();
    for answers in [one_by_one, by_two, vec![(75, 150)]] {
        let counted = counted_in(&answers);
        for (n, k) in counted.iter().flatten() {
            assert!((k - n / 100.0).abs() < 1e-9, "{k} of {n}: {counted:?}");
        }
        let n: f64 = counted.iter().flatten().map(|(n, _)| n).sum();
        assert!((3000.0 - n).abs() < 1e-9, "what came after its new beginning counts: {counted:?}");
    }
}

#[tokio::test]
async fn what_waits_for_one_that_lost_a_little_is_told_when_it_is_back() {
    let mut told = Told::of(failures());
    told.hears(&[
        responses("m1", "200", &[(0, 40_000.0), (15, 41_500.0)]),
        responses("m1", "503", &[(0, 400.0), (15, 415.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((1515.0, 15.0)));
    told.hears(&[
        responses("m1", "200", &[(30, 41_400.0)]),
        responses("m1", "503", &[(30, 430.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((0.0, 0.0)));
    told.hears(&[
        responses("m1", "200", &[(45, 44_500.0)]),
        responses("m1", "503", &[(45, 445.0)]),
    ]);
    assert_eq!(told.count("m1"), Some((3030.0, 30.0)));
}
