//! After trust: what runs is looked at on for as long as it runs, at the idle pace and faster when it
//! leans towards trouble.
//!
//! A release that degrades then is told of, with what changed meanwhile, and nothing is gone back to it
//! until it has earned its trust anew. Nobody deployed it lately, so that it is the last thing to be
//! blamed: it is undone only where the policy asks for that, within a day of its coming, to what it
//! replaced, and while two apps beside it are well.
//!
//! The rate of false alarms is promised for an app's month, whatever releases it has in it.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Context, Round, alerts, changes,
    command::Command,
    distress, door, guards, later,
    phases::look_again,
    rollback, setup, sight, signed,
    state::{Memory, Phase, Rollback, Trusted, Watch},
    suspects, trust, unjudged, verdict, voucher,
};
use crate::model::{
    Digest, EventKind, Evidence, Mode, OnBreach, Policy, Reason, Verdict,
    reason::{Degradation, Stays},
};
use crate::threshold::ThresholdState;

/// How long after a rollback what it went to is looked at as any other.
const LOOKED_ON_AFTER: SignedDuration = SignedDuration::from_mins(2);
/// For how long a release is undone by itself after it came.
const UNDONE_WITHIN: SignedDuration = SignedDuration::from_hours(24);
/// What begins so soon after a person vouched for a release is what they vouched for it with.
const VOUCHED_WITH: SignedDuration = SignedDuration::from_secs(60);
/// How long it has to degrade before it is told of, as a multiple of `unvouched_countdown`.
const LASTS: u32 = 2;
/// Rollbacks of one degradation that are tried before a person has to look.
const ATTEMPTS_MAX: u32 = 3;
/// How long what degraded has to be well before that is told: the first time in a day, and at most.
/// It doubles each time, so that what flaps for a day is told of a dozen times.
const CALM: Duration = Duration::from_secs(120);
const CALM_MAX: Duration = Duration::from_secs(7200);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Degradations of the last day that are remembered.
const REMEMBERED_MAX: usize = 20;
/// A release that was seen well for so long is not judged by what ran before it any more.
const BEFORE_IS_OVER_S: f64 = 60.0;

/// A release that was trusted, and degraded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Late {
    /// Since when, by its own evidence.
    pub since: Timestamp,
    /// Since when it shows nothing of it any more.
    pub well_since: Option<Timestamp>,
    /// It is over, and people know it.
    pub is_over: bool,
    /// Rollbacks of it that were begun.
    pub attempts: u32,
}

/// What ran before a release was degraded when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// The image: on machines that still run it the same cause shows.
    pub digest: Digest,
    /// As people call it.
    pub label: String,
    /// Since when it was degraded.
    pub since: Timestamp,
    /// Nobody had deployed it lately: it bears witness.
    pub is_witness: bool,
    /// What it breached, and the share that failed where that counts events.
    pub breached: BTreeMap<String, Option<f64>>,
}

/// A release that earned trust is looked at on.
pub(super) fn go_on_with(cx: &mut Context<'_>, mut watch: Box<Watch>) {
    watch.learning = true;
    watch.is_vigil = true;
    watch.late = None;
    watch.before = None;
    // Whatever it was before, it earned its trust since.
    watch.no_mercy = false;
    // What it was judged by until now was promised for its watch.
    for state in watch.thresholds.values_mut() {
        state.begin_anew(cx.now);
    }
    cx.memory.vigil.begin(watch);
}

/// Looks at what a steady app runs.
pub(super) fn steady(cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    let current = cx.memory.current.as_ref().and_then(|current| current.version);
    let is_ours = current.is_some_and(|version| cx.memory.own_releases.contains(&version));
    look_on(cx, round, is_ours).unwrap_or(Phase::Steady)
}

