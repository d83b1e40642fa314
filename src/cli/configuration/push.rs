//! `waveoff config push`: a directory is put in force by the daemon.

use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
};

use anyhow::{Context as _, bail};

use super::{Daemon, bundle, diff, view};
use crate::{
    cli::{
        EXIT_FAILED, EXIT_WRONG, client,
        terminal::Look,
        text::{clean, complain, fit},
    },
    config::{self, Problem},
    web::configuration::{PushRequest, PushedView},
};

/// What is pushed, and how.
pub(super) struct Push {
    pub(super) dir: PathBuf,
    pub(super) note: String,
    pub(super) by: Option<String>,
    pub(super) yes: bool,
    pub(super) json: bool,
}

pub(super) async fn run(push: Push, daemon: &Daemon, out: &mut dyn Write) -> anyhow::Result<i32> {
    let Push { dir, note, by, yes, json } = push;
    let checked = match config::check(&dir, |name| std::env::var(name).ok()) {
        Ok(checked) => checked,
        Err(errors) => {
            complain(&errors.to_string())?;
            return Ok(EXIT_WRONG);
        }
    };
    let bundle = bundle(&dir)?;
    let token = daemon.token()?;
    let in_force = view(daemon, None).await?;
    let name = in_force.version.name();
    let is_same = in_force.version.fingerprint == bundle.fingerprint();
    let files = bundle.into();
    if !json {
        // Variables that receivers name are the daemon's business, which looks at them.
        let meant = |warning: &&Problem| !checked.missing.contains(warning);
        for warning in checked.warnings.iter().filter(meant) {
            writeln!(out, "{}", fit(&format!("warning: {warning}"), Look::of_stdout().width))?;
        }
        let shown = dir.display().to_string();
        write!(out, "{}", diff::unified(&name, &in_force.files, &shown, &files))?;
    }
    if !is_same && !yes && !agreed("pushes", &name, out)? {
        return Ok(EXIT_FAILED);
    }
    let request = PushRequest { files, by, note: Some(note).filter(|note| !note.is_empty()) };
    let body = serde_json::to_string(&request).context("write the request")?;
    let instead_of = in_force.version.fingerprint;
    let answer = client::replace(&daemon.url, "/api/v1/config", token, &instead_of, body).await?;
    let pushed: PushedView = client::parse(&daemon.url, &answer)?;
    if json {
        writeln!(out, "{}", answer.trim_end())?;
    } else {
        writeln!(out, "{}", done(&pushed))?;
    }
    Ok(0)
}

/// Asks whether that is meant; what `does` it would be done without asking.
pub(super) fn agreed(does: &str, name: &str, out: &mut dyn Write) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("nothing was changed: nobody can be asked here; --yes {does} without asking");
    }
    write!(out, "\nPut this in force instead of {name}? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("read the answer")?;
    let is_agreed = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !is_agreed {
        writeln!(out, "nothing was changed")?;
    }
    Ok(is_agreed)
}

/// What came of it, in words.
pub(super) fn done(pushed: &PushedView) -> String {
    let name = pushed.version.name();
    let many = match pushed.policies {
        1 => "1 policy".to_owned(),
        many => format!("{many} policies"),
    };
    if pushed.changed {
        clean(&format!("{name} is in force: {many}"))
    } else {
        clean(&format!("{name} was in force already: {many}"))
    }
}
