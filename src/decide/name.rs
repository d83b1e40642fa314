//! The releases of an app that a person can name.

use std::collections::BTreeSet;

use super::state::{AppState, Memory, Phase, Revision};
use crate::model::event::ReleaseInfo;
pub use crate::model::name::{Named, Unresolved, resolve};

/// The releases that an app is known to have or to have had, the newest first, each release once.
pub fn releases(state: &AppState) -> Vec<Named> {
    known(&state.phase, &state.memory)
}

/// The same, for whoever holds the two apart.
pub(super) fn known(phase: &Phase, memory: &Memory) -> Vec<Named> {
    let earned = memory.trusted.iter().chain(&memory.baked).map(|trusted| &trusted.revision);
    let runs = phase.runs(memory);
    let recent = phase.dealing().into_iter().chain(&runs).chain(&memory.current);
    let mut known: Vec<Named> = recent.chain(&memory.previous).chain(earned).map(named).collect();
    known.extend(memory.quarantined.iter().map(|old| Named {
        release: ReleaseInfo {
            version: old.version,
            tag: old.image.as_ref().and_then(|image| image.tag.clone()),
            digest: old.digest.clone(),
            author: None,
            created_at: None,
        },
        image: old.image.clone(),
    }));
    let mut seen = BTreeSet::new();
    known.retain(|one| seen.insert((one.release.version, one.release.digest.clone())));
    known.sort_by_key(|one| std::cmp::Reverse(one.release.version));
    known
}

fn named(revision: &Revision) -> Named {
    Named { release: revision.info(), image: Some(revision.image.clone()) }
}
