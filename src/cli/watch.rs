//! `waveoff status --watch`: the board of a running daemon, until somebody ends it. Into a pipe a line for
//! each app whose phase changes. The daemon says when something changed (`changes`), and is asked then.

mod changes;

use std::{collections::BTreeMap, io::Write, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, interval},
};

use self::changes::Pace;
use super::{
    board::{Scene, frame, live, screen::Screen},
    client,
    history::escaped,
    terminal::{self, Tone, clean},
    text::{duration, time},
};
use crate::{
    model::AppName,
    web::{
        Phase,
        explain::ExplainView,
        view::{AppView, OrgView},
    },
};

/// What runs on while nothing changes, such as how long something lasts, is drawn so often.
const TICK: Duration = Duration::from_secs(1);
/// Apps of which more is asked for than their state.
const DRAWN_MAX: usize = 4;

/// What the daemon said last.
struct Seen {
    status: OrgView,
    explained: BTreeMap<AppName, ExplainView>,
    /// When it was heard.
    heard: Instant,
}

impl Seen {
    /// The daemon's time, if its clock went on since.
    fn now(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.heard.elapsed()).unwrap_or_default();
        self.status.at.checked_add(since).unwrap_or(self.status.at)
    }
}

/// What was seen, or why nothing was.
type News = Result<Seen, String>;

/// Since when it says nothing, and why.
struct Lost {
    since: Instant,
    why: String,
}

/// Shows the daemon at `url` until it is ended from the keyboard.
///
/// # Errors
/// When the daemon cannot be reached at first, or nothing can be written.
pub(super) async fn run(url: &str, out: &mut dyn Write) -> anyhow::Result<i32> {
    let mut stop = Box::pin(super::run::told_to_stop()?);
    let seen = tokio::select! {
        seen = look(url) => seen?,
        () = &mut stop => return Ok(0),
    };
    // Whoever is not listened to any more ends by that.
    let (tell_us, mut news) = mpsc::channel(1);
    let url_of = url.to_owned();
    tokio::spawn(async move {
        let again = || {
            let url = url_of.clone();
            async move { look(&url).await.map_err(|error| first_line(&format!("{error:#}"))) }
        };
        changes::follow(&url_of, Pace::default(), again, tell_us).await;
    });
    if terminal::can_redraw(&std::io::stdout()) {
        draw(url, seen, &mut news, stop).await?;
        Ok(0)
    } else {
        tokio::select! {
            ended = tell(seen, &mut news, out) => ended.map(|()| 0),
            () = stop => Ok(0),
        }
    }
}

async fn look(url: &str) -> anyhow::Result<Seen> {
    let status: OrgView = client::parse(url, &client::get(url, "/api/v1/status").await?)?;
    let mut explained = BTreeMap::new();
    let drawn = live::in_order(&status).into_iter().filter(|app| live::is_drawn(app, status.at));
    for app in drawn.take(DRAWN_MAX) {
        let path = format!("/api/v1/apps/{}/explain", escaped(app.app.as_str()));
        // An app may have gone, or have no release yet: then it takes a line.
        if let Ok(body) = client::get(url, &path).await {
            explained.insert(app.app.clone(), client::parse(url, &body)?);
        }
    }
    Ok(Seen { status, explained, heard: Instant::now() })
}

fn first_line(text: &str) -> String {
    clean(text.lines().next().unwrap_or_default())
}

async fn draw(
    url: &str,
    mut seen: Seen,
    news: &mut mpsc::Receiver<News>,
    mut stop: impl Future<Output = ()> + Unpin,
) -> anyhow::Result<()> {
    let mut screen = Screen::open()?;
    let mut resized = signal(SignalKind::window_change()).context("listen for SIGWINCH")?;
    let mut ticks = interval(TICK);
    let mut lost: Option<Lost> = None;
    loop {
        if lost.is_none() {
            seen.status.at = seen.now();
            seen.heard = Instant::now();
        }
        let scene = scene(url, &seen, lost.as_ref().map(|lost| (lost.since.elapsed(), &*lost.why)));
        screen.draw(|width, height| frame(&scene, width, Some(height)))?;
        let news = tokio::select! {
            Some(news) = news.recv() => news,
            _ = ticks.tick() => continue,
            _ = resized.recv() => continue,
            () = &mut stop => {
                let scene = Scene { foot: Vec::new(), ..scene };
                return Ok(screen.end_with(|width| frame(&scene, width, None))?);
            }
        };
        match news {
            Ok(news) => (seen, lost) = (news, None),
            Err(why) => {
                let since = lost.map_or_else(Instant::now, |lost| lost.since);
                lost = Some(Lost { since, why });
            }
        }
    }
}

/// `lost`: for how long nothing was heard, and why.
fn scene(url: &str, seen: &Seen, lost: Option<(Duration, &str)>) -> Scene {
    let mut scene = live::scene(&seen.status, &seen.explained);
    if let Some((lasts, why)) = lost {
        let lasts = duration(lasts.as_secs_f64());
        let text = format!(
            "NOT HEARD for {lasts}: {why}. Below is what was at {} UTC; it is asked again and again.",
            time(seen.status.at)
        );
        scene.notices.insert(0, (Tone::Bad, text));
    }
    scene.foot.push(format!("{} · Ctrl-C ends it", clean(url)));
    scene
}

async fn tell(
    mut seen: Seen,
    news: &mut mpsc::Receiver<News>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut known = BTreeMap::new();
    let mut is_lost = false;
    loop {
        for line in changes(&mut known, &seen.status) {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        match news.recv().await.context("nobody follows the daemon any more")? {
            Ok(news) => {
                if std::mem::take(&mut is_lost) {
                    writeln!(std::io::stderr(), "waveoff: the daemon answers again")?;
                }
                seen = news;
            }
            Err(why) if !is_lost => {
                is_lost = true;
                writeln!(std::io::stderr(), "waveoff: {why}; it is asked again and again")?;
            }
            Err(_) => {}
        }
    }
}

/// What of an app is told when it changes.
type Known = BTreeMap<AppName, (Phase, String)>;

/// A line for each app that is new, gone, or otherwise than it was.
fn changes(known: &mut Known, status: &OrgView) -> Vec<String> {
    let mut lines = Vec::new();
    let at = time(status.at);
    for app in &status.apps {
        let now = (app.phase, words(app));
        if known.get(&app.app) != Some(&now) {
            let text = format!("{at}  {}  {}{}", app.app, app.phase.words(), now.1);
            lines.push(clean(&text));
            known.insert(app.app.clone(), now);
        }
    }
    known.retain(|name, _| {
        let is_there = status.apps.iter().any(|app| app.app == *name);
        if !is_there {
            lines.push(clean(&format!("{at}  {name}  no longer watched")));
        }
        is_there
    });
    lines
}

fn words(app: &AppView) -> String {
    let release = app.release.as_ref().map_or_else(String::new, |one| format!("  {}", one.name()));
    let hold = app.hold.as_ref().map_or_else(String::new, |hold| format!("  held: {hold}"));
    let blind = app.blind.as_ref().map_or_else(String::new, |blind| format!("  blind: {blind}"));
    format!("{release}{hold}{blind}")
}

#[cfg(test)]
mod tests;
