//! What is told of what comes again and again, and when.

use super::*;
use crate::model::reason::{Degradation, Stays};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + minute * 60).unwrap()
}

fn event(kind: EventKind, reason: Reason, minute: i64) -> Event {
    let mut event = Event::new(kind, at(minute), Some("api".into()));
    event.reason = Some(reason);
    event
}

fn blind(minute: i64) -> Event {
    let detail = format!("503 at {minute}");
    event(EventKind::MonitorBlind, Reason::PlatformUnreadable { detail }, minute)
}

#[test]
fn one_in_ten_minutes_is_told_and_the_next_says_how_many_were_not() {
    let mut repeats = Repeats::default();
    let mut told = Vec::new();
    for minute in 0..21 {
        let mut blind = blind(minute);
        if repeats.take(&format!("m-{minute}"), &mut blind, at(minute)) {
            told.push((minute, blind.repeats));
        }
    }
    assert_eq!(told, [(0, 0), (10, 9), (20, 9)]);
}

#[test]
fn the_last_word_is_told_late_when_nothing_follows() {
    let mut repeats = Repeats::default();
    for minute in [0, 1, 2, 3] {
        let first = repeats.take(&format!("m-{minute}"), &mut blind(minute), at(minute));
        assert_eq!(first, minute == 0);
    }
    assert!(!repeats.is_overdue(at(9)) && repeats.overdue(at(9)).is_empty());
    assert!(repeats.is_overdue(at(10)));
    let late = repeats.overdue(at(10));
    assert_eq!(late.len(), 1);
    assert_eq!((late[0].0.as_str(), late[0].1.repeats), ("m-3", 2));
    assert!(!repeats.is_overdue(at(60)));
}

#[test]
fn other_kinds_causes_and_releases_are_other_things_and_some_are_always_told() {
    let mut repeats = Repeats::default();
    let hold = |hold| event(EventKind::HoldPlaced, Reason::Held { hold }, 0);
    let operator = HoldReason::Operator {
        hold: crate::model::OperatorHold {
            by: "dana".to_owned(),
            reason: "a sale".to_owned(),
            since: at(0),
            until: None,
        },
    };
    let completed = Event::new(EventKind::RollbackCompleted, at(0), Some("api".into()));
    for (mut event, again) in [
        (blind(0), false),
        (event(EventKind::MonitorBlind, Reason::MetricsReadable, 0), false),
        (hold(HoldReason::SameImage { drift: None }), false),
        (hold(HoldReason::Migrations), false),
        (hold(operator), true),
        (completed, true),
    ] {
        assert!(repeats.take("m-1", &mut event, at(0)), "{event:?}");
        assert_eq!(repeats.take("m-2", &mut event, at(1)), again, "{event:?}");
    }
}

fn hold(minute: i64) -> Event {
    event(EventKind::HoldPlaced, HoldReason::NothingTrusted.into(), minute)
}

fn clear(minute: i64) -> Event {
    event(EventKind::HoldCleared, Reason::Recovered, minute)
}

/// What PagerDuty is sent of a story: when, and what.
fn incident(story: Vec<Event>, until: i64) -> Vec<(i64, String)> {
    let sender = crate::notify::Sender::new("acme");
    let mut repeats = Repeats::default();
    let mut story = story.into_iter().peekable();
    let mut sent = Vec::new();
    for minute in 0..=until {
        let mut told: Vec<_> =
            repeats.overdue(at(minute)).into_iter().map(|(_, event)| event).collect();
        while let Some(mut event) = story.next_if(|event| event.at == at(minute)) {
            if repeats.take(&format!("m-{minute}"), &mut event, at(minute)) {
                told.push(event);
            }
        }
        for event in told {
            let body = crate::notify::pagerduty::pagerduty(&event, &sender, "key");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            sent.push((minute, body["event_action"].as_str().unwrap().to_owned()));
        }
    }
    sent
}

