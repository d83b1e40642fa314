//! A rollback told to people: region by region, and what was left behind.

use super::super::state::{MachinePhase, MachineWork, RegionPhase, Rollback};
use crate::model::{Machine, MachineId, Reason, RegionReport, reason::LeftMachine};

/// Machines that do not run the target when a rollback ends, by name. Machines outside any release,
/// such as `fly machine run` makes, are nobody's concern.
pub(super) fn left_behind(rollback: &Rollback, machines: &[&Machine]) -> Option<Reason> {
    let left: Vec<LeftMachine> = machines
        .iter()
        .filter(|machine| machine.release.is_some())
        .filter(|machine| machine.digest() != Some(&rollback.target.digest))
        .filter_map(|machine| {
            let work = rollback.regions.iter().find(|work| work.region == machine.region);
            let known = work.and_then(|work| work.machines.get(&machine.id));
            if known.is_some_and(|known| known.phase == MachinePhase::OnTarget) {
                // Verified under its lease; the list lags behind.
                return None;
            }
            let skipped = work.is_some_and(|work| matches!(work.phase, RegionPhase::Skipped));
            let why = match known {
                Some(known) => describe_machine(known),
                None if skipped => "its region was left alone".to_owned(),
                None => match machine.digest() {
                    Some(digest) => format!("runs {}", digest.short()),
                    None => "runs an image without digest".to_owned(),
                },
            };
            let (machine, region) = (machine.id.clone(), machine.region.clone());
            Some(LeftMachine { machine, region, state: why })
        })
        .collect();
    (!left.is_empty()).then_some(Reason::LeftBehind { machines: left })
}

/// Why a machine was given up; `None`: it was not.
pub(super) fn failure_of(rollback: &Rollback, id: &MachineId) -> Option<String> {
    let known = rollback.regions.iter().find_map(|work| work.machines.get(id))?;
    match &known.phase {
        MachinePhase::Failed { reason } => Some(reason.clone()),
        MachinePhase::Todo
        | MachinePhase::InFlight { .. }
        | MachinePhase::OnTarget
        | MachinePhase::Leased { .. }
        | MachinePhase::HostDown
        | MachinePhase::Gone
        | MachinePhase::Superseded { .. } => None,
    }
}

pub(super) fn describe_machine(machine: &MachineWork) -> String {
    match &machine.phase {
        MachinePhase::Todo => "waiting".to_owned(),
        MachinePhase::InFlight { .. } => "being updated".to_owned(),
        MachinePhase::OnTarget if machine.running => "on target".to_owned(),
        MachinePhase::OnTarget => "on target, at rest".to_owned(),
        MachinePhase::Leased { owner } => format!("leased by {owner}"),
        MachinePhase::HostDown => "host unreachable".to_owned(),
        MachinePhase::Gone => "gone".to_owned(),
        MachinePhase::Superseded { runs } => format!("runs {runs}"),
        MachinePhase::Failed { reason } => format!("failed: {reason}"),
    }
}

/// Region by region, for people.
pub fn report(rollback: &Rollback) -> Vec<RegionReport> {
    rollback
        .regions
        .iter()
        .map(|work| RegionReport {
            region: work.region.clone(),
            phase: match work.phase {
                RegionPhase::Waiting => "waiting",
                RegionPhase::Updating => "rolling_back",
                RegionPhase::Confirming(_) => "confirming",
                RegionPhase::Confirmed { .. } => "confirmed",
                RegionPhase::Skipped => "skipped",
            }
            .to_owned(),
            machines: work
                .machines
                .iter()
                .map(|(id, machine)| (id.clone(), describe_machine(machine)))
                .collect(),
        })
        .collect()
}
