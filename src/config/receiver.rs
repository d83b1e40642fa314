//! `[[receiver]]`: who is told, with URLs and secrets that stay out of files and messages.

mod talk;

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;

use super::{
    AppGlob, Format, Receiver, Secret,
    apps::pattern,
    entry::Entry,
    problem::{Problem, Wrong},
    reader::Reader,
    settings::variable,
};
use crate::model::{EventKind, Severity};

const RECEIVERS_MAX: usize = 50;
const NAME_MAX: usize = 64;
const SECRETS_MAX: usize = 5;
const APPS_MAX: usize = 200;
/// Where PagerDuty takes events; accounts in Europe name another one.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Where Slack's Web API is.
const SLACK: &str = "https://slack.com/api";
/// Length of an integration key.
const ROUTING_KEY: usize = 32;
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
const AGE_MIN: Duration = Duration::from_secs(60);
const AGE_MAX: Duration = Duration::from_secs(30 * 86_400);

struct Context<'c> {
    environment: &'c dyn Fn(&str) -> Option<String>,
    missing: &'c mut Vec<Problem>,
}

/// Reads every receiver. Variables that are not set are in `missing`, apart from what is wrong:
/// where the configuration is only checked, they need not be there.
pub(super) fn read_all(
    entry: &Entry<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: &mut Vec<Problem>,
) -> Vec<Receiver> {
    let tables = entry.tables();
    if tables.len() > RECEIVERS_MAX {
        entry.wrong(Wrong::new(format!("there are more than {RECEIVERS_MAX} receivers")));
        return Vec::new();
    }
    let mut context = Context { environment, missing };
    let mut receivers: Vec<Receiver> = Vec::new();
    for table in tables {
        let name = name(&table);
        if let Some((entry, name)) = &name {
            if receivers.iter().any(|other| other.name == *name) {
                let message = format!("there is another receiver `{name}`");
                entry.wrong(Wrong::but(
                    message,
                    "give it another name: deliveries are kept under it",
                ));
            }
            table.rename(format!("receiver \"{name}\""));
        }
        let receiver = read(&table, name.map(|(_, name)| name), &mut context);
        table.finish();
        receivers.extend(receiver);
    }
    receivers
}

fn read(table: &Reader<'_>, name: Option<String>, context: &mut Context<'_>) -> Option<Receiver> {
    let format = table
        .require(
            "format",
            "write \"standard\" for signed JSON, \"slack\", \"discord\", \"teams\", \"pagerduty\" or \"grafana\"",
        )
        .and_then(|entry| {
            let words = Format::ALL.map(|format| (format.as_str(), format));
            entry.choice(&words, &[])
        });
    let talk = talk::read(table, format, context);
    let has_bot = talk.takes_token && format == Some(Format::Slack);
    let url = url(table, format, has_bot, context);
    let routing_key = table.get("routing_key_env");
    if let Some(entry) =
        routing_key.as_ref().filter(|_| format.is_some_and(|format| format != Format::PagerDuty))
    {
        entry.wrong(Wrong::but("only PagerDuty has such a key", "leave it out"));
    }
    let secrets = match format {
        Some(Format::PagerDuty) => integration_key(table, routing_key, context),
        _ if talk.takes_token => talk.token.into_iter().collect(),
        _ => secrets(table, format, context),
    };
    let apps = table.get("apps").map(|entry| apps(&entry)).unwrap_or_default();
    let severity = table.get("severity").map_or(Some(Severity::Info), |entry| {
        entry.choice(&Severity::ALL.map(|severity| (severity.as_str(), severity)), &[])
    });
    let events = table.get("events").map(|entry| events(&entry)).unwrap_or_default();
    let max_age =
        table.get("max_age").map_or(Some(MAX_AGE), |entry| entry.duration(AGE_MIN..=AGE_MAX));
    Some(Receiver {
        name: name?,
        format: format?,
        url: url?,
        secrets,
        channel: talk.channel,
        events,
        apps,
        severity: severity?,
        max_age: max_age?,
    })
}

fn name<'a>(table: &Reader<'a>) -> Option<(Entry<'a>, String)> {
    let entry = table.require("name", "give it one, such as name = \"ops\"")?;
    let text = entry.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(plain) {
        entry.wrong(Wrong::new(format!(
            "must have 1 to {NAME_MAX} letters, digits, dashes or underscores"
        )));
        return None;
    }
    Some((entry, text.to_owned()))
}

/// The URL in the variable that a key names; `None` when it is not set, or wrong, and reported.
pub(super) fn secret_url(
    entry: &Entry<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: &mut Vec<Problem>,
) -> Option<Secret> {
    let mut context = Context { environment, missing };
    let (name, value) = from_variable(entry, "the URL", &mut context)?;
    let value = value?;
    if let Err(why) = usable(&value) {
        let message = format!("the variable {name} holds no usable URL: {why}");
        entry.wrong(Wrong::but(message, format!("set {name} to a URL to be called each minute")));
        return None;
    }
    Some(Secret::new(value.trim()))
}

