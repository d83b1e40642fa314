//! `waveoff status`: every watched app, its phase, and the evidence so far; of several apps only those
//! in trouble in full.

mod mirror;
mod overview;

use std::{fmt::Write as _, io::Write};

use jiff::Timestamp;

use super::{
    board::live,
    client,
    history::escaped,
    terminal::{Look, Tone, columns, toned},
    text::{clean_lines, duration, fit, paragraph, seconds_between, table_in, time},
};
use crate::{
    model::{Mode, OperatorHold, Region, RegionReport, Signed, Unit, Verdict, event::ReleaseInfo},
    numbers::{odds, plain, share},
    threshold,
    web::view::{AppView, EvidenceView, OrgView, Phase},
};

/// Lines about what a starting daemon waits for, and about machines without metrics; the JSON has
/// them all.
const WAITING_SHOWN: usize = 5;
const UNREAD_SHOWN: usize = 8;

/// What somebody wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// What is in trouble in full, and the rest in a line each.
    Overview,
    /// Every app in full.
    Everything,
    /// One app in full.
    One(String),
}

/// Asks the daemon at `url` and writes what it says; `json` passes its answer on unchanged.
///
/// # Errors
/// When the daemon cannot be reached or understood, does not watch the app, or `out` cannot be
/// written.
pub async fn run(url: &str, asked: &Asked, json: bool, out: &mut dyn Write) -> anyhow::Result<i32> {
    let of_one = match asked {
        Asked::One(app) => Some(client::get(url, &format!("/api/v1/apps/{}", escaped(app))).await?),
        Asked::Overview | Asked::Everything => None,
    };
    let body = match (&of_one, json) {
        (Some(app), true) => app.clone(),
        // The time and what is to be known of the daemon.
        (Some(_), false) => client::get(url, "/api/v1/status?limit=1").await?,
        (None, _) => client::get(url, "/api/v1/status").await?,
    };
    if json {
        writeln!(out, "{}", body.trim_end())?;
        return Ok(0);
    }
    let mut status: OrgView = client::parse(url, &body)?;
    if let Some(app) = of_one {
        status.apps = vec![client::parse(url, &app)?];
    }
    out.write_all(page(&status, asked, Look::of_stdout()).as_bytes())?;
    Ok(0)
}

/// The whole page.
fn page(status: &OrgView, asked: &Asked, look: Look) -> String {
    let mut text = headline(status);
    let apps = live::in_order(status);
    let is_overview = *asked == Asked::Overview && apps.len() > 1;
    let is_full = |app: &&AppView| !is_overview || overview::is_news(app, status.at);
    let (full, lines): (Vec<&AppView>, Vec<&AppView>) = apps.into_iter().partition(is_full);
    for app in full {
        text.push('\n');
        text.push_str(&section(app, status.at, look.width));
    }
    text.push_str(&overview::lines(&lines, status.at, look.width));
    if status.apps.is_empty() {
        text.push_str("\nNo app has had a round yet, or no policy names one.\n");
    }
    look.paint(&clean_lines(&text))
}

