//! The last log lines of machines that failed, for the message that tells of it: absent rather
//! than late, because the rollback waits for nothing.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::Ports;
use crate::model::{AppName, CheckStatus, Event, EventKind, ExitEvent, Machine};

/// For all lines together.
const DEADLINE: Duration = Duration::from_millis(1500);
/// Machines whose lines are fetched, the worst ones.
const MACHINES_MAX: usize = 2;
/// Lines per machine, and characters per line.
const LINES_MAX: u32 = 10;
const LINE_LENGTH_MAX: usize = 300;

/// Adds log lines to what tells of a degraded release.
pub(super) async fn attach(
    ports: &Ports,
    app: &AppName,
    events: &mut [Event],
    machines: &[Machine],
) {
    for event in events.iter_mut().filter(|event| event.kind == EventKind::ReleaseDegraded) {
        let digest = event.release.as_ref().map(|release| &release.digest);
        let mut failed: Vec<&Machine> =
            machines.iter().filter(|machine| machine.digest() == digest).collect();
        failed.sort_by_key(|machine| (!crashed(machine), !fails_checks(machine)));
        failed.truncate(MACHINES_MAX);
        let reading = join_all(failed.iter().map(|machine| async {
            let lines = ports.platform.log_lines(app, &machine.id, LINES_MAX).await;
            (&machine.id, lines)
        }));
        let Ok(answers) = timeout(DEADLINE, reading).await else {
            tracing::debug!(app = %app, "{app}: no log lines in time");
            continue;
        };
        for (machine, lines) in answers {
            match lines {
                Ok(lines) => {
                    let lines = lines.iter().map(|line| format!("{machine}: {}", tidy(line)));
                    event.log_lines.extend(lines);
                }
                Err(error) => {
                    tracing::debug!(app = %app, machine.id = %machine, "no log lines: {error}");
                }
            }
        }
    }
}

fn crashed(machine: &Machine) -> bool {
    machine.exits.iter().any(ExitEvent::is_crash)
}

fn fails_checks(machine: &Machine) -> bool {
    machine.checks.iter().any(|check| check.status == CheckStatus::Critical)
}

/// One line without control characters, cut to a length that a message can hold.
fn tidy(line: &str) -> String {
    line.chars().filter(|char| !char.is_control()).take(LINE_LENGTH_MAX).collect()
}
