//! `waveoff check`: what is wrong with a configuration, or else what it puts in force.
//!
//! Variables that receivers name need not be set here, since files are checked on laptops and in
//! CI: that is a warning, where `waveoff run` refuses to start.

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::{Value, json};

use super::{
    in_force::{mirror, policy_json, texts},
    terminal::Look,
    text,
};
use crate::{
    config::{self, Checked, ConfigErrors, Format, PolicyFile, duration_text, share_text},
    model::{
        MaxUnavailable, Mode, NoData, OnBreach, Policy, RegionOrder, RegionsAtOnce, Severity,
        Strategy, Threshold,
    },
};

const WRONG: i32 = 2;

pub(super) fn run(dir: &Path, json: bool, out: &mut dyn Write) -> i32 {
    let environment = |name: &str| std::env::var(name).ok();
    let result = config::check(dir, environment);
    let (written, code) = match (&result, json) {
        (Ok(checked), false) => (show(dir, checked, out), 0),
        (Ok(checked), true) => (writeln!(out, "{}", valid(checked)), 0),
        (Err(errors), false) => (text::complain(&errors.to_string()), WRONG),
        (Err(errors), true) => (writeln!(out, "{}", invalid(errors)), WRONG),
    };
    // Whoever reads only the beginning of the output still gets the right exit code.
    let _unread = written.is_err();
    code
}

pub(super) fn invalid(errors: &ConfigErrors) -> Value {
    json!({ "valid": false, "problems": errors.problems() })
}

fn valid(checked: &Checked) -> Value {
    let config = &checked.config;
    let receivers: Vec<Value> = config
        .receivers
        .values()
        .map(|receiver| {
            json!({
                "name": receiver.name,
                "format": receiver.format.as_str(),
                "events": receiver.events,
                "apps": texts(&receiver.apps),
                "severity": receiver.severity,
                "max_age": duration_text(receiver.max_age),
                "secrets": receiver.secrets.len(),
            })
        })
        .collect();
    let policies: Vec<Value> = config.policies.iter().map(policy_json).collect();
    json!({
        "valid": true,
        "organization": config.organization,
        "listen": config.listen,
        "data_dir": config.data_dir,
        "keep_history": duration_text(config.keep_history),
        "receivers": receivers,
        "policies": policies,
        "warnings": checked.warnings,
    })
}

