//! What a daemon answers, as a scene.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Cell, Meter, Other, Panel, Rate, Region, Scene, Told};
use crate::{
    cli::{
        terminal::{Tone, clean},
        text::{duration, seconds_between, time_of_day},
    },
    model::{AppName, EventKind, MachineReport, MachineState, Verdict, event::ReleaseInfo},
    numbers::{odds, plain},
    threshold,
    web::{
        Phase,
        explain::{BlockView, ExplainView, MachineView, ToldView},
        view::{AppView, CommandView, EvidenceView, OrgView, RunningView},
    },
};

/// A finished rollback is drawn for so long.
const OVER_SHOWN_S: f64 = 600.0;
/// Lines about what a starting daemon waits for, and told things of one app.
const WAITING_SHOWN: usize = 3;
const TOLD_SHOWN: usize = 12;

/// Whether an app is worth a picture: something is being found out or done.
pub(in crate::cli) fn is_drawn(app: &AppView, now: Timestamp) -> bool {
    match app.phase {
        Phase::Steady => false,
        Phase::RolledBack => seconds_between(app.since, now) < OVER_SHOWN_S,
        Phase::Learning
        | Phase::Degraded
        | Phase::Deploying
        | Phase::Baking
        | Phase::CountingDown
        | Phase::AwaitingApproval
        | Phase::RollingBack
        | Phase::Confirming
        | Phase::Held => true,
    }
}

/// The tone of an app's phase.
pub(in crate::cli) fn tone(app: &AppView) -> Tone {
    match app.phase {
        Phase::Steady | Phase::RolledBack => Tone::Good,
        Phase::Degraded | Phase::RollingBack | Phase::CountingDown | Phase::AwaitingApproval => {
            Tone::Bad
        }
        Phase::Held => Tone::Warn,
        Phase::Learning | Phase::Deploying | Phase::Baking | Phase::Confirming => Tone::Busy,
    }
}

/// Apps in the order in which they are shown, the worst first.
pub(in crate::cli) fn in_order(status: &OrgView) -> Vec<&AppView> {
    let mut apps: Vec<&AppView> = status.apps.iter().collect();
    apps.sort_by(|a, b| (a.rank(), &a.app).cmp(&(b.rank(), &b.app)));
    apps
}

/// The whole organization; `explained`: what is known besides of those that are drawn.
pub(in crate::cli) fn scene(status: &OrgView, explained: &BTreeMap<AppName, ExplainView>) -> Scene {
    let mut scene = Scene {
        head: clean(&format!("{} · waveoff {}", status.organization, status.version)),
        right: format!("{} UTC", time_of_day(status.at)),
        notices: notices(status),
        ..Scene::default()
    };
    let mut told: Vec<&ToldView> = Vec::new();
    for app in in_order(status) {
        let more = explained.get(&app.app).filter(|_| is_drawn(app, status.at));
        match more {
            Some(more) => {
                scene.panels.push(panel(app, Some(more), status.at));
                told.extend(more.told.iter().skip(more.told.len().saturating_sub(TOLD_SHOWN)));
            }
            None => scene.others.push(other(app, status.at)),
        }
    }
    told.sort_by_key(|one| one.at);
    scene.told = told
        .into_iter()
        .map(|one| Told {
            when: time_of_day(one.at),
            tone: told_tone(one.event),
            text: clean(&one.text),
        })
        .collect();
    if status.apps.is_empty() {
        let text = "No app has had a round yet, or no policy names one.".to_owned();
        scene.notices.push((Tone::Warn, text));
    }
    scene
}

fn notices(status: &OrgView) -> Vec<(Tone, String)> {
    let mut notices = Vec::new();
    if !status.ready {
        notices.push((Tone::Warn, "not ready".to_owned()));
    }
    for what in status.waiting_for.iter().take(WAITING_SHOWN) {
        notices.push((Tone::Warn, clean(&format!("waits for {what}"))));
    }
    if let Some(hold) = &status.hold {
        let text = format!("every app is held by {}: {}", hold.by, hold.reason);
        notices.push((Tone::Warn, clean(&text)));
    }
    for receiver in status.receivers.iter().filter(|one| one.failing_since.is_some()) {
        let how = crate::cli::webhook::how(receiver);
        notices.push((Tone::Warn, clean(&format!("receiver {} {how}", receiver.name))));
    }
    notices
}

