//! What is remembered of an app between rounds: the journal's document, and `step`'s argument.
//!
//! Everything a decision depends on is in here, commands that were decided and not yet known to be
//! done included, so that a daemon killed at any instant goes on where it stopped. Every list has
//! a bound.

mod phase;
mod trouble;
mod trusted;
mod watched;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use super::aftermath::Aftermath;
pub use super::alerts::Alert;
pub use super::floor::Past;
pub use super::late::{Before, Late};
pub use super::mirror::Mirror;
pub use super::rollback::left_down::LeftDown;
pub use super::rollback::work::{
    Confirm, LedgerEntry, MachinePhase, MachineWork, RegionPhase, RegionWork, Rollback,
};
pub use super::silence::Silence;
pub use super::unjudged::Unjudged;
use super::{
    command::{Command, CommandId},
    distress::{Suspicion, Vigil},
};
pub use crate::threshold::CrashCount;
use crate::{
    model::{
        AppName, Digest, Evidence, HoldReason, ImageRef, InstanceId, MachineId, Obstacle,
        OperatorHold, OrgContext, ProcessGroup, Region, ReleaseStatus, ReleaseVersion, Secrets,
        Setups, Signed, SourceName, Strategy, event::ReleaseInfo, reason::Change,
    },
    threshold::{MachineSeen, Onset, ThresholdState},
};
pub use trouble::{Blind, LeftOver, Unclosed};
pub use trusted::Trusted;

/// Trusted releases remembered per app: rollback targets, the newest first.
pub const TRUSTED_MAX: usize = 10;
/// Quarantined digests remembered per app.
pub const QUARANTINED_MAX: usize = 50;
/// Digests remembered per app as having degraded.
pub const SUSPECTS_MAX: usize = 20;
/// Releases with migrations remembered per app.
pub const MIGRATED_MAX: usize = 50;
/// Machines remembered per app as part of its releases.
pub const MEMBERS_MAX: usize = 2000;
/// Releases of our own remembered per app.
pub const OWN_RELEASES_MAX: usize = 20;

/// How long a release is looked at at the watch's pace.
pub(super) const WATCHED_CLOSELY: SignedDuration = SignedDuration::from_hours(2);

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

/// What a person wants to be gone back to, whatever is trusted later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    pub digest: Digest,
    pub signed: Signed,
}

/// A rollback that a person ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByHand {
    pub signed: Signed,
    /// Only these regions; empty: all.
    pub regions: BTreeSet<Region>,
    /// Instead of the policy's.
    pub strategy: Option<Strategy>,
    /// Whatever forbids it that a person may put aside.
    pub force: bool,
    /// Images besides the bad release's that are to be replaced as well.
    pub also_bad: BTreeSet<Digest>,
    /// It goes to a newer release: what it replaces is not bad for that.
    pub forward: bool,
}

/// Names of failing checks, by machine.
pub type FailingChecks = BTreeMap<MachineId, BTreeSet<String>>;

