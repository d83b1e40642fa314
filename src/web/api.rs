//! The routes and their answers. Every handler is bounded in time; every refusal is JSON.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{
    ApiState, acts,
    answers::{BODY_MAX, Places, Refusal, in_places, is_known, tagged},
    configuration,
    explain::{self, ExplainView, Unexplained},
    gate::{Ordered, reading},
    metrics,
    operator::{self, HoldRequest, OrderError, OrderView, UnholdRequest},
    process::Process,
    receivers::{
        self, DeliveriesView, LetterView, ReceiverView, ResendRequest, ResentView, TestRequest,
        TestedView,
    },
    view::{AppView, EventView, HistoryView, OrgView, ReleasesView},
};
use crate::{
    config,
    model::{AppName, Order},
    store::{HistoryEntry, StoreError},
};

/// How long the journal may take to answer a request.
pub(super) const JOURNAL_DEADLINE: Duration = Duration::from_secs(5);
/// How long any request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Events per page of history when none is asked for, and at most.
const HISTORY_DEFAULT: u32 = 20;
const HISTORY_MAX: u32 = 200;

/// Apps per page of the status, at most.
const APPS_MAX: u32 = 1000;

pub(super) fn routes(state: ApiState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(own_metrics))
        .route("/api/v1/openapi.json", get(description))
        .route("/api/v1/status", get(status))
        .route("/api/v1/apps/{app}", get(app))
        .route("/api/v1/apps/{app}/history", get(history))
        .route("/api/v1/apps/{app}/releases", get(releases))
        .route("/api/v1/apps/{app}/explain", get(explanation))
        .route("/api/v1/apps/{app}/rollback", post(acts::rollback))
        .route("/api/v1/apps/{app}/approve", post(acts::approve))
        .route("/api/v1/apps/{app}/veto", post(acts::veto))
        .route("/api/v1/apps/{app}/resume", post(acts::resume))
        .route("/api/v1/apps/{app}/pin", post(acts::pin))
        .route("/api/v1/apps/{app}/unpin", post(acts::unpin))
        .route("/api/v1/apps/{app}/quarantine", post(acts::quarantine))
        .route("/api/v1/apps/{app}/unquarantine", post(acts::unquarantine))
        .route("/api/v1/apps/{app}/trust", post(acts::trust))
        .route("/api/v1/history", get(whole_history))
        .route("/api/v1/hold", post(hold).delete(unhold))
        .route(
            "/api/v1/config",
            get(configuration::read)
                .put(configuration::push)
                .delete(configuration::reset)
                .layer(DefaultBodyLimit::max(configuration::BODY_MAX)),
        )
        .route("/api/v1/config/versions", get(configuration::versions))
        .route("/api/v1/deliveries", get(deliveries))
        .route("/api/v1/deliveries/resend", post(resend))
        .route("/api/v1/receivers/{receiver}/test", post(test_receiver))
        .merge(super::page::routes())
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "no such page".to_owned()) })
        .method_not_allowed_fallback(|| async {
            Refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "this API is read with GET; orders are given with POST, a hold is ended with DELETE, and a \
                 configuration is pushed with PUT"
                    .to_owned(),
            )
        })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(tagged))
        .layer(middleware::from_fn_with_state(state.clone(), reading))
        .layer(middleware::from_fn(within_deadline))
        .layer(middleware::from_fn_with_state(Places::new(), in_places))
        .with_state(state)
}

async fn within_deadline(request: Request, next: Next) -> Response {
    match timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(mut response) => {
            // Numbers of a moment; nobody may keep them.
            let value = HeaderValue::from_static("no-store");
            response.headers_mut().entry(header::CACHE_CONTROL).or_insert(value);
            response
        }
        Err(_) => late("the request").into_response(),
    }
}

fn late(what: &str) -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("{what} took too long"))
}

/// Answers whatever is asked for with why the daemon cannot do its work yet.
pub fn out_of_order(why: tokio::sync::watch::Receiver<String>) -> Router {
    Router::new().fallback(move || {
        let text = format!("the journal cannot be opened: {}", *why.borrow());
        async move { Refusal(StatusCode::SERVICE_UNAVAILABLE, text) }
    })
}

