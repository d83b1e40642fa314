//! What is remembered of an app between rounds: the journal's document, and `step`'s argument.
//!
//! Everything a decision depends on is in here, commands that were decided and not yet known to be
//! done included, so that a daemon killed at any instant goes on where it stopped. Every list has
//! a bound.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    command::{Command, CommandId},
    detect::{ratio::RatioDetector, runs::Sustained},
};
use crate::model::{
    AppName, Digest, Evidence, ImageRef, InstanceId, MachineId, Region, ReleaseVersion,
    event::ReleaseInfo,
};

/// Trusted releases remembered per app: rollback targets, the newest first.
pub const TRUSTED_MAX: usize = 10;
/// Quarantined digests remembered per app.
pub const QUARANTINED_MAX: usize = 50;
/// Releases of our own remembered per app.
pub const OWN_RELEASES_MAX: usize = 20;

/// A release with the image it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub version: Option<ReleaseVersion>,
    pub digest: Digest,
    pub image: ImageRef,
    pub author: Option<String>,
    pub created_at: Option<Timestamp>,
    /// `None`: the ledger did not say.
    pub has_release_command: Option<bool>,
}

impl Revision {
    /// As people are shown it.
    pub fn info(&self) -> ReleaseInfo {
        ReleaseInfo {
            version: self.version,
            tag: self.image.tag.clone(),
            digest: self.digest.clone(),
            author: self.author.clone(),
            created_at: self.created_at,
        }
    }

    pub fn label(&self) -> String {
        self.info().label()
    }
}

/// A release that earned trust.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trusted {
    pub revision: Revision,
    pub at: Timestamp,
    /// When its image was last found in the registry.
    pub image_seen_at: Option<Timestamp>,
    /// The registry said that the image is gone.
    pub image_missing: bool,
    /// Unplanned exits per machine during its watch, for comparison.
    pub crashes_per_machine: f64,
}

/// A digest that was rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    pub digest: Digest,
    pub version: Option<ReleaseVersion>,
    pub at: Timestamp,
}

/// Exits counted on one machine of the watched release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrashCount {
    pub exits: u32,
    pub oom: u32,
    /// Exits up to this one are counted; the platform truncates and resets its event list.
    pub counted_to: Option<Timestamp>,
}

/// Bad and all events of one threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub n: f64,
    pub k: f64,
}

/// The time from the first machine on a release until it is trusted or rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub revision: Revision,
    pub since: Timestamp,
    pub settled_at: Option<Timestamp>,
    /// Since when machines exist and none of them runs the release any more.
    pub gone_since: Option<Timestamp>,
    /// When the first of its machines was seen up.
    pub up_since: Option<Timestamp>,
    /// When its first counted requests came.
    pub traffic_since: Option<Timestamp>,
    /// When the detectors began anew (see `watch::renew`).
    pub detecting_since: Timestamp,
    /// The app's first release we see: it ran before us, and there is nothing to go back to.
    pub learning: bool,
    /// Whether it has a release number of its own: an image put on machines by hand has not.
    pub numbered: bool,
    /// A digest that was rolled back before: no warm-up.
    pub no_mercy: bool,
    pub detectors: BTreeMap<String, RatioDetector>,
    pub gauges: BTreeMap<String, BTreeMap<MachineId, Sustained>>,
    pub crashes: BTreeMap<MachineId, CrashCount>,
    /// Instances whose counters are followed: their first scrape counts once only.
    pub absorbed: BTreeSet<InstanceId>,
    /// Per region and threshold.
    pub regions: BTreeMap<Region, BTreeMap<String, Tally>>,
    /// Machines that run the known-good release meanwhile, per threshold.
    pub control: BTreeMap<String, Tally>,
    /// Per threshold: when it last had data.
    pub data_at: BTreeMap<String, Timestamp>,
    /// Thresholds whose selector matched nothing on any page of the last round.
    pub unmatched: BTreeSet<String>,
    /// Rounds in which pages were read.
    pub unmatched_rounds: u32,
    /// Of those thresholds people were told.
    pub unmatched_told: BTreeSet<String>,
    /// Breaches of thresholds that only alert, of which people were told.
    pub alerted: BTreeSet<String>,
    /// The numbers as of the last round.
    pub evidence: Vec<Evidence>,
    pub last_ledger_status: Option<String>,
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HoldReason {
    ObserveMode,
    NothingTrusted,
    SameImage,
    Migrations,
    DailyBudget { max: u32 },
    AlreadyRolledBack,
    PlatformIncident { region: Region, apps: u32 },
    ImagesMissing,
    RegistryUnavailable { reason: String },
    NoImprovement { region: Region, detail: String },
    CannotConfirm { region: Region, detail: String },
    RegionFailed { region: Region, detail: String },
    Stalled { region: Region, minutes: u64, detail: String },
}

