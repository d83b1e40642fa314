//! `waveoff run`: the daemon, against Fly or whatever the base URLs point at.

use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use super::LogFormat;
use crate::{
    config::{self, Secret},
    daemon::{self, ConfigSource, Counted, Ports, Settings},
    fly::{Fly, FlySettings},
    notify::http::HttpNotifier,
    ports::Clock,
    sources::pages::{CONCURRENCY, HttpPages, Scraper},
    store::{
        SqliteJournal,
        lock::{DirectoryLock, LockError},
    },
    web::{Board, operator},
};

/// How often the change feed is read (the platform allows about one reading a second).
pub(super) const FEED_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(dir: &Path, log: LogFormat) -> anyhow::Result<i32> {
    start_log(log)?;
    let environment = |name: &str| std::env::var(name).ok();
    let config = match config::load(dir, environment) {
        Ok(config) => config,
        Err(errors) => {
            writeln!(std::io::stderr(), "{errors}")?;
            return Ok(2);
        }
    };
    // What `check` would say besides; every variable is set, or there would be no `config`.
    if let Ok(checked) = config::check(dir, environment) {
        for warning in checked.warnings {
            tracing::warn!("{warning}");
        }
    }
    let settings = FlySettings::from_env(config.organization.clone(), environment)
        .context("read FLY_… from the environment")?;
    let fly = Arc::new(Fly::new(settings).context("set up the platform's client")?);
    let clock = Clock::system();
    let board = Board::new(&config.organization, clock.now());
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("make the data directory {}", config.data_dir.display()))?;
    let _lock = match DirectoryLock::take(&config.data_dir, clock.now()) {
        Ok(lock) => lock,
        Err(error @ LockError::Held { .. }) => {
            writeln!(std::io::stderr(), "waveoff: {error}")?;
            return Ok(super::EXIT_IN_USE);
        }
        Err(error) => return Err(error).context("lock the data directory"),
    };
    let path = config.data_dir.join("waveoff.sqlite");
    let journal = SqliteJournal::open(&path)
        .with_context(|| format!("open the journal {}", path.display()))?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("listen on {}", config.listen))?;
    tracing::info!(
        "waveoff {} watches the organization {} and listens on {}",
        env!("CARGO_PKG_VERSION"),
        config.organization,
        listener.local_addr()?
    );
    let ports = Arc::new(Ports {
        platform: Arc::new(Counted::new(fly.clone(), board.clone())),
        sources: vec![Arc::new(Scraper::new(Arc::new(HttpPages::new()?), CONCURRENCY))],
        registry: fly,
        notifier: Arc::new(HttpNotifier::new(clock.clone())?),
        journal: Arc::new(journal),
        board,
        clock,
    });
    let settings = Settings {
        config,
        source: Some(ConfigSource {
            dir: dir.to_owned(),
            environment: Arc::new(|name| std::env::var(name).ok()),
        }),
        listener: Some(listener),
        feed_every: FEED_EVERY,
        operator_token: std::env::var(operator::TOKEN_VARIABLE).ok().map(Secret::new),
        orders: Arc::default(),
    };
    daemon::run(settings, ports, told_to_stop()?).await?;
    Ok(0)
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
