//! The official description of the Machines API, where it is at hand: every request that is accepted
//! and every answer in these tests stays within it, but for what is listed here with its reason.
//!
//! It is not part of this repository: `WAVEOFF_FLY_OPENAPI` names it, or it lies beside it. Without
//! it the test that asks for it says so and holds nothing.

#![expect(clippy::indexing_slicing, reason = "a JSON field that is missing reads as null")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
};

use serde_json::Value;

/// What the platform and its clients are known to do otherwise than the description says: the
/// schema, its field, and who knows. `*` is any field.
const KNOWN: [(&str, &str, &str); 21] = [
    ("flyio.Access", "action", "its bits are added up"),
    ("ErrorResponse", "status", "newer descriptions have name_taken"),
    ("main.TokenAccess", "action", "letters, as its text says"),
    ("Machine", "cordoned", "flyctl reads it"),
    ("Machine", "lease", "newer descriptions have it, with include_leases"),
    ("Machine", "config", "null while the host does not answer"),
    ("CheckStatus", "updated_at", "null before the first result, for some"),
    ("MachineEvent", "request", "a free object"),
    ("fly.MachineService", "autostop", "booleans for off and stop, as its text says"),
    ("fly.MachineService", "force_instance_key", "flyctl always sends it, and null"),
    ("fly.MachineService", "min_machines_running", "flyctl sends null for none"),
    ("fly.MachineCheck", "tls_skip_verify", "flyctl sends null for none"),
    ("fly.MachineServiceCheck", "tls_skip_verify", "flyctl sends null for none"),
    ("CreateAppRequest", "app_role_id", "flyctl sends it"),
    ("CreateMachineRequest", "*", "flyctl sends id and more"),
    ("UpdateMachineRequest", "*", "flyctl sends id and more"),
    ("StopRequest", "*", "flyctl sends id"),
    ("SignalRequest", "signal", "flyctl sends the number"),
    ("AppSecretsUpdateRequest", "values", "null removes a secret"),
    ("updateMetadataRequest", "metadata", "null removes a key"),
    ("CreateVolumeRequest", "*", "flyctl sends null for what it does not say"),
];

/// Parameters that clients send besides, by the last part of the path.
const PARAMETERS: [(&str, &str); 9] = [
    ("apps", "wait"),
    ("lease", "ttl"),
    ("machines", "include_leases"),
    ("machines", "metadata.fly_release_version"),
    ("{machine_id}", "kill"),
    ("{machine_id}", "include_leases"),
    ("restart", "force_stop"),
    ("stop", "id"),
    ("secrets", "version"),
];

/// Operations that answer otherwise as a whole.
const OTHERWISE: [(&str, &str, &str); 3] = [
    ("get", "lease", "in an envelope, as everybody has seen"),
    ("post", "lease", "in an envelope, as everybody has seen"),
    ("post", "apps", "flyctl reads the app"),
];

fn file() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fly-machines-openapi.json");
    let named = std::env::var_os("WAVEOFF_FLY_OPENAPI").map(PathBuf::from);
    named.or(Some(beside)).filter(|file| file.is_file())
}

/// The description, and which of its operations were asked for.
pub struct Description {
    whole: Value,
    seen: Mutex<BTreeSet<String>>,
}

/// The description, where it is at hand.
pub fn description() -> Option<&'static Description> {
    static READ: OnceLock<Option<Description>> = OnceLock::new();
    let read = READ.get_or_init(|| {
        let text = std::fs::read_to_string(file()?).ok()?;
        let whole = serde_json::from_str(&text).ok()?;
        Some(Description { whole, seen: Mutex::default() })
    });
    read.as_ref()
}

/// A request to the Machines API and its answer.
pub struct Exchange<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub request: &'a Value,
    pub status: u16,
    pub answer: &'a Value,
}

impl Description {
    /// What an exchange does that the description does not allow.
    pub fn problems(&self, exchange: &Exchange<'_>) -> Vec<String> {
        let (path, query) = exchange.path.split_once('?').unwrap_or((exchange.path, ""));
        let Some(path) = path.strip_prefix("/v1") else { return Vec::new() };
        let mut problems = Vec::new();
        if exchange.status >= 400 {
            self.check("ErrorResponse", exchange.answer, "the refusal", &mut problems);
            return problems;
        }
        let method = exchange.method.to_lowercase();
        let Some((template, operation)) = self.operation(&method, path) else {
            return vec![format!("{method} {path} is not described")];
        };
        if let Ok(mut seen) = self.seen.lock() {
            seen.insert(format!("{method} {template}"));
        }
        let last = template.rsplit('/').next().unwrap_or_default();
        for name in query.split('&').filter_map(|pair| pair.split('=').next()) {
            let mut described = operation["parameters"].as_array().into_iter().flatten();
            let is_described = described.any(|parameter| parameter["name"] == name);
            if !(name.is_empty() || is_described || PARAMETERS.contains(&(last, name))) {
                problems.push(format!("{method} {template}: no parameter {name}"));
            }
        }
        let place = format!("{method} {template}");
        if !exchange.request.is_null()
            && let Some(schema) = content(&operation["requestBody"])
        {
            self.value(schema, exchange.request, &format!("{place} asks"), "", &mut problems);
        }
        let described = &operation["responses"][exchange.status.to_string()];
        if described.is_null() {
            problems.push(format!("{place}: no answer {}", exchange.status));
        }
        let otherwise = OTHERWISE.iter().any(|(m, end, _)| *m == method && *end == last);
        if let Some(schema) = content(described)
            && !otherwise
        {
            self.value(schema, exchange.answer, &format!("{place} answers"), "", &mut problems);
        }
        if otherwise && last == "lease" {
            let lease = &exchange.answer["data"];
            self.check("Lease", lease, &format!("{place} answers"), &mut problems);
        }
        problems
    }

