//! Queries over HTTP: one request, bounded in time and size, and what a failure means for people.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    config::{FLY, Secret},
    ports::{MetricsServers, SampledSeries, ServerError, ServerQuery},
};

/// The largest answer that is read.
const ANSWER_MAX: usize = 32 << 20;
/// Longer queries are posted: some servers and proxies take no longer URLs.
const URL_MAX: usize = 2000;
/// Most characters of what a server says about an error.
const SAID_MAX: usize = 300;

/// Words by which servers warn of an answer that lacks something: what a store, a replica or a remote
/// server did not tell.
const PARTIAL: [&str; 17] = [
    "partial",
    "incomplete",
    "truncated",
    "storeapi",
    "rpc error",
    "receive series",
    "fetch series",
    "remote read",
    "remote_read",
    "unavailable",
    "unreachable",
    "unhealthy",
    "timeout",
    "timed out",
    "deadline exceeded",
    "connection refused",
    "failed to",
];

/// The platform's own server, and what it is shown.
#[derive(Clone, Debug)]
pub struct PlatformServer {
    /// What `/api/v1/query` is appended to.
    pub url: String,
    /// The whole value of the header.
    pub authorization: Secret,
}

/// Asks servers over HTTP.
#[derive(Clone, Debug)]
pub struct HttpServers {
    client: reqwest::Client,
    platform: PlatformServer,
}

impl HttpServers {
    /// Two seconds to connect, ten for everything.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(platform: PlatformServer) -> Result<Self, ServerError> {
        Self::with_deadline(platform, Duration::from_secs(10))
    }

    /// As [`HttpServers::new`], with another deadline.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn with_deadline(
        platform: PlatformServer,
        deadline: Duration,
    ) -> Result<Self, ServerError> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(2))
            .timeout(deadline)
            // A token goes where the configuration says, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ServerError::plain(format!("no HTTP client: {error}")))?;
        Ok(Self { client, platform })
    }

    async fn fetch(&self, query: ServerQuery<'_>) -> Result<Vec<u8>, ServerError> {
        let base = query.url.unwrap_or(&self.platform.url);
        let url = format!("{base}/api/v1/query");
        let mut form = encoded(query.query);
        if let Some(at) = query.at {
            form.push_str(&format!("&time={:.3}", at.as_duration().as_secs_f64()));
        }
        let mut request = if form.len() > URL_MAX {
            let form_type = "application/x-www-form-urlencoded";
            self.client.post(&url).header(CONTENT_TYPE, form_type).body(form)
        } else {
            self.client.get(format!("{url}?{form}"))
        };
        if let Some(authorization) = self.authorization(query)? {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.send().await.map_err(|error| ServerError {
            // One that does not answer in time may have been asked for too much.
            whole_server: error.is_connect() || !error.is_timeout(),
            ..unreachable(&url, &error)
        })?;
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut text = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(bytes) = body.next().await {
            text.extend_from_slice(&bytes.map_err(|error| unreachable(&url, &error))?);
            if text.len() > ANSWER_MAX {
                return Err(ServerError::plain(format!(
                    "{url} answers more than {} MiB: select fewer series, with conditions on labels",
                    ANSWER_MAX >> 20
                )));
            }
        }
        if status.is_success() {
            return Ok(text);
        }
        let token = query.token.unwrap_or(self.platform.authorization.expose());
        // Whoever put it there: a proxy may repeat what it was shown.
        let detail = hidden(&refusal(&url, query.server, status, &text), token);
        let query_refused =
            matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        let whole_server = matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        );
        Err(ServerError { detail, retry_after, query_refused, whole_server })
    }

    fn authorization(&self, query: ServerQuery<'_>) -> Result<Option<HeaderValue>, ServerError> {
        let text = match (query.token, query.url) {
            (Some(token), _) => with_scheme(token),
            // The platform's token goes to the platform alone.
            (None, None) => self.platform.authorization.expose().to_owned(),
            (None, Some(_)) => return Ok(None),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            ServerError::plain("its token holds letters that no header can carry".to_owned())
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[async_trait]
impl MetricsServers for HttpServers {
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError> {
        let text = self.fetch(query).await?;
        read(&text).map_err(|why| ServerError::plain(format!("its answer cannot be used: {why}")))
    }
}

/// A token with the scheme it travels by.
fn with_scheme(token: &str) -> String {
    if token.contains(' ') {
        token.to_owned()
    } else if ["fm1r_", "fm1a_", "fm2_"].iter().any(|begins| token.starts_with(begins)) {
        format!("FlyV1 {token}")
    } else {
        format!("Bearer {token}")
    }
}

/// `query=…`, percent-encoded.
fn encoded(query: &str) -> String {
    let mut text = "query=".to_owned();
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unreachable(url: &str, error: &reqwest::Error) -> ServerError {
    let what = match (error.is_timeout(), error.is_connect()) {
        (true, false) => return ServerError::plain(format!("{url} did not answer in time")),
        (_, true) => "cannot be reached",
        (false, false) => "cannot be read",
    };
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    ServerError::plain(format!("{url} {what}{cause}"))
}

/// What a refusal means, and what helps.
fn refusal(url: &str, server: &str, status: StatusCode, text: &[u8]) -> String {
    let said = serde_json::from_slice::<Reply<'_>>(text).ok().and_then(|reply| reply.error);
    let said: String = match said {
        Some(error) => error.chars().take(SAID_MAX).collect(),
        None => String::new(),
    };
    let number = status.as_u16();
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let helps = if server == FLY {
                "it wants a token of the organization, such as `fly tokens create org` makes; one of \
                 a single app, or of a deploy, does not do"
            } else {
                "set the variable that `token_env` names to a token that may read"
            };
            format!("{url} refuses the token ({number}): {helps}")
        }
        StatusCode::TOO_MANY_REQUESTS => {
            format!("{url} was asked too often ({number}): it is left alone for a while")
        }
        StatusCode::NOT_FOUND => {
            format!("{url} does not exist ({number}): look at the `url` of the metrics server")
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            format!("{url} does not take the query ({number}): {said}")
        }
        _ if said.is_empty() => format!("{url} answered {number}"),
        _ => format!("{url} answered {number}: {said}"),
    }
}

/// A text without the token, with or without its scheme.
fn hidden(text: &str, token: &str) -> String {
    let bare = token.rsplit(' ').next().unwrap_or(token);
    if bare.is_empty() { text.to_owned() } else { text.replace(bare, "***") }
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(default)]
    status: String,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    error: Option<String>,
    /// `VictoriaMetrics`: some of its storage did not answer.
    #[serde(rename = "isPartial", default)]
    is_partial: bool,
    /// What Prometheus, Thanos and Mimir remark: of what they could not read, and much that is harmless.
    #[serde(default)]
    warnings: serde_json::Value,
}

