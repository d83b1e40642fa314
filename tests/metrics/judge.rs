//! A real Prometheus beside a server of pages, both on ports of their own, gone with their test.

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio, time::Duration};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::{interval, timeout},
};

use crate::{Sample, pages::Page, sample};

/// For Prometheus to start, and for it to have scraped every page; it looks at its targets only
/// after five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prometheus, scraping pages.
pub struct Judge {
    /// Where the pages are served.
    pub pages: SocketAddr,
    api: SocketAddr,
    client: reqwest::Client,
    // Both end with the judge.
    _prometheus: Child,
    _directory: tempfile::TempDir,
}

impl Judge {
    /// Serves these pages and waits until Prometheus has scraped each of them.
    pub async fn over(served: &[(&str, Page)]) -> Self {
        let pages = serve(served).await;
        let directory = tempfile::tempdir().unwrap();
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        for (path, _) in served {
            // A page's own timestamps may be of any time, and Prometheus stores only recent ones.
            config.push_str(&format!(
                "- {{job_name: \"{path}\", metrics_path: \"{path}\", honor_labels: true, \
                 honor_timestamps: false, static_configs: [{{targets: [\"{pages}\"]}}]}}\n"
            ));
        }
        std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        let (prometheus, api) = start(directory.path()).await;
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let judge = Self { pages, api, client, _prometheus: prometheus, _directory: directory };
        let all = format!("count(scrape_samples_scraped) == {}", served.len());
        assert!(judge.comes(&all).await, "prometheus does not scrape every page");
        judge
    }

    /// Whether a query has an answer before long.
    async fn comes(&self, query: &str) -> bool {
        let answered = async {
            let mut ticks = interval(Duration::from_millis(50));
            while self.query(query).await.is_empty() {
                ticks.tick().await;
            }
        };
        timeout(PATIENCE, answered).await.is_ok()
    }

    /// Every series of the page at `path`, without what Prometheus adds.
    pub async fn samples(&self, path: &str) -> Vec<Sample> {
        let up = self.comes(&format!("up{{job=\"{path}\"}} == 1")).await;
        assert!(up, "prometheus cannot read {path}: {}", self.errors().await);
        let own = "up|scrape_duration_seconds|scrape_samples_.*|scrape_series_added";
        // Over a while: on a busy machine the newest scrape may have taken too long.
        let query = format!("last_over_time({{job=\"{path}\",__name__!~\"{own}\"}}[5m])");
        let series = self.query(&query).await;
        series
            .iter()
            .map(|series| {
                let labels = series["metric"].as_object().unwrap();
                let mut labels: BTreeMap<String, String> = labels
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                    .collect();
                labels.retain(|name, _| !matches!(name.as_str(), "job" | "instance"));
                let name = labels.remove("__name__").unwrap();
                sample(&name, labels, value(series))
            })
            .collect()
    }

    /// Whether Prometheus could ever read the page at `path`.
    pub async fn is_up(&self, path: &str) -> bool {
        let up = self.query(&format!("max_over_time(up{{job=\"{path}\"}}[5m])")).await;
        value(up.first().expect("the page was scraped")) > 0.0
    }

    /// What Prometheus says about pages it could not read.
    async fn errors(&self) -> String {
        let targets = self.get("targets", &[]).await;
        let targets: Value = serde_json::from_str(&targets).unwrap_or_default();
        let active = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let errors = active.iter().filter_map(|target| target["lastError"].as_str());
        errors.filter(|error| !error.is_empty()).collect::<Vec<_>>().join("; ")
    }

    async fn get(&self, what: &str, query: &[(&str, &str)]) -> String {
        let url = format!("http://{}/api/v1/{what}", self.api);
        self.client.get(url).query(query).send().await.unwrap().text().await.unwrap()
    }

    async fn query(&self, query: &str) -> Vec<Value> {
        let text = self.get("query", &[("query", query)]).await;
        let Ok(json) = serde_json::from_str::<Value>(&text) else {
            // It says so in plain text while it starts.
            assert!(text.contains("Service Unavailable"), "{text}");
            return Vec::new();
        };
        json["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {json}")).clone()
    }
}

fn value(series: &Value) -> f64 {
    series["value"][1].as_str().unwrap().parse().unwrap()
}

async fn serve(served: &[(&str, Page)]) -> SocketAddr {
    let mut router = Router::new();
    for (path, page) in served {
        let (kind, body) = (page.content_type, page.body.clone());
        router = router.route(path, get(move || async move { ([(CONTENT_TYPE, kind)], body) }));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Starts Prometheus on a free port and reads from its log which one it is.
async fn start(directory: &std::path::Path) -> (Child, SocketAddr) {
    let program = std::env::var_os("WAVEOFF_TEST_PROMETHEUS")
        .expect("WAVEOFF_TEST_PROMETHEUS must name the program `prometheus`: run scripts/test");
    let mut prometheus = Command::new(program)
        .current_dir(directory)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("`prometheus` must be installed: run scripts/test, which installs it");
    let mut log = BufReader::new(prometheus.stderr.take().unwrap()).lines();
    let address = async {
        while let Some(line) = log.next_line().await.unwrap() {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["msg"] == "Listening on" {
                return entry["address"].as_str().unwrap().parse().unwrap();
            }
            assert_ne!(entry["level"], "error", "{line}");
        }
        panic!("prometheus ended before it listened");
    };
    let address = timeout(PATIENCE, address).await.expect("prometheus starts");
    // Nobody may stop reading its log, or it would stop writing it.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    (prometheus, address)
}
