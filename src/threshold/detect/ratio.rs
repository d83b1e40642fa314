//! Is the share of bad events above the allowed share? A betting e-process, safe to look at
//! after every block.
//!
//! The detector keeps a mixture of gamblers who each bet that the share is above `p0`. If it is
//! not, their wealth E stays below `1/alpha` for ever with probability `1 - alpha` (Ville's
//! inequality), however often anybody looks; when it is, E grows exponentially. Half of the
//! gamblers get one vote per block, whatever happened inside it: a burst inside a block is one
//! piece of evidence. The other half (dropped when `strict`) also weighs how many events a block
//! held, tempered by `phi` and capped so that no single block decides.
//!
//! Everything is kept in logarithms, so neither a long watch nor a huge count overflows, and all
//! state survives JSON exactly: a daemon that restarts continues with the same odds.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Tally;

/// How many events may stand or fall together (a retry storm, a batch) before the event-level
/// half counts them as independent evidence.
pub const DEFAULT_PHI: f64 = 20.0;

/// Below this allowed share one block could decide alone, so two are demanded.
const LONE_BLOCK_P0: f64 = 2e-4;

/// Bets of the block-level half, as shares of the largest bet that cannot go broke.
const BETS: [f64; 4] = [0.9, 0.5, 0.2, 0.05];

/// Alternatives of the event-level half, as multiples of the odds of `p0`.
const ODDS: [f64; 5] = [1.5, 2.5, 5.0, 12.0, 40.0];

/// The largest alternative, and the bound below which the multiples of `ODDS` are used.
const LARGEST_SHARE: f64 = 0.9;

/// Share of the starting stake that bets on "bad from the start"; the rest is spread over the
/// watch, for regressions that begin later.
const STAKE_AT_START: f64 = 0.5;

/// Of the bad events of a process's first moments this part is left out of a block's share.
const YOUNG_PART: f64 = 0.35;

/// More events in one block than this are counted as this many.
const MAX_EVENTS: f64 = 1e15;

/// What a decision is held to. The same for the whole life of a detector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioSettings {
    /// The accepted probability that a healthy release ever alarms.
    pub alpha: f64,
    /// Over how long the late stakes are spread.
    pub watch: Duration,
    /// Shortest block.
    pub block: Duration,
    /// Readings are never quite as far apart as they are meant to be: a block may be over so much early.
    pub early: Duration,
    /// Whether half of the stakes bet on "bad from the start". Without it all of them are spread evenly
    /// over `watch`, so that detectors that follow each other stake no more than one that lasts.
    pub from_start: bool,
}

impl RatioSettings {
    /// Whether a block of this age is long enough.
    pub fn is_over(&self, age: Duration) -> bool {
        age + self.early >= self.block
    }
}

/// One ratio or latency threshold of one release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioDetector {
    p0: f64,
    strict: bool,
    phi: f64,
    /// Log wealth per gambler, `None` before its first stake (minus infinity is not JSON).
    wealth: Vec<Option<f64>>,
    /// Stake that has not been placed yet.
    stake_left: f64,
    /// When the open block began; `None` until `start`.
    opened_at: Option<Timestamp>,
    pending_n: f64,
    pending_k: f64,
    /// Of these, what processes counted in their first moments.
    #[serde(default)]
    pending_young: Tally,
    blocks: u32,
    total_n: f64,
    total_k: f64,
    ln_e: Option<f64>,
    peak: Option<f64>,
    alarmed: bool,
}

impl RatioDetector {
    /// A detector for the allowed share `p0`, which is held within one in a million and one half.
    pub fn new(p0: f64, strict: bool) -> Self {
        let p0 = if p0.is_finite() { p0.clamp(1e-6, 0.5) } else { 0.5 };
        let gamblers = BETS.len() + alternatives(p0, strict).len();
        Self {
            p0,
            strict,
            phi: DEFAULT_PHI,
            wealth: vec![None; gamblers],
            stake_left: 1.0 - STAKE_AT_START,
            opened_at: None,
            pending_n: 0.0,
            pending_k: 0.0,
            pending_young: Tally::default(),
            blocks: 0,
            total_n: 0.0,
            total_k: 0.0,
            ln_e: None,
            peak: None,
            alarmed: false,
        }
    }

