//! A fleet as a file: organization, apps, machines, images and how they behave, traffic.

mod demo;
mod group;
pub mod script;

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

pub use self::{
    demo::demo,
    group::{Autostop, Group, Restart},
};
use crate::sim::{
    fleet::script::{STEPS_MAX, Step},
    model::{behaviour::Behaviour, quirks::Quirks, rights::Denial},
};

/// One image in the registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetImage {
    /// `registry/repository:tag`.
    pub reference: String,
    /// `sha256:…`; made from the reference when absent.
    pub digest: Option<String>,
    #[serde(default)]
    pub behaviour: Behaviour,
}

impl FleetImage {
    pub fn new(reference: &str, behaviour: Behaviour) -> Self {
        Self { reference: reference.to_owned(), digest: None, behaviour }
    }
}

/// Traffic that comes and goes: for `busy_s` of every `every_s` seconds times `busy`, and times
/// `rest` in between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pulse {
    pub every_s: f64,
    pub busy_s: f64,
    #[serde(default = "one")]
    pub busy: f64,
    #[serde(default)]
    pub rest: f64,
}

/// Requests of an app's users.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// All regions together; each gets its share by the number of its machines.
    pub requests_per_s: f64,
    /// Regions with a rate of their own, besides.
    pub regions: BTreeMap<String, f64>,
    pub pulse: Option<Pulse>,
}

/// One app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetApp {
    pub name: String,
    /// The image its machines run; one of the fleet's.
    pub image: String,
    /// Number of the release they run.
    #[serde(default = "first_version")]
    pub version: u64,
    /// Short for one group `app` with so many started machines per region.
    #[serde(default)]
    pub machines: BTreeMap<String, u32>,
    #[serde(default)]
    pub groups: Vec<Group>,
    #[serde(default)]
    pub traffic: Traffic,
    /// A release command in its configuration: migrations.
    pub release_command: Option<String>,
}

impl FleetApp {
    /// An app with the group `app`, on release 41.
    pub fn new(name: &str, image: &str, machines: &[(&str, u32)], requests_per_s: f64) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            version: 41,
            machines: BTreeMap::new(),
            groups: vec![Group::of(machines)],
            traffic: Traffic { requests_per_s, ..Traffic::default() },
            release_command: None,
        }
    }

    /// Its groups, the short form included.
    pub(in crate::sim) fn all_groups(&self) -> Vec<Group> {
        let mut groups = self.groups.clone();
        if !self.machines.is_empty() {
            groups.push(Group { machines: self.machines.clone(), ..Group::default() });
        }
        groups
    }
}

/// A whole organization.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    pub organization: String,
    /// Whatever is left to chance follows from it.
    #[serde(default)]
    pub seed: u64,
    /// Seconds from `starting` to `started`.
    #[serde(default = "boot_s")]
    pub boot_s: f64,
    /// Seconds an update takes to be put in place (`replacing`).
    #[serde(default = "replace_s")]
    pub replace_s: f64,
    /// Seconds from the start of a process to the first result of its checks.
    #[serde(default = "check_s")]
    pub check_s: f64,
    /// Seconds between two servings of traffic while nothing else happens. With a longer one than
    /// 0.2 s traffic is served whenever something happens and whenever somebody looks; what changes
    /// by itself in between (pulses, `after_s`) is then as coarse as that.
    #[serde(default = "beat_s")]
    pub beat_s: f64,
    /// Seconds from `destroying` to `destroyed`; 0: at once.
    #[serde(default)]
    pub destroy_s: f64,
    /// Seconds between two looks of the proxy for machines that nobody needs.
    #[serde(default = "proxy_s")]
    pub proxy_s: f64,
    /// Seconds from a host that does not answer to the start of a standby.
    #[serde(default = "standby_s")]
    pub standby_s: f64,
    /// Seconds between two readings of the managed Prometheus, and until they are seen.
    #[serde(default = "metrics_every_s")]
    pub metrics_every_s: f64,
    #[serde(default = "metrics_every_s")]
    pub metrics_late_s: f64,
    /// Seconds by which the platform's clock is ahead of the machine's that asks; below 0: behind.
    #[serde(default)]
    pub skew_s: f64,
    /// Seconds by which machine lists and the change feed are late, per region; `"*"`: any other.
    #[serde(default)]
    pub list_lag_s: BTreeMap<String, f64>,
    /// Ways of the platform that only some have seen.
    #[serde(default)]
    pub quirks: Quirks,
    /// What tokens may not do.
    #[serde(default)]
    pub denied: Vec<Denial>,
    /// What happens, and when.
    #[serde(default)]
    pub script: Vec<Step>,
    /// Port at which the machines serve requests; 0: as below.
    #[serde(default = "service_port")]
    pub service_port: u16,
    /// Port of the machines' metrics pages; 0: whoever serves them chooses one that is free.
    #[serde(default = "metrics_port")]
    pub metrics_port: u16,
    /// Machines have addresses from here on, in 127.0.0.0/8.
    #[serde(default = "network")]
    pub network: Ipv4Addr,
    #[serde(default)]
    pub apps: Vec<FleetApp>,
    #[serde(default)]
    pub images: Vec<FleetImage>,
}

