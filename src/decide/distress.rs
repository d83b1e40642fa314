//! What an app tells its neighbours, and what theirs means to it: releases that degrade together are
//! seen together, and apps that nobody deployed are witnesses for the platform.
//!
//! A steady app is looked at as well, at its idle pace and faster while a neighbour is in distress.
//! Nothing is decided about it; it only bears witness.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    AppState, Context, Round, alerts,
    changes::Fleet,
    silence,
    state::{Phase, RegionWork, Revision, Watch},
    suspects, unjudged, verdict, watch,
};
use crate::{
    model::{AppName, Distress, Evidence, OrgContext, Policy, Region, Since, Tally, Verdict, Well},
    threshold::{ThresholdState, is_bad},
};

/// Apps whose distress began within this time of each other degrade together.
const TOGETHER: SignedDuration = SignedDuration::from_secs(15);
/// A witness degraded no later than the release, but for what it takes to see it, and not long ago
/// either: what always fails says nothing of now.
const SEEN_LATE_BY: SignedDuration = SignedDuration::from_secs(5);
const LONG_AGO: SignedDuration = SignedDuration::from_secs(60);
/// One app alone may be anything.
pub(super) const WITNESSES_MIN: usize = 2;
/// Distress that was not seen again for so long is over.
const OVER_AFTER: SignedDuration = SignedDuration::from_secs(45);

/// Looks of which a steady app remembers what its regions served, and the requests that show that a
/// region serves them.
const LOOKS_REMEMBERED: usize = 16;
const SERVED_MIN: f64 = 10.0;

/// The watch of a steady app, and what its regions served at its last looks: since when, and how many
/// requests. It is not recorded: two that differ make no other state.
#[derive(Clone, Debug, Default)]
pub struct Vigil {
    watch: Option<Box<Watch>>,
    /// When it last leaned towards a breach.
    leant: Option<Timestamp>,
    /// The machines of the last round.
    pub fleet: Option<Fleet>,
    served: BTreeMap<Region, VecDeque<(Timestamp, f64)>>,
}

impl PartialEq for Vigil {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Since when something is suspicious, and when it last was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suspicion {
    pub since: Timestamp,
    pub last: Timestamp,
}

impl Vigil {
    /// What is kept of what runs.
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_deref()
    }

    /// A release that earned trust is looked at on: what was counted of it until now is its past.
    pub(super) fn begin(&mut self, watch: Box<Watch>) {
        *self = Self { watch: Some(watch), ..Self::default() };
    }

    /// What was taken out to be looked at is looked at on.
    pub(super) fn go_on(&mut self, watch: Box<Watch>) {
        self.watch = Some(watch);
    }

    /// It is dealt with elsewhere from now on.
    pub(super) fn end(&mut self) -> Option<Box<Watch>> {
        self.served.clear();
        self.watch.take()
    }

    /// Whether it leaned towards trouble lately, and is looked at faster for that.
    pub fn is_uneasy(&self, now: Timestamp) -> bool {
        self.leant.is_some_and(|at| now.duration_since(at) < OVER_AFTER)
    }

    /// Takes in what each region served since the look of `from`.
    fn serve(&mut self, policy: &Policy, round: &Round<'_>, from: Timestamp) {
        let mut regions: BTreeMap<&Region, (f64, bool)> = BTreeMap::new();
        for threshold in &policy.thresholds {
            let Some((limit, _)) = threshold.room().allowed_share() else { continue };
            for (region, Tally { n, k }) in counted(round, &threshold.name) {
                let (most, fails) = regions.entry(region).or_default();
                *most = most.max(n);
                *fails |= is_bad(n, k, limit);
            }
        }
        for (region, (n, fails)) in regions {
            let served = self.served.entry(region.clone()).or_default();
            if fails {
                served.clear();
            } else if n > 0.0 {
                served.push_back((from, n));
                if served.len() > LOOKS_REMEMBERED {
                    served.pop_front();
                }
            }
        }
    }

    /// Since when each region was seen to serve its requests, by the last of them.
    fn well(&self) -> Well {
        let since = |looks: &VecDeque<(Timestamp, f64)>| {
            let mut n = 0.0;
            let enough = |(_, served): &&(Timestamp, f64)| {
                n += served;
                n >= SERVED_MIN
            };
            looks.iter().rev().find(enough).map(|(from, _)| *from)
        };
        let regions = self.served.iter();
        Well {
            since: regions.filter_map(|(at, looks)| Some((at.clone(), since(looks)?))).collect(),
        }
    }
}

/// Looks at what a steady app runs; where a rollback put it on some machines, `any_number` that they carry.
pub(super) fn keep_vigil(cx: &mut Context<'_>, round: &Round<'_>, any_number: bool) {
    if let Some(current) = cx.memory.current.clone() {
        keep(cx, round, current, (false, any_number));
    }
}

