//! Why nothing is done about a release: facts with their numbers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    change::Stays,
    evidence::Tally,
    ids::{ProcessGroup, Region, ReleaseVersion},
    operator::{OperatorHold, Signed},
    reason::Reason,
    report::Unwell,
    setup::Drift,
};

/// Why nothing is done about a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HoldReason {
    /// The policy only observes.
    ObserveMode,
    /// An operator said so.
    Operator {
        hold: OperatorHold,
    },
    NothingTrusted,
    /// The newest known-good release never ran in a process group that runs this one, and none did
    /// in all of them.
    NotSeenInGroup {
        group: ProcessGroup,
        release: String,
    },
    /// Only a baked release is there, and the failure is a partial one.
    OnlyBaked,
    /// The image is that of the known-good release; what changed instead, where that is known.
    SameImage {
        #[serde(default)]
        drift: Option<Drift>,
    },
    /// These containers ran the app's image under the known-good release and have one of their own
    /// now: a rollback would not come to them.
    ContainersStay {
        containers: Vec<String>,
    },
    /// The release ran migrations.
    Migrations,
    /// A release after the known-good one ran migrations.
    MigrationsSince {
        version: ReleaseVersion,
    },
    /// The ledger has not told yet whether the release ran migrations.
    MigrationsUnknown,
    DailyBudget {
        max: u32,
    },
    /// So many rollbacks of all apps are the most in 24 hours.
    OrganizationBudget {
        max: u32,
    },
    /// A time in which nothing is rolled back by itself.
    Frozen {
        reason: String,
        until: Timestamp,
    },
    /// It degrades after it was trusted, and is left as it is.
    Late {
        stays: Stays,
    },
    /// What ran before it failed a threshold as much: it came into an app that was degraded already.
    DegradedBefore {
        threshold: String,
        by: String,
        /// The share that failed then, where it counts events.
        share: Option<f64>,
    },
    /// A person does not want this release to be rolled back.
    Vetoed {
        by: Signed,
    },
    /// A person put it back, although it was not seen healthy: whatever it shows is told.
    PutByHand {
        by: Signed,
    },
    /// A person's yes was waited for, and did not come.
    NotApproved,
    AlreadyRolledBack,
    /// The machines that still run the known-good release do no better at the same time.
    ControlToo {
        threshold: String,
        control: Tally,
    },
    /// So many other apps degraded in one region at the same time.
    PlatformIncident {
        region: Region,
        apps: u32,
    },
    ImagesMissing,
    RegistryUnavailable {
        detail: String,
    },
    /// The first region is no better on the known-good release.
    NoImprovement {
        region: Region,
        detail: Unwell,
    },
    /// After a long pause the release does not show its breach again.
    NoFreshBreach,
    /// The policy that watched the app is gone.
    NotWatched,
}

impl HoldReason {
    /// Whether the hold is expected to end by itself soon: the app is watched as closely as before.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::MigrationsUnknown
            | Self::ControlToo { .. }
            | Self::PlatformIncident { .. }
            | Self::Late { .. }
            | Self::RegistryUnavailable { .. } => true,
            Self::ObserveMode
            | Self::Operator { .. }
            | Self::NothingTrusted
            | Self::NotSeenInGroup { .. }
            | Self::OnlyBaked
            | Self::SameImage { .. }
            | Self::ContainersStay { .. }
            | Self::Migrations
            | Self::MigrationsSince { .. }
            | Self::DailyBudget { .. }
            | Self::OrganizationBudget { .. }
            | Self::Frozen { .. }
            | Self::DegradedBefore { .. }
            | Self::Vetoed { .. }
            | Self::PutByHand { .. }
            | Self::NotApproved
            | Self::AlreadyRolledBack
            | Self::ImagesMissing
            | Self::NoImprovement { .. }
            | Self::NoFreshBreach
            | Self::NotWatched => false,
        }
    }

    /// Whether two reasons are the same one, whatever their numbers are by now.
    pub fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl From<HoldReason> for Reason {
    fn from(hold: HoldReason) -> Self {
        Self::Held { hold }
    }
}
