//! Does a region do better on the known-good image? What was counted there is weighed as coming from
//! the limit against coming from the bad release's own share. Either side has to win clearly: a
//! known-good release just within its limit confirms, and bad luck is no proof.

use std::time::Duration;

use super::Finding;
use crate::model::{Policy, Tally};

/// How much likelier the limit has to be than the bad release's share: 1000 to 1. A
/// region that is as bad as before is confirmed no more often than that.
const CONFIRMS_AT: f64 = 6.908;
/// How much likelier the bad release's share has to be than the limit before going back is no help:
/// 100 000 to 1. While the true share is within the limit this happens with a probability of at
/// most one in 100 000, however often one looks.
const NO_HELP_AT: f64 = 11.513;
/// The bad release's share is never taken to be nearer to the limit than this.
const APART: f64 = 1.5;
/// Shares that are weighed lie between this and one minus it.
const SHARE_MIN: f64 = 1e-6;
/// How many standard deviations above the limit a share is clearly above it: one in a million.
const CLEARLY: f64 = 4.75;

/// What a metrics server counted of a machine is told within so many of its readings: the first is a
/// starting point, and each is told late.
const READINGS: u32 = 6;

impl Policy {
    /// How long a region is watched at most after a rollback for these thresholds: until a server that is read
    /// seldom can have told of it, where nobody wrote how long.
    pub fn confirms_within<'a>(&self, thresholds: impl Iterator<Item = &'a str>) -> Duration {
        let confirm = self.rollback.confirm;
        let told = thresholds.map(|name| self.read_every(name) * READINGS);
        let longest = told.max().filter(|_| !confirm.is_written).unwrap_or_default();
        confirm.at_most.max(longest)
    }
}

/// What a region shows of a threshold with this limit that was breached with the share `bad`.
pub(super) fn weigh(tally: Tally, limit: f64, bad: f64) -> Finding {
    if tally.n <= 0.0 {
        return Finding::Silent;
    }
    let odds = log_odds(tally, limit, bad.max(limit * APART));
    if odds <= -NO_HELP_AT {
        Finding::NoBetter(tally)
    } else if odds >= CONFIRMS_AT && !is_clearly_above(tally, limit) {
        Finding::Better { tally, ln_odds: odds }
    } else {
        Finding::Undecided { tally, leans_well: odds > 0.0 && !is_clearly_above(tally, limit) }
    }
}

/// How much likelier the counts are under the limit than under the bad share, as a natural
/// logarithm.
fn log_odds(tally: Tally, limit: f64, bad: f64) -> f64 {
    let within = |share: f64| share.clamp(SHARE_MIN, 1.0 - SHARE_MIN);
    let (limit, bad) = (within(limit), within(bad));
    tally.k * (limit / bad).ln() + (tally.n - tally.k) * ((1.0 - limit) / (1.0 - bad)).ln()
}

/// Whether so many bad events would hardly ever be seen at the limit. The normal approximation, with
/// room for the few events that make it poor.
fn is_clearly_above(tally: Tally, limit: f64) -> bool {
    let expected = tally.n * limit;
    let deviation = (expected * (1.0 - limit)).sqrt();
    tally.k > expected + CLEARLY * deviation + 8.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threshold::Confirming;

    /// A small generator of one's own: the same numbers on every machine.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let bits = u32::try_from(self.0 >> 33).unwrap();
            f64::from(bits) / f64::from(1_u32 << 31)
        }
    }

    /// What a region shows whose share is `share`, looked at every 2 s for ten minutes: the first
    /// finding that decides.
    fn judged(seed: u64, rate: u32, share: f64, limit: f64, bad: f64) -> Finding {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut confirming = Confirming::default();
        let mut finding = Finding::Silent;
        for _ in 0..300 {
            for _ in 0..rate * 2 {
                confirming.tally.add(1.0, if dice.roll() < share { 1.0 } else { 0.0 });
            }
            finding = weigh(confirming.tally, limit, bad);
            if matches!(finding, Finding::Better { .. } | Finding::NoBetter(_)) {
                break;
            }
        }
        finding
    }

    #[test]
    fn a_known_good_release_just_within_its_limit_always_confirms() {
        for rate in [1, 10, 100] {
            for seed in 0..1000 {
                let finding = judged(seed, rate, 0.019, 0.02, 0.3);
                assert!(
                    matches!(finding, Finding::Better { .. }),
                    "{rate}/s, seed {seed}: {finding:?}"
                );
            }
        }
    }

    #[test]
    fn a_known_good_release_as_bad_as_the_bad_one_hardly_ever_confirms() {
        let seeds = [1, 10, 100].into_iter().flat_map(|rate| (0..1000).map(move |s| (s, rate)));
        let wrong = seeds.filter(|(seed, rate)| {
            let finding = judged(*seed, *rate, 0.3, 0.02, 0.3);
            !matches!(finding, Finding::NoBetter(_))
        });
        assert!(wrong.count() <= 3, "one in a thousand is promised");
    }

    #[test]
    fn better_than_before_and_clearly_above_the_limit_is_not_confirmed() {
        let confirming =
            Confirming { tally: Tally { n: 10_000.0, k: 1000.0 }, ..Confirming::default() };
        let finding = weigh(confirming.tally, 0.02, 0.3);
        assert!(matches!(finding, Finding::Undecided { leans_well: false, .. }), "{finding:?}");
    }

    #[test]
    fn a_few_requests_decide_nothing() {
        for (n, k) in [(3.0, 0.0), (3.0, 2.0)] {
            let finding = weigh(Tally { n, k }, 0.02, 0.3);
            assert!(matches!(finding, Finding::Undecided { .. }), "{k} of {n}: {finding:?}");
        }
        assert_eq!(weigh(Tally::default(), 0.02, 0.3), Finding::Silent);
    }

    #[test]
    fn extremes_stay_finite() {
        for (limit, bad) in [(0.0, 1.0), (0.0, 0.0), (1.0, 1.0)] {
            assert!(log_odds(Tally { n: 1e9, k: 1e9 }, limit, bad).is_finite());
        }
    }
}
