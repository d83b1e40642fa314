//! One call to the platform over HTTP: its turn at the rate limit, its attempts, its deadline, and
//! an answer of bounded size.
//!
//! Whatever goes wrong becomes a [`Failure`] that names method and path and holds what the platform
//! said; tokens are taken out of every text before it leaves.

use std::{error::Error as _, time::Duration};

use jiff::SignedDuration;
use reqwest::{
    Client, Method, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::{
    clock::{Difference, Moment},
    errors::{self, Failure},
    limits::{Action, Limits},
    retry::{ASKED_MAX, Attempts, Repeat, Schedule},
    settings::{FlyError, Tokens},
};
use crate::ports::{Clock, PlatformError};

const NONCE: &str = "fly-machine-lease-nonce";
const REQUEST_ID: &str = "fly-request-id";
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Of a failure's body, as much as may be needed to find what it says.
const FAILURE_MAX: usize = 64 << 10;

/// Bounds that tests make smaller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuning {
    pub(super) schedule: Schedule,
    /// Bytes of one answer. A machine is a few kilobytes, an app at most some thousand machines.
    pub(super) answer_max: usize,
    /// Pages of one reading of the change feed, at up to 1000 machines each.
    pub(super) pages_max: usize,
    /// How many times faster than the platform allows calls are made; 1 in earnest.
    pub(super) speed: u32,
    /// One attempt at a call, at most; each call may have a shorter one.
    pub(super) attempt_max: Duration,
    /// Bytes of a blob that are sent to a registry in one request.
    pub(super) segment: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            schedule: Schedule::default(),
            answer_max: 32 << 20,
            pages_max: 100,
            speed: 1,
            attempt_max: Duration::from_secs(90),
            segment: 16 << 20,
        }
    }
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// One attempt, from the first byte sent to the last received.
    pub(super) attempt: Duration,
    /// Everything: waiting for a turn, and all attempts.
    pub(super) total: Duration,
}

impl Patience {
    pub(super) const fn seconds(attempt: u64, total: u64) -> Self {
        Self { attempt: Duration::from_secs(attempt), total: Duration::from_secs(total) }
    }
}

/// Says what is wrong with an answer of success.
pub(super) type Check = fn(&Answer) -> Result<(), Failure>;

/// One call. Has no `Debug`: it holds a nonce.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) action: Action,
    /// What the platform counts the action by.
    pub(super) id: String,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) accept: &'static str,
    pub(super) nonce: Option<String>,
    pub(super) body: Option<String>,
    /// Headers that only few calls have; `content-type` is that of JSON otherwise.
    pub(super) extra: Vec<(&'static str, String)>,
    /// Whether the body of a successful answer is left to be read piece by piece.
    pub(super) streams: bool,
    pub(super) repeat: Repeat,
    pub(super) patience: Patience,
    /// Statuses that are answers to this call though they are no success.
    pub(super) answers: &'static [u16],
    /// Looks for failures that hide in a successful answer.
    pub(super) check: Option<Check>,
}

impl Call {
    /// A reading that may be repeated.
    pub(super) fn get(action: Action, id: &str, url: Url) -> Self {
        Self {
            action,
            id: id.to_owned(),
            method: Method::GET,
            url,
            authorization: None,
            accept: "application/json",
            nonce: None,
            body: None,
            extra: Vec::new(),
            streams: false,
            repeat: Repeat::Always,
            patience: Patience::seconds(10, 25),
            answers: &[],
            check: None,
        }
    }

    /// Method and path, as errors name the call. Queries are left out: they are long.
    fn place(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }
}

/// An answer that was read whole. Has no `Debug`: it can hold a nonce, or what is in a
/// configuration.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// What is still to be read, of a call that streams.
    pub(super) rest: Option<Response>,
    place: String,
}

impl Answer {
    /// Whether the status is one of success.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// See [`Caller::decode`].
    fn json<T: DeserializeOwned>(&self) -> Result<T, PlatformError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let start = self.body.trim_ascii_start();
            // Broken JSON is not shown: it can be a machine's configuration, and hold secrets.
            let shown = match start.first() {
                None => ", the body is empty".to_owned(),
                Some(b'{' | b'[') => String::new(),
                Some(_) => {
                    let start = start.get(..400).unwrap_or(start);
                    let start = errors::excerpt(&String::from_utf8_lossy(start), 80);
                    format!(", the body begins with: {start}")
                }
            };
            self.unreadable(&format!("not the JSON that was expected ({error}){shown}"))
        })
    }

    /// The error for an answer that makes no sense.
    pub(super) fn unreadable(&self, what: &str) -> PlatformError {
        let mut text = format!("{} answered {}, {what}", self.place, self.status);
        if let Some(request) = request_id(&self.headers) {
            text.push_str(&format!(" (request {request})"));
        }
        PlatformError::Unreadable(text)
    }

    /// The failure that the status stands for.
    pub(super) fn failure(&self) -> Failure {
        let text = errors::text_of(&self.body);
        let request = request_id(&self.headers);
        errors::of_status(&self.place, self.status, &text, request.as_deref())
    }

    /// The first value of a header, as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    Some(errors::excerpt(text, 80)).filter(|text| !text.is_empty())
}

