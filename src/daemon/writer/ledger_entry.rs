//! The rollback's own release in the ledger: found, made, closed. The ledger may lag, or not
//! answer: an entry can have been made without our hearing of it, and even twice.

use jiff::Timestamp;
use tracing::warn;

use super::super::Ports;
use crate::{
    decide::rival::is_own_entry,
    model::{AppName, Release, ReleaseStatus, ReleaseVersion},
    ports::{NewRelease, PlatformError},
};

/// How many ledger entries are looked through for our own.
const LEDGER_LOOK_BACK: u32 = 10;

/// How an entry that a rollback made is recognized.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own<'a> {
    pub(super) image: &'a str,
    /// It is newer than the bad release, and not older than the rollback.
    pub(super) after: ReleaseVersion,
    pub(super) since: Timestamp,
}

/// Entries of ours that other tools wait for, the newest first.
async fn open_entries(
    ports: &Ports,
    app: &AppName,
    own: Own<'_>,
) -> Result<Vec<Release>, PlatformError> {
    let mut entries = ports.platform.releases(app, LEDGER_LOOK_BACK).await?;
    entries.retain(|entry| {
        is_own_entry(entry, own.image, own.after, own.since)
            && matches!(entry.status, ReleaseStatus::Pending | ReleaseStatus::Running)
    });
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.version));
    Ok(entries)
}

/// Closes every release of ours whose making was not answered, if the ledger has one.
pub(super) async fn close_strays(
    ports: &Ports,
    app: &AppName,
    own: Own<'_>,
    complete: bool,
) -> Result<(), PlatformError> {
    for stray in open_entries(ports, app, own).await? {
        ports.platform.set_release_status(&stray.id, final_status(complete)).await?;
    }
    Ok(())
}

/// Makes sure that the ledger has a running release of ours, and says which. One that was closed
/// is over: a rollback that goes on after a pause gets a new one.
pub(super) async fn open(
    ports: &Ports,
    app: &AppName,
    own: Own<'_>,
) -> Result<(String, ReleaseVersion), PlatformError> {
    let mut entries = open_entries(ports, app, own).await?.into_iter();
    let release = match entries.next() {
        Some(release) => release,
        None => {
            let new = NewRelease { app: app.clone(), image: own.image.to_owned() };
            ports.platform.open_release(&new).await?
        }
    };
    // Made twice: an open one that nobody knows of would pause other tools for ever.
    for double in entries.filter(|double| double.author == release.author) {
        let closing = ports.platform.set_release_status(&double.id, ReleaseStatus::Failed);
        if let Err(error) = closing.await {
            warn!(app = %app, "{app}: release {} of ours stays open: {error}", double.version);
        }
    }
    if release.status != ReleaseStatus::Running {
        // A refusal leaves the entry as it is; the rollback does not depend on it.
        let marking = ports.platform.set_release_status(&release.id, ReleaseStatus::Running);
        if let Err(error) = marking.await {
            warn!(app = %app, "{app}: release {} is not marked running: {error}", release.version);
        }
    }
    Ok((release.id, release.version))
}

pub(super) fn final_status(complete: bool) -> ReleaseStatus {
    if complete { ReleaseStatus::Complete } else { ReleaseStatus::Failed }
}
