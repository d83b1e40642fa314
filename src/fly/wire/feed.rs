//! A page of the organization's change feed.

use jiff::Timestamp;
use serde::Deserialize;

use super::lenient;
use crate::{
    model::{AppName, InstanceId, MachineId, Region},
    ports::FeedEntry,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WirePage {
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) machines: Vec<WireEntry>,
    #[serde(deserialize_with = "lenient::text")]
    pub(crate) next_cursor: String,
    #[serde(deserialize_with = "lenient::time")]
    pub(crate) last_updated_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub(crate) error_regions: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireEntry {
    #[serde(deserialize_with = "lenient::text")]
    id: String,
    #[serde(deserialize_with = "lenient::text")]
    app_name: String,
    #[serde(deserialize_with = "lenient::text")]
    region: String,
    #[serde(deserialize_with = "lenient::text")]
    state: String,
    #[serde(deserialize_with = "lenient::text")]
    version: String,
    /// What older revisions have instead of `version`.
    #[serde(deserialize_with = "lenient::text")]
    instance_id: String,
    #[serde(deserialize_with = "lenient::time")]
    updated_at: Option<Timestamp>,
}

impl WireEntry {
    /// The entry; `None` when it does not say which machine of which app changed when, and so
    /// can trigger nothing.
    pub(crate) fn entry(self) -> Option<FeedEntry> {
        if self.id.is_empty() || self.app_name.is_empty() {
            return None;
        }
        let instance = if self.version.is_empty() { self.instance_id } else { self.version };
        Some(FeedEntry {
            app: AppName::new(self.app_name),
            machine: MachineId::new(self.id),
            instance: InstanceId::new(instance),
            region: Region::new(self.region),
            state: self.state,
            updated_at: self.updated_at?,
        })
    }
}
