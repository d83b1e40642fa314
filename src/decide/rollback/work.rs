//! What a rollback remembers of itself: its regions, their machines, and how far each is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{
    command::CommandId,
    state::{CrashCount, FailingChecks, Revision},
};
use crate::{
    model::{Digest, Evidence, InstanceId, MachineId, ProcessGroup, Region, ReleaseVersion},
    threshold::Confirming,
};

/// How the ledger entry of a rollback stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LedgerEntry {
    Opening,
    Open {
        id: String,
        version: ReleaseVersion,
    },
    /// The ledger refused; the rollback goes on without it.
    Refused {
        reason: String,
    },
}

/// Where one machine of a rollback stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MachinePhase {
    Todo,
    InFlight {
        command: CommandId,
    },
    OnTarget,
    Leased {
        owner: String,
    },
    HostDown,
    Gone,
    /// It runs neither the bad image nor the target: somebody put another one on it.
    Superseded {
        runs: String,
    },
    Failed {
        reason: String,
    },
}

/// One machine of a rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineWork {
    pub phase: MachinePhase,
    /// Attempts that failed, not counting waits for a lease.
    pub attempts: u32,
    /// Not again before.
    pub retry_at: Option<Timestamp>,
    /// When it was last verified on the target.
    pub touched_at: Option<Timestamp>,
    /// Whether it was up when it was planned: the others are updated and left as they are.
    pub running: bool,
    /// The bad image it runs, or ran when it was planned.
    pub bad: Digest,
    /// Capacity is kept within a group of a region.
    pub group: ProcessGroup,
    /// Since when the platform has not listed it.
    pub missing_since: Option<Timestamp>,
}

impl MachineWork {
    /// Whether we touched it while it was up, and it is not known to be up again.
    pub fn is_down_by_us(&self) -> bool {
        let back = matches!(
            self.phase,
            MachinePhase::OnTarget | MachinePhase::Gone | MachinePhase::Superseded { .. }
        );
        self.running && self.attempts > 0 && !back
    }

    pub fn is_in_flight(&self) -> bool {
        matches!(self.phase, MachinePhase::InFlight { .. })
    }
}

/// What a region showed on the known-good release since it was confirmed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirm {
    pub since: Timestamp,
    /// Windows begun, this one included.
    pub windows: u32,
    /// What each threshold counted since.
    pub thresholds: BTreeMap<String, Confirming>,
    pub crashes: BTreeMap<MachineId, CrashCount>,
    /// Instances whose counters are followed.
    pub absorbed: BTreeSet<InstanceId>,
    /// When one of the region's pages was last read.
    pub read_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegionPhase {
    Waiting,
    Updating,
    Confirming(Confirm),
    Confirmed {
        detail: String,
    },
    /// Left alone: the policy limits the rollback to breaching regions.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionWork {
    pub region: Region,
    pub phase: RegionPhase,
    pub machines: BTreeMap<MachineId, MachineWork>,
}

/// Putting the known-good image on every machine that runs the bad one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// Marks the machines it touched.
    pub id: String,
    pub bad: Revision,
    /// The highest release number seen when it began: above it, what is not ours is newer.
    pub after: ReleaseVersion,
    pub target: Revision,
    pub evidence: Vec<Evidence>,
    pub started_at: Timestamp,
    /// When a machine or a region last came further.
    pub progress_at: Timestamp,
    pub ledger: LedgerEntry,
    /// In the order in which they are rolled back.
    pub regions: Vec<RegionWork>,
    /// Checks that failed when the target was trusted.
    pub tolerated: FailingChecks,
    /// A total outage: all machines of a region at once.
    pub escalated: bool,
    /// Somebody's newer release that stands in the ledger and on no machine yet: no machine is
    /// begun while that may change.
    pub waits_for: Option<ReleaseVersion>,
    pub completed_at: Option<Timestamp>,
}

impl RegionWork {
    /// Whether it is still to be begun, or under way.
    pub fn is_open(&self) -> bool {
        match self.phase {
            RegionPhase::Waiting | RegionPhase::Updating | RegionPhase::Confirming(_) => true,
            RegionPhase::Confirmed { .. } | RegionPhase::Skipped => false,
        }
    }

    /// Whether it was confirmed with a machine up on the target: the rollback is seen to help.
    pub fn has_proved(&self) -> bool {
        let is_up =
            |machine: &MachineWork| machine.running && machine.phase == MachinePhase::OnTarget;
        matches!(self.phase, RegionPhase::Confirmed { .. }) && self.machines.values().any(is_up)
    }
}

impl Rollback {
    /// The region being worked on.
    pub fn active_region(&self) -> Option<&RegionWork> {
        self.regions.iter().find(|work| work.is_open())
    }

    pub fn is_confirming(&self) -> bool {
        self.active_region().is_some_and(|work| matches!(work.phase, RegionPhase::Confirming(_)))
    }
}
