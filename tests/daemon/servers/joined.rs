//! An expression for several apps is one query to real servers, and what does not fit one of them is no
//! trouble of the others.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use waveoff::{
    config::{Config, Secret},
    model::{AppName, Machine, Oddity, SourceName},
    ports::{MetricsServers, Platform as _, SampledSeries, ServerError, ServerQuery},
    sim::{
        Behaviour, Fleet, Sim,
        fleet::{FleetApp, FleetImage},
        ports::SimPlatform,
    },
    sources::{
        Question, Source as _,
        servers::{HttpServers, PlatformServer, Servers},
    },
};

use super::{
    writing::{Sample, now, write},
    *,
};

/// One that fits an app whose answers have one status beside 500.
const POLICY: &str = r#"
apps = ["*"]
mode = "observe"

[[threshold]]
name = "odds"
promql = '''
fly_app_http_responses_count{app="$app",status="500"}
  / on (instance) fly_app_http_responses_count{app="$app",status=~"2.."}  # odds of $app'''
max = 1
"#;

/// Asks real servers, and keeps what was asked.
struct Noted {
    http: HttpServers,
    queries: Mutex<Vec<String>>,
}

#[async_trait]
impl MetricsServers for Noted {
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError> {
        self.queries.lock().unwrap().push(query.query.to_owned());
        self.http.ask(query).await
    }
}

/// Apps of one machine each, which are judged by the same expression.
struct Apps {
    noted: Arc<Noted>,
    servers: Servers,
    config: Config,
    machines: Vec<(AppName, Vec<Machine>)>,
}

impl Apps {
    async fn of(server: &Server) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("waveoff.toml"), server.alone()).unwrap();
        std::fs::create_dir(directory.path().join("thresholds")).unwrap();
        std::fs::write(directory.path().join("thresholds/all.toml"), POLICY).unwrap();
        let config = waveoff::config::load(directory.path(), |_| None).unwrap();
        let platform = PlatformServer { url: server.url.clone(), authorization: Secret::new("") };
        let http = HttpServers::new(platform).unwrap();
        let noted = Arc::new(Noted { http, queries: Mutex::default() });
        let mut fleet = Fleet::empty("acme");
        for name in ["api", "shop", "web"] {
            let image = format!("registry.fly.io/{name}:v1");
            fleet.apps.push(FleetApp::new(name, &image, &[("iad", 1)], 0.0));
            fleet.images.push(FleetImage::new(&image, Behaviour::default()));
        }
        let platform = SimPlatform::new(Sim::at(&fleet, now()), "us");
        let mut machines = Vec::new();
        for name in ["api", "shop", "web"] {
            let app = AppName::new(name);
            machines.push((app.clone(), platform.machines(&app).await.unwrap()));
        }
        let servers = Servers::new(noted.clone(), &config);
        Self { noted, servers, config, machines }
    }

    /// Writes how often an app's machine answered so, as of some seconds ago.
    async fn count(&self, url: &str, number: usize, ago: i64, counts: &[(&str, f64)]) {
        let (app, machines) = &self.machines[number];
        let at = now() - SignedDuration::from_secs(ago);
        let series: Vec<Vec<u8>> = counts
            .iter()
            .map(|(status, value)| {
                let machine = &machines[0].id;
                Sample { app: app.as_str(), machine, status, at, value: *value }.series()
            })
            .collect();
        write(url, &series).await;
    }

    /// What is new of one app: its value, and why there is none.
    async fn read(&self, number: usize) -> (Option<f64>, Option<Oddity>) {
        let (app, machines) = &self.machines[number];
        let policy = self.config.policy_for(app).unwrap();
        let source = SourceName::Server("fly".to_owned());
        let wanted = policy.wants(&source);
        let question = Question {
            app,
            source: &source,
            listed: now(),
            machines,
            wanted: &wanted,
            policy: &policy,
        };
        let answer = self.servers.read(question).await;
        assert_eq!(answer.blind, None);
        let Some(sample) = answer.samples.first() else { return (None, None) };
        let readings = sample.readings.as_ref().unwrap();
        (readings.gauges.get("odds").copied(), readings.oddities.get("odds").cloned())
    }

    /// Waits for the value of one app.
    async fn value(&self, number: usize) -> f64 {
        until("a value is told", s(30), async || self.read(number).await.0).await
    }

    fn queries(&self) -> Vec<String> {
        std::mem::take(&mut *self.noted.queries.lock().unwrap())
    }
}

async fn several_are_asked_for_at_once(server: &Server) {
    // Given three apps with the same threshold, and counts of two of them: old enough for a server that
    // does not show what is newer than half a minute
    let apps = Apps::of(server).await;
    let url = format!("{}/api/v1/write", server.url);
    apps.count(&url, 0, 60, &[("200", 8.0), ("500", 2.0)]).await;
    apps.count(&url, 2, 60, &[("204", 2.0), ("500", 6.0)]).await;
    for number in 0..3 {
        apps.read(number).await;
    }

    // When the server is asked, then each gets its own, of one query for all
    let (api, web) = (apps.value(0).await, apps.value(2).await);
    assert!((api - 0.25).abs() < 1e-9 && (web - 3.0).abs() < 1e-9, "{api} {web}");
    let queries = apps.queries();
    let joined = |query: &String| query.matches("waveoff_app").count() == 6;
    assert!(queries.iter().any(joined), "{queries:?}");

    // and when the third one's counts do not fit the expression, it is told so,
    apps.count(&url, 1, 50, &[("200", 1.0), ("201", 1.0), ("500", 1.0)]).await;
    let why = until("it is refused", s(30), async || apps.read(1).await.1).await;
    assert!(matches!(why, Oddity::Refused { .. }), "{why:?}");

    // and the others are read as before.
    apps.count(&url, 0, 40, &[("200", 10.0), ("500", 5.0)]).await;
    until("what is new is told", s(30), async || {
        let (value, oddity) = apps.read(0).await;
        assert_eq!(oddity, None);
        value.filter(|value| (value - 0.5).abs() < 1e-9)
    })
    .await;
    assert_eq!(apps.read(2).await.1, None);
}

#[tokio::test]
async fn an_expression_of_several_apps_is_one_query_to_victoriametrics() {
    let server = Server::victoria("http://127.0.0.1:1").await;
    several_are_asked_for_at_once(&server).await;
}

#[tokio::test]
async fn an_expression_of_several_apps_is_one_query_to_prometheus() {
    let server = Server::prometheus("http://127.0.0.1:1").await;
    several_are_asked_for_at_once(&server).await;
}
