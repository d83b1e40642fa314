//! What must hold in every history, read from the platform itself at every instant, from what was
//! written, and from what was told.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::super::rules::{Answer, Call},
    late::LateTruth,
    stage::{self, BAD, BAKE_S},
    told::{is_escalated, tells},
};
use crate::{
    decide::{AppState, Input, Transition, state::Phase},
    model::{EventKind::*, MachineId, MachineState, Observation, Policy, Reason},
    ports::Lease,
    sim::{Org, Sim, State},
};

/// At most this share of a region, and of the app, is down because of us; one always may be.
const UNAVAILABLE: f64 = 0.33;
/// People know of an image that was rolled back and serves after a minute; an idle round and late
/// lists come on top.
const TOLD_AFTER_MS: u64 = 60_000 + 20_000 + 35_000;
/// A region is looked at for that long before the others, to the second.
const CONFIRM_LEAST_MS: u64 = 1_000;
/// Writes to one machine, and errands in all, in one history.
const WRITES_MAX: u32 = 60;
const ERRANDS_MAX: u32 = 1_500;
/// A newer release in the ledger was there to be read for so long.
const LEDGER_READ_MS: u64 = 30_000;
/// What was counted in an outage speaks for so long after it.
const OUTAGE_LASTS_MS: u64 = 60_000;
/// So many apps that nobody deployed tell an outage from a release.
const WITNESSES: usize = 2;

/// Two looks further apart than this did not see what was between them.
const CONTIGUOUS_MS: u64 = 60_000;
/// The calls before a write may take so long, after the rollback was stopped.
const SEEN_THROUGH_MS: u64 = 150_000;

/// A machine before a write.
pub struct Before {
    id: String,
    region: String,
    digest: Option<String>,
    release: Option<u64>,
    up: bool,
}

pub struct Truth {
    app: String,
    broken: Option<String>,
    bad: String,
    well: BTreeSet<String>,
    /// Machines that are down because of us, with the instance that is to come up.
    ours: BTreeMap<String, String>,
    writes: BTreeMap<String, u32>,
    pub errands: u32,
    /// A person had something replaced.
    replaced_by_hand: bool,
    /// Everything may be down at once.
    free: bool,
    /// What was well was undone in an outage, where nobody could know better.
    erred: bool,
    /// People did something to machines that stays.
    pub meddled: bool,
    rollbacks: BTreeMap<String, u32>,
    /// Regions that the rollback under way wrote to, and when one of their machines first came up.
    regions: BTreeMap<String, Option<u64>>,
    region_of: BTreeMap<String, String>,
    confirmed: usize,
    /// Seconds for which a digest was looked at.
    seen_ms: BTreeMap<String, u64>,
    looked_at: Option<u64>,
    stopped_at: u64,
    /// When the platform's clock was last set.
    pub clock_set_at: u64,
    /// Until when a host that came back may not have been seen.
    pub hosts_back_at: u64,
    read_at: u64,
    /// Machines that serve the bad image outside a rollback, since when; and those told of.
    serving: BTreeMap<String, u64>,
    told: BTreeSet<String>,
    /// Machines that we took down and that were not up since, whoever changed them meanwhile.
    taken: BTreeSet<String>,
    /// Machines that an event named.
    named: BTreeSet<String>,
    /// Machines that carry the bad image, whether they serve or not.
    carrying: BTreeSet<String>,
    /// Until when what every app depends on is out of order, and how many other apps nobody deployed:
    /// they bear witness.
    pub outage: Option<(u64, usize)>,
    /// When somebody's releases were made.
    pub released: BTreeMap<u64, u64>,
    pub late: LateTruth,
}

