//! A release: Fly's numbered record of a deploy. A hint, not the truth: machines are the truth.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::ReleaseVersion;

/// What the ledger says of a release. The set is open: unknown names are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ReleaseStatus {
    Pending,
    Running,
    Complete,
    Failed,
    Interrupted,
    Other(String),
}

impl ReleaseStatus {
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "pending" => Self::Pending,
            "running" => Self::Running,
            "complete" | "succeeded" => Self::Complete,
            "failed" | "dead" => Self::Failed,
            "interrupted" => Self::Interrupted,
            _ => Self::Other(name.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for ReleaseStatus {
    fn from(name: String) -> Self {
        Self::parse(&name)
    }
}

impl From<ReleaseStatus> for String {
    fn from(status: ReleaseStatus) -> Self {
        status.as_str().to_owned()
    }
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub id: String,
    pub version: ReleaseVersion,
    pub status: ReleaseStatus,
    /// The image string as the deploying client sent it: often a tag, often without digest.
    pub image: String,
    /// E-mail or name of the author, when known.
    pub author: Option<String>,
    pub created_at: Timestamp,
    /// Whether its app configuration runs a release command (migrations).
    /// `None` when the ledger did not say.
    pub has_release_command: Option<bool>,
    /// It comes from where nothing is told of app configurations: whether it runs a release command
    /// is still to be learned.
    #[serde(default)]
    pub is_brief: bool,
}
