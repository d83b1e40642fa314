//! Orders over HTTP: who carries them out, and what a hold is.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

pub use super::gate::TOKEN_VARIABLE;
use super::view::ReleasesView;
use crate::{
    config,
    model::{Act, AppName, OperatorHold, Order, Signed},
};

/// Longest reason and name, in characters.
pub(super) const REASON_MAX: usize = 500;
const NAME_MAX: usize = 100;
/// Longest hold with an end.
const FOR_MAX: SignedDuration = SignedDuration::from_hours(24 * 90);

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("app {0} is not watched")]
    NotWatched(AppName),
    #[error("the task of app {0} did not answer in time; status and history tell what it did")]
    NoAnswer(AppName),
    #[error("no receiver is called {name}; {}", there_are(.known))]
    NoReceiver { name: String, known: Vec<String> },
    #[error("the order cannot be written down, and was not carried out: {0}")]
    NotNoted(String),
}

fn there_are(names: &[String]) -> String {
    if names.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// Who carries orders out, and knows more than the board shows.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Hands a hold, or its end, to one app, or to all; answers with those that recorded it.
    async fn give(&self, app: Option<AppName>, order: Order) -> Result<Vec<AppName>, OrderError>;
    /// Has one app do something once.
    async fn act(&self, app: AppName, act: Act, signed: Signed) -> Result<Answer, OrderError>;
    /// Has messages that were given up sent again, all of a receiver or one; answers with how many.
    async fn resend(&self, receiver: &str, message: Option<&str>) -> Result<u64, OrderError>;
    /// Sends a receiver a message that says that it is a test; an inner error: it was not taken.
    async fn test(&self, receiver: &str, by: &str) -> Result<Result<(), String>, OrderError>;
    /// The releases of an app, and what is known of each.
    async fn releases(&self, app: AppName) -> Result<ReleasesView, OrderError>;
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `false`: it was refused, and nothing was changed.
    pub done: bool,
    /// For people.
    pub text: String,
    /// The same as facts.
    pub facts: Value,
}

/// Which apps are held, why, and how long.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// `null`: every app, those that appear later included.
    #[serde(default)]
    pub app: Option<AppName>,
    /// Why; at most 500 characters are kept.
    #[schema(min_length = 1, pattern = "^[\\x21-\\x7e]")]
    pub reason: String,
    /// How long, such as `2h`; `null`: until it is ended.
    #[serde(default, rename = "for")]
    #[schema(pattern = "^[1-9][0-9]{0,2}[mh]$")]
    pub length: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
}

/// Which apps are held no longer.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnholdRequest {
    /// `null`: the hold of every app.
    #[serde(default)]
    pub app: Option<AppName>,
    /// Why; at most 500 characters are kept.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
}

/// What came of a hold, or of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Ordered)]
pub struct OrderView {
    /// Apps that have recorded it; others take it as soon as they can.
    pub apps: Vec<AppName>,
    pub hold: Option<OperatorHold>,
}

/// The hold that was asked for.
pub(super) fn hold(request: &HoldRequest, now: Timestamp) -> Result<OperatorHold, String> {
    let reason = tidy(&request.reason, REASON_MAX);
    if reason.is_empty() {
        return Err("reason is empty: whoever reads of the hold wants to know why".to_owned());
    }
    let until = match &request.length {
        None => None,
        Some(text) => {
            let length = config::duration(text).map_err(|wrong| format!("for: {wrong}"))?;
            let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
            if length.is_zero() || length > FOR_MAX {
                return Err("for: write up to 90d, or leave it out to hold until unhold".to_owned());
            }
            now.checked_add(length).ok()
        }
    };
    let by = who(request.by.as_deref());
    Ok(OperatorHold { by, reason, since: now, until })
}

/// Who ends a hold, and why.
pub(super) fn lifted(request: &UnholdRequest, now: Timestamp) -> Signed {
    let reason = tidy(request.reason.as_deref().unwrap_or_default(), REASON_MAX);
    Signed { by: who(request.by.as_deref()), reason, at: now }
}

/// Who says so, as far as they say it.
pub(super) fn who(by: Option<&str>) -> String {
    let by = tidy(by.unwrap_or_default(), NAME_MAX);
    if by.is_empty() { "an operator".to_owned() } else { by }
}

/// One line, cut to its bound.
pub(super) fn tidy(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|char| !char.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_has_a_reason_and_an_end_within_reason() {
        let now: Timestamp = "2026-03-01T02:03:04Z".parse().unwrap();
        let request = |reason: &str, length: Option<&str>| HoldRequest {
            app: None,
            reason: reason.to_owned(),
            length: length.map(str::to_owned),
            by: Some("dana".to_owned()),
        };
        let two_hours = hold(&request("a\n sale", Some("2h")), now).unwrap();
        assert_eq!(two_hours.reason, "a sale");
        assert_eq!(two_hours.until.unwrap().to_string(), "2026-03-01T04:03:04Z");
        assert_eq!(hold(&request("a sale", None), now).unwrap().until, None);
        for (reason, length) in
            [(" ", None), ("a", Some("2")), ("a", Some("0s")), ("a", Some("1y"))]
        {
            assert!(hold(&request(reason, length), now).is_err(), "{reason} {length:?}");
        }
    }
}
