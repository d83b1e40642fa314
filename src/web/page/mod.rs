//! The status page: HTML that is made here and can be read without scripts.
//!
//! Every text goes through `maud`, which escapes it; scripts, styles and the picture come from the
//! binary under [`assets`], and the policy in [`SECURITY`] lets nothing else in. What changes is sent
//! as pieces of the same HTML (`stream`), made from what is on the board at that moment (`live`): for
//! a reader who does not read, nothing waits.

mod acts;
mod app;
mod assets;
mod chart;
mod list;
mod live;
mod neighbours;
mod part;
mod rollback;
mod shell;
mod stream;
#[cfg(test)]
mod tests;
mod timeline;

use axum::{
    Router,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;

pub use live::Live;

use super::ApiState;
use crate::model::AppName;

/// What a browser may do with these pages: show them, load what the binary serves, and talk to it.
const SECURITY: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types waveoff",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(list))
        .route("/apps/{app}", get(app))
        .route("/events", get(events))
        .route("/assets/{name}", get(assets::asset))
        .layer(middleware::from_fn(secured))
}

async fn secured(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Which apps are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct ListQuery {
    /// From 1.
    page: Option<usize>,
    /// Only apps with this in their names.
    q: Option<String>,
    /// Only apps in this phase, as the API calls it.
    phase: Option<String>,
}

/// What of an app is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct AppQuery {
    /// Only events older than this sequence number.
    before: Option<i64>,
}

/// Whose changes are wanted: those of an app, or of the list.
#[derive(Clone, Debug, Default, Deserialize)]
struct EventsQuery {
    app: Option<AppName>,
    /// What the reader has.
    seen: Option<String>,
    before: Option<i64>,
    page: Option<usize>,
    q: Option<String>,
    phase: Option<String>,
    /// Instead of the pieces of a page, what changed by its name: for programs that read the API then.
    #[serde(default)]
    names: bool,
}

async fn list(
    State(state): State<ApiState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(wrong) => return problem(&state, StatusCode::BAD_REQUEST, &wrong.body_text()),
    };
    let overview = state.live.overview(&state.board, state.clock.now());
    page(&list::page(&overview, &query))
}

async fn app(
    State(state): State<ApiState>,
    name: Result<Path<AppName>, PathRejection>,
    query: Result<Query<AppQuery>, QueryRejection>,
) -> Response {
    let (Path(name), Query(query)) = match (name, query) {
        (Ok(name), Ok(query)) => (name, query),
        (Err(wrong), _) => return problem(&state, StatusCode::BAD_REQUEST, &wrong.body_text()),
        (_, Err(wrong)) => return problem(&state, StatusCode::BAD_REQUEST, &wrong.body_text()),
    };
    let events = match timeline::events(&state, &name, query.before).await {
        Ok(events) => events,
        Err(why) => return problem(&state, StatusCode::SERVICE_UNAVAILABLE, &why),
    };
    match app::Shown::of(&state, &name, events) {
        Some(shown) => page(&app::page(&shown.with_lines().await, query.before)),
        None => problem(&state, StatusCode::NOT_FOUND, &format!("app {name} is not watched")),
    }
}

async fn events(
    State(state): State<ApiState>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(mut query)) = query else { return StatusCode::BAD_REQUEST.into_response() };
    // After a broken connection the browser says itself what came last.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    query.seen = last.map(str::to_owned).or(query.seen);
    stream::answer(state, query)
}

fn page(markup: &Markup) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], markup.0.clone()).into_response()
}

fn problem(state: &ApiState, status: StatusCode, why: &str) -> Response {
    let organization = state.board.headline(state.clock.now()).organization;
    let body = html! {
        main #main {
            h1 { (why) }
            p { a href="/" { "All apps" } }
        }
    };
    (status, page(&shell::document(why, &organization, None, &body))).into_response()
}
