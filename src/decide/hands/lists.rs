//! What people say of releases: that one is to be gone back to, that one is bad, that one is good.

use std::collections::{BTreeMap, BTreeSet};

use super::Done;
use crate::{
    decide::{
        Context, dispersion, fleet, groups, images,
        name::{self, Named},
        setup,
        state::{FailingChecks, Phase, Pinned, Revision, Trusted},
    },
    model::{
        CheckStatus, Effect, Event, EventKind, Machine, MachineState, Reason, Refusal, Reply,
        Signed, event::ReleaseInfo, reply::Undone,
    },
};

/// The release that a person calls so.
pub(super) fn named(phase: &Phase, cx: &Context<'_>, text: &str) -> Result<Named, Refusal> {
    let known = name::known(phase, &cx.memory);
    name::resolve(text, &known).cloned().map_err(|problem| Refusal::NoSuchRelease {
        name: text.trim().chars().take(200).collect(),
        problem,
    })
}

/// What is pinned stays what is gone back to. It has to be trusted: what was never seen healthy
/// needs somebody who vouches for it first.
pub(super) fn pin(phase: Phase, cx: &mut Context<'_>, text: &str, signed: &Signed) -> Done {
    let release = match named(&phase, cx, text) {
        Ok(named) => named.release,
        Err(refusal) => return (phase, Reply::Refused(refusal)),
    };
    let trusted = cx.memory.trusted.iter().find(|one| one.revision.digest == release.digest);
    if trusted.is_none() {
        return (phase, Reply::Refused(Refusal::NotTrusted { release }));
    }
    cx.memory.pinned = Some(Pinned { digest: release.digest.clone(), signed: signed.clone() });
    note(cx, &release, Reason::Pinned { by: signed.clone() });
    (phase, Reply::Done(Effect::Pinned { release }))
}

pub(super) fn unpin(phase: Phase, cx: &mut Context<'_>, signed: &Signed) -> Done {
    let Some(pinned) = cx.memory.pinned.take() else {
        return (phase, Reply::Refused(Refusal::NothingPinned));
    };
    let mut trusted = cx.memory.trusted.iter();
    let release =
        trusted.find(|one| one.revision.digest == pinned.digest).map(|one| one.revision.info());
    if let Some(release) = &release {
        note(cx, release, Reason::Unpinned { by: signed.clone() });
    }
    (phase, Reply::Done(Effect::Unpinned { release }))
}

/// A redeploy of it is watched without a warm-up, and it is never gone back to.
pub(super) fn quarantine(phase: Phase, cx: &mut Context<'_>, text: &str, signed: &Signed) -> Done {
    let named = match named(&phase, cx, text) {
        Ok(named) => named,
        Err(refusal) => return (phase, Reply::Refused(refusal)),
    };
    let release = named.release;
    let Some(image) = named.image else {
        return (phase, Reply::Refused(Refusal::NoImage { release }));
    };
    let digest = &release.digest;
    if phase.runs(&cx.memory).iter().any(|runs| runs.digest == *digest) {
        return (phase, Reply::Refused(Refusal::RunsNow { release }));
    }
    if cx.memory.pinned.as_ref().is_some_and(|pinned| pinned.digest == *digest) {
        return (phase, Reply::Refused(Refusal::IsPinned { release }));
    }
    let revision = Revision {
        version: release.version,
        digest: digest.clone(),
        image,
        author: release.author.clone(),
        created_at: release.created_at,
        has_release_command: None,
    };
    cx.memory.quarantined.retain(|old| old.digest != *digest);
    cx.quarantine(&revision, &BTreeSet::new());
    distrust(cx, &revision);
    note(cx, &release, Reason::QuarantinedBy { by: signed.clone() });
    (phase, Reply::Done(Effect::Quarantined { release }))
}

/// It is not one to go back to any more.
pub(super) fn distrust(cx: &mut Context<'_>, revision: &Revision) {
    let digest = &revision.digest;
    cx.memory.trusted.retain(|one| one.revision.digest != *digest);
    if cx.memory.baked.as_ref().is_some_and(|one| one.revision.digest == *digest) {
        cx.memory.baked = None;
    }
}

pub(super) fn unquarantine(
    phase: Phase,
    cx: &mut Context<'_>,
    text: &str,
    signed: &Signed,
) -> Done {
    let release = match named(&phase, cx, text) {
        Ok(named) => named.release,
        Err(refusal) => return (phase, Reply::Refused(refusal)),
    };
    if !cx.memory.quarantined.iter().any(|old| old.digest == release.digest) {
        return (phase, Reply::Refused(Refusal::NotQuarantined { release }));
    }
    if is_being_undone(&phase, &release) {
        return (phase, Reply::Refused(Refusal::IsRolledBack { release }));
    }
    forgive(cx, &release);
    note(cx, &release, Reason::UnquarantinedBy { by: signed.clone() });
    (phase, Reply::Done(Effect::Unquarantined { release }))
}

pub(super) fn forgive(cx: &mut Context<'_>, release: &ReleaseInfo) {
    cx.memory.quarantined.retain(|old| old.digest != release.digest);
    cx.memory.suspects.retain(|old| *old != release.digest);
}

