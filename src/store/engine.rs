//! What an engine has to be able to do: keep texts, atomically and in order.
//!
//! An engine knows no events and no bounds. What it stores is opaque to it, and how much of it may
//! be there is said by the caller ([`super::records`]). `store/contract.rs` holds every engine to
//! this.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Attempt, DeadLetter, StoreError, StoredApp, Term, WaitingLetter};
use crate::model::AppName;

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub message_id: String,
    pub body: String,
}

/// A message for one receiver as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub receiver: String,
    pub message_id: String,
    /// Messages of one lane stay in order; an app's name, or `None` for the organization's.
    pub lane: Option<String>,
    /// When too many wait, the lowest go first.
    pub importance: i64,
    pub body: String,
}

/// What happens together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub state: String,
    pub events: Vec<Row>,
    pub letters: Vec<Letter>,
}

/// A waiting message without its body: enough to say whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub sequence: i64,
    pub receiver: String,
    pub lane: Option<String>,
    pub due_at: Timestamp,
    /// Since when every attempt failed; `None` before the first failure.
    pub failed_since: Option<Timestamp>,
}

/// A message taken out to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub receiver: String,
    pub message_id: String,
    pub body: String,
    pub attempts: u32,
    pub queued_at: Timestamp,
}

/// How many messages of one receiver may wait, or be remembered as given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub rows: u32,
    /// Bytes of bodies.
    pub bytes: u64,
    pub dead: u32,
}

/// A place that keeps texts.
#[async_trait]
pub trait Engine: Send + Sync {
    /// A name made once and kept.
    async fn installation(&self) -> Result<String, StoreError>;
    /// The leader's term that holds now.
    async fn term(&self) -> Result<Term, StoreError>;
    async fn note(&self, key: &str) -> Result<Option<String>, StoreError>;
    /// Writes a note, or removes it.
    async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), StoreError>;
    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError>;
    /// All of `batch` or nothing, if the revision is `expected` and the term `term`. The same batch
    /// once more is a success that changes nothing.
    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        term: Term,
        batch: Batch,
        now: Timestamp,
    ) -> Result<u64, StoreError>;
    /// One event with its letters; nothing when its id is there already.
    async fn announce(
        &self,
        app: Option<&AppName>,
        event: Row,
        letters: Vec<Letter>,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// The oldest `per_lane` waiting messages of each receiver's lanes, in their order.
    async fn waiting(&self, per_lane: u32) -> Result<Vec<Waiting>, StoreError>;
    /// A waiting message; `None` when it waits no longer.
    async fn take(&self, sequence: i64) -> Result<Option<Taken>, StoreError>;
    async fn attempted(
        &self,
        sequence: i64,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Gives up the oldest of the least important until the rest has room, forgets the oldest of
    /// those given up, and says how many were given up.
    async fn make_room(
        &self,
        receiver: &str,
        room: Room,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError>;
    /// The newest events of an app (of all when `None`) below `before`, newest first.
    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Row)>, StoreError>;
    /// Messages waiting and messages given up, per receiver.
    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError>;
    /// The messages given up last, newest first.
    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;
    /// The waiting messages, the oldest first.
    async fn waiting_letters(&self, limit: u32) -> Result<Vec<WaitingLetter>, StoreError>;
    /// Makes given-up messages of a receiver new ones in their old places; says how many.
    async fn revive(
        &self,
        receiver: &str,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError>;
    /// Forgets events and given-up messages older than `before`, at most `limit` of each.
    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
