//! Configuration: `waveoff.toml` and `thresholds/*.toml`, merged, validated, never half right.
//!
//! `load` reads everything and either answers with a configuration that is valid as a whole, or
//! with everything that is wrong. docs/configuration.md describes every key.

mod answer;
mod apps;
pub mod bundle;
mod entry;
mod expression;
mod files;
mod freeze;
mod keys;
mod load;
mod metrics_server;
mod mirror;
mod places;
mod policy;
mod presets;
mod problem;
mod reader;
mod receiver;
mod reserved_keys;
mod rollback;
pub mod schema;
mod selector;
mod settings;
pub mod shelf;
mod start;
mod syntax;
mod threshold;
mod units;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

pub use apps::AppGlob;
pub use bundle::Bundle;
pub use files::Fingerprint;
pub use load::{Checked, check, load};
pub use metrics_server::{FLY, MetricsServer};
pub use places::{Lines, lines};
pub use presets::fly_http;
pub(crate) use problem::nearest;
pub use problem::{ConfigErrors, Problem};
pub use shelf::Shelf;
pub use start::{Start, start};
pub use units::{duration_text, share_text};

/// Reads a duration as it is written everywhere: `90s`, `2h`, `1h30m`.
///
/// # Errors
/// A sentence for people, with what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|wrong| match wrong.suggestion {
        Some(suggestion) => format!("{}; {suggestion}", wrong.message),
        None => wrong.message,
    })
}

use crate::model::{AppName, EventKind, Policy, Severity};

/// A text that must never be shown: its `Debug` is a row of stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; for the call that needs it and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The shape of a webhook body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Standard Webhooks: signed JSON.
    Standard,
    Slack,
    Discord,
    Teams,
    PagerDuty,
    /// Annotations in graphs.
    Grafana,
}

impl Format {
    pub const ALL: [Self; 6] =
        [Self::Standard, Self::Slack, Self::Discord, Self::Teams, Self::PagerDuty, Self::Grafana];

    /// The word for it in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Teams => "teams",
            Self::PagerDuty => "pagerduty",
            Self::Grafana => "grafana",
        }
    }

    /// Whether people read along as it happens, and want to be told what matters alone.
    pub fn is_chat(self) -> bool {
        matches!(self, Self::Slack | Self::Discord | Self::Teams)
    }
}

/// Somebody who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Unique; what the journal and messages call it.
    pub name: String,
    pub format: Format,
    /// May carry a secret in its path (Slack's do), so it is one.
    pub url: Secret,
    /// Signing secrets, the newest first (`whsec_…`); every one of them signs. Of PagerDuty the one
    /// integration key, of a Slack bot and of Grafana the one token.
    pub secrets: Vec<Secret>,
    /// Where a Slack bot writes; `None`: there is no bot, and the URL is an incoming webhook's.
    pub channel: Option<String>,
    /// Only these kinds; empty means all, and of what is read in a chat those that matter.
    pub events: Vec<EventKind>,
    /// Only of apps like these, and what is of no app; empty means all.
    pub apps: Vec<AppGlob>,
    /// Only what is at least so bad.
    pub severity: Severity,
    /// After this age an undelivered message is given up.
    pub max_age: Duration,
}

/// One threshold file.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    pub path: PathBuf,
    /// The most specific of all patterns that match an app decides which policy watches it.
    pub apps: Vec<AppGlob>,
    /// Apps that this policy does not watch, whatever `apps` says.
    pub exclude: Vec<AppGlob>,
    pub policy: Arc<Policy>,
}

/// Everything that is configured, valid as a whole.
#[derive(Clone, Debug)]
pub struct Config {
    /// Slug of the Fly organization.
    pub organization: String,
    /// Address of the API and the status page.
    pub listen: std::net::SocketAddr,
    /// Where people reach the status page: what links in messages begin with.
    pub page_url: Option<String>,
    /// Directory of the journal.
    pub data_dir: PathBuf,
    /// How long history is kept.
    pub keep_history: Duration,
    pub receivers: BTreeMap<String, Receiver>,
    /// By name; the platform's own is always there.
    pub metrics_servers: BTreeMap<String, MetricsServer>,
    /// Called each minute while all is well; a secret, because who knows it can fake that.
    pub heartbeat: Option<Secret>,
    /// The app that this daemon runs as: never watched.
    pub own_app: Option<AppName>,
    pub policies: Vec<PolicyFile>,
}

