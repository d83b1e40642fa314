//! What an answer that is no success means: by its status, and by the few texts that matter.
//!
//! Texts are matched by a piece of them, never whole; the platform words them as it likes.

use std::time::Duration;

use jiff::{Timestamp, fmt::strtime};
use serde_json::Value;

use crate::ports::PlatformError;

/// Longest excerpt of what the platform said.
const TEXT_MAX: usize = 300;
const LEASE_HELD: &str = "lease currently held by ";

/// Why a call failed, and what that says about repeating it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: PlatformError,
    /// The status of the answer, when there was one.
    pub(super) status: Option<u16>,
    /// Whether the platform may have carried out this attempt or an earlier one.
    pub(super) maybe_done: bool,
    /// How long the platform wants to be left alone.
    pub(super) asked: Option<Duration>,
}

impl Failure {
    /// A failure of which nothing reached the platform.
    pub(super) fn undone(error: PlatformError) -> Self {
        Self { error, status: None, maybe_done: false, asked: None }
    }

    /// A failure after which nobody knows whether the platform acted.
    pub(super) fn unknown(error: PlatformError) -> Self {
        Self { error, status: None, maybe_done: true, asked: None }
    }
}

impl From<Failure> for PlatformError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

/// The failure that an answer's status stands for. `place` is method and path, `text` what the
/// body said, `request` the platform's id of the request.
pub(super) fn of_status(place: &str, status: u16, text: &str, request: Option<&str>) -> Failure {
    let mut what = format!("{place} answered {status}");
    if !text.is_empty() {
        what.push_str(": ");
        what.push_str(text);
    }
    if let Some(request) = request {
        what.push_str(&format!(" (request {request})"));
    }
    // A refusal was decided before anything was done; after the others nobody knows.
    let maybe_done = matches!(status, 408 | 500..=599);
    let error = match status {
        409 | 412 | 423 => lease_holder(text).unwrap_or(PlatformError::Conflict(what)),
        401 | 403 => PlatformError::Denied(what),
        404 => PlatformError::NotFound(what),
        408 | 429 | 500..=599 => PlatformError::Unavailable(what),
        300..=399 => PlatformError::Unreadable(format!("{what}: redirects are not followed")),
        _ => PlatformError::Refused(what),
    };
    Failure { error, status: Some(status), maybe_done, asked: None }
}

/// What the platform said, from an answer's body: `message` wins over `error`, other JSON and
/// anything else is shown as it is, all of it shortened.
pub(super) fn text_of(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let said = json.as_ref().and_then(|json| {
        let field = |name: &str| json.get(name).and_then(Value::as_str);
        let listed = || json.pointer("/errors/0/message").and_then(Value::as_str);
        field("message")
            .filter(|text| !text.is_empty())
            .or_else(|| field("error"))
            .or_else(listed)
            .or_else(|| field("detail"))
    });
    let text = match said {
        Some(text) => text.to_owned(),
        None => {
            let start = body.get(..TEXT_MAX * 4).unwrap_or(body);
            String::from_utf8_lossy(start).into_owned()
        }
    };
    excerpt(&text, TEXT_MAX)
}

/// The beginning of `text` on one line.
pub(super) fn excerpt(text: &str, most: usize) -> String {
    let line: Vec<&str> = text.split_whitespace().collect();
    let line = line.join(" ");
    let mut short: String = line.chars().filter(|char| !char.is_control()).take(most).collect();
    if line.chars().count() > most {
        short.push('…');
    }
    short
}

/// `… lease currently held by OWNER, expires at WHEN`, wherever it stands in the text.
fn lease_holder(text: &str) -> Option<PlatformError> {
    let (_, rest) = text.split_once(LEASE_HELD)?;
    let (owner, when) = match rest.split_once(", expires at") {
        Some((owner, when)) => (owner, time(when)),
        None => (rest, None),
    };
    let owner = owner.trim().trim_end_matches(['.', ',']);
    let owner = if owner.is_empty() { "somebody" } else { owner };
    Some(PlatformError::LeaseHeld { owner: owner.to_owned(), expires_at: when })
}

