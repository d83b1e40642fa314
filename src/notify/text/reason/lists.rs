//! Machines and images, one after the other.

use crate::{
    model::{
        MachineId,
        reason::{ImageCount, LeftMachine},
    },
    notify::text::report::machine,
};

pub(super) fn names(machines: &[MachineId]) -> String {
    machines.iter().map(MachineId::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn mix(images: &[ImageCount]) -> String {
    let parts: Vec<String> = images
        .iter()
        .map(|one| format!("{} of group {} on {}", one.machines, one.group, one.digest.short()))
        .collect();
    parts.join(", ")
}

pub(super) fn left(machines: &[LeftMachine]) -> String {
    let parts: Vec<String> = machines
        .iter()
        .map(|left| format!("{} in {}: {}", left.machine, left.region, machine(&left.state)))
        .collect();
    parts.join("; ")
}
