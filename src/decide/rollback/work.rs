//! What a rollback remembers of itself: its regions, their machines, and how far each is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        command::CommandId,
        rival::Verified,
        state::{Aftermath, ByHand, CrashCount, FailingChecks, Revision, Watch},
    },
    pause::Pause,
};
use crate::{
    model::{
        Digest, Drift, Evidence, InstanceId, Machine, MachineFailure, MachineId, MachineState,
        Policy, ProcessGroup, PutBack, Region, Release, ReleaseVersion, Setups, Signed, Strategy,
        Wait,
    },
    threshold::Confirming,
};

/// A machine as a round saw it: what has to be known to order the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: MachineId,
    pub region: Region,
    pub group: ProcessGroup,
    pub instance: InstanceId,
    pub started: bool,
    /// Started, and its checks pass where it has some.
    pub well: bool,
}

impl Listed {
    /// The machines of a round.
    pub fn all(machines: &[&Machine], now: Timestamp) -> Vec<Self> {
        let none = BTreeSet::new();
        let one = |machine: &&Machine| Self {
            id: machine.id.clone(),
            region: machine.region.clone(),
            group: machine.group.clone(),
            instance: machine.instance.clone(),
            started: matches!(machine.state, MachineState::Started),
            well: matches!(machine.state, MachineState::Started) && machine.checks_pass(&none, now),
        };
        machines.iter().map(one).collect()
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
    /// The rollback waited for so long that its entry was closed as failed: an open one keeps
    /// other tools waiting. A new one is made when the rollback goes on.
    Closed {
        version: ReleaseVersion,
    },
    /// The ledger refused; the rollback goes on without it.
    Refused {
        reason: String,
    },
}

impl LedgerEntry {
    /// The number that machines carry.
    pub fn version(&self) -> Option<ReleaseVersion> {
        match self {
            Self::Open { version, .. } | Self::Closed { version } => Some(*version),
            Self::Opening | Self::Refused { .. } => None,
        }
    }
}

/// Where one machine of a rollback stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MachinePhase {
    Todo,
    InFlight {
        command: CommandId,
    },
    OnTarget,
    HostDown,
    Gone,
    /// It runs neither the bad image nor the target: somebody put another one on it.
    OtherImage {
        digest: Option<Digest>,
    },
    /// Somebody put the bad image back on it after we had verified the target there.
    SetByHand {
        digest: Digest,
    },
    /// It could not be put right in several attempts. The others do not wait for it; it is tried
    /// again, ever more seldom.
    Failed {
        failure: MachineFailure,
    },
}

/// One machine of a rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineWork {
    pub phase: MachinePhase,
    /// Attempts in a row that did not work out; waits for somebody or something are none.
    pub attempts: u32,
    /// Why it could not be put right; kept while it is tried again.
    pub given_up: Option<MachineFailure>,
    /// What the last attempt, or the last look, found in the way.
    pub waits: Option<Wait>,
    /// Not again before.
    pub retry_at: Option<Timestamp>,
    /// It is a job at work, which is let finish until then.
    #[serde(default)]
    pub job_until: Option<Timestamp>,
    /// When it turned out to be up although it was to be written to at rest: what it does there (a job's
    /// work, it may be) shows with the first list after that.
    #[serde(default)]
    pub came_up_at: Option<Timestamp>,
    /// What was last verified on the target, and when.
    pub verified: Option<Verified>,
    pub verified_at: Option<Timestamp>,
    /// When we may have taken it down; cleared when it is seen up by a look made after that.
    pub down_since: Option<Timestamp>,
    /// The version it was when it was ordered last.
    pub instance: InstanceId,
    /// Under way, and seen on the target: it does not serve the bad image any more.
    #[serde(default)]
    pub written: bool,
    /// Whether it is to be up: the others are updated and left as they are.
    pub running: bool,
    /// The bad image it runs, or ran when it was planned.
    pub bad: Digest,
    /// Capacity is kept within a group.
    pub group: ProcessGroup,
    /// Since when the platform has not listed it.
    pub missing_since: Option<Timestamp>,
}

impl MachineWork {
    pub fn is_in_flight(&self) -> bool {
        matches!(self.phase, MachinePhase::InFlight { .. })
    }

    pub fn is_on_target(&self) -> bool {
        self.phase == MachinePhase::OnTarget
    }

    /// Whether it may serve the bad image yet, as far as it is to be put right.
    pub fn is_to_be_written(&self) -> bool {
        self.is_open() && !(self.is_in_flight() && self.written)
    }

