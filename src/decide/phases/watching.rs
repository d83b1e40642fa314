//! A release is watched: until it breaches, or has earned trust.

use super::{
    super::{
        Context, Round, alerts, door, rollback, sight,
        state::{self, Phase, Watch},
        suspects, trust, unjudged, verdict,
    },
    look_again,
};
use crate::model::{EventKind, Verdict};

pub(super) fn watching(mut watch: Box<Watch>, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    look_again(&mut watch, cx, round);
    unjudged::tell(cx, &watch);
    alerts::tell(cx, &mut watch);
    suspects::tell(cx, &mut watch);
    match verdict::overall(&watch.evidence) {
        Verdict::Breach if sight::unseen(cx, &watch.evidence).is_some() => Phase::Watching(watch),
        // The others are heard first.
        Verdict::Breach if cx.memory.org.listening => Phase::Watching(watch),
        Verdict::Breach => degraded(watch, cx),
        Verdict::Inconclusive | Verdict::Pass => trust::earn(watch, cx, round),
    }
}

/// A breach: announced, and undone unless something forbids it.
fn degraded(watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    let mut event = cx.event_about(EventKind::ReleaseDegraded, &watch);
    event.mode = Some(cx.policy.mode);
    event.regions = rollback::preview(cx.policy, &watch, cx.now);
    cx.events.push(event);
    let digest = watch.revision.digest.clone();
    cx.memory.suspects.retain(|old| *old != digest);
    cx.memory.suspects.insert(0, digest);
    cx.memory.suspects.truncate(state::SUSPECTS_MAX);
    door::after_breach(watch, cx)
}
