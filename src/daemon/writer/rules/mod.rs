//! What comes next when a machine is written to: lease → fresh look → still wanted? → update →
//! wait → verify → ready → lease back. Pure: no clock, no call, no waiting.
//!
//! An [`Errand`] is one attempt at one machine. Whoever drives it (the daemon's shell, or a
//! simulation with a queue of its own) does this, again and again:
//!
//! 1. Ask [`Errand::next`]. [`Next::Done`] ends it. [`Next::Make`] names the call that is to be
//!    under way now; while its `number` stays the same it is the same call, and when the number
//!    changes the call before it is dropped. `next` may be asked as often as one likes, and is to
//!    be asked after every word to the errand: `by` may move when the lease is prolonged.
//! 2. Ask [`Errand::renewal`]. When there is one and its time has come, say
//!    [`Errand::renewal_sent`] and ask the platform to prolong the lease, beside the other call;
//!    its answer, or the passing of `by`, goes to [`Errand::renewed`].
//! 3. Give the call's answer to [`Errand::answered`]. At `by` the call is dropped, answered or not,
//!    and [`Answer::Nothing`] is given: after a write nobody knows then whether it happened. When
//!    both are due at once, `by` goes first: a write must not leave late.
//! 4. [`Errand::stop`] ends it early: the lease is given back, and the attempt is of no account.
//!
//! Times are spans since the errand began, on a clock that only runs forward, so that they are
//! plain numbers. No write is begun unless enough of the lease is left, and the call is dropped a
//! margin before the lease ends; when a lease ends is counted from before it was asked for (see
//! [`HeldLease`]).

mod await_ready;
mod containers;
mod edit_config;
mod errand;
mod held_lease;
mod outcomes;
mod start_machine;
mod update_machine;

use std::time::Duration;

use jiff::Timestamp;

pub use errand::Errand;
pub use held_lease::{HeldLease, LEASE_MARGIN, LEASE_TTL, WRITE_MIN};

use crate::{
    decide::Outcome,
    model::{InstanceId, Machine, Release},
    ports::{Lease, MachineUpdate, PlatformError, WaitFor},
};

/// Ledger entries looked at for a newer release.
pub const LEDGER_LOOK: u32 = 10;

/// A moment: how long the errand has lasted, and the time of day on the platform's clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub elapsed: Duration,
    pub clock: Timestamp,
}

/// A call of the platform, or none for a while.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// For [`LEASE_TTL`].
    TakeLease,
    LookAtMachine,
    /// All machines of the app: one that is "not found" is gone only when the list agrees.
    ListMachines,
    /// The newest [`LEDGER_LOOK`] entries.
    ReadLedger,
    Update(MachineUpdate),
    Start,
    WaitFor {
        instance: InstanceId,
        state: WaitFor,
        slice: Duration,
    },
    /// Nothing, until `by`.
    Pause,
    GiveLeaseBack,
}

impl Call {
    /// Whether it changes the machine, and so may only be made under a live lease.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Update(_) | Self::Start)
    }
}

/// What a call came to.
#[derive(Clone, Debug)]
pub enum Answer {
    Lease(Result<Lease, PlatformError>),
    Machine(Result<Box<Machine>, PlatformError>),
    Machines(Result<Vec<Machine>, PlatformError>),
    Ledger(Result<Vec<Release>, PlatformError>),
    Updated(Result<InstanceId, PlatformError>),
    Started(Result<(), PlatformError>),
    Waited(Result<bool, PlatformError>),
    GivenBack(Result<(), PlatformError>),
    /// `by` has passed.
    Nothing,
}

/// What is to be under way.
#[derive(Clone, Debug)]
pub enum Next {
    Make { number: u64, call: Call, by: Duration },
    Done(Outcome),
}

/// When the lease is to be prolonged, and when to stop waiting for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    pub due: Duration,
    pub by: Duration,
}

#[cfg(test)]
mod tests;
