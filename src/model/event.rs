//! What people are told: one structured event per thing that happened.
//!
//! `decide` emits these; `notify` turns them into sentences and webhook bodies. The numbers are
//! all here, so that text and JSON can never disagree.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    evidence::{Evidence, Unit, Verdict},
    ids::{AppName, Digest, ReleaseVersion},
    policy::Mode,
    reason::{HoldReason, Reason},
    report::RegionReport,
    setup::Drift,
};

/// Which kind of thing happened; the text is the event's public name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum EventKind {
    #[serde(rename = "release.detected")]
    ReleaseDetected,
    #[serde(rename = "release.trusted")]
    ReleaseTrusted,
    #[serde(rename = "release.baked")]
    ReleaseBaked,
    #[serde(rename = "release.untrusted")]
    ReleaseUntrusted,
    #[serde(rename = "release.degraded")]
    ReleaseDegraded,
    #[serde(rename = "release.recovered")]
    ReleaseRecovered,
    #[serde(rename = "machine.suspect")]
    MachineSuspect,
    #[serde(rename = "rollback.planned")]
    RollbackPlanned,
    #[serde(rename = "rollback.started")]
    RollbackStarted,
    #[serde(rename = "rollback.paused")]
    RollbackPaused,
    #[serde(rename = "rollback.resumed")]
    RollbackResumed,
    #[serde(rename = "rollback.region_confirmed")]
    RollbackRegionConfirmed,
    #[serde(rename = "rollback.completed")]
    RollbackCompleted,
    #[serde(rename = "rollback.stopped")]
    RollbackStopped,
    #[serde(rename = "rollback.failed")]
    RollbackFailed,
    #[serde(rename = "hold.placed")]
    HoldPlaced,
    #[serde(rename = "hold.cleared")]
    HoldCleared,
    #[serde(rename = "operator.order")]
    OperatorOrder,
    #[serde(rename = "monitor.blind")]
    MonitorBlind,
    #[serde(rename = "monitor.recovered")]
    MonitorRecovered,
    #[serde(rename = "monitor.clock")]
    MonitorClock,
    #[serde(rename = "monitor.token")]
    MonitorToken,
    #[serde(rename = "monitor.journal")]
    MonitorJournal,
    #[serde(rename = "monitor.outbox")]
    MonitorOutbox,
    #[serde(rename = "image.missing")]
    ImageMissing,
    #[serde(rename = "image.not_mirrored")]
    ImageNotMirrored,
    #[serde(rename = "image.mixed")]
    ImageMixed,
    #[serde(rename = "config.rejected")]
    ConfigRejected,
    #[serde(rename = "config.reloaded")]
    ConfigReloaded,
    #[serde(rename = "config.warning")]
    ConfigWarning,
}