/// The secret in the variable that a key names; `None` when it is not set, or no variable is named,
/// and reported.
pub(super) fn secret(
    entry: &Entry<'_>,
    what: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    missing: &mut Vec<Problem>,
) -> Option<Secret> {
    let mut context = Context { environment, missing };
    let (name, value) = from_variable(entry, what, &mut context)?;
    let value = value?;
    if !value.trim().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        let message = format!("the variable {name} holds letters that no header can carry");
        entry.wrong(Wrong::but(message, format!("set {name} to {what} itself")));
        return None;
    }
    Some(Secret::new(value.trim()))
}

/// Where to send. `None`: wrong, and reported. Empty: the variable is not set.
fn url(
    table: &Reader<'_>,
    format: Option<Format>,
    has_bot: bool,
    context: &mut Context<'_>,
) -> Option<Secret> {
    let written = table.get("url");
    let named = table.get("url_env");
    match (written, named) {
        (None, None) if format == Some(Format::PagerDuty) => Some(Secret::new(PAGERDUTY)),
        (None, None) if has_bot => Some(Secret::new(SLACK)),
        (None, None) => {
            table.missing(
                "url_env",
                "name the variable that holds the URL, such as url_env = \"OPS_URL\"",
            );
            None
        }
        (Some(_), Some(named)) => {
            named.wrong(Wrong::but("`url` is given too", "leave one of them out"));
            None
        }
        // Of a bot the token is the secret.
        (Some(entry), None) => written_url(&entry, format.filter(|_| !has_bot)),
        (None, Some(entry)) => {
            let (name, value) = from_variable(&entry, "the URL", context)?;
            let Some(value) = value else { return Some(Secret::new("")) };
            let url = usable(&value).map_err(|why| {
                // The value itself is a secret.
                entry.wrong(Wrong::but(
                    format!("the variable {name} holds no usable URL: {why}"),
                    format!("set {name} to a URL such as https://example.com/hook"),
                ));
            });
            let url = url.ok()?;
            warn_if_open(&entry, &url, "messages go");
            Some(Secret::new(value.trim()))
        }
    }
}

fn written_url(entry: &Entry<'_>, format: Option<Format>) -> Option<Secret> {
    let text = entry.text()?;
    let instead = "put it into an environment variable and name that: url_env = \"OPS_URL\"";
    let is_chat = format.is_some_and(Format::is_chat);
    if is_chat || text.contains("hooks.slack.com") || text.contains("/api/webhooks/") {
        let message = match format {
            Some(Format::Discord) => "a Discord URL is a secret, and does not belong in a file",
            Some(Format::Teams) => "a Teams URL is a secret, and does not belong in a file",
            _ => "a Slack URL is a secret, and does not belong in a file",
        };
        entry.wrong(Wrong::but(message, instead));
        return None;
    }
    match usable(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            entry.wrong(Wrong::but("a URL with a password does not belong in a file", instead));
            None
        }
        Ok(url) => {
            warn_if_open(entry, &url, "messages go");
            Some(Secret::new(text))
        }
        Err(why) => {
            let meant = format!("https://{text}");
            let suggestion = if !text.contains("://") && usable(&meant).is_ok() {
                format!("write \"{meant}\"")
            } else {
                "write one such as \"https://example.com/hook\"".to_owned()
            };
            entry.wrong(Wrong::but(format!("is no usable URL: {why}"), suggestion));
            None
        }
    }
}

/// A URL that is no secret, without the slash at its end.
pub(super) fn open_url(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    match usable(text) {
        Ok(url)
            if url.query().is_none() && url.fragment().is_none() && url.username().is_empty() =>
        {
            Some(text.trim().trim_end_matches('/').to_owned())
        }
        Ok(_) => {
            entry.wrong(Wrong::but(
                "is more than an address",
                "write one such as \"http://waveoff.internal:8080\"",
            ));
            None
        }
        Err(why) => {
            entry.wrong(Wrong::but(
                format!("is no usable URL: {why}"),
                "write one such as \"http://waveoff.internal:8080\"",
            ));
            None
        }
    }
}

fn usable(text: &str) -> Result<Url, String> {
    let begins = "it begins with neither https:// nor http://";
    if !text.contains("://") {
        return Err(begins.to_owned());
    }
    let url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(begins.to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".to_owned());
    }
    Ok(url)
}

