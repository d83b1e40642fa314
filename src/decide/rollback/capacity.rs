//! How many machines may be down because of us (promise 6): within a region, and within a process
//! group over all regions.
//!
//! A machine that was ordered counts as down until it was verified, or seen up by a look that was
//! made after it. What was written decides, and the machine's live state: not what a command that
//! was lost half way would have said.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    super::state::{FailingChecks, MachineWork, RegionWork, Rollback},
    left_down::LeftDown,
    progress::LIST_LAGS_BY,
    work::Listed,
};
use crate::model::{
    Machine, MachineId, MachineState, MaxUnavailable, Observation, Policy, ProcessGroup, Region,
    Strategy,
};

/// Machines at rest that are updated at once: nobody is served by them.
const AT_REST_AT_ONCE: usize = 4;

/// What is left of the places in each region and group.
pub(super) struct Capacity {
    of_region: BTreeMap<(Region, ProcessGroup), usize>,
    of_group: BTreeMap<ProcessGroup, usize>,
    at_rest: usize,
    /// What earlier rollbacks took down has its place as well.
    has_place: BTreeSet<MachineId>,
}

impl Capacity {
    /// As the machines are now; `left`: what rollbacks before this one took down.
    pub(super) fn of(
        policy: &Policy,
        rollback: &Rollback,
        listed: &[Listed],
        left: &BTreeMap<MachineId, LeftDown>,
    ) -> Self {
        let mut still_down = still_down(rollback, listed, left);
        let has_place = still_down.values().flatten().map(|machine| machine.id.clone()).collect();
        let mut of_region = BTreeMap::new();
        let mut up_of_group: BTreeMap<ProcessGroup, usize> = BTreeMap::new();
        let mut down_of_group: BTreeMap<ProcessGroup, usize> = BTreeMap::new();
        for work in &rollback.regions {
            let groups: BTreeSet<&ProcessGroup> =
                work.machines.values().map(|m| &m.group).collect();
            for group in groups {
                let left = still_down.remove(&(work.region.clone(), group.clone()));
                let left = left.unwrap_or_default();
                let up = up_in(work, group, listed, &left);
                let down = down_in(work, group, listed) + left.len();
                let places = places(policy, rollback, group, up);
                of_region.insert((work.region.clone(), group.clone()), places.saturating_sub(down));
                *up_of_group.entry(group.clone()).or_default() += up;
                *down_of_group.entry(group.clone()).or_default() += down;
            }
        }
        // Those of regions in which this rollback has nothing to do.
        for ((_, group), left) in still_down {
            *up_of_group.entry(group.clone()).or_default() += left.len();
            *down_of_group.entry(group).or_default() += left.len();
        }
        let of_group = up_of_group
            .into_iter()
            .map(|(group, up)| {
                let down = down_of_group.get(&group).copied().unwrap_or_default();
                let places = unavailable(policy, rollback, up);
                (group, places.saturating_sub(down))
            })
            .collect();
        let flying = rollback.regions.iter().flat_map(|work| work.machines.values());
        let at_rest = flying.filter(|machine| !machine.running && machine.is_in_flight()).count();
        let at_rest = AT_REST_AT_ONCE.saturating_sub(at_rest);
        Self { of_region, of_group, at_rest, has_place }
    }

    /// Takes a place for a machine, if there is one. What we took down already has its place: one
    /// that stays down cannot block its own next attempt.
    pub(super) fn take(
        &mut self,
        id: &MachineId,
        region: &Region,
        machine: &MachineWork,
        up: bool,
    ) -> bool {
        if machine.down_since.is_some() || self.has_place.contains(id) {
            return true;
        }
        if !machine.running && !up {
            return take_one(&mut self.at_rest);
        }
        let key = (region.clone(), machine.group.clone());
        let in_region = self.of_region.entry(key).or_default();
        let in_group = self.of_group.entry(machine.group.clone()).or_default();
        *in_region > 0 && take_one(in_group) && take_one(in_region)
    }
}

fn take_one(places: &mut usize) -> bool {
    match places.checked_sub(1) {
        Some(left) => {
            *places = left;
            true
        }
        None => false,
    }
}

fn is_started(listed: &[Listed], id: &MachineId) -> bool {
    listed.iter().any(|machine| machine.id == *id && machine.started)
}

