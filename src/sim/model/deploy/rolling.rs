//! Rolling and immediate: the app's own machines are updated, one after the other or all at once.

use std::collections::VecDeque;

use jiff::SignedDuration;

use super::{
    Next, Ship, ShipStrategy, Target,
    gate::{Gate, GateKind},
};
use crate::sim::model::{change::Update, org::Org, refusal::Refusal};

#[derive(Clone, Debug)]
pub(super) struct Rolling {
    left: VecDeque<Target>,
    current: Option<Gate>,
}

impl Rolling {
    pub(super) fn of(targets: &[Target]) -> Self {
        Self { left: targets.iter().cloned().collect(), current: None }
    }

    pub(super) fn set_clock(&mut self, by: SignedDuration) {
        self.current.iter_mut().for_each(|gate| gate.set_clock(by));
    }
}

impl Org {
    pub(super) fn roll(&mut self, ship: &Ship, rolling: &mut Rolling) -> Result<Next, Refusal> {
        loop {
            if let Some(gate) = &mut rolling.current
                && !self.pass_gate(ship, gate, ship.options.checks)?
            {
                return Ok(Next::Wait);
            }
            rolling.current = None;
            let Some(target) = rolling.left.pop_front() else { return Ok(Next::Done) };
            match self.update_target(ship, &target) {
                Ok(()) => {}
                Err(Refusal::NotFound(_)) => continue,
                Err(refusal) => return Err(refusal),
            }
            if ship.options.strategy != ShipStrategy::Immediate {
                let gate = Gate::new(self, ship, GateKind::Machine, &target.id, &target);
                rolling.current = Some(gate);
            }
        }
    }

    fn update_target(&mut self, ship: &Ship, target: &Target) -> Result<(), Refusal> {
        let nonce = ship.leases.get(&target.id).map(String::as_str);
        let update = Update {
            config: target.config.clone(),
            raw: None,
            current: None,
            skip_launch: !target.launch,
        };
        self.update(&ship.release.app, &target.id, nonce, update).map(|_| ())
    }
}