fn told_tone(kind: EventKind) -> Tone {
    match kind {
        EventKind::ReleaseTrusted
        | EventKind::RollbackCompleted
        | EventKind::RollbackRegionConfirmed => Tone::Good,
        EventKind::ReleaseDegraded => Tone::Bad,
        EventKind::HoldPlaced | EventKind::RollbackFailed | EventKind::RollbackPaused => Tone::Warn,
        _ => Tone::Busy,
    }
}

/// One app as a picture.
pub(in crate::cli) fn panel(app: &AppView, more: Option<&ExplainView>, now: Timestamp) -> Panel {
    let mut facts = format!("for {}", duration(seconds_between(app.since, now)));
    if let Some(deadline) = app.next_deadline.filter(|deadline| *deadline > now) {
        facts.push_str(&format!(", {} left", duration(seconds_between(now, deadline))));
    }
    let mut remarks = Vec::new();
    if let Some(hold) = &app.operator_hold {
        remarks.push((Tone::Warn, clean(&format!("held by {}: {}", hold.by, hold.reason))));
    }
    remarks.extend(app.hold.iter().map(|hold| (Tone::Warn, clean(&format!("held: {hold}")))));
    remarks.extend(app.blind.iter().map(|blind| (Tone::Warn, clean(&format!("blind: {blind}")))));
    Panel {
        name: clean(app.app.as_str()),
        state: (tone(app), app.phase.words().to_owned()),
        facts,
        releases: releases(app),
        remarks,
        commands: app.commands.iter().map(command).collect(),
        regions: regions(app, more),
        meters: app.evidence.iter().map(meter).collect(),
        rate: more.filter(|_| is_counting(app.phase)).and_then(rate),
    }
}

fn releases(app: &AppView) -> String {
    let name = |release: &ReleaseInfo| clean(&release.name());
    let by = |release: &ReleaseInfo| {
        release.author.as_ref().map_or_else(String::new, |by| clean(&format!(" by {by}")))
    };
    let going_back = matches!(
        app.phase,
        Phase::CountingDown
            | Phase::AwaitingApproval
            | Phase::RollingBack
            | Phase::Confirming
            | Phase::RolledBack
    );
    match (&app.release, app.target.as_ref().or(app.known_good.as_ref())) {
        (Some(bad), Some(good)) if going_back => format!("{} → {}", name(bad), name(good)),
        (Some(new), Some(good)) if new.digest != good.digest => {
            format!("{}{}, judged against {}", name(new), by(new), name(good))
        }
        (Some(new), _) => format!("{}{}", name(new), by(new)),
        (None, Some(good)) => name(good),
        (None, None) => String::new(),
    }
}

fn is_counting(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Learning | Phase::Degraded | Phase::Deploying | Phase::Baking | Phase::CountingDown
    )
}

fn regions(app: &AppView, more: Option<&ExplainView>) -> Vec<Region> {
    if !app.regions.is_empty() {
        let target = app
            .target
            .as_ref()
            .or(app.known_good.as_ref())
            .map_or_else(String::new, |good| format!(" on {}", clean(&good.label())));
        return app
            .regions
            .iter()
            .map(|region| {
                let machines: Vec<Cell> = region.machines.values().map(of_report).collect();
                let done = region.machines.values().filter(|one| one.is_on_target()).count();
                let stage = region.phase.word().replace('_', " ");
                Region {
                    name: clean(region.region.as_str()),
                    words: format!("{done} of {}{target}, {stage}", machines.len()),
                    machines,
                }
            })
            .collect();
    }
    let Some(more) = more else { return Vec::new() };
    let is_bad = app.evidence.iter().any(|one| one.verdict == Verdict::Breach && one.may_roll_back);
    let label = clean(&more.release.label());
    let mut found: BTreeMap<&str, Vec<&MachineView>> = BTreeMap::new();
    for machine in &more.machines {
        found.entry(machine.region.as_str()).or_default().push(machine);
    }
    found
        .into_iter()
        .map(|(name, machines)| {
            let on = machines.iter().filter(|machine| machine.on).count();
            Region {
                name: clean(name),
                words: format!("{on} of {} on {label}", machines.len()),
                machines: machines.iter().map(|machine| of_machine(machine, is_bad)).collect(),
            }
        })
        .collect()
}

