//! Ways of the platform that some have seen and others have not. A client has to live with either,
//! so each can be switched.

use serde::{Deserialize, Serialize};

/// What the platform does besides what everybody has seen. All off unless a fleet says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// An update leaves a machine its events, exits among them; otherwise the list starts anew.
    pub events_survive: bool,
    /// `updated_at` moves with the configuration alone, not with each state.
    pub updated_at_of_config: bool,
    /// Results of checks have no time.
    pub checks_without_time: bool,
    /// Until its first result a check reports `warning`; otherwise it is not there.
    pub checks_wait: bool,
    /// Besides its own, a machine has a failing check that the platform makes up for old clients.
    pub made_up_checks: bool,
}
