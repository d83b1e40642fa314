//! A JSON Schema (draft 7, which editors of TOML know) of each kind of file.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Key, Table, Takes, Unsaid, tables, thresholds};
use crate::config::duration_text;

const DRAFT: &str = "http://json-schema.org/draft-07/schema#";

/// Of `waveoff.toml`.
pub fn settings() -> Value {
    file("waveoff.toml", "What is true for the whole organization.", &tables::SETTINGS)
}

/// Of a file in `thresholds/`.
pub fn policy() -> Value {
    let about = "One policy: which apps, which limits, how a rollback is done.";
    file("thresholds/*.toml", about, &tables::POLICY)
}

fn file(title: &str, about: &str, table: &Table) -> Value {
    let mut schema = object(table);
    schema.insert("$schema".to_owned(), json!(DRAFT));
    schema.insert("title".to_owned(), json!(title));
    schema.insert("description".to_owned(), json!(about));
    Value::Object(schema)
}

fn required(table: &Table) -> Vec<&'static str> {
    let needed = table.keys.iter().filter(|key| key.unsaid == Unsaid::Required);
    needed.map(|key| key.name).collect()
}

fn object(table: &Table) -> Map<String, Value> {
    let properties: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("additionalProperties".to_owned(), json!(false));
    let required = required(table);
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

fn property(key: &Key) -> Value {
    let mut schema = shape(&key.takes);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(plain(key.doc)));
        if let Unsaid::Means(text) = key.unsaid
            && let Some(value) = value(text)
        {
            schema.insert("default".to_owned(), value);
        }
    }
    schema
}

fn shape(takes: &Takes) -> Value {
    match takes {
        Takes::Text => json!({ "type": "string" }),
        Takes::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Takes::Span { least, most } => span(*least, *most),
        Takes::Whole { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Words(words) => json!({ "enum": words }),
        Takes::Several(words) => json!({ "type": "array", "items": { "enum": words() } }),
        Takes::Share => share(0.0, 1.0),
        Takes::Odds => json!({ "type": "string", "pattern": "^1 in [0-9]+$" }),
        Takes::Either(ways) => json!({ "anyOf": ways.iter().map(shape).collect::<Vec<_>>() }),
        Takes::One(table) => Value::Object(object(table)),
        Takes::Many(table) => json!({ "type": "array", "items": object(table) }),
        Takes::Thresholds => json!({ "type": "array", "items": thresholds::one() }),
    }
}

/// A time, as it is written.
pub(super) fn span(least: Duration, most: Duration) -> Value {
    json!({
        "type": "string",
        "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$",
        "$comment": format!("{} to {}", duration_text(least), duration_text(most)),
    })
}

/// A share: per cent, or a number.
pub(super) fn share(least: f64, most: f64) -> Value {
    json!({ "anyOf": [
        { "type": "string", "pattern": r"^ *[0-9]+(\.[0-9]+)? *%$" },
        { "type": "number", "minimum": least, "maximum": most },
    ] })
}

/// A value as a file has it.
fn value(text: &str) -> Option<Value> {
    let document: toml_edit::DocumentMut = format!("value = {text}").parse().ok()?;
    let mut map: Map<String, Value> = toml_edit::de::from_document(document).ok()?;
    map.remove("value")
}

/// Markdown without what is written for pages: `[text](target)` is `text`.
pub(super) fn plain(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((head, label)) = before.rsplit_once('[') else { break };
        let Some((_, after)) = after.split_once(')') else { break };
        text.push_str(head);
        text.push_str(label);
        rest = after;
    }
    text.push_str(rest);
    text.replace('`', "")
}
