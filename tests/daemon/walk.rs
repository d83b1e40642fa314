//! docs/deploy.md from its first line to its last, as somebody follows it who has twelve apps and reads nothing
//! else: its commands in their order, given to a shell in a checkout, and its files as it shows them.
//!
//! What flyctl does is done here: `fly deploy` starts the daemon, `fly proxy` says where it is, and a command for
//! `fly ssh console` runs beside it. Nothing else is changed but names that the simulation has not, and how long a
//! release bakes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, process::Command, time::timeout};

use crate::{
    platform::Platform,
    process::{Process, Variables},
    stage::tail,
    wait::{s, until},
};

const APPS: [&str; 12] = [
    "admin", "api", "auth", "billing", "cron", "docs", "images", "mailer", "reports", "search",
    "web", "worker",
];

/// Twelve apps in two regions, and what `api` ships later.
fn fleet() -> String {
    let mut text = "organization = \"acme\"\nseed = 7\nboot_s = 0.3\nreplace_s = 0.2\n\
                    check_s = 0.2\nmetrics_port = 0\nservice_port = 0\nmetrics_every_s = 0.5\n\
                    metrics_late_s = 0.0\n"
        .to_owned();
    for app in APPS {
        let rate = if app == "api" { 120 } else { 20 };
        text.push_str(&format!(
            "[[apps]]\nname = \"{app}\"\nimage = \"registry.fly.io/{app}:v41\"\nversion = 41\n\
             machines = {{ iad = 1, lhr = 1 }}\ntraffic = {{ requests_per_s = {rate} }}\n\
             [[images]]\nreference = \"registry.fly.io/{app}:v41\"\n"
        ));
    }
    text.push_str(
        "[[images]]\nreference = \"registry.fly.io/api:errors\"\n\
         behaviour = { error_share = 0.5 }\n",
    );
    text
}

/// A step of the page, in its order.
enum Step {
    /// A line for a shell, and where it stands.
    Line(String, usize),
    /// A table of a configuration.
    Table(String),
}

fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut language, mut table) = (Vec::new(), None, String::new());
    for (line, number) in page.lines().zip(1..) {
        match (line.strip_prefix("```"), language) {
            (Some(_), Some(ended)) => {
                if ended == "toml" {
                    steps.push(Step::Table(std::mem::take(&mut table)));
                }
                language = None;
            }
            (Some(begun), None) => language = Some(begun),
            (None, Some("sh")) => steps.push(Step::Line(line.to_owned(), number)),
            (None, Some("toml")) => table.push_str(&format!("{line}\n")),
            (None, _) => {}
        }
    }
    steps
}

/// Whoever follows the page.
struct Newcomer {
    home: TempDir,
    platform: Platform,
    daemon: Option<Process>,
    url: String,
    /// Where the chat's messages go.
    chat: String,
    /// What every command said, for who looks why something failed.
    said: String,
}

/// What it was done for, another version, and a volume that is lost.
async fn undoes_and_is_upgraded(newcomer: &mut Newcomer) {
    // And what it was done for happens: a bad release of the armed app is undone, and that is told
    newcomer.ship("errors").await;
    newcomer.until("api is rolled back", "api", |api| api["phase"] == "rolled_back").await;
    let history = newcomer.does("waveoff history api", 0).await;
    assert!(history.contains("rollback.completed"), "{history}");
    newcomer.does("waveoff rollback api --to errors --force --dry-run", 0).await;
    assert_eq!(newcomer.platform.tags().await, ["v41"]);

    // And another version of the daemon goes on with its journal, and what was pushed
    newcomer.daemon_ends().await;
    newcomer.deploys().await;
    newcomer.until("what was pushed is in force", "api", |api| api["mode"] == "rollback").await;
    let versions = newcomer.does("waveoff config versions", 0).await;
    assert!(versions.contains("*  1"), "{versions}");
    let history = newcomer.does("waveoff history api", 0).await;
    assert!(history.contains("rollback.completed"), "{history}");

    // And without its journal it has forgotten all of it: what runs has to earn trust anew
    newcomer.daemon_ends().await;
    fs::remove_dir_all(newcomer.home.path().join("data")).unwrap();
    newcomer.deploys().await;
    newcomer
        .until("api is learned anew", "api", |api| {
            api["phase"] == "learning" && api["known_good"].is_null()
        })
        .await;
    let history = newcomer.does("waveoff history api", 0).await;
    assert!(!history.contains("rollback.completed"), "{history}");
}

