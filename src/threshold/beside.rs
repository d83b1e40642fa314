//! The known-good release beside the one that is judged: both over the same seconds, block by block,
//! remembered when its machines are gone.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Look, Round,
    detect::{
        control::{Arms, ControlDetector, ControlSettings},
        ratio::RatioSettings,
    },
    signed,
};
use crate::model::{Origin, Tally};

/// The odds at which a release is worse than the one beside it: 20 to 1.
const WORSE_AT: f64 = 0.05;
/// How much worse than the one beside it a release must be to be blamed while that fails too.
const ALIKE: f64 = 1.5;
/// Beyond so much no noise explains the difference.
const NEAR: f64 = 4.0;
/// A burst in a block that is as long as the first reading takes to come is so many times less of it.
const DILUTED: f64 = 10.0;
/// Of the limit: up to so much is well within it.
const WELL_WITHIN: f64 = 0.5;
/// Bad events of it that say something.
const BAD_MIN: f64 = 3.0;
/// Blocks remembered, and the time before the last of them that still is the same time.
const BLOCKS_REMEMBERED: usize = 60;
const SAME_TIME: SignedDuration = SignedDuration::from_secs(60);
const SEEN_LATE_BY: SignedDuration = SignedDuration::from_secs(10);
/// What a metrics server tells is late by this, as it is handed out; and what comes of its being asked and of
/// rounds on top.
const TOLD_LATE: Duration = Duration::from_secs(15);
const ROUNDS: Duration = Duration::from_secs(5);

impl Round<'_> {
    /// Whether the known-good release can be compared with, as far as `origin` tells of it: its machines
    /// are read, or its last seconds are still to come.
    pub(super) fn has_control(&self, origin: &Origin) -> bool {
        let late = signed(TOLD_LATE.min(origin.every).saturating_add(ROUNDS));
        let comes = !origin.every.is_zero()
            && self.parted.is_some_and(|at| self.now.duration_since(at) <= late);
        comes || is_read(self.control)
    }
}

/// Whether any of these machines was read.
pub(super) fn is_read(looks: &[Look<'_>]) -> bool {
    looks.iter().any(|look| look.readings.is_some())
}

/// Both releases over the same seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    worse: ControlDetector,
    /// When the open block began, and what it holds.
    opened_at: Option<Timestamp>,
    open: Arms,
    /// The last round that read machines of both.
    last: Option<Timestamp>,
    /// The last blocks: when each began, and ended.
    blocks: VecDeque<(Timestamp, Timestamp, Arms)>,
}

impl Beside {
    /// Takes in a round that read machines of both, and what they counted since the one before, which
    /// was `apart` ago.
    pub fn add(&mut self, now: Timestamp, apart: Duration, release: Tally, control: Tally) {
        let before = self.last.replace(now);
        let since = before.or_else(|| now.checked_sub(signed(apart)).ok()).unwrap_or(now);
        self.opened_at.get_or_insert(since);
        self.open.release.add(release.n, release.k);
        self.open.control.add(control.n, control.k);
    }

    /// A round without one of the two: what the open block holds is compared with nothing more.
    pub fn interrupt(&mut self, now: Timestamp, settings: &RatioSettings) {
        if self.last.take().is_some() {
            self.close(now, settings, false);
            self.opened_at = None;
            self.open = Arms::default();
        }
    }

    /// Closes the open block when it is old enough, and holds events of both.
    pub fn close_if_due(&mut self, now: Timestamp, settings: &RatioSettings) {
        self.close(now, settings, true);
    }

