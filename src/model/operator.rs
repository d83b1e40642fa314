//! What an operator tells the daemon to do, or to leave alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Somebody's wish that nothing be rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorHold {
    /// Who said so, as they call themselves.
    pub by: String,
    pub reason: String,
    pub since: Timestamp,
    /// When it ends by itself; `None`: when somebody ends it.
    pub until: Option<Timestamp>,
}

/// An order about one app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Hold(OperatorHold),
    Unhold,
}
