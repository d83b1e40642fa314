//! Counted events: shares, odds, and what begins anew.

use super::*;
use crate::model::{Latency, Oddity, Origin, Ratio, Region, Selection, Selector, Want};

fn ratio(max: f64) -> ThresholdKind {
    ThresholdKind::Ratio(Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    })
}

fn latency(bound_s: f64, quantile: f64) -> Latency {
    Latency {
        histogram: Selector::metric("took"),
        quantile,
        bound_s,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    }
}

pub(super) fn told() -> Told {
    Told::of(ratio(0.02), &["m1"])
}

#[test]
fn a_share_above_its_limit_breaches_and_one_within_it_passes() {
    let mut told = told();
    told.serves("m1", 100.0, 1.0);
    let evidence = told.pass(60);
    assert_eq!((evidence.verdict, evidence.note.clone()), (Verdict::Pass, None));
    assert_eq!((evidence.bad, evidence.total, evidence.value), (30.0, 3000.0, Some(0.01)));
    assert!(evidence.ln_odds.is_some_and(|odds| odds < 0.0), "{evidence:?}");
    assert!(evidence.ln_odds_needed.is_some_and(|odds| odds > 6.0), "{evidence:?}");
    told.serves("m1", 100.0, 30.0);
    assert!(told.breaches_within(60).is_some());
    assert!(told.judged().ln_odds > told.judged().ln_odds_needed);
}

/// What was well before it says nothing of how bad it is now.
#[test]
fn a_breach_that_came_late_has_the_counts_since_it_rose() {
    let mut told = told();
    told.serves("m1", 100.0, 1.0);
    told.pass(200);
    told.serves("m1", 100.0, 95.0);
    let seconds = told.breaches_within(30).expect("a breach");
    let evidence = told.judged();
    assert!(evidence.share().is_some_and(|share| share < 0.2), "{evidence:?}");
    let n = f64::from(i32::try_from(seconds / 2).unwrap()) * 100.0;
    assert_eq!(evidence.lately, Some(Tally { n, k: 0.95 * n }));
}

#[test]
fn a_breach_from_the_beginning_has_no_other_counts() {
    let mut told = told();
    told.serves("m1", 100.0, 30.0);
    told.breaches_within(60).expect("a breach");
    assert_eq!(told.judged().lately, None);
}

#[test]
fn a_slow_share_is_judged_like_a_bad_one() {
    let mut told = Told::of(ThresholdKind::Latency(latency(0.5, 0.95)), &["m1"]);
    told.serves("m1", 100.0, 4.0);
    let evidence = told.pass(60);
    assert_eq!((evidence.verdict, evidence.limit), (Verdict::Pass, 0.05));
    assert_eq!(evidence.unit, Unit::SlowerThan(0.5));
    assert_eq!(evidence.source, "took slower than 500 ms");
    assert_eq!(evidence.kind, Kind::Latency);
    told.serves("m1", 100.0, 40.0);
    assert!(told.breaches_within(60).is_some());
}

#[test]
fn the_share_that_a_quantile_allows_has_no_crumbs() {
    assert_eq!(latency(0.5, 0.95).allowed_share(), Some((0.05, false)));
    assert_eq!(latency(0.5, 0.9).allowed_share(), Some((0.1, false)));
    let strict = Latency { strict: true, ..latency(0.5, 0.99) };
    assert_eq!(strict.allowed_share(), Some((0.01, true)));
    let want = Selection::Slow { histogram: Selector::metric("took"), bound_s: 0.5 };
    assert_eq!(strict.want(), Want::Series(SourceName::Pages, want));
}

/// Without three blocks with events, of five seconds each, nothing is said for a release.
#[test]
fn too_little_is_undecided() {
    let mut told = told();
    let evidence = told.look();
    assert_eq!((evidence.value, evidence.verdict), (None, Verdict::Inconclusive));
    told.serves("m1", 1.0, 0.0);
    while told.judged().blocks < 3 {
        let evidence = told.look();
        if evidence.blocks < 3 {
            assert_eq!(evidence.verdict, Verdict::Inconclusive);
            assert_eq!(evidence.note, Some(Note::Undecided));
        }
        assert!(told.second < 30);
    }
    assert_eq!((told.judged().verdict, told.judged().note), (Verdict::Pass, None));
}

