//! Apps of which there is no news, in a line each.

use jiff::Timestamp;

use crate::{
    cli::{
        board::live,
        terminal::{Tone, columns, fitted, padded, toned},
        text::{duration, seconds_between},
    },
    model::event::ReleaseInfo,
    web::{
        Phase,
        view::{AppView, ProtectionLevel},
    },
};

/// Spaces between the columns.
const GAP: usize = 2;
/// Columns that are kept for what stands behind a name, in a terminal.
const KEPT: usize = 50;
/// So many things that are not known are named; of more only the number is told.
const NAMED_MAX: usize = 2;

/// Whether an app is to be shown in full: it is in trouble, or was just now.
pub(super) fn is_news(app: &AppView, now: Timestamp) -> bool {
    app.rank().is_trouble() || (app.phase == Phase::RolledBack && live::is_drawn(app, now))
}

/// A line for each app, and how to see more of it; nothing without apps.
pub(super) fn lines(apps: &[&AppView], now: Timestamp, width: Option<usize>) -> String {
    if apps.is_empty() {
        return String::new();
    }
    let rows: Vec<[String; 5]> = apps.iter().map(|app| row(app, now)).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = columns(cell).max(*widest);
        }
    }
    if let (Some(width), [name, ..]) = (width, &mut widths) {
        *name = (*name).min(width.saturating_sub(KEPT).max(KEPT / 2));
    }
    let mut text = String::from("\n");
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| padded(cell, width + GAP));
        let line: String = cells.collect();
        let line = line.trim_end();
        let line = width.map_or_else(|| line.to_owned(), |width| fitted(line, width));
        text.push_str(&format!("{line}\n"));
    }
    let more = "`waveoff status APP` shows one of these in full, `--verbose` all of them.";
    text.push_str(&format!("\n{}\n", toned(Tone::Dim, more)));
    text
}

/// Name, phase, release, since when, and how it is protected.
fn row(app: &AppView, now: Timestamp) -> [String; 5] {
    // What was undone runs no more.
    let runs = if app.phase == Phase::RolledBack {
        live::running(app)
    } else {
        app.release.as_ref().map_or_else(String::new, ReleaseInfo::label)
    };
    let lasts = duration(seconds_between(app.since, now));
    let unseen = unseen(app);
    let (tone, words) = match (unseen.is_empty(), standing(app)) {
        (true, words) => (Tone::Dim, words),
        (false, words) => (Tone::Warn, format!("{unseen} · {words}")),
    };
    let is_braked = app.blind.is_some() || app.operator_hold.is_some();
    let tone = if is_braked { Tone::Warn } else { tone };
    [
        app.app.to_string(),
        toned(live::tone(app), app.phase.words()),
        runs,
        lasts,
        toned(tone, &words),
    ]
}

/// What its thresholds do not see: `p95 unknown · metrics of 2 machines unread`.
fn unseen(app: &AppView) -> String {
    let names: Vec<&str> = app.unknown.iter().map(|one| one.threshold.as_str()).collect();
    let unknown = match names.len() {
        0 => String::new(),
        1..=NAMED_MAX => format!("{} unknown", names.join(", ")),
        many => format!("{many} thresholds unknown"),
    };
    let unread = match app.unread.len() {
        0 => String::new(),
        1 => "metrics of 1 machine unread".to_owned(),
        many => format!("metrics of {many} machines unread"),
    };
    let parts = [unknown, unread].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" · ")
}

/// The one thing that has to be known, or what protects it.
fn standing(app: &AppView) -> String {
    if let (None, None, Some(hold)) = (&app.hold, &app.blind, &app.operator_hold) {
        return format!("held by {}", super::held_by(hold));
    }
    let remark = app.remark();
    if !remark.is_empty() {
        return remark;
    }
    let protection = &app.protection;
    let by = protection.against.as_ref().map_or_else(String::new, ReleaseInfo::label);
    match (protection.level, &protection.why_not) {
        (ProtectionLevel::Trusted, None) => format!("protected by {by}"),
        (ProtectionLevel::Baked, why) if why.is_none() || !protection.braked => {
            format!("protected by {by} (baked)")
        }
        (_, why) => {
            let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            format!("not protected{why}")
        }
    }
}
