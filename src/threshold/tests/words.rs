//! What thresholds say for people.

use super::*;
use crate::model::{Crashes, Gauge, Latency, Oddity, Origin, Raised, Ratio, Relative, Selector};

fn described(kind: &ThresholdKind) -> String {
    room(kind).describe()
}

#[test]
fn each_kind_says_its_limit_in_words() {
    let crashes = |oom| described(&ThresholdKind::Crashes(Crashes { exits: 2, oom, failing: 0.3 }));
    assert_eq!(crashes(0), "fewer than 2 unplanned exits on 30% of the machines");
    let one = "fewer than 2 unplanned exits or 1 out-of-memory kill on 30% of the machines";
    assert_eq!(crashes(1), one);
    let many = "fewer than 2 unplanned exits or 4 out-of-memory kills on 30% of the machines";
    assert_eq!(crashes(4), many);
    let checks = crate::model::Checks { failing: 0.3, consecutive: 3 };
    let text = "no Fly check failing 3 times in a row on 30% of the machines";
    assert_eq!(described(&ThresholdKind::Checks(checks)), text);
    let gauge = Gauge {
        gauge: Selector::metric("resident_bytes"),
        max: 1e6,
        sustain: Duration::from_secs(30),
        quorum: 0.5,
        from: Origin::PAGES,
    };
    let text = "resident_bytes not above 1 MB for 30 s on 50% of the machines";
    assert_eq!(described(&ThresholdKind::Gauge(gauge)), text);
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: None,
        strict: true,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    assert_eq!(described(&ThresholdKind::Ratio(ratio)), "at most 2% bad of requests (strict)");
    let latency = Latency {
        histogram: Selector::metric("took"),
        quantile: 0.95,
        bound_s: 0.5,
        relative: None,
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    assert_eq!(
        described(&ThresholdKind::Latency(latency)),
        "at most 5% of took slower than 500 ms"
    );
}

#[test]
fn the_limits_are_those_of_the_evidence() {
    let crashes = Crashes { exits: 2, oom: 1, failing: 0.3 };
    assert_eq!(crashes.terms(), (2.0, Unit::Exits, "machine exit events".to_owned()));
    let checks = crate::model::Checks { failing: 0.3, consecutive: 3 };
    assert_eq!(checks.terms(), (0.3, Unit::Machines, "Fly health checks".to_owned()));
}

#[test]
fn one_exit_is_one_and_two_are_exits() {
    assert_eq!(value(1.0, Unit::Exits), "1 exit");
    assert_eq!(value(2.0, Unit::Exits), "2 exits");
    assert_eq!(value(0.0, Unit::Exits), "0 exits");
    assert_eq!(limit(2.0, Unit::Exits), "2 exits each");
}

#[test]
fn what_ended_is_told_with_how_often_and_why() {
    let exits = |exits, out_of_memory, ends| {
        crashes::ended(&crate::model::Exits { machine: "m1".into(), exits, out_of_memory, ends })
    };
    assert_eq!(exits(3, false, 0), "m1 exited 3 times");
    assert_eq!(exits(3, true, 0), "m1 exited 3 times, out of memory, which has its own limit");
    assert_eq!(exits(0, false, 4), "m1 keeps ending by itself with exit code 0 (4)");
    assert_eq!(exits(1, false, 4), "m1 exited once");
}

#[test]
fn pages_that_cannot_be_judged_are_told_with_what_is_odd() {
    let odd = |oddity| speak::remark(&Note::Odd(oddity), "x");
    let (series, value) = ("bad{}".to_owned(), "-1".to_owned());
    let text = "inconsistent: bad{} is -1, which no counter can be";
    assert_eq!(odd(Oddity::NoCounter { series: series.clone(), value }), text);
    assert_eq!(odd(Oddity::Overflow { series }), "inconsistent: bad{} adds up beyond all numbers");
    let text = "its metrics server does not answer: 503";
    assert_eq!(odd(Oddity::Unanswered { detail: "503".to_owned() }), text);
    let text = "several processes answer in turn: all goes back and forth; let one page tell the \
                numbers of all of them";
    assert_eq!(odd(Oddity::SeveralProcesses { series: "all".to_owned() }), text);
    let ends = |last_s| odd(Oddity::NoBucket { bound_s: 5.0, last_s });
    let text = "no bucket ends at 5 s or above (the last ends at 2.5 s): what is slower cannot be told apart; \
                write max = \"2.5s\" or less";
    assert_eq!(ends(Some(2.5)), text);
    assert_eq!(ends(None), "no bucket ends at 5 s or above: it is no histogram");
    let label = || "code".to_owned();
    let none = "no series of the bad events has the label `code`; they have no labels";
    assert_eq!(odd(Oddity::NoLabel { label: label(), seen: Vec::new() }), none);
    let seen = vec!["method".to_owned(), "status".to_owned()];
    let some = "no series of the bad events has the label `code`; they have method, status";
    assert_eq!(odd(Oddity::NoLabel { label: label(), seen }), some);
}

fn evidence(kind: Kind, unit: Unit) -> Evidence {
    Evidence {
        threshold: "one".to_owned(),
        kind,
        verdict: Verdict::Breach,
        value: Some(0.1),
        limit: 0.02,
        unit,
        source: String::new(),
        bad: 10.0,
        total: 100.0,
        lately: None,
        ln_odds: None,
        ln_odds_needed: None,
        blocks: 5,
        last_blocks: Vec::new(),
        control: None,
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

#[test]
fn evidence_is_told_beside_what_the_known_good_release_showed() {
    let mut evidence = evidence(Kind::Ratio, Unit::Requests);
    assert_eq!(phrase(&evidence, "v41"), "one 10.0 % (10 of 100 requests), limit 2 %");
    evidence.control = Some((0.0, 0.0));
    assert_eq!(phrase(&evidence, "v41"), "one 10.0 % (10 of 100 requests), limit 2 %");
    evidence.control = Some((1.0, 200.0));
    let text = "one 10.0 % (10 of 100 requests), limit 2 %; v41 at the same time 0.5 % (1 of 200)";
    assert_eq!(phrase(&evidence, "v41"), text);
    evidence.value = None;
    assert!(phrase(&evidence, "v41").starts_with("one without data, limit 2 %"));
}

#[test]
fn a_limit_that_follows_from_what_ran_before_is_told_with_it() {
    let mut evidence = evidence(Kind::Ratio, Unit::Requests);
    evidence.limit = 0.0173;
    let relative = Some(Relative { times: 1.5, plus: 0.002 });
    let raised = Raised { from: 0.5, to: 0.0173, by: "v41".to_owned(), share: 0.0098, relative };
    evidence.raised = Some(raised.clone());
    let text = "one 10.0 % (10 of 100 requests), limit 1.7 % (1.5 times v41's and 0.2 %: that ran at 1.0 %)";
    assert_eq!(phrase(&evidence, "v41"), text);
    evidence.raised = Some(Raised { from: 0.01, relative: None, ..raised });
    let text = "one 10.0 % (10 of 100 requests), limit 1.7 % (raised from 1 %: v41 ran at 1.0 %)";
    assert_eq!(phrase(&evidence, "v41"), text);
}

#[test]
fn what_is_allowed_beside_the_known_good_release_is_said() {
    let ratio = Ratio {
        bad: Selector::metric("bad"),
        total: Selector::metric("requests"),
        max: 0.02,
        relative: Some(Relative { times: 1.5, plus: 0.002 }),
        strict: false,
        by: Vec::new(),
        from: Origin::PAGES,
    };
    let text = "at most 2%, and at most 1.5 times the known-good release's share and 0.2 %, of bad of requests";
    assert_eq!(described(&ThresholdKind::Ratio(ratio.clone())), text);
    let alone = Ratio { max: super::keys::SHARE_MAX, ..ratio };
    let text = "at most 1.5 times the known-good release's share and 0.2 % of bad of requests";
    assert_eq!(described(&ThresholdKind::Ratio(alone)), text);
}

#[test]
fn what_rose_late_is_told_beside_the_whole() {
    let mut evidence = evidence(Kind::Ratio, Unit::Requests);
    evidence.lately = Some(crate::model::Tally { n: 12.0, k: 9.0 });
    let text = "one 10.0 % (10 of 100 requests), since it rose 75.0 % (9 of 12), limit 2 %";
    assert_eq!(phrase(&evidence, "v41"), text);
    assert_eq!((evidence.share(), evidence.share_lately()), (Some(0.1), Some(0.75)));
    evidence.lately = None;
    assert_eq!(evidence.share_lately(), Some(0.1));
}

#[test]
fn a_gauge_is_told_with_its_machines_if_any_could_be_read() {
    let mut evidence = evidence(Kind::Gauge, Unit::Seconds);
    evidence.value = Some(30.0);
    evidence.limit = 10.0;
    (evidence.bad, evidence.total) = (1.0, 4.0);
    assert_eq!(phrase(&evidence, ""), "one 30 s on 1 of 4 machines, limit 10 s");
    evidence.total = 0.0;
    assert_eq!(phrase(&evidence, ""), "one 30 s, limit 10 s");
}
