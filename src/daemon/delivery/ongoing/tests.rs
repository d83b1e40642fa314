//! Rollbacks as they are told to Slack and to Grafana, over real sockets, with a real journal behind.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::{
    config::Secret,
    model::{EventKind, Mode, Reason, ReleaseVersion, Severity, event::ReleaseInfo},
    notify::http::HttpNotifier,
    ports::Clock,
    store::MemoryJournal,
};

#[expect(dead_code, reason = "shared with the tests of the daemon, which use the rest")]
#[path = "../../../../tests/support/doubles.rs"]
mod doubles;

use doubles::{BOT_TOKEN, CHANNEL, GRAFANA_TOKEN};

fn release(version: u64) -> ReleaseInfo {
    ReleaseInfo {
        version: Some(ReleaseVersion(version)),
        tag: None,
        digest: format!("sha256:{version}").as_str().into(),
        author: None,
        created_at: None,
    }
}

/// An event of the rollback of v42, so many seconds after 02:00.
fn event(kind: EventKind, second: i64) -> Event {
    let at: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
    let at = at + jiff::SignedDuration::from_secs(second);
    let mut event = Event::new(kind, at, Some("api".into()));
    event.release = Some(release(42));
    event.known_good = Some(release(41));
    event.mode = Some(Mode::Rollback);
    if matches!(kind, EventKind::RollbackFailed | EventKind::RollbackPaused) {
        event.reason = Some(Reason::Told { text: "<the> host is gone".to_owned() });
    }
    event
}

/// A receiver, what it is asked with, and what is remembered of it.
struct Scene {
    receiver: Receiver,
    notifier: HttpNotifier,
    journal: MemoryJournal,
}

impl Scene {
    fn new(format: Format, url: &str, token: &str, channel: Option<&str>) -> Self {
        let receiver = Receiver {
            name: "chat".to_owned(),
            format,
            url: Secret::new(url),
            secrets: vec![Secret::new(token)],
            channel: channel.map(str::to_owned),
            events: Vec::new(),
            apps: Vec::new(),
            severity: Severity::Info,
            max_age: Duration::from_secs(3600),
        };
        let notifier = HttpNotifier::new(Clock::system()).unwrap();
        Self { receiver, notifier, journal: MemoryJournal::new() }
    }

    fn slack(slack: &doubles::Slack) -> Self {
        Self::new(Format::Slack, &slack.url, BOT_TOKEN, Some(CHANNEL.0))
    }

    fn grafana(grafana: &doubles::Grafana) -> Self {
        Self::new(Format::Grafana, &grafana.url, GRAFANA_TOKEN, None)
    }

    async fn tell(&self, event: &Event, message_id: &str) -> DeliveryOutcome {
        let sender = Sender { organization: "acme", page_url: Some("http://w.internal") };
        let letter = Letter { receiver: &self.receiver, sender: &sender, event, message_id };
        tell(&letter, &self.notifier, Some(&self.journal)).await
    }

    async fn tells(&self, events: &[(EventKind, i64)]) {
        for (kind, second) in events {
            let outcome = self.tell(&event(*kind, *second), &format!("m-{second}")).await;
            assert_eq!(outcome, DeliveryOutcome::Accepted, "{kind:?}");
        }
    }
}

const WHOLE: [(EventKind, i64); 6] = [
    (EventKind::RollbackPlanned, 0),
    (EventKind::RollbackStarted, 10),
    (EventKind::RollbackPaused, 20),
    (EventKind::RollbackResumed, 30),
    (EventKind::RollbackRegionConfirmed, 40),
    (EventKind::RollbackCompleted, 50),
];

