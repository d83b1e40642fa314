//! The engine in memory: for simulations, where nothing has to outlive the process. It never waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Attempt, DeadLetter, StoreError, StoredApp, Term, WaitingLetter,
    engine::{Batch, Engine, Letter, Room, Row, Taken, Waiting},
    records::Records,
};
use crate::model::AppName;

/// The engine; clones share what is stored.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Stored>>);

/// [`super::Journal`] in memory.
pub type MemoryJournal = Records<Memory>;

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::on(Memory::default())
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Clone, Debug)]
struct App {
    revision: u64,
    state: String,
    /// Ids of the last commit's events: how a repeated commit is recognised.
    events: Vec<String>,
}

#[derive(Clone, Debug)]
struct Recorded {
    sequence: i64,
    app: Option<AppName>,
    at: Timestamp,
    row: Row,
}

#[derive(Clone, Debug)]
struct Queued {
    letter: Letter,
    queued_at: Timestamp,
    due_at: Timestamp,
    attempts: u32,
    failed_since: Option<Timestamp>,
    reason: Option<String>,
    given_up_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Stored {
    term: Term,
    notes: BTreeMap<String, String>,
    apps: BTreeMap<AppName, App>,
    ids: BTreeSet<String>,
    events: Vec<Recorded>,
    outbox: BTreeMap<i64, Queued>,
    last: i64,
}

impl Stored {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn record(&mut self, app: Option<&AppName>, row: Row, at: Timestamp) {
        let sequence = self.next();
        self.ids.insert(row.message_id.clone());
        self.events.push(Recorded { sequence, app: app.cloned(), at, row });
    }

    fn queue(&mut self, letters: Vec<Letter>, now: Timestamp) {
        for letter in letters {
            let sequence = self.next();
            let queued = Queued {
                letter,
                queued_at: now,
                due_at: now,
                attempts: 0,
                failed_since: None,
                reason: None,
                given_up_at: None,
            };
            self.outbox.insert(sequence, queued);
        }
    }

    /// Whether all ids are new, to the journal and to each other.
    fn fresh(&self, events: &[Row], letters: &[Letter]) -> bool {
        let mut ids = BTreeSet::new();
        let mut queued = BTreeSet::new();
        let there = |letter: &Letter| {
            self.outbox.values().any(|one| {
                one.letter.receiver == letter.receiver && one.letter.message_id == letter.message_id
            })
        };
        events.iter().all(|row| !self.ids.contains(&row.message_id) && ids.insert(&row.message_id))
            && letters.iter().all(|letter| {
                !there(letter) && queued.insert((&letter.receiver, &letter.message_id))
            })
    }
}

impl Memory {
    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another leader was chosen.
    #[cfg(test)]
    pub(super) fn begin_term(&self, term: Term) {
        self.stored().term = term;
    }
}

#[async_trait]
impl Engine for Memory {
    async fn installation(&self) -> Result<String, StoreError> {
        Ok("00000000memory00".to_owned())
    }

    async fn term(&self) -> Result<Term, StoreError> {
        Ok(self.stored().term)
    }

    async fn note(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.stored().notes.get(key).cloned())
    }

    async fn set_note(&self, key: &str, value: Option<&str>) -> Result<(), StoreError> {
        let mut stored = self.stored();
        match value {
            Some(value) => stored.notes.insert(key.to_owned(), value.to_owned()),
            None => stored.notes.remove(key),
        };
        Ok(())
    }

