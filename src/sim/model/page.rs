//! The metrics page of a machine, as an instrumented web application writes it.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    machine::{Process, SimMachine},
    org::Org,
};

/// Upper bounds of the latency histogram, in seconds.
pub(super) const BOUNDS: [f64; 9] = [0.05, 0.1, 0.25, 0.5, 0.8, 1.0, 2.5, 5.0, 10.0];

/// How a machine serves its metrics page, whatever the page says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageKind {
    #[default]
    Normal,
    /// 100 MB of other series before its own.
    Huge,
    /// Other series, without end.
    Endless,
    /// A web page, as from a server that answers every path.
    Html,
    /// The connection is taken and nothing is said.
    Silent,
    /// The connection breaks in the middle.
    Cut,
}

/// The requests that one process answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When it started.
    pub since: Timestamp,
    pub ok: u64,
    /// Those answered with an error.
    pub failed: u64,
}

/// The place of the first bound that a latency does not exceed; past the end for `+Inf`.
pub(in crate::sim) fn bucket(seconds: f64) -> usize {
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())
}

impl Org {
    /// How a machine serves its page.
    pub(in crate::sim) fn page_kind(&self, id: &str) -> PageKind {
        self.odd_pages.get(id).copied().unwrap_or_default()
    }

    pub(in crate::sim) fn set_page_kind(&mut self, id: &str, kind: PageKind) {
        self.odd_pages.remove(id);
        if kind != PageKind::Normal {
            self.odd_pages.insert(id.to_owned(), kind);
        }
    }

    /// What a machine's process counted so far, as its page tells it; `None` while there is no page.
    pub fn counted(&self, app: &str, id: &str) -> Option<Counted> {
        let machine = self.machine(app, id).ok()?;
        machine.version.metrics()?;
        let answers = machine.is_started() && machine.host == "ok" && !self.unreadable.contains(id);
        let process = machine.process.as_ref().filter(|_| answers)?;
        Some(Counted { since: process.since, ok: process.ok, failed: process.failed })
    }

    /// Whether a machine has its page there, readable or not.
    pub(in crate::sim) fn has_page_at(&self, app: &str, id: &str, port: u16, path: &str) -> bool {
        let page = self.machine(app, id).ok().and_then(|machine| machine.version.metrics());
        page == Some((port, path.to_owned()))
    }

    /// A machine's metrics page now; `None` while no process answers there.
    pub fn page(&self, app: &str, id: &str, path: &str) -> Option<String> {
        let machine = self.machine(app, id).ok()?;
        let (_, wanted) = machine.version.metrics()?;
        let answers = machine.is_started()
            && machine.host == "ok"
            && path == wanted
            && !self.unreadable.contains(id);
        let process = machine.process.as_ref().filter(|_| answers)?;
        Some(self.text(machine, process, self.now))
    }

    fn text(&self, machine: &SimMachine, process: &Process, now: Timestamp) -> String {
        let behaviour = self.behaviour_of(machine);
        let mut page = String::with_capacity(2048);
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _written = page.write_fmt(text).is_ok();
        };
        let since = process.since.as_duration().as_secs_f64();
        line(format_args!("# HELP process_start_time_seconds When the process started.\n"));
        line(format_args!("# TYPE process_start_time_seconds gauge\n"));
        line(format_args!("process_start_time_seconds {since}\n"));
        let uptime = now.duration_since(process.runs_since).as_secs_f64();
        let memory = (behaviour.memory_bytes + behaviour.leak_bytes_per_s * uptime).floor();
        line(format_args!("# HELP process_resident_memory_bytes Memory in use.\n"));
        line(format_args!("# TYPE process_resident_memory_bytes gauge\n"));
        line(format_args!("process_resident_memory_bytes {memory}\n"));
        line(format_args!("# HELP http_requests_total Requests answered.\n"));
        line(format_args!("# TYPE http_requests_total counter\n"));
        // As with most client libraries, a series begins with its first event.
        let (bought, broken) = process.checkout;
        let (ok, failed) = (process.ok - bought, process.failed - broken);
        for (path, method, status, count) in [
            ("/users/{id}", "GET", "200", ok),
            ("/users/{id}", "GET", "500", failed),
            ("/checkout", "POST", "200", bought),
            ("/checkout", "POST", "500", broken),
        ] {
            if count > 0 || (path != "/checkout" && status == "200") {
                line(format_args!(
                    "http_requests_total{{method=\"{method}\",path=\"{path}\",\
                     status=\"{status}\"}} {count}\n"
                ));
            }
        }
        line(format_args!("# HELP http_request_duration_seconds Time to answer.\n"));
        line(format_args!("# TYPE http_request_duration_seconds histogram\n"));
        let total = process.ok + process.failed;
        let slow: u64 = process.slow.values().sum();
        let mut below = total - slow.min(total);
        for (place, bound) in BOUNDS.iter().enumerate() {
            below += process.slow.get(&place).copied().unwrap_or(0);
            line(format_args!("http_request_duration_seconds_bucket{{le=\"{bound}\"}} {below}\n"));
        }
        line(format_args!("http_request_duration_seconds_bucket{{le=\"+Inf\"}} {total}\n"));
        line(format_args!("http_request_duration_seconds_sum {}\n", process.seconds));
        line(format_args!("http_request_duration_seconds_count {total}\n"));
        page
    }
}
