//! One machine: what the platform's list shows of it, and what its metrics page counts.

use std::{collections::BTreeMap, collections::VecDeque, time::Duration};

use jiff::Timestamp;
use waveoff::{
    model::{
        Check, CheckStatus, Digest, ExitEvent, HostStatus, ImageRef, InstanceId, Machine,
        MachineState, ReleaseVersion,
    },
    sources::pages::parse::Series,
};

use super::scene::{REGIONS, region_of};

/// The releases before and after the deploy.
pub const OLD: u64 = 41;
pub const NEW: u64 = 42;
/// When the deploy begins.
const BEGINS: i64 = 1_772_445_600;
/// When what was there before the deploy was started.
const LONG_AGO: f64 = -86_400.0;
/// How often a metrics server reads a page, and how late its readings can be asked for.
const SERVER_EVERY_S: f64 = 15.0;
const SERVER_LATE_S: f64 = 15.0;
/// Over how long a server's rates are, and the least that is divided by.
const RATE_S: f64 = 60.0;
const RATE_MIN: f64 = 0.2;
/// So many requests the proxy has at work on one machine at most.
const IN_FLIGHT_MAX: f64 = 200.0;
/// Exits that the platform still shows.
const EXITS_SHOWN: usize = 5;

/// The time so many seconds after the deploy began.
pub fn at(seconds: f64) -> Timestamp {
    let begins = Timestamp::from_second(BEGINS).unwrap_or_default();
    let since = jiff::SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    begins.checked_add(since).unwrap_or(begins)
}

pub fn digest(version: u64) -> Digest {
    Digest::new(format!("sha256:{version:064}"))
}

pub fn image(version: u64) -> ImageRef {
    ImageRef {
        registry: "registry.fly.io".to_owned(),
        repository: "api".to_owned(),
        tag: Some(format!("v{version}")),
        digest: Some(digest(version)),
    }
}

/// What a page counts: requests and failures, of one endpoint and of the rest.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    usual: (f64, f64),
    rare: (f64, f64),
    slow: f64,
}

/// What a metrics server read of a machine.
#[derive(Clone, Copy, Debug)]
struct Scrape {
    at: f64,
    /// When what it is of started.
    of: f64,
    told: Told,
    in_flight: f64,
}

/// Requests, failures among them, and slow ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    pub n: f64,
    pub k: f64,
    pub slow: f64,
}

impl Told {
    fn since(self, old: Self) -> Self {
        Self { n: self.n - old.n, k: self.k - old.k, slow: self.slow - old.slow }
    }
}

pub struct Host {
    machine: Machine,
    number: usize,
    pub started: f64,
    /// When it was given what it runs.
    pub placed: f64,
    /// From when on it serves.
    up_from: f64,
    counts: Counts,
    /// Requests that it has taken and not answered.
    in_flight: f64,
    /// How likely it is that a request of ours fails now.
    pub probe_fails: f64,
    /// What a metrics server read of it.
    scrapes: VecDeque<Scrape>,
    /// The last reading that was told.
    told: Option<Told>,
    /// What ran there before, if anything of it may still be told.
    before: Option<Gone>,
    /// When it was looked at last.
    listed: f64,
}

/// What a machine ran before.
struct Gone {
    instance: InstanceId,
    started: f64,
    /// When it was listed last, and when the next one started.
    listed: f64,
    ended: f64,
    /// Its last reading that was told.
    told: Option<Told>,
}

