//! Who may read, and who may give orders: whoever shows the token for it, compared in constant time.
//!
//! Orders take the operator's token in a header `Authorization: Bearer`, which no other site can make
//! a browser send. Reading is open to whoever reaches the address, unless the daemon has a token for
//! it: then either token opens as `Bearer`, and the reader's as the password of HTTP Basic, which a
//! browser asks a person for and sends by itself from then on. What a browser sends by itself never
//! gives an order, and no request that only reads changes anything.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::{
    ApiState,
    answers::{ALWAYS, Refusal},
};
use crate::config::Secret;

/// The variable that holds the operator's token, on both sides.
pub const TOKEN_VARIABLE: &str = "WAVEOFF_OPERATOR_TOKEN";
/// The variable that holds the token for reading, on both sides.
pub const READ_VARIABLE: &str = "WAVEOFF_READ_TOKEN";
/// Shortest token: what can be guessed guards nothing.
const TOKEN_MIN: usize = 16;

/// What people have to show.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// To give orders; `None`: none are taken.
    pub operator: Option<Secret>,
    /// To read; `None`: whoever reaches the address reads.
    pub reader: Option<Secret>,
}

impl Tokens {
    /// Those of the process's environment. What is set and blank counts as not set.
    pub fn of_environment() -> Self {
        let token = |name| std::env::var(name).ok().filter(|it| !it.trim().is_empty());
        Self {
            operator: token(TOKEN_VARIABLE).map(Secret::new),
            reader: token(READ_VARIABLE).map(Secret::new),
        }
    }

    /// Says at the start what they keep from whom: else it shows with the first order, which may be urgent.
    pub fn announce(&self) {
        match text(self.operator.as_ref()) {
            "" => tracing::info!("{}", no_orders()),
            token if is_short(token) => {
                tracing::warn!("orders are not taken: {}", too_short(TOKEN_VARIABLE));
            }
            _ => {}
        }
        let reader = text(self.reader.as_ref());
        if !reader.is_empty() && is_short(reader) {
            tracing::warn!("nobody may read: {}", too_short(READ_VARIABLE));
        }
    }

    /// Lets in who has the operator's token.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = text(self.operator.as_ref());
        if token.is_empty() {
            return Err(Refusal(StatusCode::FORBIDDEN, no_orders()));
        }
        if is_short(token) {
            let text = format!("orders are not taken: {}", too_short(TOKEN_VARIABLE));
            return Err(Refusal(StatusCode::FORBIDDEN, text));
        }
        match bearer(headers) {
            Some(given) if same(given, token) => Ok(()),
            Some(_) => {
                let text = format!("the token is not the daemon's {TOKEN_VARIABLE}");
                Err(Refusal(StatusCode::UNAUTHORIZED, text))
            }
            None => {
                let text =
                    format!("orders need the header Authorization: Bearer, {TOKEN_VARIABLE}");
                Err(Refusal(StatusCode::UNAUTHORIZED, text))
            }
        }
    }

    /// Lets in who may read.
    fn admit_reader(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = text(self.reader.as_ref());
        if token.is_empty() {
            return Ok(());
        }
        // A token that can be guessed is a mistake, and no reason to be open.
        if is_short(token) {
            let text = format!("nobody may read: {}", too_short(READ_VARIABLE));
            return Err(Refusal(StatusCode::FORBIDDEN, text));
        }
        let operator = Some(text(self.operator.as_ref())).filter(|it| !is_short(it));
        let is_let_in = match (bearer(headers), password(headers)) {
            (Some(given), _) => {
                // Both are compared, so that the time says nothing either.
                let (reads, orders) = (same(given, token), operator.map(|it| same(given, it)));
                reads | orders.unwrap_or(false)
            }
            // Never the operator's: a browser keeps it and sends it by itself.
            (None, Some(given)) => same(&given, token),
            (None, None) => {
                let text = format!(
                    "reading needs {READ_VARIABLE}, the daemon's: in the header Authorization: Bearer, \
                     or in a browser as the password of any name"
                );
                return Err(Refusal(StatusCode::UNAUTHORIZED, text));
            }
        };
        if is_let_in {
            return Ok(());
        }
        let text = format!("the token is not the daemon's {READ_VARIABLE}");
        Err(Refusal(StatusCode::UNAUTHORIZED, text))
    }
}

/// Whoever showed the operator's token.
pub(super) struct Operator;

impl FromRequestParts<ApiState> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refusal> {
        state.tokens.admit(&parts.headers).map(|()| Self)
    }
}

