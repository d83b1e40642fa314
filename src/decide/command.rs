//! What is to be done outside, and what came of it. A command names a state to be reached, never a
//! change to be made, so that carrying it out twice does no harm.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::rival::{DeployKind, Verified};
use crate::model::{
    Digest, ImageRef, InstanceId, Machine, MachineId, MirrorTrouble, Observation, Order,
    ProcessGroup, PutBack, Region, ReleaseVersion,
};

/// Numbers an app's commands.
pub type CommandId = u64;

/// A machine runs a certain image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PutImage {
    pub machine: MachineId,
    pub region: Region,
    pub target: ImageRef,
    /// Only a machine that still runs this is touched.
    pub bad: Digest,
    /// What is to be put back besides the image: of the machine's process group, if of any.
    #[serde(default)]
    pub put_back: PutBack,
    /// Process groups of which another image is known to be good: a machine of one is left.
    #[serde(default)]
    pub leaves: BTreeSet<ProcessGroup>,
    /// The number that machines of the bad release carry.
    #[serde(default)]
    pub bad_release: Option<ReleaseVersion>,
    /// The release the machine is to carry in its metadata: number and, when known, id.
    pub release: Option<ReleaseVersion>,
    pub release_id: Option<String>,
    /// Number of the bad release: one above it that is not ours is somebody's newer one, and wins.
    pub after: ReleaseVersion,
    /// Ledger entries that are known to be ours.
    #[serde(default)]
    pub own: Vec<ReleaseVersion>,
    /// When the rollback began.
    #[serde(default)]
    pub since: Timestamp,
    /// How the machine was when we last verified the target on it, if we ever did.
    #[serde(default)]
    pub verified: Option<Verified>,
    /// Marks the machines that this rollback wrote.
    pub rollback: String,
    /// Whether it was up, or had crashed, when the rollback was planned: then it is to be up after.
    pub up: bool,
    /// Whether its group stayed up under the target: an end without an error is no job's then.
    #[serde(default)]
    pub stays_up: bool,
    /// Whether an attempt before this one may have taken it down, and it was not seen up since.
    #[serde(default)]
    pub taken_down: bool,
    /// Checks that failed on this machine when the target was trusted: they are not waited for.
    pub tolerates: BTreeSet<String>,
    /// How long it may take to start and to pass its checks.
    pub ready_timeout: Duration,
}

/// A machine that we took down, and that somebody's deploy then left stopped, runs again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartMachine {
    pub machine: MachineId,
    pub region: Region,
    /// The version that was seen at rest. Another one is somebody's newer wish, and is left.
    pub instance: InstanceId,
    /// When we took the machine down, by the platform's clock. If it was up since, it rests for
    /// another reason, and is left.
    pub down_since: Timestamp,
    /// The rollback that took it down.
    pub rollback: String,
    /// Whether its group stayed up under what it runs: then it is no job.
    #[serde(default)]
    pub stays_up: bool,
    /// Checks that are not waited for.
    pub tolerates: BTreeSet<String>,
    /// How long it may take to start and to pass its checks.
    pub ready_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Know whether an image can be pulled.
    CheckImage {
        image: ImageRef,
        before_use: bool,
        /// Whether it is the mirror that is asked.
        #[serde(default)]
        in_mirror: bool,
    },
    /// The mirror has a copy of an image.
    MirrorImage {
        from: ImageRef,
        /// With the tag that the copy gets.
        to: ImageRef,
    },
    /// The ledger has a running release of this image, newer than `after` and made since `since`.
    OpenRelease {
        image: String,
        after: ReleaseVersion,
        since: Timestamp,
    },
    PutImage(Box<PutImage>),
    StartMachine(Box<StartMachine>),
    /// A release of this image that the ledger made without our hearing of it, newer than `after`
    /// and made since `since`, has its final status.
    CloseStray {
        image: String,
        after: ReleaseVersion,
        since: Timestamp,
        complete: bool,
    },
    /// The ledger's release has its final status.
    CloseRelease {
        id: String,
        complete: bool,
    },
}

impl Command {
    /// Whether it goes on beside everything else, and nothing waits for it.
    pub fn is_beside(&self) -> bool {
        matches!(self, Self::MirrorImage { .. })
    }