    /// Whether the region waits for it before it is confirmed.
    pub fn is_open(&self) -> bool {
        let open = matches!(self.phase, MachinePhase::Todo | MachinePhase::InFlight { .. });
        open && self.given_up.is_none()
    }

    /// Whether it may be ordered, apart from capacity.
    pub fn is_due(&self, now: Timestamp) -> bool {
        matches!(self.phase, MachinePhase::Todo | MachinePhase::Failed { .. })
            && !matches!(self.waits, Some(Wait::DeployOfSomebody { .. }))
            && self.came_up_at.is_none()
            && self.retry_at.max(self.job_until).is_none_or(|at| at <= now)
    }
}

/// What a region showed on the known-good release since it was confirmed from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirm {
    /// When this window began.
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
    /// What the window before found in the way.
    pub waits: Option<Wait>,
    /// Whether the last look showed a region that is worse off than it should be: no other is
    /// begun meanwhile.
    #[serde(default)]
    pub speaks_against: bool,
}

/// Why a region is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Skip {
    /// The policy limits the rollback to breaching regions.
    NotBreaching,
    /// The hosts of all its machines are unreachable.
    Unreachable,
    /// None of its machines could be put right; they are tried again.
    GivenUp,
    /// There is nothing of the bad release in it.
    NothingHere,
    /// Whoever ordered the rollback did not ask for it.
    NotAsked,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RegionPhase {
    Waiting,
    Updating,
    Confirming(Box<Confirm>),
    Confirmed,
    Skipped(Skip),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionWork {
    pub region: Region,
    pub phase: RegionPhase,
    pub machines: BTreeMap<MachineId, MachineWork>,
    /// Since when the platform lists no machine of it at all.
    pub unlisted_since: Option<Timestamp>,
    /// What was seen of it since its first machine came back, while others are still updated.
    #[serde(default)]
    pub counted: Option<Box<Confirm>>,
}

impl RegionWork {
    pub fn new(region: Region, phase: RegionPhase) -> Self {
        Self { region, phase, machines: BTreeMap::new(), unlisted_since: None, counted: None }
    }

    /// Whether it is still to be begun, or under way.
    pub fn is_open(&self) -> bool {
        match self.phase {
            RegionPhase::Waiting | RegionPhase::Updating | RegionPhase::Confirming(_) => true,
            RegionPhase::Confirmed | RegionPhase::Skipped(_) => false,
        }
    }

    /// The machines that it waits for before it is confirmed. Nobody is served by a job: with a machine
    /// back up, the region is confirmed without those at work; the rollback ends with them.
    pub fn awaited(&self) -> impl Iterator<Item = &MachineWork> {
        let is_back = self.is_back();
        let machines = self.machines.values();
        machines.filter(move |one| one.is_open() && !(is_back && one.job_until.is_some()))
    }

    /// Whether a machine of it is up on the target.
    pub fn is_back(&self) -> bool {
        self.machines.values().any(|machine| machine.running && machine.is_on_target())
    }

    /// Whether it is under way.
    pub fn is_begun(&self) -> bool {
        self.is_open() && self.phase != RegionPhase::Waiting
    }

    /// Whether the policy, or whoever ordered the rollback, leaves it alone.
    pub fn is_left_alone(&self) -> bool {
        matches!(self.phase, RegionPhase::Skipped(Skip::NotBreaching | Skip::NotAsked))
    }

    /// Done with, and nothing of it is up: another region has to show that the rollback helps.
    pub fn go_to_rest(&mut self) {
        self.phase = RegionPhase::Confirmed;
        for machine in self.machines.values_mut() {
            machine.running = false;
        }
    }

    /// Whether it was confirmed with a machine up on the target: the rollback is seen to help.
    pub fn has_proved(&self) -> bool {
        self.phase == RegionPhase::Confirmed && self.is_back()
    }
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
    /// When a round last looked at the machines.
    pub looked_at: Timestamp,
    /// Since when rounds have looked without a long gap.
    pub awake_since: Timestamp,
    pub ledger: LedgerEntry,
    /// In the order in which they are rolled back.
    pub regions: Vec<RegionWork>,
    /// Checks that failed when the target was trusted.
    pub tolerated: FailingChecks,
    /// A total outage: after one machine that proves it, everything at once.
    pub escalated: bool,
    /// That machine did.
    #[serde(default)]
    pub proven: bool,
    /// The machines as the last round saw them, for what is ordered between two rounds.
    #[serde(skip)]
    pub listed: Vec<Listed>,
    /// Somebody's newer release that stands in the ledger and on no machine yet: no machine is
    /// begun while that may change.
    pub waits_for: Option<ReleaseVersion>,
    /// The newest entries of the ledger as they were last read.
    pub ledger_seen: Vec<Release>,
    /// While it comes no further.
    pub pause: Option<Pause>,
    /// Whether people know that it has come no further for very long.
    pub stall_told: bool,
    pub completed_at: Option<Timestamp>,
    /// How the bad release is configured, and what of that is not as it was under the target.
    #[serde(default)]
    pub setup: Option<Setups>,
    #[serde(default)]
    pub drift: Option<Drift>,
    /// What is put back besides the image, by process group.
    #[serde(default)]
    pub put_back: PutBack,
    /// Process groups of which another image is known to be good: their machines are left.
    #[serde(default)]
    pub leaves: BTreeSet<ProcessGroup>,
    /// A person ordered it.
    #[serde(default)]
    pub by_hand: Option<ByHand>,
    /// A person let it go on after it had stopped, whatever it showed.
    #[serde(default)]
    pub insisted: Option<Signed>,
    /// It stopped half way: how what runs is since then.
    #[serde(default)]
    pub stopped: Option<Box<Aftermath>>,
    /// It is over, and left the bad release in some regions: how that is there.
    #[serde(default)]
    pub left_alone: Option<Box<Watch>>,
}

impl Rollback {
    /// The place of the region being worked on: what was begun goes before what revived meanwhile.
    pub(super) fn active(&self) -> Option<usize> {
        let begun = self.regions.iter().position(RegionWork::is_begun);
        begun.or_else(|| self.regions.iter().position(RegionWork::is_open))
    }

    /// The region being worked on.
    pub fn active_region(&self) -> Option<&RegionWork> {
        self.active().and_then(|index| self.regions.get(index))
    }

    /// Whether some region is being confirmed, and the machines of none are being updated.
    pub fn is_confirming(&self) -> bool {
        let any = |is: fn(&RegionPhase) -> bool| self.regions.iter().any(|work| is(&work.phase));
        any(|phase| matches!(phase, RegionPhase::Confirming(_)))
            && !any(|phase| matches!(phase, RegionPhase::Updating))
    }

    /// Whether somebody set a machine back to the bad image.
    pub fn is_set_by_hand(&self) -> bool {
        let mut machines = self.regions.iter().flat_map(|work| work.machines.values());
        machines.any(|machine| matches!(machine.phase, MachinePhase::SetByHand { .. }))
    }

    /// What its machines run when they are put right: the target, under the number of its entry in
    /// the ledger.
    pub fn gone_to(&self) -> Revision {
        let version = self.ledger.version().or(self.target.version);
        Revision { version, ..self.target.clone() }
    }

    /// What its machines run: the bad release, what they are put on, or both while it is half way.
    pub(in crate::decide) fn runs(&self) -> Vec<Revision> {
        let machines = || self.regions.iter().flat_map(|work| work.machines.values());
        let is_left =
            |machine: &MachineWork| !machine.is_on_target() && machine.phase != MachinePhase::Gone;
        let mut runs = Vec::new();
        if machines().any(MachineWork::is_on_target) {
            runs.push(self.gone_to());
        }
        if runs.is_empty() || machines().any(is_left) {
            runs.insert(0, self.bad.clone());
        }
        runs
    }

    /// Whether the image stays, and only the configuration is put back.
    pub fn keeps_the_image(&self) -> bool {
        self.bad.digest == self.target.digest
    }

    /// What is put back on machines of a group besides the image.
    pub(super) fn put_back_in(&self, group: &ProcessGroup) -> PutBack {
        let one = self.put_back.get_key_value(group);
        one.map(|(group, texts)| (group.clone(), texts.clone())).into_iter().collect()
    }

    /// Whether a person ordered it, or let it go on.
    pub fn is_wanted_by_hand(&self) -> bool {
        self.by_hand.is_some() || self.insisted.is_some()
    }

    /// Whether it was paused for so long that it wants the breach to be seen again.
    pub fn waits_for_a_breach(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.wait == Wait::FreshBreach)
    }

    /// What it waits for, where people were told so.
    pub fn told_pause(&self) -> Option<&Wait> {
        let pause = self.pause.as_ref()?;
        pause.told.iter().find(|told| told.is_same_kind(&pause.wait)).map(|_| &pause.wait)
    }

    /// How machines are taken.
    pub fn strategy(&self, policy: &Policy) -> Strategy {
        let ordered = self.by_hand.as_ref().and_then(|by_hand| by_hand.strategy);
        ordered.unwrap_or(policy.rollback.strategy)
    }

    pub fn machine(&self, id: &MachineId) -> Option<&MachineWork> {
        self.regions.iter().find_map(|work| work.machines.get(id))
    }
}