/// A digest that was rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    pub digest: Digest,
    pub version: Option<ReleaseVersion>,
    pub at: Timestamp,
    /// Its rollback ended before every machine was put right: what is left of it is news.
    #[serde(default)]
    pub unfinished: bool,
    /// Its image, so that people can call it by its tag; `None`: noted by an older version.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// Process groups that it ran in; empty: not known.
    #[serde(default)]
    pub groups: BTreeSet<ProcessGroup>,
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
    /// When its first and its newest counted requests came.
    pub traffic_since: Option<Timestamp>,
    pub traffic_at: Option<Timestamp>,
    /// When it last recovered from a breach: its bake counts from then.
    pub recovered_at: Option<Timestamp>,
    /// Process groups of its machines.
    pub groups: BTreeSet<ProcessGroup>,
    /// When it was last looked at: evidence from before a long gap is none.
    pub looked_at: Option<Timestamp>,
    /// When a breach was forgotten since nothing was seen for too long: what there is to say is said anew.
    #[serde(default)]
    pub forgot_at: Option<Timestamp>,
    /// Detector blocks with requests in them.
    pub blocks: u32,
    /// Whether the ledger's entry of the release has been read.
    pub in_ledger: bool,
    /// Whether people know that the registry does not answer.
    pub registry_told: bool,
    /// The app's first release we see: it ran before us, and there is nothing to go back to.
    pub learning: bool,
    /// It is trusted, and looked at on.
    #[serde(default)]
    pub is_vigil: bool,
    /// All machines are looked at as one, whatever they run: a rollback stopped between two images.
    #[serde(default)]
    pub of_all: bool,
    /// Whether it has a release number of its own: an image put on machines by hand has not.
    pub numbered: bool,
    /// A digest that was rolled back before: no warm-up.
    pub no_mercy: bool,
    /// What we saw of its machines.
    pub machines: BTreeMap<MachineId, MachineSeen>,
    /// Rounds it was looked at.
    pub looks: u32,
    /// What each threshold remembers, by its name.
    pub thresholds: BTreeMap<String, ThresholdState>,
    /// Instances whose counters are followed: their first scrape counts once only.
    pub absorbed: BTreeSet<InstanceId>,
    /// Regions in which its machines were seen.
    pub regions: BTreeSet<Region>,
    /// Whether it looks as if it degraded.
    pub suspicion: Option<Suspicion>,
    /// Thresholds that were passed by what ran before, until it began.
    #[serde(default)]
    pub past: BTreeSet<String>,
    /// Since when its breaches are, by threshold.
    #[serde(default)]
    pub onsets: BTreeMap<String, Onset>,
    /// Seconds for which it was seen healthy since it settled, or recovered.
    pub seen_s: f64,
    /// Up to when that is counted.
    pub earned_to: Option<Timestamp>,
    /// Why the last round earned it nothing.
    pub obstacle: Option<Obstacle>,
    /// Groups whose metrics pages are to be had.
    pub fed_groups: BTreeSet<ProcessGroup>,
    /// When it was seen healthy for its whole bake.
    pub baked_at: Option<Timestamp>,
    pub baked_told: bool,
    pub untrusted_told: bool,
    /// Breaches of thresholds that only alert, of which people were told, as an older version noted
    /// them: see `Memory::alerts`.
    pub alerted: BTreeSet<String>,
    /// When a recovery called a countdown off.
    #[serde(default)]
    pub called_off: Vec<Timestamp>,
    /// Machines that fail alone, of which people were told.
    #[serde(default)]
    pub apart: BTreeSet<MachineId>,
    /// The numbers as of the last round.
    pub evidence: Vec<Evidence>,
    /// What the ledger said of it last.
    pub last_ledger_status: Option<ReleaseStatus>,
    /// A person does not want it rolled back.
    #[serde(default)]
    pub vetoed: Option<Signed>,
    /// It was a person who put it back, which is no veto.
    #[serde(default)]
    pub put_by_hand: bool,
    /// A person said yes to its rollback.
    #[serde(default)]
    pub approved: Option<Signed>,
    /// Nobody said yes in time.
    #[serde(default)]
    pub lapsed: bool,
    /// Its machines carry more than one number: those of before, and that of a rollback's entry.
    #[serde(default)]
    pub any_number: bool,
    /// How its machines are configured; read when it breaches.
    #[serde(default)]
    pub setup: Option<Setups>,
    /// It was trusted, and degraded.
    #[serde(default)]
    pub late: Option<Late>,
    /// What ran before it was degraded when it came.
    #[serde(default)]
    pub before: Option<Before>,
    /// Instances that ran what it is compared with, and when each was seen last.
    #[serde(default)]
    pub beside: BTreeMap<InstanceId, Timestamp>,
}

/// Where an app is in the life of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// No machine seen yet.
    Unseen,
    /// Learning, deploying or baking: which, the watch tells.
    Watching(Box<Watch>),
    Steady,
    /// A rollback is announced. Until then it can be called off, or has to be approved.
    CountingDown {
        watch: Box<Watch>,
        until: Timestamp,
        /// It waits for a person's yes, and comes to nothing without it.
        #[serde(default)]
        for_approval: bool,
        /// It lasts only until then once somebody vouches that it is the release.
        #[serde(default)]
        if_vouched: Option<Timestamp>,
    },
    /// The target's image is looked up before anything is touched.
    CheckingImage {
        watch: Box<Watch>,
        target: Revision,
        /// A person ordered it.
        #[serde(default)]
        by_hand: Option<Box<ByHand>>,
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

/// All that is kept of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppState {
    pub phase: Phase,
    pub memory: Memory,
}

