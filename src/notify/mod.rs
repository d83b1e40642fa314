//! Telling people: an event becomes a sentence, a webhook body, a signed request.
//!
//! All of it is pure but `http`, which sends one request. The daemon empties the outbox, and keeps the
//! book of what goes on (`ongoing`).

pub mod discord;
pub mod grafana;
pub mod http;
pub mod ongoing;
pub mod pagerduty;
pub mod payload;
pub mod signing;
pub mod slack;
pub mod slack_bot;
pub mod teams;
pub mod text;

use crate::{
    config::{Config, Format, Receiver},
    model::{Event, EventKind, Evidence, Mode, Reason, Verdict},
    numbers,
};

/// Who says it, and where more of it is.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'s> {
    pub organization: &'s str,
    /// Where people reach the status page.
    pub page_url: Option<&'s str>,
}

impl<'s> Sender<'s> {
    pub fn new(organization: &'s str) -> Self {
        Self { organization, page_url: None }
    }

    pub fn of(config: &'s Config) -> Self {
        Self { organization: &config.organization, page_url: config.page_url.as_deref() }
    }

    /// Where the page about an event is.
    fn page(&self, event: &Event) -> Option<String> {
        let base = self.page_url?;
        Some(match &event.app {
            Some(app) => format!("{base}/apps/{}", encoded(app.as_str())),
            None => format!("{base}/"),
        })
    }
}

/// Text as a part of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().fold(String::new(), |mut path, byte| {
        if plain(byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
        path
    })
}

/// The names of the receivers that want to hear of an event, in order: whom to put in the outbox.
pub fn recipients(config: &Config, event: &Event) -> Vec<String> {
    let receivers = config.receivers.iter();
    receivers.filter(|(_, receiver)| wants(receiver, event)).map(|(name, _)| name.clone()).collect()
}

fn wants(receiver: &Receiver, event: &Event) -> bool {
    let of_kind = if receiver.events.is_empty() {
        let is_shown_as_it_goes = receiver.channel.is_some()
            && ongoing::is_part(event.kind)
            && !is_planned_only_in_words(event);
        !receiver.format.is_chat() || matters(event) || is_shown_as_it_goes
    } else {
        receiver.events.contains(&event.kind)
    };
    let of_app = match &event.app {
        Some(app) if !receiver.apps.is_empty() => {
            receiver.apps.iter().any(|glob| glob.matches(app.as_str()))
        }
        Some(_) | None => true,
    };
    // What ends something is wanted where its beginning was, which was worse.
    let is_bad_enough = event.severity() >= receiver.severity || ends_something(event);
    let is_taken = match receiver.format {
        Format::PagerDuty => pagerduty::is_told(event),
        Format::Grafana => grafana::is_told(event.kind),
        Format::Standard | Format::Slack | Format::Discord | Format::Teams => true,
    };
    of_kind && of_app && is_bad_enough && is_taken
}

/// Whether something that was told of is over.
fn ends_something(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::ReleaseRecovered
            | EventKind::RollbackCompleted
            | EventKind::RollbackStopped
            | EventKind::HoldCleared
            | EventKind::MonitorRecovered
    )
}

/// Whether it is what a policy that only observes would have done: the hold that follows says it too, and
/// nothing goes on from there.
fn is_planned_only_in_words(event: &Event) -> bool {
    event.kind == EventKind::RollbackPlanned && event.mode == Some(Mode::Observe)
}

/// Whether it is told in a chat, where nobody asked for certain events: of a rollback its beginning
/// and its end.
fn matters(event: &Event) -> bool {
    match event.kind {
        // What is done about it follows at once; of what only alerts nothing does.
        EventKind::ReleaseDegraded => {
            let undoes = |one: &Evidence| one.may_roll_back && one.verdict == Verdict::Breach;
            matches!(event.reason, Some(Reason::OnlyAlerts { .. }))
                || event.is_left_degraded()
                || !event.evidence.iter().any(undoes)
        }
        // Nobody released anything: the daemon is new there, and sees all apps at once.
        EventKind::ReleaseDetected => event.reason != Some(Reason::FirstSeen),
        // That it is well again was told.
        EventKind::ReleaseTrusted => {
            event.reason != Some(Reason::TrustedAgain) && !event.ran_before
        }
        EventKind::ReleaseBaked => !event.ran_before,
        EventKind::RollbackPlanned => {
            event.mode != Some(Mode::Rollback) && !is_planned_only_in_words(event)
        }
        EventKind::RollbackRegionConfirmed | EventKind::RollbackResumed => false,
        EventKind::ReleaseRecovered
        | EventKind::ReleaseUntrusted
        | EventKind::RollbackStarted
        | EventKind::RollbackPaused
        | EventKind::RollbackCompleted
        | EventKind::RollbackStopped
        | EventKind::RollbackFailed
        | EventKind::HoldPlaced
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
        | EventKind::MachineSuspect
        | EventKind::ConfigRejected
        | EventKind::ConfigReloaded
        | EventKind::ConfigWarning => true,
    }
}

#[cfg(test)]
mod tests;
