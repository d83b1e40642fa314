//! What the numbers of a watch say: evidence per threshold, and the verdict of the whole.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{
    detect::{
        ratio::RatioDetector,
        runs::{consecutive_failures, quorum},
    },
    later, signed,
    state::{FailingChecks, Trusted, Watch},
    watch::{allowed_share, is_on, settings},
};
use crate::model::{
    Action, Check, CheckStatus, Evidence, ExitEvent, HostStatus, Machine, MachineState, NoData,
    Policy, ProcessGroup, Threshold, ThresholdKind, Verdict,
};

/// Data older than this many scrapes is no data.
const STALE_AFTER_SCRAPES: u32 = 5;
/// How long a threshold with `no_data = "breach"` may be without data.
const NO_DATA_BREACH_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// How long a check that does not say may fail after a start: a process takes a moment to listen.
const UNTOLD_GRACE: std::time::Duration = std::time::Duration::from_secs(5);
/// Detector blocks with requests in them, before a release can be trusted.
const TRUSTED_BLOCKS_MIN: u32 = 3;
/// A machine whose last crash is this long ago runs: the platform's supervisor gives up after ten
/// crashes in five minutes.
const CRASHES_FADE_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Recomputes the evidence of every threshold.
pub(super) fn refresh(
    policy: &Policy,
    watch: &mut Watch,
    known_good: Option<&Trusted>,
    machines: &[&Machine],
    now: Timestamp,
) {
    let on: Vec<&Machine> =
        machines.iter().filter(|m| is_on(&watch.revision, m)).copied().collect();
    let evidence = policy
        .thresholds
        .iter()
        .map(|threshold| {
            let mut evidence = match &threshold.kind {
                ThresholdKind::Ratio { .. } | ThresholdKind::Latency { .. } => {
                    counted(policy, threshold, watch)
                }
                ThresholdKind::Gauge { .. } => gauge(threshold, watch, &on),
                ThresholdKind::Checks { .. } => checks(policy, threshold, &on, now),
                ThresholdKind::Crashes { .. } => crashes(threshold, watch, known_good, &on, now),
            };
            without_data(policy, threshold, watch, &mut evidence, now);
            evidence
        })
        .collect();
    watch.evidence = evidence;
}

/// The worst threshold decides; a threshold that only alerts decides nothing.
pub(super) fn overall(evidence: &[Evidence]) -> Verdict {
    evidence
        .iter()
        .filter(|evidence| evidence.may_roll_back)
        .map(|evidence| evidence.verdict)
        .max()
        .unwrap_or(Verdict::Inconclusive)
}

/// Whether every breach was read from metrics pages.
pub(super) fn rests_on_metrics(evidence: &[Evidence]) -> bool {
    evidence
        .iter()
        .filter(|evidence| evidence.verdict == Verdict::Breach)
        .all(|evidence| matches!(evidence.kind.as_str(), "ratio" | "latency" | "gauge"))
}

/// When the release will have been watched long enough to be trusted. `None`: not known yet.
///
/// Its bake counts from when it settled and was up, from its first requests where they are counted,
/// and from its recovery if it had one.
pub fn bake_ends(policy: &Policy, watch: &Watch) -> Option<Timestamp> {
    let counting = policy.thresholds.iter().any(demands_traffic);
    let up = watch.settled_at?.max(watch.up_since?);
    let exercised = if counting { watch.traffic_since? } else { watch.traffic_since.unwrap_or(up) };
    let start = up.max(exercised).max(watch.recovered_at.unwrap_or(up));
    Some(later(start, policy.watch.bake))
}

/// Whether the requests that a bake is to be judged by came during all of it: a burst at its
/// beginning says nothing of the rest. Where nothing has to be counted there is nothing to ask.
pub(super) fn is_exercised(policy: &Policy, watch: &Watch, now: Timestamp) -> bool {
    if !policy.thresholds.iter().any(demands_traffic) {
        return true;
    }
    let lately = signed(policy.watch.bake) / 3;
    watch.blocks >= TRUSTED_BLOCKS_MIN
        && watch.traffic_at.is_some_and(|at| now.duration_since(at) <= lately)
}

