//! A Fly organization in memory: apps, machines, leases, releases, images with behaviour, traffic.
//!
//! The state model ([`Org`], held through a [`Sim`]) is kept apart from the ways it is reached:
//! [`ports`] implements the daemon's ports on it directly, for scenario tests on a simulated
//! clock; [`serve`] speaks the platform's HTTP interfaces, for the demo, for `flyctl`, and for
//! people who rehearse their thresholds. It stands for the platform and knows nothing of the
//! daemon's adapters. `docs/simulation.md` says what is modelled and what is not.

mod advance;
mod behaviour;
mod blueprint;
mod change;
mod controls;
mod deploy;
mod desk;
mod faults;
pub mod fleet;
mod handle;
mod image;
mod lease;
mod ledger;
mod listing;
mod logs;
mod machine;
mod mishaps;
mod org;
mod page;
pub mod ports;
mod quirks;
mod refusal;
mod rights;
mod rng;
pub mod script;
pub mod serve;
mod show;
mod traffic;
mod view;

pub use behaviour::{Behaviour, CheckSays, Launch};
pub use change::{Progress, Update};
pub use deploy::{GateKind, GateResult, ShipOptions, ShipStrategy};
pub use faults::{Action, CallRecord, Fault, FaultRule};
pub use fleet::{Fleet, Restart};
pub use handle::Sim;
pub use lease::Held;
pub use ledger::Entry;
pub use machine::{Moment, State};
pub use org::{Org, Placed, Totals};
pub use quirks::Quirks;
pub use refusal::Refusal;
pub use rights::{Denial, Right, owner_of};

#[cfg(test)]
mod soak;
#[cfg(test)]
mod tests;
