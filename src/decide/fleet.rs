//! What an app's machines run, read as releases. Machines are the truth; the ledger only adds
//! names, and numbers of releases that have no machine yet.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::state::{AppState, LedgerEntry, OWN_RELEASES_MAX, Phase, Revision, Rollback};
use crate::model::{
    Digest, Machine, MachineState, ProcessGroup, Release, ReleaseStatus, ReleaseVersion,
};

/// The machines that count: not destroyed, not of a group that runs once and ends.
pub(super) fn judged(machines: &[Machine]) -> Vec<&Machine> {
    machines
        .iter()
        .filter(|machine| {
            !machine.is_ephemeral() && !matches!(machine.state, MachineState::Destroyed)
        })
        .collect()
}

/// What a machine runs, when the platform says which image that is.
fn revision_of(machine: &Machine) -> Option<Revision> {
    Some(Revision {
        version: machine.release,
        digest: machine.digest()?.clone(),
        image: machine.image.clone(),
        author: None,
        created_at: None,
        has_release_command: None,
    })
}

/// Adds what the ledger knows of a release: author, time, whether it ran migrations.
fn complete(revision: &mut Revision, ledger: Option<&[Release]>) {
    let entry =
        ledger.into_iter().flatten().find(|release| Some(release.version) == revision.version);
    if let Some(entry) = entry {
        revision.author.clone_from(&entry.author);
        revision.created_at = Some(entry.created_at);
        revision.has_release_command = entry.has_release_command;
    }
}

/// Fills in what a watch did not know of its release when it began.
pub(super) fn learn_from_ledger(state: &mut AppState, ledger: &[Release]) {
    let watched = match &mut state.phase {
        Phase::Watching(watch)
        | Phase::CountingDown { watch, .. }
        | Phase::CheckingImage { watch, .. }
        | Phase::Held { watch, .. } => watch,
        Phase::Unseen
        | Phase::Steady
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Stopped { .. } => return,
    };
    complete(&mut watched.revision, Some(ledger));
    watched.last_ledger_status = ledger
        .iter()
        .find(|release| Some(release.version) == watched.revision.version)
        .map(|release| release.status.as_str().to_owned());
}

/// The newest thing on the machines that is not known yet: a release with a higher number, or an
/// image that appeared without one. `None` when nothing changed.
pub(super) fn newest_change(
    state: &AppState,
    machines: &[&Machine],
    ledger: Option<&[Release]>,
) -> Option<Revision> {
    let newest = machines
        .iter()
        .filter(|machine| machine.digest().is_some())
        .filter(|machine| is_news(state, machine))
        .max_by_key(|machine| (machine.release, machine.updated_at, machine.id.clone()))?;
    let mut revision = revision_of(newest)?;
    complete(&mut revision, ledger);
    Some(revision)
}

fn is_news(state: &AppState, machine: &Machine) -> bool {
    let (Some(current), Some(since)) = (&state.current, state.current_since) else {
        return true;
    };
    let version = machine.release.unwrap_or_default();
    if version > state.seen_version && !state.own_releases.contains(&version) {
        return true;
    }
    // No new number: only an image that nobody accounted for is news.
    let Some(digest) = machine.digest() else { return false };
    let known = *digest == current.digest
        || state.previous.as_ref().is_some_and(|previous| previous.digest == *digest)
        || state.trusted.iter().any(|trusted| trusted.revision.digest == *digest)
        || state.quarantined.iter().any(|old| old.digest == *digest)
        || version < state.seen_version;
    !known && machine.updated_at > since
}

/// What most machines run.
pub(super) fn most_common(machines: &[&Machine]) -> Option<Revision> {
    let mut counts: BTreeMap<&Digest, usize> = BTreeMap::new();
    for digest in machines.iter().filter_map(|machine| machine.digest()) {
        *counts.entry(digest).or_default() += 1;
    }
    let (digest, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    machines.iter().find(|machine| machine.digest() == Some(digest)).and_then(|m| revision_of(m))
}

/// Notes that this is what the app runs now.
pub(super) fn make_current(state: &mut AppState, revision: Revision, now: Timestamp) {
    let version = revision.version.unwrap_or_default();
    if !state.own_releases.contains(&version) {
        state.seen_version = state.seen_version.max(version);
    }
    let before = state.current.replace(revision);
    if let Some(before) = before
        && state.current.as_ref().is_some_and(|current| current.digest != before.digest)
    {
        state.previous = Some(before);
    }
    state.current_since = Some(now);
}

/// Notes a ledger entry as ours, so that it is not taken for somebody's release.
pub(super) fn make_own(state: &mut AppState, version: ReleaseVersion) {
    if !state.own_releases.contains(&version) {
        state.own_releases.insert(0, version);
        state.own_releases.truncate(OWN_RELEASES_MAX);
    }
}

/// Somebody else's release that is newer than what is being rolled back: its name.
pub(super) fn rival(
    state: &AppState,
    rollback: &Rollback,
    machines: &[&Machine],
    ledger: Option<&[Release]>,
) -> Option<String> {
    let bad = rollback.bad.version.unwrap_or(state.seen_version);
    let is_rival =
        |version: ReleaseVersion| version > bad && !state.own_releases.contains(&version);
    let on_machines = machines.iter().filter_map(|machine| {
        machine
            .release
            .filter(|version| is_rival(*version))
            // Our own mark: the ledger entry was made, and its number not yet learnt.
            .filter(|_| machine.metadata.get("waveoff_rollback") != Some(&rollback.id))
    });
    let own_image = rollback.target.image.reference();
    let in_ledger = ledger.into_iter().flatten().filter_map(|release| {
        let ours = matches!(rollback.ledger, LedgerEntry::Opening | LedgerEntry::Refused { .. })
            && release.image == own_image;
        // What failed put nothing in its place; if it reached a machine, that machine tells.
        let gone = matches!(release.status, ReleaseStatus::Failed | ReleaseStatus::Interrupted);
        (is_rival(release.version) && !ours && !gone).then_some(release.version)
    });
    on_machines.chain(in_ledger).max().map(|version| version.to_string())
}

/// Whether a group runs more than one image.
pub(super) fn is_mixed(machines: &[&Machine]) -> bool {
    images_by_group(machines).values().any(|images| images.len() > 1)
}

fn images_by_group<'a>(
    machines: &[&'a Machine],
) -> BTreeMap<&'a ProcessGroup, BTreeSet<&'a Digest>> {
    let mut groups: BTreeMap<&ProcessGroup, BTreeSet<&Digest>> = BTreeMap::new();
    // Machines outside any release, such as `fly machine run` makes, are nobody's mix.
    for machine in machines.iter().filter(|machine| machine.release.is_some()) {
        if let Some(digest) = machine.digest() {
            groups.entry(&machine.group).or_default().insert(digest);
        }
    }
    groups
}

/// Which machines run what, for people.
pub(super) fn describe_mix(machines: &[&Machine]) -> String {
    let mut counts: BTreeMap<(&ProcessGroup, &str), usize> = BTreeMap::new();
    for machine in machines {
        if let Some(digest) = machine.digest() {
            *counts.entry((&machine.group, digest.short())).or_default() += 1;
        }
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|((group, digest), count)| format!("{count} of group {group} on {digest}"))
        .collect();
    format!("machines of one group run different images: {}", parts.join(", "))
}
