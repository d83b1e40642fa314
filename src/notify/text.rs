//! The sentence a person reads for an event, from nothing but the event's own numbers.

use std::fmt::Write as _;

mod commands;
mod countdown;
mod drift;
mod late;
mod name;
mod order;
mod reason;
mod report;

pub use commands::{Purpose, commands, message};
pub use name::unresolved;
pub use order::{effect, refusal};
pub use reason::{hold, obstacle, reason, unknown};
pub use report::{done, machine};

use super::numbers::{cut, duration};
use crate::{
    model::{
        Event, EventKind, Evidence, HoldReason, Mode, Reason, RegionReport, RegionStage, Verdict,
        event::ReleaseInfo,
    },
    threshold::phrase,
};

/// Most thresholds described in one sentence.
const THRESHOLDS_MAX: usize = 5;
/// Most machines named in one sentence.
const MACHINES_MAX: usize = 10;
/// Longest phrase taken over from elsewhere, in characters.
const PHRASE_MAX: usize = 300;

/// What happened, for people: one to three short sentences, bounded in length.
pub fn sentence(event: &Event) -> String {
    let mut text = Text(head(event));
    match event.kind {
        EventKind::ReleaseDetected => {
            text.detected(event);
        }
        EventKind::ReleaseTrusted => {
            text.push("trusted");
            text.after(event, "after");
            text.numbers(event, Verdict::Pass);
            text.reason(event);
        }
        EventKind::ReleaseBaked => {
            text.push("baked");
            text.after(event, "after");
            text.reason(event);
        }
        EventKind::ReleaseUntrusted => text.said(event, "not protected"),
        EventKind::ReleaseDegraded => {
            text.push("degraded");
            text.after(event, "after");
            text.numbers(event, Verdict::Breach);
            text.reason(event);
        }
        EventKind::ReleaseRecovered => text.recovered(event),
        EventKind::MachineSuspect => text.said(event, "one of its machines fails alone"),
        EventKind::RollbackPlanned => {
            text.push(match event.mode {
                Some(Mode::Observe) => "would be rolled back (observing only)",
                Some(Mode::Approve) => "should be rolled back",
                Some(Mode::Rollback) | None => "will be rolled back",
            });
            text.numbers(event, Verdict::Breach);
            text.reason(event);
            text.regions(event);
        }
        EventKind::RollbackStarted => text.under_way(event, "rolling back"),
        EventKind::RollbackRegionConfirmed => text.confirmed(event),
        EventKind::RollbackPaused => text.unfinished(event, "rollback paused"),
        EventKind::RollbackResumed => text.unfinished(event, "rollback goes on"),
        EventKind::RollbackCompleted => {
            text.push("rolled back");
            text.after(event, "in");
            text.numbers(event, Verdict::Breach);
            text.reason(event);
            text.regions(event);
            text.machines(event);
        }
        EventKind::RollbackStopped => text.stopped(event),
        EventKind::RollbackFailed => text.unfinished(event, "rollback failed"),
        EventKind::HoldPlaced => text.held(event),
        EventKind::HoldCleared => text.said(event, "no longer held"),
        EventKind::OperatorOrder => text.ordered(event),
        EventKind::MonitorBlind
        | EventKind::MonitorRecovered
        | EventKind::MonitorClock
        | EventKind::MonitorToken
        | EventKind::MonitorJournal
        | EventKind::MonitorOutbox => text.monitor(event),
        EventKind::ImageMissing | EventKind::ImageNotMirrored => text.image(event),
        EventKind::ImageMixed => {
            text.push("its machines run different images");
            text.reason(event);
            text.machines(event);
        }
        EventKind::ConfigRejected | EventKind::ConfigReloaded | EventKind::ConfigWarning => {
            text.configuration(event);
        }
    }
    text.drift(event);
    if event.repeats > 0 {
        let times =
            if event.repeats == 1 { "once".to_owned() } else { format!("{} times", event.repeats) };
        text.next(&format!("The same came {times} since this was last told"));
    }
    text.end()
}