/// Looks at all machines as one, whatever they run: most of them `current`.
pub(super) fn keep_vigil_of_all(cx: &mut Context<'_>, round: &Round<'_>, current: Revision) {
    keep(cx, round, current, (true, false));
}

fn keep(
    cx: &mut Context<'_>,
    round: &Round<'_>,
    current: Revision,
    (of_all, any_number): (bool, bool),
) {
    let kept = cx.memory.vigil.watch.take();
    let mut seen = kept
        .filter(|kept| kept.revision.digest == current.digest)
        .filter(|kept| kept.revision.version == current.version && kept.of_all == of_all)
        // What it counted before is its past.
        .unwrap_or_else(|| Box::new(watch::begin(current, cx.now, true)));
    (seen.is_vigil, seen.of_all) = (true, of_all);
    seen.any_number |= any_number;
    let before = seen.looked_at;
    let memory = &cx.memory;
    let known =
        watch::Known { known_good: None, measured: memory.known_good(), past: &memory.past };
    watch::absorb(cx.policy, &mut seen, round, known, cx.now);
    verdict::refresh(cx.policy, &mut seen, None, round.machines, cx.now);
    silence::judge(cx.policy, &cx.memory.silence, &cx.memory.org, &mut seen, cx.now);
    let suspicion = cx.memory.suspicion.take();
    cx.memory.suspicion = go_on(suspicion, &seen, cx.now);
    // A machine of all that may run the other image is no equal of the rest.
    if !of_all {
        suspects::tell(cx, &mut seen);
    }
    unjudged::tell(cx, &seen);
    alerts::tell(cx, &mut seen);
    if seen.thresholds.values().any(ThresholdState::leans) {
        cx.memory.vigil.leant = Some(cx.now);
    }
    cx.memory.vigil.watch = Some(seen);
    if let Some(from) = before {
        cx.memory.vigil.serve(cx.policy, round, from);
    }
}

/// Notes whether the watched release looks as if it degraded, before that is certain.
pub(super) fn suspect(watch: &mut Watch, now: Timestamp) {
    let before = watch.suspicion.take();
    watch.suspicion = go_on(before, watch, now);
}

fn go_on(before: Option<Suspicion>, watch: &Watch, now: Timestamp) -> Option<Suspicion> {
    let suspects: Vec<Option<&ThresholdState>> =
        suspicious(watch).map(|(_, state)| state).collect();
    match before {
        Some(before) if !suspects.is_empty() => Some(Suspicion { last: now, ..before }),
        None if !suspects.is_empty() => {
            let rose = suspects.into_iter().flatten().filter_map(ThresholdState::rose_at).min();
            let earliest = now.checked_sub(OVER_AFTER).unwrap_or(now);
            Some(Suspicion { since: rose.unwrap_or(now).clamp(earliest, now), last: now })
        }
        before => before.filter(|before| now.duration_since(before.last) < OVER_AFTER),
    }
}

/// What breaches, or looks so.
fn suspicious(watch: &Watch) -> impl Iterator<Item = (&Evidence, Option<&ThresholdState>)> {
    let deciding = watch.evidence.iter().filter(|evidence| evidence.may_roll_back);
    deciding.filter_map(|evidence| {
        let state = watch.thresholds.get(&evidence.threshold);
        let is =
            evidence.verdict == Verdict::Breach || state.is_some_and(ThresholdState::is_suspicious);
        is.then_some((evidence, state))
    })
}

/// Regions in which what is suspicious is to be seen; all of them, where they cannot be told apart.
pub(super) fn failing_regions(watch: &Watch, now: Timestamp) -> BTreeSet<Region> {
    let mut suspects = suspicious(watch).peekable();
    let all = || watch.regions.clone();
    if suspects.peek().is_none() {
        return all();
    }
    let mut failing = BTreeSet::new();
    for (evidence, state) in suspects {
        let Some(state) = state.filter(|_| evidence.kind.counts_events()) else { return all() };
        let fails = |region: &&Region| {
            let lately = state.sight.lately(region, now);
            lately.is_some_and(|tally| tally.k > evidence.limit * tally.n)
        };
        failing.extend(watch.regions.iter().filter(fails).cloned());
    }
    if failing.is_empty() { all() } else { failing }
}

