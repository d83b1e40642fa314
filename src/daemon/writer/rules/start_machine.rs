//! What a fresh look means for a machine that we took down, and that is to run again.

use super::update_machine::out_of_reach;
use crate::{
    decide::{StartMachine, StartOutcome},
    model::{Activity, Machine, MachineState},
};

/// Whether it is to be started: it still rests where it was seen to, and nobody but us took it
/// down.
pub(super) fn after_look(start: &StartMachine, machine: &Machine) -> Result<(), StartOutcome> {
    if let Some(outcome) = out_of_reach(machine) {
        return Err(StartOutcome::Not(outcome));
    }
    // Another version is somebody's newer wish, up or down.
    if machine.instance != start.instance {
        return Err(StartOutcome::NotOurs);
    }
    match &machine.state {
        MachineState::Stopped | MachineState::Failed | MachineState::LaunchFailed => {}
        // Suspended is somebody's wish; created, nobody started yet.
        MachineState::Suspended | MachineState::Created => return Err(StartOutcome::NotOurs),
        _ => return Err(StartOutcome::AlreadyUp),
    }
    if machine.activity(start.stays_up) == Activity::JobDone {
        return Err(StartOutcome::NotOurs);
    }
    // It was up again after we took it down: what stopped it then was not us.
    if machine.started_at.is_some_and(|started| started > start.down_since) {
        return Err(StartOutcome::NotOurs);
    }
    Ok(())
}