/// Makes calls.
pub(super) struct Caller {
    client: Client,
    limits: Limits,
    tokens: Tokens,
    clock: Clock,
    difference: Difference,
    tuning: Tuning,
}

impl Caller {
    pub(super) fn new(tokens: Tokens, tuning: Tuning) -> Result<Self, FlyError> {
        let client = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
            // The platform may set an affinity cookie, and reading one's own writes may depend on
            // it.
            .cookie_store(true)
            // A token goes where it was configured to go, or nowhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Shorter than servers keep idle connections: one that ends just as a call leaves on it
            // makes that call's fate unknown.
            .pool_idle_timeout(Duration::from_secs(15))
            .build()
            .map_err(|error| FlyError(format!("the HTTP client cannot be set up: {error}")))?;
        let clock = Clock::system();
        let (limits, difference) = (Limits::new(tuning.speed), Difference::default());
        Ok(Self { client, limits, tokens, clock, difference, tuning })
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(super) fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// How long to wait before something is tried for the `nth` time again.
    pub(super) fn pause(&self, nth: u32) -> Duration {
        let Schedule { first, longest, .. } = self.tuning.schedule;
        first.saturating_mul(2_u32.saturating_pow(nth)).min(longest)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn moment(&self) -> Moment {
        Moment { host: self.clock.host_now(), tokio: Instant::now() }
    }

    /// How far the platform is ahead of the host; `None`: not known.
    pub(super) fn clock_offset(&self) -> Option<SignedDuration> {
        self.difference.now(&self.moment())
    }

    /// Learns the platform's time from an answer. Registries are other people's, with clocks of
    /// their own, and errors can come from anywhere on the way.
    fn learn_time(&self, call: &Call, answer: &HeaderMap, sent: &Moment) {
        if matches!(call.action, Action::Manifest | Action::Blob) {
            return;
        }
        let date = answer.get(DATE).and_then(|value| value.to_str().ok());
        let date = date.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        let Some(date) = date else { return };
        self.difference.note(date.timestamp(), sent, &self.moment());
        if let Some(offset) = self.clock_offset() {
            let _corrected = self.clock.platform_is_ahead(offset);
        }
    }

    /// Makes the call, again if need be, until it is answered or its time is over.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let deadline = Instant::now() + call.patience.total;
        let mut attempts = Attempts::new(self.tuning.schedule, deadline);
        let mut maybe_done = false;
        loop {
            let mut failure = match self.attempt(call, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let repeatable = match call.repeat {
                Repeat::Always => true,
                Repeat::IfUndone => !failure.maybe_done,
            };
            maybe_done |= failure.maybe_done;
            failure.maybe_done = maybe_done;
            failure.error = self.scrub(failure.error);
            let transient = matches!(failure.error, PlatformError::Unavailable(_));
            if !(transient && repeatable && attempts.again(failure.asked).await) {
                return Err(failure);
            }
            debug!("trying again: {}", failure.error);
        }
    }

    async fn attempt(&self, call: &Call, deadline: Instant) -> Result<Answer, Failure> {
        self.limits.turn(call.action, &call.id, deadline).await.map_err(|wait| {
            let text = format!(
                "{}: not sent, the rate limit allows it in {} s only",
                call.place(),
                wait.as_secs() + 1
            );
            let failure = Failure::undone(PlatformError::Unavailable(text));
            Failure { asked: Some(wait), ..failure }
        })?;
        let end = Instant::now() + call.patience.attempt.min(self.tuning.attempt_max);
        let answer = match timeout_at(end.min(deadline), self.exchange(call, None)).await {
            Ok(answer) => answer?,
            Err(_) => {
                let text = format!("{}: no whole answer in time", call.place());
                return Err(Failure::unknown(PlatformError::Unavailable(text)));
            }
        };
        self.judge(call, answer)
    }

    /// Sends a body that exists only once: nothing is repeated, and no turn is waited for.
    pub(super) async fn send(&self, call: &Call, body: reqwest::Body) -> Result<Answer, Failure> {
        let answer = match timeout(call.patience.attempt, self.exchange(call, Some(body))).await {
            Ok(answer) => answer.and_then(|answer| self.judge(call, answer)),
            Err(_) => {
                let text = format!("{}: no answer in time", call.place());
                Err(Failure::unknown(PlatformError::Unavailable(text)))
            }
        };
        answer.map_err(|failure| Failure { error: self.scrub(failure.error), ..failure })
    }

    /// What the call wanted to know, or the failure that its status stands for.
    fn judge(&self, call: &Call, answer: Answer) -> Result<Answer, Failure> {
        if answer.is_success() || call.answers.contains(&answer.status) {
            if let Some(check) = call.check {
                check(&answer)?;
            }
            return Ok(answer);
        }
        let mut failure = answer.failure();
        failure.asked = self.retry_after(&answer.headers);
        if answer.status == 429 {
            let pause = failure.asked.unwrap_or(Duration::from_secs(1));
            self.limits.pause(call.action, &call.id, pause);
        }
        Err(failure)
    }

    async fn exchange(
        &self,
        call: &Call,
        stream: Option<reqwest::Body>,
    ) -> Result<Answer, Failure> {
        let mut request = self.client.request(call.method.clone(), call.url.clone());
        request = request.header(ACCEPT, call.accept);
        if let Some(authorization) = &call.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(nonce) = &call.nonce {
            request = request.header(NONCE, nonce);
        }
        for (name, value) in &call.extra {
            request = request.header(*name, value);
        }
        if let Some(stream) = stream {
            request = request.body(stream);
        } else if let Some(body) = &call.body {
            if !call.extra.iter().any(|(name, _)| *name == CONTENT_TYPE) {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            request = request.body(body.clone());
        }
        let sent = self.moment();
        let response = request.send().await.map_err(|error| broken(call, &error))?;
        if response.status().is_success() {
            self.learn_time(call, response.headers(), &sent);
        }
        let status = response.status();
        let headers = response.headers().clone();
        if call.streams && status.is_success() {
            let (status, body, rest) = (status.as_u16(), Vec::new(), Some(response));
            return Ok(Answer { status, headers, body, rest, place: call.place() });
        }
        let most = self.tuning.answer_max;
        let most = if status.is_success() { most } else { most.min(FAILURE_MAX) };
        let body = match read(response, most).await.map_err(|error| broken(call, &error))? {
            (body, false) => body,
            // What the status says is said; the rest of a failure's explanation is left.
            (body, true) if !status.is_success() => body,
            (_, true) => {
                let text = format!("{} answered more than {most} bytes", call.place());
                return Err(Failure::unknown(PlatformError::Unreadable(text)));
            }
        };
        Ok(Answer { status: status.as_u16(), headers, body, rest: None, place: call.place() })
    }

    /// `Retry-After` as seconds or as a date, within bounds.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = match text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
            Err(_) => {
                let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
                Duration::try_from(date.duration_since(self.clock.now())).unwrap_or_default()
            }
        };
        Some(wait.min(ASKED_MAX))
    }

    /// An answer's body as JSON of a known shape.
    pub(super) fn decode<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, PlatformError> {
        answer.json().map_err(|error| self.scrub(error))
    }

    /// The error without our tokens, should the platform have repeated them.
    pub(super) fn scrub(&self, error: PlatformError) -> PlatformError {
        let scrub = |text: String| self.tokens.scrub(&text);
        match error {
            PlatformError::LeaseHeld { owner, expires_at } => {
                PlatformError::LeaseHeld { owner: scrub(owner), expires_at }
            }
            PlatformError::Conflict(text) => PlatformError::Conflict(scrub(text)),
            PlatformError::NotFound(text) => PlatformError::NotFound(scrub(text)),
            PlatformError::Denied(text) => PlatformError::Denied(scrub(text)),
            PlatformError::Refused(text) => PlatformError::Refused(scrub(text)),
            PlatformError::Unavailable(text) => PlatformError::Unavailable(scrub(text)),
            PlatformError::Unreadable(text) => PlatformError::Unreadable(scrub(text)),
        }
    }
}

/// The body, at most `most` bytes of it, and whether there was more.
async fn read(mut response: Response, most: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most.saturating_sub(body.len());
        if chunk.len() > room {
            body.extend(chunk.iter().take(room));
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

/// The failure of a connection.
fn broken(call: &Call, error: &reqwest::Error) -> Failure {
    let what = if error.is_connect() {
        "no connection"
    } else {
        "the connection broke before the whole answer was there"
    };
    // The cause says what happened (refused, reset, a name not found); the error itself would
    // repeat the URL.
    let mut cause = error.source();
    while let Some(next) = cause.and_then(std::error::Error::source) {
        cause = Some(next);
    }
    let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    let error_text = format!("{}: {what}{cause}", call.place());
    if error.is_builder() {
        Failure::undone(PlatformError::Refused(format!("{}: not a request", call.place())))
    } else if error.is_connect() {
        Failure::undone(PlatformError::Unavailable(error_text))
    } else {
        Failure::unknown(PlatformError::Unavailable(error_text))
    }
}
