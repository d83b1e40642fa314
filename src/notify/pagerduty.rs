//! The body of an event of PagerDuty's Events API v2: an incident is opened, taken over by a person,
//! or closed, all under one key for what it is about.

use serde_json::{Value, json};

use super::{Sender, payload, text};
use crate::{
    model::{Event, EventKind, Reason, Verdict, event::ReleaseInfo},
    numbers, threshold,
};

/// What PagerDuty takes, in characters.
const SUMMARY_MAX: usize = 1024;
const KEY_MAX: usize = 255;
/// Longest text of the details, and most thresholds in them.
const DETAIL_MAX: usize = 1000;
const THRESHOLDS_MAX: usize = 10;

/// What happens to the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It is opened, or something is added to it.
    Trigger,
    /// A person is dealing with it.
    Acknowledge,
    Resolve,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Acknowledge => "acknowledge",
            Self::Resolve => "resolve",
        }
    }
}

/// What an incident is about: an app's release, or what keeps the daemon from its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Release,
    Sight,
    Journal,
    Token,
    Clock,
    Configuration,
}

impl About {
    fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Sight => "sight",
            Self::Journal => "journal",
            Self::Token => "token",
            Self::Clock => "clock",
            Self::Configuration => "configuration",
        }
    }
}

/// `None`: an incident is not the place for it.
fn incident(event: &Event) -> Option<(Action, About)> {
    let ended = |is_over: bool| if is_over { Action::Resolve } else { Action::Trigger };
    let one = match event.kind {
        // Who holds or stops it knows of it.
        EventKind::HoldPlaced | EventKind::RollbackStopped if event.is_by_a_person() => {
            (Action::Acknowledge, About::Release)
        }
        EventKind::OperatorOrder => (Action::Acknowledge, About::Release),
        EventKind::ReleaseDegraded
        | EventKind::RollbackPlanned
        | EventKind::RollbackStarted
        | EventKind::RollbackPaused
        | EventKind::RollbackStopped
        | EventKind::RollbackFailed
        | EventKind::HoldPlaced => (Action::Trigger, About::Release),
        // Something else of the release still breaches: the incident goes on.
        EventKind::ReleaseRecovered if is_one_of_several(event) => return None,
        EventKind::RollbackCompleted
        | EventKind::ReleaseTrusted
        | EventKind::ReleaseRecovered
        | EventKind::HoldCleared => (Action::Resolve, About::Release),
        EventKind::MonitorBlind => (Action::Trigger, About::Sight),
        EventKind::MonitorRecovered if event.reason == Some(Reason::JournalWritable) => {
            (Action::Resolve, About::Journal)
        }
        EventKind::MonitorRecovered => (Action::Resolve, About::Sight),
        EventKind::MonitorJournal => (Action::Trigger, About::Journal),
        EventKind::MonitorToken => {
            (ended(event.reason == Some(Reason::TokenSuffices)), About::Token)
        }
        EventKind::MonitorClock => (ended(event.reason == Some(Reason::ClockRight)), About::Clock),
        EventKind::ConfigRejected => (Action::Trigger, About::Configuration),
        EventKind::ConfigReloaded => (Action::Resolve, About::Configuration),
        EventKind::ReleaseDetected
        | EventKind::ReleaseBaked
        | EventKind::ReleaseUntrusted
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed
        | EventKind::MonitorOutbox
        | EventKind::ImageMissing
        | EventKind::ImageNotMirrored
        | EventKind::ImageMixed
        | EventKind::MachineSuspect
        | EventKind::ConfigWarning => return None,
    };
    Some(one)
}

/// Whether what only alerted is over, and something else is not.
fn is_one_of_several(event: &Event) -> bool {
    matches!(event.reason, Some(Reason::AlertsOver { .. } | Reason::AlertsGone { .. }))
        && event.evidence.iter().any(|one| one.verdict == Verdict::Breach)
}

/// Whether an event says something of an incident.
pub fn is_told(event: &Event) -> bool {
    incident(event).is_some()
}

/// The body for one event; what says nothing of an incident is one that is closed already.
pub fn pagerduty(event: &Event, sender: &Sender<'_>, routing_key: &str) -> String {
    let (action, about) = incident(event).unwrap_or((Action::Resolve, About::Release));
    let whom = event.app.as_ref().map_or("", |app| app.as_str());
    let key = format!("waveoff/{}/{whom}/{}", sender.organization, about.word());
    let mut body = json!({
        "routing_key": routing_key,
        "event_action": action.word(),
        "dedup_key": numbers::cut(&key, KEY_MAX),
        "client": "Waveoff",
        "payload": {
            "summary": numbers::cut(&text::sentence(event), SUMMARY_MAX),
            "source": if whom.is_empty() { sender.organization } else { whom },
            "severity": event.severity().as_str(),
            "timestamp": event.at.to_string(),
            "component": whom,
            "group": sender.organization,
            "class": event.kind.as_str(),
            "custom_details": details(event),
        },
    });
    if let (Some(page), Some(fields)) = (sender.page(event), body.as_object_mut()) {
        fields.insert("client_url".to_owned(), Value::String(page.clone()));
        fields.insert("links".to_owned(), json!([{ "href": page, "text": "Status page" }]));
    }
    body.to_string()
}

