//! Canary: per process group one machine of its own is made, looked at and destroyed again. One
//! that fails is left behind.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    Next, Ship, Stage, ask,
    gate::{Gate, GateKind},
    group_of, set_metadata,
};
use crate::sim::model::{
    lease::Ask,
    machine::seconds,
    org::{Org, Placed},
    refusal::Refusal,
};

/// The canaries, each with the nonce of its lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Canary {
    is_made: bool,
    gates: Vec<(Gate, Option<String>)>,
}

impl Canary {
    pub(super) fn set_clock(&mut self, by: SignedDuration) {
        self.gates.iter_mut().for_each(|(gate, _)| gate.set_clock(by));
    }
}

impl Org {
    pub(super) fn look_at_canary(
        &mut self,
        ship: &Ship,
        canary: &mut Canary,
    ) -> Result<Next, Refusal> {
        if !canary.is_made {
            canary.is_made = true;
            self.make_canaries(ship, canary)?;
        }
        while let Some((gate, nonce)) = canary.gates.first_mut() {
            if !self.pass_gate(ship, gate, ship.options.checks)? {
                return Ok(Next::Wait);
            }
            let (id, nonce) = (gate.id.clone(), nonce.clone());
            canary.gates.remove(0);
            match self.destroy(&ship.release.app, &id, nonce.as_deref(), true) {
                Ok(()) | Err(Refusal::NotFound(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let ids = ship.targets.iter().map(|target| target.id.clone()).collect();
        Ok(Next::Stage(Stage::Leasing(ids)))
    }

    /// Canaries that failed stay, and nobody holds them.
    pub(super) fn leave_canaries(&mut self, app: &str, canary: &Canary) {
        for (gate, nonce) in &canary.gates {
            if let Some(nonce) = nonce {
                // One that is gone needs no giving back.
                let _gone = self.release_lease(app, &gate.id, nonce).is_err();
            }
        }
    }

    fn make_canaries(&mut self, ship: &Ship, canary: &mut Canary) -> Result<(), Refusal> {
        let app = ship.release.app.as_str();
        let primary = ship.release.definition.get("primary_region").and_then(Value::as_str);
        let mut groups: Vec<String> = Vec::new();
        for target in ship.targets.iter().filter(|target| target.launch) {
            let group = group_of(self.machine(app, &target.id)?).to_owned();
            if groups.contains(&group) {
                continue;
            }
            groups.push(group);
            let mut config = target.config.clone();
            set_metadata(&mut config, "fly_canary", "true");
            if let Some(fields) = config.as_object_mut() {
                fields.insert("dns".to_owned(), json!({"skip_registration": true}));
            }
            let region = primary.unwrap_or(&target.region);
            let id = self.create(app, Placed::new(region, true, config), false)?;
            let ttl = seconds(ship.options.canary_lease_s);
            let nonce = if ttl.is_zero() {
                None
            } else {
                let lease = Ask { ttl, ..ask(&ship.options.author, None) };
                Some(self.take_lease(app, &id, lease)?.nonce)
            };
            let gate = Gate::new(self, ship, GateKind::Canary, &id, target);
            canary.gates.push((gate, nonce));
        }
        Ok(())
    }
}