    fn close(&mut self, now: Timestamp, settings: &RatioSettings, whole: bool) {
        let Some(opened) = self.opened_at else { return };
        let Ok(age) = Duration::try_from(now.duration_since(opened)) else {
            // The clock went back.
            self.opened_at = Some(now);
            return;
        };
        if (whole && !settings.is_over(age))
            || self.open.release.n < 1.0
            || self.open.control.n < 1.0
        {
            return;
        }
        let arms = std::mem::take(&mut self.open);
        let how = ControlSettings { alpha: WORSE_AT, rho: 1.0, watch: settings.watch };
        self.worse.step(&[arms], age, &how);
        self.blocks.push_back((opened, now, arms));
        if self.blocks.len() > BLOCKS_REMEMBERED {
            self.blocks.pop_front();
        }
        self.opened_at = None;
    }

    /// What comes now is compared anew.
    pub fn begin_anew(&mut self) {
        *self = Self::default();
    }

    /// ln E of the release's being worse; `None`: nothing was compared.
    pub fn ln_odds(&self) -> Option<f64> {
        self.worse.ln_odds()
    }

    /// The odds that are asked for.
    pub fn needed() -> f64 {
        -WORSE_AT.ln()
    }

    /// The blocks of the last minute of their being side by side, since the release's share rose.
    fn since(&self, risen_at: Timestamp) -> impl Iterator<Item = &Arms> {
        let last = self.blocks.back().map_or(risen_at, |(_, to, _)| *to);
        let lately = last.checked_sub(SAME_TIME).unwrap_or(last);
        // With few requests the first of them that fails comes a while after the cause.
        let risen_at = risen_at.checked_sub(SEEN_LATE_BY).unwrap_or(risen_at);
        let from = risen_at.max(lately);
        self.blocks.iter().filter(move |(_, to, _)| *to > from).map(|(_, _, arms)| arms)
    }

    /// What the known-good release shows of the same breach since it is: it fails as well, and the
    /// release not half as much again, or not four times as much and without being clearly worse.
    pub fn alike(&self, limit: f64, risen_at: Timestamp) -> Option<Tally> {
        let mut both = Arms::default();
        let mut as_the_release = 0.0;
        for arms in self.since(risen_at) {
            both.control.add(arms.control.n, arms.control.k);
            both.release.add(arms.release.n, arms.release.k);
            // Block by block: in a deploy the one grows less while the other grows more.
            as_the_release += arms.control.n * arms.release.share().unwrap_or_default();
        }
        let control = both.control;
        // Or as a whole: with few requests a block says little.
        let whole = control.n * both.release.share().unwrap_or_default();
        let as_the_release = as_the_release.min(whole);
        let fails = control.k >= BAD_MIN && control.k > limit * control.n;
        // What befell both is noise apart: then it counts unless the release is clearly worse.
        let is_close = control.k * ALIKE > as_the_release;
        let is_near = control.k * NEAR > as_the_release && !self.is_worse();
        (fails && (is_close || is_near)).then_some(control)
    }

    /// Whether the known-good release was seen to be well within the limit, in the last minute of their being side
    /// by side: not above half of it, which is what little of something that has just begun leaves.
    pub fn control_was_well(&self, limit: f64) -> bool {
        let mut control = Tally::default();
        self.since(Timestamp::MIN).for_each(|arms| control.add(arms.control.n, arms.control.k));
        control.n >= 1.0 && (control.k < BAD_MIN || control.k <= WELL_WITHIN * limit * control.n)
    }

    /// Whether any block of that minute may hold as large a share of the known-good release's events for some
    /// of its seconds, and is not well within the limit as a whole.
    pub fn control_was_struck(&self, limit: f64, share: f64) -> bool {
        self.since(Timestamp::MIN).any(|Arms { control, .. }| {
            control.k >= BAD_MIN
                && control.k > WELL_WITHIN * limit * control.n
                && control.k * DILUTED > share * control.n
        })
    }

    fn is_worse(&self) -> bool {
        self.ln_odds().is_some_and(|odds| odds >= Self::needed())
    }

    /// Whether the release is worse, and the known-good one not alike.
    pub fn vouches(&self, limit: f64, risen_at: Timestamp) -> bool {
        self.is_worse()
            && self.since(risen_at).next().is_some()
            && self.alike(limit, risen_at).is_none()
    }
}