fn show(dir: &Path, checked: &Checked, out: &mut dyn Write) -> io::Result<()> {
    let config = &checked.config;
    writeln!(out, "{} is valid.\n", dir.display())?;
    let rows = [
        ("organization", config.organization.clone()),
        ("listen", config.listen.to_string()),
        ("data_dir", config.data_dir.display().to_string()),
        ("keep_history", duration_text(config.keep_history)),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
    write!(out, "{}", text::table_in(&rows, 0, Look::of_stdout().width))?;
    for receiver in config.receivers.values() {
        let events: Vec<&str> = receiver.events.iter().map(|kind| kind.as_str()).collect();
        let mut events = match receiver.format {
            _ if !events.is_empty() => events.join(", "),
            format if format.is_chat() => "what matters".to_owned(),
            Format::PagerDuty => "what opens or closes an incident".to_owned(),
            Format::Grafana => "releases, breaches and rollbacks".to_owned(),
            _ => "every event".to_owned(),
        };
        if receiver.severity > Severity::Info {
            events.push_str(&format!(", from {} on", receiver.severity.as_str()));
        }
        if !receiver.apps.is_empty() {
            events.push_str(&format!(", of {}", texts(&receiver.apps).join(", ")));
        }
        let signed = match receiver.format {
            Format::Standard if receiver.secrets.is_empty() => ", unsigned",
            Format::Standard => ", signed",
            Format::Slack
            | Format::Discord
            | Format::Teams
            | Format::PagerDuty
            | Format::Grafana => "",
        };
        let format = receiver.format.as_str();
        let age = duration_text(receiver.max_age);
        let what = format!("{format}{signed}; {events}; given up after {age}");
        let line = format!("receiver {}: {what}", receiver.name);
        write!(out, "\n{}", text::paragraph(&line, 0, Look::of_stdout().width))?;
    }
    for file in &config.policies {
        show_policy(file, out)?;
    }
    if !checked.warnings.is_empty() {
        writeln!(out, "\nWarnings:")?;
        for warning in &checked.warnings {
            let width = Look::of_stdout().width;
            write!(out, "{}", text::paragraph(&warning.to_string(), 2, width))?;
        }
    }
    Ok(())
}

fn show_policy(file: &PolicyFile, out: &mut dyn Write) -> io::Result<()> {
    let policy = &file.policy;
    let mode = match policy.mode {
        Mode::Observe => "observe: says what would be rolled back, and does nothing",
        Mode::Approve => "approve: asks a person before it rolls back",
        Mode::Rollback => "rollback",
    };
    writeln!(out, "\npolicy {} ({})", policy.name, file.path.display())?;
    let mut apps = texts(&file.apps).join(", ");
    if !file.exclude.is_empty() {
        apps.push_str(&format!(", but not {}", texts(&file.exclude).join(", ")));
    }
    let mut rows = vec![
        ("apps", apps),
        ("mode", mode.to_owned()),
        ("watch", watch(policy)),
        ("rollback", rollback(policy)),
    ];
    let (port, path) = (policy.metrics_port, policy.metrics_path.as_deref());
    if port.is_some() || path.is_some() || policy.metrics_https.is_some() {
        let port = port.map_or("the machine's own port".to_owned(), |port| format!("port {port}"));
        let secure = match policy.metrics_https {
            Some(true) => ", by https",
            Some(false) => ", by http",
            None => "",
        };
        let path = path.unwrap_or("the machine's own path");
        rows.push(("metrics", format!("{port}, {path}{secure}")));
    }
    if let Some(rule) = &policy.rollback.mirror {
        rows.push(("mirror", format!("trusted images are copied to {}", mirror(rule))));
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect();
    write!(out, "{}", text::table_in(&rows, 2, Look::of_stdout().width))?;
    let rows: Vec<Vec<String>> = policy
        .thresholds
        .iter()
        .map(|threshold| vec![text::clean(&threshold.name), meaning(threshold)])
        .collect();
    writeln!(out, "  thresholds")?;
    write!(out, "{}", text::table_in(&rows, 4, Look::of_stdout().width))
}

fn watch(policy: &Policy) -> String {
    let watch = &policy.watch;
    let odds = (1.0 / watch.false_rollbacks).round();
    let mut text = format!(
        "bake {}, scrapes every {} ({} when idle), blocks of {}, 1 false rollback in {odds} healthy releases",
        duration_text(watch.bake),
        duration_text(watch.scrape_every),
        duration_text(watch.idle_scrape_every),
        duration_text(watch.block),
    );
    if !watch.warm_up.is_zero() {
        text.push_str(&format!(", warm-up {}", duration_text(watch.warm_up)));
    }
    if !watch.countdown.is_zero() {
        text.push_str(&format!(", countdown {}", duration_text(watch.countdown)));
    }
    text
}

/// How long a region is watched: `2s to 30s, or to 90s by a server's metrics`.
fn confirm_text(policy: &Policy) -> String {
    let confirm = policy.rollback.confirm;
    let text = format!("{} to {}", duration_text(confirm.at_least), duration_text(confirm.at_most));
    let all = policy.thresholds.iter().map(|threshold| threshold.name.as_str());
    match policy.confirms_within(all) {
        longest if longest > confirm.at_most => {
            format!("{text}, or to {} by what a server is asked for", duration_text(longest))
        }
        _ => text,
    }
}

fn rollback(policy: &Policy) -> String {
    let rollback = &policy.rollback;
    let order = match &rollback.order {
        RegionOrder::WorstFirst => "worst region first".to_owned(),
        RegionOrder::Listed(regions) => {
            let names: Vec<&str> =
                regions.iter().map(|r| r.as_ref().map_or("the others", |r| r.as_str())).collect();
            names.join(" → ")
        }
    };
    let strategy = match (rollback.strategy, rollback.max_unavailable) {
        (Strategy::Immediate, _) => "all machines of a region at once".to_owned(),
        (Strategy::Rolling, MaxUnavailable::Share(share)) => {
            format!("at most {} of a region down", share_text(share))
        }
        (Strategy::Rolling, MaxUnavailable::Count(count)) => {
            format!("at most {count} machines of a region down")
        }
    };
    let regions = match rollback.regions_at_once {
        RegionsAtOnce::Doubling => "then 1, 2, 4… regions".to_owned(),
        RegionsAtOnce::All => "then all regions".to_owned(),
        RegionsAtOnce::Count(1) => "one region after the other".to_owned(),
        RegionsAtOnce::Count(count) => format!("then {count} regions at a time"),
    };
    let mut text = format!(
        "{order}, {regions}, {strategy}, confirm {}, ready within {}, at most {} a day",
        confirm_text(policy),
        duration_text(rollback.ready_timeout),
        rollback.per_day_max
    );
    for (holds, remark) in [
        (rollback.strategy == Strategy::Rolling && !rollback.escalate, "never all at once"),
        (!rollback.overlap, "each region confirmed before the next"),
        (rollback.only_breaching_regions, "breaching regions only"),
        (rollback.despite_migrations, "despite migrations"),
        (rollback.first_target_previous, "first target: the previous release"),
        (rollback.restore_config, "environment, services, checks and init put back"),
    ] {
        if holds {
            text.push_str(", ");
            text.push_str(remark);
        }
    }
    text
}

pub(super) fn meaning(threshold: &Threshold) -> String {
    let mut text = threshold.room().describe();
    match threshold.no_data {
        NoData::Hold => {}
        NoData::Ignore => text.push_str("; no data is ignored"),
        NoData::Breach => text.push_str("; no data is a breach"),
    }
    if threshold.on_breach == OnBreach::Alert {
        text.push_str("; only alerts");
    }
    text::clean(&text)
}
