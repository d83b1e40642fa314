//! Is the release worse than the known-good one *running beside it*? An e-process over the same seconds
//! of both, safe to look at after every block.
//!
//! Given how many bad events there were in a block, each of them is the release's with a probability
//! that follows from how many events it had, if both fail as easily (or the release's odds are at
//! most `rho` times the other's). Whatever strikes both at once cancels: an outage, a dependency that
//! is slow, the time of day. The gamblers bet on larger multiples of the odds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ratio::log_add_exp;
use crate::model::Tally;

/// Multiples of the odds that are bet on.
const ODDS: [f64; 5] = [1.5, 2.0, 4.0, 10.0, 40.0];
const GAMBLERS: f64 = 5.0;
/// Share of the stake that bets on "worse from the start"; the rest is spread over the watch.
const STAKE_AT_START: f64 = 0.5;
/// No gambler may reach what is needed in fewer blocks than this.
const FEWEST_BLOCKS: f64 = 2.0;

/// What a comparison is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControlSettings {
    /// The accepted probability that a release that is no worse ever looks so.
    pub alpha: f64,
    /// How many times the other's odds are still fine.
    pub rho: f64,
    /// Over how long the late stakes are spread.
    pub watch: Duration,
}

/// Both arms over the same seconds: events, or whatever they are counted per, and bad ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Arms {
    pub release: Tally,
    pub control: Tally,
}

impl Arms {
    /// The log-likelihood that each of [`ODDS`] gains over `rho` by these counts.
    fn gains(&self, rho: f64) -> [f64; 5] {
        let Self { release, control } = self;
        if release.k + control.k <= 0.0 || release.n <= 0.0 || control.n <= 0.0 {
            return [0.0; 5];
        }
        let fair = rho * release.n / (rho * release.n + control.n);
        ODDS.map(|times| {
            let bet = times * fair / (1.0 - fair + times * fair);
            release.k * (bet / fair).ln() + control.k * ((1.0 - bet) / (1.0 - fair)).ln()
        })
    }
}

/// The odds that a release is worse than the one beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlDetector {
    /// Log wealth per gambler, `None` before its first stake.
    wealth: [Option<f64>; 5],
    stake_left: f64,
    blocks: u32,
    ln_e: Option<f64>,
}

impl Default for ControlDetector {
    fn default() -> Self {
        Self { wealth: [None; 5], stake_left: 1.0 - STAKE_AT_START, blocks: 0, ln_e: None }
    }
}

impl ControlDetector {
    /// Takes in one block, in the parts that can be compared with each other; the new ln E.
    pub fn step(&mut self, parts: &[Arms], age: Duration, settings: &ControlSettings) -> f64 {
        let ln_stake = self.next_stake(age, settings.watch).ln();
        let needed = -settings.alpha.clamp(1e-12, 1.0).ln();
        let cap = (needed - STAKE_AT_START.ln() + GAMBLERS.ln()) / FEWEST_BLOCKS;
        let mut gains = [0.0; 5];
        for part in parts {
            for (gain, more) in gains.iter_mut().zip(part.gains(settings.rho)) {
                *gain += more;
            }
        }
        let mut ln_e = f64::NEG_INFINITY;
        for (wealth, gain) in self.wealth.iter_mut().zip(gains) {
            let held = wealth.unwrap_or(f64::NEG_INFINITY);
            let grown = log_add_exp(held, ln_stake) + gain.min(cap);
            *wealth = grown.is_finite().then_some(grown);
            ln_e = log_add_exp(ln_e, grown - GAMBLERS.ln());
        }
        self.blocks = self.blocks.saturating_add(1);
        self.ln_e = Some(ln_e);
        ln_e
    }

    /// ln E after the last block; `None` before the first.
    pub fn ln_odds(&self) -> Option<f64> {
        self.ln_e
    }

    fn next_stake(&mut self, age: Duration, watch: Duration) -> f64 {
        let share = age.as_secs_f64() / watch.as_secs_f64().max(f64::MIN_POSITIVE);
        let late = ((1.0 - STAKE_AT_START) * share).min(self.stake_left);
        self.stake_left -= late;
        if self.blocks == 0 { late + STAKE_AT_START } else { late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ControlSettings =
        ControlSettings { alpha: 0.05, rho: 1.0, watch: Duration::from_secs(1800) };

    fn block(release: (f64, f64), control: (f64, f64)) -> [Arms; 1] {
        let tally = |(n, k)| Tally { n, k };
        [Arms { release: tally(release), control: tally(control) }]
    }

    /// ln E after each block of 5 s.
    fn odds(blocks: &[[(f64, f64); 2]]) -> Vec<f64> {
        let mut detector = ControlDetector::default();
        let five = Duration::from_secs(5);
        let step = |both: &[(f64, f64); 2]| {
            let [release, control] = *both;
            detector.step(&block(release, control), five, &SETTINGS)
        };
        blocks.iter().map(step).collect()
    }

    /// Computed by another implementation of the same formulas.
    #[test]
    fn the_odds_are_those_of_the_formula() {
        let got = odds(&[
            [(100.0, 9.0), (300.0, 4.0)],
            [(100.0, 11.0), (300.0, 3.0)],
            [(100.0, 8.0), (300.0, 5.0)],
        ]);
        for (got, want) in got.iter().zip([1.810_723, 4.460_109, 6.823_059]) {
            assert!((got - want).abs() < 1e-6, "{got} for {want}");
        }
    }

    #[test]
    fn blocks_in_which_one_arm_had_nothing_say_nothing() {
        let odds = odds(&[
            [(10.0, 10.0), (0.0, 0.0)],
            [(0.0, 0.0), (10.0, 5.0)],
            [(9.0, 0.0), (9.0, 0.0)],
        ]);
        assert!(odds.iter().all(|odds| *odds < 0.0), "{odds:?}");
    }

    #[test]
    fn no_single_block_decides() {
        let odds = odds(&[[(1e6, 1e6), (1e6, 0.0)], [(1e6, 1e6), (1e6, 0.0)]]);
        assert!(odds[0] < 20.0_f64.ln() && odds[1] > 20.0_f64.ln(), "{odds:?}");
    }

    #[test]
    fn what_strikes_both_arms_cancels() {
        let blocks: Vec<_> = (0..300).map(|i| [(100.0, f64::from(i % 7) * 10.0); 2]).collect();
        assert!(odds(&blocks).iter().all(|odds| *odds < 1.0));
    }

    #[test]
    fn its_state_can_be_read_again() {
        let mut detector = ControlDetector::default();
        detector.step(&block((10.0, 3.0), (10.0, 0.0)), Duration::from_secs(5), &SETTINGS);
        let text = serde_json::to_string(&detector).unwrap();
        assert_eq!(serde_json::from_str::<ControlDetector>(&text).unwrap(), detector);
    }
}