/// `api v42 → v41: `, as far as each part is known and concerned.
fn head(event: &Event) -> String {
    let mut head = match &event.app {
        Some(app) => app.to_string(),
        None => "waveoff".to_owned(),
    };
    if let Some(release) = &event.release {
        let _infallible = write!(head, " {}", release.name());
    }
    let target = match event.kind {
        EventKind::RollbackPlanned
        | EventKind::RollbackStarted
        | EventKind::RollbackPaused
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed
        | EventKind::RollbackCompleted
        | EventKind::RollbackStopped
        | EventKind::RollbackFailed
        | EventKind::ImageMissing
        | EventKind::ImageNotMirrored => event.known_good.as_ref(),
        EventKind::HoldPlaced if is_observed(event) => event.known_good.as_ref(),
        EventKind::ReleaseDetected
        | EventKind::ReleaseTrusted
        | EventKind::ReleaseBaked
        | EventKind::ReleaseUntrusted
        | EventKind::ReleaseDegraded
        | EventKind::ReleaseRecovered
        | EventKind::MachineSuspect
        | EventKind::HoldPlaced
        | EventKind::HoldCleared
        | EventKind::OperatorOrder
        | EventKind::MonitorBlind
        | EventKind::MonitorRecovered
        | EventKind::MonitorClock
        | EventKind::MonitorToken
        | EventKind::MonitorJournal
        | EventKind::MonitorOutbox
        | EventKind::ImageMixed
        | EventKind::ConfigRejected
        | EventKind::ConfigReloaded
        | EventKind::ConfigWarning => None,
    };
    if let Some(good) = target {
        let _infallible = write!(head, " → {}", good.name());
    }
    head.push_str(": ");
    head
}

/// Whether nothing but the policy's mode keeps a release from being rolled back.
fn is_observed(event: &Event) -> bool {
    matches!(&event.reason, Some(Reason::Held { hold: HoldReason::ObserveMode }))
        && event.kind == EventKind::HoldPlaced
}

fn origin(release: Option<&ReleaseInfo>) -> String {
    let Some(release) = release else { return String::new() };
    let mut text = String::new();
    if let Some(author) = &release.author {
        let _infallible = write!(text, " by {}", cut(author, 80));
    }
    // A tag that somebody chose was said with the number.
    let tag = release.tag.as_deref().filter(|_| release.chosen_tag().is_none());
    let image = tag.unwrap_or_else(|| release.digest.short());
    let _infallible = write!(text, " ({})", cut(image, 120));
    text
}

/// The sentence while it grows.
struct Text(String);

impl Text {
    fn push(&mut self, more: &str) {
        self.0.push_str(more);
    }

    /// Begins another sentence.
    fn next(&mut self, more: &str) {
        if !more.is_empty() {
            self.0.push_str(". ");
            self.0.push_str(more);
        }
    }

    fn after(&mut self, event: &Event, word: &str) {
        if let Some(after) = event.after_s {
            self.push(&format!(" {word} {}", duration(after)));
        }
    }

    fn reason(&mut self, event: &Event) {
        if let Some(reason) = &event.reason {
            let reason = self::reason(reason);
            let reason = cut(reason.trim().trim_end_matches('.'), PHRASE_MAX);
            let joint = if self.0.ends_with(": ") { "" } else { ": " };
            self.push(&format!("{joint}{reason}"));
        }
    }

    fn configuration(&mut self, event: &Event) {
        let phrase = match event.kind {
            // An app: what is in force leaves it without a policy.
            EventKind::ConfigRejected if event.app.is_some() => "not watched",
            EventKind::ConfigRejected => {
                "changed configuration refused, the old one stays in force"
            }
            EventKind::ConfigWarning => {
                "the configuration is in force and probably not what is meant"
            }
            _ => "changed configuration in force",
        };
        self.said(event, phrase);
    }

    /// What the daemon says of itself and of what it sees.
    fn monitor(&mut self, event: &Event) {
        let phrase = match (event.kind, &event.reason) {
            (EventKind::MonitorRecovered, _) => {
                self.push("can be seen again");
                self.after(event, "after");
                return self.reason(event);
            }
            (EventKind::MonitorClock, Some(Reason::ClockRight)) => {
                "the clock of its host is right again"
            }
            (EventKind::MonitorClock, _) => "the clock of its host is wrong",
            (EventKind::MonitorToken, Some(Reason::TokenSuffices)) => "the token",
            (EventKind::MonitorToken, _) => "the token cannot do all that is needed",
            (EventKind::MonitorJournal, _) => {
                "the journal cannot be written, nothing is decided meanwhile"
            }
            (EventKind::MonitorOutbox, _) => "messages were given up",
            _ => return self.blind(event),
        };
        self.said(event, phrase);
    }

