//! `waveoff run`: the daemon, against Fly or whatever the base URLs point at.

use std::{io::IsTerminal as _, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use super::LogFormat;
use crate::{
    config,
    daemon::{self, Audience, ConfigSource, Counted, Ports, Settings, await_journal, tell_opened},
    fly::{Fly, FlySettings},
    notify::http::HttpNotifier,
    ports::Clock,
    sources::{
        Source,
        pages::{CONCURRENCY, HttpPages, Scraper},
        probes::{self, HttpProbes, Prober},
        servers::{HttpServers, PlatformServer, Servers},
    },
    store::{
        SqliteJournal,
        lock::{DirectoryLock, LockError},
    },
    web::{Board, Tokens},
};

/// How often the change feed is read (the platform allows about one reading a second).
pub(super) const FEED_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(dir: &Path, log: LogFormat) -> anyhow::Result<i32> {
    start_log(log)?;
    let environment = |name: &str| std::env::var(name).ok();
    let start = match config::start(dir, environment) {
        Ok(start) => start,
        Err(errors) => {
            super::text::complain(&errors.to_string())?;
            return Ok(2);
        }
    };
    // What `check` would say besides; every variable is set, or there would be no `config`.
    if let Ok(checked) = config::check(&start.dir, environment) {
        for warning in checked.warnings {
            tracing::warn!("{warning}");
        }
    }
    let (config, source) = apart(start, dir);
    let settings = FlySettings::from_env(config.organization.clone(), environment)
        .context("read FLY_… and WAVEOFF_MIRROR_… from the environment")?;
    let servers = metrics_servers(&settings, &config)?;
    let fly = Arc::new(Fly::new(settings).context("set up the platform's client")?);
    let clock = Clock::system();
    let board = Board::new(&config.organization, clock.now());
    let notifier = Arc::new(HttpNotifier::new(clock.clone())?);
    let mut stop = Box::pin(told_to_stop()?);
    let attempt = || open_journal(&config.data_dir, &clock);
    let first = attempt();
    if let Ok(Err(error)) = &first {
        return in_use(error);
    }
    let listener = listen(config.listen)?;
    let (opened, trouble) = match first {
        Ok(opened) => (opened, None),
        Err(detail) => {
            let (config, notifier) = (&config, notifier.as_ref());
            let audience = Audience { config, notifier, clock: &clock, listener: &listener };
            match await_journal(&audience, detail, attempt, &mut stop).await? {
                Some((opened, trouble)) => (opened, Some(trouble)),
                None => return Ok(0),
            }
        }
    };
    let (_lock, journal) = match opened {
        Ok(opened) => opened,
        Err(error) => return in_use(&error),
    };
    if let Some(trouble) = trouble {
        tell_opened(trouble, &config, &journal, clock.now()).await;
    }
    let listener = TcpListener::from_std(listener).context("listen")?;
    tracing::info!(
        "waveoff {} watches the organization {} and listens on {}",
        env!("CARGO_PKG_VERSION"),
        config.organization,
        listener.local_addr()?
    );
    let tokens = Tokens::of_environment();
    tokens.announce();
    let ports = Arc::new(Ports {
        platform: Arc::new(Counted::new(fly.clone(), board.clone())),
        sources: sources(servers)?,
        registry: fly,
        notifier,
        journal: Arc::new(journal),
        board,
        clock,
    });
    let settings = Settings {
        config,
        source: Some(source),
        listener: Some(listener),
        feed_every: FEED_EVERY,
        tokens,
        orders: Arc::default(),
    };
    daemon::run(settings, ports, stop).await?;
    Ok(0)
}

/// A configuration, and where it and the next ones come from.
fn apart(start: config::Start, image: &Path) -> (config::Config, ConfigSource) {
    let config::Start { config, dir, label, shelf, refused } = start;
    let source = ConfigSource {
        dir,
        image: image.to_owned(),
        environment: Arc::new(|name| std::env::var(name).ok()),
        shelf: Some(shelf),
        label,
        refused,
    };
    (config, source)
}

/// What thresholds are read from.
fn sources(servers: Servers) -> anyhow::Result<Vec<Arc<dyn Source>>> {
    Ok(vec![
        Arc::new(Scraper::new(Arc::new(HttpPages::new()?), CONCURRENCY)),
        Arc::new(servers),
        Arc::new(Prober::new(Arc::new(HttpProbes::default()), probes::CONCURRENCY)),
    ])
}

/// Metrics servers, the platform's own among them.
fn metrics_servers(settings: &FlySettings, config: &config::Config) -> anyhow::Result<Servers> {
    let (url, authorization) = settings.prometheus().context("read FLY_API_TOKEN")?;
    let servers = HttpServers::new(PlatformServer { url, authorization })?;
    Ok(Servers::new(Arc::new(servers), config))
}

/// Takes the data directory and opens the journal in it. An inner error: somebody else has it.
fn open_journal(
    dir: &Path,
    clock: &Clock,
) -> Result<Result<(DirectoryLock, SqliteJournal), LockError>, String> {
    std::fs::create_dir_all(dir)
        .map_err(|error| format!("no directory {} (data_dir): {error}", dir.display()))?;
    let lock = match DirectoryLock::take(dir, clock.now()) {
        Ok(lock) => lock,
        Err(error @ LockError::Held { .. }) => return Ok(Err(error)),
        Err(error @ LockError::Failed { .. }) => return Err(error.to_string()),
    };
    let journal = SqliteJournal::open(&dir.join("waveoff.sqlite")).map_err(|e| e.to_string())?;
    Ok(Ok((lock, journal)))
}

fn in_use(error: &LockError) -> anyhow::Result<i32> {
    super::text::complain(&format!("waveoff: {error}"))?;
    Ok(super::EXIT_IN_USE)
}

fn listen(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| {
        format!(
            "listen on {address}: stop what listens there, or choose another address with `listen` \
             in waveoff.toml or WAVEOFF_LISTEN"
        )
    })?;
    listener.set_nonblocking(true).with_context(|| format!("listen on {address}"))?;
    Ok(listener)
}

/// Completes on SIGTERM or SIGINT.
pub(super) fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Logs to standard error, in colour only where somebody looks at it.
pub(super) fn start_log(format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("WAVEOFF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("start the log: {error}"))
}
