//! The API as a client sees it: real requests to a served board.

mod description;
mod health;
mod names;
mod reading;
mod receivers;

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;

use super::{
    operator::Answer,
    view::{DispersionView, ErrorView, HistoryView, OrgView, ReleasesView},
    *,
};
use crate::{
    config::Secret,
    model::{Act, AppName, EventKind, Evidence, Kind, Mode, Order, Signed, Unit, Verdict},
    ports::PlatformError,
    store::{
        Attempt, Commit, DeadLetter, HistoryEntry, Queued, StoreError, StoredApp, WaitingLetter,
    },
};

/// Takes orders for `api`, and writes none down for `full`.
struct Clerk;

#[async_trait]
impl Desk for Clerk {
    async fn give(&self, app: Option<AppName>, order: Order) -> Result<Vec<AppName>, OrderError> {
        match app.as_ref().map(AppName::as_str) {
            None | Some("api") => Ok(vec!["api".into()]),
            Some("full") => Err(OrderError::NotNoted("disk full".to_owned())),
            Some(_) => {
                drop(order);
                Err(OrderError::NotWatched(app.unwrap()))
            }
        }
    }

    async fn act(&self, app: AppName, act: Act, signed: Signed) -> Result<Answer, OrderError> {
        let text = format!("{} by {}: {}", act.word(), signed.by, signed.reason);
        match app.as_str() {
            "api" => Ok(Answer { done: act != Act::Unpin, text, facts: json!({ "effect": "x" }) }),
            "full" => Err(OrderError::NoAnswer(app)),
            _ => Err(OrderError::NotWatched(app)),
        }
    }

    async fn resend(&self, receiver: &str, message: Option<&str>) -> Result<u64, OrderError> {
        Ok(if receiver == "ops" { message.map_or(7, |_| 1) } else { 0 })
    }

    async fn test(&self, receiver: &str, _: &str) -> Result<Result<(), String>, OrderError> {
        match receiver {
            "ops" => Ok(Ok(())),
            "chat" => Ok(Err("answered 404".to_owned())),
            other => {
                let known = vec!["ops".to_owned(), "chat".to_owned()];
                Err(OrderError::NoReceiver { name: other.to_owned(), known })
            }
        }
    }

    async fn releases(&self, app: AppName) -> Result<ReleasesView, OrderError> {
        match app.as_str() {
            "stuck" => std::future::pending().await,
            "api" => Ok(ReleasesView { app, releases: Vec::new(), ledger_unread: None }),
            _ => Err(OrderError::NotWatched(app)),
        }
    }
}

/// A journal with a history to read; `None`: it refuses.
struct Shelf(Mutex<Option<Vec<HistoryEntry>>>);

#[async_trait]
impl Journal for Shelf {
    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let entries = self.0.lock().unwrap();
        let entries = entries.as_ref().ok_or_else(|| StoreError::Failed("disk full".to_owned()))?;
        Ok(entries
            .iter()
            .rev()
            .filter(|entry| entry.event.app.as_ref() == app)
            .filter(|entry| before.is_none_or(|before| entry.sequence < before))
            .take(limit as usize)
            .cloned()
            .collect())
    }
    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        match *self.0.lock().unwrap() {
            Some(_) => Ok(vec![("on \"call\"".to_owned(), 3, 1)]),
            None => Err(StoreError::Failed("disk full".to_owned())),
        }
    }
    async fn installation(&self) -> Result<String, StoreError> {
        unreachable!("reading only")
    }
    async fn note(&self, _: &str) -> Result<Option<String>, StoreError> {
        Ok(None)
    }
    async fn set_note(&self, _: &str, _: Option<&str>) -> Result<(), StoreError> {
        unreachable!("reading only")
    }
    async fn dead_letters(&self, _: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let letter = DeadLetter {
            receiver: "ops".to_owned(),
            message_id: "m-1".to_owned(),
            attempts: 40,
            queued_at: noon(),
            given_up_at: noon(),
            reason: "not delivered within 24 h".to_owned(),
        };
        Ok(vec![letter])
    }
    async fn waiting_letters(&self, _: u32) -> Result<Vec<WaitingLetter>, StoreError> {
        let letter = WaitingLetter {
            receiver: "ops".to_owned(),
            message_id: "m-2".to_owned(),
            attempts: 3,
            queued_at: noon(),
            due_at: noon(),
            reason: "answered 503".to_owned(),
        };
        Ok(vec![letter])
    }
    async fn revive(&self, _: &str, _: Option<&str>, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!("the desk does it")
    }
    async fn load(&self, _: &AppName) -> Result<Option<StoredApp>, StoreError> {
        unreachable!("reading only")
    }
    async fn commit(
        &self,
        _: &AppName,
        _: u64,
        _: Commit,
        _: Timestamp,
    ) -> Result<u64, StoreError> {
        unreachable!("reading only")
    }
    async fn announce(
        &self,
        _: &str,
        _: Event,
        _: &[String],
        _: Timestamp,
    ) -> Result<(), StoreError> {
        unreachable!("reading only")
    }
    async fn due(&self, _: Timestamp) -> Result<Vec<Queued>, StoreError> {
        unreachable!("reading only")
    }
    async fn next_due(&self, _: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        unreachable!("reading only")
    }
    async fn attempted(&self, _: i64, _: &Attempt, _: Timestamp) -> Result<(), StoreError> {
        unreachable!("reading only")
    }
    async fn prune(&self, _: Timestamp) -> Result<u64, StoreError> {
        unreachable!("reading only")
    }
}

