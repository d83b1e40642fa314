//! Machines on the network: one small server per port that a machine listens at, for its metrics page
//! and for requests.
//!
//! Each machine listens on a loopback address of its own, so that all can use the same port, as
//! they do on Fly. The set follows the fleet: servers open and close as machines come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;

use super::organization_json::MetricsSite;
use crate::sim::{
    handle::Sim,
    model::{answer::Said, page::PageKind},
};

/// How often the fleet is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Serves the metrics of every machine that has a page, until it is dropped.
///
/// An address that cannot be bound is tried again at the next look; the machine is unreachable
/// until then, and that is said once of a port: mostly another program has it, for all machines.
pub async fn serve(sim: Sim) {
    let mut open: BTreeMap<MetricsSite, Option<Server>> = BTreeMap::new();
    let mut told: BTreeSet<u16> = BTreeSet::new();
    loop {
        let mut shut: BTreeMap<u16, (usize, io::Error)> = BTreeMap::new();
        let wanted = sim.with(|org| org.metrics_sites());
        open.retain(|site, _| wanted.contains(site));
        for site in wanted {
            if open.get(&site).is_some_and(Option::is_some) {
                continue;
            }
            match TcpListener::bind(site.address).await {
                Ok(listener) => {
                    let server = Server::open(sim.clone(), site.clone(), listener);
                    open.insert(site, Some(server));
                }
                Err(error) => {
                    shut.entry(site.address.port()).or_insert((0, error)).0 += 1;
                    open.insert(site, None);
                }
            }
        }
        for (port, (machines, error)) in shut {
            if told.insert(port) {
                tracing::warn!(
                    "{machines} machines cannot be reached at port {port}: {error}; where another program \
                     has it, write another `service_port` or `metrics_port` into the fleet's file (0: a free one)"
                );
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Bytes of a page that is too large, and of one piece of it.
const HUGE: usize = 100 << 20;
const FILLER: usize = 64 << 10;

/// Bytes that arrive of a page that breaks off; every page has more.
const HALF: usize = 200;

/// How long a page that says nothing keeps its caller waiting.
const SILENCE: Duration = Duration::from_secs(120);

/// One machine's server; closing is dropping.
struct Server(tokio::task::JoinHandle<()>);

impl Server {
    fn open(sim: Sim, site: MetricsSite, listener: TcpListener) -> Self {
        Self(tokio::spawn(async move {
            let router = Router::new().fallback(page).with_state((sim, site));
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "a metrics server ended");
            }
        }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn page(State((sim, site)): State<(Sim, MetricsSite)>, request: Request) -> Response {
    let (port, path) = (site.address.port(), request.uri().path());
    let is_page = sim.with(|org| org.has_page_at(&site.app, &site.machine, port, path));
    if !is_page {
        return answer(&sim, &site, path).await;
    }
    let Some(text) = sim.with(|org| org.page(&site.app, &site.machine, path)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let plain = [("content-type", "text/plain; version=0.0.4")];
    match sim.with(|org| org.page_kind(&site.machine)) {
        PageKind::Normal => (plain, text).into_response(),
        PageKind::Huge => {
            let bulk = stream::iter(std::iter::repeat_n(filler(), HUGE / FILLER));
            let end = stream::iter([Bytes::from(text)]);
            let body = bulk.chain(end).map(Ok::<_, io::Error>);
            (plain, Body::from_stream(body)).into_response()
        }
        PageKind::Endless => {
            let body = stream::repeat(filler()).map(Ok::<_, io::Error>);
            (plain, Body::from_stream(body)).into_response()
        }
        PageKind::Html => {
            Html("<!doctype html><title>shop</title><h1>Welcome</h1>").into_response()
        }
        PageKind::Silent => {
            tokio::time::sleep(SILENCE).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        PageKind::Cut => {
            let mut half = text.into_bytes();
            half.truncate(HALF);
            let body = stream::iter([Ok(Bytes::from(half)), Err(io::Error::other("cut"))]);
            (plain, Body::from_stream(body)).into_response()
        }
    }
}

/// Any other request, as a user's or a probe's.
async fn answer(sim: &Sim, site: &MetricsSite, path: &str) -> Response {
    let port = site.address.port();
    match sim.with(|org| org.say(&site.app, &site.machine, port, path)) {
        Said::Answer { status, body, after } => {
            tokio::time::sleep(after).await;
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            (status, body).into_response()
        }
        Said::Nowhere | Said::Refused | Said::Nothing => {
            tokio::time::sleep(SILENCE).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}

/// Lines of a series that nobody asks for.
fn filler() -> Bytes {
    let line = "go_memstats_filler_bytes{class=\"small\"} 1234567890123456\n";
    Bytes::from(line.repeat(FILLER / line.len()))
}
