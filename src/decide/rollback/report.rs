//! A rollback as facts for people: region by region, and what was left behind.

use super::{
    super::{
        fleet, groups,
        state::{MachinePhase, MachineWork, Memory, RegionPhase, Rollback},
    },
    work::RegionWork,
};
use crate::model::{
    Evidence, Machine, MachineReport, Reason, Region, RegionReport, RegionStage, Shown, Verdict,
    Wait, reason::LeftMachine,
};

/// Machines that do not run the target when a rollback ends, by name. Machines outside any release,
/// such as `fly machine run` makes, are nobody's concern.
pub(super) fn left_behind(
    memory: &Memory,
    rollback: &Rollback,
    machines: &[&Machine],
) -> Option<Reason> {
    let left: Vec<LeftMachine> = machines
        .iter()
        .filter(|machine| fleet::is_member(memory, machine))
        .filter(|machine| {
            // Where the configuration is put back, the image alone does not tell.
            let is_bad_here = || !groups::takes(memory, &rollback.bad.digest, &machine.group);
            let is_others = rollback.leaves.contains(&machine.group)
                && (machine.digest() != Some(&rollback.bad.digest) || !is_bad_here());
            (machine.digest() != Some(&rollback.target.digest) && !is_others)
                || (!rollback.put_back.is_empty() && rollback.machine(&machine.id).is_some())
        })
        .filter_map(|machine| {
            let work = rollback.regions.iter().find(|work| work.region == machine.region);
            let known = work.and_then(|work| work.machines.get(&machine.id));
            if known.is_some_and(MachineWork::is_on_target) {
                // Verified under its lease; the list lags behind.
                return None;
            }
            let state = match known {
                _ if work.is_some_and(RegionWork::is_left_alone) => MachineReport::RegionLeftAlone,
                Some(known) => describe(known),
                None => MachineReport::Runs { digest: machine.digest().cloned() },
            };
            let (machine, region) = (machine.id.clone(), machine.region.clone());
            Some(LeftMachine { machine, region, state })
        })
        .collect();
    (!left.is_empty()).then_some(Reason::LeftBehind { machines: left })
}

fn describe(machine: &MachineWork) -> MachineReport {
    match &machine.phase {
        MachinePhase::InFlight { .. } => MachineReport::Updating,
        MachinePhase::OnTarget => MachineReport::OnTarget { at_rest: !machine.running },
        MachinePhase::HostDown => MachineReport::HostUnreachable,
        MachinePhase::Gone => MachineReport::Gone,
        MachinePhase::OtherImage { digest } => MachineReport::Runs { digest: digest.clone() },
        MachinePhase::SetByHand { digest } => MachineReport::SetByHand { digest: digest.clone() },
        MachinePhase::Failed { failure } => MachineReport::Failed { failure: failure.clone() },
        MachinePhase::Todo => match &machine.waits {
            Some(Wait::Lease { owner, .. }) => MachineReport::LeasedBy { owner: owner.clone() },
            Some(Wait::DeployOfSomebody { by, .. }) => MachineReport::OfDeploy { by: by.clone() },
            _ if machine.job_until.is_some() => MachineReport::JobAtWork,
            _ => MachineReport::Waiting,
        },
    }
}

/// Why a region counts as well.
pub(super) fn well(
    rollback: &Rollback,
    region: Region,
    shown: Option<Shown>,
    watched_s: f64,
) -> Reason {
    let by_requests = |one: &Evidence| one.verdict == Verdict::Breach && one.kind.counts_events();
    let breached = rollback.evidence.iter().any(by_requests);
    let on = rollback.by_hand.is_some().then(|| rollback.target.label());
    Reason::RegionWell { region, shown, watched_s, on, nothing_breached: !breached }
}

/// Region by region, for people.
pub fn report(rollback: &Rollback) -> Vec<RegionReport> {
    let of = |work: &RegionWork, machine: &MachineWork| {
        if work.is_left_alone() { MachineReport::RegionLeftAlone } else { describe(machine) }
    };
    let machines = |work: &RegionWork| {
        work.machines.iter().map(|(id, machine)| (id.clone(), of(work, machine))).collect()
    };
    rollback
        .regions
        .iter()
        .map(|work| RegionReport {
            region: work.region.clone(),
            phase: match work.phase {
                RegionPhase::Waiting => RegionStage::Waiting,
                RegionPhase::Updating | RegionPhase::Confirming(_)
                    if rollback.stopped.is_some() =>
                {
                    RegionStage::Stopped
                }
                RegionPhase::Updating => RegionStage::RollingBack,
                RegionPhase::Confirming(_) => RegionStage::Confirming,
                RegionPhase::Confirmed => RegionStage::Confirmed,
                RegionPhase::Skipped(_) => RegionStage::Skipped,
            },
            machines: machines(work),
        })
        .collect()
}

/// Whether what a rollback goes to can be pinned: it is trusted, another image, and not pinned yet.
pub fn can_pin(memory: &Memory, rollback: &Rollback) -> bool {
    let digest = &rollback.target.digest;
    let is_pinned = memory.pinned.as_ref().is_some_and(|pinned| pinned.digest == *digest);
    let is_trusted = memory.trusted.iter().any(|trusted| trusted.revision.digest == *digest);
    is_trusted && !is_pinned && !rollback.keeps_the_image()
}
