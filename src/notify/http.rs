//! Sends one webhook request over HTTP, with bounds on everything a receiver can do.

use std::{error::Error as _, io, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{
    Client, Method, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;

use crate::ports::{Answered, Clock, Delivery, DeliveryOutcome, Notifier, Verb};

const CONNECT_MAX: Duration = Duration::from_secs(3);
const TOTAL_MAX: Duration = Duration::from_secs(10);
/// How much of an answer is read: of one that explains a refusal, and of one that says something.
const ANSWER_MAX: usize = 4 * 1024;
const SAID_MAX: usize = 64 * 1024;
/// Longest wait a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// How long the explanation in an answer's body is waited for.
const EXPLANATION_TIME: Duration = Duration::from_secs(1);
/// The words with which Slack explains a refusal.
const EXPLANATIONS: [&str; 16] = [
    "action_prohibited",
    "channel_is_archived",
    "channel_not_found",
    "invalid_attachments",
    "invalid_blocks",
    "invalid_payload",
    "invalid_token",
    "no_active_hooks",
    "no_service",
    "no_service_id",
    "no_team",
    "no_text",
    "posting_to_general_channel_denied",
    "team_disabled",
    "too_many_attachments",
    "user_not_found",
];

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
    async fn beat(&self, url: &str) -> Result<(), String> {
        match self.client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status().as_u16())),
            Err(error) => Err(fault(&error).to_owned()),
        }
    }

    async fn ask(&self, verb: Verb, request: &Delivery) -> Result<Answered, String> {
        let method = match verb {
            Verb::Get => Method::GET,
            Verb::Post => Method::POST,
            Verb::Patch => Method::PATCH,
        };
        let headers = headers(request)?;
        let asked = self.client.request(method, &request.url).headers(headers);
        let asked = asked.body(request.body.clone());
        // The error's own text is not used: it can contain the URL, and that can be a secret.
        let answer = asked.send().await.map_err(|error| fault(&error).to_owned())?;
        let status = answer.status().as_u16();
        let after = retry_after(answer.headers(), self.clock.now());
        let body = read(answer, SAID_MAX).await;
        Ok(Answered { status, body: String::from_utf8_lossy(&body).into_owned(), after })
    }

    async fn send(&self, delivery: &Delivery) -> DeliveryOutcome {
        let retry =
            |reason: &str| DeliveryOutcome::Retry { reason: reason.to_owned(), after: None };
        let headers = match headers(delivery) {
            Ok(headers) => headers,
            Err(reason) => return retry(&reason),
        };
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
                let body =
                    timeout(EXPLANATION_TIME, read(answer, ANSWER_MAX)).await.unwrap_or_default();
                outcome(status.as_u16(), after, &explanation(&body))
            }
            // The error's own text is not used: it can contain the URL, and that can be a secret.
            Err(error) => retry(fault(&error)),
        }
    }
}

fn headers(request: &Delivery) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in &request.headers {
        let (Ok(name), Ok(value)) =
            (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
        else {
            return Err("a header of the message is not valid HTTP".to_owned());
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

fn fault(error: &reqwest::Error) -> &'static str {
    if error.is_builder() {
        "the URL is not one that a request can be sent to"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        connect_fault(error)
    } else {
        "the connection broke before the answer"
    }
}

fn connect_fault(error: &reqwest::Error) -> &'static str {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return "no connection: it was refused, nobody listens there";
        }
        cause = inner.source();
    }
    "no connection (name, address, TLS)"
}

/// What a status other than 2xx means. 410 says that the receiver is gone for good; 400, 413, 415
/// and 422 that this body does not do, which must not hold up the messages behind it. The other
/// 4xx are usually a receiver misconfigured for a while, and a message is worth more than a few
/// requests.
pub(super) fn outcome(status: u16, after: Option<Duration>, explanation: &str) -> DeliveryOutcome {
    let reason = format!("answered {status}{explanation}");
    match status {
        300..=399 => DeliveryOutcome::Retry {
            reason: format!("{reason}: redirects are not followed"),
            after: None,
        },
        410 => DeliveryOutcome::Refused { reason },
        400 | 413 | 415 | 422 => DeliveryOutcome::Unfit { reason },
        _ => DeliveryOutcome::Retry { reason, after },
    }
}

/// The beginning of the answer's body; whatever goes wrong here, the status has been said.
async fn read(mut answer: Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = most.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if body.len() >= most {
            break;
        }
    }
    body
}

/// Slack's word for what is wrong, as ` (word)`. Any other body is left out: an answer can echo the
/// request's path, and with it a secret.
fn explanation(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or_default().trim();
    match EXPLANATIONS.iter().find(|known| **known == text) {
        Some(word) => format!(" ({word})"),
        None => String::new(),
    }
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
