//! The journal's promises, on real files.

use std::fs;

use jiff::SignedDuration;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{outbox, rows, schema, *};
use crate::{
    model::{EventKind, Evidence, Kind, Unit, Verdict},
    store::OutboxEntry,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

fn event(kind: EventKind, app: &str) -> Event {
    Event::new(kind, at(0), Some(app.into()))
}

/// A commit with one event per id, told to every receiver.
fn commit(state: &str, ids: &[&str], receivers: &[&str]) -> Commit {
    let told = event(EventKind::ReleaseDetected, "api");
    let entry = |id: &str, receiver: &str| OutboxEntry {
        receiver: receiver.to_owned(),
        message_id: id.to_owned(),
        event: told.clone(),
    };
    Commit {
        state: state.to_owned(),
        events: ids.iter().map(|id| ((*id).to_owned(), told.clone())).collect(),
        outbox: ids.iter().flat_map(|id| receivers.iter().map(move |r| entry(id, r))).collect(),
    }
}

struct Disk {
    dir: TempDir,
    journal: SqliteJournal,
}

impl Disk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let journal = SqliteJournal::open(&dir.path().join("journal.db")).unwrap();
        Self { dir, journal }
    }

    /// The same file, opened by another process.
    fn again(&self) -> SqliteJournal {
        SqliteJournal::open(&self.dir.path().join("journal.db")).unwrap()
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
async fn what_was_committed_is_there_after_a_restart() {
    let disk = Disk::new();
    let installation = disk.journal.installation().await.unwrap();
    assert_eq!(disk.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap(), 1);
    assert_eq!(disk.commit(1, commit("two", &["m-2"], &["ops"])).await.unwrap(), 2);

    let restarted = disk.again();
    let stored = restarted.load(&"api".into()).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.state.as_str()), (2, "two"));
    assert_eq!(restarted.load(&"web".into()).await.unwrap(), None);
    assert_eq!(restarted.installation().await.unwrap(), installation);
    assert_eq!(installation.len(), 16);
    assert_eq!(restarted.outbox_counts().await.unwrap(), [("ops".to_owned(), 2, 0)]);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_can_be_repeated_and_counts_once() {
    let disk = Disk::new();
    disk.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap();
    assert_eq!(disk.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap(), 1);
    assert_eq!(disk.journal.history(None, None, 10).await.unwrap().len(), 1);
    assert_eq!(disk.due(0).await, ["ops m-1"]);
}

#[tokio::test]
async fn another_writer_is_noticed_and_overwritten_by_nobody() {
    let disk = Disk::new();
    let other = disk.again();
    disk.commit(0, commit("one", &["m-1"], &[])).await.unwrap();
    other.commit(&"api".into(), 1, commit("theirs", &["m-2"], &[]), at(0)).await.unwrap();
    for mine in [
        disk.commit(1, commit("mine", &["m-2"], &[])).await,
        disk.commit(1, commit("theirs", &["m-3"], &[])).await,
        disk.commit(0, commit("one", &["m-1"], &[])).await,
        disk.commit(5, commit("mine", &["m-9"], &[])).await,
    ] {
        assert!(matches!(mine, Err(StoreError::Stale { .. })), "{mine:?}");
    }
    assert_eq!(disk.journal.load(&"api".into()).await.unwrap().unwrap().state, "theirs");
}

#[tokio::test]
async fn a_commit_that_fails_half_way_leaves_nothing_behind() {
    let disk = Disk::new();
    disk.commit(0, commit("one", &["m-1"], &["ops"])).await.unwrap();
    // The second event's id is taken already.
    let failed = disk.commit(1, commit("two", &["m-2", "m-1"], &["ops"])).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    assert_eq!(disk.journal.load(&"api".into()).await.unwrap().unwrap().state, "one");
    assert_eq!(disk.journal.history(None, None, 10).await.unwrap().len(), 1);
    assert_eq!(disk.due(0).await, ["ops m-1"]);
}

#[tokio::test]
async fn each_receiver_has_its_own_queue_in_order() {
    let disk = Disk::new();
    disk.commit(0, commit("one", &["m-1", "m-2"], &["ops", "chat"])).await.unwrap();
    assert_eq!(disk.due(0).await, ["ops m-1", "chat m-1"]);

    let later = Attempt::RetryAt { at: at(30), reason: "answered 503".to_owned() };
    disk.attempted("ops", 0, later).await;
    disk.attempted("chat", 0, Attempt::Delivered).await;
    assert_eq!(disk.due(1).await, ["chat m-2"], "ops waits, and m-2 with it");

    disk.attempted("chat", 1, Attempt::Delivered).await;
    assert_eq!(disk.journal.next_due().await.unwrap(), Some(at(30)));
    assert_eq!(disk.due(29).await, Vec::<String>::new());
    let due = disk.journal.due(at(30)).await.unwrap();
    assert_eq!((due[0].entry.message_id.as_str(), due[0].attempts), ("m-1", 1));
}

