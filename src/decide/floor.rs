//! The app's own past as the floor of its limits: an app that always stood above a limit is no worse
//! for doing so, and a limit that is never met is wrong.
//!
//! What ran when the app was first seen, or what last passed the limit as it is written, is counted
//! minute by minute. Where it stands above the limit beyond doubt, the limit in force is raised, once,
//! to what is clearly worse than that, at most to three times the limit; people are told. Later releases
//! inherit it as it is, so that it cannot creep, and one that passes the limit as it is written ends it.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Context, Round,
    compared::{self, Base},
    distress, endpoints,
    endpoints::Endpoints,
    state::{Memory, Phase, Watch},
};
use crate::{
    model::{Digest, EventKind, Policy, Raised, Reason, Tally, Want},
    threshold::keys::SHARE_MAX,
};

/// Minutes kept of each threshold, and how many of them with events say something.
const MINUTES_MAX: usize = 60;
const MINUTES_MIN: usize = 10;
/// One in so many of the minutes, the worst, is left out: an outage is no past.
const WORST_PART: usize = 4;
/// Events that say something.
const EVENTS_MIN: f64 = 1000.0;
/// Standard deviations: above the limit at 20 to 1, and the most that the share may be.
pub(super) const ABOVE: f64 = 1.645;
const AT_MOST: f64 = 3.3;
/// How much worse than its past a release must be, and how far a limit is raised at most.
const WORSE: f64 = 1.5;
const TIMES_MAX: f64 = 3.0;
/// What begins so soon after an app was first seen was always so.
const FIRST: SignedDuration = SignedDuration::from_mins(30);
/// The minutes are recorded at least so often; in between they go with whatever else is.
const RECORDED_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// What is known of the app's past, by threshold.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Past {
    /// The image whose past counts.
    of: Option<Digest>,
    minutes: BTreeMap<String, VecDeque<(Timestamp, Tally)>>,
    /// What each series counted, where a threshold tells them apart: under what runs, and before it.
    #[serde(flatten)]
    pub(super) endpoints: Endpoints,
    /// What each threshold asks: what was counted for another question says nothing of it.
    #[serde(default)]
    questions: BTreeMap<String, String>,
    /// Limits that are raised.
    pub raised: BTreeMap<String, Raised>,
    /// What releases are compared with, by threshold.
    #[serde(default)]
    pub(super) bases: BTreeMap<String, Base>,
    recorded_at: Option<Timestamp>,
    /// What ran when the app was first seen, and when that was.
    #[serde(default)]
    first: Option<(Digest, Timestamp)>,
}

/// Minutes alone are no reason to record anything: see [`RECORDED_EVERY`].
impl PartialEq for Past {
    fn eq(&self, other: &Self) -> bool {
        self.of == other.of && self.raised == other.raised && self.recorded_at == other.recorded_at
    }
}

/// Takes in what this round counted, and raises what has to be.
pub(super) fn keep(cx: &mut Context<'_>, phase: &Phase, round: &Round<'_>) {
    forget_other_questions(cx, phase);
    compared::keep(cx, phase, round);
    endpoints::keep(cx, phase, round);
    let past = &mut cx.memory.past;
    let due = past.recorded_at.is_none_or(|at| cx.now.duration_since(at) >= RECORDED_EVERY);
    let is_counted = cx.policy.watch.floor || !past.bases.is_empty() || !past.endpoints.is_empty();
    if due && is_counted {
        past.recorded_at = Some(cx.now);
    }
    if !cx.policy.watch.floor {
        (past.of, past.minutes, past.raised) = Default::default();
        past.recorded_at = past.recorded_at.filter(|_| is_counted);
        return;
    }
    let Some(current) = cx.memory.current.clone() else { return };
    let first = match phase {
        Phase::Steady => false,
        Phase::Watching(watch) | Phase::Held { watch, .. } if watch.learning => true,
        Phase::Unseen
        | Phase::Watching(_)
        | Phase::Held { .. }
        | Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Stopped { .. } => return,
    };
    let past = &mut cx.memory.past;
    if past.of.is_none() || (first && past.of.as_ref() != Some(&current.digest)) {
        past.begin(current.digest.clone());
    }
    if first && past.first.as_ref().is_none_or(|(digest, _)| *digest != current.digest) {
        past.first = Some((current.digest.clone(), cx.now));
    }
    if past.of.as_ref() != Some(&current.digest) {
        return;
    }
    past.count(cx.policy, round, cx.now);
    for threshold in &cx.policy.thresholds {
        let Some((limit, _)) = threshold.room().allowed_share() else { continue };
        let name = &threshold.name;
        if cx.memory.past.raised.get(name).is_some_and(|one| is_for(one, limit)) {
            continue;
        }
        if is_news(&cx.memory, name, &current.digest) {
            continue;
        }
        let minutes = cx.memory.past.minutes.get(name);
        let Some((share, to)) = minutes.and_then(|minutes| level(minutes, limit)) else { continue };
        let by = current.info().name();
        let raised = Raised { from: limit, to, by, share, relative: None };
        cx.memory.past.raised.insert(name.clone(), raised.clone());
        cx.say(EventKind::ConfigWarning, Reason::LimitRaised { threshold: name.clone(), raised });
    }
    let names = |name: &String| cx.policy.thresholds.iter().any(|one| one.name == *name);
    cx.memory.past.raised.retain(|name, _| names(name));
}

