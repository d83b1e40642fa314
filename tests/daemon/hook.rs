//! A webhook receiver with manners of its own choice.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::net::TcpListener;
use waveoff::{config::Secret, notify::signing, ports::Clock};

use crate::wait::until;

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Reads the request and never answers.
    NeverAnswers,
    /// Answers with 500.
    Fails,
    /// Answers with 410, until it is mended.
    Declines,
}

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    /// Such as `rollback.started`.
    pub kind: String,
    pub body: Value,
    /// Seconds between the event and its arrival.
    pub delay_s: f64,
    pub headers: String,
}

impl Message {
    pub fn is_about(&self, app: &str) -> bool {
        self.body["data"]["app"] == app
    }

    pub fn text(&self) -> String {
        self.body.to_string()
    }
}

#[derive(Clone)]
struct Desk {
    manner: Manner,
    mended: Arc<AtomicBool>,
    secret: Secret,
    clock: Clock,
    messages: Arc<Mutex<Vec<Message>>>,
}

pub struct Hook {
    /// Without path.
    pub url: String,
    desk: Desk,
}

impl Hook {
    /// Opens on a free port; serves until the test's runtime ends.
    pub async fn open(manner: Manner, secret: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let desk = Desk {
            manner,
            mended: Arc::default(),
            secret: Secret::new(secret),
            clock: Clock::system(),
            messages: Arc::default(),
        };
        let router = Router::new().route("/{*path}", post(take)).with_state(desk.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, desk }
    }

    /// From now on it takes what comes.
    pub fn mend(&self) {
        self.desk.mended.store(true, Ordering::Relaxed);
    }

    /// Everything that came, in its order, repeated messages too.
    pub fn raw(&self) -> Vec<Message> {
        self.desk.messages.lock().unwrap().clone()
    }

    /// What a receiver makes of it that knows messages by their ids: each once.
    pub fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        for message in self.raw() {
            if !messages.iter().any(|other| other.id == message.id) {
                messages.push(message);
            }
        }
        messages
    }

    /// Kinds of the messages about an app, in their order.
    pub fn kinds(&self, app: &str) -> Vec<String> {
        let messages = self.messages().into_iter().filter(|message| message.is_about(app));
        messages.map(|message| message.kind).collect()
    }

    pub fn count(&self, kind: &str) -> usize {
        self.messages().iter().filter(|message| message.kind == kind).count()
    }

    /// The first message of this kind for which `fits`.
    pub async fn wait(
        &self,
        kind: &str,
        within: Duration,
        fits: impl Fn(&Message) -> bool,
    ) -> Message {
        until(&format!("a message {kind}"), within, async || {
            self.messages().into_iter().find(|message| message.kind == kind && fits(message))
        })
        .await
    }

    /// The first message of this kind about `api`.
    pub async fn about_api(&self, kind: &str, within: Duration) -> Message {
        self.wait(kind, within, |message| message.is_about("api")).await
    }
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = std::str::from_utf8(&body).expect("a message is text");
    let pairs: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let now = desk.clock.now();
    let secrets = std::slice::from_ref(&desk.secret);
    if signing::verify(&pairs, text, secrets, now, signing::TOLERANCE).is_err() {
        return StatusCode::UNAUTHORIZED;
    }
    let body: Value = serde_json::from_str(text).expect("a message is JSON");
    let at: jiff::Timestamp = body["timestamp"].as_str().unwrap().parse().unwrap();
    let message = Message {
        id: headers["webhook-id"].to_str().unwrap().to_owned(),
        kind: body["type"].as_str().unwrap().to_owned(),
        delay_s: now.duration_since(at).as_secs_f64(),
        headers: format!("{pairs:?}"),
        body,
    };
    desk.messages.lock().unwrap().push(message);
    match desk.manner {
        _ if desk.mended.load(Ordering::Relaxed) => StatusCode::NO_CONTENT,
        Manner::Takes => StatusCode::NO_CONTENT,
        Manner::Declines => StatusCode::GONE,
        Manner::Fails => StatusCode::INTERNAL_SERVER_ERROR,
        Manner::NeverAnswers => std::future::pending().await,
    }
}
