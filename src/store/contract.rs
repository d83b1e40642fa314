//! What every engine promises, tried on each of them through `dyn Journal`.

use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;

use super::{
    Attempt, Commit, HistoryEntry, Journal, MemoryJournal, OutboxEntry, SqliteJournal, StoreError,
    Term,
    engine::Room,
    records::{PRUNE_MAX, Records},
};
use crate::model::{AppName, Event, EventKind, Evidence, Kind, Reason, Unit, Verdict};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

fn event(kind: EventKind, app: &str) -> Event {
    Event::new(kind, at(0), Some(app.into()))
}

/// A commit with one event per id, told to every receiver.
fn commit(state: &str, ids: &[&str], receivers: &[&str]) -> Commit {
    commit_of(EventKind::ReleaseDetected, state, ids, receivers)
}

fn commit_of(kind: EventKind, state: &str, ids: &[&str], receivers: &[&str]) -> Commit {
    let told = event(kind, "api");
    let entry = |id: &str, receiver: &str| OutboxEntry {
        receiver: receiver.to_owned(),
        message_id: id.to_owned(),
        event: told.clone(),
    };
    Commit {
        term: Term::FIRST,
        state: state.to_owned(),
        events: ids.iter().map(|id| ((*id).to_owned(), told.clone())).collect(),
        outbox: ids.iter().flat_map(|id| receivers.iter().map(move |r| entry(id, r))).collect(),
    }
}

/// A journal, and what it stands on.
struct Shelf {
    journal: Arc<dyn Journal>,
    /// The same journal, opened once more.
    again: Arc<dyn Journal>,
    _dir: TempDir,
}

/// One journal on every engine, with room for so much.
fn shelves_with(room: Room) -> Vec<Shelf> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("journal.db");
    let open = || SqliteJournal::open(&path).unwrap().with_room(room);
    let memory: MemoryJournal = Records::with_room(MemoryJournal::new(), room);
    vec![
        Shelf { journal: Arc::new(open()), again: Arc::new(open()), _dir: dir },
        Shelf {
            journal: Arc::new(memory.clone()),
            again: Arc::new(memory),
            _dir: TempDir::new().unwrap(),
        },
    ]
}

fn shelves() -> Vec<Shelf> {
    shelves_with(super::records::ROOM)
}

impl Shelf {
    fn again(&self) -> Arc<dyn Journal> {
        self.again.clone()
    }

    async fn commit(&self, expected: u64, commit: Commit) -> Result<u64, StoreError> {
        self.journal.commit(&"api".into(), expected, commit, at(0)).await
    }

    /// `receiver message` of everything due at `second`.
    async fn due(&self, second: i64) -> Vec<String> {
        let due = self.journal.due(at(second)).await.unwrap();
        due.iter().map(|q| format!("{} {}", q.entry.receiver, q.entry.message_id)).collect()
    }

    async fn attempted(&self, receiver: &str, second: i64, attempt: Attempt) {
        let due = self.journal.due(at(second)).await.unwrap();
        let queued = due.iter().find(|q| q.entry.receiver == receiver).unwrap();
        self.journal.attempted(queued.sequence, &attempt, at(second)).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_committed_is_there_whoever_opens_it() {
    for shelf in shelves() {
        let installation = shelf.journal.installation().await.unwrap();
        assert_eq!(shelf.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap(), 1);
        assert_eq!(shelf.commit(1, commit("two", &["m-2"], &["ops"])).await.unwrap(), 2);

        let again = shelf.again();
        let stored = again.load(&"api".into()).await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.state.as_str()), (2, "two"));
        assert_eq!(again.load(&"web".into()).await.unwrap(), None);
        assert_eq!(again.installation().await.unwrap(), installation);
        assert_eq!(installation.len(), 16);
        assert_eq!(again.outbox_counts().await.unwrap(), [("ops".to_owned(), 2, 0)]);
    }
}

#[tokio::test]
async fn what_another_term_decided_is_refused() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1"], &[])).await.unwrap();
        for term in [Term(0), Term(2)] {
            let deposed = Commit { term, ..commit("two", &["m-2"], &["ops"]) };
            let refused = shelf.commit(1, deposed).await;
            let current = Term::FIRST;
            assert!(
                matches!(refused, Err(StoreError::StaleTerm { term: of, current: now })
                    if of == term && now == current),
                "{refused:?}"
            );
        }
        assert_eq!(shelf.journal.load(&"api".into()).await.unwrap().unwrap().state, "one");
        assert_eq!(shelf.due(0).await, Vec::<String>::new());
    }
    // Where terms pass, what the last leader decided comes too late.
    let memory = MemoryJournal::new();
    memory.engine.begin_term(Term(2));
    let late = memory.commit(&"api".into(), 0, commit("one", &[], &[]), at(0)).await;
    assert!(matches!(late, Err(StoreError::StaleTerm { .. })), "{late:?}");
    let mine = Commit { term: Term(2), ..commit("one", &[], &[]) };
    assert_eq!(memory.commit(&"api".into(), 0, mine, at(0)).await.unwrap(), 1);
}

