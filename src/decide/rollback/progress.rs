//! The work list against what the machines run.

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        Context, Round, fleet,
        rival::{self, Standing},
        state::{MachinePhase, MachineWork, RegionPhase, RegionWork, Rollback, Trusted},
    },
    capacity,
    outcome::ATTEMPTS_MAX,
};
use crate::model::{
    Digest, HostStatus, Machine, MachineFailure, MachineId, MachineState, Observation, Wait,
    rest::Activity,
};

/// Lists may be this much behind what was just done to a machine.
pub(super) const LIST_LAGS_BY: SignedDuration = SignedDuration::from_secs(35);
/// A verified machine that is not listed for so long, while others of its region are, is gone.
const GONE_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// One that is gone for so long is forgotten after the rollback: clones come and go for weeks.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// A job at work is let finish for so long: put back in the middle of it, it would be run again.
const JOB_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Ledger entries remembered.
const LEDGER_SEEN_MAX: usize = 10;

/// What a rescan found of a rollback that is over.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// On the bad image again, without a hand in it: they are put right.
    pub(super) returned: Vec<MachineId>,
    /// Set to the bad image by somebody: they are left.
    pub(super) set_by_hand: Vec<MachineId>,
}

/// Brings the work list in line with what the machines run now.
pub(super) fn rescan(rollback: &mut Rollback, cx: &Context<'_>, round: &Round<'_>) -> Found {
    let mut found = Found::default();
    if let Some(ledger) = &round.observation.ledger {
        rollback.ledger_seen = ledger.iter().take(LEDGER_SEEN_MAX).cloned().collect();
    }
    // What the rules are asked about is read from a copy; the work list is what changes.
    let before = rollback.clone();
    let claim = fleet::claim(&cx.memory, &before);
    let target = |old: &&Trusted| old.revision.digest == before.target.digest;
    let stayed_up = cx.memory.trusted.iter().find(target).map(|good| &good.stayed_up);
    // Of a machine without a digest nothing can be said.
    for machine in round.machines.iter().filter(|machine| machine.digest().is_some()) {
        let known = before.machine(&machine.id);
        let verified = known.and_then(|known| known.verified.as_ref());
        let ledger = Some(before.ledger_seen.as_slice());
        let standing = rival::of_machine(&claim, machine, verified, ledger, cx.now);
        let standing = of_somebody(machine, standing);
        let position = rollback.regions.iter().position(|work| work.region == machine.region);
        let index = match position {
            Some(index) => index,
            None if is_bad(&standing) => {
                let region = machine.region.clone();
                rollback.regions.push(RegionWork::new(region, RegionPhase::Waiting));
                rollback.regions.len() - 1
            }
            None => continue,
        };
        let over = rollback.completed_at.is_some();
        let Some(work) = rollback.regions.get_mut(index) else { continue };
        let stays_up = stayed_up.is_some_and(|groups| groups.contains(&machine.group));
        let job = job_of(machine, stays_up, cx);
        match work.machines.get_mut(&machine.id) {
            None if is_bad(&standing) => {
                let mut entry = planned(machine, &standing, stays_up);
                let_finish(&mut entry, &job);
                work.machines.insert(machine.id.clone(), entry);
                reopen(work, over);
                if over {
                    found.returned.push(machine.id.clone());
                }
            }
            None => {}
            Some(entry) => {
                entry.written =
                    entry.is_in_flight() && machine.digest() == Some(&before.target.digest);
                capacity::note_seen(entry, machine, round.observation, &before.tolerated, cx.now);
                entry.came_up_at = entry.came_up_at.filter(|at| round.observation.began <= *at);
                let change = seen(entry, machine, &standing, round.observation);
                let_finish(entry, &job);
                match change {
                    Change::None => {}
                    Change::Reopened => reopen(work, over),
                    Change::Returned => {
                        found.returned.push(machine.id.clone());
                        reopen(work, over);
                    }
                    Change::SetByHand => found.set_by_hand.push(machine.id.clone()),
                }
            }
        }
    }
    note_missing(rollback, round, cx.now);
    found
}

/// Somebody's newer release ended the rollback, or began a watch, before the work list is looked at:
/// here it is an image like any other that is not ours.
fn of_somebody(machine: &Machine, standing: Standing) -> Standing {
    match standing {
        Standing::NewerRelease { .. } => Standing::OtherImage { digest: machine.digest().cloned() },
        other => other,
    }
}

