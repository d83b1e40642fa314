//! What changed around a release that was trusted and degrades, and why it is left as it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::AppName;

/// Something that changed in or beside an app while nobody made a release of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub at: Timestamp,
    pub what: Changed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Changed {
    /// Another app runs a release since then.
    Deployed { app: AppName, label: String },
    /// The app's secrets are others.
    Secrets,
    /// So many machines were configured anew, under the same image.
    Configured { machines: u32 },
    /// The processes of so many machines were started again.
    Restarted { machines: u32 },
    /// The app has another number of machines.
    Scaled { from: u32, to: u32 },
}

/// How a release that was trusted degrades.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Degradation {
    /// Since when, by its own evidence.
    pub since: Timestamp,
    /// What changed shortly before and since, the newest first.
    pub changes: Vec<Change>,
    /// Apps that nobody deployed and that degrade with it.
    pub with: Vec<AppName>,
    /// Apps beside it that are well meanwhile.
    pub well: u32,
    /// Its trust was taken from it.
    pub revoked: bool,
    /// Why it is left as it is; `None`: it is undone.
    pub stays: Option<Stays>,
}

/// Why a release that degrades after it was trusted is not rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// The policy says so: `late = "alert"`.
    OnlyAlerts,
    /// A person vouched for it.
    VouchedFor,
    /// It runs for longer than a day.
    TooOld,
    /// What it replaced is nothing to go back to.
    NotReplaced,
    /// No two apps beside it are well: it may be anything.
    NobodyVouches,
    /// Its rollback was called off so often that a person has to look.
    CalledOff,
}
