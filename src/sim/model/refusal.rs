//! Why the platform refuses. One list, from which both the wire's answers and the ports' errors
//! are made.

use jiff::Timestamp;

use super::rights::Right;
use crate::ports::PlatformError;

/// A request the platform did not carry out. The texts are the platform's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub enum Refusal {
    /// 404.
    NotFound(String),
    /// 409: somebody else holds the lease, or the nonce was not sent.
    LeaseHeld { machine: String, owner: String, expires_at: Timestamp },
    /// 409 `aborted`.
    Conflict(String),
    /// 412 `failed_precondition`.
    Precondition(String),
    /// 400 `invalid_argument`.
    Invalid(String),
    /// 422.
    Unprocessable(String),
    /// 422 with the status `insufficient_capacity`.
    NoCapacity(String),
    /// 401 or 403: the token may not do this.
    Denied { status: u16, right: Right },
    /// 503: the host under the machine does not answer.
    Unreachable(String),
}

impl Refusal {
    pub(in crate::sim) fn no(what: &str, name: &str) -> Self {
        Self::NotFound(format!("{what} {name} not found"))
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::LeaseHeld { .. } | Self::Conflict(_) => 409,
            Self::Precondition(_) => 412,
            Self::Invalid(_) => 400,
            Self::Unprocessable(_) | Self::NoCapacity(_) => 422,
            Self::Denied { status, .. } => *status,
            Self::Unreachable(_) => 503,
        }
    }

    /// The `error` text of the answer.
    pub fn text(&self) -> String {
        match self {
            Self::NotFound(text) => format!("not_found: {text}"),
            Self::LeaseHeld { machine, owner, expires_at } => {
                // Whole seconds, as the platform writes them.
                let expires_at = Timestamp::from_second(expires_at.as_second());
                let expires_at = expires_at.unwrap_or(Timestamp::UNIX_EPOCH);
                format!(
                    "aborted: machine ID {machine} lease currently held by {owner}, expires at \
                     {expires_at}"
                )
            }
            Self::Conflict(text) => format!("aborted: {text}"),
            Self::Precondition(text) => format!("failed_precondition: {text}"),
            Self::Invalid(text) => format!("invalid_argument: {text}"),
            Self::Unprocessable(text) => text.clone(),
            Self::NoCapacity(text) => format!("insufficient resources: {text}"),
            Self::Denied { status: 401, .. } => {
                "unauthenticated: token missing or invalid".to_owned()
            }
            Self::Denied { right, .. } => format!("permission_denied: no right to {right:?}"),
            Self::Unreachable(text) => format!("unavailable: {text}"),
        }
    }
}

impl From<Refusal> for PlatformError {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.text();
        match refusal {
            Refusal::NotFound(_) => Self::NotFound(text),
            Refusal::LeaseHeld { owner, expires_at, .. } => {
                Self::LeaseHeld { owner, expires_at: Some(expires_at) }
            }
            Refusal::Conflict(_) | Refusal::Precondition(_) => Self::Conflict(text),
            Refusal::Invalid(_) | Refusal::Unprocessable(_) | Refusal::NoCapacity(_) => {
                Self::Refused(text)
            }
            Refusal::Denied { .. } => Self::Denied(text),
            Refusal::Unreachable(_) => Self::Unavailable(text),
        }
    }
}