/// What an operator sends. Nothing is read of a body before the token was seen.
pub(super) struct Ordered<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Ordered<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Refusal> {
        state.tokens.admit(request.headers())?;
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

fn is_short(token: &str) -> bool {
    token.chars().count() < TOKEN_MIN
}

fn too_short(variable: &str) -> String {
    format!(
        "{variable} is shorter than {TOKEN_MIN} characters on the daemon: set a longer one with \
         `fly secrets set`"
    )
}

fn no_orders() -> String {
    format!(
        "orders are not taken: {TOKEN_VARIABLE} is not set on the daemon; `fly secrets set` sets it, \
         to {TOKEN_MIN} characters or more"
    )
}

fn text(token: Option<&Secret>) -> &str {
    token.map(Secret::expose).unwrap_or_default().trim()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    given.strip_prefix("Bearer ").map(str::trim)
}

/// The password of HTTP Basic.
fn password(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let both = String::from_utf8(STANDARD.decode(given.trim()).ok()?).ok()?;
    both.split_once(':').map(|(_, password)| password.trim().to_owned())
}

/// Compares in a time that says nothing of where two texts differ.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(other.iter()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// Lets nobody read who may not. Orders have their own token, and health is told to all: in one word,
/// as the platform that asks for it has no token.
pub(super) async fn reading(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let admitted = state.tokens.admit_reader(request.headers());
    let is_health = ALWAYS.contains(&path);
    let for_programs = path.starts_with("/api/") || path == "/metrics";
    match admitted {
        Err(_) if is_health => {
            let answer = next.run(request).await;
            let word = if answer.status().is_success() { "ok\n" } else { "not ok\n" };
            (answer.status(), word).into_response()
        }
        Err(refusal) if reads => {
            let is_asked = refusal.0 == StatusCode::UNAUTHORIZED;
            let mut answer = refusal.into_response();
            if is_asked {
                let way = if for_programs {
                    "Bearer realm=\"waveoff\""
                } else {
                    "Basic realm=\"waveoff: any name, and the token for reading\", charset=\"UTF-8\""
                };
                let way = HeaderValue::from_static(way);
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, way);
            }
            answer
        }
        Ok(()) | Err(_) => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn basic(both: &str) -> String {
        format!("Basic {}", STANDARD.encode(both))
    }

    #[test]
    fn only_the_whole_token_opens_and_what_is_missing_is_said() {
        let try_with = |token: Option<&str>, value: Option<&str>| {
            let tokens = Tokens { operator: token.map(Secret::new), reader: None };
            tokens.admit(&headers(value)).map_err(|Refusal(status, text)| (status.as_u16(), text))
        };
        let token = Some("0123456789abcdef");
        assert_eq!(try_with(token, Some("Bearer 0123456789abcdef")), Ok(()));
        for wrong in ["Bearer 0123456789abcde", "Bearer ", "Bearer 0123456789abcdefg"] {
            assert_eq!(try_with(token, Some(wrong)).unwrap_err().0, 401, "{wrong}");
        }
        let (status, text) = try_with(token, None).unwrap_err();
        assert!(status == 401 && text.contains("Bearer"), "{text}");
        for unset in [None, Some(""), Some("short")] {
            let (status, text) = try_with(unset, Some("Bearer short")).unwrap_err();
            assert!(status == 403 && text.contains(TOKEN_VARIABLE), "{text}");
        }
    }

    #[test]
    fn what_a_browser_sends_by_itself_reads_and_never_orders() {
        let tokens = Tokens {
            operator: Some(Secret::new("the-operators-token")),
            reader: Some(Secret::new("the-readers-token")),
        };
        let reads = |value: &str| tokens.admit_reader(&headers(Some(value))).is_ok();
        let orders = |value: &str| tokens.admit(&headers(Some(value))).is_ok();
        let cases = [
            ("Bearer the-readers-token".to_owned(), true, false),
            ("Bearer the-operators-token".to_owned(), true, true),
            (basic("anybody:the-readers-token"), true, false),
            (basic(":the-readers-token"), true, false),
            // Else a browser would keep it, and send it by itself.
            (basic("anybody:the-operators-token"), false, false),
            (basic("the-readers-token"), false, false),
            (basic("the-readers-token:"), false, false),
            ("Basic %%%".to_owned(), false, false),
            ("Bearer the-readers-toke".to_owned(), false, false),
            ("Bearer ".to_owned(), false, false),
        ];
        for (value, may_read, may_order) in cases {
            assert_eq!((reads(&value), orders(&value)), (may_read, may_order), "{value}");
        }
    }

    #[test]
    fn without_a_token_for_reading_all_may_and_with_a_short_one_nobody_may() {
        let of = |token: Option<&str>| Tokens {
            operator: Some(Secret::new("short")),
            reader: token.map(Secret::new),
        };
        assert!(of(None).admit_reader(&headers(None)).is_ok());
        assert!(of(Some(" ")).admit_reader(&headers(None)).is_ok());
        let refused = |value| of(Some("short")).admit_reader(&headers(value)).unwrap_err();
        for value in [None, Some("Bearer short")] {
            let Refusal(status, text) = refused(value);
            assert!(status == 403 && text.contains(READ_VARIABLE), "{text}");
        }
        // A short operator's token opens nothing.
        let long = of(Some("the-readers-token"));
        assert!(long.admit_reader(&headers(Some("Bearer short"))).is_err());
    }
}
