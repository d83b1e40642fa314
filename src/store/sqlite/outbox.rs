//! The outbox: messages per receiver, until they are delivered or given up.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows::{micros, time, unsigned, write};
use crate::store::{
    Attempt, DeadLetter, StoreError, WaitingLetter,
    engine::{Letter, Room, Taken, Waiting},
};

/// Appends a message to its receiver's queue.
pub(super) fn queue(
    transaction: &Transaction<'_>,
    letter: &Letter,
    now: Timestamp,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO outbox (receiver, message_id, lane, importance, body, size, queued_at,
             due_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        )?
        .execute(params![
            letter.receiver,
            letter.message_id,
            letter.lane,
            letter.importance,
            letter.body,
            i64::try_from(letter.body.len()).unwrap_or(i64::MAX),
            micros(now)
        ])?;
    Ok(())
}

/// Keeps one receiver's queue within its bounds.
pub(super) fn make_room(
    connection: &mut Connection,
    receiver: &str,
    room: Room,
    reason: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let bytes = i64::try_from(room.bytes).unwrap_or(i64::MAX);
    let crowded: bool = connection
        .prepare_cached(
            "SELECT count(*) > ?2 OR coalesce(sum(size), 0) > ?3 FROM outbox
             WHERE receiver = ?1 AND given_up_at IS NULL",
        )?
        .query_row(params![receiver, room.rows, bytes], |row| row.get(0))?;
    let dead: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM outbox WHERE receiver = ?1 AND given_up_at IS NOT NULL",
        )?
        .query_row([receiver], |row| row.get(0))?;
    if !crowded && dead <= i64::from(room.dead) {
        return Ok(0);
    }
    let transaction = write(connection)?;
    // Counted from what is to stay: the most important first, of these the newest.
    let gone = transaction
        .prepare_cached(
            "UPDATE outbox SET given_up_at = ?2, reason = ?5 WHERE sequence IN
             (SELECT sequence FROM
              (SELECT sequence, row_number() OVER kept AS place, sum(size) OVER kept AS bytes
               FROM outbox WHERE receiver = ?1 AND given_up_at IS NULL
               WINDOW kept AS (ORDER BY importance DESC, sequence DESC
                               ROWS UNBOUNDED PRECEDING))
              WHERE place > ?3 OR bytes > ?4)",
        )?
        .execute(params![receiver, micros(now), room.rows, bytes, reason])?;
    transaction
        .prepare_cached(
            "DELETE FROM outbox WHERE sequence IN
             (SELECT sequence FROM outbox WHERE receiver = ?1 AND given_up_at IS NOT NULL
              ORDER BY given_up_at DESC, sequence DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute(params![receiver, room.dead])?;
    transaction.commit()?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

pub(super) fn waiting(connection: &Connection, per_lane: u32) -> Result<Vec<Waiting>, StoreError> {
    let waiting = connection
        .prepare_cached(
            "SELECT sequence, receiver, lane, due_at, failed_since FROM
             (SELECT sequence, receiver, lane, due_at, failed_since,
              row_number() OVER (PARTITION BY receiver, lane ORDER BY sequence) AS place
              FROM outbox WHERE given_up_at IS NULL)
             WHERE place <= ?1 ORDER BY sequence",
        )?
        .query_map([per_lane], |row| {
            let failed: Option<i64> = row.get(4)?;
            Ok(Waiting {
                sequence: row.get(0)?,
                receiver: row.get(1)?,
                lane: row.get(2)?,
                due_at: time(row, 3)?,
                failed_since: failed.map(|_| time(row, 4)).transpose()?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(waiting)
}

pub(super) fn take(connection: &Connection, sequence: i64) -> Result<Option<Taken>, StoreError> {
    let taken = connection
        .prepare_cached(
            "SELECT receiver, message_id, body, attempts, queued_at FROM outbox
             WHERE sequence = ?1 AND given_up_at IS NULL",
        )?
        .query_row([sequence], |row| {
            Ok(Taken {
                receiver: row.get(0)?,
                message_id: row.get(1)?,
                body: row.get(2)?,
                attempts: row.get(3)?,
                queued_at: time(row, 4)?,
            })
        })
        .optional()?;
    Ok(taken)
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
                "UPDATE outbox SET attempts = attempts + 1, due_at = ?2, reason = ?3,
                 failed_since = coalesce(failed_since, ?4) WHERE sequence = ?1 AND given_up_at IS NULL",
                params![sequence, micros(*at), reason, micros(now)],
            )?;
        }
        Attempt::Dead { reason, tried } => {
            // What went wrong before is the part that helps to find the cause.
            transaction.execute(
                "UPDATE outbox SET attempts = attempts + ?4, given_up_at = ?2, reason = CASE
                 WHEN reason IS NULL OR reason = ?3 THEN ?3
                 ELSE ?3 || '; before that: ' || reason END
                 WHERE sequence = ?1 AND given_up_at IS NULL",
                params![sequence, micros(now), reason, tried],
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

pub(super) fn waiting_letters(
    connection: &Connection,
    limit: u32,
) -> Result<Vec<WaitingLetter>, StoreError> {
    let letters = connection
        .prepare_cached(
            "SELECT receiver, message_id, attempts, queued_at, due_at, coalesce(reason, '')
             FROM outbox WHERE given_up_at IS NULL ORDER BY sequence LIMIT ?1",
        )?
        .query_map([limit], |row| {
            Ok(WaitingLetter {
                receiver: row.get(0)?,
                message_id: row.get(1)?,
                attempts: row.get(2)?,
                queued_at: time(row, 3)?,
                due_at: time(row, 4)?,
                reason: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    Ok(letters)
}

pub(super) fn revive(
    connection: &mut Connection,
    receiver: &str,
    message_id: Option<&str>,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let transaction = write(connection)?;
    let revived = transaction.execute(
        "UPDATE outbox SET given_up_at = NULL, attempts = 0, failed_since = NULL, reason = NULL,
         queued_at = ?3, due_at = ?3
         WHERE receiver = ?1 AND given_up_at IS NOT NULL AND (?2 IS NULL OR message_id = ?2)",
        params![receiver, message_id, micros(now)],
    )?;
    transaction.commit()?;
    Ok(u64::try_from(revived).unwrap_or(u64::MAX))
}
