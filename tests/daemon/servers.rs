//! Thresholds that are read from a metrics server: a real `VictoriaMetrics` and a real Prometheus read
//! what the platform's proxy counts, and the daemon asks them.

mod joined;
mod samples;
mod writing;

use std::process::Stdio;

use jiff::SignedDuration;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    platform::{FLEET, client},
    stage::{Stage, receiver},
    wait::{s, until},
};

/// Nothing but what the proxy counts.
const POLICY: &str = r#"
apps = ["api"]
mode = "rollback"

[watch]
scrape_every = "1s"
idle_scrape_every = "1s"
block = "1s"
bake = "3s"

[rollback]
confirm = "4s"
ready_timeout = "30s"

[[threshold]]
name = "5xx"
from = "fly"
ratio = { bad = 'fly_app_http_responses_count{status=~"5.."}', total = 'fly_app_http_responses_count' }
max = "2%"
"#;

/// The same by expressions, which the server evaluates; and one that no server takes.
const EXPRESSIONS: &str = r#"
[[threshold]]
name = "5xx"
promql = 'sum by (instance) (rate(fly_app_http_responses_count{app="$app",status=~"5.."}[5s]))'
max = 1
for = "2s"
no_data = "ignore"

[[threshold]]
name = "nonsense"
promql = 'nonsense(fly_app_concurrency{app="$app"})'
max = 1
for = "1s"
action = "alert"
"#;

/// A metrics server that reads the proxy's page every second.
struct Server {
    url: String,
    // Both end with it.
    _process: Child,
    _directory: TempDir,
}