/// Whether a threshold counts requests and does not ignore their absence.
fn demands_traffic(threshold: &Threshold) -> bool {
    allowed_share(&threshold.kind).is_some() && threshold.no_data != NoData::Ignore
}

/// Whether a share is above its limit and the odds are rising: no breach yet, and nothing to trust.
pub(super) fn leans_against(evidence: &[Evidence]) -> bool {
    evidence.iter().filter(|evidence| evidence.may_roll_back).any(|evidence| {
        evidence.share().is_some_and(|share| share > evidence.limit)
            && evidence.ln_odds.is_some_and(|odds| odds > 0.0)
    })
}

fn blank(threshold: &Threshold, limit: f64, source: String) -> Evidence {
    Evidence {
        threshold: threshold.name.clone(),
        kind: threshold.kind.word().to_owned(),
        verdict: Verdict::Inconclusive,
        value: None,
        limit,
        source,
        bad: 0.0,
        total: 0.0,
        ln_odds: None,
        ln_odds_needed: None,
        blocks: 0,
        control: None,
        note: None,
        may_roll_back: threshold.action == Action::Rollback,
    }
}

fn counted(policy: &Policy, threshold: &Threshold, watch: &Watch) -> Evidence {
    let limit = allowed_share(&threshold.kind).map_or(0.0, |(share, _)| share);
    let source = match &threshold.kind {
        ThresholdKind::Ratio { bad, total, .. } => format!("{bad} / {total}"),
        ThresholdKind::Latency { histogram, bound_s, .. } => {
            format!("{histogram} slower than {} ms", bound_s * 1000.0)
        }
        ThresholdKind::Gauge { .. }
        | ThresholdKind::Checks { .. }
        | ThresholdKind::Crashes { .. } => String::new(),
    };
    let mut evidence = blank(threshold, limit, source);
    let needed = RatioDetector::needed(settings(policy).alpha);
    evidence.ln_odds_needed = Some(needed);
    evidence.control = watch.control.get(&threshold.name).filter(|c| c.n > 0.0).map(|c| (c.k, c.n));
    let Some(detector) = watch.detectors.get(&threshold.name) else { return evidence };
    let (n, k) = detector.totals();
    evidence.bad = k;
    evidence.total = n;
    evidence.value = (n > 0.0).then(|| k / n);
    evidence.ln_odds = detector.ln_odds();
    evidence.blocks = detector.blocks();
    evidence.verdict = if detector.alarmed() {
        Verdict::Breach
    } else if n > 0.0 {
        Verdict::Pass
    } else {
        Verdict::Inconclusive
    };
    evidence
}

fn gauge(threshold: &Threshold, watch: &Watch, on: &[&Machine]) -> Evidence {
    let ThresholdKind::Gauge { gauge, max, sustain, quorum: share } = &threshold.kind else {
        return blank(threshold, 0.0, String::new());
    };
    let mut evidence = blank(threshold, *max, gauge.to_string());
    let Some(runs) = watch.gauges.get(&threshold.name) else { return evidence };
    let on: Vec<_> = on.iter().filter_map(|machine| runs.get(&machine.id)).collect();
    if on.is_empty() {
        return evidence;
    }
    let above = on.iter().filter(|run| run.is_sustained(*sustain)).count();
    evidence.value = on.iter().filter_map(|run| run.last()).reduce(f64::max);
    evidence.bad = count(above);
    evidence.total = count(on.len());
    evidence.verdict =
        if above >= quorum(*share, on.len()) { Verdict::Breach } else { Verdict::Pass };
    evidence.note = (above > 0)
        .then(|| format!("above the limit for {} s on {above} machines", sustain.as_secs()));
    evidence
}

