//! States, events and what is forgotten: the statements behind the journal, each one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::outbox;
use crate::{
    model::{AppName, Event},
    store::{Commit, HistoryEntry, StoreError, StoredApp},
};

/// Most entries one call to `history` returns.
const HISTORY_PAGE_MAX: u32 = 1000;
/// Most rows of a kind one call to `prune` deletes: what is left goes with the next call, and no
/// decision waits long for the lock.
pub(super) const PRUNE_MAX: i64 = 5000;

/// Microseconds since 1970, as stored.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The time stored in column `index`.
pub(super) fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    let micros: i64 = row.get(index)?;
    Timestamp::from_microsecond(micros).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            index,
            rusqlite::types::Type::Integer,
            Box::new(error),
        )
    })
}

/// The event as JSON. JSON has no infinities: a number that is none is stored as zero, because an
/// event that cannot be read back would be worse than one with a gap.
pub(super) fn encode(event: &Event) -> Result<String, StoreError> {
    fn finite(number: &mut f64) {
        if !number.is_finite() {
            *number = 0.0;
        }
    }
    let mut event = event.clone();
    for evidence in &mut event.evidence {
        finite(&mut evidence.limit);
        finite(&mut evidence.bad);
        finite(&mut evidence.total);
        if let Some((bad, total)) = &mut evidence.control {
            finite(bad);
            finite(total);
        }
    }
    serde_json::to_string(&event)
        .map_err(|error| StoreError::Failed(format!("an event cannot be written: {error}")))
}

pub(super) fn decode(body: &str, sequence: i64) -> Result<Event, StoreError> {
    serde_json::from_str(body)
        .map_err(|error| StoreError::Unreadable(format!("event {sequence}: {error}")))
}

pub(super) fn write(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    // Immediate: a commit that reads first and then writes must not find the lock taken between.
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

pub(super) fn installation(connection: &Connection) -> Result<String, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'installation'";
    Ok(connection.query_row(sql, [], |row| row.get(0))?)
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
    commit: &Commit,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let ids: Vec<&str> = commit.events.iter().map(|(id, _)| id.as_str()).collect();
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
        && *state == commit.state
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
        params![app.as_str(), revision, commit.state, ids, micros(now)],
    )?;
    for (id, event) in &commit.events {
        // An event of a commit belongs to its app, whatever it says of itself.
        transaction.execute(
            "INSERT INTO events (message_id, app, recorded_at, body) VALUES (?1, ?2, ?3, ?4)",
            params![id, app.as_str(), micros(now), encode(event)?],
        )?;
    }
    for entry in &commit.outbox {
        outbox::queue(
            &transaction,
            &entry.receiver,
            &entry.message_id,
            &encode(&entry.event)?,
            now,
        )?;
    }
    outbox::bound(&transaction, commit.outbox.iter().map(|entry| entry.receiver.as_str()), now)?;
    transaction.commit()?;
    Ok(next)
}

pub(super) fn announce(
    connection: &mut Connection,
    message_id: &str,
    event: &Event,
    receivers: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    let body = encode(event)?;
    let transaction = write(connection)?;
    let added = transaction.execute(
        "INSERT INTO events (message_id, app, recorded_at, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (message_id) DO NOTHING",
        params![message_id, event.app.as_ref().map(AppName::as_str), micros(now), body],
    )?;
    // A repeat after a lost answer: its messages may be delivered and gone already.
    if added == 0 {
        return Ok(());
    }
    for receiver in receivers {
        outbox::queue(&transaction, receiver, message_id, &body, now)?;
    }
    outbox::bound(&transaction, receivers.iter().map(String::as_str), now)?;
    Ok(transaction.commit()?)
}

pub(super) fn history(
    connection: &Connection,
    app: Option<&AppName>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let before = before.unwrap_or(i64::MAX);
    let limit = limit.min(HISTORY_PAGE_MAX);
    let read = |row: &Row<'_>| -> rusqlite::Result<(i64, String, String)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    };
    // Two statements, so that each can walk its own index backwards.
    let found: Vec<(i64, String, String)> = match app {
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
    found
        .into_iter()
        .map(|(sequence, message_id, body)| {
            Ok(HistoryEntry { sequence, message_id, event: decode(&body, sequence)? })
        })
        .collect()
}

pub(super) fn prune(connection: &mut Connection, before: Timestamp) -> Result<u64, StoreError> {
    let transaction = write(connection)?;
    let mut gone = 0;
    for sql in [
        "DELETE FROM events WHERE sequence IN
         (SELECT sequence FROM events WHERE recorded_at < ?1 ORDER BY recorded_at LIMIT ?2)",
        "DELETE FROM outbox WHERE sequence IN
         (SELECT sequence FROM outbox WHERE given_up_at IS NOT NULL AND given_up_at < ?1
          ORDER BY given_up_at LIMIT ?2)",
    ] {
        gone += transaction.execute(sql, params![micros(before), PRUNE_MAX])?;
    }
    transaction.commit()?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

/// A stored count or number that cannot be negative.
pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Unreadable(format!("impossible number {number}")))
}
