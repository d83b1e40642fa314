//! Bluegreen: a second fleet is made beside the first and takes over when all of it is healthy.
//! Otherwise it goes away again.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    Next, Ship,
    gate::{Gate, GateKind},
    set_metadata,
};
use crate::sim::model::{
    clock::moved,
    image::Reference,
    machine::{State, later, seconds},
    org::{Org, Placed},
    refusal::Refusal,
};

/// Marks both fleets; of the first with [`SAFE`] when nobody needs it any more.
const TAG: &str = "fly_bluegreen_deployment_tag";
const SAFE: &str = "safe_to_destroy";
/// How long the first fleet may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// How far the second fleet is. Each step but the first two begins at its time.
#[derive(Clone, Debug)]
pub(super) enum Bluegreen {
    Begun,
    /// Greens that were made, and those of them that are still waited for.
    Waiting {
        greens: Vec<String>,
        gates: Vec<Gate>,
    },
    Cordon(Timestamp),
    Stop(Timestamp),
    Destroy {
        until: Timestamp,
    },
}

impl Bluegreen {
    pub(super) fn set_clock(&mut self, by: SignedDuration) {
        match self {
            Self::Begun => {}
            Self::Waiting { gates, .. } => gates.iter_mut().for_each(|gate| gate.set_clock(by)),
            Self::Cordon(at) | Self::Stop(at) | Self::Destroy { until: at } => moved(at, by),
        }
    }
}

impl Org {
    pub(super) fn look_at_greens(
        &mut self,
        ship: &Ship,
        stage: &mut Bluegreen,
    ) -> Result<Next, Refusal> {
        let app = ship.release.app.as_str();
        let pause = seconds(ship.options.cutover_s);
        match stage {
            Bluegreen::Begun => {
                self.allow_bluegreen(ship)?;
                *stage = Bluegreen::Waiting { greens: Vec::new(), gates: Vec::new() };
                self.make_greens(ship, stage)?;
            }
            Bluegreen::Waiting { greens, gates } => {
                let mut left = Vec::new();
                for mut gate in gates.clone() {
                    if !self.pass_gate(ship, &mut gate, true)? {
                        left.push(gate);
                    }
                }
                *gates = left;
                if gates.is_empty() {
                    for id in greens.iter() {
                        self.cordon(app, id, None, false)?;
                    }
                    self.mark_blues(ship)?;
                    *stage = Bluegreen::Cordon(later(self.now, pause));
                }
            }
            Bluegreen::Cordon(at) if self.now >= *at => {
                self.each_blue(ship, |org, id, nonce| org.cordon(app, id, nonce, true))?;
                *stage = Bluegreen::Stop(later(self.now, pause));
            }
            Bluegreen::Stop(at) if self.now >= *at => {
                self.each_blue(ship, |org, id, nonce| org.rest(app, id, nonce, false))?;
                *stage = Bluegreen::Destroy { until: later(self.now, STOP_PATIENCE) };
            }
            Bluegreen::Destroy { until } => {
                let rests = |id: &str| {
                    self.machine(app, id).is_ok_and(|machine| machine.state.is_settled())
                };
                if self.now >= *until || ship.targets.iter().all(|target| rests(&target.id)) {
                    self.each_blue(ship, |org, id, nonce| org.destroy(app, id, nonce, true))?;
                    return Ok(Next::Done);
                }
            }
            Bluegreen::Cordon(_) | Bluegreen::Stop(_) => {}
        }
        Ok(Next::Wait)
    }

    /// What `flyctl` asks for before it makes a second fleet.
    fn allow_bluegreen(&self, ship: &Ship) -> Result<(), Refusal> {
        let mut images: Vec<(String, Option<String>)> = Vec::new();
        for target in &ship.targets {
            let version = &self.machine(&ship.release.app, &target.id)?.version;
            let Reference { repository, tag, .. } = version.reference();
            images.push((repository, tag));
            if version.checks.is_empty() {
                let text = "bluegreen deployments require health checks";
                return Err(Refusal::Precondition(text.to_owned()));
            }
        }
        images.sort_unstable();
        images.dedup();
        if images.len() > 1 {
            return Err(Refusal::Precondition("found multiple image versions".to_owned()));
        }
        Ok(())
    }

    /// One green for each machine, which nobody is sent to yet. What was made is known to `stage`
    /// also when the rest cannot be.
    fn make_greens(&mut self, ship: &Ship, stage: &mut Bluegreen) -> Result<(), Refusal> {
        let app = ship.release.app.as_str();
        let Bluegreen::Waiting { greens, gates } = stage else { return Ok(()) };
        let tag = self.now.as_millisecond().to_string();
        for target in &ship.targets {
            let mut config = target.config.clone();
            set_metadata(&mut config, TAG, &tag);
            let launch = format!("{tag}-{}", greens.len());
            set_metadata(&mut config, "fly_flyctl_bluegreen_launch_id", &launch);
            let id = self.create(app, Placed::new(&target.region, true, config), !target.launch)?;
            self.cordon(app, &id, None, true)?;
            gates.push(Gate::new(self, ship, GateKind::Green, &id, target));
            greens.push(id);
        }
        Ok(())
    }

    /// Does something to each machine of the first fleet that is still there.
    fn each_blue(
        &mut self,
        ship: &Ship,
        mut act: impl FnMut(&mut Self, &str, Option<&str>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        for target in &ship.targets {
            let nonce = ship.leases.get(&target.id).map(String::as_str);
            match act(self, &target.id, nonce) {
                Ok(()) | Err(Refusal::NotFound(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    fn mark_blues(&mut self, ship: &Ship) -> Result<(), Refusal> {
        let mark = BTreeMap::from([(TAG.to_owned(), Some(SAFE.to_owned()))]);
        let app = ship.release.app.as_str();
        self.each_blue(ship, |org, id, _| org.set_metadata(app, id, &mark))
    }

    /// A second fleet that came to nothing goes away.
    pub(super) fn remove_greens(&mut self, app: &str, stage: &Bluegreen) {
        let Bluegreen::Waiting { greens, .. } = stage else { return };
        for id in greens {
            let is_there = self.machines.get(id).is_some_and(|machine| {
                !matches!(machine.state, State::Destroying | State::Destroyed)
            });
            if is_there {
                // Somebody else's lease keeps it.
                let _kept = self.destroy(app, id, None, true).is_err();
            }
        }
    }
}
