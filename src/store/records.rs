//! The journal on top of any engine: events become text and back, everything has its bound, and
//! whose turn it is is decided here.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::{
    Attempt, Commit, DeadLetter, HistoryEntry, Journal, OutboxEntry, Queued, StoreError, StoredApp,
    WaitingLetter, encoding,
    engine::{Batch, Engine, Letter, Room, Row},
    turns::{self, Turns},
};
use crate::model::{AppName, Event, EventKind, Reason};

/// What may wait for one receiver, and be remembered as given up.
pub(super) const ROOM: Room = Room { rows: 10_000, bytes: 32 << 20, dead: 1000 };
/// Most entries one call to `history` returns.
const HISTORY_PAGE_MAX: u32 = 1000;
/// Most rows of a kind one call to `prune` deletes: what is left goes with the next call, and no
/// decision waits long for the lock.
pub(super) const PRUNE_MAX: u32 = 5000;
/// How often a receiver is told that messages for it were given up.
const CROWDED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// [`Journal`] on an engine.
#[derive(Clone, Debug)]
pub struct Records<E> {
    pub(super) engine: E,
    room: Room,
}

impl<E: Engine> Records<E> {
    pub(super) fn on(engine: E) -> Self {
        Self { engine, room: ROOM }
    }

    /// The same with less room, for tests.
    #[cfg(test)]
    pub(super) fn with_room(self, room: Room) -> Self {
        Self { room, ..self }
    }

    async fn turns(&self, now: Timestamp) -> Result<Turns, StoreError> {
        let waiting = self.engine.waiting(turns::FAILING_MAX + 1).await?;
        Ok(Turns::of(&waiting, now))
    }

    /// Keeps the queues of these receivers within their bounds, and says so when it cost messages.
    async fn bound(&self, receivers: &BTreeSet<String>, now: Timestamp) -> Result<(), StoreError> {
        for receiver in receivers {
            let reason = "too many messages were waiting";
            let gone = self.engine.make_room(receiver, self.room, reason, now).await?;
            if gone > 0 {
                self.tell_crowded(receiver, gone, now).await?;
            }
        }
        Ok(())
    }

    async fn tell_crowded(
        &self,
        receiver: &str,
        gone: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = format!("crowded/{receiver}");
        let note = self.engine.note(&key).await?.unwrap_or_default();
        let (last, before) = note.split_once(' ').unwrap_or_default();
        let gone = before.parse::<u64>().unwrap_or(0).saturating_add(gone);
        if let Ok(told) = last.parse::<Timestamp>()
            && now.duration_since(told) < CROWDED_EVERY
        {
            return self.engine.set_note(&key, Some(&format!("{told} {gone}"))).await;
        }
        let mut event = Event::new(EventKind::MonitorOutbox, now, None);
        let receiver_name = receiver.to_owned();
        event.reason = Some(Reason::OutboxCrowded { receiver: receiver_name, messages: gone });
        let installation = self.engine.installation().await?;
        let id = format!("msg_{installation}_crowded_{receiver}_{}", now.as_millisecond());
        let body = encoding::encode(&event)?;
        let letter = letter(receiver, &id, &event, &body);
        self.engine.announce(None, Row { message_id: id, body }, vec![letter], now).await?;
        self.engine.set_note(&key, Some(&format!("{now} 0"))).await
    }
}

fn letter(receiver: &str, message_id: &str, event: &Event, body: &str) -> Letter {
    Letter {
        receiver: receiver.to_owned(),
        message_id: message_id.to_owned(),
        lane: event.app.as_ref().map(|app| app.as_str().to_owned()),
        importance: encoding::importance(event.kind),
        body: body.to_owned(),
    }
}

#[async_trait]
impl<E: Engine> Journal for Records<E> {
    async fn installation(&self) -> Result<String, StoreError> {
        self.engine.installation().await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.engine.note(key).await
    }

