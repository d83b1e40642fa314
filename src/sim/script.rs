//! What happens to an organization at which time: a fleet's script, and single steps of the
//! control API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    behaviour::Behaviour,
    deploy::ShipOptions,
    fleet::FleetImage,
    lease::Ask,
    machine::{SimMachine, later, seconds},
    org::Org,
    quirks::Quirks,
    refusal::Refusal,
    rights::Denial,
};

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
    pub(super) fn problem(&self) -> Option<String> {
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

impl Org {
    /// Will play a step at its time.
    pub fn plan(&mut self, step: Step) {
        let at = later(self.now, seconds(step.after_s));
        let place = self.script.partition_point(|(other, _)| *other <= at);
        self.script.insert(place, (at, step));
    }

    /// Plays the step that is due. One that the platform refuses is over, as it would be for
    /// whoever tried it.
    pub(super) fn play_script(&mut self) {
        let Some((_, step)) = self.script.pop_front() else { return };
        if let Err(refusal) = self.play(step) {
            tracing::warn!("a step of the script was refused: {refusal}");
        }
    }

    /// Plays a step now, whatever its time.
    ///
    /// # Errors
    /// When the platform refuses it, or there is no such app, image or machine.
    pub fn play(&mut self, step: Step) -> Result<(), Refusal> {
        if let Some(Shipment { app, image, options }) = step.ship {
            self.ship(&app, &image, options)?;
        }
        if let Some(Secrets { app, options }) = step.secrets {
            self.ship_secrets(&app, options)?;
        }
        if let Some(app) = step.kill_ships {
            self.kill_ships(&app);
        }
        if let Some(Scale { app, region, by }) = step.scale {
            self.scale(&app, &region, by)?;
        }
        if let Some(FleetImage { reference, digest, behaviour }) = step.image {
            self.change_image(&reference, digest.as_deref(), behaviour)?;
        }
        if let Some(image) = step.remove_image {
            self.remove_image(&image)?;
        }
        if let Some(denial) = step.deny {
            let time = denial.for_s.map(seconds);
            self.deny(denial.whose().as_deref(), denial.right, denial.status, time);
        }
        if step.allow_all == Some(true) {
            self.allow_all();
        }
        if let Some(lists) = step.lists {
            self.change_lists(&lists);
        }
        if let Some(quirks) = step.quirks {
            self.quirks = quirks;
        }
        self.play_on_machine(step.clone, |org, _, id| org.clone_machine(id).map(|_| ()))?;
        self.play_on_machine(step.stop, |org, app, id| org.force_rest(app, id, false))?;
        self.play_on_machine(step.suspend, |org, app, id| org.force_rest(app, id, true))?;
        self.play_on_machine(step.start, |org, app, id| org.force_start(app, id))?;
        self.play_on_machine(step.destroy, |org, app, id| org.force_destroy(app, id))?;
        self.play_on_machine(step.kill, |org, _, id| org.kill(id))?;
        if let Some(PutImage { machine, image }) = step.put_image {
            self.play_on_machine(Some(machine), |org, _, id| org.put_image(id, &image))?;
        }
        if let Some(Host { machine, status }) = step.host {
            self.play_on_machine(Some(machine), |org, _, id| org.set_host(id, &status))?;
        }
        if let Some(Lease { machine, owner, for_s }) = step.lease {
            let ask = Ask { nonce: None, ttl: seconds(for_s), owner: &owner, description: "" };
            self.play_on_machine(Some(machine), |org, app, id| {
                org.take_lease(app, id, ask).map(|_| ())
            })?;
        }
        Ok(())
    }

    /// Changes how late lists are, and which regions they leave out.
    pub fn change_lists(&mut self, lists: &Lists) {
        for (region, lag_s) in &lists.lag_s {
            self.set_list_lag(region, seconds(*lag_s));
        }
        for (region, time_s) in &lists.hidden_s {
            self.hide_region(region, seconds(*time_s));
        }
    }

    /// Adds an image, or changes how one behaves.
    ///
    /// # Errors
    /// Never for an image that has a repository and a tag.
    pub fn change_image(
        &mut self,
        reference: &str,
        digest: Option<&str>,
        behaviour: Behaviour,
    ) -> Result<(), Refusal> {
        if self.images.resolve(reference).is_none() {
            self.add_image(reference, digest, behaviour.clone());
        }
        self.set_behaviour(reference, behaviour)
    }

    fn play_on_machine(
        &mut self,
        pick: Option<Pick>,
        act: impl FnOnce(&mut Self, &str, &str) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some(Pick { app, region, number }) = pick else { return Ok(()) };
        let there = |machine: &&SimMachine| !machine.is_destroyed() && machine.region == region;
        let id = self.of_app(&app).filter(there).nth(number.saturating_sub(1));
        let id = id.map(|machine| machine.id.clone());
        let id = id.ok_or_else(|| Refusal::no("machine", &format!("{number} in {region}")))?;
        act(self, &app, &id)
    }
}

impl super::handle::Sim {
    /// Plays a step at its time, counted from now. See [`Org::plan`].
    pub fn plan(&self, step: Step) {
        self.with(|org| org.plan(step));
    }

    /// Everything of the script has happened.
    pub fn is_script_over(&self) -> bool {
        self.with(|org| org.script.is_empty())
    }
}
