//! A small world for scenarios: the simulated organization, the real daemon with its real journal
//! on a real disk, and a receiver that believes only what is signed. Time is simulated: whoever
//! uses it has `start_paused = true`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use waveoff::{
    config::{Config, Secret},
    daemon::{self, ConfigSource, Orders, Ports, Settings},
    model::{Act, AppName, Event, EventKind, Order, RegionStage, Reply, Signed},
    notify::{signing, text},
    ports::{Answered, Clock, Delivery, DeliveryOutcome, Notifier, Platform, Registry, Verb},
    sim::{Fleet, Sim, ports::SimPlatform},
    sources::{pages::Scraper, probes::Prober, servers::Servers},
    store::{Journal, SqliteJournal},
    web::{AppView, Board, Tokens},
};

use crate::{
    files::{environment, write_config},
    mortal::{Fate, MortalJournal, MortalPlatform},
};

pub const APP: &str = "api";
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Where a scenario begins.
const START: &str = "2026-03-01T03:00:00Z";
/// Nothing in here takes longer; a scenario that does has hung.
const LIMIT: Duration = Duration::from_secs(3 * 3600);

/// What the receiver got: the ids in order, with what each said.
#[derive(Default)]
pub struct Inbox {
    pub got: Mutex<Vec<(String, Value)>>,
    pub refusing: Mutex<bool>,
    pub beats: AtomicU32,
    clock: Mutex<Option<Clock>>,
}

#[async_trait]
impl Notifier for Inbox {
    async fn ask(&self, _: Verb, _: &Delivery) -> Result<Answered, String> {
        unreachable!("no receiver here answers with more than a status")
    }

