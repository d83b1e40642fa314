//! What must hold in every hour, read from the platform itself at every instant, from what is
//! written to it, and from what is told; never from what the daemon believes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use tokio::time::Instant;
use waveoff::{
    model::{AppName, Event, EventKind::*, Machine, MachineState, event::ReleaseInfo},
    notify::text,
    ports::Lease,
    sim::{Sim, State},
    web::view::Phase,
};

use super::told::{Late, tells};
use crate::mortal::Witness;

/// Whose leases and releases are ours.
pub const US: &str = "waveoff@tokens.fly.io";
/// At most this share of a region is down because of us; one machine always may be.
const UNAVAILABLE: f64 = 0.33;
/// People know of an image that was rolled back and serves after a minute; an idle round comes on
/// top, and what lists are late.
const TOLD_AFTER_MS: u64 = 60_000 + 20_000;
/// Two looks further apart than this did not see what was between them.
const CONTIGUOUS_MS: u64 = 60_000;
/// A newer release in the ledger was there to be read for so long.
const LEDGER_READ_MS: u64 = 30_000;
/// The calls before a write may take so long, after the rollback was stopped.
const SEEN_THROUGH_MS: u64 = 150_000;
/// More events of an app than this in an hour are noise that nobody reads.
const EVENTS_MAX: u32 = 250;
/// Writes to one machine.
const WRITES_MAX: u32 = 60;

/// A machine as it really is.
#[derive(Clone)]
struct Found {
    id: String,
    region: String,
    instance: String,
    digest: Option<String>,
    release: Option<u64>,
    up: bool,
    passes: bool,
    reachable: bool,
}

/// What is known of one app.
#[derive(Default)]
struct Known {
    /// Images that were rolled back, and are not trusted since.
    undone: BTreeSet<String>,
    /// The release's label and digest → how often it was rolled back.
    rollbacks: BTreeMap<String, u32>,
    /// A rollback is under way, since when; when the last was stopped.
    since: Option<u64>,
    stopped_at: Option<u64>,
    /// Regions that it wrote to, in order, and how many were confirmed.
    touched: Vec<String>,
    confirmed: usize,
    /// It undoes a failure of nearly everything.
    is_outage: bool,
    /// Machines that are down because of us, with the instance that is to come up.
    ours: BTreeMap<String, String>,
    writes: BTreeMap<String, u32>,
    /// Machines that run an image that was rolled back, those that serve it, since when; and
    /// those told of, for as long as no list shows another on them.
    running: BTreeMap<String, String>,
    serving: BTreeMap<String, (u64, String)>,
    told: BTreeMap<String, String>,
    /// What lists said last that machines run.
    listed: BTreeMap<String, String>,
    /// Milliseconds for which an image was looked at, and when machines were listed last.
    seen_ms: BTreeMap<String, u64>,
    listed_at: Option<u64>,
    before: Option<Found>,
    /// When somebody's releases were made.
    released: BTreeMap<u64, u64>,
    events: u32,
    late: Late,
}

#[derive(Default)]
struct Book {
    apps: BTreeMap<String, Known>,
    /// Messages that were recorded.
    ids: BTreeSet<String>,
    /// Until then a part of the platform is not to be seen.
    hidden_until: u64,
    /// The latest that any list was so far.
    late_ms: u64,
    broken: Option<String>,
    log: Vec<(u64, String)>,
}

/// Digests of images that work, and of those that come up and look well while nobody asks them for
/// anything: these may be baked.
struct Images {
    well: BTreeSet<String>,
    up: BTreeSet<String>,
}

/// The witness of one hour.
pub struct Truth {
    sim: Sim,
    began: Instant,
    bake_ms: u64,
    images: Images,
    book: Mutex<Book>,
}

impl Truth {
    pub fn new(sim: &Sim, well: &[String], up: &[String], bake_ms: u64) -> Self {
        let digests = |images: &[String]| {
            images.iter().map(|image| sim.digest(image).unwrap()).collect::<BTreeSet<_>>()
        };
        let well = digests(well);
        let images = Images { up: &well | &digests(up), well };
        Self { sim: sim.clone(), began: Instant::now(), bake_ms, images, book: Mutex::default() }
    }

