//! What holds for every answer of the API: how refusals look, how long a body may be, how many are
//! answered at once, and which answers need not be sent again.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _, to_bytes},
    extract::{
        Request, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::{operator::OrderError, view::ProblemView};
use crate::store::StoreError;

/// Longest body of a request, in bytes.
pub(super) const BODY_MAX: usize = 64 << 10;
/// Requests that are answered at once; beyond that somebody is told to come again.
const AT_ONCE_MAX: usize = 64;
/// Longest answer that is tagged: of longer ones the sum would cost more than it saves.
const TAGGED_MAX: u64 = 256 << 10;
/// What every answer about health has to get through, whatever else is asked.
pub(super) const ALWAYS: [&str; 2] = ["/healthz", "/readyz"];

/// A refusal: a status and why.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        problem(self.0, self.1, None)
    }
}

/// A refusal as RFC 9457 has it; `refusal`: what stands against an order, as facts.
pub(super) fn problem(
    status: StatusCode,
    detail: String,
    refusal: Option<serde_json::Value>,
) -> Response {
    let view = ProblemView {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Refused").to_owned(),
        status: status.as_u16(),
        error: detail.clone(),
        detail,
        refusal,
    };
    let body = serde_json::to_string(&view).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        let status = match &rejection {
            JsonRejection::MissingJsonContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            JsonRejection::BytesRejection(bytes) => bytes.status(),
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        let status = match error {
            OrderError::NotWatched(_) | OrderError::NoReceiver { .. } => StatusCode::NOT_FOUND,
            OrderError::NotNoted(_) | OrderError::NoAnswer(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

/// Places for requests under way.
#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE_MAX)))
    }
}

/// Refuses what comes while all places are taken.
pub(super) async fn in_places(
    State(places): State<Places>,
    request: Request,
    next: Next,
) -> Response {
    if ALWAYS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let Ok(_place) = places.0.try_acquire() else {
        let text = format!("more than {AT_ONCE_MAX} requests at once: come again");
        let mut response = Refusal(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    next.run(request).await
}

/// Tags what is read, and sends nothing to who has it already.
pub(super) async fn tagged(request: Request, next: Next) -> Response {
    let is_read = [Method::GET, Method::HEAD].contains(request.method())
        && request.uri().path().starts_with("/api/v1/");
    let asked = request.headers().clone();
    let response = next.run(request).await;
    let length = response.body().size_hint().exact();
    let is_tagged = response.headers().contains_key(header::ETAG);
    let is_whole = response.status() == StatusCode::OK && length.is_some_and(|it| it <= TAGGED_MAX);
    if !is_read || is_tagged || !is_whole {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let most = usize::try_from(TAGGED_MAX).unwrap_or(usize::MAX);
    let Ok(bytes) = to_bytes(body, most).await else {
        let text = "the answer broke off".to_owned();
        return Refusal(StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
    };
    let digest = Sha256::digest(&bytes);
    let digest: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{digest}\"");
    let known = is_known(&asked, &tag);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(header::ETAG, tag);
    }
    // It may be kept, and has to be asked about each time.
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

pub(super) fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let lists = asked.get_all(header::IF_NONE_MATCH).iter();
    lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    })
}