impl HoldReason {
    /// Whether the hold ends by itself when its cause does.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::PlatformIncident { .. } | Self::RegistryUnavailable { .. } => true,
            Self::ObserveMode
            | Self::NothingTrusted
            | Self::SameImage
            | Self::Migrations
            | Self::DailyBudget { .. }
            | Self::AlreadyRolledBack
            | Self::ImagesMissing
            | Self::NoImprovement { .. }
            | Self::CannotConfirm { .. }
            | Self::RegionFailed { .. }
            | Self::Stalled { .. } => false,
        }
    }
}

impl std::fmt::Display for HoldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ObserveMode => f.write_str("the policy only observes (mode = \"observe\")"),
            Self::NothingTrusted => {
                f.write_str("no release of this app is trusted yet: there is nothing to go back to")
            }
            Self::SameImage => f.write_str(
                "the image is that of the known-good release, so an image rollback cannot help: \
                 configuration, secrets or scale changed",
            ),
            Self::Migrations => f.write_str(
                "the release ran a release_command (migrations); allow it with \
                 migrations = \"rollback\"",
            ),
            Self::DailyBudget { max } => {
                write!(f, "the budget of {max} rollbacks in 24 hours is used up")
            }
            Self::AlreadyRolledBack => f.write_str("this release was rolled back once already"),
            Self::PlatformIncident { region, apps } => write!(
                f,
                "{apps} other apps degraded in {region} at the same time: that looks like the \
                 platform, not this release"
            ),
            Self::ImagesMissing => {
                f.write_str("no trusted release's image is left in the registry")
            }
            Self::RegistryUnavailable { reason } => {
                write!(f, "the registry cannot say whether the image exists: {reason}")
            }
            Self::NoImprovement { region, detail } => {
                write!(f, "{region} did not improve on the known-good release: {detail}")
            }
            Self::CannotConfirm { region, detail } => {
                write!(f, "{region} cannot be confirmed: {detail}")
            }
            Self::RegionFailed { region, detail } => {
                write!(f, "{region} could not be rolled back: {detail}")
            }
            Self::Stalled { region, minutes, detail } => {
                write!(f, "no machine of {region} came further for {minutes} minutes: {detail}")
            }
        }
    }
}

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
    pub tallies: BTreeMap<String, Tally>,
    pub crashes: BTreeMap<MachineId, CrashCount>,
    /// Instances whose counters are followed.
    pub absorbed: BTreeSet<InstanceId>,
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
    pub target: Revision,
    pub evidence: Vec<Evidence>,
    pub started_at: Timestamp,
    /// When a machine or a region last came further.
    pub progress_at: Timestamp,
    pub ledger: LedgerEntry,
    /// In the order in which they are rolled back.
    pub regions: Vec<RegionWork>,
    /// A total outage: all machines of a region at once.
    pub escalated: bool,
    pub completed_at: Option<Timestamp>,
}

/// Where an app is in the life of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// No machine seen yet.
    Unseen,
    /// Learning, deploying or baking: which, the watch tells.
    Watching(Box<Watch>),
    Steady,
    CountingDown {
        watch: Box<Watch>,
        until: Timestamp,
    },
    /// The target's image is looked up before anything is touched.
    CheckingImage {
        watch: Box<Watch>,
        target: Revision,
    },
    RollingBack(Box<Rollback>),
    /// The rollback is over; machines that come back with the bad image are still put right.
    RolledBack(Box<Rollback>),
    Held {
        watch: Box<Watch>,
        reason: HoldReason,
        since: Timestamp,
    },
    /// A rollback that stopped half way.
    Stopped {
        rollback: Box<Rollback>,
        reason: HoldReason,
        since: Timestamp,
    },
}

