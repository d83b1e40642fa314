//! What happens to an organization at which time: steps of a fleet's script, and of the control API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sim::{
    fleet::FleetImage,
    model::{deploy::ShipOptions, quirks::Quirks, rights::Denial},
};

/// Steps that wait for their time, at most.
pub(in crate::sim) const STEPS_MAX: usize = 1000;

/// One thing that happens: exactly one of its fields but the first is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Seconds after the beginning, or after the step was given.
    pub after_s: f64,
    /// Somebody ships a release.
    pub ship: Option<Shipment>,
    /// Somebody sets secrets of an app.
    pub secrets: Option<Secrets>,
    /// The clients of an app's deploys are killed.
    pub kill_ships: Option<String>,
    /// Somebody scales an app out.
    pub scale: Option<Scale>,
    /// An autoscaler copies a machine.
    pub clone: Option<Pick>,
    /// Somebody puts an image on one machine, and makes no release.
    pub put_image: Option<PutImage>,
    /// Somebody takes a machine's lease and does nothing with it.
    pub lease: Option<Lease>,
    pub stop: Option<Pick>,
    pub start: Option<Pick>,
    pub suspend: Option<Pick>,
    pub destroy: Option<Pick>,
    /// A machine's process is killed.
    pub kill: Option<Pick>,
    /// What the host under a machine says.
    pub host: Option<Host>,
    /// An image is added, or behaves otherwise from now on.
    pub image: Option<FleetImage>,
    /// An image is lost from the registry.
    pub remove_image: Option<String>,
    /// A token may do less.
    pub deny: Option<Denial>,
    /// Everybody may do everything again, when true.
    pub allow_all: Option<bool>,
    pub lists: Option<Lists>,
    pub quirks: Option<Quirks>,
}

/// A release that is shipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shipment {
    pub app: String,
    pub image: String,
    #[serde(default)]
    pub options: ShipOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    pub app: String,
    #[serde(default)]
    pub options: ShipOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    pub app: String,
    pub region: String,
    pub by: u32,
}

/// A machine by its place: nobody knows its id beforehand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    pub app: String,
    pub region: String,
    /// Which one of those that are there, in the order of their ids; the first is 1.
    #[serde(default = "first")]
    pub number: usize,
}

fn first() -> usize {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutImage {
    pub machine: Pick,
    pub image: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    pub machine: Pick,
    pub owner: String,
    pub for_s: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub machine: Pick,
    /// `ok`, `unknown` or `unreachable`.
    pub status: String,
}

/// How late machine lists are, and which regions they leave out for how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lists {
    pub lag_s: BTreeMap<String, f64>,
    pub hidden_s: BTreeMap<String, f64>,
}

impl Step {
    /// What is wrong with the step.
    pub(in crate::sim) fn problem(&self) -> Option<String> {
        let there = [
            self.ship.is_some(),
            self.secrets.is_some(),
            self.kill_ships.is_some(),
            self.scale.is_some(),
            self.clone.is_some(),
            self.put_image.is_some(),
            self.lease.is_some(),
            self.stop.is_some(),
            self.start.is_some(),
            self.suspend.is_some(),
            self.destroy.is_some(),
            self.kill.is_some(),
            self.host.is_some(),
            self.image.is_some(),
            self.remove_image.is_some(),
            self.deny.is_some(),
            self.allow_all.is_some(),
            self.lists.is_some(),
            self.quirks.is_some(),
        ];
        if there.iter().filter(|there| **there).count() != 1 {
            return Some("a step says exactly one thing that happens".to_owned());
        }
        if !(0.0..=1e7).contains(&self.after_s) {
            return Some(format!("after_s = {}: must be from 0 to 10000000", self.after_s));
        }
        if let Some(problem) = self.image.as_ref().and_then(|image| image.behaviour.problem()) {
            return Some(format!("behaviour.{problem}"));
        }
        self.deny.as_ref().and_then(Denial::problem)
    }
}
