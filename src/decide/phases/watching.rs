//! A release is watched: until it breaches, or has earned trust.

use super::{
    super::{
        Context, Round, door, rollback, sight,
        state::{self, Phase, Watch},
        suspects, trust, verdict,
    },
    look_again,
};
use crate::model::{EventKind, Mode, Reason, Verdict};

pub(super) fn watching(mut watch: Box<Watch>, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    look_again(&mut watch, cx, round);
    sight::notices_unmatched(cx, &mut watch);
    alert(&mut watch, cx);
    suspects::tell(cx, &mut watch);
    match verdict::overall(&watch.evidence) {
        Verdict::Breach if sight::unseen(cx, &watch.evidence).is_some() => Phase::Watching(watch),
        // The others are heard first.
        Verdict::Breach if cx.memory.org.listening => Phase::Watching(watch),
        Verdict::Breach => degraded(watch, cx),
        Verdict::Inconclusive | Verdict::Pass => trust::earn(watch, cx, round),
    }
}

/// Tells, once per watch, of breaches that may not cause a rollback.
fn alert(watch: &mut Watch, cx: &mut Context<'_>) {
    let breaching: Vec<String> = watch
        .evidence
        .iter()
        .filter(|evidence| evidence.verdict == Verdict::Breach && !evidence.may_roll_back)
        .map(|evidence| evidence.threshold.clone())
        .filter(|threshold| !watch.alerted.contains(threshold))
        .collect();
    if breaching.is_empty() {
        return;
    }
    let mut event = cx.event_about(EventKind::ReleaseDegraded, watch);
    event.mode = Some(Mode::Observe);
    event.reason = Some(Reason::OnlyAlerts { thresholds: breaching.clone() });
    cx.events.push(event);
    watch.alerted.extend(breaching);
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
