//! One command of each kind: precheck, act, verify.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    super::Ports,
    ledger_entry::{self, Own, final_status},
    mirror_image::mirror_image,
    start_machine, update_machine,
};
use crate::{
    decide::{Command, Outcome},
    model::AppName,
    ports::{ImagePresence, PlatformError},
};

/// The whole of opening a release: no machine is put right before it, and users wait.
const LEDGER_PATIENCE: Duration = Duration::from_secs(15);
/// One attempt, the client's own retries included; how many there are; the pause after the first.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(15);
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out one command of an app.
/// When `stop` turns true, what holds a lease gives it back and ends; its outcome is then of no
/// interest, because the command is taken up again by the next start.
pub(in super::super) async fn carry_out(
    ports: &Ports,
    app: &AppName,
    command: &Command,
    stop: watch::Receiver<bool>,
) -> Outcome {
    info!(app = %app, "{app}: {}", command.describe());
    match command {
        Command::MirrorImage { from, to } => mirror_image(ports, app, from, to, stop).await,
        Command::CheckImage { image, in_mirror, .. } => {
            let asking = || async {
                if *in_mirror {
                    ports.registry.presence_in_mirror(image).await
                } else {
                    ports.registry.presence(image).await
                }
            };
            match insist(asking).await {
                Ok(ImagePresence::Present) => Outcome::ImagePresent,
                Ok(ImagePresence::Missing) => Outcome::ImageMissing,
                Err(error) => Outcome::ImageUnknown { reason: error.to_string() },
            }
        }
        Command::OpenRelease { image, after, since } => {
            let own = Own { image, after: *after, since: *since };
            let opening = insist(|| ledger_entry::open(&*ports.platform, app, own));
            match tokio::time::timeout(LEDGER_PATIENCE, opening).await {
                Ok(Ok((id, version))) => Outcome::ReleaseOpened { id, version },
                Ok(Err(error)) => Outcome::LedgerRefused { reason: error.to_string() },
                Err(_) => Outcome::LedgerRefused { reason: "no answer in time".to_owned() },
            }
        }
        Command::PutImage(put) => update_machine(ports, app, put, stop).await,
        Command::StartMachine(start) => start_machine(ports, app, start, stop).await,
        Command::CloseStray { image, after, since, complete } => {
            let own = Own { image, after: *after, since: *since };
            let closing = || ledger_entry::close_strays(&*ports.platform, app, own, *complete);
            if let Err(error) = insist(closing).await {
                warn!(app = %app, "{app}: a stray release of ours may stay open: {error}");
            }
            Outcome::ReleaseClosed
        }
        Command::CloseRelease { id, complete } => {
            let closing = || ports.platform.set_release_status(id, final_status(*complete));
            match insist(closing).await {
                // Refused as already finished is what was wanted; of one that is not there,
                // nothing is left open.
                Ok(()) | Err(PlatformError::Refused(_) | PlatformError::NotFound(_)) => {
                    Outcome::ReleaseClosed
                }
                Err(error) => {
                    warn!(app = %app, "{app}: release {id} stays open in the ledger: {error}");
                    Outcome::ReleaseLeftOpen
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a call is tried that always ends so, and how long all of it takes.
    async fn tries(error: fn() -> PlatformError) -> (u32, u64) {
        let began = tokio::time::Instant::now();
        let mut tries = 0;
        let result: Result<(), _> = insist(|| {
            tries += 1;
            async { Err(error()) }
        })
        .await;
        assert!(result.is_err());
        (tries, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_a_few_times_ever_later_and_what_does_not_once() {
        let passing = tries(|| PlatformError::Unavailable("503".to_owned())).await;
        let pauses: u32 = (1..ATTEMPTS).sum();
        assert_eq!(passing, (ATTEMPTS, u64::from(pauses) * PAUSE.as_secs()));
        assert_eq!(tries(|| PlatformError::Denied("no".to_owned())).await, (1, 0));
    }
}
