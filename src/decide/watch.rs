//! What a round adds to a watch: what each machine says, joined to the release it runs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    floor::Past,
    signed,
    state::{Revision, Trusted, Watch},
    verdict,
};
use crate::{
    model::{
        Belated, Count, Digest, HostStatus, InstanceId, Machine, MachineId, MachineSample,
        MachineState, Observation, Policy, Readings, ReleaseStatus, Since, SourceName, Verdict,
    },
    threshold::{self, Look, MachineSeen, Round, ThresholdState},
};

/// A process that started this long before the release was first seen is still the release's:
/// seeing it takes a poll or two. Older ones ran before us, and their past is not its evidence.
const SEEN_LATE_BY: SignedDuration = SignedDuration::from_secs(60);

/// A watch that was not looked at for so long begins its evidence anew.
const UNSEEN_FOR: SignedDuration = SignedDuration::from_secs(60);
/// What was forgotten shows itself again within so long, or it is taken for over.
const JUDGED_ANEW_FOR: SignedDuration = SignedDuration::from_mins(5);
/// Silence of at least this long, and of a bake, ends what a release has earned by its requests.
const SILENCE: SignedDuration = SignedDuration::from_mins(30);
/// Instances remembered in a watch before those that are gone are forgotten.
const INSTANCES_REMEMBERED: usize = 2000;
/// Of what ran beside the release nothing more is told after so long.
const BELATED_FOR: SignedDuration = SignedDuration::from_mins(2);
/// Machines remembered before those that are gone are forgotten.
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
        groups: BTreeSet::new(),
        looked_at: None,
        forgot_at: None,
        blocks: 0,
        in_ledger: false,
        registry_told: false,
        learning,
        is_vigil: false,
        of_all: false,
        numbered: true,
        no_mercy: false,
        machines: BTreeMap::new(),
        looks: 0,
        thresholds: BTreeMap::new(),
        absorbed: BTreeSet::new(),
        regions: BTreeSet::new(),
        suspicion: None,
        past: BTreeSet::new(),
        onsets: BTreeMap::new(),
        seen_s: 0.0,
        earned_to: None,
        obstacle: Some(crate::model::Obstacle::NotSettled),
        fed_groups: BTreeSet::new(),
        baked_at: None,
        baked_told: false,
        untrusted_told: false,
        alerted: BTreeSet::new(),
        called_off: Vec::new(),
        apart: BTreeSet::new(),
        evidence: Vec::new(),
        last_ledger_status: None,
        vetoed: None,
        put_by_hand: false,
        approved: None,
        lapsed: false,
        any_number: false,
        setup: None,
        late: None,
        before: None,
        beside: BTreeMap::new(),
    }
}

/// Whether a machine runs the watched release.
pub(super) fn is_on(watch: &Watch, machine: &Machine) -> bool {
    if watch.of_all {
        return machine.digest().is_some();
    }
    let version = watch.revision.version;
    let same_number = watch.any_number || version.is_none() || machine.release == version;
    same_number && machine.digest() == Some(&watch.revision.digest)
}

/// What is known of the app besides the watch.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// The release that may run beside the watched one.
    pub(super) known_good: Option<&'a Trusted>,
    /// The release whose counts say how far they spread.
    pub(super) measured: Option<&'a Trusted>,
    pub(super) past: &'a Past,
}

