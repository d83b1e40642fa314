//! Sends one webhook request over HTTP, with bounds on everything a receiver can do.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;

use crate::ports::{Clock, Delivery, DeliveryOutcome, Notifier};

const CONNECT_MAX: Duration = Duration::from_secs(3);
const TOTAL_MAX: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const ANSWER_MAX: usize = 4 * 1024;
/// Longest wait a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How long the explanation in an answer's body is waited for.
const EXPLANATION_TIME: Duration = Duration::from_secs(1);
/// Longest explanation taken over from an answer, in characters.
const EXPLANATION_MAX: usize = 40;

/// [`Notifier`] over HTTP.
///
/// Follows no redirects: a signed message goes where it was configured to go, or nowhere. Uses no
/// proxy from the environment.
#[derive(Clone, Debug)]
pub struct HttpNotifier {
    client: Client,
    clock: Clock,
}

impl HttpNotifier {
    /// `clock` is for `Retry-After` dates. Fails only if TLS cannot be set up.
    pub fn new(clock: Clock) -> Result<Self, reqwest::Error> {
        Self::with_deadline(clock, TOTAL_MAX)
    }

    fn with_deadline(clock: Clock, total: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(total)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, clock })
    }
}

#[async_trait]
impl Notifier for HttpNotifier {
    async fn send(&self, delivery: &Delivery) -> DeliveryOutcome {
        let retry =
            |reason: &str| DeliveryOutcome::Retry { reason: reason.to_owned(), after: None };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &delivery.headers {
            let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            else {
                return retry("a header of the message is not valid HTTP");
            };
            headers.insert(name, value);
        }
        let request = self.client.post(&delivery.url).headers(headers).body(delivery.body.clone());
        match request.send().await {
            Ok(answer) => {
                let now = self.clock.now();
                let status = answer.status();
                let after = retry_after(answer.headers(), now);
                if status.is_success() {
                    return DeliveryOutcome::Accepted;
                }
                // Nice to have, so it may take little time.
                let body = timeout(EXPLANATION_TIME, read(answer)).await.unwrap_or_default();
                outcome(status, after, &explanation(&body, &delivery.url))
            }
            // The error's own text is not used: it can contain the URL, and that can be a secret.
            Err(error) => retry(fault(&error)),
        }
    }
}

fn fault(error: &reqwest::Error) -> &'static str {
    if error.is_builder() {
        "the URL is not one that a request can be sent to"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection (name, address, TLS)"
    } else {
        "the connection broke before the answer"
    }
}

/// What a status other than 2xx means. Only answers that concern this very message end it: 410 says the receiver
/// is gone for good, 413 and 422 that this body will never do. The other 4xx are usually a
/// receiver misconfigured for a while, and a message is worth more than a few requests.
fn outcome(status: StatusCode, after: Option<Duration>, explanation: &str) -> DeliveryOutcome {
    let reason = format!("answered {}{explanation}", status.as_u16());
    match status.as_u16() {
        300..=399 => DeliveryOutcome::Retry {
            reason: format!("{reason}: redirects are not followed"),
            after: None,
        },
        410 | 413 | 422 => DeliveryOutcome::Refused { reason },
        _ => DeliveryOutcome::Retry { reason, after },
    }
}

/// The beginning of the answer's body; whatever goes wrong here, the status has been said.
async fn read(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = ANSWER_MAX.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if body.len() >= ANSWER_MAX {
            break;
        }
    }
    body
}

/// A short plain word of the receiver, such as Slack's `invalid_payload`, as ` (word)`. Anything
/// else is left out: an answer can echo the request's path, and with it a secret.
fn explanation(body: &[u8], url: &str) -> String {
    let Ok(text) = std::str::from_utf8(body) else { return String::new() };
    let text = text.trim();
    let is_plain = text.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == ' ');
    if text.is_empty() || text.len() > EXPLANATION_MAX || !is_plain || url.contains(text) {
        return String::new();
    }
    let words = text.split([' ', '_']).filter(|word| word.len() > 3);
    // A word that also stands in the URL may be part of its secret.
    if words.clone().any(|word| url.contains(word)) {
        return String::new();
    }
    format!(" ({text})")
}

/// `Retry-After` as seconds or as a date, at most an hour.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        // A date that is past already: at once.
        Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
