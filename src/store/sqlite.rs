//! The journal in one `SQLite` file, the embedded default.
//!
//! One connection behind a mutex: the daemon is the only writer and its commits are small. Every
//! call runs on tokio's blocking pool, so that an fsync holds up no timer, and so that a paused
//! clock in tests waits for the disk instead of jumping ahead.

mod outbox;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode};

use super::{Attempt, Commit, HistoryEntry, Journal, Queued, StoreError, StoredApp};
use crate::model::{AppName, Event};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        if let rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) = error
        {
            return Self::Unreadable(error.to_string());
        }
        let what = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => "the file is not a database (or is damaged)",
            Some(ErrorCode::DatabaseCorrupt) => "the file is damaged",
            Some(ErrorCode::DiskFull) => "the disk is full",
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another process keeps it locked"
            }
            Some(ErrorCode::CannotOpen) => "the file cannot be opened",
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "the file cannot be written",
            _ => return Self::Failed(error.to_string()),
        };
        Self::Failed(format!("{what}: {error}"))
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

/// [`Journal`] in a `SQLite` file.
#[derive(Clone, Debug)]
pub struct SqliteJournal {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteJournal {
    /// Opens the journal at `path`, makes it if there is none, and brings it to the newest shape.
    ///
    /// Blocks for a few milliseconds; meant for the start. Fails, naming the file, when it is
    /// damaged, somebody else's, or written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let attempt = || {
            let mut connection = Connection::open(path)?;
            schema::prepare(&mut connection)?;
            Ok(connection)
        };
        let connection = attempt().map_err(|error| match error {
            StoreError::Failed(why) => StoreError::Failed(format!("{}: {why}", path.display())),
            StoreError::Unreadable(why) => {
                StoreError::Unreadable(format!("{}: {why}", path.display()))
            }
            stale @ StoreError::Stale { .. } => stale,
        })?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// The messages given up last, newest first, at most `limit`.
    pub async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.run(move |connection| outbox::dead_letters(connection, limit)).await
    }

    /// Runs `work` on the blocking pool. Once begun it runs to its end, even if the caller goes.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            // A panic in another call rolled its transaction back: the connection is still good.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        task.await.map_err(|error| StoreError::Failed(format!("the call was cut off: {error}")))?
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn installation(&self) -> Result<String, StoreError> {
        self.run(|connection| rows::installation(connection)).await
    }

    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError> {
        let app = app.clone();
        self.run(move |connection| rows::load(connection, &app)).await
    }

    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        commit: Commit,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let app = app.clone();
        self.run(move |connection| rows::commit(connection, &app, expected, &commit, now)).await
    }

    async fn announce(
        &self,
        message_id: &str,
        event: Event,
        receivers: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (id, receivers) = (message_id.to_owned(), receivers.to_vec());
        self.run(move |connection| rows::announce(connection, &id, &event, &receivers, now)).await
    }

    async fn due(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
        self.run(move |connection| outbox::due(connection, now)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run(|connection| outbox::next_due(connection)).await
    }

    async fn attempted(
        &self,
        sequence: i64,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let attempt = attempt.clone();
        self.run(move |connection| outbox::attempted(connection, sequence, &attempt, now)).await
    }

    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let app = app.cloned();
        self.run(move |connection| rows::history(connection, app.as_ref(), before, limit)).await
    }

    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        self.run(|connection| outbox::counts(connection)).await
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.run(move |connection| rows::prune(connection, before)).await
    }
}
