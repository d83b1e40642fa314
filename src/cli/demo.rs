//! `waveoff demo`: the real daemon over real sockets against the embedded simulated platform.
//!
//! Nothing is faked on the daemon's side: it reads its configuration from files, speaks HTTP to
//! the platform, scrapes every machine, keeps its journal in `SQLite` and signs its webhooks. Only
//! times are shorter than the shipped defaults, so that a whole rollback fits into a minute.

mod stage;
mod story;

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use self::{
    stage::Stage,
    story::{Story, Teller},
};
use super::receiver::Received;

/// What is wrong with the bad release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bad {
    /// It fails a part of the requests.
    Errors,
    /// It answers slowly.
    Latency,
    /// It crashes soon after it started.
    Crash,
    /// Its health checks fail.
    Unhealthy,
}

/// The app that the story is about.
const APP: &str = "api";
/// The good release has to be trusted by then, and the bad one undone.
const TRUST_DEADLINE: Duration = Duration::from_secs(60);
const ROLLBACK_DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at the daemon's own API for the evidence so far.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(bad: Bad, json: bool, keep_running: bool) -> anyhow::Result<i32> {
    let start = Instant::now();
    let mut teller = Teller::new(json, start);
    let mut stage = Stage::set_up().await?;
    teller.intro(&stage)?;

    let mut story = Story::default();
    play(&mut stage, &mut teller, &mut story, TRUST_DEADLINE, |story| {
        story.happened("release.trusted", "v41")
    })
    .await
    .context("the release that ran from the start was not trusted")?;

    stage.ship_good()?;
    teller.note("demo.shipped", "somebody ships v42, a good release", json!({"image": "good"}))?;
    play(&mut stage, &mut teller, &mut story, TRUST_DEADLINE, |story| {
        story.happened("release.trusted", "v42")
    })
    .await
    .context("the good release was not trusted")?;

    let shipped = Instant::now();
    stage.ship_bad(bad)?;
    teller.note(
        "demo.shipped",
        &format!("somebody ships v43, a bad release: {}", story::described(bad)),
        json!({"image": "bad", "fault": story::fault(bad)}),
    )?;
    let ended = play(&mut stage, &mut teller, &mut story, ROLLBACK_DEADLINE, |story| {
        story.happened("rollback.completed", "v43")
            || story.happened("rollback.failed", "v43")
            || story.happened("hold.placed", "v43")
    })
    .await;
    let result = match ended {
        Ok(()) => story.verdict(&stage, shipped).await,
        Err(error) => Err(error),
    };
    let code = teller.finish(&stage, &story, shipped, result).await?;
    if keep_running {
        teller.stay(&stage)?;
        super::run::told_to_stop()?.await;
    }
    stage.tear_down().await?;
    Ok(code)
}

/// Tells what the receiver gets until `done`, and the evidence in between.
async fn play(
    stage: &mut Stage,
    teller: &mut Teller,
    story: &mut Story,
    limit: Duration,
    done: impl Fn(&Story) -> bool,
) -> anyhow::Result<()> {
    let acting = async {
        while !done(story) {
            tokio::select! {
                message = stage.messages.recv() => {
                    let message: Received = message
                        .context("the receiver stopped")?
                        .map_err(|reason| anyhow::anyhow!("a webhook was refused: {reason}"))?;
                    teller.tell(&message)?;
                    story.add(message);
                }
                ended = &mut stage.daemon => {
                    ended.context("the daemon's task")??;
                    anyhow::bail!("the daemon ended");
                }
                () = sleep(LOOK_EVERY) => {
                    if let Some(view) = stage.view(APP) {
                        teller.evidence(&view)?;
                    }
                }
            }
        }
        Ok(())
    };
    match timeout(limit, acting).await {
        Ok(result) => result,
        Err(_) => anyhow::bail!("not within {} s", limit.as_secs()),
    }
}

/// Writes one line; a reader that went away ends the demo quietly.
fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("write to the terminal")
}