/// Warns when something would cross the open network unencrypted.
pub(super) fn warn_if_open(entry: &Entry<'_>, url: &Url, what: &str) {
    if url.scheme() != "http" {
        return;
    }
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let near = match address {
        Some(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        // fc00::/7, which Fly's private network is in.
        Some(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        None => host == "localhost" || host.ends_with(".internal") || host.ends_with(".flycast"),
    };
    if !near {
        let message = format!("{what} out unencrypted over http://");
        entry.warn(Wrong::but(message, "use https://"));
    }
}

fn secrets(table: &Reader<'_>, format: Option<Format>, context: &mut Context<'_>) -> Vec<Secret> {
    let Some(entry) = table.get("secrets_env") else {
        if format == Some(Format::Standard) {
            table.warn(Wrong::but(
                "messages are not signed, so anybody could send the like",
                "name the variable that holds a secret: secrets_env = [\"OPS_WEBHOOK_SECRET\"]",
            ));
        }
        return Vec::new();
    };
    if let Some(chat) = format.filter(|format| format.is_chat()) {
        let who = match chat {
            Format::Slack => "Slack",
            Format::Teams => "Teams",
            _ => "Discord",
        };
        entry.wrong(Wrong::but(
            format!("{who} checks no signatures"),
            "leave it out: the URL is the secret",
        ));
        return Vec::new();
    }
    let list = entry.list();
    if list.len() > SECRETS_MAX {
        entry.wrong(Wrong::new(format!("more than {SECRETS_MAX} secrets at once are not needed")));
        return Vec::new();
    }
    list.into_iter()
        .filter_map(|(entry, _)| {
            let (name, value) = from_variable(&entry, "a signing secret", context)?;
            let value = value?;
            if let Err(why) = signing_key(value.trim()) {
                entry.wrong(Wrong::but(
                    format!("the variable {name} holds no signing secret: {why}"),
                    format!("set {name} to whsec_ and the base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` makes it"),
                ));
                return None;
            }
            Some(Secret::new(value.trim()))
        })
        .collect()
}

/// The key of a PagerDuty service, under which it takes events.
fn integration_key(
    table: &Reader<'_>,
    routing_key: Option<Entry<'_>>,
    context: &mut Context<'_>,
) -> Vec<Secret> {
    if let Some(entry) = table.get("secrets_env") {
        entry.wrong(Wrong::but("PagerDuty checks no signatures", "name its key: routing_key_env"));
    }
    let Some(entry) = routing_key else {
        table.missing(
            "routing_key_env",
            "name the variable that holds the integration key, such as routing_key_env = \"PAGERDUTY_KEY\"",
        );
        return Vec::new();
    };
    let Some((name, value)) = from_variable(&entry, "the integration key", context) else {
        return Vec::new();
    };
    let Some(value) = value else { return Vec::new() };
    let key = value.trim();
    if key.len() != ROUTING_KEY || !key.chars().all(|char| char.is_ascii_alphanumeric()) {
        entry.wrong(Wrong::but(
            format!("the variable {name} holds no integration key: it has not {ROUTING_KEY} letters and digits"),
            format!("set {name} to the key of an Events API v2 integration of the service"),
        ));
        return Vec::new();
    }
    vec![Secret::new(key)]
}

/// Patterns of names; what they match need not exist.
fn apps(entry: &Entry<'_>) -> Vec<AppGlob> {
    let list = entry.list();
    if list.len() > APPS_MAX {
        entry.wrong(Wrong::new(format!("has more than {APPS_MAX} patterns")));
        return Vec::new();
    }
    list.into_iter()
        .filter_map(|(entry, text)| Some(entry.check(pattern(text))?.at_line(entry.line())))
        .collect()
}

fn signing_key(text: &str) -> Result<(), &'static str> {
    let encoded = text.strip_prefix("whsec_").ok_or("it does not begin with `whsec_`")?;
    let key = STANDARD.decode(encoded).map_err(|_| "what follows `whsec_` is not base64")?;
    if (24..=64).contains(&key.len()) { Ok(()) } else { Err("it does not hold 24 to 64 bytes") }
}

/// The name of a variable and its value, if it is set.
fn from_variable(
    entry: &Entry<'_>,
    what: &str,
    context: &mut Context<'_>,
) -> Option<(String, Option<String>)> {
    let name = entry.text()?;
    if !is_variable_name(name) {
        // What stands here may be the secret itself, so it is not repeated.
        entry.wrong(Wrong::but(
            format!("must be the name of an environment variable, not {what} itself"),
            "write a name such as \"OPS_WEBHOOK_SECRET\" or \"OPS_URL\"",
        ));
        return None;
    }
    let value = variable(context.environment, name);
    if value.is_none() {
        let message = format!("the environment variable {name} is not set");
        let suggestion = format!("set it to {what}: fly secrets set {name}=…");
        context.missing.push(entry.describe(Wrong::but(message, suggestion)));
    }
    Some((name.to_owned(), value))
}

/// Whether this is the name of a variable, rather than a secret that was put in its place.
fn is_variable_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let usual = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let small = text.contains(|c: char| c.is_ascii_lowercase());
    let capital = text.contains(|c: char| c.is_ascii_uppercase());
    // Nobody names a variable so, and random bytes look like it.
    let random = small && capital && text.len() >= 16;
    begins && usual && !random && !text.starts_with("whsec_") && text.len() <= 200
}

fn events(entry: &Entry<'_>) -> Vec<EventKind> {
    let words: Vec<(&str, EventKind)> =
        EventKind::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    let mut events = Vec::new();
    for (entry, text) in entry.list() {
        let Some(kind) = entry.choice(&words, &[]) else { continue };
        if events.contains(&kind) {
            entry.wrong(Wrong::but(format!("`{text}` is listed twice"), "leave one out"));
        } else {
            events.push(kind);
        }
    }
    events
}