/// A bake may be over before there are three blocks: it passes then, and says why.
#[test]
fn too_little_passes_where_no_data_is_ignored_and_says_that_it_need_not_tell() {
    let mut told = told();
    told.policy.thresholds[0].no_data = NoData::Ignore;
    told.look();
    told.serves("m1", 1.0, 0.0);
    let mut seen = 0;
    while told.judged().blocks < 3 {
        let evidence = told.look();
        if evidence.blocks < 3 && evidence.total > 0.0 {
            seen += 1;
            assert_eq!(evidence.verdict, Verdict::Pass);
            assert_eq!(evidence.note, Some(Note::UndecidedIgnored));
        }
    }
    assert!(seen > 0);
    assert_eq!(told.judged().note, None);
}

/// Above the limit, and the odds rise: no proof, and no health.
#[test]
fn what_leans_against_a_release_is_undecided() {
    let mut told = told();
    told.serves("m1", 10.0, 0.4);
    let mut leaned = 0;
    for _ in 0..60 {
        let evidence = told.look();
        let leans = evidence.ln_odds.is_some_and(|odds| odds > 0.0);
        if evidence.blocks >= 3 && leans && evidence.verdict != Verdict::Breach {
            leaned += 1;
            assert_eq!(evidence.verdict, Verdict::Inconclusive, "{evidence:?}");
            assert_eq!(evidence.note, Some(Note::Undecided));
        }
    }
    assert!(leaned > 3, "{leaned}");
}

/// Above the limit by chance, and the odds are against it.
#[test]
fn a_share_above_the_limit_of_which_the_odds_say_nothing_passes() {
    let mut told = told();
    told.serves("m1", 100.0, 0.0);
    told.pass(20);
    told.serves("m1", 100.0, 2.5);
    for _ in 0..100 {
        let evidence = told.look();
        let leans = evidence.ln_odds.is_some_and(|odds| odds > 0.0);
        let above = evidence.value.is_some_and(|share| share > 0.02);
        let want = if leans && above { Verdict::Inconclusive } else { Verdict::Pass };
        assert_eq!(evidence.verdict, want, "{evidence:?}");
    }
}

#[test]
fn what_a_process_counted_before_the_first_look_counts_only_for_the_release_s_own() {
    for (past_counts, total) in [(false, 0.0), (true, 100.0)] {
        let mut told = told();
        told.past_counts = past_counts;
        told.pages.insert("m1".into(), counts(100.0, 0.0, Since::ProcessStart));
        told.look();
        let counted = told.state.region(&Region::new("iad")).map_or(0.0, |tally| tally.n);
        assert_eq!((counted, told.last.events), (total, past_counts));
    }
}

#[test]
fn rounds_without_events_are_no_events() {
    let mut told = told();
    told.serves("m1", 0.0, 0.0);
    told.look();
    assert!(!told.last.events);
    told.serves("m1", 1.0, 0.0);
    told.look();
    assert!(told.last.events);
}

#[test]
fn each_region_s_events_are_its_own() {
    let mut told = Told::of(ratio(0.02), &["m1", "m2"]);
    told.machine("m2").region = Region::new("fra");
    told.serves("m1", 10.0, 1.0);
    told.serves("m2", 20.0, 0.0);
    told.pass(4);
    assert_eq!(told.state.region(&Region::new("iad")), Some(Tally { n: 20.0, k: 2.0 }));
    assert_eq!(told.state.region(&Region::new("fra")), Some(Tally { n: 40.0, k: 0.0 }));
    assert_eq!(told.state.region(&Region::new("ams")), None);
}

