//! The questions, in an order in which each finds the machine as it needs it.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    api::{Api, Reply},
    finding::Finding,
    scratch::Scratch,
};
use crate::{
    fly::Fly,
    model::{ReleaseStatus, ReleaseVersion},
    numbers::plain,
    ports::{Clock, NewRelease, Platform as _},
};

/// How long a machine may take to do what it was told.
const WAIT_S: u32 = 60;
/// The shortest lease, and how long until it is surely over.
const SHORT_LEASE_S: u64 = 2;
const SHORT_LEASE_OVER: Duration = Duration::from_secs(5);
/// How long a change may take to show in the feed, and how often it is looked for.
const FEED_MAX: Duration = Duration::from_secs(40);
const FEED_EVERY: Duration = Duration::from_millis(1200);
/// What the daemon makes of a machine that is stopped.
const STARTED_ALONE: &str = "judges machines that are started alone";
/// Calls in a row, to see which is one too many.
const BURST: usize = 8;

/// One machine, tried out.
struct Patient<'p> {
    api: &'p Api,
    scratch: &'p Scratch,
    id: String,
}

/// Asks everything; tells what it is about to ask.
///
/// # Errors
/// When the platform cannot be reached, or its first machine not be made.
pub(super) async fn ask(
    api: &Api,
    fly: &Fly,
    scratch: &Scratch,
    about: &dyn Fn(&'static str),
) -> anyhow::Result<Vec<Finding>> {
    about("a machine");
    let made = scratch.machine(api).await?;
    let id = made.text("/id").context("the machine has no id")?.to_owned();
    let patient = Patient { api, scratch, id };
    about("waiting");
    let mut findings = vec![patient.waiting(&made).await?];
    about("leases");
    findings.extend(patient.leases().await?);
    about("updates");
    findings.extend(patient.updates().await?);
    findings.push(patient.refused_image().await?);
    findings.push(patient.dead_nonce().await?);
    about("events");
    findings.push(patient.events().await?);
    findings.push(patient.versions().await?);
    about("the change feed");
    findings.push(patient.feed().await?);
    about("a stopped machine");
    findings.extend(patient.stopped().await?);
    about("rate limits");
    findings.push(patient.burst().await?);
    about("the release ledger");
    findings.push(ledger(fly, scratch).await);
    let names = [
        (patient.id.as_str(), "MACHINE"),
        (scratch.app.as_str(), "APP"),
        (scratch.organization.as_str(), "ORGANIZATION"),
    ];
    for finding in &mut findings {
        for (name, stands_for) in names {
            finding.platform = finding.platform.replace(name, stands_for);
        }
        // Whose lease it is can be somebody's address.
        let words = finding.platform.split(' ');
        let words: Vec<&str> =
            words.map(|word| if word.contains('@') { "OWNER" } else { word }).collect();
        finding.platform = words.join(" ");
    }
    Ok(findings)
}

impl Patient<'_> {
    async fn call(
        &self,
        method: Method,
        rest: &str,
        nonce: Option<&str>,
        body: Option<Value>,
    ) -> anyhow::Result<Reply> {
        let path = self.scratch.path(&format!("/{}{rest}", self.id));
        self.api.call(method, &path, nonce, body).await
    }

    async fn look(&self) -> anyhow::Result<Reply> {
        self.call(Method::GET, "", None, None).await
    }

    async fn lease(&self, seconds: u64) -> anyhow::Result<Reply> {
        let body = json!({ "description": "waveoff doctor", "ttl": seconds });
        let rest = format!("/lease?ttl={seconds}");
        self.call(Method::POST, &rest, None, Some(body)).await
    }

    async fn give_back(&self, nonce: &str) -> anyhow::Result<Reply> {
        self.call(Method::DELETE, "/lease", Some(nonce), None).await
    }

    async fn wait(&self, state: &str, version: &str, seconds: u32) -> anyhow::Result<Reply> {
        let mut rest = format!("/wait?state={state}&timeout={seconds}");
        // Where the platform named no instance, whichever there is is waited for.
        if !version.is_empty() {
            rest = format!("{rest}&version={version}&instance_id={version}");
        }
        self.call(Method::GET, &rest, None, None).await
    }

    /// Waits until it is up.
    async fn waiting(&self, made: &Reply) -> anyhow::Result<Finding> {
        let version = made.text("/instance_id").unwrap_or_default().to_owned();
        let begun = Instant::now();
        let waited = self.wait("started", &version, WAIT_S).await?;
        let says = format!("{} after {} s", waited.says(), plain(begun.elapsed().as_secs_f64(), 2));
        Ok(Finding::needs(
            "waiting for an instance to start",
            "waits, and looks",
            waited.is_done(),
            says,
        ))
    }

    async fn leases(&self) -> anyhow::Result<Vec<Finding>> {
        let first = self.lease(30).await?;
        let nonce = nonce(&first)?;
        let again = self.lease(30).await?;
        let second = Finding::needs(
            "a second lease",
            "expects to be refused with 409",
            again.status == 409,
            again.says(),
        );
        let body = json!({ "config": self.scratch.config("unleased") });
        let update = self.call(Method::POST, "", None, Some(body)).await?;
        let unleased = Finding::needs(
            "an update past somebody's lease",
            "expects to be refused",
            !update.is_done(),
            update.says(),
        );
        let given = self.give_back(&nonce).await?;
        let back =
            Finding::needs("a lease given back", "gives each back", given.is_done(), given.says());
        Ok(vec![second, unleased, back])
    }

    /// One that is kept, and one that is made of an old state.
    async fn updates(&self) -> anyhow::Result<Vec<Finding>> {
        let before = self.look().await?;
        let old = before.text("/instance_id").unwrap_or_default().to_owned();
        let nonce = nonce(&self.lease(60).await?)?;
        let body = json!({ "config": self.scratch.config("second"), "current_version": old });
        let update = self.call(Method::POST, "", Some(&nonce), Some(body)).await?;
        // There is no instance to wait for where it was refused.
        if let Some(version) = update.text("/instance_id").filter(|_| update.is_done()) {
            self.wait("started", version, WAIT_S).await?;
        }
        let after = self.look().await?;
        let is_kept = after.text("/config/env/WAVEOFF_DOCTOR") == Some("second");
        let is_new = after.text("/instance_id") != Some(&old);
        let says = format!(
            "{}; {}, {}",
            update.says(),
            if is_kept { "kept" } else { "not kept" },
            if is_new { "a new instance" } else { "the same instance" }
        );
        let kept = Finding::needs(
            "an update under a lease",
            "looks whether it was kept, and for a new instance",
            update.is_done() && is_kept && is_new,
            says,
        );
        // As if somebody had been quicker.
        let body = json!({ "config": self.scratch.config("stale"), "current_version": old });
        let stale = self.call(Method::POST, "", Some(&nonce), Some(body)).await?;
        let question = "an update of a state that is over";
        let daemon = "sees 409 and 412 as a race, and looks anew; compares before it writes";
        let stale = if stale.is_done() || matches!(stale.status, 409 | 412) {
            Finding::known(question, daemon, stale.says())
        } else {
            Finding::needs(question, daemon, false, stale.says())
        };
        self.settle().await?;
        self.give_back(&nonce).await?;
        Ok(vec![kept, stale])
    }

    /// Waits until what it was told last is done.
    async fn settle(&self) -> anyhow::Result<()> {
        let now = self.look().await?;
        let version = now.text("/instance_id").unwrap_or_default().to_owned();
        self.wait("started", &version, WAIT_S).await?;
        Ok(())
    }

    /// An update to an image that is not there.
    async fn refused_image(&self) -> anyhow::Result<Finding> {
        let before = self.look().await?;
        let repository = self.scratch.image.split(['@', ':']).next().unwrap_or_default();
        let digest = "0".repeat(64);
        let image = format!("{repository}@sha256:{digest}");
        let config = self.scratch.config_of(&image, "lost");
        let nonce = nonce(&self.lease(60).await?)?;
        let body = json!({ "config": config });
        let update = self.call(Method::POST, "", Some(&nonce), Some(body)).await?;
        let after = self.look().await?;
        let is_same =
            after.text("/config/env/WAVEOFF_DOCTOR") == before.text("/config/env/WAVEOFF_DOCTOR");
        let says = format!(
            "{}; the machine {}",
            update.says(),
            if is_same { "is as it was" } else { "was changed" }
        );
        if !is_same {
            let body = json!({ "config": self.scratch.config("mended") });
            self.call(Method::POST, "", Some(&nonce), Some(body)).await?;
            self.settle().await?;
        }
        self.give_back(&nonce).await?;
        let daemon = "looks its images up before, and verifies after each update";
        Ok(Finding::known("an update to an image that is not there", daemon, says))
    }

    async fn dead_nonce(&self) -> anyhow::Result<Finding> {
        let nonce = nonce(&self.lease(SHORT_LEASE_S).await?)?;
        sleep(SHORT_LEASE_OVER).await;
        let body = json!({ "config": self.scratch.config("dead") });
        let update = self.call(Method::POST, "", Some(&nonce), Some(body)).await?;
        let given = self.give_back(&nonce).await?;
        self.settle().await?;
        let says = format!("update {}; giving it back {}", update.says(), given.says());
        let daemon = "renews its leases, and writes nothing in a lease's last seconds";
        Ok(Finding::known("a lease that is over", daemon, says))
    }

    /// Which events an update leaves, and in which order.
    async fn events(&self) -> anyhow::Result<Finding> {
        let machine = self.look().await?;
        let events = machine.body.get("events").and_then(Value::as_array);
        let times: Vec<i64> =
            events.into_iter().flatten().filter_map(|one| one.get("timestamp")?.as_i64()).collect();
        let newest_first = times.windows(2).all(|two| matches!(two, [a, b] if a >= b));
        let kind = |one: &Value| {
            Some(format!("{}/{}", one.get("type")?.as_str()?, one.get("status")?.as_str()?))
        };
        let kinds: Vec<String> = events.into_iter().flatten().filter_map(kind).take(6).collect();
        let says = format!(
            "{} events, {}: {}",
            times.len(),
            if newest_first { "the newest first" } else { "not in the order of time" },
            kinds.join(", ")
        );
        let has_start = kinds.iter().any(|kind| kind.starts_with("start/"));
        let daemon = "orders them by time itself, and needs `start`";
        Ok(Finding::needs("events across updates", daemon, has_start, says))
    }

    async fn versions(&self) -> anyhow::Result<Finding> {
        let listed = self.call(Method::GET, "/versions", None, None).await?;
        let marks = listed.body.as_array().into_iter().flatten();
        let marks: Vec<&str> = marks
            .filter_map(|one| one.pointer("/user_config/env/WAVEOFF_DOCTOR")?.as_str())
            .collect();
        let says = if listed.is_done() {
            format!("{}: {}", marks.len(), marks.join(", "))
        } else {
            listed.says()
        };
        let daemon = "does not use it: keeps what it may have to put back itself";
        Ok(Finding::known("configurations that a machine had", daemon, says))
    }

    /// How long a change takes to show in the organization's feed, and whether a restart shows.
    async fn feed(&self) -> anyhow::Result<Finding> {
        let question = "the change feed";
        let daemon = "reads it with an overlap, and looks at each app all the same";
        let updated_at = |machine: Reply| machine.text("/updated_at").map(str::to_owned);
        let before = updated_at(self.look().await?);
        let restarted = self.call(Method::POST, "/restart", None, None).await?;
        if !restarted.is_done() {
            return Ok(Finding::open(
                question,
                daemon,
                format!("no restart: {}", restarted.says()),
            ));
        }
        self.settle().await?;
        let moves = match (before, updated_at(self.look().await?)) {
            (Some(before), Some(after)) if before == after => "updated_at stays on a restart",
            (Some(_), Some(_)) => "updated_at moves on a restart",
            _ => "a machine shows no updated_at",
        };
        let begun = Instant::now();
        let mark = format!("fed-{}", Clock::system().now().as_second());
        let nonce = nonce(&self.lease(60).await?)?;
        let body = json!({ "config": self.scratch.config(&mark) });
        let update = self.call(Method::POST, "", Some(&nonce), Some(body)).await?;
        let Some(version) = update.text("/instance_id").filter(|_| update.is_done()) else {
            self.give_back(&nonce).await?;
            let why = format!("no update: {}", update.says());
            return Ok(Finding::open(question, daemon, why));
        };
        let mut says = None;
        while begun.elapsed() < FEED_MAX {
            let since = Clock::system().now().checked_sub(jiff::SignedDuration::from_mins(5))?;
            let path = format!(
                "/v1/orgs/{}/machines?updated_after={since}&limit=1000",
                self.scratch.organization
            );
            let page = self.api.call(Method::GET, &path, None, None).await?;
            if !page.is_done() {
                says = Some(format!("refused: {}", page.says()));
                break;
            }
            let machines = page.body.get("machines").and_then(Value::as_array);
            let is_new = |one: &Value| {
                let id = one.get("id").and_then(Value::as_str);
                let at = one.get("version").or(one.get("instance_id")).and_then(Value::as_str);
                id == Some(&self.id) && at == Some(version)
            };
            if machines.into_iter().flatten().any(is_new) {
                let seconds = plain(begun.elapsed().as_secs_f64(), 2);
                says = Some(format!("an update shows after {seconds} s at most"));
                break;
            }
            sleep(FEED_EVERY).await;
        }
        self.settle().await?;
        self.give_back(&nonce).await?;
        let seconds = FEED_MAX.as_secs();
        let says = says.unwrap_or_else(|| format!("an update does not show within {seconds} s"));
        Ok(Finding::known(question, daemon, format!("{says}; {moves}")))
    }

    /// What is still shown of the checks of a machine that is stopped, and whether it starts again.
    async fn stopped(&self) -> anyhow::Result<Vec<Finding>> {
        let before = self.look().await?;
        let Some(version) = before.text("/instance_id") else {
            let says = format!("not asked: the machine shows no instance_id ({})", before.says());
            let (question, daemon) = ("checks of a stopped machine", STARTED_ALONE);
            return Ok(vec![Finding::open(question, daemon, says)]);
        };
        self.call(Method::POST, "/stop", None, Some(json!({}))).await?;
        let waited = self.wait("stopped", version, WAIT_S).await?;
        let machine = self.look().await?;
        let checks = machine.body.get("checks").and_then(Value::as_array);
        let status = |one: &Value| Some(one.get("status")?.as_str()?.to_owned());
        let checks: Vec<String> = checks.into_iter().flatten().filter_map(status).collect();
        let says = if checks.is_empty() { "none".to_owned() } else { checks.join(", ") };
        let state = machine.text("/state").unwrap_or("?");
        let kept = Finding::known(
            "checks of a stopped machine",
            STARTED_ALONE,
            format!("{says} (wait: {}, state {state})", waited.says()),
        );
        let started = self.call(Method::POST, "/start", None, None).await?;
        let again = Finding::known(
            "a start right after a stop",
            "takes 412 as not yet, and tries again",
            started.says(),
        );
        Ok(vec![kept, again])
    }

    async fn burst(&self) -> anyhow::Result<Finding> {
        let path = self.scratch.path(&format!("/{}/lease", self.id));
        let mut refused = None;
        for index in 1..=BURST {
            let reply = self.api.once(Method::GET, &path, None, None).await?;
            if reply.status == 429 {
                refused = Some((index, reply.retry_after));
                break;
            }
        }
        let says = match refused {
            None => format!("{BURST} calls in a row are answered"),
            Some((index, None)) => format!("call {index} in a row is refused, without Retry-After"),
            Some((index, Some(seconds))) => {
                format!("call {index} in a row is refused, Retry-After {seconds} s")
            }
        };
        let daemon = "makes three calls in a row of a kind, and one a second then";
        let is_enough = refused.is_none_or(|(index, _)| index > 3);
        Ok(Finding::needs("calls of one kind in a row", daemon, is_enough, says))
    }
}

