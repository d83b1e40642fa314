//! A rollback that a person orders: what it goes to, what it replaces, and what stands against it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Done, lists};
use crate::{
    decide::{
        AppState, Context, fleet, groups, images,
        name::{self, Named},
        rollback, setup,
        state::{ByHand, Memory, Phase, Pinned, Revision, Trusted, Watch},
        watch,
    },
    model::{
        Digest, Effect, EventKind, Machine, Plan, PlannedRegion, ProcessGroup, Reason, Refusal,
        Region, ReleaseVersion, Reply, Signed, Wish,
    },
};

/// Most releases named in a refusal.
const KNOWN_MAX: usize = 20;

/// What was found out about a wish before anything is changed.
struct Found {
    bad: Revision,
    also_bad: BTreeSet<Digest>,
    target: Revision,
    forward: bool,
    plan: Plan,
}

/// Plans a rollback by hand, and begins it unless it is only to be shown.
pub(super) fn rollback(
    phase: Phase,
    cx: &mut Context<'_>,
    wish: &Wish,
    signed: &Signed,
    machines: &[Machine],
) -> Done {
    let found = match find(&phase, cx, wish, machines) {
        Ok(found) => found,
        Err(refusal) => return (phase, Reply::Refused(refusal)),
    };
    let plan = found.plan.clone();
    if wish.dry_run {
        return (phase, Reply::Done(Effect::Planned { plan }));
    }
    let by_hand = ByHand {
        signed: signed.clone(),
        regions: wish.regions.clone(),
        strategy: wish.strategy,
        force: wish.force,
        also_bad: found.also_bad,
        forward: found.forward,
    };
    let watch = leave(phase, cx, found.bad, signed, machines);
    images::check(cx, found.target.image.clone(), true);
    let phase =
        Phase::CheckingImage { watch, target: found.target, by_hand: Some(Box::new(by_hand)) };
    (phase, Reply::Done(Effect::Begun { plan }))
}

/// What the wish means, or what stands against it.
fn find(
    phase: &Phase,
    cx: &Context<'_>,
    wish: &Wish,
    machines: &[Machine],
) -> Result<Found, Refusal> {
    if let Some(blind) = &cx.memory.platform_blind {
        return Err(Refusal::Blind { detail: blind.reason.clone() });
    }
    let machines: Vec<&Machine> = fleet::judged(machines)
        .into_iter()
        .filter(|machine| fleet::is_member(&cx.memory, machine) && machine.digest().is_some())
        .collect();
    if machines.is_empty() {
        return Err(Refusal::NotLookedAt);
    }
    if let Some(hold) = cx.memory.operator_hold.clone().filter(|hold| hold.is_on(cx.now)) {
        return Err(Refusal::Held { hold });
    }
    has_machines_in(&wish.regions, &machines)?;
    let asked =
        |machine: &&&Machine| wish.regions.is_empty() || wish.regions.contains(&machine.region);
    let concerned: Vec<&Machine> = machines.iter().filter(asked).copied().collect();
    let target = target(phase, cx, wish, &concerned)?;
    if let Phase::RollingBack(rollback) = phase
        && rollback.target.digest == target.digest
    {
        return Err(Refusal::SamePlan { to: target.info() });
    }
    let put_back = setup::put_back(cx.policy, &cx.memory, &target);
    let is_replaced = |machine: &Machine| {
        machine.digest() != Some(&target.digest) || setup::differs(cx, &target, &put_back, machine)
    };
    let mut replaced: Vec<&Machine> =
        concerned.iter().copied().filter(|m| is_replaced(m)).collect();
    if !wish.force && !replaced.is_empty() {
        replaced.retain(|machine| groups::takes(&cx.memory, &target.digest, &machine.group));
        if replaced.is_empty() {
            return Err(Refusal::NeverHealthy { release: target.info() });
        }
        if wish.to.is_none() {
            // A group that runs what it would go back to by itself is left.
            replaced.retain(|machine| !groups::runs_its_own(&cx.memory, machine));
        }
    }
    let Some(bad) = fleet::most_common(&replaced) else {
        return Err(Refusal::RunsEverywhere { release: target.info() });
    };
    let bad = complete(phase, cx, bad);
    let is_pinned = |pinned: &Pinned| pinned.digest == bad.digest && pinned.digest != target.digest;
    if cx.memory.pinned.as_ref().is_some_and(is_pinned) {
        return Err(Refusal::IsPinned { release: bad.info() });
    }
    // What a rollback that ends with this one is just putting on a machine comes there all the same.
    let coming = phase.target().map(|coming| &coming.digest);
    let also_bad: BTreeSet<Digest> = replaced
        .iter()
        .filter_map(|machine| machine.digest())
        .chain(coming)
        .filter(|digest| **digest != bad.digest && **digest != target.digest)
        .cloned()
        .collect();
    let forward = cx.memory.made_as(&bad) < cx.memory.made_as(&target);
    let migration = if forward { None } else { migration(cx, &bad, &target) };
    if let Some(version) = migration.filter(|_| !wish.force) {
        return Err(Refusal::Migration { version, to: target.info() });
    }
    let was_healthy = cx.has_earned(&target);
    let was_tried = cx.memory.quarantined.iter().any(|old| old.digest == target.digest);
    if !(was_healthy || was_tried || wish.force) {
        return Err(Refusal::NeverHealthy { release: target.info() });
    }
    let seen = seen_in(cx, &bad, &machines);
    if !wish.force {
        reaches_its_containers(cx, &target, &seen)?;
    }
    let plan = Plan {
        from: bad.info(),
        to: target.info(),
        image: target.image.reference(),
        strategy: wish.strategy.unwrap_or(cx.policy.rollback.strategy),
        regions: planned(phase, cx, &bad, &replaced),
        migration,
        drift: setup::drift(cx.policy, &cx.memory, &target, &seen).map(Box::new),
        was_healthy,
    };
    Ok(Found { bad, also_bad, target, forward, plan })
}

