//! Pages behind which several processes answer, and counters that fall without a restart.

use super::*;

/// A machine whose list and page agree on its start.
fn steady() -> Rounds {
    Rounds { listed: Some(1000), ..Rounds::of(errors()) }
}

#[test]
fn processes_that_answer_in_turn_are_told_and_not_judged() {
    for tells in [true, false] {
        let mut rounds = steady();
        let page = |good: u32, bad: u32| since(tells.then_some(1001), good, bad);
        // Given two workers of one start, with a burst of errors behind them
        rounds.page(&page(90, 27));
        let (mut counted, mut odd) = (0.0, 0);
        for turn in 1..=60 {
            let worker = if turn % 2 == 1 { page(80 + turn, 25) } else { page(90 + turn, 27) };
            let readings = rounds.page(&worker).readings;
            counted += readings.counts.get("5xx").map_or(0.0, |count| count.k);
            odd += u32::from(readings.oddities.contains_key("5xx"));
        }
        // Then the burst is not counted again and again
        assert!(counted <= 30.0, "{counted} errors, {tells}");
        assert!(odd >= 50, "{odd} times told, {tells}");
        // and it is judged again when one of them is left
        let mut readings = Readings::default();
        for turn in 1..=60 {
            readings = rounds.page(&page(200 + 2 * turn, 27)).readings;
        }
        assert!(readings.oddities.is_empty(), "{readings:?}");
        assert_eq!(readings.counts["5xx"], Count { n: 2.0, k: 0.0, since: Since::LastScrape });
    }
}

#[test]
fn a_fall_that_no_pace_explains_counts_nothing() {
    for tells in [true, false] {
        let mut rounds = steady();
        let page = |good: u32, bad: u32| since(tells.then_some(1001), good, bad);
        // Given a counter of months that falls a little
        rounds.page(&page(1_000_000, 50_000));
        rounds.page(&page(1_000_020, 50_001));
        assert_eq!(rounds.added(&page(1_000_010, 50_000)), Some((0.0, 0.0)), "{tells}");
        assert_eq!(rounds.added(&page(1_000_030, 50_002)), Some((11.0, 1.0)), "{tells}");
        // When it stays below, then it counts from where it is after a while
        let mut rounds = steady();
        rounds.page(&page(1_000_000, 50_000));
        rounds.page(&page(1_000_020, 50_001));
        let mut counted = (0.0, 0.0);
        for turn in 1..=20 {
            let (n, k) = rounds.added(&page(500_000 + 10 * turn, 0)).unwrap_or_default();
            counted = (counted.0 + n, counted.1 + k);
        }
        assert!((100.0..=200.0).contains(&counted.0) && counted.1 == 0.0, "{counted:?}");
    }
}

#[test]
fn a_total_that_lost_a_little_is_left_out_together_with_its_errors() {
    for tells in [true, false] {
        let mut rounds = steady();
        let page = |good: u32, bad: u32| since(tells.then_some(1001), good, bad);
        // Given a page that adds up several workers, of whose requests one in a hundred fails
        rounds.page(&page(40_000, 400));
        assert_eq!(rounds.added(&page(40_198, 402)), Some((200.0, 2.0)));
        // When a worker without errors is replaced, and what it counted is gone
        let (mut n, mut k) = (0.0, 0.0);
        for turn in 0..8 {
            let (all, bad) =
                rounds.added(&page(38_698 + 198 * turn, 404 + 2 * turn)).unwrap_or_default();
            assert!(bad <= 0.02 * all, "{tells}: {bad} of {all}");
            (n, k) = (n + all, k + bad);
        }
        // Then its share of failures is what it was, once it is judged again
        assert!(n >= 600.0 && (k - n / 100.0).abs() < 1e-9, "{tells}: {k} of {n}");
    }
}

#[test]
fn a_process_that_crashes_again_and_again_is_judged() {
    let mut rounds = steady();
    let (mut counted, mut odd) = (0.0, 0);
    // Given one that a supervisor inside the machine starts again every 16 seconds, and that tells no start
    for turn in 0..120 {
        let page = turn % 8 + 1;
        let readings = rounds.page(&since(None, 70 * page, 30 * page)).readings;
        counted += readings.counts.get("5xx").map_or(0.0, |count| count.k);
        odd += u32::from(readings.oddities.contains_key("5xx"));
    }
    // Then it does not pass for several processes, and its failures count as far as it is known whose they are
    assert_eq!(odd, 0, "{counted}");
    assert!(counted >= 1000.0, "{counted}");
}