#[tokio::test]
async fn a_message_given_up_is_kept_with_every_reason() {
    let disk = Disk::new();
    disk.commit(0, commit("one", &["m-1", "m-2"], &["ops"])).await.unwrap();
    let later = Attempt::RetryAt { at: at(1), reason: "answered 503".to_owned() };
    disk.attempted("ops", 0, later).await;
    disk.attempted("ops", 1, Attempt::Dead { reason: "too late".to_owned() }).await;

    assert_eq!(disk.due(1).await, ["ops m-2"]);
    assert_eq!(disk.journal.outbox_counts().await.unwrap(), [("ops".to_owned(), 1, 1)]);
    let dead = disk.journal.dead_letters(10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, "too late; before that: answered 503");
    assert_eq!((dead[0].attempts, dead[0].given_up_at), (1, at(1)));
}

#[tokio::test]
async fn a_full_queue_gives_up_its_oldest_message() {
    let disk = Disk::new();
    let ids: Vec<String> = (0..=outbox::WAITING_MAX).map(|n| format!("m-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    disk.commit(0, commit("one", &ids, &["ops"])).await.unwrap();
    assert_eq!(disk.journal.outbox_counts().await.unwrap(), [("ops".to_owned(), 10_000, 1)]);
    assert_eq!(disk.due(0).await, ["ops m-1"]);
}

#[tokio::test]
async fn an_announcement_is_made_once_however_often_it_is_tried() {
    let disk = Disk::new();
    let told = Event::new(EventKind::ConfigReloaded, at(0), None);
    let receivers = ["ops".to_owned()];
    disk.journal.announce("d-1", told.clone(), &receivers, at(0)).await.unwrap();
    disk.attempted("ops", 0, Attempt::Delivered).await;
    disk.journal.announce("d-1", told, &receivers, at(0)).await.unwrap();
    assert_eq!(disk.due(0).await, Vec::<String>::new());
    assert_eq!(disk.journal.history(None, None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn history_is_read_in_pages_newest_first() {
    let disk = Disk::new();
    disk.commit(0, commit("one", &["m-1", "m-2", "m-3"], &[])).await.unwrap();
    let told = Event::new(EventKind::ConfigReloaded, at(0), None);
    disk.journal.announce("d-1", told, &[], at(0)).await.unwrap();

    let ids = |page: &[HistoryEntry]| -> Vec<String> {
        page.iter().map(|entry| entry.message_id.clone()).collect()
    };
    let api = AppName::new("api");
    let all = disk.journal.history(None, None, 2).await.unwrap();
    assert_eq!(ids(&all), ["d-1", "m-3"]);
    let page = disk.journal.history(Some(&api), None, 2).await.unwrap();
    assert_eq!(ids(&page), ["m-3", "m-2"]);
    let rest = disk.journal.history(Some(&api), Some(page[1].sequence), 2).await.unwrap();
    assert_eq!(ids(&rest), ["m-1"]);
}

#[tokio::test]
async fn forgetting_is_bounded_and_spares_what_is_not_delivered() {
    let disk = Disk::new();
    let ids: Vec<String> = (0..rows::PRUNE_MAX + 1).map(|n| format!("m-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    disk.commit(0, commit("one", &ids, &[])).await.unwrap();
    let young = commit("two", &["y-1", "y-2"], &["ops"]);
    disk.journal.commit(&"api".into(), 1, young, at(100)).await.unwrap();
    disk.attempted("ops", 100, Attempt::Dead { reason: "gone".to_owned() }).await;

    assert_eq!(disk.journal.prune(at(50)).await.unwrap(), 5000);
    assert_eq!(disk.journal.prune(at(50)).await.unwrap(), 1);
    assert_eq!(disk.journal.prune(at(50)).await.unwrap(), 0);
    // Two events and the dead letter go; the waiting message and the state stay.
    assert_eq!(disk.journal.prune(at(1000)).await.unwrap(), 3);
    assert_eq!(disk.due(100).await, ["ops y-2"]);
    assert_eq!(disk.journal.load(&"api".into()).await.unwrap().unwrap().revision, 2);
}

#[tokio::test]
async fn numbers_that_json_lacks_do_not_make_an_event_unreadable() {
    let disk = Disk::new();
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
        ln_odds: Some(f64::INFINITY),
        ln_odds_needed: None,
        blocks: 1,
        control: Some((f64::NAN, 1.0)),
        note: None,
        may_roll_back: true,
    }];
    odd.events[0].1 = odd.outbox[0].event.clone();
    disk.commit(0, odd).await.unwrap();
    assert_eq!(disk.due(0).await, ["ops m-1"]);
    assert_eq!(disk.journal.history(None, None, 1).await.unwrap()[0].event.evidence.len(), 1);
}

#[tokio::test]
async fn one_message_nobody_can_read_does_not_block_the_others() {
    let disk = Disk::new();
    disk.commit(0, commit("one", &["m-1", "m-2"], &["ops"])).await.unwrap();
    let file = Connection::open(disk.dir.path().join("journal.db")).unwrap();
    file.execute("UPDATE outbox SET body = '{}' WHERE message_id = 'm-1'", []).unwrap();

    assert_eq!(disk.due(0).await, Vec::<String>::new());
    assert_eq!(disk.due(0).await, ["ops m-2"]);
    assert!(disk.journal.dead_letters(1).await.unwrap()[0].reason.contains("cannot read"));
}

#[tokio::test]
async fn a_journal_of_every_older_format_is_brought_up_to_date_with_its_content() {
    let samples = [include_str!("../migrations/samples/001.sql")];
    assert_eq!(samples.len(), schema::MIGRATIONS.len(), "every format has its sample");
    for (index, sample) in samples.iter().enumerate() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("journal.db");
        let mut old = Connection::open(&path).unwrap();
        schema::migrate(&mut old, index + 1).unwrap();
        old.execute_batch(sample).unwrap();
        drop(old);

        let journal = SqliteJournal::open(&path).unwrap();
        assert_eq!(journal.installation().await.unwrap(), "00112233aabbccdd");
        let stored = journal.load(&"api".into()).await.unwrap().unwrap();
        assert_eq!((stored.revision, stored.state.as_str()), (7, r#"{"phase":"steady"}"#));
        let history = journal.history(None, None, 10).await.unwrap();
        assert_eq!(history.len(), 2);
        assert_eq!(history[1].event.evidence[0].control, Some((5.0, 1250.0)));
        let due = journal.next_due().await.unwrap().unwrap();
        let queued = journal.due(due).await.unwrap();
        assert_eq!((queued[0].sequence, queued[0].attempts), (5, 2));
        assert_eq!(journal.dead_letters(10).await.unwrap()[0].reason, "gone");
        let counts = journal.outbox_counts().await.unwrap();
        assert_eq!(counts, [("old".to_owned(), 0, 1), ("ops".to_owned(), 1, 0)]);
    }
}

/// What opening the file at `path` says.
fn complaint(path: &Path) -> String {
    SqliteJournal::open(path).unwrap_err().to_string()
}

#[test]
fn a_journal_of_a_newer_version_is_left_alone() {
    let disk = Disk::new();
    let path = disk.dir.path().join("journal.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let complaint = complaint(&path);
    assert!(complaint.contains("newer version of waveoff (format 99"), "{complaint}");
    assert!(complaint.contains("journal.db"), "{complaint}");
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("theirs.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE apps (x)").unwrap();
    assert!(complaint(&path).contains("another program's"));
}

#[tokio::test]
async fn a_damaged_file_is_refused_clearly() {
    let dir = TempDir::new().unwrap();
    let text = dir.path().join("notes.txt");
    fs::write(&text, "this is not a database at all, only text. ".repeat(100)).unwrap();
    assert!(complaint(&text).contains("not a database"), "{}", complaint(&text));

    let disk = Disk::new();
    let ids: Vec<String> = (0..200).map(|n| format!("m-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    disk.commit(0, commit("one", &ids, &["ops"])).await.unwrap();
    let path = disk.dir.path().join("journal.db");
    let Disk { dir, journal } = disk;
    drop(journal);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    assert!(complaint(&path).contains("damaged"), "{}", complaint(&path));
    drop(dir);

    let nowhere = Path::new("/nonexistent/directory/journal.db");
    assert!(complaint(nowhere).contains("cannot be opened"), "{}", complaint(nowhere));
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_for_the_disk() {
    let disk = Disk::new();
    let waited = tokio::time::timeout(
        std::time::Duration::from_secs(1),
        disk.commit(0, commit("one", &["m-1"], &["ops"])),
    );
    assert_eq!(waited.await.unwrap().unwrap(), 1);
}

#[test]
fn times_survive_to_the_microsecond() {
    let time = at(0) + SignedDuration::from_micros(123_456);
    assert_eq!(Timestamp::from_microsecond(rows::micros(time)).unwrap(), time);
}
