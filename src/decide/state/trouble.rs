//! What stands in the way and is remembered: blindness, images left over, entries that stay open.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::MachineId;

/// The platform or the metrics cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blind {
    pub since: Timestamp,
    pub reason: String,
    pub announced: bool,
    /// It was told as what a person has to look at.
    #[serde(default)]
    pub pressed: bool,
}

/// How long something may be unreadable before people are told.
const ANNOUNCED_AFTER: SignedDuration = SignedDuration::from_secs(15);

impl Blind {
    /// Whether it lasts for longer than the moment that nobody needs to hear of.
    pub fn lasts(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) >= ANNOUNCED_AFTER
    }
}

/// An image that was rolled back serves, and no rollback is at work on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOver {
    /// Since when it is these very machines.
    pub unchanged_since: Timestamp,
    /// The machines, each since when it does.
    #[serde(default)]
    pub serving: BTreeMap<MachineId, Timestamp>,
    /// Those that people know of.
    #[serde(default)]
    pub named: BTreeSet<MachineId>,
}

/// A ledger entry that still says `running`: other tools wait for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unclosed {
    pub complete: bool,
    pub tries: u32,
    pub next: Timestamp,
}
