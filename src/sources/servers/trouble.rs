//! Questions that a server does not answer: each rests for itself, ever longer, and the others are
//! asked before it.

use std::time::Duration;

use tokio::time::Instant;

use super::{DEADLINE, PAUSE_MAX, Server, State, WANTED_LATELY, lock};
use crate::{
    model::{AppName, Selection},
    ports::ServerError,
};

/// What came of asking one question lately.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    /// Why, once it is more than a slip.
    detail: Option<String>,
    rests_until: Option<Instant>,
}

impl Trouble {
    fn failed(&mut self, error: ServerError, gap: Duration, now: Instant) {
        let before = self.failures;
        self.failures = before.saturating_add(1);
        self.rests_until = Some(now + pause(&error, gap, before));
        // One that failed may be followed by one that holds what it missed.
        self.detail = (before > 0 || error.retry_after.is_some()).then_some(error.detail);
    }

    /// It was answered.
    pub(super) fn is_over(&mut self) {
        *self = Self::default();
    }

    /// Why nothing is known of what it asks for.
    pub(super) fn told(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

/// How long is waited after a failure that so many others came before.
pub(super) fn pause(error: &ServerError, gap: Duration, before: u32) -> Duration {
    let doubled = gap * 2_u32.saturating_pow(before.min(6));
    error.retry_after.unwrap_or_default().max(doubled).min(PAUSE_MAX)
}

/// A question whose turn it is.
pub(super) struct Turn {
    pub(super) key: String,
    pub(super) selection: Selection,
    pub(super) apps: Vec<AppName>,
    /// It was not answered the time before.
    pub(super) failing: bool,
}

impl State {
    /// Why nothing at all can be read from the server.
    pub(super) fn down(&self, now: Instant) -> Option<&str> {
        if let Some(trouble) = &self.trouble {
            return Some(trouble);
        }
        let wanted = || self.asked.values().filter(|one| one.apps.asked_within(WANTED_LATELY, now));
        let first = wanted().next().and_then(|one| one.trouble.told());
        first.filter(|_| wanted().all(|one| one.trouble.told().is_some()))
    }

    /// Whether the server answered what it was asked last, or some of it.
    pub(super) fn is_up(&self) -> bool {
        let some =
            self.asked.is_empty() || self.asked.values().any(|one| one.trouble.failures == 0);
        self.answered && self.failures == 0 && some
    }
}

impl Server {
    /// The questions that are due, in their order. A query for all apps is soon answered; expressions
    /// are many, and have what time is left. Those that failed come last, and of them the one after
    /// that which failed last is the first.
    pub(super) fn turns(&self, now: Instant, gap: Duration) -> Vec<Turn> {
        let state = lock(&self.state);
        let last = state.failed_last.clone().unwrap_or_default();
        let (before, after): (Vec<_>, Vec<_>) =
            state.asked.iter().partition(|(key, _)| **key <= last);
        let mut turns: Vec<Turn> = after
            .into_iter()
            .chain(before)
            .filter(|(_, asked)| asked.trouble.rests_until.is_none_or(|until| now >= until))
            .map(|(key, asked)| Turn {
                key: key.clone(),
                selection: asked.selection.clone(),
                apps: asked.apps.due(now, gap),
                failing: asked.trouble.failures > 0,
            })
            .filter(|turn| !turn.apps.is_empty())
            .collect();
        turns.sort_by_key(|turn| (turn.failing, matches!(turn.selection, Selection::Value { .. })));
        turns
    }

    /// Notes that a question was not answered, and whether there is time for another one: a server that
    /// takes long to fail is not asked everything in vain in one go.
    pub(super) fn fails(&self, key: &str, error: ServerError, began: Instant) -> bool {
        let (now, gap) = (Instant::now(), self.gap());
        let mut state = lock(&self.state);
        if let Some(asked) = state.asked.get_mut(key) {
            asked.trouble.failed(error, gap, now);
        }
        state.failed_last = Some(key.to_owned());
        now.saturating_duration_since(began) < DEADLINE
    }
}
