//! Reads the configuration again when its files change. A broken one is refused loudly, and the
//! old one stays.
//!
//! The files are polled: a few small files every few seconds cost nothing, and polling sees every
//! way in which a file can be replaced (editors, mounted volumes, symbolic links). What is pushed by
//! operators comes the other way (`pushed`), and one task sees to both.

mod pushed;

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tracing::{error, info, warn};

pub(super) use pushed::{Counter, Wishes, counter};

use super::{ConfigSource, Ports};
use crate::{
    config::{self, Bundle, Config, ConfigErrors, Fingerprint, Problem, shelf::Label},
    model::{Event, EventKind, Reason},
    notify::recipients,
    web::configuration::VersionView,
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
    /// What operators want with the configuration.
    pub(super) wishes: Wishes,
}

/// What is under way with the configuration.
struct Course {
    /// Where the one in force was read from.
    dir: PathBuf,
    /// What was pushed; `None`: it is what the image brings.
    label: Option<Label>,
    /// The files in force; the error: why they cannot be shown.
    bundle: Result<Arc<Bundle>, String>,
    /// What the files looked like last.
    seen: Option<Fingerprint>,
    /// What the image's files looked like last, where something that was pushed stands above them.
    image_seen: Option<Fingerprint>,
    /// What the files say, without what vanished from them, and since when that is so.
    wanted: Option<(Config, Instant)>,
    untold: VecDeque<Event>,
}

impl Reload {
    pub(super) async fn run(mut self, ends: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut ends = std::pin::pin!(ends);
        let mut course = self.begin().await;
        loop {
            self.settle(&mut course);
            self.tell(&mut course).await;
            tokio::select! {
                () = &mut ends => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Some(wish) = self.wishes.recv() => {
                    self.grant(&mut course, wish).await;
                    continue;
                }
            }
            self.look_aside(&mut course).await;
            let now = self.look(&course.dir).await;
            if now.is_none() || now == course.seen {
                continue;
            }
            course.seen = now;
            self.reload(&mut course).await?;
        }
    }

    /// Begins with what the daemon was started with, and says what is odd about it.
    async fn begin(&self) -> Course {
        let (dir, label) = (self.source.dir.clone(), self.source.label.clone());
        let seen = self.look(&dir).await;
        let bundle = read(&dir).await;
        let (image_seen, wanted, untold) = (None, None, VecDeque::new());
        let mut course = Course { dir, label, bundle, seen, image_seen, wanted, untold };
        if let Some(why) = &self.source.refused {
            error!(event = EventKind::ConfigRejected.as_str(), "{why}");
            self.ports.board.config_refused(true);
            self.note(&mut course, EventKind::ConfigRejected, why.clone());
        }
        self.set_aside(&mut course).await;
        self.show(&course);
        course
    }

    /// Shows which configuration is in force.
    fn show(&self, course: &Course) {
        self.ports.board.configured(version(course));
    }

    fn note(&self, course: &mut Course, kind: EventKind, text: String) {
        let mut event = Event::new(kind, self.ports.clock.now(), None);
        event.reason = Some(Reason::Told { text });
        course.untold.push_back(event);
        while course.untold.len() > UNTOLD_MAX {
            course.untold.pop_front();
        }
    }

    /// `None`: the files cannot be read just now; what was loaded stays.
    async fn look(&self, dir: &std::path::Path) -> Option<Fingerprint> {
        let dir = dir.to_owned();
        let shown = dir.display().to_string();
        match tokio::task::spawn_blocking(move || Fingerprint::of(&dir)).await {
            Ok(Ok(fingerprint)) => Some(fingerprint),
            Ok(Err(error)) => {
                warn!("the configuration in {shown} cannot be read: {error}");
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
        let (dir, environment) = (course.dir.clone(), self.source.environment.clone());
        let load = move || config::load(&dir, |name| environment(name));
        let loaded =
            tokio::task::spawn_blocking(load).await.context("read the changed configuration")?;
        let loaded = loaded.map_err(|errors| (errors.to_string(), first(&errors)));
        let loaded = loaded.and_then(|config| {
            let fixed = fixed(&self.publish.borrow(), &config);
            let Some(problem) = fixed.first() else { return Ok(config) };
            Err((problem.message.clone(), problem.message.clone()))
        });
        let (kind, reason) = match loaded {
            Ok(config) => {
                self.put_in_force(course, config);
                // Also those that vanished, as long as they stay.
                let reason = in_force(self.publish.borrow().policies.len());
                course.bundle = read(&course.dir).await;
                self.show(course);
                let kind = EventKind::ConfigReloaded;
                info!(event = kind.as_str(), "configuration reloaded: {reason}");
                (kind, reason)
            }
            Err((all, reason)) => {
                let event = EventKind::ConfigRejected.as_str();
                error!(event, "configuration refused, the old one stays: {all}");
                (EventKind::ConfigRejected, reason)
            }
        };
        self.ports.board.config_refused(kind == EventKind::ConfigRejected);
        self.note(course, kind, reason);
        Ok(())
    }
}

fn in_force(policies: usize) -> String {
    match policies {
        1 => "1 policy is in force".to_owned(),
        many => format!("{many} policies are in force"),
    }
}

/// What cannot change while the daemon runs.
fn fixed(old: &Config, new: &Config) -> Vec<Problem> {
    let keys = [
        ("organization", old.organization == new.organization),
        ("listen", old.listen == new.listen),
        ("data_dir", old.data_dir == new.data_dir),
    ];
    let changed = keys.into_iter().filter(|(_, is_same)| !is_same);
    let problem = |(key, _): (&str, bool)| Problem {
        file: "waveoff.toml".to_owned(),
        line: None,
        key: key.to_owned(),
        message: format!("the {key} cannot change while running: restart the daemon"),
        suggestion: None,
    };
    changed.map(problem).collect()
}

/// Which configuration is in force.
fn version(course: &Course) -> VersionView {
    let fingerprint = course.bundle.as_ref().map(|bundle| bundle.fingerprint());
    match &course.label {
        Some(label) => VersionView::pushed(label),
        None => {
            VersionView { fingerprint: fingerprint.unwrap_or_default(), ..VersionView::default() }
        }
    }
}

/// The files of a directory.
async fn read(dir: &std::path::Path) -> Result<Arc<Bundle>, String> {
    let dir = dir.to_owned();
    let read = tokio::task::spawn_blocking(move || Bundle::read(&dir)).await;
    read.map_err(|error| error.to_string())?.map(Arc::new)
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