/// Whether the process serves at all and can write down what it decides; says nothing about what it
/// sees, so that a blind daemon is not restarted for it.
async fn healthz(State(state): State<ApiState>) -> Response {
    match state.board.journal_trouble() {
        None => "ok\n".into_response(),
        Some(why) => {
            let text = format!("the journal cannot be written: {why}");
            Refusal(StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn readyz(State(state): State<ApiState>) -> Response {
    let readiness = state.board.readiness();
    if readiness.ready {
        return "ready\n".into_response();
    }
    Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("waits for {}", readiness.reasons.join("; ")))
        .into_response()
}

async fn own_metrics(State(state): State<ApiState>) -> Response {
    let outbox = match timeout(JOURNAL_DEADLINE, state.journal.outbox_counts()).await {
        Ok(Ok(mut counts)) => {
            // A receiver with nothing to get has a series too: what is missing cannot be alerted on.
            for name in (state.receivers)() {
                if !counts.iter().any(|(known, ..)| *known == name) {
                    counts.push((name, 0, 0));
                }
            }
            Some(counts)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "metrics without the outbox: the journal refused");
            None
        }
        Err(_) => {
            tracing::warn!("metrics without the outbox: the journal took too long");
            None
        }
    };
    let status = state.board.listing(state.clock.now(), None, usize::MAX);
    let page = metrics::page(&status, &state.board.counters(), Process::now(), outbox.as_deref());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response()
}

async fn description(State(state): State<ApiState>) -> Response {
    let text = super::description::text(state.tokens.reader.is_some());
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Apps on a page, at most 1000; without it all of them.
    limit: Option<u32>,
    /// Only apps that come after this name.
    after: Option<String>,
}

/// The organization and every watched app
#[utoipa::path(get, path = "/api/v1/status", params(StatusQuery),
    responses((status = 200, description = "The organization and its apps.", body = OrgView)))]
pub(super) async fn status(
    State(state): State<ApiState>,
    headers: HeaderMap,
    query: Result<Query<StatusQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query?;
    let most = query.limit.map(|limit| limit.clamp(1, APPS_MAX));
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let mut listing = state.board.listing(state.clock.now(), query.after.as_deref(), most);
    listing.head.receivers = receivers(&state).await;
    let tag = listing.tag();
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, weak(&tag)).into_response());
    }
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, weak(&tag), listing.json()).into_response())
}

/// A tag of what says the same, if not in the same bytes.
fn weak(tag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(tag) = HeaderValue::try_from(format!("W/{tag}")) {
        headers.insert(header::ETAG, tag);
    }
    // It may be kept, and has to be asked about each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers
}

/// How the receivers are; without what waits when the journal does not say it in time.
async fn receivers(state: &ApiState) -> Vec<ReceiverView> {
    let counts = match timeout(JOURNAL_DEADLINE, state.journal.outbox_counts()).await {
        Ok(Ok(counts)) => Some(counts),
        Ok(Err(_)) | Err(_) => None,
    };
    receivers::views((state.receivers)(), counts, &state.board.receivers())
}

/// Receivers, and messages that were not delivered
#[utoipa::path(get, path = "/api/v1/deliveries",
    responses((status = 200, description = "Receivers and letters.", body = DeliveriesView)))]
pub(super) async fn deliveries(
    State(state): State<ApiState>,
) -> Result<Json<DeliveriesView>, Refusal> {
    let (journal, most) = (&state.journal, receivers::LISTED_MAX);
    let read = async {
        let dead = journal.dead_letters(most).await?;
        Ok::<_, StoreError>((dead, journal.waiting_letters(most).await?))
    };
    let (dead, waiting) =
        timeout(JOURNAL_DEADLINE, read).await.map_err(|_| late("the journal"))??;
    let letters = dead.into_iter().map(LetterView::from);
    let letters = letters.chain(waiting.into_iter().map(LetterView::from)).collect();
    Ok(Json(DeliveriesView { receivers: receivers(&state).await, letters }))
}

/// Send again what was given up
#[utoipa::path(post, path = "/api/v1/deliveries/resend", request_body = ResendRequest,
    responses((status = 200, description = "How many are sent again.", body = ResentView)))]
