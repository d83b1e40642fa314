//! Who vouches that a breach is the release's own, and no trouble that passes by itself.
//!
//! Machines of the known-good release that are well at the same time; apps in the same regions that
//! nobody deployed and that serve their requests meanwhile; the past, where what ran before was well
//! to its end and the release was bad from its first moments on; and processes that end or grow,
//! which are nobody's but the release's. Where none of them does, a rollback counts down, and a
//! recovery calls it off.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{
    Context,
    distress::{WITNESSES_MIN, well_beside},
    state::{Memory, Phase, Watch},
};
use crate::{
    model::{Evidence, OrgContext, Verdict},
    threshold::{Onset, ThresholdState},
};

/// What ran before was well to its end if it was seen to be within this time.
const PAST_SEEN: SignedDuration = SignedDuration::from_secs(60);
/// A release that recovered from so many breaches within this time, and breaches again, is nobody's
/// trouble but its own.
const RELAPSES: usize = 2;
const RELAPSES_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// Whether anybody vouches for it that the release is to blame for its breaches.
pub(super) fn vouches(cx: &Context<'_>, watch: &Watch) -> bool {
    // A person wants it so, or it was found to be bad before.
    if watch.approved.is_some() || watch.no_mercy {
        return true;
    }
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    let since = watch.suspicion.as_ref().map_or(cx.now, |suspicion| suspicion.since);
    breaching.any(|evidence| is_vouched(watch, evidence))
        || relapses(watch, cx.now) >= RELAPSES
        || control_vouches(watch, cx.now)
        || neighbours_are_well(&cx.memory.org, watch, since, cx.now)
}

/// Whether machines of the known-good release are well over the same seconds.
pub(super) fn control_vouches(watch: &Watch, now: Timestamp) -> bool {
    let since = watch.suspicion.as_ref().map_or(now, |suspicion| suspicion.since);
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    breaching.any(|evidence| {
        let state = watch.thresholds.get(&evidence.threshold);
        state.is_some_and(|state| state.control_is_well(since))
    })
}

/// How many countdowns of it a recovery called off lately.
fn relapses(watch: &Watch, now: Timestamp) -> usize {
    let lately = |at: &&Timestamp| now.duration_since(**at) <= RELAPSES_WITHIN;
    watch.called_off.iter().filter(lately).count()
}

/// A recovery called a countdown off.
pub(super) fn called_off(watch: &mut Watch, now: Timestamp) {
    watch.called_off.push(now);
    let many = watch.called_off.len().saturating_sub(RELAPSES);
    watch.called_off.drain(..many);
}

/// Whether all that breaches is far less by now than it was.
pub(super) fn is_easing(watch: &Watch) -> bool {
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    breaching.all(|evidence| {
        watch.thresholds.get(&evidence.threshold).is_some_and(ThresholdState::is_easing)
    })
}

/// Whether it fails in some of its regions only, and is clearly well in all others: as likely the
/// platform's trouble as its own.
pub(super) fn is_regional(watch: &Watch, now: Timestamp) -> bool {
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    breaching.all(|evidence| {
        let state = watch.thresholds.get(&evidence.threshold);
        state.is_some_and(|state| state.sight.is_regional(&watch.regions, evidence.limit, now))
    })
}

fn is_vouched(watch: &Watch, evidence: &Evidence) -> bool {
    let name = &evidence.threshold;
    match watch.onsets.get(name) {
        Some(Onset::Own) => true,
        Some(Onset::AtOnce) => watch.past.contains(name),
        Some(Onset::Later) | None => false,
    }
}

/// Thresholds that what runs passes as a new release comes, and passed until now.
pub(super) fn past(phase: &Phase, memory: &Memory, now: Timestamp) -> BTreeSet<String> {
    let (watch, suspicion) = match phase {
        Phase::Steady | Phase::Stopped { .. } => (memory.vigil.watch(), &memory.suspicion),
        Phase::Watching(watch) => (Some(&**watch), &watch.suspicion),
        Phase::Unseen
        | Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Held { .. } => return BTreeSet::new(),
    };
    let Some(watch) = watch.filter(|_| suspicion.is_none()) else { return BTreeSet::new() };
    let lately = |at: Option<Timestamp>| at.is_some_and(|at| now.duration_since(at) <= PAST_SEEN);
    let passes = |evidence: &&Evidence| {
        let data = watch.thresholds.get(&evidence.threshold).and_then(|state| state.data_at);
        let seen = !evidence.kind.reads_series() || lately(data);
        seen && evidence.verdict == Verdict::Pass
    };
    if !lately(watch.looked_at) {
        return BTreeSet::new();
    }
    watch.evidence.iter().filter(passes).map(|evidence| evidence.threshold.clone()).collect()
}

/// Whether apps that nobody deployed serve their requests in a region in which the release fails its
/// own, since it does.
pub(super) fn neighbours_are_well(
    org: &OrgContext,
    watch: &Watch,
    since: Timestamp,
    now: Timestamp,
) -> bool {
    well_beside(org, watch, since, now) >= WITNESSES_MIN
}
