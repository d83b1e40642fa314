//! After a rollback: machines that come back with the bad image (an autoscaler's clones, revived
//! hosts) are put right, one at a time per region.

use super::{
    super::{
        Context, Round, door,
        state::{MachinePhase, MachineWork, Phase, RegionPhase, Rollback},
    },
    event,
    progress::{Seen, rescan},
    region,
};
use crate::model::{EventKind, Reason};

pub(in crate::decide) fn mopping_up(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    if door::resume(cx).is_some() {
        return Phase::RolledBack(rollback);
    }
    let returned = rescan(&mut rollback, &Seen::of(cx, round), cx.now);
    if !returned.is_empty() {
        let mut event = event(cx, EventKind::ImageMixed, &rollback);
        event.reason = Some(Reason::RunsAgain { machines: returned });
        cx.events.push(event);
    }
    let mut regions = std::mem::take(&mut rollback.regions);
    for work in &mut regions {
        let skipped = matches!(work.phase, RegionPhase::Skipped);
        let busy = work.machines.values().any(MachineWork::is_in_flight);
        if skipped || busy {
            continue;
        }
        let now = cx.now;
        let next = work.machines.iter().find(|(_, machine)| {
            matches!(machine.phase, MachinePhase::Todo | MachinePhase::Leased { .. })
                && machine.retry_at.is_none_or(|at| at <= now)
        });
        let Some((id, machine)) = next.map(|(id, machine)| (id.clone(), machine.clone())) else {
            continue;
        };
        let command = region::put_image(cx, &rollback, &id, &work.region, &machine);
        if let Some(machine) = work.machines.get_mut(&id) {
            machine.phase = MachinePhase::InFlight { command };
        }
    }
    rollback.regions = regions;
    Phase::RolledBack(rollback)
}
