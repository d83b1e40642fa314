//! Carries out commands: precheck, act, verify. Nothing is decided here.
//!
//! Every command may have been carried out already, wholly or in part, by a daemon that was killed
//! before it could say so; each begins by looking.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Ports, put};
use crate::{
    decide::{Command, Outcome, PutOutcome, StartOutcome, rival::is_own_entry},
    model::{AppName, Release, ReleaseStatus, ReleaseVersion},
    ports::{ImagePresence, NewRelease, PlatformError},
};

/// How many ledger entries are looked through for our own.
const LEDGER_LOOK_BACK: u32 = 10;
/// The whole of opening a release: no machine is put right before it, and users wait.
const LEDGER_PATIENCE: Duration = Duration::from_secs(15);
/// One attempt, the client's own retries included; how many there are; the pause after the first.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out one command of an app.
/// When `stop` turns true, what holds a lease gives it back and ends; its outcome is then of no
/// interest, because the command is taken up again by the next start.
pub(super) async fn carry_out(
    ports: &Ports,
    app: &AppName,
    command: &Command,
    stop: watch::Receiver<bool>,
) -> Outcome {
    info!(app = %app, "{app}: {}", command.describe());
    match command {
        Command::CheckImage { image, .. } => {
            match insist(|| ports.registry.presence(image)).await {
                Ok(ImagePresence::Present) => Outcome::ImagePresent,
                Ok(ImagePresence::Missing) => Outcome::ImageMissing,
                Err(error) => Outcome::ImageUnknown { reason: error.to_string() },
            }
        }
        Command::OpenRelease { image, after, since } => {
            let opening = insist(|| open_release(ports, app, image, *after, *since));
            match tokio::time::timeout(LEDGER_PATIENCE, opening).await {
                Ok(Ok((id, version))) => Outcome::ReleaseOpened { id, version },
                Ok(Err(error)) => Outcome::LedgerRefused { reason: error.to_string() },
                Err(_) => Outcome::LedgerRefused { reason: "no answer in time".to_owned() },
            }
        }
        Command::StartMachine(start) => {
            let reason = format!("{} is not started yet", start.machine);
            Outcome::Start(StartOutcome::Not(PutOutcome::Unavailable { reason }))
        }
        Command::PutImage(put) => Outcome::Put(put::put_image(ports, app, put, stop).await),
        Command::CloseStray { image, after, since, complete } => {
            let closing = || close_stray(ports, app, image, *after, *since, *complete);
            if let Err(error) = insist(closing).await {
                warn!(app = %app, "{app}: a stray release of ours may stay open: {error}");
            }
            Outcome::ReleaseClosed
        }
        Command::CloseRelease { id, complete } => {
            let status = if *complete { ReleaseStatus::Complete } else { ReleaseStatus::Failed };
            match insist(|| ports.platform.set_release_status(id, status.clone())).await {
                // Refused as already finished is what was wanted.
                Ok(()) | Err(PlatformError::Refused(_)) => Outcome::ReleaseClosed,
                Err(error) if error.is_transient() => {
                    warn!(app = %app, "{app}: release {id} stays open in the ledger: {error}");
                    Outcome::ReleaseLeftOpen
                }
                // The ledger will not have it; to ask again would change nothing.
                Err(error) => {
                    warn!(app = %app, "{app}: release {id} is not closed in the ledger: {error}");
                    Outcome::ReleaseClosed
                }
            }
        }
    }
}

/// Tries again what may succeed a little later, a few times: nothing waits long for the ledger or
/// a registry. Whatever is tried must begin by looking, or do no harm twice.
async fn insist<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, PlatformError>
where
    F: Future<Output = Result<T, PlatformError>>,
{
    let mut tries = 1;
    loop {
        let error = match tokio::time::timeout(ATTEMPT_DEADLINE, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                PlatformError::Unavailable(format!("no answer in {} s", ATTEMPT_DEADLINE.as_secs()))
            }
        };
        if !error.is_transient() || tries >= ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(PAUSE * tries).await;
        tries += 1;
    }
}

/// Closes a release of ours whose making was not answered, if the ledger has one.
async fn close_stray(
    ports: &Ports,
    app: &AppName,
    image: &str,
    after: ReleaseVersion,
    since: jiff::Timestamp,
    complete: bool,
) -> Result<(), PlatformError> {
    let Some(stray) = own_release(ports, app, image, after, since).await? else { return Ok(()) };
    if !matches!(stray.status, ReleaseStatus::Pending | ReleaseStatus::Running) {
        return Ok(());
    }
    let status = if complete { ReleaseStatus::Complete } else { ReleaseStatus::Failed };
    ports.platform.set_release_status(&stray.id, status).await
}

/// The release of `image` that this rollback made, when the ledger has it.
async fn own_release(
    ports: &Ports,
    app: &AppName,
    image: &str,
    after: ReleaseVersion,
    since: jiff::Timestamp,
) -> Result<Option<Release>, PlatformError> {
    let ledger = ports.platform.releases(app, LEDGER_LOOK_BACK).await?;
    Ok(ledger.into_iter().find(|release| is_own_entry(release, image, after, since)))
}

/// Makes sure that the ledger has a running release of `image`, and says which.
async fn open_release(
    ports: &Ports,
    app: &AppName,
    image: &str,
    after: ReleaseVersion,
    since: jiff::Timestamp,
) -> Result<(String, ReleaseVersion), PlatformError> {
    let own = own_release(ports, app, image, after, since).await?;
    let release = match own {
        Some(release) => release,
        None => {
            let new = NewRelease { app: app.clone(), image: image.to_owned() };
            ports.platform.open_release(&new).await?
        }
    };
    if release.status != ReleaseStatus::Running {
        // A refusal leaves the entry as it is; the rollback does not depend on it.
        if let Err(error) =
            ports.platform.set_release_status(&release.id, ReleaseStatus::Running).await
        {
            warn!(app = %app, "{app}: release {} is not marked running: {error}", release.version);
        }
    }
    Ok((release.id, release.version))
}
