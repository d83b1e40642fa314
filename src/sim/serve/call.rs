//! One request, read whole.

use serde_json::Value;

use super::route::Route;

/// What was asked, by whom.
#[derive(Clone, Debug)]
pub struct Call {
    pub route: Route,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// `fly-machine-lease-nonce`.
    pub nonce: Option<String>,
    /// `Null` when there was none.
    pub body: Value,
    /// Whom the token belongs to, as leases and releases show it.
    pub owner: String,
}

impl Call {
    /// The first parameter of that name that is not empty.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(other, value)| other == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1"))
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).and_then(|text| text.trim_end_matches('s').parse().ok())
    }
}
