//! Counted events: what ratio and latency have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Case, Confirming, Finding, Own, Round, Took,
    detect::{
        ratio::{RatioDetector, RatioSettings},
        recent::Recent,
    },
    signed,
};
use crate::model::{Evidence, Region, Since, Tally, Verdict};

/// A counting threshold's part of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    detector: RatioDetector,
    /// When the detector began anew (see `renew`).
    detecting_since: Timestamp,
    /// The last rounds.
    recent: Recent,
    regions: BTreeMap<Region, Tally>,
    /// Machines that run the known-good release meanwhile.
    control: Tally,
    control_recent: Recent,
}

impl Counted {
    pub fn new((share, strict): (f64, bool), now: Timestamp) -> Self {
        Self {
            detector: RatioDetector::new(share, strict),
            detecting_since: now,
            recent: Recent::default(),
            regions: BTreeMap::new(),
            control: Tally::default(),
            control_recent: Recent::default(),
        }
    }

    pub(super) fn regions(&self) -> &BTreeMap<Region, Tally> {
        &self.regions
    }

    pub(super) fn control_since(&self, from: Timestamp) -> Tally {
        let (n, k) = self.control_recent.since(from);
        Tally { n, k }
    }

    pub(super) fn forget_alarms(&mut self, now: Timestamp) {
        if self.detector.alarmed() {
            self.begin_anew(now);
        }
        self.recent = Recent::default();
        self.control_recent = Recent::default();
    }

    fn begin_anew(&mut self, now: Timestamp) {
        self.detector = RatioDetector::new(self.detector.p0(), self.detector.is_strict());
        self.detector.start(now);
    }

    fn absorb(&mut self, name: &str, round: &Round<'_>) -> Took {
        let mut took = Took::default();
        for look in round.on {
            let Some(count) = look.readings.and_then(|readings| readings.counts.get(name)) else {
                continue;
            };
            if count.since == Since::ProcessStart && !look.past_counts {
                continue;
            }
            let started = look.machine.started_at.unwrap_or(look.machine.updated_at);
            let began = if round.learning { round.now } else { started.min(round.now) };
            self.detector.start(began);
            self.detector.add(count.n, count.k);
            self.regions.entry(look.machine.region.clone()).or_default().add(count.n, count.k);
            if count.n > 0.0 {
                took.events = true;
                self.recent.add(round.now, count.n, count.k);
            }
        }
        for look in round.control {
            let count = look.readings.and_then(|readings| readings.counts.get(name));
            if let Some(count) = count.filter(|count| count.since == Since::LastScrape) {
                self.control.add(count.n, count.k);
                self.control_recent.add(round.now, count.n, count.k);
            }
        }
        let settings = round.policy.settings();
        self.renew(&settings, round.now);
        // Before this round's alarm: that has to be seen first.
        took.forgave = self.forgive(round.now);
        // Its first block begins with its first process, not with the first look.
        took.closed = self.detector.is_started()
            && self.detector.close_if_due(round.now, &settings).is_some();
        took
    }

    /// A detector's stakes are spread over one horizon; a release that is still watched after it,
    /// for want of traffic or of a trustworthy verdict, is judged anew from then on. The promised
    /// rate of false rollbacks holds for each of these spans.
    fn renew(&mut self, settings: &RatioSettings, now: Timestamp) {
        if now.duration_since(self.detecting_since) < signed(settings.watch) {
            return;
        }
        self.detecting_since = now;
        if !self.detector.alarmed() && self.detector.is_started() {
            self.begin_anew(now);
        }
    }

    /// An alarm whose cause is clearly over is taken back: the detector begins anew.
    fn forgive(&mut self, now: Timestamp) -> bool {
        if !self.detector.alarmed() {
            return false;
        }
        let (n, k) = self.detector.totals();
        let p0 = self.detector.p0();
        // A regression that came late is diluted by what was well before it: that asks for more.
        let then = (k / n.max(1.0)).max(1.5 * p0);
        let over = self.recent.is_within(p0, then);
        if over {
            self.begin_anew(now);
        }
        over
    }

    fn judge(&self, evidence: &mut Evidence) {
        evidence.control = Some(self.control).filter(|c| c.n > 0.0).map(|c| (c.k, c.n));
        let (n, k) = self.detector.totals();
        evidence.bad = k;
        evidence.total = n;
        evidence.value = (n > 0.0).then(|| k / n);
        evidence.ln_odds = self.detector.ln_odds();
        evidence.blocks = self.detector.blocks();
        evidence.verdict = if self.detector.alarmed() {
            Verdict::Breach
        } else if n > 0.0 {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        };
    }
}

/// Whether a counting threshold's state was made for this share and mode.
pub(super) fn fits(own: &Own, (share, strict): (f64, bool)) -> bool {
    matches!(own, Own::Counted(counted) if counted.detector.judges(share, strict))
}

pub(super) fn absorb(name: &str, own: &mut Own, round: &Round<'_>) -> Took {
    match own {
        Own::Counted(counted) => counted.absorb(name, round),
        Own::Gauge(_) | Own::Checks(_) | Own::Crashes(_) => Took::default(),
    }
}

pub(super) fn judge(own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
    evidence.ln_odds_needed = Some(RatioDetector::needed(case.policy.settings().alpha));
    if let Own::Counted(counted) = own {
        counted.judge(evidence);
    }
}

/// What a region shows on the known-good image.
pub(super) fn confirm(confirming: &Confirming, limit: f64) -> Finding {
    let tally = confirming.tally;
    match tally.share() {
        None => Finding::Silent,
        // A single bad event among few is no share yet.
        Some(share) if tally.k > 1.0 && share > limit => Finding::Above(tally),
        Some(_) => Finding::Within(tally),
    }
}