/// A release is opened and closed in the ledger, as a rollback does it.
async fn ledger(fly: &Fly, scratch: &Scratch) -> Finding {
    let question = "a release in the ledger";
    let daemon = "opens one for each rollback, and goes on without it";
    let wanted = NewRelease { app: scratch.app.clone(), image: scratch.image.clone() };
    let opened = match fly.open_release(&wanted).await {
        Ok(release) => release,
        Err(error) => return Finding::known(question, daemon, format!("not opened: {error}")),
    };
    let closed = fly.set_release_status(&opened.id, ReleaseStatus::Complete).await;
    let seen = fly.releases(&scratch.app, 5).await;
    let says = match (closed, seen) {
        (Err(error), _) => format!("opened, and not closed: {error}"),
        (Ok(()), Err(error)) => format!("opened and closed, and not read: {error}"),
        (Ok(()), Ok(releases)) => {
            let version: ReleaseVersion = opened.version;
            let found = releases.iter().find(|one| one.version == version);
            let status = found
                .map_or("missing".to_owned(), |one| format!("{:?}", one.status).to_lowercase());
            format!("opened, closed, and {status} in the list")
        }
    };
    Finding::known(question, daemon, says)
}

fn nonce(reply: &Reply) -> anyhow::Result<String> {
    let nonce = reply.text("/data/nonce").or(reply.text("/nonce"));
    nonce.map(str::to_owned).with_context(|| format!("a lease was not given: {}", reply.says()))
}