impl EventKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 30] = [
        Self::ReleaseDetected,
        Self::ReleaseTrusted,
        Self::ReleaseBaked,
        Self::ReleaseUntrusted,
        Self::ReleaseDegraded,
        Self::ReleaseRecovered,
        Self::MachineSuspect,
        Self::RollbackPlanned,
        Self::RollbackStarted,
        Self::RollbackPaused,
        Self::RollbackResumed,
        Self::RollbackRegionConfirmed,
        Self::RollbackCompleted,
        Self::RollbackStopped,
        Self::RollbackFailed,
        Self::HoldPlaced,
        Self::HoldCleared,
        Self::OperatorOrder,
        Self::MonitorBlind,
        Self::MonitorRecovered,
        Self::MonitorClock,
        Self::MonitorToken,
        Self::MonitorJournal,
        Self::MonitorOutbox,
        Self::ImageMissing,
        Self::ImageNotMirrored,
        Self::ImageMixed,
        Self::ConfigRejected,
        Self::ConfigReloaded,
        Self::ConfigWarning,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReleaseDetected => "release.detected",
            Self::ReleaseTrusted => "release.trusted",
            Self::ReleaseBaked => "release.baked",
            Self::ReleaseUntrusted => "release.untrusted",
            Self::ReleaseDegraded => "release.degraded",
            Self::ReleaseRecovered => "release.recovered",
            Self::MachineSuspect => "machine.suspect",
            Self::RollbackPlanned => "rollback.planned",
            Self::RollbackStarted => "rollback.started",
            Self::RollbackPaused => "rollback.paused",
            Self::RollbackResumed => "rollback.resumed",
            Self::RollbackRegionConfirmed => "rollback.region_confirmed",
            Self::RollbackCompleted => "rollback.completed",
            Self::RollbackStopped => "rollback.stopped",
            Self::RollbackFailed => "rollback.failed",
            Self::HoldPlaced => "hold.placed",
            Self::HoldCleared => "hold.cleared",
            Self::OperatorOrder => "operator.order",
            Self::MonitorBlind => "monitor.blind",
            Self::MonitorRecovered => "monitor.recovered",
            Self::MonitorClock => "monitor.clock",
            Self::MonitorToken => "monitor.token",
            Self::MonitorJournal => "monitor.journal",
            Self::MonitorOutbox => "monitor.outbox",
            Self::ImageMissing => "image.missing",
            Self::ImageNotMirrored => "image.not_mirrored",
            Self::ImageMixed => "image.mixed",
            Self::ConfigRejected => "config.rejected",
            Self::ConfigReloaded => "config.reloaded",
            Self::ConfigWarning => "config.warning",
        }
    }

    /// Whether it is about undoing a release, or about why that is not done.
    pub fn is_about_undoing(self) -> bool {
        match self {
            Self::RollbackPlanned
            | Self::RollbackStarted
            | Self::RollbackPaused
            | Self::RollbackResumed
            | Self::RollbackRegionConfirmed
            | Self::RollbackCompleted
            | Self::RollbackStopped
            | Self::RollbackFailed
            | Self::HoldPlaced
            | Self::HoldCleared => true,
            Self::ReleaseDetected
            | Self::ReleaseTrusted
            | Self::ReleaseBaked
            | Self::ReleaseUntrusted
            | Self::ReleaseDegraded
            | Self::ReleaseRecovered
            | Self::MachineSuspect
            | Self::OperatorOrder
            | Self::MonitorBlind
            | Self::MonitorRecovered
            | Self::MonitorClock
            | Self::MonitorToken
            | Self::MonitorJournal
            | Self::MonitorOutbox
            | Self::ImageMissing
            | Self::ImageNotMirrored
            | Self::ImageMixed
            | Self::ConfigRejected
            | Self::ConfigReloaded
            | Self::ConfigWarning => false,
        }
    }
}

/// How much is at stake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Something is wrong, and is being dealt with or can wait.
    Warning,
    /// Something is wrong, and stays so until a person does something.
    Error,
    /// The same, and most of what users ask for fails.
    Critical,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Info, Self::Warning, Self::Error, Self::Critical];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// From this share on most fails.
const MOST: f64 = 0.5;

/// Longest tag that stands in a sentence, in characters.
const TAG_MAX: usize = 40;

/// A release as people are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Release)]
pub struct ReleaseInfo {
    pub version: Option<ReleaseVersion>,
    pub tag: Option<String>,
    pub digest: Digest,
    pub author: Option<String>,
    pub created_at: Option<Timestamp>,
}

impl ReleaseInfo {
    /// `v42`, or the digest's start where no release number is known.
    pub fn label(&self) -> String {
        match self.version {
            Some(version) => version.to_string(),
            None => self.digest.short().to_owned(),
        }
    }

    /// The tag, if somebody chose it: flyctl makes one up where nobody does, and one that only
    /// repeats the number says nothing.
    pub fn chosen_tag(&self) -> Option<&str> {
        let tag = self.tag.as_deref()?;
        (!tag.starts_with("deployment-") && tag != self.label()).then_some(tag)
    }

