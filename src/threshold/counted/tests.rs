//! What is taken in, and what contradicts itself.

use super::*;
use crate::model::Count;

fn counted() -> Counted {
    Counted::new("bad / total".to_owned(), (0.02, false), Timestamp::UNIX_EPOCH)
}

fn count(n: f64, k: f64) -> Count {
    Count { n, k, since: Since::LastScrape }
}

#[test]
fn a_swapped_pair_is_inconsistent_before_anything_is_decided_by_it() {
    let mut state = counted();
    let fed: Vec<_> = [(0.0, 40.0), (1.0, 38.0), (0.0, 41.0)]
        .map(|(n, k)| state.reconcile(&count(n, k)))
        .into_iter()
        .flatten()
        .collect();
    assert!(state.inconsistent && fed.is_empty(), "{fed:?}");
    assert_eq!(state.raw, Tally { n: 1.0, k: 119.0 });
}

#[test]
fn a_page_that_counts_a_bad_event_a_moment_early_is_no_contradiction() {
    let mut state = counted();
    for _ in 0..100 {
        assert!(state.reconcile(&count(10.0, 11.0)).is_some());
        assert!(state.reconcile(&count(10.0, 9.0)).is_some());
    }
    assert!(!state.inconsistent);
}

#[test]
fn sums_beyond_all_numbers_are_left_out_and_the_state_can_be_read_again() {
    let mut state = counted();
    for _ in 0..3 {
        state.reconcile(&count(f64::MAX, 0.0));
    }
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<Counted>(&text).unwrap(), state);
}

#[test]
fn what_contradicted_itself_for_a_moment_is_judged_again_when_it_adds_up() {
    let mut state = counted();
    // The failures of a moment are counted before the requests that they are of.
    assert_eq!(state.reconcile(&count(0.0, 8.0)), None);
    let fed = state.reconcile(&count(30.0, 0.0)).unwrap();
    assert_eq!((fed.n, fed.k, state.inconsistent), (30.0, 8.0, false));
    assert!(state.reconcile(&count(30.0, 0.0)).is_some());
}