fn pages(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(minute, action)| (*minute, (*action).to_owned())).collect()
}

#[test]
fn a_release_that_relapses_after_its_hold_was_cleared_pages_again_at_once() {
    // Given a hold that was told, and told to be over; when it is there again two minutes later.
    let story = vec![hold(0), clear(2), hold(4)];
    // Then that is told in that minute, and not ten minutes after the first.
    let expected = pages(&[(0, "trigger"), (2, "resolve"), (4, "trigger")]);
    assert_eq!(incident(story, 30), expected);
}

#[test]
fn a_hold_that_flaps_is_told_to_be_over_once_in_ten_minutes_and_ends_as_it_is() {
    // Given a hold that comes and goes every other minute for 20 minutes, and stays away.
    let mut flapping = Vec::new();
    for minute in (0..20).step_by(2) {
        flapping.extend([hold(minute), clear(minute + 1)]);
    }
    let told = incident(flapping.clone(), 60);
    assert!(told.len() <= 8, "{told:?}");
    assert_eq!(told.last().unwrap().1, "resolve", "{told:?}");
    // And one that comes back in the end.
    flapping.push(hold(20));
    let told = incident(flapping, 60);
    assert!(told.len() <= 9, "{told:?}");
    assert_eq!(told.last().unwrap().1, "trigger", "{told:?}");
}

/// What was counted until people were told that it is over is not forgotten with it.
#[test]
fn what_comes_again_after_its_end_was_told_counts_what_came_before() {
    let degraded = |minute| event(EventKind::ReleaseDegraded, Reason::Recovered, minute);
    let recovered = event(EventKind::ReleaseRecovered, Reason::Recovered, 3);
    let mut repeats = Repeats::default();
    let story = [degraded(0), degraded(1), degraded(2), recovered, degraded(4), degraded(5)];
    let mut told = Vec::new();
    for mut event in story {
        let at = event.at;
        if repeats.take("m", &mut event, at) {
            told.push((event.kind, event.repeats));
        }
    }
    let again = (EventKind::ReleaseDegraded, 2);
    let first = (EventKind::ReleaseDegraded, 0);
    assert_eq!(told, [first, (EventKind::ReleaseRecovered, 0), again]);
}

#[test]
fn an_end_that_was_held_back_is_not_told_once_a_rollback_began() {
    let mut story = vec![hold(0), clear(1), hold(2), clear(3)];
    let mut started = Event::new(EventKind::RollbackStarted, at(3), Some("api".into()));
    started.mode = Some(crate::model::Mode::Rollback);
    story.push(started);
    let expected = pages(&[(0, "trigger"), (1, "resolve"), (2, "trigger"), (3, "trigger")]);
    assert_eq!(incident(story, 30), expected);
}

#[test]
fn a_sight_that_is_lost_again_is_told_again_at_once() {
    let seen =
        event(EventKind::MonitorRecovered, Reason::PlatformReadable { was: "503".to_owned() }, 1);
    let story = vec![blind(0), seen, blind(2)];
    let expected = pages(&[(0, "trigger"), (1, "resolve"), (2, "trigger")]);
    assert_eq!(incident(story, 30), expected);
}

#[test]
fn what_got_worse_is_told_at_once() {
    let degraded = |minute, stays| {
        let late = Box::new(Degradation {
            since: at(0),
            changes: Vec::new(),
            with: Vec::new(),
            well: 0,
            revoked: false,
            stays,
        });
        event(EventKind::ReleaseDegraded, Reason::DegradesLate { late }, minute)
    };
    let mut repeats = Repeats::default();
    let mut taken = Vec::new();
    for (minute, stays) in
        [(0, None), (1, None), (2, Some(Stays::TooOld)), (3, Some(Stays::TooOld)), (4, None)]
    {
        taken.push(repeats.take("m", &mut degraded(minute, stays), at(minute)));
    }
    assert_eq!(taken, [true, false, true, false, false]);
}

