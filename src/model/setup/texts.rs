//! What of a configuration a rollback can put back, as the texts that the platform sent.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{super::ids::ProcessGroup, super::machine::RawConfig, plain};

/// Longest text that is kept of a group, in bytes.
const TEXT_MAX: usize = 32 * 1024;

/// The keys of a configuration that can be put back.
pub const PUT_BACK: [&str; 4] = ["env", "services", "checks", "init"];

/// What is to be put back, by process group.
pub type PutBack = BTreeMap<ProcessGroup, Texts>;

/// Environment, services, checks and init of a configuration: what is missing here was missing there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Texts(BTreeMap<String, Arc<str>>);

impl fmt::Debug for Texts {
    // An environment can hold what nobody wants in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Texts({:?})", self.0.keys())
    }
}

impl Texts {
    /// Those of a configuration; `None`: they are too long to be kept.
    pub fn of(config: &RawConfig) -> Option<Self> {
        let config: BTreeMap<String, &RawValue> = serde_json::from_str(&config.0).ok()?;
        let text = |key: &&str| Some(((*key).to_owned(), Arc::from(config.get(*key)?.get())));
        let texts: BTreeMap<String, Arc<str>> = PUT_BACK.iter().filter_map(text).collect();
        let length: usize = texts.values().map(|text| text.len()).sum();
        (length <= TEXT_MAX).then_some(Self(texts))
    }

    /// The text of one of the keys in [`PUT_BACK`].
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|text| &**text)
    }

    /// Whether a configuration says the same.
    pub fn is_in(&self, config: &RawConfig) -> bool {
        let Ok(Value::Object(config)) = serde_json::from_str(&config.0) else { return false };
        PUT_BACK.iter().all(|key| {
            let kept = self.get(key).and_then(|text| serde_json::from_str(text).ok());
            let has = config.get(*key).map(plain).unwrap_or_default();
            let kept = kept.as_ref().map(plain).unwrap_or_default();
            has == kept || (super::is_nothing(&has) && super::is_nothing(&kept))
        })
    }
}
