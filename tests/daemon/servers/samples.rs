//! What real servers make of samples that come late, counters that begin anew and targets that are gone:
//! they are written by remote write, with times of the last minute.

use std::sync::Arc;

use jiff::Timestamp;
use waveoff::{
    config::{Config, Secret},
    model::{AppName, Machine, Policy, SourceName, Tally},
    ports::Platform as _,
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

/// What Prometheus writes of a series whose target is gone.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
const IMAGE: &str = "registry.fly.io/api:v1";

/// An app of two machines whose counts are read from one server.
struct Asked {
    write: String,
    servers: Servers,
    policy: Policy,
    machines: Vec<Machine>,
    began: Timestamp,
}

impl Asked {
    async fn of(server: &Server, path: &str) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("waveoff.toml"), server.alone()).unwrap();
        std::fs::create_dir(directory.path().join("thresholds")).unwrap();
        std::fs::write(directory.path().join("thresholds/all.toml"), POLICY).unwrap();
        let config: Config = waveoff::config::load(directory.path(), |_| None).unwrap();
        let platform = PlatformServer { url: server.url.clone(), authorization: Secret::new("") };
        let http = HttpServers::new(platform).unwrap();
        let mut fleet = Fleet::empty("acme");
        fleet.apps.push(FleetApp::new("api", IMAGE, &[("iad", 2)], 0.0));
        fleet.images.push(FleetImage::new(IMAGE, Behaviour::default()));
        let began = now();
        let sim = Sim::at(&fleet, began);
        let app = AppName::new("api");
        let mut machines = SimPlatform::new(sim, "us").machines(&app).await.unwrap();
        for machine in &mut machines {
            // They run for long.
            machine.started_at = began.checked_sub(SignedDuration::from_mins(30)).ok();
        }
        Self {
            write: format!("{}{path}", server.url),
            servers: Servers::new(Arc::new(http), &config),
            policy: config.policy_for(&app).unwrap().as_ref().clone(),
            machines,
            began,
        }
    }

    /// So many seconds before the test began.
    fn ago(&self, seconds: i64) -> Timestamp {
        self.began - SignedDuration::from_secs(seconds)
    }

    /// Answers so far of a machine, and those of them that failed, some seconds ago.
    fn counts(&self, machine: usize, ago: i64, (ok, failed): (f64, f64)) -> Vec<u8> {
        let machine = &self.machines[machine].id;
        let at = self.ago(ago);
        let of = |status, value| Sample { app: "api", machine, status, at, value }.series();
        [of("200", ok), of("500", failed)].concat()
    }

    async fn write(&self, series: &[Vec<u8>]) {
        write(&self.write, series).await;
    }

    /// What is counted of each machine now; `None`: nothing.
    async fn read(&self) -> [Option<Tally>; 2] {
        let app = AppName::new("api");
        let source = SourceName::Server("fly".to_owned());
        let wanted = self.policy.wants(&source);
        let question = Question {
            app: &app,
            source: &source,
            listed: now(),
            machines: &self.machines,
            wanted: &wanted,
            policy: &self.policy,
        };
        let answer = self.servers.read(question).await;
        assert_eq!(answer.blind, None);
        [0, 1].map(|number| {
            let id = &self.machines[number].id;
            let sample = answer.samples.iter().find(|sample| sample.machine == *id)?;
            let count = sample.readings.as_ref().unwrap().counts.get("5xx")?;
            Some(Tally { n: count.n, k: count.k }).filter(|tally| tally.n > 0.0 || tally.k > 0.0)
        })
    }

    /// Reads until something is counted; what, of each machine.
    async fn counted(&self) -> [Option<Tally>; 2] {
        until("something is counted", s(30), async || {
            Some(self.read().await).filter(|counted| counted.iter().any(Option::is_some))
        })
        .await
    }
}

/// The whole story, told to one server.
async fn samples_are_what_they_are(server: &Server, path: &str) {
    let some = |n, k| Some(Tally { n, k });
    let asked = Asked::of(server, path).await;

    // Given two machines that a server read twice
    asked.write(&[asked.counts(0, 40, (100.0, 0.0)), asked.counts(1, 40, (100.0, 0.0))]).await;
    asked.write(&[asked.counts(0, 35, (200.0, 0.0)), asked.counts(1, 35, (200.0, 0.0))]).await;
    until("all of it is there", s(30), async || {
        let query = [("query", "count_over_time(fly_app_http_responses_count[90s])")];
        let url = format!("{}/api/v1/query", server.url);
        let text = client().get(url).query(&query).send().await.ok()?.text().await.ok()?;
        (text.matches("\"2\"").count() == 4).then_some(())
    })
    .await;
    until("it is known", s(30), async || {
        let read = asked.read().await;
        assert_eq!(read, [None, None], "of before it was asked nothing is counted");
        let source = SourceName::Server("fly".to_owned());
        (asked.servers.is_answered(&source)).then_some(())
    })
    .await;

    // When the samples of one come, half a minute late, they count once
    asked.write(&[asked.counts(0, 30, (290.0, 10.0))]).await;
    assert_eq!(
        asked.counted().await,
        [some(100.0, 10.0), None],
        "and nothing is made up of the other"
    );

    // those of the other come even later, and count as well, beside newer ones of the first,
    // whose process began anew: what it counted since is what it counted from 0
    asked.write(&[asked.counts(1, 30, (300.0, 0.0)), asked.counts(0, 20, (36.0, 4.0))]).await;
    assert_eq!(asked.counted().await, [some(40.0, 4.0), some(100.0, 0.0)]);

    // A target that is gone adds nothing, neither answers nor failures
    asked.write(&[asked.counts(0, 15, (STALE, STALE)), asked.counts(1, 15, (400.0, 0.0))]).await;
    assert_eq!(asked.counted().await, [None, some(100.0, 0.0)]);

    // and when it is back it goes on where it was.
    asked.write(&[asked.counts(0, 5, (56.0, 4.0)), asked.counts(1, 5, (401.0, 0.0))]).await;
    assert_eq!(asked.counted().await, [some(20.0, 0.0), some(1.0, 0.0)]);
}

#[tokio::test]
async fn late_samples_new_counters_and_gone_targets_are_what_they_are_to_victoriametrics() {
    let server = Server::victoria("http://127.0.0.1:1").await;
    samples_are_what_they_are(&server, "/api/v1/write").await;
}

#[tokio::test]
async fn late_samples_new_counters_and_gone_targets_are_what_they_are_to_prometheus() {
    let server = Server::prometheus("http://127.0.0.1:1").await;
    samples_are_what_they_are(&server, "/api/v1/write").await;
}
