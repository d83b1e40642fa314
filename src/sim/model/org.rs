//! The organization: apps, machines, images, the ledger, and how a fleet becomes one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    behaviour::Behaviour,
    blueprint::Listens,
    deploy::{GateResult, Ship},
    image::Images,
    ledger::Entry,
    listing::Listing,
    machine::{CheckResult, Process, SimMachine, State, Version, later, seconds},
    managed::Managed,
    page::PageKind,
    peers::Peer,
    quirks::Quirks,
    refusal::Refusal,
    rights::Denials,
    rng::Rng,
    traffic::BEAT,
    volumes::Volume,
};
use crate::sim::fleet::{Fleet, Traffic, script::Step};

/// How long before the beginning the fleet's machines were started.
pub(in crate::sim) const UP_SINCE: SignedDuration = SignedDuration::from_hours(1);

/// What an app's users got: the truth that no monitoring can bend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    /// Answered with an error, or not at all because no machine was there.
    pub failed: u64,
    /// Answered as slowly as the image's slow requests are.
    pub slow: u64,
}

#[derive(Clone, Debug)]
pub(in crate::sim) struct App {
    pub(in crate::sim) name: String,
    pub(in crate::sim) number: u32,
    pub(in crate::sim) traffic: Traffic,
    /// Newest last.
    pub(in crate::sim) releases: Vec<Entry>,
    pub(in crate::sim) network: String,
    /// Name → digest.
    pub(in crate::sim) secrets: BTreeMap<String, String>,
    /// How often they were changed.
    pub(in crate::sim) secrets_version: u64,
    pub(in crate::sim) totals: Totals,
    /// The part of a request that no machine took yet.
    pub(in crate::sim) carry: f64,
    /// A list answers from here until then.
    pub(in crate::sim) stale: Option<(Timestamp, Vec<SimMachine>)>,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(in crate::sim) struct Timing {
    pub(in crate::sim) boot: Duration,
    pub(in crate::sim) replace: Duration,
    pub(in crate::sim) check: Duration,
    /// From `stopping` to `stopped`, and the like.
    pub(in crate::sim) stop: Duration,
    /// Between two servings of traffic.
    pub(in crate::sim) beat: Duration,
    /// From `destroying` to `destroyed`; zero: at once.
    pub(in crate::sim) destroy: Duration,
    /// From a crash to the restart.
    pub(in crate::sim) restart: Duration,
    /// Between two looks of the proxy for machines that nobody needs.
    pub(in crate::sim) proxy: Duration,
    /// From a host that does not answer to the start of a standby.
    pub(in crate::sim) standby: Duration,
    /// Between two readings of the managed Prometheus, and until they are seen.
    pub(in crate::sim) metrics: Duration,
    pub(in crate::sim) metrics_late: Duration,
}

/// An organization on the platform, at one instant.
#[derive(Clone, Debug)]
pub struct Org {
    pub(in crate::sim) slug: String,
    pub(in crate::sim) now: Timestamp,
    pub(in crate::sim) began: Timestamp,
    pub(in crate::sim) rng: Rng,
    pub(in crate::sim) timing: Timing,
    pub(in crate::sim) quirks: Quirks,
    pub(in crate::sim) listing: Listing,
    pub(in crate::sim) denials: Denials,
    /// What will happen, soonest first.
    pub(in crate::sim) script: VecDeque<(Timestamp, Step)>,
    pub(in crate::sim) apps: BTreeMap<String, App>,
    /// By id; destroyed ones stay.
    pub(in crate::sim) machines: BTreeMap<String, SimMachine>,
    /// The ids of each app's machines: what concerns one app does not go through all of them.
    ids: BTreeMap<String, BTreeSet<String>>,
    pub(in crate::sim) images: Images,
    pub(in crate::sim) ships: Vec<Ship>,
    /// Decisions of the gates of deploys, oldest first.
    pub(in crate::sim) gates: VecDeque<GateResult>,
    pub(in crate::sim) traffic_until: Timestamp,
    pub(in crate::sim) traffic_due: Timestamp,
    pub(in crate::sim) listens: Listens,
    network: Ipv4Addr,
    made: u32,
    apps_made: u32,
    /// Of the private network, oldest first.
    pub(in crate::sim) peers: Vec<Peer>,
    pub(in crate::sim) peers_made: u32,
    /// By id.
    pub(in crate::sim) volumes: BTreeMap<String, Volume>,
    pub(in crate::sim) volumes_made: u32,
    /// What hosts say that are not `ok`, and since when.
    pub(in crate::sim) hosts: BTreeMap<String, (String, Timestamp)>,
    /// What the managed Prometheus has read; `None`: nobody asked for it yet.
    pub(in crate::sim) managed: Option<Managed>,
    /// How often the proxies were started anew.
    pub(in crate::sim) proxies_made: u32,
    /// Some machine is one that the proxy starts or stops.
    pub(in crate::sim) has_proxy: bool,
    /// When the proxy looks for machines that nobody needs.
    pub(in crate::sim) proxy_due: Timestamp,
    /// Further machines a region has room for; a region not named has room.
    pub(in crate::sim) capacity: BTreeMap<String, u32>,
    /// Regions the change feed cannot read.
    pub(in crate::sim) unread_regions: BTreeSet<String>,
    /// Changes are seen in the feed so much later.
    pub(in crate::sim) feed_delay: Duration,
    /// Machines whose metrics page does not answer.
    pub(in crate::sim) unreadable: BTreeSet<String>,
    /// Machines that serve their page otherwise than they should.
    pub(in crate::sim) odd_pages: BTreeMap<String, PageKind>,
}

/// A machine to be there from the beginning.
#[derive(Clone, Debug)]
pub struct Placed {
    /// `None`: the platform chooses.
    pub id: Option<String>,
    pub name: Option<String>,
    pub region: String,
    pub started: bool,
    /// The whole configuration, `image` included.
    pub config: Value,
}

impl Org {
    /// The organization that a fleet describes, at `now`.
    pub fn new(fleet: &Fleet, now: Timestamp) -> Self {
        let mut org = Self {
            slug: fleet.organization.clone(),
            now,
            began: now,
            rng: Rng::new(fleet.seed),
            timing: Timing {
                boot: seconds(fleet.boot_s),
                replace: seconds(fleet.replace_s),
                check: seconds(fleet.check_s),
                stop: Duration::from_millis(100),
                destroy: seconds(fleet.destroy_s),
                beat: seconds(fleet.beat_s).max(BEAT),
                restart: Duration::from_millis(500),
                proxy: seconds(fleet.proxy_s),
                standby: seconds(fleet.standby_s),
                metrics: seconds(fleet.metrics_every_s),
                metrics_late: seconds(fleet.metrics_late_s),
            },
            quirks: fleet.quirks,
            listing: Listing::default(),
            denials: Denials::new(),
            script: VecDeque::new(),
            apps: BTreeMap::new(),
            machines: BTreeMap::new(),
            ids: BTreeMap::new(),
            images: Images::default(),
            ships: Vec::new(),
            gates: VecDeque::new(),
            traffic_until: now,
            traffic_due: now,
            listens: Listens { service: fleet.service_port, metrics: fleet.metrics_port },
            network: fleet.network,
            made: 0,
            apps_made: 0,
            peers: Vec::new(),
            peers_made: 0,
            volumes: BTreeMap::new(),
            volumes_made: 0,
            hosts: BTreeMap::new(),
            managed: None,
            proxies_made: 0,
            has_proxy: false,
            proxy_due: later(now, seconds(fleet.proxy_s)),
            capacity: BTreeMap::new(),
            unread_regions: BTreeSet::new(),
            feed_delay: Duration::ZERO,
            unreadable: BTreeSet::new(),
            odd_pages: BTreeMap::new(),
        };
        for image in &fleet.images {
            org.add_image(&image.reference, image.digest.as_deref(), image.behaviour.clone());
        }
        for app in &fleet.apps {
            org.furnish(app);
        }
        for denial in &fleet.denied {
            let time = denial.for_s.map(seconds);
            org.deny(denial.whose().as_deref(), denial.right, denial.status, time);
        }
        for (region, lag_s) in &fleet.list_lag_s {
            org.set_list_lag(region, seconds(*lag_s));
        }
        for step in &fleet.script {
            org.plan(step.clone());
        }
        org
    }

