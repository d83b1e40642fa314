//! When a breach began, and what that says of whose it is.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::detect::recent::is_far_above;
use crate::model::Tally;

/// The first moments of a release.
const FIRST: SignedDuration = SignedDuration::from_secs(6);
/// So many bad events, clearly too many, or so large a share, are a bad beginning.
const FIRST_MIN: f64 = 3.0;
const FIRST_SHARE: f64 = 0.5;

/// Since when a breach is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Onset {
    /// It is of the release's own processes: they end, or grow.
    Own,
    /// It came with the release: from its first moments on.
    AtOnce,
    /// It came later: something else may have happened then.
    Later,
}

/// What was counted in a release's first moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct First {
    from: Option<Timestamp>,
    tally: Tally,
}

impl First {
    /// Adds events of the round of `now`; one source's first reading may be as long as `reading`.
    pub fn add(&mut self, now: Timestamp, n: f64, k: f64, reading: SignedDuration) {
        let from = *self.from.get_or_insert(now);
        if now.duration_since(from) < FIRST.max(reading) {
            self.tally.add(n, k);
        }
    }

    /// What begins now is not the beginning.
    pub fn is_over(&mut self) {
        self.from = Some(Timestamp::MIN);
        self.tally = Tally::default();
    }

    /// Whether it was above `limit` from the beginning.
    pub fn is_bad(&self, limit: f64) -> bool {
        is_bad(self.tally.n, self.tally.k, limit)
    }
}

/// Whether a few moments' events are clearly too bad for this limit, by their number or their share.
pub fn is_bad(n: f64, k: f64, limit: f64) -> bool {
    let most = n > 0.0 && k >= FIRST_SHARE * n;
    most || (k >= FIRST_MIN && k > limit * n && is_far_above(k, limit * n))
}
