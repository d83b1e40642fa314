//! One message per thing: what flaps is told once and then summed up.
//!
//! Of events of one kind, about one thing and release, one is told in ten minutes. The others are counted
//! in the next one; and when there is no next one, the last of them is told late, so that what people
//! heard last is how it is.
//!
//! It is the end of something bad that is held back, never its beginning: who was told that it is over
//! is told at once that it is there again, and the next end then waits until the ten minutes are over and
//! it still holds. What got worse is told at once as well.

use std::mem::{Discriminant, discriminant};

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    Digest, Event, EventKind, HoldReason, MachineId, Reason, ReleaseVersion, Severity,
};

/// One message in so much time.
const ONCE_IN: SignedDuration = SignedDuration::from_mins(10);
/// Things remembered at once; beyond it the one told longest ago is told anew.
const KEPT_MAX: usize = 64;
/// Machines that one late message names of those that it stands for.
const MACHINES_MAX: usize = 100;

/// What makes two events the same thing.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    kind: EventKind,
    cause: Option<Discriminant<Reason>>,
    hold: Option<Discriminant<HoldReason>>,
    /// What of the app it is about; the same for what begins and what ends.
    subject: String,
    release: Option<(Option<ReleaseVersion>, Digest)>,
    /// It tells of thresholds that only alert.
    only_alerts: bool,
}

impl Key {
    /// `None`: every one of these is told.
    fn of(event: &Event) -> Option<Self> {
        let flaps = matches!(
            event.kind,
            EventKind::ReleaseDegraded
                | EventKind::HoldPlaced
                | EventKind::HoldCleared
                | EventKind::MonitorBlind
                | EventKind::MonitorRecovered
                | EventKind::ImageMixed
        );
        let hold = match &event.reason {
            Some(
                Reason::Held { hold }
                | Reason::HoldOver { was: hold }
                | Reason::HoldLifted { was: hold, .. },
            ) => Some(hold),
            _ => None,
        };
        // What a person does is no flapping.
        let by_hand = matches!(hold, Some(HoldReason::Operator { .. }));
        // For whatever reason it is over: it is not held any more.
        let is_clear = event.kind == EventKind::HoldCleared;
        (flaps && !by_hand).then(|| Self {
            kind: event.kind,
            cause: event.reason.as_ref().filter(|_| !is_clear).map(discriminant),
            hold: hold.filter(|_| !is_clear).map(discriminant),
            subject: event.reason.as_ref().map_or_else(String::new, subject),
            release: event.release.as_ref().map(|info| (info.version, info.digest.clone())),
            only_alerts: only_alerts(event),
        })
    }
}

/// What of an app a reason is about, where there can be several at once.
fn subject(reason: &Reason) -> String {
    match reason {
        Reason::Unmatched { threshold, .. }
        | Reason::Unjudgeable { threshold, .. }
        | Reason::Judgeable { threshold } => format!("threshold {threshold}"),
        Reason::OnlyAlerts { thresholds } => format!("thresholds {}", thresholds.join(", ")),
        Reason::ServerUnreadable { server, .. } | Reason::ServerReadable { server } => {
            format!("server {server}")
        }
        Reason::MetricsUnreadable { .. } | Reason::MetricsReadable => "metrics".to_owned(),
        Reason::ProbesUnanswered { .. } | Reason::ProbesAnswered => "probes".to_owned(),
        Reason::PlatformUnreadable { .. }
        | Reason::TokenRefused { .. }
        | Reason::PlatformReadable { .. } => "platform".to_owned(),
        Reason::StateUnreadable { .. } | Reason::StateReadable => "state".to_owned(),
        Reason::LedgerStaysOpen { release } => format!("release {release}"),
        Reason::MixedImages { images } => {
            // How many machines run which of them changes all the time.
            let images = images.iter().map(|one| format!("{} {}", one.group, one.digest));
            images.collect::<Vec<_>>().join(", ")
        }
        Reason::RunsAgain { put_right: true, .. } => "put right".to_owned(),
        Reason::Waits { wait } => format!("{:?}", discriminant(wait)),
        _ => String::new(),
    }
}

/// Whether it tells of thresholds that only alert, which say nothing of how a release is.
fn only_alerts(event: &Event) -> bool {
    matches!(
        event.reason,
        Some(Reason::OnlyAlerts { .. } | Reason::AlertsOver { .. } | Reason::AlertsGone { .. })
    )
}

/// Whether an event says that what another one told of is over.
fn ends(end: &Event, begun: &Key) -> bool {
    match begun.kind {
        EventKind::HoldPlaced | EventKind::ReleaseDegraded
            if begun.only_alerts != only_alerts(end) =>
        {
            false
        }
        EventKind::HoldPlaced | EventKind::ReleaseDegraded => matches!(
            end.kind,
            EventKind::HoldCleared
                | EventKind::ReleaseRecovered
                | EventKind::ReleaseTrusted
                | EventKind::RollbackCompleted
        ),
        EventKind::MonitorBlind => {
            let over = end.reason.as_ref().map_or_else(String::new, subject);
            end.kind == EventKind::MonitorRecovered && over == begun.subject
        }
        _ => false,
    }
}

