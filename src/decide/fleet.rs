//! What an app's machines run, read as releases. Machines are the truth; the ledger only adds
//! names, and numbers of releases that have no machine yet.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    rival::{self, Claim, Standing},
    state::{
        MEMBERS_MAX, MIGRATED_MAX, Memory, OWN_RELEASES_MAX, Phase, Revision, Rollback, Watch,
    },
    watch,
};
use crate::model::{
    Digest, HostStatus, ImageRef, Machine, MachineState, ProcessGroup, Release, ReleaseVersion,
    reason::ImageCount,
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

/// Notes that a release command is at work: it runs on a machine of its own, before any other machine
/// gets the release.
pub(super) fn note_release_command(memory: &mut Memory, machines: &[Machine], now: Timestamp) {
    if machines.iter().any(Machine::is_release_command) {
        memory.release_command_at = Some(now);
    }
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

/// How an image came onto machines: what a release's number says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// With a number of its own: the ledger's entry is its own.
    Deployed,
    /// It was rolled back before, and came again: with a number, or by hand.
    Again,
    /// Without: its machines carry the number of what ran before.
    ByHand,
}

impl Came {
    pub(super) fn of(numbered: bool, quarantined: bool) -> Self {
        match (quarantined, numbered) {
            (true, _) => Self::Again,
            (false, true) => Self::Deployed,
            (false, false) => Self::ByHand,
        }
    }
}

/// Adds what the ledger knows of a release: author, time, whether it ran migrations. What was set by
/// hand under the number of another image inherits nothing of that.
pub(super) fn complete(revision: &mut Revision, ledger: Option<&[Release]>, came: Came) {
    let entry =
        ledger.into_iter().flatten().find(|release| Some(release.version) == revision.version);
    let Some(entry) = entry else { return };
    let is_its_own = match (is_of_image(entry, &revision.image), came) {
        (Some(true), _) | (_, Came::Deployed) | (None, Came::Again) => true,
        (Some(false), Came::Again | Came::ByHand) | (None, Came::ByHand) => false,
    };
    if is_its_own {
        revision.author.clone_from(&entry.author);
        revision.created_at = Some(entry.created_at);
        if !entry.is_brief {
            revision.has_release_command = entry.has_release_command;
        }
    } else {
        revision.has_release_command = Some(false);
    }
}

/// Whether a ledger entry names this image; `None`: its reference does not tell. References come
/// with a tag, a digest, or both.
fn is_of_image(entry: &Release, image: &ImageRef) -> Option<bool> {
    let (named, digest) = match entry.image.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (entry.image.as_str(), None),
    };
    if let (Some(digest), Some(own)) = (digest, &image.digest) {
        return Some(digest == own.as_str());
    }
    // The last part: a registry may come with a port.
    let (path, tag) = match named.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => return None,
    };
    let own = image.tag.as_deref()?;
    let same_place = path == format!("{}/{}", image.registry, image.repository);
    same_place.then_some(tag == own)
}

