//! Answers read as outcomes.

use super::Answer;
use crate::{
    decide::PutOutcome,
    model::{Machine, MachineId},
    ports::PlatformError,
};

pub(super) fn look(answer: Answer) -> Result<Box<Machine>, PlatformError> {
    match answer {
        Answer::Machine(result) => result,
        _ => Err(PlatformError::Unavailable("no answer to a look at it".to_owned())),
    }
}

/// Who holds the lease: as the machine shows it, or as the refusal said.
pub(super) fn held_by(owner: String, answer: Answer) -> PutOutcome {
    match look(answer).ok().and_then(|machine| machine.lease) {
        Some(lease) => PutOutcome::LeaseHeld { owner: lease.owner, description: lease.description },
        None => PutOutcome::LeaseHeld { owner, description: String::new() },
    }
}

/// A machine that answers "not found" is gone only when the list agrees: the platform was seen to
/// say so of live machines.
pub(super) fn gone_or_not(machine: &MachineId, answer: Answer) -> PutOutcome {
    match answer {
        Answer::Machines(Ok(machines)) if machines.iter().all(|listed| listed.id != *machine) => {
            PutOutcome::Gone
        }
        Answer::Machines(Ok(_)) => unavailable("listed, but not found by itself"),
        Answer::Machines(Err(error)) => from_error(error),
        _ => unavailable("not found, and no list to say whether it is gone"),
    }
}

pub(super) fn unavailable(reason: impl Into<String>) -> PutOutcome {
    PutOutcome::Unavailable { reason: reason.into() }
}

pub(super) fn from_error(error: PlatformError) -> PutOutcome {
    match error {
        PlatformError::LeaseHeld { owner, .. } => {
            PutOutcome::LeaseHeld { owner, description: String::new() }
        }
        // Lost a race: read again and plan anew.
        PlatformError::Conflict(reason)
        | PlatformError::Unavailable(reason)
        | PlatformError::NotFound(reason) => PutOutcome::Unavailable { reason },
        PlatformError::Denied(reason) => PutOutcome::Denied { reason },
        PlatformError::Refused(reason) => PutOutcome::Refused { reason },
        PlatformError::Unreadable(reason) => PutOutcome::Unreadable { reason },
    }
}
