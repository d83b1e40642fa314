//! Opening a database: is it ours, is it whole, and is its shape the one this version knows?

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// One step per version: the statement file at index `n` leads from version `n` to `n + 1`.
/// Files that were ever released are never changed; a new shape is a new file.
pub(super) const MIGRATIONS: [&str; 2] =
    [include_str!("../migrations/001_first.sql"), include_str!("../migrations/002_lanes.sql")];

/// Marks a `SQLite` file as a journal ("WVOF"), so that another program's file is not taken over.
const APPLICATION_ID: i64 = 0x5756_4F46;

/// Sets the connection up and brings the file to the newest shape.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    // `busy_timeout` first: another process may hold the lock for the next statement.
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // FULL: a commit that returned survives a power cut; in WAL, NORMAL would not promise that.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Bounds what the log keeps on disk after a burst.
    connection.pragma_update(None, "journal_size_limit", 16 * 1024 * 1024)?;
    migrate(connection, MIGRATIONS.len())?;
    let state: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if state != "ok" {
        return Err(StoreError::Failed(format!("the file is damaged: {state}")));
    }
    Ok(())
}

/// Brings the file to version `target`; each step is one transaction.
pub(super) fn migrate(connection: &mut Connection, target: usize) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let owner: i64 = transaction.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if owner != APPLICATION_ID && tables > 0 {
        return Err(StoreError::Unreadable("the file is another program's database".to_owned()));
    }
    let known = MIGRATIONS.len();
    let version = usize::try_from(version)
        .map_err(|_| StoreError::Unreadable(format!("impossible version {version}")))?;
    if version > known {
        return Err(StoreError::Unreadable(format!(
            "it was written by a newer version of waveoff (format {version}, this one knows up \
             to {known}); use that version, or move the file away to start afresh"
        )));
    }
    for (index, step) in MIGRATIONS.iter().enumerate().take(target).skip(version) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
    }
    // A full disk must not keep a journal from being opened that needs no change.
    if owner != APPLICATION_ID {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    Ok(transaction.commit()?)
}
