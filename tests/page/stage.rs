//! A served board with apps on it, as a daemon would fill it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::net::TcpListener;
use waveoff::{
    config::Secret,
    model::{
        Act, AppName, Block, Event, EventKind, Evidence, Kind, MachineReport, Mode, Order,
        RegionReport, RegionStage, ReleaseVersion, Signed, Tally, Unit, Verdict,
        event::ReleaseInfo,
    },
    notify::text,
    ports::Clock,
    store::{Commit, Journal, MemoryJournal},
    web::{
        self, ApiState, AppView, Board, Desk, Live, OrderError, Phase, Tokens,
        explain::{
            Explained, MachineView, NeighbourView, Promises, RegionCounts, SilenceView,
            ThresholdView,
        },
        operator::Answer,
        view::{
            EvidenceView, PinnedView, Protection, ProtectionLevel, QuarantinedView, RaisedView,
            ReleaseStanding, ReleaseView, ReleasesView, RunningView, UnknownView,
        },
    },
};

/// What operators show.
pub const TOKEN: &str = "a-token-of-the-operator";

/// Writes down what was ordered.
#[derive(Default)]
pub struct Clerk(Mutex<Vec<String>>);

#[async_trait]
impl Desk for Clerk {
    async fn give(&self, app: Option<AppName>, order: Order) -> Result<Vec<AppName>, OrderError> {
        let whom = app.as_ref().map_or("all", AppName::as_str);
        let what = match order {
            Order::Hold(hold) => format!("hold {whom} by {}: {}", hold.by, hold.reason),
            Order::Unhold(by) => {
                format!("unhold {whom} {}", by.map_or_else(String::new, |by| by.reason))
            }
            Order::Act { act, .. } => act.word().to_owned(),
        };
        self.0.lock().unwrap().push(what);
        Ok(app.into_iter().collect())
    }

    async fn act(&self, app: AppName, act: Act, signed: Signed) -> Result<Answer, OrderError> {
        let what = match &act {
            Act::Rollback(wish) => {
                let to = wish.to.as_deref().unwrap_or("-");
                format!("rollback {app} to {to}, dry run {}", wish.dry_run)
            }
            act @ (Act::Pin { release }
            | Act::Quarantine { release }
            | Act::Unquarantine { release }
            | Act::Trust { release }) => format!("{} {app} {release}", act.word()),
            act => format!("{} {app}", act.word()),
        };
        self.0.lock().unwrap().push(format!("{what} by {}: {}", signed.by, signed.reason));
        let done = act != Act::Veto;
        let text =
            if done { "it is done".to_owned() } else { "there is nothing to veto".to_owned() };
        Ok(Answer { done, text, facts: json!({}) })
    }

    async fn resend(&self, receiver: &str, message: Option<&str>) -> Result<u64, OrderError> {
        Ok(if receiver == "ops" { message.map_or(7, |_| 1) } else { 0 })
    }

    async fn test(&self, receiver: &str, _: &str) -> Result<Result<(), String>, OrderError> {
        match receiver {
            "ops" => Ok(Ok(())),
            "chat" => Ok(Err("answered 404".to_owned())),
            other => Err(OrderError::NoReceiver {
                name: other.to_owned(),
                known: vec!["ops".to_owned()],
            }),
        }
    }

    async fn releases(&self, app: AppName) -> Result<ReleasesView, OrderError> {
        Ok(ReleasesView { app, releases: Vec::new(), ledger_unread: None })
    }
}

/// A served API with its page; it ends with the test's runtime.
pub struct Stage {
    pub board: Board,
    pub journal: Arc<MemoryJournal>,
    pub live: Live,
    pub url: String,
    clerk: Arc<Clerk>,
}

impl Stage {
    pub async fn set() -> Self {
        Self::guarded(None).await
    }

