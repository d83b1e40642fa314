//! `waveoff config show --in-force`: the same of what a daemon has, whose files are read from it.

use std::io::{self, Write};

use super::{Daemon, in_force, pull, view};
use crate::{cli::aside::Aside, config};

/// # Errors
/// When the daemon cannot be reached or refuses, or its files cannot be put aside for a moment.
pub(super) async fn run(
    app: &str,
    json: bool,
    daemon: &Daemon,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let view = view(daemon, None).await?;
    let aside = Aside::new("config")?;
    pull::run(aside.path(), &view, None, true, &mut io::sink())?;
    let mut said = Vec::new();
    let checked = config::check(aside.path(), |name| std::env::var(name).ok());
    let checked = checked.map_err(|errors| errors.named_from(aside.path()));
    let code = in_force::show(checked, app, json, &mut said)?;
    // Files are called as the daemon calls them: nobody can look into the directory.
    let here = format!("{}/", aside.path().display());
    let said = String::from_utf8_lossy(&said).replace(&here, "");
    if !json {
        writeln!(out, "{}", super::clean(&view.version.name()))?;
    }
    write!(out, "{said}")?;
    Ok(code)
}
