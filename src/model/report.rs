//! How far a rollback is: its regions, their machines, and what it waits for. Facts with their
//! numbers; the sentences are made of them in `notify/text`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    evidence::Tally,
    ids::{Digest, MachineId, Region, ReleaseVersion},
    reason::HoldReason,
};

/// What cannot be seen just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// The platform's API.
    Platform,
    /// Every metrics page of the app.
    Metrics,
    /// The pages of the region in question.
    RegionsPages,
}

/// How far one region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegionStage {
    /// Not begun.
    Waiting,
    /// Its machines are put on the known-good image.
    RollingBack,
    /// It has to look healthy on the known-good image.
    Confirming,
    Confirmed,
    /// Begun, and left as it is since the rollback stopped.
    Stopped,
    /// Left as it is: the policy limits the rollback, or nothing can be done there.
    Skipped,
}

impl RegionStage {
    /// The word for it, as people and programs are shown it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::RollingBack => "rolling_back",
            Self::Confirming => "confirming",
            Self::Confirmed => "confirmed",
            Self::Stopped => "stopped",
            Self::Skipped => "skipped",
        }
    }
}

/// What does not work on a machine that is to be put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum MachineFailure {
    /// The platform gave the update up and went back; the short digest that it runs.
    Reverted { runs: String },
    /// The platform says that the request is wrong, in its words.
    Refused { detail: String },
    /// It runs the known-good image, and these checks fail there, or its process ends by itself.
    Unhealthy { failing: Vec<String>, crashed: bool },
    /// It does not get ready in time; the state it is in.
    NotReady { state: String },
    /// It was verified on the known-good image and went back to the bad one, again and again.
    GoesBack,
    /// It was taken down, and does not come up.
    StaysDown,
}

/// Where one machine of a rollback stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
#[schema(as = Machine)]
pub enum MachineReport {
    /// It runs the known-good image; `at_rest`: stopped or suspended, as it was before.
    OnTarget {
        at_rest: bool,
    },
    /// Its turn has not come.
    Waiting,
    Updating,
    /// Somebody holds its lease.
    LeasedBy {
        owner: String,
    },
    /// It belongs to somebody's deploy that is still going on.
    OfDeploy {
        by: Option<String>,
    },
    /// It runs a job, which is let finish for up to a minute before its machine is put back.
    JobAtWork,
    HostUnreachable,
    Gone,
    /// Somebody put the bad image back on it by hand; it is left to them.
    SetByHand {
        digest: Digest,
    },
    /// It runs another image than the bad and the known-good one; it is left as it is.
    Runs {
        digest: Option<Digest>,
    },
    /// Its region was left alone.
    RegionLeftAlone,
    /// It could not be put right, and is tried again for as long as it serves the bad image.
    Failed {
        failure: MachineFailure,
    },
    /// The words of a version that kept words.
    Told {
        text: String,
    },
}

impl MachineReport {
    /// Whether it runs the known-good image.
    pub fn is_on_target(&self) -> bool {
        matches!(self, Self::OnTarget { .. })
    }
}

/// How far one region is, machine by machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = RegionProgress)]
pub struct RegionReport {
    pub region: Region,
    pub phase: RegionStage,
    /// Each machine concerned and where it stands.
    pub machines: BTreeMap<MachineId, MachineReport>,
}

/// What was counted of a breached threshold in a region on the known-good image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    pub threshold: String,
    pub tally: Tally,
    /// How much likelier the counts are at the limit than at the bad release's share, as a natural
    /// logarithm.
    pub ln_odds: f64,
}

/// What is wrong with a region that runs the known-good image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unwell {
    /// A threshold that was breached is no better there; what was counted since.
    NoBetter { threshold: String, tally: Tally },
    /// These machines are down, or fail their checks.
    Down { machines: Vec<MachineId> },
    /// Processes ended by themselves, so many times.
    Crashes { exits: u32 },
    /// The words of a version that kept words.
    #[serde(untagged)]
    Told(String),
}

/// What a rollback waits for. None of it ends the rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wait {
    /// Somebody holds a machine's lease.
    Lease { machine: MachineId, owner: String },
    /// Somebody's deploy is going on, on machines of its own beside the old ones.
    DeployOfSomebody { version: Option<ReleaseVersion>, by: Option<String> },
    /// The ledger has somebody's newer release that is on no machine yet.
    Announced { version: ReleaseVersion },
    /// The platform does not let us write, in its words.
    Denied { detail: String },
    /// The platform answers what cannot be understood.
    Unreadable { detail: String },
    /// The platform does not answer.
    Unanswered { detail: String },
    /// A machine takes its time to get ready on the known-good image.
    NotReady { machine: MachineId, state: String },
    /// Machines that cannot be put right, and that are tried again.
    Failing { machines: BTreeMap<MachineId, MachineFailure> },
    /// It cannot be seen how a region is.
    NotSeen { region: Option<Region>, what: Unseen },
    /// The platform lists no machine of a region.
    Unlisted { region: Region },
    /// Nothing tells yet whether a region is better on the known-good image.
    NoEvidence { region: Region, threshold: Option<String> },
    /// A region is not well on the known-good image.
    Unhealthy { region: Region, detail: Unwell },
    /// As many machines are down as may be; these may be so because of us, and cannot be seen to.
    NoPlace { down: Vec<MachineId> },
    /// Something forbids to go on for now.
    Held { hold: HoldReason },
    /// It was paused for so long that the release has to show its breach again.
    FreshBreach,
}

impl Wait {
    /// Whether two are the same one, whatever their numbers are by now.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held { hold }, Self::Held { hold: other }) => hold.is_same_kind(other),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}