impl Truth {
    pub fn new(sim: &Sim, app: &str) -> Self {
        let digest = |tag| sim.digest(&stage::image(app, tag)).unwrap();
        Self {
            app: app.to_owned(),
            broken: None,
            bad: digest(BAD),
            well: stage::WELL.into_iter().map(digest).collect(),
            ours: BTreeMap::new(),
            writes: BTreeMap::new(),
            errands: 0,
            replaced_by_hand: false,
            free: false,
            erred: false,
            meddled: false,
            rollbacks: BTreeMap::new(),
            regions: BTreeMap::new(),
            region_of: BTreeMap::new(),
            confirmed: 0,
            seen_ms: BTreeMap::new(),
            looked_at: None,
            stopped_at: 0,
            clock_set_at: 0,
            hosts_back_at: 0,
            read_at: 0,
            serving: BTreeMap::new(),
            told: BTreeSet::new(),
            taken: BTreeSet::new(),
            named: BTreeSet::new(),
            carrying: BTreeSet::new(),
            outage: None,
            released: BTreeMap::new(),
            late: LateTruth::default(),
        }
    }

    pub fn problem(&self) -> Option<String> {
        self.broken.clone()
    }

    /// A promise was broken; the first one counts.
    pub fn broken(&mut self, how: impl Into<String>) {
        let app = &self.app;
        self.broken.get_or_insert_with(|| format!("{app}: {}", how.into()));
    }

    /// Every instant.
    pub fn look(&mut self, org: &Org, t: u64, state: &AppState, alive: bool) {
        let quarantined = state.memory.quarantined.iter().any(|q| q.digest.as_str() == self.bad);
        let at_work = matches!(state.phase, Phase::RollingBack(_));
        // A hold says what it holds, and goes on saying it.
        let held = matches!(state.phase, Phase::Held { .. } | Phase::Stopped { .. });
        let sees = alive && t < self.read_at + 20_000;
        let watched = sees && quarantined && !at_work && !held;
        let (mut all, mut down) = (BTreeMap::new(), BTreeMap::new());
        let mut standing = BTreeSet::new();
        let (mut serving, mut carrying) = (BTreeSet::new(), BTreeSet::new());
        for machine in org.standings(&self.app) {
            *all.entry(machine.region.to_owned()).or_insert(0_u32) += 1;
            standing.insert(machine.id.to_owned());
            let started = machine.state == State::Started;
            if started {
                self.taken.remove(machine.id);
            }
            let is_back = started && machine.passes && machine.digest != Some(self.bad.as_str());
            if is_back
                && self.writes.contains_key(machine.id)
                && let Some(up) = self.regions.get_mut(machine.region)
            {
                up.get_or_insert(t);
            }
            if let Some(instance) = self.ours.get(machine.id) {
                if instance != machine.instance || (started && machine.passes) {
                    self.ours.remove(machine.id);
                } else {
                    *down.entry(machine.region.to_owned()).or_insert(0_u32) += 1;
                }
            }
            if machine.digest == Some(self.bad.as_str()) {
                carrying.insert(machine.id.to_owned());
                if started && machine.host_answers {
                    serving.insert(machine.id.to_owned());
                }
            }
        }
        // Of a total outage nothing is left to protect, once one machine was back.
        let proved = self.confirmed > 0 || self.regions.values().any(Option::is_some);
        // What was begun then is seen through, however the rollback ends.
        self.free = (proved && is_escalated(&state.phase)) || (self.free && !self.ours.is_empty());
        let share = if self.free { 1.0 } else { UNAVAILABLE };
        let allowed = |machines: u32| (f64::from(machines) * share).ceil().max(1.0);
        for (region, count) in &down {
            if f64::from(*count) > allowed(all[region]) {
                self.broken(format!(
                    "capacity: {count} of {} machines of {region} are down because of us",
                    all[region]
                ));
            }
        }
        let (count, machines) = (down.values().sum::<u32>(), all.values().sum());
        if f64::from(count) > allowed(machines) {
            self.broken(format!("capacity: {count} of {machines} machines are down because of us"));
        }
        self.told.retain(|id| carrying.contains(id));
        self.taken.retain(|id| standing.contains(id));
        self.carrying = carrying;
        self.announced(t, watched, &serving);
    }

