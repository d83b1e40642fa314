//! One message of a rollback, changed as it goes on: which name a receiver knows it by, and what has
//! to be asked of the receiver next.
//!
//! The book is kept in the journal, a page for each receiver. A step is written down as soon as the
//! receiver has taken it, before the next one: a message that is sent again after a crash finds
//! what was done. What a receiver took in the very moment of a crash may be there twice.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text;
use crate::{
    model::{Event, EventKind, Severity},
    numbers,
};

/// Rollbacks of a receiver that are remembered: beyond them the oldest is told anew.
const KEPT_MAX: usize = 50;
/// What was said of one, and how long each may be.
const LINES_MAX: usize = 12;
const LINE_MAX: usize = 300;

/// What a receiver was told of one rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The app, and the image that is undone.
    about: String,
    /// What the receiver calls its message.
    pub id: String,
    /// Where the receiver says that it is.
    pub place: Option<String>,
    /// When the first thing that was told of it happened, and the last.
    pub began: Timestamp,
    at: Timestamp,
    /// What was said, the oldest first.
    pub lines: Vec<(Timestamp, String)>,
    /// The event that it shows, and the one that was said beside it.
    shows: String,
    #[serde(default)]
    beside: Option<String>,
    ended: bool,
}

/// All that is remembered of a receiver.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book(Vec<Told>);

/// What has to be asked of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message of its own.
    Post,
    /// One beside the message that is there, so that people are called.
    Reply,
    /// The message that is there, changed.
    Change,
}

/// Whether an event belongs to the one message of its rollback.
pub fn is_part(kind: EventKind) -> bool {
    match kind {
        EventKind::RollbackPlanned
        | EventKind::RollbackStarted
        | EventKind::RollbackPaused
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed
        | EventKind::RollbackCompleted
        | EventKind::RollbackStopped
        | EventKind::RollbackFailed => true,
        EventKind::ReleaseDetected
        | EventKind::ReleaseTrusted
        | EventKind::ReleaseBaked
        | EventKind::ReleaseUntrusted
        | EventKind::ReleaseDegraded
        | EventKind::ReleaseRecovered
        | EventKind::MachineSuspect
        | EventKind::HoldPlaced
        | EventKind::HoldCleared
        | EventKind::OperatorOrder
        | EventKind::MonitorBlind
        | EventKind::MonitorRecovered
        | EventKind::MonitorClock
        | EventKind::MonitorToken
        | EventKind::MonitorJournal
        | EventKind::MonitorOutbox
        | EventKind::ImageMissing
        | EventKind::ImageNotMirrored
        | EventKind::ImageMixed
        | EventKind::ConfigRejected
        | EventKind::ConfigReloaded
        | EventKind::ConfigWarning => false,
    }
}

fn begins(kind: EventKind) -> bool {
    matches!(kind, EventKind::RollbackPlanned | EventKind::RollbackStarted)
}

/// Whether nothing more follows of it.
pub fn ends(kind: EventKind) -> bool {
    matches!(kind, EventKind::RollbackCompleted | EventKind::RollbackStopped)
}

/// What an event is about, if it belongs to a rollback.
fn about(event: &Event) -> Option<String> {
    let (app, release) = (event.app.as_ref()?, event.release.as_ref()?);
    is_part(event.kind).then(|| format!("{app} {}", release.digest))
}

impl Book {
    /// What is remembered of the rollback that an event belongs to.
    pub fn told(&self, event: &Event) -> Option<&Told> {
        let about = about(event)?;
        self.0.iter().rev().find(|told| told.about == about)
    }

    /// What comes next for an event under its id; `None`: all of it is done. `can_reply`: the
    /// receiver calls people for what is said beside, and not for a change.
    pub fn next(&self, event: &Event, id: &str, can_reply: bool) -> Option<Step> {
        let Some(told) = self.told(event) else { return Some(Step::Post) };
        let may_reply = can_reply && told.beside.as_deref() != Some(id);
        if told.shows == id {
            return None;
        }
        if told.ended && begins(event.kind) {
            return Some(Step::Post);
        }
        // Sent again by hand, or late: what came after it stands there.
        if event.at < told.at {
            return may_reply.then_some(Step::Reply);
        }
        if may_reply && event.severity() >= Severity::Error {
            return Some(Step::Reply);
        }
        Some(Step::Change)
    }

    /// Notes that the receiver has taken a step; `id` and `place`: what it calls a new message.
    pub fn took(
        &mut self,
        step: Step,
        event: &Event,
        message: &str,
        named: Option<(String, Option<String>)>,
    ) {
        let Some(about) = about(event) else { return };
        let line = (event.at, numbers::cut(&text::sentence(event), LINE_MAX));
        if let (Step::Post, Some((id, place))) = (step, named) {
            self.0.retain(|told| told.about != about);
            self.0.push(Told {
                about,
                id,
                place,
                began: event.at,
                at: event.at,
                lines: vec![line],
                shows: message.to_owned(),
                beside: None,
                ended: ends(event.kind),
            });
            let excess = self.0.len().saturating_sub(KEPT_MAX);
            self.0.drain(..excess);
            return;
        }
        let Some(told) = self.0.iter_mut().rev().find(|told| told.about == about) else { return };
        if step == Step::Reply {
            told.beside = Some(message.to_owned());
            return;
        }
        told.lines.push(line);
        let excess = told.lines.len().saturating_sub(LINES_MAX);
        told.lines.drain(..excess);
        message.clone_into(&mut told.shows);
        told.at = event.at;
        told.ended = ends(event.kind);
    }

