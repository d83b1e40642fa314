//! Probes over HTTP and HTTPS: one request on a connection of its own.

use std::{
    collections::BTreeMap,
    error::Error as _,
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use reqwest::{Client, Method};

use crate::{
    model::{ProbeMethod, ProbeRequest},
    ports::{ProbeTarget, Probed, Probes},
};

/// So much of an answer is looked at.
const BODY_MAX: usize = 64 << 10;
/// Clients kept, one per timeout.
const CLIENTS_MAX: usize = 32;

/// Makes requests over the private network.
#[derive(Debug, Default)]
pub struct HttpProbes {
    /// By their timeout: how long a connection may take is a client's.
    clients: Mutex<BTreeMap<Duration, Client>>,
}

impl HttpProbes {
    fn client(&self, timeout: Duration) -> Result<Client, reqwest::Error> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&timeout) {
            return Ok(client.clone());
        }
        let client = Client::builder()
            // Shorter than the whole, so that who cannot be reached is told from who hangs.
            .connect_timeout(timeout.mul_f64(0.8))
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // Each request is to be taken by the process that listens now.
            .pool_max_idle_per_host(0)
            .danger_accept_invalid_certs(true)
            .user_agent(concat!("waveoff-probe/", env!("CARGO_PKG_VERSION")))
            .build()?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(timeout, client.clone());
        Ok(client)
    }
}

#[async_trait]
impl Probes for HttpProbes {
    async fn probe(&self, target: &ProbeTarget, request: &ProbeRequest) -> Probed {
        let url = url(target, request);
        let client = match self.client(request.timeout) {
            Ok(client) => client,
            Err(error) => return Probed::Unreachable(format!("no HTTP client: {error}")),
        };
        let method = match request.method {
            ProbeMethod::Get => Method::GET,
            ProbeMethod::Head => Method::HEAD,
        };
        let response = match client.request(method, &url).send().await {
            Ok(response) => response,
            Err(error) => return failure(&url, &error),
        };
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let mut pieces = response.bytes_stream();
        let has_text =
            |body: &[u8]| request.body.as_ref().is_none_or(|text| contains(body, text.as_bytes()));
        while body.len() < BODY_MAX {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    let left = BODY_MAX - body.len();
                    body.extend_from_slice(piece.get(..left).unwrap_or(&piece));
                }
                Some(Err(error)) => return failure(&url, &error),
                None => break,
            }
        }
        Probed::Answered { status, has_text: has_text(&body) }
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

fn url(target: &ProbeTarget, request: &ProbeRequest) -> String {
    let scheme = if request.https { "https" } else { "http" };
    let (port, path) = (target.port, &request.path);
    match target.address {
        IpAddr::V4(ip) => format!("{scheme}://{ip}:{port}{path}"),
        IpAddr::V6(ip) => format!("{scheme}://[{ip}]:{port}{path}"),
    }
}

fn failure(url: &str, error: &reqwest::Error) -> Probed {
    let mut cause = error.source();
    let mut system = None;
    let mut last = String::new();
    while let Some(deeper) = cause {
        let io = deeper.downcast_ref::<io::Error>();
        system = system.or(io.filter(|io| io.raw_os_error().is_some()).map(io::Error::kind));
        last = format!(": {deeper}");
        cause = deeper.source();
    }
    match (error.is_connect(), error.is_timeout(), system) {
        (_, _, Some(io::ErrorKind::ConnectionRefused)) => Probed::Refused,
        (_, _, Some(io::ErrorKind::ConnectionReset)) => Probed::Broken,
        // A handshake that goes wrong is no error of the system's: the machine was reached.
        (true, false, None) if url.starts_with("https:") => Probed::Broken,
        (true, ..) => Probed::Unreachable(format!("{url} cannot be reached{last}")),
        (false, true, _) => Probed::TimedOut,
        (false, false, _) => Probed::Broken,
    }
}

#[cfg(test)]
mod tests;
