//! What the numbers of a watch say: evidence per threshold, and the verdict of the whole.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    later, signed,
    state::{FailingChecks, Memory, Trusted, Watch},
    watch::{is_on, stays_up},
};
use crate::{
    model::{
        Activity, CheckStatus, Evidence, ExitEvent, Machine, MachineState, NoData, Note, OnBreach,
        Policy, ProcessGroup, Region, SourceName, Verdict,
    },
    threshold::{self, Applies, Case, Judged, Onset, ThresholdState},
};

/// Groups of jobs remembered.
const JOBS_MAX: usize = 50;
/// Detector blocks with requests in them, before a release can be trusted.
const TRUSTED_BLOCKS_MIN: u32 = 3;

/// Recomputes the evidence of every threshold.
pub(super) fn refresh(
    policy: &Policy,
    watch: &mut Watch,
    known_good: Option<&Trusted>,
    machines: &[&Machine],
    now: Timestamp,
) {
    let on: Vec<Judged<'_>> = machines
        .iter()
        .filter(|machine| is_on(watch, machine))
        .filter_map(|machine| {
            let seen = watch.machines.get(&machine.id)?;
            Some(Judged { machine, seen, stays_up: stays_up(known_good, machine) })
        })
        .collect();
    let usual_exits = known_good.map_or(0.0, |trusted| trusted.crashes_per_machine);
    let first_look = watch.looks < 2;
    let case = Case {
        policy,
        now,
        span: watch.span(),
        since: watch.since,
        first_look,
        on: &on,
        usual_exits,
    };
    let judged = policy.thresholds.iter().filter_map(|one| {
        let state = watch.thresholds.get(&one.name)?;
        Some(threshold::judge(one, state, &case))
    });
    watch.evidence = judged.collect();
    let breaching = watch.evidence.iter().filter(|one| one.verdict == Verdict::Breach);
    let onsets = breaching.filter_map(|evidence| {
        let one = policy.thresholds.iter().find(|one| one.name == evidence.threshold)?;
        let state = watch.thresholds.get(&one.name)?;
        let onset = match evidence.note {
            // Silence is waited for anyway.
            Some(Note::NoDataIsBreach { .. }) => Onset::Own,
            _ => threshold::onset(one, state, &case),
        };
        Some((one.name.clone(), onset))
    });
    watch.onsets = onsets.collect();
}

/// The worst threshold decides; a threshold that only alerts decides nothing.
pub(super) fn overall(evidence: &[Evidence]) -> Verdict {
    evidence
        .iter()
        .filter(|evidence| evidence.may_roll_back && evidence.applies)
        .map(|evidence| evidence.verdict)
        .max()
        .unwrap_or(Verdict::Inconclusive)
}

/// The breaches that may cause a rollback.
pub(super) fn breaches(evidence: &[Evidence]) -> impl Iterator<Item = &Evidence> + Clone {
    evidence.iter().filter(|one| one.may_roll_back && one.verdict == Verdict::Breach)
}

/// Whom the breaches that decide were read from, when there are any and none was read from the platform's list
/// of machines.
pub(super) fn rests_on(policy: &Policy, evidence: &[Evidence]) -> BTreeSet<SourceName> {
    let mut breaching = breaches(evidence);
    if breaching.clone().any(|evidence| !evidence.kind.reads_series()) {
        return BTreeSet::new();
    }
    // The policy may have lost the threshold meanwhile.
    let source = |one: &Evidence| policy.source_of(&one.threshold).cloned();
    breaching.by_ref().map(|one| source(one).unwrap_or(SourceName::Pages)).collect()
}

/// When the release will have been watched long enough to be trusted. `None`: not known yet.
///
/// Its bake counts from when it settled and was up, from its first requests where they are counted,
/// and from its recovery if it had one.
pub fn bake_ends(policy: &Policy, watch: &Watch) -> Option<Timestamp> {
    let counting = demands_traffic(policy, watch);
    let up = watch.settled_at?.max(watch.up_since?);
    let exercised = if counting { watch.traffic_since? } else { watch.traffic_since.unwrap_or(up) };
    let start = up.max(exercised).max(watch.recovered_at.unwrap_or(up));
    Some(later(start, policy.watch.bake))
}

/// Whether the requests that a bake is to be judged by came during all of it: a burst at its
/// beginning says nothing of the rest. Where nothing has to be counted there is nothing to ask.
pub(super) fn is_exercised(policy: &Policy, watch: &Watch, now: Timestamp) -> bool {
    if !demands_traffic(policy, watch) {
        return true;
    }
    let lately = signed(policy.watch.bake) / 3;
    watch.blocks >= TRUSTED_BLOCKS_MIN
        && watch.traffic_at.is_some_and(|at| now.duration_since(at) <= lately)
}

