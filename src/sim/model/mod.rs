//! The organization's state and its laws: what can be asked of it, and what time does to it.
//!
//! [`Org`](org::Org) is a plain value with its own time: no task, no lock, no clock. [`advance`](org::Org::advance) plays
//! whatever is due, from event to event; everything else is a method that answers at once. The
//! ports, the served platform and the tests all drive the same value.

pub(super) mod advance;
pub(super) mod answer;
pub(super) mod behaviour;
pub(super) mod blueprint;
pub(super) mod change;
pub(super) mod clock;
pub(super) mod deploy;
mod evaluate;
pub(super) mod image;
pub(super) mod lease;
pub(super) mod ledger;
pub(super) mod listing;
pub(super) mod logs;
pub(super) mod machine;
pub(super) mod managed;
pub(super) mod org;
pub(super) mod page;
pub(super) mod peers;
pub(super) mod proxied;
pub(super) mod proxy;
pub(super) mod quirks;
pub(super) mod refusal;
pub(super) mod rights;
pub(super) mod rng;
pub(super) mod standbys;
pub(super) mod traffic;
pub(super) mod volumes;