    /// Forgets the message of an event's rollback: the receiver has it no more.
    pub fn lost(&mut self, event: &Event) {
        let Some(about) = about(event) else { return };
        self.0.retain(|told| told.about != about);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ReleaseVersion, event::ReleaseInfo};

    fn event(kind: EventKind, second: i64) -> Event {
        let at = Timestamp::from_second(second).unwrap();
        let mut event = Event::new(kind, at, Some("api".into()));
        event.release = Some(ReleaseInfo {
            version: Some(ReleaseVersion(42)),
            tag: None,
            digest: "sha256:42".into(),
            author: None,
            created_at: None,
        });
        event
    }

    fn posted(kind: EventKind) -> Book {
        let mut book = Book::default();
        let named = Some(("1.5".to_owned(), Some("C1".to_owned())));
        book.took(Step::Post, &event(kind, 10), "m-1", named);
        book
    }

    #[test]
    fn a_rollback_is_one_message_that_is_changed_and_what_calls_for_people_is_said_beside() {
        let book = posted(EventKind::RollbackStarted);
        let next = |kind, can_reply| book.next(&event(kind, 20), "m-2", can_reply);
        assert_eq!(next(EventKind::RollbackRegionConfirmed, true), Some(Step::Change));
        assert_eq!(next(EventKind::RollbackCompleted, true), Some(Step::Change));
        assert_eq!(next(EventKind::RollbackFailed, true), Some(Step::Reply));
        assert_eq!(next(EventKind::RollbackFailed, false), Some(Step::Change));
        assert_eq!(next(EventKind::HoldPlaced, true), Some(Step::Post), "it is another thing");
        let other = Event { app: Some("web".into()), ..event(EventKind::RollbackPaused, 20) };
        assert_eq!(book.next(&other, "m-2", true), Some(Step::Post));
    }

    #[test]
    fn a_message_that_is_sent_again_finds_what_was_done() {
        let mut book = posted(EventKind::RollbackStarted);
        let started = event(EventKind::RollbackStarted, 10);
        assert_eq!(book.next(&started, "m-1", true), None, "it is there");
        let failed = event(EventKind::RollbackFailed, 20);
        book.took(Step::Reply, &failed, "m-2", None);
        assert_eq!(book.next(&failed, "m-2", true), Some(Step::Change), "beside it was said");
        book.took(Step::Change, &failed, "m-2", None);
        assert_eq!(book.next(&failed, "m-2", true), None);
        // What comes late changes nothing that came after it.
        let late = event(EventKind::RollbackPaused, 15);
        assert_eq!(book.next(&late, "m-0", true), Some(Step::Reply));
        assert_eq!(book.next(&late, "m-0", false), None);
    }

    #[test]
    fn another_rollback_of_the_same_image_has_a_message_of_its_own() {
        let mut book = posted(EventKind::RollbackStarted);
        book.took(Step::Change, &event(EventKind::RollbackCompleted, 20), "m-2", None);
        let again = event(EventKind::RollbackPlanned, 30);
        assert_eq!(book.next(&again, "m-3", true), Some(Step::Post));
        book.took(Step::Post, &again, "m-3", Some(("2.5".to_owned(), None)));
        assert_eq!(book.0.len(), 1);
        assert_eq!(book.told(&again).map(|told| told.id.as_str()), Some("2.5"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_survives_being_written() {
        let mut book = Book::default();
        for number in 0..200 {
            let app = format!("app-{number}");
            let started =
                Event { app: Some(app.as_str().into()), ..event(EventKind::RollbackStarted, 1) };
            book.took(Step::Post, &started, "m", Some((number.to_string(), None)));
            for second in 2..40 {
                let next = Event { at: Timestamp::from_second(second).unwrap(), ..started.clone() };
                book.took(Step::Change, &next, &second.to_string(), None);
            }
        }
        assert_eq!(book.0.len(), KEPT_MAX);
        assert!(book.0.iter().all(|told| told.lines.len() == LINES_MAX));
        let text = serde_json::to_string(&book).unwrap();
        assert!(text.len() < KEPT_MAX * (LINES_MAX * (LINE_MAX + 60) + 500), "{}", text.len());
        assert_eq!(serde_json::from_str::<Book>(&text).unwrap(), book);
    }

    #[test]
    fn a_message_that_is_gone_is_told_anew() {
        let mut book = posted(EventKind::RollbackStarted);
        let next = event(EventKind::RollbackPaused, 20);
        book.lost(&next);
        assert_eq!(book.next(&next, "m-2", true), Some(Step::Post));
    }
}
