//! Events as text, with their bounds: what every engine stores alike.

use serde_json::{Value, json};

use super::StoreError;
use crate::model::{Event, EventKind, Reason};

/// Longest body of an event, in bytes; what is longest goes first.
pub(super) const EVENT_MAX: usize = 256 << 10;
/// Longest state document, in bytes: an app of some thousand machines has a hundredth of it.
pub(super) const STATE_MAX: usize = 16 << 20;
/// Longest reason of a failed attempt, in characters.
const REASON_MAX: usize = 500;
/// What is left of lists and texts of an event that is too long.
const LIST_LEFT: usize = 20;
const TEXT_LEFT: usize = 2000;

/// The event as JSON. JSON has no infinities: a number that is none is stored as zero, because an
/// event that cannot be read back would be worse than one with a gap.
pub(super) fn encode(event: &Event) -> Result<String, StoreError> {
    fn finite(number: &mut f64) {
        if !number.is_finite() {
            *number = 0.0;
        }
    }
    let mut event = event.clone();
    for evidence in &mut event.evidence {
        finite(&mut evidence.limit);
        finite(&mut evidence.bad);
        finite(&mut evidence.total);
        if let Some((bad, total)) = &mut evidence.control {
            finite(bad);
            finite(total);
        }
    }
    let text = written(&event)?;
    if text.len() <= EVENT_MAX {
        return Ok(text);
    }
    shorten(&mut event);
    written(&event)
}

fn written(event: &Event) -> Result<String, StoreError> {
    serde_json::to_string(event)
        .map_err(|error| StoreError::Failed(format!("an event cannot be written: {error}")))
}

fn shorten(event: &mut Event) {
    event.log_lines.clear();
    event.evidence.truncate(LIST_LEFT);
    event.regions.truncate(LIST_LEFT);
    for region in &mut event.regions {
        let past = region.machines.keys().nth(LIST_LEFT).cloned();
        if let Some(past) = past {
            region.machines.split_off(&past);
        }
    }
    event.reason = event.reason.take().map(shortened);
}

/// The same reason with every text and list in it cut to its bound.
fn shortened(reason: Reason) -> Reason {
    let short = serde_json::to_value(&reason).map(|mut value| {
        cut(&mut value);
        value
    });
    short.and_then(serde_json::from_value).unwrap_or(reason)
}

fn cut(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.chars().take(TEXT_LEFT).collect(),
        Value::Array(list) => {
            list.truncate(LIST_LEFT);
            list.iter_mut().for_each(cut);
        }
        Value::Object(fields) => fields.values_mut().for_each(cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An event that was stored; `what` names the place.
pub(super) fn decode(body: &str, what: &str) -> Result<Event, StoreError> {
    let decoded = serde_json::from_str(body).or_else(|error| {
        let mut value: Value = serde_json::from_str(body)?;
        facts_of(&mut value);
        // Still unreadable: the first complaint is the one that helps.
        serde_json::from_value(value).map_err(|_| error)
    });
    decoded.map_err(|error| StoreError::Unreadable(format!("{what}: {error}")))
}

/// An event of a version that kept sentences where facts are kept now: its words are kept as words.
fn facts_of(event: &mut Value) {
    if let Some(reason @ Value::String(_)) = event.get_mut("reason") {
        *reason = json!({ "kind": "told", "text": reason.take() });
    }
    for region in event.get_mut("regions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(phase) = region.get_mut("phase").filter(|phase| **phase == "stopped") {
            *phase = json!("waiting");
        }
        let machines = region.get_mut("machines").and_then(Value::as_object_mut);
        for report in machines.into_iter().flat_map(serde_json::Map::values_mut) {
            if report.is_string() {
                *report = json!({ "state": "told", "text": report.take() });
            }
        }
    }
    for evidence in event.get_mut("evidence").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(note) = evidence.get_mut("note").filter(|note| note.is_string()) {
            note.take();
        }
    }
}

/// A reason as long as one may be.
pub(super) fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_MAX).collect()
}

/// What gives way first when too many messages wait for a receiver: the lowest.
pub(super) fn importance(kind: EventKind) -> i64 {
    match kind {
        EventKind::ReleaseDetected
        | EventKind::ReleaseTrusted
        | EventKind::ReleaseBaked
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed
        | EventKind::ConfigReloaded => 1,
        EventKind::ReleaseDegraded
        | EventKind::ReleaseRecovered
        | EventKind::MachineSuspect
        | EventKind::ReleaseUntrusted
        | EventKind::RollbackPaused
        | EventKind::HoldCleared
        | EventKind::OperatorOrder
        | EventKind::MonitorBlind
        | EventKind::MonitorRecovered
        | EventKind::MonitorClock
        | EventKind::MonitorOutbox
        | EventKind::ImageMixed
        | EventKind::ImageNotMirrored
        | EventKind::ConfigRejected
        | EventKind::ConfigWarning => 2,
        EventKind::RollbackPlanned
        | EventKind::RollbackStarted
        | EventKind::RollbackCompleted
        | EventKind::RollbackStopped
        | EventKind::RollbackFailed
        | EventKind::HoldPlaced
        | EventKind::ImageMissing
        | EventKind::MonitorToken
        | EventKind::MonitorJournal => 3,
    }
}
