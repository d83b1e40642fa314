//! The outbox: messages in order per receiver, until they are delivered or given up.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::{
    DeadLetter,
    rows::{decode, micros, time, unsigned, write},
};
use crate::store::{Attempt, OutboxEntry, Queued, StoreError};

/// Most messages that wait for one receiver; beyond it the oldest is given up.
pub(super) const WAITING_MAX: i64 = 10_000;
/// Most given-up messages remembered per receiver; beyond it the oldest is forgotten.
pub(super) const DEAD_MAX: i64 = 1000;
/// Longest reason stored, in characters.
const REASON_MAX: usize = 500;

/// Appends a message to its receiver's queue; `bound` follows once all of a commit are in.
pub(super) fn queue(
    transaction: &Transaction<'_>,
    receiver: &str,
    message_id: &str,
    body: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO outbox (receiver, message_id, body, queued_at, due_at)
             VALUES (?1, ?2, ?3, ?4, ?4)",
        )?
        .execute(params![receiver, message_id, body, micros(now)])?;
    Ok(())
}

/// Keeps the queues of these receivers within their bounds.
pub(super) fn bound<'a>(
    transaction: &Transaction<'_>,
    receivers: impl Iterator<Item = &'a str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for receiver in receivers.collect::<BTreeSet<_>>() {
        transaction
            .prepare_cached(
                "UPDATE outbox SET given_up_at = ?2, reason = 'too many messages were waiting'
                 WHERE receiver = ?1 AND given_up_at IS NULL AND sequence <=
                 (SELECT sequence FROM outbox WHERE receiver = ?1 AND given_up_at IS NULL
                  ORDER BY sequence DESC LIMIT 1 OFFSET ?3)",
            )?
            .execute(params![receiver, micros(now), WAITING_MAX])?;
        transaction
            .prepare_cached(
                "DELETE FROM outbox WHERE receiver = ?1 AND given_up_at IS NOT NULL AND sequence <=
                 (SELECT sequence FROM outbox WHERE receiver = ?1 AND given_up_at IS NOT NULL
                  ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![receiver, DEAD_MAX])?;
    }
    Ok(())
}

/// Each receiver's oldest waiting message: `SQLite` takes the bare columns from the row of `min`.
const HEADS: &str = "SELECT min(sequence), receiver, message_id, body, queued_at, attempts, due_at
                     FROM outbox WHERE given_up_at IS NULL GROUP BY receiver";

pub(super) fn due(connection: &mut Connection, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
    type Head = (i64, String, String, String, Timestamp, i64);
    let sql = format!("SELECT * FROM ({HEADS}) WHERE due_at <= ?1 ORDER BY 1");
    let heads: Vec<Head> = connection
        .prepare_cached(&sql)?
        .query_map([micros(now)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, time(row, 4)?, row.get(5)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut queued = Vec::with_capacity(heads.len());
    for (sequence, receiver, message_id, body, queued_at, attempts) in heads {
        match decode(&body, sequence) {
            Ok(event) => queued.push(Queued {
                sequence,
                entry: OutboxEntry { receiver, message_id, event },
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                queued_at,
            }),
            // One message nobody can read must not block those behind it, here or elsewhere.
            Err(error) => {
                let attempt = Attempt::Dead { reason: error.to_string() };
                attempted(connection, sequence, &attempt, now)?;
            }
        }
    }
    Ok(queued)
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let sql = format!("SELECT due_at FROM ({HEADS}) ORDER BY due_at LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query_map([], |row| time(row, 0))?;
    Ok(found.next().transpose()?)
}

pub(super) fn attempted(
    connection: &mut Connection,
    sequence: i64,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<(), StoreError> {
    let transaction = write(connection)?;
    match attempt {
        // Gone already: a repeat after a lost answer.
        Attempt::Delivered => {
            transaction.execute("DELETE FROM outbox WHERE sequence = ?1", [sequence])?;
        }
        Attempt::RetryAt { at, reason } => {
            transaction.execute(
                "UPDATE outbox SET attempts = attempts + 1, due_at = ?2, reason = ?3
                 WHERE sequence = ?1 AND given_up_at IS NULL",
                params![sequence, micros(*at), bounded(reason)],
            )?;
        }
        Attempt::Dead { reason } => {
            // What went wrong before is the part that helps to find the cause.
            transaction.execute(
                "UPDATE outbox SET given_up_at = ?2, reason = CASE
                 WHEN reason IS NULL OR reason = ?3 THEN ?3
                 ELSE ?3 || '; before that: ' || reason END
                 WHERE sequence = ?1 AND given_up_at IS NULL",
                params![sequence, micros(now), bounded(reason)],
            )?;
        }
    }
    Ok(transaction.commit()?)
}

pub(super) fn counts(connection: &Connection) -> Result<Vec<(String, u64, u64)>, StoreError> {
    let rows: Vec<(String, i64, i64)> = connection
        .prepare_cached(
            "SELECT receiver, count(*) FILTER (WHERE given_up_at IS NULL), count(given_up_at)
             FROM outbox GROUP BY receiver ORDER BY receiver",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    rows.into_iter()
        .map(|(receiver, waiting, dead)| Ok((receiver, unsigned(waiting)?, unsigned(dead)?)))
        .collect()
}

pub(super) fn dead_letters(
    connection: &Connection,
    limit: u32,
) -> Result<Vec<DeadLetter>, StoreError> {
    let letters = connection
        .prepare_cached(
            "SELECT receiver, message_id, attempts, queued_at, given_up_at, coalesce(reason, '')
             FROM outbox WHERE given_up_at IS NOT NULL
             ORDER BY given_up_at DESC, sequence DESC LIMIT ?1",
        )?
        .query_map([limit], |row| {
            Ok(DeadLetter {
                receiver: row.get(0)?,
                message_id: row.get(1)?,
                attempts: row.get(2)?,
                queued_at: time(row, 3)?,
                given_up_at: time(row, 4)?,
                reason: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(letters)
}

fn bounded(reason: &str) -> String {
    reason.chars().take(REASON_MAX).collect()
}
