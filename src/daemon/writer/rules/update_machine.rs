//! What a fresh look, and then the ledger, mean for a machine that is to get the target image.

use super::{Now, await_ready::Goal, containers, edit_config};
use crate::{
    decide::{
        PutImage, PutOutcome,
        rival::{self, Claim, ROLLBACK_MARK, Standing},
    },
    model::{self, HostStatus, Machine, MachineState, Release, Transition},
    ports::MachineUpdate,
};

/// What follows from a look.
pub(super) enum Step {
    End(PutOutcome),
    /// It is to be written, if nobody wants anything newer.
    AskLedger,
    /// It runs the target, or an earlier attempt of ours is still under way there.
    SeeThrough(Goal),
}

fn claim(put: &PutImage) -> Claim<'_> {
    Claim {
        bad: vec![&put.bad],
        target: &put.target,
        put_back: &put.put_back,
        leaves: &put.leaves,
        bad_release: put.bad_release,
        after: put.after,
        own: &put.own,
        since: put.since,
    }
}

pub(super) fn after_look(put: &PutImage, machine: &Machine, now: Now) -> Step {
    if let Some(outcome) = out_of_reach(machine) {
        return Step::End(outcome);
    }
    let ours = machine.metadata.get(ROLLBACK_MARK) == Some(&put.rollback);
    match rival::of_machine(&claim(put), machine, put.verified.as_ref(), None, now.clock) {
        Standing::NewerRelease { version, by } => {
            Step::End(PutOutcome::NewerRelease { version, by })
        }
        Standing::OnTarget => {
            let config = machine.config.as_ref();
            let reference = put.target.reference();
            // The image beside its containers is not what such a machine runs.
            if let Some(reason) = config.and_then(|one| containers::is_passed_by(one, &reference)) {
                return Step::End(PutOutcome::Refused { reason });
            }
            // An update may reset the list of events: of a machine that we updated only the plan
            // knows that it had crashed, or that it was up.
            let standing = machine.activity(put.stays_up);
            // What we wrote a moment ago, and were not to start, rests when it has settled.
            let is_replaced = matches!(
                machine.state,
                MachineState::Transient(Transition::Replacing | Transition::Updating)
            );
            let settles_at_rest = ours && !put.up && is_replaced;
            let rests = settles_at_rest || (machine.lies() && !standing.is_to_be_started());
            let taken_down = ours && put.up && standing != model::Activity::JobDone;
            Step::SeeThrough(if rests && !taken_down { Goal::AtRest } else { Goal::Up })
        }
        _ if ours && is_half_done(put, machine) => {
            Step::SeeThrough(if put.up { Goal::Up } else { Goal::AtRest })
        }
        _ => Step::AskLedger,
    }
}

/// Why a machine cannot be written to at all.
pub(super) fn out_of_reach(machine: &Machine) -> Option<PutOutcome> {
    if machine.state == MachineState::Destroyed {
        return Some(PutOutcome::Gone);
    }
    let status = match machine.host {
        HostStatus::Ok => return None,
        HostStatus::Unknown => "unknown",
        HostStatus::Unreachable => "unreachable",
    };
    Some(PutOutcome::HostDown { status: status.to_owned() })
}

/// Whether an attempt of ours, of which we did not hear the end, is under way: the machine is
/// configured with the target, and the platform still shows the image of before.
fn is_half_done(put: &PutImage, machine: &Machine) -> bool {
    let configured = machine.config.as_ref();
    matches!(machine.state, MachineState::Transient(_))
        && configured.is_some_and(|config| edit_config::asks_for(config, &put.target.reference()))
}

/// The update to be made, and where the machine is to end, if it is still ours to write.
pub(super) fn still_wanted(
    put: &PutImage,
    machine: &Machine,
    ledger: Option<&[Release]>,
    now: Now,
) -> Result<(MachineUpdate, Goal), PutOutcome> {
    let verified = put.verified.as_ref();
    match rival::before_writing(&claim(put), machine, verified, ledger, now.clock) {
        Standing::Ours => {}
        // Not asked of a machine on the target; and the lease is ours.
        Standing::OnTarget | Standing::LeasedBy { .. } => {
            let reason = "it changed under our lease".to_owned();
            return Err(PutOutcome::Unavailable { reason });
        }
        Standing::NewerRelease { version, by } => {
            return Err(PutOutcome::NewerRelease { version, by });
        }
        Standing::SetByHand { digest } => return Err(PutOutcome::SetByHand { digest }),
        Standing::OtherImage { digest } => return Err(PutOutcome::OtherImage { digest }),
        Standing::Announced { version, by } => return Err(PutOutcome::Announced { version, by }),
        Standing::Deploying { version, by, kind } => {
            return Err(PutOutcome::Deploying { version, by, kind });
        }
    }
    // A machine at rest has no place among those that may be down: the proxy may have started it
    // since, and it is planned anew.
    if !put.up && !put.taken_down && !machine.lies() {
        return Err(PutOutcome::UpByNow);
    }
    let Some(config) = &machine.config else {
        let status = "configuration not readable".to_owned();
        return Err(PutOutcome::HostDown { status });
    };
    let put_back = put.put_back.get(&machine.group);
    let config = edit_config::with_image(config, put, put_back)
        .map_err(|edit_config::NotEdited(reason)| PutOutcome::Refused { reason })?;
    let skip_launch = machine.lies();
    // With an update that was given up the platform may forget how the process before it ended, or tell it as
    // one of before what lies there now.
    let is_before = |exit: &model::ExitEvent| machine.placed_at.is_some_and(|at| exit.at < at);
    let untold = machine.exits.first().is_none_or(is_before);
    let forgotten = put.up && put.taken_down && untold && !machine.own_schedule;
    let starts = forgotten || machine.activity(put.stays_up).is_to_be_started();
    let rests = skip_launch && !starts;
    let goal = if rests { Goal::AtRest } else { Goal::Up };
    Ok((MachineUpdate { config, current: machine.instance.clone(), skip_launch }, goal))
}
