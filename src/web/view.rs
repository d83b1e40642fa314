//! The JSON shapes of the API. They are the API's own, so that the model can change without
//! breaking readers; `waveoff status` and `waveoff history` read them back.

use std::collections::BTreeMap;

pub use super::explain::DispersionView;
pub use super::releases::{ImageState, ReleaseStanding, ReleaseView, ReleasesView};
pub use super::standing::{CommandView, Protection, ProtectionLevel, RunningView, SuspectView};
use super::{configuration::VersionView, receivers::ReceiverView};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use crate::{
    model::{
        AppName, Digest, Event, EventKind, Evidence, ImageRef, Kind, MachineId, Mode, OperatorHold,
        Raised, Reason, Region, RegionReport, ReleaseVersion, Signed, Unit, Unknown, Verdict,
        event::ReleaseInfo,
    },
    threshold,
};

/// Where an app is in the life of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is trusted yet.
    Learning,
    /// Every machine runs the trusted release.
    Steady,
    /// The trusted release degrades, and is not being undone.
    Degraded,
    /// A new release is being rolled out.
    Deploying,
    /// The new release runs everywhere and is still watched.
    Baking,
    /// A rollback is decided and its countdown runs.
    CountingDown,
    /// A rollback is decided, and done when a person says yes.
    AwaitingApproval,
    RollingBack,
    /// A region is back on the known-good release and has to prove it.
    Confirming,
    RolledBack,
    /// No action may be taken; the reason is given beside it.
    Held,
}

impl Phase {
    pub const ALL: [Self; 11] = [
        Self::Learning,
        Self::Steady,
        Self::Degraded,
        Self::Deploying,
        Self::Baking,
        Self::CountingDown,
        Self::AwaitingApproval,
        Self::RollingBack,
        Self::Confirming,
        Self::RolledBack,
        Self::Held,
    ];

    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Steady => "steady",
            Self::Degraded => "degraded after it was trusted",
            Self::Deploying => "deploying",
            Self::Baking => "baking",
            Self::CountingDown => "counting down to a rollback",
            Self::AwaitingApproval => "waiting for a yes to its rollback",
            Self::RollingBack => "rolling back",
            Self::Confirming => "confirming a region",
            Self::RolledBack => "rolled back",
            Self::Held => "held",
        }
    }

    /// Whether something new is out, or is being undone.
    pub fn is_at_stake(self) -> bool {
        match self {
            Self::Deploying
            | Self::Baking
            | Self::CountingDown
            | Self::AwaitingApproval
            | Self::RollingBack
            | Self::Confirming
            | Self::Held => true,
            Self::Learning | Self::Steady | Self::Degraded | Self::RolledBack => false,
        }
    }

    /// The name in JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Steady => "steady",
            Self::Degraded => "degraded",
            Self::Deploying => "deploying",
            Self::Baking => "baking",
            Self::CountingDown => "counting_down",
            Self::AwaitingApproval => "awaiting_approval",
            Self::RollingBack => "rolling_back",
            Self::Confirming => "confirming",
            Self::RolledBack => "rolled_back",
            Self::Held => "held",
        }
    }
}

/// Bad events and all of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    pub bad: f64,
    pub total: f64,
}

/// One threshold's numbers. Numbers that are not finite are `null`: JSON has no others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Evidence)]
pub struct EvidenceView {
    pub threshold: String,
    pub kind: Kind,
    pub verdict: Verdict,
    /// In the limit's unit; `null` without data.
    pub value: Option<f64>,
    pub limit: Option<f64>,
    pub unit: Unit,
    /// Resolved selectors, or what was looked at.
    pub source: String,
    pub counts: Counts,
    /// Natural logarithm of the odds against the release; `null` for run rules.
    pub ln_odds: Option<f64>,
    pub ln_odds_needed: Option<f64>,
    /// The counts since it rose, where that was late and much worse than the whole.
    #[serde(default)]
    pub lately: Option<Counts>,
    /// The same on the machines that still run the known-good release.
    pub control: Option<Counts>,
    /// Where the limit in force comes from; `null`: it is the one that is written.
    #[serde(default)]
    pub raised: Option<RaisedView>,
    pub note: Option<String>,
    /// `false`: a breach is told and nothing else.
    pub may_roll_back: bool,
}

impl From<&Evidence> for EvidenceView {
    fn from(evidence: &Evidence) -> Self {
        let finite = |number: f64| number.is_finite().then_some(number);
        // A count that is not finite is a defect elsewhere; here it must not break the JSON.
        let counts = |bad: f64, total: f64| Counts {
            bad: finite(bad).unwrap_or_default(),
            total: finite(total).unwrap_or_default(),
        };
        Self {
            threshold: evidence.threshold.clone(),
            kind: evidence.kind,
            verdict: evidence.verdict,
            value: evidence.value.and_then(finite),
            limit: finite(evidence.limit),
            unit: evidence.unit,
            source: evidence.source.clone(),
            counts: counts(evidence.bad, evidence.total),
            ln_odds: evidence.ln_odds.and_then(finite),
            ln_odds_needed: evidence.ln_odds_needed.and_then(finite),
            lately: evidence.lately.map(|lately| counts(lately.k, lately.n)),
            control: evidence.control.map(|(bad, total)| counts(bad, total)),
            raised: evidence.raised.as_ref().and_then(RaisedView::of),
            note: threshold::note(evidence),
            may_roll_back: evidence.may_roll_back,
        }
    }
}

