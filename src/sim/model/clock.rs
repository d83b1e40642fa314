//! The platform's clock is set: what is on its way takes as long as it would have taken.

use jiff::{SignedDuration, Timestamp};

use super::org::Org;

/// A time by a clock that was set forward by so much, or back.
pub(super) fn moved(at: &mut Timestamp, by: SignedDuration) {
    *at = at.checked_add(by).unwrap_or(*at);
}

impl Org {
    /// Sets the platform's clock forward, or back. What was told already keeps the time that it was
    /// told with; what is still to come, leases among it, comes as soon as it would have.
    pub fn set_clock(&mut self, by: SignedDuration) {
        for at in [
            &mut self.now,
            &mut self.began,
            &mut self.traffic_until,
            &mut self.traffic_due,
            &mut self.proxy_due,
        ] {
            moved(at, by);
        }
        for machine in self.machines.values_mut() {
            let next = machine.next.iter_mut().map(|(at, _)| at);
            let death = machine.death.iter_mut().map(|death| &mut death.at);
            let lease = machine.lease.iter_mut().map(|lease| &mut lease.expires_at);
            let restarts = machine.restarts.iter_mut();
            let process = machine.process.iter_mut().map(|process| &mut process.runs_since);
            next.chain(death)
                .chain(machine.check_due.iter_mut())
                .chain(lease)
                .chain(restarts)
                .chain(process)
                .for_each(|at| moved(at, by));
        }
        for app in self.apps.values_mut() {
            app.stale.iter_mut().for_each(|(until, _)| moved(until, by));
        }
        self.denials
            .values_mut()
            .filter_map(|(_, until)| until.as_mut())
            .for_each(|at| moved(at, by));
        self.hosts.values_mut().for_each(|(_, since)| moved(since, by));
        self.script.iter_mut().for_each(|(at, _)| moved(at, by));
        self.ships.iter_mut().for_each(|ship| ship.set_clock(by));
        self.listing.set_clock(by);
    }
}
