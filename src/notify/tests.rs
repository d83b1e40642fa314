//! Who is told of what.

use super::*;
use crate::{
    config::Secret,
    model::{HoldReason, Kind, OperatorHold, Severity, Unit},
};

fn receiver(format: Format) -> Receiver {
    Receiver {
        name: "ops".to_owned(),
        format,
        url: Secret::new("https://example.com"),
        secrets: Vec::new(),
        events: Vec::new(),
        apps: Vec::new(),
        severity: Severity::Info,
        channel: None,
        max_age: std::time::Duration::from_secs(60),
    }
}

fn event(kind: EventKind) -> Event {
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    Event { mode: Some(Mode::Rollback), ..Event::new(kind, at, Some("api".into())) }
}

fn evidence(share: f64) -> Evidence {
    Evidence {
        threshold: "5xx".to_owned(),
        kind: Kind::Ratio,
        verdict: Verdict::Breach,
        value: Some(share),
        limit: 0.02,
        unit: Unit::Requests,
        source: String::new(),
        bad: share * 100.0,
        total: 100.0,
        lately: None,
        ln_odds: None,
        ln_odds_needed: None,
        blocks: 1,
        last_blocks: Vec::new(),
        control: None,
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

/// A rollback as it goes, from the first bad request to its end.
fn rollback() -> Vec<Event> {
    [
        EventKind::ReleaseDegraded,
        EventKind::RollbackPlanned,
        EventKind::RollbackStarted,
        EventKind::RollbackRegionConfirmed,
        EventKind::RollbackRegionConfirmed,
        EventKind::RollbackRegionConfirmed,
        EventKind::RollbackCompleted,
    ]
    .map(|kind| Event { evidence: vec![evidence(0.3)], ..event(kind) })
    .into()
}

#[test]
fn a_chat_is_told_of_a_rollback_twice_and_programs_of_everything() {
    for (format, told) in [
        (Format::Slack, vec!["rollback.started", "rollback.completed"]),
        (Format::Discord, vec!["rollback.started", "rollback.completed"]),
    ] {
        let events = rollback();
        let wanted = events.iter().filter(|event| wants(&receiver(format), event));
        assert_eq!(wanted.map(|event| event.kind.as_str()).collect::<Vec<_>>(), told);
    }
    assert!(rollback().iter().all(|event| wants(&receiver(Format::Standard), event)));
    let asked =
        Receiver { events: vec![EventKind::RollbackRegionConfirmed], ..receiver(Format::Slack) };
    assert_eq!(rollback().iter().filter(|event| wants(&asked, event)).count(), 3, "as asked for");
}

#[test]
fn a_chat_is_told_of_a_breach_that_nothing_is_done_about() {
    let mut alert = event(EventKind::ReleaseDegraded);
    alert.evidence = vec![Evidence { may_roll_back: false, ..evidence(0.3) }];
    assert!(wants(&receiver(Format::Slack), &alert));
    let waits = Event { mode: Some(Mode::Approve), ..event(EventKind::RollbackPlanned) };
    assert!(wants(&receiver(Format::Slack), &waits), "it waits for a yes");
}

#[test]
fn a_chat_is_told_once_of_a_breach_that_is_only_observed() {
    let observed = |kind, reason| Event {
        mode: Some(Mode::Observe),
        reason: Some(reason),
        evidence: vec![evidence(0.3)],
        ..event(kind)
    };
    let hold = crate::model::Reason::Held { hold: HoldReason::ObserveMode };
    let events = [
        observed(EventKind::ReleaseDegraded, crate::model::Reason::FirstSeen),
        observed(EventKind::RollbackPlanned, crate::model::Reason::ObservesOnly),
        observed(EventKind::HoldPlaced, hold),
    ];
    let told = |receiver: &Receiver| -> Vec<&str> {
        let wanted = events.iter().filter(|event| wants(receiver, event));
        wanted.map(|event| event.kind.as_str()).collect()
    };
    for format in [Format::Slack, Format::Discord, Format::Teams] {
        assert_eq!(told(&receiver(format)), ["hold.placed"], "{format:?}");
    }
    let bot = Receiver { channel: Some("C1".to_owned()), ..receiver(Format::Slack) };
    assert_eq!(told(&bot), ["hold.placed"], "no rollback goes on that could be shown");
    assert_eq!(told(&receiver(Format::Standard)).len(), 3);
    let asked = Receiver { events: vec![EventKind::RollbackPlanned], ..receiver(Format::Slack) };
    assert_eq!(told(&asked), ["rollback.planned"], "as asked for");
}

#[test]
fn a_chat_is_not_told_of_what_ran_before_the_daemon_did() {
    let mut seen = event(EventKind::ReleaseDetected);
    assert!(wants(&receiver(Format::Slack), &seen));
    seen.reason = Some(crate::model::Reason::FirstSeen);
    assert!(!wants(&receiver(Format::Slack), &seen));
    assert!(wants(&receiver(Format::Standard), &seen));
    for kind in [EventKind::ReleaseTrusted, EventKind::ReleaseBaked] {
        let mut earned = event(kind);
        assert!(wants(&receiver(Format::Slack), &earned), "{kind:?}");
        earned.ran_before = true;
        assert!(!wants(&receiver(Format::Slack), &earned), "{kind:?}");
        assert!(wants(&receiver(Format::Standard), &earned), "{kind:?}");
    }
    let mut unprotected = event(EventKind::ReleaseUntrusted);
    unprotected.ran_before = true;
    assert!(wants(&receiver(Format::Slack), &unprotected), "somebody has to see to it");
}

#[test]
fn who_asks_for_certain_apps_is_told_of_them_and_of_what_is_of_none() {
    let some = Receiver {
        apps: vec![crate::config::AppGlob::new("shop-*").unwrap()],
        ..receiver(Format::Standard)
    };
    let mut one = event(EventKind::HoldPlaced);
    assert!(!wants(&some, &one));
    one.app = Some("shop-eu".into());
    assert!(wants(&some, &one));
    one.app = None;
    assert!(wants(&some, &one));
}

#[test]
fn who_asks_for_the_worst_is_told_of_that_and_of_its_end() {
    let worst = Receiver { severity: Severity::Critical, ..receiver(Format::Standard) };
    let mut stuck = event(EventKind::RollbackFailed);
    stuck.evidence = vec![evidence(0.3)];
    assert!(!wants(&worst, &stuck));
    stuck.evidence = vec![evidence(0.9)];
    assert!(wants(&worst, &stuck));
    assert!(wants(&worst, &event(EventKind::RollbackCompleted)));
    assert!(!wants(&worst, &event(EventKind::RollbackStarted)));
}

#[test]
fn what_stays_bad_is_worse_than_what_is_undone_and_what_a_person_did_is_no_alarm() {
    let severity = |kind, mode, reason| Event { mode, reason, ..event(kind) }.severity();
    let held = |hold| Some(crate::model::Reason::Held { hold });
    let at = "2026-03-01T02:03:04Z".parse().unwrap();
    let hold = OperatorHold { by: "dana".into(), reason: "x".into(), since: at, until: None };
    let by_hand = held(HoldReason::Operator { hold });
    assert_eq!(severity(EventKind::RollbackPlanned, Some(Mode::Rollback), None), Severity::Warning);
    assert_eq!(severity(EventKind::RollbackPlanned, Some(Mode::Approve), None), Severity::Error);
    assert_eq!(
        severity(EventKind::HoldPlaced, None, held(HoldReason::Migrations)),
        Severity::Error
    );
    assert_eq!(severity(EventKind::HoldPlaced, None, by_hand), Severity::Info);
    assert_eq!(severity(EventKind::MonitorJournal, None, None), Severity::Critical);
    assert_eq!(severity(EventKind::RollbackCompleted, None, None), Severity::Info);
}

#[test]
fn a_link_leads_to_the_page_of_the_app() {
    let sender = Sender { organization: "acme", page_url: Some("http://waveoff.internal:8080") };
    let mut one = event(EventKind::HoldPlaced);
    assert_eq!(sender.page(&one).unwrap(), "http://waveoff.internal:8080/apps/api");
    one.app = Some("a/b".into());
    assert_eq!(sender.page(&one).unwrap(), "http://waveoff.internal:8080/apps/a%2Fb");
    one.app = None;
    assert_eq!(sender.page(&one).unwrap(), "http://waveoff.internal:8080/");
    assert_eq!(Sender::new("acme").page(&one), None);
}

#[test]
fn a_chat_hears_of_what_only_alerts_beside_thresholds_that_may_roll_back() {
    // Given a policy with an ordinary threshold, which passes, and one that only alerts.
    let passes = Evidence { verdict: Verdict::Pass, ..evidence(0.0) };
    let alerts = Evidence { threshold: "memory".to_owned(), may_roll_back: false, ..evidence(0.9) };
    let reason = Reason::OnlyAlerts { thresholds: vec!["memory".to_owned()] };
    // When the one that only alerts is exceeded.
    let degraded = Event {
        evidence: vec![passes, alerts],
        reason: Some(reason),
        ..event(EventKind::ReleaseDegraded)
    };
    // Then chats hear of it: nothing follows that they would be told of.
    for format in [Format::Slack, Format::Discord, Format::Teams] {
        assert!(wants(&receiver(format), &degraded), "{format:?}");
    }
}

#[test]
fn a_chat_hears_of_what_only_alerts_while_another_threshold_breaches() {
    // Given a release that breaches, and of which nothing but a hold is told, in a policy that observes.
    let alerts = Evidence { threshold: "queue".to_owned(), may_roll_back: false, ..evidence(0.5) };
    let thresholds = || vec!["queue".to_owned()];
    // When another threshold, which only alerts, is exceeded, and is so no more.
    let begins = Event {
        mode: Some(Mode::Observe),
        evidence: vec![evidence(0.5), alerts],
        reason: Some(Reason::OnlyAlerts { thresholds: thresholds() }),
        ..event(EventKind::ReleaseDegraded)
    };
    let over = Event {
        evidence: vec![evidence(0.5)],
        reason: Some(Reason::AlertsOver { thresholds: thresholds(), after_s: 600.0 }),
        ..event(EventKind::ReleaseRecovered)
    };
    // Then a chat hears of both.
    assert!(wants(&receiver(Format::Slack), &begins));
    assert!(wants(&receiver(Format::Slack), &over));
}

#[test]
fn a_refused_token_pages() {
    let detail = "401".to_owned();
    let refused =
        Event { reason: Some(Reason::TokenRefused { detail }), ..event(EventKind::MonitorBlind) };
    let on_call = Receiver { severity: Severity::Error, ..receiver(Format::PagerDuty) };
    assert!(wants(&on_call, &refused));
}
