//! The daemon: one task per watched app, the change feed that wakes them, the files it reloads,
//! the outbox it empties and the API it serves.
//!
//! Any task that ends on its own ends the daemon, non-zero: the platform restarts it and it goes
//! on from the journal. Nothing here decides anything about a release.

mod app;
mod beside;
mod census;
mod counted;
pub mod delivery;
mod desk;
mod document;
mod explained;
mod known;
mod logs;
mod lookout;
mod observe;
mod opening;
mod orders;
mod outcomes;
mod pace;
mod page;
mod record;
mod reload;
mod remembered;
mod repeats;
mod roster;
mod shared;
mod unreadable;
mod view;
pub mod writer;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
};
use tracing::info;

pub use counted::Counted;
use delivery::Delivery;
pub use lookout::{described, lacking};
pub use opening::{Audience, await_journal, tell_opened};
pub use orders::Orders;

use crate::{
    config::{Config, Shelf, shelf::Label},
    ports::{Clock, Notifier, Platform, Registry},
    sources::Source,
    store::Journal,
    web::{self, ApiState, Board},
};

/// How often history is trimmed.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// How long tasks may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// Everything outside, as the daemon reaches it.
pub struct Ports {
    pub platform: Arc<dyn Platform>,
    /// What thresholds are read from.
    pub sources: Vec<Arc<dyn Source>>,
    pub registry: Arc<dyn Registry>,
    pub notifier: Arc<dyn Notifier>,
    pub journal: Arc<dyn Journal>,
    pub board: Board,
    pub clock: Clock,
}

impl Ports {
    /// The time now, by the newest evidence of the platform's clock.
    pub(crate) fn keep_time(&self) -> Timestamp {
        if let Some(offset) = self.platform.clock_offset()
            && let Some(correction) = self.clock.platform_is_ahead(offset)
        {
            let seconds = correction.as_secs_f64();
            info!("the platform's clock is {seconds:+.1} s ahead of this host's, and is used");
        }
        self.clock.now()
    }
}

/// Looks up an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Where the configuration comes from.
#[derive(Clone)]
pub struct ConfigSource {
    /// The directory that the configuration in force was read from.
    pub dir: PathBuf,
    /// The one that the image brings: the same, unless another one was pushed.
    pub image: PathBuf,
    pub environment: Environment,
    /// Where pushed ones are kept; `None`: none can be pushed.
    pub shelf: Option<Shelf>,
    /// What was pushed and is in force.
    pub label: Option<Label>,
    /// Why what was pushed is not in force.
    pub refused: Option<String>,
}

impl ConfigSource {
    /// Files that are read again when they change, and nothing is pushed.
    pub fn files(dir: PathBuf, environment: Environment) -> Self {
        Self { image: dir.clone(), dir, environment, shelf: None, label: None, refused: None }
    }
}

/// What to run with.
pub struct Settings {
    pub config: Config,
    /// Where the configuration came from, to be read again when it changes; `None`: never.
    pub source: Option<ConfigSource>,
    /// Serves the API; `None`: no API.
    pub listener: Option<TcpListener>,
    /// How often the change feed is read.
    pub feed_every: Duration,
    /// What people have to show to read and to give orders.
    pub tokens: web::Tokens,
    /// The way of orders to the apps' tasks.
    pub orders: Arc<Orders>,
}

/// Runs until `shutdown` completes.
///
/// # Errors
///
/// When a task ends on its own: the journal failed, the listener failed, or a defect showed.
pub async fn run(
    settings: Settings,
    ports: Arc<Ports>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let installation =
        ports.journal.installation().await.context("read the journal's installation name")?;
    let order = orders::standing(ports.journal.as_ref(), None).await.context("read the orders")?;
    ports.board.held(orders::holding(order.as_ref(), ports.clock.now()).cloned());
    let (stop, stopped) = watch::channel(false);
    let (publish, config) = watch::channel(Arc::new(settings.config));
    let mail = Arc::new(Notify::new());
    let mut tasks = Tasks::new();

    let house = House { ports: &ports, config: &config, mail: &mail, stopped: &stopped };
    house.serve_receivers(&mut tasks);
    let (counter, wishes) = reload::counter();
    if let Some(listener) = settings.listener {
        house.serve_api(&mut tasks, listener, &settings.orders, settings.tokens, counter);
    }
    house.watch_config(&mut tasks, settings.source, publish, installation.clone(), wishes);
    house.keep_history(&mut tasks);
    let shared: Arc<shared::Shared> = Arc::default();
    let lookout = lookout::Lookout {
        ports: ports.clone(),
        config: config.clone(),
        shared: shared.clone(),
        mail: mail.clone(),
        installation: installation.clone(),
    };
    let ends = until(stopped.clone());
    tasks.spawn(async move { lookout.run(ends).await });
    let roster = roster::Roster {
        ports: ports.clone(),
        config,
        mail,
        stop: stopped,
        installation,
        feed_every: settings.feed_every,
        orders: settings.orders,
        shared,
    };
    tasks.spawn(roster.run());

    let ended = tokio::select! {
        () = shutdown => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("a task of the daemon ended by itself")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(anyhow::Error::new(error).context("a task of the daemon failed")),
        },
    };
    info!("stopping: what is under way is recorded, and taken up again by the next start");
    stop.send_replace(true);
    let rest = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_MAX, rest).await.is_err() {
        tracing::warn!("tasks did not end within {} s", SHUTDOWN_MAX.as_secs());
    }
    ended
}