/// What an app's neighbours are to know of it; `None`: it is well, as far as it can tell.
pub fn of(state: &AppState) -> Option<Distress> {
    let watched = |watch: &Watch, certain: bool| {
        let suspicion = watch.suspicion.as_ref();
        let since = suspicion.map(|one| one.since).or(certain.then_some(watch.since))?;
        let regions = failing_regions(watch, suspicion.map_or(since, |one| one.last));
        // What ran before it degraded already, and goes on: what that saw is no release's.
        let before = watch.before.as_ref().filter(|before| before.is_witness);
        let since = before.map_or(since, |before| before.since);
        Some(Distress { since, regions, deployed: watch.is_deployed() && before.is_none() })
    };
    match &state.phase {
        Phase::Watching(watch) => watched(watch, false),
        // A person goes to another release: that by itself is no distress.
        Phase::CheckingImage { watch, by_hand: Some(_), .. } => watched(watch, false),
        Phase::RollingBack(rollback)
            if rollback.by_hand.is_some()
                && verdict::overall(&rollback.evidence) != Verdict::Breach =>
        {
            None
        }
        Phase::CountingDown { watch, .. }
        | Phase::CheckingImage { watch, .. }
        | Phase::Held { watch, .. } => watched(watch, true),
        Phase::RollingBack(rollback) => {
            let open = rollback.regions.iter().filter(|work| RegionWork::is_open(work));
            let regions: BTreeSet<Region> = open.map(|work| work.region.clone()).collect();
            Some(Distress { since: rollback.started_at, regions, deployed: true })
        }
        Phase::Steady | Phase::Stopped { .. } => {
            let suspicion = state.memory.suspicion.as_ref()?;
            let vigil = state.memory.vigil.watch();
            let regions = vigil.map(|watch| failing_regions(watch, suspicion.last));
            let regions = regions.unwrap_or_default();
            // After a rollback that stopped it may be the release's fault still.
            let deployed = matches!(state.phase, Phase::Stopped { .. });
            Some(Distress { since: suspicion.since, regions, deployed })
        }
        Phase::Unseen | Phase::RolledBack(_) => None,
    }
}

/// What a steady app shows its neighbours of how well it is; `None`: nothing.
pub fn wellness(state: &AppState) -> Option<Well> {
    let is_steady = matches!(state.phase, Phase::Steady) && state.memory.suspicion.is_none();
    Some(state.memory.vigil.well()).filter(|well| is_steady && !well.since.is_empty())
}

/// What a round counted in each region for a threshold.
pub(super) fn counted<'a>(round: &Round<'a>, threshold: &str) -> BTreeMap<&'a Region, Tally> {
    let mut regions: BTreeMap<&Region, Tally> = BTreeMap::new();
    for machine in round.machines {
        let samples = round.observation.samples.iter();
        let of_it = samples.filter(|sample| sample.instance == machine.instance);
        for readings in of_it.filter_map(|sample| sample.readings.as_ref().ok()) {
            let count = readings.counts.get(threshold);
            if let Some(count) = count.filter(|count| count.since == Since::LastScrape) {
                regions.entry(&machine.region).or_default().add(count.n, count.k.min(count.n));
            }
        }
    }
    regions
}

/// What the neighbours show of a release's distress.
pub(super) struct Neighbourhood {
    /// Apps that were not deployed and degrade with it.
    pub(super) witnesses: Vec<AppName>,
    /// Apps with a release of their own that degrade with it.
    pub(super) together: Vec<AppName>,
    /// A region that they share with it.
    pub(super) region: Option<Region>,
}

impl Neighbourhood {
    /// Whether it is the platform, or something that all depend on, and not the release.
    pub(super) fn is_incident(&self) -> bool {
        self.witnesses.len() >= WITNESSES_MIN
    }
}

/// How many apps that nobody deployed serve their requests in a region in which this one fails its own, since
/// it does: the most of all such regions.
pub(super) fn well_beside(
    org: &OrgContext,
    watch: &Watch,
    since: Timestamp,
    now: Timestamp,
) -> usize {
    let in_region = |region: &Region| {
        let neighbours = org.well.values();
        neighbours.filter(|well| well.since.get(region).is_some_and(|at| *at >= since)).count()
    };
    failing_regions(watch, now).iter().map(in_region).max().unwrap_or(0)
}

/// The neighbours of a release whose distress began when its watch says.
pub(super) fn neighbourhood(org: &OrgContext, watch: &Watch, now: Timestamp) -> Neighbourhood {
    let mine = watch.suspicion.as_ref().map_or(now, |suspicion| suspicion.since);
    let ours = failing_regions(watch, now);
    let mut found = Neighbourhood { witnesses: Vec::new(), together: Vec::new(), region: None };
    for (app, theirs) in &org.neighbours {
        let shared = theirs.regions.intersection(&ours).next();
        // A steady app that was just restarted to does not know its regions yet.
        if shared.is_none() && !theirs.regions.is_empty() {
            continue;
        }
        let later = theirs.since.duration_since(mine);
        if theirs.deployed {
            if later.abs() <= TOGETHER {
                found.together.push(app.clone());
            }
        } else if later <= SEEN_LATE_BY && later >= -LONG_AGO {
            found.witnesses.push(app.clone());
            found.region = found.region.take().or_else(|| shared.cloned());
        }
    }
    found
}