impl Newcomer {
    async fn sits_down() -> Self {
        let home = TempDir::new().unwrap();
        let platform = Platform::start(home.path(), &fleet()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let chat = format!("http://{}/services/T0", listener.local_addr().unwrap());
        let takes = axum::Router::new().fallback(async || "ok");
        tokio::spawn(async move { axum::serve(listener, takes).await });
        let (daemon, url, said) = (None, String::new(), String::new());
        let newcomer = Self { home, platform, daemon, url, chat, said };
        let checkout = newcomer.checkout();
        fs::create_dir_all(checkout.join("config/thresholds")).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        for file in ["waveoff.toml", "thresholds/default.toml", "thresholds/web.toml.example"] {
            fs::copy(shipped.join(file), checkout.join("config").join(file)).unwrap();
        }
        newcomer
    }

    fn checkout(&self) -> PathBuf {
        self.home.path().join("waveoff")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.checkout().join("config").join(name)
    }

    /// The simulation's addresses, and no token: that is made on the way.
    fn platforms(&self) -> Variables {
        let variables = self.platform.variables.iter();
        variables.filter(|(name, _)| name != "FLY_API_TOKEN").cloned().collect()
    }

    /// Does what a line says; what came of it.
    async fn does(&mut self, line: &str, number: usize) -> String {
        let there = line.split_once("fly ssh console").and_then(|(_, rest)| rest.split('"').nth(1));
        let line = match there {
            // There the daemon's secrets are set.
            Some(there) => {
                let there = there.replace("/waveoff", "waveoff").replace("/config", "config");
                format!("FLY_API_TOKEN=token-of-the-daemon OPS_URL={} {there}", self.chat)
            }
            None if line.starts_with("fly deploy") => {
                self.deploys().await;
                return String::new();
            }
            None if line.starts_with("fly ") || line.starts_with("cargo ") => return String::new(),
            // The simulation has no past; the tests of replay have, on real servers.
            None if line.starts_with("waveoff replay") => return String::new(),
            None => line.to_owned(),
        };
        let line = line.replace("nginx:alpine", "registry.fly.io/docs:v41");
        // What is exported stays so for the next line.
        let script = format!(
            "fly() {{ echo token-of-$4; }}; touch \"$HOME/env\"; . \"$HOME/env\"\n\
             export WAVEOFF_URL='{}'\n{line}\ncode=$?; export -p >\"$HOME/env\"; exit $code",
            self.url
        );
        let binary = Path::new(env!("CARGO_BIN_EXE_waveoff")).parent().unwrap();
        let run = Command::new("bash")
            .args(["-c", &script])
            .current_dir(self.checkout())
            .env_clear()
            .envs(self.platforms())
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", binary.display()))
            .output();
        let run = timeout(s(120), run).await.expect("it ends by itself").expect("bash is there");
        let [out, wrong] =
            [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        self.said.push_str(&format!("$ {line}\n{out}{wrong}"));
        assert!(run.status.success(), "deploy.md:{number}: {:?}\n{}", run.status, self.said);
        out
    }

    /// The daemon, with the secrets that were set for it and its volume.
    async fn deploys(&mut self) {
        let exported = fs::read_to_string(self.home.path().join("env")).unwrap();
        let token = exported.lines().find_map(|line| {
            let value = line.split_once("WAVEOFF_OPERATOR_TOKEN=")?.1;
            Some(value.trim_matches('"').to_owned())
        });
        let mut variables = self.platforms();
        let data = self.home.path().join("data").display().to_string();
        for (name, value) in [
            ("FLY_API_TOKEN", "token-of-the-daemon"),
            ("OPS_URL", &self.chat),
            ("WAVEOFF_OPERATOR_TOKEN", token.expect("the page makes one, and keeps it").as_str()),
            ("WAVEOFF_LISTEN", "127.0.0.1:0"),
            ("WAVEOFF_DATA_DIR", &data),
        ] {
            variables.push((name.to_owned(), value.to_owned()));
        }
        // What the image brings is a copy: what is edited here has to be pushed.
        let image = self.home.path().join("image");
        let _gone = fs::remove_dir_all(&image);
        copy(&self.checkout().join("config"), &image);
        let process = Process::start(&["run", "--config", image.to_str().unwrap()], &variables);
        self.url = until("the daemon says where it listens", s(20), async || {
            let text = process.err.text();
            let (_, rest) = text.split_once("and listens on ")?;
            Some(format!("http://{}", rest.split_once('\n')?.0.trim()))
        })
        .await;
        self.daemon = Some(process);
    }

    /// The daemon goes, as it does for another version or with its machine.
    async fn daemon_ends(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.tell_to_stop().await;
        assert_eq!(daemon.exit(s(20)).await, Some(0), "{}", tail(&daemon.err.text()));
    }

    async fn view(&self, app: &str) -> Option<Value> {
        let answer = reqwest::get(format!("{}/api/v1/apps/{app}", self.url)).await.ok()?;
        serde_json::from_str(&answer.error_for_status().ok()?.text().await.ok()?).ok()
    }

    async fn until(&self, what: &str, app: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let seen = until(what, s(90), async || {
            last = self.view(app).await?;
            is_so(&last).then(|| last.clone())
        });
        seen.await
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &there) } else { fs::copy(&path, &there).map(drop).unwrap() }
    }
}