    fn t(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// Something that belongs into the timeline.
    pub fn note(&self, text: String) {
        let t = self.t();
        self.book.lock().unwrap().log.push((t, text));
    }

    /// The first promise that was broken.
    pub fn problem(&self) -> Option<String> {
        self.book.lock().unwrap().broken.clone()
    }

    /// Until then nobody is blamed for not having seen something.
    pub fn hidden_for(&self, ms: u64) {
        let until = self.t() + ms;
        let mut book = self.book.lock().unwrap();
        book.hidden_until = book.hidden_until.max(until);
    }

    /// Lists are late by so much from now on.
    pub fn lists_are_late(&self, ms: u64) {
        let mut book = self.book.lock().unwrap();
        book.late_ms = book.late_ms.max(ms);
    }

    /// Somebody made a release.
    pub fn released(&self, app: &str, version: u64) {
        let t = self.t();
        let mut book = self.book.lock().unwrap();
        book.apps.entry(app.to_owned()).or_default().released.insert(version, t);
    }

    /// Seconds since the beginning, and what happened.
    pub fn timeline(&self) -> String {
        let book = self.book.lock().unwrap();
        let line = |(t, text): &(u64, String)| format!("{:>8.1} {text}\n", *t as f64 / 1000.0);
        book.log.iter().map(line).collect()
    }

    /// Where its machines really stand, for people.
    pub fn standings(&self, app: &str) -> String {
        self.sim.with(|org| {
            let lines = org.standings(app).map(|one| {
                let digest = one.digest.unwrap_or_default().chars().skip(7).take(8);
                let (id, region, state) = (one.id, one.region, one.state.as_str());
                let digest: String = digest.collect();
                format!("{id} in {region} runs {digest} as v{:?}: {state}\n", one.release)
            });
            lines.collect()
        })
    }

    fn machines(&self, app: &str) -> Vec<Found> {
        self.sim.with(|org| {
            let all = org.standings(app).map(|machine| Found {
                id: machine.id.to_owned(),
                region: machine.region.to_owned(),
                instance: machine.instance.to_owned(),
                digest: machine.digest.map(str::to_owned),
                release: machine.release,
                up: machine.state == State::Started,
                passes: machine.passes,
                reachable: machine.host_answers,
            });
            all.collect()
        })
    }

    /// Every instant. `phase`: where the app says that it is, for what a hold or a rollback tells
    /// of for as long as it lasts; `None`: the daemon is away.
    pub fn look(&self, app: &str, phase: impl FnOnce() -> Option<Phase>) {
        let t = self.t();
        let machines = self.machines(app);
        let mut book = self.book.lock().unwrap();
        let (hidden, late_ms) = (t < book.hidden_until, book.late_ms);
        let known = book.apps.entry(app.to_owned()).or_default();
        let broken = known.capacity(app, &machines);
        let up: BTreeSet<String> = machines
            .iter()
            .filter(|one| one.up && one.reachable)
            .map(|one| one.id.clone())
            .collect();
        known.running = machines
            .into_iter()
            .filter_map(|one| Some((one.id, one.digest?)))
            .filter(|(_, digest)| known.undone.contains(digest))
            .collect();
        let running = &known.running;
        let serving = running.iter().filter(|(id, _)| up.contains(*id));
        let serving: BTreeMap<_, _> =
            serving.map(|(id, digest)| (id.clone(), digest.clone())).collect();
        known.serving.retain(|id, (_, digest)| serving.get(id) == Some(digest));
        let sees = !hidden && known.listed_at.is_some_and(|at| t < at + 20_000);
        let busy = serving.is_empty()
            || matches!(
                phase(),
                None | Some(
                    Phase::Held | Phase::CountingDown | Phase::RollingBack | Phase::Confirming
                )
            );
        let mut silent = None;
        for (id, digest) in serving {
            let (since, digest) = known.serving.entry(id.clone()).or_insert((t, digest));
            if known.told.get(&id) == Some(digest) {
                continue;
            }
            if busy || !sees {
                *since = t;
            } else if t > *since + TOLD_AFTER_MS + late_ms {
                silent = Some(id);
            }
        }
        let silent = silent
            .map(|id| format!("{app}: {id} serves an image that was rolled back, unannounced"));
        for problem in broken.into_iter().chain(silent) {
            book.breaks(t, problem);
        }
    }

    /// What is left of images that were rolled back, and of what we took down; `None`: nothing that
    /// people do not know of.
    pub fn left(&self, app: &str, phase: Option<Phase>) -> Option<String> {
        let book = self.book.lock().unwrap();
        let known = book.apps.get(app)?;
        if let Some(id) = known.ours.keys().next() {
            return Some(format!("{app}: {id} is down because of us"));
        }
        let is_told =
            |id: &str, digest: &str| known.told.get(id).is_some_and(|told| told == digest);
        let mut serving = known.serving.iter();
        let untold = serving.find(|(id, (_, digest))| !is_told(id, digest)).map(|(id, _)| id);
        match (phase, untold) {
            (Some(Phase::CountingDown | Phase::RollingBack | Phase::Confirming) | None, _) => {
                Some(format!("{app} is {phase:?}"))
            }
            (Some(Phase::Held), _) | (_, None) => None,
            (_, Some(id)) => Some(format!("{app}: {id} serves an image that was rolled back")),
        }
    }
}

impl Book {
    /// A promise was broken; the first one counts.
    fn breaks(&mut self, t: u64, how: String) {
        if self.broken.is_none() {
            self.log.push((t, format!("?? {how}")));
            self.broken = Some(how);
        }
    }
}

impl Known {
    fn capacity(&mut self, app: &str, machines: &[Found]) -> Option<String> {
        let (mut all, mut down) = (BTreeMap::new(), BTreeMap::new());
        for one in machines {
            *all.entry(&one.region).or_insert(0_u32) += 1;
            let Some(instance) = self.ours.get(&one.id) else { continue };
            if *instance != one.instance || (one.up && one.passes) {
                self.ours.remove(&one.id);
            } else {
                *down.entry(&one.region).or_insert(0_u32) += 1;
            }
        }
        self.ours.retain(|id, _| machines.iter().any(|one| one.id == *id));
        down.into_iter().find_map(|(region, count)| {
            let of = all.get(region).copied().unwrap_or_default();
            let allowed = (f64::from(of) * UNAVAILABLE).ceil().max(1.0);
            let too_many = f64::from(count) > allowed;
            too_many.then(|| {
                format!("{app}: {count} of {of} machines of {region} are down because of us")
            })
        })
    }