    /// `v42 (spring)`: as people call it.
    pub fn name(&self) -> String {
        let Some(tag) = self.chosen_tag() else { return self.label() };
        let mut short: String = tag.chars().take(TAG_MAX).collect();
        if short.len() < tag.len() {
            short.push('…');
        }
        format!("{} ({short})", self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_called_by_its_tag_as_well_where_somebody_chose_one() {
        let release = |version: Option<u64>, tag: Option<&str>| ReleaseInfo {
            version: version.map(ReleaseVersion),
            tag: tag.map(str::to_owned),
            digest: "sha256:0123456789abcdef".into(),
            author: None,
            created_at: None,
        };
        let long = "x".repeat(60);
        for (version, tag, name) in [
            (Some(42), Some("spring"), "v42 (spring)".to_owned()),
            (None, Some("spring"), "0123456789ab (spring)".to_owned()),
            (Some(42), None, "v42".to_owned()),
            (Some(42), Some("v42"), "v42".to_owned()),
            (Some(42), Some("deployment-01HZX"), "v42".to_owned()),
            (Some(42), Some(long.as_str()), format!("v42 ({}…)", "x".repeat(40))),
        ] {
            assert_eq!(release(version, tag).name(), name);
        }
    }
}

/// One thing that happened to one app (or to the daemon itself: then `app` is `None`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    pub at: Timestamp,
    pub app: Option<AppName>,
    pub release: Option<ReleaseInfo>,
    pub known_good: Option<ReleaseInfo>,
    /// Why it happened: a hold's reason, a blindness, a refusal.
    pub reason: Option<Reason>,
    /// `observe` or `rollback`: whether what it says was done or would have been done.
    pub mode: Option<Mode>,
    pub evidence: Vec<Evidence>,
    pub regions: Vec<RegionReport>,
    /// What changed besides the image between the known-good release and this one, of what undoes
    /// a release or does not.
    #[serde(default)]
    pub drift: Option<Drift>,
    /// Seconds since the release was first seen, or since the rollback started.
    pub after_s: Option<f64>,
    /// It is about the first release that was seen of its app: it ran before the daemon looked.
    #[serde(default)]
    pub ran_before: bool,
    /// How many like it came since the last one that was told, and were not told.
    #[serde(default)]
    pub repeats: u32,
    /// What ran before the release, where nothing is trusted that it could be gone back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<ReleaseInfo>,
    /// What was gone to is trusted and not pinned: it can be, so that every rollback goes there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub can_pin: bool,
    /// Of what cannot be seen: it lasts, or a release is watched or undone meanwhile.
    #[serde(default)]
    pub is_pressing: bool,
    /// Last log lines of machines that failed, at most 20.
    pub log_lines: Vec<String>,
}

impl Event {
    /// An event with nothing but its kind, time and app; fill in what is known.
    pub fn new(kind: EventKind, at: Timestamp, app: Option<AppName>) -> Self {
        Self {
            kind,
            at,
            app,
            release: None,
            known_good: None,
            reason: None,
            mode: None,
            evidence: Vec::new(),
            regions: Vec::new(),
            drift: None,
            after_s: None,
            ran_before: false,
            repeats: 0,
            previous: None,
            can_pin: false,
            is_pressing: false,
            log_lines: Vec::new(),
        }
    }
}

/// Whether a person held it, said no, or wants something else.
fn is_of_a_person(reason: &Reason) -> bool {
    match reason {
        Reason::Held { hold } => matches!(
            hold,
            HoldReason::Operator { .. } | HoldReason::Vetoed { .. } | HoldReason::PutByHand { .. }
        ),
        Reason::VetoedBy { .. } | Reason::OrderedBy { .. } => true,
        _ => false,
    }
}

impl Event {
    /// How much is at stake.
    pub fn severity(&self) -> Severity {
        let unattended = if self.fails_most() { Severity::Critical } else { Severity::Error };
        match self.kind {
            // A person did it, and knows.
            EventKind::RollbackCompleted
                if matches!(self.reason, Some(Reason::LeftBehind { .. })) =>
            {
                Severity::Warning
            }
            EventKind::HoldPlaced | EventKind::RollbackStopped if self.is_by_a_person() => {
                Severity::Info
            }
            EventKind::HoldPlaced | EventKind::RollbackStopped | EventKind::RollbackFailed => {
                unattended
            }
            // Nobody does anything about it, unless somebody says so.
            EventKind::RollbackPlanned if self.mode != Some(Mode::Rollback) => unattended,
            EventKind::ReleaseDegraded if self.is_left_degraded() => unattended,
            // Some of its machines are back, others are not, and it comes no further.
            EventKind::RollbackPaused if self.is_stuck() => unattended,
            EventKind::MonitorBlind if self.is_pressing || self.is_refused() => Severity::Error,
            EventKind::MonitorJournal => Severity::Critical,
            EventKind::MonitorToken if self.reason == Some(Reason::TokenSuffices) => Severity::Info,
            EventKind::MonitorClock if self.reason == Some(Reason::ClockRight) => Severity::Info,
            EventKind::MonitorToken => Severity::Error,
            EventKind::ReleaseDegraded
            | EventKind::ReleaseUntrusted
            | EventKind::RollbackPlanned
            | EventKind::RollbackStarted
            | EventKind::RollbackPaused
            | EventKind::MonitorBlind
            | EventKind::MonitorClock
            | EventKind::MonitorOutbox
            | EventKind::ImageMissing
            | EventKind::ImageNotMirrored
            | EventKind::ImageMixed
            | EventKind::MachineSuspect
            | EventKind::ConfigRejected
            | EventKind::ConfigWarning => Severity::Warning,
            EventKind::ReleaseDetected
            | EventKind::ReleaseTrusted
            | EventKind::ReleaseBaked
            | EventKind::ReleaseRecovered
            | EventKind::RollbackResumed
            | EventKind::RollbackRegionConfirmed
            | EventKind::RollbackCompleted
            | EventKind::HoldCleared
            | EventKind::OperatorOrder
            | EventKind::MonitorRecovered
            | EventKind::ConfigReloaded => Severity::Info,
        }
    }

