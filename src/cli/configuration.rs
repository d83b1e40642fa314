//! `waveoff config`: what is in force for an app, and the way of files to the daemon and back.

mod diff;
mod pull;
mod push;
mod reset;
mod show;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::bail;
use clap::{Args, Subcommand};
use reqwest::Method;

use super::{
    client, in_force,
    terminal::Look,
    text::{clean, table_in, time},
};
use crate::{
    config::Bundle,
    web::{
        configuration::{ConfigView, VersionView, VersionsView},
        operator::TOKEN_VARIABLE,
    },
};

/// Where the daemon is, and what it asks for.
#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Where the daemon's API is.
    #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
    url: String,
    /// The operator's token.
    #[arg(skip = std::env::var(TOKEN_VARIABLE).ok())]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show what a directory, or the daemon, has in force for an app, and which line of which file says so.
    ///
    /// Exit code 1: no policy watches it, and why. 2: the configuration is wrong.
    Show {
        app: String,
        /// Directory with waveoff.toml and thresholds/*.toml.
        #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
        config: PathBuf,
        /// What the daemon has, instead of a directory. Needs `WAVEOFF_OPERATOR_TOKEN`.
        #[arg(long)]
        in_force: bool,
        #[command(flatten)]
        daemon: Daemon,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put a directory in force: without a deploy, without a restart, within seconds.
    ///
    /// It is validated here and by the daemon, what changes is shown, and the files are kept on the daemon's
    /// volume: they stay in force across restarts and deploys until others are pushed, or `waveoff config reset`.
    /// Nothing is changed when somebody else was quicker. Exit code 2: the configuration is wrong, here or on
    /// the daemon, where variables that it names may not be set; 4: somebody else was quicker.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    Push {
        /// Directory with waveoff.toml and thresholds/*.toml.
        #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
        config: PathBuf,
        /// Why; it stands in the history.
        #[arg(long, default_value = "")]
        note: String,
        /// Who says so.
        #[arg(long, env = "USER")]
        by: Option<String>,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        daemon: Daemon,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write what is in force into a directory. Files there that differ are not written over.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    Pull {
        /// Directory for waveoff.toml and thresholds/*.toml.
        #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
        config: PathBuf,
        /// Another than the one in force: its number, or `image`.
        #[arg(long)]
        version: Option<String>,
        /// Write over files that differ, and remove threshold files that it has not.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show how a directory differs from what is in force. Exit code 1: it does.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    Diff {
        /// Directory with waveoff.toml and thresholds/*.toml.
        #[arg(long, default_value = "config", env = "WAVEOFF_CONFIG")]
        config: PathBuf,
        /// Instead of the directory, one that the daemon keeps: its number, or `image`.
        #[arg(long)]
        version: Option<String>,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// List what was pushed: when, by whom and why.
    Versions {
        /// Where the daemon's API is.
        #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
        url: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put what the image brings in force again.
    ///
    /// What changes is shown, and asked about. Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    Reset {
        /// Who says so.
        #[arg(long, env = "USER")]
        by: Option<String>,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        daemon: Daemon,
    },
}

/// # Errors
/// When the daemon cannot be reached or refuses, or files cannot be read or written.
pub(super) async fn run(command: ConfigCommand, out: &mut dyn Write) -> anyhow::Result<i32> {
    match command {
        ConfigCommand::Show { app, in_force: true, daemon, json, .. } => {
            show::run(&app, json, &daemon, out).await
        }
        ConfigCommand::Show { app, config, json, .. } => in_force::run(&config, &app, json, out),
        ConfigCommand::Push { config, note, by, yes, daemon, json } => {
            let push = push::Push { dir: config, note, by, yes, json };
            push::run(push, &daemon, out).await
        }
        ConfigCommand::Pull { config, version, force, daemon } => {
            let view = view(&daemon, version.as_deref()).await?;
            pull::run(&config, &view, version.as_deref(), force, out)
        }
        ConfigCommand::Diff { config, version, daemon } => {
            differs(&config, version.as_deref(), &daemon, out).await
        }
        ConfigCommand::Versions { url, json } => {
            let body = client::get(&url, "/api/v1/config/versions").await?;
            if json {
                writeln!(out, "{}", body.trim_end())?;
            } else {
                let list = list(&client::parse(&url, &body)?, Look::of_stdout().width);
                out.write_all(list.as_bytes())?;
            }
            Ok(0)
        }
        ConfigCommand::Reset { by, yes, daemon } => reset::run(by, yes, &daemon, out).await,
    }
}

impl Daemon {
    fn token(&self) -> anyhow::Result<&str> {
        let Some(token) = self.token.as_deref().map(str::trim).filter(|t| !t.is_empty()) else {
            bail!("{TOKEN_VARIABLE} is not set: set it to the value that the daemon has");
        };
        Ok(token)
    }
}

/// A configuration that the daemon has; without a version the one in force.
async fn view(daemon: &Daemon, version: Option<&str>) -> anyhow::Result<ConfigView> {
    let query = version.map_or_else(String::new, |version| {
        format!("?version={}", super::history::escaped(version))
    });
    let path = format!("/api/v1/config{query}");
    let body =
        client::order(&daemon.url, Method::GET, &path, daemon.token()?, String::new()).await?;
    client::parse(&daemon.url, &body)
}

/// The files of a directory; what is wrong is an error that names the file.
fn bundle(dir: &Path) -> anyhow::Result<Bundle> {
    Bundle::read(dir).map_err(anyhow::Error::msg)
}

async fn differs(
    dir: &Path,
    version: Option<&str>,
    daemon: &Daemon,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let in_force = view(daemon, None).await?;
    let (name, files) = match version {
        None => (dir.display().to_string(), bundle(dir)?.into()),
        Some(_) => {
            let other = view(daemon, version).await?;
            (other.version.name(), other.files)
        }
    };
    let text = diff::unified(&in_force.version.name(), &in_force.files, &name, &files);
    if text.is_empty() {
        writeln!(out, "no difference: {} is in force", in_force.version.name())?;
        return Ok(0);
    }
    write!(out, "{text}")?;
    Ok(1)
}

fn list(versions: &VersionsView, width: Option<usize>) -> String {
    let mut rows = vec![["", "CONFIGURATION", "PUSHED", "BY", "WHY"].map(str::to_owned).to_vec()];
    let row = |version: &VersionView| {
        let mark = if *version == versions.in_force { "*" } else { "" };
        let name = version.number.map_or("the image's".to_owned(), |number| number.to_string());
        let said = |text: &Option<String>| clean(text.as_deref().unwrap_or_default());
        let at = version.at.map(time).unwrap_or_default();
        vec![mark.to_owned(), name, at, said(&version.by), said(&version.note)]
    };
    rows.extend(versions.pushed.iter().map(row));
    let image = VersionView::default();
    let is_image = versions.in_force.number.is_none();
    rows.push(row(if is_image { &versions.in_force } else { &image }));
    table_in(&rows, 0, width)
}