/// Whether a threshold that applies and decides counts requests and does not ignore their absence.
fn demands_traffic(policy: &Policy, watch: &Watch) -> bool {
    policy.thresholds.iter().any(|threshold| {
        threshold.room().allowed_share().is_some()
            && threshold.on_breach == OnBreach::Rollback
            && threshold.no_data != NoData::Ignore
            && applies(policy, watch, &threshold.name) == Applies::Yes
    })
}

/// Whether a share is above its limit and the odds are rising: no breach yet, and nothing to trust.
pub(super) fn leans_against(evidence: &[Evidence]) -> bool {
    evidence.iter().filter(|evidence| evidence.may_roll_back).any(|evidence| {
        evidence.share().is_some_and(|share| share > evidence.limit)
            && evidence.ln_odds.is_some_and(|odds| odds > 0.0)
    })
}

/// The checks of the release's machines that do not pass now, a warning included.
pub(super) fn failing_checks(watch: &Watch, machines: &[&Machine]) -> FailingChecks {
    let mut failing = FailingChecks::new();
    for machine in machines.iter().filter(|machine| is_on(watch, machine)) {
        for check in machine.checks.iter().filter(|c| c.status != CheckStatus::Passing) {
            failing.entry(machine.id.clone()).or_default().insert(check.name.clone());
        }
    }
    failing
}

/// Process groups of the release that are up, and of which no machine ended by itself.
pub(super) fn groups_that_stay_up(watch: &Watch, machines: &[&Machine]) -> BTreeSet<ProcessGroup> {
    let on = || machines.iter().filter(|machine| is_on(watch, machine));
    let ended: BTreeSet<&ProcessGroup> = on()
        .filter(|machine| machine.exits.iter().any(ExitEvent::is_clean_end))
        .map(|machine| &machine.group)
        .collect();
    on().filter(|machine| matches!(machine.state, MachineState::Started))
        .map(|machine| &machine.group)
        .filter(|group| !ended.contains(group))
        .cloned()
        .collect()
}

/// A group of which a machine ends by itself while it runs a trusted release does not stay up: its
/// machines are jobs, and are not started again by going back.
pub(super) fn learn_jobs(memory: &mut Memory, machines: &[&Machine]) {
    // What one machine does by its own schedule says nothing of its group.
    let by_itself = |machine: &&&Machine| !machine.has_services && !machine.own_schedule;
    for machine in machines.iter().filter(by_itself) {
        for trusted in memory.trusted.iter_mut().filter(|trusted| was_job_of(machine, trusted)) {
            trusted.stayed_up.remove(&machine.group);
            memory.jobs.insert(machine.group.clone());
        }
    }
    while memory.jobs.len() > JOBS_MAX {
        memory.jobs.pop_first();
    }
}

/// Whether a machine is seen to have ended by itself under a trusted release: it lies there still, or
/// what ran when the release was trusted ended before another one was put there.
fn was_job_of(machine: &Machine, trusted: &Trusted) -> bool {
    let here = |at: Timestamp| machine.placed_at.is_none_or(|placed| at >= placed);
    if machine.digest() == Some(&trusted.revision.digest) {
        return machine.activity(false) == Activity::JobDone
            && machine.exits.first().is_some_and(|exit| here(exit.at));
    }
    machine.exits.iter().filter(|exit| exit.is_clean_end() && !here(exit.at)).any(|exit| {
        exit.at >= trusted.at && exit.started_at.is_some_and(|began| began <= trusted.at)
    })
}

/// Unplanned exits per machine of the release.
pub(super) fn crashes_per_machine(watch: &Watch) -> f64 {
    watch.thresholds.values().find_map(ThresholdState::exits_per_machine).unwrap_or(0.0)
}

/// Whether a threshold can say anything about the app, by its name: a worker that serves no requests
/// cannot feed a ratio of them.
pub(super) fn applies(policy: &Policy, watch: &Watch, threshold: &str) -> Applies {
    let one = policy.thresholds.iter().find(|one| one.name == threshold);
    match (one, watch.thresholds.get(threshold)) {
        (Some(one), Some(state)) => threshold::applies(one, state),
        _ => Applies::Yes,
    }
}

/// A region that fails by itself, and by which threshold: the whole may be within its limit, and it
/// is no health all the same.
pub(super) fn sick_region(watch: &Watch, now: Timestamp) -> Option<(Region, String)> {
    // What only alerts decides nothing.
    let deciding = watch.evidence.iter().filter(|one| one.may_roll_back && one.applies);
    deciding.into_iter().find_map(|one| {
        let name = &one.threshold;
        let state = watch.thresholds.get(name)?;
        let (region, _) = state.sight.sick_region(now)?;
        Some((region.clone(), name.clone()))
    })
}
