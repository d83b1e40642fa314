//! The commands with which a person answers a message: the one that stops what is said, the one that
//! undoes it.

use std::fmt::Write as _;

use super::sentence;
use crate::model::{
    Alone, AppName, Event, EventKind, HoldReason, Mode, Reason, Wait, event::ReleaseInfo,
};

/// What a command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Say yes to it.
    Approve,
    /// Keep it from going on.
    Stop,
    /// Go back to how it was.
    Undo,
    /// Do it after all.
    GoOn,
    /// Go back to this one whatever comes.
    Pin,
    /// Put right what is broken.
    Repair,
}

impl Purpose {
    /// The word in webhooks.
    pub fn word(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Stop => "stop",
            Self::Undo => "undo",
            Self::GoOn => "go_on",
            Self::Pin => "pin",
            Self::Repair => "repair",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Approve => "Approve it",
            Self::Stop => "Stop it",
            Self::Undo => "Undo it",
            Self::GoOn => "Go on",
            Self::Pin => "Pin it",
            Self::Repair => "Put it right",
        }
    }
}

/// What a receiver shows: the sentence, and the commands below it.
pub fn message(event: &Event) -> String {
    let mut text = sentence(event);
    for (purpose, command) in commands(event) {
        let _infallible = write!(text, "\n{}: {command}", purpose.label());
    }
    text
}

/// The commands that answer an event; none where nobody can do anything.
pub fn commands(event: &Event) -> Vec<(Purpose, String)> {
    let Some(app) = &event.app else { return Vec::new() };
    let hold = || (Purpose::Stop, format!("waveoff hold {app} --reason \"…\""));
    let veto = || (Purpose::Stop, format!("waveoff veto {app}"));
    let resume = || (Purpose::GoOn, format!("waveoff resume {app}"));
    // What a release changed under the same image is not kept: only a deploy brings it again.
    let same_image = event.drift.as_ref().is_some_and(|drift| !drift.image);
    let undone = event.release.as_ref().filter(|_| !same_image);
    let undo = || goes_to(app, Purpose::Undo, undone, "");
    match event.kind {
        EventKind::RollbackPlanned => match (event.mode, &event.reason) {
            (Some(Mode::Observe), _) => {
                goes_to(app, Purpose::GoOn, event.known_good.as_ref(), "").into_iter().collect()
            }
            (Some(Mode::Approve), _) => {
                vec![(Purpose::Approve, format!("waveoff approve {app}")), veto()]
            }
            (_, Some(Reason::CountsDown { .. })) => vec![veto()],
            // It begins at once.
            _ => std::iter::once(hold()).chain(undo()).collect(),
        },
        // It stands already.
        EventKind::RollbackPaused
            if matches!(
                event.reason,
                Some(Reason::Waits { wait: Wait::Held { hold: HoldReason::Operator { .. } } })
            ) =>
        {
            let go_on = (Purpose::GoOn, format!("waveoff unhold {app}"));
            std::iter::once(go_on).chain(undo()).collect()
        }
        EventKind::RollbackStarted
        | EventKind::RollbackPaused
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed
        | EventKind::RollbackFailed => std::iter::once(hold()).chain(undo()).collect(),
        EventKind::RollbackCompleted => undo().into_iter().chain(pin(event, app)).collect(),
        EventKind::RollbackStopped => match &event.reason {
            // What a hold kept from beginning has nothing to be undone.
            Some(Reason::Held { hold: hold @ HoldReason::Operator { .. } }) => {
                after_hold(event, app, hold)
            }
            Some(Reason::Held { hold: HoldReason::NotWatched }) => undo().into_iter().collect(),
            Some(Reason::Held { .. }) => std::iter::once(resume()).chain(undo()).collect(),
            _ => Vec::new(),
        },
        EventKind::HoldPlaced => match &event.reason {
            Some(Reason::Held { hold }) => after_hold(event, app, hold),
            _ => Vec::new(),
        },
        EventKind::MachineSuspect => match &event.reason {
            Some(Reason::FailsAlone { alone, .. }) => restarts(app, alone),
            _ => Vec::new(),
        },
        EventKind::ReleaseDegraded
            if matches!(event.reason, Some(Reason::DegradesAfterStop { .. })) =>
        {
            vec![resume()]
        }
        EventKind::ReleaseDegraded if event.is_left_degraded() => {
            let back = goes_to(app, Purpose::GoOn, event.known_good.as_ref(), "");
            // Without anything to go back to it can still be looked at.
            vec![back.unwrap_or_else(|| (Purpose::GoOn, format!("waveoff explain {app}")))]
        }
        EventKind::ReleaseDetected
        | EventKind::ReleaseTrusted
        | EventKind::ReleaseBaked
        | EventKind::ReleaseUntrusted
        | EventKind::ReleaseDegraded
        | EventKind::ReleaseRecovered
        | EventKind::HoldCleared
        | EventKind::OperatorOrder
        | EventKind::MonitorBlind
        | EventKind::MonitorRecovered
        | EventKind::MonitorClock
        | EventKind::MonitorToken
        | EventKind::MonitorJournal
        | EventKind::MonitorOutbox
        | EventKind::ImageMissing
        | EventKind::ImageNotMirrored
        | EventKind::ImageMixed
        | EventKind::ConfigRejected
        | EventKind::ConfigReloaded
        | EventKind::ConfigWarning => Vec::new(),
    }
}

