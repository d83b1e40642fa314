//! The release ledger: numbered records of deploys, kept apart from what machines run.

use jiff::Timestamp;
use serde_json::Value;

use super::{org::Org, refusal::Refusal};

/// Releases kept per app.
const RELEASES_MAX: usize = 1000;

/// One entry of the release ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub id: String,
    pub app: String,
    pub version: u64,
    pub status: String,
    /// `ROLLING`, `IMMEDIATE`, …
    pub strategy: String,
    /// The image as the deploying client named it.
    pub image: String,
    pub author: String,
    pub created_at: Timestamp,
    /// The app configuration it was made with; may be null.
    pub definition: Value,
}

/// A release to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    pub image: &'a str,
    pub strategy: &'a str,
    /// Null: that of the release before.
    pub definition: &'a Value,
    pub author: &'a str,
}

/// Whether a release in this status changes no more.
pub(in crate::sim) fn is_over(status: &str) -> bool {
    matches!(status, "complete" | "failed" | "interrupted" | "succeeded" | "dead")
}

impl Org {
    /// Adds an entry as it is, for the time before the beginning.
    pub fn add_release(&mut self, entry: Entry) {
        if let Ok(app) = self.app_mut(&entry.app.clone()) {
            app.releases.push(entry);
            app.releases.sort_by_key(|entry| entry.version);
        }
    }

    /// An app's releases, newest first.
    pub fn releases(&self, app: &str) -> Result<Vec<Entry>, Refusal> {
        Ok(self.app(app)?.releases.iter().rev().cloned().collect())
    }

    pub fn release(&self, id: &str) -> Result<Entry, Refusal> {
        let mut all = self.apps.values().flat_map(|app| &app.releases);
        all.find(|entry| entry.id == id).cloned().ok_or_else(|| Refusal::no("release", id))
    }

    /// Writes a release with the next number; it begins as `pending`.
    pub fn create_release(&mut self, app: &str, new: NewEntry<'_>) -> Result<Entry, Refusal> {
        let created_at = self.now;
        let found = self.app_mut(app)?;
        let last = found.releases.last();
        let version = last.map_or(0, |entry| entry.version) + 1;
        let definition = if new.definition.is_null() {
            last.map_or(Value::Null, |entry| entry.definition.clone())
        } else {
            new.definition.clone()
        };
        let entry = Entry {
            id: format!("rel_{app}_{version}"),
            app: app.to_owned(),
            version,
            status: "pending".to_owned(),
            strategy: new.strategy.to_owned(),
            image: new.image.to_owned(),
            author: new.author.to_owned(),
            created_at,
            definition,
        };
        found.releases.push(entry.clone());
        if found.releases.len() > RELEASES_MAX {
            found.releases.remove(0);
        }
        Ok(entry)
    }

    pub fn set_release_status(&mut self, id: &str, status: &str) -> Result<(), Refusal> {
        let mut all = self.apps.values_mut().flat_map(|app| &mut app.releases);
        let entry = all.find(|entry| entry.id == id).ok_or_else(|| Refusal::no("release", id))?;
        if is_over(&entry.status) {
            return Err(Refusal::Unprocessable("release has already finished".to_owned()));
        }
        status.clone_into(&mut entry.status);
        Ok(())
    }
}