fn is_bad(standing: &Standing) -> bool {
    matches!(standing, Standing::Ours | Standing::Deploying { .. })
}

/// A machine that is new to the work list.
fn planned(machine: &Machine, standing: &Standing, stays_up: bool) -> MachineWork {
    let reachable = machine.host == HostStatus::Ok;
    MachineWork {
        phase: if reachable { MachinePhase::Todo } else { MachinePhase::HostDown },
        attempts: 0,
        given_up: None,
        waits: deploy_of(standing),
        retry_at: None,
        job_until: None,
        came_up_at: None,
        verified: None,
        verified_at: None,
        down_since: None,
        instance: machine.instance.clone(),
        written: false,
        // What ended although it should serve is to be up again; what rests on purpose, a job that is
        // done, and what has a schedule of its own are not.
        running: !machine.lies() || machine.activity(stays_up).is_to_be_started(),
        bad: machine.digest().cloned().unwrap_or_else(|| Digest::new("")),
        group: machine.group.clone(),
        missing_since: None,
    }
}

/// What is known of a machine as one of a job.
enum Job {
    /// It is none, or is not at work.
    None,
    /// It is at work, and is let finish until then.
    AtWork { until: Timestamp },
    /// It is done.
    Done,
}

fn job_of(machine: &Machine, stays_up: bool, cx: &Context<'_>) -> Job {
    if machine.activity(stays_up) == Activity::JobDone {
        return Job::Done;
    }
    let known = !stays_up && !machine.has_services && cx.memory.jobs.contains(&machine.group);
    let is_job = known || machine.own_schedule;
    let at_work = is_job && matches!(machine.state, MachineState::Started);
    let until = machine.started_at.and_then(|at| at.checked_add(JOB_MAX).ok());
    match until.filter(|until| at_work && *until > cx.now) {
        Some(until) => Job::AtWork { until },
        None => Job::None,
    }
}

/// Lets a job finish before its machine is written to, and leaves it at rest once it is done.
fn let_finish(entry: &mut MachineWork, job: &Job) {
    let is_planned = entry.phase == MachinePhase::Todo;
    entry.job_until = match job {
        Job::AtWork { until } if is_planned => Some(*until),
        _ => None,
    };
    // One that we may have taken down ourselves is to be up again.
    if is_planned && matches!(job, Job::Done) && entry.down_since.is_none() {
        entry.running = false;
    }
}

fn deploy_of(standing: &Standing) -> Option<Wait> {
    match standing {
        Standing::Deploying { version, by, .. } => {
            Some(Wait::DeployOfSomebody { version: *version, by: by.clone() })
        }
        _ => None,
    }
}

/// What a look changed about a machine of the work list.
enum Change {
    None,
    Reopened,
    Returned,
    SetByHand,
}