fn headline(status: &OrgView) -> String {
    let mut parts = vec![
        status.organization.clone(),
        format!("waveoff {}", status.version),
        format!("up {}", duration(seconds_between(status.started_at, status.at))),
        match status.apps_watched {
            1 => "1 app watched".to_owned(),
            apps => format!("{apps} apps watched"),
        },
        match status.feed.lag_s {
            Some(lag) => format!("feed read {} ago", duration(lag)),
            None => "feed not read yet".to_owned(),
        },
    ];
    if !status.ready {
        parts.push("not ready".to_owned());
    }
    let mut text = format!("{}\n", parts.join(" · "));
    for what in status.waiting_for.iter().take(WAITING_SHOWN) {
        let _ = writeln!(text, "waits for {what}");
    }
    if let Some(refused) = &status.token_refused {
        let _ = writeln!(text, "{refused}");
    }
    if let Some(hold) = &status.hold {
        let _ = writeln!(text, "every app is held by {}", held_by(hold));
    }
    if let Some(version) = status.config.as_ref().filter(|version| version.number.is_some()) {
        let by = version.by.as_deref().unwrap_or("an operator");
        let at =
            version.at.map_or_else(String::new, |at| at.strftime(", %Y-%m-%d %H:%M").to_string());
        let note = version.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
        let _ = writeln!(text, "{}, pushed by {by}{at}{note}", version.name());
    }
    if status.config_refused {
        let _ = writeln!(
            text,
            "a changed configuration was refused: `waveoff history` and the log say why"
        );
    }
    for receiver in status.receivers.iter().filter(|one| one.failing_since.is_some()) {
        let _ = writeln!(text, "receiver {} {}", receiver.name, super::webhook::how(receiver));
    }
    for receiver in status.receivers.iter().filter(|one| one.given_up.is_some_and(|n| n > 0)) {
        let count = receiver.given_up.unwrap_or_default();
        let what =
            if count == 1 { "1 message was".to_owned() } else { format!("{count} messages were") };
        let _ = writeln!(text, "{what} given up for {}: waveoff webhook list", receiver.name);
    }
    if !status.feed.error_regions.is_empty() {
        let regions: Vec<_> = status.feed.error_regions.iter().map(Region::as_str).collect();
        let _ = writeln!(text, "the feed cannot speak for {}", regions.join(", "));
    }
    text
}

/// `by v41, which is trusted`, or why not.
/// `dana until 2026-03-01 04:03:04 UTC: a sale`.
fn held_by(hold: &OperatorHold) -> String {
    let until = hold.until.map_or_else(String::new, |until| format!(" until {} UTC", time(until)));
    format!("{}{until}: {}", hold.by, hold.reason)
}

/// `by dana (the sale)`.
fn said_by(signed: &Signed) -> String {
    let why =
        if signed.reason.is_empty() { String::new() } else { format!(" ({})", signed.reason) };
    format!("by {}{why}", signed.by)
}

fn section(app: &AppView, now: Timestamp, width: Option<usize>) -> String {
    let mut facts = vec![
        toned(live::tone(app), app.phase.words()),
        format!("for {}", duration(seconds_between(app.since, now))),
    ];
    if let Some(deadline) = app.next_deadline.filter(|deadline| *deadline > now) {
        facts.push(format!("{} left", duration(seconds_between(now, deadline))));
    }
    facts.push(match app.mode {
        Mode::Observe => "observes only".to_owned(),
        Mode::Approve => "asks before it rolls back".to_owned(),
        Mode::Rollback => "rolls back".to_owned(),
    });
    facts.push(format!("policy {}", app.policy));
    let name = toned(Tone::Strong, app.app.as_str());
    let mut text = fit(&format!("{name}  {}\n", facts.join(" · ")), width);

    let mut releases = Vec::new();
    if app.target.is_some() && !app.running.is_empty() {
        releases.push(vec!["running".to_owned(), live::running(app)]);
    }
    if let Some(release) = &app.release {
        releases.push(release_row(release_words(app), release));
    }
    match &app.known_good {
        Some(known_good) => releases.push(release_row("known good", known_good)),
        None => releases.push(vec!["known good".to_owned(), "none yet".to_owned()]),
    }
    releases.push(vec!["protected".to_owned(), app.protection.sentence()]);
    releases.extend(mirror::rows(app, now));
    releases.extend(undone(app));
    if let Some(pinned) = &app.pinned {
        let version = pinned.version.map_or_else(String::new, |version| format!("{version}  "));
        let text = format!("{version}{}  {}", pinned.digest.short(), said_by(&pinned.signed));
        releases.push(vec!["pinned".to_owned(), text]);
    }
    if let Some(vetoed) = app.vetoed_besides() {
        let text = format!("{}: it is not rolled back by itself", said_by(vetoed));
        releases.push(vec!["vetoed".to_owned(), text]);
    }
    if let Some(hold) = &app.operator_hold {
        releases.push(vec!["held by".to_owned(), held_by(hold)]);
    }
    if let Some(hold) = &app.hold {
        releases.push(vec!["held".to_owned(), hold.clone()]);
    }
    for one in &app.commands {
        releases.push(vec![one.purpose.replace('_', " "), one.command.clone()]);
    }
    releases.extend(unseen(app));
    text.push_str(&labelled(&releases, width));
    if app.phase == Phase::RolledBack && !app.evidence.is_empty() {
        let label = app.release.as_ref().map_or_else(|| "it".to_owned(), ReleaseInfo::label);
        text.push_str(&paragraph(&format!("what {label} showed then:"), 2, width));
    }
    text.push_str(&evidence(&app.evidence, width));
    let regions: Vec<_> = app.regions.iter().map(region_row).collect();
    text.push_str(&table_in(&regions, 4, width));
    text
}