    async fn beat(&self, _: &str) -> Result<(), String> {
        self.beats.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn send(&self, delivery: &Delivery) -> DeliveryOutcome {
        if *self.refusing.lock().unwrap() {
            return DeliveryOutcome::Retry { reason: "503".to_owned(), after: None };
        }
        let now = self.clock.lock().unwrap().as_ref().expect("the world is set up").now();
        signing::verify(
            &delivery.headers,
            &delivery.body,
            &[Secret::new(SECRET)],
            now,
            signing::TOLERANCE,
        )
        .expect("every message is signed");
        let id = delivery.headers.iter().find(|(name, _)| name == "webhook-id").unwrap().1.clone();
        let body = serde_json::from_str(&delivery.body).expect("every message is JSON");
        self.got.lock().unwrap().push((id, body));
        DeliveryOutcome::Accepted
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    daemon: JoinHandle<anyhow::Result<()>>,
}

pub struct World {
    pub sim: Sim,
    pub inbox: Arc<Inbox>,
    pub board: Board,
    pub fate: Arc<Fate>,
    dir: TempDir,
    reader: SqliteJournal,
    config: Config,
    clock: Clock,
    start: Timestamp,
    running: Option<Running>,
    pub orders: Arc<Orders>,
}

/// The thresholds that most scenarios use; `more` goes before them (keys of the file's head).
pub fn policy(head: &str) -> String {
    format!(
        r#"
apps = ["api"]
mode = "rollback"
{head}

[[threshold]]
name = "5xx"
ratio = {{ bad = 'http_requests_total{{status=~"5.."}}', total = 'http_requests_total' }}
max = "2%"

[[threshold]]
name = "p95"
latency = {{ histogram = 'http_request_duration_seconds', quantile = 0.95 }}
max = "500ms"

[[threshold]]
name = "checks"
checks = {{ failing = "30%", consecutive = 3 }}

[[threshold]]
name = "crashes"
crashes = {{ exits = 2, oom = 1 }}
"#
    )
}

/// A short bake and short confirmations; everything else as shipped.
pub const QUICK: &str = "
[watch]
bake = \"1m\"

[rollback]
confirm = \"10s\"
";

impl World {
    /// The demo's fleet under [`policy`] with [`QUICK`].
    pub async fn quick() -> Self {
        Self::new(&waveoff::sim::fleet::demo(), &policy(QUICK)).await
    }

    /// A fleet under one policy file, with the daemon running.
    pub async fn new(fleet: &Fleet, policy: &str) -> Self {
        let mut world = Self::idle(fleet, policy);
        world.start().await;
        world
    }

    /// The same, and the daemon not started yet.
    pub fn idle(fleet: &Fleet, policy: &str) -> Self {
        // A memory file system where there is one: every commit waits for its disk.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let config = write_config(dir.path(), policy);
        let start: Timestamp = START.parse().unwrap();
        let clock = Clock::starting_at(start);
        let inbox = Arc::new(Inbox::default());
        *inbox.clock.lock().unwrap() = Some(clock.clone());
        Self {
            sim: Sim::new(fleet, Clock::starting_at(start)),
            inbox,
            board: Board::new("acme", start),
            fate: Arc::default(),
            reader: journal(dir.path()),
            dir,
            config,
            clock,
            start,
            running: None,
            orders: Arc::default(),
        }
    }

    /// Starts the daemon on the journal that is there.
    pub async fn start(&mut self) {
        assert!(self.running.is_none(), "the daemon runs already");
        let platform = Arc::new(SimPlatform::new(self.sim.clone(), "waveoff@tokens.fly.io"));
        let mortal = Arc::new(MortalPlatform::new(platform.clone(), self.fate.clone()));
        let ports = Ports {
            platform: mortal.clone() as Arc<dyn Platform>,
            sources: vec![
                Arc::new(Scraper::new(platform.clone(), 16)),
                Arc::new(Servers::new(platform.clone(), &self.config)),
                Arc::new(Prober::new(platform, 64)),
            ],
            registry: mortal as Arc<dyn Registry>,
            notifier: self.inbox.clone(),
            journal: Arc::new(MortalJournal::new(journal(self.dir.path()), self.fate.clone())),
            board: self.board.clone(),
            clock: self.clock.clone(),
        };
        let settings = Settings {
            config: self.config.clone(),
            source: Some(ConfigSource::files(
                self.dir.path().join("config"),
                Arc::new(environment),
            )),
            listener: None,
            feed_every: Duration::from_secs(2),
            tokens: Tokens::default(),
            orders: self.orders.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let daemon = tokio::spawn(daemon::run(settings, Arc::new(ports), async move {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        self.running = Some(Running { stop, daemon });
    }

    /// The power goes: nothing of the daemon gets another instant.
    pub async fn kill(&mut self) {
        let running = self.running.take().expect("the daemon runs");
        running.daemon.abort();
        let ended = running.daemon.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "the daemon ended before");
        drop(running.stop);
    }

    /// SIGTERM.
    pub async fn stop(&mut self) {
        let running = self.running.take().expect("the daemon runs");
        running.stop.send(()).expect("the daemon listens");
        running.daemon.await.expect("no panic").expect("a clean end");
    }

    pub async fn restart(&mut self) {
        self.kill().await;
        self.start().await;
    }

    /// Changes the policy file while the daemon runs, as an operator does.
    pub async fn rewrite_policy(&mut self, policy: &str) {
        self.change_policy(policy);
        // Files are looked at every two seconds.
        self.run_for(3).await;
    }

    /// The same, and nothing is waited for.
    pub fn change_policy(&mut self, policy: &str) {
        self.config = write_config(self.dir.path(), policy);
    }

    pub async fn run_for(&mut self, seconds: u64) {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.still_runs();
        }
    }

    /// Fails when the daemon ended by itself.
    #[track_caller]
    pub fn still_runs(&self) {
        if let Some(running) = &self.running {
            assert!(!running.daemon.is_finished(), "the daemon ended by itself");
        }
    }

    /// Lets time pass until something happened to the app; restarts a daemon that fate killed.
    #[track_caller]
    pub fn until(&mut self, kind: EventKind) -> impl Future<Output = Event> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let deadline = tokio::time::Instant::now() + LIMIT;
            loop {
                if let Some(event) = self.last(kind).await {
                    return event;
                }
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "{caller}: no {}\n{}",
                    kind.as_str(),
                    self.timeline().await
                );
                tokio::time::sleep(Duration::from_millis(500)).await;
                if self.fate.has_struck() {
                    self.kill().await;
                    self.fate.spare();
                    self.start().await;
                }
                self.still_runs();
            }
        }
    }

    /// The first release, v41, has earned trust.
    pub async fn trusted(&mut self) {
        self.until(EventKind::ReleaseTrusted).await;
    }

    /// Ships and starts a new page in [`World::last`].
    pub fn ship(&self, image: &str) {
        self.sim
            .ship(APP, image, waveoff::sim::ShipOptions::default())
            .unwrap_or_else(|error| panic!("{image}: {error:?}"));
    }

    /// Everything that happened to the app, oldest first.
    pub async fn events(&self) -> Vec<Event> {
        let history = self.reader.history(Some(&APP.into()), None, 1000).await.unwrap();
        history.into_iter().rev().map(|entry| entry.event).collect()
    }

    /// Everything of one kind, whatever it is about, oldest first.
    pub async fn told(&self, kind: EventKind) -> Vec<Event> {
        let history = self.reader.history(None, None, 1000).await.unwrap();
        let events = history.into_iter().rev().map(|entry| entry.event);
        events.filter(|event| event.kind == kind).collect()
    }

    /// An operator's order for one app, or for all; answers with those that recorded it.
    pub async fn order(&self, app: Option<&str>, order: &Order) -> Vec<AppName> {
        self.try_order(app, order).await.expect("it is watched")
    }

    /// The same; `None`: nobody took it.
    pub async fn try_order(&self, app: Option<&str>, order: &Order) -> Option<Vec<AppName>> {
        let app = app.map(AppName::new);
        self.orders.give(&self.reader, app.as_ref(), order, self.now()).await.ok()
    }

    /// What comes of what `dana` orders for the app.
    pub async fn act(&self, act: Act) -> Reply {
        let (by, reason) = ("dana".to_owned(), "the sale".to_owned());
        let signed = Signed { by, reason, at: self.now() };
        self.orders.act(&APP.into(), act, signed).await.expect("it is watched")
    }

    /// Names of the apps on the board.
    pub fn watched(&self) -> Vec<String> {
        let apps = self.board.status(self.now()).apps;
        apps.into_iter().map(|view| view.app.to_string()).collect()
    }

    /// The revision and the document that are stored for an app.
    pub async fn stored(&self, app: &str) -> (u64, String) {
        let stored = self.reader.load(&app.into()).await.unwrap().unwrap();
        (stored.revision, stored.state)
    }

    /// What happens to the journal behind the daemon's back.
    pub fn tamper(&self, sql: &str) {
        let file = rusqlite::Connection::open(self.dir.path().join("journal.sqlite")).unwrap();
        file.execute_batch(sql).unwrap();
    }

    /// Writes or replaces a file of the configuration.
    pub fn configure(&self, file: &str, text: &str) {
        std::fs::write(self.dir.path().join("config").join(file), text).unwrap();
    }

    /// What a file of the configuration says.
    pub fn configuration(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.path().join("config").join(file)).unwrap()
    }