    /// Replaces [`DEFAULT_PHI`]: the measured overdispersion of the traffic, at least 1. To be
    /// chosen before the first block; few events per block deserve a small one.
    #[must_use]
    pub fn with_phi(mut self, phi: f64) -> Self {
        self.phi = if phi.is_finite() { phi.max(1.0) } else { DEFAULT_PHI };
        self
    }

    /// One that has seen nothing yet, for the same question and traffic.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self::new(self.p0, self.strict).with_phi(self.phi)
    }

    /// How many events count as one, in the event-level half.
    pub fn phi(&self) -> f64 {
        self.phi
    }

    /// Opens the first block. Later calls change nothing.
    pub fn start(&mut self, now: Timestamp) {
        self.opened_at.get_or_insert(now);
    }

    /// Whether its first block was opened.
    pub fn is_started(&self) -> bool {
        self.opened_at.is_some()
    }

    /// Adds `n` events, `k` of them bad, to the open block. Numbers that cannot be counts are
    /// dropped, and `k` is held within `n`.
    pub fn add(&mut self, n: f64, k: f64) {
        if !n.is_finite() || n <= 0.0 || k.is_nan() {
            return;
        }
        let n = n.min(MAX_EVENTS);
        let k = k.clamp(0.0, n);
        self.pending_n = (self.pending_n + n).min(MAX_EVENTS);
        self.pending_k = (self.pending_k + k).min(self.pending_n);
    }

    /// Adds what a process counted in its first moments, in which its events stand or fall together
    /// whatever was measured of one that has run for long: connections are made, caches are empty. So many
    /// of them as are usual, or as many as were measured, count as one.
    pub fn add_young(&mut self, n: f64, k: f64) {
        let (all, bad) = self.pending();
        self.add(n, k);
        self.pending_young.add(self.pending_n - all, self.pending_k - bad);
    }

    /// Closes the open block when it is old enough and holds an event, and answers with the new
    /// ln E; `None` when the block stays open.
    pub fn close_if_due(&mut self, now: Timestamp, settings: &RatioSettings) -> Option<f64> {
        let opened = *self.opened_at.get_or_insert(now);
        let Ok(age) = Duration::try_from(now.duration_since(opened)) else {
            // The clock went back: the block begins again rather than waiting for the old time.
            self.opened_at = Some(now);
            return None;
        };
        if !settings.is_over(age) || self.pending_n < 1.0 {
            return None;
        }
        let ln_e = self.step(age, settings);
        self.opened_at = Some(now);
        Some(ln_e)
    }

    /// ln E after the last closed block; `None` before the first.
    pub fn ln_odds(&self) -> Option<f64> {
        self.ln_e
    }

    /// The highest ln E there was; `None` before the first block.
    pub fn peak(&self) -> Option<f64> {
        self.peak
    }

    /// The ln E at which a detector alarms.
    pub fn needed(alpha: f64) -> f64 {
        -alpha.clamp(1e-12, 1.0).ln()
    }

    /// Whether it ever alarmed. Final: what comes after cannot take an alarm back.
    pub fn alarmed(&self) -> bool {
        self.alarmed
    }

    /// The allowed share.
    pub fn p0(&self) -> f64 {
        self.p0
    }

    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// Whether it was made for this share and mode.
    pub fn judges(&self, p0: f64, strict: bool) -> bool {
        let new = Self::new(p0, strict);
        self.strict == strict && self.p0.to_bits() == new.p0.to_bits()
    }

    /// Whether one block could not have decided alone.
    pub fn has_blocks_enough(&self) -> bool {
        self.p0 >= LONE_BLOCK_P0 || self.blocks >= 2
    }

    /// Closed blocks.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Events and bad events in closed blocks.
    pub fn totals(&self) -> (f64, f64) {
        (self.total_n, self.total_k)
    }

    /// Events and bad events of the open block.
    pub fn pending(&self) -> (f64, f64) {
        (self.pending_n, self.pending_k)
    }

    fn step(&mut self, age: Duration, settings: &RatioSettings) -> f64 {
        let (n, k) = (self.pending_n, self.pending_k);
        (self.pending_n, self.pending_k) = (0.0, 0.0);
        let young = std::mem::take(&mut self.pending_young);
        let ln_stake = self.next_stake(age, settings).ln();
        let mut ln_e = f64::NEG_INFINITY;
        let gamblers = self.gamblers((n, k), young, settings);
        for (wealth, (weight, gain)) in self.wealth.iter_mut().zip(gamblers) {
            let held = wealth.unwrap_or(f64::NEG_INFINITY);
            let grown = log_add_exp(held, ln_stake) + gain;
            *wealth = grown.is_finite().then_some(grown);
            ln_e = log_add_exp(ln_e, grown + weight.ln());
        }
        self.blocks = self.blocks.saturating_add(1);
        self.total_n += n;
        self.total_k += k;
        self.ln_e = Some(ln_e);
        self.peak = Some(self.peak.map_or(ln_e, |peak| peak.max(ln_e)));
        if self.has_blocks_enough() && ln_e >= Self::needed(settings.alpha) {
            self.alarmed = true;
        }
        ln_e
    }

    /// The stake placed before this block: known without looking into it, at most 1 altogether.
    fn next_stake(&mut self, age: Duration, settings: &RatioSettings) -> f64 {
        let share = age.as_secs_f64() / settings.watch.as_secs_f64().max(f64::MIN_POSITIVE);
        let late = ((1.0 - STAKE_AT_START) * share).min(self.stake_left);
        self.stake_left -= late;
        let is_start = self.blocks == 0 && settings.from_start;
        if is_start { late + STAKE_AT_START } else { late }
    }

    /// Weight and log gain of every gambler for one block.
    fn gamblers(
        &self,
        (n, k): (f64, f64),
        young: Tally,
        settings: &RatioSettings,
    ) -> Vec<(f64, f64)> {
        let p0 = self.p0;
        let against = alternatives(p0, self.strict);
        let event_share = if self.strict { 0.0 } else { 0.5 };
        // Betting on less than there was is never unfair to the release.
        let excess = ((k - YOUNG_PART * young.k) / n - p0) / p0;
        let bet_weight = (1.0 - event_share) / count(BETS.len());
        let mut gamblers: Vec<_> =
            BETS.iter().map(|bet| (bet_weight, (bet * excess).ln_1p())).collect();
        let event_weight = event_share / count(against.len().max(1));
        // No alternative may reach the alarm in fewer than this many blocks.
        let fewest = if settings.block < Duration::from_secs(15) { 3.0 } else { 2.0 };
        let cap = (Self::needed(settings.alpha) - STAKE_AT_START.ln() - event_weight.ln()) / fewest;
        gamblers.extend(against.iter().map(|q| {
            let gain = |n: f64, k: f64| k * (q / p0).ln() + (n - k) * ((1.0 - q) / (1.0 - p0)).ln();
            let gain = gain(n - young.n, k - young.k) / self.phi
                + gain(young.n, young.k) / self.phi.max(DEFAULT_PHI);
            (event_weight, gain.min(cap))
        }));
        gamblers
    }
}

/// The shares the event-level half bets on.
fn alternatives(p0: f64, strict: bool) -> Vec<f64> {
    if strict {
        return Vec::new();
    }
    let odds = p0 / (1.0 - p0);
    ODDS.iter()
        .map(|times| odds * times / (1.0 + odds * times))
        .filter(|share| *share < LARGEST_SHARE)
        .chain([LARGEST_SHARE])
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a handful of gamblers")]
fn count(items: usize) -> f64 {
    items as f64
}

/// `ln(e^a + e^b)` without overflow; minus infinity is "nothing".
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests;
