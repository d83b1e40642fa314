//! One region's machines: which are ordered next, and how many at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::{
    super::{
        Command, CommandId, Context, PutImage,
        state::{LedgerEntry, MachinePhase, MachineWork, RegionPhase, RegionWork, Rollback},
    },
    confirm::begin_confirm,
    report::describe_machine,
};
use crate::model::{
    HoldReason, Machine, MachineId, MachineState, MaxUnavailable, Policy, ProcessGroup, Region,
    Strategy,
};

/// Machines at rest that are updated at once: nobody is served by them.
const AT_REST_AT_ONCE: usize = 4;

/// Without any progress for this long a rollback stops: a machine may take its ready timeout
/// several times over, and a deploy may hold its leases for minutes.
const STALLED_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// Orders the next machines of a region, or moves on to confirming it.
pub(super) fn updating(
    rollback: &Rollback,
    work: &mut RegionWork,
    cx: &mut Context<'_>,
    machines: &[&Machine],
) -> Option<HoldReason> {
    let open = work.machines.values().any(|machine| match machine.phase {
        MachinePhase::Todo | MachinePhase::InFlight { .. } | MachinePhase::Leased { .. } => true,
        MachinePhase::OnTarget
        | MachinePhase::HostDown
        | MachinePhase::Gone
        | MachinePhase::Superseded { .. }
        | MachinePhase::Failed { .. } => false,
    });
    let failures: Vec<String> = work
        .machines
        .iter()
        .filter_map(|(id, machine)| match &machine.phase {
            MachinePhase::Failed { reason } => Some(format!("{id}: {reason}")),
            _ => None,
        })
        .collect();
    if open {
        order_machines(rollback, work, cx, machines);
        if is_blocked(work) {
            // To go on would take down more than the policy allows.
            let detail = failures.join("; ");
            return Some(HoldReason::RegionFailed { region: work.region.clone(), detail });
        }
        return stalled(cx, rollback, work);
    }
    let any_up = work.machines.values().any(|m| m.running && m.phase == MachinePhase::OnTarget);
    if !failures.is_empty() && !any_up {
        return Some(HoldReason::RegionFailed {
            region: work.region.clone(),
            detail: failures.join("; "),
        });
    }
    if any_up {
        work.phase = RegionPhase::Confirming(begin_confirm(cx.now, 1));
    } else {
        let detail = "nothing runs here".to_owned();
        work.phase = RegionPhase::Confirmed { detail };
    }
    None
}

/// Whether nothing came further for so long that people have to look.
fn stalled(cx: &Context<'_>, rollback: &Rollback, work: &RegionWork) -> Option<HoldReason> {
    if cx.now.duration_since(rollback.progress_at) < STALLED_AFTER {
        return None;
    }
    let open: Vec<String> = work
        .machines
        .iter()
        .filter(|(_, machine)| machine.phase != MachinePhase::OnTarget)
        .map(|(id, machine)| format!("{id}: {}", describe_machine(machine)))
        .collect();
    Some(HoldReason::Stalled {
        region: work.region.clone(),
        minutes: u64::try_from(STALLED_AFTER.as_mins()).unwrap_or(0),
        detail: open.join("; "),
    })
}

fn order_machines(
    rollback: &Rollback,
    work: &mut RegionWork,
    cx: &mut Context<'_>,
    machines: &[&Machine],
) {
    if rollback.waits_for.is_some() {
        return;
    }
    let is_up = |id: &MachineId| {
        machines.iter().any(|m| m.id == *id && matches!(m.state, MachineState::Started))
    };
    let now = cx.now;
    let mut ready: Vec<MachineId> = work
        .machines
        .iter()
        .filter(|(_, m)| {
            matches!(m.phase, MachinePhase::Todo | MachinePhase::Leased { .. })
                && m.missing_since.is_none()
                && m.retry_at.is_none_or(|at| at <= now)
        })
        .map(|(id, _)| id.clone())
        .collect();
    // Those that are down already first: putting them right costs no capacity.
    ready.sort_by_key(|id| (is_up(id), id.clone()));
    let at_rest = work.machines.values().filter(|m| !m.running && m.is_in_flight()).count();
    let mut free_at_rest = AT_REST_AT_ONCE.saturating_sub(at_rest);
    let mut free = free_by_group(cx.policy, rollback, work, machines);
    for id in ready {
        let Some(machine) = work.machines.get_mut(&id) else { continue };
        // What we took down already has its place; so a machine that stays down cannot block
        // its own next attempt.
        if !machine.is_down_by_us() {
            let slot = if machine.running {
                free.entry(machine.group.clone()).or_default()
            } else {
                &mut free_at_rest
            };
            if *slot == 0 {
                continue;
            }
            *slot -= 1;
        }
        let command = put_image(cx, rollback, &id, &work.region, machine);
        machine.phase = MachinePhase::InFlight { command };
    }
}