    /// What cannot be seen, and what is decided all the same.
    fn blind(&mut self, event: &Event) {
        match &event.reason {
            Some(Reason::Unmatched { threshold, .. } | Reason::Unjudgeable { threshold, .. })
                if event.evidence.iter().any(|one| one.applies && one.threshold != *threshold) =>
            {
                self.reason(event);
                self.next("The others go on");
            }
            // Nothing is hidden by that.
            Some(Reason::LedgerStaysOpen { .. }) => self.reason(event),
            Some(
                Reason::MetricsUnreadable { .. }
                | Reason::ProbesUnanswered { .. }
                | Reason::ServerUnreadable { .. },
            ) => self
                .said(event, "cannot see all of it, what rests on that is not decided meanwhile"),
            _ => self.said(event, "cannot see how it is, nothing is decided meanwhile"),
        }
    }

    /// The image to go back to, or its copy, is not there.
    fn image(&mut self, event: &Event) {
        self.said(
            event,
            match event.kind {
                EventKind::ImageNotMirrored => "not copied to the mirror",
                _ => "the image to go back to is missing from its registry",
            },
        );
    }

    /// A fixed phrase and the reason.
    fn recovered(&mut self, event: &Event) {
        let is_gone = matches!(event.reason, Some(Reason::AlertsGone { .. }));
        self.said(event, if is_gone { "an alert is over" } else { "well again" });
    }

    fn stopped(&mut self, event: &Event) {
        if matches!(event.reason, Some(Reason::CountdownCancelled { .. })) {
            // It had not begun.
            self.said(event, "not rolled back");
        } else {
            self.unfinished(event, "rollback stopped");
        }
    }

    fn said(&mut self, event: &Event, what: &str) {
        self.push(what);
        self.reason(event);
    }

    fn numbers(&mut self, event: &Event, wanted: Verdict) {
        let numbers = evidence(event, wanted);
        if !numbers.is_empty() {
            self.push(&format!(": {numbers}"));
        }
    }

    fn regions(&mut self, event: &Event) {
        self.next(&progress(event));
    }

    /// What changed besides the image, unless the reason says it.
    fn drift(&mut self, event: &Event) {
        let undone = match event.kind {
            EventKind::RollbackPlanned
            | EventKind::RollbackStarted
            | EventKind::RollbackCompleted => true,
            EventKind::HoldPlaced => false,
            _ => return,
        };
        let hold = HoldReason::SameImage { drift: None };
        let is_said =
            matches!(&event.reason, Some(Reason::Held { hold: one }) if one.is_same_kind(&hold));
        if let Some(drift) = event.drift.as_ref().filter(|_| !is_said) {
            self.next(&drift::sentence(drift, undone));
        }
    }

    /// The machines that are not where they should be.
    fn machines(&mut self, event: &Event) {
        let mut odd: Vec<String> = event
            .regions
            .iter()
            .flat_map(|region| region.machines.iter().map(move |(id, state)| (region, id, state)))
            .filter(|(.., state)| !state.is_on_target())
            .map(|(region, id, state)| {
                format!("{id} in {} ({})", region.region, cut(&machine(state), 80))
            })
            .collect();
        let hidden = odd.len().saturating_sub(MACHINES_MAX);
        odd.truncate(MACHINES_MAX);
        if hidden > 0 {
            odd.push(format!("{hidden} more"));
        }
        if !odd.is_empty() {
            let word = if event.kind == EventKind::ImageMixed { "" } else { "Not on target: " };
            self.next(&format!("{word}{}", odd.join(", ")));
        }
    }

    /// The evidence says best why; without it the sentence must say `what`.
    fn under_way(&mut self, event: &Event, what: &str) {
        let numbers = evidence(event, Verdict::Breach);
        self.push(if numbers.is_empty() { what } else { &numbers });
        self.reason(event);
        self.regions(event);
    }