    /// Counts the time between two lists.
    fn listed(&mut self, t: u64, machines: &[Machine]) {
        let gap = self.listed_at.replace(t).map_or(0, |at| t - at);
        let digests = machines.iter().filter_map(|one| Some((one.id.to_string(), one.digest()?)));
        self.listed.extend(digests.map(|(id, digest)| (id, digest.to_string())));
        let listed = &self.listed;
        self.told.retain(|id, told| listed.get(id).is_none_or(|digest| digest == told));
        let up = machines.iter().filter(|one| matches!(one.state, MachineState::Started));
        let digests: BTreeSet<_> = up.filter_map(Machine::digest).collect();
        for digest in digests.into_iter().filter(|_| gap <= CONTIGUOUS_MS) {
            *self.seen_ms.entry(digest.to_string()).or_default() += gap;
        }
    }

    /// What is wrong with an event, if anything.
    fn take(&mut self, t: u64, event: &Event, bake_ms: u64, images: &Images) -> Vec<String> {
        let mut wrong = Vec::new();
        self.events += 1;
        if self.events > EVENTS_MAX {
            wrong.push(format!("{} events", self.events));
        }
        let digest = event.release.as_ref().map(|release| release.digest.to_string());
        let digest = digest.unwrap_or_default();
        let label = event.release.as_ref().map(ReleaseInfo::label).unwrap_or_default();
        wrong.extend(self.late.take(event, &digest));
        match event.kind {
            ReleaseTrusted | ReleaseBaked => {
                let seen_ms = self.seen_ms.get(&digest).copied().unwrap_or_default();
                if seen_ms * 10 < bake_ms * 9 {
                    wrong.push(format!("{label} earned trust after {seen_ms} ms of looking"));
                }
                let fits = if event.kind == ReleaseTrusted { &images.well } else { &images.up };
                if !fits.contains(&digest) {
                    wrong.push(format!("{label} earned trust, and is bad"));
                }
                if event.kind == ReleaseTrusted {
                    self.undone.remove(&digest);
                }
            }
            RollbackStarted => {
                let count = self.rollbacks.entry(format!("{label} {digest}")).or_default();
                *count += 1;
                if *count > 1 {
                    wrong.push(format!("{label} is rolled back twice"));
                }
                if images.well.contains(&digest) {
                    wrong.push(format!("{label} is well and is rolled back"));
                }
                let target = event.known_good.as_ref().map(|good| good.digest.to_string());
                let target = target.unwrap_or_default();
                let seen_ms = self.seen_ms.get(&target).copied().unwrap_or_default();
                if !images.up.contains(&target) || seen_ms * 10 < bake_ms * 9 {
                    wrong.push(format!("{target} is gone back to, and was seen for {seen_ms} ms"));
                }
                self.undone.insert(digest.clone());
                self.since = Some(t);
                self.stopped_at = None;
                self.touched.clear();
                self.confirmed = 0;
                let mut evidence = event.evidence.iter();
                self.is_outage =
                    evidence.any(|one| one.share_lately().is_some_and(|share| share >= 0.9));
            }
            RollbackRegionConfirmed => self.confirmed += 1,
            RollbackCompleted => {
                self.since = None;
                self.told.clear();
            }
            RollbackStopped => {
                if self.since.take().is_some() {
                    self.stopped_at = Some(t);
                }
                // What was not put right may be news again.
                self.rollbacks.clear();
            }
            _ => {}
        }
        let reason = format!("{:?}", event.reason);
        // Told as they were listed last.
        let named = self.listed.iter().filter(|(id, _)| reason.contains(*id));
        self.told.extend(named.map(|(id, runs)| (id.clone(), runs.clone())));
        if tells(event) {
            let of = self.running.iter().filter(|(_, runs)| **runs == digest);
            self.told.extend(of.map(|(id, runs)| (id.clone(), runs.clone())));
        }
        wrong
    }
}

impl Witness for Truth {
    fn listed(&self, app: &AppName, machines: &[Machine]) {
        let t = self.t();
        let mut book = self.book.lock().unwrap();
        book.apps.entry(app.to_string()).or_default().listed(t, machines);
    }

