//! Whether several processes answer on one port in turn, each with counters of its own.
//!
//! A counter that falls, is back where it was with one page, and falls again is not one counter. A process that
//! was restarted falls as well, but has to count up again from there, page by page.

use std::collections::BTreeMap;

use super::page::Fall;

/// A counter has to fall again within so many pages.
const WITHIN: u32 = 10;
/// After so many pages on which none did it is judged again.
const CALM: u32 = 30;
/// What is back has risen by more than so many times what it rose by on a page before, or at once.
const JUMP: f64 = 2.0;
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
    /// The most by which all that fell rose together with one page since; `None`: with none yet.
    climb: Option<f64>,
}

#[derive(Debug)]
struct Fallen {
    /// What it held before, and since.
    high: f64,
    is_low: bool,
    /// What it held on the page before.
    last: f64,
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
        let risen = self.fallen.iter().filter_map(|(key, one)| Some(values.get(key)?.1 - one.last));
        let risen: f64 = risen.sum();
        let jumps = self.climb.is_none_or(|climb| risen > JUMP * climb);
        let (mut turned, mut is_back) = (None, false);
        self.fallen.retain(|key, one| {
            let Some((series, value)) = values.get(key) else { return true };
            one.last = *value;
            if *value >= one.high {
                if one.is_low && !jumps {
                    // It counted up again.
                    return false;
                }
                is_back |= one.is_low;
                (one.high, one.is_low) = (*value, false);
            } else if !one.is_low {
                one.is_low = true;
                turned = Some(*series);
            }
            true
        });
        let mut fell = turned.is_some();
        for fall in falls.iter().take(SERIES_MAX) {
            if self.fallen.len() < SERIES_MAX && !self.fallen.contains_key(&fall.key) {
                let one = Fallen { high: fall.before, is_low: true, last: fall.now };
                self.fallen.insert(fall.key, one);
                fell = true;
            }
        }
        let climb = self.climb.map_or(risen, |climb| climb.max(risen));
        self.climb = Some(climb).filter(|_| !fell && !is_back);
        // One process that falls again and again is not several.
        let goes_on = if self.odd.is_some() { turned.is_some() } else { fell };
        self.since = if goes_on { 0 } else { self.since.saturating_add(1) };
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