/// Fills in what a watch did not know of its release when it began.
pub(super) fn learn_from_ledger(phase: &mut Phase, memory: &mut Memory, ledger: &[Release]) {
    let ran = ledger.iter().filter(|release| release.has_release_command == Some(true));
    memory.migrated.extend(ran.map(|release| release.version));
    while memory.migrated.len() > MIGRATED_MAX {
        memory.migrated.pop_first();
    }
    let watched = match phase {
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
    let came = Came::of(watched.numbered, watched.no_mercy);
    complete(&mut watched.revision, Some(ledger), came);
    watched.in_ledger |= ledger
        .iter()
        .any(|release| Some(release.version) == watched.revision.version && !release.is_brief);
    watched.last_ledger_status = ledger
        .iter()
        .find(|release| Some(release.version) == watched.revision.version)
        .map(|release| release.status.clone());
}

/// The newest thing on the machines that is not known yet: a release with a higher number, an image
/// that appeared without one, or a new number on an image that was rolled back. `None` when nothing
/// changed. What `phase` deals with, and what it goes to, is no news.
pub(super) fn newest_change(
    state: &Memory,
    phase: &Phase,
    machines: &[&Machine],
) -> Option<Revision> {
    let recreated = was_recreated(state, machines);
    let is_quarantined = |machine: &Machine| {
        state.quarantined.iter().any(|old| Some(&old.digest) == machine.digest())
    };
    let newest = machines
        .iter()
        .filter(|machine| machine.digest().is_some())
        .filter(|machine| {
            recreated
                || is_news(state, phase, machine)
                || is_stamped_anew(state, phase.dealing(), machine)
        })
        // A release can carry two images (secrets set in the middle of a rollback): the one that
        // was rolled back before is the one to look at.
        .max_by_key(|machine| {
            (machine.release, is_quarantined(machine), machine.updated_at, machine.id.clone())
        })?;
    revision_of(newest)
}

/// Whether the revision has a number of its own, above all that were seen.
pub(super) fn is_numbered(state: &Memory, revision: &Revision) -> bool {
    revision.version.is_some_and(|version| version > state.seen_version)
}

fn is_news(state: &Memory, phase: &Phase, machine: &Machine) -> bool {
    let (Some(_), Some(since)) = (&state.current, state.current_since) else {
        return true;
    };
    let version = machine.release.unwrap_or_default();
    if version > state.seen_version && !state.own_releases.contains(&version) {
        return true;
    }
    // No new number: only an image that nobody accounted for is news.
    let Some(digest) = machine.digest() else { return false };
    // Whatever number it carries, or has lost, a machine that ran something else was set to it.
    let ran_other = state.members.get(&machine.id).is_some_and(|ran| ran != digest);
    // A person may go to an image that never ran here.
    let is_wanted = phase.target().is_some_and(|target| target.digest == *digest)
        // Or leave one while it is put on a machine.
        || phase.by_hand().is_some_and(|by_hand| by_hand.also_bad.contains(digest));
    !is_wanted
        && !is_known(state, digest)
        && (version >= state.seen_version || ran_other)
        && machine.updated_at > since
}

/// Whether a machine runs an image that was rolled back under a number that somebody gave it since:
/// `fly secrets set` and `fly scale` stamp every machine and leave it the image it has.
fn is_stamped_anew(state: &Memory, dealing: Option<&Revision>, machine: &Machine) -> bool {
    let (Some(digest), Some(version)) = (machine.digest(), machine.release) else { return false };
    let mut rolled_back = state.quarantined.iter().filter(|old| old.digest == *digest);
    let since = rolled_back.clone().filter_map(|old| old.version).max();
    let dealt_with = dealing.is_some_and(|release| {
        release.digest == *digest && release.version.is_none_or(|known| known >= version)
    });
    rolled_back.next().is_some()
        && since.is_none_or(|since| version > since)
        && version >= state.seen_version
        && !state.own_releases.contains(&version)
        && !dealt_with
}

/// The machines that serve an image which was rolled back, and that no watch looks at.
pub(super) fn still_quarantined<'a>(
    state: &Memory,
    watch: Option<&Watch>,
    machines: &[&'a Machine],
) -> Vec<&'a Machine> {
    let is_quarantined = |digest: &Digest| state.quarantined.iter().any(|q| q.digest == *digest);
    machines
        .iter()
        .filter(|machine| !machine.state.is_at_rest())
        // Of a host that does not answer nobody knows what it serves.
        .filter(|machine| machine.host == HostStatus::Ok)
        .filter(|machine| machine.digest().is_some_and(is_quarantined))
        .filter(|machine| !watch.is_some_and(|watch| watch::is_on(watch, machine)))
        .copied()
        .collect()
}

/// What a machine that still runs an image which was rolled back is to be watched as.
pub(super) fn left_over(machines: &[&Machine], ledger: Option<&[Release]>) -> Option<Revision> {
    let newest = machines.iter().max_by_key(|machine| (machine.release, machine.id.clone()))?;
    let mut revision = revision_of(newest)?;
    complete(&mut revision, ledger, Came::Again);
    Some(revision)
}

/// Whether a machine is part of a release: what `fly machine run` makes beside the app is not.
pub(super) fn is_member(state: &Memory, machine: &Machine) -> bool {
    machine.release.is_some() || state.members.contains_key(&machine.id)
}

/// Whether what machines run is part of a release.
pub(super) fn is_part(state: &Memory, machines: &[&Machine], runs: &Revision) -> bool {
    let mut on = machines.iter().filter(|machine| machine.digest() == Some(&runs.digest));
    on.any(|machine| is_member(state, machine))
}

/// Notes which of the known images each machine of a release runs: a tool that writes whole
/// configurations takes the number from it, and not what it was.
pub(super) fn note_members(state: &mut Memory, machines: &[&Machine]) {
    let unnumbered = state.current.as_ref().is_some_and(|current| current.version.is_none());
    for machine in machines {
        let Some(digest) = machine.digest().filter(|digest| is_known(state, digest)) else {
            continue;
        };
        let is_new = !state.members.contains_key(&machine.id);
        if is_new && !(machine.release.is_some() || unnumbered) {
            continue;
        }
        if is_new && state.members.len() >= MEMBERS_MAX {
            // A list may lack machines for a while: only when there is no room are they forgotten.
            state.members.retain(|id, _| machines.iter().any(|listed| listed.id == *id));
        }
        if !is_new || state.members.len() < MEMBERS_MAX {
            state.members.insert(machine.id.clone(), digest.clone());
        }
    }
}

fn is_known(state: &Memory, digest: &Digest) -> bool {
    state.current.as_ref().is_some_and(|current| current.digest == *digest)
        || state.previous.as_ref().is_some_and(|previous| previous.digest == *digest)
        || state.trusted.iter().any(|trusted| trusted.revision.digest == *digest)
        || state.quarantined.iter().any(|old| old.digest == *digest)
}

