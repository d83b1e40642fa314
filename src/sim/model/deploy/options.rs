//! How somebody ships a release, and what the release changes besides the image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// In which order machines get a release, and what is tried before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShipStrategy {
    /// One after the other.
    #[default]
    Rolling,
    /// All at once, and no look at any.
    Immediate,
    /// A machine of its own first; then rolling.
    Canary,
    /// A second fleet, which takes over when all of it is healthy.
    Bluegreen,
}

impl ShipStrategy {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rolling => "ROLLING",
            Self::Immediate => "IMMEDIATE",
            Self::Canary => "CANARY",
            Self::Bluegreen => "BLUEGREEN",
        }
    }
}

/// How a release is shipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShipOptions {
    /// Only these; empty: everywhere.
    pub regions: Vec<String>,
    pub author: String,
    /// The release's configuration runs a release command from now on.
    pub release_command: Option<String>,
    pub strategy: ShipStrategy,
    /// Wait for passing checks and give up on a crashing machine, as `fly deploy` does unless it
    /// is told `--detach`. Off, so that a bad release gets everywhere. Bluegreen always looks.
    pub checks: bool,
    /// Seconds a machine may take.
    pub wait_timeout_s: f64,
    /// Seconds between a machine that is up and the next.
    pub pause_s: f64,
    /// Seconds for which a canary's lease is taken when it is made; 0: it is not leased.
    pub canary_lease_s: f64,
    /// Only these process groups; empty: all.
    pub groups: Vec<String>,
    /// What it changes in the configuration of each machine, as a JSON merge patch: tables are
    /// merged, everything else is replaced.
    pub config: Map<String, Value>,
    /// JSON pointers to what it takes out of that configuration.
    pub unset: Vec<String>,
    /// Secrets that it sets, with their values; an empty one takes a secret away.
    pub secrets: BTreeMap<String, String>,
    /// Bluegreen: seconds before the old machines are cordoned, and again before they are stopped.
    pub cutover_s: f64,
}

impl Default for ShipOptions {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            author: "ci@sim.test".to_owned(),
            release_command: None,
            strategy: ShipStrategy::Rolling,
            checks: false,
            wait_timeout_s: 60.0,
            pause_s: 0.0,
            canary_lease_s: 300.0,
            groups: Vec::new(),
            config: Map::new(),
            unset: Vec::new(),
            secrets: BTreeMap::new(),
            cutover_s: 10.0,
        }
    }
}

impl ShipOptions {
    /// A configuration with what the release changes in it.
    pub(super) fn edited(&self, mut config: Value) -> Value {
        for pointer in &self.unset {
            let Some((parent, key)) = pointer.rsplit_once('/') else { continue };
            match config.pointer_mut(parent) {
                Some(Value::Object(fields)) => {
                    fields.remove(key);
                }
                Some(Value::Array(list)) => {
                    let place = key.parse().ok().filter(|place| *place < list.len());
                    place.map(|place: usize| list.remove(place));
                }
                _ => {}
            }
        }
        merge(&mut config, &self.config);
        config
    }
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: &Map<String, Value>) {
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, value) in patch {
        match value {
            Value::Null => {
                fields.remove(key);
            }
            Value::Object(patch) => merge(fields.entry(key.clone()).or_insert(Value::Null), patch),
            other => {
                fields.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_changes_what_it_names_and_nothing_else() {
        let options: ShipOptions = serde_json::from_value(json!({
            "config": {"env": {"A": "2", "NEW": "1"}, "services": []},
            "unset": ["/env/OLD", "/mounts/0", "/checks", "/not/there"],
        }))
        .unwrap();
        let config = json!({
            "image": "i", "env": {"A": "1", "OLD": "1", "B": "1"}, "services": [{"p": 1}],
            "mounts": [1, 2], "checks": {"alive": {}},
        });
        assert_eq!(
            options.edited(config),
            json!({
                "image": "i", "env": {"A": "2", "B": "1", "NEW": "1"}, "services": [],
                "mounts": [2],
            })
        );
    }
}