    async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        self.engine.set_note(key, value).await
    }

    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError> {
        self.engine.load(app).await
    }

    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        commit: Commit,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let bytes = commit.state.len();
        if bytes > encoding::STATE_MAX {
            let most = encoding::STATE_MAX;
            return Err(StoreError::Failed(format!(
                "a state of {bytes} bytes, {most} is the most"
            )));
        }
        let mut events = Vec::with_capacity(commit.events.len());
        for (id, event) in &commit.events {
            events.push(Row { message_id: id.clone(), body: encoding::encode(event)? });
        }
        let mut letters = Vec::with_capacity(commit.outbox.len());
        for OutboxEntry { receiver, message_id, event } in &commit.outbox {
            letters.push(letter(receiver, message_id, event, &encoding::encode(event)?));
        }
        let receivers: BTreeSet<String> =
            letters.iter().map(|letter| letter.receiver.clone()).collect();
        let batch = Batch { state: commit.state, events, letters };
        let revision = self.engine.commit(app, expected, commit.term, batch, now).await?;
        // The decision is stored; a bound that cannot be kept just now is kept by the next one.
        if let Err(error) = self.bound(&receivers, now).await {
            tracing::warn!(app = %app, "{app}: the outbox is not kept within its bounds: {error}");
        }
        Ok(revision)
    }

    async fn announce(
        &self,
        message_id: &str,
        event: Event,
        receivers: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let body = encoding::encode(&event)?;
        let letters =
            receivers.iter().map(|name| letter(name, message_id, &event, &body)).collect();
        let row = Row { message_id: message_id.to_owned(), body: body.clone() };
        self.engine.announce(event.app.as_ref(), row, letters, now).await?;
        self.bound(&receivers.iter().cloned().collect(), now).await
    }

    async fn due(&self, now: Timestamp) -> Result<Vec<Queued>, StoreError> {
        let mut queued = Vec::new();
        for sequence in self.turns(now).await?.due {
            let Some(taken) = self.engine.take(sequence).await? else { continue };
            match encoding::decode(&taken.body, &format!("message {sequence}")) {
                Ok(event) => queued.push(Queued {
                    sequence,
                    entry: OutboxEntry {
                        receiver: taken.receiver,
                        message_id: taken.message_id,
                        event,
                    },
                    attempts: taken.attempts,
                    queued_at: taken.queued_at,
                }),
                // One message nobody can read must not block those behind it, here or elsewhere.
                Err(error) => {
                    let attempt = Attempt::untried(error.to_string());
                    self.attempted(sequence, &attempt, now).await?;
                }
            }
        }
        Ok(queued)
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.turns(now).await?.next)
    }

    async fn attempted(
        &self,
        sequence: i64,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let attempt = match attempt {
            Attempt::Delivered => Attempt::Delivered,
            Attempt::RetryAt { at, reason } => {
                Attempt::RetryAt { at: *at, reason: encoding::bounded(reason) }
            }
            Attempt::Dead { reason, tried } => {
                Attempt::Dead { reason: encoding::bounded(reason), tried: *tried }
            }
        };
        self.engine.attempted(sequence, &attempt, now).await
    }

    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let rows = self.engine.history(app, before, limit.min(HISTORY_PAGE_MAX)).await?;
        rows.into_iter()
            .map(|(sequence, row)| {
                let event = encoding::decode(&row.body, &format!("event {sequence}"))?;
                Ok(HistoryEntry { sequence, message_id: row.message_id, event })
            })
            .collect()
    }

    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        self.engine.outbox_counts().await
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        self.engine.dead_letters(limit).await
    }

    async fn waiting_letters(&self, limit: u32) -> Result<Vec<WaitingLetter>, StoreError> {
        self.engine.waiting_letters(limit).await
    }

    async fn revive(
        &self,
        receiver: &str,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let revived = self.engine.revive(receiver, message_id, now).await?;
        self.bound(&BTreeSet::from([receiver.to_owned()]), now).await?;
        Ok(revived)
    }

    async fn prune(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.engine.prune(before, PRUNE_MAX).await
    }
}
