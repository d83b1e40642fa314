//! A served organization whose time stands still until it is moved, and a client for it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that cannot go on fails its test"
)]

use std::time::Duration;

use crate::openapi::{Exchange, description};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use waveoff::sim::{
    Behaviour, Entry, Fleet, Placed, Sim,
    fleet::Traffic,
    serve::{self, Options},
};

/// The image that all machines run, and the one before it.
pub const X: &str = "registry.fly.io/web:deployment-01HXXXXXXXXXXXXXXXXXXXXXXX";
pub const Y: &str = "registry.fly.io/web:deployment-01HYYYYYYYYYYYYYYYYYYYYYYY";

/// An answer; a body that is no JSON reads as null.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

pub struct Served {
    pub sim: Sim,
    base: String,
    client: reqwest::Client,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Served {
    /// The app `web`: machines …1 and …2 in iad, …3 started and …4 stopped in lhr.
    pub async fn web(behaviour_of_y: Behaviour) -> Self {
        let mut fleet = Fleet::empty("acme");
        (fleet.boot_s, fleet.replace_s, fleet.check_s) = (0.1, 0.1, 0.1);
        let sim = Sim::at(&fleet, "2026-11-23T23:10:02Z".parse().unwrap());
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(32));
        sim.with(|org| {
            org.add_image(X, Some(&digest("42")), Behaviour::default());
            org.add_image(Y, Some(&digest("41")), behaviour_of_y);
            org.add_app("web", Traffic::default());
            for (version, image) in [(41, Y), (42, X)] {
                org.add_release(Entry {
                    id: format!("rel_{version}"),
                    app: "web".to_owned(),
                    version,
                    status: "complete".to_owned(),
                    strategy: "ROLLING".to_owned(),
                    image: image.to_owned(),
                    author: "dev@acme.test".to_owned(),
                    created_at: "2026-11-22T10:00:00Z".parse().unwrap(),
                    definition: json!({"app": "web", "primary_region": "iad"}),
                });
            }
            for (number, region) in [(1, "iad"), (2, "iad"), (3, "lhr"), (4, "lhr")] {
                let mut placed = Placed::new(region, number != 4, config());
                placed.id = Some(id(number));
                org.place("web", placed);
            }
        });
        Self::serve(sim).await
    }

    pub async fn serve(sim: Sim) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = sim.clone();
        // Recorded clients asked faster than the documented limits.
        let options = Options { limits: false };
        let server = tokio::spawn(async move {
            serve::serve(served, listener, options, std::future::pending()).await.unwrap();
        });
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(20)).no_proxy().build().unwrap();
        Self { sim, base, client, server }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// One request with the token, and with a nonce where there is one.
    pub async fn ask(&self, call: (&str, &str), nonce: Option<&str>, body: &Value) -> Answer {
        self.try_ask(call, nonce, body).await.unwrap()
    }

    /// The same; an error when the connection broke.
    pub async fn try_ask(
        &self,
        call: (&str, &str),
        nonce: Option<&str>,
        body: &Value,
    ) -> Result<Answer, reqwest::Error> {
        let (name, path) = call;
        let method = reqwest::Method::from_bytes(name.as_bytes()).unwrap();
        let mut request =
            self.client.request(method, self.url(path)).header("authorization", "Bearer sim-token");
        if let Some(nonce) = nonce {
            request = request.header("fly-machine-lease-nonce", nonce);
        }
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let answer = serde_json::from_str(&text).unwrap_or(Value::Null);
        let exchange = Exchange { method: name, path, request: body, status, answer: &answer };
        let problems = description().map(|all| all.problems(&exchange)).unwrap_or_default();
        assert!(problems.is_empty(), "against the official description:\n{}", problems.join("\n"));
        Ok(Answer { status, body: answer })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(("GET", path), None, &Value::Null).await
    }

    pub async fn post(&self, path: &str, nonce: Option<&str>, body: Value) -> Answer {
        self.ask(("POST", path), nonce, &body).await
    }

    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let answer =
            self.post("/graphql", None, json!({"query": query, "variables": variables})).await;
        assert_eq!(answer.status, 200, "GraphQL says everything in the body");
        answer.body
    }

    pub async fn machine(&self, number: u32) -> Value {
        let answer = self.get(&on(number, "")).await;
        assert_eq!(answer.status, 200);
        answer.body
    }

    pub fn pass(&self, milliseconds: u64) {
        self.sim.skip(Duration::from_millis(milliseconds));
    }
}

pub fn id(number: u32) -> String {
    format!("{number:014}")
}

/// The path of a machine and what is below it.
pub fn on(number: u32, rest: &str) -> String {
    format!("/v1/apps/web/machines/{}{rest}", id(number))
}

fn config() -> Value {
    json!({
        "image": X,
        "env": {"FLY_PROCESS_GROUP": "app", "PRIMARY_REGION": "iad"},
        "init": {},
        "guest": {"cpu_kind": "shared", "cpus": 1, "memory_mb": 256},
        "metadata": {
            "fly_platform_version": "v2", "fly_process_group": "app",
            "fly_release_id": "rel_42", "fly_release_version": "42",
        },
        "services": [{
            "protocol": "tcp", "internal_port": 8080,
            "checks": [{"type": "http", "interval": "15s", "timeout": "2s", "path": "/healthz"}],
        }],
        "restart": {"policy": "on-failure", "max_retries": 10},
    })
}

/// The machine's configuration with another image and release, as a deploy sends it.
pub async fn update_body(web: &Served, number: u32, image: &str) -> Value {
    let machine = web.machine(number).await;
    let mut config = machine["config"].clone();
    config["image"] = json!(image);
    let skip_launch = machine["state"] != "started";
    json!({"config": config, "region": machine["region"], "skip_launch": skip_launch})
}
