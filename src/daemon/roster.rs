//! Which apps are watched: keeps one task per app, and wakes them when the change feed shows news.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::{Notify, watch},
    task::{Id, JoinSet},
    time::Instant,
};
use tracing::{error, info, warn};

use super::{Orders, Ports, app::AppTask, census::Census, remembered::Unseen, shared::Shared};
use crate::{
    config::Config,
    model::{AppName, Event, EventKind, Reason},
    notify::recipients,
    ports::{FeedEntry, FeedPosition, PlatformError},
};

/// How often the list of apps is read besides what the feed shows.
const APPS_EVERY: Duration = Duration::from_secs(60);
/// How soon it is read again when an app seems to be gone: sooner than people would be told that
/// the app cannot be seen.
const APPS_IN_DOUBT: Duration = Duration::from_secs(8);
/// Until the first list was read, it is asked for this often.
const APPS_RETRY: Duration = Duration::from_secs(2);
/// One reading of feed or list, retries included.
const READ_DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Roster {
    pub(super) ports: Arc<Ports>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) mail: Arc<Notify>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) installation: String,
    pub(super) feed_every: Duration,
    pub(super) orders: Arc<Orders>,
    pub(super) shared: Arc<Shared>,
}

/// What is known, and who runs.
struct Course {
    census: Census,
    tasks: JoinSet<anyhow::Result<()>>,
    hired: BTreeMap<AppName, Hired>,
    /// Apps that two policies claim equally, with what was told of it.
    ties: BTreeMap<AppName, String>,
    /// Patterns that match no app, by policy, of which was told.
    unmatched: BTreeSet<(String, String)>,
    position: FeedPosition,
    /// Those that were noted as watched.
    noted: Option<Vec<AppName>>,
    /// How it stands with the apps until the first list was read.
    unseen: Unseen,
    /// When the list of apps was last read.
    listed_at: Option<Instant>,
    next_apps: Instant,
}

/// An app's task.
struct Hired {
    task: Id,
    nudge: Arc<Notify>,
    /// Ends this one task. It stays in the books until it ended: two at once would write one state.
    dismiss: watch::Sender<bool>,
}

