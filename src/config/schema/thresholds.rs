//! `[[threshold]]`: made from the tables that the kinds have in `threshold/`.

use serde_json::{Map, Value, json};

use super::json::{plain, share, span};
use crate::{
    config::{duration_text, share_text},
    model::Kind,
    threshold::{
        keys::{Key, Place, SHARE_MAX, SHARE_MIN, Schema, Takes, Unsaid, Value as Written},
        relative,
    },
};

/// One threshold: its name, and exactly one kind.
pub(super) fn one() -> Value {
    let mut properties = Map::new();
    let fixed = [
        (
            "name",
            json!({ "type": "string", "description": "unique in the file; evidence is kept under it" }),
        ),
        (
            "no_data",
            json!({
                "enum": ["hold", "ignore", "breach"], "default": "hold",
                "description": "what it means that there is no data",
            }),
        ),
        (
            "action",
            json!({
                "enum": ["rollback", "alert"], "default": "rollback",
                "description": "what a breach leads to; alert: only say so",
            }),
        ),
    ];
    properties.extend(fixed.map(|(name, schema)| (name.to_owned(), schema)));
    let schemas = || Kind::ALL.into_iter().map(Kind::schema);
    for schema in schemas() {
        properties.insert(schema.kind.as_str().to_owned(), word(schema));
    }
    // What several kinds have may be another thing in each.
    let mut beside: Vec<(&str, Vec<Value>)> = Vec::new();
    for key in schemas().flat_map(|schema| schema.keys).filter(|key| key.place == Place::Beside) {
        let shape = property(key);
        match beside.iter_mut().find(|(name, _)| *name == key.name) {
            Some((_, known)) if known.contains(&shape) => {}
            Some((_, known)) => known.push(shape),
            None => beside.push((key.name, vec![shape])),
        }
    }
    for (name, mut ways) in beside {
        let schema = if ways.len() > 1 { json!({ "anyOf": ways }) } else { json!(ways.pop()) };
        properties.insert(name.to_owned(), schema);
    }
    let kinds: Vec<Value> = schemas().map(one_of).collect();
    json!({
        "type": "object", "properties": properties, "additionalProperties": false,
        "required": ["name"], "oneOf": kinds,
    })
}

/// What makes a threshold one of a kind.
fn one_of(schema: &Schema) -> Value {
    let required = needs(schema);
    let either = schema.keys.iter().find_map(|key| match key.unsaid {
        Unsaid::WrongWithout(other, _) => Some([key.name, other]),
        Unsaid::Wrong(_) | Unsaid::Means(_) | Unsaid::Nothing(_) => None,
    });
    match either {
        Some(either) => {
            let any = either.map(|key| json!({ "required": [key] }));
            json!({ "required": required, "anyOf": any })
        }
        None => json!({ "required": required }),
    }
}

/// Keys without which a kind is not one.
fn needs(schema: &Schema) -> Vec<&'static str> {
    let is_needed =
        |key: &&Key| key.place == Place::Beside && matches!(key.unsaid, Unsaid::Wrong(_));
    let word = schema.kind.as_str();
    std::iter::once(word).chain(schema.keys.iter().filter(is_needed).map(|key| key.name)).collect()
}

/// The kind's own word, with what stands in its braces.
fn word(schema: &Schema) -> Value {
    if let Some(key) = schema.keys.iter().find(|key| key.place == Place::Word) {
        return property(key);
    }
    let braces: Vec<&Key> = schema.keys.iter().filter(|key| key.place == Place::Braces).collect();
    let required: Vec<&str> = braces
        .iter()
        .filter(|key| matches!(key.unsaid, Unsaid::Wrong(_)))
        .map(|key| key.name)
        .collect();
    let properties: Map<String, Value> =
        braces.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    json!({
        "type": "object", "properties": properties, "additionalProperties": false,
        "required": required, "description": plain(schema.exceeded),
    })
}

fn property(key: &Key) -> Value {
    let mut schema = shape(key.takes);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(plain(key.doc)));
        if let Unsaid::Means(value) = key.unsaid {
            schema.insert("default".to_owned(), unsaid(value));
        }
    }
    schema
}

fn shape(takes: Takes) -> Value {
    match takes {
        Takes::Counter { .. }
        | Takes::Gauge
        | Takes::Histogram
        | Takes::Expression
        | Takes::Server
        | Takes::Source => json!({ "type": "string" }),
        Takes::Share { least, below } => share(least, below),
        Takes::Machines => share(0.0, 1.0),
        Takes::Quantile { least, beyond } => {
            json!({ "type": "number", "minimum": least, "maximum": 1.0 - beyond })
        }
        Takes::Latency { least, most } | Takes::Span { least, most } => span(least, most),
        Takes::Amount => json!({ "type": ["number", "string"] }),
        Takes::Whole { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Labels { most } => {
            let name = json!({ "type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$" });
            json!({ "type": "array", "minItems": 1, "maxItems": most, "items": name })
        }
        Takes::Relative => {
            let times = json!({ "type": "number", "minimum": 1, "maximum": relative::TIMES_MAX });
            let plus = share(SHARE_MIN, SHARE_MAX);
            json!({
                "type": "object", "properties": { "times": times, "plus": plus },
                "additionalProperties": false, "minProperties": 1,
            })
        }
        Takes::OneOf(words) => json!({ "enum": words }),
        Takes::Path => json!({ "type": "string", "pattern": "^/" }),
        Takes::Text { most } => json!({ "type": "string", "minLength": 1, "maxLength": most }),
        Takes::Statuses => {
            let class = json!({ "type": "string", "pattern": "^[1-5](xx|XX|[0-9]{2})$" });
            let one = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
            let either = json!([class, one]);
            let list = json!({ "type": "array", "minItems": 1, "items": { "anyOf": either } });
            json!({ "anyOf": [class, one, list] })
        }
    }
}

fn unsaid(value: Written) -> Value {
    match value {
        Written::Number(share) => json!(share_text(share)),
        Written::Span(span) => json!(duration_text(span)),
        Written::Whole(whole) => json!(whole),
        Written::Flag(flag) => json!(flag),
        Written::Word(word) => json!(word),
    }
}