    /// Takes a file of the configuration away.
    pub fn unconfigure(&self, file: &str) {
        std::fs::remove_file(self.dir.path().join("config").join(file)).unwrap();
    }

    /// What the receiver got of one kind, oldest first.
    pub fn received(&self, kind: EventKind) -> Vec<Value> {
        let got = self.inbox.got.lock().unwrap();
        let bodies = got.iter().map(|(_, body)| body);
        bodies.filter(|body| body["type"] == kind.as_str()).cloned().collect()
    }

    /// The newest event of a kind.
    pub async fn last(&self, kind: EventKind) -> Option<Event> {
        self.events().await.into_iter().rev().find(|event| event.kind == kind)
    }

    pub async fn count(&self, kind: EventKind) -> usize {
        self.events().await.iter().filter(|event| event.kind == kind).count()
    }

    /// Seconds from one event to another.
    pub async fn seconds_between(&self, from: EventKind, to: EventKind) -> f64 {
        let (from, to) = (self.last(from).await.unwrap(), self.last(to).await.unwrap());
        to.at.duration_since(from.at).as_secs_f64()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn view(&self) -> AppView {
        self.board.app(&AppName::new(APP)).expect("the app is on the board")
    }

    /// What happened, as a person would tell it: minutes and seconds since the start.
    pub async fn timeline(&self) -> String {
        let events = self.events().await;
        let lines = events.iter().map(|event| {
            let at = event.at.duration_since(self.start).as_secs();
            let reason = event.reason.as_ref().map(text::reason);
            let reason = reason.map(|r| format!(" ({r})")).unwrap_or_default();
            let release = event
                .release
                .as_ref()
                .map(waveoff::model::event::ReleaseInfo::label)
                .unwrap_or_default();
            let done: Vec<&str> = event
                .regions
                .iter()
                .filter(|region| region.phase == RegionStage::Confirmed)
                .map(|region| region.region.as_str())
                .collect();
            let done =
                if done.is_empty() { String::new() } else { format!(" [{}]", done.join(" ")) };
            let kind = event.kind.as_str();
            format!("{}:{:02} {kind} {release}{done}{reason}\n", at / 60, at % 60)
        });
        lines.collect()
    }

    /// The sentences that people read, oldest first.
    pub async fn sentences(&self) -> String {
        self.events().await.iter().map(|event| text::sentence(event) + "\n").collect()
    }

    /// How many machines run which tag.
    pub fn images(&self) -> BTreeMap<String, usize> {
        let mut images = BTreeMap::new();
        for image in self.sim.running(APP).into_values() {
            let tag = image.split('@').next().unwrap_or_default();
            let tag = tag.rsplit_once(':').map_or(tag, |(_, tag)| tag).to_owned();
            *images.entry(tag).or_default() += 1;
        }
        images
    }

    #[track_caller]
    pub fn all_run(&self, tag: &str) {
        let images = self.images();
        assert_eq!(images.keys().collect::<Vec<_>>(), [tag], "{images:?}");
    }

    /// Ends the scenario: the daemon stops cleanly, and whatever was to be told was told, once.
    pub async fn finish(mut self) {
        if self.running.is_none() {
            self.start().await;
        }
        // The outbox empties by itself.
        for _ in 0..600 {
            let counts = self.reader.outbox_counts().await.unwrap();
            if counts.iter().all(|(_, waiting, _)| *waiting == 0) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.stop().await;
        let counts = self.reader.outbox_counts().await.unwrap();
        assert!(counts.iter().all(|(_, waiting, dead)| waiting + dead == 0), "{counts:?}");
        let history = self.reader.history(None, None, 1000).await.unwrap();
        let ids: BTreeSet<_> = history.iter().map(|entry| entry.message_id.clone()).collect();
        assert_eq!(ids.len(), history.len(), "an event was recorded twice");
        let got: BTreeSet<_> =
            self.inbox.got.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
        assert!(got.is_subset(&ids), "something was told that did not happen");
        // What flaps is summed up: it may be missing where the like was told shortly before, which
        // may itself have been told up to ten minutes late.
        for missing in history.iter().filter(|entry| !got.contains(&entry.message_id)) {
            let told = history.iter().any(|other| {
                got.contains(&other.message_id)
                    && other.event.kind == missing.event.kind
                    && other.event.app == missing.event.app
                    // Whichever came first: the clock may have been put back meanwhile.
                    && missing.event.at.duration_since(other.event.at).as_secs().abs() <= 1200
            });
            assert!(told, "never told: {:?}", missing.event);
        }
    }
}

/// An event's reason as people read it; empty without one.
pub fn why(event: &Event) -> String {
    event.reason.as_ref().map(text::reason).unwrap_or_default()
}

fn journal(dir: &std::path::Path) -> SqliteJournal {
    SqliteJournal::open(&dir.join("journal.sqlite")).expect("the journal opens")
}
