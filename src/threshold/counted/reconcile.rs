//! Events and bad events, which pages may count in two moments.

use super::Counted;
use crate::model::{Count, Tally};

/// Bad events that may be counted before the events they are among: a page is not made in an
/// instant.
const AHEAD_MAX: f64 = 5.0;
const AHEAD_SHARE_MAX: f64 = 0.01;
/// What is ahead by less than this share of the events is fed with them: all of them were bad.
const AHEAD_FED_SHARE: f64 = 0.05;

impl Counted {
    /// Takes in one machine's count; `None`: it must not be fed to the detector.
    pub(super) fn reconcile(&mut self, count: &Count) -> Option<Tally> {
        // A count is finite, and so many of them that their sum is not are beyond any service.
        let sum = Tally { n: self.raw.n + count.n, k: self.raw.k + count.k };
        if !sum.n.is_finite() || !sum.k.is_finite() {
            return None;
        }
        self.raw = sum;
        self.waiting.add(count.n, count.k);
        let ahead = self.waiting.k - self.waiting.n;
        if ahead > AHEAD_MAX + AHEAD_SHARE_MAX * self.raw.n {
            self.inconsistent = true;
        } else if ahead <= 0.0 {
            // It adds up again: a moment's failures were counted before what they are among.
            self.inconsistent = false;
        }
        if self.inconsistent || ahead > (AHEAD_FED_SHARE * self.waiting.n).max(1.0) {
            return None;
        }
        let fed = Tally { n: self.waiting.n, k: self.waiting.k.min(self.waiting.n) };
        self.waiting = Tally { n: 0.0, k: ahead.max(0.0) };
        Some(fed)
    }
}