    /// The operations that were asked for so far, of those that there are.
    pub fn coverage(&self) -> (BTreeSet<String>, usize) {
        let paths = self.whole["paths"].as_object().into_iter().flatten();
        let all = paths.map(|(_, item)| item.as_object().map_or(0, serde_json::Map::len)).sum();
        (self.seen.lock().map(|seen| seen.clone()).unwrap_or_default(), all)
    }

    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == parts.len()
                && wanted
                    .iter()
                    .zip(&parts)
                    .all(|(wanted, part)| wanted.starts_with('{') || wanted == part)
        };
        let paths = self.whole["paths"].as_object()?;
        let mut found = paths
            .iter()
            .filter(|(template, _)| fits(template.strip_prefix("/v1").unwrap_or(template)));
        // What is spelled out wins over what may be anything.
        let found = found.by_ref().min_by_key(|(template, _)| template.matches('{').count());
        found
            .map(|(template, item)| (template.as_str(), &item[method]))
            .filter(|(_, o)| !o.is_null())
    }

    fn check(&self, name: &str, value: &Value, place: &str, problems: &mut Vec<String>) {
        let schema = &self.whole["components"]["schemas"][name];
        self.value(schema, value, place, name, problems);
    }

    /// Holds a value against a schema; `named` is the schema around it.
    fn value(
        &self,
        schema: &Value,
        value: &Value,
        place: &str,
        named: &str,
        problems: &mut Vec<String>,
    ) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return self.check(name, value, place, problems);
        }
        if let Some(all) = schema["allOf"].as_array() {
            return all.iter().for_each(|one| self.value(one, value, place, named, problems));
        }
        let fits = match schema["type"].as_str().unwrap_or_default() {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        };
        let of_enum = schema["enum"].as_array().is_none_or(|all| all.contains(value));
        if !(fits && of_enum) {
            let kind = schema["type"].as_str().unwrap_or_default();
            problems.push(format!("{place}: {value} is no {kind} of {named}"));
            return;
        }
        for (index, one) in value.as_array().into_iter().flatten().enumerate() {
            self.value(&schema["items"], one, &format!("{place}[{index}]"), named, problems);
        }
        for (key, one) in value.as_object().into_iter().flatten() {
            let place = format!("{place}.{key}");
            let known = |(schema, field, _): &(&str, &str, &str)| {
                *schema == named && (*field == key || *field == "*")
            };
            let inner = &schema["properties"][key];
            if KNOWN.iter().any(known) && (inner.is_null() || !self.fits(inner, one)) {
                continue;
            }
            match (inner.is_null(), &schema["additionalProperties"]) {
                (false, _) => self.value(inner, one, &place, named, problems),
                (true, Value::Null) if schema["properties"].is_object() => {
                    problems.push(format!("{place}: {named} has no such field"));
                }
                (true, Value::Null) => {}
                (true, schema) => self.value(schema, one, &place, named, problems),
            }
        }
    }

    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let mut problems = Vec::new();
        self.value(schema, value, "", "", &mut problems);
        problems.is_empty()
    }
}

fn content(described: &Value) -> Option<&Value> {
    let (_, content) = described["content"].as_object()?.iter().next()?;
    Some(&content["schema"]).filter(|schema| !schema.is_null())
}

/// It finds what is wrong: held against a description of its own.
#[test]
fn what_is_not_described_is_told() {
    let schema = serde_json::json!({"type": "object", "properties": {
        "state": {"type": "string", "enum": ["started"]}, "count": {"type": "integer"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    let content = serde_json::json!({"application/json": {"schema": {"$ref": "#/x/Thing"}}});
    let whole = serde_json::json!({
        "paths": {"/things/{id}": {"get": {
            "parameters": [{"name": "limit"}], "responses": {"200": {"content": content}},
        }}},
        "components": {"schemas": {"Thing": schema, "ErrorResponse": {
            "type": "object", "properties": {"error": {"type": "string"}},
        }}},
    });
    let described = Description { whole, seen: Mutex::default() };
    let told = |path: &str, status, answer: Value| {
        let exchange =
            Exchange { method: "GET", path, request: &Value::Null, status, answer: &answer };
        described.problems(&exchange)
    };
    let thing = serde_json::json!({"state": "started", "count": 3, "metadata": {"a": "b"}});
    assert!(told("/v1/things/1?limit=5", 200, thing.clone()).is_empty());
    assert!(told("/graphql", 200, Value::Null).is_empty(), "another door");
    for (path, status, answer) in [
        ("/v1/nothing", 200, thing.clone()),
        ("/v1/things/1?more=5", 200, thing.clone()),
        ("/v1/things/1", 201, thing),
        ("/v1/things/1", 200, serde_json::json!({"state": "stopped"})),
        ("/v1/things/1", 200, serde_json::json!({"count": "3"})),
        ("/v1/things/1", 200, serde_json::json!({"metadata": {"a": null}})),
        ("/v1/things/1", 200, serde_json::json!({"other": 1})),
        ("/v1/things/1", 404, serde_json::json!({"message": "no"})),
    ] {
        assert_eq!(told(path, status, answer.clone()).len(), 1, "{path} {status} {answer}");
    }
}