impl Config {
    /// The policy that watches `app`: that of the most specific pattern. `None`: not watched, as
    /// no policy names the app, or several do equally.
    pub fn policy_for(&self, app: &AppName) -> Option<Arc<Policy>> {
        self.file_for(app).map(|(file, _)| Arc::clone(&file.policy))
    }

    /// Apps among `names` that two policies claim equally, each as a sentence for people.
    pub fn ties(&self, names: &[AppName]) -> Vec<String> {
        names
            .iter()
            .filter(|app| self.own_app.as_ref() != Some(app))
            .filter_map(|app| {
                let claimants = self.claimants(app);
                let (last, others) = claimants.split_last().filter(|(_, rest)| !rest.is_empty())?;
                let others: Vec<&str> = others.iter().map(|f| f.policy.name.as_str()).collect();
                let (others, last) = (others.join(", "), &last.policy.name);
                Some(format!("{app} is claimed equally by the policies {others} and {last}"))
            })
            .collect()
    }

    /// This configuration with what `old` has and it has not, should something have vanished: a
    /// policy's file that is no longer there and whose patterns no other file took over, or a
    /// receiver. With the names of what is kept.
    pub fn with_vanished(&self, old: &Self) -> Option<(Self, Vec<String>)> {
        let mut kept = self.clone();
        let mut names = Vec::new();
        for file in &old.policies {
            let is_there = self.policies.iter().any(|other| other.path == file.path);
            let taken_over = |glob: &AppGlob| {
                let mut others = self.policies.iter().flat_map(|other| &other.apps);
                others.any(|other| other.as_str() == glob.as_str())
            };
            if !is_there && !file.apps.iter().any(taken_over) {
                names.push(file.path.display().to_string());
                kept.policies.push(file.clone());
            }
        }
        for (name, receiver) in &old.receivers {
            let renamed = self.receivers.values().any(|other| other.url == receiver.url);
            if !self.receivers.contains_key(name) && !renamed {
                names.push(format!("receiver {name}"));
                kept.receivers.insert(name.clone(), receiver.clone());
            }
        }
        if names.is_empty() {
            return None;
        }
        // What a kept policy is read from is kept as well.
        for (name, server) in &old.metrics_servers {
            kept.metrics_servers.entry(name.clone()).or_insert_with(|| server.clone());
        }
        Some((kept, names))
    }

    /// The file whose policy watches an app, and the pattern by which it does.
    pub fn file_for(&self, app: &AppName) -> Option<(&PolicyFile, &AppGlob)> {
        if self.own_app.as_ref() == Some(app) {
            return None;
        }
        let claimants = self.claimants(app);
        let [file] = claimants.as_slice() else { return None };
        let patterns = file.apps.iter().filter(|glob| glob.matches(app.as_str()));
        Some((file, patterns.max_by_key(|glob| glob.specificity())?))
    }

    /// Patterns of policies that match none of `names`: the policy's name and the pattern.
    pub fn unmatched(&self, names: &[AppName]) -> Vec<(String, String)> {
        let mut unmatched = Vec::new();
        for file in &self.policies {
            let useless = |glob: &&AppGlob| !names.iter().any(|app| glob.matches(app.as_str()));
            for glob in file.apps.iter().filter(useless) {
                unmatched.push((file.policy.name.clone(), glob.as_str().to_owned()));
            }
        }
        unmatched
    }

    /// The files with the strongest claim on `app`.
    fn claimants(&self, app: &AppName) -> Vec<&PolicyFile> {
        apps::strongest(self.policies.iter().filter_map(|file| {
            let claim = apps::claim(&file.apps, &file.exclude, app.as_str())?;
            Some((claim, file))
        }))
    }
}

#[cfg(test)]
mod tests;