    /// Adds an app without machines and releases.
    pub fn add_app(&mut self, name: &str, traffic: Traffic) {
        self.apps_made += 1;
        let number = self.apps_made;
        self.apps.insert(
            name.to_owned(),
            App {
                name: name.to_owned(),
                number,
                traffic,
                releases: Vec::new(),
                network: "default".to_owned(),
                secrets: BTreeMap::new(),
                secrets_version: 0,
                totals: Totals::default(),
                carry: 0.0,
                stale: None,
            },
        );
    }

    /// Adds an image to the registry, or changes how one behaves; a digest may be given.
    pub fn add_image(&mut self, reference: &str, digest: Option<&str>, behaviour: Behaviour) {
        self.images.add(reference, digest, behaviour);
    }

    /// Adds a machine that was there before the beginning, and tells its id.
    pub fn place(&mut self, app: &str, placed: Placed) -> String {
        let since = self.now.checked_sub(UP_SINCE).unwrap_or(self.now);
        let state = if placed.started { State::Started } else { State::Stopped };
        let mut machine = self.new_machine(app, placed, state, since);
        let launch = self.rng.ulid(since);
        machine.push_event(&launch, ["launch", "created", "user"], since);
        if state == State::Started {
            let start = self.rng.ulid(since);
            machine.push_event(&start, ["start", "started", "flyd"], since);
            machine.process = Some(Process::new(since));
            let says = self.check_says(&machine, since);
            machine.check = Some(CheckResult { says, changed_at: since });
            machine.death = self.death_of(&machine, self.now);
        }
        let id = machine.id.clone();
        let volumes = self.claimed(app, &machine.region, &id, &machine.version.config);
        let volumes = volumes.unwrap_or_default();
        if let Some(zone) = self.zone_of(&volumes) {
            machine.zone = zone;
        }
        self.claim(&id, &volumes);
        self.add(machine);
        id
    }

