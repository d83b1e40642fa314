//! The same threshold series by series, where `by` asks for it: an endpoint that breaks alone is lost in
//! the whole.
//!
//! The busiest fifty are judged, each at its share of alpha: with so many of them alike one looks bad by
//! chance more often than one alone. Which ones is decided by how much they count, never by how bad they are. A
//! series that failed as much under the known-good release is not accused of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Look, Round, counted,
    detect::{
        ratio::{RatioDetector, RatioSettings},
        recent::{Recent, is_far_above},
    },
};
use crate::model::{Since, Tally};

/// Series that are judged, and that wait for a place.
pub(super) const JUDGED_MAX: usize = 50;
const WAITING_MAX: usize = 200;
/// Of the promised rate of false rollbacks half is the whole's, and half is shared by the series.
const WHOLE: f64 = 0.5;
/// Series that are shown.
const SHOWN: usize = 10;
/// Rounds remembered of each.
const ROUNDS: usize = 30;
/// How often it is looked which are the busiest, and how much busier one has to be to take a place.
const REVIEWED_EVERY: SignedDuration = SignedDuration::from_secs(60);
const BUSIER: f64 = 1.5;
/// A series is excused by a past of so many events, unless it is worse than that by so much.
pub const SERIES_PAST_MIN: f64 = 100.0;
const WORSE: f64 = 1.5;
/// Standard deviations: the most that the past's share may be.
const AT_MOST: f64 = 3.3;
/// Bad events of the known-good release beside it that say something.
const BESIDE_MIN: f64 = 3.0;
/// One cause may show in one release so much before it does in the other.
const SEEN_LATE_BY: SignedDuration = SignedDuration::from_secs(10);

/// One series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct One {
    pub(super) detector: RatioDetector,
    pub(super) recent: Recent,
    /// Events since the busiest were last looked for.
    lately: f64,
    /// While machines of both releases were read: this one, and the known-good one.
    beside: (Tally, Tally),
    /// The last rounds of the known-good one.
    #[serde(default)]
    control: Recent,
    /// The largest share that it showed of what befalls this one, for as long as that lasts.
    #[serde(default)]
    shown: f64,
}

/// The series of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Series {
    judged: BTreeMap<String, One>,
    waiting: BTreeMap<String, f64>,
    /// What they were under what ran before.
    past: BTreeMap<String, Tally>,
    reviewed_at: Option<Timestamp>,
}

/// What a machine counted, series by series; nothing of before the release.
pub(super) fn of<'a>(look: &Look<'a>, name: &str) -> Option<&'a BTreeMap<String, Tally>> {
    let readings = look.readings?;
    let count = readings.counts.get(name)?;
    let is_new = count.since == Since::LastScrape || look.past_counts;
    readings.series.get(name).filter(|_| is_new)
}

/// The settings of the whole beside series.
pub(super) fn of_whole(settings: &RatioSettings) -> RatioSettings {
    RatioSettings { alpha: settings.alpha * WHOLE, ..*settings }
}

/// The settings of one series.
pub(super) fn of_each(settings: &RatioSettings) -> RatioSettings {
    let share = f64::from(u32::try_from(JUDGED_MAX).unwrap_or(u32::MAX));
    RatioSettings { alpha: settings.alpha * (1.0 - WHOLE) / share, ..*settings }
}

impl Series {
    /// Adds what one machine counted of its series, each of which is asked what the whole is asked.
    pub(super) fn add(
        &mut self,
        (parts, young): (&BTreeMap<String, Tally>, bool),
        now: Timestamp,
        whole: &RatioDetector,
    ) {
        for (name, tally) in parts {
            let (n, k) = (tally.n, tally.k.min(tally.n));
            if n <= 0.0 {
                continue;
            }
            if !self.judged.contains_key(name) && self.judged.len() >= JUDGED_MAX {
                self.wait(name, n);
                continue;
            }
            let one = self.judged.entry(name.clone()).or_insert_with(|| One::new(whole));
            one.detector.start(now);
            if young {
                one.detector.add_young(n, k);
            } else {
                one.detector.add(n, k);
            }
            one.recent.add(now, n, k);
            one.recent.keep(ROUNDS);
            one.lately += n;
        }
    }

    /// Adds what machines of both releases counted in a round that told of both.
    pub(super) fn compare(&mut self, name: &str, round: &Round<'_>) {
        for (looks, is_control) in [(round.on, false), (round.control, true)] {
            for parts in looks.iter().filter_map(|look| of(look, name)) {
                self.beside(parts, is_control, round.now);
            }
        }
        for one in counted::belated(round, name) {
            self.beside(&one.series, true, round.now);
        }
    }

    fn beside(&mut self, parts: &BTreeMap<String, Tally>, is_control: bool, now: Timestamp) {
        for (name, tally) in parts {
            if let Some(one) = self.judged.get_mut(name) {
                let (release, control) = &mut one.beside;
                let arm = if is_control { control } else { release };
                arm.add(tally.n, tally.k.min(tally.n));
                if is_control && tally.n > 0.0 {
                    one.control.add(now, tally.n, tally.k.min(tally.n));
                    one.control.keep(ROUNDS);
                }
            }
        }
    }

    /// What they were under what ran before.
    pub(super) fn remember(&mut self, past: &BTreeMap<String, Tally>) {
        if self.past != *past {
            self.past.clone_from(past);
        }
    }

