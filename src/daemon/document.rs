//! An app's state as the journal keeps it: the state in an envelope that says which format it has.
//!
//! A daemon that is rolled back to an older version must not misread what the newer one wrote, so
//! a newer format is refused. An older one is read: fields of the app that it does not have yet
//! are those of an app that nothing is known of.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{decide::AppState, model::AppName};

/// The format written, and the newest one read. To be raised whenever an older version would
/// misunderstand a state, as with a new phase or command; a new field alone does not need it if it
/// is one of the app itself, or has a default.
const FORMAT: u32 = 4;

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    state: &'a AppState,
}

/// As much as every format has. Format 0 was the bare state; until format 1 what is remembered lay
/// beside the phase.
#[derive(Deserialize)]
struct Envelope {
    format: Option<u32>,
    state: Option<Map<String, Value>>,
}

/// The document to be stored.
pub(super) fn write(state: &AppState) -> serde_json::Result<String> {
    serde_json::to_string(&Written { format: FORMAT, state })
}

/// The state in a stored document; the error is a phrase for people.
pub(super) fn read(app: &AppName, document: &str) -> Result<AppState, String> {
    let envelope: Envelope =
        serde_json::from_str(document).map_err(|error| format!("it is damaged: {error}"))?;
    let stored = match (envelope.format, envelope.state) {
        (Some(format), _) if format > FORMAT => {
            return Err(format!(
                "it was written by a newer version of waveoff (format {format}, this one knows up \
                 to {FORMAT}); run that version"
            ));
        }
        (Some(0 | 1), Some(state)) => before_memory(state),
        (Some(_), Some(state)) => state,
        (Some(_), None) => return Err("it is damaged: the state is missing".to_owned()),
        (None, _) => before_memory(
            serde_json::from_str(document).map_err(|error| format!("it is damaged: {error}"))?,
        ),
    };
    fill(app, stored).map_err(|error| format!("it is damaged: {error}"))
}

/// A state of format 0 or 1 in today's shape. What was under way then is in words that are not
/// understood any more: its watch begins anew, what was earned and what is quarantined stays.
fn before_memory(mut stored: Map<String, Value>) -> Map<String, Value> {
    let phase = stored.remove("phase").map(|phase| match phase {
        Value::Object(_) => Value::from("Steady"),
        other => other,
    });
    let mut state = Map::new();
    if let Some(phase) = phase {
        state.insert("phase".to_owned(), phase);
    }
    state.insert("memory".to_owned(), Value::Object(stored));
    state
}

/// The state, with what is not stored as it is for a new app.
fn fill(app: &AppName, mut stored: Map<String, Value>) -> serde_json::Result<AppState> {
    let missing = <serde_json::Error as serde::de::Error>::missing_field;
    // Without these nothing of it would be left.
    let phase = stored.remove("phase").ok_or_else(|| missing("phase"))?;
    let Some(Value::Object(memory)) = stored.remove("memory") else {
        return Err(missing("memory"));
    };
    let mut state = serde_json::to_value(AppState::new(app.clone()))?;
    if let Some(fields) = state.as_object_mut() {
        fields.insert("phase".to_owned(), phase);
        if let Some(Value::Object(remembered)) = fields.get_mut("memory") {
            remembered.extend(memory);
        }
    }
    serde_json::from_value(state)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// A steady app as formats 0 and 1 have it; it is never changed, because such documents exist.
    fn steady() -> Value {
        let revision = json!({
            "version": 41,
            "digest": "sha256:aa",
            "image": {
                "registry": "registry.fly.io", "repository": "api", "tag": "v41", "digest": null,
            },
            "author": "dana@example.com",
            "created_at": "2026-03-01T02:03:04Z",
            "has_release_command": false,
        });
        json!({
            "app": "api",
            "phase": "Steady",
            "trusted": [{
                "revision": revision, "at": "2026-03-01T02:13:04Z", "image_seen_at": null,
                "image_missing": false, "crashes_per_machine": 0.0,
            }],
            "quarantined": [{ "digest": "sha256:bb", "version": 40, "at": "2026-02-28T00:00:00Z" }],
            "rollbacks": ["2026-02-28T00:00:00Z"],
            "current": revision,
            "current_since": "2026-03-01T02:03:04Z",
            "previous": null,
            "seen_version": 41,
            "own_releases": [39],
            "platform_blind": null,
            "metrics_blind": null,
            "mixed_since": null,
            "mixed_announced": false,
            "next_command": 12,
            "pending": {},
        })
    }

    fn read(document: &Value) -> Result<AppState, String> {
        super::read(&"api".into(), &document.to_string())
    }

    #[test]
    fn what_is_written_is_read_back_whatever_the_numbers() {
        let mut state = AppState::new("api".into());
        state.memory.rollbacks = vec![Timestamp::UNIX_EPOCH];
        state.memory.next_command = u64::MAX;
        let document = write(&state).unwrap();
        assert_eq!(super::read(&"api".into(), &document), Ok(state));
    }

    #[test]
    fn documents_of_every_older_format_are_read() {
        let bare = read(&steady()).unwrap();
        assert_eq!(bare.memory.known_good().unwrap().revision.label(), "v41");
        assert_eq!((bare.memory.quarantined.len(), bare.memory.next_command), (1, 12));
        assert_eq!(read(&json!({ "format": 1, "state": steady() })), Ok(bare));
    }

    #[test]
    fn fields_that_an_older_version_did_not_have_are_those_of_a_new_app() {
        let mut older = steady();
        for field in ["mixed_announced", "own_releases"] {
            older.as_object_mut().unwrap().remove(field);
        }
        let state = read(&json!({ "format": 1, "state": older })).unwrap();
        assert_eq!((state.memory.mixed_announced, state.memory.own_releases.len()), (false, 0));
        assert_eq!(state.memory.next_command, 12);
    }

    #[test]
    fn a_newer_format_is_refused_whatever_it_looks_like() {
        for document in [
            json!({ "format": 5, "state": steady() }),
            json!({ "format": 7, "state": {}, "more": [1] }),
            json!({ "format": 7 }),
        ] {
            let complaint = read(&document).unwrap_err();
            assert!(complaint.contains("newer version of waveoff (format "), "{complaint}");
        }
    }

    #[test]
    fn a_damaged_document_is_refused() {
        let mut odd = steady();
        odd["phase"] = json!("Dancing");
        for document in [odd, json!({ "format": 1 }), json!({}), json!([1]), json!("x")] {
            let complaint = read(&document).unwrap_err();
            assert!(complaint.contains("damaged"), "{document}: {complaint}");
        }
        assert!(super::read(&"api".into(), "{\"app").unwrap_err().contains("damaged"));
    }
}
