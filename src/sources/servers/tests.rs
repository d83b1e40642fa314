//! A round's questions to a server whose answers are made up here.

mod expressions;
mod trouble;

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::{
    config::Secret,
    model::{
        Count, Mode, NoData, OnBreach, Origin, Policy, Ratio, RollbackPolicy, Selector, Since,
        Tally, Threshold, ThresholdKind, WatchPolicy,
    },
};

/// One server: what it answers, what it was asked.
#[derive(Default)]
struct Fake {
    /// Requests and failures of each machine so far, by app and machine.
    counts: Mutex<BTreeMap<(String, String), (f64, f64)>>,
    /// When it takes its samples; `None`: it has stopped.
    now: Mutex<Option<Timestamp>>,
    fails: Mutex<Option<ServerError>>,
    hangs: AtomicU32,
    /// How long it takes for each query.
    takes: Mutex<Duration>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl MetricsServers for Fake {
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError> {
        lock(&self.asked).push(query.query.to_owned());
        if self.hangs.load(Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
        if let Some(error) = lock(&self.fails).clone() {
            return Err(error);
        }
        let takes = *lock(&self.takes);
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if query.query.contains("heavy") {
            tokio::time::sleep(Duration::from_secs(9)).await;
            return Err(ServerError::plain("answered 503: query timed out".to_owned()));
        }
        if query.query.contains("broken") {
            let refused = ServerError::plain("does not take the query (422): no broken".to_owned());
            return Err(ServerError { query_refused: true, ..refused });
        }
        let Some(now) = *lock(&self.now) else { return Ok(Vec::new()) };
        if query.query.starts_with("label_replace") {
            let marks = query.query.split("\"waveoff_app\", \"").skip(1);
            let apps = marks.filter_map(|rest| rest.split_once('"')).map(|(app, _)| app);
            let one = |app: &str| {
                let labels = [("instance", "m1"), ("waveoff_app", app)];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
                SampledSeries { labels: labels.into(), samples: vec![(now, 42.0)] }
            };
            return Ok(apps.map(one).collect());
        }
        if query.query.starts_with("queue") {
            let labels = [("instance".to_owned(), "m1".to_owned())].into();
            return Ok(vec![SampledSeries { labels, samples: vec![(now, 42.0)] }]);
        }
        let mut all = Vec::new();
        for ((app, machine), (n, k)) in &*lock(&self.counts) {
            for (name, value) in [("all", n), ("bad", k)] {
                let labels = [("__name__", name), ("app", app), ("instance", machine)];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
                all.push(SampledSeries { labels: labels.into(), samples: vec![(now, *value)] });
            }
        }
        Ok(all)
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn machine(id: &str) -> Machine {
    Machine {
        app: "api".into(),
        id: id.into(),
        instance: "i1".into(),
        region: "iad".into(),
        started_at: Some(at(-1000)),
        updated_at: at(-1000),
        has_services: true,
        service_port: None,
        own_schedule: false,
        ..crate::model::machine::tests::machine(MachineState::Started)
    }
}

fn threshold(name: &str, from: Origin) -> Threshold {
    let (bad, total) = (Selector::metric("bad"), Selector::metric("all"));
    let kind = ThresholdKind::Ratio(Ratio {
        bad,
        total,
        max: 0.02,
        relative: None,
        strict: false,
        by: Vec::new(),
        from,
    });
    Threshold { name: name.into(), kind, no_data: NoData::Hold, on_breach: OnBreach::Rollback }
}

fn policy(thresholds: Vec<Threshold>) -> Policy {
    Policy {
        name: "web".into(),
        mode: Mode::Rollback,
        watch: WatchPolicy::default(),
        thresholds,
        rollback: RollbackPolicy::default(),
        freezes: Vec::new(),
        per_organization_max: 20,
        metrics_port: None,
        metrics_path: None,
        metrics_https: None,
    }
}

fn config(servers: &[MetricsServer]) -> Config {
    Config {
        organization: "acme".to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: "data".into(),
        page_url: None,
        keep_history: Duration::from_secs(1),
        receivers: BTreeMap::new(),
        metrics_servers: servers.iter().map(|one| (one.name.clone(), one.clone())).collect(),
        heartbeat: None,
        own_app: None,
        policies: Vec::new(),
    }
}

/// Fly's server, which is asked by rounds of two seconds.
struct Stage {
    fake: Arc<Fake>,
    servers: Servers,
    policy: Policy,
    machines: Vec<Machine>,
    began: Instant,
}

impl Stage {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let servers = Servers::new(fake.clone(), &config(&[MetricsServer::fly()]));
        let policy = policy(vec![threshold("5xx", MetricsServer::fly().origin())]);
        Self { fake, servers, policy, machines: vec![machine("m1")], began: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        at(i64::try_from(self.began.elapsed().as_secs()).unwrap())
    }

    /// The server takes a sample in which one machine has these counts.
    fn samples(&self, app: &str, machine: &str, n: f64, k: f64) {
        let whose = (app.to_owned(), machine.to_owned());
        lock(&self.fake.counts).insert(whose, (n, k));
        *lock(&self.fake.now) = Some(self.now());
    }

    async fn look(&self, app: &str) -> Answer {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let source = SourceName::Server("fly".to_owned());
        let wanted = self.policy.wants(&source);
        let app = AppName::new(app);
        let question = Question {
            app: &app,
            source: &source,
            listed: self.now(),
            machines: &self.machines,
            wanted: &wanted,
            policy: &self.policy,
        };
        self.servers.read(question).await
    }

    /// What was counted on the first machine over so many rounds.
    async fn counted(&self, app: &str, rounds: u32) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for _ in 0..rounds {
            let answer = self.look(app).await;
            let readings = answer.samples.first().and_then(|one| one.readings.as_ref().ok());
            if let Some(Count { n, k, since }) =
                readings.and_then(|readings| readings.counts.get("5xx").copied())
            {
                assert_eq!(since, Since::LastScrape);
                sum = (sum.0 + n, sum.1 + k);
            }
        }
        sum
    }

    /// Whose late counts came over so many rounds: machine, instance, events and failures.
    async fn belated(&self, app: &str, rounds: u32) -> Vec<(String, String, f64, f64)> {
        let mut all = Vec::new();
        for _ in 0..rounds {
            for sample in self.look(app).await.samples {
                let readings = sample.readings.unwrap();
                let belated = readings.belated.into_values();
                all.extend(belated.map(|one| {
                    let Tally { n, k } = one.tally;
                    (sample.machine.to_string(), one.instance.to_string(), n, k)
                }));
            }
        }
        all
    }

    fn asked(&self) -> Vec<String> {
        lock(&self.fake.asked).clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_counts_comes_to_the_machine_that_the_list_shows() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1000.0, 3.0);
    assert_eq!(stage.counted("api", 4).await, (0.0, 0.0), "the first sample is where it starts");
    stage.samples("api", "m1", 1100.0, 13.0);
    assert_eq!(stage.counted("api", 6).await, (0.0, 0.0), "no list is new enough yet");
    assert_eq!(stage.counted("api", 10).await, (100.0, 10.0));
    let answer = stage.look("api").await;
    assert_eq!((answer.samples.len(), answer.blind), (1, None));
    assert_eq!(answer.samples[0].source, SourceName::Server("fly".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_query_is_for_all_apps_and_no_more_often_than_every_five_seconds() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1.0, 0.0);
    stage.look("api").await;
    stage.look("shop").await;
    lock(&stage.fake.asked).clear();
    for _ in 0..10 {
        stage.look("api").await;
        stage.look("shop").await;
    }
    let asked = stage.asked();
    assert!((6..=9).contains(&asked.len()), "{} queries in 40 s", asked.len());
    assert!(asked.iter().all(|query| query.contains(r#"app=~"api|shop""#)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn many_apps_are_asked_for_in_several_queries() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1.0, 0.0);
    let names: Vec<String> = (0..101).map(|app| format!("app{app}.")).collect();
    for _ in 0..4 {
        join_all(names.iter().map(|app| stage.look(app))).await;
    }
    let asked = stage.asked();
    let [.., most, rest] = asked.as_slice() else { panic!("{asked:?}") };
    let named = |app: &String| most.contains(app.as_str()) != rest.contains(app.as_str());
    assert!(names.iter().map(|app| app.replace('.', "\\\\.")).all(|app| named(&app)), "{asked:?}");
    assert!(asked.iter().all(|query| query.len() < 1500), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_is_asked_for_and_nobody_else_is_for_it() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1.0, 0.0);
    for app in ["api", "shop"] {
        stage.look(app).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    lock(&stage.fake.asked).clear();
    stage.counted("api", 4).await;
    let asked = stage.asked();
    assert!(
        asked.len() >= 2 && asked.iter().all(|query| query.contains(r#"app=~"api""#)),
        "{asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn two_thresholds_that_want_the_same_are_both_told() {
    let mut stage = Stage::new();
    stage.policy.thresholds.push(threshold("alert", MetricsServer::fly().origin()));
    stage.samples("api", "m1", 0.0, 0.0);
    stage.counted("api", 3).await;
    stage.samples("api", "m1", 50.0, 5.0);
    for _ in 0..20 {
        let answer = stage.look("api").await;
        let Ok(readings) = &answer.samples[0].readings else { panic!("unread") };
        assert_eq!(readings.counts.get("5xx"), readings.counts.get("alert"));
        if readings.counts.get("alert").is_some_and(|count| count.n > 0.0) {
            return;
        }
    }
    panic!("nothing was counted");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_blind_for_all_and_asked_ever_more_seldom() {
    let stage = Stage::new();
    let refused = ServerError::plain("refuses the token (401)".to_owned());
    *lock(&stage.fake.fails) = Some(refused);
    assert_eq!(stage.look("api").await.blind, None, "once is no trouble yet");
    stage.counted("api", 3).await;
    let answer = stage.look("api").await;
    assert_eq!(answer.blind.as_deref(), Some("refuses the token (401)"));
    assert!(answer.samples.is_empty());
    let name = SourceName::Server("fly".to_owned());
    assert_eq!(stage.servers.troubles(), [(name.clone(), "refuses the token (401)".to_owned())]);
    assert!(!stage.servers.is_answered(&name));
    for _ in 0..300 {
        stage.look("api").await;
    }
    let asked = stage.asked().len();
    assert!((10..=18).contains(&asked), "{asked} queries in ten minutes");

    *lock(&stage.fake.fails) = None;
    stage.samples("api", "m1", 1.0, 0.0);
    stage.counted("api", 40).await;
    assert_eq!(stage.look("api").await.blind, None);
    assert!(stage.servers.troubles().is_empty() && stage.servers.is_answered(&name));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_wants_to_be_left_alone_is() {
    let stage = Stage::new();
    let retry_after = Some(Duration::from_secs(40));
    let busy =
        ServerError { retry_after, ..ServerError::plain("asked too often (429)".to_owned()) };
    *lock(&stage.fake.fails) = Some(busy);
    stage.counted("api", 18).await;
    assert_eq!(stage.asked().len(), 1);
    stage.counted("api", 4).await;
    assert_eq!(stage.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_round_waits_for_a_server_that_hangs() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1.0, 0.0);
    stage.counted("api", 4).await;
    stage.fake.hangs.store(1, Ordering::Relaxed);
    for _ in 0..5 {
        let began = Instant::now();
        stage.look("api").await;
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
    }
    stage.counted("api", 10).await;
    let blind = stage.look("api").await.blind.unwrap();
    assert!(blind.contains("no answer within 15 s"), "{blind}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_its_targets_no_more_is_blind() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1.0, 0.0);
    stage.counted("api", 50).await;
    assert_eq!(stage.look("api").await.blind, None);
    stage.counted("api", 20).await;
    let blind = stage.look("api").await.blind.unwrap();
    assert!(blind.contains("reads its targets no more"), "{blind}");
    assert!(stage.servers.troubles().is_empty(), "it answers, and may have samples of others");
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_requests_is_told_from_a_name_that_no_app_has() {
    let stage = Stage::new();
    stage.samples("shop", "m9", 1.0, 0.0);
    for _ in 0..60 {
        let answer = stage.look("api").await;
        let Ok(readings) = &answer.samples[0].readings else { panic!("unread") };
        assert!(readings.unmatched.is_empty() && readings.counts.is_empty());
        stage.samples("shop", "m9", 1.0, 0.0);
    }
    let stage = Stage::new();
    *lock(&stage.fake.now) = None;
    stage.counted("api", 25).await;
    let unmatched = |answer: &Answer| {
        answer.samples[0].readings.as_ref().is_ok_and(|told| told.unmatched.contains("5xx"))
    };
    assert!(!unmatched(&stage.look("api").await), "it may have read nothing yet");
    stage.counted("api", 10).await;
    assert!(unmatched(&stage.look("api").await));
}

#[tokio::test(start_paused = true)]
async fn what_a_machine_counted_before_its_instance_is_nobodys() {
    let mut stage = Stage::new();
    stage.samples("api", "m1", 100.0, 0.0);
    stage.counted("api", 3).await;
    stage.samples("api", "m1", 200.0, 100.0);
    // It is updated; the list shows it before the increment is ripe.
    stage.machines[0].started_at = Some(stage.now());
    stage.machines[0].instance = "i2".into();
    assert_eq!(stage.counted("api", 20).await, (0.0, 0.0));
    stage.samples("api", "m1", 250.0, 100.0);
    assert_eq!(stage.counted("api", 20).await, (50.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_settings_change_begins_anew_and_one_that_is_gone_tells_nothing() {
    let stage = Stage::new();
    stage.samples("api", "m1", 1.0, 0.0);
    stage.counted("api", 3).await;
    let before = stage.servers.server("fly").unwrap();
    stage.servers.configure(&config(&[MetricsServer::fly()]));
    assert!(Arc::ptr_eq(&before, &stage.servers.server("fly").unwrap()));
    let changed = MetricsServer { token: Some(Secret::new("t")), ..MetricsServer::fly() };
    stage.servers.configure(&config(&[changed]));
    assert!(!Arc::ptr_eq(&before, &stage.servers.server("fly").unwrap()));
    stage.servers.configure(&config(&[]));
    let blind = stage.look("api").await.blind.unwrap();
    assert_eq!(blind, "no metrics server of this name is configured");
}

#[tokio::test(start_paused = true)]
async fn one_failed_query_costs_nothing_and_blinds_nobody() {
    let stage = Stage::new();
    stage.samples("api", "m1", 0.0, 0.0);
    stage.counted("api", 4).await;
    stage.samples("api", "m1", 100.0, 10.0);
    *lock(&stage.fake.fails) = Some(ServerError::plain("answered 503".to_owned()));
    let before = stage.asked().len();
    while stage.asked().len() == before {
        assert_eq!(stage.look("api").await.blind, None);
    }
    *lock(&stage.fake.fails) = None;
    assert_eq!(stage.counted("api", 15).await, (100.0, 10.0));
    assert_eq!(stage.look("api").await.blind, None);
}

/// Its samples come when the machine runs the next release already, or is gone.
#[tokio::test(start_paused = true)]
async fn the_last_seconds_of_what_a_machine_ran_are_told_when_it_runs_it_no_more() {
    for is_replaced in [true, false] {
        let mut stage = Stage::new();
        stage.samples("api", "m1", 100.0, 0.0);
        stage.counted("api", 3).await;
        stage.samples("api", "m1", 160.0, 9.0);
        stage.counted("api", 3).await;
        let now = stage.now();
        if is_replaced {
            (stage.machines[0].instance, stage.machines[0].started_at) = ("i2".into(), Some(now));
        } else {
            stage.machines = vec![machine("m2")];
        }
        let late = ("m1".to_owned(), "i1".to_owned(), 60.0, 9.0);
        assert_eq!(stage.belated("api", 20).await, [late], "{is_replaced}");
    }
}