/// Looks at what runs after a rollback, as soon as nothing is left to be put right.
pub(super) fn rolled_back(
    rollback: Box<Rollback>,
    cx: &mut Context<'_>,
    round: &Round<'_>,
) -> Phase {
    let over = rollback.completed_at.is_some_and(|at| cx.now.duration_since(at) >= LOOKED_ON_AFTER);
    let writes = |command: &Command| matches!(command, Command::PutImage(_));
    let busy = cx.memory.pending.values().any(writes);
    // What nobody puts right (somebody set it so, or its host does not answer) is not waited for: that may
    // stay so for weeks.
    if !over || busy || rollback::is_served(&rollback, round.machines) {
        return Phase::RolledBack(rollback);
    }
    // Machines that ran it all the while carry its old number, the others that of our entry.
    let any_number = !rollback.keeps_the_image();
    look_on(cx, round, any_number).unwrap_or(Phase::RolledBack(rollback))
}

/// Looks at a trusted release that runs on; where it degrades, what follows.
/// `any_number`: whatever number its machines carry.
fn look_on(cx: &mut Context<'_>, round: &Round<'_>, any_number: bool) -> Option<Phase> {
    distress::keep_vigil(cx, round, any_number);
    let now = cx.now;
    let is_trusted = |watch: &&Watch| {
        cx.memory.trusted.iter().any(|one| one.revision.digest == watch.revision.digest)
    };
    let seen = cx.memory.vigil.watch().filter(is_trusted).filter(|watch| is_breaching(cx, watch));
    let seen = seen?;
    let since = cx.memory.suspicion.as_ref().map_or(now, |suspicion| suspicion.since);
    // What a person knows of is no news.
    if !lasts(cx, seen, since) || is_known(&cx.memory, seen, since) {
        return None;
    }
    let mut watch = cx.memory.vigil.end()?;
    watch.suspicion = cx.memory.suspicion.take();
    watch.learning = false;
    watch.is_vigil = false;
    setup::look(&mut watch, &cx.memory, round.machines);
    Some(begins(watch, cx))
}

/// Whether it is degraded for long enough to be told of: what passes by itself within moments is no news.
pub(super) fn lasts(cx: &Context<'_>, watch: &Watch, since: Timestamp) -> bool {
    lasts_since(cx.policy, since, cx.now) && !voucher::is_easing(watch)
}

/// Whether what began then is no thing of a moment.
pub(super) fn lasts_since(policy: &Policy, since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since) >= signed(policy.watch.unvouched_countdown * LASTS)
}

/// How long what was told of so often lately has to be well before that is told.
pub(super) fn calm(times: u32) -> Duration {
    CALM.saturating_mul(1 << times.saturating_sub(1).min(6)).min(CALM_MAX)
}

/// Whether it breaches, as far as can be seen just now.
fn is_breaching(cx: &Context<'_>, watch: &Watch) -> bool {
    verdict::overall(&watch.evidence) == Verdict::Breach
        && sight::unseen(cx, &watch.evidence).is_none()
        && !cx.memory.org.listening
}

/// It degrades: its trust is over, and people are told.
fn begins(mut watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    let since = watch.suspicion.as_ref().map_or(cx.now, |suspicion| suspicion.since);
    watch.late = Some(Late { since, well_since: None, is_over: false, attempts: 0 });
    watch.recovers(cx.now);
    watch.baked_at = None;
    watch.baked_told = false;
    let revoked = revoke(cx, &watch);
    let told = &mut cx.memory.degraded_late;
    told.retain(|at| cx.now.duration_since(*at) < DAY);
    told.push(cx.now);
    let many = told.len().saturating_sub(REMEMBERED_MAX);
    told.drain(..many);
    tell(cx, &watch, since, revoked);
    undo(watch, cx)
}

