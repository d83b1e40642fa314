//! Whether the daemon can see: the platform, the metrics, and what the machines run altogether.
//!
//! Blindness is a state of its own, told to people, and never evidence against a release.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Context, Round, fleet,
    phases::cancel_countdown,
    rollback, signed,
    state::{Blind, Memory, Phase, Watch},
    trust, verdict, watch,
};
use crate::{
    model::{
        EventKind, Evidence, Machine, OrgContext, Policy, Reason, SourceName, Threshold, Unknown,
        Verdict, reason::Unseen,
    },
    threshold,
};

/// How long it may be so before it is an error, where nothing is at stake.
const BLIND_PRESSES_AFTER: Duration = Duration::from_secs(180);
/// How long an app may run two images outside any deploy before people are told.
const MIXED_ANNOUNCED_AFTER: Duration = Duration::from_secs(60);

/// A deploy that is not on all machines by then left their images mixed.
const DEPLOY_TAKES_MAX: SignedDuration = SignedDuration::from_mins(15);

/// The platform cannot be read: noted, told after a while, and no countdown goes on.
pub(super) fn platform_unseen(
    phase: Phase,
    cx: &mut Context<'_>,
    detail: &str,
    org: &OrgContext,
) -> Phase {
    let now = cx.now;
    let blind = cx.memory.platform_blind.get_or_insert_with(|| Blind {
        since: now,
        reason: detail.to_owned(),
        announced: false,
        pressed: false,
    });
    detail.clone_into(&mut blind.reason);
    let blind_for = now.duration_since(blind.since);
    let is_pressing = is_at_stake(&phase) || blind_for >= signed(BLIND_PRESSES_AFTER);
    let announce = !org.platform_told
        && blind.lasts(now)
        && (!blind.announced || (is_pressing && !blind.pressed));
    blind.announced |= announce;
    blind.pressed |= announce && is_pressing;
    if announce {
        let reason = Reason::PlatformUnreadable { detail: detail.to_owned() };
        cx.say(EventKind::MonitorBlind, reason);
        if let Some(event) = cx.events.last_mut() {
            event.is_pressing = is_pressing;
        }
    }
    match phase {
        // What waits for a yes goes on waiting: the door asks again what can be seen.
        Phase::CountingDown { watch, for_approval: false, .. } => {
            cancel_countdown(watch, cx, Reason::NotSeen { what: Unseen::Platform })
        }
        Phase::RollingBack(work) => Phase::RollingBack(rollback::not_seen(work, cx)),
        Phase::Watching(mut watch) => {
            trust::interrupted(&mut watch);
            Phase::Watching(watch)
        }
        other => other,
    }
}

/// Whether something new is out, or is being undone, that nobody looks after meanwhile.
fn is_at_stake(phase: &Phase) -> bool {
    match phase {
        // Nothing came new: the daemon did.
        Phase::Watching(watch) => !watch.learning,
        Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::Held { .. } => true,
        Phase::Unseen | Phase::Steady | Phase::RolledBack(_) | Phase::Stopped { .. } => false,
    }
}

/// What of the evidence's sources cannot be seen just now; `None`: nothing is missing.
pub(super) fn unseen(cx: &Context<'_>, evidence: &[Evidence]) -> Option<Unseen> {
    if cx.memory.platform_blind.is_some() {
        return Some(Unseen::Platform);
    }
    if verdict::rests_on(cx.policy, evidence).is_empty() {
        return None;
    }
    verdict::breaches(evidence).all(|one| is_hidden(cx, one)).then_some(Unseen::Metrics)
}

/// What cannot be seen of a release that is dealt with: what its breach rests on, or what it rested on until it
/// was hidden.
pub(super) fn unseen_of(cx: &Context<'_>, watch: &Watch) -> Option<Unseen> {
    let lost = || watch.forgot_at == Some(cx.now) && watch::is_judged_anew(watch, cx.now);
    unseen(cx, &watch.evidence).or_else(|| lost().then_some(Unseen::Metrics))
}

/// Notes that what breached cannot be seen any more: a value as of now is unknown then, and that is no recovery.
/// `breached`: the thresholds for which the release was in breach until this round.
pub(super) fn notes_hidden(watch: &mut Watch, breached: &BTreeSet<String>, cx: &Context<'_>) {
    if verdict::overall(&watch.evidence) != Verdict::Inconclusive {
        return;
    }
    let hidden = |one: &&Evidence| {
        one.may_roll_back && one.verdict == Verdict::Inconclusive && is_hidden(cx, one)
    };
    let stays = watch.forgot_at.is_some();
    let mut hidden = watch.evidence.iter().filter(hidden);
    if hidden.any(|one| stays || breached.contains(&one.threshold)) {
        watch.forgot_at = Some(cx.now);
    }
}

/// Whether nobody tells what a threshold looks at.
fn is_hidden(cx: &Context<'_>, evidence: &Evidence) -> bool {
    let source = cx.policy.source_of(&evidence.threshold).unwrap_or(&SourceName::Pages);
    evidence.unseen || (evidence.kind.reads_series() && cx.memory.blind.contains_key(source))
}

