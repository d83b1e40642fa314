//! `waveoff replay`: the thresholds over what was, as if a release had been watched all the time.
//!
//! The past is read from a metrics server, chunk by chunk, or from recorded pages; each reading goes
//! the way that those of now go. `course` judges at each limit, `lived` decides as the daemon would have, `grid` says at
//! which moments, `recorded` reads pages, `page` shows.

mod both;
mod course;
mod grid;
mod lived;
mod page;
mod recorded;
#[cfg(test)]
mod stage;

use std::{
    io::{IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};

use self::{both::Both, course::Course, grid::Grid, lived::Lived, recorded::Recorded};
use super::terminal::Look;
use crate::{
    config::{self, Config, MetricsServer, Secret},
    fly::FlySettings,
    model::{AppName, Machine, Origin, Policy, Readings},
    ports::{MetricsServers, ServerError},
    sources::servers::{HttpServers, Past, PlatformServer},
};

/// How much of the past is read at most.
const LAST_MAX: Duration = Duration::from_secs(90 * 86_400);
/// How long one query may take: half an hour of raw samples is more than the usual.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("whence").required(true).args(["prometheus", "pages"]))]
pub(super) struct Replay {
    /// The app whose policy and past it is about.
    #[arg(long)]
    app: String,
    /// A Prometheus-compatible server that has its past, such as `http://victoria.internal:8428`, or `fly`
    /// for the platform's own.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// A directory of recorded metrics pages: MACHINE/TIME, one file for each reading.
    #[arg(long, value_name = "DIR")]
    pages: Option<PathBuf>,
    /// How much of the past, 90d at most.
    #[arg(long, value_name = "TIME", default_value = "14d", conflicts_with = "pages", value_parser = super::text::period)]
    last: String,
    /// When it ends; now, unless said.
    #[arg(long, value_name = "TIME", conflicts_with = "pages")]
    until: Option<Timestamp>,
    /// When a release came: what was counted before says nothing of it. May be given several times.
    #[arg(long, value_name = "TIME")]
    deploy: Vec<Timestamp>,
    /// Another app whose past is read as well, as a neighbour that bears witness. May be given several times.
    #[arg(long, value_name = "APP", requires = "prometheus")]
    neighbour: Vec<String>,
    /// The variable that holds the server's token.
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    token_env: Option<String>,
    /// Directory with waveoff.toml and thresholds/*.toml.
    #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the past and writes what would have been.
///
/// # Errors
/// When the configuration is wrong, the past cannot be read, or `out` cannot be written.
pub(super) async fn run(
    replay: Replay,
    now: Timestamp,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let config = match config::check(&replay.config, |name| std::env::var(name).ok()) {
        Ok(checked) => checked.config,
        Err(errors) => {
            super::text::complain(&errors.to_string())?;
            return Ok(2);
        }
    };
    let app = AppName::new(&replay.app);
    let Some(policy) = config.policy_for(&app) else {
        bail!(
            "no policy in {} names the app {app}; `waveoff config show {app}` says why",
            replay.config.display()
        );
    };
    let (course, lived) = match &replay.pages {
        Some(pages) => of_pages(&replay, (&app, &policy), pages)?,
        None => of_server(&replay, &config, (&app, &policy), now).await?,
    };
    if course.readings() == 0 {
        bail!("nothing was found of {app} there: look at its name, the labels and the selectors");
    }
    if replay.json {
        writeln!(out, "{}", page::json(&app, &policy, &course, &lived))?;
    } else {
        let text = page::text(&app, &policy, &course, &lived);
        write!(out, "{}", super::text::fit(&text, Look::of_stdout().width))?;
    }
    Ok(i32::from(course.cut.is_some()))
}

fn of_pages(
    replay: &Replay,
    (app, policy): (&AppName, &Arc<Policy>),
    dir: &Path,
) -> anyhow::Result<(Course, Lived)> {
    let of = (app, policy);
    let grid = Grid::new(policy, policy.watch.scrape_every);
    let mut both = Both::new(of, &[], &Origin::PAGES, &replay.deploy, (Timestamp::MIN, grid));
    let mut recorded = Recorded::open(dir, both.wants())?;
    while let Some((at, machines)) = recorded.next()? {
        let looks: Vec<(&Machine, Readings)> =
            machines.iter().map(|(machine, readings)| (machine, readings.clone())).collect();
        both.round(at, &looks, &[]);
    }
    Ok((both.course, both.lived))
}

async fn of_server(
    replay: &Replay,
    config: &Config,
    (app, policy): (&AppName, &Arc<Policy>),
    now: Timestamp,
) -> anyhow::Result<(Course, Lived)> {
    let last = config::duration(&replay.last).map_err(|why| anyhow::anyhow!("--last: {why}"))?;
    if last > LAST_MAX {
        bail!("--last is 90d at most");
    }
    let until = replay.until.unwrap_or(now);
    let length = SignedDuration::try_from(last).unwrap_or(SignedDuration::MAX);
    let from = until.checked_sub(length).context("--last goes back too far")?;
    let settings = server(replay, config)?;
    let origin = settings.origin();
    let neighbours = neighbours(replay, config)?;
    let grid = Grid::new(policy, settings.scrape_every);
    let mut both = Both::new((app, policy), &neighbours, &origin, &replay.deploy, (from, grid));
    let begins = grid.begins(from);
    let port = port(&settings, config)?;
    let mut beside: Vec<Past> = both
        .neighbours_want()
        .iter()
        .map(|(app, wanted)| Past::new(port.clone(), settings.clone(), app, wanted, begins))
        .collect();
    let mut past = Past::new(port, settings, app, &both.wants(), begins);
    let bar = bar(begins, until);
    walk(&mut both, (&mut past, &mut beside), (begins, until, grid.every()), |at| {
        bar.set_position(seconds(begins, at));
    })
    .await?;
    bar.finish_and_clear();
    both.course.finish();
    Ok((both.course, both.lived))
}

/// Goes through what was between two times, a look every so often. Where the server answers no more, what it
/// told until then is kept.
async fn walk(
    both: &mut Both,
    (past, beside): (&mut Past, &mut [Past]),
    (from, until, every): (Timestamp, Timestamp, SignedDuration),
    at_each: impl Fn(Timestamp),
) -> anyhow::Result<()> {
    let mut at = from;
    while at < until {
        at = at.checked_add(every)?.min(until);
        match reach(past, beside, at).await {
            Ok((refused, refused_beside)) => {
                both.leave_out(&refused)?;
                for (index, refused) in refused_beside.iter().enumerate() {
                    both.leave_out_beside(index, refused);
                }
            }
            Err(error) if both.course.readings() > 0 => {
                both.course.cut = Some(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let looks = past.read(at).await?;
        let mut read = Vec::new();
        for past in &mut *beside {
            read.push(past.read(at).await?);
        }
        both.round(at, &looks, &read);
        at_each(at);
    }
    Ok(())
}

/// Thresholds whose query a server does not take, with what it says.
type Refused = Vec<(String, String)>;

/// Fetches what is missing up to then, of the app and of its neighbours.
async fn reach(
    past: &mut Past,
    beside: &mut [Past],
    at: Timestamp,
) -> Result<(Refused, Vec<Refused>), ServerError> {
    let refused = past.reach(at).await?;
    let mut of_each = Vec::new();
    for past in beside {
        of_each.push(past.reach(at).await?);
    }
    Ok((refused, of_each))
}

/// The apps that bear witness, each under its own policy.
fn neighbours(replay: &Replay, config: &Config) -> anyhow::Result<Vec<(AppName, Arc<Policy>)>> {
    if !replay.neighbour.is_empty() && replay.deploy.is_empty() {
        bail!("--neighbour needs a --deploy: neighbours bear witness for a release");
    }
    let one = |name: &String| {
        let app = AppName::new(name);
        let policy = config.policy_for(&app);
        let policy = policy.with_context(|| format!("no policy names the neighbour {app}"))?;
        Ok((app, policy))
    };
    replay.neighbour.iter().map(one).collect()
}

/// The server as the configuration knows it, at the address that was given.
fn server(replay: &Replay, config: &Config) -> anyhow::Result<MetricsServer> {
    let url = replay.prometheus.as_deref().unwrap_or(config::FLY);
    let mut known = config.metrics_servers.values();
    let known = known.find(|one| one.name == url || one.url.as_deref() == Some(url));
    let mut settings = known.cloned().unwrap_or_else(MetricsServer::fly);
    if url != config::FLY && settings.name != url {
        settings.url = Some(url.trim_end_matches('/').to_owned());
    }
    if let Some(name) = &replay.token_env {
        let token = std::env::var(name).with_context(|| {
            format!("read {name}: set it, or name another variable with --token-env")
        })?;
        settings.token = Some(Secret::new(token));
    }
    Ok(settings)
}

fn port(settings: &MetricsServer, config: &Config) -> anyhow::Result<Arc<dyn MetricsServers>> {
    let platform = match &settings.url {
        // It is never shown the platform's token.
        Some(url) => PlatformServer { url: url.clone(), authorization: Secret::new("") },
        None => {
            let organization = config.organization.clone();
            let platform = FlySettings::from_env(organization, |name| std::env::var(name).ok());
            let (url, authorization) = platform?.prometheus().context("read FLY_API_TOKEN")?;
            PlatformServer { url, authorization }
        }
    };
    Ok(Arc::new(HttpServers::with_deadline(platform, DEADLINE)?))
}

/// On a terminal it shows how far it is.
fn bar(from: Timestamp, until: Timestamp) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seconds(from, until));
    let style = ProgressStyle::with_template("{bar:40} {percent} %, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn seconds(from: Timestamp, until: Timestamp) -> u64 {
    until.duration_since(from).unsigned_abs().as_secs()
}

#[cfg(test)]
mod tests;
