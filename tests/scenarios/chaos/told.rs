//! What people learn from a message.

use waveoff::model::{Event, EventKind::*, Reason};

/// Whether people learn from it that the image of its release serves.
pub fn tells(event: &Event) -> bool {
    match event.kind {
        ReleaseDetected => event.reason == Some(Reason::RolledBackBefore),
        ReleaseDegraded | HoldPlaced | RollbackPlanned | RollbackStarted | RollbackPaused
        | RollbackResumed | RollbackFailed => true,
        _ => false,
    }
}
