//! What differs between the setups of two releases.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    super::ids::{ProcessGroup, ReleaseVersion},
    NAMES_MAX, Part, Parts, Print, Setups,
};

/// Changes that are told at most.
const CHANGES_MAX: usize = 50;

/// What a change is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Env,
    Secret,
    Service,
    Check,
    Init,
    Mount,
    Guest,
    Setting,
    /// A whole process group.
    Group,
    /// The number of a group's machines.
    Scale,
}

impl ChangeKind {
    /// Whether a rollback can put it back.
    pub fn can_be_put_back(self) -> bool {
        match self {
            Self::Env | Self::Service | Self::Check | Self::Init => true,
            Self::Secret
            | Self::Mount
            | Self::Guest
            | Self::Setting
            | Self::Group
            | Self::Scale => false,
        }
    }
}

impl From<Part> for ChangeKind {
    fn from(part: Part) -> Self {
        match part {
            Part::Env => Self::Env,
            Part::Service => Self::Service,
            Part::Check => Self::Check,
            Part::Init => Self::Init,
            Part::Mount => Self::Mount,
            Part::Guest => Self::Guest,
            Part::Setting => Self::Setting,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Only the later release has it.
    Added,
    Removed,
    Changed,
}

/// How many machines a group had, and has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub from: u32,
    pub to: u32,
}

/// One thing that differs. Values are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: ChangeKind,
    /// The variable, secret, check… that differs; of a group its name.
    pub name: String,
    pub edit: Edit,
    /// The process groups in which it does; empty: it is one of the whole app.
    pub groups: BTreeSet<ProcessGroup>,
    /// Whether a rollback puts it back; what it does not put back stays.
    pub put_back: bool,
    /// The machines of a group whose number changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<Count>,
}

/// What changed between the known-good release and another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The releases; `None`: the number is not known.
    pub from: Option<ReleaseVersion>,
    pub to: Option<ReleaseVersion>,
    /// Whether the image is another one.
    pub image: bool,
    /// Besides the image, in the order of kinds and names.
    pub changes: Vec<Change>,
    /// How many more there are.
    #[serde(default)]
    pub left_out: u32,
}

impl Drift {
    /// Whether a rollback puts anything back besides the image.
    pub fn is_put_back(&self) -> bool {
        self.changes.iter().any(|change| change.put_back)
    }

    /// Whether a rollback could put back something that stays.
    pub fn could_be_put_back(&self) -> bool {
        self.changes.iter().any(|change| !change.put_back && change.kind.can_be_put_back())
    }
}

/// What differs in the later of two setups. `puts_back`: a rollback puts back what it can of a group.
pub fn between(
    earlier: &Setups,
    later: &Setups,
    puts_back: impl Fn(&ProcessGroup) -> bool,
) -> (Vec<Change>, u32) {
    let mut found: BTreeMap<(ChangeKind, String, Edit), BTreeSet<ProcessGroup>> = BTreeMap::new();
    let mut scaled = Vec::new();
    let mut note = |kind: ChangeKind, name: &str, edit: Edit, group: Option<&ProcessGroup>| {
        found.entry((kind, name.to_owned(), edit)).or_default().extend(group.cloned());
    };
    let groups: BTreeSet<&ProcessGroup> =
        earlier.groups.keys().chain(later.groups.keys()).collect();
    for group in groups {
        match (earlier.groups.get(group), later.groups.get(group)) {
            (Some(was), Some(is)) => {
                if let (Some(was), Some(is)) = (&was.parts, &is.parts) {
                    for (part, name, edit) in edits(was, is) {
                        note(part.into(), name, edit, Some(group));
                    }
                }
                if was.machines != is.machines {
                    scaled.push((group, Count { from: was.machines, to: is.machines }));
                }
            }
            (None, _) => note(ChangeKind::Group, group.as_str(), Edit::Added, Some(group)),
            (_, None) => note(ChangeKind::Group, group.as_str(), Edit::Removed, Some(group)),
        }
    }
    if let (Some(was), Some(is)) = (&earlier.secrets, &later.secrets) {
        for (name, edit) in names(was, is, |was, is| was != is) {
            note(ChangeKind::Secret, name, edit, None);
        }
    }
    let mut changes: Vec<Change> = found
        .into_iter()
        .map(|((kind, name, edit), groups)| {
            let put_back = kind.can_be_put_back() && groups.iter().all(&puts_back);
            Change { kind, name, edit, groups, put_back, machines: None }
        })
        .collect();
    changes.extend(scaled.into_iter().map(|(group, count)| Change {
        kind: ChangeKind::Scale,
        name: group.to_string(),
        edit: Edit::Changed,
        groups: BTreeSet::from([group.clone()]),
        put_back: false,
        machines: Some(count),
    }));
    let left_out = u32::try_from(changes.len().saturating_sub(CHANGES_MAX)).unwrap_or(u32::MAX);
    changes.truncate(CHANGES_MAX);
    (changes, left_out)
}

fn edits<'a>(was: &'a Parts, is: &'a Parts) -> Vec<(Part, &'a str, Edit)> {
    static NONE: BTreeMap<String, Print> = BTreeMap::new();
    let parts: BTreeSet<Part> = was.keys().chain(is.keys()).copied().collect();
    let of = |parts: &'a Parts, part: Part| parts.get(&part).unwrap_or(&NONE);
    let mut found = Vec::new();
    for part in parts {
        let (was, is) = (of(was, part), of(is, part));
        let differing = names(was, is, Print::differs_from);
        found.extend(differing.into_iter().map(|(name, edit)| (part, name, edit)));
    }
    found
}

/// The names under which two maps differ.
fn names<'a, V>(
    was: &'a BTreeMap<String, V>,
    is: &'a BTreeMap<String, V>,
    differ: impl Fn(&V, &V) -> bool,
) -> Vec<(&'a str, Edit)> {
    // A list that is full says nothing of what comes after its last name.
    let last =
        |map: &'a BTreeMap<String, V>| map.keys().next_back().filter(|_| map.len() >= NAMES_MAX);
    let known = [last(was), last(is)].into_iter().flatten().min();
    let all: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    all.into_iter()
        .filter(|name| known.is_none_or(|known| *name <= known))
        .filter_map(|name| {
            let edit = match (was.get(name), is.get(name)) {
                (Some(was), Some(is)) => differ(was, is).then_some(Edit::Changed)?,
                (None, _) => Edit::Added,
                (_, None) => Edit::Removed,
            };
            Some((name.as_str(), edit))
        })
        .collect()
}