/// A limit that is not the one that is written: the app stood above that before, or the limit
/// follows from what the known-good release shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Raised)]
pub struct RaisedView {
    /// What is written.
    pub from: f64,
    /// What is in force.
    pub to: f64,
    /// What ran then.
    pub by: String,
    /// And with what share.
    pub share: f64,
    /// `true`: it follows from the known-good release; `false`: it was raised.
    pub relative: bool,
}

impl RaisedView {
    /// `None`: with numbers that JSON has not.
    fn of(raised: &Raised) -> Option<Self> {
        let Raised { from, to, by, share, relative } = raised;
        let is_finite = [*from, *to, *share].into_iter().all(f64::is_finite);
        let (by, relative) = (by.clone(), relative.is_some());
        is_finite.then_some(Self { from: *from, to: *to, by, share: *share, relative })
    }
}

/// One watched app, as of its last round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = App)]
pub struct AppView {
    pub app: AppName,
    /// Name of the policy that watches it.
    pub policy: String,
    pub mode: Mode,
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since: Timestamp,
    /// The release under watch, the one that is or was rolled back, or the one that runs.
    pub release: Option<ReleaseInfo>,
    /// What its machines run; two while a rollback is half way.
    #[serde(default)]
    pub running: Vec<RunningView>,
    /// What a rollback that is under way or over goes to.
    #[serde(default)]
    pub target: Option<ReleaseInfo>,
    pub known_good: Option<ReleaseInfo>,
    /// How far the known-good release's counts spread, by threshold: so many failures of the next one count
    /// as one. What is missing was not measured yet, and 20 is assumed.
    #[serde(default)]
    pub dispersions: BTreeMap<String, DispersionView>,
    /// What a bad release would be undone with.
    #[serde(default)]
    pub protection: Protection,
    /// Images that were rolled back, the newest first: a redeploy is watched without a warm-up.
    #[serde(default)]
    pub quarantined: Vec<QuarantinedView>,
    /// Who does not want the release to be rolled back, if anybody.
    #[serde(default)]
    pub vetoed: Option<Signed>,
    /// The release that a person wants to be gone back to, and who.
    #[serde(default)]
    pub pinned: Option<PinnedView>,
    /// Copies of trusted images in the mirror, the newest release first; empty without a mirror.
    #[serde(default)]
    pub mirror: Vec<MirrorView>,
    /// An operator's hold of this app, placed for it alone or for all.
    #[serde(default)]
    pub operator_hold: Option<OperatorHold>,
    /// Why nothing may be done, while that is so.
    pub hold: Option<String>,
    /// What cannot be seen, while that is so.
    pub blind: Option<String>,
    /// What is not known of what its thresholds look at, and why.
    #[serde(default)]
    pub unknown: Vec<UnknownView>,
    /// Machines whose metrics could not be read in the last round, and why.
    #[serde(default)]
    pub unread: BTreeMap<MachineId, String>,
    /// Machines that fail alone, and are left out of what is judged.
    #[serde(default)]
    pub suspects: Vec<SuspectView>,
    pub evidence: Vec<EvidenceView>,
    /// What a person can run about it in a terminal.
    #[serde(default)]
    pub commands: Vec<CommandView>,
    /// Progress of the rollback by region; empty when there is none.
    pub regions: Vec<RegionReport>,
    /// When the phase ends by itself: bake over, countdown over, confirmation due.
    pub next_deadline: Option<Timestamp>,
}

fn unknown_words() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Unknown::WORDS)).build()
}

/// A threshold that has nothing to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Unknown)]
pub struct UnknownView {
    pub threshold: String,
    /// One word for it: `monitor_down`, `no_traffic`, `never_exercised`, `no_series`, `no_bucket`, …
    #[schema(schema_with = unknown_words)]
    pub why: String,
    /// The same for people, with what helps.
    pub text: String,
}

/// A release that a person pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Pinned)]
pub struct PinnedView {
    pub digest: Digest,
    pub version: Option<ReleaseVersion>,
    pub signed: Signed,
}

/// How a trusted image and the mirror stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MirrorState {
    /// The mirror has it.
    Copied,
    /// It is on its way.
    Copying,
    /// It is not there yet.
    Waiting,
    /// It could not be copied; it is tried again.
    Failed,
}

