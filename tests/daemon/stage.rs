//! What a test plays on: a simulated organization, a receiver, a configuration in files, and the
//! daemon; and what is demanded of all of them at the end: no secret was ever said.

use std::{path::PathBuf, sync::Mutex, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    hook::{Hook, Manner},
    platform::{FLEET, Platform, client},
    process::{Process, Variables, command},
    wait::{s, until},
};

/// The daemon's token: a macaroon and what came with it.
const MACAROON: &str = "fm2_lJPECAAAAAAAAnotForAnybodysEyes";
const COMPANION: &str = "oauthnotForAnybodysEyes";

/// What signs webhooks, before it is written as a secret.
const SIGNING_KEY: &str = "notForAnybodysEyes-webhooks";

/// What operators show.
pub const OPERATOR_TOKEN: &str = "notForAnybodysEyes-operator";
pub const READ_TOKEN: &str = "notForAnybodysEyes-reader";

/// In the path of the receiver's URL, as chat services have it.
pub const URL_SECRET: &str = "notForAnybodysEyesUrl";

/// Everything as shipped but for the times, which are made for a test.
pub const POLICY: &str = r#"
apps = ["*"]
mode = "rollback"

[watch]
scrape_every = "1s"
idle_scrape_every = "1s"
block = "1s"
bake = "3s"

[rollback]
confirm = "2s"
ready_timeout = "30s"

[[threshold]]
name = "5xx"
ratio = { bad = 'http_requests_total{status=~"5.."}', total = 'http_requests_total' }
max = "2%"

[[threshold]]
name = "checks"
checks = { failing = "30%", consecutive = 2 }
"#;

pub fn signing_secret() -> String {
    format!("whsec_{}", STANDARD.encode(SIGNING_KEY))
}

/// A `[[receiver]]` named `name`; its URL is in the environment.
pub fn receiver(name: &str) -> String {
    let variable = name.to_uppercase();
    format!(
        "\n[[receiver]]\nname = \"{name}\"\nformat = \"standard\"\n\
         url_env = \"{variable}_URL\"\nsecrets_env = [\"HOOK_SECRET\"]\n"
    )
}

/// The variable for [`receiver`].
pub fn receiver_url(name: &str, base: &str) -> (String, String) {
    (format!("{}_URL", name.to_uppercase()), format!("{base}/hook/{URL_SECRET}"))
}

pub struct Stage {
    pub platform: Platform,
    pub hook: Hook,
    /// For the daemon and for `check`.
    pub variables: Variables,
    dir: TempDir,
    daemon: Option<Process>,
    /// The daemon's API.
    url: String,
    /// Everything that left the daemon, besides messages.
    heard: Mutex<Vec<String>>,
    client: reqwest::Client,
}

impl Stage {
    /// A platform and a healthy receiver; the daemon is not started yet.
    pub async fn set() -> Self {
        Self::with_fleet(FLEET).await
    }