/// Keeps what was gone back to, where that can be.
fn pin(event: &Event, app: &AppName) -> Option<(Purpose, String)> {
    let good = event.known_good.as_ref().filter(|_| event.can_pin)?;
    Some((Purpose::Pin, format!("waveoff pin {app} {}", good.label())))
}

/// A restart first; a copy, which comes up on another host, if that does not help.
fn restarts(app: &AppName, Alone { machine, region, .. }: &Alone) -> Vec<(Purpose, String)> {
    vec![
        (Purpose::Repair, format!("fly machine restart {machine} --app {app}")),
        (
            Purpose::Repair,
            format!(
                "fly machine clone {machine} --region {region} --app {app} && \
                 fly machine destroy --force {machine} --app {app}"
            ),
        ),
    ]
}

/// What can be done about a hold.
fn after_hold(event: &Event, app: &AppName, hold: &HoldReason) -> Vec<(Purpose, String)> {
    let go_back = |more: &str| {
        goes_to(app, Purpose::GoOn, event.known_good.as_ref(), more).into_iter().collect()
    };
    match hold {
        HoldReason::Operator { .. } => {
            vec![(Purpose::GoOn, format!("waveoff unhold {app}"))]
        }
        HoldReason::Vetoed { .. }
        | HoldReason::PutByHand { .. }
        | HoldReason::NoImprovement { .. }
        | HoldReason::NoFreshBreach => vec![(Purpose::GoOn, format!("waveoff resume {app}"))],
        HoldReason::NotApproved => {
            vec![(Purpose::Approve, format!("waveoff approve {app}"))]
        }
        HoldReason::Migrations
        | HoldReason::MigrationsSince { .. }
        | HoldReason::MigrationsUnknown => go_back(" --force"),
        HoldReason::ObserveMode
        | HoldReason::OrganizationBudget { .. }
        | HoldReason::Frozen { .. }
        | HoldReason::OnlyBaked
        | HoldReason::DailyBudget { .. }
        | HoldReason::AlreadyRolledBack
        | HoldReason::ControlToo { .. }
        | HoldReason::Late { .. }
        | HoldReason::DegradedBefore { .. }
        | HoldReason::PlatformIncident { .. } => go_back(""),
        HoldReason::NothingTrusted | HoldReason::NotSeenInGroup { .. } => {
            // It was never seen healthy: a person has to know better.
            let back = goes_to(app, Purpose::GoOn, event.previous.as_ref(), " --force");
            vec![back.unwrap_or_else(|| (Purpose::GoOn, format!("waveoff releases {app}")))]
        }
        HoldReason::SameImage { .. }
        | HoldReason::ContainersStay { .. }
        | HoldReason::ImagesMissing
        | HoldReason::RegistryUnavailable { .. }
        | HoldReason::NotWatched => Vec::new(),
    }
}