impl MirrorState {
    pub const ALL: [Self; 4] = [Self::Copied, Self::Copying, Self::Waiting, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Copying => "copying",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
        }
    }
}

/// A trusted image's copy in the mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = MirrorCopy)]
pub struct MirrorView {
    pub release: ReleaseInfo,
    /// Where the copy is, or will be.
    pub image: String,
    /// The same in its parts.
    #[serde(skip)]
    pub reference: Option<ImageRef>,
    pub state: MirrorState,
    /// While it is copied: bytes that arrived, of so many.
    pub done: Option<u64>,
    pub of: Option<u64>,
    /// Why it could not be copied, and when it is tried again.
    pub why: Option<String>,
    pub next: Option<Timestamp>,
    /// Whether its own registry has lost it: then this is the copy that a rollback takes.
    pub only_copy: bool,
}

/// An image that was rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Quarantined)]
pub struct QuarantinedView {
    pub digest: Digest,
    /// The release under which it was.
    pub version: Option<ReleaseVersion>,
    #[serde(default)]
    pub tag: Option<String>,
    pub at: Timestamp,
}

/// The change feed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Feed)]
pub struct FeedView {
    /// When it was last read in full; `null` before the first time.
    pub read_at: Option<Timestamp>,
    /// Seconds since then.
    pub lag_s: Option<f64>,
    /// Regions it could not speak for at that time.
    pub error_regions: Vec<Region>,
}

/// The organization and every watched app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Status)]
pub struct OrgView {
    pub organization: String,
    /// Version of the daemon.
    pub version: String,
    pub started_at: Timestamp,
    /// The daemon's time of the answer.
    pub at: Timestamp,
    pub ready: bool,
    /// What is missing until then.
    #[serde(default)]
    pub waiting_for: Vec<String>,
    pub apps_watched: usize,
    pub feed: FeedView,
    /// That the platform refuses the daemon's token, and what helps; `null`: it does not.
    #[serde(default)]
    pub token_refused: Option<String>,
    /// An operator's hold of every app.
    #[serde(default)]
    pub hold: Option<OperatorHold>,
    /// Which configuration is in force; `null`: it comes from no files.
    #[serde(default)]
    pub config: Option<VersionView>,
    /// `true`: what was meant to be in force instead was refused.
    #[serde(default)]
    pub config_refused: bool,
    /// Who is told, and how that goes.
    #[serde(default)]
    pub receivers: Vec<ReceiverView>,
    pub apps: Vec<AppView>,
    /// `after` of the next page; `null` on the last one.
    #[serde(default)]
    pub next_after: Option<AppName>,
}

/// A cause as facts: its `kind`, and the numbers that belong to it.
#[derive(ToSchema)]
pub struct Facts {
    /// Which cause it is.
    #[expect(dead_code, reason = "it is described by this, and made by the cause itself")]
    kind: String,
}

/// One remembered event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Position in the journal: what `before` refers to.
    pub sequence: i64,
    /// The id under which receivers were told.
    pub id: String,
    pub event: EventKind,
    pub at: Timestamp,
    pub app: Option<AppName>,
    /// The sentence a person reads.
    pub text: String,
    pub reason: Option<String>,
    /// The reason as a fact, with its numbers.
    #[schema(value_type = Option<Facts>)]
    pub cause: Option<Reason>,
    pub mode: Option<Mode>,
    pub release: Option<ReleaseInfo>,
    pub known_good: Option<ReleaseInfo>,
    pub evidence: Vec<EvidenceView>,
    pub regions: Vec<RegionReport>,
    pub after_s: Option<f64>,
    pub log_lines: Vec<String>,
}

impl EventView {
    pub fn new(sequence: i64, id: String, event: Event, text: String) -> Self {
        Self {
            sequence,
            id,
            event: event.kind,
            at: event.at,
            app: event.app,
            text,
            reason: event.reason.as_ref().map(crate::notify::text::reason),
            cause: event.reason,
            mode: event.mode,
            release: event.release,
            known_good: event.known_good,
            evidence: event.evidence.iter().map(EvidenceView::from).collect(),
            regions: event.regions,
            after_s: event.after_s.filter(|seconds| seconds.is_finite()),
            log_lines: event.log_lines,
        }
    }
}

/// Events of an app, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = History)]
pub struct HistoryView {
    /// `null`: of all apps, and of the daemon itself.
    pub app: Option<AppName>,
    pub events: Vec<EventView>,
    /// `before` of the next page; `null` on the last one.
    pub next_before: Option<i64>,
}

/// A refusal: a problem of RFC 9457.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// Always `about:blank`: the status says which kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What is wrong, for people.
    pub detail: String,
    /// The same as `detail`.
    pub error: String,
    /// Of an order that something stands against: what, as facts; else `null`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub refusal: Option<serde_json::Value>,
}

/// What of a refusal is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorView {
    pub error: String,
}
