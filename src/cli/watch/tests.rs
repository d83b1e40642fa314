//! What is said while a daemon is watched.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Seen, changes, scene};
use crate::{
    cli::{
        board::frame,
        status::tests::{organization, rolling_back},
        terminal::Look,
    },
    web::Phase,
};

#[test]
fn into_a_pipe_goes_a_line_for_each_app_that_changes_and_for_one_that_is_gone() {
    let mut known = BTreeMap::new();
    let mut app = rolling_back();
    app.hold = Some("a sale\u{1b}[2J".to_owned());
    app.blind = None;
    let first = changes(&mut known, &organization(vec![app.clone()]));
    assert_eq!(
        first,
        ["2026-03-01 12:00:48  api  rolling back  v42 (deploy- [31m42)  held: a sale [2J"]
    );
    assert!(changes(&mut known, &organization(vec![app.clone()])).is_empty(), "as it was");
    app.phase = Phase::RolledBack;
    app.hold = None;
    let over = changes(&mut known, &organization(vec![app]));
    assert_eq!(over, ["2026-03-01 12:00:48  api  rolled back  v42 (deploy- [31m42)"]);
    let gone = changes(&mut known, &organization(Vec::new()));
    assert_eq!(gone, ["2026-03-01 12:00:48  api  no longer watched"]);
}

#[test]
fn a_daemon_that_is_not_heard_is_said_before_what_it_said_last() {
    let status = organization(vec![rolling_back()]);
    let seen = Seen { status, explained: BTreeMap::new(), heard: Instant::now() };
    let why = "cannot reach the daemon at http://d/api/v1/status: connection refused";
    let scene = scene("http://d", &seen, Some((Duration::from_secs(12), why)));
    let lines = frame(&scene, 80, Some(24));
    let text = Look::plain(Some(80)).paint(&lines.join("\n"));
    let notice = "NOT HEARD for 12 s: cannot reach the daemon at";
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with(notice)), "{text}");
    assert!(text.contains("2026-03-01 12:00:48 UTC"), "{text}");
}