/// What is told late of it, and the time that lies in.
pub struct ToldOfBefore {
    pub instance: InstanceId,
    pub told: Told,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Host {
    pub fn new(number: usize) -> Self {
        let mut host = Self {
            machine: listed(number),
            number,
            started: LONG_AGO,
            placed: LONG_AGO,
            up_from: LONG_AGO,
            counts: Counts::default(),
            in_flight: 0.0,
            probe_fails: 0.0,
            scrapes: VecDeque::new(),
            told: None,
            before: None,
            listed: LONG_AGO,
        };
        host.run(OLD, LONG_AGO, LONG_AGO);
        host
    }

    pub fn is_new(&self) -> bool {
        self.machine.release == Some(ReleaseVersion(NEW))
    }

    pub fn is_up(&self, t: f64) -> bool {
        t >= self.up_from
    }

    /// It is given the new release, and serves from `up_from` on.
    pub fn replace(&mut self, t: f64, up_from: f64) {
        self.run(NEW, t, up_from);
    }

    fn run(&mut self, version: u64, t: f64, up_from: f64) {
        self.before = Some(Gone {
            instance: self.machine.instance.clone(),
            started: self.started,
            listed: self.listed,
            ended: up_from,
            told: self.told,
        });
        self.machine.release = Some(ReleaseVersion(version));
        self.machine.image = image(version);
        self.machine.instance = format!("{}-{version}", self.machine.id).as_str().into();
        self.machine.placed_at = Some(at(t));
        self.placed = t;
        self.machine.exits.clear();
        self.start(t, up_from);
    }

    /// Its process is started anew, because it ended or because somebody wants it.
    pub fn restart(&mut self, t: f64, up_from: f64, crashed: bool) {
        let ended = ExitEvent {
            at: at(t),
            exit_code: i64::from(crashed),
            oom_killed: false,
            requested_stop: !crashed,
            started_at: Some(at(self.started)),
        };
        self.machine.exits.insert(0, ended);
        self.machine.exits.truncate(EXITS_SHOWN);
        self.start(t, up_from);
    }

    fn start(&mut self, t: f64, up_from: f64) {
        self.started = up_from;
        self.up_from = up_from;
        self.counts = Counts::default();
        self.in_flight = 0.0;
        self.told = None;
        self.machine.started_at = Some(at(up_from));
        self.machine.updated_at = at(t);
        self.machine.checks.clear();
    }

    /// What its health check says from its second second on.
    pub fn check(&mut self, t: f64, fails: bool) {
        if t >= self.up_from + 1.0 && self.machine.checks.is_empty() {
            let status = if fails { CheckStatus::Critical } else { CheckStatus::Passing };
            self.machine.checks.push(Check {
                name: "http".to_owned(),
                status,
                output: String::new(),
                changed_at: Some(at(t)),
                interval: Some(Duration::from_secs(5)),
                grace: None,
            });
        }
    }

    /// Adds requests and failures: of the usual endpoints, and of the rare one.
    pub fn count(&mut self, usual: (f64, f64), rare: (f64, f64)) {
        let counts = &mut self.counts;
        counts.usual = (counts.usual.0 + usual.0, counts.usual.1 + usual.1);
        counts.rare = (counts.rare.0 + rare.0, counts.rare.1 + rare.1);
    }

    /// Answers to slow requests, among those counted.
    pub fn count_slow(&mut self, slow: f64) {
        self.counts.slow += slow;
    }

    /// So many requests are at work in this second.
    pub fn is_at(&mut self, in_flight: f64) {
        self.in_flight = in_flight;
    }

    /// So many more are taken, and none is answered: as many as the proxy passes on.
    pub fn hangs(&mut self, more: f64) {
        self.in_flight = (self.in_flight + more).min(IN_FLIGHT_MAX);
    }

    /// As the platform lists it.
    pub fn listed(&self, t: f64) -> Machine {
        let mut machine = self.machine.clone();
        machine.state =
            if self.is_up(t) { MachineState::Started } else { MachineState::parse("starting") };
        machine
    }

    /// Its metrics page.
    pub fn page(&self) -> Vec<Series> {
        let series = |name: &str, path: Option<&str>, value: f64| Series {
            name: name.to_owned(),
            labels: path.map(|path| ("path".to_owned(), path.to_owned())).into_iter().collect(),
            value,
        };
        let started = at(self.started).as_duration().as_secs_f64();
        let mut page = vec![series("process_start_time_seconds", None, started)];
        for (path, (n, k)) in [("/", self.counts.usual), ("/rare", self.counts.rare)] {
            if n > 0.0 || path == "/" {
                page.push(series("requests_total", Some(path), n));
            }
            // The first failure makes the counter.
            if k > 0.0 {
                page.push(series("errors_total", Some(path), k));
            }
        }
        page
    }

    /// A metrics server reads it, each machine at a moment of its own.
    pub fn scraped(&mut self, t: f64) {
        let phase = 2.5 * super::world::to_f64(self.number);
        if !self.is_up(t) || (t - phase).rem_euclid(SERVER_EVERY_S) >= 1.0 {
            return;
        }
        let Counts { usual, rare, slow } = self.counts;
        let told = Told { n: usual.0 + rare.0, k: usual.1 + rare.1, slow };
        self.scrapes.push_back(Scrape { at: t, of: self.started, told, in_flight: self.in_flight });
        if self.scrapes.len() > 10 {
            self.scrapes.pop_front();
        }
    }

    /// What can be asked for at `t` already of what runs since `of`, the newest first.
    fn ripe(&self, t: f64, of: f64) -> impl Iterator<Item = &Scrape> {
        let is_its = move |scrape: &&Scrape| scrape.of.to_bits() == of.to_bits();
        let ripe = move |scrape: &&Scrape| scrape.at <= t - SERVER_LATE_S;
        self.scrapes.iter().rev().filter(is_its).filter(ripe)
    }

    /// What a metrics server tells at `t` that it did not tell before. The first reading of a process is
    /// a starting point.
    pub fn told_late(&mut self, t: f64) -> Told {
        self.listed = t;
        let Some(now) = self.ripe(t, self.started).next().map(|scrape| scrape.told) else {
            return Told::default();
        };
        self.told.replace(now).map_or_else(Told::default, |old| now.since(old))
    }

    /// What it tells at `t` of what ran there before, that began while that was listed and ended before
    /// the next one started.
    pub fn told_of_before(&mut self, t: f64) -> Option<ToldOfBefore> {
        let gone = self.before.as_ref()?;
        let ripe: Vec<Scrape> =
            self.ripe(t, gone.started).filter(|one| one.at <= gone.ended).copied().collect();
        let told_to = gone.told?;
        let new = ripe.iter().take_while(|one| one.told.n > told_to.n).count();
        let (first, last) = (ripe.get(new)?.at, *ripe.first().filter(|_| new > 0)?);
        let known = first < gone.listed;
        let told = last.told.since(told_to);
        let instance = gone.instance.clone();
        if let Some(gone) = &mut self.before {
            gone.told = Some(last.told);
        }
        known.then(|| ToldOfBefore { instance, told, from: at(first), to: at(last.at) })
    }

    /// What the preset `hang` comes to: for how long requests wait, by those at work and those answered in a
    /// second of the last minute, where they always waited for less than a second.
    pub fn waits_s(&self, t: f64) -> Option<f64> {
        let now = self.ripe(t, self.started).next()?;
        let first = self
            .ripe(t, self.started)
            .take_while(|scrape| scrape.at > t - SERVER_LATE_S - RATE_S)
            .last()?;
        let passed = now.at - first.at;
        let rate = if passed > 0.0 { (now.told.n - first.told.n) / passed } else { 0.0 };
        Some(now.in_flight / rate.max(RATE_MIN))
    }
}

/// A machine with nothing on it yet.
fn listed(number: usize) -> Machine {
    Machine {
        app: "api".into(),
        id: format!("m{number}").as_str().into(),
        instance: "none".into(),
        region: REGIONS[region_of(number)].into(),
        group: "app".into(),
        state: MachineState::Started,
        host: HostStatus::Ok,
        image: image(OLD),
        release: None,
        metadata: BTreeMap::new(),
        config: None,
        checks: Vec::new(),
        checks_configured: 1,
        exits: Vec::new(),
        started_at: None,
        placed_at: None,
        updated_at: at(LONG_AGO),
        private_ip: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        metrics: None,
        lease: None,
        cordoned: false,
        standby: false,
        has_services: true,
        service_port: None,
        own_schedule: false,
        restart: None,
    }
}
