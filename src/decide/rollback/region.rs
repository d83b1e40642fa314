//! One region's machines: which are ordered next, and when all is done that can be.

use jiff::Timestamp;

use super::{
    super::{
        Command, CommandId, Context, PutImage,
        state::{LedgerEntry, MachinePhase, MachineWork, RegionPhase, RegionWork, Rollback},
    },
    capacity::Capacity,
    confirm::begin_confirm,
    work::Skip,
};
use crate::model::{MachineId, Region, Shown, Wait};

/// How long a region that the platform does not list at all is waited for.
const UNLISTED_MAX: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// What comes after the machines of a region were looked at.
pub(super) enum Next {
    /// It stays in its phase for this round; what it waits for, if anything.
    Stays(RegionPhase, Option<Wait>),
    /// It came further.
    Moves(RegionPhase),
    /// It is well on the known-good image: what requests say of it, and the seconds it was watched.
    Confirmed(Option<Shown>, f64),
    /// Nobody is served by it any more: it is done, and proved nothing.
    Rests,
}

/// Where a region stands whose machines are put on the known-good image.
pub(super) fn updating(work: &RegionWork, now: Timestamp) -> Next {
    if work.awaited().next().is_some() {
        let wait = work.awaited().filter_map(|machine| machine.waits.clone()).next();
        return Next::Stays(RegionPhase::Updating, wait);
    }
    let unlisted = work.unlisted_since.filter(|_| {
        // A verified machine tells by itself that the region is there.
        !work.machines.values().any(MachineWork::is_on_target)
    });
    if unlisted.is_some_and(|since| now.duration_since(since) < UNLISTED_MAX) {
        let wait = Wait::Unlisted { region: work.region.clone() };
        return Next::Stays(RegionPhase::Updating, Some(wait));
    }
    let any = |is: fn(&MachineWork) -> bool| work.machines.values().any(is);
    if work.is_back() {
        let counted = work.counted.clone();
        let confirm = counted.unwrap_or_else(|| Box::new(begin_confirm(now)));
        return Next::Moves(RegionPhase::Confirming(confirm));
    }
    if any(|machine| machine.given_up.is_some() && machine.down_since.is_some()) {
        // To go on would take down more than the policy allows.
        return Next::Stays(RegionPhase::Updating, failing(std::iter::once(work)));
    }
    Next::Moves(if any(|machine| machine.given_up.is_some()) {
        RegionPhase::Skipped(Skip::GivenUp)
    } else if any(|machine| machine.phase == MachinePhase::HostDown) {
        RegionPhase::Skipped(Skip::Unreachable)
    } else if any(MachineWork::is_on_target) {
        RegionPhase::Confirmed
    } else {
        RegionPhase::Skipped(Skip::NothingHere)
    })
}

/// What is waited for while machines are due and none may be taken down: those that may be down
/// because of us on a host that does not answer, while nothing is under way.
pub(super) fn no_place(rollback: &Rollback, now: Timestamp) -> Option<Wait> {
    let machines = || rollback.regions.iter().flat_map(|work| &work.machines);
    let is_idle = !machines().any(|(_, machine)| machine.is_in_flight());
    let is_due = machines().any(|(_, machine)| machine.is_open() && machine.is_due(now));
    // What is tried again frees its place by itself.
    let down = machines().filter(|(_, machine)| {
        machine.down_since.is_some() && machine.phase == MachinePhase::HostDown
    });
    let down: Vec<MachineId> = down.map(|(id, _)| id.clone()).collect();
    (is_idle && is_due && !down.is_empty()).then_some(Wait::NoPlace { down })
}

/// The machines that could not be put right.
pub(super) fn failing<'a>(regions: impl Iterator<Item = &'a RegionWork>) -> Option<Wait> {
    let machines = regions
        .flat_map(|work| &work.machines)
        .filter_map(|(id, machine)| Some((id.clone(), machine.given_up.clone()?)))
        .collect::<std::collections::BTreeMap<_, _>>();
    (!machines.is_empty()).then_some(Wait::Failing { machines })
}

/// Orders what is due in the regions of `among`, as far as there are places.
pub(super) fn order_machines(
    rollback: &mut Rollback,
    cx: &mut Context<'_>,
    among: impl Fn(&RegionWork) -> bool,
) {
    let listed = std::mem::take(&mut rollback.listed);
    let is_up = |id: &MachineId| listed.iter().any(|m| m.id == *id && m.started);
    let mut capacity = Capacity::of(cx.policy, rollback, &listed, &cx.memory.left_down);
    let mut due: Vec<(bool, Region, MachineId, MachineWork)> = Vec::new();
    for work in rollback.regions.iter().filter(|work| among(work)) {
        for (id, machine) in work.machines.iter().filter(|(_, machine)| machine.is_due(cx.now)) {
            due.push((is_up(id), work.region.clone(), id.clone(), machine.clone()));
        }
    }
    // Those that are down already first: putting them right costs no capacity.
    due.sort_by_key(|(up, _, id, _)| (*up, id.clone()));
    for (up, region, id, mut machine) in due {
        if !capacity.take(&id, &region, &machine, up) {
            continue;
        }
        machine.running |= up;
        if let Some(listed) = listed.iter().find(|listed| listed.id == id) {
            machine.instance = listed.instance.clone();
        }
        let command = put_image(cx, rollback, &id, &region, &machine);
        machine.phase = MachinePhase::InFlight { command };
        machine.written = false;
        let work = rollback.regions.iter_mut().find(|work| work.region == region);
        let Some(work) = work else { continue };
        if work.phase == RegionPhase::Waiting {
            work.phase = RegionPhase::Updating;
        }
        if let Some(entry) = work.machines.get_mut(&id) {
            *entry = machine;
        }
    }
    rollback.listed = listed;
}

fn put_image(
    cx: &mut Context<'_>,
    rollback: &Rollback,
    machine: &MachineId,
    region: &Region,
    work: &MachineWork,
) -> CommandId {
    let release_id = match &rollback.ledger {
        LedgerEntry::Open { id, .. } => Some(id.clone()),
        LedgerEntry::Opening | LedgerEntry::Closed { .. } | LedgerEntry::Refused { .. } => None,
    };
    let own = cx.memory.own_releases.clone();
    cx.command(Command::PutImage(Box::new(PutImage {
        machine: machine.clone(),
        region: region.clone(),
        target: rollback.target.image.clone(),
        bad: work.bad.clone(),
        put_back: rollback.put_back_in(&work.group),
        leaves: rollback.leaves.clone(),
        bad_release: rollback.bad.version,
        release: rollback.ledger.version().or(rollback.target.version),
        release_id,
        after: rollback.after,
        own,
        since: rollback.started_at,
        verified: work.verified.clone(),
        rollback: rollback.id.clone(),
        up: work.running,
        stays_up: cx
            .memory
            .trusted
            .iter()
            .find(|trusted| trusted.revision.digest == rollback.target.digest)
            .is_some_and(|trusted| trusted.stayed_up.contains(&work.group)),
        taken_down: work.down_since.is_some(),
        tolerates: rollback.tolerated.get(machine).cloned().unwrap_or_default(),
        ready_timeout: cx.policy.rollback.ready_timeout,
    })))
}