    fn announced(&mut self, t: u64, watched: bool, serving: &BTreeSet<String>) {
        self.serving.retain(|id, _| serving.contains(id));
        for id in serving {
            let since = *self.serving.entry(id.clone()).or_insert(t);
            if self.told.contains(id) {
                continue;
            }
            if !watched {
                self.serving.insert(id.clone(), t);
            } else if t > since + TOLD_AFTER_MS {
                self.broken(format!("{id} serves the image that was rolled back, unannounced"));
            }
        }
    }

    /// Counts the time between two looks in a row that both came to something.
    fn observed(&mut self, t: u64, observation: &Observation) {
        let Ok(machines) = &observation.machines else {
            self.looked_at = None;
            return;
        };
        let gap = self.looked_at.replace(t).map_or(0, |at| t - at);
        self.read_at = t;
        let up = machines.iter().filter(|m| matches!(m.state, MachineState::Started));
        let digests: BTreeSet<_> = up.filter_map(|m| m.digest()).collect();
        for digest in digests.into_iter().filter(|_| gap <= CONTIGUOUS_MS) {
            *self.seen_ms.entry(digest.to_string()).or_default() += gap;
        }
    }

    /// A step was taken.
    pub fn decided(
        &mut self,
        t: u64,
        input: &Input,
        done: &Transition,
        (policy, beside): (&Policy, (usize, usize)),
    ) {
        if let Input::Observed(observation) = input {
            self.observed(t, observation);
        }
        self.late.decided(t, beside, (policy, done)).unwrap_or_else(|how| self.broken(how));
        for event in &done.events {
            let digest = event.release.as_ref().map(|release| release.digest.to_string());
            let digest = digest.unwrap_or_default();
            match event.kind {
                ReleaseTrusted | ReleaseBaked => {
                    let seen_ms = self.seen_ms.get(&digest).copied().unwrap_or_default();
                    if seen_ms < BAKE_S * 900 {
                        self.broken(format!("trust: after {seen_ms} ms of looking"));
                    }
                    if digest == self.bad {
                        self.broken("trust: the bad release earned some");
                    }
                }
                RollbackStarted => {
                    let label = event.release.as_ref().map(crate::model::event::ReleaseInfo::label);
                    let which = format!("{} {digest}", label.unwrap_or_default());
                    let count = self.rollbacks.entry(which.clone()).or_default();
                    *count += 1;
                    // What a person orders is theirs to answer for.
                    let by_itself = !matches!(event.reason, Some(Reason::OrderedBy { .. }));
                    if !by_itself {
                        // The daemon may have to go back from it, or from what they left.
                        *count = 0;
                    }
                    if by_itself && *count > 1 {
                        self.broken(format!("{which} is rolled back twice"));
                    }
                    let late = self.late.undoes(t, event, (policy, beside.0));
                    if let Some(right) = late.filter(|_| by_itself) {
                        right.unwrap_or_else(|how| self.broken(how));
                        // From now on it is what must not be left anywhere.
                        self.bad.clone_from(&digest);
                    } else if by_itself && self.well.contains(&digest) {
                        self.erred = self.may_err(t);
                        if !self.erred {
                            self.broken(format!("{which} is well and is rolled back"));
                        }
                    }
                    self.replaced_by_hand |= !by_itself;
                    self.regions.clear();
                    self.confirmed = 0;
                }
                RollbackRegionConfirmed => self.confirmed += 1,
                RollbackCompleted => self.told.clear(),
                // What was not put right is news when it is found again.
                RollbackStopped => {
                    self.rollbacks.clear();
                    self.stopped_at = t;
                }
                _ => {}
            }
            let reason = format!("{:?}", event.reason);
            let known = self.carrying.iter().chain(&self.taken);
            // Mixed images are told by their digests.
            let names = |id: &&String| reason.contains(*id) || reason.contains(&self.bad);
            self.named.extend(known.filter(names).cloned());
            self.told.extend(self.carrying.iter().filter(|id| reason.contains(*id)).cloned());
            if tells(event.kind) {
                self.told.extend(self.serving.keys().cloned());
            }
        }
    }

    /// Nobody can tell a release that came with an outage from a bad one, where too few others see it.
    fn may_err(&self, t: u64) -> bool {
        self.outage.is_some_and(|(until, witnesses)| {
            t < until.saturating_add(OUTAGE_LASTS_MS) && witnesses < WITNESSES
        })
    }

