//! What a machine's log says: its life as the platform saw it, and its failed requests.

use serde_json::Value;

use super::{behaviour::CheckSays, machine::SimMachine, org::Org, refusal::Refusal};

/// Lines at most.
const LINES_MAX: usize = 100;

impl Org {
    /// A machine's log lines, oldest first; never none.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn log_lines(&self, app: &str, id: &str) -> Result<Vec<String>, Refusal> {
        Ok(lines(self.machine(app, id)?))
    }
}

fn lines(machine: &SimMachine) -> Vec<String> {
    let mut lines: Vec<String> = machine.events.iter().rev().filter_map(life).collect();
    if let Some(process) = machine.process.as_ref().filter(|process| process.failed > 0) {
        let all = process.ok + process.failed;
        lines.push(format!("GET /users/{{id}} 500 ({} of {all} requests failed)", process.failed));
    }
    if machine.check.is_some_and(|check| check.says == CheckSays::Critical) {
        lines.push("health check failed: 500 Internal Server Error".to_owned());
    }
    if lines.is_empty() {
        lines.push("machine created".to_owned());
    }
    let skipped = lines.len().saturating_sub(LINES_MAX);
    lines.split_off(skipped)
}

/// One event as the platform's supervisor writes it.
fn life(event: &Value) -> Option<String> {
    match event.get("type")?.as_str()? {
        "start" => Some("process started".to_owned()),
        "exit" => {
            let exit = event.pointer("/request/exit_event")?;
            let code = exit.get("exit_code")?.as_i64()?;
            let why = if exit.get("oom_killed")?.as_bool()? { ", out of memory" } else { "" };
            Some(format!("process exited with code {code}{why}"))
        }
        _ => None,
    }
}
