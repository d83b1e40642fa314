//! What stands before a registry: it wants tokens, sends readers elsewhere, breaks off uploads, and
//! counts what passes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, Response, StatusCode, header},
};
use futures_util::{StreamExt as _, stream};
use tokio::net::TcpListener;

use crate::registry::Registry;

/// How a front treats what comes.
#[derive(Default)]
pub struct Ways {
    /// Wants a token, and gives them to whoever shows a password.
    pub wants_tokens: bool,
    /// Sends whoever reads a blob to the registry itself.
    pub sends_on: bool,
    /// Breaks off what is read, once, after so many bytes.
    pub stalls_at: Option<u64>,
    /// Refuses, once, what is sent after so many bytes in all.
    pub refuses_at: Option<u64>,
    /// Breaks off what is sent, once, when so many bytes were sent in all.
    pub breaks_at: Option<u64>,
    /// Takes no blob in segments.
    pub takes_no_segments: bool,
}

pub struct Front {
    pub url: String,
    seen: Arc<Seen>,
}

struct Seen {
    ways: Ways,
    url: String,
    behind: String,
    client: reqwest::Client,
    broke: AtomicBool,
    sent: AtomicU64,
    lines: Mutex<Vec<String>>,
}

impl Front {
    pub async fn of(registry: &Registry, ways: Ways) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen {
            ways,
            url: url.clone(),
            behind: registry.url.clone(),
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            broke: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            lines: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub fn name(&self) -> String {
        self.url.strip_prefix("http://").unwrap().to_owned()
    }

    /// Bytes of bodies that were sent here.
    pub fn sent(&self) -> u64 {
        self.seen.sent.load(Ordering::Relaxed)
    }

    pub fn broke(&self) -> bool {
        self.seen.broke.load(Ordering::Relaxed)
    }

    /// Requests that begin so.
    pub fn asked(&self, beginning: &str) -> usize {
        let lines = self.seen.lines.lock().unwrap();
        lines.iter().filter(|line| line.starts_with(beginning)).count()
    }
}

fn answer(status: StatusCode, headers: &[(&str, String)], body: &str) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}

/// The token that allows these scopes.
fn token(query: &str) -> String {
    let scopes: Vec<String> =
        url_pairs(query).filter(|(key, _)| key == "scope").map(|p| p.1).collect();
    scopes.join("+").replace(':', ".").replace(',', "_")
}

fn url_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    let pairs: Vec<_> = url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    pairs.into_iter()
}

fn shown(headers: &HeaderMap) -> &str {
    headers.get(header::AUTHORIZATION).map_or("", |value| value.to_str().unwrap())
}

async fn pass(State(seen): State<Arc<Seen>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().unwrap().as_str().to_owned();
    seen.lines.lock().unwrap().push(format!("{} {path}", head.method));
    if head.uri.path() == "/token" {
        if !shown(&head.headers).starts_with("Basic ") {
            return answer(StatusCode::UNAUTHORIZED, &[], "");
        }
        let token = token(head.uri.query().unwrap_or_default());
        return answer(StatusCode::OK, &[], &format!(r#"{{"token":"{token}"}}"#));
    }
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    if seen.ways.wants_tokens {
        let repository = head.uri.path().strip_prefix("/v2/").unwrap().split("/blobs/").next();
        let repository = repository.unwrap().split("/manifests/").next().unwrap();
        let needs = format!("repository.{repository}.pull{}", if reads { "" } else { "_push" });
        let has = shown(&head.headers);
        if !(has.starts_with("Bearer ") && has.contains(&needs)) {
            // As some registries do, it speaks of reading only.
            let challenge = format!(
                r#"Bearer realm="{}/token",service="front",scope="repository:{repository}:pull""#,
                seen.url
            );
            let headers = [("www-authenticate", challenge)];
            return answer(StatusCode::UNAUTHORIZED, &headers, "");
        }
    }
    if seen.ways.sends_on && reads && path.contains("/blobs/sha256") {
        let to = [("location", format!("{}{path}", seen.behind))];
        return answer(StatusCode::TEMPORARY_REDIRECT, &to, "");
    }
    if seen.ways.takes_no_segments && head.method == Method::PATCH {
        return answer(StatusCode::METHOD_NOT_ALLOWED, &[], "");
    }
    if head.method == Method::PATCH
        && seen.ways.refuses_at.is_some_and(|at| seen.sent.load(Ordering::Relaxed) > at)
        && !seen.broke.swap(true, Ordering::Relaxed)
    {
        return answer(StatusCode::SERVICE_UNAVAILABLE, &[], "");
    }
    hand_on(&seen, head, body, &path).await
}

async fn hand_on(
    seen: &Arc<Seen>,
    head: axum::http::request::Parts,
    body: Body,
    path: &str,
) -> Response<Body> {
    // The Host stays: the registry says by it where uploads go on.
    let mut headers = head.headers;
    if seen.ways.wants_tokens {
        headers.remove(header::AUTHORIZATION);
    }
    let counting = seen.clone();
    let body = body.into_data_stream().flat_map(move |piece| {
        let piece = piece.unwrap();
        let length = u64::try_from(piece.len()).unwrap();
        let passed = counting.sent.fetch_add(length, Ordering::Relaxed) + length;
        let breaks = counting.ways.breaks_at.is_some_and(|at| passed > at)
            && !counting.broke.swap(true, Ordering::Relaxed);
        let broken = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let mut out = vec![Ok(piece)];
        if breaks {
            out.push(Err(broken()));
        }
        stream::iter(out)
    });
    let sent = seen
        .client
        .request(head.method.clone(), format!("{}{path}", seen.behind))
        .headers(headers)
        .body(reqwest::Body::wrap_stream(body))
        .send()
        .await;
    let Ok(reply) = sent else {
        return answer(StatusCode::BAD_GATEWAY, &[], "");
    };
    let mut response = Response::builder().status(reply.status());
    for (name, value) in reply.headers() {
        response = response.header(name, value);
    }
    let (reading, mut read) = (seen.clone(), 0);
    let body = reply.bytes_stream().flat_map(move |piece| {
        read += piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap());
        let breaks = reading.ways.stalls_at.is_some_and(|at| read > at)
            && !reading.broke.swap(true, Ordering::Relaxed);
        let mut out = vec![piece.map_err(std::io::Error::other)];
        if breaks {
            out.push(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        }
        stream::iter(out)
    });
    response.body(Body::from_stream(body)).unwrap()
}
