//! What is particular to the engine on files: formats, damage, disks.

use std::fs;

use jiff::SignedDuration;
use rusqlite::Connection;
use tempfile::TempDir;

use super::{rows, schema, *};
use crate::{
    model::{Event, EventKind},
    store::{Commit, Journal as _, OutboxEntry},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_772_000_000 + second).unwrap()
}

/// A commit with one event per id, told to every receiver.
fn commit(state: &str, ids: &[&str], receivers: &[&str]) -> Commit {
    let told = Event::new(EventKind::ReleaseDetected, at(0), Some("api".into()));
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

    async fn commit(&self, expected: u64, commit: Commit) -> Result<u64, StoreError> {
        self.journal.commit(&"api".into(), expected, commit, at(0)).await
    }

    /// `receiver message` of everything due at `second`.
    async fn due(&self, second: i64) -> Vec<String> {
        let due = self.journal.due(at(second)).await.unwrap();
        due.iter().map(|q| format!("{} {}", q.entry.receiver, q.entry.message_id)).collect()
    }
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
    let samples = [
        include_str!("../migrations/samples/001.sql"),
        include_str!("../migrations/samples/002.sql"),
    ];
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
        let due = journal.next_due(Timestamp::UNIX_EPOCH).await.unwrap().unwrap();
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
