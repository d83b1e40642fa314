//! The JSON body of a Standard Webhooks message; `docs/webhook.schema.json` describes it.
//!
//! Every field is always there (`null` where nothing is known), and the body of an event is the
//! same on every attempt, so that receivers can compare what they got twice.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{Sender, numbers, text};
use crate::{
    model::{
        AppName, Change, Drift, Event, Evidence, MachineReport, Mode, Reason, RegionReport, Tally,
        event::ReleaseInfo,
    },
    threshold,
};

/// The body's version: a field that changes its meaning or goes away raises it, a new one does not.
pub const VERSION: u32 = 1;
/// Most machines listed per region.
const MACHINES_MAX: usize = 200;
/// Most log lines, and the longest one in characters.
const LOG_LINES_MAX: usize = 20;
const LOG_LINE_MAX: usize = 500;
/// Longest name, or state of a machine, in characters.
const NAME_MAX: usize = 200;
/// Longest text taken over from elsewhere, in characters.
const TEXT_MAX: usize = 2000;

#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    /// When it happened, RFC 3339; the header has the time of sending.
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    organization: &'a str,
    severity: &'static str,
    text: String,
    /// Where the status page shows more.
    page: Option<String>,
    /// What a person can do about it.
    commands: Vec<Command>,
    app: Option<&'a str>,
    release: Option<Release<'a>>,
    known_good: Option<Release<'a>>,
    mode: Option<&'static str>,
    reason: Option<String>,
    /// The same as facts.
    cause: Option<Value>,
    repeats: u32,
    drift: Option<Drifted<'a>>,
    after_seconds: Option<f64>,
    regions: Vec<Region<'a>>,
    thresholds: Vec<Threshold<'a>>,
    log_lines: Vec<String>,
}

/// What changed besides the image.
#[derive(Serialize)]
struct Drifted<'a> {
    image_changed: bool,
    changes: &'a [Change],
    left_out: u32,
}

#[derive(Serialize)]
struct Command {
    purpose: &'static str,
    command: String,
}

#[derive(Serialize)]
struct Release<'a> {
    label: String,
    version: Option<u64>,
    tag: Option<String>,
    digest: &'a str,
    author: Option<String>,
    created_at: Option<String>,
}

#[derive(Serialize)]
struct Region<'a> {
    region: &'a str,
    phase: &'a str,
    machines: BTreeMap<&'a str, String>,
    machine_states: BTreeMap<&'a str, &'a MachineReport>,
    machines_left_out: usize,
}

#[derive(Serialize)]
struct Threshold<'a> {
    name: &'a str,
    kind: &'a str,
    verdict: &'static str,
    /// The numbers below as a person reads them.
    text: String,
    value: Option<f64>,
    limit: f64,
    source: String,
    counts: Counts,
    /// Since it rose, where that was late.
    lately: Option<Counts>,
    control: Option<Counts>,
    odds: Option<Odds>,
    note: Option<String>,
    may_roll_back: bool,
}

#[derive(Serialize)]
struct Counts {
    bad: f64,
    total: f64,
}

#[derive(Serialize)]
struct Odds {
    /// `null` while the odds speak for nothing.
    text: Option<String>,
    /// Natural logarithms: of the odds now, and of those needed for a breach.
    ln: f64,
    ln_needed: Option<f64>,
}

