//! Slack with the token of a bot: requests of its Web API, and what its answers mean. A refusal there
//! is `"ok": false` under the status 200.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Sender,
    ongoing::{Step, Told},
    slack,
};
use crate::{
    config::{Receiver, Secret},
    model::Event,
    ports::{Answered, Delivery, DeliveryOutcome, Verb},
};

/// What was said before takes a block of its own.
const EARLIER_MAX: usize = 2900;

/// With whom it is talked, and where.
#[derive(Clone, Copy, Debug)]
pub struct Bot<'b> {
    /// The API's address, without a slash at its end.
    pub api: &'b str,
    pub token: &'b str,
    /// A channel's id, or its name.
    pub channel: &'b str,
}

impl<'b> Bot<'b> {
    /// That of a receiver.
    pub fn of(receiver: &'b Receiver) -> Self {
        Self {
            api: receiver.url.expose().trim_end_matches('/'),
            token: receiver.secrets.first().map(Secret::expose).unwrap_or_default(),
            channel: receiver.channel.as_deref().unwrap_or_default(),
        }
    }
}

/// The request for a step.
pub fn request(
    bot: Bot<'_>,
    step: Step,
    event: &Event,
    told: Option<&Told>,
    sender: &Sender<'_>,
) -> (Verb, Delivery) {
    let earlier = told.filter(|_| step == Step::Change).map(earlier).unwrap_or_default();
    let mut body = slack::body(event, sender, &earlier);
    let place = told.and_then(|told| told.place.as_deref()).unwrap_or(bot.channel);
    let (method, fields) = match (step, told) {
        (Step::Change, Some(told)) => ("chat.update", json!({ "channel": place, "ts": told.id })),
        (Step::Reply, Some(told)) => (
            "chat.postMessage",
            json!({ "channel": place, "thread_ts": told.id, "reply_broadcast": true }),
        ),
        _ => ("chat.postMessage", json!({ "channel": bot.channel })),
    };
    if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
        body.extend(fields);
        if method == "chat.postMessage" {
            body.insert("unfurl_links".to_owned(), false.into());
            body.insert("unfurl_media".to_owned(), false.into());
        }
    }
    (Verb::Post, call(bot, method, &body))
}

/// Asks who the token is; nothing is sent to anybody.
pub fn who_am_i(bot: Bot<'_>) -> (Verb, Delivery) {
    (Verb::Post, call(bot, "auth.test", &json!({})))
}

fn call(bot: Bot<'_>, method: &str, body: &Value) -> Delivery {
    Delivery {
        url: format!("{}/{method}", bot.api),
        headers: vec![
            ("authorization".to_owned(), format!("Bearer {}", bot.token)),
            ("content-type".to_owned(), "application/json; charset=utf-8".to_owned()),
        ],
        body: body.to_string(),
    }
}

/// What was said before, a line for each.
fn earlier(told: &Told) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut length = 0;
    for (at, line) in told.lines.iter().rev() {
        let line = slack::escape(&format!("{} {line}", at.strftime("%H:%M:%S")), 400);
        length += line.chars().count() + 1;
        if length > EARLIER_MAX {
            break;
        }
        kept.push(line);
    }
    kept.reverse();
    kept.join("\n")
}

/// What Slack made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Taken: what the message is called, and the channel's id.
    Took {
        ts: Option<String>,
        channel: Option<String>,
    },
    /// The message is not there, or cannot be changed any more.
    Gone,
    Refused(DeliveryOutcome),
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    ts: Option<String>,
    #[serde(default)]
    channel: Option<Value>,
}

/// The message cannot be changed, and a new one does.
const GONE: [&str; 6] = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "thread_not_found",
    "cannot_reply_to_message",
    "msg_not_found",
];
/// This very message is not taken.
const UNFIT: [&str; 8] = [
    "msg_too_long",
    "msg_blocks_too_long",
    "invalid_blocks",
    "invalid_blocks_format",
    "no_text",
    "invalid_arguments",
    "invalid_arg_name",
    "invalid_json",
];

/// Reads an answer. What is too much at once comes as 429, with how long to wait.
pub fn read(answered: &Answered) -> Said {
    if !(200..300).contains(&answered.status) {
        return Said::Refused(super::http::outcome(answered.status, answered.after, ""));
    }
    let retry = |reason: &str| {
        let reason = reason.to_owned();
        Said::Refused(DeliveryOutcome::Retry { reason, after: answered.after })
    };
    let Ok(answer) = serde_json::from_str::<Answer>(&answered.body) else {
        return retry("answered with something that is not Slack's");
    };
    if answer.ok {
        let channel = answer.channel.as_ref().and_then(Value::as_str).map(str::to_owned);
        return Said::Took { ts: answer.ts, channel };
    }
    let word = answer.error.unwrap_or_default();
    // Only a word of its own is repeated: what is longer may hold what nobody should read.
    let is_word = !word.is_empty()
        && word.len() <= 40
        && word.chars().all(|char| char.is_ascii_lowercase() || char == '_');
    let shown = if is_word { word.as_str() } else { "an error without a word" };
    if GONE.contains(&word.as_str()) {
        return Said::Gone;
    }
    let reason = format!("answered {shown}{}", what_helps(&word));
    if UNFIT.contains(&word.as_str()) {
        return Said::Refused(DeliveryOutcome::Unfit { reason });
    }
    Said::Refused(DeliveryOutcome::Retry { reason, after: answered.after })
}

fn what_helps(word: &str) -> &'static str {
    match word {
        "channel_not_found" | "not_in_channel" => ": invite the bot into the channel",
        "is_archived" => ": the channel is archived",
        "missing_scope" => ": the bot needs the scope chat:write",
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" => {
            ": the token is not a bot's, or no longer"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &str) -> Said {
        read(&Answered { status: 200, body: body.to_owned(), after: None })
    }

    #[test]
    fn a_refusal_is_told_from_a_message_that_is_gone_and_from_one_that_does_not_fit() {
        let kept = answered(r#"{"ok":true,"ts":"1.5","channel":"C1","message":{}}"#);
        let want = Said::Took { ts: Some("1.5".to_owned()), channel: Some("C1".to_owned()) };
        assert_eq!(kept, want);
        for word in ["message_not_found", "cant_update_message", "edit_window_closed"] {
            assert_eq!(answered(&json!({ "ok": false, "error": word }).to_string()), Said::Gone);
        }
        let Said::Refused(DeliveryOutcome::Unfit { reason }) =
            answered(r#"{"ok":false,"error":"msg_too_long"}"#)
        else {
            panic!("it fits")
        };
        assert_eq!(reason, "answered msg_too_long");
        for (body, want) in [
            (r#"{"ok":false,"error":"channel_not_found"}"#, "channel_not_found: invite the bot"),
            (r#"{"ok":false,"error":"invalid_auth"}"#, "invalid_auth: the token"),
            (r#"{"ok":false,"error":"ratelimited"}"#, "answered ratelimited"),
            (r#"{"ok":false,"error":"<b>xoxb-1</b>"}"#, "an error without a word"),
            ("<html>", "something that is not Slack's"),
        ] {
            let Said::Refused(DeliveryOutcome::Retry { reason, .. }) = answered(body) else {
                panic!("{body} is not tried again")
            };
            assert!(reason.contains(want), "{body}: {reason}");
        }
    }
}
