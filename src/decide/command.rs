//! What is to be done outside, and what came of it. A command names a state to be reached, never a
//! change to be made, so that carrying it out twice does no harm.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Digest, ImageRef, MachineId, Observation, Order, Region, ReleaseVersion};

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
    /// The release the machine is to carry in its metadata: number and, when known, id.
    pub release: Option<ReleaseVersion>,
    pub release_id: Option<String>,
    /// Number of the bad release: one above it that is not `release` is somebody's newer one, and
    /// wins.
    pub after: ReleaseVersion,
    pub rollback: String,
    /// Whether it was up, or had crashed, when the rollback was planned: then it is to be up after.
    pub up: bool,
    /// Checks that failed on this machine when the target was trusted: they are not waited for.
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
    },
    /// The ledger has a running release of this image, newer than `after` and made since `since`.
    OpenRelease {
        image: String,
        after: ReleaseVersion,
        since: Timestamp,
    },
    PutImage(Box<PutImage>),
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
    /// For logs.
    pub fn describe(&self) -> String {
        match self {
            Self::CheckImage { image, .. } => format!("check image {}", image.reference()),
            Self::OpenRelease { image, .. } => format!("open a release of {image}"),
            Self::PutImage(put) => {
                format!("put {} on machine {}", put.target.reference(), put.machine)
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
}

/// What came of putting an image on a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum PutOutcome {
    /// It runs the target, verified, and its checks pass.
    Updated,
    /// It did so before we touched it.
    AlreadyOnTarget,
    /// It carries a newer release of somebody's.
    Superseded {
        what: String,
    },
    /// Somebody put another image on it, without a release.
    Foreign {
        runs: String,
    },
    LeaseHeld {
        owner: String,
    },
    HostDown {
        status: String,
    },
    Gone,
    /// The platform could not be asked, or a race was lost: nothing is known to be wrong with the
    /// machine, and it is tried again.
    Unavailable {
        reason: String,
    },
    /// It was tried and did not work out: reverted by the platform, refused, or not healthy.
    Failed {
        reason: String,
    },
}

/// What `step` is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Observed(Observation),
    /// No policy names the app any more.
    Unwatched,
    /// A person's order.
    Operator(Order),
    Finished {
        command: CommandId,
        outcome: Outcome,
    },
}
