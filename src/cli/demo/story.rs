//! What happened in the demo, how it is told, and whether it is what should have happened.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{APP, Bad, line, stage::Stage};
use crate::{
    cli::receiver::Received,
    web::{AppView, Phase},
};

/// The fault's name.
pub(super) fn fault(bad: Bad) -> &'static str {
    match bad {
        Bad::Errors => "errors",
        Bad::Latency => "latency",
        Bad::Crash => "crash",
        Bad::Unhealthy => "unhealthy",
    }
}

/// The fault, for people.
pub(super) fn described(bad: Bad) -> &'static str {
    match bad {
        Bad::Errors => "three requests in ten fail",
        Bad::Latency => "six requests in ten take 800 ms",
        Bad::Crash => "its process dies two seconds after every start",
        Bad::Unhealthy => "its health checks fail",
    }
}

/// The messages of the app the story is about, in order, with the time they came.
#[derive(Default)]
pub(super) struct Story {
    messages: Vec<(Instant, Received)>,
    pub(super) verified: u32,
}

impl Story {
    pub(super) fn add(&mut self, message: Received) {
        self.verified += 1;
        self.messages.push((Instant::now(), message));
    }

    pub(super) fn happened(&self, kind: &str, release: &str) -> bool {
        self.when(kind, release).is_some()
    }

    /// When the first such message came.
    pub(super) fn when(&self, kind: &str, release: &str) -> Option<Instant> {
        self.messages
            .iter()
            .find(|(_, message)| {
                text(&message.body, "type") == kind
                    && app_of(&message.body) == APP
                    && version_of(&message.body) == release
            })
            .map(|(at, _)| *at)
    }

    fn position(&self, kind: &str) -> Option<usize> {
        self.messages.iter().position(|(_, message)| {
            text(&message.body, "type") == kind && app_of(&message.body) == APP
        })
    }

    /// What should have happened: detected, undone with the first region confirmed before the
    /// next, and every machine back on the good image.
    pub(super) async fn verdict(&self, stage: &Stage, shipped: Instant) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.happened("rollback.completed", "v43"),
            "the rollback did not complete: {}",
            self.last_reason().unwrap_or_else(|| "no reason was given".to_owned())
        );
        let mut ids: Vec<&str> =
            self.messages.iter().map(|(_, message)| message.id.as_str()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        anyhow::ensure!(ids.len() == all, "a webhook came twice");
        let order = [
            "release.degraded",
            "rollback.planned",
            "rollback.started",
            "rollback.region_confirmed",
            "rollback.completed",
        ];
        let places: Option<Vec<usize>> = order.iter().map(|kind| self.position(kind)).collect();
        let places = places.context("a webhook of the rollback is missing")?;
        anyhow::ensure!(places.is_sorted(), "the webhooks came out of order");
        anyhow::ensure!(stage.all_on_good(APP), "some machines of {APP} do not run the good image");
        anyhow::ensure!(shipped.elapsed() < Duration::from_secs(120), "it took too long");
        Ok(())
    }

    fn last_reason(&self) -> Option<String> {
        self.messages.iter().rev().find_map(|(_, message)| {
            message.body.pointer("/data/reason").and_then(Value::as_str).map(str::to_owned)
        })
    }
}

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or("")
}

fn app_of(body: &Value) -> &str {
    body.pointer("/data/app").and_then(Value::as_str).unwrap_or("")
}