#[tokio::test]
async fn a_note_is_kept_until_it_is_replaced_or_taken_away() {
    for shelf in shelves() {
        assert_eq!(shelf.journal.note("hold").await.unwrap(), None);
        shelf.journal.set_note("hold", Some("one")).await.unwrap();
        shelf.journal.set_note("hold", Some("two")).await.unwrap();
        shelf.journal.set_note("other", Some("three")).await.unwrap();
        assert_eq!(shelf.again().note("hold").await.unwrap().as_deref(), Some("two"));
        shelf.journal.set_note("hold", None).await.unwrap();
        assert_eq!(shelf.again().note("hold").await.unwrap(), None);
        assert_eq!(shelf.again().note("other").await.unwrap().as_deref(), Some("three"));
    }
}

#[tokio::test]
async fn when_rows_run_out_the_oldest_of_the_least_important_give_way_and_it_is_said() {
    for shelf in shelves_with(Room { rows: 3, bytes: 1 << 20, dead: 2 }) {
        let kind = EventKind::RollbackStarted;
        shelf.commit(0, commit_of(kind, "one", &["big-1"], &["ops"])).await.unwrap();
        shelf.commit(1, commit("two", &["m-1", "m-2"], &["ops"])).await.unwrap();
        shelf.commit(2, commit_of(kind, "three", &["big-2"], &["ops"])).await.unwrap();
        // Three and the message that says so: once, however many follow.
        for revision in 3..9 {
            let id = format!("big-{revision}");
            let state = format!("{revision}");
            shelf.commit(revision, commit_of(kind, &state, &[&id], &["ops"])).await.unwrap();
        }
        let dead = shelf.journal.dead_letters(10).await.unwrap();
        assert_eq!(dead.len(), 2, "remembered within bounds: {dead:?}");
        assert_eq!(dead[0].reason, "too many messages were waiting");
        let history = shelf.journal.history(None, None, 50).await.unwrap();
        let said: Vec<&HistoryEntry> =
            history.iter().filter(|e| e.event.kind == EventKind::MonitorOutbox).collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(matches!(said[0].event.reason, Some(Reason::OutboxCrowded { messages: 1, .. })));
        assert_eq!(shelf.journal.outbox_counts().await.unwrap(), [("ops".to_owned(), 3, 2)]);
        assert_eq!(shelf.due(0).await, ["ops big-6"], "the newest of the important are left");
    }
}

#[tokio::test]
async fn when_bytes_run_out_it_is_the_same() {
    let size = serde_json::to_string(&event(EventKind::ReleaseDetected, "api")).unwrap().len();
    for shelf in shelves_with(Room { rows: 100, bytes: size as u64 * 2, dead: 10 }) {
        shelf.commit(0, commit("one", &["m-1", "m-2", "m-3"], &["ops"])).await.unwrap();
        let (_, waiting, dead) = shelf.journal.outbox_counts().await.unwrap()[0].clone();
        assert!(waiting <= 3 && dead >= 1, "{waiting} {dead}");
        assert!(
            shelf.journal.dead_letters(10).await.unwrap().iter().any(|l| l.message_id == "m-1")
        );
    }
}

#[tokio::test]
async fn a_message_that_keeps_failing_is_passed_by_other_apps_and_later_by_its_own() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1", "m-2"], &["ops"])).await.unwrap();
        let mut other = commit("one", &["w-1"], &["ops"]);
        other.outbox[0].event.app = Some("web".into());
        shelf.journal.commit(&"web".into(), 0, other, at(0)).await.unwrap();

        let later = Attempt::RetryAt { at: at(9000), reason: "answered 500".to_owned() };
        shelf.attempted("ops", 0, later).await;
        assert_eq!(shelf.due(59).await, Vec::<String>::new());
        assert_eq!(shelf.journal.next_due(at(59)).await.unwrap(), Some(at(60)));
        assert_eq!(shelf.due(60).await, ["ops w-1"]);
        shelf.attempted("ops", 60, Attempt::Delivered).await;
        assert_eq!(shelf.due(599).await, Vec::<String>::new());
        assert_eq!(shelf.due(600).await, ["ops m-2"]);
        assert_eq!(shelf.due(9000).await, ["ops m-1"], "its own turn comes");
    }
}

