//! What came of an order, as facts; the sentences are made in `notify/text`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    event::ReleaseInfo,
    evidence::Evidence,
    ids::{MachineId, Region, ReleaseVersion},
    name::Unresolved,
    operator::{OperatorHold, Signed},
    policy::Strategy,
    setup::Drift,
};

/// What came of an operator's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done(Effect),
    /// Nothing was changed.
    Refused(Refusal),
}

/// What an order did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    Held,
    Unheld,
    /// Its rollback begins.
    Approved {
        release: ReleaseInfo,
    },
    /// It is not rolled back by itself.
    Vetoed {
        release: ReleaseInfo,
    },
    /// Its rollback goes on, or it may be rolled back again.
    Resumed {
        release: ReleaseInfo,
    },
    /// A rollback by hand begins when the image was found.
    Begun {
        plan: Plan,
    },
    /// What would be done; nothing was.
    Planned {
        plan: Plan,
    },
    Pinned {
        release: ReleaseInfo,
    },
    Unpinned {
        release: Option<ReleaseInfo>,
    },
    Quarantined {
        release: ReleaseInfo,
    },
    Unquarantined {
        release: ReleaseInfo,
    },
    Trusted {
        release: ReleaseInfo,
        /// It was rolled back, or quarantined by a person.
        #[serde(default)]
        undone: Option<Undone>,
    },
}

/// How a release was undone that a person vouches for all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    pub at: Timestamp,
    /// What was counted of it, where it is the last that was rolled back.
    pub evidence: Vec<Evidence>,
    /// Who ordered that, if a person did.
    pub by: Option<Signed>,
}

/// What a rollback by hand does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub from: ReleaseInfo,
    pub to: ReleaseInfo,
    /// The image that is put on the machines.
    pub image: String,
    pub strategy: Strategy,
    /// In their order.
    pub regions: Vec<PlannedRegion>,
    /// A release between the two, or the later one itself, that ran a release command.
    pub migration: Option<ReleaseVersion>,
    /// What changed besides the image, and what of it is put back; `None`: not known.
    #[serde(default)]
    pub drift: Option<Box<Drift>>,
    /// Whether the release that is gone to was seen healthy, or a person vouched for it.
    pub was_healthy: bool,
}

/// The machines of one region that a plan changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRegion {
    pub region: Region,
    pub machines: Vec<MachineId>,
    /// How many of them are stopped or suspended, and stay so.
    pub at_rest: usize,
}

/// What stands against an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// The app's machines were not listed yet.
    NotLookedAt,
    /// The platform cannot be read, in its words.
    Blind {
        detail: String,
    },
    /// An operator's hold is on.
    Held {
        hold: OperatorHold,
    },
    NothingToApprove,
    NothingToVeto,
    NothingToResume,
    /// A rollback is under way already: a hold stops it.
    UnderWay,
    /// The same rollback is under way already.
    SamePlan {
        to: ReleaseInfo,
    },
    /// The name is no release.
    NoSuchRelease {
        name: String,
        problem: Unresolved,
    },
    /// It is known by its digest alone: nobody knows in which repository it is.
    NoImage {
        release: ReleaseInfo,
    },
    /// The release stands in the ledger, and the registry has its image no more.
    ImageGone {
        name: String,
        image: String,
    },
    /// The release stands in the ledger, and the registry does not say which image it is.
    RegistrySilent {
        detail: String,
    },
    /// Nothing was seen healthy that could be gone back to.
    NothingToGoBackTo {
        known: Vec<ReleaseInfo>,
    },
    /// Every machine concerned runs it.
    RunsEverywhere {
        release: ReleaseInfo,
    },
    NoMachineIn {
        region: Region,
        has: Vec<Region>,
    },
    /// A migration lies between the two; `force` goes all the same.
    Migration {
        version: ReleaseVersion,
        to: ReleaseInfo,
    },
    /// It was never seen healthy; `force` goes all the same.
    NeverHealthy {
        release: ReleaseInfo,
    },
    /// These containers have images of their own, which a rollback to it does not come to; `force` goes all the
    /// same.
    ContainersStay {
        containers: Vec<String>,
        to: Box<ReleaseInfo>,
    },
    /// It is what a person wants to be gone back to.
    IsPinned {
        release: ReleaseInfo,
    },
    NothingPinned,
    /// To pin a release it has to be trusted.
    NotTrusted {
        release: ReleaseInfo,
    },
    /// It is what the app runs: a rollback is what goes back from it.
    RunsNow {
        release: ReleaseInfo,
    },
    NotQuarantined {
        release: ReleaseInfo,
    },
    IsRolledBack {
        release: ReleaseInfo,
    },
}
