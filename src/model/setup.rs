//! How the machines of a release are configured besides their image: names, and of every value a
//! fingerprint, so that two releases can be compared and no value is kept that need not be.
//!
//! What can be put back is kept as text as well, where the policy wants it put back (`texts`); what
//! differs between two setups is a [`Drift`] (`drift`).

mod containers;
mod drift;
mod texts;

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use containers::out_of_reach;
pub use drift::{Change, ChangeKind, Count, Drift, Edit, between};
pub use texts::{PUT_BACK, PutBack, Texts};

use super::{
    ids::ProcessGroup,
    machine::{Machine, RawConfig},
};

/// Process groups that are remembered of a release.
const GROUPS_MAX: usize = 16;
/// Names of one kind that are remembered of a group.
const NAMES_MAX: usize = 200;
/// Longest name that is remembered, in bytes.
const NAME_MAX: usize = 200;
/// Characters of a fingerprint: enough to tell values apart, and too few to say what they are.
const PRINT_LENGTH: usize = 16;

/// Secrets by name, with the digests that the platform shows of them.
pub type Secrets = BTreeMap<String, String>;

/// Tells values apart without saying what they are. Empty: machines of the group differ in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Print(String);

impl Print {
    fn of(part: Part, name: &str, value: &Value) -> Self {
        let mut sum = Sha256::new();
        // Equal values under two names are not seen to be equal.
        for piece in [part.word(), name, &plain(value).to_string()] {
            sum.update(piece.as_bytes());
            sum.update([0]);
        }
        let mut text: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        text.truncate(PRINT_LENGTH);
        Self(text)
    }

    fn mixed() -> Self {
        Self(String::new())
    }

    fn is_mixed(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether two are certainly of different values.
    fn differs_from(&self, other: &Self) -> bool {
        !self.is_mixed() && !other.is_mixed() && self != other
    }
}

/// A part of a machine's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Env,
    Service,
    Check,
    Init,
    Mount,
    Guest,
    /// Any other key of the configuration.
    Setting,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Service => "service",
            Self::Check => "check",
            Self::Init => "init",
            Self::Mount => "mount",
            Self::Guest => "guest",
            Self::Setting => "setting",
        }
    }
}

/// Each part's names.
type Parts = BTreeMap<Part, BTreeMap<String, Print>>;

/// How the machines of one process group are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// How many there are, of whatever release.
    pub machines: u32,
    /// `None`: no machine of the release was seen in the group.
    pub parts: Option<Parts>,
    /// What can be put back, where that is wanted and all its machines agree in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<Texts>,
}

/// How a release is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setups {
    pub groups: BTreeMap<ProcessGroup, Setup>,
    /// `None`: they could not be read.
    #[serde(default)]
    pub secrets: Option<Secrets>,
}

impl Setups {
    /// Reads it from an app's machines; `is_on`: whether one runs the release. `texts`: what can be
    /// put back is kept.
    pub fn of<'a>(
        machines: impl Iterator<Item = &'a Machine>,
        is_on: impl Fn(&Machine) -> bool,
        secrets: Option<&Secrets>,
        texts: bool,
    ) -> Self {
        let mut groups: BTreeMap<ProcessGroup, Setup> = BTreeMap::new();
        // Machines outside any release, such as `fly machine run` makes, are nobody's setup.
        for machine in machines.filter(|machine| machine.release.is_some()) {
            if !groups.contains_key(&machine.group) && groups.len() >= GROUPS_MAX {
                continue;
            }
            let setup = groups.entry(machine.group.clone()).or_default();
            setup.machines = setup.machines.saturating_add(1);
            if let Some(config) = machine.config.as_ref().filter(|_| is_on(machine)) {
                setup.take_in(config, texts);
            }
        }
        for setup in groups.values_mut() {
            setup.finish();
        }
        Self { groups, secrets: secrets.map(bounded) }
    }

    /// What can be put back, by group.
    pub fn put_back(&self) -> PutBack {
        let texts =
            |(group, setup): (&ProcessGroup, &Setup)| Some((group.clone(), setup.texts.clone()?));
        self.groups.iter().filter_map(texts).collect()
    }

    /// Whether a group has nothing that could be put back.
    pub fn lacks_texts(&self) -> bool {
        self.groups.values().any(|setup| setup.parts.is_some() && setup.texts.is_none())
    }

    /// Forgets what is only kept to be put back.
    pub fn forget_texts(&mut self) {
        for setup in self.groups.values_mut() {
            setup.texts = None;
        }
    }

    /// Whether the values are the same as far as they are known, whatever is kept to be put back.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.groups.len() == other.groups.len()
            && self.groups.iter().all(|(group, setup)| {
                other.groups.get(group).is_some_and(|other| other.parts == setup.parts)
            })
    }
}