/// Takes in one round.
pub(super) fn absorb(
    policy: &Policy,
    watch: &mut Watch,
    seen: &super::Round<'_>,
    Known { known_good, measured, past }: Known<'_>,
    now: Timestamp,
) {
    let super::Round { machines, observation } = *seen;
    forget_old_alarms(policy, watch, now);
    settle(watch, machines, now);
    see(watch, machines, known_good, now);
    let dispersions = measured.map(|trusted| &trusted.dispersions);
    let known_good = known_good.map(|trusted| &trusted.revision.digest);
    let on_it: Vec<&&Machine> = machines.iter().filter(|m| is_on(watch, m)).collect();
    for machine in on_it {
        watch.regions.insert(machine.region.clone());
        watch.groups.insert(machine.group.clone());
        if matches!(machine.state, MachineState::Started) {
            watch.up_since.get_or_insert(now);
        }
    }
    let heard: Vec<Heard<'_>> = std::iter::once(SourceName::Pages)
        .chain(policy.sources().into_iter().filter(|source| *source != SourceName::Pages))
        .map(|source| hear(policy, watch, machines, known_good, (observation, source), now))
        .collect();
    let parted = watch.beside.values().max().copied();
    let mut took = threshold::Took::default();
    let digest = watch.revision.digest.clone();
    watch.thresholds.retain(|name, _| policy.thresholds.iter().any(|one| one.name == *name));
    for one in &policy.thresholds {
        let source = one.source().unwrap_or(&SourceName::Pages);
        let Some(Heard { on, control, belated, spoke, .. }) =
            heard.iter().find(|heard| heard.source == *source)
        else {
            continue;
        };
        let (span, learning) = (watch.span(), watch.learning);
        // The platform's list is what there is a round of.
        let heard = one.source().is_none() || *spoke;
        let round = Round { policy, now, span, learning, on, control, belated, parted, heard };
        let fresh = || ThresholdState::begin(one, watch.since);
        let state = watch.thresholds.entry(one.name.clone()).or_insert_with(fresh);
        let in_force = past.in_force(one, &digest);
        state.raise(in_force.as_ref(), one.room().allowed_share(), now);
        state.measured(dispersions.and_then(|all| all.get(&one.name)).copied());
        state.remember_series(past.endpoints.past(&one.name).as_ref());
        let took_in = threshold::absorb(one, state, &round);
        took.events |= took_in.events;
        took.closed |= took_in.closed;
        took.forgave |= took_in.forgave;
    }
    // Only a page holds what a process counted before anybody looked.
    let pages = samples_of(observation, &SourceName::Pages);
    let read: Vec<InstanceId> = machines
        .iter()
        .filter(|machine| is_on(watch, machine))
        .filter(|machine| {
            pages.get(&machine.id).is_some_and(|sample| readings(machine, sample).is_some())
        })
        .map(|machine| machine.instance.clone())
        .collect();
    watch.absorbed.extend(read);
    if watch.absorbed.len() > INSTANCES_REMEMBERED {
        watch.absorbed.retain(|instance| machines.iter().any(|m| m.instance == *instance));
    }
    if took.events {
        note_traffic(policy, watch, now);
    }
    if took.forgave {
        watch.recovered_at = Some(now);
        watch.seen_s = 0.0;
    }
    watch.blocks = watch.blocks.saturating_add(u32::from(took.closed));
}

/// What one source said of the machines of a release, and of those that run the known-good one.
struct Heard<'a> {
    source: SourceName,
    on: Vec<Look<'a>>,
    control: Vec<Look<'a>>,
    /// Whether it said anything, or there is no machine that runs for it to speak of. A daemon that has just
    /// started has not asked everybody.
    spoke: bool,
    /// What is told late of machines that ran the known-good one.
    belated: Vec<&'a BTreeMap<String, Belated>>,
}

fn hear<'a>(
    policy: &Policy,
    watch: &Watch,
    machines: &[&'a Machine],
    known_good: Option<&Digest>,
    (observation, source): (&'a Observation, SourceName),
    now: Timestamp,
) -> Heard<'a> {
    let samples = samples_of(observation, &source);
    let (mut on, mut control) = (Vec::new(), Vec::new());
    for machine in machines {
        let readings = samples.get(&machine.id).and_then(|sample| readings(machine, sample));
        if is_on(watch, machine) {
            on.push(look(policy, watch, machine, readings, now));
        } else if is_control(watch, known_good, machine) || ran_before(watch, machine) {
            let exits_since = watch.since;
            control.push(Look { machine, readings, past_counts: false, exits_since });
        }
    }
    let readings = observation.samples.iter().filter(|sample| sample.source == source);
    let belated = readings.filter_map(|sample| Some(&sample.readings.as_ref().ok()?.belated));
    let is_beside = |one: &Belated| watch.beside.contains_key(&one.instance);
    let belated = belated.filter(|all| all.values().all(is_beside)).collect();
    let runs = machines.iter().any(|machine| machine.state == MachineState::Started);
    let spoke = !observation.org.listening
        && !observation.blind.contains_key(&source)
        && (!samples.is_empty() || !runs);
    Heard { source, on, control, belated, spoke }
}

fn samples_of<'a>(
    observation: &'a Observation,
    source: &SourceName,
) -> BTreeMap<&'a MachineId, &'a MachineSample> {
    let samples = observation.samples.iter().filter(|sample| sample.source == *source);
    samples.map(|sample| (&sample.machine, sample)).collect()
}

