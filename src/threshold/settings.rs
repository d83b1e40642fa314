//! What the detectors are held to.

use super::{Span, detect::ratio::RatioSettings};
use crate::model::{Origin, Policy};

/// A look may come so much of the time between two of them early, and still be the next one.
const EARLY_PART: u32 = 4;
/// The part of a watch over which the detectors spread their stakes, at least.
pub const WATCH_HORIZON: std::time::Duration = std::time::Duration::from_secs(1800);
/// The time for which the rate of false alarms after trust is promised.
pub const MONTH: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

impl Policy {
    /// The detectors' settings: the promised rate of false rollbacks, or of false alarms after trust,
    /// split over what can cause one.
    pub fn settings(&self, span: Span) -> RatioSettings {
        let counting = self.thresholds.iter().filter(|t| t.room().allowed_share().is_some());
        let parts = f64::from(u32::try_from(counting.count().max(1)).unwrap_or(u32::MAX));
        let (rate, watch) = match span {
            Span::Release => (self.watch.false_rollbacks, WATCH_HORIZON.max(self.watch.bake)),
            Span::Month => (self.watch.false_late_alarms, MONTH),
        };
        RatioSettings {
            alpha: rate / parts,
            watch,
            block: self.watch.block_of(self.watch.scrape_every),
            early: self.watch.scrape_every / EARLY_PART,
            from_start: span == Span::Release,
        }
    }

    /// The settings for what is read from `origin`. What happens at one moment is in the readings of
    /// all machines, which come one after the other for as long as a metrics server takes: it has to
    /// be one vote.
    pub fn settings_for(&self, span: Span, origin: &Origin) -> RatioSettings {
        let settings = self.settings(span);
        let every = origin.every.max(self.watch.scrape_every);
        RatioSettings { block: self.watch.block_of(every), ..settings }
    }
}
