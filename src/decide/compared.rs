//! What a release is compared with where `relative` asks for it: the known-good release's own past.
//!
//! What runs steadily is counted minute by minute, an hour of it, across restarts. When another release
//! comes, what was counted until then is what that one is compared with, for as long as it runs. Where
//! too little is known of what ran last, what ran before that is compared with on.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Context, Round, distress,
    floor::{Level, Past, add_minute, is_for},
    state::Phase,
};
use crate::{
    model::{Digest, Raised, Tally, Threshold},
    threshold::relative,
};

/// One in so many of the minutes, the worst, is left out.
const WORST_PART: usize = 10;

/// What one threshold is compared with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// What runs steadily, as people call it, and what it counted.
    of: Option<(Digest, String)>,
    minutes: VecDeque<(Timestamp, Tally)>,
    /// What is compared with by now.
    set: Option<Set>,
    /// What the release that runs steadily is compared with, for when it is gone back to.
    #[serde(default)]
    own: Option<Set>,
}

/// What a release is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Set {
    /// The release.
    whose: Digest,
    /// What ran before it, and the share of that: measured, and the most that it may be.
    by: String,
    share: f64,
    at_most: f64,
}

impl Base {
    /// What a release is compared with; `None`: too little is known.
    fn of(&self, release: &Digest) -> Option<Set> {
        let known = self.set.iter().chain(&self.own).find(|set| set.whose == *release);
        match (&self.of, known) {
            (Some((runs, _)), Some(set)) if runs == release => Some(set.clone()),
            (Some((runs, _)), None) if runs == release => None,
            (Some((_, name)), _) => self.measure(release, name),
            (None, known) => known.cloned(),
        }
    }

    /// Remembers what the release that runs steadily is compared with, before another one's takes its place.
    fn keep_own(&mut self) {
        let runs = self.of.as_ref().map(|(runs, _)| runs);
        if self.set.as_ref().is_some_and(|set| Some(&set.whose) == runs) {
            self.own = self.set.clone();
        }
    }

    fn measure(&self, release: &Digest, name: &str) -> Option<Set> {
        let whose = release.clone();
        let Some(level) = Level::of(&self.minutes, WORST_PART) else {
            return self.set.clone().map(|set| Set { whose, ..set });
        };
        let (share, at_most) = (level.share, level.at_most());
        Some(Set { whose, by: name.to_owned(), share, at_most })
    }
}

impl Past {
    /// The limit in force of a threshold where that is not the written one: lower, as the known-good
    /// release showed, or raised.
    pub(super) fn in_force(&self, threshold: &Threshold, release: &Digest) -> Option<Raised> {
        let (written, _) = threshold.room().allowed_share()?;
        let raised = self.raised.get(&threshold.name).filter(|one| is_for(one, written));
        let compared = threshold.room().relative().and_then(|relative| {
            let set = self.bases.get(&threshold.name)?.of(release)?;
            let cap = raised.map_or(written, |raised| raised.to);
            let to = relative::limit(relative, set.at_most, cap);
            let (by, share, relative) = (set.by, set.share, Some(relative));
            (to < cap).then_some(Raised { from: written, to, by, share, relative })
        });
        compared.or_else(|| raised.cloned())
    }
}

/// Takes in what this round counted of what runs steadily, and keeps what a new release is compared with.
pub(super) fn keep(cx: &mut Context<'_>, phase: &Phase, round: &Round<'_>) {
    let Some(current) = cx.memory.current.clone() else { return };
    let compares = |name: &String| {
        let mut all = cx.policy.thresholds.iter();
        all.any(|one| one.name == *name && one.room().relative().is_some())
    };
    cx.memory.past.bases.retain(|name, _| compares(name));
    let Some(steady) = phase.runs_steadily() else { return };
    for threshold in cx.policy.thresholds.iter().filter(|one| one.room().relative().is_some()) {
        let base = cx.memory.past.bases.entry(threshold.name.clone()).or_default();
        if !steady {
            let next = base.of(&current.digest);
            base.keep_own();
            base.set = next.or(base.set.take());
            continue;
        }
        if base.of.as_ref().is_none_or(|(runs, _)| *runs != current.digest) {
            base.set = base.of(&current.digest);
            base.own = None;
            base.of = Some((current.digest.clone(), current.info().name()));
            base.minutes.clear();
        }
        let counted = distress::counted(round, &threshold.name);
        let mut sum = Tally::default();
        for one in counted.values() {
            sum.add(one.n, one.k);
        }
        add_minute(&mut base.minutes, sum, cx.now);
    }
}