/// What every task of the daemon is made with.
struct House<'h> {
    ports: &'h Arc<Ports>,
    config: &'h watch::Receiver<Arc<Config>>,
    mail: &'h Arc<Notify>,
    stopped: &'h watch::Receiver<bool>,
}

type Tasks = JoinSet<anyhow::Result<()>>;

impl House<'_> {
    fn ends(&self) -> impl Future<Output = ()> + Send + use<> {
        until(self.stopped.clone())
    }

    fn serve_receivers(&self, tasks: &mut Tasks) {
        let delivery = Delivery {
            journal: self.ports.journal.clone(),
            config: self.config.clone(),
            notifier: self.ports.notifier.clone(),
            clock: self.ports.clock.clone(),
            board: self.ports.board.clone(),
            wake: self.mail.clone(),
        };
        let ends = self.ends();
        tasks.spawn(async move {
            delivery.run(ends).await;
            Ok(())
        });
    }

    fn serve_api(
        &self,
        tasks: &mut Tasks,
        listener: TcpListener,
        orders: &Arc<Orders>,
        tokens: web::Tokens,
        counter: reload::Counter,
    ) {
        let (receivers, policies) = (self.config.clone(), self.config.clone());
        let state = ApiState {
            board: self.ports.board.clone(),
            journal: self.ports.journal.clone(),
            clock: self.ports.clock.clone(),
            receivers: Arc::new(move || receivers.borrow().receivers.keys().cloned().collect()),
            sentence: crate::notify::text::sentence,
            policies: Arc::new(move |app| {
                policies.borrow().file_for(app).map(|(file, _)| file.clone())
            }),
            live: web::Live::default(),
            desk: Arc::new(desk::TaskDesk {
                orders: orders.clone(),
                ports: self.ports.clone(),
                config: self.config.clone(),
                mail: self.mail.clone(),
            }),
            configuration: Arc::new(counter),
            tokens,
        };
        let (ends, live) = (self.ends(), state.live.clone());
        let ends = async move {
            ends.await;
            live.close();
        };
        tasks.spawn(async move {
            web::serve(listener, web::router(state), ends).await.context("serve the API")
        });
    }

    fn watch_config(
        &self,
        tasks: &mut Tasks,
        source: Option<ConfigSource>,
        publish: watch::Sender<Arc<Config>>,
        installation: String,
        wishes: reload::Wishes,
    ) {
        let ends = self.ends();
        let Some(source) = source else {
            // The channel must outlive its readers.
            tasks.spawn(async move {
                ends.await;
                drop(publish);
                Ok(())
            });
            return;
        };
        let (ports, mail) = (self.ports.clone(), self.mail.clone());
        let reload = reload::Reload { source, publish, ports, installation, mail, wishes };
        tasks.spawn(async move { reload.run(ends).await });
    }

    fn keep_history(&self, tasks: &mut Tasks) {
        let (ports, config, ends) = (self.ports.clone(), self.config.clone(), self.ends());
        tasks.spawn(async move { prune(&ports, &config, ends).await });
    }
}

/// Completes when the daemon is told to stop.
async fn until(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _stopped = stop.wait_for(|stop| *stop).await.is_ok();
}

async fn prune(
    ports: &Ports,
    config: &watch::Receiver<Arc<Config>>,
    ends: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut ends = std::pin::pin!(ends);
    loop {
        let keep = config.borrow().keep_history;
        let before = SignedDuration::try_from(keep)
            .ok()
            .and_then(|keep| ports.clock.now().checked_sub(keep).ok());
        if let Some(before) = before {
            match ports.journal.prune(before).await {
                Ok(0) => {}
                Ok(count) => info!("forgot {count} old journal entries"),
                Err(error) => tracing::warn!("old journal entries stay: {error}"),
            }
        }
        tokio::select! {
            () = &mut ends => return Ok(()),
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
    }
}