pub(super) fn put_image(
    cx: &mut Context<'_>,
    rollback: &Rollback,
    machine: &MachineId,
    region: &Region,
    work: &MachineWork,
) -> CommandId {
    let (release, release_id) = match &rollback.ledger {
        LedgerEntry::Open { id, version } => (Some(*version), Some(id.clone())),
        LedgerEntry::Opening | LedgerEntry::Refused { .. } => (rollback.target.version, None),
    };
    cx.command(Command::PutImage(Box::new(PutImage {
        machine: machine.clone(),
        region: region.clone(),
        target: rollback.target.image.clone(),
        bad: work.bad.clone(),
        release,
        release_id,
        after: rollback.after,
        own: cx.memory.own_releases.clone(),
        since: rollback.started_at,
        verified: None,
        rollback: rollback.id.clone(),
        up: work.running,
        stays_up: cx
            .memory
            .trusted
            .iter()
            .find(|trusted| trusted.revision.digest == rollback.target.digest)
            .is_some_and(|trusted| trusted.stayed_up.contains(&work.group)),
        tolerates: rollback.tolerated.get(machine).cloned().unwrap_or_default(),
        ready_timeout: cx.policy.rollback.ready_timeout,
    })))
}

/// Whether machines that failed for good hold the places that the others of their group need.
fn is_blocked(work: &RegionWork) -> bool {
    let groups: BTreeSet<&ProcessGroup> = work.machines.values().map(|m| &m.group).collect();
    groups.into_iter().any(|group| {
        let mut failed = false;
        let mut waiting = false;
        for machine in work.machines.values().filter(|m| m.group == *group && m.running) {
            match &machine.phase {
                MachinePhase::Failed { .. } => failed = true,
                MachinePhase::Todo if machine.retry_at.is_none() => waiting = true,
                MachinePhase::Todo
                | MachinePhase::InFlight { .. }
                | MachinePhase::Leased { .. } => return false,
                MachinePhase::OnTarget
                | MachinePhase::HostDown
                | MachinePhase::Gone
                | MachinePhase::Superseded { .. } => {}
            }
        }
        failed && waiting
    })
}

/// How many more running machines of each group may be taken down now.
fn free_by_group(
    policy: &Policy,
    rollback: &Rollback,
    work: &RegionWork,
    machines: &[&Machine],
) -> BTreeMap<ProcessGroup, usize> {
    let mut free = BTreeMap::new();
    for machine in work.machines.values() {
        free.entry(machine.group.clone()).or_insert_with(|| {
            let ours = work.machines.values().filter(|m| m.group == machine.group);
            let down = ours.filter(|m| (m.is_in_flight() && m.running) || m.is_down_by_us());
            pool(policy, rollback, work, machines, &machine.group).saturating_sub(down.count())
        });
    }
    free
}

/// How many running machines of a region's group may be down at once because of us.
fn pool(
    policy: &Policy,
    rollback: &Rollback,
    work: &RegionWork,
    machines: &[&Machine],
    group: &ProcessGroup,
) -> usize {
    let ours = || work.machines.values().filter(|m| m.group == *group && m.running);
    let up = machines
        .iter()
        .filter(|m| m.region == work.region && m.group == *group)
        .filter(|m| matches!(m.state, MachineState::Started))
        .count()
        .max(ours().count());
    if rollback.escalated || policy.rollback.strategy == Strategy::Immediate {
        return up.max(1);
    }
    if !ours().any(|m| m.phase == MachinePhase::OnTarget) {
        // The first machine goes alone.
        return 1;
    }
    let machines_at_once = match policy.rollback.max_unavailable {
        MaxUnavailable::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        MaxUnavailable::Share(share) => {
            let up = f64::from(u32::try_from(up).unwrap_or(u32::MAX));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of at most one of a machine count, rounded up"
            )]
            let count = (up * share.clamp(0.0, 1.0)).ceil() as usize;
            count
        }
    };
    machines_at_once.max(1)
}