    pub async fn with_fleet(fleet: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let platform = Platform::start(dir.path(), fleet).await;
        let hook = Hook::open(Manner::Takes, &signing_secret()).await;
        let mut variables: Variables = platform
            .variables
            .iter()
            .filter(|(name, _)| name != "FLY_API_TOKEN")
            .cloned()
            .collect();
        variables.extend([
            ("FLY_API_TOKEN".to_owned(), format!("FlyV1 {MACAROON},{COMPANION}")),
            ("HOOK_SECRET".to_owned(), signing_secret()),
            receiver_url("ops", &hook.url),
            ("WAVEOFF_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("WAVEOFF_DATA_DIR".to_owned(), dir.path().join("data").display().to_string()),
            ("WAVEOFF_LOG".to_owned(), "trace".to_owned()),
        ]);
        std::fs::create_dir_all(dir.path().join("config/thresholds")).unwrap();
        let stage = Self {
            platform,
            hook,
            variables,
            dir,
            daemon: None,
            url: String::new(),
            heard: Mutex::default(),
            client: client(),
        };
        stage.write("waveoff.toml", &format!("organization = \"acme\"\n{}", receiver("ops")));
        stage.write("thresholds/all.toml", POLICY);
        stage
    }

    /// As [`Stage::set`], with the daemon running and what runs trusted.
    pub async fn running() -> Self {
        let mut stage = Self::set().await;
        stage.start().await;
        stage.trusted().await;
        stage
    }

    /// The configuration's directory.
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Writes a file of the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.config().join(name), text).unwrap();
    }

    /// Sets an environment variable of the daemon to be started.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.retain(|(other, _)| other != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Puts something else in the journal's place.
    pub fn damage_journal(&self) {
        let dir = self.dir.path().join("data");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("waveoff.sqlite"), "no database, only text. ".repeat(100)).unwrap();
    }

    /// Takes it away again.
    pub fn mend_journal(&self) {
        std::fs::remove_file(self.dir.path().join("data/waveoff.sqlite")).unwrap();
    }

    /// Starts the daemon and learns where its API is.
    pub async fn start(&mut self) {
        let config = self.config();
        let arguments = ["run", "--config", config.to_str().unwrap()];
        let process = Process::start(&arguments, &self.variables);
        self.url = until("the daemon says where it listens", s(20), async || {
            let text = process.err.text();
            let (_, rest) = text.split_once("and listens on ")?;
            let (address, _) = rest.split_once('\n')?;
            Some(format!("http://{}", address.trim()))
        })
        .await;
        self.daemon = Some(process);
    }

    pub fn daemon(&mut self) -> &mut Process {
        self.daemon.as_mut().expect("the daemon was started")
    }

    /// What the running daemon logged so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().expect("the daemon was started").err.text()
    }

    pub async fn logged(&self, what: &str, within: Duration) {
        until(&format!("the log says {what:?}"), within, async || {
            self.log().contains(what).then_some(())
        })
        .await;
    }

    /// Waits until what runs is trusted.
    pub async fn trusted(&self) {
        self.hook.about_api("release.trusted", s(40)).await;
    }

    /// Notes the daemon's log and forgets the process, which has ended.
    pub fn ended(&mut self) {
        let process = self.daemon.take().expect("the daemon was started");
        let mut heard = self.heard.lock().unwrap();
        heard.push(process.out.text());
        heard.push(process.err.text());
    }

    /// Where the daemon's API and its page are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// An answer of the daemon's API.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await;
        let response = response.expect("the daemon answers");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        self.heard.lock().unwrap().push(text.clone());
        (status, text)
    }

    /// What an operator gets for an order over HTTP.
    pub async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(OPERATOR_TOKEN);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let response = request.send().await.expect("the daemon answers");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        self.heard.lock().unwrap().push(text.clone());
        (status, text)
    }

    /// What an operator gets who replaces something, if it is still what they think.
    pub async fn put(&self, path: &str, instead_of: &str, body: &str) -> (u16, String) {
        let request = self.client.put(format!("{}{path}", self.url)).bearer_auth(OPERATOR_TOKEN);
        let request = request.header("content-type", "application/json");
        let request = request.header("if-match", instead_of).body(body.to_owned());
        let response = request.send().await.expect("the daemon answers");
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        self.heard.lock().unwrap().push(text.clone());
        (status, text)
    }

    /// The daemon's view of an app.
    pub async fn view(&self, app: &str) -> Option<Value> {
        let (status, text) = self.get(&format!("/api/v1/apps/{app}")).await;
        (status == 200).then(|| serde_json::from_str(&text).unwrap())
    }

    /// A `waveoff` command as a user runs it beside the daemon.
    pub async fn waveoff(&self, arguments: &[&str]) -> (i32, String, String) {
        let variables = vec![("WAVEOFF_URL".to_owned(), self.url.clone())];
        let said = command(arguments, &variables).await;
        self.heard.lock().unwrap().extend([said.1.clone(), said.2.clone()]);
        said
    }

    /// The same, with an operator's token.
    pub async fn waveoff_as(&self, token: &str, arguments: &[&str]) -> (i32, String, String) {
        self.waveoff_with("WAVEOFF_OPERATOR_TOKEN", token, arguments).await
    }

    /// The same, with a variable.
    pub async fn waveoff_with(
        &self,
        name: &str,
        value: &str,
        arguments: &[&str],
    ) -> (i32, String, String) {
        let variables =
            vec![("WAVEOFF_URL".to_owned(), self.url.clone()), (name.to_owned(), value.to_owned())];
        let said = command(arguments, &variables).await;
        self.heard.lock().unwrap().extend([said.1.clone(), said.2.clone()]);
        said
    }

    /// A `waveoff` command in the daemon's environment.
    pub async fn waveoff_there(&self, arguments: &[&str]) -> (i32, String, String) {
        let said = command(arguments, &self.variables).await;
        self.heard.lock().unwrap().extend([said.1.clone(), said.2.clone()]);
        said
    }

    /// Ends the daemon as the platform does, and searches everything for secrets.
    pub async fn end(mut self) {
        if self.daemon.is_some() {
            let api = ["/metrics", "/readyz", "/api/v1/status", "/api/v1/apps/api/history"];
            for path in api.iter().chain(&["/", "/apps/api"]) {
                self.get(path).await;
            }
            for arguments in [["status"].as_slice(), &["status", "--json"], &["history", "api"]] {
                self.waveoff(arguments).await;
            }
            self.daemon().tell_to_stop().await;
            assert_eq!(self.daemon().exit(s(10)).await, Some(0), "{}", tail(&self.log()));
            self.ended();
        }
        let mut heard = self.heard.lock().unwrap().clone();
        let messages = self.hook.raw();
        heard.extend(messages.iter().flat_map(|message| [message.text(), message.headers.clone()]));
        for text in heard {
            for secret in secrets() {
                assert!(!text.contains(&secret), "{secret:?} was said: {}", around(&text, &secret));
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(daemon) = &self.daemon
        {
            eprintln!("the daemon's log ends with\n{}", tail(&daemon.err.text()));
        }
    }
}

/// Every way in which a secret could be written.
fn secrets() -> Vec<String> {
    let plain = [MACAROON, COMPANION, SIGNING_KEY, URL_SECRET, OPERATOR_TOKEN, READ_TOKEN];
    let basic = STANDARD.encode(format!("x:{MACAROON}"));
    let mut secrets: Vec<String> = plain.iter().map(|&secret| secret.to_owned()).collect();
    secrets.extend([basic, STANDARD.encode(SIGNING_KEY)]);
    secrets
}

fn around(text: &str, secret: &str) -> String {
    let at = text.find(secret).unwrap_or(0);
    let from = (0..=at.saturating_sub(300)).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text[from..].chars().take(700).collect()
}

/// The last lines of a log, without what the libraries beneath say.
pub fn tail(log: &str) -> String {
    let is_ours = |line: &&str| {
        let detail = line.contains("TRACE") || line.contains("DEBUG");
        !detail || line.contains("trying again")
    };
    let lines: Vec<&str> = log.lines().filter(is_ours).collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
