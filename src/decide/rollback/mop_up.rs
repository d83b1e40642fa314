//! After a rollback: machines that come back with the bad image (an autoscaler's clones, revived
//! hosts, reverts) are put right. What somebody set to it by hand is told and left.

use super::{
    super::{
        Context, Round, door,
        state::{Phase, RegionWork, Rollback},
    },
    event, pause,
    progress::rescan,
    region::order_machines,
    work::Listed,
};
use crate::model::{EventKind, MachineId, Reason};

pub(in crate::decide) fn mopping_up(
    mut rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    let found = rescan(&mut rollback, cx, round);
    let may_act = door::resume(cx, &rollback).is_none();
    if !found.set_by_hand.is_empty() {
        tell(cx, &rollback, Reason::SetByHand { machines: found.set_by_hand });
    }
    if !found.returned.is_empty() {
        let machines: Vec<MachineId> = found.returned;
        let put_right = may_act;
        tell(cx, &rollback, Reason::RunsAgain { machines, put_right });
    }
    if may_act {
        rollback.listed = Listed::all(round.machines, cx.now);
        order_machines(&mut rollback, cx, |work: &RegionWork| !work.is_left_alone());
    }
    if let Some(wait) = pause::news_of_waiting(&mut rollback, cx.now) {
        tell(cx, &rollback, Reason::Waits { wait });
    }
    Phase::RolledBack(rollback)
}

fn tell(cx: &mut Context<'_>, rollback: &Rollback, reason: Reason) {
    let mut event = event(cx, EventKind::ImageMixed, rollback);
    event.reason = Some(reason);
    cx.events.push(event);
}
