//! The journal: every app's state, its decisions with their evidence, commands and the outbox.
//!
//! The interface is narrow and names no engine. A commit is atomic: the state an app is in, the
//! commands that follow from it, and the webhooks that tell of it are stored together or not at
//! all, before anything is acted upon.
//!
//! Two numbers say what is in a journal. The file's own format is the adapter's affair: it brings
//! older ones up to date and refuses newer ones as a whole. What is in an app's state document is
//! the caller's (`daemon::document`): the document carries a format of its own, because a new phase
//! or command changes what a state means without changing any table. A document that the caller
//! cannot read costs that app's watch and nothing else, and is never overwritten.

pub mod sqlite;

pub use sqlite::SqliteJournal;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::model::{AppName, Event};

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The stored revision is not the one this commit builds on: another daemon wrote.
    #[error("{app} was changed by another writer (expected revision {expected})")]
    Stale { app: AppName, expected: u64 },
    #[error("the journal holds something this version cannot read: {0}")]
    Unreadable(String),
    #[error("the journal cannot be used: {0}")]
    Failed(String),
}

/// An app as it was last committed.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredApp {
    pub app: AppName,
    /// Grows by one with every commit.
    pub revision: u64,
    /// The state document (JSON), as the caller wrote it.
    pub state: String,
}

/// One message for one receiver, written with the decision it tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEntry {
    pub receiver: String,
    /// Unique per event; the same on every attempt and for every receiver.
    pub message_id: String,
    pub event: Event,
}

/// What happens together.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// New state document (JSON).
    pub state: String,
    /// What happened, for history; in order.
    pub events: Vec<(String, Event)>,
    pub outbox: Vec<OutboxEntry>,
}

/// A queued message.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// Order within a receiver.
    pub sequence: i64,
    pub entry: OutboxEntry,
    pub attempts: u32,
    pub queued_at: Timestamp,
}

/// How a delivery attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    Delivered,
    RetryAt {
        at: Timestamp,
        reason: String,
    },
    /// Given up: kept in the dead-letter list with the reason.
    Dead {
        reason: String,
    },
}

/// One remembered event.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    pub sequence: i64,
    pub message_id: String,
    pub event: Event,
}

/// Durable memory.
#[async_trait]
pub trait Journal: Send + Sync {
    /// A name for this installation, made once and kept; message ids start with it.
    async fn installation(&self) -> Result<String, StoreError>;
    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError>;
    /// Stores all of `commit` if the app's revision is still `expected` (0: not stored yet).
    /// Durable when it returns. Committing the same revision again with the same state and
    /// events is a success: the answer to the first attempt may have been lost.
    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        commit: Commit,
        now: Timestamp,
    ) -> Result<u64, StoreError>;
    /// Remembers an event of the daemon itself, which belongs to no app.
    async fn announce(
        &self,
        message_id: &str,
        event: Event,
        receivers: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Per receiver its oldest undelivered message, when it is due.
    async fn due(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError>;
    /// When the next message becomes due.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;
    async fn attempted(
        &self,
        sequence: i64,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// The newest events of an app first (of all apps when `None`), older than `before`.
    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError>;
    /// Messages waiting and messages given up, per receiver.
    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError>;
    /// Forgets what is older than `before`, except undelivered messages.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;
}
