//! What the API and the page cost with a thousand apps: the times of requests over real sockets, beside
//! readers of changes who read, and readers who do not.
//!
//! `cargo bench --bench api`; `--strict`: exit code 1 when a target is missed.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use std::{io::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use waveoff::{
    model::{
        Act, AppName, Block, Event, EventKind, Evidence, Kind, Mode, Order, ReleaseVersion, Signed,
        Tally, Unit, Verdict, event::ReleaseInfo,
    },
    notify::text,
    ports::Clock,
    store::{Commit, Journal, MemoryJournal},
    web::{
        self, ApiState, AppView, Board, Desk, Live, OrderError, Phase, Tokens,
        configuration::NoFiles,
        explain::{Explained, Promises, SilenceView, ThresholdView},
        operator::Answer,
        view::{EvidenceView, Protection, ProtectionLevel, ReleasesView},
    },
};

const APPS: usize = 1000;
const REQUESTS: usize = 1000;
/// What is wanted of the API, and of the first page with everything that it loads.
const P99_MAX: Duration = Duration::from_millis(20);
const PAGE_MAX: usize = 300_000;
/// Readers who are sent changes and take none.
const STUCK: usize = 60;

/// Takes no orders.
struct Nobody;

#[async_trait]
impl Desk for Nobody {
    async fn give(&self, _: Option<AppName>, _: Order) -> Result<Vec<AppName>, OrderError> {
        Ok(Vec::new())
    }
    async fn act(&self, app: AppName, _: Act, _: Signed) -> Result<Answer, OrderError> {
        Err(OrderError::NotWatched(app))
    }
    async fn resend(&self, _: &str, _: Option<&str>) -> Result<u64, OrderError> {
        Ok(0)
    }
    async fn test(&self, name: &str, _: &str) -> Result<Result<(), String>, OrderError> {
        Err(OrderError::NoReceiver { name: name.to_owned(), known: Vec::new() })
    }
    async fn releases(&self, app: AppName) -> Result<ReleasesView, OrderError> {
        Err(OrderError::NotWatched(app))
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn release(version: u64) -> ReleaseInfo {
    ReleaseInfo {
        version: Some(ReleaseVersion(version)),
        tag: Some(format!("deployment-01HX{version}")),
        digest: format!("sha256:{version:064}").as_str().into(),
        author: Some("dana@example.com".to_owned()),
        created_at: Some(now()),
    }
}

fn evidence(threshold: &str, verdict: Verdict) -> Evidence {
    Evidence {
        threshold: threshold.to_owned(),
        kind: serde_json::from_str::<Kind>("\"ratio\"").unwrap(),
        verdict,
        value: Some(0.0031),
        limit: 0.02,
        unit: Unit::Requests,
        source: "http_requests_total{status=~\"5..\"} / http_requests_total".to_owned(),
        bad: 31.0,
        total: 10_000.0,
        lately: None,
        ln_odds: Some(-2.1),
        ln_odds_needed: Some(6.9),
        blocks: 20,
        last_blocks: Vec::new(),
        control: Some((10.0, 2600.0)),
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

fn name(number: usize) -> AppName {
    AppName::new(format!("customer-facing-shop-{number}"))
}

/// As an app is under watch: five thresholds with their numbers.
fn view(number: usize, phase: Phase) -> AppView {
    let thresholds = ["5xx", "p95", "memory", "checks", "crashes"];
    AppView {
        app: name(number),
        policy: "web".to_owned(),
        mode: Mode::Rollback,
        phase,
        since: now(),
        release: Some(release(42)),
        running: Vec::new(),
        target: None,
        known_good: Some(release(41)),
        dispersions: std::collections::BTreeMap::new(),
        protection: Protection {
            level: ProtectionLevel::Trusted,
            against: Some(release(41)),
            why_not: None,
            braked: false,
        },
        quarantined: Vec::new(),
        vetoed: None,
        pinned: None,
        mirror: Vec::new(),
        operator_hold: None,
        hold: None,
        blind: None,
        unknown: Vec::new(),
        unread: std::collections::BTreeMap::new(),
        suspects: Vec::new(),
        evidence: thresholds
            .map(|threshold| EvidenceView::from(&evidence(threshold, Verdict::Pass)))
            .into(),
        commands: Vec::new(),
        regions: Vec::new(),
        next_deadline: None,
    }
}

fn explained() -> Explained {
    let block = |at: i64| Block {
        at: now() - SignedDuration::from_secs(at * 5),
        tally: Tally { n: 140.0, k: 1.0 },
        ln_odds: 0.3,
        control: Tally { n: 260.0, k: 1.0 },
    };
    let blocks: Vec<Block> = (0..20).map(block).collect();
    let of = |threshold| ThresholdView::new(&evidence(threshold, Verdict::Pass), "v41", &blocks);
    Explained {
        release: release(42),
        known_good: Some(release(41)),
        thresholds: ["5xx", "p95", "memory"].map(of).into(),
        promises: Promises { false_rollbacks: 0.001, false_late_alarms: 0.001, span: None },
        machines: Vec::new(),
        neighbours: Vec::new(),
        silence: SilenceView {
            found_after_s: Some(60),
            text: "would be found after 60 s (its longest in the last days: 2 s)".to_owned(),
        },
    }
}

async fn history(journal: &MemoryJournal, app: &AppName) {
    let event = |at: i64| {
        let mut event = Event::new(EventKind::ReleaseDegraded, now(), Some(app.clone()));
        event.release = Some(release(42));
        event.known_good = Some(release(41));
        event.evidence = vec![evidence("5xx", Verdict::Breach)];
        (format!("m-{app}-{at}"), event)
    };
    let events = (0..100).map(event).collect();
    let commit = Commit { state: "{}".to_owned(), events, ..Commit::default() };
    journal.commit(app, 0, commit, now()).await.unwrap();
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

/// Asks on one connection, as a browser and a program do, and gives the status and the length.
struct Client {
    stream: TcpStream,
    host: String,
}

impl Client {
    async fn new(host: &str) -> Self {
        let stream = TcpStream::connect(host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, host: host.to_owned() }
    }

    async fn get(&mut self, path: &str, tag: Option<&str>) -> (u16, String, Vec<u8>) {
        let tag = tag.map_or_else(String::new, |tag| format!("if-none-match: {tag}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{tag}\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)).map(|it| it.trim().to_owned())
        };
        let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, field("etag:").unwrap_or_default(), body)
    }
}

/// One line of the result: the middle, and what one in a hundred takes longer than.
struct Line {
    what: &'static str,
    bytes: usize,
    p50: Duration,
    p99: Duration,
}

async fn measure(host: &str, what: &'static str, path: &str, is_known: bool) -> Line {
    let mut client = Client::new(host).await;
    let (status, tag, body) = client.get(path, None).await;
    assert_eq!(status, 200, "{path}");
    let tag = is_known.then_some(tag);
    let mut times = Vec::with_capacity(REQUESTS);
    let mut bytes = body.len();
    for _ in 0..REQUESTS {
        let began = Instant::now();
        let (status, _, body) = client.get(path, tag.as_deref()).await;
        times.push(began.elapsed());
        assert_eq!(status, if is_known { 304 } else { 200 }, "{path}");
        bytes = body.len();
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    Line { what, bytes, p50: at(50), p99: at(99) }
}

/// Everything that the first visit loads: the page, its style, its script and its picture.
async fn first_visit(host: &str) -> usize {
    let mut client = Client::new(host).await;
    let (_, _, page) = client.get("/", None).await;
    let text = String::from_utf8(page).unwrap();
    let mut bytes = text.len();
    for part in text.split("\"/assets/").skip(1) {
        let path = format!("/assets/{}", part.split('"').next().unwrap());
        bytes += client.get(&path, None).await.2.len();
    }
    bytes
}

/// Changes a tenth of the apps every second, as rounds do.
fn keep_changing(board: Board) {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        for round in 0_usize.. {
            ticks.tick().await;
            for number in (round % 10..APPS).step_by(10) {
                let mut view = view(number, Phase::Baking);
                view.policy = format!("web {round}");
                board.publish(view);
            }
        }
    });
}

async fn stuck_readers(host: &str) -> Vec<TcpStream> {
    let mut readers = Vec::new();
    for _ in 0..STUCK {
        let mut stream = TcpStream::connect(host).await.unwrap();
        let request = format!("GET /events?page=1 HTTP/1.1\r\nhost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        readers.push(stream);
    }
    readers
}

fn table(title: &str, lines: &[Line]) {
    let mut out = std::io::stdout().lock();
    let _shown = writeln!(out, "\n{title}\n| request | bytes | p50 | p99 |\n|---|---|---|---|");
    for Line { what, bytes, p50, p99 } in lines {
        let _shown = writeln!(out, "| {what} | {bytes} | {p50:.2?} | {p99:.2?} |");
    }
}

async fn all(host: &str) -> Vec<Line> {
    let app = name(503);
    let mut lines = Vec::new();
    for (what, path, is_known) in [
        ("`/api/v1/status`, all apps", "/api/v1/status".to_owned(), false),
        ("`/api/v1/status?limit=100`", "/api/v1/status?limit=100".to_owned(), false),
        ("`/api/v1/apps/APP`", format!("/api/v1/apps/{app}"), false),
        ("the same, known (304)", format!("/api/v1/apps/{}", name(1)), true),
        ("`/api/v1/apps/APP/history`", format!("/api/v1/apps/{app}/history"), false),
        ("`/api/v1/apps/APP/explain`", format!("/api/v1/apps/{app}/explain"), false),
        ("`/metrics`", "/metrics".to_owned(), false),
        ("`/`, the list", "/".to_owned(), false),
        ("`/apps/APP`", format!("/apps/{app}"), false),
    ] {
        lines.push(measure(host, what, &path, is_known).await);
    }
    lines
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let before = resident();
    let (board, journal) = (Board::new("acme", now()), Arc::new(MemoryJournal::new()));
    board.expect((0..APPS).map(name));
    board.feed_read(now(), Vec::new());
    for number in 0..APPS {
        board.publish(view(number, if number % 10 == 3 { Phase::Baking } else { Phase::Steady }));
    }
    let app = name(503);
    board.explain(&app, Some(explained()));
    history(&journal, &app).await;
    let state = ApiState {
        board: board.clone(),
        journal,
        clock: Clock::system(),
        receivers: Arc::new(Vec::new),
        sentence: text::sentence,
        policies: Arc::new(|_| None),
        live: Live::default(),
        desk: Arc::new(Nobody),
        configuration: Arc::new(NoFiles),
        tokens: Tokens::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(web::serve(listener, web::router(state), std::future::pending()));

    let known = measure(&host, "`/api/v1/status`, known (304)", "/api/v1/status", true).await;
    let quiet = all(&host).await;
    keep_changing(board);
    let readers = stuck_readers(&host).await;
    let busy = all(&host).await;
    let bytes = first_visit(&host).await;
    let grown = resident().saturating_sub(before);
    drop(readers);

    table("nothing changes", &[known]);
    table("nothing changes, nobody else", &quiet);
    table("a hundred apps change a second, 60 readers are stuck", &busy);
    let mut out = std::io::stdout().lock();
    let _shown = writeln!(
        out,
        "\nfirst visit: {bytes} bytes; memory for all of this, the benchmark's own included: {} MB",
        grown / 1_000_000
    );
    let worst = quiet.iter().chain(&busy).map(|line| line.p99).max().unwrap_or_default();
    let is_met = worst < P99_MAX && bytes < PAGE_MAX;
    let _shown = writeln!(
        out,
        "worst p99 {worst:.2?}: the targets are {}",
        if is_met { "met" } else { "missed" }
    );
    if !is_met && std::env::args().any(|argument| argument == "--strict") {
        std::process::exit(1);
    }
}