#[tokio::test]
async fn a_rollback_is_one_message_in_slack_that_says_how_far_it_is() {
    let slack = doubles::Slack::open().await;
    let scene = Scene::slack(&slack);
    scene.tells(&WHOLE).await;
    let messages = slack.messages();
    assert_eq!((messages.len(), messages[0].edits), (1, 5), "{:?}", slack.calls());
    let text = messages[0].text();
    let first = messages[0].body["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(first.starts_with(":white_check_mark:"), "{first}");
    let times = ["02:00:00", "02:00:10", "02:00:20", "02:00:30", "02:00:40"];
    let places: Vec<usize> = times.iter().map(|time| text.find(time).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains("&lt;the&gt; host") && text.contains("http://w.internal/apps/api"));

    // What is no part of it is a message of its own, and so is the next rollback.
    scene.tells(&[(EventKind::HoldPlaced, 60), (EventKind::RollbackStarted, 70)]).await;
    assert_eq!(slack.messages().len(), 3);
}

#[tokio::test]
async fn what_a_killed_daemon_told_is_changed_by_the_next_one_and_not_told_again() {
    let slack = doubles::Slack::open().await;
    let first = Scene::slack(&slack);
    first.tells(&WHOLE[..2]).await;

    // Only the journal survives.
    let second = Scene { journal: first.journal, ..Scene::slack(&slack) };
    let calls = slack.calls().len();
    second.tells(&WHOLE[1..2]).await;
    assert_eq!(slack.calls().len(), calls, "it was told, and nobody had noted it");
    second.tells(&WHOLE[2..]).await;
    assert_eq!((slack.messages().len(), slack.messages()[0].edits), (1, 5));
}

#[tokio::test]
async fn what_calls_for_people_is_said_beside_because_a_change_calls_nobody() {
    let slack = doubles::Slack::open().await;
    let scene = Scene::slack(&slack);
    scene.tells(&WHOLE[..2]).await;
    scene.tells(&[(EventKind::RollbackFailed, 60)]).await;
    let messages = slack.messages();
    assert_eq!(messages.len(), 2, "{:?}", slack.calls());
    assert_eq!(messages[1].thread.as_deref(), Some(messages[0].ts.as_str()));
    assert_eq!(messages[1].body["reply_broadcast"], true);
    assert!(messages[0].text().contains("host is gone"), "it is changed as well");

    // What was said beside is not said again when the change has to be.
    slack.answers(200, None, "internal_error");
    let failed = event(EventKind::RollbackFailed, 90);
    let before = slack.messages().len();
    assert!(matches!(scene.tell(&failed, "m-90").await, DeliveryOutcome::Retry { .. }));
    slack.answers(200, None, "ratelimited");
    assert!(matches!(scene.tell(&failed, "m-90").await, DeliveryOutcome::Retry { .. }));
    assert_eq!(scene.tell(&failed, "m-90").await, DeliveryOutcome::Accepted);
    assert_eq!(scene.tell(&failed, "m-90").await, DeliveryOutcome::Accepted);
    assert_eq!(slack.messages().len(), before + 1);
}

#[tokio::test]
async fn a_message_that_somebody_deleted_is_told_anew_and_changed_from_then_on() {
    let slack = doubles::Slack::open().await;
    let scene = Scene::slack(&slack);
    scene.tells(&WHOLE[..2]).await;
    slack.delete(&slack.messages()[0].ts);
    scene.tells(&WHOLE[2..]).await;
    assert_eq!((slack.messages().len(), slack.messages()[0].edits), (1, 3));
    // Slack may also say that it cannot be changed any more.
    scene.tells(&[(EventKind::RollbackStarted, 100)]).await;
    slack.answers(200, None, "edit_window_closed");
    scene.tells(&[(EventKind::RollbackCompleted, 110)]).await;
    assert_eq!(slack.messages().len(), 3);
    // And so what is said beside one that is gone.
    scene.tells(&[(EventKind::RollbackStarted, 120)]).await;
    slack.delete(&slack.messages()[3].ts);
    scene.tells(&[(EventKind::RollbackFailed, 130)]).await;
    assert_eq!(slack.messages().len(), 4, "{:?}", slack.calls());
}

#[tokio::test]
async fn slacks_refusals_are_waited_out_said_with_what_helps_and_show_no_token() {
    let slack = doubles::Slack::open().await;
    let scene = Scene::slack(&slack);
    let started = event(EventKind::RollbackStarted, 10);
    slack.answers(429, Some(7), "ratelimited");
    let limited = scene.tell(&started, "m-10").await;
    let after = Some(Duration::from_secs(7));
    assert_eq!(limited, DeliveryOutcome::Retry { reason: "answered 429".to_owned(), after });
    slack.answers(200, None, "msg_too_long");
    assert!(matches!(scene.tell(&started, "m-10").await, DeliveryOutcome::Unfit { .. }));
    assert_eq!(scene.tell(&started, "m-10").await, DeliveryOutcome::Accepted);
    assert_eq!(slack.messages().len(), 1);

    let strangers = [
        (Scene::new(Format::Slack, &slack.url, "xoxb-another", Some(CHANNEL.0)), "invalid_auth"),
        (Scene::new(Format::Slack, &slack.url, BOT_TOKEN, Some("nowhere")), "channel_not_found"),
        (Scene::new(Format::Slack, "http://127.0.0.1:9", BOT_TOKEN, Some("x")), "no connection"),
    ];
    for (scene, want) in strangers {
        let DeliveryOutcome::Retry { reason, .. } = scene.tell(&started, "m-10").await else {
            panic!("{want} is not tried again")
        };
        assert!(reason.contains(want) && !reason.contains("xoxb-"), "{reason}");
    }
}

#[tokio::test]
async fn without_a_journal_a_message_is_told_and_nothing_is_remembered() {
    let slack = doubles::Slack::open().await;
    let scene = Scene::slack(&slack);
    let mut event = event(EventKind::MonitorJournal, 0);
    (event.app, event.release) = (None, None);
    let sender = Sender::new("acme");
    let letter =
        Letter { receiver: &scene.receiver, sender: &sender, event: &event, message_id: "m" };
    assert_eq!(tell(&letter, &scene.notifier, None).await, DeliveryOutcome::Accepted);
    assert_eq!(slack.messages().len(), 1);
}

#[tokio::test]
async fn in_grafana_a_rollback_is_a_region_that_grows_and_a_release_is_a_point() {
    let grafana = doubles::Grafana::open().await;
    let scene = Scene::grafana(&grafana);
    scene.tells(&[(EventKind::ReleaseDetected, 0), (EventKind::ReleaseDegraded, 5)]).await;
    scene.tells(&WHOLE[1..]).await;
    let drawn = grafana.annotations();
    assert_eq!(drawn.len(), 3);
    assert!(drawn[0].body["timeEnd"].is_null() && drawn[1].body["timeEnd"].is_null());
    let length = |one: &doubles::Annotation| {
        one.body["timeEnd"].as_i64().unwrap() - one.body["time"].as_i64().unwrap()
    };
    assert_eq!((length(&drawn[2]), drawn[2].changes), (40_000, 4));
    let tags = drawn[2].body["tags"].to_string();
    assert!(tags.contains("app:api") && tags.contains("version:v42"), "{tags}");

    // One that somebody removed is drawn anew; what is told twice is drawn once.
    scene.tells(&[(EventKind::RollbackStarted, 100)]).await;
    grafana.remove(4);
    scene.tells(&[(EventKind::RollbackCompleted, 120), (EventKind::RollbackCompleted, 120)]).await;
    assert_eq!(grafana.annotations().len(), 4);
    assert_eq!(grafana.annotations()[3].changes, 0);
}

#[tokio::test]
async fn grafanas_refusals_are_tried_again_and_what_it_cannot_read_is_not() {
    let grafana = doubles::Grafana::open().await;
    let scene = Scene::grafana(&grafana);
    let started = event(EventKind::RollbackStarted, 10);
    for (status, is_unfit) in [(500, false), (401, false), (429, false), (400, true)] {
        grafana.answers(status);
        let outcome = scene.tell(&started, "m-10").await;
        let found = matches!(outcome, DeliveryOutcome::Unfit { .. });
        assert_eq!(found, is_unfit, "{status}: {outcome:?}");
    }
    let stranger = Scene::new(Format::Grafana, &grafana.url, "glsa_another", None);
    let outcome = stranger.tell(&started, "m-10").await;
    assert_eq!(outcome, DeliveryOutcome::Retry { reason: "answered 401".to_owned(), after: None });
    assert_eq!(scene.tell(&started, "m-10").await, DeliveryOutcome::Accepted);
}
