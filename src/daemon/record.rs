//! Writes down what a step decided, with the messages that tell of it, and says it in the log.

use anyhow::Context as _;
use tracing::{Level, error, info, warn};

use super::{
    app::{AppTask, COMMIT_ATTEMPTS, COMMIT_RETRY_AFTER},
    document,
    repeats::Repeats,
};
use crate::{
    decide::{AppState, Input},
    model::{Event, EventKind, Severity},
    notify::recipients,
    store::{Commit, OutboxEntry, StoreError},
    web::RollbackOutcome,
};

impl AppTask {
    /// Writes state, events and outbox in one transaction, and answers with the new revision.
    /// `None`: the journal cannot be written just now; nothing was stored, and nothing of it counts.
    pub(super) async fn record(
        &self,
        revision: u64,
        state: &AppState,
        events: &[Event],
        repeats: &mut Repeats,
    ) -> anyhow::Result<Option<u64>> {
        let config = self.config.borrow().clone();
        let now = self.ports.clock.now();
        let mut summed = repeats.clone();
        let mut commit = Commit { state: document::write(state)?, ..Commit::default() };
        let mut tell = |id: &str, event: &Event| {
            for receiver in recipients(&config, event) {
                let (message_id, event) = (id.to_owned(), event.clone());
                commit.outbox.push(OutboxEntry { receiver, message_id, event });
            }
        };
        // In the journal already, and not in the outbox.
        for (id, event) in summed.overdue(now) {
            tell(&id, &event);
        }
        for (index, event) in events.iter().enumerate() {
            // Made from the revision, so that a repeated commit carries the same ids.
            let id = format!("msg_{}_{}_{}_{index}", self.installation, self.app, revision + 1);
            let mut event = event.clone();
            if summed.take(&id, &mut event, now) {
                tell(&id, &event);
            }
            commit.events.push((id, event));
        }
        let mut attempt = 0;
        // While it is known not to work, one attempt at a time is enough.
        let attempts =
            if self.ports.board.journal_trouble().is_some() { 1 } else { COMMIT_ATTEMPTS };
        let revision = loop {
            attempt += 1;
            let commit = commit.clone();
            match self.ports.journal.commit(&self.app, revision, commit, now).await {
                Ok(revision) => break revision,
                Err(StoreError::Failed(reason)) if attempt < attempts => {
                    warn!(app = %self.app, "{}: not recorded, trying again: {reason}", self.app);
                    tokio::time::sleep(COMMIT_RETRY_AFTER * attempt).await;
                }
                Err(StoreError::Failed(reason)) => {
                    self.ports.board.journal_fails(Some(&self.app), &reason);
                    return Ok(None);
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("record {}", self.app));
                }
            }
        };
        self.ports.board.journal_works(Some(&self.app));
        *repeats = summed;
        for event in events {
            self.told(event);
        }
        if !events.is_empty() {
            self.ports.board.recorded(&self.app);
        }
        if !commit.outbox.is_empty() {
            self.mail.notify_one();
        }
        Ok(Some(revision))
    }

    fn told(&self, event: &Event) {
        let text = crate::notify::text::sentence(event);
        let name = event.kind.as_str();
        match level(event) {
            Level::ERROR => error!(app = %self.app, event = name, "{text}"),
            Level::WARN => warn!(app = %self.app, event = name, "{text}"),
            _ => info!(app = %self.app, event = name, "{text}"),
        }
        let ended = match event.kind {
            EventKind::RollbackCompleted => Some(RollbackOutcome::Completed),
            EventKind::RollbackStopped => Some(RollbackOutcome::Stopped),
            EventKind::RollbackFailed => Some(RollbackOutcome::Failed),
            _ => None,
        };
        if let Some(outcome) = ended {
            self.ports.board.rollback_ended(outcome);
        }
    }

    pub(super) fn log_outcome(&self, state: &AppState, input: &Input) {
        let Input::Finished { command, outcome } = input else { return };
        if let Some(command) = state.memory.pending.get(command) {
            let outcome = super::outcomes::describe(outcome);
            info!(app = %self.app, "{}: {}: {outcome}", self.app, command.describe());
        }
    }
}

/// How loudly it is said in the log.
fn level(event: &Event) -> Level {
    // A person did it, or it is over: whatever its kind, that is no trouble.
    if event.severity() == Severity::Info {
        return Level::INFO;
    }
    match event.kind {
        EventKind::RollbackPaused if event.severity() >= Severity::Error => Level::ERROR,
        EventKind::HoldPlaced
        | EventKind::RollbackFailed
        | EventKind::MonitorBlind
        | EventKind::MonitorToken
        | EventKind::MonitorJournal
        | EventKind::ImageMissing => Level::ERROR,
        EventKind::ReleaseDegraded
        | EventKind::MachineSuspect
        | EventKind::ReleaseUntrusted
        | EventKind::RollbackStopped
        | EventKind::RollbackPaused
        | EventKind::ImageMixed
        | EventKind::ImageNotMirrored
        | EventKind::MonitorClock
        | EventKind::MonitorOutbox
        | EventKind::ConfigWarning
        | EventKind::ConfigRejected => Level::WARN,
        EventKind::ReleaseDetected
        | EventKind::ReleaseTrusted
        | EventKind::ReleaseBaked
        | EventKind::ReleaseRecovered
        | EventKind::RollbackPlanned
        | EventKind::RollbackStarted
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed
        | EventKind::RollbackCompleted
        | EventKind::HoldCleared
        | EventKind::OperatorOrder
        | EventKind::MonitorRecovered
        | EventKind::ConfigReloaded => Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HoldReason, OperatorHold};

    #[test]
    fn what_a_person_holds_is_no_error_in_the_log_and_what_a_guard_holds_is() {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let hold = OperatorHold { by: "dana".into(), reason: "x".into(), since: at, until: None };
        let held = |hold: HoldReason| {
            let mut event = Event::new(EventKind::HoldPlaced, at, Some("api".into()));
            event.reason = Some(hold.into());
            level(&event)
        };
        assert_eq!(held(HoldReason::Operator { hold }), Level::INFO);
        assert_eq!(held(HoldReason::Migrations), Level::ERROR);
    }
}
