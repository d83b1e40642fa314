//! Receivers that answer, and know who asks by a token: a Slack bot's, and Grafana.

use super::{Context, from_variable};
use crate::config::{Format, Secret, entry::Entry, problem::Wrong, reader::Reader};

/// Longest name of a channel.
const CHANNEL_MAX: usize = 80;

/// With whom is talked by a token.
#[derive(Default)]
pub(super) struct Talk {
    /// Whether this receiver has a token at all.
    pub(super) takes_token: bool,
    pub(super) token: Option<Secret>,
    pub(super) channel: Option<String>,
}

/// Reads the token and the channel of a receiver that answers.
pub(super) fn read(table: &Reader<'_>, format: Option<Format>, context: &mut Context<'_>) -> Talk {
    let (named, channel) = (table.get("token_env"), table.get("channel"));
    if let Some(entry) = channel.as_ref().filter(|_| format != Some(Format::Slack)) {
        entry.wrong(Wrong::but("only a Slack bot writes into a channel", "leave it out"));
        return Talk::default();
    }
    let takes_token = match format {
        Some(Format::Grafana) => true,
        Some(Format::Slack) => named.is_some() || channel.is_some(),
        _ => false,
    };
    if !takes_token {
        if let Some(entry) = named {
            entry.wrong(Wrong::but("only Slack and Grafana take a token", "leave it out"));
        }
        return Talk::default();
    }
    if let Some(entry) = table.get("secrets_env") {
        let who = if format == Some(Format::Slack) { "Slack" } else { "Grafana" };
        entry.wrong(Wrong::but(format!("{who} checks no signatures"), "leave it out"));
    }
    let channel = match (format, channel) {
        (Some(Format::Slack), None) => {
            let suggestion = "name the channel, such as channel = \"C0123456789\"";
            table.missing("channel", suggestion);
            None
        }
        (_, Some(entry)) => channel_of(&entry),
        (_, None) => None,
    };
    let Some(named) = named else {
        let suggestion = match format {
            Some(Format::Grafana) => {
                "name the variable that holds a service account's token, such as token_env = \"GRAFANA_TOKEN\""
            }
            _ => {
                "name the variable that holds the bot's token, such as token_env = \"SLACK_BOT_TOKEN\""
            }
        };
        table.missing("token_env", suggestion);
        return Talk { takes_token, token: None, channel };
    };
    let token = token(&named, format, context);
    Talk { takes_token, token, channel }
}

fn channel_of(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?.trim();
    let plain = |c: char| c.is_alphanumeric() || "#-_.".contains(c);
    if text.is_empty() || text.chars().count() > CHANNEL_MAX || !text.chars().all(plain) {
        let message = format!("`{text}` is no channel");
        entry.wrong(Wrong::but(message, "write its id, such as \"C0123456789\", or its name"));
        return None;
    }
    Some(text.to_owned())
}

fn token(entry: &Entry<'_>, format: Option<Format>, context: &mut Context<'_>) -> Option<Secret> {
    let (name, value) = from_variable(entry, "the token", context)?;
    let value = value?;
    let token = value.trim();
    let is_wrong = format == Some(Format::Slack) && !token.starts_with("xoxb-");
    if is_wrong || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (what, instead) = match format {
            Some(Format::Slack) => {
                ("bot's token: it does not begin with `xoxb-`", "the Bot User OAuth Token")
            }
            _ => ("token", "the token of a service account"),
        };
        let message = format!("the variable {name} holds no {what}");
        entry.wrong(Wrong::but(message, format!("set {name} to {instead}")));
        return None;
    }
    Some(Secret::new(token))
}
