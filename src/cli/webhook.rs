//! `waveoff webhook`: how receivers are, what was not delivered, sending it again, and trying one out.

use std::io::Write;

use anyhow::bail;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;

use super::{
    client,
    history::escaped,
    terminal::Look,
    text::{clean, clean_lines, fit, table_in},
};
use crate::{
    ports::Clock,
    web::{
        operator::TOKEN_VARIABLE,
        receivers::{
            DeliveriesView, LetterState, LetterView, ReceiverView, ResentView, TestedView,
        },
    },
};

/// Exit code: the receiver did not take the test message.
const NOT_TAKEN: i32 = 1;
/// Longest reason in a table, in characters.
const WHY_MAX: usize = 60;

#[derive(Debug, Args)]
pub(super) struct Where {
    /// Where the daemon's API is.
    #[arg(long, default_value = "http://localhost:8080", env = "WAVEOFF_URL")]
    url: String,
    /// The operator's token.
    #[arg(skip = std::env::var(TOKEN_VARIABLE).ok())]
    token: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Webhook {
    /// Send a receiver a message that says that it is a test, and show what it answers. Exit code 1: it
    /// did not take it.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    Test {
        /// Its name in waveoff.toml.
        receiver: String,
        /// Who says so; it stands in the message.
        #[arg(long, env = "USER")]
        by: Option<String>,
        #[command(flatten)]
        at: Where,
    },
    /// Show how receivers are, and which messages wait or were given up.
    List {
        #[command(flatten)]
        at: Where,
    },
    /// Send again what was given up.
    ///
    /// Needs `WAVEOFF_OPERATOR_TOKEN`, with the value that the daemon has.
    Resend {
        /// Its name in waveoff.toml.
        receiver: String,
        /// Only the message with this id, as `waveoff webhook list` shows it.
        #[arg(long)]
        message: Option<String>,
        #[command(flatten)]
        at: Where,
    },
}

/// # Errors
/// When there is no token, or the daemon cannot be reached or refuses.
pub(super) async fn run(command: Webhook, out: &mut dyn Write) -> anyhow::Result<i32> {
    match command {
        Webhook::List { at } => {
            let body = client::get(&at.url, "/api/v1/deliveries").await?;
            if at.json {
                writeln!(out, "{}", body.trim_end())?;
            } else {
                let look = Look::of_stdout();
                let view = client::parse(&at.url, &body)?;
                out.write_all(page(&view, Clock::system().now(), look).as_bytes())?;
            }
            Ok(0)
        }
        Webhook::Test { receiver, by, at } => {
            let path = format!("/api/v1/receivers/{}/test", escaped(&receiver));
            let answer = order(&at, &path, json!({ "by": by }).to_string()).await?;
            let tested: TestedView = client::parse(&at.url, &answer)?;
            let width = Look::of_stdout().width.filter(|_| !at.json);
            let text = match &tested.why {
                _ if at.json => answer.trim_end().to_owned(),
                None => format!("{receiver} took the message"),
                Some(why) => format!("{receiver} did not take the message: {why}"),
            };
            writeln!(out, "{}", fit(&clean(&text), width))?;
            Ok(if tested.accepted { 0 } else { NOT_TAKEN })
        }
        Webhook::Resend { receiver, message, at } => {
            let request = json!({ "receiver": receiver, "message": message }).to_string();
            let answer = order(&at, "/api/v1/deliveries/resend", request).await?;
            let resent: ResentView = client::parse(&at.url, &answer)?;
            let text = match resent.resent {
                _ if at.json => answer.trim_end().to_owned(),
                0 => match &message {
                    Some(message) => format!(
                        "no message {message} was given up for {receiver}: `waveoff webhook list` shows those that were"
                    ),
                    None => format!("nothing was given up for {receiver} that could be sent again"),
                },
                1 => format!("one message is sent again to {receiver}"),
                more => format!("{more} messages are sent again to {receiver}"),
            };
            writeln!(out, "{}", clean(&text))?;
            Ok(0)
        }
    }
}

async fn order(at: &Where, path: &str, body: String) -> anyhow::Result<String> {
    let Some(token) = at.token.as_deref().map(str::trim).filter(|token| !token.is_empty()) else {
        bail!("{TOKEN_VARIABLE} is not set: set it to the value that the daemon has");
    };
    client::order(&at.url, Method::POST, path, token, body).await
}

