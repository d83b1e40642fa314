//! What a round adds to a watch: counts joined to the release of the machine they came from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    detect::ratio::{RatioDetector, RatioSettings},
    signed,
    state::{CrashCount, Revision, Watch},
};
use crate::model::{
    Count, Digest, InstanceId, Machine, MachineId, MachineSample, MachineState, Observation,
    Policy, Readings, Since, Tally, ThresholdKind,
};

/// A process that started this long before the release was first seen is still the release's:
/// seeing it takes a poll or two. Older ones ran before us, and their past is not its evidence.
const SEEN_LATE_BY: SignedDuration = SignedDuration::from_secs(60);
/// The part of a watch over which the detector spreads its prior (`detection.md` §2.3).
pub(super) const WATCH_HORIZON: std::time::Duration = std::time::Duration::from_secs(1800);

/// A watch that was not looked at for so long begins its evidence anew.
const UNSEEN_FOR: SignedDuration = SignedDuration::from_secs(60);
/// Silence of at least this long, and of a bake, ends what a release has earned by its requests.
const SILENCE: SignedDuration = SignedDuration::from_mins(30);
/// Machines and instances remembered in a watch before those that are gone are forgotten.
const MACHINES_REMEMBERED: usize = 2000;

/// A watch with nothing in it.
pub(super) fn begin(revision: Revision, now: Timestamp, learning: bool) -> Watch {
    Watch {
        revision,
        since: now,
        settled_at: None,
        gone_since: None,
        up_since: None,
        traffic_since: None,
        traffic_at: None,
        recovered_at: None,
        recent: BTreeMap::new(),
        groups: BTreeSet::new(),
        control_recent: BTreeMap::new(),
        looked_at: None,
        blocks: 0,
        in_ledger: false,
        registry_told: false,
        detecting_since: now,
        learning,
        numbered: true,
        no_mercy: false,
        detectors: BTreeMap::new(),
        gauges: BTreeMap::new(),
        crashes: BTreeMap::new(),
        absorbed: BTreeSet::new(),
        regions: BTreeMap::new(),
        control: BTreeMap::new(),
        data_at: BTreeMap::new(),
        unmatched: BTreeSet::new(),
        unmatched_rounds: 0,
        unmatched_told: BTreeSet::new(),
        alerted: BTreeSet::new(),
        evidence: Vec::new(),
        last_ledger_status: None,
    }
}

/// Whether a machine runs the watched release.
pub(super) fn is_on(revision: &Revision, machine: &Machine) -> bool {
    let same_number = revision.version.is_none() || machine.release == revision.version;
    same_number && machine.digest() == Some(&revision.digest)
}

/// The share of bad events that a counting threshold allows; `None` for the others.
pub(super) fn allowed_share(kind: &ThresholdKind) -> Option<(f64, bool)> {
    match kind {
        ThresholdKind::Ratio { max, strict, .. } => Some((*max, *strict)),
        // Rounded, so that 0.95 allows 0.05 and not 0.050000000000000044.
        ThresholdKind::Latency { quantile, strict, .. } => {
            Some((((1.0 - quantile) * 1e9).round() / 1e9, *strict))
        }
        ThresholdKind::Gauge { .. }
        | ThresholdKind::Checks { .. }
        | ThresholdKind::Crashes { .. } => None,
    }
}

/// The detector's settings: the promised rate of false rollbacks, split over what can cause one.
pub(super) fn settings(policy: &Policy) -> RatioSettings {
    let counting =
        policy.thresholds.iter().filter(|t| allowed_share(&t.kind).is_some()).count().max(1);
    let parts = f64::from(u32::try_from(counting).unwrap_or(u32::MAX));
    RatioSettings {
        alpha: policy.watch.false_rollbacks / parts,
        watch: WATCH_HORIZON.max(policy.watch.bake),
        block: policy.watch.block.max(policy.watch.scrape_every),
    }
}

