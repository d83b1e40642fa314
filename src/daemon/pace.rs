//! How soon an app may be looked at again, whoever asks for it.

use std::time::Duration;

use tokio::time::Instant;

/// Rounds are this far apart in the long run: the platform's list allows one a second…
const GAP: Duration = Duration::from_secs(1);
/// …and a few at once after a pause, of which one is kept for others: a round that is wanted at once
/// need not wait for all of it.
const SOONEST: Duration = Duration::from_millis(270);

/// Room for the rounds of one app, as one time stamp (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    /// When there is room for all that may come at once again.
    full_at: Option<Instant>,
}

impl Pace {
    /// A round begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last = Some(now);
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + GAP);
    }

    /// When the next one may begin.
    pub(super) fn earliest(self) -> Option<Instant> {
        let (last, full_at) = (self.last?, self.full_at?);
        // Two may come at once.
        Some((full_at - GAP).max(last + SOONEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long after the last of these rounds the next may begin, in milliseconds.
    fn gap(begun_ms: &[u64]) -> Option<u128> {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut last = start;
        for ms in begun_ms {
            last = start + Duration::from_millis(*ms);
            pace.begin(last);
        }
        pace.earliest().map(|at| at.duration_since(last).as_millis())
    }

    #[test]
    fn a_round_that_is_wanted_after_a_pause_begins_almost_at_once() {
        assert_eq!(gap(&[]), None);
        assert_eq!(gap(&[0]), Some(270));
        assert_eq!(gap(&[0, 2000]), Some(270));
        assert_eq!(gap(&[0, 1000, 2000, 3000]), Some(270), "a second apart");
    }

    #[test]
    fn in_the_long_run_there_is_one_a_second() {
        assert_eq!(gap(&[0, 270]), Some(730));
        assert_eq!(gap(&[0, 270, 1000]), Some(1000));
        assert_eq!(gap(&[0, 270, 1250]), Some(750));
        assert_eq!(gap(&[0, 270, 1250, 2250, 3250, 4250]), Some(750), "what was used stays used");
        assert_eq!(gap(&[0, 270, 3000]), Some(270), "until there was a pause");
    }
}