/// An answer of the platform that cannot be the whole truth; nothing is concluded from it.
pub(super) fn makes_no_sense(phase: &Phase, machines: &[&Machine]) -> Option<&'static str> {
    if machines.is_empty() && matches!(phase, Phase::RollingBack(_)) {
        return Some("it lists no machine of an app that is being rolled back");
    }
    let unnamed = !machines.is_empty() && machines.iter().all(|m| m.digest().is_none());
    unnamed.then_some("it names no image digest for any machine of the app")
}

pub(super) fn platform_seen(cx: &mut Context<'_>) {
    if let Some(blind) = cx.memory.platform_blind.take()
        && blind.announced
    {
        cx.say(EventKind::MonitorRecovered, Reason::PlatformReadable { was: blind.reason });
    }
}

/// Notices when a source tells nothing at all, and when it does again: no metrics page can be read, or
/// a metrics server does not answer.
pub(super) fn sees_metrics(cx: &mut Context<'_>, round: &Round<'_>) {
    let wanted = cx.policy.sources();
    let known = cx.memory.blind.keys().chain(round.observation.blind.keys()).chain(&wanted);
    let known: BTreeSet<SourceName> = known.cloned().collect();
    for source in known {
        sees(cx, round, &source, wanted.contains(&source));
    }
}

fn sees(cx: &mut Context<'_>, round: &Round<'_>, source: &SourceName, wanted: bool) {
    let now = cx.now;
    let read = round.observation.samples.iter().any(|sample| sample.source == *source);
    let blind = round.observation.blind.get(source);
    // A release that takes its own metrics down is the release's fault, not ours: while
    // some machines are up and none answers, that is blindness all the same.
    let is_none = *source == SourceName::Pages && has_no_page(cx.policy, round.machines);
    let Some(reason) = blind.filter(|_| !round.machines.is_empty() && !is_none).cloned() else {
        if (read || !wanted || is_none)
            && let Some(was) = cx.memory.blind.remove(source)
            && was.announced
        {
            cx.say(EventKind::MonitorRecovered, readable(source));
        }
        return;
    };
    let state = cx.memory.blind.entry(source.clone()).or_insert_with(|| Blind {
        since: now,
        reason: reason.clone(),
        announced: false,
        pressed: false,
    });
    let told = round.observation.org.sources_told.contains(source);
    let announce = !state.announced && !told && state.lasts(now);
    state.announced |= announce;
    if announce {
        cx.say(EventKind::MonitorBlind, unreadable(source, reason));
    }
}

/// Whether there is nothing to be read: a worker that takes no requests, and has no metrics page.
fn has_no_page(policy: &Policy, machines: &[&Machine]) -> bool {
    !machines.is_empty()
        && policy.metrics_port.is_none()
        && machines.iter().all(|machine| machine.metrics.is_none() && !machine.has_services)
}

fn readable(source: &SourceName) -> Reason {
    match source {
        SourceName::Pages => Reason::MetricsReadable,
        SourceName::Probes => Reason::ProbesAnswered,
        SourceName::Server(name) => Reason::ServerReadable { server: name.clone() },
    }
}

fn unreadable(source: &SourceName, detail: String) -> Reason {
    match source {
        SourceName::Pages => Reason::MetricsUnreadable { detail },
        SourceName::Probes => Reason::ProbesUnanswered { detail },
        SourceName::Server(name) => Reason::ServerUnreadable { server: name.clone(), detail },
    }
}

/// What is not known of what the thresholds of a watch look at, by their names.
pub fn unknown(
    policy: &Policy,
    memory: &Memory,
    watch: &Watch,
    now: Timestamp,
) -> Vec<(String, Unknown)> {
    let one = |threshold: &Threshold| {
        let name = &threshold.name;
        let unknown = match threshold.source() {
            _ if memory.platform_blind.is_some() => Some(Unknown::PlatformDown),
            Some(source) if memory.blind.contains_key(source) => {
                Some(Unknown::MonitorDown { source: source.clone() })
            }
            Some(_) | None => {
                let state = watch.thresholds.get(name)?;
                let evidence = watch.evidence.iter().find(|one| one.threshold == *name)?;
                threshold::unknown::unknown(threshold, state, evidence, now)
            }
        };
        Some((name.clone(), unknown?))
    };
    policy.thresholds.iter().filter_map(one).collect()
}

pub(super) fn notices_mixed_images(phase: &Phase, cx: &mut Context<'_>, machines: &[&Machine]) {
    // During a deploy two images are what is to be expected.
    let quiet = match phase {
        Phase::Steady => true,
        // What somebody set by hand was told by name.
        Phase::RolledBack(work) => cx.memory.pending.is_empty() && !work.is_set_by_hand(),
        // One that went to one region alone may be watched for long: nobody sees it at work.
        Phase::Watching(watch) => {
            !watch.numbered || cx.now.duration_since(watch.since) >= DEPLOY_TAKES_MAX
        }
        Phase::Unseen
        | Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::Held { .. }
        | Phase::Stopped { .. } => false,
    };
    if !quiet || !fleet::is_mixed(&cx.memory, machines) {
        cx.memory.mixed_since = None;
        cx.memory.mixed_announced = false;
        return;
    }
    let since = *cx.memory.mixed_since.get_or_insert(cx.now);
    let lasts = cx.now.duration_since(since) >= signed(MIXED_ANNOUNCED_AFTER);
    if !cx.memory.mixed_announced && lasts {
        cx.memory.mixed_announced = true;
        let images = fleet::images(machines);
        cx.say(EventKind::ImageMixed, Reason::MixedImages { images });
    }
}
