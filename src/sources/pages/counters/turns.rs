//! Whether several processes answer on one port in turn, each with counters of its own.
//!
//! A counter that falls, is back where it was, and falls again is not one counter. A process that was
//! restarted falls as well, but has to count up again from there.

use std::collections::BTreeMap;

use super::page::Fall;

/// A counter has to fall again within so many pages.
const WITHIN: u32 = 10;
/// After so many pages on which none did it is judged again.
const CALM: u32 = 30;
/// Counters that are followed; what is beyond is not.
const SERIES_MAX: usize = 500;

/// What fell lately.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By a hash of the series.
    fallen: BTreeMap<u64, Fallen>,
    /// Pages since something fell.
    since: u32,
    /// A counter that goes back and forth.
    odd: Option<String>,
}

#[derive(Debug)]
struct Fallen {
    /// What it held before, and since.
    high: f64,
    is_low: bool,
}

impl Turns {
    /// What is followed.
    pub(super) fn keys(&self) -> impl Iterator<Item = &u64> {
        self.fallen.keys()
    }

    /// Takes the next page: what fell on it, and what those hold that fell before. Answers with a
    /// counter that goes back and forth.
    pub(super) fn meet(
        &mut self,
        falls: &[Fall],
        values: &BTreeMap<u64, (&str, f64)>,
    ) -> Option<&str> {
        let mut turned = None;
        for (key, one) in &mut self.fallen {
            let Some((series, value)) = values.get(key) else { continue };
            if *value >= one.high {
                (one.high, one.is_low) = (*value, false);
            } else if !one.is_low {
                one.is_low = true;
                turned = Some(*series);
            }
        }
        let mut fell = turned.is_some();
        for fall in falls.iter().take(SERIES_MAX) {
            if self.fallen.len() < SERIES_MAX && !self.fallen.contains_key(&fall.key) {
                self.fallen.insert(fall.key, Fallen { high: fall.before, is_low: true });
                fell = true;
            }
        }
        self.since = if fell { 0 } else { self.since.saturating_add(1) };
        if let Some(series) = turned {
            self.odd = Some(series.to_owned());
        }
        let lasts = if self.odd.is_some() { CALM } else { WITHIN };
        if self.since >= lasts {
            *self = Self::default();
        }
        self.odd.as_deref()
    }
}