impl Reply<'_> {
    /// Why it holds a part of what there is alone, if it says so.
    fn lacks(&self) -> Option<String> {
        if self.is_partial {
            return Some("some of its storage did not answer (`isPartial`)".to_owned());
        }
        let warnings = self.warnings.as_array()?.iter().filter_map(|warning| warning.as_str());
        let lacking = warnings.into_iter().find(|warning| speaks_of_a_part(warning))?;
        Some(format!("it warns: {}", lacking.chars().take(SAID_MAX).collect::<String>()))
    }
}

/// Whether a warning says that something could not be read. Remarks on how a query is written are none.
fn speaks_of_a_part(warning: &str) -> bool {
    let warning = warning.to_lowercase();
    !warning.starts_with("promql ") && PARTIAL.iter().any(|word| warning.contains(word))
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    kind: String,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// Of a matrix.
    #[serde(default)]
    values: Vec<Sample>,
    /// Of a vector.
    value: Option<Sample>,
}

/// Seconds since 1970, and a number as text.
type Sample = (f64, String);

/// An answer's series.
fn read(text: &[u8]) -> Result<Vec<SampledSeries>, String> {
    let reply: Reply<'_> = serde_json::from_slice(text).map_err(|error| excerpt(text, &error))?;
    let lacks = reply.lacks();
    let data = reply.data.filter(|_| reply.status == "success");
    let data = data.ok_or_else(|| reply.error.unwrap_or_else(|| "it holds no data".to_owned()))?;
    if let Some(why) = lacks {
        // Errors without the successes beside them would seem all that there is.
        return Err(format!("it holds a part of what there is: {why}"));
    }
    let whole = || serde_json::from_str::<Vec<Series>>(data.result.get());
    let series = match data.kind.as_str() {
        "matrix" | "vector" => whole().map_err(|error| error.to_string())?,
        "scalar" => {
            let sample: Sample =
                serde_json::from_str(data.result.get()).map_err(|error| error.to_string())?;
            vec![Series { metric: BTreeMap::new(), values: Vec::new(), value: Some(sample) }]
        }
        other => return Err(format!("it is a {other}, and no series")),
    };
    series.into_iter().map(sampled).collect()
}

fn sampled(series: Series) -> Result<SampledSeries, String> {
    let samples = series.values.into_iter().chain(series.value);
    let samples = samples.map(|(at, value)| Ok((time(at)?, number(&value)?)));
    let mut samples: Vec<(Timestamp, f64)> = samples.collect::<Result<_, String>>()?;
    samples.sort_by_key(|(at, _)| *at);
    Ok(SampledSeries { labels: series.metric, samples })
}

#[expect(clippy::cast_possible_truncation, reason = "a time that does not fit is refused")]
fn time(seconds: f64) -> Result<Timestamp, String> {
    let wrong = || format!("{seconds} is no time");
    let milliseconds = (seconds * 1000.0).round();
    if !milliseconds.is_finite() || milliseconds.abs() > 1e15 {
        return Err(wrong());
    }
    Timestamp::from_millisecond(milliseconds as i64).map_err(|_| wrong())
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("{} is no number", text.chars().take(40).collect::<String>()))
}

/// The beginning of what is no JSON: a page of HTML is told by it.
fn excerpt(text: &[u8], error: &serde_json::Error) -> String {
    let begin = text.get(..80).unwrap_or(text);
    format!("{error}; it begins with {:?}", String::from_utf8_lossy(begin))
}

#[cfg(test)]
mod tests;
