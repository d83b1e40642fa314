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
