//! Slack's Web API and Grafana's annotations as their documentation has them, over real sockets, and
//! stricter: what a real one would overlook is refused here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub const BOT_TOKEN: &str = "xoxb-notForAnybodysEyes-bot";
pub const GRAFANA_TOKEN: &str = "glsa_notForAnybodysEyes_grafana";
/// A channel's name, and its id.
pub const CHANNEL: (&str, &str) = ("deploys", "C0123456789");

/// A message in a channel.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub ts: String,
    pub body: Value,
    pub thread: Option<String>,
    pub edits: usize,
}

impl Message {
    /// All that can be read of it.
    pub fn text(&self) -> String {
        self.body["blocks"].to_string()
    }
}

#[derive(Default)]
struct Heard {
    messages: Vec<Message>,
    calls: Vec<String>,
    /// Answers that are given first: a status, `Retry-After`, and Slack's word.
    trouble: VecDeque<(u16, Option<u64>, String)>,
}

/// Slack.
#[derive(Clone)]
pub struct Slack {
    /// Where its API is.
    pub url: String,
    heard: Arc<Mutex<Heard>>,
}

impl Slack {
    /// Opens on a free port; serves until the test's runtime ends.
    pub async fn open() -> Self {
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let routes = Router::new()
            .route("/api/{method}", post(slack))
            .fallback(|| async { StatusCode::NOT_FOUND })
            .with_state(heard.clone());
        Self { url: format!("{}/api", serve(routes).await), heard }
    }

    /// What stands in the channel, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.heard.lock().unwrap().messages.clone()
    }

    /// Which methods were called, with what was answered.
    pub fn calls(&self) -> Vec<String> {
        self.heard.lock().unwrap().calls.clone()
    }

    /// Somebody deletes a message.
    pub fn delete(&self, ts: &str) {
        self.heard.lock().unwrap().messages.retain(|message| message.ts != ts);
    }

    /// The next call is answered so.
    pub fn answers(&self, status: u16, after: Option<u64>, word: &str) {
        self.heard.lock().unwrap().trouble.push_back((status, after, word.to_owned()));
    }
}

async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    url
}

async fn slack(
    State(heard): State<Arc<Mutex<Heard>>>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut heard = heard.lock().unwrap();
    if let Some((status, after, word)) = heard.trouble.pop_front() {
        heard.calls.push(format!("{method} {word}"));
        let answer = Json(json!({ "ok": false, "error": word }));
        let mut answer = (StatusCode::from_u16(status).unwrap(), answer).into_response();
        if let Some(after) = after {
            answer.headers_mut().insert("retry-after", after.into());
        }
        return answer;
    }
    let answer = match called(&mut heard, &method, &headers, &body) {
        Ok(answer) => answer,
        Err(word) => json!({ "ok": false, "error": word }),
    };
    let word = answer["error"].as_str().unwrap_or("ok");
    let line = format!("{method} {word}");
    heard.calls.push(line);
    Json(answer).into_response()
}

fn called(
    heard: &mut Heard,
    method: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    match token {
        None => return Err("not_authed"),
        Some(token) if token != BOT_TOKEN => return Err("invalid_auth"),
        Some(_) => {}
    }
    if header("content-type") != Some("application/json; charset=utf-8") {
        return Err("missing_charset");
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| "invalid_json")?;
    if method == "auth.test" {
        return Ok(json!({ "ok": true, "team": "Acme", "user": "waveoff", "bot_id": "B1" }));
    }
    let text = |name: &str| body[name].as_str();
    let takes: &[&str] = match method {
        "chat.postMessage" => &[
            "channel",
            "text",
            "blocks",
            "thread_ts",
            "reply_broadcast",
            "unfurl_links",
            "unfurl_media",
        ],
        "chat.update" => &["channel", "ts", "text", "blocks"],
        _ => return Err("unknown_method"),
    };
    if body.as_object().ok_or("invalid_json")?.keys().any(|key| !takes.contains(&key.as_str())) {
        return Err("invalid_arguments");
    }
    let channel = text("channel").ok_or("invalid_arguments")?;
    // A name does for what is new, and for nothing else.
    let is_new = method == "chat.postMessage";
    let is_known = channel == CHANNEL.1 || is_new && channel.trim_start_matches('#') == CHANNEL.0;
    if !is_known {
        return Err("channel_not_found");
    }
    fits(&body)?;
    let thread = text("thread_ts").map(str::to_owned);
    if thread.as_ref().is_some_and(|thread| !heard.messages.iter().any(|one| one.ts == *thread)) {
        return Err("thread_not_found");
    }
    let ts = if is_new {
        let ts = format!("1772330584.{:06}", heard.calls.len());
        heard.messages.push(Message { ts: ts.clone(), body: body.clone(), thread, edits: 0 });
        ts
    } else {
        let ts = text("ts").ok_or("invalid_arguments")?;
        let message = heard.messages.iter_mut().find(|message| message.ts == ts);
        let message = message.ok_or("message_not_found")?;
        message.body = body.clone();
        message.edits += 1;
        ts.to_owned()
    };
    Ok(json!({ "ok": true, "channel": CHANNEL.1, "ts": ts, "message": {} }))
}

