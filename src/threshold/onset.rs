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

/// What begins in the middle of the first reading has less of it in that than later.
const EVEN: f64 = 0.75;

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
    #[serde(default)]
    is_coarse: bool,
}

impl First {
    /// Adds events of the round of `now`, of a source whose readings are `reading` apart.
    pub fn add(&mut self, now: Timestamp, n: f64, k: f64, reading: SignedDuration) {
        let from = *self.from.get_or_insert(now);
        self.is_coarse |= reading > FIRST;
        if now.duration_since(from) < FIRST.max(reading) {
            self.tally.add(n, k);
        }
    }

    /// Whether one reading is longer than the first moments: then the first one alone does not tell what began
    /// with the release from what came a little later, such as an outage while it is deployed.
    pub fn is_coarse(&self) -> bool {
        self.is_coarse
    }

    /// Whether it was as bad from the beginning as it is by `n` events, of which `k` are bad.
    pub fn is_as_bad(&self, n: f64, k: f64) -> bool {
        let (first, all) = (self.tally.share().unwrap_or(0.0), if n > 0.0 { k / n } else { 0.0 });
        first >= EVEN * all
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_is_longer_than_the_first_moments_tells_by_how_even_it_is() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let seconds = SignedDuration::from_secs;
        let mut first = First::default();
        first.add(at(0), 100.0, 20.0, SignedDuration::ZERO);
        first.add(at(6), 100.0, 0.0, SignedDuration::ZERO);
        assert!(!first.is_coarse() && first.is_bad(0.02));
        let mut first = First::default();
        first.add(at(0), 100.0, 20.0, seconds(15));
        first.add(at(14), 100.0, 20.0, seconds(15));
        first.add(at(15), 100.0, 100.0, seconds(15));
        assert!(first.is_coarse() && first.is_bad(0.02));
        assert!(first.is_as_bad(1000.0, 260.0), "as bad as it was");
        assert!(!first.is_as_bad(1000.0, 280.0), "it rose");
        assert!(first.is_as_bad(0.0, 0.0));
    }
}
