//! Receivers that show a rollback as one thing that goes on: Slack with a bot, and Grafana. What each
//! step came to is in the journal before the next one is taken.

use std::time::Duration;

use tokio::time::timeout;

use super::ATTEMPT_MAX;
use crate::{
    config::{Format, Receiver},
    model::Event,
    notify::{
        Sender, grafana,
        grafana::Grafana,
        ongoing::{self, Book, Step},
        slack_bot::{self, Bot},
    },
    ports::{Answered, DeliveryOutcome, Notifier},
    store::Journal,
};

/// Steps of one message at most: one that is gone, a new one, and one beside it.
const STEPS_MAX: usize = 4;

/// Whether what is sent to a receiver depends on what it was sent before.
pub(in crate::daemon) fn is_kept(receiver: &Receiver) -> bool {
    receiver.format == Format::Grafana || receiver.channel.is_some()
}

/// What is said, and to whom.
pub(in crate::daemon) struct Letter<'l> {
    pub receiver: &'l Receiver,
    pub sender: &'l Sender<'l>,
    pub event: &'l Event,
    /// The same on every attempt.
    pub message_id: &'l str,
}

/// What came of a step.
enum Came {
    /// What the receiver calls it, if it is new.
    Took(Option<(String, Option<String>)>),
    Gone,
    Not(DeliveryOutcome),
}

fn retry(reason: &str, after: Option<Duration>) -> DeliveryOutcome {
    DeliveryOutcome::Retry { reason: reason.to_owned(), after }
}

/// Has a receiver show an event, in as many steps as it takes.
pub(in crate::daemon) async fn tell(
    letter: &Letter<'_>,
    notifier: &dyn Notifier,
    journal: Option<&dyn Journal>,
) -> DeliveryOutcome {
    let Letter { receiver, event, message_id, .. } = *letter;
    let Some(journal) = journal.filter(|_| ongoing::is_part(event.kind)) else {
        return match take(letter, Step::Post, &Book::default(), notifier).await {
            Came::Took(_) => DeliveryOutcome::Accepted,
            Came::Gone => retry("answered that what is new is gone", None),
            Came::Not(outcome) => outcome,
        };
    };
    let page = format!("told/{}", receiver.name);
    let mut book = match read(&page, journal).await {
        Ok(book) => book,
        Err(outcome) => return outcome,
    };
    for _ in 0..STEPS_MAX {
        let Some(step) = book.next(event, message_id, receiver.format == Format::Slack) else {
            return DeliveryOutcome::Accepted;
        };
        match take(letter, step, &book, notifier).await {
            Came::Took(named) => book.took(step, event, message_id, named),
            Came::Gone if step == Step::Post => {
                return retry("answered that what is new is gone", None);
            }
            Came::Gone => {
                tracing::info!(receiver = receiver.name, "its message is gone: it is told anew");
                book.lost(event);
            }
            Came::Not(outcome) => return outcome,
        }
        if let Err(outcome) = write(&page, &book, journal).await {
            return outcome;
        }
    }
    retry("it takes more steps than there are", None)
}

/// The book of a receiver. One that cannot be understood is begun anew: that costs a second message.
async fn read(page: &str, journal: &dyn Journal) -> Result<Book, DeliveryOutcome> {
    match journal.note(page).await {
        Ok(None) => Ok(Book::default()),
        Ok(Some(text)) => Ok(serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::warn!(page, %error, "what was told is not understood, and told anew");
            Book::default()
        })),
        Err(error) => Err(retry(&format!("what was told cannot be read: {error}"), None)),
    }
}

async fn write(page: &str, book: &Book, journal: &dyn Journal) -> Result<(), DeliveryOutcome> {
    let text = serde_json::to_string(book)
        .map_err(|error| retry(&format!("what was told cannot be written: {error}"), None))?;
    let noted = journal.set_note(page, Some(&text)).await;
    noted.map_err(|error| retry(&format!("what was told cannot be written: {error}"), None))
}

async fn take(letter: &Letter<'_>, step: Step, book: &Book, notifier: &dyn Notifier) -> Came {
    let Letter { receiver, sender, event, .. } = *letter;
    let told = book.told(event).filter(|_| step != Step::Post);
    let (verb, request) = match receiver.format {
        Format::Grafana => grafana::request(Grafana::of(receiver), step, event, told, sender),
        _ => slack_bot::request(Bot::of(receiver), step, event, told, sender),
    };
    let answered = match timeout(ATTEMPT_MAX, notifier.ask(verb, &request)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(why)) => return Came::Not(retry(&why, None)),
        Err(_) => return Came::Not(retry("no answer in time", None)),
    };
    match receiver.format {
        Format::Grafana => match grafana::read(step, &answered) {
            grafana::Said::Took { id } => Came::Took(id.map(|id| (id, None))),
            grafana::Said::Gone => Came::Gone,
            grafana::Said::Refused(outcome) => Came::Not(outcome),
        },
        _ => of_slack(step, &answered),
    }
}

fn of_slack(step: Step, answered: &Answered) -> Came {
    match slack_bot::read(answered) {
        slack_bot::Said::Took { ts, channel } => match (step, ts) {
            (Step::Post, Some(ts)) => Came::Took(Some((ts, channel))),
            (Step::Post, None) => Came::Not(retry("answered without a `ts`", None)),
            (Step::Reply | Step::Change, _) => Came::Took(None),
        },
        slack_bot::Said::Gone => Came::Gone,
        slack_bot::Said::Refused(outcome) => Came::Not(outcome),
    }
}

#[cfg(test)]
mod tests;
