//! After a rollback that stopped half way: what runs is looked at on, as one, whichever of the two images a
//! machine runs. That it is well again is told, and that it degrades again or became far worse; nothing is
//! begun by that. A person says how it goes on, or a newer release does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Context, Round, distress, late, later, rollback, sight,
    state::{Revision, Rollback, Watch},
    suspects, verdict,
};
use crate::model::{EventKind, Evidence, Machine, Reason, Verdict};

/// What fails so many times as much as people know is news.
const WORSE: f64 = 2.0;

/// How what runs is since a rollback stopped half way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aftermath {
    /// Since when people know it as it is.
    pub since: Timestamp,
    /// People know that it is well.
    pub is_well: bool,
    /// Since when it shows nothing of what they know.
    pub well_since: Option<Timestamp>,
    /// Recoveries that were told: the next one has to last for longer.
    pub recoveries: u32,
    /// What people know to breach, and its share of failures where it counts events.
    pub known: BTreeMap<String, Option<f64>>,
    /// As which of the two releases it is looked at.
    #[serde(default)]
    pub looked_at_as: Option<Revision>,
}

impl Aftermath {
    /// A rollback stopped, and people know what breached.
    pub(super) fn begin(evidence: &[Evidence], now: Timestamp) -> Self {
        let mut new = Self {
            since: now,
            is_well: false,
            well_since: None,
            recoveries: 0,
            known: BTreeMap::new(),
            looked_at_as: None,
        };
        new.know(evidence);
        new
    }

    fn know(&mut self, evidence: &[Evidence]) {
        self.known =
            verdict::breaches(evidence).map(|one| (one.threshold.clone(), share(one))).collect();
    }

    /// Whether a breach is more than what people know.
    fn is_news(&self, one: &Evidence) -> bool {
        match self.known.get(&one.threshold) {
            None => true,
            Some(known) => known.zip(share(one)).is_some_and(|(known, now)| now >= WORSE * known),
        }
    }
}

fn share(one: &Evidence) -> Option<f64> {
    one.share_lately().filter(|_| one.kind.counts_events())
}

/// The one of the two releases that most machines run.
fn runs(rollback: &Rollback, machines: &[&Machine]) -> Revision {
    let mut up: Vec<&&Machine> = machines.iter().filter(|one| !one.state.is_at_rest()).collect();
    let all = up.len();
    up.retain(|one| one.digest() == Some(&rollback.target.digest));
    if up.len() * 2 >= all { rollback.gone_to() } else { rollback.bad.clone() }
}

/// Looks at what runs since the rollback stopped.
pub(super) fn look_on(rollback: &mut Rollback, cx: &mut Context<'_>, round: &Round<'_>) {
    let begun = || Box::new(Aftermath::begin(&rollback.evidence, cx.now));
    let mut after = rollback.stopped.take().unwrap_or_else(begun);
    // With machines that come and go it would be now the one and now the other, each time anew.
    let is_there =
        |it: &Revision| round.machines.iter().any(|one| one.digest() == Some(&it.digest));
    let kept = after.looked_at_as.take().filter(is_there);
    let runs = kept.unwrap_or_else(|| runs(rollback, round.machines));
    after.looked_at_as = Some(runs.clone());
    distress::keep_vigil_of_all(cx, round, runs);
    if let Some(watch) = cx.memory.vigil.end() {
        let news = look(&mut after, cx, &watch);
        tell(rollback, cx, &watch, news);
        cx.memory.vigil.go_on(watch);
    }
    rollback.stopped = Some(after);
}

/// What has to be told of it.
fn look(after: &mut Aftermath, cx: &Context<'_>, watch: &Watch) -> Option<(EventKind, Reason)> {
    let is_seen = sight::unseen(cx, &watch.evidence).is_none() && !cx.memory.org.listening;
    match verdict::overall(&watch.evidence) {
        Verdict::Breach if is_seen => {
            after.well_since = None;
            let since = cx.memory.suspicion.as_ref().map_or(cx.now, |one| one.since);
            let mut all = verdict::breaches(&watch.evidence);
            let is_news = after.is_well || all.any(|one| after.is_news(one));
            if !is_news || !late::lasts(cx, watch, since) {
                return None;
            }
            after.know(&watch.evidence);
            (after.is_well, after.since) = (false, since);
            Some((EventKind::ReleaseDegraded, Reason::DegradesAfterStop { since }))
        }
        Verdict::Pass
            if is_seen
                && cx.memory.blind.is_empty()
                && !suspects::is_any_apart(watch)
                && late::is_well(&watch.evidence, watch) =>
        {
            let well_since = *after.well_since.get_or_insert(cx.now);
            let calm = late::calm(after.recoveries.saturating_add(1));
            if after.is_well || cx.now < later(well_since, calm) {
                return None;
            }
            let after_s = well_since.duration_since(after.since).as_secs_f64();
            after.recoveries = after.recoveries.saturating_add(1);
            after.known.clear();
            (after.is_well, after.since) = (true, well_since);
            Some((EventKind::ReleaseRecovered, Reason::WellAfterStop { after_s }))
        }
        _ => {
            after.well_since = None;
            None
        }
    }
}

fn tell(
    rollback: &Rollback,
    cx: &mut Context<'_>,
    watch: &Watch,
    news: Option<(EventKind, Reason)>,
) {
    let Some((kind, reason)) = news else { return };
    let mut event = rollback::event(cx, kind, rollback);
    event.release = Some(watch.revision.info());
    event.evidence.clone_from(&watch.evidence);
    event.after_s = None;
    event.reason = Some(reason);
    cx.events.push(event);
}