pub(super) async fn resend(
    State(state): State<ApiState>,
    Ordered(request): Ordered<ResendRequest>,
) -> Result<Json<ResentView>, Refusal> {
    let resent = state.desk.resend(&request.receiver, request.message.as_deref()).await?;
    Ok(Json(ResentView { resent }))
}

/// Send a receiver a message that says that it is a test
#[utoipa::path(post, path = "/api/v1/receivers/{receiver}/test", operation_id = "test",
    params(("receiver" = String, Path, description = "Its name in the configuration.", min_length = 1)),
    request_body = TestRequest,
    responses((status = 200, description = "What it made of it.", body = TestedView)))]
pub(super) async fn test_receiver(
    State(state): State<ApiState>,
    name: Result<Path<String>, PathRejection>,
    Ordered(request): Ordered<TestRequest>,
) -> Result<Json<TestedView>, Refusal> {
    let Path(name) = name?;
    let by = operator::who(request.by.as_deref());
    let why = state.desk.test(&name, &by).await?.err();
    Ok(Json(TestedView { accepted: why.is_none(), why }))
}

/// One app
#[utoipa::path(get, path = "/api/v1/apps/{app}",
    responses((status = 200, description = "One watched app, as of its last round.", body = AppView)))]
pub(super) async fn app(
    State(state): State<ApiState>,
    name: Result<Path<AppName>, PathRejection>,
) -> Result<Json<AppView>, Refusal> {
    let Path(name) = name?;
    state.board.app(&name).map(Json).ok_or_else(|| unwatched(&state, &name))
}

/// That an app is not watched: what was probably meant, and where the reason stands.
fn unwatched(state: &ApiState, app: &AppName) -> Refusal {
    let views = state.board.views();
    let near = config::nearest(app.as_str(), views.iter().map(|view| view.app.as_str()));
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    let why = match (state.policies)(app) {
        Some(file) => format!(
            "the policy {} would watch it, and the platform lists no such app",
            file.policy.name
        ),
        None => format!(
            "no policy in force watches it: `waveoff config show {app} --in-force` says why"
        ),
    };
    let text = format!("{}{near}; {why}", OrderError::NotWatched(app.clone()));
    Refusal(StatusCode::NOT_FOUND, text)
}

/// An order that was not carried out.
pub(super) fn undone(state: &ApiState, error: OrderError) -> Refusal {
    match error {
        OrderError::NotWatched(app) => unwatched(state, &app),
        other => other.into(),
    }
}

/// Begin nothing any more, for one app or for all
#[utoipa::path(post, path = "/api/v1/hold", request_body = HoldRequest,
    responses((status = 200, description = "Who holds now.", body = OrderView)))]
pub(super) async fn hold(
    State(state): State<ApiState>,
    Ordered(request): Ordered<HoldRequest>,
) -> Result<Json<OrderView>, Refusal> {
    let hold = operator::hold(&request, state.clock.now())
        .map_err(|text| Refusal(StatusCode::BAD_REQUEST, text))?;
    order(&state, request.app, Order::Hold(hold)).await
}

/// End a hold
#[utoipa::path(delete, path = "/api/v1/hold", request_body = UnholdRequest,
    responses((status = 200, description = "Who holds no longer.", body = OrderView)))]
pub(super) async fn unhold(
    State(state): State<ApiState>,
    Ordered(request): Ordered<UnholdRequest>,
) -> Result<Json<OrderView>, Refusal> {
    let by = operator::lifted(&request, state.clock.now());
    order(&state, request.app, Order::Unhold(Some(by))).await
}

async fn order(
    state: &ApiState,
    app: Option<AppName>,
    order: Order,
) -> Result<Json<OrderView>, Refusal> {
    let hold = match &order {
        Order::Hold(hold) => Some(hold.clone()),
        Order::Unhold(_) | Order::Act { .. } => None,
    };
    let apps = state.desk.give(app, order).await.map_err(|error| undone(state, error))?;
    Ok(Json(OrderView { apps, hold }))
}

