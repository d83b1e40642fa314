//! Thresholds that judge nothing: a selector that matches no series, numbers that cannot be judged. It is told
//! once of each, whatever phase the app is in and whatever it runs, and once when it judges again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Context, state::Watch};
use crate::{
    model::{EventKind, Evidence, Note, Reason},
    threshold::ThresholdState,
};

/// Rounds in which a selector matches nothing anywhere before people are told: a process that has
/// just started may not have made its series yet.
const UNMATCHED_ROUNDS: u32 = 5;
/// The same where nobody has just deployed anything: whether a threshold applies to an app at all is found
/// out over ten rounds.
const UNMATCHED_ROUNDS_STEADY: u32 = 12;
/// For how long what was there until then has to be gone from an app that nobody deploys: processes that were
/// restarted make some series with their first request only.
const VANISHED_FOR: SignedDuration = SignedDuration::from_mins(15);
/// What judged again, and does so no more, is told of again after so long.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(6);
/// The same of what only cannot be seen for a while: that is an outage each time.
const HIDDEN_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// A threshold of which people know that it judged nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unjudged {
    /// What it looks for: when that is mended and judges nothing either, it is news.
    pub source: String,
    /// Since when it judges again, as people know.
    pub over_at: Option<Timestamp>,
    /// It was told that its numbers cannot be judged, which says more than that there are none.
    #[serde(default)]
    pub odd: bool,
}

/// Tells of thresholds that judge nothing, and of those that judge again.
pub(super) fn tell(cx: &mut Context<'_>, watch: &Watch) {
    let named = |name: &String| cx.policy.thresholds.iter().any(|one| one.name == *name);
    let mut known = std::mem::take(&mut cx.memory.unjudged);
    known.retain(|name, _| named(name));
    let (mut blind, mut again) = (Vec::new(), Vec::new());
    for evidence in &watch.evidence {
        let Some(state) = watch.thresholds.get(&evidence.threshold) else { continue };
        let (name, source) = (&evidence.threshold, &evidence.source);
        if let Some(reason) = why_not(evidence, state, watch.is_vigil, cx.now) {
            let is_known = known.get(name).is_some_and(|one| {
                let again_after =
                    if is_hidden(evidence) { HIDDEN_AGAIN_AFTER } else { AGAIN_AFTER };
                let lately = |at: Timestamp| cx.now.duration_since(at) < again_after;
                let says_more = odd(evidence).is_some() && !one.odd;
                one.source == *source && one.over_at.is_none_or(lately) && !says_more
            });
            if !is_known {
                let odd = odd(evidence).is_some();
                let one = Unjudged { source: source.clone(), over_at: None, odd };
                known.insert(name.clone(), one);
                blind.push(reason);
            }
        } else if judges(evidence, state, cx.now)
            && let Some(one) = known.get_mut(name).filter(|one| one.over_at.is_none())
        {
            one.over_at = Some(cx.now);
            again.push(Reason::Judgeable { threshold: name.clone() });
        }
    }
    cx.memory.unjudged = known;
    for reason in blind {
        cx.tell(EventKind::MonitorBlind, watch, reason);
    }
    for reason in again {
        cx.tell(EventKind::MonitorRecovered, watch, reason);
    }
}

/// A note that says that its numbers cannot be judged.
fn odd(evidence: &Evidence) -> Option<&Note> {
    let is_odd = |note: &&Note| matches!(note, Note::Inconsistent { .. } | Note::Odd(_));
    evidence.note.as_ref().filter(is_odd)
}

/// Whether its numbers are hidden for a while, and nothing is wrong with what is asked.
fn is_hidden(evidence: &Evidence) -> bool {
    matches!(&evidence.note, Some(Note::Odd(oddity)) if oddity.hides())
}

/// Why it judges nothing; `None`: it does, or nothing is to be said of it yet.
fn why_not(
    evidence: &Evidence,
    state: &ThresholdState,
    is_vigil: bool,
    now: Timestamp,
) -> Option<Reason> {
    let (threshold, source) = (evidence.threshold.clone(), evidence.source.clone());
    if let Some(note) = odd(evidence) {
        return Some(Reason::Unjudgeable { threshold, source, note: note.clone() });
    }
    let rounds = if is_vigil { UNMATCHED_ROUNDS_STEADY } else { UNMATCHED_ROUNDS };
    if !state.unmatched || state.rounds < rounds {
        return None;
    }
    let lasts = state.unmatched_since.is_some_and(|at| now.duration_since(at) >= VANISHED_FOR);
    // A worker never has the series of requests, and nobody has just deployed it.
    let says_something = evidence.applies && (state.data_at.is_none() || lasts);
    (!is_vigil || says_something).then_some(Reason::Unmatched { threshold, source })
}

/// Whether it was judged by what this round showed.
fn judges(evidence: &Evidence, state: &ThresholdState, now: Timestamp) -> bool {
    odd(evidence).is_none() && !state.unmatched && state.data_at == Some(now)
}
