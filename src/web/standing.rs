//! How an app stands as the API shows it: what runs, what it is protected by, what can be done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{MachineId, ReleaseVersion, event::ReleaseInfo};

/// A release that machines run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Running)]
pub struct RunningView {
    pub release: ReleaseInfo,
    /// The release whose image it has, where it is the entry of a rollback.
    pub image_of: Option<ReleaseVersion>,
}

impl RunningView {
    /// `v43 (v41)`: as people call it.
    pub fn name(&self) -> String {
        match self.image_of {
            Some(version) => format!("{} ({version})", self.release.label()),
            None => self.release.name(),
        }
    }
}

/// A command that a person can run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Command)]
pub struct CommandView {
    /// What for: `approve`, `stop`, `undo`, `go_on` or `repair`.
    pub purpose: String,
    pub command: String,
}

/// A machine that fails alone while its equals serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Suspect)]
pub struct SuspectView {
    pub machine: MachineId,
    /// What it shows, and that nothing is undone for it.
    pub text: String,
    /// What puts it right, the first to be tried first.
    pub commands: Vec<CommandView>,
}

/// How well the app is protected against a bad release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtectionLevel {
    /// Nothing would be undone.
    #[default]
    None,
    /// A failure of everything would be.
    Baked,
    /// Any breach would be.
    Trusted,
}

/// What a bad release would be undone with, or why it would not be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Protection {
    pub level: ProtectionLevel,
    /// What would be gone back to.
    pub against: Option<ReleaseInfo>,
    /// Why nothing, or not everything, would be undone.
    pub why_not: Option<String>,
    /// Nothing would be undone for that, whatever there is to go back to.
    #[serde(default)]
    pub braked: bool,
}

impl Protection {
    /// In words: `by v41, which is trusted`.
    pub fn sentence(&self) -> String {
        let good = self.against.as_ref().map_or_else(String::new, ReleaseInfo::name);
        match (self.level, &self.why_not) {
            (ProtectionLevel::None, None) => "no".to_owned(),
            (ProtectionLevel::None, Some(why)) => format!("no: {why}"),
            (ProtectionLevel::Baked, None) => format!("by {good}, which is baked"),
            // There is something to go back to, and nobody goes.
            (ProtectionLevel::Baked, Some(why)) if self.braked => {
                format!("no: {why}; {good} is baked")
            }
            (ProtectionLevel::Baked, Some(why)) => format!("{good} is baked: {why}"),
            (ProtectionLevel::Trusted, None) => format!("by {good}, which is trusted"),
            (ProtectionLevel::Trusted, Some(why)) => format!("no: {why}; {good} is trusted"),
        }
    }
}