#[test]
fn the_known_good_release_beside_it_is_told_of() {
    let mut told = told();
    told.serves("m1", 10.0, 0.0);
    assert_eq!(told.look().control, None);
    told.control.insert("a".into(), counts(100.0, 4.0, Since::LastScrape));
    told.control.insert("b".into(), counts(1000.0, 0.0, Since::ProcessStart));
    told.control.insert("c".into(), counts(1.0, 2.0, Since::LastScrape));
    told.control.insert("d".into(), counts(3.0, 3.0, Since::LastScrape));
    told.look();
    assert_eq!(told.look().control, Some((14.0, 206.0)));
}

#[test]
fn a_page_that_cannot_be_judged_says_so_and_passes_nothing() {
    let mut told = told();
    told.serves("m1", 100.0, 0.0);
    assert_eq!(told.pass(30).verdict, Verdict::Pass);
    let oddity = Oddity::Overflow { series: "bad".to_owned() };
    let page = told.pages.get_mut(&MachineId::new("m1")).unwrap();
    page.oddities.insert("one".to_owned(), oddity.clone());
    let evidence = told.look();
    assert_eq!((evidence.verdict, evidence.note), (Verdict::Inconclusive, Some(Note::Odd(oddity))));
}

#[test]
fn more_bad_events_than_events_decide_nothing() {
    let mut told = told();
    told.serves("m1", 10.0, 100.0);
    let evidence = told.pass(60);
    assert_eq!(evidence.verdict, Verdict::Inconclusive);
    let note = Note::Inconsistent { bad: 3000.0, total: 300.0 };
    assert_eq!((evidence.note, evidence.value), (Some(note), None));
    assert_eq!((evidence.bad, evidence.total, evidence.ln_odds), (3000.0, 300.0, None));
}

/// Five bad events, and one in a hundred of all, may be counted before what they are among.
#[test]
fn a_few_bad_events_ahead_are_no_contradiction() {
    for (ahead, inconsistent) in [(5.0, false), (15.0, false), (16.0, true)] {
        let mut told = told();
        told.serves("m1", 1000.0, 0.0);
        told.look();
        told.serves("m1", 0.0, ahead);
        let evidence = told.look();
        let told = matches!(evidence.note, Some(Note::Inconsistent { .. }));
        assert_eq!(told, inconsistent, "{ahead}");
    }
}

/// Those that are ahead are fed with what they are among.
#[test]
fn what_is_ahead_waits_for_the_events_it_is_among() {
    let mut told = told();
    let mut fed = |n, k| {
        told.serves("m1", n, k);
        told.look();
        told.state.region(&Region::new("iad")).map_or((0.0, 0.0), |tally| (tally.n, tally.k))
    };
    assert_eq!(fed(0.0, 2.0), (0.0, 0.0));
    assert_eq!(fed(100.0, 0.0), (100.0, 2.0));
    assert_eq!(fed(0.0, 3.0), (100.0, 2.0), "three wait");
    assert_eq!(fed(100.0, 0.0), (200.0, 5.0));
    // One is not waited for, nor what is a twentieth of the rest.
    assert_eq!(fed(0.0, 1.0), (200.0, 5.0));
    assert_eq!(fed(0.0, 0.0), (200.0, 5.0));
    assert_eq!(fed(100.0, 103.0), (300.0, 105.0));
    assert_eq!(fed(100.0, 0.0), (400.0, 109.0));
}