#[test]
fn of_several_things_at_once_each_is_told() {
    let unmatched = |threshold: &str| Reason::Unmatched {
        threshold: threshold.to_owned(),
        source: "http_requests".to_owned(),
    };
    let odd = |threshold: &str| Reason::Unjudgeable {
        threshold: threshold.to_owned(),
        source: "http_requests".to_owned(),
        note: crate::model::Note::Inconsistent { bad: 2.0, total: 1.0 },
    };
    let alerts = |threshold: &str| Reason::OnlyAlerts { thresholds: vec![threshold.to_owned()] };
    let silent = |server: &str| Reason::ServerUnreadable {
        server: server.to_owned(),
        detail: "503".to_owned(),
    };
    let mixed = |digest: &str| Reason::MixedImages {
        images: vec![crate::model::reason::ImageCount {
            group: "app".into(),
            digest: digest.into(),
            machines: 2,
        }],
    };
    let mut repeats = Repeats::default();
    for (kind, first, second) in [
        (EventKind::MonitorBlind, unmatched("5xx"), unmatched("latency")),
        (EventKind::MonitorBlind, odd("5xx"), odd("latency")),
        (EventKind::MonitorBlind, silent("fly"), silent("own")),
        (EventKind::ReleaseDegraded, alerts("5xx"), alerts("latency")),
        (EventKind::ImageMixed, mixed("sha256:1"), mixed("sha256:2")),
    ] {
        for reason in [first, second] {
            let mut one = event(kind, reason, 0);
            assert!(repeats.take("m", &mut one, at(0)), "{one:?}");
            assert!(!repeats.take("m", &mut one, at(1)), "{one:?}");
        }
    }
}

#[test]
fn a_late_message_names_the_machines_of_those_it_stands_for() {
    let by_hand = |machine: &str, minute| {
        let machines = vec![machine.into()];
        event(EventKind::ImageMixed, Reason::SetByHand { machines }, minute)
    };
    let mut repeats = Repeats::default();
    for (minute, machine) in [(0, "m1"), (1, "m2"), (2, "m3")] {
        let _ = repeats.take("m", &mut by_hand(machine, minute), at(minute));
    }
    let late = repeats.overdue(at(10));
    let named = Reason::SetByHand { machines: vec!["m3".into(), "m2".into()] };
    assert_eq!(late[0].1.reason, Some(named));
}

#[test]
fn what_only_alerts_says_nothing_of_whether_a_release_is_held() {
    let thresholds = || vec!["queue age".to_owned()];
    let begins = |minute| {
        let reason = Reason::OnlyAlerts { thresholds: thresholds() };
        event(EventKind::ReleaseDegraded, reason, minute)
    };
    let over = |minute| {
        let reason = Reason::AlertsOver { thresholds: thresholds(), after_s: 600.0 };
        event(EventKind::ReleaseRecovered, reason, minute)
    };
    for alert in [begins(7), over(7)] {
        // Given a hold that flaps, whose last end is held back
        let mut repeats = Repeats::default();
        let mut told = Vec::new();
        // When a threshold that only alerts is told of
        for mut event in [hold(0), clear(2), hold(4), clear(6), alert] {
            let now = event.at;
            if repeats.take("m", &mut event, now) {
                told.push(event.kind);
            }
        }
        // Then that the release is not held any more is told in its time.
        assert_ne!(told.last(), Some(&EventKind::HoldCleared));
        let late: Vec<EventKind> =
            repeats.overdue(at(17)).into_iter().map(|(_, one)| one.kind).collect();
        assert_eq!(late, [EventKind::HoldCleared], "{told:?}");
    }
    // One spell after the other is told at once, as it was said that the first is over.
    let mut repeats = Repeats::default();
    for mut event in [begins(0), over(1), begins(2)] {
        let now = event.at;
        assert!(repeats.take("m", &mut event, now), "{event:?}");
    }
}