pub(super) fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn evidence() -> Evidence {
    Evidence {
        threshold: "5xx".to_owned(),
        kind: Kind::Ratio,
        verdict: Verdict::Breach,
        value: Some(0.09),
        limit: 0.02,
        unit: Unit::Requests,
        source: "http_requests_total".to_owned(),
        bad: 37.0,
        total: 410.0,
        lately: None,
        ln_odds: Some(f64::INFINITY),
        ln_odds_needed: Some(6.9),
        blocks: 3,
        last_blocks: Vec::new(),
        control: Some((5.0, 1250.0)),
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

pub(super) fn view(app: &str, phase: Phase) -> AppView {
    AppView {
        app: app.into(),
        policy: "web".to_owned(),
        mode: Mode::Rollback,
        phase,
        since: noon(),
        release: None,
        running: Vec::new(),
        target: None,
        known_good: None,
        dispersions: [("5xx".to_owned(), DispersionView { phi: 2.5, minutes: 58, at: noon() })]
            .into(),
        protection: crate::web::view::Protection::default(),
        quarantined: Vec::new(),
        vetoed: None,
        pinned: None,
        mirror: Vec::new(),
        operator_hold: None,
        hold: None,
        blind: None,
        unknown: Vec::new(),
        unread: std::collections::BTreeMap::new(),
        suspects: Vec::new(),
        evidence: vec![(&evidence()).into()],
        commands: Vec::new(),
        regions: Vec::new(),
        next_deadline: None,
    }
}

struct Served {
    board: Board,
    address: String,
}

impl Served {
    async fn with(history: Option<Vec<HistoryEntry>>) -> Self {
        Self::guarded(history, None).await
    }

    async fn guarded(history: Option<Vec<HistoryEntry>>, reader: Option<&str>) -> Self {
        let reader = reader.map(Secret::new);
        let board = Board::new("acme", noon());
        let state = ApiState {
            board: board.clone(),
            journal: Arc::new(Shelf(Mutex::new(history))),
            clock: Clock::starting_at(noon()),
            receivers: Arc::new(|| vec!["idle".to_owned()]),
            sentence: |event| format!("it was {}", event.kind.as_str()),
            policies: Arc::new(|_| None),
            live: Live::default(),
            desk: Arc::new(Clerk),
            configuration: Arc::new(configuration::NoFiles),
            tokens: Tokens { operator: Some(Secret::new("a-token-of-the-operator")), reader },
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, router(state), std::future::pending()));
        Self { board, address }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("{}{path}", self.address)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn json<T: serde::de::DeserializeOwned>(&self, path: &str, status: u16) -> T {
        let (got, body) = self.get(path).await;
        assert_eq!(got, status, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn events(app: &str, count: i64) -> Vec<HistoryEntry> {
    (1..=count)
        .map(|sequence| HistoryEntry {
            sequence,
            message_id: format!("m-{sequence}"),
            event: Event::new(EventKind::ReleaseDetected, noon(), Some(app.into())),
        })
        .collect()
}

#[tokio::test]
async fn the_daemon_is_healthy_at_once_and_ready_after_every_apps_first_round() {
    let served = Served::with(Some(Vec::new())).await;
    assert_eq!(served.get("/healthz").await.0, 200);

    let (status, body) = served.get("/readyz").await;
    assert_eq!((status, body.contains("the list of the apps of acme")), (503, true), "{body}");

    served.board.expect(["api".into(), "web".into()]);
    served.board.publish(view("api", Phase::Steady));
    let refusal: ErrorView = served.json("/readyz", 503).await;
    assert_eq!(refusal.error, "waits for the first round of web");

    served.board.publish(view("web", Phase::Learning));
    assert_eq!(served.get("/readyz").await.0, 200);

    // An app that comes later makes a running daemon no less ready.
    served.board.expect(["api".into(), "web".into(), "new".into()]);
    assert_eq!(served.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_daemon_with_nothing_to_watch_is_ready() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.expect([]);
    assert_eq!(served.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn status_shows_the_organization_and_its_apps_in_order() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.publish(view("web", Phase::RollingBack));
    served.board.publish(view("api", Phase::Steady));
    served.board.feed_read(noon(), vec!["syd".into()]);

    let status: OrgView = served.json("/api/v1/status", 200).await;

    assert_eq!(status.organization, "acme");
    assert_eq!(status.feed.error_regions, ["syd".into()]);
    assert!(status.feed.lag_s.is_some_and(|lag| lag >= 0.0));
    let apps: Vec<_> = status.apps.iter().map(|app| (app.app.as_str(), app.phase)).collect();
    assert_eq!(apps, [("api", Phase::Steady), ("web", Phase::RollingBack)]);
    // Infinite odds are no JSON number.
    assert_eq!(status.apps[0].evidence[0].ln_odds, None);
    assert_eq!(status.apps[0].evidence[0].value, Some(0.09));
}

#[tokio::test]
async fn one_app_can_be_asked_for_until_it_is_removed() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.publish(view("api", Phase::Baking));
    let app: AppView = served.json("/api/v1/apps/api", 200).await;
    assert_eq!(app, view("api", Phase::Baking));
    served.board.remove(&"api".into());
    let refusal: ErrorView = served.json("/api/v1/apps/api", 404).await;
    assert!(refusal.error.starts_with("app api is not watched; "), "{refusal:?}");
}

#[tokio::test]
async fn a_slip_in_an_apps_name_is_answered_with_the_app_that_is_watched() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.publish(view("web", Phase::Steady));
    let said = "app wbe is not watched; did you mean web?; no policy in force watches it: `waveoff config show wbe --in-force` says why";
    for path in ["apps/wbe", "apps/wbe/history", "apps/wbe/releases", "apps/wbe/explain"] {
        let refusal: ErrorView = served.json(&format!("/api/v1/{path}"), 404).await;
        assert_eq!(refusal.error, said, "{path}");
    }
}

#[tokio::test]
async fn history_is_read_in_pages_newest_first_with_a_sentence_each() {
    let served = Served::with(Some(events("api", 5))).await;
    let first: HistoryView = served.json("/api/v1/apps/api/history?limit=2", 200).await;
    let sequences: Vec<_> = first.events.iter().map(|event| event.sequence).collect();
    assert_eq!((sequences, first.next_before), (vec![5, 4], Some(4)));
    assert_eq!(first.events[0].text, "it was release.detected");

    let last: HistoryView = served.json("/api/v1/apps/api/history?limit=3&before=4", 200).await;
    let sequences: Vec<_> = last.events.iter().map(|event| event.sequence).collect();
    assert_eq!((sequences, last.next_before), (vec![3, 2, 1], None));
}

#[tokio::test]
async fn history_is_bounded_and_says_what_is_wrong_with_a_request() {
    let served = Served::with(Some(events("api", 300))).await;
    let all: HistoryView = served.json("/api/v1/apps/api/history?limit=100000", 200).await;
    assert_eq!(all.events.len(), 200);
    let refusal: ErrorView = served.json("/api/v1/apps/api/history?limit=many", 400).await;
    assert!(refusal.error.contains("limit"), "{refusal:?}");
    let refusal: ErrorView = served.json("/api/v1/apps/other/history", 404).await;
    assert!(refusal.error.starts_with("app other is not watched; "), "{refusal:?}");
}

#[tokio::test]
async fn a_journal_that_refuses_costs_history_and_outbox_series_and_nothing_else() {
    let served = Served::with(None).await;
    served.board.publish(view("api", Phase::Steady));
    let refusal: ErrorView = served.json("/api/v1/apps/api/history", 503).await;
    assert!(refusal.error.contains("disk full"), "{refusal:?}");
    let (status, page) = served.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(page.contains("waveoff_app_phase") && !page.contains("waveoff_outbox"), "{page}");
    served.json::<OrgView>("/api/v1/status", 200).await;
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_allowed_is_said_in_json() {
    let served = Served::with(Some(Vec::new())).await;
    served.json::<ErrorView>("/api/v2/status", 404).await;
    let response = reqwest::Client::new()
        .post(format!("{}/api/v1/status", served.address))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 405);
    serde_json::from_str::<ErrorView>(&response.text().await.unwrap()).unwrap();
}

#[tokio::test]
async fn own_metrics_are_read_back_by_a_prometheus_parser() {
    let served = Served::with(Some(Vec::new())).await;
    served.board.publish(view("api", Phase::Confirming));
    served.board.rollback_ended(RollbackOutcome::Completed);
    served.board.rollback_ended(RollbackOutcome::Completed);
    served.board.blind_for(Duration::from_millis(2500));
    let answers: [Result<(), _>; 3] = [
        Ok(()),
        Err(PlatformError::Unavailable("429".to_owned())),
        Err(PlatformError::Conflict("412".to_owned())),
    ];
    for answer in &answers {
        served.board.platform_call("update", CallOutcome::of(answer));
    }

    let (_, page) = served.get("/metrics").await;

    let mut samples = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(samples.insert(series, value.parse::<f64>().unwrap()).is_none(), "{series} twice");
    }
    for (series, value) in [
        ("waveoff_app_phase{app=\"api\",phase=\"confirming\"}", 1.0),
        ("waveoff_app_phase{app=\"api\",phase=\"steady\"}", 0.0),
        ("waveoff_dispersion{app=\"api\",threshold=\"5xx\"}", 2.5),
        ("waveoff_threshold_value{app=\"api\",threshold=\"5xx\"}", 0.09),
        ("waveoff_threshold_limit{app=\"api\",threshold=\"5xx\"}", 0.02),
        ("waveoff_rollbacks_total{outcome=\"completed\"}", 2.0),
        ("waveoff_rollbacks_total{outcome=\"failed\"}", 0.0),
        ("waveoff_blind_seconds_total", 2.5),
        ("waveoff_platform_calls_total{action=\"update\",outcome=\"contended\"}", 1.0),
        ("waveoff_platform_calls_total{action=\"update\",outcome=\"unavailable\"}", 1.0),
        ("waveoff_outbox_pending{receiver=\"on \\\"call\\\"\"}", 3.0),
        ("waveoff_outbox_dead{receiver=\"on \\\"call\\\"\"}", 1.0),
    ] {
        let got = samples.get(series).copied();
        assert!(got.is_some_and(|got| (got - value).abs() < 1e-9), "{series}: {got:?}\n{page}");
    }
    let parsed =
        prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap();
    assert!(parsed.samples.len() > 10);
}

#[tokio::test]
async fn told_to_stop_it_stops_serving() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, Router::new(), async {
        let _ = stopped.await;
    }));
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_hold_needs_the_token_a_reason_and_an_app_that_is_watched() {
    let served = Served::with(Some(Vec::new())).await;
    let client = reqwest::Client::new();
    let ask = async |method: reqwest::Method, token: &str, body: &str| {
        let request = client.request(method, format!("{}/api/v1/hold", served.address));
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let response = request.bearer_auth(token).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (post, delete) = (reqwest::Method::POST, reqwest::Method::DELETE);
    let token = "a-token-of-the-operator";
    let body = r#"{"app":"api","reason":"a sale","for":"2h","by":"dana"}"#;

    assert_eq!(ask(post.clone(), "a-token-of-an-operator", body).await.0, 401);
    let (status, answer) = ask(post.clone(), token, body).await;
    assert_eq!(status, 200, "{answer}");
    let view: super::operator::OrderView = serde_json::from_str(&answer).unwrap();
    assert_eq!(view.apps, ["api".into()]);
    let hold = view.hold.unwrap();
    assert_eq!(hold.until.unwrap(), hold.since + jiff::SignedDuration::from_hours(2));

    for (method, body, want, said) in [
        (&post, r#"{"app":"web","reason":"x"}"#, 404, "web is not watched"),
        (&post, r#"{"app":"full","reason":"x"}"#, 503, "disk full"),
        (&post, r#"{"app":"api","reason":" "}"#, 400, "reason is empty"),
        (&post, r#"{"app":"api","reason":"x","for":"soon"}"#, 400, "for: `soon`"),
        (&post, r#"{"ap":"api","reason":"x"}"#, 400, "unknown field"),
        (&delete, r#"{"app":"api"}"#, 200, r#""hold":null"#),
        (&delete, "{}", 200, r#""apps":["api"]"#),
        (&delete, "", 400, "JSON"),
    ] {
        let (status, answer) = ask(method.clone(), token, body).await;
        assert!(status == want && answer.contains(said), "{body}: {status} {answer}");
    }
}