/// What earlier rollbacks took down, and that is not well since; what this one has to do with itself is
/// left out.
fn still_down<'a>(
    rollback: &Rollback,
    listed: &'a [Listed],
    left: &BTreeMap<MachineId, LeftDown>,
) -> BTreeMap<(Region, ProcessGroup), Vec<&'a Listed>> {
    let mut down: BTreeMap<_, Vec<&Listed>> = BTreeMap::new();
    for machine in listed.iter().filter(|machine| left.contains_key(&machine.id)) {
        let work = rollback.machine(&machine.id);
        let counted = work.is_some_and(|work| work.down_since.is_some() || work.is_in_flight());
        // One that is up on the bad image serves, and needs a place to be taken down.
        let serves = machine.started && work.is_some_and(|work| !work.is_on_target());
        if !machine.well && !counted && !serves {
            let place = (machine.region.clone(), machine.group.clone());
            down.entry(place).or_default().push(machine);
        }
    }
    down
}

/// Machines of a region's group that are up, or would be but for us.
fn up_in(work: &RegionWork, group: &ProcessGroup, listed: &[Listed], left: &[&Listed]) -> usize {
    let is_left = |id: &MachineId| left.iter().any(|machine| machine.id == *id);
    let up = listed
        .iter()
        .filter(|machine| machine.region == work.region && machine.group == *group)
        .filter(|machine| machine.started || is_left(&machine.id));
    let down = work.machines.iter().filter(|(id, machine)| {
        let ours = machine.down_since.is_some() || (machine.is_in_flight() && machine.running);
        machine.group == *group && ours && !is_started(listed, id)
    });
    up.count() + down.count()
}

/// Machines of a region's group that are down because of us, or may be.
fn down_in(work: &RegionWork, group: &ProcessGroup, listed: &[Listed]) -> usize {
    let ours = work.machines.iter().filter(|(_, machine)| machine.group == *group);
    ours.filter(|(id, machine)| {
        let serves = machine.running || is_started(listed, id);
        machine.down_since.is_some() || (machine.is_in_flight() && serves)
    })
    .count()
}

/// How many machines of a region's group may be down at once because of us.
fn places(policy: &Policy, rollback: &Rollback, group: &ProcessGroup, up: usize) -> usize {
    // Each one that comes back after the rollback goes alone.
    if rollback.completed_at.is_some() {
        return 1;
    }
    // And so does the first machine of all; in a total outage until it has proved that it helps.
    let mut everywhere = rollback.regions.iter().flat_map(|work| work.machines.values());
    let is_back = |m: &MachineWork| m.group == *group && m.running && m.is_on_target();
    let one_is_back = everywhere.any(is_back);
    let goes_alone = if rollback.escalated {
        !rollback.proven && !rollback.regions.iter().any(RegionWork::has_proved)
    } else {
        rollback.strategy(policy) == Strategy::Rolling && !one_is_back
    };
    if goes_alone {
        return 1;
    }
    unavailable(policy, rollback, up)
}

/// The policy's limit among so many machines.
fn unavailable(policy: &Policy, rollback: &Rollback, up: usize) -> usize {
    if rollback.escalated || rollback.strategy(policy) == Strategy::Immediate {
        return up.max(1);
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

/// Takes a look at a machine into account: one that may be down because of us and is seen up,
/// by a look made after that, is back.
pub(super) fn note_seen(
    entry: &mut MachineWork,
    machine: &Machine,
    observation: &Observation,
    tolerated: &FailingChecks,
    now: Timestamp,
) {
    let Some(since) = entry.down_since.filter(|_| !entry.is_in_flight()) else { return };
    let is_another = machine.instance != entry.instance;
    // A list may be behind: the version that we may have replaced proves nothing for a while.
    let caught_up = observation.began.duration_since(since) >= LIST_LAGS_BY;
    let later = observation.began > since && (is_another || caught_up);
    if later && is_up(machine, tolerated, now) {
        entry.down_since = None;
    }
}

/// Started, and its checks pass where it has some.
fn is_up(machine: &Machine, tolerated: &FailingChecks, now: Timestamp) -> bool {
    let none = BTreeSet::new();
    let known = tolerated.get(&machine.id).unwrap_or(&none);
    matches!(machine.state, MachineState::Started) && machine.checks_pass(known, now)
}
