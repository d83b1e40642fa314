//! The board: apps as they are dealt with, drawn anew as things change. A frame is made from a scene
//! and a size, and from nothing else; `live` makes scenes of what a daemon answers, `screen` shows frames.

mod draw;
pub(super) mod live;
pub(super) mod screen;

pub(super) use self::draw::wrapped;

use self::draw::{meters, names, rate, regions};
use super::{
    terminal::{Tone, columns, fitted, padded, toned},
    text::broken,
};

/// Lines that one told thing takes, at most.
const TOLD_LINES: usize = 2;
/// Told things without a limit to the height.
const TOLD_MAX: usize = 24;

/// Everything that a frame shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scene {
    /// What it is about, and what stands at the right of the same line.
    pub(super) head: String,
    pub(super) right: String,
    /// What has to be known before anything else.
    pub(super) notices: Vec<(Tone, String)>,
    /// Apps that are drawn, the worst first.
    pub(super) panels: Vec<Panel>,
    /// Apps that take a line each.
    pub(super) others: Vec<Other>,
    /// What happened, the newest last.
    pub(super) told: Vec<Told>,
    pub(super) foot: Vec<String>,
}

/// One app.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panel {
    pub(super) name: String,
    pub(super) state: (Tone, String),
    /// Beside the state: how long, what is left.
    pub(super) facts: String,
    /// Which release against which.
    pub(super) releases: String,
    pub(super) remarks: Vec<(Tone, String)>,
    /// What a person can run about it, each with what for.
    pub(super) commands: Vec<(String, String)>,
    pub(super) regions: Vec<Region>,
    pub(super) meters: Vec<Meter>,
    pub(super) rate: Option<Rate>,
}

/// The machines of one region.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) name: String,
    pub(super) machines: Vec<Cell>,
    pub(super) words: String,
}

/// How one machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    /// It runs the known-good release.
    Good,
    /// It runs the release under watch.
    New,
    /// It is being changed, or not up.
    Changing,
    /// It runs a release that degraded.
    Bad,
    /// Something keeps it from being put right.
    Trouble,
    /// It is left as it is.
    Aside,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Meter {
    pub(super) name: String,
    /// What is seen against what may be: `30.0 % of 2 %`.
    pub(super) value: String,
    pub(super) tone: Tone,
    /// Natural logarithms of the odds and of those at which it is a breach.
    pub(super) odds: Option<(f64, f64)>,
    /// The same in words, or the verdict where there are no odds.
    pub(super) words: String,
    /// What the odds have to be, where there is room: ` of 2000:1`.
    pub(super) needs: String,
    pub(super) counts: String,
}

/// How many requests go wrong in a second, the newest last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) what: String,
    pub(super) history: Vec<f64>,
}

/// An app in one line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Other {
    pub(super) name: String,
    pub(super) state: (Tone, String),
    pub(super) words: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) when: String,
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// The scene in lines of at most `width` columns; in at most `height` of them, if that is given.
pub(super) fn frame(scene: &Scene, width: usize, height: Option<usize>) -> Vec<String> {
    let mut lines = vec![head(scene, width)];
    lines.extend(
        scene.notices.iter().flat_map(|(tone, text)| {
            wrapped(text, width).into_iter().map(|line| toned(*tone, &line))
        }),
    );
    let foot: Vec<String> = scene.foot.iter().flat_map(|text| wrapped(text, width)).collect();
    let room = height.map(|height| height.saturating_sub(lines.len() + foot.len() + 2));
    let (pictures, in_lines) = pictures(&scene.panels, width, room);
    lines.extend(pictures);
    let mut rest = height.map(|height| height.saturating_sub(lines.len() + foot.len() + 1));
    let named: Vec<Other> = in_lines.into_iter().chain(scene.others.iter().cloned()).collect();
    let others = others(&named, width, rest);
    rest = rest.map(|rest| rest.saturating_sub(others.len()));
    if !others.is_empty() {
        lines.push(String::new());
        lines.extend(others);
        rest = rest.map(|rest| rest.saturating_sub(1));
    }
    let told = told(&scene.told, width, rest.map(|rest| rest.saturating_sub(1)));
    if !told.is_empty() {
        lines.push(String::new());
        lines.extend(told);
    }
    if !foot.is_empty() {
        lines.push(String::new());
        lines.extend(foot.iter().map(|line| toned(Tone::Dim, line)));
    }
    if let Some(height) = height.filter(|height| lines.len() > *height) {
        let missing = lines.len() - height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        lines.push(toned(Tone::Dim, &format!("… {missing} more lines")));
    }
    lines.iter().map(|line| fitted(line.trim_end(), width)).collect()
}