/// Whether nothing that runs was ever seen, under numbers that were: an app deleted and made again
/// under its old name counts its releases from 1.
pub(super) fn was_recreated(state: &Memory, machines: &[&Machine]) -> bool {
    let mut running = machines.iter().filter_map(|machine| machine.digest()).peekable();
    state.current.is_some()
        && running.peek().is_some()
        && running.all(|digest| !is_known(state, digest))
        && !machines.iter().any(|machine| state.members.contains_key(&machine.id))
        && machines.iter().all(|machine| machine.release.unwrap_or_default() < state.seen_version)
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

/// An app that was made again counts its releases anew: the numbers of before name others now.
pub(super) fn count_anew(state: &mut Memory) {
    state.seen_version = ReleaseVersion(0);
    state.members.clear();
    state.own_releases.clear();
    state.undone.clear();
    state.migrated.clear();
}

/// Notes that this is what the app runs now.
pub(super) fn make_current(state: &mut Memory, revision: Revision, now: Timestamp) {
    let version = revision.version.unwrap_or_default();
    if !state.own_releases.contains(&version) {
        state.seen_version = state.seen_version.max(version);
    }
    let is_other = state.current.as_ref().is_none_or(|current| {
        (&current.digest, current.version) != (&revision.digest, revision.version)
    });
    state.unwatched_told &= !is_other;
    let before = state.current.replace(revision);
    if let Some(before) = before
        && state.current.as_ref().is_some_and(|current| current.digest != before.digest)
    {
        state.previous = Some(before);
    }
    state.current_since = Some(now);
}

/// Notes a ledger entry as ours, so that it is not taken for somebody's release.
pub(super) fn make_own(state: &mut Memory, version: ReleaseVersion) {
    if !state.own_releases.contains(&version) {
        state.own_releases.insert(0, version);
        state.own_releases.truncate(OWN_RELEASES_MAX);
    }
}

/// What a rollback wants of the app's machines, for [`rival()`].
pub(super) fn claim<'a>(state: &'a Memory, rollback: &'a Rollback) -> Claim<'a> {
    let quarantined = state.quarantined.iter().map(|old| &old.digest);
    Claim {
        bad: std::iter::once(&rollback.bad.digest)
            .chain(rollback.by_hand.iter().flat_map(|by_hand| &by_hand.also_bad))
            .chain(quarantined)
            .collect(),
        target: &rollback.target.image,
        put_back: &rollback.put_back,
        leaves: &rollback.leaves,
        bad_release: rollback.bad.version,
        after: rollback.after,
        own: &state.own_releases,
        since: rollback.started_at,
    }
}

/// Somebody else's release, newer than what is being rolled back, that machines run already.
pub(super) fn rival(
    state: &Memory,
    rollback: &Rollback,
    machines: &[&Machine],
    now: Timestamp,
) -> Option<ReleaseVersion> {
    match rival::of_app(&claim(state, rollback), machines, None, now) {
        Standing::NewerRelease { version, .. } => Some(version),
        _ => None,
    }
}

/// Somebody else's newer release that stands in the ledger and on no machine yet: its deploy has
/// just begun, or it never will be on one (a client that was killed, a filter that matched nothing).
pub(super) fn announced(
    state: &Memory,
    rollback: &Rollback,
    ledger: &[Release],
    now: Timestamp,
) -> Option<ReleaseVersion> {
    match rival::of_app(&claim(state, rollback), &[], Some(ledger), now) {
        Standing::Announced { version, .. } => Some(version),
        _ => None,
    }
}

/// Whether a group runs more than one image.
pub(super) fn is_mixed(state: &Memory, machines: &[&Machine]) -> bool {
    images_by_group(state, machines).values().any(|images| images.len() > 1)
}

fn images_by_group<'a>(
    state: &Memory,
    machines: &[&'a Machine],
) -> BTreeMap<&'a ProcessGroup, BTreeSet<&'a Digest>> {
    let mut groups: BTreeMap<&ProcessGroup, BTreeSet<&Digest>> = BTreeMap::new();
    // Machines outside any release, such as `fly machine run` makes, are nobody's mix.
    for machine in machines.iter().filter(|machine| is_member(state, machine)) {
        if let Some(digest) = machine.digest() {
            groups.entry(&machine.group).or_default().insert(digest);
        }
    }
    groups
}

/// How many machines of each group run what.
pub(super) fn images(machines: &[&Machine]) -> Vec<ImageCount> {
    let mut counts: BTreeMap<(&ProcessGroup, &Digest), usize> = BTreeMap::new();
    for machine in machines {
        if let Some(digest) = machine.digest() {
            *counts.entry((&machine.group, digest)).or_default() += 1;
        }
    }
    let count = |((group, digest), machines): ((&ProcessGroup, &Digest), usize)| ImageCount {
        group: group.clone(),
        digest: digest.clone(),
        machines,
    };
    counts.into_iter().map(count).collect()
}
