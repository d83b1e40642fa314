//! The demo's webhook receiver: takes the daemon's messages over a real socket and believes only
//! what is signed.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    config::Secret,
    notify::signing::{TOLERANCE, verify},
    ports::Clock,
};

/// A message whose signature was right.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) id: String,
    pub(super) body: Value,
}

struct Desk {
    secret: Secret,
    clock: Clock,
    messages: mpsc::Sender<Result<Received, String>>,
}

/// Serves until the listener fails; every message goes to `messages`, refused ones with the reason.
pub(super) async fn serve(
    listener: TcpListener,
    secret: Secret,
    clock: Clock,
    messages: mpsc::Sender<Result<Received, String>>,
) -> std::io::Result<()> {
    let desk = Arc::new(Desk { secret, clock, messages });
    let router = Router::new().route("/hook", post(take)).with_state(desk);
    axum::serve(listener, router).await
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let read = read(&desk, &headers, &body);
    let status = if read.is_ok() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED };
    if desk.messages.send(read).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    status
}

fn read(desk: &Desk, headers: &HeaderMap, body: &Bytes) -> Result<Received, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let pairs: Vec<(String, String)> = headers
        .iter()
        .filter_map(|(name, value)| {
            value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
        })
        .collect();
    verify(&pairs, text, std::slice::from_ref(&desk.secret), desk.clock.now(), TOLERANCE)
        .map_err(|error| error.to_string())?;
    let id = pairs
        .iter()
        .find(|(name, _)| name == "webhook-id")
        .map(|(_, id)| id.clone())
        .unwrap_or_default();
    let body = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(Received { id, body })
}