    fn wait(&mut self, name: &str, n: f64) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            *waiting += n;
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.insert(name.to_owned(), n);
        }
    }

    pub(super) fn close(&mut self, now: Timestamp, settings: &RatioSettings) {
        let each = of_each(settings);
        let needed = RatioDetector::needed(each.alpha);
        for one in self.judged.values_mut() {
            one.detector.close_if_due(now, &each);
            one.look_beside(needed, now);
        }
        let reviewed = *self.reviewed_at.get_or_insert(now);
        if now.duration_since(reviewed) >= REVIEWED_EVERY {
            self.reviewed_at = Some(now);
            self.review();
        }
    }

    /// Gives the places of the least busy to those that are clearly busier.
    fn review(&mut self) {
        let mut waiting: Vec<(f64, String)> =
            std::mem::take(&mut self.waiting).into_iter().map(|(name, n)| (n, name)).collect();
        waiting.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (n, busy) in waiting {
            let idle = self.judged.iter().filter(|(_, one)| one.leans() <= 0.0);
            let least = idle.min_by(|(_, a), (_, b)| a.lately.total_cmp(&b.lately));
            let Some((name, _)) = least.filter(|(_, one)| n > BUSIER * one.lately) else { break };
            let name = name.clone();
            if let Some(One { detector, .. }) = self.judged.remove(&name) {
                let one = One::new(&detector);
                self.judged.insert(busy, One { lately: n, ..one });
            }
        }
        for one in self.judged.values_mut() {
            one.lately = 0.0;
        }
    }

    /// The worst series whose odds are so high that it is a breach, and which nothing excuses.
    pub(super) fn found(&self, settings: &RatioSettings) -> Option<String> {
        let needed = RatioDetector::needed(of_each(settings).alpha);
        let breaches = self.judged.iter().filter(|(name, one)| {
            one.leans() >= needed && one.detector.has_blocks_enough() && !self.is_excused(name, one)
        });
        let worst = breaches.max_by(|(_, a), (_, b)| a.leans().total_cmp(&b.leans()));
        worst.map(|(name, _)| name.clone())
    }

    /// Whether a series is not held against the release.
    pub(super) fn excuses(&self, name: &str) -> bool {
        self.judged.get(name).is_some_and(|one| self.is_excused(name, one))
    }

    /// Whether it was hardly better before, or is hardly better beside it.
    fn is_excused(&self, name: &str, one: &One) -> bool {
        let (n, k) = one.lately();
        let share = k / n.max(1.0);
        let before = self.past.get(name).is_some_and(|past| {
            let at_most = (past.k + AT_MOST * (past.k + 1.0).sqrt()) / past.n.max(1.0);
            past.n >= SERIES_PAST_MIN && WORSE * at_most >= share
        });
        before || one.is_alike()
    }

    /// Those that are judged, the worst first: what was counted since it began anew, and ln E.
    pub(super) fn worst(&self) -> Vec<(String, Tally, Option<f64>)> {
        let mut all: Vec<(&String, &One)> = self.judged.iter().collect();
        all.sort_by(|(_, a), (_, b)| b.leans().total_cmp(&a.leans()));
        let shown = |(name, one): (&String, &One)| {
            let (n, k) = one.detector.totals();
            (name.clone(), Tally { n, k }, one.detector.ln_odds())
        };
        all.into_iter().take(SHOWN).map(shown).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&One> {
        self.judged.get(name)
    }

    /// Counts anew from now on.
    pub(super) fn begin_anew(&mut self) {
        self.judged.clear();
        self.waiting.clear();
    }
}

impl One {
    fn new(alike: &RatioDetector) -> Self {
        Self {
            detector: alike.anew(),
            recent: Recent::default(),
            lately: 0.0,
            beside: Default::default(),
            control: Recent::default(),
            shown: 0.0,
        }
    }

    fn leans(&self) -> f64 {
        self.detector.ln_odds().unwrap_or(0.0)
    }

    /// Events and bad events since it rose above the limit, or all of them.
    fn lately(&self) -> (f64, f64) {
        let since = self.recent.since_it_rose(self.detector.p0());
        since.unwrap_or_else(|| self.detector.totals())
    }

    /// Notes what the known-good release shows of what would be a breach. When that is over it is judged anew:
    /// what both met is no reason to let the next thing pass, nor to see it in the first failure.
    fn look_beside(&mut self, needed: f64, now: Timestamp) {
        if self.leans() < needed {
            self.shown = 0.0;
            return;
        }
        let p0 = self.detector.p0();
        let (n, k) = self.detector.totals();
        let then = (k / n.max(1.0)).max(WORSE * p0);
        if self.is_alike() && self.recent.is_within(p0, then) {
            *self = Self {
                lately: self.lately,
                recent: self.recent.clone(),
                ..Self::new(&self.detector)
            };
            self.detector.start(now);
            return;
        }
        let (_, control) = self.beside;
        let rose = self.recent.rose_at(p0).unwrap_or(now);
        let (n, k) = self.control.since(rose.checked_sub(SEEN_LATE_BY).unwrap_or(rose));
        let since = Tally { n, k }.share().unwrap_or_default();
        self.shown = self.shown.max(since).max(control.share().unwrap_or_default());
    }

    /// Whether the known-good release failed as much beside it, and it is not clearly worse by now than
    /// that ever was.
    fn is_alike(&self) -> bool {
        let (release, control) = self.beside;
        let alike = control.k >= BESIDE_MIN
            && control.k / control.n * WORSE >= release.k / release.n.max(1.0);
        let (n, k) = self.lately();
        let most = WORSE * self.shown * n;
        alike && !(k > most && is_far_above(k, most))
    }

    /// The known-good release at the same time.
    pub(super) fn control(&self) -> Option<(f64, f64)> {
        let (_, control) = self.beside;
        (control.n > 0.0).then_some((control.k, control.n))
    }
}
