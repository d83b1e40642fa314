//! What speaks for a release: the bet turned round. Gamblers bet that its share is below the limit, and at
//! 20 to 1 the requests say that it is well. What came in the last moments must not say otherwise: a
//! regression that began late is diluted by what was well before it.

use serde::{Deserialize, Serialize};

use super::detect::{ratio::log_add_exp, recent::Recent};
use crate::model::Tally;

/// The odds that are asked for.
const ODDS: f64 = 20.0;
/// What is bet on, as parts of the limit.
const PARTS: [f64; 4] = [0.25, 0.5, 0.75, 0.9];
/// The last so many requests have to be within the limit, each time.
const LAST: [f64; 2] = [300.0, 1000.0];
/// More than this is as good as for ever.
const MISSING_MAX: f64 = 1e9;

/// How far a release is from being trusted, by what was counted of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Requests that are missing, if they come as they did; `None`: they do not speak for it.
    pub missing: Option<f64>,
    /// The last requests are above the limit.
    pub lately_above: bool,
}

impl Proof {
    /// What these counts, and the last rounds of them, say of a limit.
    pub fn of(counted: Tally, recent: &Recent, limit: f64) -> Self {
        let above = |last: f64| recent.last(last).is_some_and(|(n, k)| k > limit * n);
        Self { missing: missing(counted, limit), lately_above: LAST.into_iter().any(above) }
    }

    /// Whether the requests say that it is well.
    pub fn is_enough(self) -> bool {
        !self.lately_above && self.missing.is_some_and(|missing| missing <= 0.0)
    }
}

/// The gain of each gambler by so many requests.
fn gains(n: f64, k: f64, limit: f64) -> [f64; 4] {
    PARTS.map(|part| {
        let bet = part * limit;
        k * (bet / limit).ln() + (n - k) * ((1.0 - bet) / (1.0 - limit)).ln()
    })
}

fn missing(Tally { n, k }: Tally, limit: f64) -> Option<f64> {
    let needed = ODDS.ln() + 4.0_f64.ln();
    let held = gains(n, k, limit);
    if held.into_iter().fold(f64::NEG_INFINITY, log_add_exp) >= needed {
        return Some(0.0);
    }
    // As if they had come without a failure, where there were none.
    let share = if n > 0.0 { k / n } else { 0.0 };
    let wins = gains(1.0, share, limit);
    let left = held.into_iter().zip(wins).filter(|(_, win)| *win > 0.0);
    let left = left.map(|(held, win)| (needed - held) / win).min_by(f64::total_cmp)?;
    (left <= MISSING_MAX).then(|| left.ceil().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: f64, k: f64) -> Option<f64> {
        Proof::of(Tally { n, k }, &Recent::default(), 0.02).missing
    }

    #[test]
    fn some_three_hundred_requests_without_a_failure_are_enough() {
        assert_eq!(of(330.0, 0.0), Some(0.0));
        assert!(of(200.0, 0.0).is_some_and(|missing| (50.0..200.0).contains(&missing)));
        assert!(of(0.0, 0.0).is_some_and(|missing| (200.0..400.0).contains(&missing)));
    }

    #[test]
    fn a_share_near_the_limit_takes_more_of_them_and_one_above_it_none_are_enough() {
        assert_eq!(of(2000.0, 20.0), Some(0.0));
        assert!(of(600.0, 9.0).is_some_and(|missing| missing > 1000.0));
        assert_eq!(of(60_000.0, 900.0), Some(0.0));
        assert_eq!(of(60_000.0, 1260.0), None);
    }

    #[test]
    fn what_came_last_must_not_be_above_the_limit() {
        let mut recent = Recent::default();
        let at = |second: i64| jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
        for second in 0..100 {
            recent.add(at(second), 100.0, if second < 96 { 0.5 } else { 3.0 });
        }
        let proof = Proof::of(Tally { n: 10_000.0, k: 60.0 }, &recent, 0.02);
        assert!(proof.lately_above && !proof.is_enough());
        assert_eq!(proof.missing, Some(0.0));
        for second in 100..110 {
            recent.add(at(second), 100.0, 0.5);
        }
        assert!(Proof::of(Tally { n: 11_000.0, k: 65.0 }, &recent, 0.02).is_enough());
    }
}
