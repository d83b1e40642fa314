//! Metrics pages over HTTP: one request, streamed, with a deadline.

use std::{
    collections::BTreeSet,
    error::Error as _,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use reqwest::{
    StatusCode, Url,
    header::{
        ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION,
        TRANSFER_ENCODING,
    },
    redirect::{Action, Attempt},
};

use crate::ports::{MetricsPages, PageError, PageReader, ScrapeTarget};

/// Reads pages from the machines themselves, over the private network.
#[derive(Clone, Debug)]
pub struct HttpPages {
    client: reqwest::Client,
    /// For one page, from the first byte sent to the last received.
    deadline: Duration,
    /// Pages that were read once.
    answered: Arc<Mutex<BTreeSet<String>>>,
}

impl HttpPages {
    /// Two seconds to connect, five for everything.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new() -> Result<Self, PageError> {
        Self::with_deadlines(Duration::from_secs(2), Duration::from_secs(5))
    }

    /// As [`HttpPages::new`], with other deadlines.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn with_deadlines(connect: Duration, deadline: Duration) -> Result<Self, PageError> {
        let client = reqwest::Client::builder()
            .connect_timeout(connect)
            .timeout(deadline)
            .redirect(reqwest::redirect::Policy::custom(onward))
            .referer(false)
            // It could name no address of the private network.
            .danger_accept_invalid_certs(true)
            .no_proxy()
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| PageError(format!("no HTTP client: {error}")))?;
        Ok(Self { client, deadline, answered: Arc::default() })
    }

    fn failure(&self, url: &str, error: &reqwest::Error) -> PageError {
        if error.is_timeout() && !error.is_connect() {
            return PageError(format!("{url} did not finish within {:?}", self.deadline));
        }
        let what = if error.is_connect() { "cannot be reached" } else { "cannot be read" };
        let mut cause = error.source();
        while let Some(deeper) = cause.and_then(std::error::Error::source) {
            cause = Some(deeper);
        }
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        // What was read once listens where it can be reached: its machine is being replaced.
        let is_known = self.answered().contains(url);
        let remedy = if is_refused(error) && !is_known { LISTENS_ELSEWHERE } else { "" };
        PageError(format!("{url} {what}{cause}{remedy}"))
    }

    fn answered(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_answered(&self, url: String) {
        let mut answered = self.answered();
        // Of machines that are gone nobody asks any more.
        if answered.len() >= ANSWERED_MAX {
            answered.clear();
        }
        answered.insert(url);
    }
}

#[async_trait]
impl MetricsPages for HttpPages {
    async fn read(
        &self,
        target: &ScrapeTarget,
        reader: &mut dyn PageReader,
    ) -> Result<(), PageError> {
        let url = url(target);
        let request = self
            .client
            .get(&url)
            .header(ACCEPT, "text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.5");
        let response = request.send().await.map_err(|error| self.failure(&url, &error))?;
        let status = response.status();
        if status.is_redirection()
            && let Some(place) = response.headers().get(LOCATION)
        {
            return Err(PageError(sent_on(&url, response.url(), place)));
        }
        if status != StatusCode::OK {
            return Err(PageError(format!("{url} answered {status}")));
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default().trim_start().to_lowercase();
        if content_type.starts_with("text/html") {
            return Err(PageError(format!("{url} is an HTML page (text/html), not metrics")));
        }
        if let Some(coding) = header(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            return Err(PageError(format!("{url} is compressed ({coding}), which was not asked")));
        }
        let ending = if content_type.starts_with("application/openmetrics-text") {
            Ending::Eof
        } else if header(CONTENT_LENGTH).or(header(TRANSFER_ENCODING)).is_none() {
            Ending::Line
        } else {
            Ending::Any
        };
        let mut tail = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| self.failure(&url, &error))?;
            reader.chunk(&bytes).map_err(|error| PageError(format!("{url}: {error}")))?;
            tail.extend_from_slice(bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or(&bytes));
            tail.drain(..tail.len().saturating_sub(TAIL));
        }
        if ending.is_seen(&tail) {
            self.note_answered(url);
            Ok(())
        } else {
            Err(PageError(format!("{url} was cut off: {}", ending.missing())))
        }
    }
}

/// Pages that are remembered to have been read.
const ANSWERED_MAX: usize = 20_000;
/// How often a page may send on to another place, as frameworks do from `/metrics` to `/metrics/`.
const REDIRECTS_MAX: usize = 3;
/// Most characters shown of where a page sends on to.
const PLACE_MAX: usize = 200;

/// A metrics page elsewhere is not this machine's.
fn onward(attempt: Attempt<'_>) -> Action {
    let visited = attempt.previous();
    let stays = visited.first().is_some_and(|first| is_beside(first, attempt.url()));
    if stays && visited.len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

/// Whether two URLs are of one machine and port.
fn is_beside(one: &Url, other: &Url) -> bool {
    let whose = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    one.scheme() == other.scheme() && whose(one) == whose(other)
}

/// Why it was not followed where the page sends on to.
fn sent_on(url: &str, from: &Url, place: &HeaderValue) -> String {
    let place = String::from_utf8_lossy(place.as_bytes());
    let place: String = place.chars().take(PLACE_MAX).collect();
    match from.join(&place) {
        Ok(to) if is_beside(from, &to) => format!("{url} sends on more than {REDIRECTS_MAX} times"),
        _ => format!("{url} sends on to {place}, which is not the same machine and port"),
    }
}

/// Bytes of the end of a page that are looked at.
const TAIL: usize = 16;

/// How the end of a page is told from a connection that broke: a number that was cut off would
/// look like a counter that began anew.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The format (`OpenMetrics`) says it itself.
    Eof,
    /// Nothing but the end of the connection does; then at least the last line must be whole.
    Line,
    /// HTTP knows the length.
    Any,
}

impl Ending {
    fn is_seen(self, tail: &[u8]) -> bool {
        match self {
            Self::Eof => tail.trim_ascii_end().ends_with(b"# EOF"),
            Self::Line => tail.is_empty() || tail.ends_with(b"\n"),
            Self::Any => true,
        }
    }

    fn missing(self) -> &'static str {
        match self {
            Self::Eof => "it is OpenMetrics and does not end with `# EOF`",
            Self::Line | Self::Any => "its last line has no end",
        }
    }
}

/// What a refused connection most likely means.
const LISTENS_ELSEWHERE: &str = "; nothing listens there: Fly's private network is IPv6, and an app \
    that listens on 0.0.0.0 only cannot be reached; bind fly-local-6pn or `::`";

/// Whether the other side said that nobody listens.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(deeper) = cause {
        if let Some(io) = deeper.downcast_ref::<std::io::Error>() {
            return io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = deeper.source();
    }
    false
}

fn url(target: &ScrapeTarget) -> String {
    let scheme = if target.https { "https" } else { "http" };
    let slash = if target.path.starts_with('/') { "" } else { "/" };
    match target.address {
        IpAddr::V4(ip) => format!("{scheme}://{ip}:{}{slash}{}", target.port, target.path),
        IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{}{slash}{}", target.port, target.path),
    }
}

#[cfg(test)]
mod tests;
