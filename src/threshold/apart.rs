//! One machine that fails while its equals serve: its host is to blame, or its disk, and not what it
//! runs. It is set apart: the release is judged without it, and people are told.
//!
//! Its equals are machines of the same release and group; at least two of them have to be clearly well,
//! one of these in its region, and none may fail as well. A second machine that fails is not set apart:
//! then it is the release.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Look,
    detect::recent::{Recent, at_most},
    machines,
    onset::is_bad,
    silent::Answered,
};
use crate::model::{Ailment, Alone, InstanceId, Machine, MachineId, Tally};

/// What a machine counted fades by half in so many seconds.
const HALF_S: f64 = 30.0;
/// What a machine answers is known for so long after it was last read.
const READ_WITHIN: SignedDuration = SignedDuration::from_mins(2);
/// Machines whose counts are remembered.
const MACHINES_MAX: usize = 500;
/// Bad events that are not faded away.
const FAILS_MIN: f64 = 1.0;
/// Equals that have to be clearly well, and how seldom one may look so although it is as bad.
const WELL_MIN: usize = 2;
const BY_CHANCE: f64 = 0.01;

/// What each machine of a release counted lately, and the one that is set apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Apart {
    machines: BTreeMap<MachineId, Fading>,
    one: Option<Suspect>,
}

/// Counts that fade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Fading {
    at: Timestamp,
    tally: Tally,
}

/// The machine that is set apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Suspect {
    alone: Alone,
    instance: InstanceId,
    recent: Recent,
}

/// The only machine that fails, where enough of its equals are well: then it is its own trouble, and no
/// release's. `failing` and `well` are machines of one release.
pub(super) fn only_one(failing: &Machine, well: &[&Machine], ailment: Ailment) -> Option<Alone> {
    let equals = || well.iter().filter(|one| one.group == failing.group);
    let near = equals().any(|one| one.region == failing.region);
    let beside = equals().count();
    (near && beside >= WELL_MIN).then(|| Alone {
        machine: failing.id.clone(),
        region: failing.region.clone(),
        counted: Tally { n: 1.0, k: 1.0 },
        beside: machines(beside),
        rest: Tally { n: machines(well.len()), k: 0.0 },
        ailment,
    })
}

/// Whether a machine fails: not by the trace that is left of a request that failed long ago.
fn fails(counted: Tally, limit: f64) -> bool {
    counted.k >= FAILS_MIN && is_bad(counted.n, counted.k, limit)
}

impl Fading {
    fn add(&mut self, now: Timestamp, n: f64, k: f64) {
        self.fade(now);
        self.tally.add(n, k);
    }

    fn fade(&mut self, now: Timestamp) {
        let age = now.duration_since(self.at).as_secs_f64().max(0.0);
        let left = (-age / HALF_S).exp2();
        self.tally = Tally { n: self.tally.n * left, k: self.tally.k * left };
        self.at = now;
    }
}

impl Apart {
    /// What one machine counted in the round of `now`.
    pub fn add(&mut self, machine: &Machine, now: Timestamp, n: f64, k: f64) {
        if !self.machines.contains_key(&machine.id) && self.machines.len() >= MACHINES_MAX {
            return;
        }
        let fresh = Fading { at: now, tally: Tally::default() };
        self.machines.entry(machine.id.clone()).or_insert(fresh).add(now, n, k);
        if let Some(one) = self.one.as_mut().filter(|one| one.alone.machine == machine.id)
            && n > 0.0
        {
            one.recent.add(now, n, k);
            one.alone.counted.add(n, k);
        }
    }

    /// Whether this machine's counts are left out.
    pub fn has(&self, machine: &Machine) -> bool {
        self.one
            .as_ref()
            .is_some_and(|one| one.alone.machine == machine.id && one.instance == machine.instance)
    }

    /// What each machine answers, as far as that is known of now: one that sleeps since this morning is due
    /// nothing.
    pub fn usual(&self, now: Timestamp) -> BTreeMap<MachineId, Answered> {
        let seconds = HALF_S / std::f64::consts::LN_2;
        let usual = |fading: &Fading| Answered { seconds, n: fading.tally.n };
        let lately = |fading: &&Fading| now.duration_since(fading.at) <= READ_WITHIN;
        let read = self.machines.iter().filter(|(_, fading)| lately(fading));
        read.map(|(id, fading)| (id.clone(), usual(fading))).collect()
    }

    /// Which one that is, and what it shows.
    pub fn alone(&self) -> Option<&Alone> {
        self.one.as_ref().map(|one| &one.alone)
    }

    /// Forgets machines that are gone, and takes back the one that is well again or was replaced.
    pub fn look(&mut self, on: &[Look<'_>], limit: f64) {
        self.machines.retain(|id, _| on.iter().any(|look| look.machine.id == *id));
        let stays = |one: &Suspect| {
            let then = one.alone.counted.share().unwrap_or_default().max(1.5 * limit);
            let same = |look: &Look<'_>| {
                look.machine.id == one.alone.machine && look.machine.instance == one.instance
            };
            on.iter().any(same) && !one.recent.is_within(limit, then)
        };
        self.one = self.one.take().filter(stays);
    }

    /// Sets the machine apart that fails alone, if there is one; whether there is.
    pub fn set(&mut self, on: &[Look<'_>], limit: f64, now: Timestamp) -> bool {
        if self.one.is_some() {
            return false;
        }
        for fading in self.machines.values_mut() {
            fading.fade(now);
        }
        self.one = self.find(on, limit);
        self.one.is_some()
    }

    fn find(&self, on: &[Look<'_>], limit: f64) -> Option<Suspect> {
        let counted = |look: &Look<'_>| {
            self.machines.get(&look.machine.id).map(|fading| fading.tally).unwrap_or_default()
        };
        let over = |look: &&Look<'_>| counted(look).k - limit * counted(look).n;
        let worst = on.iter().max_by(|a, b| over(a).total_cmp(&over(b)))?;
        let mine = counted(worst);
        let share = mine.share().filter(|_| fails(mine, limit))?;
        let mut rest = Tally::default();
        let mut well = Vec::new();
        for look in on.iter().filter(|look| look.machine.id != worst.machine.id) {
            let Tally { n, k } = counted(look);
            if fails(Tally { n, k }, limit) {
                return None;
            }
            rest.add(n, k);
            let equal = look.machine.group == worst.machine.group;
            if equal && k <= limit * n && at_most(k, n * share) < BY_CHANCE {
                well.push(look.machine);
            }
        }
        let near = well.iter().any(|machine| machine.region == worst.machine.region);
        let alone = rest.k <= limit * rest.n && near && well.len() >= WELL_MIN;
        alone.then(|| Suspect {
            alone: Alone {
                machine: worst.machine.id.clone(),
                region: worst.machine.region.clone(),
                counted: mine,
                beside: machines(well.len()),
                rest,
                ailment: Ailment::Counts,
            },
            instance: worst.machine.instance.clone(),
            recent: Recent::default(),
        })
    }
}
