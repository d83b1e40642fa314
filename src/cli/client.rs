//! Asks the API of a running daemon, bounded in time and size.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, IF_MATCH},
};

use crate::web::{READ_VARIABLE, TOKEN_VARIABLE, view::ErrorView};

/// What to do about an address that is another's.
const ELSEWHERE: &str = "Give the daemon's address with --url or WAVEOFF_URL.";
/// How long the daemon may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// More than any status page; an answer beyond it comes from something else.
const MAX_BODY: usize = 32 << 20;

/// The daemon understood an order, and something stands against it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Refused {
    pub(super) text: String,
    /// The whole answer.
    pub(super) body: String,
}

/// What was asked for is wrong in itself: an argument, or a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Wrong(String);

/// The daemon wants another token, or one at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotLetIn(String);

/// The body that `{url}{path}` answers with. With it goes the token for reading, or else the
/// operator's, if the environment has one.
///
/// # Errors
/// When the daemon cannot be reached, refuses, or answers with something endless; the text says
/// which address was tried and how to give another.
pub(super) async fn get(url: &str, path: &str) -> anyhow::Result<String> {
    let token = token_for_reading(|name| std::env::var(name).ok());
    let sent = token.as_ref().map(|(name, _)| *name);
    let answer = ask(url, path, |client, address| reading(client, address, token)).await;
    answer.map_err(|error| match error.downcast::<NotLetIn>() {
        Ok(_) => NotLetIn(not_let_in(url, sent)).into(),
        Err(error) => error,
    })
}

/// The token for reading that the environment has, and the variable that holds it.
fn token_for_reading(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let set = |name| variable(name).map(|token| (name, token.trim().to_owned()));
    let mut tokens = [READ_VARIABLE, TOKEN_VARIABLE].into_iter().filter_map(set);
    tokens.find(|(_, token)| !token.is_empty())
}

/// What to do about a daemon that lets nobody read without a token: the daemon itself answers in
/// the words of HTTP, which nobody types here.
fn not_let_in(url: &str, sent: Option<&str>) -> String {
    let export = format!("`export {READ_VARIABLE}=…`, with the value that the daemon has");
    match sent {
        None => format!("the daemon at {url} is read with a token: {export}"),
        Some(name) => {
            format!("the daemon at {url} does not know the token in {name}: {export}")
        }
    }
}

/// A request that reads, with the token for it if there is one.
fn reading(client: &Client, address: &str, token: Option<(&str, String)>) -> RequestBuilder {
    let request = client.get(address);
    match token {
        Some((_, token)) => request.bearer_auth(token),
        None => request,
    }
}

/// Signs that something changed, as a daemon sends them for as long as both live.
pub(super) struct Signs {
    response: Response,
    /// How the line that is being read begins.
    line: Vec<u8>,
    /// Whether a line before it, of the same event, was data.
    has_data: bool,
}

/// Of a line of the stream: enough to tell what it is.
const LINE_KEPT: usize = 8;

impl Signs {
    /// Begins to listen at `{url}{path}`; a daemon that says nothing for `silence`, not even that it
    /// lives, is gone.
    ///
    /// # Errors
    /// When there is no such stream, or no daemon.
    pub(super) async fn open(url: &str, path: &str, silence: Duration) -> anyhow::Result<Self> {
        let address = format!("{}{path}", url.trim_end_matches('/'));
        let client = Client::builder()
            .connect_timeout(DEADLINE)
            .read_timeout(silence)
            .no_proxy()
            .build()
            .context("cannot prepare a request")?;
        let token = token_for_reading(|name| std::env::var(name).ok());
        let response = reading(&client, &address, token).send().await?.error_for_status()?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            bail!("{address} answers with no stream of events");
        }
        Ok(Self { response, line: Vec::new(), has_data: false })
    }

    /// Waits for the next event, whatever it says. May be given up and waited for again.
    ///
    /// # Errors
    /// When the stream is over.
    pub(super) async fn next(&mut self) -> anyhow::Result<()> {
        loop {
            let Some(bytes) = self.response.chunk().await? else { bail!("the stream ended") };
            // What comes in one piece is one sign.
            let mut is_whole = false;
            for byte in &bytes {
                is_whole |= self.takes(*byte);
            }
            if is_whole {
                return Ok(());
            }
        }
    }

    /// Takes in a byte; whether an event with data is whole with it.
    fn takes(&mut self, byte: u8) -> bool {
        match byte {
            b'\r' => false,
            b'\n' if self.line.is_empty() => std::mem::take(&mut self.has_data),
            b'\n' => {
                self.has_data |= self.line.starts_with(b"data:");
                self.line.clear();
                false
            }
            byte => {
                if self.line.len() < LINE_KEPT {
                    self.line.push(byte);
                }
                false
            }
        }
    }
}

/// Gives an order with the operator's token, and answers with the body.
///
/// # Errors
/// As [`get`].
pub(super) async fn order(
    url: &str,
    method: Method,
    path: &str,
    token: &str,
    body: String,
) -> anyhow::Result<String> {
    ask(url, path, |client, address| {
        let request = client.request(method, address).bearer_auth(token);
        request.header(CONTENT_TYPE, "application/json").body(body)
    })
    .await
}