    pub fn before_write(&self, sim: &Sim, machine: &MachineId) -> Before {
        sim.with(|org| {
            let found = org.standings(&self.app).find(|m| m.id == machine.as_str());
            Before {
                id: machine.to_string(),
                region: found.map(|m| m.region.to_owned()).unwrap_or_default(),
                digest: found.and_then(|m| m.digest.map(str::to_owned)),
                release: found.and_then(|m| m.release),
                up: found.is_some_and(|m| m.state == State::Started),
            }
        })
    }

    /// A write was carried out.
    pub fn wrote(
        &mut self,
        sim: &Sim,
        (t, state): (u64, &AppState),
        before: &Before,
        (call, lease): (&Call, Option<&Lease>),
        answer: &Answer,
    ) {
        let id = &before.id;
        let holds = lease.is_some_and(|l| sim.with(|org| org.holds(&self.app, id, &l.nonce)));
        if !holds {
            self.broken(format!("lease: {id} is written to without a live lease of ours"));
        }
        let Answer::Updated(Ok(instance)) = answer else { return };
        if matches!(call, Call::Update(_)) {
            let writes = self.writes.entry(id.clone()).or_default();
            *writes += 1;
            if *writes > WRITES_MAX || self.errands > ERRANDS_MAX {
                let (writes, errands) = (*writes, self.errands);
                self.broken(format!("bounds: {writes} writes to {id}, {errands} errands"));
            }
        }
        if !self.is_to_be_replaced(state, before.digest.as_deref()) {
            self.broken(format!("newer: {id} is written to, and runs {:?}", before.digest));
        }
        if before.up {
            self.ours.insert(id.clone(), instance.as_str().to_owned());
            self.taken.insert(id.clone());
        }
        self.region_of.insert(id.clone(), before.region.clone());
        let rollback = match &state.phase {
            Phase::RollingBack(rollback) | Phase::RolledBack(rollback) => rollback,
            // What was under way when it was stopped is seen through.
            _ if t < self.stopped_at + SEEN_THROUGH_MS => return,
            _ => return self.broken(format!("{id} is written to outside a rollback")),
        };
        let own = |version: u64| state.memory.own_releases.iter().any(|own| own.0 == version);
        if let Some(version) = before.release.filter(|v| *v > rollback.after.0 && !own(*v)) {
            self.broken(format!("newer: {id} carries v{version} and is written to"));
        }
        let read_by = t.saturating_sub(LEDGER_READ_MS);
        let wanted = |version: u64| {
            let mut releases = sim.releases(&self.app).into_iter();
            releases.any(|entry| {
                entry.version == version && matches!(&*entry.status, "pending" | "running")
            })
        };
        let newer = self.released.iter().find(|(version, at)| {
            **version > rollback.after.0 && **at < read_by && wanted(**version)
        });
        if let Some((version, _)) = newer {
            self.broken(format!("newer: v{version} is in the ledger, and {id} is written to"));
        }
        if rollback.completed_at.is_some() {
            return;
        }
        if !self.regions.contains_key(&before.region) {
            self.may_be_begun(sim, t, &before.region, rollback.escalated);
            self.regions.insert(before.region.clone(), None);
        }
    }

    /// Whether a machine's image is the bad one, or what a person wants to be replaced.
    fn is_to_be_replaced(&self, state: &AppState, digest: Option<&str>) -> bool {
        let (Phase::RollingBack(rollback) | Phase::RolledBack(rollback)) = &state.phase else {
            // What was under way when it was stopped is seen through.
            return digest == Some(&self.bad) || self.replaced_by_hand || self.erred;
        };
        let quarantined = &state.memory.quarantined;
        let is_quarantined = quarantined.iter().any(|old| Some(old.digest.as_str()) == digest);
        let Some(by_hand) = &rollback.by_hand else {
            let erred = is_quarantined || digest == Some(rollback.bad.digest.as_str());
            return digest == Some(&self.bad) || (self.erred && erred);
        };
        let mut all = by_hand.also_bad.iter().chain([&rollback.bad.digest]);
        all.any(|bad| Some(bad.as_str()) == digest) || is_quarantined
    }

