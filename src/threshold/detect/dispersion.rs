//! How far counts spread: do failures come one by one, or in bundles?
//!
//! A count of failures of which each comes by itself spreads by its square root. Retries, batches and shares
//! that wander make it spread further, and as many times further (in variance) is what a failure is
//! worth less as evidence. It is measured on what a release that was well counted from minute to minute, as
//! Pearson's statistic over its degrees of freedom: a minute is long enough to see a share wander
//! that a detector's block of seconds takes for steady.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Tally;

/// Minutes kept, and how many of them with events, and bad events in them, say something.
const MINUTES_MAX: usize = 60;
const MINUTES_MIN: u32 = 10;
const BAD_MIN: f64 = 10.0;
const MINUTE_S: i64 = 60;

/// How far a release's counts spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// How many times the variance of failures that come one by one; at least 1.
    pub phi: f64,
    /// Minutes with events in which that was measured.
    pub minutes: u32,
    /// When it was.
    pub at: Timestamp,
}

/// What was counted, minute by minute; the newest is not over yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Minutes(VecDeque<(i64, Tally)>);

impl Minutes {
    /// Adds events of the round of `now`.
    pub fn add(&mut self, now: Timestamp, n: f64, k: f64) {
        let minute = now.as_second().div_euclid(MINUTE_S);
        match self.0.back_mut() {
            Some((last, tally)) if *last == minute => tally.add(n, k),
            _ => self.0.push_back((minute, Tally { n, k })),
        }
        if self.0.len() > MINUTES_MAX {
            self.0.pop_front();
        }
    }

    /// How far they spread; `None`: too little was counted to tell.
    pub fn dispersion(&self, at: Timestamp) -> Option<Dispersion> {
        let over = || self.0.iter().rev().skip(1).map(|(_, tally)| tally).filter(|one| one.n > 0.0);
        let minutes = u32::try_from(over().count()).unwrap_or(u32::MAX);
        let (n, k) = over().fold((0.0, 0.0), |(n, k), one| (n + one.n, k + one.k));
        let share = k / n;
        if minutes < MINUTES_MIN || k < BAD_MIN || k >= n {
            return None;
        }
        let spread = |one: &Tally| {
            let expected = one.n * share;
            (one.k - expected).powi(2) / (expected * (1.0 - share))
        };
        let phi = over().map(spread).sum::<f64>() / f64::from(minutes - 1);
        Some(Dispersion { phi: phi.max(1.0), minutes, at }).filter(|one| one.phi.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: usize) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * i64::try_from(minute).unwrap()).unwrap()
    }

    /// φ of minutes with these bad events among 6000.
    fn phi(bad: &[f64]) -> Option<f64> {
        let mut minutes = Minutes::default();
        for (minute, k) in bad.iter().enumerate() {
            // Each minute in two readings.
            minutes.add(at(minute), 3000.0, *k);
            minutes.add(at(minute), 3000.0, 0.0);
        }
        minutes.add(at(bad.len()), 50.0, 50.0);
        minutes.dispersion(at(0)).map(|one| (one.phi * 100.0).round() / 100.0)
    }

    /// By hand: a mean of 30 of 6000, deviations of 6, 12 and 0; Σ(k − np)² / np(1 − p) / (B − 1).
    #[test]
    fn it_is_pearsons_statistic_over_its_degrees_of_freedom() {
        let pair = |by: f64| [30.0 - by, 30.0 + by];
        let bad = [pair(6.0), pair(12.0), pair(0.0), pair(12.0), pair(6.0)].concat();
        assert_eq!(phi(&bad), Some(2.68));
    }

    #[test]
    fn failures_that_spread_less_than_by_chance_are_no_more_than_one_by_one() {
        assert_eq!(phi(&[30.0; 12]), Some(1.0));
    }

    #[test]
    fn a_burst_in_one_minute_is_a_bundle() {
        let mut bad = vec![30.0; 30];
        bad.push(500.0);
        assert!(phi(&bad).is_some_and(|phi| phi > 100.0));
    }

    #[test]
    fn few_minutes_few_failures_and_nothing_but_failures_say_nothing() {
        assert_eq!(phi(&[30.0; 9]), None);
        assert_eq!(phi(&[0.5; 15]), None);
        assert_eq!(phi(&[6000.0; 15]), None);
        assert_eq!(Minutes::default().dispersion(at(0)), None);
    }

    #[test]
    fn an_hour_is_kept_and_what_was_before_is_forgotten() {
        let mut minutes = Minutes::default();
        for minute in 0..1000 {
            minutes.add(at(minute), 6000.0, if minute < 900 { 900.0 } else { 30.0 });
        }
        assert_eq!(minutes.0.len(), MINUTES_MAX);
        let measured = minutes.dispersion(at(1000));
        assert_eq!(measured, Some(Dispersion { phi: 1.0, minutes: 59, at: at(1000) }));
    }

    #[test]
    fn its_state_can_be_read_again() {
        let mut minutes = Minutes::default();
        minutes.add(at(3), 0.1, 0.3);
        let text = serde_json::to_string(&minutes).unwrap();
        assert_eq!(serde_json::from_str::<Minutes>(&text).unwrap(), minutes);
    }
}