/// Replaces something with the operator's token, unless it is not `instead_of` any more.
///
/// # Errors
/// As [`get`].
pub(super) async fn replace(
    url: &str,
    path: &str,
    token: &str,
    instead_of: &str,
    body: String,
) -> anyhow::Result<String> {
    ask(url, path, |client, address| {
        let request = client.put(address).bearer_auth(token);
        let request = request.header(IF_MATCH, format!("\"{instead_of}\""));
        request.header(CONTENT_TYPE, "application/json").body(body)
    })
    .await
}

async fn ask(
    url: &str,
    path: &str,
    request: impl FnOnce(&Client, &str) -> RequestBuilder,
) -> anyhow::Result<String> {
    let address = format!("{}{path}", url.trim_end_matches('/'));
    // The daemon is a neighbour on a private network: no proxy is on the way to it.
    let client = Client::builder()
        .timeout(DEADLINE)
        .no_proxy()
        .build()
        .context("cannot prepare a request")?;
    let mut response = request(&client, &address)
        .send()
        .await
        .map_err(|error| unreachable_at(&address, &error))?;
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| unreachable_at(&address, &error))?
    {
        if body.len().saturating_add(chunk.len()) > MAX_BODY {
            bail!("{address} answers without end; this is not a waveoff daemon\n{ELSEWHERE}");
        }
        body.extend_from_slice(&chunk);
    }
    let status = response.status();
    let body = String::from_utf8(body).map_err(|_| {
        anyhow::anyhow!("{address} answers with something that is not text\n{ELSEWHERE}")
    })?;
    if !status.is_success() {
        match serde_json::from_str::<ErrorView>(&body) {
            Ok(refusal) => return Err(refused(status, &refusal, body)),
            Err(_) => bail!("{address} answers {status}; is it a waveoff daemon?\n{ELSEWHERE}"),
        }
    }
    Ok(body)
}

/// An answer that is none, as the kind of error that decides the exit code.
fn refused(status: StatusCode, refusal: &ErrorView, body: String) -> anyhow::Error {
    // Of a configuration each problem has a line.
    let text = super::text::clean_lines(&refusal.error);
    match status {
        StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Refused { text, body }.into(),
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Wrong(text).into(),
        StatusCode::UNAUTHORIZED => NotLetIn(text).into(),
        _ => anyhow::Error::msg(text),
    }
}

/// Reads an answer as what it should be.
pub(super) fn parse<T: serde::de::DeserializeOwned>(url: &str, body: &str) -> anyhow::Result<T> {
    serde_json::from_str(body).with_context(|| {
        format!(
            "{url} answers with something this version of waveoff ({}) cannot read: take the version that \
             the daemon has, which {url}/api/v1/status says, or --json",
            env!("CARGO_PKG_VERSION")
        )
    })
}

fn unreachable_at(address: &str, error: &reqwest::Error) -> anyhow::Error {
    if !(address.starts_with("http://") || address.starts_with("https://")) {
        return anyhow::anyhow!("`{address}` is no address of a daemon: write http://{address}");
    }
    let mut reason = if error.is_timeout() {
        format!("no answer within {} s", DEADLINE.as_secs())
    } else {
        innermost(error)
    };
    reason = super::text::clean(&reason);
    anyhow::anyhow!(
        "cannot reach the daemon at {address}: {reason}\n\
         Is it running? Give its address with --url or WAVEOFF_URL, such as \
         http://<your-waveoff-app>.internal:8080 on Fly's private network, \
         or http://localhost:8080 behind `fly proxy 8080`."
    )
}

/// The cause at the bottom of the chain, which is the one that says something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::StatusCode, response::IntoResponse as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::code_of;

    /// The error of a daemon that answers everything with a status.
    async fn answered(status: StatusCode) -> anyhow::Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = move || async move { (status, r#"{"error":"no, because"}"#).into_response() };
        tokio::spawn(async move {
            axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
        });
        let body = "{}".to_owned();
        order(&url, Method::POST, "/api/v1/hold", "a-token", body).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_is_wrong_and_what_is_refused_end_with_codes_of_their_own() {
        for (status, code) in [
            (StatusCode::BAD_REQUEST, 2),
            (StatusCode::UNPROCESSABLE_ENTITY, 2),
            (StatusCode::CONFLICT, 4),
            (StatusCode::PRECONDITION_FAILED, 4),
            (StatusCode::UNAUTHORIZED, 1),
            (StatusCode::NOT_FOUND, 1),
            (StatusCode::SERVICE_UNAVAILABLE, 1),
        ] {
            let error = answered(status).await;
            assert_eq!((code_of(&error), error.to_string().as_str()), (code, "no, because"));
        }
    }

    #[test]
    fn who_may_not_read_is_told_which_variable_to_set_and_nothing_of_headers() {
        let url = "http://localhost:8080";
        let has = |names: &'static [&str]| {
            move |name: &str| names.contains(&name).then(|| format!(" {name} "))
        };
        assert_eq!(token_for_reading(has(&[])), None);
        assert_eq!(
            token_for_reading(has(&[TOKEN_VARIABLE])),
            Some((TOKEN_VARIABLE, TOKEN_VARIABLE.to_owned()))
        );
        assert_eq!(
            token_for_reading(has(&[TOKEN_VARIABLE, READ_VARIABLE])).unwrap().0,
            READ_VARIABLE
        );
        assert_eq!(
            not_let_in(url, None),
            "the daemon at http://localhost:8080 is read with a token: \
             `export WAVEOFF_READ_TOKEN=…`, with the value that the daemon has"
        );
        assert!(
            not_let_in(url, Some(TOKEN_VARIABLE)).contains("the token in WAVEOFF_OPERATOR_TOKEN")
        );
    }
}
