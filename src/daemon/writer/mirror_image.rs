//! Copies an image to the mirror, beside everything else.

use std::{sync::Mutex, time::Duration};

use tokio::{sync::watch, time::Instant};
use tracing::debug;

use super::super::Ports;
use crate::{
    decide::Outcome,
    model::{AppName, ImageRef, MirrorTrouble},
    ports::{CopyError, CopyProgress, CopySide, PlatformError},
    web::Board,
};

/// One copy, however large; what arrived is not copied again.
const COPY_MAX: Duration = Duration::from_secs(6 * 3600);
/// How often it is shown how far a copy is.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// Copies an image when it is its turn: there is one copy at a time. When `stop` turns true it is
/// dropped where it is.
pub(super) async fn mirror_image(
    ports: &Ports,
    app: &AppName,
    from: &ImageRef,
    to: &ImageRef,
    mut stop: watch::Receiver<bool>,
) -> Outcome {
    let copying = async {
        let _turn = ports.board.turn_to_copy().await;
        let _shown = Shown { board: &ports.board, app };
        ports.board.copying(app, to.digest.as_ref(), CopyProgress::default());
        let shown = Mutex::new(None::<Instant>);
        let progress = |progress| {
            let mut shown = shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if shown.is_none_or(|at| at.elapsed() >= SHOWN_EVERY) {
                *shown = Some(Instant::now());
                ports.board.copying(app, to.digest.as_ref(), progress);
            }
        };
        tokio::time::timeout(COPY_MAX, ports.registry.copy(from, to, &progress)).await
    };
    let copied = tokio::select! {
        copied = copying => Some(copied),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    match copied {
        Some(Ok(Ok(()))) => Outcome::Mirrored,
        Some(Ok(Err(error))) => {
            debug!("{app}: {} is not copied: {error:?}", from.reference());
            Outcome::MirrorFailed { trouble: trouble(&error), reason: error.to_string() }
        }
        Some(Err(_)) => failed("not whole after hours"),
        None => failed("told to end"),
    }
}

/// That an image is being copied, for as long as it is.
struct Shown<'a> {
    board: &'a Board,
    app: &'a AppName,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.board.not_copying(self.app);
    }
}

fn failed(reason: &str) -> Outcome {
    Outcome::MirrorFailed { trouble: MirrorTrouble::NoAnswer, reason: reason.to_owned() }
}

/// What a person can do about it depends on the end at which it went wrong.
fn trouble(error: &CopyError) -> MirrorTrouble {
    match (error.side, &error.error) {
        (_, error) if error.is_transient() => MirrorTrouble::NoAnswer,
        (CopySide::Source, PlatformError::NotFound(_)) => MirrorTrouble::SourceGone,
        (CopySide::Source, _) => MirrorTrouble::SourceRefused,
        (CopySide::Mirror, PlatformError::Denied(_)) => MirrorTrouble::NotAllowed,
        (CopySide::Mirror, PlatformError::NotFound(_)) => MirrorTrouble::NoRepository,
        (CopySide::Mirror, _) => MirrorTrouble::Refused,
    }
}