/// Whether a threshold that only alerts does so because of what runs, and not because it always did: that is
/// no past to go by, however long it lasts.
fn is_news(memory: &Memory, threshold: &str, runs: &Digest) -> bool {
    let Some(since) = memory.alerts.get(threshold).and_then(|alert| alert.since) else {
        return false;
    };
    let first = memory.past.first.as_ref().filter(|(digest, _)| digest == runs);
    let always = first.is_some_and(|(_, seen)| since.duration_since(*seen) <= FIRST);
    !always
}

/// Forgets what was counted of thresholds that ask another question by now, as when a selector was put right.
fn forget_other_questions(cx: &mut Context<'_>, phase: &Phase) {
    let past = &mut cx.memory.past;
    let asked = cx.policy.thresholds.iter().filter_map(|one| match one.room().want() {
        Want::Series(_, selection) if one.room().allowed_share().is_some() => {
            Some((one.name.clone(), selection.to_string()))
        }
        Want::Series(..) | Want::Machines => None,
    });
    let asked: BTreeMap<String, String> = asked.collect();
    if past.questions == asked {
        return;
    }
    let is_another = |(name, question): &(&String, &String)| {
        past.questions.get(*name).is_some_and(|known| known != *question)
    };
    let others: Vec<String> =
        asked.iter().filter(is_another).map(|(name, _)| name.clone()).collect();
    past.questions = asked;
    let mut was_raised = false;
    for name in others {
        past.minutes.remove(&name);
        past.bases.remove(&name);
        past.endpoints.forget(&name);
        was_raised |= past.raised.remove(&name).is_some();
        for trusted in cx.memory.trusted.iter_mut().chain(&mut cx.memory.baked) {
            trusted.dispersions.remove(&name);
        }
    }
    if was_raised && past.raised.is_empty() && matches!(phase, Phase::Steady) {
        // What it asks now has its past in what runs now.
        past.of = None;
    }
}

/// A release earned trust: where it passed the limits as they are written, its own past is what counts
/// from now on, and what was raised is over.
pub(super) fn trusted(cx: &mut Context<'_>, watch: &Watch) {
    let past = &mut cx.memory.past;
    let passes = |name: &String, raised: &Raised| {
        let counted = watch.evidence.iter().find(|evidence| evidence.threshold == *name);
        counted.is_some_and(|one| {
            one.total >= EVENTS_MIN
                && one.bad + ABOVE * (one.bad + 1.0).sqrt() <= raised.from * one.total
        })
    };
    past.raised.retain(|name, raised| !passes(name, raised));
    if past.raised.is_empty() {
        past.begin(watch.revision.digest.clone());
    }
}

/// Whether a limit was raised that still is the one that is written.
pub(super) fn is_for(raised: &Raised, limit: f64) -> bool {
    raised.from.to_bits() == limit.to_bits()
}

impl Past {
    /// What was counted of a threshold, minute by minute; the last one may not be over.
    pub(super) fn minutes(&self, threshold: &str) -> Option<&VecDeque<(Timestamp, Tally)>> {
        self.minutes.get(threshold)
    }

    fn begin(&mut self, of: Digest) {
        if self.of.as_ref() != Some(&of) {
            self.of = Some(of);
            self.minutes.clear();
        }
    }

