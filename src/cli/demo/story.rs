//! What happened in the demo, how it is told, and whether it is what should have happened.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::Instant;

use super::{APP, Bad, stage::Stage, twin};
use crate::{cli::receiver::Received, sim::Totals};

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

/// What the fault does to users' requests.
pub(super) fn harm(bad: Bad) -> &'static str {
    match bad {
        Bad::Latency => "slow",
        Bad::Errors | Bad::Crash | Bad::Unhealthy => "failed",
    }
}

/// How many requests it did that to.
pub(super) fn hurt(bad: Bad, users: Totals) -> u64 {
    match bad {
        Bad::Latency => users.slow,
        Bad::Errors | Bad::Crash | Bad::Unhealthy => users.failed,
    }
}

/// The messages of the app the story is about, in order, with the time they came.
#[derive(Default)]
pub(super) struct Story {
    messages: Vec<(Instant, Received)>,
    pub(super) verified: u32,
    /// What users had got when the bad release was shipped, and when it was undone.
    pub(super) before: Option<Totals>,
    pub(super) after: Option<Totals>,
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

    /// What users got from the bad release on until it was undone, if it was.
    pub(super) fn cost(&self) -> Option<Totals> {
        Some(twin::since(self.before?, self.after?))
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

pub(super) fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn app_of(body: &Value) -> &str {
    body.pointer("/data/app").and_then(Value::as_str).unwrap_or("")
}

fn version_of(body: &Value) -> &str {
    body.pointer("/data/release/label")
        .or_else(|| body.pointer("/data/release/version"))
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// What a message says, without the numbers that the messages of one rollback have in common.
pub(super) fn told(kind: &str, body: &Value) -> String {
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
