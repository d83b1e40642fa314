//! How rollbacks and calls of the platform ended, as the daemon counts them for its metrics.

use crate::ports::PlatformError;

/// How a rollback ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RollbackOutcome {
    Completed,
    /// Given up for a newer release, a veto, or because the first region did not improve.
    Stopped,
    Failed,
}

impl RollbackOutcome {
    pub const ALL: [Self; 3] = [Self::Completed, Self::Stopped, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// How a platform call ended, as coarse as a metric's label has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallOutcome {
    Ok,
    /// Somebody else was first: a lease, a newer version.
    Contended,
    /// The platform understood and said no.
    Refused,
    /// No usable answer.
    Unavailable,
}

impl CallOutcome {
    pub fn of<T>(result: &Result<T, PlatformError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(PlatformError::LeaseHeld { .. } | PlatformError::Conflict(_)) => Self::Contended,
            Err(
                PlatformError::NotFound(_) | PlatformError::Denied(_) | PlatformError::Refused(_),
            ) => Self::Refused,
            Err(PlatformError::Unavailable(_) | PlatformError::Unreadable(_)) => Self::Unavailable,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Contended => "contended",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}