/// Releases that were undone. One can have been there with several images.
fn undone(app: &AppView) -> Vec<Vec<String>> {
    let mut undone: Vec<Vec<String>> = Vec::new();
    for old in &app.quarantined {
        let version = old.version.map(|version| version.to_string());
        let tag = old.tag.iter().filter(|tag| version.as_ref() != Some(tag)).cloned();
        let called = version.clone().into_iter().chain(tag);
        let label: String = called.map(|name| format!("{name}  ")).collect();
        let digest = old.digest.short().to_owned();
        match undone.iter_mut().find(|row| !label.is_empty() && row.first() == Some(&label)) {
            Some(row) => row.push(digest),
            None => undone.push(vec![label, digest]),
        }
    }
    let row = |row: Vec<String>| {
        let (label, digests) = row.split_first()?;
        let text =
            format!("{label}{}  a redeploy is watched without a warm-up", digests.join(", "));
        Some(vec!["undone".to_owned(), text])
    };
    undone.into_iter().filter_map(row).collect()
}

/// What cannot be seen, or is left out of what is judged.
fn unseen(app: &AppView) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for suspect in &app.suspects {
        rows.push(vec!["suspect".to_owned(), suspect.text.clone()]);
        let commands = suspect.commands.iter();
        rows.extend(commands.map(|one| vec![one.purpose.clone(), one.command.clone()]));
    }
    if let Some(blind) = &app.blind {
        rows.push(vec!["blind".to_owned(), blind.clone()]);
    }
    for unknown in &app.unknown {
        let text = format!("{}: {}", unknown.threshold, unknown.text);
        rows.push(vec!["unknown".to_owned(), text]);
    }
    for (machine, reason) in app.unread.iter().take(UNREAD_SHOWN) {
        rows.push(vec!["unread".to_owned(), format!("metrics of {machine}: {reason}")]);
    }
    if let Some(more) = app.unread.len().checked_sub(UNREAD_SHOWN).filter(|more| *more > 0) {
        rows.push(vec!["unread".to_owned(), format!("metrics of {more} more machines")]);
    }
    rows
}

/// Label and text; texts are long, so only the labels are aligned.
fn labelled(rows: &[Vec<String>], width: Option<usize>) -> String {
    let rows: Vec<_> = rows
        .iter()
        .filter_map(|row| row.split_first())
        .map(|(label, rest)| vec![label.clone(), rest.join("  ")])
        .collect();
    table_in(&rows, 2, width)
}

/// What the app's release is in this phase.
fn release_words(app: &AppView) -> &'static str {
    let breaches = app.evidence.iter().any(|one| one.verdict == Verdict::Breach);
    match app.phase {
        // A person wants another one.
        Phase::RollingBack | Phase::Confirming if !breaches => "replaced",
        Phase::Steady => "running",
        Phase::Learning | Phase::Deploying | Phase::Baking | Phase::Held => "under watch",
        Phase::Degraded
        | Phase::CountingDown
        | Phase::AwaitingApproval
        | Phase::RollingBack
        | Phase::Confirming => "degraded",
        Phase::RolledBack => "rolled back",
    }
}

fn release_row(label: &str, release: &ReleaseInfo) -> Vec<String> {
    let mut words = vec![release.label()];
    // One that only repeats the number says nothing.
    words.extend(release.tag.iter().filter(|tag| **tag != release.label()).cloned());
    if release.version.is_some() {
        words.push(release.digest.short().to_owned());
    }
    if let Some(author) = &release.author {
        words.push(format!("by {author}"));
    }
    vec![label.to_owned(), words.join("  ")]
}

