//! What was told of an app, the newest first, each with why.

use maud::{Markup, html};
use tokio::time::timeout;

use super::{
    part::{Tone, badge},
    shell::{app_path, time},
};
use crate::{
    model::{AppName, Event, EventKind, Severity, event::ReleaseInfo},
    notify::text,
    store::HistoryEntry,
    threshold,
    web::{ApiState, api::JOURNAL_DEADLINE},
};

/// Events on a page.
const SHOWN: usize = 25;
/// Log lines of an event.
const LINES_MAX: usize = 20;

/// Some events of an app, and whether there are older ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    entries: Vec<HistoryEntry>,
    more: bool,
}

impl Events {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Reads the newest events that are older than `before`; an error is a sentence.
pub(super) async fn events(
    state: &ApiState,
    app: &AppName,
    before: Option<i64>,
) -> Result<Events, String> {
    let limit = u32::try_from(SHOWN).unwrap_or(u32::MAX).saturating_add(1);
    let asked = state.journal.history(Some(app), before, limit);
    match timeout(JOURNAL_DEADLINE, asked).await {
        Ok(Ok(mut entries)) => {
            let more = entries.len() > SHOWN;
            entries.truncate(SHOWN);
            Ok(Events { entries, more })
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the journal took too long".to_owned()),
    }
}

pub(super) fn timeline(app: &AppName, events: &Events, is_newest: bool) -> Markup {
    let last = events.entries.last().filter(|_| events.more).map(|entry| entry.sequence);
    html! {
        h2 { "What happened" }
        @if events.is_empty() { p.none { "Nothing was told of this app yet." } }
        ol.timeline {
            @for entry in &events.entries { (happened(entry)) }
        }
        nav.pages aria-label="Older and newer events" {
            @if !is_newest { a href=(app_path(app.as_str())) { "← newest" } }
            @if let Some(last) = last {
                a href={ (app_path(app.as_str())) "?before=" (last) } { "older →" }
            }
        }
    }
}

fn happened(entry: &HistoryEntry) -> Markup {
    let event = &entry.event;
    let control =
        event.known_good.as_ref().map_or_else(|| "the rest".to_owned(), ReleaseInfo::label);
    let lines = event.log_lines.iter().rev().take(LINES_MAX).rev();
    let commands = text::commands(event);
    html! {
        li {
            p.when { (badge(tone(event), event.kind.as_str())) " " (time(event.at)) }
            p { (text::sentence(event)) }
            @if has_more(event) {
                details #{ "e-" (entry.sequence) } {
                    summary { "Why" }
                    @if let Some(reason) = &event.reason { p { (text::reason(reason)) } }
                    @if !event.evidence.is_empty() {
                        ul {
                            @for one in &event.evidence {
                                li {
                                    b { (one.verdict.as_str()) } ": " (threshold::phrase(one, &control))
                                    @if !one.source.is_empty() { br; code { (one.source) } }
                                }
                            }
                        }
                    }
                    @if !event.log_lines.is_empty() {
                        pre { @for line in lines { (line) "\n" } }
                    }
                    @if !commands.is_empty() {
                        dl.commands {
                            @for (purpose, command) in &commands {
                                dt { (purpose.word().replace('_', " ")) }
                                dd { code { (command) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn has_more(event: &Event) -> bool {
    event.reason.is_some() || !event.evidence.is_empty() || !event.log_lines.is_empty()
}

/// What a person did, or what is over, is no trouble whatever its kind.
fn tone(event: &Event) -> Tone {
    match (tone_of(event.kind), event.severity()) {
        (Tone::Bad | Tone::Warn, Severity::Info) => Tone::Calm,
        (tone, _) => tone,
    }
}

fn tone_of(kind: EventKind) -> Tone {
    match kind {
        EventKind::ReleaseDegraded
        | EventKind::RollbackFailed
        | EventKind::RollbackStopped
        | EventKind::HoldPlaced
        | EventKind::MonitorToken
        | EventKind::MonitorJournal => Tone::Bad,
        EventKind::ReleaseUntrusted
        | EventKind::RollbackPlanned
        | EventKind::RollbackPaused
        | EventKind::MonitorBlind
        | EventKind::MonitorClock
        | EventKind::MonitorOutbox
        | EventKind::ImageMissing
        | EventKind::ImageNotMirrored
        | EventKind::ImageMixed
        | EventKind::MachineSuspect
        | EventKind::ConfigRejected
        | EventKind::ConfigWarning => Tone::Warn,
        EventKind::ReleaseDetected | EventKind::RollbackStarted | EventKind::RollbackResumed => {
            Tone::Busy
        }
        EventKind::OperatorOrder
        | EventKind::HoldCleared
        | EventKind::MonitorRecovered
        | EventKind::ConfigReloaded => Tone::Calm,
        EventKind::ReleaseTrusted
        | EventKind::ReleaseRecovered
        | EventKind::ReleaseBaked
        | EventKind::RollbackRegionConfirmed
        | EventKind::RollbackCompleted => Tone::Good,
    }
}