    fn writes(&self, lease: &Lease) {
        let app = lease.app.as_str();
        let found = self.machines(app).into_iter().find(|one| one.id == lease.machine.as_str());
        let mut book = self.book.lock().unwrap();
        book.apps.entry(app.to_owned()).or_default().before = found;
    }

    fn wrote(&self, lease: &Lease) {
        let t = self.t();
        let app = lease.app.as_str();
        let machines = self.machines(app);
        let now = machines.iter().find(|one| one.id == lease.machine.as_str()).cloned();
        let held = self.sim.with(|org| org.holds(app, lease.machine.as_str(), &lease.nonce));
        let ledger = self.sim.releases(app);
        let mut book = self.book.lock().unwrap();
        let known = book.apps.entry(app.to_owned()).or_default();
        let (Some(before), Some(now)) = (known.before.take(), now) else { return };
        if before.instance == now.instance {
            return;
        }
        let mut wrong = Vec::new();
        let id = before.id.clone();
        if !held {
            wrong.push(format!("{id} is written to without a live lease of ours"));
        }
        let writes = known.writes.entry(id.clone()).or_default();
        *writes += 1;
        if *writes > WRITES_MAX {
            wrong.push(format!("{writes} writes to {id}"));
        }
        let bad = before.digest.as_ref().is_some_and(|digest| known.undone.contains(digest));
        if !bad {
            wrong.push(format!("{id} is written to, and runs {:?}", before.digest));
        }
        if before.up {
            known.ours.insert(id.clone(), now.instance);
        }
        match (known.since, known.stopped_at) {
            (Some(since), _) => {
                let released = known.released.iter().filter(|(_, at)| **at > since);
                let newer: Vec<(u64, u64)> = released.map(|(one, at)| (*one, *at)).collect();
                if before.release.is_some_and(|own| newer.iter().any(|(one, _)| *one == own)) {
                    wrong.push(format!("{id} carries a newer release and is written to"));
                }
                let goes_on = |version: u64| {
                    ledger.iter().any(|entry| {
                        entry.version == version
                            && matches!(entry.status.as_str(), "pending" | "running")
                    })
                };
                let read_by = t.saturating_sub(LEDGER_READ_MS);
                let old = newer.iter().find(|(one, at)| *at < read_by && goes_on(*one));
                if let Some((version, _)) = old {
                    wrong.push(format!("v{version} is in the ledger, and {id} is written to"));
                }
                if !known.touched.contains(&before.region) {
                    // Of a total outage one machine that is back is proof enough.
                    let is_proved = known.confirmed > 0
                        || known.touched.is_empty()
                        || (known.is_outage && known.ours.is_empty());
                    if !is_proved {
                        let region = &before.region;
                        wrong.push(format!("{region} is touched before the first was confirmed"));
                    }
                    known.touched.push(before.region.clone());
                }
            }
            // What was under way when it was stopped is seen through.
            (None, Some(at)) if t < at + SEEN_THROUGH_MS => {}
            // What comes back after a rollback is put right.
            (None, _) if !known.undone.is_empty() => {}
            (None, _) => wrong.push(format!("{id} is written to outside a rollback")),
        }
        wrong.extend(known.capacity(app, &machines));
        book.log.push((t, format!("WRITE {app} {id} in {}", before.region)));
        for how in wrong {
            book.breaks(t, format!("{app}: {how}"));
        }
    }

    fn recorded(&self, app: &AppName, events: &[(String, Event)]) {
        let t = self.t();
        let mut book = self.book.lock().unwrap();
        for (id, event) in events {
            if !book.ids.insert(id.clone()) {
                continue;
            }
            let reason = event.reason.as_ref().map(text::reason);
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let label = event.release.as_ref().map(ReleaseInfo::label).unwrap_or_default();
            let kind = event.kind.as_str();
            book.log.push((t, format!("** {app} {kind} {label}{reason}")));
            let known = book.apps.entry(app.to_string()).or_default();
            for how in known.take(t, event, self.bake_ms, &self.images) {
                book.breaks(t, format!("{app}: {how}"));
            }
        }
    }
}