/// What is remembered of an app whatever phase it is in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub app: AppName,
    /// The newest first; those with a missing image are no targets.
    pub trusted: Vec<Trusted>,
    pub quarantined: Vec<Quarantined>,
    /// Images that were seen degrading, rolled back or not: never a target without earned trust.
    pub suspects: Vec<Digest>,
    /// Starts of rollbacks in the last 24 hours.
    pub rollbacks: Vec<Timestamp>,
    /// What the app runs or is being moved to, as last decided, and since when.
    pub current: Option<Revision>,
    pub current_since: Option<Timestamp>,
    /// What it ran before that, if that was another image.
    pub previous: Option<Revision>,
    /// The highest release number seen on a machine or in the ledger.
    pub seen_version: ReleaseVersion,
    /// Releases that ran migrations, according to the ledger; the newest ones.
    pub migrated: BTreeSet<ReleaseVersion>,
    /// When a machine was seen last that runs a release command.
    #[serde(default)]
    pub release_command_at: Option<Timestamp>,
    /// Ledger entries we made.
    pub own_releases: Vec<ReleaseVersion>,
    /// Ledger entries of our own that could not be closed yet.
    pub unclosed: BTreeMap<String, Unclosed>,
    pub platform_blind: Option<Blind>,
    /// Sources that cannot be read.
    pub blind: BTreeMap<SourceName, Blind>,
    pub mixed_since: Option<Timestamp>,
    pub mixed_announced: bool,
    /// Machines that are part of the app's releases, and the known image that each ran last.
    #[serde(default)]
    pub members: BTreeMap<MachineId, Digest>,
    /// Of what runs now, people know that other groups run images that nobody watches.
    #[serde(default)]
    pub unwatched_told: bool,
    /// The newest release that is baked and not trusted.
    pub baked: Option<Trusted>,
    /// Machines that serve an image which was rolled back while something else is dealt with.
    pub left_over: Option<LeftOver>,
    /// An operator's brake, also one that has run out and was not lifted.
    pub operator_hold: Option<OperatorHold>,
    /// The release that a person wants to be gone back to.
    #[serde(default)]
    pub pinned: Option<Pinned>,
    /// Machines that a rollback took down and that may still be so after it yielded.
    pub left_down: BTreeMap<MachineId, LeftDown>,
    /// Whether a steady app looks as if it degraded.
    pub suspicion: Option<Suspicion>,
    /// The watch of a steady app.
    #[serde(skip)]
    pub vigil: Vigil,
    /// Releases of the known-good image of which the configuration was undone.
    pub undone: BTreeSet<ReleaseVersion>,
    /// What the app's own past makes of its limits.
    #[serde(default)]
    pub past: Past,
    /// What is known of thresholds that only alert, and breached.
    #[serde(default)]
    pub alerts: BTreeMap<String, Alert>,
    /// Thresholds of which people know that they judge nothing.
    #[serde(default)]
    pub unjudged: BTreeMap<String, Unjudged>,
    /// When people were told lately that what was trusted degrades, the oldest first.
    #[serde(default)]
    pub degraded_late: Vec<Timestamp>,
    /// What changed in the app lately while nobody made a release, the oldest first.
    #[serde(default)]
    pub changes: VecDeque<Change>,
    /// Process groups of which a machine was seen to end by itself on a trusted release: jobs.
    #[serde(default)]
    pub jobs: BTreeSet<ProcessGroup>,
    /// How silent the app is, and was.
    #[serde(default)]
    pub silence: Silence,
    /// Digests of the app's secrets, as they were read last.
    pub secrets: Option<Secrets>,
    /// What the rest of the organization was doing in the last round.
    pub org: OrgContext,
    pub next_command: CommandId,
    /// Decided, not yet known to be done; carried out again after a restart.
    pub pending: BTreeMap<CommandId, Command>,
}

impl AppState {
    /// An app nothing is known of.
    pub fn new(app: AppName) -> Self {
        Self { phase: Phase::Unseen, memory: Memory::new(app) }
    }
}

impl Memory {
    fn new(app: AppName) -> Self {
        Self {
            app,
            trusted: Vec::new(),
            quarantined: Vec::new(),
            suspects: Vec::new(),
            rollbacks: Vec::new(),
            current: None,
            current_since: None,
            previous: None,
            seen_version: ReleaseVersion(0),
            migrated: BTreeSet::new(),
            release_command_at: None,
            own_releases: Vec::new(),
            unclosed: BTreeMap::new(),
            platform_blind: None,
            blind: BTreeMap::new(),
            mixed_since: None,
            mixed_announced: false,
            members: BTreeMap::new(),
            unwatched_told: false,
            baked: None,
            left_over: None,
            operator_hold: None,
            pinned: None,
            left_down: BTreeMap::new(),
            suspicion: None,
            vigil: Vigil::default(),
            undone: BTreeSet::new(),
            past: Past::default(),
            alerts: BTreeMap::new(),
            unjudged: BTreeMap::new(),
            degraded_late: Vec::new(),
            changes: VecDeque::new(),
            jobs: BTreeSet::new(),
            silence: Silence::default(),
            secrets: None,
            org: OrgContext::default(),
            next_command: 1,
            pending: BTreeMap::new(),
        }
    }

    /// The number under which a release was made: the entry of a rollback carries an older image.
    pub fn made_as(&self, revision: &Revision) -> Option<ReleaseVersion> {
        let version = revision.version?;
        if !self.own_releases.contains(&version) {
            return Some(version);
        }
        let mut earned = self.trusted.iter().chain(&self.baked);
        let same = earned.find(|good| good.revision.digest == revision.digest);
        same.and_then(|good| good.revision.version).or(Some(version))
    }
}
