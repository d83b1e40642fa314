//! Why something happened, or why nothing was done: facts with their numbers. Whatever decides or
//! counts looks at these; the sentences are made of them in `notify/text`.

use serde::{Deserialize, Serialize};

pub use super::change::{Change, Changed, Degradation, Stays};
pub use super::hold::HoldReason;
pub use super::report::Unseen;

use super::{
    evidence::{Alone, Note, Raised},
    ids::{AppName, Digest, MachineId, ProcessGroup, Region},
    observation::SourceName,
    operator::Signed,
    report::{MachineFailure, MachineReport, Shown, Wait},
};

/// How many machines of a group run one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCount {
    pub group: ProcessGroup,
    pub digest: Digest,
    pub machines: usize,
}

/// A machine that does not run the known-good image when a rollback is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftMachine {
    pub machine: MachineId,
    pub region: Region,
    /// Where it stands.
    pub state: MachineReport,
}

/// What a token cannot do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TokenLack {
    /// It is not accepted at all.
    Refused { detail: String },
    /// It is of other organizations.
    Organization { wanted: String, has: Vec<String> },
    /// It reaches these apps only.
    OtherApps { has: Vec<String> },
    /// It works on one machine only.
    OneMachine { machine: String },
}

/// Why time earns a release nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Obstacle {
    /// Its deploy is not over.
    NotSettled,
    /// None of its machines is started.
    NothingUp,
    /// Pages of so many of its started machines cannot be read.
    Unread {
        machines: u32,
        of: u32,
    },
    /// A metrics server tells nothing.
    SourceSilent {
        source: SourceName,
    },
    /// A region of its own fails most of its requests.
    SickRegion {
        region: Region,
        threshold: String,
    },
    Breaches {
        threshold: String,
    },
    /// A threshold that could be fed has nothing to say.
    Undecided {
        threshold: String,
    },
    /// It was seen for too short a time, in seconds.
    NotSeenLongEnough {
        seen_s: f64,
        bake_s: f64,
    },
}

