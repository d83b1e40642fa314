//! What changes in an app while nobody makes a release of it: noted as it happens, and told when what
//! runs degrades.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    Context, Round,
    state::{Memory, Phase},
};
use crate::model::{
    Digest, InstanceId, Machine, MachineId, Secrets,
    reason::{Change, Changed},
};

/// Changes that are remembered.
const REMEMBERED_MAX: usize = 20;
/// How long before a degradation something may have changed that it comes of.
const BEFORE: SignedDuration = SignedDuration::from_mins(30);
/// The same, within this time, is one change: machines are restarted one after the other.
const TOGETHER: SignedDuration = SignedDuration::from_secs(120);

/// A machine as it was seen last.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    digest: Option<Digest>,
    instance: InstanceId,
    started_at: Option<Timestamp>,
}

/// The machines of the last round of a steady app.
pub type Fleet = BTreeMap<MachineId, Seen>;

/// Notes what changed since the last round; while a release comes or goes that is what changes.
pub(super) fn note(cx: &mut Context<'_>, phase: &Phase, round: &Round<'_>) {
    let is_quiet = match phase {
        Phase::Steady => true,
        Phase::Watching(watch) => !watch.is_deployed(),
        _ => false,
    };
    if !is_quiet || round.machines.is_empty() {
        cx.memory.vigil.fleet = None;
        return;
    }
    let seen: Fleet = round.machines.iter().map(|one| (one.id.clone(), of(one))).collect();
    let Some(before) = cx.memory.vigil.fleet.replace(seen.clone()) else { return };
    let count = |fleet: &Fleet| u32::try_from(fleet.len()).unwrap_or(u32::MAX);
    if before.len() != seen.len() {
        add(&mut cx.memory, cx.now, Changed::Scaled { from: count(&before), to: count(&seen) });
    }
    let both = || seen.iter().filter_map(|(id, now)| Some((before.get(id)?, now)));
    let same_image = |(was, is): &(&Seen, &Seen)| was.digest == is.digest;
    let configured = both().filter(same_image).filter(|(was, is)| was.instance != is.instance);
    let restarted =
        both().filter(|(was, is)| was.instance == is.instance && was.started_at < is.started_at);
    for (machines, restarts) in [(configured.count(), false), (restarted.count(), true)] {
        let machines = u32::try_from(machines).unwrap_or(u32::MAX);
        if machines > 0 {
            let what = if restarts {
                Changed::Restarted { machines }
            } else {
                Changed::Configured { machines }
            };
            add(&mut cx.memory, cx.now, what);
        }
    }
}

fn of(machine: &Machine) -> Seen {
    Seen {
        digest: machine.digest().cloned(),
        instance: machine.instance.clone(),
        started_at: machine.started_at,
    }
}

/// Notes that the secrets are others.
pub(super) fn secrets(memory: &mut Memory, read: &Secrets, now: Timestamp) {
    if memory.secrets.as_ref().is_some_and(|known| known != read) {
        add(memory, now, Changed::Secrets);
    }
}

fn add(memory: &mut Memory, at: Timestamp, what: Changed) {
    let lately = |one: &&mut Change| at.duration_since(one.at) <= TOGETHER;
    let last = memory.changes.back_mut().filter(lately);
    match (last.map(|one| &mut one.what), &what) {
        (Some(Changed::Scaled { to, .. }), Changed::Scaled { to: now, .. }) => *to = *now,
        (Some(Changed::Configured { machines }), Changed::Configured { machines: more })
        | (Some(Changed::Restarted { machines }), Changed::Restarted { machines: more }) => {
            *machines = machines.saturating_add(*more);
        }
        _ => memory.changes.push_back(Change { at, what }),
    }
    if memory.changes.len() > REMEMBERED_MAX {
        memory.changes.pop_front();
    }
}

/// What changed shortly before `since` and until now, the newest first: in the app, and releases of others.
pub(super) fn around(memory: &Memory, since: Timestamp) -> Vec<Change> {
    let from = since.checked_sub(BEFORE).unwrap_or(since);
    let others = memory.org.deploys.iter().map(|(app, (at, label))| Change {
        at: *at,
        what: Changed::Deployed { app: app.clone(), label: label.clone() },
    });
    let mut all: Vec<Change> = memory.changes.iter().cloned().chain(others).collect();
    all.retain(|change| change.at >= from);
    all.sort_by_key(|change| std::cmp::Reverse(change.at));
    all.truncate(REMEMBERED_MAX);
    all
}