impl Server {
    /// Starts the program that a variable names, as `scripts/test` sets it.
    async fn start(variable: &str, scraped: &str, arguments: &[&str]) -> Self {
        let program = std::env::var_os(variable)
            .unwrap_or_else(|| panic!("{variable} must name the program: run scripts/test"));
        let directory = TempDir::new().unwrap();
        let target = scraped.trim_start_matches("http://");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
             - {{job_name: proxy, metrics_path: /_sim/proxy/metrics, honor_labels: true, \
             static_configs: [{{targets: [\"{target}\"]}}]}}\n"
        );
        std::fs::write(directory.path().join("scrape.yml"), config).unwrap();
        // Nobody else is given a port that was just given back.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(program)
            .current_dir(directory.path())
            .args(arguments.iter().map(|argument| argument.replace("ADDRESS", &address)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the server runs");
        Self { url: format!("http://{address}"), _process: process, _directory: directory }
    }

    async fn victoria(scraped: &str) -> Self {
        let arguments = [
            "-httpListenAddr=ADDRESS",
            "-storageDataPath=data",
            "-promscrape.config=scrape.yml",
            "-memory.allowedPercent=5",
        ];
        Self::start("WAVEOFF_TEST_VICTORIA", scraped, &arguments).await
    }

    async fn prometheus(scraped: &str) -> Self {
        let arguments = [
            "--config.file=scrape.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=ADDRESS",
            "--web.enable-remote-write-receiver",
        ];
        Self::start("WAVEOFF_TEST_PROMETHEUS", scraped, &arguments).await
    }

    /// Waits until it has read something.
    async fn reads(&self) {
        let client = client();
        let query = [("query", "count(fly_app_http_responses_count)")];
        until("the server has read the proxy's page", s(40), async || {
            let url = format!("{}/api/v1/query", self.url);
            let text = client.get(url).query(&query).send().await.ok()?.text().await.ok()?;
            let answer: Value = serde_json::from_str(&text).ok()?;
            (!answer["data"]["result"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }

    /// A configuration in which it stands for Fly's own.
    fn as_fly(&self) -> String {
        format!("{}{}", self.alone(), receiver("ops"))
    }

    /// The same where nobody is told of anything.
    fn alone(&self) -> String {
        format!(
            "organization = \"acme\"\n[[metrics_server]]\nname = \"fly\"\nurl = \"{}\"\n\
             scrape_every = \"1s\"\n",
            self.url
        )
    }
}

/// As in other tests, and no app has a metrics page of its own.
fn fleet() -> String {
    let mut fleet = FLEET.to_owned();
    for machines in ["machines = { iad = 2, lhr = 2 }", "machines = { iad = 1 }"] {
        fleet = fleet.replace(&format!("{machines}\n"), "");
        let (begin, rest) = fleet.split_once("traffic = ").expect("apps have traffic");
        let (traffic, rest) = rest.split_once('\n').expect("lines end");
        let group = format!("name = \"app\"\n{machines}\nmetrics = false\n");
        fleet = format!("{begin}TRAFFIC = {traffic}\n\n[[apps.groups]]\n{group}{rest}");
    }
    fleet.replace("TRAFFIC", "traffic")
}

/// The main job, by what a server counts of an app that shows nothing itself.
async fn is_undone(mut stage: Stage, server: &Server) -> Stage {
    // Given a daemon that reads the server, and a release that is trusted by it
    server.reads().await;
    stage.write("waveoff.toml", &server.as_fly());
    stage.write("thresholds/all.toml", POLICY);
    stage.start().await;
    stage.trusted().await;

    // When somebody ships a bad one, and the proxy is started anew meanwhile
    stage.platform.ship("errors").await;
    stage.platform.control("POST", "proxy/restart", Value::Null).await;
    stage.hook.about_api("rollback.completed", s(60)).await;

    // Then the machines run what they ran before, and people read whose requests those were
    assert_eq!(stage.platform.tags().await, ["v41"]);
    let (_, history, _) = stage.waveoff(&["history", "api"]).await;
    let degraded = history.lines().find(|line| line.contains("degraded after"));
    assert!(degraded.is_some_and(|line| line.contains("5xx")), "{history}");
    is_replayed(&stage, server).await;
    stage
}

/// What was bad is found again in what the server kept of it, and what was well is not.
async fn is_replayed(stage: &Stage, server: &Server) {
    let config = stage.config().display().to_string();
    let replay = ["replay", "--app", "api", "--config", &config, "--prometheus", &server.url];
    let (code, text, complaint) =
        stage.waveoff(&[&replay[..], &["--last", "10m", "--json"]].concat()).await;
    assert_eq!(code, 0, "{complaint}");
    let view: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(view["machines"], 4, "{view}");
    let limits = view["thresholds"][0]["limits"].as_array().unwrap();
    let own = limits.iter().find(|limit| limit["in_force"] == true).unwrap();
    assert_eq!(own["times"], 1, "{own}");
    let evidence = &own["breaches"][0]["evidence"];
    assert!(evidence["value"].as_f64().unwrap() > 0.02, "{evidence}");
    let (_, text, _) = stage.waveoff(&[&replay[..], &["--last", "10m"]].concat()).await;
    assert!(text.contains("would have been rolled back once"), "{text}");
    // and the daemon would have undone what was deployed just before it
    let found: jiff::Timestamp = serde_json::from_value(own["breaches"][0]["at"].clone()).unwrap();
    let deploy = (found - SignedDuration::from_secs(8)).to_string();
    let lived = ["--last", "10m", "--deploy", &deploy, "--json"];
    let (code, text, complaint) = stage.waveoff(&[&replay[..], &lived].concat()).await;
    assert_eq!(code, 0, "{complaint}");
    let view: Value = serde_json::from_str(&text).unwrap();
    let undone = view["deploys"][0]["rolled_back"].as_str();
    assert!(undone.is_some_and(|at| at > deploy.as_str()), "{}", view["deploys"]);
    let (_, text, _) = stage.waveoff(&[&replay[..], &lived[..4]].concat()).await;
    assert!(text.contains("would have been rolled back after"), "{text}");
    assert!(text.contains("of ") && text.contains("requests"), "{text}");
}

#[tokio::test]
async fn a_bad_release_is_undone_by_what_victoriametrics_has_read() {
    let stage = Stage::with_fleet(&fleet()).await;
    let server = Server::victoria(&stage.platform.url).await;
    let stage = is_undone(stage, &server).await;
    stage.end().await;
}

#[tokio::test]
async fn a_bad_release_is_undone_by_what_prometheus_has_read() {
    let stage = Stage::with_fleet(&fleet()).await;
    let server = Server::prometheus(&stage.platform.url).await;
    let stage = is_undone(stage, &server).await;
    stage.end().await;
}

#[tokio::test]
async fn an_expression_is_evaluated_by_the_server_and_one_that_it_does_not_take_is_told() {
    // Given a policy of nothing but expressions
    let mut stage = Stage::with_fleet(&fleet()).await;
    let server = Server::prometheus(&stage.platform.url).await;
    server.reads().await;
    stage.write("waveoff.toml", &server.as_fly());
    let policy = POLICY.split("[[threshold]]").next().unwrap();
    let policy = policy.replace("bake = \"3s\"", "bake = \"12s\"");
    stage.write("thresholds/all.toml", &format!("{policy}{EXPRESSIONS}"));
    stage.start().await;
    let told = stage.hook.about_api("monitor.blind", s(40)).await;
    assert!(told.text().contains("does not take the query (400)"), "{}", told.text());
    stage.trusted().await;

    // When somebody ships a bad release
    stage.platform.ship("errors").await;

    // Then it is undone by the value, machine by machine
    stage.hook.about_api("rollback.completed", s(60)).await;
    assert_eq!(stage.platform.tags().await, ["v41"]);
    let (_, history, _) = stage.waveoff(&["history", "api"]).await;
    let degraded = history.lines().find(|line| line.contains("degraded after"));
    assert!(degraded.is_some_and(|line| line.contains("machines, limit 1")), "{history}");
    stage.end().await;
}

/// What the documentation shows of the preset, with windows that are made for a test.
fn hang() -> String {
    let documentation = include_str!("../../docs/configuration.md");
    let (_, rest) = documentation.split_once("name = \"hang\"\n").expect("it is shown");
    let (keys, _) = rest.split_once("```").expect("blocks end");
    let keys = keys.replace("[10m] offset 10m", "[10s] offset 10s").replace("[1m]", "[5s]");
    let keys = keys.replace("for = \"30s\"", "for = \"3s\"");
    format!("\n[[threshold]]\nname = \"hang\"\n{keys}")
}

#[tokio::test]
async fn a_release_that_answers_nobody_is_undone_by_what_victoriametrics_has_read() {
    // Given a policy of errors and hangs, by what the proxy counts, and half a minute of past
    let mut stage = Stage::with_fleet(&fleet()).await;
    let server = Server::victoria(&stage.platform.url).await;
    server.reads().await;
    stage.write("waveoff.toml", &server.as_fly());
    let policy = POLICY.replace("bake = \"3s\"", "bake = \"25s\"");
    stage.write("thresholds/all.toml", &format!("{policy}{}", hang()));
    stage.start().await;
    stage.trusted().await;

    // When somebody ships one that hangs
    stage.platform.ship("hangs").await;

    // Then it is undone, and people read by what
    stage.hook.about_api("rollback.completed", s(60)).await;
    assert_eq!(stage.platform.tags().await, ["v41"]);
    let (_, history, _) = stage.waveoff(&["history", "api"]).await;
    let degraded = history.lines().find(|line| line.contains("degraded after"));
    assert!(degraded.is_some_and(|line| line.contains("hang")), "{history}");
    stage.end().await;
}

/// With the daemon's own token and nothing else, as on Fly.
#[tokio::test]
async fn the_platforms_own_server_is_asked_where_it_is_and_with_the_daemons_token() {
    // Given a policy of one preset, and a platform whose server is quick
    let quick = "metrics_every_s = 1\nmetrics_late_s = 1\nmetrics_port = 0\n";
    let mut stage = Stage::with_fleet(&fleet().replace("metrics_port = 0\n", quick)).await;
    let settings = "[[metrics_server]]\nname = \"fly\"\nscrape_every = \"1s\"\n";
    let settings = format!("organization = \"acme\"\n{}\n{settings}", receiver("ops"));
    stage.write("waveoff.toml", &settings);
    let policy = POLICY.split("[[threshold]]").next().unwrap();
    let policy = policy.replace("mode =", "use = [\"fly-http\"]\nmode =");
    stage.write("thresholds/all.toml", &policy);
    stage.start().await;
    stage.trusted().await;

    // When somebody ships a bad release
    stage.platform.ship("errors").await;

    // Then it is undone, and nobody was told that anything cannot be seen
    stage.hook.about_api("rollback.completed", s(60)).await;
    assert_eq!(stage.platform.tags().await, ["v41"]);
    assert!(stage.hook.messages().iter().all(|message| message.kind != "monitor.blind"));
    stage.end().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_once_for_all_apps_with_the_cause() {
    // Given a server that is not there, and two apps that are read from it
    let mut stage = Stage::with_fleet(&fleet()).await;
    let settings = "[[metrics_server]]\nname = \"fly\"\nurl = \"http://127.0.0.1:1\"\n";
    let settings = format!("organization = \"acme\"\n{}\n{settings}", receiver("ops"));
    stage.write("waveoff.toml", &settings);
    stage.write("thresholds/all.toml", &POLICY.replace("\"api\"", "\"*\""));

    // When the daemon runs for a while
    stage.start().await;
    let told = until("it is told", s(60), async || {
        let all = stage.hook.messages();
        all.into_iter().find(|message| message.kind == "monitor.blind")
    })
    .await;

    // Then there is one message, which says which server, and why
    let text = told.text();
    assert!(text.contains("nothing can be read from Fly's managed Prometheus"), "{text}");
    assert!(text.contains("127.0.0.1:1/api/v1/query cannot be reached"), "{text}");
    let blind = stage.hook.messages().iter().filter(|one| one.kind == "monitor.blind").count();
    assert_eq!(blind, 1);
    let (_, status, _) = stage.waveoff(&["status"]).await;
    assert!(status.contains("fly: http://127.0.0.1:1"), "{status}");
    stage.end().await;
}