fn goes_to(
    app: &AppName,
    purpose: Purpose,
    release: Option<&ReleaseInfo>,
    more: &str,
) -> Option<(Purpose, String)> {
    let to = release?.label();
    Some((purpose, format!("waveoff rollback {app} --to {to}{more}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Drift, OperatorHold,
        reason::{Degradation, Stays},
    };

    fn stopped(hold: HoldReason) -> Vec<String> {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::RollbackStopped, at, Some("api".into()));
        event.reason = Some(hold.into());
        commands(&event).into_iter().map(|(_, command)| command).collect()
    }

    #[test]
    fn a_hold_for_want_of_anything_trusted_names_what_ran_before() {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::HoldPlaced, at, Some("api".into()));
        event.reason = Some(HoldReason::NothingTrusted.into());
        let said = |event: &Event| commands(event).remove(0);
        assert_eq!(said(&event), (Purpose::GoOn, "waveoff releases api".to_owned()));
        event.previous = Some(ReleaseInfo {
            version: Some(crate::model::ReleaseVersion(41)),
            tag: None,
            digest: "sha256:1".into(),
            author: None,
            created_at: None,
        });
        let back = "waveoff rollback api --to v41 --force".to_owned();
        assert_eq!(said(&event), (Purpose::GoOn, back));
    }

    #[test]
    fn a_command_is_named_only_where_the_daemon_takes_it() {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let hold = OperatorHold { by: "dana".into(), reason: "x".into(), since: at, until: None };
        assert_eq!(stopped(HoldReason::Operator { hold }), ["waveoff unhold api"]);
        // While it stands, another one stops nothing.
        let mut paused = Event::new(EventKind::RollbackPaused, at, Some("api".into()));
        let hold = OperatorHold { by: "dana".into(), reason: "x".into(), since: at, until: None };
        let wait = Wait::Held { hold: HoldReason::Operator { hold } };
        paused.reason = Some(Reason::Waits { wait });
        assert_eq!(commands(&paused), [(Purpose::GoOn, "waveoff unhold api".to_owned())]);
        assert_eq!(stopped(HoldReason::ObserveMode), ["waveoff resume api"]);
        assert_eq!(stopped(HoldReason::NoFreshBreach), ["waveoff resume api"]);
        assert_eq!(stopped(HoldReason::NotWatched), [""; 0]);
        let mut event = Event::new(EventKind::RollbackStarted, at, Some("api".into()));
        event.release = Some(ReleaseInfo {
            version: Some(crate::model::ReleaseVersion(42)),
            tag: None,
            digest: "sha256:1".into(),
            author: None,
            created_at: None,
        });
        let purposes = |event: &Event| -> Vec<Purpose> {
            commands(event).into_iter().map(|(purpose, _)| purpose).collect()
        };
        event.drift = Some(Drift { image: true, ..Drift::default() });
        assert_eq!(purposes(&event), [Purpose::Stop, Purpose::Undo]);
        event.drift = Some(Drift::default());
        assert_eq!(purposes(&event), [Purpose::Stop], "there is no image to go to");
    }

    #[test]
    fn what_was_gone_back_to_can_be_kept_where_that_is_taken() {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::RollbackCompleted, at, Some("api".into()));
        event.known_good = Some(ReleaseInfo {
            version: Some(crate::model::ReleaseVersion(41)),
            tag: None,
            digest: "sha256:1".into(),
            author: None,
            created_at: None,
        });
        assert_eq!(commands(&event), []);
        event.can_pin = true;
        assert_eq!(commands(&event), [(Purpose::Pin, "waveoff pin api v41".to_owned())]);
    }

    #[test]
    fn what_degrades_late_and_has_nothing_to_go_back_to_can_be_looked_at() {
        let at: jiff::Timestamp = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::ReleaseDegraded, at, Some("api".into()));
        let late = Degradation {
            since: at,
            stays: Some(Stays::OnlyAlerts),
            revoked: false,
            with: Vec::new(),
            well: 0,
            changes: Vec::new(),
        };
        event.reason = Some(Reason::DegradesLate { late: Box::new(late) });
        assert_eq!(commands(&event), [(Purpose::GoOn, "waveoff explain api".to_owned())]);
    }
}
