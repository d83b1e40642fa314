//! The body of a Discord webhook: one embed, which mentions nobody and links nowhere but to the page.

use serde_json::{Value, json};

use super::{Sender, payload, text};
use crate::{
    model::{Event, Severity},
    numbers,
};

/// Discord takes 4096 characters of an embed's description, 6000 of all texts of a message.
const DESCRIPTION_MAX: usize = 3900;
const TITLE_MAX: usize = 250;
const FOOTER_MAX: usize = 300;
/// Of the description, log lines.
const LOGS_MAX: usize = 1500;

/// The body for one event.
pub fn discord(event: &Event, sender: &Sender<'_>) -> String {
    let title = match &event.app {
        Some(app) => format!("{app}: {}", event.kind.as_str()),
        None => event.kind.as_str().to_owned(),
    };
    let logs = logs(event);
    let room = DESCRIPTION_MAX - logs.chars().count();
    let description = format!("{}{logs}", escape(&text::message(event), room));
    let footer = numbers::cut(&format!("{} · Waveoff", sender.organization), FOOTER_MAX);
    let mut embed = json!({
        "title": escape(&title, TITLE_MAX),
        "description": description,
        "color": colour(event.severity()),
        "timestamp": event.at.to_string(),
        "footer": { "text": footer },
    });
    if let (Some(page), Some(fields)) = (sender.page(event), embed.as_object_mut()) {
        fields.insert("url".to_owned(), Value::String(page));
    }
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } }).to_string()
}

/// The end of the log, which says most, as a block; empty without any.
fn logs(event: &Event) -> String {
    let lines = payload::log_lines(event);
    let mut kept: Vec<String> = Vec::new();
    let mut length = 0;
    for line in lines.iter().rev() {
        let line = line.replace("```", "'''");
        length += line.chars().count() + 1;
        if length > LOGS_MAX {
            break;
        }
        kept.push(line);
    }
    kept.reverse();
    if kept.is_empty() { String::new() } else { format!("\n```\n{}\n```", kept.join("\n")) }
}

fn colour(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 0x2f_81_f7,
        Severity::Warning => 0xd2_99_22,
        Severity::Error => 0xda_36_33,
        Severity::Critical => 0x8b_00_00,
    }
}

/// Makes of whatever Discord would format, link or mention plain text, and ends before it is longer
/// than `max`, never inside an escape.
fn escape(text: &str, max: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_scheme = character == ':' && characters.peek() == Some(&'/');
        let is_markup = is_scheme || "\\*_~`|<>[]()#@".contains(character);
        let size = if is_markup { 2 } else { 1 };
        let room = if characters.peek().is_some() { max.saturating_sub(1) } else { max };
        if length + size > room {
            escaped.push('…');
            break;
        }
        if is_markup {
            escaped.push('\\');
        }
        escaped.push(character);
        length += size;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppName, EventKind, Reason};

    fn event(reason: &str) -> Event {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::HoldPlaced, at, Some(AppName::new("api")));
        event.reason = Some(Reason::Told { text: reason.to_owned() });
        event
    }

    fn body(event: &Event) -> Value {
        let page_url = Some("https://page.example");
        serde_json::from_str(&discord(event, &Sender { organization: "acme", page_url })).unwrap()
    }

    #[test]
    fn nothing_in_an_event_can_mention_link_or_format() {
        let body = body(&event("@everyone [x](http://y) **a** <@1>"));
        assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
        let embed = &body["embeds"][0];
        insta::assert_snapshot!(embed["description"].as_str().unwrap(), @r"api: held, nothing will be rolled back: \@everyone \[x\]\(http\://y\) \*\*a\*\* \<\@1\>.");
        assert_eq!(embed["title"], "api: hold.placed");
        assert_eq!(embed["url"], "https://page.example/apps/api");
        assert_eq!(embed["color"], 0xda_36_33);
    }

    #[test]
    fn the_longest_event_stays_under_discords_limits() {
        let mut event = event(&"*".repeat(10_000));
        event.app = Some("a".repeat(1000).as_str().into());
        event.log_lines = (0..100).map(|line| format!("{line} ```{}", "&".repeat(400))).collect();
        let body = body(&event);
        let embed = &body["embeds"][0];
        let length = |field: &str| embed[field].as_str().unwrap().chars().count();
        assert!(length("description") <= 4096 && length("title") <= 256);
        let description = embed["description"].as_str().unwrap();
        assert!(
            description.contains("\n99 '''") && description.ends_with("\n```"),
            "{description}"
        );
    }

    #[test]
    fn an_escape_is_never_cut_in_half() {
        assert_eq!(escape("a*b", 4), "a\\*b");
        assert_eq!(escape("a*b", 3), "a…");
        assert_eq!(escape("abc", 3), "abc");
    }
}
