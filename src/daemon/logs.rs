//! The last log lines of machines that failed, for the message that tells of it: absent rather
//! than late, because the rollback waits for nothing.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::Ports;
use crate::{
    model::{
        AppName, CheckStatus, Digest, Event, EventKind, ExitEvent, Machine, MachineId, Verdict,
    },
    web::view::EvidenceView,
};

/// For all lines together.
const DEADLINE: Duration = Duration::from_secs(5);
/// Machines of one image whose lines are fetched, the worst ones; and images.
const MACHINES_MAX: usize = 2;
const IMAGES_MAX: usize = 2;
/// Lines per machine, and characters per line.
const LINES_MAX: u32 = 10;
const LINE_LENGTH_MAX: usize = 300;

/// How often lines are fetched at most, and how long they are news.
const FETCH_EVERY: Duration = Duration::from_secs(10);
const FRESH: Duration = Duration::from_secs(60);

/// Lines by machine; without those of machines whose log did not answer.
pub(super) type Fetched = BTreeMap<MachineId, Vec<String>>;

/// The last lines that were fetched. They are fetched beside the rounds, as soon as something looks
/// wrong: whatever is told then has them at hand, and nothing waits for them.
#[derive(Default)]
pub(super) struct LogLines {
    lines: Fetched,
    fetched: Option<Instant>,
    asked: Option<Instant>,
}

impl LogLines {
    /// The machines whose lines are to be fetched now.
    pub(super) fn wanted(&mut self, machines: &[Machine], suspicious: bool) -> Vec<MachineId> {
        let bad = |machine: &&Machine| crashed(machine) || fails_checks(machine);
        if !suspicious && !machines.iter().any(|machine| bad(&machine)) {
            return Vec::new();
        }
        if self.asked.is_some_and(|asked| asked.elapsed() < FETCH_EVERY) {
            return Vec::new();
        }
        self.asked = Some(Instant::now());
        // Of every image the worst: which one will be told of is not known yet.
        let mut chosen: BTreeMap<Option<&Digest>, Vec<&Machine>> = BTreeMap::new();
        for machine in worst_first(machines.iter()) {
            let of_image = chosen.entry(machine.digest()).or_default();
            if of_image.len() < MACHINES_MAX {
                of_image.push(machine);
            }
        }
        let chosen = chosen.into_values().take(IMAGES_MAX).flatten();
        chosen.map(|machine| machine.id.clone()).collect()
    }

    /// Keeps what was fetched.
    pub(super) fn take(&mut self, fetched: Fetched) {
        self.lines = fetched;
        self.fetched = Some(Instant::now());
    }

    /// Adds lines to what tells of a degraded release.
    pub(super) fn attach(&self, events: &mut [Event], machines: &[Machine]) {
        if self.fetched.is_none_or(|fetched| fetched.elapsed() > FRESH) {
            return;
        }
        for event in events.iter_mut().filter(|event| event.kind == EventKind::ReleaseDegraded) {
            let digest = event.release.as_ref().map(|release| &release.digest);
            let failed = machines.iter().filter(|machine| machine.digest() == digest);
            let with_lines = worst_first(failed)
                .into_iter()
                .filter_map(|machine| Some((&machine.id, self.lines.get(&machine.id)?)));
            for (machine, lines) in with_lines.take(MACHINES_MAX) {
                event.log_lines.extend(lines.iter().map(|line| format!("{machine}: {line}")));
            }
        }
    }
}

fn worst_first<'m>(machines: impl Iterator<Item = &'m Machine>) -> Vec<&'m Machine> {
    let mut machines: Vec<&Machine> = machines.collect();
    machines.sort_by_key(|machine| (!crashed(machine), !fails_checks(machine)));
    machines
}

/// Whether a threshold's numbers make lines worth having.
pub(super) fn is_suspicious(evidence: &EvidenceView) -> bool {
    evidence.verdict == Verdict::Breach
        || (evidence.counts.bad > 0.0 && evidence.ln_odds.is_none_or(|odds| odds > 0.0))
}

/// The last lines of these machines, as far as they come in time.
pub(super) async fn fetch(ports: &Ports, app: &AppName, machines: Vec<MachineId>) -> Fetched {
    let reading = join_all(machines.into_iter().map(|machine| async move {
        let lines = ports.platform.log_lines(app, &machine, LINES_MAX).await;
        (machine, lines)
    }));
    let Ok(answers) = timeout(DEADLINE, reading).await else {
        tracing::debug!(app = %app, "{app}: no log lines in time");
        return Fetched::new();
    };
    let mut fetched = Fetched::new();
    for (machine, lines) in answers {
        match lines {
            Ok(lines) => {
                fetched.insert(machine, lines.iter().map(|line| tidy(line)).collect());
            }
            Err(error) => {
                tracing::debug!(app = %app, machine.id = %machine, "no log lines: {error}");
            }
        }
    }
    fetched
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
