//! Standbys: machines at rest, each of which starts when the host under a machine that it stands by
//! for no longer answers. It goes on when that one is back; whoever wants it to rest stops it.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    machine::{SimMachine, State, Version, later},
    org::Org,
};

impl Version {
    /// The machines it stands by for.
    fn stands_for(&self) -> impl Iterator<Item = &str> {
        let standbys = self.config.get("standbys").and_then(serde_json::Value::as_array);
        standbys.into_iter().flatten().filter_map(serde_json::Value::as_str)
    }
}

impl Org {
    /// The standby that steps in next, and when.
    pub(super) fn first_standby(&self, patience: Duration) -> Option<(Timestamp, String)> {
        if self.hosts.is_empty() {
            return None;
        }
        let due = |machine: &SimMachine| {
            let lost = machine.version.stands_for().filter_map(|id| self.lost_since(id)).min()?;
            Some((later(lost, patience), machine.id.clone()))
        };
        self.machines.values().filter(|machine| is_ready(machine)).filter_map(due).min()
    }

    /// Since when the host under a machine does not answer; `None`: it does, or nobody wants the
    /// machine to run.
    fn lost_since(&self, id: &str) -> Option<Timestamp> {
        let machine = self.machines.get(id)?;
        let (status, since) = self.hosts.get(&machine.zone)?;
        let is_wanted = machine.state.is_up() || machine.state == State::Replacing;
        (is_wanted && status == "unreachable").then_some(*since)
    }
}

fn is_ready(machine: &SimMachine) -> bool {
    matches!(machine.state, State::Stopped | State::Suspended)
        && machine.host == "ok"
        && machine.version.is_standby()
}
