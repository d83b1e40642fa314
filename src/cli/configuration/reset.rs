//! `waveoff config reset`: what the image brings is put in force again, once it was seen what that changes.

use std::io::Write;

use reqwest::Method;
use serde_json::json;

use super::{Daemon, diff, push, view};
use crate::{
    cli::{EXIT_FAILED, client},
    web::configuration::PushedView,
};

/// # Errors
/// When the daemon cannot be reached or refuses, or nobody can be asked.
pub(super) async fn run(
    by: Option<String>,
    yes: bool,
    daemon: &Daemon,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let token = daemon.token()?;
    let in_force = view(daemon, None).await?;
    let image = view(daemon, Some("image")).await?;
    let (name, new) = (in_force.version.name(), image.version.name());
    let changes = diff::unified(&name, &in_force.files, &new, &image.files);
    write!(out, "{changes}")?;
    if !changes.is_empty() && !yes && !push::agreed("resets", &name, out)? {
        return Ok(EXIT_FAILED);
    }
    let body = json!({ "by": by }).to_string();
    let answer = client::order(&daemon.url, Method::DELETE, "/api/v1/config", token, body).await?;
    let pushed: PushedView = client::parse(&daemon.url, &answer)?;
    writeln!(out, "{}", push::done(&pushed))?;
    Ok(0)
}