/// A line for each threshold; where that is too long, what its verdict rests on stands below it.
pub(super) fn evidence(all: &[EvidenceView], width: Option<usize>) -> String {
    let rows: Vec<EvidenceRow> = all.iter().map(evidence_row).collect();
    let whole = |row: &EvidenceRow| {
        let [name, value, limit, verdict] = row.head.clone();
        let note = if row.note.is_empty() { String::new() } else { format!(": {}", row.note) };
        vec![name, value, limit, row.seen.clone(), row.odds.clone(), format!("{verdict}{note}")]
    };
    let whole = table_in(&rows.iter().map(whole).collect::<Vec<_>>(), 4, None);
    let Some(width) = width.filter(|width| whole.lines().any(|line| columns(line) > *width)) else {
        return whole;
    };
    let heads: Vec<Vec<String>> = rows.iter().map(|row| row.head.to_vec()).collect();
    let heads = table_in(&heads, 4, Some(width));
    // In a terminal as narrow as that, heads take more lines than one.
    if heads.lines().count() != rows.len() {
        return heads;
    }
    let mut text = String::new();
    for (head, row) in heads.lines().zip(&rows) {
        let below = [&row.seen, &row.odds, &row.note].map(String::as_str);
        let below: Vec<&str> = below.into_iter().filter(|said| !said.is_empty()).collect();
        text.push_str(&format!("{head}\n"));
        if !below.is_empty() {
            text.push_str(&paragraph(&below.join(" · "), 6, Some(width)));
        }
    }
    text
}

/// How one threshold is.
struct EvidenceRow {
    /// Name, value, limit, verdict.
    head: [String; 4],
    /// What was counted.
    seen: String,
    /// Odds against what is needed.
    odds: String,
    note: String,
}

fn evidence_row(evidence: &EvidenceView) -> EvidenceRow {
    let unit = evidence.unit;
    let of = |number: Option<f64>, write: fn(f64, Unit) -> String| {
        number.map_or("no data".to_owned(), |number| write(number, unit))
    };
    let counts = &evidence.counts;
    let mut seen = if counts.total > 0.0 {
        format!("{} of {}", plain(counts.bad, 2), plain(counts.total, 2))
    } else {
        String::new()
    };
    if let Some(control) = evidence.control.filter(|control| control.total > 0.0) {
        let share = share(control.bad / control.total);
        let _ = write!(seen, " (known good {share})");
    }
    let odds = match (evidence.ln_odds, evidence.ln_odds_needed) {
        (Some(has), needs) => {
            let has = odds(has).map_or_else(|| "no odds".to_owned(), |has| format!("odds {has}"));
            match needs.and_then(odds) {
                Some(needs) => format!("{has}, {needs} needed"),
                None => has,
            }
        }
        (None, _) => String::new(),
    };
    let tone = match evidence.verdict {
        Verdict::Breach => Tone::Bad,
        Verdict::Inconclusive => Tone::Warn,
        Verdict::Pass => Tone::Good,
    };
    let mut verdict = toned(tone, evidence.verdict.as_str());
    if !evidence.may_roll_back {
        verdict.push_str(" (alert only)");
    }
    let value = of(evidence.value, threshold::value);
    let limit = format!("limit {}", of(evidence.limit, threshold::limit));
    let note = evidence.note.clone().unwrap_or_default();
    EvidenceRow { head: [evidence.threshold.clone(), value, limit, verdict], seen, odds, note }
}

/// Region, phase, and how many machines stand where.
pub(super) fn region_row(region: &RegionReport) -> Vec<String> {
    let mut standing: Vec<(String, usize)> = Vec::new();
    for state in region.machines.values().map(crate::notify::text::machine) {
        match standing.iter_mut().find(|(name, _)| *name == state) {
            Some((_, machines)) => *machines += 1,
            None => standing.push((state, 1)),
        }
    }
    let standing: Vec<_> =
        standing.iter().map(|(state, machines)| format!("{machines} {state}")).collect();
    vec![region.region.to_string(), region.phase.word().replace('_', " "), standing.join(", ")]
}

#[cfg(test)]
pub(super) mod tests;
