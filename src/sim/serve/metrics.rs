//! Metrics pages on the network: one small server per machine that has one.
//!
//! Each machine listens on a loopback address of its own, so that all can use the same port, as
//! they do on Fly. The set follows the fleet: servers open and close as machines come and go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

use super::desk::{Desk, MetricsSite};

/// How often the fleet is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Serves the metrics of every machine that has a page, until it is dropped.
///
/// An address that cannot be bound is tried again at the next look; the machine is unreachable
/// until then, and that is said once.
pub async fn serve(desk: Arc<dyn Desk>) {
    let mut open: BTreeMap<MetricsSite, Option<Server>> = BTreeMap::new();
    loop {
        let wanted = desk.metrics_pages();
        open.retain(|site, _| wanted.contains(site));
        for site in wanted {
            if open.get(&site).is_some_and(Option::is_some) {
                continue;
            }
            match TcpListener::bind(site.address).await {
                Ok(listener) => {
                    let server = Server::open(Arc::clone(&desk), site.clone(), listener);
                    open.insert(site, Some(server));
                }
                Err(error) => {
                    if !open.contains_key(&site) {
                        tracing::warn!(machine = site.machine, address = %site.address, %error,
                            "a machine's metrics cannot be served");
                    }
                    open.insert(site, None);
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One machine's server; closing is dropping.
struct Server(tokio::task::JoinHandle<()>);

impl Server {
    fn open(desk: Arc<dyn Desk>, site: MetricsSite, listener: TcpListener) -> Self {
        Self(tokio::spawn(async move {
            let router = Router::new().fallback(page).with_state((desk, site));
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

async fn page(
    State((desk, site)): State<(Arc<dyn Desk>, MetricsSite)>,
    request: Request,
) -> Response {
    match desk.page(&site.app, &site.machine, request.uri().path()) {
        Some(text) => ([("content-type", "text/plain; version=0.0.4")], text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
