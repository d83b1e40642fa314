//! Leases: who may change a machine just now.

use std::time::Duration;

use super::{
    machine::{LeaseState, later},
    org::Org,
    refusal::Refusal,
};

/// A lease as its holder sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub nonce: String,
    pub owner: String,
    pub description: String,
    pub expires_at: jiff::Timestamp,
    /// The machine's version when the lease was taken.
    pub instance: String,
}

/// What a lease is asked for with.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Its nonce, to hold it longer.
    pub nonce: Option<&'a str>,
    pub ttl: Duration,
    pub owner: &'a str,
    pub description: &'a str,
}

impl Org {
    /// Takes a lease, or with its nonce holds it longer.
    pub fn take_lease(&mut self, app: &str, id: &str, ask: Ask<'_>) -> Result<Held, Refusal> {
        let now = self.now;
        let fresh = self.rng.hex(12);
        let machine = self.living(app, id)?;
        let expires_at = later(now, ask.ttl);
        let lease = match machine.lease_at(now) {
            Some(lease) if ask.nonce == Some(lease.nonce.as_str()) => {
                LeaseState { expires_at, ..lease.clone() }
            }
            Some(lease) => return Err(held(id, lease)),
            None => LeaseState {
                nonce: fresh,
                owner: ask.owner.to_owned(),
                description: ask.description.to_owned(),
                expires_at,
            },
        };
        machine.lease = Some(lease);
        self.lease(app, id)
    }

    /// The lease in force.
    pub fn lease(&self, app: &str, id: &str) -> Result<Held, Refusal> {
        let machine = self.machine(app, id)?;
        let lease = machine.lease_at(self.now).ok_or_else(no_lease)?;
        Ok(Held {
            nonce: lease.nonce.clone(),
            owner: lease.owner.clone(),
            description: lease.description.clone(),
            expires_at: lease.expires_at,
            instance: machine.version.instance.clone(),
        })
    }

    pub fn release_lease(&mut self, app: &str, id: &str, nonce: &str) -> Result<(), Refusal> {
        let now = self.now;
        let machine = self.living(app, id)?;
        if machine.lease_at(now).is_none_or(|lease| lease.nonce != nonce) {
            return Err(no_lease());
        }
        machine.lease = None;
        Ok(())
    }

    /// Refuses a write to a machine that somebody leased, unless it comes with the nonce: also
    /// from the lease's owner.
    pub(in crate::sim) fn guard(
        &self,
        app: &str,
        id: &str,
        nonce: Option<&str>,
    ) -> Result<(), Refusal> {
        match self.machine(app, id)?.lease_at(self.now) {
            Some(lease) if nonce != Some(lease.nonce.as_str()) => Err(held(id, lease)),
            _ => Ok(()),
        }
    }

    /// Whether the nonce is that of the lease in force.
    pub fn holds(&self, app: &str, id: &str, nonce: &str) -> bool {
        self.lease(app, id).is_ok_and(|lease| lease.nonce == nonce)
    }
}

fn no_lease() -> Refusal {
    Refusal::NotFound("lease not found".to_owned())
}

fn held(id: &str, lease: &LeaseState) -> Refusal {
    Refusal::LeaseHeld {
        machine: id.to_owned(),
        owner: lease.owner.clone(),
        expires_at: lease.expires_at,
    }
}
