//! The delivery worker on a real journal, with scripted receivers and a paused clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::ports::{Answered, Verb};
use crate::{
    config::Secret,
    model::{Event, EventKind},
    store::{Commit, OutboxEntry, SqliteJournal, Term},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver does with a request.
enum Answer {
    Say(DeliveryOutcome),
    /// Takes the request and is never heard of again.
    Never,
}

fn refuse(reason: &str, after: Option<u64>) -> Answer {
    let after = after.map(Duration::from_secs);
    Answer::Say(DeliveryOutcome::Retry { reason: reason.to_owned(), after })
}

/// Receivers by URL, each with the answers it will give; afterwards it accepts everything.
struct Receivers {
    start: Instant,
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    /// Seconds since the start, URL, message id.
    log: Mutex<Vec<(u64, String, String)>>,
    requests: Mutex<Vec<Request>>,
}

#[async_trait]
impl Notifier for Receivers {
    async fn ask(&self, _: Verb, _: &Request) -> Result<Answered, String> {
        unreachable!("receivers that answer have tests of their own")
    }

    async fn send(&self, delivery: &Request) -> DeliveryOutcome {
        let id = delivery.headers.iter().find(|(name, _)| name == "webhook-id").unwrap().1.clone();
        let seconds = self.start.elapsed().as_secs();
        self.log.lock().unwrap().push((seconds, delivery.url.clone(), id));
        self.requests.lock().unwrap().push(delivery.clone());
        let answer = self
            .answers
            .lock()
            .unwrap()
            .get_mut(&delivery.url)
            .and_then(VecDeque::pop_front)
            .unwrap_or(Answer::Say(DeliveryOutcome::Accepted));
        match answer {
            Answer::Say(outcome) => outcome,
            Answer::Never => std::future::pending().await,
        }
    }
}

struct World {
    dir: TempDir,
    journal: Arc<SqliteJournal>,
    receivers: Arc<Receivers>,
    config: watch::Sender<Arc<Config>>,
    wake: Arc<Notify>,
    clock: Clock,
    revision: u64,
}

impl World {
    /// Receivers `ops` and `chat`; a message may be an hour old.
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let journal = SqliteJournal::open(&dir.path().join("journal.db")).unwrap();
        Self {
            journal: Arc::new(journal),
            dir,
            receivers: Arc::new(Receivers {
                start: Instant::now(),
                answers: Mutex::default(),
                log: Mutex::default(),
                requests: Mutex::default(),
            }),
            config: watch::Sender::new(config(&["ops", "chat"])),
            wake: Arc::new(Notify::new()),
            clock: Clock::starting_at("2026-03-01T02:03:04Z".parse().unwrap()),
            revision: 0,
        }
    }

    fn script(&self, url: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        self.receivers.answers.lock().unwrap().insert(url.to_owned(), answers);
    }

    /// One commit with these messages for these receivers.
    async fn tell(&mut self, ids: &[&str], receivers: &[&str]) {
        let now = self.clock.now();
        let event = Event::new(EventKind::RollbackStarted, now, Some("api".into()));
        let entry = |id: &str, receiver: &str| OutboxEntry {
            receiver: receiver.to_owned(),
            message_id: id.to_owned(),
            event: event.clone(),
        };
        let commit = Commit {
            term: Term::FIRST,
            state: "{}".to_owned(),
            events: ids.iter().map(|id| ((*id).to_owned(), event.clone())).collect(),
            outbox: ids.iter().flat_map(|id| receivers.iter().map(move |r| entry(id, r))).collect(),
        };
        let app = "api".into();
        self.revision = self.journal.commit(&app, self.revision, commit, now).await.unwrap();
        self.wake.notify_one();
    }

    fn start(&self) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let journal: Arc<dyn Journal> = Arc::clone(&self.journal) as Arc<dyn Journal>;
        let worker = Delivery {
            journal,
            config: self.config.subscribe(),
            notifier: Arc::clone(&self.receivers) as Arc<dyn Notifier>,
            clock: self.clock.clone(),
            board: crate::web::Board::new("acme", self.clock.now()),
            wake: Arc::clone(&self.wake),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(worker.run(async {
            let _dropped = stopped.await;
        }));
        (stop, task)
    }

    /// What happens to the file behind the daemon's back.
    fn tamper(&self, sql: &str) {
        let file = rusqlite::Connection::open(self.dir.path().join("journal.db")).unwrap();
        file.execute_batch(sql).unwrap();
    }

    /// Lets `seconds` of simulated time pass.
    async fn pass(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    /// `receiver message` in the order of sending.
    fn sent(&self) -> Vec<String> {
        let log = self.receivers.log.lock().unwrap();
        log.iter().map(|(_, url, id)| format!("{url} {id}")).collect()
    }

    /// When requests for `url` came, in seconds since the start.
    fn times(&self, url: &str) -> Vec<u64> {
        let log = self.receivers.log.lock().unwrap();
        log.iter().filter(|(_, to, _)| to == url).map(|(second, ..)| *second).collect()
    }

    async fn counts(&self) -> Vec<(String, u64, u64)> {
        self.journal.outbox_counts().await.unwrap()
    }

    async fn dead(&self) -> Vec<String> {
        let dead = self.journal.dead_letters(10).await.unwrap();
        dead.iter().map(|d| format!("{} {}: {}", d.receiver, d.message_id, d.reason)).collect()
    }
}

fn config(names: &[&str]) -> Arc<Config> {
    let receiver = |name: &&str| Receiver {
        name: (*name).to_owned(),
        format: Format::Standard,
        url: Secret::new(*name),
        secrets: vec![Secret::new(SECRET)],
        events: Vec::new(),
        apps: Vec::new(),
        severity: crate::model::Severity::Info,
        channel: None,
        max_age: Duration::from_secs(3600),
    };
    Arc::new(Config {
        organization: "acme".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        page_url: None,
        data_dir: "data".into(),
        keep_history: Duration::from_secs(3600),
        heartbeat: None,
        own_app: None,
        metrics_servers: BTreeMap::new(),
        receivers: names.iter().map(|name| ((*name).to_owned(), receiver(name))).collect(),
        policies: Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_once_in_order_signed_and_under_one_id() {
    let mut world = World::new();
    let _worker = world.start();
    world.tell(&["m-1", "m-2"], &["ops", "chat"]).await;
    world.pass(1).await;
    world.tell(&["m-3"], &["ops"]).await;
    world.pass(300).await;

    let mut sent = world.sent();
    assert_eq!(sent.iter().filter(|s| s.starts_with("ops")).count(), 3);
    sent.retain(|s| s.starts_with("ops"));
    assert_eq!(sent, ["ops m-1", "ops m-2", "ops m-3"]);
    assert_eq!(world.counts().await, []);
    assert_eq!(world.times("ops")[2], 1, "a commit wakes the worker");
    for request in world.receivers.requests.lock().unwrap().iter() {
        let now = world.clock.now();
        let secrets = [Secret::new(SECRET)];
        let tolerance = SignedDuration::from_mins(6);
        signing::verify(&request.headers, &request.body, &secrets, now, tolerance).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_delays_only_itself() {
    let mut world = World::new();
    world.script("ops", [Answer::Never, Answer::Never]);
    let _worker = world.start();
    world.tell(&["m-1", "m-2"], &["ops", "chat"]).await;
    world.pass(5).await;
    world.tell(&["m-3"], &["chat"]).await;
    world.pass(5).await;
    assert_eq!(world.times("chat"), [0, 0, 5]);
    assert_eq!(world.times("ops"), [0]);

    world.pass(200).await;
    // 30 s without an answer, about 1 s of waiting, 30 s, about 2 s.
    assert_eq!(world.times("ops"), [0, 31, 62, 62]);
    assert_eq!(world.counts().await, []);
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_ever_more_slowly_and_nothing_overtakes() {
    let mut world = World::new();
    world.script("ops", (0..6).map(|_| refuse("answered 503", None)));
    let _worker = world.start();
    world.tell(&["m-1", "m-2"], &["ops"]).await;
    world.pass(120).await;

    let mut expected = vec!["ops m-1"; 7];
    expected.push("ops m-2");
    assert_eq!(world.sent(), expected);
    let times = world.times("ops");
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, most) in gaps.iter().zip([1, 2, 4, 8, 16, 32]) {
        assert!(*gap <= most + 1 && *gap + 1 >= most * 3 / 4, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_for_time_gets_it() {
    let mut world = World::new();
    world.script("ops", [refuse("answered 429", Some(90))]);
    let _worker = world.start();
    world.tell(&["m-1"], &["ops", "chat"]).await;
    world.pass(300).await;
    assert_eq!(world.times("ops"), [0, 90]);
    assert_eq!(world.times("chat"), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_is_kept_aside_and_the_next_one_goes_out() {
    let mut world = World::new();
    let gone = DeliveryOutcome::Refused { reason: "answered 410".to_owned() };
    world.script("ops", [Answer::Say(gone)]);
    let _worker = world.start();
    world.tell(&["m-1", "m-2"], &["ops"]).await;
    world.pass(10).await;
    assert_eq!(world.sent(), ["ops m-1", "ops m-2"]);
    assert_eq!(world.dead().await, ["ops m-1: answered 410"]);
}

fn unfit() -> Answer {
    Answer::Say(DeliveryOutcome::Unfit { reason: "answered 400 (invalid_blocks)".to_owned() })
}

#[tokio::test(start_paused = true)]
async fn a_message_its_receiver_will_not_have_does_not_hold_up_the_next_ones() {
    let mut world = World::new();
    world.script("ops", (0..5).map(|_| unfit()));
    let _worker = world.start();
    world.tell(&["m-1", "m-2", "m-3"], &["ops"]).await;
    world.pass(60).await;
    let mut expected = vec!["ops m-1"; 5];
    expected.extend(["ops m-2", "ops m-3"]);
    assert_eq!(world.sent(), expected);
    assert!((10..=16).contains(&world.times("ops")[4]), "{:?}", world.times("ops"));
    let dead = world.dead().await;
    assert_eq!(dead.len(), 1);
    assert!(
        dead[0].starts_with("ops m-1: answered 400 (invalid_blocks) to 5 attempts"),
        "{dead:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_misconfigured_for_a_moment_loses_nothing() {
    let mut world = World::new();
    let down = (0..6).map(|_| refuse("answered 503", None));
    world.script("ops", down.chain((0..4).map(|_| unfit())));
    let _worker = world.start();
    world.tell(&["m-1", "m-2"], &["ops"]).await;
    world.pass(3500).await;
    assert_eq!(world.counts().await, [], "outages before count for nothing");
    for id in ["ops m-1", "ops m-2"] {
        assert!(world.sent().contains(&id.to_owned()), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_grew_too_old_is_given_up_in_time_with_its_reasons() {
    let mut world = World::new();
    world.script("ops", (0..50).map(|_| refuse("answered 503", None)));
    let _worker = world.start();
    world.tell(&["m-1"], &["ops"]).await;
    world.pass(3595).await;
    assert_eq!(world.counts().await, [("ops".to_owned(), 1, 0)]);
    world.pass(10).await;
    let reason = "ops m-1: not delivered within 60 min; before that: answered 503";
    assert_eq!(world.dead().await, [reason]);
    assert!(world.times("ops").len() < 20);
}

#[tokio::test(start_paused = true)]
async fn killed_between_sending_and_noting_it_sends_again_under_the_same_id() {
    let mut world = World::new();
    world.script("ops", [Answer::Never]);
    let (_stop, task) = world.start();
    world.tell(&["m-1", "m-2"], &["ops"]).await;
    world.pass(2).await;
    assert_eq!(world.sent(), ["ops m-1"]);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());

    let _restarted = world.start();
    world.pass(2).await;
    assert_eq!(world.sent(), ["ops m-1", "ops m-1", "ops m-2"]);
    let requests = world.receivers.requests.lock().unwrap();
    assert_eq!(requests[0].body, requests[1].body, "a duplicate can be recognised");
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_cannot_be_noted_is_repeated_slowly_until_it_can() {
    let mut world = World::new();
    world.tamper(
        "CREATE TRIGGER full BEFORE DELETE ON outbox BEGIN SELECT raise(ABORT, 'disk full'); END",
    );
    let _worker = world.start();
    world.tell(&["m-1"], &["ops"]).await;
    world.pass(10).await;
    let sent = world.sent();
    assert!((5..=11).contains(&sent.len()), "{sent:?}");
    assert!(sent.iter().all(|message| message == "ops m-1"));

    world.tamper("DROP TRIGGER full");
    world.pass(10).await;
    assert_eq!(world.counts().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_sign_holds_the_message_until_it_is_mended() {
    let mut world = World::new();
    let mut broken = Config::clone(&config(&["ops"]));
    broken.receivers.get_mut("ops").unwrap().secrets = vec![Secret::new("whsec_?")];
    world.config.send_replace(Arc::new(broken));
    let _worker = world.start();
    world.tell(&["m-1"], &["ops"]).await;
    world.pass(10).await;
    assert_eq!(world.sent(), Vec::<String>::new());
    world.config.send_replace(config(&["ops"]));
    world.pass(20).await;
    assert_eq!(world.sent(), ["ops m-1"]);
}

#[tokio::test(start_paused = true)]
async fn told_to_stop_it_waits_a_moment_for_what_is_under_way_and_no_longer() {
    let mut world = World::new();
    world.script("ops", [Answer::Never]);
    let (stop, task) = world.start();
    world.tell(&["m-1"], &["ops"]).await;
    world.pass(1).await;
    let before = Instant::now();
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 2);
    assert_eq!(world.counts().await, [("ops".to_owned(), 1, 0)]);
}

/// An editor that removes the file and writes it anew.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_missing_for_a_moment_loses_nothing() {
    let mut world = World::new();
    let _worker = world.start();
    world.config.send(config(&["ops"])).unwrap();
    world.tell(&["m-1"], &["chat"]).await;
    world.pass(50).await;
    assert_eq!(world.sent(), Vec::<String>::new());
    world.config.send(config(&["ops", "chat"])).unwrap();
    world.pass(5).await;
    assert_eq!(world.sent(), ["chat m-1"]);
    // The next absence counts from its own beginning.
    world.config.send(config(&["ops"])).unwrap();
    world.tell(&["m-2"], &["chat"]).await;
    world.pass(50).await;
    assert_eq!(world.counts().await, [("chat".to_owned(), 1, 0)]);
    world.pass(20).await;
    assert_eq!(world.dead().await, ["chat m-2: the receiver is no longer configured"]);
}

#[tokio::test(start_paused = true)]
async fn messages_for_a_receiver_that_was_removed_are_kept_aside() {
    let mut world = World::new();
    world.script("chat", [refuse("answered 503", Some(600))]);
    let _worker = world.start();
    world.tell(&["m-1"], &["chat"]).await;
    world.pass(5).await;
    world.config.send(config(&["ops"])).unwrap();
    world.pass(700).await;
    let reason = "chat m-1: the receiver is no longer configured; before that: answered 503";
    assert_eq!(world.dead().await, [reason]);
}

#[test]
fn waits_double_from_one_second_to_ten_minutes_and_differ_between_messages() {
    for (attempts, full) in [(0, 1.0), (1, 2.0), (5, 32.0), (9, 512.0), (10, 600.0), (99, 600.0)] {
        for id in ["a", "b", "c"] {
            let wait = backoff(attempts, id).as_secs_f64();
            assert!(wait <= full && wait >= (full * 0.75_f64).max(1.0), "{attempts}: {wait}");
        }
    }
    assert_ne!(backoff(8, "a"), backoff(8, "b"));
    assert_eq!(backoff(8, "a"), backoff(8, "a"));
}
