//! `waveoff history`: what happened to an app, or to all of them and to the daemon, and why; newest first.

use std::{fmt::Write as _, io::Write};

use super::{
    client,
    status::{evidence, region_row},
    terminal::{Look, Tone, toned},
    text::{clean_lines, paragraph, table_in, time},
};
use crate::{
    model::{EventKind, Mode, Verdict},
    web::view::{EventView, HistoryView},
};

/// Asks the daemon at `url` for the newest `limit` events of `app` (`None`: of all, and its own) and
/// writes them; `json` passes its answer on unchanged.
///
/// # Errors
/// When the daemon cannot be reached or understood, does not know the app, or `out` cannot be
/// written.
pub async fn run(
    url: &str,
    app: Option<&str>,
    limit: u32,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let whose = app.map_or_else(String::new, |app| format!("/apps/{}", escaped(app)));
    let body = client::get(url, &format!("/api/v1{whose}/history?limit={limit}")).await?;
    if json {
        writeln!(out, "{}", body.trim_end())?;
    } else {
        out.write_all(page(&client::parse(url, &body)?, Look::of_stdout()).as_bytes())?;
    }
    Ok(0)
}

/// A name as one segment of a path, whatever somebody typed.
pub(super) fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

fn page(history: &HistoryView, look: Look) -> String {
    let mut text = String::new();
    for event in &history.events {
        text.push_str(&entry(event, look.width));
    }
    if history.events.is_empty() {
        let whose = history.app.as_ref().map_or_else(String::new, |app| format!("{app}: "));
        let _ = writeln!(text, "{whose}nothing has happened yet");
    }
    if history.next_before.is_some() {
        text.push_str("(older events exist; ask for more with --limit)\n");
    }
    look.paint(&clean_lines(&text))
}

fn entry(event: &EventView, width: Option<usize>) -> String {
    let mut text = format!("{}  {}", time(event.at), toned(Tone::Strong, event.event.as_str()));
    // What follows a plan was done, by whoever ordered it.
    if event.mode == Some(Mode::Observe) && event.event == EventKind::RollbackPlanned {
        text.push_str("  (observe: not done)");
    }
    text.push('\n');
    text.push_str(&paragraph(&event.text, 2, width));
    // The sentence often gives the reason already.
    if let Some(reason) = event.reason.as_ref().filter(|reason| !event.text.contains(*reason)) {
        text.push_str(&paragraph(&format!("because {reason}"), 2, width));
    }
    let telling = event.evidence.iter().filter(|one| one.verdict != Verdict::Pass).cloned();
    text.push_str(&evidence(&telling.collect::<Vec<_>>(), width));
    let regions: Vec<_> = event.regions.iter().map(region_row).collect();
    text.push_str(&table_in(&regions, 4, width));
    for line in &event.log_lines {
        let _ = writeln!(text, "    | {}", line.replace('\n', " "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        AppName, Event, Evidence, Kind, MachineReport, Reason, RegionReport, RegionStage, Unit,
    };

    fn event(kind: EventKind, change: impl FnOnce(&mut Event)) -> EventView {
        let at = "2026-03-01T12:00:05Z".parse().unwrap();
        let mut event = Event::new(kind, at, Some("api".into()));
        change(&mut event);
        EventView::new(7, "id-7".to_owned(), event, "api v42 → v41: 5xx 9.0 %".to_owned())
    }

    fn history(events: Vec<EventView>, next_before: Option<i64>) -> HistoryView {
        HistoryView { app: Some(AppName::new("api")), events, next_before }
    }

    fn breach(threshold: &str, verdict: Verdict) -> Evidence {
        Evidence {
            threshold: threshold.to_owned(),
            kind: Kind::Ratio,
            verdict,
            value: Some(0.09),
            limit: 0.02,
            unit: Unit::Requests,
            source: String::new(),
            bad: 37.0,
            total: 410.0,
            lately: None,
            ln_odds: None,
            ln_odds_needed: None,
            blocks: 1,
            last_blocks: Vec::new(),
            control: None,
            note: None,
            may_roll_back: true,
            applies: true,
            raised: None,
            unseen: false,
        }
    }

    #[test]
    fn a_decision_is_shown_with_the_thresholds_that_made_it() {
        let planned = event(EventKind::RollbackPlanned, |event| {
            event.mode = Some(Mode::Observe);
            event.reason = Some(Reason::Told { text: "5xx breached".to_owned() });
            event.evidence = vec![breach("5xx", Verdict::Breach), breach("p95", Verdict::Pass)];
            event.regions = vec![RegionReport {
                region: "iad".into(),
                phase: RegionStage::Waiting,
                machines: [("m1".into(), MachineReport::Waiting)].into(),
            }];
            event.log_lines = vec!["panic\u{7}: at the disco".to_owned()];
        });
        assert_eq!(
            page(&history(vec![planned], Some(7)), Look::plain(None)),
            "\
2026-03-01 12:00:05  rollback.planned  (observe: not done)
  api v42 → v41: 5xx 9.0 %
  because 5xx breached
    5xx  9.0 %  limit 2 %  37 of 410  breach
    iad  waiting  1 waiting
    | panic : at the disco
(older events exist; ask for more with --limit)
"
        );
    }

    /// A rollback by hand while the policy only observes, as journals of before tell it.
    #[test]
    fn only_a_plan_is_said_to_be_observed_and_not_done() {
        for kind in EventKind::ALL {
            let told = event(kind, |event| event.mode = Some(Mode::Observe));
            let shown = page(&history(vec![told], None), Look::plain(None));
            let is_plan = kind == EventKind::RollbackPlanned;
            assert_eq!(shown.contains("not done"), is_plan, "{shown}");
        }
    }

    #[test]
    fn a_reason_that_the_sentence_gives_is_not_repeated() {
        let held = event(EventKind::HoldPlaced, |event| {
            event.reason = Some(Reason::Told { text: "5xx".to_owned() });
        });
        assert!(!page(&history(vec![held], None), Look::plain(None)).contains("because"));
    }

    #[test]
    fn an_app_without_a_past_says_so() {
        assert_eq!(
            page(&history(Vec::new(), None), Look::plain(None)),
            "api: nothing has happened yet\n"
        );
    }

    #[test]
    fn a_name_stays_one_path_segment() {
        assert_eq!(escaped("my-app_1"), "my-app_1");
        assert_eq!(escaped("../x?y"), "%2E%2E%2Fx%3Fy");
    }
}