#[tokio::test]
async fn an_event_is_cut_to_its_bound_and_a_state_beyond_its_bound_is_refused() {
    for shelf in shelves() {
        let mut long = commit("one", &["m-1"], &[]);
        long.events[0].1.log_lines = vec!["x".repeat(1 << 20)];
        long.events[0].1.reason = Some(Reason::Told { text: "y".repeat(1 << 20) });
        shelf.commit(0, long).await.unwrap();
        let stored = shelf.journal.history(None, None, 1).await.unwrap().remove(0).event;
        assert!(stored.log_lines.is_empty());
        assert_eq!(stored.reason, Some(Reason::Told { text: "y".repeat(2000) }));

        let state = "z".repeat((16 << 20) + 1);
        let refused = shelf.commit(1, commit(&state, &["m-2"], &[])).await;
        assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_can_be_repeated_and_counts_once() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap();
        assert_eq!(shelf.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap(), 1);
        assert_eq!(shelf.journal.history(None, None, 10).await.unwrap().len(), 1);
        assert_eq!(shelf.due(0).await, ["ops m-1"]);
    }
}

#[tokio::test]
async fn another_writer_is_noticed_and_overwritten_by_nobody() {
    for shelf in shelves() {
        let other = shelf.again();
        shelf.commit(0, commit("one", &["m-1"], &[])).await.unwrap();
        other.commit(&"api".into(), 1, commit("theirs", &["m-2"], &[]), at(0)).await.unwrap();
        for mine in [
            shelf.commit(1, commit("mine", &["m-2"], &[])).await,
            shelf.commit(1, commit("theirs", &["m-3"], &[])).await,
            shelf.commit(0, commit("one", &["m-1"], &[])).await,
            shelf.commit(5, commit("mine", &["m-9"], &[])).await,
        ] {
            assert!(matches!(mine, Err(StoreError::Stale { .. })), "{mine:?}");
        }
        assert_eq!(shelf.journal.load(&"api".into()).await.unwrap().unwrap().state, "theirs");
    }
}

#[tokio::test]
async fn a_commit_that_fails_half_way_leaves_nothing_behind() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap();
        // The second event's id is taken already.
        let failed = shelf.commit(1, commit("two", &["m-2", "m-1"], &["ops"])).await;
        assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
        assert_eq!(shelf.journal.load(&"api".into()).await.unwrap().unwrap().state, "one");
        assert_eq!(shelf.journal.history(None, None, 10).await.unwrap().len(), 1);
        assert_eq!(shelf.due(0).await, ["ops m-1"]);
    }
}

#[tokio::test]
async fn each_receiver_has_its_own_queue_in_order() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1", "m-2"], &["ops", "chat"])).await.unwrap();
        assert_eq!(shelf.due(0).await, ["ops m-1", "chat m-1"]);

        let later = Attempt::RetryAt { at: at(30), reason: "answered 503".to_owned() };
        shelf.attempted("ops", 0, later).await;
        shelf.attempted("chat", 0, Attempt::Delivered).await;
        assert_eq!(shelf.due(1).await, ["chat m-2"], "ops waits, and m-2 with it");

        shelf.attempted("chat", 1, Attempt::Delivered).await;
        assert_eq!(shelf.journal.next_due(at(1)).await.unwrap(), Some(at(30)));
        assert_eq!(shelf.due(29).await, Vec::<String>::new());
        let due = shelf.journal.due(at(30)).await.unwrap();
        assert_eq!((due[0].entry.message_id.as_str(), due[0].attempts), ("m-1", 1));
    }
}

#[tokio::test]
async fn a_message_given_up_is_kept_with_every_reason() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1", "m-2"], &["ops"])).await.unwrap();
        let later = Attempt::RetryAt { at: at(1), reason: "answered 503".to_owned() };
        shelf.attempted("ops", 0, later).await;
        let refused = Attempt::Dead { reason: "too late".to_owned(), tried: true };
        shelf.attempted("ops", 1, refused).await;

        assert_eq!(shelf.due(1).await, ["ops m-2"]);
        assert_eq!(shelf.journal.outbox_counts().await.unwrap(), [("ops".to_owned(), 1, 1)]);
        let dead = shelf.journal.dead_letters(10).await.unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].reason, "too late; before that: answered 503");
        assert_eq!((dead[0].attempts, dead[0].given_up_at), (2, at(1)), "the last one counts");
    }
}

