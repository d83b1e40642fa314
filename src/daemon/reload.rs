//! Reads the configuration again when its files change. A broken one is refused loudly, and the
//! old one stays.
//!
//! The files are polled: a few small files every few seconds cost nothing, and polling sees every
//! way in which a file can be replaced (editors, mounted volumes, symbolic links).

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use super::{ConfigSource, Ports};
use crate::{
    config::{self, Config, ConfigErrors, Fingerprint},
    model::{Event, EventKind, Reason},
    notify::recipients,
};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Most problems a message names; the log has them all.
const PROBLEMS_MAX: usize = 5;
/// Longest description of one problem in a message, in characters.
const PROBLEM_LENGTH_MAX: usize = 300;

pub(super) struct Reload {
    pub(super) source: ConfigSource,
    pub(super) publish: watch::Sender<Arc<Config>>,
    pub(super) ports: Arc<Ports>,
    pub(super) installation: String,
    pub(super) mail: Arc<Notify>,
}

impl Reload {
    pub(super) async fn run(self, ends: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut ends = std::pin::pin!(ends);
        let mut seen = self.look().await;
        loop {
            tokio::select! {
                () = &mut ends => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = self.look().await;
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            self.reload().await?;
        }
    }

    /// `None`: the files cannot be read just now; what was loaded stays.
    async fn look(&self) -> Option<Fingerprint> {
        let dir = self.source.dir.clone();
        match tokio::task::spawn_blocking(move || Fingerprint::of(&dir)).await {
            Ok(Ok(fingerprint)) => Some(fingerprint),
            Ok(Err(error)) => {
                warn!("the configuration in {} cannot be read: {error}", self.source.dir.display());
                None
            }
            Err(error) => {
                warn!("looking at the configuration failed: {error}");
                None
            }
        }
    }

    async fn reload(&self) -> anyhow::Result<()> {
        let source = self.source.clone();
        let load = move || config::load(&source.dir, |name| (source.environment)(name));
        let loaded =
            tokio::task::spawn_blocking(load).await.context("read the changed configuration")?;
        let refused = |all: &str| {
            let event = EventKind::ConfigRejected.as_str();
            error!(event, "configuration refused, the old one stays: {all}");
        };
        let (kind, reason) = match loaded {
            Ok(config) => {
                let old = self.publish.borrow().clone();
                if config.organization != old.organization {
                    let reason = "the organization cannot change while running: restart the daemon";
                    refused(reason);
                    (EventKind::ConfigRejected, reason.to_owned())
                } else {
                    let reason = format!("{} policies are in force", config.policies.len());
                    self.publish.send_replace(Arc::new(config));
                    let kind = EventKind::ConfigReloaded;
                    info!(event = kind.as_str(), "configuration reloaded: {reason}");
                    (kind, reason)
                }
            }
            Err(errors) => {
                refused(&errors.to_string());
                (EventKind::ConfigRejected, first(&errors))
            }
        };
        let now = self.ports.clock.now();
        let mut event = Event::new(kind, now, None);
        event.reason = Some(Reason::Told { text: reason });
        let receivers = recipients(&self.publish.borrow(), kind);
        let id = format!("msg_{}_config_{}", self.installation, now.as_millisecond());
        self.ports
            .journal
            .announce(&id, event, &receivers, now)
            .await
            .context("record the configuration change")?;
        self.mail.notify_one();
        Ok(())
    }
}

/// The first problems, one a line: people read messages on a telephone.
fn first(errors: &ConfigErrors) -> String {
    let problems = errors.problems();
    let shown = problems.iter().take(PROBLEMS_MAX);
    let mut lines: Vec<String> = shown
        .map(|problem| problem.to_string().chars().take(PROBLEM_LENGTH_MAX).collect())
        .collect();
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    if more > 0 {
        lines.push(format!("and {more} more: run waveoff check"));
    }
    lines.join("\n")
}