/// What who is woken wants to know first.
fn details(event: &Event) -> Value {
    let control =
        event.known_good.as_ref().map_or_else(|| "the rest".to_owned(), ReleaseInfo::label);
    let thresholds: Vec<String> = event
        .evidence
        .iter()
        .take(THRESHOLDS_MAX)
        .map(|one| numbers::cut(&threshold::phrase(one, &control), DETAIL_MAX))
        .collect();
    let commands: Vec<String> =
        text::commands(event).into_iter().map(|(_, command)| command).collect();
    json!({
        "release": event.release.as_ref().map(ReleaseInfo::name),
        "known_good": event.known_good.as_ref().map(ReleaseInfo::name),
        "reason": event.reason.as_ref().map(|why| numbers::cut(&text::reason(why), DETAIL_MAX)),
        "thresholds": thresholds,
        "commands": commands,
        "log_lines": payload::log_lines(event),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HoldReason, OperatorHold};

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn event(kind: EventKind, reason: Option<Reason>) -> Event {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        Event { reason, ..Event::new(kind, at, Some("api".into())) }
    }

    fn body(event: &Event) -> Value {
        serde_json::from_str(&pagerduty(event, &Sender::new("acme"), KEY)).unwrap()
    }

    #[test]
    fn an_incident_is_opened_taken_over_and_closed_under_one_key() {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let hold = OperatorHold { by: "dana".into(), reason: "x".into(), since: at, until: None };
        let by_hand = Reason::Held { hold: HoldReason::Operator { hold } };
        let story = [
            (EventKind::ReleaseDegraded, None, "trigger"),
            (EventKind::RollbackStarted, None, "trigger"),
            (EventKind::RollbackFailed, None, "trigger"),
            (EventKind::HoldPlaced, Some(by_hand), "acknowledge"),
            (EventKind::RollbackCompleted, None, "resolve"),
        ];
        for (kind, reason, action) in story {
            let body = body(&event(kind, reason));
            assert_eq!(
                (&body["event_action"], &body["dedup_key"]),
                (&json!(action), &json!("waveoff/acme/api/release"))
            );
        }
    }

    #[test]
    fn what_is_over_closes_what_it_was_about_and_nothing_else() {
        let key = |kind, reason| {
            let body = body(&event(kind, reason));
            let of = |field: &str| body[field].as_str().unwrap().to_owned();
            (of("event_action"), of("dedup_key").rsplit('/').next().unwrap().to_owned())
        };
        let pair = |action: &str, about: &str| (action.to_owned(), about.to_owned());
        assert_eq!(key(EventKind::MonitorBlind, None), pair("trigger", "sight"));
        assert_eq!(key(EventKind::MonitorRecovered, None), pair("resolve", "sight"));
        assert_eq!(key(EventKind::MonitorJournal, None), pair("trigger", "journal"));
        let writable = Some(Reason::JournalWritable);
        assert_eq!(key(EventKind::MonitorRecovered, writable), pair("resolve", "journal"));
        assert_eq!(
            key(EventKind::MonitorToken, Some(Reason::TokenSuffices)),
            pair("resolve", "token")
        );
        assert_eq!(
            key(EventKind::MonitorClock, Some(Reason::ClockRight)),
            pair("resolve", "clock")
        );
    }

    #[test]
    fn what_opens_and_closes_nothing_is_not_told() {
        for kind in [EventKind::ReleaseDetected, EventKind::RollbackRegionConfirmed] {
            assert!(!is_told(&event(kind, None)));
        }
    }

    #[test]
    fn the_longest_event_stays_under_pagerdutys_limits() {
        let mut event =
            event(EventKind::HoldPlaced, Some(Reason::Told { text: "x".repeat(100_000) }));
        event.app = Some("a".repeat(1000).as_str().into());
        event.log_lines = (0..1000).map(|_| "l".repeat(10_000)).collect();
        let text = pagerduty(&event, &Sender::new("acme"), KEY);
        assert!(text.len() < 512 * 1024, "{}", text.len());
        let body: Value = serde_json::from_str(&text).unwrap();
        let length = |text: &Value| text.as_str().unwrap().chars().count();
        assert!(length(&body["payload"]["summary"]) <= 1024 && length(&body["dedup_key"]) <= 255);
    }
}