fn seen(
    entry: &mut MachineWork,
    machine: &Machine,
    standing: &Standing,
    observation: &Observation,
) -> Change {
    let reachable = machine.host == HostStatus::Ok;
    if is_bad(standing)
        && let Some(digest) = machine.digest()
    {
        entry.bad = digest.clone();
    }
    // One that was started since it was planned (autostart) serves, and is to go on.
    entry.running |= is_bad(standing) && matches!(machine.state, MachineState::Started);
    // A list may still show what a machine ran before we verified it.
    let stale =
        entry.verified_at.is_some_and(|at| observation.began.duration_since(at) < LIST_LAGS_BY);
    match (&entry.phase, standing) {
        (MachinePhase::InFlight { .. }, _) => Change::None,
        (MachinePhase::Todo | MachinePhase::Failed { .. }, _) if !reachable => {
            entry.phase = MachinePhase::HostDown;
            Change::None
        }
        (
            MachinePhase::Todo | MachinePhase::Failed { .. } | MachinePhase::HostDown,
            Standing::OtherImage { digest },
        ) => {
            entry.phase = MachinePhase::OtherImage { digest: digest.clone() };
            entry.given_up = None;
            Change::None
        }
        (MachinePhase::Todo | MachinePhase::Failed { .. }, _) => {
            let waits_for_deploy = matches!(entry.waits, Some(Wait::DeployOfSomebody { .. }));
            match deploy_of(standing) {
                Some(wait) => entry.waits = Some(wait),
                None if waits_for_deploy => entry.waits = None,
                None => {}
            }
            Change::None
        }
        (MachinePhase::HostDown, _) if reachable => {
            entry.phase = MachinePhase::Todo;
            Change::Reopened
        }
        (MachinePhase::HostDown, _) => Change::None,
        (MachinePhase::Gone | MachinePhase::OtherImage { .. }, standing)
            if is_bad(standing) && reachable =>
        {
            entry.phase = MachinePhase::Todo;
            Change::Reopened
        }
        (MachinePhase::OnTarget, _) if stale => Change::None,
        (
            MachinePhase::OnTarget | MachinePhase::OtherImage { .. },
            Standing::SetByHand { digest },
        ) => {
            entry.phase = MachinePhase::SetByHand { digest: digest.clone() };
            Change::SetByHand
        }
        (MachinePhase::OnTarget, Standing::OtherImage { digest }) => {
            entry.phase = MachinePhase::OtherImage { digest: digest.clone() };
            Change::None
        }
        (MachinePhase::OnTarget, standing) if is_bad(standing) && reachable => {
            // The platform went back to what it ran before.
            entry.attempts += 1;
            entry.retry_at = None;
            entry.phase = MachinePhase::Todo;
            if entry.attempts >= ATTEMPTS_MAX {
                entry.given_up = Some(MachineFailure::GoesBack);
                entry.phase = MachinePhase::Failed { failure: MachineFailure::GoesBack };
            }
            Change::Returned
        }
        (MachinePhase::SetByHand { .. }, Standing::OnTarget) => {
            entry.phase = MachinePhase::OnTarget;
            Change::None
        }
        (
            MachinePhase::OnTarget
            | MachinePhase::Gone
            | MachinePhase::OtherImage { .. }
            | MachinePhase::SetByHand { .. },
            _,
        ) => Change::None,
    }
}

/// A region with new work waits for its turn again, while the rollback is not over: the one that is
/// under way goes first.
fn reopen(work: &mut RegionWork, over: bool) {
    let closed = match work.phase {
        RegionPhase::Confirmed | RegionPhase::Skipped(_) => !work.is_left_alone(),
        RegionPhase::Waiting | RegionPhase::Updating | RegionPhase::Confirming(_) => false,
    };
    if closed && !over {
        work.phase = RegionPhase::Waiting;
    }
}

/// What is not listed is not gone for that: a list may lack a whole region for a while. A machine
/// that is still to be put right is asked for by its own id; one that was verified is given up when
/// only its neighbours are listed.
fn note_missing(rollback: &mut Rollback, round: &Round<'_>, now: Timestamp) {
    let over = rollback.completed_at.is_some();
    for work in &mut rollback.regions {
        let region_listed = round.machines.iter().any(|m| m.region == work.region);
        work.unlisted_since =
            if region_listed { None } else { Some(work.unlisted_since.unwrap_or(now)) };
        for (id, entry) in &mut work.machines {
            if round.machines.iter().any(|machine| machine.id == *id) {
                entry.missing_since = None;
                continue;
            }
            let since = *entry.missing_since.get_or_insert(now);
            let long = now.duration_since(since) >= GONE_AFTER;
            // What is under way tells by itself. One that waits, such as the canary of a deploy, may
            // never be tried again.
            let is_quiet = match entry.phase {
                MachinePhase::OnTarget
                | MachinePhase::Todo
                | MachinePhase::Failed { .. }
                | MachinePhase::OtherImage { .. }
                | MachinePhase::SetByHand { .. } => true,
                MachinePhase::InFlight { .. } | MachinePhase::HostDown | MachinePhase::Gone => {
                    false
                }
            };
            if region_listed && long && is_quiet {
                entry.phase = MachinePhase::Gone;
                entry.given_up = None;
                entry.down_since = None;
            }
        }
        if over {
            work.machines.retain(|_, entry| !is_forgotten(entry, now));
        }
    }
}

/// Whether a machine of a rollback that is over is gone for so long that nobody asks for it.
fn is_forgotten(entry: &MachineWork, now: Timestamp) -> bool {
    let long = |since: Timestamp| now.duration_since(since) >= FORGOTTEN_AFTER;
    entry.phase == MachinePhase::Gone && entry.missing_since.is_some_and(long)
}
