//! What a person told the daemon to do, or to leave alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A brake: while it is on, nothing is begun for the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// An operator's order for one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Do nothing from now on; takes the place of a hold that is on.
    Hold(OperatorHold),
    /// Lift the hold.
    Unhold,
}
