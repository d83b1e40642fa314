//! The client against small servers on real sockets that answer from a script.
//!
//! Replies are written from what is known of the platform; servers on the other side of the
//! interface, that know nothing of this client, are met in `tests/platform`.

mod copies;
mod exchange;
mod feed;
mod leases;
mod logs;
mod machines;
mod registry;
mod releases;
mod shapes;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response},
};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{retry::Schedule, *};
use crate::config::Secret;

/// Long enough to be scrubbed from texts.
const TOKEN: &str = "opaque-token-of-the-test";

/// One scripted answer.
#[derive(Debug, Default)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

#[expect(clippy::needless_pass_by_value, reason = "texts and JSON are written in place")]
fn reply(status: u16, body: impl ToString) -> Reply {
    Reply { status, headers: Vec::new(), body: body.to_string() }
}

impl Reply {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One request as it arrived.
#[derive(Debug)]
struct Asked {
    /// Method and path with its query.
    line: String,
    headers: HeaderMap,
    body: String,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Debug, Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
}

impl Script {
    /// What was asked for so far.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn serve(State(script): State<Arc<Script>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    script.asked.lock().unwrap().push(Asked {
        line: format!("{} {}", head.method, head.uri),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    });
    let next = script.replies.lock().unwrap().pop_front();
    let reply = next.unwrap_or_else(|| reply(418, "the script is at its end"));
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}

/// Serves a router; gives its base URL.
async fn start(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn settings(url: &str) -> FlySettings {
    FlySettings {
        organization: "acme".to_owned(),
        token: Secret::new(TOKEN),
        api_url: url.to_owned(),
        flaps_url: url.to_owned(),
        uiex_url: url.to_owned(),
        registry_url: url.to_owned(),
        mirror_login: None,
    }
}

/// Bounds under which nothing takes long.
fn quick() -> Tuning {
    Tuning {
        schedule: Schedule {
            attempts: 3,
            first: Duration::from_millis(2),
            longest: Duration::from_millis(5),
        },
        speed: 1000,
        ..Tuning::default()
    }
}

fn client(url: &str) -> Fly {
    Fly::tuned(settings(url), quick()).unwrap()
}

/// A server that gives these replies, and a client of it.
async fn platform(replies: impl IntoIterator<Item = Reply>) -> (Fly, Arc<Script>) {
    let script = Arc::new(Script::default());
    *script.replies.lock().unwrap() = replies.into_iter().collect();
    let url = start(Router::new().fallback(serve).with_state(script.clone())).await;
    (client(&url), script)
}

/// The same with credentials for the mirror.
async fn mirroring() -> (Fly, Arc<Script>) {
    let script = Arc::new(Script::default());
    let url = start(Router::new().fallback(serve).with_state(script.clone())).await;
    let login = MirrorLogin { user: "bot".to_owned(), token: Secret::new("mirror-token") };
    let settings = FlySettings { mirror_login: Some(login), ..settings(&url) };
    (Fly::tuned(settings, quick()).unwrap(), script)
}

fn web() -> AppName {
    AppName::new("web")
}

fn m1() -> MachineId {
    MachineId::new("m1")
}

fn held() -> Lease {
    Lease {
        app: web(),
        machine: m1(),
        nonce: "5c35f65c9f95".to_owned(),
        expires_at: at("2026-11-23T23:11:00Z"),
    }
}

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}
