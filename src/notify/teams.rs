//! The body for a workflow of Microsoft Teams ("when a webhook request is received"): a message with one
//! adaptive card.

use serde_json::{Value, json};

use super::{Sender, payload, text};
use crate::{
    model::{Event, Severity},
    numbers,
};

/// A message may have 28 KiB; these leave room, whatever has to be escaped.
const TITLE_MAX: usize = 200;
const TEXT_MAX: usize = 4000;
const LOGS_MAX: usize = 3000;

/// The body for one event.
pub fn teams(event: &Event, sender: &Sender<'_>) -> String {
    let title = match &event.app {
        Some(app) => format!("{app}: {}", event.kind.as_str()),
        None => event.kind.as_str().to_owned(),
    };
    let mut body = vec![
        json!({
            "type": "TextBlock", "text": escape(&numbers::cut(&title, TITLE_MAX)), "weight": "bolder",
            "size": "medium", "color": colour(event.severity()), "wrap": true,
        }),
        json!({ "type": "TextBlock", "text": paragraphs(&text::message(event)), "wrap": true }),
    ];
    if let Some(logs) = logs(event) {
        let block =
            json!({ "type": "TextBlock", "text": logs, "fontType": "monospace", "wrap": true });
        body.push(block);
    }
    let organization = numbers::cut(sender.organization, TITLE_MAX);
    body.push(json!({
        "type": "TextBlock", "text": escape(&format!("{organization} · {} · Waveoff", numbers::moment(event.at))),
        "isSubtle": true, "size": "small", "wrap": true,
    }));
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": { "width": "Full" },
        "body": body,
    });
    if let (Some(page), Value::Object(card)) = (sender.page(event), &mut card) {
        let open = json!([{ "type": "Action.OpenUrl", "title": "Status page", "url": page }]);
        card.insert("actions".to_owned(), open);
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
    .to_string()
}

/// A line of ours is a paragraph there.
fn paragraphs(text: &str) -> String {
    escape(&numbers::cut(text, TEXT_MAX)).replace('\n', "\n\n")
}

/// The end of the log, which says most.
fn logs(event: &Event) -> Option<String> {
    let lines = payload::log_lines(event);
    let mut kept: Vec<String> = Vec::new();
    let mut length = 0;
    for line in lines.iter().rev() {
        length += line.chars().count() + 2;
        if length > LOGS_MAX {
            break;
        }
        kept.push(escape(line));
    }
    kept.reverse();
    (!kept.is_empty()).then(|| kept.join("\n\n"))
}

/// Makes plain text of what a card would format, link or mention.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if "\\*_[]()#`~>!|".contains(char) {
            escaped.push('\\');
        }
        match char {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "accent",
        Severity::Warning => "warning",
        Severity::Error | Severity::Critical => "attention",
    }
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

    #[test]
    fn a_card_says_what_happened_and_nothing_in_it_formats_links_or_mentions() {
        let page_url = Some("https://page.example");
        let sender = Sender { organization: "acme", page_url };
        let body: Value =
            serde_json::from_str(&teams(&event("<at>all</at> [x](http://y) **a**"), &sender))
                .unwrap();
        let card = &body["attachments"][0]["content"];
        insta::assert_snapshot!(card["body"][1]["text"].as_str().unwrap(), @r"api: held, nothing will be rolled back: &lt;at\>all&lt;/at\> \[x\]\(http://y\) \*\*a\*\*.");
        assert_eq!(card["body"][0]["color"], "attention");
        assert_eq!(card["actions"][0]["url"], "https://page.example/apps/api");
    }

    #[test]
    fn the_longest_event_stays_under_the_limit_of_teams() {
        let mut event = event(&"*".repeat(20_000));
        event.log_lines = (0..100).map(|line| format!("{line} {}", "_".repeat(900))).collect();
        let body = teams(&event, &Sender::new(&"*".repeat(5000)));
        assert!(body.len() < 28 * 1024, "{}", body.len());
        assert!(body.contains("99 "));
    }
}
