//! Which image is whose. Where the process groups of an app run images of their own, what is known to
//! be good in one of them is nothing to go back to for another.
//!
//! With every release that earns trust it is noted which image each group ran. As long as all groups
//! run the one image nothing follows from that: a group that comes with a new release goes where the
//! others go.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Context, fleet,
    state::{Memory, Phase, Revision, Trusted, Watch},
};
use crate::model::{
    Digest, EventKind, HoldReason, HostStatus, ImageRef, Machine, ProcessGroup, Reason, Setups,
};

/// Process groups that are remembered of a release.
const GROUPS_MAX: usize = 16;

/// Which image each group runs while a release does. A host that does not answer, and machines outside
/// any release, say nothing of it.
pub(super) fn ran(
    memory: &Memory,
    revision: &Revision,
    machines: &[&Machine],
) -> BTreeMap<ProcessGroup, ImageRef> {
    let counts = |machine: &&&Machine| {
        machine.host == HostStatus::Ok
            && machine.digest().is_some()
            && (revision.version.is_none() || fleet::is_member(memory, machine))
    };
    let counted: Vec<&Machine> = machines.iter().filter(counts).copied().collect();
    let mut most: BTreeMap<ProcessGroup, (bool, usize, Digest)> = BTreeMap::new();
    for one in fleet::images(&counted) {
        let rank = (one.digest == revision.digest, one.machines, one.digest);
        let entry = most.entry(one.group).or_insert_with(|| rank.clone());
        if *entry < rank {
            *entry = rank;
        }
    }
    let image = |(group, (_, _, digest)): (ProcessGroup, (bool, usize, Digest))| {
        let machine = counted.iter().find(|machine| machine.digest() == Some(&digest))?;
        Some((group, machine.image.clone()))
    };
    most.into_iter().take(GROUPS_MAX).filter_map(image).collect()
}

/// What was not noted when a release earned its trust: all of it by an older version, a group that
/// was made since.
pub(super) fn keep(cx: &mut Context<'_>, phase: &Phase, machines: &[&Machine]) {
    let (Phase::Steady, Some(current)) = (phase, cx.memory.current.clone()) else { return };
    if !machines.iter().any(|machine| machine.digest() == Some(&current.digest)) {
        return;
    }
    let seen = ran(&cx.memory, &current, machines);
    let all = cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked);
    for good in all.filter(|good| good.revision.digest == current.digest) {
        for (group, image) in &seen {
            if good.ran.len() < GROUPS_MAX {
                good.ran.entry(group.clone()).or_insert_with(|| image.clone());
            }
        }
    }
}

fn earned(memory: &Memory) -> impl Iterator<Item = &Trusted> {
    memory.trusted.iter().chain(&memory.baked)
}

fn is_it(image: &ImageRef, digest: &Digest) -> bool {
    image.digest.as_ref() == Some(digest)
}

/// Whether some group was seen to run another image than the rest.
pub(super) fn have_their_own(memory: &Memory) -> bool {
    earned(memory).any(|good| good.ran.values().any(|image| !is_it(image, &good.revision.digest)))
}

/// Whether a release's image is one for the machines of a group.
pub(super) fn takes(memory: &Memory, digest: &Digest, group: &ProcessGroup) -> bool {
    if !have_their_own(memory) {
        return true;
    }
    let Some(good) = earned(memory).find(|good| good.revision.digest == *digest) else {
        let mut quarantined = memory.quarantined.iter();
        let old = quarantined.find(|old| old.digest == *digest);
        return old.is_none_or(|old| old.groups.is_empty() || old.groups.contains(group));
    };
    match good.ran.get(group) {
        Some(image) => is_it(image, digest),
        // An older version kept no more than how its machines are configured.
        None if good.ran.is_empty() => {
            let is_told = |setup: &&Setups| setup.groups.values().any(|one| one.parts.is_some());
            let setup = good.setup.as_ref().filter(is_told);
            let of_group = setup.and_then(|setup| setup.groups.get(group));
            of_group.is_none_or(|one| one.parts.is_some())
        }
        // Nobody has seen anything else in it.
        None => !earned(memory).any(|one| one.ran.contains_key(group)),
    }
}

