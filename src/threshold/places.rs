//! The same threshold region by region: what fails in one of them is diluted in the whole.
//!
//! The odds of the whole and of its regions are averaged: 0.7 of the whole and 0.3 of the mean over
//! the regions. Each of them is below 1 on average if the release is fine, whatever depends on what, and so
//! is their average: the promised rate of false alarms holds, at the price of a third of a nat.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Round,
    detect::{
        ratio::{RatioDetector, RatioSettings, log_add_exp},
        recent::Recent,
    },
};
use crate::model::{Region, Tally};

/// The weight of the whole; the rest is the regions'.
const WHOLE: f64 = 0.7;
/// A region is accused alone while the whole has less than this part of the odds that are needed.
const ALONE: f64 = 0.5;
/// Rounds remembered of each region, and regions.
const ROUNDS: usize = 30;
const REGIONS_MAX: usize = 40;

/// One region's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub detector: RatioDetector,
    pub recent: Recent,
}

/// The regions of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Places(BTreeMap<Region, Place>);

/// Where a breach was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Found {
    Whole,
    /// It answers nothing.
    Silent,
    In(Region),
    /// One series, by its name.
    Alone(String),
}

impl Round<'_> {
    /// Whether a machine of the release is in a region, as far as there is any.
    pub(super) fn is_in(&self, region: &Region) -> bool {
        self.on.is_empty() || self.on.iter().any(|look| look.machine.region == *region)
    }
}

impl Places {
    /// Adds what one machine of a region counted; its first process began at `began`. It is asked what
    /// the whole is asked.
    pub fn add(
        &mut self,
        region: &Region,
        (began, now): (Timestamp, Timestamp),
        (Tally { n, k }, young): (Tally, bool),
        whole: &RatioDetector,
    ) {
        if !self.0.contains_key(region) && self.0.len() >= REGIONS_MAX {
            return;
        }
        let place = self
            .0
            .entry(region.clone())
            .or_insert_with(|| Place { detector: whole.anew(), recent: Recent::default() });
        place.detector.start(began);
        if young {
            place.detector.add_young(n, k);
        } else {
            place.detector.add(n, k);
        }
        if n > 0.0 {
            place.recent.add(now, n, k);
            place.recent.keep(ROUNDS);
        }
    }

    pub fn close(&mut self, now: Timestamp, settings: &RatioSettings) {
        for place in self.0.values_mut() {
            place.detector.close_if_due(now, settings);
        }
    }

    /// The odds of the whole and its regions together, by those of the whole.
    pub fn with(&self, whole: f64) -> f64 {
        if self.0.len() < 2 {
            return whole;
        }
        log_add_exp(WHOLE.ln() + whole, (1.0 - WHOLE).ln() + self.mean())
    }

    /// Where a breach is, of which the odds together are so high: in a region alone, if the whole is
    /// far from it. What strikes all regions, an outage say, makes the whole nearly as bad.
    pub fn found(&self, whole: f64, needed: f64) -> Found {
        let worst = self.0.iter().max_by(|(_, a), (_, b)| odds(a).total_cmp(&odds(b)));
        match worst {
            Some((region, _)) if self.0.len() >= 2 && whole < ALONE * needed => {
                Found::In(region.clone())
            }
            _ => Found::Whole,
        }
    }

    pub fn get(&self, region: &Region) -> Option<&Place> {
        self.0.get(region)
    }

    /// Counts anew from now on.
    pub fn begin_anew(&mut self) {
        self.0.clear();
    }

    fn mean(&self) -> f64 {
        let sum = self.0.values().map(odds).fold(f64::NEG_INFINITY, log_add_exp);
        sum - f64::from(u32::try_from(self.0.len()).unwrap_or(u32::MAX)).ln()
    }
}

/// Before the first block nothing speaks for or against it.
fn odds(place: &Place) -> f64 {
    place.detector.ln_odds().unwrap_or(0.0)
}