/// The body for one event; `id` is the message's, the same on every attempt.
pub fn standard(id: &str, event: &Event, sender: &Sender<'_>) -> String {
    let bounded = |text: &String| numbers::cut(text, TEXT_MAX);
    let known_good = event.known_good.as_ref().map_or_else(String::new, ReleaseInfo::label);
    let body = Body {
        version: VERSION,
        id,
        kind: event.kind.as_str(),
        timestamp: event.at.to_string(),
        data: Data {
            organization: sender.organization,
            severity: event.severity().as_str(),
            text: text::message(event),
            page: sender.page(event),
            commands: text::commands(event)
                .into_iter()
                .map(|(purpose, command)| Command { purpose: purpose.word(), command })
                .collect(),
            app: event.app.as_ref().map(AppName::as_str),
            release: event.release.as_ref().map(release),
            known_good: event.known_good.as_ref().map(release),
            mode: event.mode.map(|mode| match mode {
                Mode::Observe => "observe",
                Mode::Approve => "approve",
                Mode::Rollback => "rollback",
            }),
            reason: event.reason.as_ref().map(|reason| bounded(&text::reason(reason))),
            cause: event.reason.as_ref().and_then(cause),
            repeats: event.repeats,
            drift: event.drift.as_ref().map(drifted),
            after_seconds: event.after_s,
            regions: event.regions.iter().map(region).collect(),
            thresholds: event.evidence.iter().map(|one| measured(one, &known_good)).collect(),
            log_lines: log_lines(event),
        },
    };
    #[expect(clippy::expect_used, reason = "strings, numbers and text-keyed maps always serialize")]
    serde_json::to_string(&body).expect("a body serializes")
}

fn drifted(drift: &Drift) -> Drifted<'_> {
    Drifted { image_changed: drift.image, changes: &drift.changes, left_out: drift.left_out }
}

/// A reason as facts, with its texts and lists cut.
fn cause(reason: &Reason) -> Option<Value> {
    fn cut(value: &mut Value) {
        match value {
            Value::String(text) => *text = numbers::cut(text, TEXT_MAX),
            Value::Array(list) => {
                list.truncate(MACHINES_MAX);
                list.iter_mut().for_each(cut);
            }
            Value::Object(fields) => fields.values_mut().for_each(cut),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut facts = serde_json::to_value(reason).ok()?;
    cut(&mut facts);
    Some(facts)
}

/// The event's last log lines, bounded in number and length.
pub(super) fn log_lines(event: &Event) -> Vec<String> {
    let skipped = event.log_lines.len().saturating_sub(LOG_LINES_MAX);
    event.log_lines.iter().skip(skipped).map(|line| numbers::cut(line, LOG_LINE_MAX)).collect()
}

fn release(release: &ReleaseInfo) -> Release<'_> {
    let name = |text| numbers::cut(text, NAME_MAX);
    Release {
        label: release.label(),
        version: release.version.map(|version| version.0),
        tag: release.tag.as_deref().map(name),
        digest: release.digest.as_str(),
        author: release.author.as_deref().map(name),
        created_at: release.created_at.map(|at| at.to_string()),
    }
}

fn region(report: &RegionReport) -> Region<'_> {
    Region {
        region: report.region.as_str(),
        phase: report.phase.word(),
        machines: report
            .machines
            .iter()
            .take(MACHINES_MAX)
            .map(|(id, state)| (id.as_str(), numbers::cut(&text::machine(state), NAME_MAX)))
            .collect(),
        machine_states: report
            .machines
            .iter()
            .take(MACHINES_MAX)
            .map(|(id, state)| (id.as_str(), state))
            .collect(),
        machines_left_out: report.machines.len().saturating_sub(MACHINES_MAX),
    }
}

fn measured<'a>(evidence: &'a Evidence, known_good: &str) -> Threshold<'a> {
    let control = if known_good.is_empty() { "the rest" } else { known_good };
    Threshold {
        name: &evidence.threshold,
        kind: evidence.kind.as_str(),
        verdict: evidence.verdict.as_str(),
        text: threshold::phrase(evidence, control),
        value: evidence.value,
        limit: evidence.limit,
        source: numbers::cut(&evidence.source, TEXT_MAX),
        counts: Counts { bad: evidence.bad, total: evidence.total },
        lately: evidence.lately.map(|Tally { n, k }| Counts { bad: k, total: n }),
        control: evidence.control.map(|(bad, total)| Counts { bad, total }),
        odds: evidence.ln_odds.filter(|ln| ln.is_finite()).map(|ln| Odds {
            text: numbers::odds(ln),
            ln,
            ln_needed: evidence.ln_odds_needed,
        }),
        note: threshold::note(evidence).map(|note| numbers::cut(&note, TEXT_MAX)),
        may_roll_back: evidence.may_roll_back,
    }
}