    /// Whether a person held it, or said no.
    pub fn is_by_a_person(&self) -> bool {
        match &self.reason {
            Some(Reason::CountdownCancelled { cause }) => is_of_a_person(cause),
            Some(reason) => is_of_a_person(reason),
            None => false,
        }
    }

    /// Whether it is about a release that was trusted, or whose rollback stopped, degrades, and is left as it is.
    pub fn is_left_degraded(&self) -> bool {
        match &self.reason {
            Some(Reason::DegradesLate { late }) => late.stays.is_some(),
            Some(Reason::DegradesAfterStop { .. }) => true,
            _ => false,
        }
    }

    /// Whether a rollback has waited for longer than what passes by itself.
    fn is_stuck(&self) -> bool {
        matches!(self.reason, Some(Reason::NoProgress { .. }))
    }

    /// Whether the platform refuses the token: it does so until a person makes another one.
    fn is_refused(&self) -> bool {
        matches!(self.reason, Some(Reason::TokenRefused { .. }))
    }

    /// Whether a threshold is exceeded by most of what is counted.
    fn fails_most(&self) -> bool {
        self.evidence.iter().any(|one| {
            let is_share = match one.unit {
                Unit::Requests | Unit::Events | Unit::SlowerThan(_) | Unit::Machines => true,
                Unit::Bytes | Unit::Seconds | Unit::Share | Unit::Plain | Unit::Exits => false,
            };
            is_share && one.verdict == Verdict::Breach && one.share_lately().unwrap_or(0.0) >= MOST
        })
    }
}
