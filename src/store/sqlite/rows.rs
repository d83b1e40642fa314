//! States, events and what is forgotten: the statements behind the journal, each one transaction.

use jiff::Timestamp;
use rusqlite::{
    Connection, OptionalExtension, Row as SqlRow, Transaction, TransactionBehavior, params,
};

use super::outbox;
use crate::{
    model::AppName,
    store::{
        StoreError, StoredApp,
        engine::{Batch, Letter, Row},
    },
};

/// Microseconds since 1970, as stored.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The time stored in column `index`.
pub(super) fn time(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    let micros: i64 = row.get(index)?;
    Timestamp::from_microsecond(micros).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            index,
            rusqlite::types::Type::Integer,
            Box::new(error),
        )
    })
}

pub(super) fn write(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    // Immediate: a commit that reads first and then writes must not find the lock taken between.
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn installation(connection: &Connection) -> Result<String, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'installation'";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
}

pub(super) fn note(connection: &Connection, key: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM notes WHERE key = ?1";
    Ok(connection.query_row(sql, [key], |row| row.get(0)).optional()?)
}

pub(super) fn set_note(
    connection: &Connection,
    key: &str,
    value: Option<&str>,
) -> Result<(), StoreError> {
    match value {
        Some(value) => connection.execute(
            "INSERT INTO notes (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )?,
        None => connection.execute("DELETE FROM notes WHERE key = ?1", [key])?,
    };
    Ok(())
}

pub(super) fn load(
    connection: &Connection,
    app: &AppName,
) -> Result<Option<StoredApp>, StoreError> {
    let sql = "SELECT revision, state FROM apps WHERE app = ?1";
    let stored = connection
        .query_row(sql, [app.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    stored
        .map(|(revision, state)| {
            Ok(StoredApp { app: app.clone(), revision: unsigned(revision)?, state })
        })
        .transpose()
}

pub(super) fn commit(
    connection: &mut Connection,
    app: &AppName,
    expected: u64,
    batch: &Batch,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let ids: Vec<&str> = batch.events.iter().map(|event| event.message_id.as_str()).collect();
    let ids = serde_json::to_string(&ids)
        .map_err(|error| StoreError::Failed(format!("event ids cannot be written: {error}")))?;
    let transaction = write(connection)?;
    let stored: Option<(i64, String, String)> = transaction
        .query_row(
            "SELECT revision, state, event_ids FROM apps WHERE app = ?1",
            [app.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let next = expected.saturating_add(1);
    let found = stored.as_ref().map_or(Ok(0), |(revision, ..)| unsigned(*revision))?;
    if let Some((_, state, event_ids)) = &stored
        && found == next
        && *state == batch.state
        && *event_ids == ids
    {
        return Ok(next);
    }
    if found != expected {
        return Err(StoreError::Stale { app: app.clone(), expected });
    }
    let revision = i64::try_from(next)
        .map_err(|_| StoreError::Failed(format!("revision {next} is out of range")))?;
    transaction.execute(
        "INSERT INTO apps (app, revision, state, event_ids, updated_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (app) DO UPDATE SET revision = excluded.revision, state = excluded.state,
         event_ids = excluded.event_ids, updated_at = excluded.updated_at",
        params![app.as_str(), revision, batch.state, ids, micros(now)],
    )?;
    for event in &batch.events {
        // An event of a commit belongs to its app, whatever it says of itself.
        transaction.execute(
            "INSERT INTO events (message_id, app, recorded_at, body) VALUES (?1, ?2, ?3, ?4)",
            params![event.message_id, app.as_str(), micros(now), event.body],
        )?;
    }
    for letter in &batch.letters {
        outbox::queue(&transaction, letter, now)?;
    }
    transaction.commit()?;
    Ok(next)
}

pub(super) fn announce(
    connection: &mut Connection,
    app: Option<&AppName>,
    event: &Row,
    letters: &[Letter],
    now: Timestamp,
) -> Result<(), StoreError> {
    let transaction = write(connection)?;
    let added = transaction.execute(
        "INSERT INTO events (message_id, app, recorded_at, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (message_id) DO NOTHING",
        params![event.message_id, app.map(AppName::as_str), micros(now), event.body],
    )?;
    // A repeat after a lost answer: its messages may be delivered and gone already.
    if added == 0 {
        return Ok(());
    }
    for letter in letters {
        outbox::queue(&transaction, letter, now)?;
    }
    Ok(transaction.commit()?)
}

pub(super) fn history(
    connection: &Connection,
    app: Option<&AppName>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<(i64, Row)>, StoreError> {
    let before = before.unwrap_or(i64::MAX);
    let read = |row: &SqlRow<'_>| -> rusqlite::Result<(i64, Row)> {
        Ok((row.get(0)?, Row { message_id: row.get(1)?, body: row.get(2)? }))
    };
    // Two statements, so that each can walk its own index backwards.
    let found = match app {
        Some(app) => connection
            .prepare_cached(
                "SELECT sequence, message_id, body FROM events WHERE app = ?1 AND sequence < ?2
                 ORDER BY sequence DESC LIMIT ?3",
            )?
            .query_map(params![app.as_str(), before, limit], read)?
            .collect::<Result<_, _>>()?,
        None => connection
            .prepare_cached(
                "SELECT sequence, message_id, body FROM events WHERE sequence < ?1
                 ORDER BY sequence DESC LIMIT ?2",
            )?
            .query_map(params![before, limit], read)?
            .collect::<Result<_, _>>()?,
    };
    Ok(found)
}

pub(super) fn prune(
    connection: &mut Connection,
    before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let transaction = write(connection)?;
    let mut gone = 0;
    for sql in [
        "DELETE FROM events WHERE sequence IN
         (SELECT sequence FROM events WHERE recorded_at < ?1 ORDER BY recorded_at LIMIT ?2)",
        "DELETE FROM outbox WHERE sequence IN
         (SELECT sequence FROM outbox WHERE given_up_at IS NOT NULL AND given_up_at < ?1
          ORDER BY given_up_at LIMIT ?2)",
    ] {
        gone += transaction.execute(sql, params![micros(before), limit])?;
    }
    transaction.commit()?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

/// A stored count or number that cannot be negative.
pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Unreadable(format!("impossible number {number}")))
}
