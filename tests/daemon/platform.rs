//! The simulated organization in a process of its own, reached by its control API.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    process::{Process, Variables},
    wait::{s, until},
};

/// Two regions, one app that matters and one that is only there; v41 runs, v42 is good, and
/// `errors` fails a third of its requests,
/// `hangs` answers none.
pub const FLEET: &str = r#"
organization = "acme"
seed = 7
boot_s = 0.3
replace_s = 0.2
check_s = 0.2
metrics_port = 0
service_port = 0

[[apps]]
name = "api"
image = "registry.fly.io/api:v41"
version = 41
machines = { iad = 2, lhr = 2 }
traffic = { requests_per_s = 120 }

[[apps]]
name = "web"
image = "registry.fly.io/web:v7"
version = 7
machines = { iad = 1 }
traffic = { requests_per_s = 40 }

[[images]]
reference = "registry.fly.io/api:v41"

[[images]]
reference = "registry.fly.io/api:v42"

[[images]]
reference = "registry.fly.io/api:errors"
behaviour = { error_share = 0.3 }

[[images]]
reference = "registry.fly.io/api:hangs"
behaviour = { hang_share = 1.0 }

[[images]]
reference = "registry.fly.io/web:v7"
"#;

pub struct Platform {
    _process: Process,
    /// What it says to export, besides the token.
    pub variables: Variables,
    pub url: String,
    client: reqwest::Client,
}

impl Platform {
    /// Serves `fleet` on a free port.
    pub async fn start(dir: &Path, fleet: &str) -> Self {
        let file = dir.join("fleet.toml");
        std::fs::write(&file, fleet).unwrap();
        let file = file.to_str().unwrap();
        let process = Process::start(
            &["sim", "serve", "--fleet", file, "--listen", "127.0.0.1:0"],
            &Vec::new(),
        );
        let variables = until("the simulation says where it is", s(20), async || {
            let text = process.out.text();
            // The last line it prints.
            text.contains("FLY_SEND_METRICS").then(|| exports(&text))
        })
        .await;
        let url = value(&variables, "FLY_FLAPS_BASE_URL").to_owned();
        Self { _process: process, variables, url, client: client() }
    }

    /// A call of the control API.
    pub async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.client.request(method, format!("{}/_sim/{path}", self.url));
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let response = request.send().await.expect("the simulation answers");
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Somebody deploys an image of `api`, named by its tag.
    pub async fn ship(&self, tag: &str) -> u64 {
        let image = format!("registry.fly.io/api:{tag}");
        let shipped = self.control("POST", "ship", json!({"app": "api", "image": image})).await;
        shipped["version"].as_u64().unwrap()
    }

    /// Waits until every machine of `api` runs it.
    pub async fn runs_everywhere(&self, tag: &str) {
        until("the deploy is over", s(20), async || (self.tags().await == [tag]).then_some(()))
            .await;
    }

    pub async fn fault(&self, fault: Value) {
        self.control("POST", "faults", fault).await;
    }

    pub async fn app(&self, name: &str) -> Value {
        let state = self.control("GET", "state", Value::Null).await;
        let mut apps = state["apps"].as_array().unwrap().iter();
        apps.find(|app| app["name"] == name).expect("the app is there").clone()
    }

    /// Names of the apps that are there.
    pub async fn apps(&self) -> Vec<String> {
        let state = self.control("GET", "state", Value::Null).await;
        let apps = state["apps"].as_array().unwrap().iter();
        apps.map(|app| app["name"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn machines(&self) -> Vec<Value> {
        self.app("api").await["machines"].as_array().unwrap().clone()
    }

    /// Ids of machines that the daemon holds a lease of: tokens become such owners, and a deploy
    /// by the control API another.
    pub async fn leased(&self) -> Vec<String> {
        let machines = self.machines().await;
        let leased = machines.iter().filter(|machine| {
            machine["leased_by"].as_str().is_some_and(|owner| owner.ends_with("@tokens.fly.io"))
        });
        leased.map(|machine| machine["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Tags that machines of `api` run, each once.
    pub async fn tags(&self) -> Vec<String> {
        let machines = self.machines().await;
        let mut tags: Vec<String> =
            machines.iter().map(|machine| machine["tag"].as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags.dedup();
        tags
    }
}

/// A client for the machine itself.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(s(10)).build().unwrap()
}

/// Lines such as `export NAME=value`; what needs a shell to read is for flyctl alone.
fn exports(text: &str) -> Variables {
    text.lines()
        .filter_map(|line| line.strip_prefix("export "))
        .filter(|line| !line.contains(['$', ' ']))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub fn value<'v>(variables: &'v Variables, name: &str) -> &'v str {
    let found = variables.iter().find(|(other, _)| other == name);
    &found.unwrap_or_else(|| panic!("no {name} in {variables:?}")).1
}