/// What was counted against another limit, or for another question, proves nothing.
#[test]
fn another_limit_or_question_begins_anew() {
    let other = Ratio {
        bad: Selector::metric("worse"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    let strict = Ratio { bad: Selector::metric("bad"), strict: true, ..other.clone() };
    for kind in [ratio(0.03), ThresholdKind::Ratio(other), ThresholdKind::Ratio(strict)] {
        let mut told = told();
        told.serves("m1", 100.0, 0.0);
        told.pass(30);
        assert!(told.judged().total >= 1200.0);
        told.policy.thresholds[0].kind = kind;
        assert!(told.pass(10).total <= 500.0);
        assert!(told.pass(10).total >= 600.0, "and goes on");
    }
    for other in [latency(0.4, 0.95), latency(0.5, 0.9)] {
        let mut told = Told::of(ThresholdKind::Latency(latency(0.5, 0.95)), &["m1"]);
        told.serves("m1", 100.0, 0.0);
        told.pass(30);
        assert!(told.judged().total >= 1200.0);
        told.policy.thresholds[0].kind = ThresholdKind::Latency(other);
        assert!(told.pass(10).total <= 500.0);
        assert!(told.pass(10).total >= 600.0, "and goes on");
    }
}

/// An alarm whose cause is clearly over is taken back, and the counting begins anew.
#[test]
fn an_alarm_is_taken_back_when_its_cause_is_clearly_over() {
    let mut told = told();
    told.serves("m1", 100.0, 50.0);
    assert!(told.breaches_within(60).is_some());
    told.serves("m1", 100.0, 0.0);
    let began = told.second;
    while !told.last.forgave {
        told.look();
        assert!(told.second < began + 60, "{:?}", told.judged());
    }
    assert!(told.second >= began + 10, "a recovery takes ten seconds");
    assert_eq!(told.judged().value, None);
    assert_eq!(told.pass(30).verdict, Verdict::Pass);
}

/// Half an hour is what the promised rate is spread over; a release that is watched for longer is
/// judged anew.
#[test]
fn after_half_an_hour_the_counting_begins_anew_unless_it_alarmed() {
    let mut told = told();
    told.serves("m1", 10.0, 0.0);
    told.pass(1798);
    assert!(told.judged().total > 8900.0);
    let total = told.look().total;
    assert!(total <= 20.0, "{total}");
    told.pass(1790);
    assert!(told.judged().total > 8000.0);
    let mut alarmed = self::told();
    alarmed.serves("m1", 100.0, 50.0);
    alarmed.pass(3600);
    assert_eq!(alarmed.judged().verdict, Verdict::Breach);
    assert!(alarmed.judged().total > 170_000.0);
}

/// After a while in which nothing was seen, an alarm of before says nothing of now.
#[test]
fn alarms_are_forgotten_when_nobody_looked() {
    let mut told = told();
    told.serves("m1", 100.0, 50.0);
    told.pass(60);
    assert!(told.state.is_suspicious());
    told.state.forget_alarms(at(told.second));
    assert!(!told.state.is_suspicious());
    assert_eq!((told.judged().verdict, told.judged().total), (Verdict::Inconclusive, 0.0));
    // What leans would be an alarm with the next block.
    let mut leaning = self::told();
    leaning.serves("m1", 100.0, 6.0);
    while leaning.look().ln_odds.is_none_or(|odds| odds <= 0.0) {
        assert!(leaning.second < 60);
    }
    assert_ne!(leaning.judged().verdict, Verdict::Breach);
    leaning.state.forget_alarms(at(leaning.second));
    assert_eq!((leaning.judged().total, leaning.judged().ln_odds), (0.0, None), "begun anew");
    leaning.serves("m1", 100.0, 0.0);
    assert_eq!(leaning.breaches_within(120), None);
    assert!(leaning.judged().ln_odds.is_none_or(|odds| odds < 0.0));
    // What speaks for it is kept.
    let mut well = self::told();
    well.serves("m1", 100.0, 0.0);
    well.pass(60);
    well.state.forget_alarms(at(well.second));
    assert!(well.judged().total > 2500.0);
}

/// Before it is certain.
#[test]
fn a_burst_of_failures_is_suspicious_at_once() {
    let mut told = told();
    told.serves("m1", 100.0, 50.0);
    assert_ne!(told.look().verdict, Verdict::Breach);
    assert!(told.state.is_suspicious());
}

/// A process that ran before us is judged from the first look on.
#[test]
fn the_first_block_begins_with_the_process_and_of_what_ran_before_us_with_the_look() {
    for (learning, closes) in [(false, true), (true, false)] {
        let mut told = told();
        told.learning = learning;
        told.second = 3;
        told.serves("m1", 10.0, 0.0);
        told.look();
        assert_eq!(told.last.closed, closes);
    }
}

#[test]
fn requests_are_called_so_and_other_events_are_not() {
    let unit = |bad: &str, total: &str| {
        let (bad, total) = (Selector::metric(bad), Selector::metric(total));
        Ratio {
            bad,
            total,
            max: 0.02,
            relative: None,
            strict: false,
            by: Vec::new(),
            from: Origin::PAGES,
        }
        .terms()
        .1
    };
    assert_eq!(unit("bad", "requests"), Unit::Requests);
    assert_eq!(unit("http_errors", "all"), Unit::Requests);
    assert_eq!(unit("jobs_failed", "jobs"), Unit::Events);
}

#[test]
fn the_promised_rate_is_split_over_what_counts() {
    let mut told = told();
    told.policy.thresholds.push(threshold(ratio(0.05)));
    told.policy.thresholds.push(threshold(ThresholdKind::Crashes(crate::model::Crashes {
        exits: 2,
        oom: 1,
        failing: 0.3,
    })));
    let settings = told.policy.settings(Span::Release);
    let rate = told.policy.watch.false_rollbacks;
    assert_eq!(Some(settings.alpha), Some(rate / 2.0));
    assert_eq!(settings.watch, WATCH_HORIZON);
    assert_eq!(told.policy.wants(&SourceName::Pages).len(), 2);
    assert!(told.policy.wants_pages());
    told.policy.thresholds.drain(..2);
    assert!(!told.policy.wants_pages());
    told.policy.watch.bake = Duration::from_secs(7200);
    told.policy.watch.scrape_every = Duration::from_secs(30);
    let settings = told.policy.settings(Span::Release);
    assert_eq!(Some(settings.alpha), Some(rate), "none that counts: never by zero");
    assert_eq!(
        (settings.watch, settings.block),
        (Duration::from_secs(7200), Duration::from_secs(30))
    );
}

/// Time in which nothing was asked is not staked away as if it had held requests.
#[test]
fn what_degrades_is_found_as_soon_when_its_first_requests_came_late() {
    let found_after = |silent| {
        let mut told = told();
        // Its page has no such series before the first request.
        told.pages.insert("m1".into(), Readings::default());
        told.pass(silent);
        told.serves("m1", 100.0, 1.0);
        told.pass(120);
        told.serves("m1", 100.0, 8.0);
        told.breaches_within(180).expect("a breach")
    };
    // The detectors' horizon is half an hour.
    assert!(found_after(1830) <= found_after(10) + 4, "{} s", found_after(1830));
}

/// Seconds until 20 % failures of 100 requests a second are found, after so many minutes of health, of a release
/// whose process had run for so long when its watch began.
fn found_after(ran_for: i64, minutes: i64) -> Option<i64> {
    let mut told = told();
    told.machine("m1").started_at = Some(at(-ran_for));
    told.serves("m1", 200.0, 1.0);
    assert_eq!(told.pass(60 * minutes).verdict, Verdict::Pass);
    told.serves("m1", 200.0, 40.0);
    told.breaches_within(600)
}

/// The daemon was away while it was deployed: of the time before nothing is known, and nothing is bet on it.
#[test]
fn a_release_that_was_first_seen_late_is_found_to_break_as_soon_as_any_other() {
    let usual = found_after(0, 20).unwrap();
    assert!(found_after(3 * 3600, 20).is_some_and(|late| late <= usual));
}

/// What its process counted before the watch is nobody's evidence: not of its regions either.
#[test]
fn a_region_is_not_told_what_a_process_counted_before_it_was_looked_at() {
    let mut told = told();
    told.pages.insert("m1".into(), counts(1e6, 7e5, Since::ProcessStart));
    told.look();
    let region = told.machines[0].region.clone();
    let lately = told.state.sight.lately(&region, at(told.second));
    assert_eq!(lately.unwrap_or_default(), crate::model::Tally::default());
}
