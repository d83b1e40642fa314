//! Orders over HTTP: only with the operator's token, which is compared in constant time.

use std::collections::BTreeSet;

use async_trait::async_trait;
use axum::http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::view::ReleasesView;
use crate::{
    config::{self, Secret},
    model::{Act, AppName, OperatorHold, Order, Region, Signed, Strategy, Wish},
};

/// The variable that holds the token, on both sides.
pub const TOKEN_VARIABLE: &str = "WAVEOFF_OPERATOR_TOKEN";
/// Shortest token: what can be guessed guards nothing.
const TOKEN_MIN: usize = 16;
/// Longest reason and name, in characters.
const REASON_MAX: usize = 500;
const NAME_MAX: usize = 100;
/// Longest text that may name a release: a whole reference, with its digest.
const NAME_OF_RELEASE_MAX: usize = 600;
/// Longest hold with an end.
const FOR_MAX: SignedDuration = SignedDuration::from_hours(24 * 90);

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("app {0} is not watched")]
    NotWatched(AppName),
    #[error("the task of app {0} did not answer in time; status and history tell what it did")]
    NoAnswer(AppName),
    #[error("no receiver is called {0}")]
    NoReceiver(String),
    #[error("the order cannot be written down, and was not carried out: {0}")]
    NotNoted(String),
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

/// `POST /api/v1/apps/{app}/{act}`: the fields that the act has, and none else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// Who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For `pin`, `quarantine`, `unquarantine` and `trust`: a number, a tag or a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// For `rollback`, like all that follow: the release to go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<Region>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The answer to an act that was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActView {
    pub app: AppName,
    pub act: String,
    pub text: String,
    pub effect: Value,
}

/// The act of this name that a request asks for, and who asks.
pub(super) fn act(
    word: &str,
    request: ActRequest,
    now: Timestamp,
) -> Result<(Act, Signed), ActProblem> {
    let ActRequest { by, reason, release, to, regions, strategy, force, dry_run } = request;
    let by = who(by.as_deref());
    let reason = tidy(reason.as_deref().unwrap_or_default(), REASON_MAX);
    let signed = Signed { by, reason, at: now };
    let release = release.map(|text| tidy(&text, NAME_OF_RELEASE_MAX));
    let wish = Wish {
        to: to.map(|text| tidy(&text, NAME_OF_RELEASE_MAX)),
        regions,
        strategy,
        force,
        dry_run,
        in_ledger: None,
    };
    let named = |release: Option<String>| {
        let missing = || ActProblem::Wrong(format!("{word} needs the field release: which one"));
        release.filter(|text| !text.is_empty()).ok_or_else(missing)
    };
    let is_named = release.is_some();
    let (act, takes_release) = match word {
        "rollback" => (Act::Rollback(wish.clone()), false),
        "approve" => (Act::Approve, false),
        "veto" => (Act::Veto, false),
        "resume" => (Act::Resume, false),
        "unpin" => (Act::Unpin, false),
        "pin" => (Act::Pin { release: named(release)? }, true),
        "quarantine" => (Act::Quarantine { release: named(release)? }, true),
        "unquarantine" => (Act::Unquarantine { release: named(release)? }, true),
        "trust" => (Act::Trust { release: named(release)? }, true),
        _ => return Err(ActProblem::Unknown),
    };
    if is_named && !takes_release {
        return Err(ActProblem::Wrong(format!("{word} has no field release")));
    }
    if word != "rollback" && wish != Wish::default() {
        let text = format!("{word} has no fields to, regions, strategy, force and dry_run");
        return Err(ActProblem::Wrong(text));
    }
    Ok((act, signed))
}

/// Why a request is no act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ActProblem {
    Unknown,
    Wrong(String),
}

/// `POST /api/v1/hold`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// `null`: every app, those that appear later included.
    #[serde(default)]
    pub app: Option<AppName>,
    pub reason: String,
    /// How long, such as `2h`; `null`: until it is ended.
    #[serde(default, rename = "for")]
    pub length: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
}

/// `DELETE /api/v1/hold`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnholdRequest {
    #[serde(default)]
    pub app: Option<AppName>,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Apps that have recorded it; others take it as soon as they can.
    pub apps: Vec<AppName>,
    pub hold: Option<OperatorHold>,
}

/// Lets in who has the token.
pub(super) fn admit(
    token: Option<&Secret>,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, String)> {
    let token = token.map(Secret::expose).unwrap_or_default().trim();
    if token.is_empty() {
        let text = format!("orders are not taken: {TOKEN_VARIABLE} is not set on the daemon");
        return Err((StatusCode::FORBIDDEN, text));
    }
    if token.len() < TOKEN_MIN {
        let text = format!("orders are not taken: {TOKEN_VARIABLE} is shorter than {TOKEN_MIN}");
        return Err((StatusCode::FORBIDDEN, text));
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
    match given {
        Some(given) if same(given, token) => Ok(()),
        Some(_) => {
            let text = format!("the token is not the daemon's {TOKEN_VARIABLE}");
            Err((StatusCode::UNAUTHORIZED, text))
        }
        None => {
            let text = format!("orders need the header Authorization: Bearer, {TOKEN_VARIABLE}");
            Err((StatusCode::UNAUTHORIZED, text))
        }
    }
}

/// Compares in a time that says nothing of where two texts differ.
fn same(one: &str, other: &str) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.iter().zip(other.iter()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
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

    fn headers(value: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_the_whole_token_opens_and_what_is_missing_is_said() {
        let token = Secret::new("0123456789abcdef");
        let try_with = |token: Option<&Secret>, value: Option<&str>| {
            admit(token, &headers(value)).map_err(|(status, text)| (status.as_u16(), text))
        };
        assert_eq!(try_with(Some(&token), Some("Bearer 0123456789abcdef")), Ok(()));
        for wrong in ["Bearer 0123456789abcde", "Bearer ", "Bearer 0123456789abcdefg"] {
            assert_eq!(try_with(Some(&token), Some(wrong)).unwrap_err().0, 401, "{wrong}");
        }
        let (status, text) = try_with(Some(&token), None).unwrap_err();
        assert!(status == 401 && text.contains("Bearer"), "{text}");
        for unset in [None, Some(&Secret::new("")), Some(&Secret::new("short"))] {
            let (status, text) = try_with(unset, Some("Bearer short")).unwrap_err();
            assert!(status == 403 && text.contains(TOKEN_VARIABLE), "{text}");
        }
    }

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
