//! Which apps are watched: keeps one task per app, and wakes them when the change feed shows news.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::{Id, JoinSet},
    time::Instant,
};
use tracing::{error, info, warn};

use super::{Ports, app::AppTask, shared::Shared};
use crate::{
    config::Config,
    model::AppName,
    ports::{FeedPosition, PlatformError},
};

/// How often the list of apps is read besides what the feed shows.
const APPS_EVERY: Duration = Duration::from_secs(60);
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
}

/// The tasks that run.
#[derive(Default)]
struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    apps: BTreeMap<AppName, (Id, Arc<Notify>)>,
}

impl Roster {
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let shared = Arc::new(Shared::default());
        let mut tasks = Tasks::default();
        let mut known: BTreeSet<AppName> = BTreeSet::new();
        let mut listed = false;
        let mut position = FeedPosition::default();
        let mut next_apps = Instant::now();
        let mut next_feed = Instant::now() + self.feed_every;
        let mut stop = std::pin::pin!(super::until(self.stop.clone()));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = tasks.set.join_next_with_id(), if !tasks.set.is_empty() => {
                    let id = match &ended {
                        Ok((id, _)) => *id,
                        Err(error) => error.id(),
                    };
                    tasks.apps.retain(|_, (task, _)| *task != id);
                    match ended {
                        Ok((_, Ok(()))) => {}
                        Ok((_, Err(error))) => return Err(error),
                        Err(error) => anyhow::bail!("an app's task failed: {error}"),
                    }
                }
                changed = self.config.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    self.hire(&mut tasks, &known, &shared);
                }
                () = tokio::time::sleep_until(next_apps) => {
                    match bounded(self.ports.platform.apps()).await {
                        Ok(apps) => {
                            listed = true;
                            known = apps.into_iter().collect();
                            self.hire(&mut tasks, &known, &shared);
                        }
                        Err(error) => {
                            warn!("the organization's apps cannot be listed: {error}");
                            self.ports.board.not_listed(&error.to_string());
                        }
                    }
                    next_apps = Instant::now() + if listed { APPS_EVERY } else { APPS_RETRY };
                }
                () = tokio::time::sleep_until(next_feed) => {
                    self.read_feed(&mut tasks, &mut known, &mut position, &shared).await;
                    next_feed = Instant::now() + self.feed_every;
                }
            }
        }
        while tasks.set.join_next().await.is_some() {}
        Ok(())
    }

    async fn read_feed(
        &self,
        tasks: &mut Tasks,
        known: &mut BTreeSet<AppName>,
        position: &mut FeedPosition,
        shared: &Arc<Shared>,
    ) {
        let reading = match bounded(self.ports.platform.changes(position)).await {
            Ok(reading) => reading,
            Err(error) => {
                warn!("the change feed cannot be read: {error}");
                return;
            }
        };
        *position = reading.next;
        self.ports.board.feed_read(self.ports.clock.now(), reading.error_regions);
        let touched: BTreeSet<AppName> =
            reading.entries.into_iter().map(|entry| entry.app).collect();
        let new = touched.iter().any(|app| !known.contains(app));
        known.extend(touched.iter().cloned());
        if new {
            self.hire(tasks, known, shared);
        }
        for app in &touched {
            if let Some((_, nudge)) = tasks.apps.get(app) {
                nudge.notify_one();
            }
        }
    }

    /// Starts a task for every app that a policy names and that has none.
    fn hire(&self, tasks: &mut Tasks, known: &BTreeSet<AppName>, shared: &Arc<Shared>) {
        let config = self.config.borrow().clone();
        let names: Vec<AppName> = known.iter().cloned().collect();
        for tie in config.ties(&names) {
            error!("not watched, because two policies claim it equally: {tie}");
        }
        let watched: Vec<AppName> =
            names.into_iter().filter(|app| config.policy_for(app).is_some()).collect();
        self.ports.board.expect(watched.iter().cloned());
        for app in watched {
            if tasks.apps.contains_key(&app) {
                continue;
            }
            info!(app = %app, "{app} is watched");
            let nudge = Arc::new(Notify::new());
            let task = AppTask {
                app: app.clone(),
                ports: self.ports.clone(),
                config: self.config.clone(),
                shared: shared.clone(),
                nudge: nudge.clone(),
                mail: self.mail.clone(),
                stop: self.stop.clone(),
                installation: self.installation.clone(),
            };
            let handle = tasks.set.spawn(task.run());
            tasks.apps.insert(app, (handle.id(), nudge));
        }
    }
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