/// Whether a release's image is one for all of these groups.
pub(super) fn all_take(memory: &Memory, digest: &Digest, groups: &BTreeSet<ProcessGroup>) -> bool {
    groups.iter().all(|group| takes(memory, digest, group))
}

/// Whether a machine's group has images of its own, and it runs the newest that is known to be good.
pub(super) fn runs_its_own(memory: &Memory, machine: &Machine) -> bool {
    let group = BTreeSet::from([machine.group.clone()]);
    let good = memory.newest_trusted_for(&group).map(|good| &good.revision.digest);
    have_their_own(memory) && good.is_some() && good == machine.digest()
}

/// Whether an image that is to be undone in these groups is known to be good in another one.
pub(super) fn is_good_elsewhere(
    memory: &Memory,
    digest: &Digest,
    groups: &BTreeSet<ProcessGroup>,
) -> bool {
    let elsewhere = earned(memory).flat_map(|good| &good.ran);
    elsewhere.into_iter().any(|(group, image)| !groups.contains(group) && is_it(image, digest))
        && have_their_own(memory)
}

/// The groups that a rollback to this image leaves as they are.
pub(super) fn left_by(memory: &Memory, digest: &Digest) -> BTreeSet<ProcessGroup> {
    let known = earned(memory).flat_map(|good| good.ran.keys());
    let known = known.chain(memory.quarantined.iter().flat_map(|old| &old.groups));
    known.filter(|group| !takes(memory, digest, group)).cloned().collect()
}

/// Why there is nothing to go back to, where there would be something but for its group.
pub(super) fn refusal(memory: &Memory, watch: &Watch) -> Option<HoldReason> {
    let good = &memory.newest_trusted()?.revision;
    let group = watch.groups.iter().find(|group| !takes(memory, &good.digest, group))?;
    Some(HoldReason::NotSeenInGroup { group: group.clone(), release: good.info().name() })
}

/// Whether a release is the newest that a group has to go back to: it is not forgotten for others.
pub(super) fn is_last_of_a_group(memory: &Memory, place: usize) -> bool {
    let Some(good) = memory.trusted.get(place).filter(|_| have_their_own(memory)) else {
        return false;
    };
    let newer = || memory.trusted.iter().take(place);
    let own = good.ran.iter().filter(|(_, image)| is_it(image, &good.revision.digest));
    own.into_iter().any(|(group, _)| {
        !newer().any(|one| one.ran.get(group).is_some_and(|i| is_it(i, &one.revision.digest)))
    })
}

/// Groups that run other images under the number of the release that is watched: nobody judges
/// those, and people are told so, once.
pub(super) fn tell_of_unwatched(cx: &mut Context<'_>, phase: &Phase, machines: &[&Machine]) {
    let quiet = match phase {
        Phase::Steady => true,
        Phase::Watching(watch) => watch.settled_at.is_some(),
        _ => false,
    };
    let Some(current) = cx.memory.current.as_ref().filter(|_| quiet) else { return };
    if cx.memory.unwatched_told {
        return;
    }
    let on = machines.iter().filter(|machine| machine.digest() == Some(&current.digest));
    let watched: BTreeSet<&ProcessGroup> = on.map(|machine| &machine.group).collect();
    let is_quarantined =
        |digest: &Digest| cx.memory.quarantined.iter().any(|old| old.digest == *digest);
    let is_unwatched = |machine: &&&Machine| {
        machine.release == current.version
            && !watched.contains(&machine.group)
            && machine.digest().is_some_and(|digest| !is_quarantined(digest))
    };
    let unwatched: Vec<&Machine> = machines.iter().filter(is_unwatched).copied().collect();
    if unwatched.is_empty() || watched.is_empty() {
        return;
    }
    cx.memory.unwatched_told = true;
    let images = fleet::images(&unwatched);
    cx.say(EventKind::ImageMixed, Reason::UnwatchedImages { images });
}
