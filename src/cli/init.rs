//! `waveoff init`: the first configuration, from what the token sees and from what the apps were like.

mod files;
mod habit;

use std::{
    io::{IsTerminal as _, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};

use self::habit::{Habit, Habits};
use super::{
    terminal::Look,
    text::{clean, fit, table_in},
};
use crate::{
    config::{self, FLY},
    fly::{Fly, FlySettings},
    model::AppName,
    numbers::{plain, share},
    ports::{MetricsServers as _, Platform as _, PlatformError, ServerError, ServerQuery},
    sources::servers::{HttpServers, PlatformServer, rates},
};

/// How much of the past is looked at, in windows of which each counts the same.
const LAST: Duration = Duration::from_secs(14 * 86_400);
const WINDOW: Duration = Duration::from_secs(6 * 3600);
/// How long the server may take over one window.
const DEADLINE: Duration = Duration::from_secs(30);
/// Failed questions in a row after which the past is given up.
const FAILURES_MAX: u32 = 3;

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Directory to write waveoff.toml and thresholds/*.toml into. Nothing there is written over but what
    /// is as it ships.
    #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
    config: PathBuf,
    /// Slug of the organization; without it, the one that the token is for.
    #[arg(long, env = "WAVEOFF_ORGANIZATION")]
    organization: Option<String>,
    /// Do not look at the past of the apps.
    #[arg(long)]
    no_metrics: bool,
}

/// # Errors
/// When there are files already, the token is refused, or something cannot be written.
pub(super) async fn run(init: Init, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<i32> {
    let dir = &init.config;
    let there = files::present(dir);
    if !there.is_empty() {
        bail!(
            "{} is there already and not as it ships: nothing is written over\n\
             `waveoff check --config {}` looks at it; another --config leaves it alone",
            there.join(", "),
            dir.display()
        );
    }
    let environment = |name: &str| std::env::var(name).ok();
    let organization = match init.organization.filter(|slug| !slug.trim().is_empty()) {
        Some(slug) => slug.trim().to_owned(),
        None => of_token(environment).await?,
    };
    let settings = FlySettings::from_env(organization.clone(), environment)?;
    let fly = Fly::new(settings.clone())?;
    let mut apps = match fly.apps().await {
        Ok(apps) => apps,
        Err(error) => bail!(unlisted(&fly, &organization, &error).await),
    };
    apps.sort();
    let mut remarks = Vec::new();
    let habits = if init.no_metrics || apps.is_empty() {
        Habits::default()
    } else {
        let (habits, trouble) = past(&settings, now).await?;
        remarks.extend(trouble);
        habits
    };
    let written = files::write(dir, &organization, &apps, &habits)?;
    // What was written is read as it will be read.
    let checked = config::check(dir, environment)
        .map_err(|errors| anyhow::anyhow!("what was written is not valid:\n{errors}"))?;
    let row = |app: &AppName| row(app, &checked.config, habits.of(app));
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(apps.iter().map(row));
    writeln!(out, "{}: {}\n", clean(&organization), many(apps.len(), "app"))?;
    if !apps.is_empty() {
        writeln!(out, "{}", table_in(&rows, 0, Look::of_stdout().width))?;
    }
    for remark in remarks {
        writeln!(out, "{}", fit(&clean(&remark), Look::of_stdout().width))?;
    }
    for path in &written {
        writeln!(out, "written  {}", path.display())?;
    }
    writeln!(out, "\n{}", next(dir))?;
    Ok(0)
}

const HEAD: [&str; 6] = ["APP", "REQUESTS/S", "FAILED", "P95", "", "WATCHED BY"];

/// What an app was like, and which policy watches it.
fn row(app: &AppName, config: &config::Config, habit: Option<&Habit>) -> Vec<String> {
    let by = match config.file_for(app) {
        Some((file, _)) => file.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => "nothing: excluded".to_owned(),
    };
    let (rate, failed, slow, note) = match habit {
        None => (String::new(), String::new(), String::new(), "nothing was counted".to_owned()),
        Some(habit) => {
            let range = |range: &Option<habit::Range>, show: &dyn Fn(f64) -> String| {
                range.as_ref().map_or_else(String::new, |range| {
                    let (usual, high) = (show(range.usual), show(range.high));
                    if usual == high { usual } else { format!("{usual} to {high}") }
                })
            };
            let proposed = habit::propose(habit);
            let note = match (proposed.share, proposed.latency) {
                (None, None) => String::new(),
                (Some(max), None) => format!("limit {max}"),
                (None, Some(max)) => format!("limit {max}"),
                (Some(one), Some(two)) => format!("limits {one}, {two}"),
            };
            let seconds = |value: f64| format!("{} s", plain(value, 3));
            (plain(habit.rate, 2), range(&habit.failed, &share), range(&habit.slow, &seconds), note)
        }
    };
    vec![clean(app.as_str()), rate, failed, slow, note, by]
}

fn many(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn next(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Nothing is rolled back by it yet (mode = \"observe\"). Next:\n  \
         add a [[receiver]] to {dir}/waveoff.toml: who is told\n  \
         waveoff check --live --config {dir}\n  \
         fly deploy --ha=false, and go on in docs/deploy.md"
    )
}

/// The one organization that the token is for.
async fn of_token(environment: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let settings = FlySettings::from_env("unknown".to_owned(), environment)?;
    let fly = Fly::new(settings)?;
    let scope = match fly.token_scope().await {
        Err(PlatformError::Denied(detail)) => bail!(refused(&detail)),
        asked => asked.context("ask the platform what the token is for")?,
    };
    let slugs: Vec<&str> = scope.organizations.iter().map(String::as_str).collect();
    match slugs.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => bail!(
            "the platform does not say which organization the token is for: name it with \
             --organization (`fly orgs list` shows their slugs)"
        ),
        more => bail!(
            "the token is for more than one organization: choose one of {} with --organization",
            more.join(", ")
        ),
    }
}

/// That the token is refused, and what helps.
fn refused(detail: &str) -> String {
    format!(
        "the platform refuses the token ({detail}); make one with `fly tokens create org` and set \
         FLY_API_TOKEN to it"
    )
}

/// Why the apps of an organization cannot be listed, and what helps.
async fn unlisted(fly: &Fly, organization: &str, error: &PlatformError) -> String {
    let scope = fly.token_scope().await.map(|scope| scope.organizations).unwrap_or_default();
    if let (true, PlatformError::Denied(detail)) = (scope.is_empty(), error) {
        return refused(detail);
    }
    let next = if scope.is_empty() || scope.contains(organization) {
        "look at the slug (`fly orgs list` shows them), and then at the token".to_owned()
    } else {
        let slugs: Vec<&str> = scope.iter().map(String::as_str).collect();
        format!(
            "the token is of {}: write the slug as it is (--organization), or make a token of \
             {organization} with `fly tokens create org --org {organization}`",
            slugs.join(", ")
        )
    };
    format!("the apps of {organization} cannot be listed: {error}\n{next}")
}

/// What the platform's own Prometheus counted, window by window; and what stood in the way.
async fn past(settings: &FlySettings, now: Timestamp) -> anyhow::Result<(Habits, Option<String>)> {
    let (url, authorization) = settings.prometheus()?;
    let server = HttpServers::with_deadline(PlatformServer { url, authorization }, DEADLINE)?;
    let windows = LAST.as_secs() / WINDOW.as_secs();
    let bar = bar(windows);
    let (mut habits, mut failures, mut trouble) = (Habits::default(), 0, None);
    for index in 0..windows {
        let back = SignedDuration::from_secs(i64::try_from(index * WINDOW.as_secs())?);
        let at = now.checked_sub(back).context("look back")?;
        match window(&server, at, &mut habits).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                trouble = Some(format!("the past of the apps could not be read: {error}"));
            }
        }
        if failures >= FAILURES_MAX {
            break;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((habits, trouble))
}

async fn window(
    server: &HttpServers,
    at: Timestamp,
    habits: &mut Habits,
) -> Result<(), ServerError> {
    let ask = async |query: String| {
        let query =
            ServerQuery { server: FLY, url: None, token: None, query: &query, at: Some(at) };
        server.ask(query).await
    };
    let hours = WINDOW.as_secs() / 3600;
    let answered = ask(rates("fly_app_http_responses_count", &["app", "status"], hours)).await?;
    let times = "fly_app_http_response_time_seconds_bucket";
    let times = ask(rates(times, &["app", "le"], hours)).await?;
    habits.window(WINDOW, &answered, &times);
    Ok(())
}

/// On a terminal it shows how far it is.
fn bar(windows: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(windows);
    let style = ProgressStyle::with_template("the last 14 days {bar:40} {percent} %");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