/// The platform or the metrics cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blind {
    pub since: Timestamp,
    pub reason: String,
    pub announced: bool,
}

/// All that is remembered of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppState {
    pub app: AppName,
    pub phase: Phase,
    /// The newest first; those with a missing image are no targets.
    pub trusted: Vec<Trusted>,
    pub quarantined: Vec<Quarantined>,
    /// Starts of rollbacks in the last 24 hours.
    pub rollbacks: Vec<Timestamp>,
    /// What the app runs or is being moved to, as last decided, and since when.
    pub current: Option<Revision>,
    pub current_since: Option<Timestamp>,
    /// What it ran before that, if that was another image.
    pub previous: Option<Revision>,
    /// The highest release number seen on a machine or in the ledger.
    pub seen_version: ReleaseVersion,
    /// Ledger entries we made.
    pub own_releases: Vec<ReleaseVersion>,
    pub platform_blind: Option<Blind>,
    pub metrics_blind: Option<Blind>,
    pub mixed_since: Option<Timestamp>,
    pub mixed_announced: bool,
    pub next_command: CommandId,
    /// Decided, not yet known to be done; carried out again after a restart.
    pub pending: BTreeMap<CommandId, Command>,
}

impl AppState {
    /// An app nothing is known of.
    pub fn new(app: AppName) -> Self {
        Self {
            app,
            phase: Phase::Unseen,
            trusted: Vec::new(),
            quarantined: Vec::new(),
            rollbacks: Vec::new(),
            current: None,
            current_since: None,
            previous: None,
            seen_version: ReleaseVersion(0),
            own_releases: Vec::new(),
            platform_blind: None,
            metrics_blind: None,
            mixed_since: None,
            mixed_announced: false,
            next_command: 1,
            pending: BTreeMap::new(),
        }
    }

    /// The newest trusted release whose image is not known to be gone.
    pub fn known_good(&self) -> Option<&Trusted> {
        self.trusted.iter().find(|trusted| !trusted.image_missing)
    }

    /// The word for the phase, as people and the API are shown it.
    pub fn phase_word(&self) -> &'static str {
        match &self.phase {
            Phase::Unseen => "learning",
            Phase::Watching(watch) if watch.learning => "learning",
            Phase::Watching(watch) if watch.settled_at.is_none() => "deploying",
            Phase::Watching(_) => "baking",
            Phase::Steady => "steady",
            Phase::CountingDown { .. } | Phase::CheckingImage { .. } => "counting_down",
            Phase::RollingBack(rollback) if rollback.is_confirming() => "confirming",
            Phase::RollingBack(_) => "rolling_back",
            Phase::RolledBack(_) => "rolled_back",
            Phase::Held { .. } | Phase::Stopped { .. } => "held",
        }
    }

    /// Whether rounds should come at the watch's pace.
    pub fn is_active(&self) -> bool {
        match &self.phase {
            Phase::Unseen
            | Phase::Watching(_)
            | Phase::CountingDown { .. }
            | Phase::CheckingImage { .. }
            | Phase::RollingBack(_) => true,
            Phase::Held { reason, .. } => reason.is_passing(),
            Phase::Steady | Phase::Stopped { .. } => false,
            Phase::RolledBack(_) => !self.pending.is_empty(),
        }
    }
}

impl Rollback {
    /// The region being worked on.
    pub fn active_region(&self) -> Option<&RegionWork> {
        self.regions.iter().find(|work| match work.phase {
            RegionPhase::Updating | RegionPhase::Confirming(_) | RegionPhase::Waiting => true,
            RegionPhase::Confirmed { .. } | RegionPhase::Skipped => false,
        })
    }

    pub fn is_confirming(&self) -> bool {
        self.active_region().is_some_and(|work| matches!(work.phase, RegionPhase::Confirming(_)))
    }
}