fn has_machines_in(wanted: &BTreeSet<Region>, machines: &[&Machine]) -> Result<(), Refusal> {
    let regions: BTreeSet<Region> = machines.iter().map(|m| m.region.clone()).collect();
    match wanted.iter().find(|region| !regions.contains(*region)) {
        None => Ok(()),
        Some(region) => {
            let has = regions.into_iter().collect();
            Err(Refusal::NoMachineIn { region: region.clone(), has })
        }
    }
}

/// What is put on a machine comes to those of its containers that have its image.
fn reaches_its_containers(
    cx: &Context<'_>,
    target: &Revision,
    seen: &Watch,
) -> Result<(), Refusal> {
    let containers = setup::out_of_reach(&cx.memory, target, seen);
    if containers.is_empty() {
        return Ok(());
    }
    Err(Refusal::ContainersStay { containers, to: Box::new(target.info()) })
}

/// A look at the release that is to be replaced: what its machines are configured with.
fn seen_in(cx: &Context<'_>, bad: &Revision, machines: &[&Machine]) -> Watch {
    let mut watch = watch::begin(bad.clone(), cx.now, false);
    setup::look(&mut watch, &cx.memory, machines);
    watch
}

/// The release to go to: the one that was named, or the newest that was seen healthy and is not what
/// runs now.
fn target(
    phase: &Phase,
    cx: &Context<'_>,
    wish: &Wish,
    concerned: &[&Machine],
) -> Result<Revision, Refusal> {
    if let Some(text) = &wish.to {
        let Named { release, image } = match (lists::named(phase, cx, text), &wish.in_ledger) {
            (Err(Refusal::NoSuchRelease { .. }), Some(old)) => (**old).clone(),
            (known, _) => known?,
        };
        let Some(image) = image else { return Err(Refusal::NoImage { release }) };
        let mut earned = cx.memory.trusted.iter().chain(&cx.memory.baked);
        let known = earned.find(|good| good.revision.digest == release.digest);
        return Ok(known.map(Trusted::deployable).unwrap_or(Revision {
            version: release.version,
            digest: release.digest,
            image,
            author: release.author,
            created_at: release.created_at,
            has_release_command: None,
        }));
    }
    // What is being dealt with is what a person wants to be rid of.
    let watched = watched(phase).map(|watch| &watch.revision.digest);
    let watched = watched.filter(|digest| concerned.iter().any(|m| m.digest() == Some(digest)));
    let runs = watched.cloned().filter(|_| groups::have_their_own(&cx.memory));
    let runs = runs.or_else(|| fleet::most_common(concerned).map(|runs| runs.digest));
    let on = concerned.iter().filter(|machine| machine.digest() == runs.as_ref());
    let of = on.map(|machine| machine.group.clone()).collect();
    let found = newest_configured_otherwise(cx, concerned)
        .or_else(|| newest_other(&cx.memory, runs.as_ref(), &of));
    found.ok_or_else(|| {
        let known = name::known(phase, &cx.memory).into_iter().map(|one| one.release);
        // What runs is no way back.
        let known =
            known.filter(|one| runs.as_ref() != Some(&one.digest)).take(KNOWN_MAX).collect();
        Refusal::NothingToGoBackTo { known }
    })
}

