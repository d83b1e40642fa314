//! A rollback as it goes: regions and their machines, from bad to good.

use maud::{Markup, html};

use super::part::{Tone, badge};
use crate::{
    model::{MachineReport, RegionReport, RegionStage},
    notify::text,
};

/// Machines named one by one in a region.
const NAMED_MAX: usize = 200;

fn machine_tone(machine: &MachineReport) -> Tone {
    match machine {
        MachineReport::OnTarget { .. } => Tone::Good,
        MachineReport::Updating | MachineReport::JobAtWork => Tone::Busy,
        MachineReport::Waiting | MachineReport::Failed { .. } => Tone::Bad,
        MachineReport::LeasedBy { .. }
        | MachineReport::OfDeploy { .. }
        | MachineReport::HostUnreachable
        | MachineReport::SetByHand { .. }
        | MachineReport::Told { .. } => Tone::Warn,
        MachineReport::Gone | MachineReport::Runs { .. } | MachineReport::RegionLeftAlone => {
            Tone::Calm
        }
    }
}

fn stage_tone(stage: RegionStage) -> Tone {
    match stage {
        RegionStage::Waiting | RegionStage::Stopped => Tone::Bad,
        RegionStage::RollingBack | RegionStage::Confirming => Tone::Busy,
        RegionStage::Confirmed => Tone::Good,
        RegionStage::Skipped => Tone::Calm,
    }
}

fn done(region: &RegionReport) -> usize {
    region.machines.values().filter(|machine| machine.is_on_target()).count()
}

/// `target`: what the known-good release is called.
pub(super) fn rollback(regions: &[RegionReport], target: &str) -> Markup {
    let all: usize = regions.iter().map(|region| region.machines.len()).sum();
    let good: usize = regions.iter().map(done).sum();
    html! {
        h2 { "Back to " (target) ": " (good) " of " (all) " machines" }
        progress max=(all) value=(good) { (good) " of " (all) }
        div.regions {
            @for region in regions { (in_region(region)) }
        }
    }
}

fn in_region(region: &RegionReport) -> Markup {
    html! {
        section.region {
            h3 { (region.region) " " (badge(stage_tone(region.phase), &region.phase.word().replace('_', " "))) }
            p { (done(region)) " of " (region.machines.len()) " machines" }
            // One square for each, and what it is in words below.
            ul.squares aria-hidden="true" {
                @for machine in region.machines.values().take(NAMED_MAX) {
                    li .(machine_tone(machine).class()) {}
                }
            }
            details #{ "r-" (region.region) } {
                summary { "Machines" }
                ul {
                    @for (id, machine) in region.machines.iter().take(NAMED_MAX) {
                        li .(machine_tone(machine).class()) { code { (id) } " " (text::machine(machine)) }
                    }
                    @if region.machines.len() > NAMED_MAX {
                        li { "and " (region.machines.len() - NAMED_MAX) " more" }
                    }
                }
            }
        }
    }
}