fn of_report(machine: &MachineReport) -> Cell {
    match machine {
        MachineReport::OnTarget { .. } => Cell::Good,
        MachineReport::Waiting => Cell::Bad,
        MachineReport::Updating | MachineReport::JobAtWork => Cell::Changing,
        MachineReport::Failed { .. }
        | MachineReport::HostUnreachable
        | MachineReport::LeasedBy { .. }
        | MachineReport::OfDeploy { .. } => Cell::Trouble,
        MachineReport::Gone
        | MachineReport::SetByHand { .. }
        | MachineReport::Runs { .. }
        | MachineReport::RegionLeftAlone
        | MachineReport::Told { .. } => Cell::Aside,
    }
}

fn of_machine(machine: &MachineView, is_bad: bool) -> Cell {
    match MachineState::parse(&machine.state) {
        MachineState::Transient(_) | MachineState::Created => Cell::Changing,
        MachineState::Failed | MachineState::LaunchFailed => Cell::Trouble,
        MachineState::Destroyed | MachineState::Unknown(_) => Cell::Aside,
        MachineState::Started | MachineState::Stopped | MachineState::Suspended => {
            match (machine.on, is_bad) {
                (true, true) => Cell::Bad,
                (true, false) => Cell::New,
                (false, _) => Cell::Good,
            }
        }
    }
}

/// What for, as `status` says it, and what to run.
fn command(one: &CommandView) -> (String, String) {
    (clean(&one.purpose.replace('_', " ")), clean(&one.command))
}

fn meter(evidence: &EvidenceView) -> Meter {
    let unit = evidence.unit;
    let limit = evidence.limit.map_or("?".to_owned(), |limit| threshold::limit(limit, unit));
    let seen = evidence.value.map_or("-".to_owned(), |value| threshold::value(value, unit));
    let tone = match evidence.verdict {
        Verdict::Breach => Tone::Bad,
        Verdict::Inconclusive => Tone::Warn,
        Verdict::Pass => Tone::Good,
    };
    let counts = &evidence.counts;
    let needs = evidence.ln_odds_needed.filter(|needs| *needs > 0.0);
    let odds_of = needs.map(|needs| (evidence.ln_odds.unwrap_or(0.0), needs));
    let written = |ln: f64| odds(ln).unwrap_or_else(|| "1:1".to_owned());
    let (words, needs) = match odds_of {
        Some((has, needs)) => (written(has), format!(" of {}", written(needs))),
        None => (evidence.verdict.as_str().to_owned(), String::new()),
    };
    Meter {
        name: clean(&evidence.threshold),
        value: format!("{seen} of {limit}"),
        tone,
        odds: odds_of,
        words,
        needs,
        counts: if counts.total > 0.0 {
            format!("{} of {}", plain(counts.bad, 1), plain(counts.total, 1))
        } else {
            String::new()
        },
    }
}

/// Bad events in a second by the blocks of the threshold that speaks most against the release.
fn rate(more: &ExplainView) -> Option<Rate> {
    let counting = more.thresholds.iter().filter(|one| one.blocks.len() > 1);
    let worst = counting.max_by(|a, b| {
        let odds = |one: Option<f64>| one.unwrap_or(0.0);
        odds(a.evidence.ln_odds).total_cmp(&odds(b.evidence.ln_odds))
    })?;
    let pairs = worst.blocks.iter().zip(worst.blocks.iter().skip(1));
    let history: Vec<f64> = pairs.filter_map(|(before, block)| per_second(before, block)).collect();
    (!history.is_empty()).then(|| Rate { what: "bad/s".to_owned(), history })
}

fn per_second(before: &BlockView, block: &BlockView) -> Option<f64> {
    let took = seconds_between(before.at, block.at);
    (took > 0.0).then(|| block.counts.bad / took)
}

/// `v43 (v41)`: what its machines run, both while a rollback is half way.
pub(in crate::cli) fn running(app: &AppView) -> String {
    let names: Vec<String> = app.running.iter().map(RunningView::name).collect();
    names.join(", ")
}

/// One app in a line.
pub(in crate::cli) fn other(app: &AppView, now: Timestamp) -> Other {
    let release = match app.phase {
        // What was undone runs no more.
        Phase::RolledBack => clean(&running(app)),
        _ => app.release.as_ref().map_or_else(String::new, |one| clean(&one.name())),
    };
    let why = app.hold.as_ref().or(app.blind.as_ref());
    let why = why.map_or_else(String::new, |why| format!("  {}", clean(why)));
    let lasts = duration(seconds_between(app.since, now));
    Other {
        name: clean(app.app.as_str()),
        state: (tone(app), app.phase.words().to_owned()),
        words: format!("{release} for {lasts}{why}").trim().to_owned(),
    }
}

#[cfg(test)]
mod tests;