/// The newest release that was seen healthy, where the machines run its image under a configuration
/// that is not its own, and the policy puts that back.
fn newest_configured_otherwise(cx: &Context<'_>, concerned: &[&Machine]) -> Option<Revision> {
    let good = cx.memory.newest_trusted()?.deployable();
    let put_back = setup::put_back(cx.policy, &cx.memory, &good);
    let differs = concerned.iter().any(|one| setup::differs(cx, &good, &put_back, one));
    differs.then_some(good)
}

/// The newest release that was seen healthy and is another one than `runs`, and whose image is one for
/// these process groups; where a person pinned one, that one.
fn newest_other(
    memory: &Memory,
    runs: Option<&Digest>,
    of: &BTreeSet<ProcessGroup>,
) -> Option<Revision> {
    let pinned = memory.newest_trusted_for(of).filter(|_| memory.pinned.is_some());
    let trusted =
        pinned.into_iter().chain(memory.trusted.iter().filter(|trusted| trusted.is_available()));
    trusted
        .chain(memory.newest_baked())
        .filter(|good| groups::all_take(memory, &good.revision.digest, of))
        .find(|good| Some(&good.revision.digest) != runs)
        .map(Trusted::deployable)
}

/// What a rollback by hand would go to now, if nobody named anything.
pub fn would_take(state: &AppState) -> Option<Revision> {
    let runs = state.phase.runs(&state.memory);
    let groups = watched(&state.phase).map(|watch| watch.groups.clone()).unwrap_or_default();
    newest_other(&state.memory, runs.first().map(|one| &one.digest), &groups)
}

/// What is known of a release that machines run.
fn complete(phase: &Phase, cx: &Context<'_>, runs: Revision) -> Revision {
    let known = phase.dealing().into_iter().chain(&cx.memory.current);
    let mut known = known.chain(cx.memory.trusted.iter().map(|trusted| &trusted.revision));
    known
        .find(|one| one.digest == runs.digest && one.version == runs.version)
        .cloned()
        .unwrap_or(runs)
}

/// A release after the target, up to the one that is replaced, that ran a release command.
fn migration(cx: &Context<'_>, bad: &Revision, target: &Revision) -> Option<ReleaseVersion> {
    if cx.policy.rollback.despite_migrations {
        return None;
    }
    let (bad_version, after) = (cx.memory.made_as(bad)?, cx.memory.made_as(target)?);
    let mut ran = cx.memory.migrated.iter().copied();
    let ran = ran.find(|version| *version > after && *version <= bad_version);
    ran.or_else(|| (bad.has_release_command == Some(true)).then_some(bad_version))
}

fn planned(
    phase: &Phase,
    cx: &Context<'_>,
    bad: &Revision,
    replaced: &[&Machine],
) -> Vec<PlannedRegion> {
    let mut of_region: BTreeMap<Region, PlannedRegion> = BTreeMap::new();
    for machine in replaced {
        let region = machine.region.clone();
        let entry = of_region.entry(region.clone());
        let planned = entry.or_insert(PlannedRegion { region, machines: Vec::new(), at_rest: 0 });
        planned.machines.push(machine.id.clone());
        planned.at_rest += usize::from(machine.state.is_at_rest());
    }
    let mut watch = match watched(phase) {
        Some(watch) if watch.revision.digest == bad.digest => watch.clone(),
        _ => watch::begin(bad.clone(), cx.now, false),
    };
    watch.regions.extend(of_region.keys().cloned());
    let order = rollback::preview(cx.policy, &watch, cx.now);
    order.into_iter().filter_map(|report| of_region.remove(&report.region)).collect()
}