/// Takes in one round.
pub(super) fn absorb(
    policy: &Policy,
    watch: &mut Watch,
    machines: &[&Machine],
    observation: &Observation,
    known_good: Option<&Digest>,
    now: Timestamp,
) {
    forget_old_alarms(policy, watch, now);
    let by_id: BTreeMap<&MachineId, &Machine> =
        machines.iter().map(|machine| (&machine.id, *machine)).collect();
    settle(watch, machines, now);
    for machine in machines.iter().filter(|machine| is_on(&watch.revision, machine)) {
        let since = watch.since.checked_sub(SEEN_LATE_BY).unwrap_or(watch.since);
        // An update resets the machine's events; what came before it was another release's.
        let since = machine_since(machine, watch, since);
        count_crashes(watch.crashes.entry(machine.id.clone()).or_default(), machine, since);
        watch.regions.entry(machine.region.clone()).or_default();
        watch.groups.insert(machine.group.clone());
        if matches!(machine.state, MachineState::Started) {
            watch.up_since.get_or_insert(now);
        }
    }
    let mut unmatched: Option<BTreeSet<String>> = None;
    for sample in &observation.samples {
        let Some(machine) = by_id.get(&sample.machine) else { continue };
        let Ok(readings) = &sample.readings else { continue };
        if machine.instance != sample.instance || !matches!(machine.state, MachineState::Started) {
            continue;
        }
        if is_on(&watch.revision, machine) {
            unmatched = Some(match unmatched {
                None => readings.unmatched.clone(),
                Some(so_far) => so_far.intersection(&readings.unmatched).cloned().collect(),
            });
            absorb_readings(policy, watch, machine, readings, now);
        } else {
            if is_control(watch, known_good, machine) {
                absorb_control(watch, readings, now);
            }
        }
    }
    if let Some(unmatched) = unmatched {
        watch.unmatched = unmatched;
        watch.unmatched_rounds = watch.unmatched_rounds.saturating_add(1);
    }
    forget_the_gone(watch, machines);
    let settings = settings(policy);
    renew(watch, settings.watch, now);
    // Before this round's alarms: those have to be seen first.
    forgive(watch, now);
    let mut closed = false;
    for detector in watch.detectors.values_mut() {
        closed |= detector.close_if_due(now, &settings).is_some();
    }
    watch.blocks = watch.blocks.saturating_add(u32::from(closed));
}

/// After a while in which nothing was seen (the daemon was away, the platform could not be read, no
/// policy named the app) an alarm of before says nothing of now.
fn forget_old_alarms(policy: &Policy, watch: &mut Watch, now: Timestamp) {
    let gap = signed(policy.watch.idle_scrape_every * 3).max(UNSEEN_FOR);
    let before = watch.looked_at.replace(now);
    if before.is_some_and(|at| now.duration_since(at) > gap) {
        watch.detectors.retain(|_, detector| !detector.alarmed());
        watch.recent.clear();
        watch.control_recent.clear();
    }
}

/// Whether a machine runs the known-good release beside those that are judged.
fn is_control(watch: &Watch, known_good: Option<&Digest>, machine: &Machine) -> bool {
    known_good.is_some()
        && machine.digest() == known_good
        && (watch.groups.is_empty() || watch.groups.contains(&machine.group))
}

/// An alarm whose cause is clearly over is taken back: the detector begins anew.
fn forgive(watch: &mut Watch, now: Timestamp) {
    for (threshold, detector) in watch.detectors.iter_mut().filter(|(_, d)| d.alarmed()) {
        let (n, k) = detector.totals();
        // A regression that came late is diluted by what was well before it: that asks for more.
        let then = (k / n.max(1.0)).max(1.5 * detector.p0());
        let recent = watch.recent.get(threshold);
        if recent.is_some_and(|recent| recent.is_within(detector.p0(), then)) {
            *detector = RatioDetector::new(detector.p0(), detector.is_strict());
            watch.recovered_at = Some(now);
        }
    }
}

/// A detector's stakes are spread over one horizon; a release that is still watched after it, for
/// want of traffic or of a trustworthy verdict, is judged anew from then on. The promised rate of
/// false rollbacks holds for each of these spans.
fn renew(watch: &mut Watch, horizon: std::time::Duration, now: Timestamp) {
    if now.duration_since(watch.detecting_since) < signed(horizon) {
        return;
    }
    watch.detecting_since = now;
    watch.detectors.retain(|_, detector| detector.alarmed());
}

/// A watch can last for months without traffic while machines come and go: what is remembered of
/// machines that are not there any more is bounded.
fn forget_the_gone(watch: &mut Watch, machines: &[&Machine]) {
    if watch.absorbed.len() > MACHINES_REMEMBERED {
        watch.absorbed.retain(|instance| machines.iter().any(|m| m.instance == *instance));
    }
    if watch.crashes.len() > MACHINES_REMEMBERED {
        watch.crashes.retain(|id, _| machines.iter().any(|m| m.id == *id));
    }
    for runs in watch.gauges.values_mut() {
        runs.retain(|id, _| machines.iter().any(|m| m.id == *id));
    }
}

fn machine_since(machine: &Machine, watch: &Watch, since: Timestamp) -> Timestamp {
    if watch.learning { watch.since } else { since.min(machine.updated_at) }
}

fn settle(watch: &mut Watch, machines: &[&Machine], now: Timestamp) {
    let mut on = machines.iter().filter(|machine| is_on(&watch.revision, machine)).peekable();
    if on.peek().is_none() {
        watch.settled_at = None;
        return;
    }
    let group: BTreeSet<_> = on.map(|machine| &machine.group).collect();
    let all = machines
        .iter()
        .filter(|machine| group.contains(&machine.group))
        .filter(|machine| matches!(machine.host, crate::model::HostStatus::Ok))
        .all(|machine| machine.digest() == Some(&watch.revision.digest));
    // A deploy to some regions only is over when its ledger entry says so; what somebody tries on
    // one machine by hand is no deploy, and nothing to go back to.
    let closed = watch.numbered && watch.last_ledger_status.as_deref() == Some("complete");
    if all || closed {
        watch.settled_at.get_or_insert(now);
    } else {
        watch.settled_at = None;
    }
}

