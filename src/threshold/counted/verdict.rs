//! What was counted, as evidence.

use super::Counted;
use crate::{
    model::{Evidence, Note, Tally, Verdict},
    threshold::{Onset, places::Found, series},
};

/// Blocks with events in them before anything is said for a release.
const BLOCKS_MIN: u32 = 3;
/// A share since it rose that is so many times that of the whole came late.
const LATE_BY: f64 = 1.5;

impl Counted {
    /// The last while, where it is much worse than the whole.
    fn lately(&self, n: f64, k: f64) -> Option<Tally> {
        let (_, recent) = self.accused();
        let (late, bad) = recent.since_it_rose(self.detector.p0())?;
        let much_worse = bad * n >= LATE_BY * k * late;
        much_worse.then_some(Tally { n: late, k: bad })
    }

    /// Whether the release is worse than the known-good one over the same seconds.
    pub(in crate::threshold) fn control_is_well(&self) -> bool {
        self.found == Some(Found::Silent)
            || self.risen_at.is_some_and(|at| self.beside.vouches(self.detector.p0(), at))
                && !self.control_was_struck()
    }

    /// Whether the known-good release may have met the same a little earlier or later: one moment is in the
    /// readings of one machine before it is in those of another, so that it need not be in the same block.
    fn control_was_struck(&self) -> bool {
        let (detector, recent) = self.accused();
        let p0 = detector.p0();
        let (n, k) = recent.since_it_rose(p0).unwrap_or_else(|| detector.totals());
        self.first.is_coarse() && self.beside.control_was_struck(p0, k / n.max(1.0))
    }

    pub(super) fn onset(&self) -> Onset {
        let (n, k) = self.accused().0.totals();
        let limit = self.detector.p0();
        let is_clear = !self.first.is_coarse()
            || (self.first.is_as_bad(n, k) && self.beside.control_was_well(limit));
        let at_once = is_clear && self.first.is_bad(limit) && self.lately(n, k).is_none();
        if at_once { Onset::AtOnce } else { Onset::Later }
    }

    /// Whether too little was counted, or it leans against the release without proof.
    fn is_undecided(&self, n: f64, k: f64) -> bool {
        let leans = k > self.detector.p0() * n && self.ln_odds().is_some_and(|e| e > 0.0);
        self.detector.blocks() < BLOCKS_MIN || leans
    }

    pub(super) fn judge(&self, evidence: &mut Evidence) {
        if let Some(raised) = &self.raised {
            evidence.limit = raised.to;
            evidence.raised = Some(raised.clone());
        }
        evidence.control = Some(self.control).filter(|c| c.n > 0.0).map(|c| (c.k, c.n));
        let (n, k) = self.accused().0.totals();
        evidence.bad = k;
        evidence.total = n;
        evidence.value = (n > 0.0).then(|| k / n);
        evidence.ln_odds = self.ln_odds();
        evidence.blocks = self.detector.blocks();
        if self.inconsistent {
            let Tally { n: total, k: bad } = self.raw;
            (evidence.bad, evidence.total, evidence.value) = (bad, total, None);
            evidence.note = Some(Note::Inconsistent { bad, total });
            evidence.ln_odds = None;
            return;
        }
        evidence.verdict = if self.found.is_some() {
            evidence.lately = self.lately(n, k);
            evidence.last_blocks = self.blocks.iter().copied().collect();
            Verdict::Breach
        } else if self.odd.is_some() || n <= 0.0 || self.is_undecided(n, k) {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        };
        // Events may have come of which no block is complete yet: that is little, and not nothing.
        let undecided = self.raw.n > 0.0 && evidence.verdict == Verdict::Inconclusive;
        evidence.note = self.odd.clone().map(Note::Odd).or(undecided.then_some(Note::Undecided));
        if let Some(alone) = self.alone() {
            evidence.note = Some(Note::Apart(alone.clone()));
        }
        match &self.found {
            Some(Found::In(region)) => {
                evidence.note = Some(Note::InRegion { region: region.clone() });
            }
            Some(Found::Silent) => {
                let (due, beside) = self.silent.counted();
                evidence.ln_odds = self.silent.ln_odds();
                evidence.note = Some(Note::Silent { due, beside });
            }
            Some(Found::Alone(series)) => {
                let one = self.series.get(series);
                evidence.ln_odds = one.and_then(|one| one.detector.ln_odds());
                evidence.control = one.and_then(series::One::control);
                evidence.last_blocks.clear();
                evidence.note = Some(Note::InSeries { series: series.clone() });
            }
            Some(Found::Whole) | None => {}
        }
    }
}