fn watched(phase: &Phase) -> Option<&Watch> {
    match phase {
        Phase::Watching(watch)
        | Phase::CountingDown { watch, .. }
        | Phase::CheckingImage { watch, .. }
        | Phase::Held { watch, .. } => Some(watch),
        _ => None,
    }
}

/// Ends what was under way, and says so. What was seen of the release that is replaced is kept.
fn leave(
    phase: Phase,
    cx: &mut Context<'_>,
    bad: Revision,
    signed: &Signed,
    machines: &[Machine],
) -> Box<Watch> {
    let why = Reason::OrderedBy { by: signed.clone() };
    let kept = match phase {
        Phase::Watching(watch) => Some(watch),
        Phase::CountingDown { watch, .. } | Phase::CheckingImage { watch, .. } => {
            super::phases::tell_cancelled(&watch, cx, why);
            Some(watch)
        }
        Phase::Held { watch, .. } => {
            super::phases::clear_hold(&watch, cx, why);
            Some(watch)
        }
        Phase::RollingBack(work) => {
            rollback::stop_for_order(cx, &work, why);
            None
        }
        Phase::Stopped { rollback: work, .. } => {
            let mut event = rollback::event(cx, EventKind::HoldCleared, &work);
            event.reason = Some(why);
            cx.events.push(event);
            None
        }
        Phase::Unseen | Phase::Steady | Phase::RolledBack(_) => None,
    };
    let kept = kept.filter(|watch| watch.revision.digest == bad.digest);
    let mut watch = kept.unwrap_or_else(|| Box::new(watch::begin(bad, cx.now, false)));
    let judged = fleet::judged(machines);
    let digest = watch.revision.digest.clone();
    let on = judged.iter().filter(|machine| machine.digest() == Some(&digest));
    watch.groups.extend(on.map(|machine| machine.group.clone()));
    watch.regions.extend(judged.iter().map(|machine| machine.region.clone()));
    setup::look(&mut watch, &cx.memory, &judged);
    watch
}

/// A rollback by hand that came to nothing before it began: told, and what runs is as it was.
pub(in crate::decide) fn abandon(watch: Box<Watch>, cx: &mut Context<'_>, why: Reason) -> Phase {
    cx.tell(EventKind::RollbackStopped, &watch, why);
    if cx.is_trusted(&watch.revision) { Phase::Steady } else { Phase::Watching(watch) }
}

/// What a rollback by hand makes of the two releases when it begins. In some regions only it says
/// nothing of either; and what is replaced by something newer is not bad for that.
pub(in crate::decide) fn note_begun(
    cx: &mut Context<'_>,
    by_hand: &ByHand,
    watch: &Watch,
    target: &Revision,
) {
    let bad = &watch.revision;
    lists::forgive(cx, &target.info());
    if !by_hand.regions.is_empty() || by_hand.forward {
        return;
    }
    if bad.digest == target.digest {
        setup::note_undone(cx, bad);
    } else {
        cx.quarantine(bad, &watch.groups);
        lists::distrust(cx, bad);
    }
}

/// What follows a rollback by hand that is completed, when it is not the usual: a region alone was
/// changed, or the app runs now what was never seen healthy. `current`: what was gone to.
pub(in crate::decide) fn after_completion(
    by_hand: &ByHand,
    bad: &Revision,
    current: &Revision,
    cx: &mut Context<'_>,
) -> Option<Phase> {
    if !by_hand.regions.is_empty() {
        let trusted = cx.is_trusted(bad);
        let watch = watch::begin(bad.clone(), cx.now, false);
        return Some(if trusted { Phase::Steady } else { Phase::Watching(Box::new(watch)) });
    }
    if cx.has_earned(current) {
        return None;
    }
    // A person wants it, whatever it shows: that is told, and nothing is done about it.
    fleet::make_current(&mut cx.memory, current.clone(), cx.now);
    let mut watch = watch::begin(current.clone(), cx.now, false);
    // Machines that ran it all the while carry its old number, the others that of our entry.
    watch.any_number = true;
    watch.vetoed = Some(by_hand.signed.clone());
    watch.put_by_hand = true;
    watch.in_ledger = true;
    Some(Phase::Watching(Box::new(watch)))
}
