//! What a phase is called, whom it deals with, and how closely it is looked at.

use jiff::Timestamp;

use super::{ByHand, Memory, Phase, Revision};

impl Phase {
    /// The word for the phase, as people and the API are shown it.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Unseen => "learning",
            Phase::Watching(watch) if watch.late.as_ref().is_some_and(|late| !late.is_over) => {
                "degraded"
            }
            Phase::Watching(watch) if watch.learning => "learning",
            Phase::Watching(watch) if watch.settled_at.is_none() => "deploying",
            Phase::Watching(_) => "baking",
            Phase::Steady => "steady",
            Phase::CountingDown { for_approval: true, .. } => "awaiting_approval",
            Phase::CountingDown { .. } | Phase::CheckingImage { .. } => "counting_down",
            Phase::RollingBack(rollback) if rollback.is_confirming() => "confirming",
            Phase::RollingBack(_) => "rolling_back",
            Phase::RolledBack(_) => "rolled_back",
            Phase::Held { .. } | Phase::Stopped { .. } => "held",
        }
    }

    /// Whether what runs does so since before anybody looked, or is trusted: what it counts is the app's past.
    /// `None`: nothing is looked at yet, or something is dealt with.
    pub(in crate::decide) fn runs_steadily(&self) -> Option<bool> {
        match self {
            Phase::Steady => Some(true),
            Phase::Watching(watch) | Phase::Held { watch, .. } => Some(watch.learning),
            Phase::Unseen
            | Phase::CountingDown { .. }
            | Phase::CheckingImage { .. }
            | Phase::RollingBack(_)
            | Phase::RolledBack(_)
            | Phase::Stopped { .. } => None,
        }
    }

    /// The release that is being dealt with, or was undone last.
    pub fn dealing(&self) -> Option<&Revision> {
        match self {
            Phase::Watching(watch)
            | Phase::CountingDown { watch, .. }
            | Phase::CheckingImage { watch, .. }
            | Phase::Held { watch, .. } => Some(&watch.revision),
            Phase::RollingBack(rollback)
            | Phase::RolledBack(rollback)
            | Phase::Stopped { rollback, .. } => Some(&rollback.bad),
            Phase::Unseen | Phase::Steady => None,
        }
    }

    /// What the app runs, as far as is known; both releases while a rollback is half way.
    pub fn runs(&self, memory: &Memory) -> Vec<Revision> {
        match self {
            Phase::RollingBack(rollback) | Phase::Stopped { rollback, .. } => rollback.runs(),
            // What was undone runs no more.
            Phase::RolledBack(_) => memory.current.iter().cloned().collect(),
            Phase::Unseen
            | Phase::Steady
            | Phase::Watching(_)
            | Phase::CountingDown { .. }
            | Phase::CheckingImage { .. }
            | Phase::Held { .. } => {
                self.dealing().or(memory.current.as_ref()).into_iter().cloned().collect()
            }
        }
    }

    /// The release that a rollback goes to.
    pub fn target(&self) -> Option<&Revision> {
        match self {
            Phase::CheckingImage { target, .. } => Some(target),
            Phase::RollingBack(rollback)
            | Phase::RolledBack(rollback)
            | Phase::Stopped { rollback, .. } => Some(&rollback.target),
            Phase::Watching(_)
            | Phase::CountingDown { .. }
            | Phase::Held { .. }
            | Phase::Unseen
            | Phase::Steady => None,
        }
    }

    /// What a person ordered of the rollback that is begun or under way.
    pub(in crate::decide) fn by_hand(&self) -> Option<&ByHand> {
        match self {
            Phase::CheckingImage { by_hand, .. } => by_hand.as_deref(),
            Phase::RollingBack(rollback) => rollback.by_hand.as_ref(),
            _ => None,
        }
    }

    /// Whether rounds should come at the watch's pace.
    pub fn is_active(&self, memory: &Memory, now: Timestamp) -> bool {
        match self {
            // A release that waits for traffic for hours is looked at as seldom as a steady one.
            Phase::Watching(watch) => watch.is_close(now),
            Phase::CountingDown { .. } | Phase::CheckingImage { .. } | Phase::RollingBack(_) => {
                true
            }
            Phase::Held { reason, .. } => reason.is_passing(),
            // Its word may be wanted.
            Phase::Steady => {
                !memory.org.neighbours.is_empty()
                    || memory.suspicion.is_some()
                    || memory.vigil.is_uneasy(now)
            }
            Phase::Unseen => false,
            Phase::RolledBack(_) | Phase::Stopped { .. } => {
                memory.vigil.is_uneasy(now)
                    || memory.suspicion.is_some()
                    || memory.pending.values().any(|command| !command.is_beside())
            }
        }
    }
}