/// Adds the unplanned exits that were not counted yet.
pub(super) fn count_crashes(count: &mut CrashCount, machine: &Machine, since: Timestamp) {
    let counted_to = count.counted_to;
    for exit in machine.crashes_since(since) {
        if counted_to.is_some_and(|to| exit.at <= to) {
            continue;
        }
        count.exits += 1;
        count.oom += u32::from(exit.oom_killed);
        count.counted_to = Some(count.counted_to.map_or(exit.at, |to| to.max(exit.at)));
    }
}

/// Whether a count may be added: increments always, a process's whole past once, and only if the
/// process began with the release.
pub(super) fn admits(
    absorbed: &BTreeSet<InstanceId>,
    machine: &Machine,
    count: &Count,
    began: Timestamp,
) -> bool {
    match count.since {
        Since::LastScrape => true,
        Since::ProcessStart => {
            !absorbed.contains(&machine.instance)
                && machine.started_at.is_some_and(|started| started >= began)
        }
    }
}

fn absorb_readings(
    policy: &Policy,
    watch: &mut Watch,
    machine: &Machine,
    readings: &Readings,
    now: Timestamp,
) {
    let started = machine.started_at.unwrap_or(machine.updated_at);
    let warm = watch.no_mercy || now.duration_since(started) >= signed(policy.watch.warm_up);
    if !warm {
        // Its counters are followed from here on; what it counted until now is not judged.
        watch.absorbed.insert(machine.instance.clone());
        return;
    }
    let began = if watch.learning {
        watch.since
    } else {
        watch.since.checked_sub(SEEN_LATE_BY).unwrap_or(watch.since)
    };
    for threshold in &policy.thresholds {
        if let Some((share, strict)) = allowed_share(&threshold.kind) {
            let Some(count) = readings.counts.get(&threshold.name) else { continue };
            if !admits(&watch.absorbed, machine, count, began) {
                continue;
            }
            let fresh = || RatioDetector::new(share, strict);
            let detector = watch.detectors.entry(threshold.name.clone()).or_insert_with(fresh);
            if !detector.judges(share, strict) {
                // The limit was changed: what was counted against the old one proves nothing.
                *detector = fresh();
            }
            detector.start(if watch.learning { now } else { started.min(now) });
            detector.add(count.n, count.k);
            let tally = watch
                .regions
                .entry(machine.region.clone())
                .or_default()
                .entry(threshold.name.clone())
                .or_default();
            tally.n += count.n;
            tally.k += count.k;
            if count.n > 0.0 {
                let long = signed(policy.watch.bake).max(SILENCE);
                if watch.traffic_at.is_some_and(|at| now.duration_since(at) > long) {
                    // What came before the silence was judged by itself; this is a new beginning.
                    watch.traffic_since = None;
                    watch.blocks = 0;
                }
                watch.traffic_since.get_or_insert(now);
                watch.traffic_at = Some(now);
                watch.recent.entry(threshold.name.clone()).or_default().add(now, count.n, count.k);
                watch.data_at.insert(threshold.name.clone(), now);
            }
        } else if let ThresholdKind::Gauge { max, .. } = &threshold.kind {
            let Some(value) = readings.gauges.get(&threshold.name) else { continue };
            watch.data_at.insert(threshold.name.clone(), now);
            watch
                .gauges
                .entry(threshold.name.clone())
                .or_default()
                .entry(machine.id.clone())
                .or_default()
                .sample(Some(*value), *max, now);
        }
    }
    watch.absorbed.insert(machine.instance.clone());
}

/// Machines of the known-good release: what the known-good release shows at the same time.
fn absorb_control(watch: &mut Watch, readings: &Readings, now: Timestamp) {
    for (threshold, count) in &readings.counts {
        if count.since == Since::LastScrape {
            let tally: &mut Tally = watch.control.entry(threshold.clone()).or_default();
            tally.n += count.n;
            tally.k += count.k;
            let recent = watch.control_recent.entry(threshold.clone()).or_default();
            recent.add(now, count.n, count.k);
        }
    }
}

/// Samples of one region's machines that run `target`, added to what confirms it.
pub(super) fn absorb_confirm(
    confirm: &mut super::state::Confirm,
    target: &crate::model::Digest,
    machine: &Machine,
    sample: &MachineSample,
) {
    let Ok(readings) = &sample.readings else { return };
    if machine.instance != sample.instance || machine.digest() != Some(target) {
        return;
    }
    for (threshold, count) in &readings.counts {
        if admits(&confirm.absorbed, machine, count, confirm.since) {
            let tally = confirm.tallies.entry(threshold.clone()).or_default();
            tally.n += count.n;
            tally.k += count.k;
        }
    }
    confirm.absorbed.insert(machine.instance.clone());
}
