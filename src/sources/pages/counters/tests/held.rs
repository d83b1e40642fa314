//! Whose a page's counts are, where the list of machines may be older than the page.

use super::*;

#[test]
fn counts_of_a_process_that_no_list_has_confirmed_are_held_back() {
    for tells in [true, false] {
        let start = |at: i64| tells.then_some(at);
        // Given a machine that the list and the page agree on.
        let mut rounds = Rounds::of(errors());
        rounds.listed = Some(1000);
        assert!(rounds.added(&since(start(1001), 100, 0)).is_some());
        assert_eq!(rounds.added(&since(start(1001), 110, 1)), Some((11.0, 1.0)));
        // When its page is another process's, and the list still shows the old instance.
        for count in [3, 6, 9] {
            let reading = rounds.page(&since(start(5000), count, count));
            assert!(reading.readings.unconfirmed && reading.readings.counts.is_empty());
        }
        // Then its counts are the new instance's as soon as a list shows it, all of them.
        rounds.instance = "i2".into();
        rounds.listed = Some(4999);
        let count = rounds.page(&since(start(5000), 12, 12)).readings.counts["5xx"];
        assert_eq!(count, Count { n: 24.0, k: 12.0, since: Since::ProcessStart });
    }
}

#[test]
fn a_process_that_was_restarted_in_its_place_is_confirmed_by_its_new_start_or_by_time() {
    let mut rounds = Rounds::of(errors());
    rounds.listed = Some(1000);
    rounds.page(&since(Some(1001), 100, 0));
    // The list knows of the restart a little later.
    assert!(rounds.page(&since(Some(5000), 3, 1)).readings.unconfirmed);
    rounds.listed = Some(4998);
    assert_eq!(rounds.added(&since(Some(5000), 6, 2)), Some((8.0, 2.0)));
    // Of a worker that its own supervisor restarted no list ever tells.
    let mut held = 0;
    loop {
        let reading = rounds.page(&since(Some(9000), 7, 3));
        if !reading.readings.unconfirmed {
            assert!((reading.readings.counts["5xx"].n - 10.0).abs() < 1e-9);
            break;
        }
        held += 1;
        assert!(held < 30, "it is held back for ever");
    }
    assert!(held >= 15, "lists lag by up to half a minute");
}

/// Its supervisor starts a worker anew every twenty seconds, and no list ever tells of it.
#[test]
fn what_is_restarted_in_its_place_over_and_over_is_counted_a_little_later() {
    // Given a machine that the list and the page agree on
    let mut rounds = Rounds::of(errors());
    rounds.listed = Some(1000);
    rounds.page(&since(Some(1001), 100, 0));
    // When its process ends after ten pages, again and again
    let (mut all, mut bad) = (0.0, 0.0);
    for life in 1..=9 {
        for page in 1..=10 {
            let reading = rounds.page(&since(Some(5000 + 20 * life), 10 * page, 5 * page));
            if let Some(count) = reading.readings.counts.get("5xx") {
                (all, bad) = (all + count.n, bad + count.k);
                assert!(!reading.readings.unconfirmed);
                assert_eq!(count.since, Since::LastScrape);
            }
        }
    }
    // Then all that was seen is counted, but for what is of the last forty seconds.
    assert_eq!((all, bad), (1050.0, 350.0));
}

/// The last one was the new instance's.
#[test]
fn what_is_held_of_an_instance_is_forgotten_with_it() {
    let mut rounds = Rounds::of(errors());
    rounds.listed = Some(1000);
    rounds.page(&since(Some(1001), 100, 0));
    for life in 1..=3 {
        assert!(rounds.page(&since(Some(5000 + 2 * life), 10, 5)).readings.unconfirmed);
    }
    rounds.instance = "i2".into();
    rounds.listed = Some(5006);
    let count = rounds.page(&since(Some(5006), 20, 10)).readings.counts["5xx"];
    assert_eq!(count, Count { n: 30.0, k: 10.0, since: Since::ProcessStart });
}

/// Gauges are of the process that runs now, whose counts are still held back.
#[test]
fn what_is_given_out_of_processes_before_says_nothing_of_the_one_that_runs() {
    let mut rounds = Rounds::of(errors());
    rounds.thresholds.push(memory());
    rounds.listed = Some(1000);
    rounds.page(&format!("{}mem 5\n", since(Some(1001), 100, 0)));
    for life in 1..=3 {
        for page in 1..=10 {
            let text = format!("{}mem 9\n", since(Some(5000 + 20 * life), page, 0));
            assert!(rounds.page(&text).readings.gauges.is_empty(), "{life} {page}");
        }
    }
}

#[test]
fn processes_that_are_held_are_bounded() {
    let mut held = Held::default();
    for _ in 0..1000 {
        held.begin(Instant::now());
    }
    assert!(held.len() <= 40);
}

#[test]
fn a_first_page_that_is_newer_than_the_list_is_held_back() {
    let mut rounds = Rounds::of(errors());
    rounds.listed = Some(1000);
    assert!(rounds.page(&since(Some(5000), 50, 50)).readings.unconfirmed);
    rounds.instance = "i2".into();
    rounds.listed = Some(4990);
    assert!(!rounds.page(&since(Some(5000), 60, 60)).readings.unconfirmed);
}
