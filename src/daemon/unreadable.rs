//! An app whose stored state cannot be read: it alone is not watched, loudly, and what is stored
//! stays as it is for whoever can read it.
//!
//! Going on with an empty state would forget which releases are trusted and which rollback is half
//! done. Ending the daemon would leave every other app unwatched because of this one.

use std::{sync::Arc, time::Duration};

use tracing::{error, info, warn};

use super::app::AppTask;
use crate::{
    decide::AppState,
    model::{Event, EventKind, Policy, Reason},
    notify::recipients,
    store::StoreError,
};

/// How often the board is told again.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// How the message ids of such an event end; they are how it is recognised later.
const MARK: &str = "_unreadable";

/// What cannot be read.
pub(super) struct Unreadable {
    /// The journal's revision of it; 0 when not even that is known.
    pub(super) revision: u64,
    pub(super) reason: String,
}

impl AppTask {
    /// Says so until told to stop, or until no policy names the app.
    pub(super) async fn stand_by(self, unreadable: Unreadable) {
        let app = &self.app;
        let reason = format!("its stored state cannot be read: {}", unreadable.reason);
        error!(app = %app, "{app} is not watched: {reason}");
        // Made from the revision: a restart tells nothing twice.
        let id = format!("msg_{}_{app}_{}{MARK}", self.installation, unreadable.revision);
        let mut told = false;
        let since = self.ports.clock.now();
        let mut stop = std::pin::pin!(self.ends());
        while let Some(policy) = self.policy() {
            if !told {
                let mut event = Event::new(EventKind::MonitorBlind, since, Some(app.clone()));
                event.reason = Some(Reason::StateUnreadable { detail: unreadable.reason.clone() });
                told = self.tell(&id, event).await;
            }
            self.show(&policy, &reason, since);
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(SAY_EVERY) => self.ports.board.blind_for(SAY_EVERY),
            }
        }
        info!(app = %app, "{app} is not named by any policy any more");
    }

    /// Tells that the state can be read, if the last thing told of the app is that it cannot.
    pub(super) async fn tell_if_readable_again(&self) {
        let app = &self.app;
        let newest = match self.ports.journal.history(Some(app), None, 1).await {
            Ok(newest) => newest.into_iter().next(),
            Err(error) => return warn!(app = %app, "{app}: the last event cannot be read: {error}"),
        };
        let Some(blind) = newest.filter(|entry| entry.message_id.ends_with(MARK)) else { return };
        let now = self.ports.clock.now();
        let mut event = Event::new(EventKind::MonitorRecovered, now, Some(app.clone()));
        event.reason = Some(Reason::StateReadable);
        event.after_s = Some(now.duration_since(blind.event.at).as_secs_f64().max(0.0));
        info!(app = %app, "{app}: its stored state can be read again");
        self.tell(&format!("{}_no_more", blind.message_id), event).await;
    }

    /// Whether the event is recorded, now or before.
    async fn tell(&self, id: &str, event: Event) -> bool {
        let receivers = recipients(&self.config.borrow(), &event);
        let now = self.ports.clock.now();
        match self.ports.journal.announce(id, event, &receivers, now).await {
            Ok(()) => {
                self.mail.notify_one();
                true
            }
            Err(error) => {
                warn!(app = %self.app, "{}: not recorded: {error}", self.app);
                false
            }
        }
    }

    fn show(&self, policy: &Arc<Policy>, reason: &str, since: jiff::Timestamp) {
        let mut view = super::view::app_view(&AppState::new(self.app.clone()), policy, since);
        view.since = since;
        view.blind = Some(reason.to_owned());
        self.ports.board.publish(view);
    }
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self { revision: 0, reason: error.to_string() }
    }
}
