//! The work list against what the machines run, and what came of each attempt.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::super::{
    Context, PutImage, PutOutcome, Round, later,
    state::{MachinePhase, MachineWork, Quarantined, RegionPhase, RegionWork, Rollback},
};
use crate::model::{Digest, HostStatus, Machine, MachineId, ReleaseVersion};

/// Attempts per machine before it is given up and named.
const ATTEMPTS_MAX: u32 = 5;
/// Pause after a failed attempt, times the attempts so far.
const RETRY_AFTER: Duration = Duration::from_secs(3);
/// A machine that is not listed for so long is gone.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// Pause before a machine is tried again whose attempt the platform did not answer.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Listed machines may be this much behind what was just done to them.
const LIST_LAGS_BY: Duration = Duration::from_secs(5);
/// Pause before a leased machine is tried again: a deploy that ends frees it any second.
const LEASE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// What a round saw of the machines.
pub(super) struct Seen<'a> {
    pub(super) machines: &'a [&'a Machine],
    /// Ledger entries of our own.
    pub(super) own: &'a [ReleaseVersion],
    /// Images that were rolled back before.
    pub(super) quarantined: &'a [Quarantined],
    /// When the round began to look.
    pub(super) began: Timestamp,
}

impl<'a> Seen<'a> {
    pub(super) fn of(cx: &'a Context<'_>, round: &Round<'a>) -> Self {
        Self {
            machines: round.machines,
            own: &cx.memory.own_releases,
            quarantined: &cx.memory.quarantined,
            began: round.observation.began,
        }
    }
}

/// Brings the work list in line with what the machines run now. Answers with the machines that
/// were on the target and run the bad image again.
pub(super) fn rescan(rollback: &mut Rollback, seen: &Seen<'_>, now: Timestamp) -> Vec<MachineId> {
    let mut returned = Vec::new();
    let over = rollback.completed_at.is_some();
    for machine in seen.machines {
        let runs = runs(rollback, machine, seen);
        let known = rollback.regions.iter().any(|work| work.region == machine.region);
        if !known && runs == Runs::Bad {
            rollback.regions.push(RegionWork {
                region: machine.region.clone(),
                phase: RegionPhase::Waiting,
                machines: BTreeMap::new(),
            });
        }
        let Some(work) = rollback.regions.iter_mut().find(|work| work.region == machine.region)
        else {
            continue;
        };
        // The list may still show what a machine ran before we updated it.
        let is_stale = work.machines.get(&machine.id).is_some_and(|entry| {
            entry.touched_at.is_some_and(|at| seen.began < later(at, LIST_LAGS_BY))
        });
        if !is_stale && rescan_machine(work, machine, runs, over) {
            returned.push(machine.id.clone());
        }
    }
    let listed: BTreeSet<&MachineId> = seen.machines.iter().map(|m| &m.id).collect();
    for (id, machine) in rollback.regions.iter_mut().flat_map(|work| &mut work.machines) {
        if listed.contains(id) {
            machine.missing_since = None;
            continue;
        }
        // One list may be wrong; several in a row are not.
        let since = *machine.missing_since.get_or_insert(now);
        if now.duration_since(since) >= GONE_AFTER && !machine.is_in_flight() {
            machine.phase = MachinePhase::Gone;
        }
    }
    returned
}

fn runs(rollback: &Rollback, machine: &Machine, seen: &Seen<'_>) -> Runs {
    if machine.digest() == Some(&rollback.target.digest) {
        return Runs::Target;
    }
    // An older bad image, left where its own rollback was stopped, is as bad.
    let is_bad_image = machine.digest().is_some_and(|digest| {
        *digest == rollback.bad.digest || seen.quarantined.iter().any(|old| old.digest == *digest)
    });
    let is_bad = is_bad_image
        && machine
            .release
            .is_none_or(|version| version <= rollback.after || seen.own.contains(&version));
    if is_bad { Runs::Bad } else { Runs::Other }
}

/// What a machine runs, from a rollback's point of view.
#[derive(Clone, Copy, PartialEq)]
enum Runs {
    Bad,
    Target,
    Other,
}

/// Answers whether the machine was done and is bad again.
fn rescan_machine(work: &mut RegionWork, machine: &Machine, runs: Runs, over: bool) -> bool {
    let is_bad = runs == Runs::Bad;
    let Some(digest) = machine.digest() else { return false };
    let reachable = machine.host == HostStatus::Ok;
    let Some(entry) = work.machines.get_mut(&machine.id) else {
        if is_bad {
            let phase = if reachable { MachinePhase::Todo } else { MachinePhase::HostDown };
            // What ended although it should serve is to be up again; what was stopped on purpose,
            // and a job that is done, is not.
            let running = !machine.state.is_at_rest() || machine.standing(false).is_to_be_started();
            let entry = MachineWork {
                phase,
                attempts: 0,
                retry_at: None,
                touched_at: None,
                running,
                bad: digest.clone(),
                group: machine.group.clone(),
                missing_since: None,
            };
            work.machines.insert(machine.id.clone(), entry);
            reopen(work, over);
        }
        return false;
    };
    if is_bad {
        entry.bad = digest.clone();
    }
    match &entry.phase {
        MachinePhase::InFlight { .. } => {}
        MachinePhase::Todo | MachinePhase::Leased { .. } if !reachable => {
            entry.phase = MachinePhase::HostDown;
        }
        MachinePhase::Todo | MachinePhase::Leased { .. } | MachinePhase::HostDown
            if runs == Runs::Other =>
        {
            let runs = machine.digest().map_or("an image without digest", Digest::short);
            entry.phase = MachinePhase::Superseded { runs: runs.to_owned() };
        }
        // On the bad image, or on the target and not yet verified there.
        MachinePhase::Todo | MachinePhase::Leased { .. } => {}
        MachinePhase::HostDown if reachable => {
            entry.phase = MachinePhase::Todo;
            reopen(work, over);
        }
        MachinePhase::Gone | MachinePhase::Superseded { .. } if is_bad && reachable => {
            entry.phase = MachinePhase::Todo;
            reopen(work, over);
        }
        MachinePhase::OnTarget if is_bad && reachable => {
            // Reverted by the platform, or put back by somebody.
            entry.attempts += 1;
            entry.phase = if entry.attempts >= ATTEMPTS_MAX {
                MachinePhase::Failed { reason: "it keeps going back to the bad image".to_owned() }
            } else {
                MachinePhase::Todo
            };
            reopen(work, over);
            return true;
        }
        MachinePhase::HostDown
        | MachinePhase::OnTarget
        | MachinePhase::Gone
        | MachinePhase::Superseded { .. }
        | MachinePhase::Failed { .. } => {}
    }
    false
}

