//! Metrics pages over HTTP: one request, streamed, with a deadline.

use std::{error::Error as _, net::IpAddr, time::Duration};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use reqwest::{
    StatusCode,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};

use crate::ports::{MetricsPages, PageError, PageReader, ScrapeTarget};

/// Reads pages from the machines themselves, over the private network.
#[derive(Clone, Debug)]
pub struct HttpPages {
    client: reqwest::Client,
    /// For one page, from the first byte sent to the last received.
    deadline: Duration,
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
            // A metrics page elsewhere is not this machine's.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("waveoff/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| PageError(format!("no HTTP client: {error}")))?;
        Ok(Self { client, deadline })
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
        match cause {
            Some(cause) => PageError(format!("{url} {what}: {cause}")),
            None => PageError(format!("{url} {what}")),
        }
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
            Ok(())
        } else {
            Err(PageError(format!("{url} was cut off: {}", ending.missing())))
        }
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

fn url(target: &ScrapeTarget) -> String {
    let slash = if target.path.starts_with('/') { "" } else { "/" };
    match target.address {
        IpAddr::V4(ip) => format!("http://{ip}:{}{slash}{}", target.port, target.path),
        IpAddr::V6(ip) => format!("http://[{ip}]:{}{slash}{}", target.port, target.path),
    }
}

#[cfg(test)]
mod tests;
