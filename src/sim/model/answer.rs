//! What a machine answers to a single request, such as a probe.

use std::time::Duration;

use super::{
    behaviour::Behaviour,
    machine::{later, seconds},
    org::Org,
    traffic::FAST_S,
};

/// How a request to a machine goes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sim) enum Said {
    /// The machine's host cannot be reached.
    Nowhere,
    /// Nobody listens at this port.
    Refused,
    /// It is taken, and never answered.
    Nothing,
    /// Answered after a while.
    Answer { status: u16, body: String, after: Duration },
}

impl Org {
    /// What a machine answers at a port of its own.
    pub(in crate::sim) fn say(&mut self, app: &str, id: &str, port: u16, path: &str) -> Said {
        let Ok(machine) = self.machine(app, id) else { return Said::Nowhere };
        if machine.host != "ok" {
            return Said::Nowhere;
        }
        let metrics = machine.version.metrics().map(|(port, _)| port);
        let is_open = machine.is_started()
            && (machine.version.service_port() == Some(port) || metrics == Some(port));
        let Some(process) = machine.process.as_ref().filter(|_| is_open) else {
            return Said::Refused;
        };
        let behaviour = self.behaviour_of(machine);
        let is_itself = self.now >= later(process.runs_since, seconds(behaviour.after_s));
        let behaviour = if is_itself { behaviour.clone() } else { Behaviour::default() };
        let page = (metrics == Some(port)).then(|| self.page(app, id, path)).flatten();
        let mut happens = |share: f64| self.rng.binomial(1, share) == 1;
        if happens(behaviour.hang_share) {
            return Said::Nothing;
        }
        let after = if happens(behaviour.slow_share) { behaviour.slow_ms / 1000.0 } else { FAST_S };
        let (status, body) = if happens(behaviour.error_share) {
            (500, "error\n".to_owned())
        } else {
            (200, page.unwrap_or_else(|| "ok\n".to_owned()))
        };
        Said::Answer { status, body, after: seconds(after) }
    }
}
