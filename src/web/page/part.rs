//! Small pieces that pages share.

use maud::{Markup, html};

use crate::{
    model::{OperatorHold, Signed, Verdict, event::ReleaseInfo},
    threshold,
    web::{
        Phase,
        view::{AppView, EvidenceView, RunningView},
    },
};

/// How bad something is, as colours and signs show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Bad,
    Warn,
    /// Something is under way.
    Busy,
    Calm,
    Good,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Calm => "calm",
            Self::Good => "good",
        }
    }
}

/// How bad it is to be in this phase.
pub(super) fn phase_tone(phase: Phase) -> Tone {
    match phase {
        Phase::Held
        | Phase::Degraded
        | Phase::AwaitingApproval
        | Phase::CountingDown
        | Phase::RollingBack
        | Phase::Confirming => Tone::Bad,
        Phase::RolledBack => Tone::Warn,
        Phase::Deploying | Phase::Baking => Tone::Busy,
        Phase::Learning => Tone::Calm,
        Phase::Steady => Tone::Good,
    }
}

/// The sign goes with the colour: not everybody sees that.
pub(super) fn badge(tone: Tone, words: &str) -> Markup {
    html! { span .badge .(tone.class()) { (words) } }
}

pub(super) fn verdict_tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Inconclusive => Tone::Calm,
        Verdict::Breach => Tone::Bad,
    }
}

/// A release by its name, with the rest on a second look.
pub(super) fn release(release: Option<&ReleaseInfo>) -> Markup {
    let Some(release) = release else { return html! { span.none { "none" } } };
    html! { span title=(release.digest) { (release.name()) } }
}

/// What machines run.
pub(super) fn running(running: &[RunningView]) -> Markup {
    html! {
        @for (at, one) in running.iter().enumerate() {
            @if at > 0 { ", " }
            span title=(one.release.digest) { (one.name()) }
        }
    }
}

/// The evidence that says most: what breaches, or else what is nearest to its limit.
pub(super) fn worst(view: &AppView) -> Option<&EvidenceView> {
    let weight = |one: &EvidenceView| (one.verdict == Verdict::Breach, filled(one));
    view.evidence
        .iter()
        .max_by(|a, b| weight(a).partial_cmp(&weight(b)).unwrap_or(std::cmp::Ordering::Equal))
}

/// How much of a bar is full whose middle is the limit: 0 to 100.
pub(super) fn filled(evidence: &EvidenceView) -> f64 {
    match (evidence.value, evidence.limit) {
        (Some(value), Some(limit)) if limit > 0.0 => (value / limit * 50.0).clamp(0.0, 100.0),
        (Some(value), Some(_)) if value > 0.0 => 100.0,
        _ => 0.0,
    }
}

/// `9.0 %`, or that there is no number.
pub(super) fn value(evidence: &EvidenceView) -> String {
    let unit = evidence.unit;
    evidence.value.map_or_else(|| "no data".to_owned(), |value| threshold::value(value, unit))
}

pub(super) fn limit(evidence: &EvidenceView) -> String {
    let unit = evidence.unit;
    evidence.limit.map_or_else(String::new, |limit| threshold::limit(limit, unit))
}

/// A bar whose middle is the limit. What it shows is said beside it.
pub(super) fn bar(evidence: &EvidenceView) -> Markup {
    let tone = verdict_tone(evidence.verdict).class();
    let width = format!("{:.0}", filled(evidence));
    html! {
        svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            path .(tone) d={ "M0 4h" (width) } {}
            path.mark d="M50 0v8" {}
        }
    }
}

/// `dana until …: a sale`.
pub(super) fn held_by(hold: &OperatorHold) -> Markup {
    html! {
        (hold.by)
        @if let Some(until) = hold.until { " until " (super::shell::time(until)) }
        ": " (hold.reason)
    }
}

/// `dana (a sale)`.
pub(super) fn signed(signed: &Signed) -> String {
    let Signed { by, reason, .. } = signed;
    if reason.is_empty() { by.clone() } else { format!("{by} ({reason})") }
}
