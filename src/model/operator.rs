//! What a person told the daemon to do, or to leave alone.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ids::Region, name::Named, policy::Strategy};

/// A brake: while it is on, nothing is begun for the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperatorHold {
    /// Who asked for it, as far as that is known.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    pub since: Timestamp,
    /// When it ends by itself; `None`: when somebody lifts it.
    pub until: Option<Timestamp>,
}

impl OperatorHold {
    /// Whether it is still on.
    pub fn is_on(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Who gave an order, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signed {
    /// As far as that is known.
    pub by: String,
    /// In their words; empty when they gave none.
    pub reason: String,
    pub at: Timestamp,
}

/// A rollback that a person orders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// The release to go to, as the person calls it; `None`: the one that the daemon would take.
    pub to: Option<String>,
    /// Only these regions; empty: all of them.
    pub regions: BTreeSet<Region>,
    /// Instead of the policy's.
    pub strategy: Option<Strategy>,
    /// Also where a migration lies between, or to a release that was never seen healthy.
    pub force: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What `to` names in the release ledger, where nothing known is called so.
    #[serde(skip)]
    pub in_ledger: Option<Box<Named>>,
}

/// What one order does. All of them are for one app, and take effect once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Go to another release.
    Rollback(Wish),
    /// Yes to the rollback that waits for it.
    Approve,
    /// No to the rollback that is counted down, waits for a yes, or is held.
    Veto,
    /// Go on: with a rollback that stopped half way, or after a veto.
    Resume,
    /// This release is what is gone back to, whatever is trusted later.
    Pin {
        release: String,
    },
    Unpin,
    /// This release's image is treated as one that was rolled back.
    Quarantine {
        release: String,
    },
    Unquarantine {
        release: String,
    },
    /// A person vouches for this release.
    Trust {
        release: String,
    },
}

impl Act {
    /// The command's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Rollback(_) => "rollback",
            Self::Approve => "approve",
            Self::Veto => "veto",
            Self::Resume => "resume",
            Self::Pin { .. } => "pin",
            Self::Unpin => "unpin",
            Self::Quarantine { .. } => "quarantine",
            Self::Unquarantine { .. } => "unquarantine",
            Self::Trust { .. } => "trust",
        }
    }
}

/// An operator's order for one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Do nothing from now on; takes the place of a hold that is on.
    Hold(OperatorHold),
    /// Lift the hold; `None`: nobody said who.
    Unhold(Option<Signed>),
    /// Do this, once.
    Act { act: Act, signed: Signed },
}
