//! What a watch says of itself.

use jiff::Timestamp;

use super::{WATCHED_CLOSELY, Watch};
use crate::{
    model::{Evidence, Region, Signed, Tally},
    threshold::Span,
};

impl Watch {
    /// It is well again: its bake counts from now, and what was said about undoing it is over.
    pub(in crate::decide) fn recovers(&mut self, now: Timestamp) {
        self.recovered_at = Some(now);
        self.seen_s = 0.0;
        self.approved = None;
        self.lapsed = false;
    }

    /// A person does not want it to be rolled back.
    pub(in crate::decide) fn veto(&mut self, by: &Signed) {
        self.vetoed = Some(by.clone());
        self.put_by_hand = false;
    }

    pub(in crate::decide) fn lift_veto(&mut self) {
        self.vetoed = None;
        self.put_by_hand = false;
    }

    /// Whether it is a release that somebody brought, and not one that is looked at on.
    pub(in crate::decide) fn is_deployed(&self) -> bool {
        !self.learning && self.late.is_none()
    }

    /// Whether it is looked at at the watch's pace: in its first hours, and in those of a degradation.
    pub(in crate::decide) fn is_close(&self, now: Timestamp) -> bool {
        let since = match &self.late {
            Some(late) if late.is_over && self.suspicion.is_none() => return false,
            Some(late) => late.since,
            None => self.since,
        };
        now.duration_since(since) < WATCHED_CLOSELY
    }

    /// For what the promised rate of false alarms holds.
    pub fn span(&self) -> Span {
        if self.late.is_some() || self.is_vigil { Span::Month } else { Span::Release }
    }

    /// What was counted in a region of what this evidence tells: all of it, or, where that began
    /// late, the last two minutes.
    pub fn tally(&self, evidence: &Evidence, region: &Region, now: Timestamp) -> Option<Tally> {
        let threshold = self.thresholds.get(&evidence.threshold)?;
        match evidence.lately {
            Some(_) => threshold.sight.lately(region, now),
            None => threshold.region(region),
        }
    }
}