    /// A machine with its first version; nothing runs yet.
    pub(in crate::sim) fn new_machine(
        &mut self,
        app: &str,
        placed: Placed,
        state: State,
        at: Timestamp,
    ) -> SimMachine {
        self.made += 1;
        let id = placed.id.unwrap_or_else(|| format!("{:06x}{}", self.made, self.rng.hex(8)));
        let name = placed.name.unwrap_or_else(|| format!("sim-{}", self.made));
        let first = u32::from(self.network) + self.made;
        let zone = format!("{:04x}", self.made);
        let version = self.new_version(placed.config, None, at);
        let mut machine = SimMachine {
            id,
            name,
            app: app.to_owned(),
            region: placed.region,
            zone,
            state,
            version,
            previous: None,
            versions: VecDeque::new(),
            created_at: at,
            updated_at: at,
            configured_at: at,
            next: None,
            events: VecDeque::new(),
            lease: None,
            host: "ok".to_owned(),
            cordoned: false,
            address: IpAddr::V4(Ipv4Addr::from(first)),
            process: None,
            proxied: BTreeMap::new(),
            death: None,
            check: None,
            check_due: None,
            restarts: VecDeque::new(),
            history: VecDeque::new(),
            revert_next: false,
        };
        machine.enter(state, at);
        machine.remember_version();
        machine
    }

    /// A new version of a configuration; `raw` is its text where the exact one is known.
    pub(in crate::sim) fn new_version(
        &mut self,
        config: Value,
        raw: Option<std::sync::Arc<str>>,
        at: Timestamp,
    ) -> Version {
        let raw = raw.unwrap_or_else(|| config.to_string().into());
        let image = config.get("image").and_then(Value::as_str).unwrap_or_default();
        let digest = self.images.resolve(image);
        let checks = Version::checks_of(&config);
        let version = Version { instance: self.rng.ulid(at), config, raw, digest, checks };
        self.has_proxy |= version.is_proxied();
        version
    }

    pub(in crate::sim) fn app(&self, name: &str) -> Result<&App, Refusal> {
        self.apps.get(name).ok_or_else(|| Refusal::no("app", name))
    }

    pub(in crate::sim) fn app_mut(&mut self, name: &str) -> Result<&mut App, Refusal> {
        self.apps.get_mut(name).ok_or_else(|| Refusal::no("app", name))
    }

    /// A machine, destroyed ones included.
    pub(in crate::sim) fn machine(&self, app: &str, id: &str) -> Result<&SimMachine, Refusal> {
        self.app(app)?;
        self.machines
            .get(id)
            .filter(|machine| machine.app == app)
            .ok_or_else(|| Refusal::no("machine", id))
    }

    /// A machine that can still be changed.
    pub(in crate::sim) fn living(
        &mut self,
        app: &str,
        id: &str,
    ) -> Result<&mut SimMachine, Refusal> {
        self.app(app)?;
        self.machines
            .get_mut(id)
            .filter(|machine| machine.app == app && !machine.is_destroyed())
            .ok_or_else(|| Refusal::no("machine", id))
    }

    /// The app a machine belongs to.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn app_of(&self, id: &str) -> Result<String, Refusal> {
        let machine = self.machines.get(id).filter(|machine| !machine.is_destroyed());
        machine.map(|machine| machine.app.clone()).ok_or_else(|| Refusal::no("machine", id))
    }

    /// An app's machines as a list shows them: late, while it is told to be.
    pub(in crate::sim) fn listed<'a>(
        &'a self,
        app: &'a str,
    ) -> Result<Vec<&'a SimMachine>, Refusal> {
        let found = self.app(app)?;
        if let Some((until, stale)) = &found.stale
            && *until > self.now
        {
            return Ok(stale.iter().collect());
        }
        Ok(self.of_app(app).filter_map(|machine| self.as_listed(machine)).collect())
    }

    /// Copies of an app's machines, without the destroyed ones.
    pub(in crate::sim) fn living_of(&self, app: &str) -> Vec<SimMachine> {
        self.of_app(app).filter(|machine| !machine.is_destroyed()).cloned().collect()
    }

    /// A copy of a machine.
    pub(in crate::sim) fn clone_of(&self, id: &str) -> Option<SimMachine> {
        self.machines.get(id).cloned()
    }

    /// An app's machines, destroyed ones included.
    pub(in crate::sim) fn of_app<'a>(
        &'a self,
        app: &'a str,
    ) -> impl Iterator<Item = &'a SimMachine> {
        self.ids.get(app).into_iter().flatten().filter_map(|id| self.machines.get(id))
    }

    pub(super) fn add(&mut self, machine: SimMachine) {
        self.ids.entry(machine.app.clone()).or_default().insert(machine.id.clone());
        self.machines.insert(machine.id.clone(), machine);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(machine) = self.machines.remove(id) else { return };
        if let Some(ids) = self.ids.get_mut(&machine.app) {
            ids.remove(id);
        }
    }
}

impl Placed {
    pub fn new(region: &str, started: bool, config: Value) -> Self {
        Self { id: None, name: None, region: region.to_owned(), started, config }
    }
}