    fn count(&mut self, policy: &Policy, round: &Round<'_>, now: Timestamp) {
        self.minutes.retain(|name, _| policy.thresholds.iter().any(|one| one.name == *name));
        for threshold in &policy.thresholds {
            if threshold.room().allowed_share().is_none() {
                continue;
            }
            let counted = distress::counted(round, &threshold.name);
            let sum = counted
                .values()
                .fold(Tally::default(), |sum, one| Tally { n: sum.n + one.n, k: sum.k + one.k });
            add_minute(self.minutes.entry(threshold.name.clone()).or_default(), sum, now);
        }
    }
}

/// Adds what was counted to the minute of `now`.
pub(super) fn add_minute(
    minutes: &mut VecDeque<(Timestamp, Tally)>,
    counted: Tally,
    now: Timestamp,
) {
    if counted.n <= 0.0 {
        return;
    }
    let minute = now.as_second() - now.as_second().rem_euclid(60);
    let minute = Timestamp::from_second(minute).unwrap_or(now);
    match minutes.back_mut() {
        Some((at, tally)) if *at == minute => tally.add(counted.n, counted.k),
        _ => minutes.push_back((minute, counted)),
    }
    if minutes.len() > MINUTES_MAX {
        minutes.pop_front();
    }
}

/// What some minutes show: the share of bad events, and how far it may be from what is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    n: f64,
    pub(super) share: f64,
    deviation: f64,
}

impl Level {
    /// Of these minutes without the worst of them, one in so many; `None`: they say too little.
    pub(super) fn of(minutes: &VecDeque<(Timestamp, Tally)>, worst_part: usize) -> Option<Self> {
        // The minute that runs is not over.
        let over = minutes.iter().rev().skip(1).map(|(_, tally)| *tally);
        let mut over: Vec<Tally> = over.filter(|one| one.n > 0.0).collect();
        if over.len() < MINUTES_MIN {
            return None;
        }
        over.sort_by(|a, b| (a.k / a.n).total_cmp(&(b.k / b.n)));
        over.truncate(over.len() - over.len() / worst_part.max(1));
        let sum = |of: fn(&Tally) -> f64| over.iter().map(of).sum::<f64>();
        let (n, k) = (sum(|one| one.n), sum(|one| one.k));
        if n < EVENTS_MIN {
            return None;
        }
        let share = k / n;
        let spread: f64 = over.iter().map(|one| (one.k - one.n * share).powi(2)).sum();
        let deviation = (spread.max(share * (1.0 - share) * n) + 1.0).sqrt() / n;
        Some(Self { n, share, deviation })
    }

    /// The most that the share may be.
    pub(super) fn at_most(&self) -> f64 {
        self.share + AT_MOST * self.deviation + 4.0 / self.n
    }
}

/// Where these minutes stand above the limit beyond doubt: their share, and what is clearly worse.
fn level(minutes: &VecDeque<(Timestamp, Tally)>, limit: f64) -> Option<(f64, f64)> {
    let level = Level::of(minutes, WORST_PART)?;
    if level.share - ABOVE * level.deviation <= limit {
        return None;
    }
    let to = (WORSE * level.at_most()).min(TIMES_MAX * limit).min(SHARE_MAX);
    (to > limit).then_some((level.share, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(counts: &[(f64, f64)]) -> VecDeque<(Timestamp, Tally)> {
        let tally = |(n, k): &(f64, f64)| Tally { n: *n, k: *k };
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        (0..).zip(counts).map(|(minute, counts)| (at(minute), tally(counts))).collect()
    }

    fn to(counts: &[(f64, f64)]) -> Option<f64> {
        level(&minutes(counts), 0.02).map(|(_, to)| (to * 1000.0).round() / 1000.0)
    }

    #[test]
    fn a_past_clearly_above_the_limit_raises_it_and_never_to_more_than_three_times() {
        assert_eq!(to(&[(6000.0, 180.0); 12]), Some(0.049));
        assert_eq!(to(&[(6000.0, 600.0); 12]), Some(0.06));
        assert_eq!(to(&[(6000.0, 110.0); 12]), None);
    }

    #[test]
    fn few_requests_and_a_few_minutes_raise_nothing() {
        assert_eq!(to(&[(80.0, 10.0); 12]), None);
        assert_eq!(to(&[(6000.0, 600.0); 10]), None);
    }

    #[test]
    fn an_outage_is_no_past() {
        let mut counts = vec![(6000.0, 30.0); 40];
        counts.extend([(6000.0, 3000.0); 10]);
        counts.push((1.0, 0.0));
        assert_eq!(to(&counts), None);
    }
}