    /// A region is touched for the first time: the first has proved that going back helps, and those
    /// of the steps before have machines that are back.
    fn may_be_begun(&mut self, sim: &Sim, t: u64, region: &str, escalated: bool) {
        let reached: BTreeSet<String> = sim.with(|org| {
            let up = org.standings(&self.app).filter(|machine| machine.host_answers);
            up.map(|machine| machine.region.to_owned()).collect()
        });
        self.regions.retain(|region, _| reached.contains(region));
        let mut ups = self.regions.values().flatten();
        // Of a total outage one machine that is up for a moment is proof enough. A clock that is set makes a wait shorter than it was, and nobody can tell.
        let long = |up: &u64| *up <= self.clock_set_at || t >= up + CONFIRM_LEAST_MS;
        let is_proved =
            self.confirmed > 0 || (escalated && ups.any(long)) || self.regions.is_empty();
        if !is_proved {
            self.broken(format!("order: {region} is touched before the first was confirmed"));
        }
        // The second and the third region are steps of their own; one that just came back is not seen.
        let apart = !escalated && !self.meddled && t > self.hosts_back_at;
        let third = self.regions.len() == 2 && apart;
        let left = third.then(|| sim.with(|org| self.still_bad(org))).flatten();
        if let Some(id) = left {
            self.broken(format!("order: {region} is touched, and {id} is not updated yet"));
        }
    }

    /// A machine of a region that was written to, which serves the bad image.
    fn still_bad(&self, org: &Org) -> Option<String> {
        let mut bad = org.standings(&self.app).filter(|machine| {
            self.regions.contains_key(machine.region)
                && machine.digest == Some(self.bad.as_str())
                && machine.state == State::Started
                && machine.host_answers
        });
        bad.next().map(|machine| machine.id.to_owned())
    }

    /// Whether no machine runs the bad image, or is to be started by us.
    pub fn nothing_bad_serves(&self, sim: &Sim) -> bool {
        self.ours.is_empty()
            && self.taken.is_empty()
            && sim.with(|org| {
                org.standings(&self.app).all(|machine| machine.digest != Some(self.bad.as_str()))
            })
    }

    /// Half an hour after the last disturbance something is left: it has to be known.
    pub fn at_the_end(&mut self, sim: &Sim, state: &AppState) {
        // What a person puts back may be too bad to come up: then it is paged, and waits for them.
        let theirs = |id: &String| self.replaced_by_hand && self.named.contains(id);
        if let Some(id) = self.ours.keys().find(|id| !theirs(id)).cloned() {
            return self.broken(format!("end: {id} is down because of us"));
        }
        let left = self.taken.iter().find(|id| !self.named.contains(*id));
        if let Some(id) = left.cloned() {
            return self.broken(format!("end: {id} was taken down by us and never came up again"));
        }
        let serving: Vec<String> = sim.with(|org| {
            let up = org.standings(&self.app).filter(|machine| machine.state == State::Started);
            let bad = up.filter(|machine| machine.digest == Some(self.bad.as_str()));
            bad.map(|machine| machine.id.to_owned()).collect()
        });
        let held = matches!(state.phase, Phase::Held { .. } | Phase::Stopped { .. });
        let named = self.meddled && (held || serving.iter().all(|id| self.named.contains(id)));
        // What a person put back is theirs.
        let wanted = match &state.phase {
            Phase::RollingBack(rollback) => {
                rollback.by_hand.is_some() && rollback.target.digest.as_str() == self.bad
            }
            Phase::Watching(watch) => {
                watch.vetoed.is_some() && watch.revision.digest.as_str() == self.bad
            }
            _ => false,
        };
        if !serving.is_empty() && !named && !wanted {
            let word = state.phase.word();
            self.broken(format!("end: {serving:?} serve the bad image, the app is {word}"));
        }
    }
}
