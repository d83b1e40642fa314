//! Waveoff's own metrics as Prometheus text. Label values are apps, thresholds, receivers and
//! names from the source: all bounded by the configuration.

use std::fmt::Write as _;

use super::{
    board::Counters,
    listing::{Entry, Listing},
    outcomes::RollbackOutcome,
    process::Process,
    view::{AppView, MirrorState, OrgView, Phase, ProtectionLevel},
};

/// What a scraper is told the page is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What an app takes on the page, about: five thresholds' worth.
const BYTES_PER_APP: usize = 2500;

/// Writes the page. `outbox`: receiver, messages waiting, messages given up; `None` when the
/// journal did not answer, and then these series are missing rather than wrong.
pub(super) fn page(
    status: &Listing,
    counters: &Counters,
    process: Process,
    outbox: Option<&[(String, u64, u64)]>,
) -> String {
    let views: Vec<&AppView> = status.apps.iter().map(Entry::view).collect();
    let mut page = Page(String::with_capacity(BYTES_PER_APP * (views.len() + 1)));
    of_process(&mut page, process);
    daemon(&mut page, &status.head, counters);
    apps(&mut page, &views);
    totals(&mut page, counters);
    if let Some(outbox) = outbox {
        page.family("waveoff_outbox_pending", "gauge", "Messages waiting for delivery.");
        for (receiver, pending, _) in outbox {
            page.count("waveoff_outbox_pending", &[("receiver", receiver)], *pending);
        }
        page.family("waveoff_outbox_dead", "gauge", "Messages given up.");
        for (receiver, _, dead) in outbox {
            page.count("waveoff_outbox_dead", &[("receiver", receiver)], *dead);
        }
    }
    page.0
}

fn of_process(page: &mut Page, process: Process) {
    let mut told = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            page.family(name, kind, help);
            page.sample(name, &[], value);
        }
    };
    told("process_cpu_seconds_total", "counter", "Processor time used.", process.cpu_s);
    let resident = process.resident_bytes.map(|bytes| bytes as f64);
    told("process_resident_memory_bytes", "gauge", "Memory in use.", resident);
    let files = process.open_files.map(|files| files as f64);
    told("process_open_fds", "gauge", "Open files and sockets.", files);
    told("process_start_time_seconds", "gauge", "When it was started.", process.started_s);
}

fn daemon(page: &mut Page, status: &OrgView, counters: &Counters) {
    page.family("waveoff_build_info", "gauge", "Always 1; the version is the label.");
    page.sample("waveoff_build_info", &[("version", &status.version)], 1.0);
    page.family("waveoff_ready", "gauge", "1 once every watched app had its first round.");
    page.sample("waveoff_ready", &[], if status.ready { 1.0 } else { 0.0 });
    page.family(
        "waveoff_config_refused",
        "gauge",
        "1 while the files hold a configuration that was refused, and the old one is in force.",
    );
    page.count("waveoff_config_refused", &[], u64::from(counters.config_refused));
    page.family("waveoff_journal_failing", "gauge", "1 while the journal cannot be written.");
    page.count("waveoff_journal_failing", &[], u64::from(counters.journal_failing));
    page.family("waveoff_apps_watched", "gauge", "Apps that a policy names.");
    page.count("waveoff_apps_watched", &[], status.apps_watched as u64);
    page.family(
        "waveoff_heartbeat_failing",
        "gauge",
        "1 while the heartbeat is withheld, as something is stuck, or was not taken.",
    );
    if let Some(failing) = counters.heartbeat_failing {
        page.count("waveoff_heartbeat_failing", &[], u64::from(failing));
    }
    if let Some(age) = counters.oldest_round {
        page.family(
            "waveoff_oldest_round_age_seconds",
            "gauge",
            "How long ago the app that was looked at least recently was looked at.",
        );
        page.sample("waveoff_oldest_round_age_seconds", &[], age.as_secs_f64());
    }
    if let Some(lag) = status.feed.lag_s {
        page.family("waveoff_feed_lag_seconds", "gauge", "Age of the last machine feed reading.");
        page.sample("waveoff_feed_lag_seconds", &[], lag);
    }
}

