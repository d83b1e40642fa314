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

use super::{
    Attempt, DeadLetter, StoreError, StoredApp, Term, WaitingLetter,
    engine::{Batch, Engine, Letter, Room, Row, Taken, Waiting},
    records::Records,
};
use crate::model::AppName;

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
            Some(ErrorCode::DiskFull) => "the disk is full (`fly volumes extend` makes it larger)",
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

/// The engine: one connection.
#[derive(Clone, Debug)]
pub struct Sqlite {
    connection: Arc<Mutex<Connection>>,
}

/// [`super::Journal`] in a `SQLite` file.
pub type SqliteJournal = Records<Sqlite>;

impl SqliteJournal {
    /// Opens the journal at `path`, makes it if there is none, and brings it to the newest shape.
    ///
    /// Blocks for a few milliseconds; meant for the start.
    ///
    /// # Errors
    /// Naming the file, when it is damaged, somebody else's, or written by a newer version.
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
            stale @ (StoreError::Stale { .. } | StoreError::StaleTerm { .. }) => stale,
        })?;
        Ok(Self::on(Sqlite { connection: Arc::new(Mutex::new(connection)) }))
    }
}

impl Sqlite {
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
impl Engine for Sqlite {
    async fn installation(&self) -> Result<String, StoreError> {
        self.run(|connection| rows::installation(connection)).await
    }

    /// The data directory is locked by one daemon, so there is one term.
    async fn term(&self) -> Result<Term, StoreError> {
        Ok(Term::FIRST)
    }

    async fn note(&self, key: &str) -> Result<Option<String>, StoreError> {
        let key = key.to_owned();
        self.run(move |connection| rows::note(connection, &key)).await
    }

    async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        self.run(move |connection| rows::set_note(connection, &key, value.as_deref())).await
    }

    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError> {
        let app = app.clone();
        self.run(move |connection| rows::load(connection, &app)).await
    }

    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        term: Term,
        batch: Batch,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        if term != Term::FIRST {
            return Err(StoreError::StaleTerm { term, current: Term::FIRST });
        }
        let app = app.clone();
        self.run(move |connection| rows::commit(connection, &app, expected, &batch, now)).await
    }

    async fn announce(
        &self,
        app: Option<&AppName>,
        event: Row,
        letters: Vec<Letter>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let app = app.cloned();
        self.run(move |connection| rows::announce(connection, app.as_ref(), &event, &letters, now))
            .await
    }

    async fn waiting(&self, per_lane: u32) -> Result<Vec<Waiting>, StoreError> {
        self.run(move |connection| outbox::waiting(connection, per_lane)).await
    }

    async fn take(&self, sequence: i64) -> Result<Option<Taken>, StoreError> {
        self.run(move |connection| outbox::take(connection, sequence)).await
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

    async fn make_room(
        &self,
        receiver: &str,
        room: Room,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (receiver, reason) = (receiver.to_owned(), reason.to_owned());
        self.run(move |connection| outbox::make_room(connection, &receiver, room, &reason, now))
            .await
    }

    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Row)>, StoreError> {
        let app = app.cloned();
        self.run(move |connection| rows::history(connection, app.as_ref(), before, limit)).await
    }

    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        self.run(|connection| outbox::counts(connection)).await
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.run(move |connection| outbox::dead_letters(connection, limit)).await
    }

    async fn waiting_letters(&self, limit: u32) -> Result<Vec<WaitingLetter>, StoreError> {
        self.run(move |connection| outbox::waiting_letters(connection, limit)).await
    }

    async fn revive(
        &self,
        receiver: &str,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (receiver, id) = (receiver.to_owned(), message_id.map(str::to_owned));
        self.run(move |connection| outbox::revive(connection, &receiver, id.as_deref(), now)).await
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.run(move |connection| rows::prune(connection, before, limit)).await
    }
}
