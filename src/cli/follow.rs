//! Shows how a rollback goes until it ends: on a terminal a bar for each region, redrawn; into a pipe
//! a line for each thing that happened.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write},
    time::Duration,
};

use anyhow::bail;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{
    EXIT_NOT_COMPLETED, client,
    history::escaped,
    terminal::Look,
    text::{clean, clean_lines, fit, time},
};
use crate::{
    model::{EventKind, MachineReport, RegionReport},
    web::view::{AppView, EventView, HistoryView},
};

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long the daemon may be away: it may be deployed anew meanwhile.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Events read at once; there are never as many in a second.
const EVENTS: u32 = 50;

/// The newest event of the app: what comes after it is shown.
pub(super) async fn newest(url: &str, app: &str) -> anyhow::Result<i64> {
    Ok(events(url, app, 1).await?.first().map_or(0, |event| event.sequence))
}

/// The newest events, the newest first.
async fn events(url: &str, app: &str, limit: u32) -> anyhow::Result<Vec<EventView>> {
    let path = format!("/api/v1/apps/{}/history?limit={limit}", escaped(app));
    let history: HistoryView = client::parse(url, &client::get(url, &path).await?)?;
    Ok(history.events)
}

/// Follows the app's rollback from the event `seen` on. Exit code 0: completed; 5: ended otherwise.
///
/// # Errors
/// When the daemon is away for too long, or `out` cannot be written.
pub(super) async fn run(
    url: &str,
    app: &str,
    seen: i64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let mut screen = Screen::new(!json && std::io::stdout().is_terminal());
    let mut seen = seen;
    let mut heard = Instant::now();
    loop {
        match look(url, app).await {
            Ok((mut news, regions)) => {
                heard = Instant::now();
                news.retain(|event| event.sequence > seen);
                news.reverse();
                for event in &news {
                    seen = event.sequence;
                    screen.tell(&line(event, json)?, out)?;
                }
                screen.draw(&regions);
                if let Some(completed) = news.iter().find_map(ends) {
                    screen.clear();
                    return Ok(if completed { 0 } else { EXIT_NOT_COMPLETED });
                }
            }
            Err(error) if heard.elapsed() > AWAY_MAX => return Err(error),
            Err(error) if heard.elapsed() > AWAY_MAX / 4 => {
                screen.tell(&format!("waveoff: {error:#}"), &mut std::io::stderr())?;
            }
            Err(_) => {}
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(url: &str, app: &str) -> anyhow::Result<(Vec<EventView>, Vec<RegionReport>)> {
    let view: AppView =
        client::parse(url, &client::get(url, &format!("/api/v1/apps/{}", escaped(app))).await?)?;
    let news = events(url, app, EVENTS).await?;
    if view.app.as_str() != app {
        bail!("{url} answers for another app");
    }
    Ok((news, view.regions))
}

/// Whether an event is the end, and whether it is the good one.
fn ends(event: &EventView) -> Option<bool> {
    match event.event {
        EventKind::RollbackCompleted => Some(true),
        EventKind::RollbackStopped => Some(false),
        _ => None,
    }
}

fn line(event: &EventView, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string(event)?);
    }
    Ok(format!("{}  {}", time(event.at), clean_lines(&event.text)))
}

/// Machines of a region that are done, and all of them; a machine that is gone is none.
fn count(region: &RegionReport) -> (u64, u64) {
    let machines = region.machines.values().filter(|state| **state != MachineReport::Gone);
    machines.fold((0, 0), |(done, all), state| (done + u64::from(state.is_on_target()), all + 1))
}

/// What is shown.
enum Screen {
    Lines,
    Bars { all: MultiProgress, bars: BTreeMap<String, ProgressBar> },
}

impl Screen {
    fn new(is_terminal: bool) -> Self {
        if is_terminal {
            Self::Bars { all: MultiProgress::new(), bars: BTreeMap::new() }
        } else {
            Self::Lines
        }
    }

    fn tell(&self, line: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        match self {
            Self::Lines => writeln!(out, "{line}")?,
            // Above the bars.
            Self::Bars { all, .. } => all.println(fit(line, Look::of_stdout().width))?,
        }
        Ok(())
    }

    fn draw(&mut self, regions: &[RegionReport]) {
        let Self::Bars { all, bars } = self else { return };
        let style = ProgressStyle::with_template("  {prefix:8} {bar:24} {pos}/{len} {msg}");
        for region in regions {
            let name = clean(region.region.as_str());
            let bar = bars.entry(name.clone()).or_insert_with(|| {
                let bar = all.add(ProgressBar::new(0));
                if let Ok(style) = &style {
                    bar.set_style(style.clone());
                }
                bar.set_prefix(name);
                bar
            });
            let (done, machines) = count(region);
            bar.set_length(machines);
            bar.set_position(done);
            bar.set_message(region.phase.word().replace('_', " "));
        }
    }

    /// The bars stay as they were last.
    fn clear(&self) {
        if let Self::Bars { bars, .. } = self {
            for bar in bars.values() {
                bar.abandon();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MachineId, Region, RegionStage};

    #[test]
    fn a_region_counts_its_machines_but_those_that_are_gone() {
        let states = [
            MachineReport::OnTarget { at_rest: false },
            MachineReport::Updating,
            MachineReport::Gone,
        ];
        let machines = states.into_iter().enumerate();
        let region = RegionReport {
            region: Region::new("iad"),
            phase: RegionStage::RollingBack,
            machines: machines.map(|(n, state)| (MachineId::new(format!("m{n}")), state)).collect(),
        };
        assert_eq!(count(&region), (1, 2));
    }
}