/// Why an event came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// The app's first release that was seen.
    FirstSeen,
    /// The image was rolled back before.
    RolledBackBefore,
    /// Seen healthy for its bake, without requests that say so too.
    OnlyBaked,
    /// Seen healthy for its bake, and so many requests are missing that say so too.
    RequestsMissing {
        threshold: String,
        missing: f64,
    },
    /// Seen healthy for its bake, and nothing was counted since it came, or for so many seconds.
    NoRequests {
        threshold: String,
        seconds: Option<u64>,
    },
    /// Nothing of the app is baked or trusted yet: there is nothing to go back to.
    NothingProtects {
        obstacle: Obstacle,
    },
    /// These thresholds breach, and may not cause a rollback.
    OnlyAlerts {
        thresholds: Vec<String>,
    },
    /// What was told of these thresholds that only alert is over, after so many seconds at most.
    AlertsOver {
        thresholds: Vec<String>,
        after_s: f64,
    },
    /// These thresholds were told of, and the policy has none of that name that only alerts any more.
    AlertsGone {
        thresholds: Vec<String>,
    },
    /// It was trusted, and degrades.
    DegradesLate {
        late: Box<Degradation>,
    },
    /// What degraded after it was trusted is well again, after so many seconds; whether it has to earn
    /// its trust anew.
    WellAgain {
        after_s: f64,
        revoked: bool,
    },
    /// A rollback stopped half way, and what runs degrades again since then, or is far worse.
    DegradesAfterStop {
        since: jiff::Timestamp,
    },
    /// A rollback stopped half way, and what runs is well again, after so many seconds.
    WellAfterStop {
        after_s: f64,
    },
    /// It degraded after it was trusted, and has earned its trust anew.
    TrustedAgain,
    /// One machine fails while its equals serve: it is left out of what is judged.
    FailsAlone {
        threshold: String,
        alone: Alone,
    },
    /// The policy observes: what would be done is said, and not done.
    ObservesOnly,
    /// The rollback begins so many seconds from now; these other apps degraded at the same time, or
    /// nothing vouches (yet) that it is the release.
    CountsDown {
        seconds: u64,
        together: Vec<AppName>,
        #[serde(default)]
        unvouched: bool,
        /// It is longer because the release before was above the limit for as long, and recovered.
        #[serde(default)]
        passed_before: bool,
    },
    /// It is done when a person says yes until then.
    AwaitsApproval {
        until: jiff::Timestamp,
    },
    /// A person said yes to it.
    ApprovedBy {
        by: Signed,
    },
    /// A person ordered it.
    OrderedBy {
        by: Signed,
    },
    /// A person let it go on.
    ResumedBy {
        by: Signed,
    },
    /// A person vouched for it.
    VouchedBy {
        by: Signed,
    },
    /// A person wants it to be what is gone back to, or no longer.
    Pinned {
        by: Signed,
    },
    Unpinned {
        by: Signed,
    },
    /// A person put its image among those that were rolled back, or took it out.
    QuarantinedBy {
        by: Signed,
    },
    UnquarantinedBy {
        by: Signed,
    },
    /// A person does not want it to be rolled back.
    VetoedBy {
        by: Signed,
    },
    /// The registry cannot be asked, in its words.
    RegistrySilent {
        detail: String,
    },
    /// The release is well again.
    Recovered,
    /// A countdown, or the look-up after it, came to nothing.
    CountdownCancelled {
        cause: Box<Reason>,
    },
    /// It cannot be seen how the release is.
    NotSeen {
        what: Unseen,
    },
    /// What was seen is too long ago to act on.
    NotSeenLately,
    /// Somebody shipped something newer.
    NewerRelease {
        label: String,
    },
    /// No machine runs the release any more.
    NobodyRunsIt,
    /// Nothing runs the image that would be undone: nothing is left to do.
    NothingLeft,
    /// The registry has the image no more. `mirror`: where its copy is.
    ImageGone {
        image: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mirror: Option<String>,
    },
    /// A trusted image is not copied to the mirror.
    NotMirrored {
        mirror: String,
        trouble: MirrorTrouble,
        detail: String,
    },
    /// The image that was rolled back runs again on these machines; whether they are put right.
    RunsAgain {
        machines: Vec<MachineId>,
        put_right: bool,
    },
    /// Somebody set these machines to the image that was rolled back; they are left as they are.
    SetByHand {
        machines: Vec<MachineId>,
    },
    /// A region is well on the known-good image. `shown`: what requests say of it; `None`: there
    /// were too few to tell, and its checks and exits decided, over so many seconds.
    RegionWell {
        region: Region,
        shown: Option<Shown>,
        watched_s: f64,
        /// What it runs, where that is not the known-good release but what a person wants.
        #[serde(default)]
        on: Option<String>,
        /// Nothing was breached that its requests could be compared with.
        #[serde(default)]
        nothing_breached: bool,
    },
    /// The machines of a region that was put right went to rest, or are gone: it serves nobody, and
    /// shows nothing.
    RegionRests {
        region: Region,
    },
    /// A rollback waits.
    Waits {
        wait: Wait,
    },
    /// A rollback goes on.
    WaitOver {
        was: Wait,
    },
    /// A rollback has come no further for so many minutes; it is tried on.
    NoProgress {
        minutes: u64,
        wait: Wait,
    },
    /// These machines serve an image that was rolled back, and no rollback is at work on them.
    QuarantinedServes {
        machines: Vec<MachineId>,
    },
    /// Machines of one group run different images outside any deploy.
    MixedImages {
        images: Vec<ImageCount>,
    },
    /// Machines of other groups run these images under the number of the release that is watched:
    /// nobody judges them.
    UnwatchedImages {
        images: Vec<ImageCount>,
    },
    /// The platform cannot be read; its, or the client's, own words.
    PlatformUnreadable {
        detail: String,
    },
    /// It can be read again.
    PlatformReadable {
        was: String,
    },
    /// No machine's metrics can be read.
    MetricsUnreadable {
        detail: String,
    },
    MetricsReadable,
    /// No machine can be reached with a request of ours.
    ProbesUnanswered {
        detail: String,
    },
    ProbesAnswered,
    /// A metrics server tells nothing.
    ServerUnreadable {
        server: String,
        detail: String,
    },
    ServerReadable {
        server: String,
    },
    /// What a threshold reads cannot be judged.
    Unjudgeable {
        threshold: String,
        source: String,
        note: Note,
    },
    /// What a threshold reads can be judged again.
    Judgeable {
        threshold: String,
    },
    /// The selectors of a threshold match no series on any machine of the release.
    Unmatched {
        threshold: String,
        source: String,
    },
    /// Nothing is done, for this reason.
    Held {
        hold: HoldReason,
    },
    /// That reason is over.
    HoldOver {
        was: HoldReason,
    },
    /// A person ended a hold.
    HoldLifted {
        was: HoldReason,
        by: Signed,
    },
    /// The ledger never told whether the release ran a release command; nothing speaks for it.
    NoCommandSeen,
    /// The app always stood above a limit: what is in force is higher.
    LimitRaised {
        threshold: String,
        raised: Raised,
    },
    /// The registry answers again.
    RegistryAnswers,
    /// Our entry in the release ledger cannot be closed.
    LedgerStaysOpen {
        release: String,
    },
    /// A machine cannot be put right.
    MachineFailed {
        machine: MachineId,
        region: Region,
        failure: MachineFailure,
    },
    /// Machines that do not run the known-good image.
    LeftBehind {
        machines: Vec<LeftMachine>,
    },
    /// The app's stored state cannot be read.
    StateUnreadable {
        detail: String,
    },
    StateReadable,
    /// The platform refuses the token.
    TokenRefused {
        detail: String,
    },
    /// The platform says that the token does not reach far enough.
    TokenLacks {
        lacks: Vec<TokenLack>,
    },
    TokenSuffices,
    /// The platform's clock is ahead of the host's by so many seconds, or behind it (negative).
    ClockDiffers {
        platform_ahead_s: i64,
    },
    ClockRight,
    /// The journal cannot be opened: nothing is watched until it can.
    JournalUnopened {
        detail: String,
    },
    /// The journal cannot be written.
    JournalUnwritable {
        detail: String,
    },
    JournalWritable,
    /// A pattern of a policy matches no app of the organization.
    NoAppMatches {
        policy: String,
        pattern: String,
    },
    /// So many messages for a receiver were given up: more were waiting than there is room for.
    OutboxCrowded {
        receiver: String,
        messages: u64,
    },
    /// Somebody else's words: a configuration's error, a tie.
    Told {
        text: String,
    },
}

/// What keeps an image from being copied to the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MirrorTrouble {
    /// Its own registry does not have it any more.
    SourceGone,
    /// Its own registry does not let us read it, or says what cannot be understood.
    SourceRefused,
    /// The mirror wants another account, or one with more rights.
    NotAllowed,
    /// The mirror does not have the repository, and does not make it.
    NoRepository,
    /// The mirror does not take it, or says what cannot be understood.
    Refused,
    /// One of the two does not answer, or breaks off.
    NoAnswer,
}

impl MirrorTrouble {
    /// Whether it may pass by itself.
    pub fn is_passing(self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::SourceGone
            | Self::SourceRefused
            | Self::NotAllowed
            | Self::NoRepository
            | Self::Refused => false,
        }
    }
}