fn tell(cx: &mut Context<'_>, watch: &Watch, since: Timestamp, revoked: bool) {
    let near = distress::neighbourhood(&cx.memory.org, watch, cx.now);
    let well = distress::well_beside(&cx.memory.org, watch, since, cx.now);
    let stays = stays(cx.policy, &cx.memory, watch, cx.now);
    let late = Degradation {
        since,
        changes: changes::around(&cx.memory, since),
        with: near.witnesses,
        well: u32::try_from(well).unwrap_or(u32::MAX),
        revoked,
        stays,
    };
    let mut event = cx.event_about(EventKind::ReleaseDegraded, watch);
    event.mode = Some(if stays.is_some() { Mode::Observe } else { cx.policy.mode });
    event.after_s = cx.memory.current_since.map(|since| cx.now.duration_since(since).as_secs_f64());
    event.reason = Some(Reason::DegradesLate { late: Box::new(late) });
    cx.events.push(event);
}

/// Takes its trust from a release that degrades; whether it has none. What a person pinned or vouched for
/// keeps it, and what degrades with its neighbours is not to blame.
fn revoke(cx: &mut Context<'_>, watch: &Watch) -> bool {
    let digest = &watch.revision.digest;
    let is_pinned = cx.memory.pinned.as_ref().is_some_and(|pinned| pinned.digest == *digest);
    let near = distress::neighbourhood(&cx.memory.org, watch, cx.now);
    if !is_pinned && !is_vouched_for(&cx.memory, digest) && !near.is_incident() {
        let now = cx.now;
        let is_it = |one: &&mut Trusted| one.revision.digest == *digest;
        cx.memory.trusted.iter_mut().filter(is_it).for_each(|one| {
            one.revoked.get_or_insert(now);
        });
        cx.memory.baked = cx.memory.baked.take().filter(|one| one.revision.digest != *digest);
    }
    !cx.has_earned(&watch.revision)
}

/// Whether a person vouched for it as it is: it degraded then, and does so since.
fn is_known(memory: &Memory, watch: &Watch, since: Timestamp) -> bool {
    let vouched = memory.trusted.iter().filter(|one| one.vouched.is_some());
    let mut of_it = vouched.filter(|one| one.revision.digest == watch.revision.digest);
    of_it.any(|one| since.duration_since(one.at) <= VOUCHED_WITH)
}

/// Whether a person vouched for it.
fn is_vouched_for(memory: &Memory, digest: &Digest) -> bool {
    let mut trusted = memory.trusted.iter();
    trusted.any(|one| one.revision.digest == *digest && one.vouched.is_some())
}

/// Goes to the door to a rollback, where nothing keeps it from that.
fn undo(mut watch: Box<Watch>, cx: &mut Context<'_>) -> Phase {
    if stays(cx.policy, &cx.memory, &watch, cx.now).is_some() {
        return Phase::Watching(watch);
    }
    if let Some(late) = &mut watch.late {
        late.attempts = late.attempts.saturating_add(1);
    }
    door::after_breach(watch, cx)
}

/// Why a release that degraded after it was trusted is left as it is; `None`: it is not, or is none.
pub(super) fn stays(
    policy: &Policy,
    memory: &Memory,
    watch: &Watch,
    now: Timestamp,
) -> Option<Stays> {
    let late = watch.late.as_ref()?;
    if policy.watch.late == OnBreach::Alert {
        return Some(Stays::OnlyAlerts);
    }
    if is_vouched_for(memory, &watch.revision.digest) {
        return Some(Stays::VouchedFor);
    }
    let young = |since: Timestamp| now.duration_since(since) < UNDONE_WITHIN;
    if !memory.current_since.is_some_and(young) {
        return Some(Stays::TooOld);
    }
    let target = guards::target(policy, memory, watch).map(|target| target.digest);
    let replaced = memory.previous.as_ref().map(|previous| &previous.digest);
    if target.is_none() || target.as_ref() != replaced {
        return Some(Stays::NotReplaced);
    }
    if late.attempts >= ATTEMPTS_MAX {
        return Some(Stays::CalledOff);
    }
    let since = watch.suspicion.as_ref().map_or(now, |suspicion| suspicion.since);
    let vouched = voucher::neighbours_are_well(&memory.org, watch, since, now);
    (!vouched).then_some(Stays::NobodyVouches)
}