fn version_of(body: &Value) -> &str {
    body.pointer("/data/release/label")
        .or_else(|| body.pointer("/data/release/version"))
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// What a message says, without the numbers that the messages of one rollback have in common.
fn told(kind: &str, body: &Value) -> String {
    let sentence = body.pointer("/data/text").and_then(Value::as_str).unwrap_or("").to_owned();
    let label = |whose: &str| {
        body.pointer(&format!("/data/{whose}/label")).and_then(Value::as_str).unwrap_or("?")
    };
    let regions = |phase: &str| {
        let all = body.pointer("/data/regions").and_then(Value::as_array);
        let names = all
            .into_iter()
            .flatten()
            .filter(|region| text(region, "phase") == phase)
            .map(|region| text(region, "region"));
        names.collect::<Vec<_>>().join(", ")
    };
    let seconds = body.pointer("/data/after_seconds").and_then(Value::as_f64).unwrap_or(0.0);
    match kind {
        "rollback.planned" => {
            let (bad, good) = (label("release"), label("known_good"));
            format!("{bad} → {good}, in the order {}", regions("waiting"))
        }
        "rollback.started" => {
            format!("{} first", regions("waiting").split(',').next().unwrap_or_default())
        }
        "rollback.region_confirmed" => {
            let (done, next) = (regions("confirmed"), regions("waiting"));
            let next = if next.is_empty() { String::new() } else { format!("; {next} next") };
            format!("{done} healthy on {} after {seconds:.0} s{next}", label("known_good"))
        }
        "rollback.completed" => format!("in {seconds:.0} s"),
        _ => sentence,
    }
}

/// Writes the story down, for people or as JSON lines.
pub(super) struct Teller {
    json: bool,
    start: Instant,
    last_evidence: String,
}

impl Teller {
    pub(super) fn new(json: bool, start: Instant) -> Self {
        Self { json, start, last_evidence: String::new() }
    }

    fn at(&self) -> f64 {
        (self.start.elapsed().as_secs_f64() * 10.0).round() / 10.0
    }

    pub(super) fn intro(&self, stage: &Stage) -> anyhow::Result<()> {
        if self.json {
            return self.json_line("demo.started", json!({"api": stage.api_url}));
        }
        line("A simulated Fly organization is up: api in iad, lhr and syd, web, and worker.")?;
        line("The daemon watches it over real sockets. From another terminal:")?;
        line(&format!("  waveoff status --url {}", stage.api_url))?;
        line("")
    }

    /// Something the demo itself did.
    pub(super) fn note(&self, event: &str, text: &str, fields: Value) -> anyhow::Result<()> {
        if self.json {
            return self.json_line(event, fields);
        }
        line(&format!("{:>6.1} s  == {text}", self.at()))
    }

    /// A verified webhook.
    pub(super) fn tell(&self, message: &Received) -> anyhow::Result<()> {
        let kind = text(&message.body, "type");
        if self.json {
            let data = message.body.get("data").cloned().unwrap_or(Value::Null);
            return self.json_line(kind, data);
        }
        if app_of(&message.body) != APP {
            // The other apps only learn; one line each would hide the story.
            return Ok(());
        }
        line(&format!("{:>6.1} s  {kind:<25} {}", self.at(), told(kind, &message.body)))
    }

    /// The evidence so far, when it moved.
    pub(super) fn evidence(&mut self, view: &AppView) -> anyhow::Result<()> {
        if self.json || !matches!(view.phase, Phase::Deploying | Phase::Baking) {
            return Ok(());
        }
        let worst = view
            .evidence
            .iter()
            .filter(|evidence| evidence.counts.bad > 0.0)
            .max_by(|a, b| a.ln_odds.unwrap_or(0.0).total_cmp(&b.ln_odds.unwrap_or(0.0)));
        let Some(worst) = worst else { return Ok(()) };
        let odds = match (worst.ln_odds, worst.ln_odds_needed) {
            (Some(odds), Some(needed)) => {
                format!(", odds {:.1}:1, needed {:.0}:1", odds.exp(), needed.exp())
            }
            _ => String::new(),
        };
        let text = format!(
            "{}: {:.0} of {:.0}{odds}",
            worst.threshold, worst.counts.bad, worst.counts.total
        );
        if text == self.last_evidence {
            return Ok(());
        }
        line(&format!("{:>6.1} s    evidence so far        {text}", self.at()))?;
        self.last_evidence = text;
        Ok(())
    }

    /// The summary; answers with the exit code.
    pub(super) async fn finish(
        &self,
        stage: &Stage,
        story: &Story,
        shipped: Instant,
        result: anyhow::Result<()>,
    ) -> anyhow::Result<i32> {
        let since = |kind: &str| {
            story.when(kind, "v43").map(|at| ((at - shipped).as_secs_f64() * 10.0).round() / 10.0)
        };
        let (detect, recover) = (since("release.degraded"), since("rollback.completed"));
        let totals = stage.totals(APP);
        let calls = stage.platform_calls();
        let outcome = if result.is_ok() { "rolled_back" } else { "failed" };
        if self.json {
            let fields = json!({
                "outcome": outcome,
                "error": result.as_ref().err().map(|error| format!("{error:#}")),
                "detect_s": detect,
                "recover_s": recover,
                "requests": totals.0,
                "requests_failed": totals.1,
                "platform_calls": calls,
                "webhooks_verified": story.verified,
            });
            self.json_line("demo.finished", fields)?;
        } else {
            let seconds =
                |time: Option<f64>| time.map_or("never".to_owned(), |time| format!("{time:.1} s"));
            line("")?;
            if let Err(error) = &result {
                line(&format!("NOT what should have happened: {error:#}"))?;
            } else {
                line("The bad release was undone; every machine runs the good image.")?;
            }
            line(&format!("  time to detect    {}", seconds(detect)))?;
            line(&format!("  time to recover   {}", seconds(recover)))?;
            line(&format!("  requests failed   {} of {}", totals.1, totals.0))?;
            line(&format!("  platform calls    {calls}"))?;
            line(&format!(
                "  webhooks          {} received, all signatures right",
                story.verified
            ))?;
        }
        Ok(i32::from(result.is_err()))
    }

    pub(super) fn stay(&self, stage: &Stage) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        line("")?;
        line("Staying up; Ctrl-C ends it. To poke at it:")?;
        line(&format!("  waveoff status --url {}", stage.api_url))?;
        line(&format!("  waveoff history {APP} --url {}", stage.api_url))?;
        line(&format!("  curl {}/_sim", stage.platform_url))
    }

    fn json_line(&self, event: &str, fields: Value) -> anyhow::Result<()> {
        let mut object = Map::new();
        object.insert("at".to_owned(), json!(self.at()));
        object.insert("event".to_owned(), json!(event));
        if let Value::Object(fields) = fields {
            for (key, value) in fields {
                object.entry(key).or_insert(value);
            }
        }
        line(&Value::Object(object).to_string())
    }
}
