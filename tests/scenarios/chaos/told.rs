//! What people learn from a message.

use std::collections::BTreeSet;

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

/// Images that degraded after they were trusted, and were not deployed since: nothing in these hours allows
/// that they are undone.
#[derive(Default)]
pub struct Late(BTreeSet<String>);

impl Late {
    /// What is wrong with an event about a release with this image, if anything.
    pub fn take(&mut self, event: &Event, digest: &str) -> Option<String> {
        match (event.kind, &event.reason) {
            (ReleaseDegraded, Some(Reason::DegradesLate { .. })) => {
                self.0.insert(digest.to_owned());
            }
            (ReleaseDetected, _) => drop(self.0.remove(digest)),
            (RollbackPlanned | RollbackStarted, _) if self.0.contains(digest) => {
                return Some(format!("{digest} was trusted, degraded, and is undone for that"));
            }
            _ => {}
        }
        None
    }
}
