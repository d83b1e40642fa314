//! `waveoff demo`: the real daemon over real sockets against the embedded simulated platform.
//!
//! Nothing is faked on the daemon's side: it reads its configuration from files, speaks HTTP to
//! the platform, scrapes every machine, keeps its journal in `SQLite` and signs its webhooks. Only
//! times are shorter than the shipped defaults, so that a whole rollback fits into a minute.

mod browser;
mod show;
mod stage;
mod story;
mod teller;
mod twin;

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::{stage::Stage, story::Story, teller::Teller};
use super::{EXIT_INTERRUPTED, receiver::Received, terminal};

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

/// What the demo is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// What is wrong with the bad release.
    #[arg(long, value_enum, default_value_t = Bad::Errors)]
    bad: Bad,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// Print lines, where a board would be drawn.
    #[arg(long, conflicts_with = "json")]
    plain: bool,
    /// Show the status page of its daemon in a browser, and stay up afterwards.
    #[arg(long)]
    open: bool,
    /// Stay up afterwards, for poking at.
    #[arg(long)]
    keep_running: bool,
}

/// How the story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Drawn anew in its place.
    Board,
    Lines,
    Json,
}

/// The app that the story is about.
const APP: &str = "api";
/// The good release has to be trusted by then, and the bad one undone.
const TRUST_DEADLINE: Duration = Duration::from_secs(60);
const ROLLBACK_DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at the daemon's own API for the evidence so far.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(demo: Demo) -> anyhow::Result<i32> {
    let start = Instant::now();
    let output = match (demo.json, demo.plain) {
        (true, _) => Output::Json,
        (false, false) if terminal::can_redraw(&std::io::stdout()) => Output::Board,
        (false, _) => Output::Lines,
    };
    let mut stop = Box::pin(super::run::told_to_stop()?);
    let mut stage = Stage::set_up().await?;
    let mut teller = Teller::new(demo.bad, output, start)?;
    let told = tokio::select! {
        told = tell(&demo, &mut stage, &mut teller) => Some(told),
        () = &mut stop => None,
    };
    let code = match told {
        Some(Ok(code)) => {
            if demo.keep_running || demo.open {
                teller.stay(&stage)?;
                stop.await;
            }
            Ok(code)
        }
        Some(Err(error)) => Err(error),
        None => Ok(EXIT_INTERRUPTED),
    };
    // The terminal is what it was before anything else is written.
    drop(teller);
    stage.tear_down().await?;
    code
}

/// The whole story; answers with the exit code.
async fn tell(demo: &Demo, stage: &mut Stage, teller: &mut Teller) -> anyhow::Result<i32> {
    teller.intro(stage)?;
    if demo.open && !browser::open(&stage.api_url) {
        let text = format!("no browser to be opened here: the status page is at {}", stage.api_url);
        teller.note("demo.page", &text, json!({"url": stage.api_url}))?;
    }
    let bad = demo.bad;
    let mut story = Story::default();
    play(stage, teller, &mut story, TRUST_DEADLINE, |story| {
        story.happened("release.trusted", "v41")
    })
    .await
    .context("the release that ran from the start was not trusted")?;

    stage.ship_good()?;
    teller.note("demo.shipped", "somebody ships v42, a good release", json!({"image": "good"}))?;
    play(stage, teller, &mut story, TRUST_DEADLINE, |story| {
        story.happened("release.trusted", "v42")
    })
    .await
    .context("the good release was not trusted")?;

    let shipped = Instant::now();
    story.before = Some(stage.totals(APP));
    stage.ship_bad(bad)?;
    teller.note(
        "demo.shipped",
        &format!("somebody ships v43, a bad release: {}", story::described(bad)),
        json!({"image": "bad", "fault": story::fault(bad)}),
    )?;
    let ended = play(stage, teller, &mut story, ROLLBACK_DEADLINE, |story| {
        story.happened("rollback.completed", "v43")
            || story.happened("rollback.failed", "v43")
            || story.happened("hold.placed", "v43")
    })
    .await;
    story.after = Some(stage.totals(APP));
    let result = match ended {
        Ok(()) => story.verdict(stage, shipped).await,
        Err(error) => Err(error),
    };
    teller.finish(stage, &story, shipped, &result)
}

/// Tells what the receiver gets until `done`, and the evidence in between.
async fn play(
    stage: &mut Stage,
    teller: &mut Teller,
    story: &mut Story,
    limit: Duration,
    done: impl Fn(&Story) -> bool,
) -> anyhow::Result<()> {
    let mut looks = interval(LOOK_EVERY);
    let mut frames = interval(show::DRAW_EVERY);
    for ticks in [&mut looks, &mut frames] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
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
                _ = frames.tick() => teller.draw(stage)?,
                _ = looks.tick() => {
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
        Err(_) => anyhow::bail!(
            "not within {} s; its times fit a machine that is not busy: try again",
            limit.as_secs()
        ),
    }
}

/// Writes one line; a reader that went away ends the demo quietly.
fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("write to the terminal")
}