/// A confirmed region with new work is worked on again, while the rollback is not over.
fn reopen(work: &mut RegionWork, over: bool) {
    if matches!(work.phase, RegionPhase::Confirmed { .. }) && !over {
        work.phase = RegionPhase::Updating;
    }
}

/// Notes where a machine stands, and that it is not tried again before `wait` is over.
fn note_put(
    rollback: &mut Rollback,
    put: &PutImage,
    phase: &MachinePhase,
    now: Timestamp,
    wait: Duration,
) {
    let further = match phase {
        MachinePhase::OnTarget
        | MachinePhase::Gone
        | MachinePhase::HostDown
        | MachinePhase::Superseded { .. }
        | MachinePhase::Failed { .. } => true,
        MachinePhase::Todo | MachinePhase::InFlight { .. } | MachinePhase::Leased { .. } => false,
    };
    if further {
        rollback.progress_at = now;
    }
    for work in rollback.regions.iter_mut().filter(|work| work.region == put.region) {
        if let Some(machine) = work.machines.get_mut(&put.machine) {
            machine.phase = phase.clone();
            machine.touched_at = (*phase == MachinePhase::OnTarget).then_some(now);
            machine.retry_at = Some(later(now, wait));
        }
    }
}

/// A machine carries somebody's newer release: it is not ours any more.
pub(super) fn note_superseded(rollback: &mut Rollback, put: &PutImage, now: Timestamp) {
    note_put(rollback, put, &MachinePhase::Gone, now, Duration::ZERO);
}

pub(super) fn note_outcome(
    rollback: &mut Rollback,
    put: &PutImage,
    outcome: &PutOutcome,
    now: Timestamp,
) {
    let (phase, wait) = match outcome {
        PutOutcome::Updated { .. } | PutOutcome::AlreadyOnTarget { .. } => {
            (MachinePhase::OnTarget, Duration::ZERO)
        }
        PutOutcome::NewerRelease { .. } | PutOutcome::Gone => (MachinePhase::Gone, Duration::ZERO),
        PutOutcome::OtherImage { digest } => {
            let runs = digest.as_ref().map_or("an image without digest", Digest::short);
            (MachinePhase::Superseded { runs: runs.to_owned() }, Duration::ZERO)
        }
        PutOutcome::SetByHand { digest } => {
            (MachinePhase::Superseded { runs: digest.short().to_owned() }, Duration::ZERO)
        }
        PutOutcome::HostDown { .. } => (MachinePhase::HostDown, Duration::ZERO),
        PutOutcome::LeaseHeld { owner, .. } => {
            (MachinePhase::Leased { owner: owner.clone() }, LEASE_RETRY_AFTER)
        }
        PutOutcome::Unavailable { .. }
        | PutOutcome::Announced { .. }
        | PutOutcome::Deploying { .. } => (MachinePhase::Todo, UNAVAILABLE_RETRY_AFTER),
        PutOutcome::Denied { reason }
        | PutOutcome::Unreadable { reason }
        | PutOutcome::Refused { reason } => failed(rollback, put, reason),
        PutOutcome::NotReadyYet { .. } => failed(rollback, put, "it did not start in time"),
        PutOutcome::Reverted { runs } => {
            failed(rollback, put, &format!("the platform reverted the update: it runs {runs}"))
        }
        PutOutcome::Unhealthy { failing, .. } => {
            let what = "its checks do not pass on the known-good image";
            failed(rollback, put, &format!("{what}: {}", failing.join(", ")))
        }
    };
    note_put(rollback, put, &phase, now, wait);
}

/// An attempt that did not work out: tried again a few times, ever later.
fn failed(rollback: &mut Rollback, put: &PutImage, reason: &str) -> (MachinePhase, Duration) {
    let mut attempts = 0;
    for work in &mut rollback.regions {
        if let Some(machine) = work.machines.get_mut(&put.machine) {
            machine.attempts += 1;
            attempts = machine.attempts;
        }
    }
    let phase = if attempts >= ATTEMPTS_MAX {
        MachinePhase::Failed { reason: reason.to_owned() }
    } else {
        MachinePhase::Todo
    };
    (phase, RETRY_AFTER * attempts)
}