/// The apps that are drawn, as many as there is room for, and the others of them in a line each: whatever the
/// window's size, each of them is named. The worst one is always drawn, as far as it goes.
fn pictures(panels: &[Panel], width: usize, room: Option<usize>) -> (Vec<String>, Vec<Other>) {
    let room = room.unwrap_or(usize::MAX);
    let all: Vec<Vec<String>> = panels.iter().map(|panel| drawn(panel, width)).collect();
    let has_legend = panels.iter().any(|panel| !panel.regions.is_empty());
    let takes = |shown: usize| {
        let pictures: usize = all.iter().take(shown).map(|lines| lines.len() + 1).sum();
        let in_lines = panels.len() - shown;
        pictures + usize::from(has_legend) + in_lines
    };
    let most = (1..=panels.len()).rev().find(|shown| takes(*shown) <= room);
    let shown = most.unwrap_or(1).min(panels.len());
    let in_lines: Vec<Other> = panels.iter().skip(shown).map(in_a_line).collect();
    let mut lines = Vec::new();
    for picture in all.into_iter().take(shown) {
        lines.push(String::new());
        lines.extend(picture);
    }
    let drawn = panels.get(..shown).unwrap_or(panels);
    if drawn.iter().any(|panel| !panel.regions.is_empty()) {
        lines.push(legend(drawn, width));
    }
    let left = room.saturating_sub(in_lines.len()).max(2);
    if !in_lines.is_empty() && lines.len() > left {
        let missing = lines.len() - (left - 1);
        lines.truncate(left - 1);
        lines.push(toned(Tone::Dim, &format!("  … {missing} more lines of it")));
    }
    (lines, in_lines)
}

fn in_a_line(panel: &Panel) -> Other {
    let remark = panel.remarks.first().map_or("", |(_, text)| text.as_str());
    let words = [panel.facts.as_str(), panel.releases.as_str(), remark];
    let words: Vec<&str> = words.into_iter().filter(|text| !text.is_empty()).collect();
    Other { name: panel.name.clone(), state: panel.state.clone(), words: words.join("  ") }
}

fn head(scene: &Scene, width: usize) -> String {
    let right = columns(&scene.right);
    let left = toned(Tone::Strong, &scene.head);
    if scene.right.is_empty() || columns(&scene.head) + 2 + right > width {
        return left;
    }
    format!("{}{}", padded(&left, width - right), toned(Tone::Dim, &scene.right))
}

fn drawn(panel: &Panel, width: usize) -> Vec<String> {
    let (tone, state) = &panel.state;
    let mut first = format!("{}  {}", toned(Tone::Strong, &panel.name), toned(*tone, state));
    if !panel.facts.is_empty() {
        first.push_str(&format!(" {}", toned(Tone::Dim, &panel.facts)));
    }
    let mut lines = vec![first];
    lines.extend(indented(&panel.releases, Tone::Dim, width));
    lines.extend(panel.remarks.iter().flat_map(|(tone, text)| indented(text, *tone, width)));
    lines.extend(commands(&panel.commands, width));
    lines.extend(regions(&panel.regions, width));
    let names = names(&panel.meters, panel.rate.as_ref());
    lines.extend(meters(&panel.meters, names, width));
    lines.extend(panel.rate.as_ref().map(|one| rate(one, names, width)));
    lines
}

