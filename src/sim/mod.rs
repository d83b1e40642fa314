//! A Fly organization in memory: apps, machines, leases, releases, images with behaviour, traffic.
//!
//! The state and its laws ([`Org`]) are kept apart from the ways they are reached. A [`Sim`] lets
//! many hold one organization on one clock: [`ports`] implements the daemon's ports on it, for
//! scenario tests on simulated time; [`serve`] speaks the platform's HTTP interfaces, for the
//! demo, for `flyctl`, and for people who rehearse their thresholds; `controls` is what the world
//! does to it. It stands for the platform and knows nothing of the daemon's adapters.
//! `docs/simulation.md` says what is modelled and what is not.

mod controls;
pub mod fleet;
mod handle;
mod model;
pub mod ports;
pub mod serve;

pub use controls::incidents::Standing;
pub use fleet::{Fleet, Restart, script};
pub use handle::Sim;
pub use model::{
    behaviour::{Behaviour, CheckSays, Launch},
    change::{Progress, Update},
    deploy::{GateKind, GateResult, ShipOptions, ShipStrategy},
    lease::{Ask, Held},
    ledger::{Entry, NewEntry},
    machine::{Moment, State},
    managed::Answered,
    org::{Org, Placed, Totals},
    page::Counted,
    proxied::ProxySeries,
    quirks::Quirks,
    refusal::Refusal,
    rights::{Denial, Right, owner_of},
    rng::Rng,
};
pub use ports::calls::{CallKind, CallRecord, Fault, FaultRule};

#[cfg(test)]
mod tests;
