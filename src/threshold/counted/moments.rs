//! When what is counted began to be the release's, and when it is of a process's first moments.

use jiff::{SignedDuration, Timestamp};

use super::Counted;
use crate::{model::Origin, threshold::Round};

/// A process is young for so long.
const YOUNG: SignedDuration = SignedDuration::from_secs(10);

/// What a process counted so long before its release was first looked at may be the release's.
const SEEN_LATE_BY: SignedDuration = SignedDuration::from_secs(60);

/// Whether what is told now of a process was counted in its first moments. A metrics server does not tell
/// them: what comes before its first reading of a process is not counted.
pub(super) fn is_young(started: Timestamp, origin: &Origin, now: Timestamp) -> bool {
    origin.every.is_zero() && now.duration_since(started) < YOUNG
}

impl Counted {
    /// When the time began that is judged of a process that `started` then. Of one that ran long before anybody
    /// looked nothing is counted of that time, and no stakes are lost on it.
    pub(super) fn began(&self, started: Timestamp, round: &Round<'_>) -> Timestamp {
        let began = if round.learning { round.now } else { started.min(round.now) };
        let looked = self.detecting_since.checked_sub(SEEN_LATE_BY).unwrap_or(began);
        self.anew_at.map_or(began, |anew| began.max(anew)).max(looked)
    }
}