    fn held(&mut self, event: &Event) {
        self.push(&held(event));
        self.reason(event);
        self.next(&evidence(event, Verdict::Breach));
    }

    fn detected(&mut self, event: &Event) {
        self.push(&format!("new release{}", origin(event.release.as_ref())));
        if let Some(good) = &event.known_good {
            self.push(&format!(", judged against {}", good.name()));
        }
        self.reason(event);
    }

    /// What a person said of a release.
    fn ordered(&mut self, event: &Event) {
        match event.reason {
            Some(_) => self.reason(event),
            None => self.push("an operator's order was carried out"),
        }
    }

    fn confirmed(&mut self, event: &Event) {
        match &event.reason {
            Some(why @ (Reason::RegionWell { .. } | Reason::RegionRests { .. })) => {
                self.push(&reason(why));
                self.regions(event);
            }
            _ => self.under_way(event, "region confirmed"),
        }
    }

    fn unfinished(&mut self, event: &Event, what: &str) {
        self.push(what);
        self.after(event, "after");
        self.reason(event);
        self.regions(event);
        self.machines(event);
    }

    fn end(mut self) -> String {
        if !self.0.ends_with('.') {
            self.0.push('.');
        }
        self.0
    }
}

/// What a hold leaves undone: all of it, or what a rollback that stopped did not reach.
fn held(event: &Event) -> String {
    if is_observed(event) {
        // In a chat it is the only message of a breach that is observed.
        return "would be rolled back, and is not".to_owned();
    }
    match report::done(&event.regions) {
        // The reason begins with who holds.
        None if is_by_hand(event) => "nothing will be rolled back".to_owned(),
        None => "held, nothing will be rolled back".to_owned(),
        // It goes on by itself.
        Some(done) if event.reason == Some(HoldReason::NoFreshBreach.into()) => {
            format!("held, the rollback waits {done}")
        }
        Some(done) => format!("held, the rollback stopped {done}"),
    }
}

/// Whether an operator holds.
fn is_by_hand(event: &Event) -> bool {
    matches!(&event.reason, Some(Reason::Held { hold: HoldReason::Operator { .. } }))
}

/// `iad, lhr done in 48 s; fra confirming; syd next`.
fn progress(event: &Event) -> String {
    let named = |phase: RegionStage| -> Vec<&str> {
        let of_phase = |region: &&RegionReport| region.phase == phase;
        event.regions.iter().filter(of_phase).map(|region| region.region.as_str()).collect()
    };
    let mut parts = Vec::new();
    let done = named(RegionStage::Confirmed);
    if !done.is_empty() {
        // A finished rollback has its duration at its head.
        let in_time = match event.after_s {
            Some(after) if event.kind == EventKind::RollbackRegionConfirmed => {
                format!(" in {}", duration(after))
            }
            _ => String::new(),
        };
        parts.push(format!("{} done{in_time}", done.join(", ")));
    }
    for (phase, word) in [
        (RegionStage::RollingBack, "rolling back"),
        (RegionStage::Confirming, "confirming"),
        (RegionStage::Stopped, "stopped"),
        (RegionStage::Waiting, "next"),
        (RegionStage::Skipped, "skipped"),
    ] {
        let regions = named(phase);
        if !regions.is_empty() {
            parts.push(format!("{} {word}", regions.join(", ")));
        }
    }
    parts.join("; ")
}

/// The thresholds with verdict `wanted`, or all of them when none has it.
fn evidence(event: &Event, wanted: Verdict) -> String {
    let mut chosen: Vec<&Evidence> =
        event.evidence.iter().filter(|one| one.verdict == wanted).collect();
    if chosen.is_empty() {
        chosen = event.evidence.iter().collect();
    }
    let hidden = chosen.len().saturating_sub(THRESHOLDS_MAX);
    let control =
        event.known_good.as_ref().map_or_else(|| "the rest".to_owned(), ReleaseInfo::label);
    let mut parts: Vec<String> =
        chosen.iter().take(THRESHOLDS_MAX).map(|one| phrase(one, &control)).collect();
    if hidden > 0 {
        parts.push(format!("{hidden} more"));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests;