/// Whether an event leaves nothing to say of the end of something: it goes on, or more is known.
fn outdates(event: &Event, end: &Key) -> bool {
    match end.kind {
        EventKind::HoldCleared if only_alerts(event) => false,
        EventKind::HoldCleared => {
            event.kind.is_about_undoing()
                || matches!(
                    event.kind,
                    EventKind::ReleaseDegraded
                        | EventKind::ReleaseRecovered
                        | EventKind::ReleaseTrusted
                )
        }
        EventKind::MonitorRecovered => {
            let begun = event.reason.as_ref().map_or_else(String::new, subject);
            event.kind == EventKind::MonitorBlind && begun == end.subject
        }
        _ => false,
    }
}

/// One thing, as it was told.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    key: Key,
    at: Timestamp,
    /// How bad it was said to be.
    severity: Severity,
    /// How many came since.
    since: u32,
    /// The last of them.
    last: Option<(String, Event)>,
    /// People were told since that it is over: the next one is news, and counts those of before.
    ended: bool,
}

/// What was told lately of one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Repeats(Vec<Told>);

impl Repeats {
    /// Whether an event is to be told now; it is given the number of those that were not.
    pub(super) fn take(&mut self, id: &str, event: &mut Event, now: Timestamp) -> bool {
        for told in &mut self.0 {
            // Told late, it would not be how it is.
            if ends(event, &told.key) || outdates(event, &told.key) {
                told.last = None;
            }
        }
        let is_told = self.is_news(id, event, now);
        if is_told {
            self.end(event);
        }
        is_told
    }

    /// It was told that something is over: when it comes again, that is told at once.
    fn end(&mut self, event: &Event) {
        self.0.retain_mut(|told| {
            told.ended |= ends(event, &told.key);
            !told.ended || told.since > 0
        });
    }

    fn is_news(&mut self, id: &str, event: &mut Event, now: Timestamp) -> bool {
        let Some(key) = Key::of(event) else { return true };
        let severity = event.severity();
        let Some(told) = self.0.iter_mut().find(|told| told.key == key) else {
            self.make_room();
            self.0.push(Told { key, at: now, severity, since: 0, last: None, ended: false });
            return true;
        };
        // The clock may have been put back.
        if !told.ended && !told.is_over(now) && severity <= told.severity {
            told.since = told.since.saturating_add(1);
            let mut event = event.clone();
            if let Some((_, earlier)) = &told.last {
                name_machines_of(&mut event, earlier);
            }
            told.last = Some((id.to_owned(), event));
            return false;
        }
        if let Some((_, earlier)) = &told.last {
            name_machines_of(event, earlier);
        }
        event.repeats = std::mem::take(&mut told.since);
        told.at = now;
        told.severity = severity;
        told.last = None;
        told.ended = false;
        true
    }

    /// Forgets what was told longest ago, and of that rather what nothing is left to be told of.
    fn make_room(&mut self) {
        if self.0.len() < KEPT_MAX {
            return;
        }
        let all = self.0.iter().enumerate();
        let oldest = all.min_by_key(|(_, told)| (told.last.is_some(), told.at));
        if let Some(index) = oldest.map(|(index, _)| index) {
            self.0.remove(index);
        }
    }

    /// Whether something is to be told late.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        self.0.iter().any(|told| told.last.is_some() && told.is_over(now))
    }

    /// What was not told in its time and has been the last word since, with its ids.
    pub(super) fn overdue(&mut self, now: Timestamp) -> Vec<(String, Event)> {
        let mut late = Vec::new();
        for told in &mut self.0 {
            if !told.is_over(now) {
                continue;
            }
            if let Some((id, mut event)) = told.last.take() {
                event.repeats = std::mem::take(&mut told.since).saturating_sub(1);
                told.at = now;
                told.severity = event.severity();
                late.push((id, event));
            }
        }
        late.sort_by_key(|(_, event)| event.at);
        for (_, event) in &late {
            self.end(event);
        }
        late
    }
}

impl Told {
    fn is_over(&self, now: Timestamp) -> bool {
        now.duration_since(self.at).abs() >= ONCE_IN
    }
}

/// Adds the machines of an event that was not told to those of the one that stands for it.
fn name_machines_of(event: &mut Event, earlier: &Event) {
    let before = earlier.reason.as_ref().and_then(machines).unwrap_or_default();
    let Some(
        Reason::RunsAgain { machines, .. }
        | Reason::SetByHand { machines }
        | Reason::QuarantinedServes { machines },
    ) = &mut event.reason
    else {
        return;
    };
    for machine in before {
        if machines.len() < MACHINES_MAX && !machines.contains(machine) {
            machines.push(machine.clone());
        }
    }
}

fn machines(reason: &Reason) -> Option<&[MachineId]> {
    match reason {
        Reason::RunsAgain { machines, .. }
        | Reason::SetByHand { machines }
        | Reason::QuarantinedServes { machines } => Some(machines),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
