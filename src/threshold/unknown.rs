//! What is not known of what a threshold looks at, and why: a state of its own each, since no number is
//! not a number that is fine.

use jiff::{SignedDuration, Timestamp};

use super::{STALE_AFTER_SCRAPES, ThresholdState, applies, signed, watched::Applies};
use crate::model::{Evidence, Note, Oddity, Threshold, Unknown, Want};

/// A release of which nothing was counted for so long has no traffic.
const QUIET_FOR: SignedDuration = SignedDuration::from_secs(60);

/// Why nothing is known of what this threshold looks at, while its source can be read; `None`: it is known.
pub fn unknown(
    threshold: &Threshold,
    state: &ThresholdState,
    evidence: &Evidence,
    now: Timestamp,
) -> Option<Unknown> {
    match &evidence.note {
        Some(Note::NoStartedMachine) => return Some(Unknown::NothingStarted),
        Some(Note::NoChecks) => return Some(Unknown::NoChecks),
        Some(Note::NoFreshResult) => return Some(Unknown::NoFreshResult),
        Some(Note::Odd(oddity)) => return Some(of_oddity(threshold, oddity)),
        Some(Note::Inconsistent { .. }) => return Some(Unknown::Contradiction),
        _ => {}
    }
    if threshold.room().want() == Want::Machines {
        return evidence.value.is_none().then_some(Unknown::NothingStarted);
    }
    if let Applies::NotFed { why } = applies(threshold, state) {
        return Some(Unknown::NotFed(why));
    }
    let counts = evidence.kind.counts_events();
    let every = threshold.room().origin().map(|origin| origin.every).unwrap_or_default();
    let quiet_for = signed(every * STALE_AFTER_SCRAPES).max(QUIET_FOR);
    match state.data_at {
        _ if state.unmatched => Some(Unknown::NoSeries),
        None if counts => Some(Unknown::NeverExercised),
        None => Some(Unknown::NoValue { since: None }),
        Some(at) if now.duration_since(at) < quiet_for => None,
        Some(since) if counts => Some(Unknown::NoTraffic { since }),
        Some(since) => Some(Unknown::NoValue { since: Some(since) }),
    }
}

fn of_oddity(threshold: &Threshold, oddity: &Oddity) -> Unknown {
    match oddity {
        Oddity::Unanswered { .. } => match threshold.source() {
            Some(source) => Unknown::MonitorDown { source: source.clone() },
            None => Unknown::Refused,
        },
        Oddity::NoBucket { .. } => Unknown::NoBucket,
        Oddity::NoLabel { label, .. } | Oddity::NotBy { label, .. } => {
            Unknown::NoLabel { label: label.clone() }
        }
        Oddity::Refused { .. } => Unknown::Refused,
        Oddity::NoCounter { .. } | Oddity::Overflow { .. } | Oddity::SeveralProcesses { .. } => {
            Unknown::Contradiction
        }
    }
}
