//! What people learn from what is told, and how a rollback goes.

use crate::{
    decide::state::Phase,
    model::EventKind::{self, *},
};

pub fn is_escalated(phase: &Phase) -> bool {
    match phase {
        Phase::RollingBack(rollback) | Phase::RolledBack(rollback) => rollback.escalated,
        _ => false,
    }
}

/// Whether people learn from it of what serves.
pub fn tells(kind: EventKind) -> bool {
    matches!(
        kind,
        ReleaseDetected
            | ReleaseDegraded
            | HoldPlaced
            | RollbackPlanned
            | RollbackStarted
            | RollbackPaused
            | RollbackResumed
            | RollbackStopped
            | RollbackFailed
            | ImageMixed
    )
}