/// A person vouches for a release: it is one to go back to from now on, and what is said against it
/// just now is called off.
pub(super) fn trust(
    phase: Phase,
    cx: &mut Context<'_>,
    text: &str,
    signed: &Signed,
    machines: &[Machine],
) -> Done {
    let named = match named(&phase, cx, text) {
        Ok(named) => named,
        Err(refusal) => return (phase, Reply::Refused(refusal)),
    };
    let release = named.release;
    let Some(image) = named.image else {
        return (phase, Reply::Refused(Refusal::NoImage { release }));
    };
    if is_being_undone(&phase, &release) {
        return (phase, Reply::Refused(Refusal::IsRolledBack { release }));
    }
    let undone = undone(&phase, cx, &release);
    let known = cx.memory.trusted.iter().find(|one| one.revision.digest == release.digest);
    let revision = known.map(|one| one.revision.clone()).unwrap_or_else(|| Revision {
        version: release.version,
        digest: release.digest.clone(),
        image: image.clone(),
        author: release.author.clone(),
        created_at: release.created_at,
        has_release_command: None,
    });
    let judged = fleet::judged(machines);
    let runs: Vec<&&Machine> =
        judged.iter().filter(|machine| machine.digest() == Some(&release.digest)).collect();
    let setup = setup::of_trusted(cx, &judged, |one| one.digest() == Some(&release.digest));
    let dispersions = match &phase {
        Phase::Watching(watch) | Phase::Held { watch, .. }
            if watch.revision.digest == release.digest =>
        {
            dispersion::of(cx, watch)
        }
        _ => known.map(|one| one.dispersions.clone()).unwrap_or_default(),
    };
    let ran = groups::ran(&cx.memory, &revision, &judged);
    // What runs nowhere now was seen by the person alone.
    let ran = if runs.is_empty() { BTreeMap::new() } else { ran };
    cx.trust(Trusted {
        revision,
        at: cx.now,
        image_checked_at: None,
        image_missing: false,
        crashes_per_machine: 0.0,
        failing: failing(&runs),
        stayed_up: runs
            .iter()
            .filter(|machine| matches!(machine.state, MachineState::Started))
            .map(|machine| machine.group.clone())
            .collect(),
        vouched: Some(signed.clone()),
        mirror: None,
        setup: Some(setup),
        dispersions,
        revoked: None,
        ran,
    });
    images::check(cx, image, false);
    let phase = leave(phase, cx, &release, signed);
    let mut event = Event::new(EventKind::ReleaseTrusted, cx.now, Some(cx.memory.app.clone()));
    event.release = Some(release.clone());
    event.reason = Some(Reason::VouchedBy { by: signed.clone() });
    cx.events.push(event);
    (phase, Reply::Done(Effect::Trusted { release, undone }))
}

/// When it was undone, and for what as far as that is remembered: it may not be what the person
/// thinks of.
fn undone(phase: &Phase, cx: &Context<'_>, release: &ReleaseInfo) -> Option<Undone> {
    let quarantined = cx.memory.quarantined.iter().find(|old| old.digest == release.digest)?;
    let mut undone = Undone { at: quarantined.at, evidence: Vec::new(), by: None };
    if let Phase::RolledBack(rollback) | Phase::Stopped { rollback, .. } = phase
        && rollback.bad.digest == release.digest
    {
        undone.evidence.clone_from(&rollback.evidence);
        undone.by = rollback.by_hand.as_ref().map(|by_hand| by_hand.signed.clone());
    }
    Some(undone)
}

/// The checks that do not pass now: whoever vouches for the release knows them.
fn failing(runs: &[&&Machine]) -> FailingChecks {
    let mut failing = FailingChecks::new();
    for machine in runs {
        let names: BTreeSet<String> = machine
            .checks
            .iter()
            .filter(|check| check.status != CheckStatus::Passing)
            .map(|check| check.name.clone())
            .collect();
        if !names.is_empty() {
            failing.insert(machine.id.clone(), names);
        }
    }
    failing
}

/// Ends what is done about a release that somebody vouched for.
fn leave(phase: Phase, cx: &mut Context<'_>, release: &ReleaseInfo, signed: &Signed) -> Phase {
    let why = || Reason::VouchedBy { by: signed.clone() };
    match phase {
        Phase::Watching(watch) if watch.revision.digest == release.digest => Phase::Steady,
        Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. }
            if watch.revision.digest == release.digest =>
        {
            super::phases::tell_cancelled(&watch, cx, why());
            Phase::Steady
        }
        Phase::Held { watch, .. } if watch.revision.digest == release.digest => {
            super::phases::clear_hold(&watch, cx, why());
            Phase::Steady
        }
        other => other,
    }
}

/// Whether a rollback takes it away, or took it away and watches that it stays so.
fn is_being_undone(phase: &Phase, release: &ReleaseInfo) -> bool {
    match phase {
        Phase::RollingBack(rollback) => rollback.bad.digest == release.digest,
        Phase::CheckingImage { watch, by_hand: Some(_), .. } => {
            watch.revision.digest == release.digest
        }
        _ => false,
    }
}

fn note(cx: &mut Context<'_>, release: &ReleaseInfo, reason: Reason) {
    let mut event = Event::new(EventKind::OperatorOrder, cx.now, Some(cx.memory.app.clone()));
    event.release = Some(release.clone());
    event.known_good = cx.known_good_info();
    event.reason = Some(reason);
    cx.events.push(event);
}
