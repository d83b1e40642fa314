//! `waveoff doctor`: what nobody has written down about the platform, asked of the platform itself, on an app
//! that is made for it and removed.

mod api;
mod finding;
mod questions;
mod scratch;

use std::{io::Write, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::{
    api::Api,
    finding::{Finding, Grade},
    scratch::Scratch,
};
use super::{
    run::told_to_stop,
    terminal::Look,
    text::{clean, fit, table_in},
};
use crate::{
    fly::{Fly, FlySettings},
    model::AppName,
};

/// Something is not as the daemon needs it.
const DIFFERS: i32 = 1;
/// How often what shows that it goes on moves.
const TICK: Duration = Duration::from_millis(120);

#[derive(Debug, Args)]
#[command(
    override_usage = "waveoff doctor [OPTIONS] --scratch-app <NAME> --organization <SLUG>\n                      --image <REFERENCE>"
)]
pub(super) struct Doctor {
    /// Name of an app that is made, tried out and removed. There must be none of that name.
    #[arg(long, value_name = "NAME")]
    scratch_app: String,
    /// Slug of the organization to make it in.
    #[arg(long, value_name = "SLUG", env = "WAVEOFF_ORGANIZATION")]
    organization: String,
    /// What its machine runs: an image that stays up. Inside of a Fly machine, the one that runs there.
    #[arg(long, value_name = "REFERENCE", env = "FLY_IMAGE_REF")]
    image: String,
    /// Where its machine is.
    #[arg(long, env = "FLY_REGION")]
    region: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the app cannot be made, or not be removed again: then it says what is left.
pub(super) async fn run(doctor: Doctor, out: &mut dyn Write) -> anyhow::Result<i32> {
    let environment = |name: &str| std::env::var(name).ok();
    let settings = FlySettings::from_env(doctor.organization.clone(), environment)?;
    let api = Api::new(&settings)?;
    let fly = Fly::new(settings)?;
    let scratch = Scratch {
        app: AppName::new(&doctor.scratch_app),
        organization: doctor.organization.clone(),
        image: doctor.image.clone(),
        region: doctor.region.clone(),
    };
    scratch.found(&api).await?;
    // From here on it is removed, whatever happens.
    let stop = told_to_stop()?;
    let progress = progress();
    let about = |what| progress.set_message(what);
    let asked = tokio::select! {
        findings = questions::ask(&api, &fly, &scratch, &about) => findings,
        () = stop => Err(anyhow::anyhow!("interrupted")),
    };
    about("the app is removed");
    let removed = scratch.remove(&api).await;
    progress.finish_and_clear();
    let findings = match (asked, removed) {
        (Ok(findings), Ok(())) => findings,
        (Err(error), Ok(())) => bail!("{error:#}\nthe app {} was removed again", scratch.app),
        (asked, Err(error)) => {
            let first = asked.err().map_or_else(String::new, |error| format!("{error:#}\n"));
            return Err(error).with_context(|| {
                format!(
                    "{first}the app {} is left: `fly apps destroy {}`",
                    scratch.app, scratch.app
                )
            });
        }
    };
    if doctor.json {
        let version = env!("CARGO_PKG_VERSION");
        let findings: Vec<_> = findings.iter().map(Finding::json).collect();
        writeln!(out, "{}", json!({ "waveoff": version, "findings": findings }))?;
    } else {
        write!(out, "{}", page(&findings, Look::of_stdout().width))?;
    }
    let differs = findings.iter().any(|finding| finding.grade == Grade::Differs);
    Ok(if differs { DIFFERS } else { 0 })
}

/// What it is at and for how long, on standard error where that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} of some 2 m  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// All of it, without a name of anybody's: it can be shown to others.
fn page(findings: &[Finding], width: Option<usize>) -> String {
    let mut rows = vec![["", "QUESTION", "THE PLATFORM", "THE DAEMON"].map(str::to_owned).to_vec()];
    rows.extend(findings.iter().map(|one| {
        let cells = [one.grade.word(), one.question, &one.platform, one.daemon];
        cells.map(clean).to_vec()
    }));
    let mut text = table_in(&rows, 0, width);
    let count = |grade| findings.iter().filter(|one| one.grade == grade).count();
    let (differs, open) = (count(Grade::Differs), count(Grade::Open));
    let grades = [Grade::AsAssumed, Grade::Known, Grade::Differs, Grade::Open];
    let seen = grades.into_iter().filter(|grade| count(*grade) > 0);
    let meant: Vec<String> =
        seen.map(|grade| format!("{}: {}", grade.word(), grade.meaning())).collect();
    text.push_str(&fit(&format!("\n{}\n", meant.join("; ")), width));
    text.push_str(&format!(
        "\nwaveoff {}: {} answers, {differs} not as it needs them, {open} without an answer\n",
        env!("CARGO_PKG_VERSION"),
        findings.len()
    ));
    if differs > 0 {
        text.push_str("Please report this page: it has no names and no secrets in it.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_asks_to_be_reported_and_nothing_reaches_the_terminal_raw() {
        let finding = |grade, platform: &str| Finding {
            grade,
            question: "a second lease",
            platform: platform.to_owned(),
            daemon: "expects 409",
        };
        let findings = [
            finding(Grade::AsAssumed, "refused: 409"),
            finding(Grade::Known, "after 2 s"),
            finding(Grade::Differs, "granted: 200\u{1b}[31m"),
        ];
        let page = page(&findings, None);
        insta::assert_snapshot!(page, @r"
                   QUESTION        THE PLATFORM       THE DAEMON
        ok         a second lease  refused: 409       expects 409
        known      a second lease  after 2 s          expects 409
        DIFFERENT  a second lease  granted: 200 [31m  expects 409

        ok: as the daemon needs it; known: the daemon can live with any answer, and this is the platform's; DIFFERENT: not as the daemon needs it

        waveoff 0.1.0: 3 answers, 1 not as it needs them, 0 without an answer
        Please report this page: it has no names and no secrets in it.
        ");
    }
}
