//! How releases are configured besides their image: kept with what is trusted, read of what is bad,
//! and compared.

use super::{
    Context, changes,
    state::{Memory, Revision, Trusted, Watch},
    watch::is_on,
};
use crate::model::{Digest, Drift, Machine, Policy, PutBack, Secrets, Setups, setup};

/// Releases remembered of which the configuration was undone.
const UNDONE_MAX: usize = 50;

/// Trusted releases of which it is kept in clear what can be put back.
const TEXTS_MAX: usize = 3;

/// Notes the secrets' digests when they were read.
pub(super) fn note_secrets(cx: &mut Context<'_>, secrets: Option<&Secrets>) {
    if let Some(secrets) = secrets {
        let read = setup::bounded(secrets);
        changes::secrets(&mut cx.memory, &read, cx.now);
        cx.memory.secrets = Some(read);
    }
}

/// How a release that earns trust is configured, for as long as it may be gone back to.
pub(super) fn of_trusted(
    cx: &Context<'_>,
    machines: &[&Machine],
    is_on: impl Fn(&Machine) -> bool,
) -> Setups {
    let texts = cx.policy.rollback.restore_config;
    Setups::of(machines.iter().copied(), is_on, cx.memory.secrets.as_ref(), texts)
}

/// Reads how the watched release is configured.
pub(super) fn look(watch: &mut Watch, memory: &Memory, machines: &[&Machine]) {
    let secrets = memory.secrets.as_ref();
    watch.setup =
        Some(Setups::of(machines.iter().copied(), |machine| is_on(watch, machine), secrets, false));
}

/// What changed between the release to go back to and the watched one; `None`: of one of the two it
/// is not known how it is configured.
pub(super) fn drift(
    policy: &Policy,
    memory: &Memory,
    target: &Revision,
    watch: &Watch,
) -> Option<Drift> {
    let good = earned(memory, &target.digest)?.setup.as_ref()?;
    let bad = watch.setup.as_ref()?;
    let back = put_back(policy, memory, target);
    let (changes, left_out) = setup::between(good, bad, |group| back.contains_key(group));
    Some(Drift {
        from: target.version,
        to: watch.revision.version,
        image: target.digest != watch.revision.digest,
        changes,
        left_out,
    })
}

/// The containers that a rollback to this release would not come to, as far as the two setups are
/// known.
pub(super) fn out_of_reach(memory: &Memory, target: &Revision, watch: &Watch) -> Vec<String> {
    let good = earned(memory, &target.digest).and_then(|good| good.setup.as_ref());
    let (Some(good), Some(bad)) = (good, watch.setup.as_ref()) else { return Vec::new() };
    setup::out_of_reach(good, bad).into_iter().collect()
}

/// What a rollback to this release puts back besides the image, by group.
pub(super) fn put_back(policy: &Policy, memory: &Memory, target: &Revision) -> PutBack {
    if !policy.rollback.restore_config {
        return PutBack::new();
    }
    let setup = earned(memory, &target.digest).and_then(|good| good.setup.as_ref());
    setup.map(Setups::put_back).unwrap_or_default()
}

/// Whether a machine has the image of a release, and by another release of somebody a configuration
/// that is not that release's.
pub(super) fn differs(
    cx: &Context<'_>,
    target: &Revision,
    put_back: &PutBack,
    machine: &Machine,
) -> bool {
    let own = |version| cx.memory.own_releases.contains(&version);
    let texts = put_back.get(&machine.group);
    machine.digest() == Some(&target.digest)
        && machine.release != target.version
        && !machine.release.is_some_and(own)
        && texts.is_some_and(|texts| machine.config.as_ref().is_some_and(|one| !texts.is_in(one)))
}

/// Notes a release of which only the configuration is undone: its image is not bad.
pub(super) fn note_undone(cx: &mut Context<'_>, bad: &Revision) {
    let undone = &mut cx.memory.undone;
    undone.extend(bad.version);
    while undone.len() > UNDONE_MAX {
        undone.pop_first();
    }
}

fn earned<'a>(memory: &'a Memory, digest: &Digest) -> Option<&'a Trusted> {
    memory.trusted.iter().chain(&memory.baked).find(|good| good.revision.digest == *digest)
}

/// What is kept in clear is kept of the newest few, and of what a person pinned.
pub(super) fn bound_texts(memory: &mut Memory) {
    let pinned = memory.pinned.as_ref().map(|pinned| &pinned.digest);
    for good in memory.trusted.iter_mut().skip(TEXTS_MAX) {
        if Some(&good.revision.digest) != pinned {
            good.setup.iter_mut().for_each(Setups::forget_texts);
        }
    }
}

/// Keeps of the releases to go back to what the policy wants kept: of the one that runs everywhere,
/// what an older version, or a policy that wanted less, did not keep.
pub(super) fn keep(cx: &mut Context<'_>, machines: &[&Machine]) {
    let texts = cx.policy.rollback.restore_config;
    if !texts {
        for good in cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked) {
            good.setup.iter_mut().for_each(Setups::forget_texts);
        }
    }
    let Some(good) = cx.memory.trusted.first() else { return };
    let lacks = good.setup.as_ref().is_none_or(|setup| texts && setup.lacks_texts());
    let runs_everywhere = machines.iter().filter(|machine| machine.release.is_some()).all(|one| {
        one.release == good.revision.version && one.digest() == Some(&good.revision.digest)
    });
    if !(lacks && runs_everywhere) || machines.is_empty() {
        return;
    }
    let seen = of_trusted(cx, machines, |_| true);
    let Some(good) = cx.memory.trusted.first_mut() else { return };
    match &mut good.setup {
        None => good.setup = Some(seen),
        Some(kept) if kept.is_alike(&seen) => kept.groups = seen.groups,
        Some(_) => {}
    }
}