fn page(view: &DeliveriesView, now: Timestamp, look: Look) -> String {
    let mut rows = vec![["RECEIVER", "WAITING", "GIVEN UP", ""].map(str::to_owned).to_vec()];
    rows.extend(view.receivers.iter().map(receiver));
    let mut text = table_in(&rows, 0, look.width);
    if !view.letters.is_empty() {
        let head = ["MESSAGE", "RECEIVER", "", "ATTEMPTS", "WHY"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(view.letters.iter().map(|one| letter(one, now, look.width)));
        text.push('\n');
        text.push_str(&table_in(&rows, 0, look.width));
    }
    look.paint(&clean_lines(&text))
}

fn receiver(one: &ReceiverView) -> Vec<String> {
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    vec![one.name.clone(), number(one.waiting), number(one.given_up), how(one)]
}

/// How a receiver is, in words.
pub(super) fn how(one: &ReceiverView) -> String {
    match (&one.failing_since, &one.why, &one.delivered_at) {
        (Some(since), why, _) => {
            let why = why.as_deref().unwrap_or_default();
            format!("takes nothing since {}: {why}", since.strftime("%Y-%m-%d %H:%M:%S"))
        }
        (None, _, Some(at)) => format!("took one at {}", at.strftime("%Y-%m-%d %H:%M:%S")),
        (None, _, None) => "nothing was sent yet".to_owned(),
    }
}

/// In a table that is no wider than a terminal the reason is short.
fn letter(one: &LetterView, now: Timestamp, width: Option<usize>) -> Vec<String> {
    let at = one.at.strftime("%Y-%m-%d %H:%M:%S");
    let state = match one.state {
        // It waits for the one before it, or is being sent.
        LetterState::Waiting if one.at <= now => "next in its turn".to_owned(),
        LetterState::Waiting => format!("next {at}"),
        LetterState::GivenUp => format!("given up {at}"),
    };
    let why = match width {
        Some(_) => crate::numbers::cut(&one.why, WHY_MAX),
        None => one.why.clone(),
    };
    vec![one.message.clone(), one.receiver.clone(), state, one.attempts.to_string(), why]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_delivered_is_listed_with_the_reason() {
        let at: Timestamp = "2026-03-01T02:03:04Z".parse().unwrap();
        let health = |name: &str, failing: bool| ReceiverView {
            name: name.to_owned(),
            waiting: Some(1),
            given_up: None,
            delivered_at: Some(at),
            failing_since: failing.then_some(at),
            why: failing.then(|| "answered 503".to_owned()),
        };
        let message = |message: &str, state| LetterView {
            receiver: "ops".to_owned(),
            message: message.to_owned(),
            state,
            attempts: 4,
            queued_at: at,
            at,
            why: "answered 503\u{1b}[31m".to_owned(),
        };
        let view = DeliveriesView {
            receivers: vec![health("chat", false), health("ops", true)],
            letters: vec![
                message("m-1", LetterState::GivenUp),
                message("m-2", LetterState::Waiting),
            ],
        };
        let before = at - jiff::SignedDuration::from_secs(1);
        insta::assert_snapshot!(page(&view, before, Look::plain(None)), @r"
        RECEIVER  WAITING  GIVEN UP
        chat      1        ?         took one at 2026-03-01 02:03:04
        ops       1        ?         takes nothing since 2026-03-01 02:03:04: answered 503

        MESSAGE  RECEIVER                                ATTEMPTS  WHY
        m-1      ops       given up 2026-03-01 02:03:04  4         answered 503 [31m
        m-2      ops       next 2026-03-01 02:03:04      4         answered 503 [31m
        ");
        let late = page(&view, at, Look::plain(None));
        assert!(late.contains("next in its turn") && !late.contains("next 2026"), "{late}");
    }

    #[test]
    fn a_reason_is_cut_for_a_terminal_and_whole_in_a_pipe() {
        let at = Timestamp::UNIX_EPOCH;
        let one = LetterView {
            receiver: "ops".to_owned(),
            message: "m-1".to_owned(),
            state: LetterState::GivenUp,
            attempts: 4,
            queued_at: at,
            at,
            why: "x".repeat(200),
        };
        let why = |width| letter(&one, at, width).remove(4).chars().count();
        assert_eq!(why(None), 200);
        assert_eq!(why(Some(80)), WHY_MAX);
    }
}
