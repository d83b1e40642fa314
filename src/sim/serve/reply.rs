//! Answers: a status, a JSON body, and the shapes in which the platform refuses.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use serde_json::{Value, json};

/// The type of a page of metrics.
const PAGE: &str = "text/plain; version=0.0.4";

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
    /// A page of metrics instead of the body.
    pub page: Option<String>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Only the first half of the body is sent.
    pub is_cut: bool,
    /// What was asked for that is not simulated. It is not sent: the log of calls and the terminal
    /// tell it.
    pub unknown: Option<String>,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self::with(200, body)
    }

    pub fn with(status: u16, body: Value) -> Self {
        Self { status, body, page: None, headers: Vec::new(), is_cut: false, unknown: None }
    }

    /// A page of metrics, as a metrics server reads it.
    pub fn page(text: String) -> Self {
        Self { page: Some(text), ..Self::ok(Value::Null) }
    }

    /// Refuses what is not simulated, in words for whoever sits at the client.
    pub fn not_simulated(what: &str) -> Self {
        let text = format!("the simulated platform has no {what}");
        Self { unknown: Some(text.clone()), ..Self::error(404, &format!("not_found: {text}")) }
    }

    /// A refusal in the Machines API's shape.
    pub fn error(status: u16, text: &str) -> Self {
        Self::with(status, json!({"error": text}))
    }

    pub fn invalid(text: &str) -> Self {
        Self::error(400, &format!("invalid_argument: {text}"))
    }

    pub fn not_found(what: &str) -> Self {
        Self::error(404, &format!("not_found: {what} not found"))
    }

    /// Over the rate limit; `wait` until the next request will be served.
    pub fn too_many(wait: Duration) -> Self {
        let mut reply = Self::error(429, "resource_exhausted: rate limit exceeded");
        // Whole seconds, rounded up, as the header has it.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        reply.headers.push(("retry-after", seconds.max(1).to_string()));
        reply
    }

    /// The HTTP response; `request_id` is what clients quote in their complaints.
    /// `now` is the platform's own time.
    pub fn into_response(self, request_id: u64, now: Timestamp) -> Response<Body> {
        let empty = self.status == 204 || (self.body.is_null() && self.page.is_none());
        let kind = if self.page.is_some() { PAGE } else { "application/json" };
        let mut text = match self.page {
            Some(page) => page,
            None if empty => String::new(),
            None => self.body.to_string(),
        };
        if self.is_cut {
            text = text.chars().take(text.chars().count() / 2).collect();
        }
        let body = Body::from(text);
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !empty {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok();
        if let Some(date) = date.and_then(|date| HeaderValue::from_str(&date).ok()) {
            headers.insert(header::DATE, date);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("sim-{request_id}")) {
            headers.insert("fly-request-id", id);
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Sets a field of a JSON object; anything else is left as it is.
pub fn set_field(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value.into());
    }
}

/// What a handler answers: either kind is an answer, `Err` ends the work early.
pub type Answer = Result<Reply, Reply>;