fn apps(page: &mut Page, apps: &[&AppView]) {
    page.family("waveoff_app_phase", "gauge", "1 for the phase an app is in, 0 for the others.");
    for app in apps {
        for phase in Phase::ALL {
            let labels = [("app", app.app.as_str()), ("phase", phase.as_str())];
            page.count("waveoff_app_phase", &labels, u64::from(app.phase == phase));
        }
    }
    page.family("waveoff_app_blind", "gauge", "1 while an app cannot be seen.");
    for app in apps {
        let blind = u64::from(app.blind.is_some());
        page.count("waveoff_app_blind", &[("app", app.app.as_str())], blind);
    }
    page.family(
        "waveoff_threshold_unknown",
        "gauge",
        "1 while nothing is known of what a threshold looks at, by why.",
    );
    for app in apps {
        for unknown in &app.unknown {
            let labels = [
                ("app", app.app.as_str()),
                ("threshold", unknown.threshold.as_str()),
                ("why", unknown.why.as_str()),
            ];
            page.count("waveoff_threshold_unknown", &labels, 1);
        }
    }
    page.family(
        "waveoff_app_protected",
        "gauge",
        "1 while there is a release to go back to, for what is at least so bad.",
    );
    for app in apps {
        let level = app.protection.level;
        for (failure, is) in [
            ("total", level != ProtectionLevel::None),
            ("partial", level == ProtectionLevel::Trusted),
        ] {
            let labels = [("app", app.app.as_str()), ("failure", failure)];
            page.count("waveoff_app_protected", &labels, u64::from(is));
        }
    }
    page.family(
        "waveoff_dispersion",
        "gauge",
        "So many failures count as one, as far as the known-good release's counts spread.",
    );
    for app in apps {
        for (threshold, measured) in &app.dispersions {
            let labels = [("app", app.app.as_str()), ("threshold", threshold.as_str())];
            page.sample("waveoff_dispersion", &labels, measured.phi);
        }
    }
    page.family("waveoff_app_operator_hold", "gauge", "1 while an operator holds the app.");
    for app in apps {
        let held = u64::from(app.operator_hold.is_some());
        page.count("waveoff_app_operator_hold", &[("app", app.app.as_str())], held);
    }
    page.family("waveoff_mirror_images", "gauge", "Trusted images by how their copies stand.");
    for app in apps.iter().filter(|app| !app.mirror.is_empty()) {
        for state in MirrorState::ALL {
            let images = app.mirror.iter().filter(|mirror| mirror.state == state).count();
            let labels = [("app", app.app.as_str()), ("state", state.as_str())];
            page.count("waveoff_mirror_images", &labels, images as u64);
        }
    }
    thresholds(page, apps);
}

fn thresholds(page: &mut Page, apps: &[&AppView]) {
    let evidence =
        || apps.iter().flat_map(|app| app.evidence.iter().map(move |one| (&app.app, one)));
    page.family("waveoff_threshold_value", "gauge", "Measured value, in the limit's unit.");
    for (app, one) in evidence() {
        page.optional("waveoff_threshold_value", app.as_str(), &one.threshold, one.value);
    }
    page.family("waveoff_threshold_limit", "gauge", "Configured limit.");
    for (app, one) in evidence() {
        page.optional("waveoff_threshold_limit", app.as_str(), &one.threshold, one.limit);
    }
    page.family("waveoff_threshold_ln_odds", "gauge", "ln of the odds against the release.");
    for (app, one) in evidence() {
        page.optional("waveoff_threshold_ln_odds", app.as_str(), &one.threshold, one.ln_odds);
    }
}

fn totals(page: &mut Page, counters: &Counters) {
    page.family("waveoff_rollbacks_total", "counter", "Rollbacks by how they ended.");
    for outcome in RollbackOutcome::ALL {
        let count = counters.rollbacks.get(&outcome).copied().unwrap_or_default();
        page.count("waveoff_rollbacks_total", &[("outcome", outcome.as_str())], count);
    }
    page.family("waveoff_blind_seconds_total", "counter", "App-seconds without sight.");
    page.sample("waveoff_blind_seconds_total", &[], counters.blind.as_secs_f64());
    page.family("waveoff_platform_calls_total", "counter", "Calls to the platform.");
    for ((action, outcome), count) in &counters.calls {
        let labels = [("action", *action), ("outcome", outcome.as_str())];
        page.count("waveoff_platform_calls_total", &labels, *count);
    }
}

/// Exposition text in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if value.is_finite() {
            self.series(name, labels, format_args!("{value}"));
        } else if value.is_nan() {
            self.series(name, labels, format_args!("NaN"));
        } else {
            let infinity = if value > 0.0 { "+Inf" } else { "-Inf" };
            self.series(name, labels, format_args!("{infinity}"));
        }
    }

    /// A whole number, exact however large.
    fn count(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.series(name, labels, format_args!("{value}"));
    }

    /// A threshold's number; without data there is no series, which is not the same as 0.
    fn optional(&mut self, name: &str, app: &str, threshold: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.sample(name, &[("app", app), ("threshold", threshold)], value);
        }
    }

    /// Written where it stays: there are thousands.
    fn series(&mut self, name: &str, labels: &[(&str, &str)], value: std::fmt::Arguments<'_>) {
        let text = &mut self.0;
        text.push_str(name);
        for (number, (label, value)) in labels.iter().enumerate() {
            text.push(if number == 0 { '{' } else { ',' });
            text.push_str(label);
            text.push_str("=\"");
            escape(text, value);
            text.push('"');
        }
        text.push_str(if labels.is_empty() { " " } else { "} " });
        self.line(value);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

/// Adds a label's value.
fn escape(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.find(['\\', '"', '\n']) {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        let mut chars = special.chars();
        text.push_str(match chars.next() {
            Some('"') => "\\\"",
            Some('\n') => "\\n",
            _ => "\\\\",
        });
        rest = chars.as_str();
    }
    text.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_and_numbers_are_prometheus_numbers() {
        let mut page = Page::default();
        page.sample("m", &[("a", "x\"y\\z\nw"), ("b", "")], f64::INFINITY);
        page.sample("m", &[], f64::NAN);
        page.sample("m", &[], 0.025);
        page.count("m", &[], u64::MAX);
        assert_eq!(
            page.0,
            "m{a=\"x\\\"y\\\\z\\nw\",b=\"\"} +Inf\nm NaN\nm 0.025\nm 18446744073709551615\n"
        );
    }
}