    /// The same, where reading takes this token.
    pub async fn guarded(reader: Option<&str>) -> Self {
        let tokens = Tokens { operator: Some(Secret::new(TOKEN)), reader: reader.map(Secret::new) };
        let board = Board::new("acme", now());
        let (journal, clerk): (_, Arc<Clerk>) = (Arc::new(MemoryJournal::new()), Arc::default());
        let live = Live::default();
        let state = ApiState {
            board: board.clone(),
            journal: journal.clone(),
            clock: Clock::system(),
            receivers: Arc::new(Vec::new),
            sentence: text::sentence,
            policies: Arc::new(|_| None),
            live: live.clone(),
            desk: clerk.clone(),
            tokens,
            configuration: Arc::new(web::configuration::NoFiles),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(web::serve(listener, web::router(state), std::future::pending()));
        Self { board, journal, live, url, clerk }
    }

    /// All of these, and no more are expected.
    pub fn show(&self, views: Vec<AppView>) {
        self.board.expect(views.iter().map(|view| view.app.clone()));
        self.board.feed_read(now(), Vec::new());
        for view in views {
            self.board.publish(view);
        }
    }

    pub fn ordered(&self) -> Vec<String> {
        self.clerk.0.lock().unwrap().clone()
    }

    /// Records events of an app, the oldest first.
    pub async fn tell(&self, app: &str, events: Vec<Event>) {
        let app = AppName::new(app);
        let stored = self.journal.load(&app).await.unwrap();
        let revision = stored.map_or(0, |stored| stored.revision);
        let events = events.into_iter().enumerate();
        let events = events.map(|(at, event)| (format!("m-{revision}-{at}"), event)).collect();
        let commit = Commit { state: format!("{{\"r\":{revision}}}"), events, ..Commit::default() };
        self.journal.commit(&app, revision, commit, now()).await.unwrap();
        self.board.recorded(&app);
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

/// So many seconds ago.
pub fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub fn release(version: u64) -> ReleaseInfo {
    ReleaseInfo {
        version: Some(ReleaseVersion(version)),
        tag: Some(format!("deployment-01HX{version}")),
        digest: format!("sha256:{version:0>4}c0ffee{version:0>54}").as_str().into(),
        author: Some("dana@example.com".to_owned()),
        created_at: Some(ago(240)),
    }
}

/// Blocks of ten seconds in which it gets worse.
pub fn blocks() -> Vec<Block> {
    let bad = [2.0, 1.0, 3.0, 2.0, 9.0, 22.0, 31.0, 34.0, 30.0, 36.0];
    let odds = [-0.4, -0.9, -0.6, -0.8, 0.7, 2.6, 4.4, 6.1, 7.4, 9.1];
    bad.iter()
        .zip(odds)
        .zip(0..)
        .map(|((&bad, ln_odds), at)| Block {
            at: ago(105 - at * 10),
            tally: Tally { n: 140.0, k: bad },
            ln_odds,
            control: Tally { n: 260.0, k: 1.0 },
        })
        .collect()
}

/// A ratio whose numbers say what the verdict says.
pub fn evidence(threshold: &str, verdict: Verdict) -> Evidence {
    let (share, ln_odds) = match verdict {
        Verdict::Breach => (0.121, 9.1),
        Verdict::Inconclusive => (0.017, 1.2),
        Verdict::Pass => (0.004, -2.0),
    };
    Evidence {
        threshold: threshold.to_owned(),
        kind: Kind::Ratio,
        verdict,
        value: Some(share),
        limit: 0.02,
        unit: Unit::Requests,
        source: "http_requests_total{status=~\"5..\"} / http_requests_total".to_owned(),
        bad: 1400.0 * share,
        total: 1400.0,
        lately: None,
        ln_odds: Some(ln_odds),
        ln_odds_needed: Some(6.9),
        blocks: 10,
        last_blocks: Vec::new(),
        control: Some((10.0, 2600.0)),
        note: None,
        may_roll_back: true,
        applies: true,
        raised: None,
        unseen: false,
    }
}

pub fn steady(app: &str) -> AppView {
    AppView {
        app: app.into(),
        policy: "web".to_owned(),
        mode: Mode::Rollback,
        phase: Phase::Steady,
        since: ago(86_400),
        release: Some(release(41)),
        running: vec![RunningView { release: release(41), image_of: None }],
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
        evidence: Vec::new(),
        commands: Vec::new(),
        regions: Vec::new(),
        next_deadline: None,
    }
}

/// Under watch, and well.
pub fn watched(app: &str) -> AppView {
    AppView {
        phase: Phase::Baking,
        since: ago(120),
        release: Some(release(42)),
        evidence: vec![EvidenceView::from(&evidence("5xx", Verdict::Inconclusive))],
        next_deadline: Some(ago(-480)),
        ..steady(app)
    }
}

/// Being rolled back: the first region is done, the second under way, the third waits.
pub fn rolling_back(app: &str) -> AppView {
    let good = MachineReport::OnTarget { at_rest: false };
    let machines = |states: &[&MachineReport], from: usize| {
        let ids = (from..).map(|id| format!("148e21ea7d1{id:03}").as_str().into());
        ids.zip(states.iter().map(|&state| state.clone())).collect()
    };
    let (updating, waiting) = (MachineReport::Updating, MachineReport::Waiting);
    let region = |name: &str, phase, states: &[&MachineReport], from| RegionReport {
        region: name.into(),
        phase,
        machines: machines(states, from),
    };
    AppView {
        phase: Phase::RollingBack,
        since: ago(31),
        release: Some(release(42)),
        target: Some(release(41)),
        evidence: vec![EvidenceView::from(&evidence("5xx", Verdict::Breach))],
        regions: vec![
            region("iad", RegionStage::Confirmed, &[&good, &good, &good], 100),
            region("lhr", RegionStage::RollingBack, &[&good, &updating, &waiting], 200),
            region("syd", RegionStage::Waiting, &[&waiting, &waiting], 300),
        ],
        next_deadline: None,
        ..steady(app)
    }
}

/// Everything at once that people or the world can do to an app.
pub fn troubled(app: &str) -> AppView {
    let signed = |by: &str, reason: &str, since| Signed {
        by: by.to_owned(),
        reason: reason.to_owned(),
        at: ago(since),
    };
    let undone = |version: u64, since| QuarantinedView {
        digest: release(version).digest,
        version: Some(ReleaseVersion(version)),
        tag: Some(format!("deployment-01HX{version}")),
        at: ago(since),
    };
    let unknown = |threshold: &str, why: &str, text: &str| UnknownView {
        threshold: threshold.to_owned(),
        why: why.to_owned(),
        text: text.to_owned(),
    };
    AppView {
        phase: Phase::Held,
        since: ago(900),
        release: Some(release(42)),
        hold: Some("its release ran a release_command (migrations)".to_owned()),
        vetoed: Some(signed("dana", "the bug is known, and the fix is on its way", 300)),
        pinned: Some(PinnedView {
            digest: release(40).digest,
            version: Some(ReleaseVersion(40)),
            signed: signed("lee", "the last one before the new schema", 3600),
        }),
        quarantined: vec![undone(39, 86_400), undone(37, 400_000)],
        blind: Some("the platform does not answer: 503".to_owned()),
        unknown: vec![
            unknown("p95", "no_bucket", "no bucket ends at 0.6 s"),
            unknown("hang", "never_exercised", "nothing was counted since the release came"),
        ],
        unread: ["148e21ea7d1100", "148e21ea7d1200"]
            .map(|machine| (machine.into(), "answered 404".to_owned()))
            .into(),
        protection: Protection {
            why_not: Some("its releases run a release_command (migrations)".to_owned()),
            braked: true,
            ..steady(app).protection
        },
        evidence: vec![EvidenceView::from(&evidence("5xx", Verdict::Breach))],
        next_deadline: None,
        ..steady(app)
    }
}

/// What is held of the bad release of [`rolling_back`].
pub fn explained() -> Explained {
    let mut errors = ThresholdView::new(&evidence("5xx", Verdict::Breach), "v41", &blocks());
    let floor =
        RaisedView { from: 0.005, to: 0.02, by: "v40".to_owned(), share: 0.0092, relative: false };
    errors.evidence.raised = Some(floor);
    errors.regions = ["iad", "lhr", "syd"]
        .map(|region| {
            let lately = Tally { n: 200.0, k: 31.0 };
            RegionCounts::new(&region.into(), Tally { n: 466.0, k: 56.0 }, Some(lately))
        })
        .into();
    let slow = Evidence {
        unit: Unit::SlowerThan(0.5),
        kind: Kind::Latency,
        limit: 0.05,
        source: "http_request_duration_seconds".to_owned(),
        ..evidence("p95", Verdict::Pass)
    };
    let memory = Evidence {
        kind: Kind::Gauge,
        unit: Unit::Bytes,
        value: Some(212e6),
        limit: 400e6,
        bad: 0.0,
        total: 8.0,
        ln_odds: None,
        ln_odds_needed: None,
        control: None,
        source: "process_resident_memory_bytes".to_owned(),
        ..evidence("memory", Verdict::Pass)
    };
    let quiet: Vec<Block> = blocks()
        .into_iter()
        .map(|block| Block { ln_odds: -1.0, tally: Tally { n: 140.0, k: 1.0 }, ..block })
        .collect();
    let machine = |id: &str, region: &str| MachineView {
        machine: id.into(),
        region: region.into(),
        state: "started".to_owned(),
        on: true,
        version: Some(ReleaseVersion(42)),
        exits: 0,
        failing: Vec::new(),
    };
    Explained {
        release: release(42),
        known_good: Some(release(41)),
        thresholds: vec![
            errors,
            ThresholdView::new(&slow, "v41", &quiet),
            ThresholdView::new(&memory, "v41", &[]),
        ],
        silence: SilenceView {
            found_after_s: Some(60),
            text: "would be found after 60 s (its longest in the last days: 2 s)".to_owned(),
        },
        promises: Promises { false_rollbacks: 0.001, false_late_alarms: 0.001, span: None },
        neighbours: [("api", None, false), ("blog", Some(ago(240)), false), ("new", None, true)]
            .map(|(app, degraded_since, deployed)| NeighbourView {
                app: app.into(),
                degraded_since,
                deployed,
                regions: vec!["iad".into(), "lhr".into()],
            })
            .into(),
        machines: vec![machine("148e21ea7d1100", "iad"), machine("148e21ea7d1200", "lhr")],
    }
}

/// The releases of [`rolling_back`].
pub fn releases() -> Vec<ReleaseView> {
    [(42, ReleaseStanding::Degraded), (41, ReleaseStanding::Trusted), (40, ReleaseStanding::Baked)]
        .map(|(version, standing)| {
            let info = release(version);
            let mut view = ReleaseView::unknown(
                &format!("registry.fly.io/api:deployment-01HX{version}"),
                Some(info.digest),
            );
            view.version = info.version;
            view.standing = standing;
            view.since = Some(ago(3600));
            view.runs = version == 42;
            view.is_target = version == 41;
            view
        })
        .into()
}

/// What was told of it.
pub fn story(app: &str) -> Vec<Event> {
    [
        (EventKind::ReleaseDetected, 240),
        (EventKind::ReleaseDegraded, 40),
        (EventKind::RollbackStarted, 31),
        (EventKind::RollbackRegionConfirmed, 8),
    ]
    .map(|(kind, seconds)| {
        let mut event = Event::new(kind, ago(seconds), Some(app.into()));
        event.release = Some(release(42));
        event.known_good = Some(release(41));
        event.after_s = Some(23.0);
        if kind != EventKind::ReleaseDetected {
            event.evidence = vec![evidence("5xx", Verdict::Breach)];
        }
        if kind == EventKind::RollbackRegionConfirmed {
            event.regions = rolling_back(app).regions;
            event.log_lines = vec!["panicked at src/db.rs:41: no such column".to_owned()];
        }
        event
    })
    .into()
}
