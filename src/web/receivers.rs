//! Receivers of messages: how they are, what waits for them, what was given up, and how that is sent
//! again or tried out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{DeadLetter, WaitingLetter};

/// Messages listed of a kind.
pub(super) const LISTED_MAX: u32 = 200;

/// How a receiver took what was sent to it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub(super) delivered_at: Option<Timestamp>,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) why: Option<String>,
}

impl Health {
    pub(super) fn takes(&mut self, at: Timestamp) {
        *self = Self { delivered_at: Some(at), ..Self::default() };
    }

    pub(super) fn fails(&mut self, at: Timestamp, why: &str) {
        self.failing_since.get_or_insert(at);
        self.why = Some(why.to_owned());
    }
}

/// One receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Receiver)]
pub struct ReceiverView {
    pub name: String,
    /// Messages that wait; `null`: the journal did not say.
    pub waiting: Option<u64>,
    /// Messages that were given up and are kept.
    pub given_up: Option<u64>,
    /// When it took the last one, since the daemon started.
    pub delivered_at: Option<Timestamp>,
    /// Since when it takes none.
    pub failing_since: Option<Timestamp>,
    /// Why it took the last one not.
    pub why: Option<String>,
}

/// Puts together who is configured, what waits, and how it went.
pub(super) fn views(
    names: Vec<String>,
    counts: Option<Vec<(String, u64, u64)>>,
    health: &BTreeMap<String, Health>,
) -> Vec<ReceiverView> {
    let is_counted = counts.is_some();
    let counts: BTreeMap<String, (u64, u64)> =
        counts.into_iter().flatten().map(|(name, waiting, dead)| (name, (waiting, dead))).collect();
    // Of those that are not configured any more only what waits is known.
    let all: BTreeSet<String> =
        names.into_iter().chain(counts.keys().cloned()).chain(health.keys().cloned()).collect();
    let of = |name: String| {
        let health = health.get(&name).cloned().unwrap_or_default();
        let (waiting, given_up) = counts.get(&name).copied().unwrap_or_default();
        ReceiverView {
            waiting: is_counted.then_some(waiting),
            given_up: is_counted.then_some(given_up),
            delivered_at: health.delivered_at,
            failing_since: health.failing_since,
            why: health.why,
            name,
        }
    };
    all.into_iter().map(of).collect()
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LetterState {
    Waiting,
    GivenUp,
}

/// A message that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Letter)]
pub struct LetterView {
    pub receiver: String,
    /// The same for every receiver.
    pub message: String,
    pub state: LetterState,
    pub attempts: u32,
    pub queued_at: Timestamp,
    /// When it is tried next, or was given up.
    pub at: Timestamp,
    /// Why it is not delivered; empty before the first attempt.
    pub why: String,
}

impl From<WaitingLetter> for LetterView {
    fn from(letter: WaitingLetter) -> Self {
        let WaitingLetter { receiver, message_id, attempts, queued_at, due_at, reason } = letter;
        Self {
            receiver,
            message: message_id,
            state: LetterState::Waiting,
            attempts,
            queued_at,
            at: due_at,
            why: reason,
        }
    }
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { receiver, message_id, attempts, queued_at, given_up_at, reason } = letter;
        Self {
            receiver,
            message: message_id,
            state: LetterState::GivenUp,
            attempts,
            queued_at,
            at: given_up_at,
            why: reason,
        }
    }
}

/// Receivers, and messages that were not delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Deliveries)]
pub struct DeliveriesView {
    pub receivers: Vec<ReceiverView>,
    /// Those given up last, then those that wait, the oldest first; at most 200 of each.
    pub letters: Vec<LetterView>,
}

/// Which messages are sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResendRequest {
    pub receiver: String,
    /// `null`: all that were given up.
    #[serde(default)]
    pub message: Option<String>,
}

/// How many are sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Resent)]
pub struct ResentView {
    pub resent: u64,
}

/// Who tries a receiver out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Who says so.
    #[serde(default)]
    pub by: Option<String>,
}

/// What a receiver made of a message that was sent to try it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Tested)]
pub struct TestedView {
    pub accepted: bool,
    /// Why not.
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_shown_whether_it_is_configured_counted_or_both() {
        let mut health = Health::default();
        let at = Timestamp::UNIX_EPOCH;
        health.fails(at, "answered 500");
        health.fails(at + jiff::SignedDuration::from_secs(5), "answered 503");
        let all = BTreeMap::from([("ops".to_owned(), health.clone())]);
        let counts = vec![("gone".to_owned(), 0, 2), ("ops".to_owned(), 3, 0)];
        let shown = views(vec!["ops".to_owned(), "chat".to_owned()], Some(counts), &all);
        let names: Vec<&str> = shown.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["chat", "gone", "ops"]);
        assert_eq!((shown[2].waiting, shown[2].failing_since), (Some(3), Some(at)));
        assert_eq!(shown[2].why.as_deref(), Some("answered 503"));
        assert_eq!((shown[0].waiting, shown[1].given_up), (Some(0), Some(2)));

        health.takes(at);
        let all = BTreeMap::from([("ops".to_owned(), health)]);
        let shown = views(vec!["ops".to_owned()], None, &all);
        assert_eq!(
            (shown[0].waiting, &shown[0].why, shown[0].delivered_at),
            (None, &None, Some(at))
        );
    }
}