/// Whether it keeps within the limits of texts and blocks.
fn fits(body: &Value) -> Result<(), &'static str> {
    let text = body["text"].as_str().filter(|text| !text.is_empty()).ok_or("no_text")?;
    if text.chars().count() > 40_000 {
        return Err("msg_too_long");
    }
    let blocks = body["blocks"].as_array().ok_or("invalid_blocks")?;
    if blocks.is_empty() || blocks.len() > 50 {
        return Err("invalid_blocks");
    }
    for block in blocks {
        let texts: Vec<&str> = match block["type"].as_str() {
            Some("section") => block["text"]["text"].as_str().into_iter().collect(),
            Some("context") => {
                let elements = block["elements"].as_array().ok_or("invalid_blocks")?;
                elements.iter().filter_map(|one| one["text"].as_str()).collect()
            }
            _ => return Err("invalid_blocks"),
        };
        if texts.is_empty() || texts.iter().any(|it| it.is_empty() || it.chars().count() > 3000) {
            return Err("invalid_blocks");
        }
    }
    Ok(())
}

/// An annotation.
#[derive(Clone, Debug)]
pub struct Annotation {
    pub id: u64,
    pub body: Value,
    pub changes: usize,
}

#[derive(Default)]
struct Drawn {
    annotations: BTreeMap<u64, Annotation>,
    next: u64,
    trouble: VecDeque<u16>,
}

/// Grafana.
#[derive(Clone)]
pub struct Grafana {
    pub url: String,
    drawn: Arc<Mutex<Drawn>>,
}

impl Grafana {
    /// Opens on a free port; serves until the test's runtime ends.
    pub async fn open() -> Self {
        let drawn: Arc<Mutex<Drawn>> = Arc::default();
        let routes = Router::new()
            .route("/api/annotations", get(list).post(draw))
            .route("/api/annotations/{id}", patch(redraw))
            .with_state(drawn.clone());
        Self { url: serve(routes).await, drawn }
    }

    pub fn annotations(&self) -> Vec<Annotation> {
        self.drawn.lock().unwrap().annotations.values().cloned().collect()
    }

    /// Somebody removes an annotation.
    pub fn remove(&self, id: u64) {
        self.drawn.lock().unwrap().annotations.remove(&id);
    }

    /// The next request is answered with this status.
    pub fn answers(&self, status: u16) {
        self.drawn.lock().unwrap().trouble.push_back(status);
    }
}

fn drawing(
    drawn: &mut Drawn,
    headers: &HeaderMap,
    body: &[u8],
    takes: &[&str],
) -> Result<Value, (StatusCode, Json<Value>)> {
    let no = |status: u16, text: &str| {
        (StatusCode::from_u16(status).unwrap(), Json(json!({ "message": text })))
    };
    if let Some(status) = drawn.trouble.pop_front() {
        return Err(no(status, "trouble"));
    }
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    if token != Some(&format!("Bearer {GRAFANA_TOKEN}")) {
        return Err(no(401, "Invalid API key"));
    }
    let body: Value = serde_json::from_slice(body).map_err(|_| no(400, "bad request data"))?;
    let keys = body.as_object().ok_or_else(|| no(400, "bad request data"))?;
    let is_time = |key: &str| body[key].is_null() || body[key].as_i64().is_some_and(|at| at > 0);
    let tags = body["tags"].as_array().is_some_and(|tags| tags.iter().all(Value::is_string));
    if keys.keys().any(|key| !takes.contains(&key.as_str()))
        || !is_time("time")
        || !is_time("timeEnd")
        || !tags
        || body["text"].as_str().is_none_or(str::is_empty)
    {
        return Err(no(400, "bad request data"));
    }
    Ok(body)
}

async fn draw(
    State(drawn): State<Arc<Mutex<Drawn>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let mut drawn = drawn.lock().unwrap();
    let takes = ["dashboardUID", "panelId", "time", "timeEnd", "tags", "text"];
    let body = drawing(&mut drawn, &headers, &body, &takes)?;
    drawn.next += 1;
    let id = drawn.next;
    drawn.annotations.insert(id, Annotation { id, body, changes: 0 });
    Ok(Json(json!({ "message": "Annotation added", "id": id })))
}

async fn redraw(
    State(drawn): State<Arc<Mutex<Drawn>>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let mut drawn = drawn.lock().unwrap();
    let body = drawing(&mut drawn, &headers, &body, &["text", "tags", "time", "timeEnd"])?;
    let Some(one) = drawn.annotations.get_mut(&id) else {
        return Err((StatusCode::NOT_FOUND, Json(json!({ "message": "Annotation not found" }))));
    };
    one.body = body;
    one.changes += 1;
    Ok(Json(json!({ "message": "Annotation patched" })))
}

async fn list(State(drawn): State<Arc<Mutex<Drawn>>>, headers: HeaderMap) -> Response {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    if token != Some(&format!("Bearer {GRAFANA_TOKEN}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let drawn = drawn.lock().unwrap();
    Json(drawn.annotations.values().map(|one| one.body.clone()).collect::<Vec<_>>()).into_response()
}
