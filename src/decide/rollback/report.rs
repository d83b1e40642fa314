//! A rollback told to people: region by region, and what was left behind.

use super::super::state::{MachinePhase, MachineWork, RegionPhase, Rollback};
use crate::model::{Digest, Machine, RegionReport};

/// Machines that do not run the target when a rollback ends, by name.
pub(super) fn left_behind(rollback: &Rollback, machines: &[&Machine]) -> Option<String> {
    let target: &Digest = &rollback.target.digest;
    let left: Vec<String> = machines
        .iter()
        .filter(|machine| machine.digest() != Some(target))
        .map(|machine| {
            let why = rollback
                .regions
                .iter()
                .filter_map(|work| work.machines.get(&machine.id))
                .map(describe_machine)
                .next()
                .unwrap_or_else(|| "its region was left alone".to_owned());
            format!("{} in {}: {why}", machine.id, machine.region)
        })
        .collect();
    (!left.is_empty()).then(|| format!("not on the known-good image: {}", left.join("; ")))
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