impl Setup {
    fn take_in(&mut self, raw: &RawConfig, texts: bool) {
        let Ok(Value::Object(config)) = serde_json::from_str(&raw.0) else { return };
        let read = parts(&config);
        match &mut self.parts {
            None => {
                self.parts = Some(read);
                self.texts = texts.then(|| Texts::of(raw)).flatten();
            }
            Some(parts) => agree(parts, &read),
        }
    }

    /// What its machines do not agree in is nothing that could be put back.
    fn finish(&mut self) {
        let Some(parts) = &mut self.parts else { return };
        let mixed = parts.iter().any(|(part, names)| {
            ChangeKind::from(*part).can_be_put_back() && names.values().any(Print::is_mixed)
        });
        if mixed {
            self.texts = None;
        }
        for names in parts.values_mut() {
            while names.len() > NAMES_MAX {
                names.pop_last();
            }
        }
    }
}

/// What two machines of a group do not have in common is marked.
fn agree(parts: &mut Parts, other: &Parts) {
    let kinds: Vec<Part> = parts.keys().chain(other.keys()).copied().collect();
    let none = BTreeMap::new();
    for kind in kinds {
        let names = parts.entry(kind).or_default();
        let others = other.get(&kind).unwrap_or(&none);
        for (name, print) in names.iter_mut() {
            if others.get(name) != Some(print) {
                *print = Print::mixed();
            }
        }
        for name in others.keys() {
            if let Entry::Vacant(vacant) = names.entry(name.clone()) {
                vacant.insert(Print::mixed());
            }
        }
    }
}

/// The parts of a configuration. The image is what a release is about; metadata and `standbys` are a
/// machine's own.
fn parts(config: &Map<String, Value>) -> Parts {
    let mut values: BTreeMap<(Part, String), Vec<Value>> = BTreeMap::new();
    let mut add = |part: Part, name: &str, value: &Value| {
        // Nothing said in two ways is the same.
        if !is_nothing(&plain(value)) {
            values.entry((part, brief(name))).or_default().push(value.clone());
        }
    };
    for (key, value) in config {
        match (key.as_str(), value) {
            ("image" | "metadata" | "standbys", _) => {}
            ("env", Value::Object(env)) => {
                env.iter().for_each(|(name, value)| add(Part::Env, name, value));
            }
            ("checks", Value::Object(checks)) => {
                checks.iter().for_each(|(name, check)| add(Part::Check, name, check));
            }
            ("init", Value::Object(init)) => {
                init.iter().for_each(|(name, value)| add(Part::Init, name, value));
            }
            ("guest", Value::Object(guest)) => {
                guest.iter().for_each(|(name, value)| add(Part::Guest, name, value));
            }
            ("services", Value::Array(services)) => {
                services.iter().for_each(|service| add_service(service, &mut add));
            }
            ("containers", Value::Array(containers)) => {
                let image = config.get("image").and_then(Value::as_str).unwrap_or_default();
                containers::add(containers, image, &mut add);
            }
            ("mounts", Value::Array(mounts)) => {
                for mount in mounts {
                    let name = mount.get("path").and_then(Value::as_str).unwrap_or_default();
                    // Each machine has a volume of its own.
                    add(Part::Mount, name, &without(mount, "volume"));
                }
            }
            (key, value) => add(Part::Setting, key, value),
        }
    }
    let mut parts = Parts::new();
    for ((part, name), values) in values {
        let print = Print::of(part, &name, &Value::Array(values));
        parts.entry(part).or_default().insert(name, print);
    }
    parts
}

fn add_service(service: &Value, add: &mut impl FnMut(Part, &str, &Value)) {
    let port = service.get("internal_port").and_then(Value::as_u64).unwrap_or_default();
    let protocol = service.get("protocol").and_then(Value::as_str).unwrap_or("tcp");
    add(Part::Service, &format!("{port}/{protocol}"), &without(service, "checks"));
    for check in service.get("checks").and_then(Value::as_array).into_iter().flatten() {
        let port = check.get("port").and_then(Value::as_u64).unwrap_or(port);
        let kind = check.get("type").and_then(Value::as_str).unwrap_or("tcp");
        add(Part::Check, &format!("{kind} on {port}"), check);
    }
}

fn brief(name: &str) -> String {
    let end = (0..=NAME_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

fn without(value: &Value, key: &str) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        fields.remove(key);
    }
    value
}

/// A value without what says nothing: clients and the platform write that in several ways.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), plain(value)));
            Value::Object(fields.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(plain).collect()),
        other => other.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// As much of an app's secrets as is remembered.
pub fn bounded(secrets: &Secrets) -> Secrets {
    let short = |(name, digest): (&String, &String)| (brief(name), brief(digest));
    secrets.iter().take(NAMES_MAX).map(short).collect()
}

#[cfg(test)]
mod tests;