fn checks(policy: &Policy, threshold: &Threshold, on: &[&Machine], now: Timestamp) -> Evidence {
    let ThresholdKind::Checks { failing, consecutive } = &threshold.kind else {
        return blank(threshold, 0.0, String::new());
    };
    let mut evidence = blank(threshold, *failing, "Fly health checks".to_owned());
    let stuck: Vec<&&Machine> = on.iter().filter(|m| is_stuck(policy, m, now)).collect();
    let up: Vec<&&Machine> = on
        .iter()
        .filter(|m| matches!(m.state, MachineState::Started) && m.checks_configured > 0)
        .collect();
    if up.is_empty() && stuck.is_empty() {
        let none_configured = !on.is_empty() && on.iter().all(|m| m.checks_configured == 0);
        evidence.note = Some(if none_configured {
            "the machines have no health checks".to_owned()
        } else {
            "no started machine".to_owned()
        });
        if none_configured {
            // Nothing to look at is configuration, not missing evidence.
            evidence.verdict = Verdict::Pass;
        }
        return evidence;
    }
    let mut tripped: Vec<String> =
        stuck.iter().map(|m| format!("{} is still {}", m.id, m.state)).collect();
    let mut with_result = 0usize;
    for machine in &up {
        let fresh: Vec<_> =
            machine.checks.iter().filter(|check| machine.is_fresh(check, now)).collect();
        if !fresh.is_empty() {
            with_result += 1;
        }
        let failed = fresh
            .iter()
            .filter(|check| check.status == CheckStatus::Critical)
            .find(|check| failures(policy, machine, check, now) >= *consecutive);
        if let Some(check) = failed {
            tripped.push(format!(
                "{} failed {consecutive} times in a row on {}",
                check.name, machine.id
            ));
        }
    }
    let judged = up.len() + stuck.len();
    evidence.bad = count(tripped.len());
    evidence.total = count(judged);
    evidence.value = Some(evidence.bad / evidence.total);
    evidence.verdict = if tripped.len() >= quorum(*failing, judged) {
        Verdict::Breach
    } else if with_result == 0 {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    evidence.note = if tripped.is_empty() {
        (with_result == 0).then(|| "no fresh result yet".to_owned())
    } else {
        tripped.truncate(5);
        Some(tripped.join("; "))
    };
    evidence
}

/// The checks of the release's machines that do not pass now, a warning included.
pub(super) fn failing_checks(watch: &Watch, machines: &[&Machine]) -> FailingChecks {
    let mut failing = FailingChecks::new();
    for machine in machines.iter().filter(|machine| is_on(&watch.revision, machine)) {
        for check in machine.checks.iter().filter(|c| c.status != CheckStatus::Passing) {
            failing.entry(machine.id.clone()).or_default().insert(check.name.clone());
        }
    }
    failing
}

/// Process groups of the release that are up, and of which no machine ended by itself.
pub(super) fn groups_that_stay_up(watch: &Watch, machines: &[&Machine]) -> BTreeSet<ProcessGroup> {
    let on = || machines.iter().filter(|machine| is_on(&watch.revision, machine));
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

/// How many times in a row a check has failed since its machine was expected to answer it: what
/// fails during its grace period, or the policy's warm-up, is still starting.
fn failures(policy: &Policy, machine: &Machine, check: &Check, now: Timestamp) -> u32 {
    let started = machine.started_at.unwrap_or(machine.updated_at);
    let grace = check.grace.unwrap_or(UNTOLD_GRACE).max(policy.watch.warm_up);
    consecutive_failures(check, later(started, grace), now)
}

/// Whether a machine has been on its way for so long that it will not arrive.
fn is_stuck(policy: &Policy, machine: &Machine, now: Timestamp) -> bool {
    matches!(machine.state, MachineState::Transient(_))
        && machine.host == HostStatus::Ok
        && now.duration_since(machine.updated_at) >= signed(policy.rollback.ready_timeout)
}

fn crashes(
    threshold: &Threshold,
    watch: &Watch,
    known_good: Option<&Trusted>,
    on: &[&Machine],
    now: Timestamp,
) -> Evidence {
    let ThresholdKind::Crashes { exits, oom, failing } = &threshold.kind else {
        return blank(threshold, 0.0, String::new());
    };
    let mut evidence = blank(threshold, f64::from(*exits), "machine exit events".to_owned());
    if on.is_empty() {
        return evidence;
    }
    let usual = known_good.map_or(0.0, |trusted| trusted.crashes_per_machine);
    let mut tripped = Vec::new();
    let mut worst = 0u32;
    // Machines that rest, and never ran the release, say nothing for it.
    let tried: Vec<&&Machine> = on
        .iter()
        .filter(|machine| {
            !machine.state.is_at_rest()
                || watch.crashes.get(&machine.id).is_some_and(|seen| seen.exits > 0)
        })
        .collect();
    if tried.is_empty() {
        return evidence;
    }
    for machine in &tried {
        let Some(seen) = watch.crashes.get(&machine.id) else { continue };
        worst = worst.max(seen.exits);
        let faded = seen.counted_to.is_some_and(|at| now.duration_since(at) >= CRASHES_FADE_AFTER);
        if faded && matches!(machine.state, MachineState::Started) {
            continue;
        }
        let too_often = f64::from(seen.exits) - usual >= f64::from((*exits).max(1));
        let out_of_memory = *oom > 0 && seen.oom >= *oom;
        if too_often || out_of_memory {
            tripped.push(format!(
                "{} exited {} times{}",
                machine.id,
                seen.exits,
                if out_of_memory { ", out of memory" } else { "" }
            ));
        }
    }
    evidence.value = Some(f64::from(worst));
    evidence.bad = count(tripped.len());
    evidence.total = count(tried.len());
    evidence.verdict = if tripped.len() >= quorum(*failing, tried.len()) {
        Verdict::Breach
    } else {
        Verdict::Pass
    };
    if !tripped.is_empty() {
        tripped.truncate(5);
        evidence.note = Some(tripped.join("; "));
    }
    evidence
}

/// Applies the threshold's own meaning of "no data".
fn without_data(
    policy: &Policy,
    threshold: &Threshold,
    watch: &Watch,
    evidence: &mut Evidence,
    now: Timestamp,
) {
    let from_metrics = match threshold.kind {
        ThresholdKind::Ratio { .. }
        | ThresholdKind::Latency { .. }
        | ThresholdKind::Gauge { .. } => true,
        ThresholdKind::Checks { .. } | ThresholdKind::Crashes { .. } => false,
    };
    let last = watch.data_at.get(&threshold.name).copied();
    let stale_after = signed(policy.watch.scrape_every * STALE_AFTER_SCRAPES);
    let stale = from_metrics
        && evidence.verdict == Verdict::Pass
        && last.is_none_or(|at| now.duration_since(at) > stale_after)
        && !matches!(threshold.kind, ThresholdKind::Ratio { .. } | ThresholdKind::Latency { .. });
    if stale {
        evidence.verdict = Verdict::Inconclusive;
    }
    if evidence.verdict != Verdict::Inconclusive {
        return;
    }
    if evidence.note.is_none() && watch.unmatched.contains(&threshold.name) {
        evidence.note = Some(format!("{} matches no series on any machine", evidence.source));
    } else if evidence.note.is_none() {
        evidence.note = Some(match last {
            None => "no data yet".to_owned(),
            Some(at) => format!("no data for {} s", now.duration_since(at).as_secs()),
        });
    }
    match threshold.no_data {
        NoData::Hold => {}
        NoData::Ignore => evidence.verdict = Verdict::Pass,
        NoData::Breach => {
            if now.duration_since(last.unwrap_or(watch.since)) >= NO_DATA_BREACH_AFTER {
                evidence.verdict = Verdict::Breach;
                evidence.note = Some("no data for a minute, and no_data = \"breach\"".to_owned());
            }
        }
    }
}

/// A number of machines as the number it is shown as.
fn count(machines: usize) -> f64 {
    f64::from(u32::try_from(machines).unwrap_or(u32::MAX))
}