/// The time with which a text begins. Seen or to be expected: RFC 3339, seconds since 1970, and
/// the way Go prints times.
fn time(text: &str) -> Option<Timestamp> {
    let mut words = text.split_whitespace();
    let first = words.next()?.trim_end_matches(['.', ',', ';', ')', '"']);
    if let Ok(time) = first.parse() {
        return Some(time);
    }
    if let Ok(seconds) = first.parse::<i64>() {
        return Timestamp::from_second(seconds).ok();
    }
    let (clock, offset) = (words.next()?, words.next()?);
    let clock = clock.split_once('.').map_or(clock, |(whole, _)| whole);
    let go = format!("{first} {clock} {}", offset.trim_end_matches(['.', ',', ';', ')']));
    strtime::parse("%Y-%m-%d %H:%M:%S %z", &go).ok()?.to_timestamp().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> PlatformError {
        of_status("POST /v1/x", status, &text_of(body.as_bytes()), Some("01H-fra")).error
    }

    #[test]
    fn a_status_says_what_can_be_done_about_it() {
        use PlatformError::{Conflict, Denied, NotFound, Refused, Unavailable, Unreadable};
        let text = "POST /v1/x answered STATUS: aborted: no (request 01H-fra)";
        type Variant = fn(String) -> PlatformError;
        let cases: [(u16, Variant); 15] = [
            (400, Refused),
            (401, Denied),
            (403, Denied),
            (404, NotFound),
            (405, Refused),
            (408, Unavailable),
            (409, Conflict),
            (412, Conflict),
            (422, Refused),
            (429, Unavailable),
            (500, Unavailable),
            (502, Unavailable),
            (503, Unavailable),
            (504, Unavailable),
            (599, Unavailable),
        ];
        for (status, variant) in cases {
            let want = variant(text.replace("STATUS", &status.to_string()));
            assert_eq!(error(status, r#"{"error":"aborted: no"}"#), want, "{status}");
        }
        assert!(matches!(error(302, ""), Unreadable(text) if text.contains("redirects")));
    }

    #[test]
    fn only_after_some_failures_the_call_may_have_been_carried_out() {
        for (status, want) in [(400, false), (409, false), (429, false), (408, true), (503, true)] {
            assert_eq!(of_status("", status, "", None).maybe_done, want, "{status}");
        }
    }

    #[test]
    fn a_held_lease_names_its_holder() {
        let held = |at: Option<&str>| PlatformError::LeaseHeld {
            owner: "dev@acme.test".to_owned(),
            expires_at: at.map(|at| at.parse().unwrap()),
        };
        let cases = [
            ("2026-08-14T09:57:35Z", Some("2026-08-14T09:57:35Z")),
            ("2026-08-14T09:57:35+02:00.", Some("2026-08-14T07:57:35Z")),
            ("1708569778", Some("2024-02-22T02:42:58Z")),
            ("2026-08-14 09:57:35 +0000 UTC", Some("2026-08-14T09:57:35Z")),
            ("2026-08-14 09:57:35.123456 +0000 UTC m=+1.5", Some("2026-08-14T09:57:35Z")),
            ("tomorrow", None),
            ("", None),
        ];
        for (when, want) in cases {
            let text =
                format!("machine ID 148 lease currently held by dev@acme.test, expires at {when}");
            let envelope = format!(r#"{{"status":"error","message":"{text}","code":"invalid"}}"#);
            assert_eq!(error(409, &envelope), held(want), "{when}");
            let plain = format!(r#"{{"error":"aborted: {text}"}}"#);
            assert_eq!(error(409, &plain), held(want), "{when}");
        }
        assert_eq!(error(409, "lease currently held by dev@acme.test"), held(None));
        assert_eq!(error(412, "lease currently held by dev@acme.test, expires at x"), held(None));
    }

    #[test]
    fn other_conflicts_are_races() {
        let text = "aborted: machine is replacing: concurrent update in progress";
        let body = format!(r#"{{"error":"{text}"}}"#);
        assert!(matches!(error(409, &body), PlatformError::Conflict(said) if said.contains(text)));
    }

    #[test]
    fn what_the_platform_said_is_found_and_shortened() {
        let cases = [
            (r#"{"error":"e","message":"m"}"#, "m"),
            (r#"{"error":"e","message":""}"#, "e"),
            (r#"{"errors":[{"message":"listed"}]}"#, "listed"),
            (r#"{"detail":"not\u0000 this"}"#, "not this"),
            (r#"{"odd":1}"#, r#"{"odd":1}"#),
            ("upstream\n  broke", "upstream broke"),
            ("", ""),
        ];
        for (body, want) in cases {
            assert_eq!(text_of(body.as_bytes()), want);
        }
        let long = text_of("x".repeat(100_000).as_bytes());
        assert_eq!(long.chars().count(), TEXT_MAX + 1);
        assert!(long.ends_with('…'));
    }
}