    /// For logs.
    pub fn describe(&self) -> String {
        match self {
            Self::CheckImage { image, .. } => format!("check image {}", image.reference()),
            Self::MirrorImage { from, to } => {
                format!("copy image {} to {}", from.reference(), to.reference())
            }
            Self::OpenRelease { image, .. } => format!("open a release of {image}"),
            Self::PutImage(put) => {
                let more = if put.put_back.is_empty() { "" } else { " and its configuration" };
                format!("put {}{more} on machine {}", put.target.reference(), put.machine)
            }
            Self::StartMachine(start) => {
                format!("start machine {}, which we took down", start.machine)
            }
            Self::CloseStray { image, .. } => format!("close a stray release of {image}"),
            Self::CloseRelease { id, complete: true } => format!("mark release {id} complete"),
            Self::CloseRelease { id, complete: false } => format!("mark release {id} failed"),
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    ImagePresent,
    ImageMissing,
    /// The registry could not be asked.
    ImageUnknown {
        reason: String,
    },
    Mirrored,
    MirrorFailed {
        trouble: MirrorTrouble,
        reason: String,
    },
    ReleaseOpened {
        id: String,
        version: ReleaseVersion,
    },
    LedgerRefused {
        reason: String,
    },
    ReleaseClosed,
    /// The ledger did not answer; the release still counts as running there.
    ReleaseLeftOpen,
    Put(PutOutcome),
    Start(StartOutcome),
}

/// What came of putting an image on a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum PutOutcome {
    // Done.
    /// It runs the target because of us, verified, and its checks pass (or it rests, as it did).
    Updated { verified: Verified },
    /// It did so before this attempt touched it; a half-done attempt of ours that was found
    /// and seen through counts as this too.
    AlreadyOnTarget { verified: Verified },

    // Somebody else's: it is left alone.
    /// It carries somebody's newer release: the rollback is over.
    NewerRelease { version: ReleaseVersion, by: Option<String> },
    /// We had verified the target on it, and somebody put the bad image back by hand.
    SetByHand { digest: Digest },
    /// It runs an image that is neither bad nor the target, without a release.
    OtherImage { digest: Option<Digest> },
    /// It does not exist any more, by itself and in the list.
    Gone,

    // Passing causes: nothing is wrong with the machine, and it is tried again.
    /// Somebody holds its lease. `description` is what the holder says of it, often nothing.
    LeaseHeld { owner: String, description: String },
    /// It is a canary or green machine of somebody's deploy that is still going on.
    Deploying { version: Option<ReleaseVersion>, by: Option<String>, kind: DeployKind },
    /// The ledger has somebody's newer release that is on no machine yet.
    Announced { version: ReleaseVersion, by: Option<String> },
    /// The token may not do this now (401, 403).
    Denied { reason: String },
    /// The platform answered something that could not be understood.
    Unreadable { reason: String },
    /// It was to be updated at rest, and is up by now: it needs a place like any other.
    UpByNow,
    /// Its host does not answer, or the platform does not show its configuration.
    HostDown { status: String },
    /// It runs the target and is not ready within `ready_timeout`: `state` is where it stands,
    /// `since` when this attempt began to wait for it. A slow host, or checks without a result.
    NotReadyYet { state: String, since: Timestamp },
    /// The platform did not answer, a race was lost, the lease was lost, or too little of it was
    /// left to write under it. After a write that was not answered nobody knows whether it
    /// happened: the next attempt begins by looking.
    Unavailable { reason: String },

    // It was tried and did not work out.
    /// The platform gave the update up and went back; `runs` is the short digest it runs.
    Reverted { runs: String },
    /// The platform says that the request is wrong (400, 422), or its configuration cannot be
    /// edited.
    Refused { reason: String },
    /// It runs the target, and these checks fail there, or its process ends by itself.
    Unhealthy { failing: Vec<String>, crashed: bool },
}

/// What came of starting a machine that we took down.
#[derive(Clone, Debug, PartialEq)]
pub enum StartOutcome {
    /// It runs, and its checks pass.
    Started,
    /// It ran already, or was on its way there.
    AlreadyUp,
    /// It rests for a reason that is not ours: it is another version than was asked for, or it was
    /// up since we took it down, or it is a job that ended.
    NotOurs,
    /// As for an update: `Gone`, a passing cause, or what did not work out.
    Not(PutOutcome),
}

/// What `step` is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Observed(Observation),
    /// The daemon begins anew with commands pending: how far they came before is not known.
    Restarted,
    /// No policy names the app any more.
    Unwatched,
    /// A person's order, and the app's machines as they were listed last.
    Operator {
        order: Order,
        machines: Vec<Machine>,
    },
    Finished {
        command: CommandId,
        outcome: Outcome,
    },
}
