//! The body of a Slack incoming webhook: blocks, and a plain text for notifications.

use serde_json::{Value, json};

use super::{Sender, payload, text};
use crate::{
    model::{Event, EventKind, Severity},
    numbers::moment,
};

/// Slack takes 3000 characters per text object; a little is left for what surrounds the text.
const SECTION_MAX: usize = 2900;
/// Slack shortens the plain text after 4000 characters.
const FALLBACK_MAX: usize = 3900;

/// The body for one event. Texts are escaped as Slack asks and stay under its limits.
pub fn slack(event: &Event, sender: &Sender<'_>) -> String {
    body(event, sender, "").to_string()
}

/// The same, with what was said before; that is escaped already.
pub(super) fn body(event: &Event, sender: &Sender<'_>, earlier: &str) -> Value {
    let sentence = text::message(event);
    let headline = format!("{} {}", symbol(event), escape(&sentence, SECTION_MAX));
    let organization = escape(sender.organization, 200);
    let mut context = format!("`{}` · {organization} · {}", event.kind.as_str(), moment(event.at));
    if let Some(page) = sender.page(event) {
        context.push_str(&format!(" · <{}|status page>", escape(&page, 500)));
    }
    let mut blocks = vec![section(&headline)];
    let logs = payload::log_lines(event);
    if !logs.is_empty() {
        // The end of a log says most, so the beginning is what has to go.
        let mut kept: Vec<String> = Vec::new();
        let mut length = 0;
        for line in logs.iter().rev() {
            let line = escape(&line.replace("```", "'''"), 600);
            length += line.chars().count() + 1;
            if length > SECTION_MAX {
                break;
            }
            kept.push(line);
        }
        kept.reverse();
        blocks.push(section(&format!("```\n{}\n```", kept.join("\n"))));
    }
    if !earlier.is_empty() {
        blocks.push(json!({
            "type": "context",
            "elements": [{ "type": "mrkdwn", "text": earlier, "verbatim": true }],
        }));
    }
    blocks.push(json!({
        "type": "context",
        "elements": [{ "type": "mrkdwn", "text": context, "verbatim": true }],
    }));
    json!({ "text": escape(&sentence, FALLBACK_MAX), "blocks": blocks })
}

fn section(text: &str) -> Value {
    // Verbatim: Slack must not turn names in the text into links or mentions.
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

/// What a person did, or what is over, is no warning whatever its kind.
fn symbol(event: &Event) -> &'static str {
    match (symbol_of(event.kind), event.severity()) {
        (":warning:" | ":rotating_light:", Severity::Info) => ":information_source:",
        (symbol, _) => symbol,
    }
}

fn symbol_of(kind: EventKind) -> &'static str {
    match kind {
        EventKind::ReleaseDetected
        | EventKind::HoldCleared
        | EventKind::OperatorOrder
        | EventKind::MonitorRecovered
        | EventKind::ConfigReloaded => ":information_source:",
        EventKind::ReleaseTrusted
        | EventKind::ReleaseBaked
        | EventKind::ReleaseRecovered
        | EventKind::RollbackCompleted
        | EventKind::RollbackResumed
        | EventKind::RollbackRegionConfirmed => ":white_check_mark:",
        EventKind::RollbackPlanned | EventKind::RollbackStarted => ":leftwards_arrow_with_hook:",
        EventKind::ReleaseDegraded
        | EventKind::MachineSuspect
        | EventKind::ReleaseUntrusted
        | EventKind::HoldPlaced
        | EventKind::RollbackPaused
        | EventKind::MonitorBlind
        | EventKind::MonitorClock
        | EventKind::MonitorOutbox
        | EventKind::ConfigWarning
        | EventKind::ImageMissing
        | EventKind::ImageNotMirrored
        | EventKind::ImageMixed
        | EventKind::ConfigRejected => ":warning:",
        EventKind::RollbackStopped
        | EventKind::RollbackFailed
        | EventKind::MonitorToken
        | EventKind::MonitorJournal => ":rotating_light:",
    }
}

/// Escapes `&`, `<`, `>` and ends before the escaped text exceeds `max` characters, never inside
/// an escape.
pub(super) fn escape(text: &str, max: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length = 0;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let mut buffer = [0; 4];
        let piece: &str = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut buffer),
        };
        let size = piece.chars().count();
        let room = if characters.peek().is_some() { max.saturating_sub(1) } else { max };
        if length + size > room {
            escaped.push('…');
            break;
        }
        length += size;
        escaped.push_str(piece);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppName, HoldReason, OperatorHold, Reason};

    fn event(reason: &str) -> Event {
        let at = "2026-03-01T02:03:04Z".parse().unwrap();
        let mut event = Event::new(EventKind::HoldPlaced, at, Some(AppName::new("api")));
        event.reason = Some(Reason::Told { text: reason.to_owned() });
        event
    }

    #[test]
    fn nothing_in_an_event_can_mention_or_link() {
        let body: Value = serde_json::from_str(&slack(
            &event("<!here> a & b <http://x|y>"),
            &Sender::new("acme"),
        ))
        .unwrap();
        insta::assert_snapshot!(body["text"].as_str().unwrap(), @"api: held, nothing will be rolled back: &lt;!here&gt; a &amp; b &lt;http://x|y&gt;.");
        insta::assert_snapshot!(body["blocks"][0]["text"]["text"].as_str().unwrap(), @":warning: api: held, nothing will be rolled back: &lt;!here&gt; a &amp; b &lt;http://x|y&gt;.");
        insta::assert_snapshot!(body["blocks"][1]["elements"][0]["text"].as_str().unwrap(), @"`hold.placed` · acme · 2026-03-01 02:03:04 UTC");
    }

    #[test]
    fn what_a_person_holds_is_no_warning_and_its_time_is_in_whole_seconds() {
        let at = "2026-03-01T02:03:04.123456789Z".parse().unwrap();
        let hold = OperatorHold { by: "dana".into(), reason: "x".into(), since: at, until: None };
        let mut event = Event::new(EventKind::HoldPlaced, at, Some(AppName::new("api")));
        event.reason = Some(HoldReason::Operator { hold }.into());
        let body = slack(&event, &Sender::new("acme"));
        assert!(
            body.contains(":information_source: api: nothing will be rolled back: held by dana"),
            "{body}"
        );
        assert!(body.contains("acme · 2026-03-01 02:03:04 UTC\""), "{body}");
    }

    #[test]
    fn the_longest_event_stays_under_slacks_limits() {
        let mut event = event(&"<".repeat(10_000));
        event.log_lines = (0..100).map(|line| format!("{line} ```{}", "&".repeat(900))).collect();
        let body: Value =
            serde_json::from_str(&slack(&event, &Sender::new(&"&".repeat(5000)))).unwrap();
        assert!(body["text"].as_str().unwrap().chars().count() <= 4000);
        let blocks = body["blocks"].as_array().unwrap();
        for block in blocks {
            let text = block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str());
            assert!(text.unwrap().chars().count() <= 3000);
        }
        let logs = blocks[1]["text"]["text"].as_str().unwrap();
        assert!(logs.contains("\n99 '''") && logs.matches("```").count() == 2, "{logs}");
    }

    #[test]
    fn an_escape_is_never_cut_in_half() {
        assert_eq!(escape("a<b", 6), "a&lt;b");
        assert_eq!(escape("a<b", 5), "a…");
        assert_eq!(escape("abc", 3), "abc");
        assert_eq!(escape("abcd", 3), "ab…");
    }
}