/// Looks at a release that degraded after it was trusted.
pub(super) fn watching(mut watch: Box<Watch>, cx: &mut Context<'_>, round: &Round<'_>) -> Phase {
    look_again(&mut watch, cx, round);
    unjudged::tell(cx, &watch);
    alerts::tell(cx, &mut watch);
    suspects::tell(cx, &mut watch);
    let breaches = verdict::overall(&watch.evidence) == Verdict::Breach;
    if breaches && !is_breaching(cx, &watch) {
        return Phase::Watching(watch);
    }
    let Some(late) = &mut watch.late else { return Phase::Watching(watch) };
    if breaches {
        late.well_since = None;
        if late.is_over {
            let since = watch.suspicion.as_ref().map_or(cx.now, |suspicion| suspicion.since);
            if lasts(cx, &watch, since) {
                return begins(watch, cx);
            }
            // Told or not, its bake begins anew.
            watch.recovers(cx.now);
            return Phase::Watching(watch);
        }
        revoke(cx, &watch);
        return undo(watch, cx);
    }
    if late.is_over {
        return trust::earn(watch, cx, round);
    }
    if !is_well(&watch.evidence, &watch) {
        if let Some(late) = &mut watch.late {
            late.well_since = None;
        }
        return Phase::Watching(watch);
    }
    let times = u32::try_from(cx.memory.degraded_late.len()).unwrap_or(u32::MAX);
    let Some(late) = &mut watch.late else { return Phase::Watching(watch) };
    let (since, well_since) = (late.since, *late.well_since.get_or_insert(cx.now));
    if cx.now < later(well_since, calm(times)) {
        return Phase::Watching(watch);
    }
    late.is_over = true;
    let revoked = !cx.has_earned(&watch.revision);
    let after_s = well_since.duration_since(since).as_secs_f64();
    cx.tell(EventKind::ReleaseRecovered, &watch, Reason::WellAgain { after_s, revoked });
    watch.recovers(cx.now);
    Phase::Watching(watch)
}

/// Whether what was counted last is within its limits, and everything passes: after a start of the daemon,
/// and while nobody asks for anything, that is not known.
pub(super) fn is_well(evidence: &[Evidence], watch: &Watch) -> bool {
    let mut proofs = watch.thresholds.values().filter_map(ThresholdState::proof);
    verdict::overall(evidence) == Verdict::Pass && !proofs.any(|one| one.lately_above)
}

/// What ran until a new release came, where that was degraded.
pub(super) fn before(phase: &Phase, memory: &Memory) -> Option<Before> {
    let (watch, suspicion) = match phase {
        Phase::Steady => (memory.vigil.watch()?, memory.suspicion.as_ref()?),
        Phase::Watching(watch)
        | Phase::CountingDown { watch, .. }
        | Phase::CheckingImage { watch, .. }
        | Phase::Held { watch, .. } => {
            if watch.is_deployed() || watch.late.as_ref().is_some_and(|late| late.is_over) {
                return None;
            }
            (&**watch, watch.suspicion.as_ref()?)
        }
        Phase::Unseen | Phase::RollingBack(_) | Phase::RolledBack(_) | Phase::Stopped { .. } => {
            return None;
        }
    };
    if is_known(memory, watch, suspicion.since) {
        return None;
    }
    let breached = watch
        .evidence
        .iter()
        .filter(|one| one.may_roll_back && one.verdict == Verdict::Breach)
        .map(|one| (one.threshold.clone(), one.share_lately().filter(|_| one.kind.counts_events())))
        .collect();
    Some(Before {
        digest: watch.revision.digest.clone(),
        label: watch.revision.info().name(),
        since: suspicion.since,
        is_witness: true,
        breached,
    })
}

/// A release that was seen well for a while is judged by itself.
pub(super) fn forget_before(watch: &mut Watch) {
    if watch.seen_s >= BEFORE_IS_OVER_S {
        watch.before = None;
    }
}