/// The releases of an app, and what is known of each
#[utoipa::path(get, path = "/api/v1/apps/{app}/releases",
    responses((status = 200, description = "The newest first.", body = ReleasesView)))]
pub(super) async fn releases(
    State(state): State<ApiState>,
    name: Result<Path<AppName>, PathRejection>,
) -> Result<Json<ReleasesView>, Refusal> {
    let Path(name) = name?;
    let releases = state.desk.releases(name).await;
    releases.map(Json).map_err(|error| undone(&state, error))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainQuery {
    /// As a person calls it; without it the one that is being dealt with, or the newest.
    release: Option<String>,
}

/// How a release came to its verdict
#[utoipa::path(get, path = "/api/v1/apps/{app}/explain", operation_id = "explain",
    params(ExplainQuery),
    responses((status = 200, description = "Its numbers, and what was told of it.", body = ExplainView)))]
pub(super) async fn explanation(
    State(state): State<ApiState>,
    name: Result<Path<AppName>, PathRejection>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Json<ExplainView>, Refusal> {
    let (Path(app), Query(query)) = (name?, query?);
    let asked = state.journal.history(Some(&app), None, explain::LOOKED_THROUGH);
    let entries = timeout(JOURNAL_DEADLINE, asked).await.map_err(|_| late("the journal"))??;
    if entries.is_empty() && state.board.app(&app).is_none() {
        return Err(unwatched(&state, &app));
    }
    let held = state.board.explained(&app);
    let told = (state.clock.now(), state.sentence);
    let view = explain::explain(&app, query.release.as_deref(), held, &entries, told);
    view.map(Json).map_err(|why| {
        let text = match why {
            Unexplained::Nothing => format!("{app}: no release is known yet"),
            Unexplained::Unnamed(problem) => {
                let name = query.release.unwrap_or_default();
                crate::notify::text::unresolved(&name, &problem)
            }
        };
        Refusal(StatusCode::NOT_FOUND, text)
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Events on a page, at most 200; 20 without it.
    limit: Option<u32>,
    /// Only events older than this sequence number.
    before: Option<i64>,
}

/// What happened to an app
#[utoipa::path(get, path = "/api/v1/apps/{app}/history", params(HistoryQuery),
    responses((status = 200, description = "The newest event first.", body = HistoryView)))]
pub(super) async fn history(
    State(state): State<ApiState>,
    name: Result<Path<AppName>, PathRejection>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<HistoryView>, Refusal> {
    let (Path(app), Query(query)) = (name?, query?);
    let is_first = query.before.is_none();
    let view = past(&state, Some(app.clone()), &query).await?;
    // An app that is watched no longer keeps its history.
    if view.events.is_empty() && is_first && state.board.app(&app).is_none() {
        return Err(unwatched(&state, &app));
    }
    Ok(Json(view))
}

/// What happened to all apps, and to the daemon
#[utoipa::path(get, path = "/api/v1/history", params(HistoryQuery),
    responses((status = 200, description = "The newest event first.", body = HistoryView)))]
pub(super) async fn whole_history(
    State(state): State<ApiState>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<HistoryView>, Refusal> {
    let Query(query) = query?;
    Ok(Json(past(&state, None, &query).await?))
}

/// What happened to one app, or to all and to the daemon.
async fn past(
    state: &ApiState,
    app: Option<AppName>,
    query: &HistoryQuery,
) -> Result<HistoryView, Refusal> {
    let limit = query.limit.unwrap_or(HISTORY_DEFAULT).clamp(1, HISTORY_MAX);
    // One more than wanted tells whether there is another page.
    let asked = state.journal.history(app.as_ref(), query.before, limit.saturating_add(1));
    let mut entries = timeout(JOURNAL_DEADLINE, asked).await.map_err(|_| late("the journal"))??;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let events: Vec<_> = entries.into_iter().map(|entry| event(state, entry)).collect();
    let next_before = events.last().filter(|_| more).map(|event| event.sequence);
    Ok(HistoryView { app, events, next_before })
}

fn event(state: &ApiState, entry: HistoryEntry) -> EventView {
    let text = (state.sentence)(&entry.event);
    EventView::new(entry.sequence, entry.message_id, entry.event, text)
}