impl Roster {
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut course = Course {
            census: Census::default(),
            tasks: JoinSet::new(),
            hired: BTreeMap::new(),
            ties: BTreeMap::new(),
            unmatched: BTreeSet::new(),
            noted: None,
            unseen: Unseen::new(),
            position: FeedPosition::default(),
            listed_at: None,
            next_apps: Instant::now(),
        };
        let mut next_feed = Instant::now() + self.feed_every;
        let mut stop = std::pin::pin!(super::until(self.stop.clone()));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = course.tasks.join_next_with_id(), if !course.tasks.is_empty() => {
                    let (task, result) = match ended {
                        Ok((task, result)) => (task, result),
                        Err(error) => anyhow::bail!("an app's task failed: {error}"),
                    };
                    result?;
                    if *self.stop.borrow() {
                        // It ended for that; nobody is hired any more.
                        break;
                    }
                    course.hired.retain(|app, hired| {
                        if hired.task == task {
                            self.shared.app_gone(app);
                        }
                        hired.task != task
                    });
                    // It may be wanted again by now.
                    self.hire(&mut course).await;
                }
                changed = self.config.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.hire(&mut course).await;
                }
                () = tokio::time::sleep_until(course.next_apps) => {
                    self.read_apps(&mut course).await;
                }
                () = tokio::time::sleep_until(next_feed) => {
                    self.read_feed(&mut course).await;
                    next_feed = Instant::now() + self.feed_every;
                }
            }
        }
        while course.tasks.join_next().await.is_some() {}
        Ok(())
    }

    async fn read_apps(&self, course: &mut Course) {
        let listed = bounded(self.ports.platform.apps()).await;
        let first = course.listed_at.is_none();
        if first {
            self.shared.organization_read(&listed);
        }
        match listed {
            Ok(apps) => {
                let before = if first { self.noted().await } else { None };
                course.listed_at = Some(Instant::now());
                match course.census.listed(apps) {
                    Some(gone) => course.dismiss(&gone),
                    None => warn!("the list of the organization's apps is empty: not believed"),
                }
                self.let_go(course, before.unwrap_or_default());
                self.hire(course).await;
                self.note_unmatched(course).await;
            }
            Err(error) => {
                warn!("the organization's apps cannot be listed: {error}");
                self.ports.board.not_listed(&error.to_string());
                match error {
                    _ if course.listed_at.is_some() => {}
                    // Whoever is refused sees nothing of any app.
                    PlatformError::Denied(_) => {
                        self.show_unseen(&mut course.unseen, &error.to_string()).await;
                    }
                    _ => self.watch_remembered(course).await,
                }
            }
        }
        let wait = match course.listed_at {
            None => APPS_RETRY,
            Some(_) if course.census.is_in_doubt() => APPS_IN_DOUBT,
            Some(_) => APPS_EVERY,
        };
        course.next_apps = Instant::now() + wait;
    }

    async fn read_feed(&self, course: &mut Course) {
        let read = bounded(self.ports.platform.changes(&course.position)).await;
        self.shared.organization_read(&read);
        let reading = match read {
            Ok(reading) => reading,
            Err(error) => {
                warn!("the change feed cannot be read: {error}");
                return;
            }
        };
        course.position = reading.next;
        self.ports.board.feed_read(self.ports.clock.now(), reading.error_regions);
        let mut touched: BTreeSet<AppName> = BTreeSet::new();
        let mut new = false;
        for entry in reading.entries {
            if is_gone(&entry) {
                // Maybe the whole app is.
                let soon = course.listed_at.map_or_else(Instant::now, |at| at + APPS_IN_DOUBT);
                course.next_apps = course.next_apps.min(soon);
            } else {
                new |= course.census.seen(entry.app.clone());
            }
            touched.insert(entry.app);
        }
        if new {
            self.hire(course).await;
        }
        for app in &touched {
            if let Some(hired) = course.hired.get(app) {
                hired.nudge.notify_one();
            }
        }
    }

    /// Watches the apps that were watched before, while the list alone cannot be read: each of them can be.
    async fn watch_remembered(&self, course: &mut Course) {
        let Some(apps) = self.remembered(&mut course.unseen).await else { return };
        if apps.is_empty() {
            return;
        }
        warn!("the apps that were watched before are watched on ({})", apps.len());
        for app in apps {
            course.census.seen(app);
        }
        self.hire(course).await;
    }

    /// Starts a task for every app that a policy names and that has none.
    async fn hire(&self, course: &mut Course) {
        let config = self.config.borrow().clone();
        let names = course.census.apps();
        self.note_ties(course, &config, &names).await;
        let watched: Vec<AppName> =
            names.into_iter().filter(|app| config.policy_for(app).is_some()).collect();
        let shown = course.unseen.shown().filter(|_| course.listed_at.is_none());
        self.ports.board.expect(watched.iter().chain(shown.into_iter().flatten()).cloned());
        if course.listed_at.is_some() {
            self.note_watched(&mut course.noted, &watched).await;
        }
        for app in watched.iter().filter(|app| !course.hired.contains_key(*app)) {
            self.shared.expect(app);
        }
        for app in watched {
            if course.hired.contains_key(&app) {
                continue;
            }
            info!(app = %app, "{app} is watched");
            self.begin(course, app);
        }
    }

    fn begin(&self, course: &mut Course, app: AppName) {
        let nudge = Arc::new(Notify::new());
        let (dismiss, dismissed) = watch::channel(false);
        let task = AppTask {
            app: app.clone(),
            ports: self.ports.clone(),
            config: self.config.clone(),
            shared: self.shared.clone(),
            nudge: nudge.clone(),
            mail: self.mail.clone(),
            stop: self.stop.clone(),
            dismissed,
            installation: self.installation.clone(),
        };
        let task = course.tasks.spawn(task.run(self.orders.enlist(&app))).id();
        course.hired.insert(app, Hired { task, nudge, dismiss });
    }

    /// Apps that were watched `before` this start and that no policy names now: what was under way for them
    /// is ended, as it is when they are taken out of the configuration while the daemon runs.
    fn let_go(&self, course: &mut Course, before: Vec<AppName>) {
        let config = self.config.borrow().clone();
        let listed = course.census.apps();
        for app in before {
            let is_left = config.policy_for(&app).is_none() && listed.contains(&app);
            if is_left && !course.hired.contains_key(&app) {
                self.begin(course, app);
            }
        }
    }

    /// Tells of every pattern that matches no app, once, until it matches one.
    async fn note_unmatched(&self, course: &mut Course) {
        let config = self.config.borrow().clone();
        let unmatched: BTreeSet<(String, String)> =
            config.unmatched(&course.census.apps()).into_iter().collect();
        for (policy, pattern) in &unmatched {
            let key = (policy.clone(), pattern.clone());
            if course.unmatched.contains(&key) {
                continue;
            }
            let (now, kind) = (self.ports.clock.now(), EventKind::ConfigWarning);
            let mut event = Event::new(kind, now, None);
            event.reason =
                Some(Reason::NoAppMatches { policy: policy.clone(), pattern: pattern.clone() });
            warn!(event = kind.as_str(), "{}", crate::notify::text::sentence(&event));
            // Named by what it says: a restart tells nothing twice.
            let id = format!("msg_{}_unmatched_{policy}_{pattern}", self.installation);
            let receivers = recipients(&config, &event);
            match self.ports.journal.announce(&id, event, &receivers, now).await {
                Ok(()) => {
                    course.unmatched.insert(key);
                    self.mail.notify_one();
                }
                Err(error) => warn!("not recorded, to be tried again: {error}"),
            }
        }
        course.unmatched.retain(|key| unmatched.contains(key));
    }

    /// Tells of every app that two policies claim equally, once, until that was mended.
    async fn note_ties(&self, course: &mut Course, config: &Config, names: &[AppName]) {
        let mut ties = BTreeMap::new();
        for app in names {
            let Some(tie) = config.ties(std::slice::from_ref(app)).pop() else { continue };
            if course.ties.get(app) != Some(&tie) {
                error!(app = %app, "not watched, because two policies claim it equally: {tie}");
                if let Err(error) = self.tell_tie(config, app, &tie).await {
                    // Not noted, so it is tried again.
                    warn!(app = %app, "{error:#}");
                    continue;
                }
            }
            ties.insert(app.clone(), tie);
        }
        course.ties = ties;
    }

    async fn tell_tie(&self, config: &Config, app: &AppName, tie: &str) -> anyhow::Result<()> {
        let now = self.ports.clock.now();
        let kind = EventKind::ConfigRejected;
        let mut event = Event::new(kind, now, Some(app.clone()));
        event.reason = Some(Reason::Told { text: tie.to_owned() });
        let id = format!("msg_{}_{app}_tie_{}", self.installation, now.as_millisecond());
        let receivers = recipients(config, &event);
        let told = self.ports.journal.announce(&id, event, &receivers, now).await;
        told.with_context(|| format!("record that {tie}"))?;
        self.mail.notify_one();
        Ok(())
    }
}

impl Course {
    /// Ends the tasks of apps that are gone. What is stored of them stays.
    fn dismiss(&self, gone: &[AppName]) {
        for app in gone {
            if let Some(hired) = self.hired.get(app) {
                info!(app = %app, "{app} is gone from the organization and no longer watched");
                hired.dismiss.send_replace(true);
            }
        }
    }
}

/// Whether it tells of a machine's end, which is no sign of its app's life.
fn is_gone(entry: &FeedEntry) -> bool {
    matches!(entry.state.as_str(), "destroying" | "destroyed")
}

async fn bounded<T>(
    call: impl Future<Output = Result<T, PlatformError>>,
) -> Result<T, PlatformError> {
    match tokio::time::timeout(READ_DEADLINE, call).await {
        Ok(result) => result,
        Err(_) => {
            Err(PlatformError::Unavailable(format!("no answer in {} s", READ_DEADLINE.as_secs())))
        }
    }
}