fn one() -> f64 {
    1.0
}

fn first_version() -> u64 {
    1
}

fn boot_s() -> f64 {
    1.0
}

fn replace_s() -> f64 {
    0.5
}

fn check_s() -> f64 {
    0.5
}

fn beat_s() -> f64 {
    0.2
}

fn proxy_s() -> f64 {
    300.0
}

fn standby_s() -> f64 {
    10.0
}

fn metrics_every_s() -> f64 {
    15.0
}

fn service_port() -> u16 {
    8080
}

fn metrics_port() -> u16 {
    9091
}

fn network() -> Ipv4Addr {
    Ipv4Addr::new(127, 66, 0, 0)
}

/// More machines than that are a slip of the keyboard.
const MACHINES_MAX: u32 = 10_000;

impl Fleet {
    /// An organization with nothing in it.
    pub fn empty(organization: &str) -> Self {
        Self {
            organization: organization.to_owned(),
            seed: 0,
            boot_s: boot_s(),
            replace_s: replace_s(),
            check_s: check_s(),
            beat_s: beat_s(),
            destroy_s: 0.0,
            proxy_s: proxy_s(),
            standby_s: standby_s(),
            metrics_every_s: metrics_every_s(),
            metrics_late_s: metrics_every_s(),
            skew_s: 0.0,
            list_lag_s: BTreeMap::new(),
            quirks: Quirks::default(),
            denied: Vec::new(),
            script: Vec::new(),
            service_port: service_port(),
            metrics_port: metrics_port(),
            network: network(),
            apps: Vec::new(),
            images: Vec::new(),
        }
    }

    /// Reads a fleet from TOML.
    ///
    /// # Errors
    ///
    /// With the place and the key, when the text is not a fleet.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fleet: Self =
            toml_edit::de::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        fleet.check()?;
        Ok(fleet)
    }

    /// By how many milliseconds the platform's clock is ahead.
    #[expect(clippy::cast_possible_truncation, reason = "within a day, as was checked")]
    pub(in crate::sim) fn skew_ms(&self) -> i64 {
        (self.skew_s.clamp(-86_400.0, 86_400.0) * 1000.0).round() as i64
    }

    fn check(&self) -> Result<(), String> {
        let times = [
            ("boot_s", self.boot_s),
            ("replace_s", self.replace_s),
            ("check_s", self.check_s),
            ("beat_s", self.beat_s),
            ("destroy_s", self.destroy_s),
            ("proxy_s", self.proxy_s),
            ("standby_s", self.standby_s),
            ("metrics_every_s", self.metrics_every_s),
            ("metrics_late_s", self.metrics_late_s),
        ];
        let lags = self.list_lag_s.values().map(|lag_s| ("list_lag_s", *lag_s));
        for (key, value) in times.into_iter().chain(lags) {
            if !(0.0..=3600.0).contains(&value) {
                return Err(format!("{key} = {value}: must be between 0 and 3600 seconds"));
            }
        }
        if !(-86_400.0..=86_400.0).contains(&self.skew_s) {
            return Err(format!("skew_s = {}: must be within a day", self.skew_s));
        }
        if let Some(problem) = self.denied.iter().find_map(Denial::problem) {
            return Err(format!("denied: {problem}"));
        }
        if self.script.len() > STEPS_MAX {
            return Err(format!(
                "{} steps of the script: {STEPS_MAX} is the most",
                self.script.len()
            ));
        }
        for (index, step) in self.script.iter().enumerate() {
            if let Some(problem) = step.problem() {
                return Err(format!("step {} of the script: {problem}", index + 1));
            }
        }
        if !self.network.is_loopback() {
            return Err(format!("network = {}: must be in 127.0.0.0/8", self.network));
        }
        for image in &self.images {
            let (name, problem) = (&image.reference, image.behaviour.problem());
            if let Some(problem) = problem {
                return Err(format!("image {name}: behaviour.{problem}"));
            }
            if !name.contains('/') {
                return Err(format!("image {name}: must be registry/repository:tag"));
            }
        }
        let mut machines = 0_u32;
        for (index, app) in self.apps.iter().enumerate() {
            if self.apps.iter().skip(index + 1).any(|other| other.name == app.name) {
                return Err(format!("app {}: described twice", app.name));
            }
            if !self.images.iter().any(|image| image.reference == app.image) {
                return Err(format!(
                    "app {}: the image {} is not among [[images]]",
                    app.name, app.image
                ));
            }
            app.traffic.check().map_err(|problem| format!("app {}: {problem}", app.name))?;
            for group in app.all_groups() {
                for count in [&group.machines, &group.stopped, &group.standbys]
                    .into_iter()
                    .flat_map(BTreeMap::values)
                {
                    machines = machines.saturating_add(*count);
                }
            }
        }
        if machines > MACHINES_MAX {
            return Err(format!("{machines} machines: {MACHINES_MAX} is the most"));
        }
        Ok(())
    }
}