/// Times made for a test; all else stays as it ships.
const QUICK: &str = "[watch]\nscrape_every = \"1s\"\nidle_scrape_every = \"1s\"\nblock = \"1s\"\n\
                     bake = \"3s\"\n";

fn hasten(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("[watch]\n"), "{text}");
    fs::write(file, text.replacen("[watch]\n", QUICK, 1)).unwrap();
}

const PAGE: &str = include_str!("../../docs/deploy.md");

#[tokio::test]
async fn who_follows_the_page_gets_from_nothing_to_armed_and_back_out() {
    // Given a newcomer with twelve apps, and the page
    let mut newcomer = Newcomer::sits_down().await;
    let mut lines = 0;

    // When each line is done in its order
    for step in steps(PAGE) {
        match step {
            Step::Table(table) if table.contains("[[receiver]]") => {
                let file = newcomer.file("waveoff.toml");
                let text = fs::read_to_string(&file).unwrap();
                assert!(text.contains("\"acme\""), "init wrote the organization: {text}");
                // The simulation's Prometheus reads more often than Fly's.
                let often = "[[metrics_server]]\nname = \"fly\"\nscrape_every = \"1s\"\n";
                fs::write(&file, format!("{text}\n{table}\n{often}")).unwrap();
            }
            Step::Table(table) => {
                assert!(table.contains("[\"api\"]"), "{table}");
                let file = newcomer.file("thresholds/api.toml");
                fs::write(file, format!("{table}\n{QUICK}")).unwrap();
            }
            Step::Line(line, number) => {
                lines += 1;
                if line.starts_with("waveoff check --config") {
                    hasten(&newcomer.file("thresholds/default.toml"));
                }
                let line = if line.starts_with("waveoff config push") {
                    // Nobody sits at a terminal to say yes.
                    format!("{line} --yes")
                } else {
                    line
                };
                let out = newcomer.does(&line, number).await;
                // Then each says what the page promises of it
                match line.as_str() {
                    _ if line.contains("check --live") => {
                        assert!(out.contains("12 of 12 are watched"), "{out}");
                        assert!(out.contains(" 0 wrong"), "{out}");
                    }
                    _ if line.contains("waveoff check --config") => {
                        // Exactly those that the page names.
                        for warning in ["OPS_URL", "every policy only observes"] {
                            assert!(out.contains(warning), "no {warning} in {out}");
                        }
                        let (_, warnings) = out.split_once("Warnings:\n").unwrap();
                        assert_eq!(warnings.trim_end().lines().count(), 2, "{warnings}");
                    }
                    _ if line.contains("waveoff init") => {
                        assert!(out.contains("acme: 12 apps"), "{out}");
                    }
                    _ if line.contains("waveoff doctor") => {
                        assert!(out.contains(", 0 not as it needs them"), "{out}");
                    }
                    "waveoff status" => {
                        for app in APPS {
                            assert!(out.contains(app), "no {app} in {out}");
                        }
                        newcomer
                            .until("api is trusted", "api", |api| {
                                api["phase"] == "steady" && api["known_good"].is_object()
                            })
                            .await;
                    }
                    _ if line.starts_with("waveoff config push") => {
                        assert!(out.contains("+mode = \"rollback\""), "{out}");
                        newcomer
                            .until("api is armed", "api", |api| api["mode"] == "rollback")
                            .await;
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(lines > 25, "{lines}");
    // And nothing is left in the shell that flyctl would prefer to the login
    let exported = fs::read_to_string(newcomer.home.path().join("env")).unwrap();
    assert!(!exported.contains("FLY_API_TOKEN"), "{exported}");

    undoes_and_is_upgraded(&mut newcomer).await;

    // And when it is gone, nothing of it is left on the apps: no lease, no machine that is down
    newcomer.daemon_ends().await;
    for machine in newcomer.platform.machines().await {
        assert!(machine["leased_by"].is_null(), "{machine}");
        assert_eq!(machine["state"], "started", "{machine}");
    }
}

impl Newcomer {
    /// Somebody deploys `api`, and it gets everywhere.
    async fn ship(&self, tag: &str) {
        let image = format!("registry.fly.io/api:{tag}");
        let ship = json!({ "app": "api", "image": image });
        self.platform.control("POST", "ship", ship).await;
    }
}
