//! The table of a receiver, `[[receiver]]`.

use std::time::Duration;

use super::{
    Key, Table, Takes,
    Unsaid::{Is, Means, Required},
};
use crate::model::EventKind;

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;

pub(super) static RECEIVER: Table = Table {
    keys: &[
        Key {
            name: "name",
            takes: Takes::Text,
            unsaid: Required,
            doc: "letters, digits, `-`, `_`; deliveries are kept under it",
        },
        Key {
            name: "format",
            takes: Takes::Words(&["standard", "slack", "discord", "teams", "pagerduty", "grafana"]),
            unsaid: Required,
            doc: r#"`"standard"` ([signed JSON](webhooks.md)), `"slack"`, `"discord"`, `"teams"`, `"pagerduty"` or `"grafana"`"#,
        },
        Key {
            name: "url_env",
            takes: Takes::Text,
            unsaid: Is("this or `url`"),
            doc: "the variable that holds the URL; an incoming webhook's of Slack, Discord or Teams is a secret and must be given so. PagerDuty needs none, but `https://events.eu.pagerduty.com/v2/enqueue` in Europe; a Slack bot needs none",
        },
        Key {
            name: "url",
            takes: Takes::Text,
            unsaid: Is("this or `url_env`"),
            doc: "the URL itself, `https://` or `http://`; Grafana's address",
        },
        Key {
            name: "token_env",
            takes: Takes::Text,
            unsaid: Is(
                "required for `grafana`; `slack` with it is [a bot](webhooks.md#one-message-of-a-rollback)",
            ),
            doc: "the variable that holds a token: a Slack bot's (`xoxb-…`), or of a service account of Grafana",
        },
        Key {
            name: "channel",
            takes: Takes::Text,
            unsaid: Is("required for a Slack bot"),
            doc: "the channel that a Slack bot writes into: its id (`C0123456789`), or its name",
        },
        Key {
            name: "secrets_env",
            takes: Takes::Texts,
            unsaid: Is("none: unsigned"),
            doc: "the variables that hold signing secrets, the newest first; all of them sign. Each is `whsec_` and the base64 of 24 to 64 bytes: `echo whsec_$(openssl rand -base64 32)`",
        },
        Key {
            name: "routing_key_env",
            takes: Takes::Text,
            unsaid: Is("required for `pagerduty`"),
            doc: "the variable that holds the key of an Events API v2 integration: 32 letters and digits",
        },
        Key {
            name: "apps",
            takes: Takes::Texts,
            unsaid: Is("`[]`: all"),
            doc: r#"only of apps that match one of these patterns, such as `["shop-*"]`, and what is of no app"#,
        },
        Key {
            name: "severity",
            takes: Takes::Words(&["info", "warning", "error", "critical"]),
            unsaid: Means(r#""info""#),
            doc: "only what is at least [so bad](webhooks.md#severity)",
        },
        Key {
            name: "events",
            takes: Takes::Several(events),
            unsaid: Is("`[]`: all; in a chat [those that matter](webhooks.md#in-a-chat)"),
            doc: r#"only these [kinds](webhooks.md), such as `["rollback.started", "rollback.completed", "hold.placed"]`"#,
        },
        Key {
            name: "max_age",
            takes: Takes::Span {
                least: Duration::from_secs(MINUTE),
                most: Duration::from_secs(30 * DAY),
            },
            unsaid: Means(r#""24h""#),
            doc: "a message that could not be delivered for so long is given up: 1 minute to 30 days",
        },
    ],
};

fn events() -> Vec<String> {
    EventKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect()
}
