//! How often a breach may be false.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    model::{Event, EventKind, Reason},
    threshold,
};

/// For what a rate of false alarms is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromisedPer {
    /// A healthy release, until it is trusted.
    Release,
    /// An app and 30 days, whatever releases it has in them: what was trusted is watched on.
    Month,
}

/// How often a breach may be false, over all thresholds together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Promise {
    /// At most so many (0.001: one in a thousand); `null`: the numbers are not of now, and what was
    /// promised then is not kept.
    pub false_alarms: Option<f64>,
    pub per: PromisedPer,
}

/// What the policy promises, of which one holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promises {
    pub false_rollbacks: f64,
    pub false_late_alarms: f64,
    /// For what the release is watched; `None`: it is being undone, and what was told of it says that.
    pub span: Option<threshold::Span>,
}

/// What is promised of a release of which this was told.
pub(super) fn of(held: Option<Promises>, about: &[&Event]) -> Promise {
    let span = held.and_then(|held| held.span).unwrap_or_else(|| span_of(about));
    let (per, rate): (_, fn(Promises) -> f64) = match span {
        threshold::Span::Release => (PromisedPer::Release, |held| held.false_rollbacks),
        threshold::Span::Month => (PromisedPer::Month, |held| held.false_late_alarms),
    };
    Promise { false_alarms: held.map(rate), per }
}

/// For what a release was watched when it degraded; the newest event is the first.
fn span_of(about: &[&Event]) -> threshold::Span {
    let degraded = about.iter().find(|event| event.kind == EventKind::ReleaseDegraded);
    match degraded.and_then(|event| event.reason.as_ref()) {
        Some(Reason::DegradesLate { .. }) => threshold::Span::Month,
        _ => threshold::Span::Release,
    }
}
