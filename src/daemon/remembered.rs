//! Apps that were watched before a start, while the platform does not say which apps there are. In an outage they
//! are watched on, since each of them may be readable although the list is not. Where the token is refused they are
//! shown as they were left, and as what they are: not seen. Otherwise a daemon that is blind would look like one
//! that has nothing to do.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{document, roster::Roster, view::app_view};
use crate::model::AppName;

/// The note of the apps that are watched, one a line.
const KEY: &str = "watched";
/// How long it may take to list the apps before those that are remembered are shown.
const SHOWN_AFTER: Duration = Duration::from_secs(15);

/// What is known of the apps while they cannot be listed.
pub(super) struct Unseen {
    /// Since when they cannot be.
    since: Instant,
    /// The apps that are shown as blind, and until when that was counted.
    shown: Option<(Vec<AppName>, Instant)>,
    /// Whether those that were watched before are watched on.
    is_read: bool,
}

impl Unseen {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), shown: None, is_read: false }
    }

    /// The apps that are shown as blind.
    pub(super) fn shown(&self) -> Option<&[AppName]> {
        self.shown.as_ref().map(|(apps, _)| apps.as_slice())
    }
}

impl Roster {
    /// Notes which apps are watched, for the next start.
    pub(super) async fn note_watched(&self, noted: &mut Option<Vec<AppName>>, apps: &[AppName]) {
        if noted.as_deref() == Some(apps) {
            return;
        }
        let names: Vec<&str> = apps.iter().map(AppName::as_str).collect();
        match self.ports.journal.set_note(KEY, Some(&names.join("\n"))).await {
            Ok(()) => *noted = Some(apps.to_vec()),
            Err(error) => warn!("which apps are watched is not noted: {error}"),
        }
    }

    /// Shows the apps that were watched before as blind, for this reason, and counts how long they are.
    pub(super) async fn show_unseen(&self, unseen: &mut Unseen, why: &str) {
        if let Some((apps, counted)) = &mut unseen.shown {
            let passed = std::mem::replace(counted, Instant::now()).elapsed();
            let apps = u32::try_from(apps.len()).unwrap_or(u32::MAX);
            return self.ports.board.blind_for(passed.saturating_mul(apps));
        }
        if unseen.since.elapsed() < SHOWN_AFTER {
            return;
        }
        let Some(noted) = self.noted().await else { return };
        let mut shown = Vec::new();
        for app in noted {
            if self.show_as_left(&app, why).await {
                shown.push(app);
            }
        }
        unseen.shown = Some((shown, Instant::now()));
    }

    /// The apps that were watched before, once, when the first list does not come for a while.
    pub(super) async fn remembered(&self, unseen: &mut Unseen) -> Option<Vec<AppName>> {
        if unseen.is_read || unseen.since.elapsed() < SHOWN_AFTER {
            return None;
        }
        let noted = self.noted().await?;
        unseen.is_read = true;
        Some(noted)
    }

    /// The apps that were noted as watched; `None`: that cannot be read, and is tried again.
    pub(super) async fn noted(&self) -> Option<Vec<AppName>> {
        match self.ports.journal.note(KEY).await {
            Ok(noted) => Some(noted.unwrap_or_default().lines().map(AppName::new).collect()),
            Err(error) => {
                warn!("which apps were watched cannot be read: {error}");
                None
            }
        }
    }

    /// Whether there was anything to show.
    async fn show_as_left(&self, app: &AppName, why: &str) -> bool {
        let Some(policy) = self.config.borrow().policy_for(app) else { return false };
        let stored = match self.ports.journal.load(app).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return false,
            Err(error) => {
                warn!(app = %app, "{app}: its stored state cannot be read: {error}");
                return false;
            }
        };
        let Ok(state) = document::read(app, &stored.state) else { return false };
        let now = self.ports.clock.now();
        let mut view = app_view(&state, &policy, now);
        view.operator_hold = view.operator_hold.filter(|hold| hold.is_on(now));
        view.blind = Some(format!("platform: {why}"));
        self.ports.board.remember(view);
        true
    }
}