/// What a machine's sources say of the instance that is listed.
fn readings<'a>(machine: &Machine, sample: &'a MachineSample) -> Option<&'a Readings> {
    let fits = machine.instance == sample.instance && machine.state == MachineState::Started;
    sample.readings.as_ref().ok().filter(|readings| fits && !readings.unconfirmed)
}

/// A machine of the release, with what of it may be judged.
fn look<'a>(
    policy: &Policy,
    watch: &Watch,
    machine: &'a Machine,
    readings: Option<&'a Readings>,
    now: Timestamp,
) -> Look<'a> {
    let seen_late = watch.since.checked_sub(SEEN_LATE_BY).unwrap_or(watch.since);
    let began = if watch.learning { watch.since } else { seen_late };
    let started = threshold::started(machine, watch.machines.get(&machine.id), now);
    // Before that its counters are followed, and what they count is not judged.
    let warm = watch.no_mercy || now.duration_since(started) >= signed(policy.watch.warm_up);
    // A page that is first read after it holds what it counted in it.
    let is_told_apart = watch.no_mercy || policy.watch.warm_up.is_zero();
    Look {
        machine,
        readings: readings.filter(|_| warm),
        past_counts: is_told_apart && admits_past(&watch.absorbed, machine, began),
        exits_since: match watch.machines.get(&machine.id) {
            Some(seen) if watch.learning => seen.first.max(watch.since),
            Some(seen) => seen.exits_since(),
            None => now,
        },
    }
}

/// Takes in what the machines of the release are doing.
fn see(watch: &mut Watch, machines: &[&Machine], known_good: Option<&Trusted>, now: Timestamp) {
    watch.looks = watch.looks.saturating_add(1);
    let on_it: Vec<&&Machine> = machines.iter().filter(|m| is_on(watch, m)).collect();
    for machine in on_it {
        let stays_up = stays_up(known_good, machine);
        watch
            .machines
            .entry(machine.id.clone())
            .and_modify(|seen| seen.look(machine, stays_up, now))
            .or_insert_with(|| MachineSeen::new(machine, stays_up, now));
    }
    let known_good = known_good.map(|trusted| &trusted.revision.digest);
    let beside = machines
        .iter()
        .filter(|machine| machine.state == MachineState::Started && !is_on(watch, machine))
        .filter(|machine| is_control(watch, known_good, machine) || ran_before(watch, machine))
        .map(|machine| (machine.instance.clone(), now))
        .collect();
    note_beside(watch, beside, now);
    if watch.machines.len() > MACHINES_REMEMBERED {
        watch.machines.retain(|id, _| machines.iter().any(|machine| machine.id == *id));
    }
}

/// Remembers which instances ran what the release is compared with, as long as something of them may come.
fn note_beside(watch: &mut Watch, more: BTreeMap<InstanceId, Timestamp>, now: Timestamp) {
    watch.beside.extend(more);
    watch.beside.retain(|_, seen| now.duration_since(*seen) <= BELATED_FOR);
    while watch.beside.len() > INSTANCES_REMEMBERED {
        watch.beside.pop_first();
    }
}

/// Takes in what ran until the release came: of machines that run it at its first look already, nobody saw
/// the known-good release beside it.
pub(super) fn remember_replaced(
    watch: &mut Watch,
    ran: &BTreeMap<MachineId, (InstanceId, Timestamp)>,
    machines: &[&Machine],
) {
    let on_it = machines.iter().filter(|machine| is_on(watch, machine));
    let replaced = on_it.filter_map(|machine| ran.get(&machine.id)).cloned().collect();
    note_beside(watch, replaced, watch.since);
}

/// Whether a machine's group stayed up under the known-good release.
pub(super) fn stays_up(known_good: Option<&Trusted>, machine: &Machine) -> bool {
    known_good.is_some_and(|trusted| trusted.stayed_up.contains(&machine.group))
}

/// After a while in which nothing was seen (the daemon was away, the platform could not be read, no
/// policy named the app) an alarm of before says nothing of now.
fn forget_old_alarms(policy: &Policy, watch: &mut Watch, now: Timestamp) {
    let gap = signed(policy.watch.idle_scrape_every * 3).max(UNSEEN_FOR);
    let before = watch.looked_at.replace(now);
    if before.is_some_and(|at| now.duration_since(at) > gap) {
        if verdict::overall(&watch.evidence) == Verdict::Breach {
            watch.forgot_at = Some(now);
        }
        for state in watch.thresholds.values_mut() {
            state.forget_alarms(now);
        }
    }
}