impl Traffic {
    fn check(&self) -> Result<(), String> {
        let rates = self.regions.values().copied().chain([self.requests_per_s]);
        if let Some(rate) = rates.into_iter().find(|rate| !(0.0..=1e6).contains(rate)) {
            return Err(format!("traffic: {rate} requests a second: must be from 0 to 1000000"));
        }
        let Some(pulse) = &self.pulse else { return Ok(()) };
        if pulse.every_s.is_nan() || pulse.every_s <= 0.0 {
            return Err(format!("traffic.pulse.every_s = {}: must be above 0", pulse.every_s));
        }
        if !(0.0..=pulse.every_s).contains(&pulse.busy_s) {
            return Err(format!(
                "traffic.pulse.busy_s = {}: must be from 0 to every_s",
                pulse.busy_s
            ));
        }
        for (key, factor) in [("busy", pulse.busy), ("rest", pulse.rest)] {
            if !(0.0..=1000.0).contains(&factor) {
                return Err(format!("traffic.pulse.{key} = {factor}: must be from 0 to 1000"));
            }
        }
        Ok(())
    }

    /// By how much the rate is multiplied, so many seconds after the beginning.
    pub(in crate::sim) fn factor(&self, after_s: f64) -> f64 {
        let Some(pulse) = &self.pulse else { return 1.0 };
        if after_s.rem_euclid(pulse.every_s) < pulse.busy_s { pulse.busy } else { pulse.rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
organization = "acme"
[[images]]
reference = "registry.fly.io/web:v1"
[[apps]]
name = "web"
image = "registry.fly.io/web:v1"
machines = { iad = 2 }
traffic = { requests_per_s = 10, pulse = { every_s = 60, busy_s = 10 } }
"#;

    #[test]
    fn a_small_file_is_a_fleet_and_the_rest_has_defaults() {
        let fleet = Fleet::parse(SMALL).unwrap();
        let app = fleet.apps.first().unwrap();
        assert_eq!(app.all_groups().first().unwrap().machines["iad"], 2);
        assert_eq!(fleet.metrics_port, 9091);
        assert!((app.traffic.factor(65.0) - 1.0).abs() < 1e-9);
        assert!(app.traffic.factor(15.0).abs() < 1e-9);
    }

    #[test]
    fn mistakes_are_named_with_their_place_and_key() {
        let error = Fleet::parse(&SMALL.replace("machines =", "machine =")).unwrap_err();
        assert!(error.contains("line 8") && error.contains("machine"), "{error}");
        let error = Fleet::parse(&SMALL.replace("web:v1\"\nmachines", "web:v2\"\nmachines"));
        assert!(error.unwrap_err().contains("app web: the image registry.fly.io/web:v2"));
        let error = Fleet::parse(&SMALL.replace("busy_s = 10", "busy_s = 100")).unwrap_err();
        assert!(error.contains("traffic.pulse.busy_s = 100"), "{error}");
        let bad = SMALL.replace("[[apps]]", "behaviour = { error_share = 2.0 }\n[[apps]]");
        let error = Fleet::parse(&bad).unwrap_err();
        assert!(error.contains("image registry.fly.io/web:v1: behaviour.error_share"), "{error}");
    }

    #[test]
    fn the_fleet_in_the_documentation_is_one() {
        let docs = include_str!("../../../docs/simulation.md");
        let text = docs.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let fleet = Fleet::parse(text).unwrap();
        let groups = fleet.apps.first().unwrap().all_groups();
        assert_eq!(
            groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(),
            ["worker", "app"]
        );
        assert_eq!(fleet.images.last().unwrap().behaviour.regions, ["ams"]);
    }

    #[test]
    fn the_demo_fleet_is_a_valid_file() {
        let text = toml_edit::ser::to_string(&demo()).unwrap();
        assert_eq!(Fleet::parse(&text).unwrap(), demo());
    }
}
