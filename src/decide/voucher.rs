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
    state::{Memory, Phase, Watch},
};
use crate::{
    model::{Evidence, Region, Verdict},
    threshold::Onset,
};

/// What ran before was well to its end if it was seen to be within this time.
const PAST_SEEN: SignedDuration = SignedDuration::from_secs(60);
/// One app that is well may not use what the others share.
const WITNESSES_MIN: usize = 2;

/// Whether anybody vouches for it that the release is to blame for its breaches.
pub(super) fn vouches(cx: &Context<'_>, watch: &Watch) -> bool {
    // A person wants it so, or it was found to be bad before.
    if watch.approved.is_some() || watch.no_mercy {
        return true;
    }
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    let since = watch.suspicion.as_ref().map_or(cx.now, |suspicion| suspicion.since);
    breaching.any(|evidence| is_vouched(watch, evidence, since))
        || neighbours_are_well(cx, watch, since)
}

fn is_vouched(watch: &Watch, evidence: &Evidence, since: Timestamp) -> bool {
    let name = &evidence.threshold;
    let by_itself = match watch.onsets.get(name) {
        Some(Onset::Own) => true,
        Some(Onset::AtOnce) => watch.past.contains(name),
        Some(Onset::Later) | None => false,
    };
    by_itself || watch.thresholds.get(name).is_some_and(|state| state.control_is_well(since))
}

/// Thresholds that what runs passes as a new release comes, and passed until now.
pub(super) fn past(phase: &Phase, memory: &Memory, now: Timestamp) -> BTreeSet<String> {
    let (watch, suspicion) = match phase {
        Phase::Steady => (memory.vigil.watch(), &memory.suspicion),
        Phase::Watching(watch) => (Some(&**watch), &watch.suspicion),
        Phase::Unseen
        | Phase::CountingDown { .. }
        | Phase::CheckingImage { .. }
        | Phase::RollingBack(_)
        | Phase::RolledBack(_)
        | Phase::Held { .. }
        | Phase::Stopped { .. } => return BTreeSet::new(),
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
fn neighbours_are_well(cx: &Context<'_>, watch: &Watch, since: Timestamp) -> bool {
    let in_region = |region: &Region| {
        let neighbours = cx.memory.org.well.values();
        neighbours.filter(|well| well.since.get(region).is_some_and(|at| *at >= since)).count()
    };
    failing_regions(watch, cx.now).into_iter().any(|region| in_region(region) >= WITNESSES_MIN)
}

/// Regions in which the release's breaches are to be seen; all of its regions, where they cannot be told
/// apart.
fn failing_regions(watch: &Watch, now: Timestamp) -> Vec<&Region> {
    let mut breaching =
        watch.evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach);
    let fails = |region: &&Region| {
        breaching.clone().any(|evidence| {
            let state = watch.thresholds.get(&evidence.threshold);
            let lately = state.and_then(|state| state.sight.lately(region, now));
            lately.is_some_and(|tally| tally.k > evidence.limit * tally.n)
        })
    };
    let counted = breaching.clone().any(|evidence| evidence.kind.counts_events());
    let failing: Vec<&Region> = watch.regions.iter().filter(fails).collect();
    if counted && breaching.all(|evidence| evidence.kind.counts_events()) {
        return failing;
    }
    watch.regions.iter().collect()
}
