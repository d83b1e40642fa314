//! Where keys belong: for those that stand in the wrong place.

use super::problem::Wrong;

/// Keys and the tables that they belong in.
const PLACES: [(&str, &[&str]); 7] = [
    (
        "at the top of a threshold file, before the first [table]",
        &["apps", "exclude", "mode", "use"],
    ),
    (
        "in [watch] of a threshold file",
        &[
            "scrape_every",
            "idle_scrape_every",
            "warm_up",
            "bake",
            "block",
            "false_rollbacks",
            "countdown",
            "unvouched_countdown",
            "floor",
            "late",
            "false_late_alarms",
            "approve_within",
        ],
    ),
    (
        "in [rollback] of a threshold file",
        &[
            "order",
            "confirm",
            "strategy",
            "max_unavailable",
            "escalate",
            "only_breaching_regions",
            "migrations",
            "first_target",
            "per_day_max",
            "ready_timeout",
            "mirror",
        ],
    ),
    ("in [metrics] of a threshold file", &["port", "path"]),
    (
        "at the top of waveoff.toml, before the first [table]",
        &[
            "organization",
            "listen",
            "data_dir",
            "keep_history",
            "heartbeat_url_env",
            "per_organization_max",
        ],
    ),
    ("in a [[receiver]] of waveoff.toml", &["url", "url_env", "secrets_env", "max_age"]),
    ("in a [[metrics_server]] of waveoff.toml", &["token_env", "app_label", "machine_label"]),
];

/// What is wrong with a key that another table has; `here` is the table that it stands in.
pub(super) fn misplaced(key: &str, here: &str) -> Option<Wrong> {
    if (here == "receiver" || here.starts_with("receiver "))
        && let "secret" | "secrets" | "signing_secret" = key
    {
        return Some(Wrong::but(
            "secrets do not belong in a file",
            "put it into an environment variable and name that: secrets_env = [\"OPS_WEBHOOK_SECRET\"]",
        ));
    }
    let (place, _) = PLACES.iter().find(|(_, keys)| keys.contains(&key))?;
    Some(Wrong::but("does not belong here", format!("`{key}` stands {place}")))
}
