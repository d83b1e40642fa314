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
//!
//! Below the interface are two layers: [`records`] turns events into text, keeps every bound and
//! decides whose turn it is, and an [`engine`] stores opaque text. One engine is a `SQLite` file, the
//! other is memory; `contract.rs` holds both to the same promises.
//!
//! A commit names the leader's term in which it was decided. With one daemon there is one term; an
//! engine that is shared by several refuses what a deposed leader decided.

#[cfg(test)]
mod contract;
mod encoding;
mod engine;
pub mod lock;
mod memory;
mod records;
pub mod sqlite;
mod turns;

pub use memory::MemoryJournal;
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
    /// Decided in a term of leadership that is over: another daemon leads.
    #[error("decided in term {term}, and term {current} holds")]
    StaleTerm { term: Term, current: Term },
    #[error("the journal holds something this version cannot read: {0}")]
    Unreadable(String),
    #[error("the journal cannot be used: {0}")]
    Failed(String),
}

/// A term of leadership; it grows with every new leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(pub u64);

impl Term {
    /// The only one there is while one daemon has the journal to itself.
    pub const FIRST: Self = Self(1);
}

impl Default for Term {
    fn default() -> Self {
        Self::FIRST
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
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
    /// The term in which it was decided.
    pub term: Term,
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
        /// It was sent once more before that.
        tried: bool,
    },
}

impl Attempt {
    /// Given up without being sent.
    pub fn untried(reason: String) -> Self {
        Self::Dead { reason, tried: false }
    }
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub receiver: String,
    pub message_id: String,
    pub attempts: u32,
    pub queued_at: Timestamp,
    pub given_up_at: Timestamp,
    pub reason: String,
}

/// A message that waits for its receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingLetter {
    pub receiver: String,
    pub message_id: String,
    pub attempts: u32,
    pub queued_at: Timestamp,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// Why the last attempt failed; empty before the first.
    pub reason: String,
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
    /// What was noted under a key.
    async fn note(&self, key: &str) -> Result<Option<String>, StoreError>;
    /// Notes a text under a key, in place of the one before; `None` forgets it. Durable.
    async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), StoreError>;
    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError>;
    /// Stores all of `commit` if the app's revision is still `expected` (0: not stored yet) and the
    /// commit's term is the one that holds.
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
    /// Per receiver the message whose turn it is, when it is due: the oldest; and while that keeps
    /// failing, after a minute the oldest of another app, after ten minutes a later one of its own.
    async fn due(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError>;
    /// When another message's turn may come; what is due now is left out.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
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
    /// The messages given up last, newest first, at most `limit`.
    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;
    /// The messages that wait, the oldest first, at most `limit`.
    async fn waiting_letters(&self, limit: u32) -> Result<Vec<WaitingLetter>, StoreError>;
    /// Has messages of a receiver that were given up sent again, all of them or the one with this id;
    /// answers with how many.
    async fn revive(
        &self,
        receiver: &str,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError>;
    /// Forgets what is older than `before`, except undelivered messages.
    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError>;
}