#[tokio::test]
async fn what_was_given_up_is_sent_again_when_somebody_says_so() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1", "m-2", "m-3"], &["ops", "chat"])).await.unwrap();
        for second in [1, 2] {
            shelf.attempted("ops", second, Attempt::untried("too late".to_owned())).await;
        }
        let waiting = shelf.journal.waiting_letters(10).await.unwrap();
        let of_ops: Vec<&str> = waiting
            .iter()
            .filter(|letter| letter.receiver == "ops")
            .map(|letter| letter.message_id.as_str())
            .collect();
        assert_eq!((of_ops, waiting.len()), (vec!["m-3"], 4));
        assert_eq!(shelf.journal.waiting_letters(1).await.unwrap().len(), 1);

        let one = shelf.journal.revive("ops", Some("m-2"), at(100)).await.unwrap();
        assert_eq!(one, 1);
        assert_eq!(shelf.journal.revive("ops", Some("m-2"), at(100)).await.unwrap(), 0, "it waits");
        assert_eq!(shelf.journal.revive("chat", None, at(100)).await.unwrap(), 0, "of others");
        assert_eq!(shelf.journal.revive("ops", None, at(100)).await.unwrap(), 1);
        // In their old places, and as new as if they had just been told.
        let due = shelf.journal.due(at(100)).await.unwrap();
        let first = due.iter().find(|queued| queued.entry.receiver == "ops").unwrap();
        assert_eq!(first.entry.message_id, "m-1");
        assert_eq!((first.attempts, first.queued_at), (0, at(100)));
        assert!(shelf.journal.dead_letters(10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_announcement_is_made_once_however_often_it_is_tried() {
    for shelf in shelves() {
        let told = Event::new(EventKind::ConfigReloaded, at(0), None);
        let receivers = ["ops".to_owned()];
        shelf.journal.announce("d-1", told.clone(), &receivers, at(0)).await.unwrap();
        shelf.attempted("ops", 0, Attempt::Delivered).await;
        shelf.journal.announce("d-1", told, &receivers, at(0)).await.unwrap();
        assert_eq!(shelf.due(0).await, Vec::<String>::new());
        assert_eq!(shelf.journal.history(None, None, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn history_is_read_in_pages_newest_first() {
    for shelf in shelves() {
        shelf.commit(0, commit("one", &["m-1", "m-2", "m-3"], &[])).await.unwrap();
        let told = Event::new(EventKind::ConfigReloaded, at(0), None);
        shelf.journal.announce("d-1", told, &[], at(0)).await.unwrap();

        let ids = |page: &[HistoryEntry]| -> Vec<String> {
            page.iter().map(|entry| entry.message_id.clone()).collect()
        };
        let api = AppName::new("api");
        let all = shelf.journal.history(None, None, 2).await.unwrap();
        assert_eq!(ids(&all), ["d-1", "m-3"]);
        let page = shelf.journal.history(Some(&api), None, 2).await.unwrap();
        assert_eq!(ids(&page), ["m-3", "m-2"]);
        let rest = shelf.journal.history(Some(&api), Some(page[1].sequence), 2).await.unwrap();
        assert_eq!(ids(&rest), ["m-1"]);
    }
}

#[tokio::test]
async fn forgetting_is_bounded_and_spares_what_is_not_delivered() {
    for shelf in shelves() {
        let ids: Vec<String> = (0..PRUNE_MAX + 1).map(|n| format!("m-{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        shelf.commit(0, commit("one", &ids, &[])).await.unwrap();
        let young = commit("two", &["y-1", "y-2"], &["ops"]);
        shelf.journal.commit(&"api".into(), 1, young, at(100)).await.unwrap();
        shelf.attempted("ops", 100, Attempt::untried("gone".to_owned())).await;

        assert_eq!(shelf.journal.prune(at(50)).await.unwrap(), 5000);
        assert_eq!(shelf.journal.prune(at(50)).await.unwrap(), 1);
        assert_eq!(shelf.journal.prune(at(50)).await.unwrap(), 0);
        // Two events and the dead letter go; the waiting message and the state stay.
        assert_eq!(shelf.journal.prune(at(1000)).await.unwrap(), 3);
        assert_eq!(shelf.due(100).await, ["ops y-2"]);
        assert_eq!(shelf.journal.load(&"api".into()).await.unwrap().unwrap().revision, 2);
    }
}

#[tokio::test]
async fn numbers_that_json_lacks_do_not_make_an_event_unreadable() {
    for shelf in shelves() {
        let mut odd = commit("one", &["m-1"], &["ops"]);
        odd.outbox[0].event.evidence = vec![Evidence {
            threshold: "5xx".to_owned(),
            kind: Kind::Ratio,
            verdict: Verdict::Breach,
            value: Some(f64::NAN),
            limit: f64::INFINITY,
            unit: Unit::Requests,
            source: String::new(),
            bad: f64::NAN,
            total: 1.0,
            lately: None,
            ln_odds: Some(f64::INFINITY),
            ln_odds_needed: None,
            blocks: 1,
            last_blocks: Vec::new(),
            control: Some((f64::NAN, 1.0)),
            note: None,
            may_roll_back: true,
            applies: true,
            raised: None,
            unseen: false,
        }];
        odd.events[0].1 = odd.outbox[0].event.clone();
        shelf.commit(0, odd).await.unwrap();
        assert_eq!(shelf.due(0).await, ["ops m-1"]);
        assert_eq!(shelf.journal.history(None, None, 1).await.unwrap()[0].event.evidence.len(), 1);
    }
}
