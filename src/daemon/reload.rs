//! Reads the configuration again when its files change. A broken one is refused loudly, and the
//! old one stays.
//!
//! The files are polled: a few small files every few seconds cost nothing, and polling sees every
//! way in which a file can be replaced (editors, mounted volumes, symbolic links).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
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

/// A policy file or a receiver that vanished is believed gone after so long: editors and deploys
/// replace files by removing them first.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// Messages about the configuration that wait for the journal.
const UNTOLD_MAX: usize = 20;

pub(super) struct Reload {
    pub(super) source: ConfigSource,
    pub(super) publish: watch::Sender<Arc<Config>>,
    pub(super) ports: Arc<Ports>,
    pub(super) installation: String,
    pub(super) mail: Arc<Notify>,
}

/// What is under way with the configuration.
#[derive(Default)]
struct Course {
    /// What the files say, without what vanished from them, and since when that is so.
    wanted: Option<(Config, Instant)>,
    untold: VecDeque<Event>,
}

impl Reload {
    pub(super) async fn run(self, ends: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut ends = std::pin::pin!(ends);
        let mut seen = self.look().await;
        let mut course = Course::default();
        loop {
            tokio::select! {
                () = &mut ends => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.settle(&mut course);
            self.tell(&mut course).await;
            let now = self.look().await;
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            self.reload(&mut course).await?;
            self.tell(&mut course).await;
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

    /// Lets go of what vanished long enough ago.
    fn settle(&self, course: &mut Course) {
        let Some((config, since)) = course.wanted.take() else { return };
        if since.elapsed() < GONE_AFTER {
            course.wanted = Some((config, since));
            return;
        }
        info!("what vanished from the configuration is gone for good");
        self.send(config);
    }

    /// Puts a configuration in force; what vanished from it stays a little longer.
    fn put_in_force(&self, course: &mut Course, config: Config) {
        let kept = config.with_vanished(&self.publish.borrow());
        match kept {
            None => {
                course.wanted = None;
                self.send(config);
            }
            Some((kept, names)) => {
                warn!(
                    "{} vanished from the configuration, and stays for {} s more",
                    names.join(", "),
                    GONE_AFTER.as_secs()
                );
                let since = course.wanted.take().map_or_else(Instant::now, |(_, since)| since);
                course.wanted = Some((config, since));
                self.send(kept);
            }
        }
    }

    /// Sources know before anybody asks them for what is new.
    fn send(&self, config: Config) {
        for source in &self.ports.sources {
            source.configure(&config);
        }
        self.publish.send_replace(Arc::new(config));
    }

    /// Records what happened to the configuration, now or when the journal can be written.
    async fn tell(&self, course: &mut Course) {
        while let Some(event) = course.untold.front().cloned() {
            let receivers = recipients(&self.publish.borrow(), &event);
            let at = event.at;
            let id = format!("msg_{}_config_{}", self.installation, at.as_millisecond());
            let now = self.ports.clock.now();
            if let Err(error) = self.ports.journal.announce(&id, event, &receivers, now).await {
                warn!("a change of the configuration is not recorded yet: {error}");
                return;
            }
            course.untold.pop_front();
            self.mail.notify_one();
        }
    }

    async fn reload(&self, course: &mut Course) -> anyhow::Result<()> {
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
                    self.put_in_force(course, config);
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
        self.ports.board.config_refused(kind == EventKind::ConfigRejected);
        course.untold.push_back(event);
        while course.untold.len() > UNTOLD_MAX {
            course.untold.pop_front();
        }
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