    async fn load(&self, app: &AppName) -> Result<Option<StoredApp>, StoreError> {
        Ok(self.stored().apps.get(app).map(|stored| StoredApp {
            app: app.clone(),
            revision: stored.revision,
            state: stored.state.clone(),
        }))
    }

    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        term: Term,
        batch: Batch,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut stored = self.stored();
        if term != stored.term {
            return Err(StoreError::StaleTerm { term, current: stored.term });
        }
        let next = expected.saturating_add(1);
        let events: Vec<String> = batch.events.iter().map(|row| row.message_id.clone()).collect();
        let found = stored.apps.get(app);
        let revision = found.map_or(0, |found| found.revision);
        let repeated =
            found.is_some_and(|found| found.state == batch.state && found.events == events);
        if revision == next && repeated {
            return Ok(next);
        }
        if revision != expected {
            return Err(StoreError::Stale { app: app.clone(), expected });
        }
        if !stored.fresh(&batch.events, &batch.letters) {
            return Err(StoreError::Failed("an id is there already".to_owned()));
        }
        stored.apps.insert(app.clone(), App { revision: next, state: batch.state, events });
        for row in batch.events {
            stored.record(Some(app), row, now);
        }
        stored.queue(batch.letters, now);
        Ok(next)
    }

    async fn announce(
        &self,
        app: Option<&AppName>,
        event: Row,
        letters: Vec<Letter>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut stored = self.stored();
        if !stored.ids.contains(&event.message_id) {
            stored.record(app, event, now);
            stored.queue(letters, now);
        }
        Ok(())
    }

    async fn waiting(&self, per_lane: u32) -> Result<Vec<Waiting>, StoreError> {
        let stored = self.stored();
        let mut lanes: BTreeMap<(&str, Option<&str>), u32> = BTreeMap::new();
        let living = stored.outbox.iter().filter(|(_, one)| one.given_up_at.is_none());
        let waiting = living.filter(|(_, one)| {
            let place =
                lanes.entry((&one.letter.receiver, one.letter.lane.as_deref())).or_default();
            *place += 1;
            *place <= per_lane
        });
        let waiting = waiting.map(|(sequence, one)| Waiting {
            sequence: *sequence,
            receiver: one.letter.receiver.clone(),
            lane: one.letter.lane.clone(),
            due_at: one.due_at,
            failed_since: one.failed_since,
        });
        Ok(waiting.collect())
    }

    async fn take(&self, sequence: i64) -> Result<Option<Taken>, StoreError> {
        let stored = self.stored();
        let found = stored.outbox.get(&sequence).filter(|one| one.given_up_at.is_none());
        Ok(found.map(|one| Taken {
            receiver: one.letter.receiver.clone(),
            message_id: one.letter.message_id.clone(),
            body: one.letter.body.clone(),
            attempts: one.attempts,
            queued_at: one.queued_at,
        }))
    }

    async fn attempted(
        &self,
        sequence: i64,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut stored = self.stored();
        if *attempt == Attempt::Delivered {
            stored.outbox.remove(&sequence);
            return Ok(());
        }
        let found = stored.outbox.get_mut(&sequence).filter(|one| one.given_up_at.is_none());
        let Some(one) = found else { return Ok(()) };
        match attempt {
            Attempt::Delivered => {}
            Attempt::RetryAt { at, reason } => {
                one.attempts = one.attempts.saturating_add(1);
                one.due_at = *at;
                one.failed_since.get_or_insert(now);
                one.reason = Some(reason.clone());
            }
            Attempt::Dead { reason, tried } => {
                one.attempts = one.attempts.saturating_add(u32::from(*tried));
                one.given_up_at = Some(now);
                let before = one.reason.take().filter(|before| before != reason);
                one.reason = Some(match before {
                    Some(before) => format!("{reason}; before that: {before}"),
                    None => reason.clone(),
                });
            }
        }
        Ok(())
    }

    async fn make_room(
        &self,
        receiver: &str,
        room: Room,
        reason: &str,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut stored = self.stored();
        let of_receiver = |dead: bool| {
            move |(_, one): &(&i64, &Queued)| {
                one.letter.receiver == receiver && one.given_up_at.is_some() == dead
            }
        };
        let mut living: Vec<(i64, i64, u64)> = stored
            .outbox
            .iter()
            .filter(of_receiver(false))
            .map(|(sequence, one)| (one.letter.importance, *sequence, one.letter.body.len() as u64))
            .collect();
        living.sort_unstable_by(|one, other| other.cmp(one));
        let (mut rows, mut bytes, mut gone) = (0, 0, 0);
        for (_, sequence, size) in living {
            rows += 1;
            bytes += size;
            if rows <= room.rows && bytes <= room.bytes {
                continue;
            }
            gone += 1;
            if let Some(one) = stored.outbox.get_mut(&sequence) {
                one.given_up_at = Some(now);
                one.reason = Some(reason.to_owned());
            }
        }
        let mut dead: Vec<(Option<Timestamp>, i64)> = stored
            .outbox
            .iter()
            .filter(of_receiver(true))
            .map(|(sequence, one)| (one.given_up_at, *sequence))
            .collect();
        dead.sort_unstable_by(|one, other| other.cmp(one));
        for (_, sequence) in dead.into_iter().skip(usize::try_from(room.dead).unwrap_or(usize::MAX))
        {
            stored.outbox.remove(&sequence);
        }
        Ok(gone)
    }

    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<(i64, Row)>, StoreError> {
        let stored = self.stored();
        let found = stored.events.iter().rev().filter(|event| {
            before.is_none_or(|before| event.sequence < before)
                && app.is_none_or(|app| event.app.as_ref() == Some(app))
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(found.take(limit).map(|event| (event.sequence, event.row.clone())).collect())
    }

    async fn outbox_counts(&self) -> Result<Vec<(String, u64, u64)>, StoreError> {
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for one in self.stored().outbox.values() {
            let count = counts.entry(one.letter.receiver.clone()).or_default();
            match one.given_up_at {
                None => count.0 += 1,
                Some(_) => count.1 += 1,
            }
        }
        Ok(counts
            .into_iter()
            .map(|(receiver, (waiting, dead))| (receiver, waiting, dead))
            .collect())
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let stored = self.stored();
        let mut dead: Vec<(Timestamp, i64, &Queued)> = stored
            .outbox
            .iter()
            .filter_map(|(sequence, one)| one.given_up_at.map(|at| (at, *sequence, one)))
            .collect();
        dead.sort_unstable_by_key(|(at, sequence, _)| std::cmp::Reverse((*at, *sequence)));
        dead.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let letters = dead.into_iter().map(|(given_up_at, _, one)| DeadLetter {
            receiver: one.letter.receiver.clone(),
            message_id: one.letter.message_id.clone(),
            attempts: one.attempts,
            queued_at: one.queued_at,
            given_up_at,
            reason: one.reason.clone().unwrap_or_default(),
        });
        Ok(letters.collect())
    }

    async fn waiting_letters(&self, limit: u32) -> Result<Vec<WaitingLetter>, StoreError> {
        let stored = self.stored();
        let waiting = stored.outbox.values().filter(|one| one.given_up_at.is_none());
        let letters = waiting.take(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(letters
            .map(|one| WaitingLetter {
                receiver: one.letter.receiver.clone(),
                message_id: one.letter.message_id.clone(),
                attempts: one.attempts,
                queued_at: one.queued_at,
                due_at: one.due_at,
                reason: one.reason.clone().unwrap_or_default(),
            })
            .collect())
    }

    async fn revive(
        &self,
        receiver: &str,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut stored = self.stored();
        let mut revived = 0;
        for one in stored.outbox.values_mut() {
            let is_meant = one.letter.receiver == receiver
                && message_id.is_none_or(|id| one.letter.message_id == id);
            if is_meant && one.given_up_at.take().is_some() {
                (one.attempts, one.failed_since, one.reason) = (0, None, None);
                (one.queued_at, one.due_at) = (now, now);
                revived += 1;
            }
        }
        Ok(revived)
    }

    async fn prune(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut stored = self.stored();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut left = limit;
        let mut gone = 0;
        stored.events.retain(|event| {
            let goes = event.at < before && left > 0;
            if goes {
                left -= 1;
                gone += 1;
            }
            !goes
        });
        let ids: BTreeSet<String> =
            stored.events.iter().map(|event| event.row.message_id.clone()).collect();
        stored.ids = ids;
        let mut left = limit;
        stored.outbox.retain(|_, one| {
            let goes = one.given_up_at.is_some_and(|at| at < before) && left > 0;
            if goes {
                left -= 1;
                gone += 1;
            }
            !goes
        });
        Ok(gone)
    }
}
