//! Somebody who stands between a client and the served platform, passes on what both say, and holds
//! it against the official description where that is at hand.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode, header},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::openapi::{Exchange, description};

/// The largest body that is passed on.
const LARGEST: usize = 8 << 20;

/// Headers that belong to a connection and are not passed on.
const OF_A_CONNECTION: [header::HeaderName; 4] =
    [header::HOST, header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING];

pub struct Between {
    pub base: String,
    problems: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Passing {
    to: String,
    client: reqwest::Client,
    problems: Arc<Mutex<Vec<String>>>,
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Between {
    pub async fn of(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let problems = Arc::new(Mutex::new(Vec::new()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let passing = Passing { to: to.to_owned(), client, problems: problems.clone() };
        let router = Router::new().fallback(pass).with_state(passing);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, problems, task }
    }

    /// What was asked or answered against the description.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap().clone()
    }
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in &OF_A_CONNECTION {
        passed.remove(name);
    }
    passed
}

async fn pass(State(passing): State<Passing>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let asked = to_bytes(body, LARGEST).await.unwrap();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let sent = passing
        .client
        .request(head.method.clone(), format!("{}{path}", passing.to))
        .headers(passed_on(&head.headers))
        .body(asked.clone())
        .send()
        .await;
    // A connection that breaks on one side breaks on the other.
    let Ok(answer) = sent else { return refused() };
    let (status, headers) = (answer.status(), passed_on(answer.headers()));
    let Ok(answered) = answer.bytes().await else { return refused() };
    let read = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let exchange = Exchange {
        method: head.method.as_str(),
        path,
        request: &read(&asked),
        status: status.as_u16(),
        answer: &read(&answered),
    };
    if let Some(described) = description() {
        passing.problems.lock().unwrap().extend(described.problems(&exchange));
    }
    let mut response = Response::new(Body::from(answered));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