/// Whether a breach that was forgotten is judged anew, and it cannot be told yet how it is: that is no
/// recovery.
pub(super) fn is_judged_anew(watch: &Watch, now: Timestamp) -> bool {
    verdict::overall(&watch.evidence) == Verdict::Inconclusive
        && watch.forgot_at.is_some_and(|at| now.duration_since(at) < JUDGED_ANEW_FOR)
}

/// Whether a machine runs the known-good release beside those that are judged.
fn is_control(watch: &Watch, known_good: Option<&Digest>, machine: &Machine) -> bool {
    known_good.is_some()
        && machine.digest() == known_good
        && (watch.groups.is_empty() || watch.groups.contains(&machine.group))
}

/// Whether a machine runs what was degraded already when the release came, and shows the same cause.
fn ran_before(watch: &Watch, machine: &Machine) -> bool {
    let before = watch.before.as_ref().filter(|before| !before.breached.is_empty());
    before.is_some_and(|before| machine.digest() == Some(&before.digest))
        && (watch.groups.is_empty() || watch.groups.contains(&machine.group))
}

fn settle(watch: &mut Watch, machines: &[&Machine], now: Timestamp) {
    let mut on = machines.iter().filter(|machine| is_on(watch, machine)).peekable();
    if on.peek().is_none() {
        watch.settled_at = None;
        return;
    }
    let group: BTreeSet<_> = on.map(|machine| &machine.group).collect();
    let all = machines
        .iter()
        .filter(|machine| group.contains(&machine.group))
        .filter(|machine| matches!(machine.host, HostStatus::Ok))
        .all(|machine| machine.digest() == Some(&watch.revision.digest));
    // A deploy to some regions only is over when its ledger entry says so; what somebody tries on
    // one machine by hand is no deploy, and nothing to go back to.
    let closed = watch.numbered && watch.last_ledger_status == Some(ReleaseStatus::Complete);
    if all || closed {
        watch.settled_at.get_or_insert(now);
    } else {
        watch.settled_at = None;
    }
}

fn note_traffic(policy: &Policy, watch: &mut Watch, now: Timestamp) {
    let long = signed(policy.watch.bake).max(SILENCE);
    if watch.traffic_at.is_some_and(|at| now.duration_since(at) > long) {
        // What came before the silence was judged by itself; this is a new beginning.
        watch.traffic_since = None;
        watch.blocks = 0;
    }
    watch.traffic_since.get_or_insert(now);
    watch.traffic_at = Some(now);
}

/// Whether a process's whole past may be added: once, and only if it began with the release.
fn admits_past(absorbed: &BTreeSet<InstanceId>, machine: &Machine, began: Timestamp) -> bool {
    !absorbed.contains(&machine.instance)
        && machine.started_at.is_some_and(|started| started >= began)
}

/// Whether a count may be added to what confirms a region: increments always, a process's past
/// only where [`admits_past`] says so.
fn admits(
    absorbed: &BTreeSet<InstanceId>,
    machine: &Machine,
    count: &Count,
    began: Timestamp,
) -> bool {
    match count.since {
        Since::LastScrape => true,
        Since::ProcessStart => admits_past(absorbed, machine, began),
    }
}

/// Samples of one region's machines that run `target`, added to what confirms it. A process that
/// started since `began` counts from its start.
pub(super) fn absorb_confirm(
    confirm: &mut super::state::Confirm,
    target: &crate::model::Digest,
    began: Timestamp,
    machine: &Machine,
    sample: &MachineSample,
) {
    let Ok(readings) = &sample.readings else { return };
    if readings.unconfirmed
        || machine.instance != sample.instance
        || machine.digest() != Some(target)
    {
        return;
    }
    for (threshold, count) in &readings.counts {
        if admits(&confirm.absorbed, machine, count, began) {
            let series = readings.series.get(threshold);
            confirm.thresholds.entry(threshold.clone()).or_default().add(count, series);
        }
    }
    if sample.source == SourceName::Pages {
        confirm.absorbed.insert(machine.instance.clone());
    }
}