/// A line for each command. One that is too long goes on below, whole words: somebody copies it.
fn commands(commands: &[(String, String)], width: usize) -> Vec<String> {
    let widest = commands.iter().map(|(purpose, _)| columns(purpose)).max().unwrap_or(0);
    let room = width.saturating_sub(widest + 4).max(10);
    let one = |(purpose, command): &(String, String)| -> Vec<String> {
        let parts = broken(command, room).into_iter().enumerate();
        let label = |nth| if nth == 0 { purpose.as_str() } else { "" };
        let line = |(nth, part): (usize, String)| {
            format!("  {}  {}", toned(Tone::Dim, &padded(label(nth), widest)), part)
        };
        parts.map(line).collect()
    };
    commands.iter().flat_map(one).collect()
}

fn indented(text: &str, tone: Tone, width: usize) -> Vec<String> {
    let lines = if text.is_empty() { Vec::new() } else { wrapped(text, width.saturating_sub(2)) };
    lines.iter().map(|line| format!("  {}", toned(tone, line))).collect()
}

/// What the signs of the machines stand for, those that are to be seen.
fn legend(panels: &[Panel], width: usize) -> String {
    let all = [Cell::Good, Cell::New, Cell::Changing, Cell::Bad, Cell::Trouble, Cell::Aside];
    let cells = || panels.iter().flat_map(|panel| &panel.regions).flat_map(|one| &one.machines);
    let seen = all.into_iter().filter(|cell| cells().any(|one| one == cell));
    let words = seen.map(|cell| format!("{} {}", cell.sign(), toned(Tone::Dim, cell.words())));
    fitted(&format!("  {}", words.collect::<Vec<_>>().join("  ")), width)
}

fn others(others: &[Other], width: usize, room: Option<usize>) -> Vec<String> {
    let room = room.unwrap_or(usize::MAX);
    let name = others.iter().map(|other| columns(&other.name)).max().unwrap_or(0).min(width / 3);
    let state = others.iter().map(|other| columns(&other.state.1)).max().unwrap_or(0);
    let shown = if others.len() > room { room.saturating_sub(1) } else { others.len() };
    let mut lines: Vec<String> = others
        .iter()
        .take(shown)
        .map(|other| {
            let called = padded(&other.name, name);
            let is = padded(&toned(other.state.0, &other.state.1), state);
            format!("{called}  {is}  {}", toned(Tone::Dim, &other.words))
        })
        .collect();
    if others.len() > shown && room > 0 {
        lines.push(toned(Tone::Dim, &format!("and {} more apps", others.len() - shown)));
    }
    lines
}

/// The newest of it that has room.
fn told(told: &[Told], width: usize, room: Option<usize>) -> Vec<String> {
    let room = room.unwrap_or(usize::MAX);
    let when = told.iter().map(|one| columns(&one.when)).max().unwrap_or(0);
    let mut lines: Vec<String> = Vec::new();
    for one in told.iter().rev().take(TOLD_MAX) {
        let mut text = wrapped(&one.text, width.saturating_sub(when + 2).max(10));
        if text.len() > TOLD_LINES {
            text.truncate(TOLD_LINES);
            if let Some(last) = text.last_mut() {
                *last = fitted(&format!("{last} …"), width.saturating_sub(when + 2));
            }
        }
        if lines.len() + text.len() > room {
            break;
        }
        for (nth, line) in text.iter().enumerate().rev() {
            let when = padded(if nth == 0 { one.when.as_str() } else { "" }, when);
            lines.insert(0, format!("{}  {}", toned(Tone::Dim, &when), toned(one.tone, line)));
        }
    }
    lines
}

#[cfg(test)]
mod tests;
