//! `waveoff config show`: what is in force for an app, and which line of which file says so; and
//! policies as JSON.

use std::{io::Write, path::Path};

use serde_json::{Value, json};

use super::{
    check,
    terminal::{Look, columns, padded},
    text,
};
use crate::{
    config::{
        self, AppGlob, Checked, Config, ConfigErrors, PolicyFile, duration_text, lines, schema,
        share_text,
    },
    model::{
        AppName, MaxUnavailable, MirrorRule, OnBreach, Policy, RegionOrder, RegionsAtOnce,
        Threshold,
    },
};

const WRONG: i32 = 2;
const UNWATCHED: i32 = 1;
/// Spaces between the columns.
const GAP: usize = 2;

/// One key in force.
struct Row {
    key: String,
    value: String,
    /// `web.toml:12`; `None`: nobody wrote it.
    from: Option<String>,
    /// Whether the value is a sentence, which a narrow column would tear to pieces.
    is_sentence: bool,
}

pub(super) fn run(dir: &Path, app: &str, json: bool, out: &mut dyn Write) -> anyhow::Result<i32> {
    show(config::check(dir, |name| std::env::var(name).ok()), app, json, out)
}

/// The same of a configuration that was read.
pub(super) fn show(
    checked: Result<Checked, ConfigErrors>,
    app: &str,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<i32> {
    let checked = match checked {
        Ok(checked) => checked,
        Err(errors) if json => {
            writeln!(out, "{}", check::invalid(&errors))?;
            return Ok(WRONG);
        }
        Err(errors) => {
            text::complain(&errors.to_string())?;
            return Ok(WRONG);
        }
    };
    let name = AppName::new(app);
    let width = Look::of_stdout().width;
    let Some((file, pattern)) = checked.config.file_for(&name) else {
        let why = unwatched(&checked.config, &name);
        if json {
            writeln!(out, "{}", json!({ "app": app, "watched": false, "why": why }))?;
        } else {
            let said = format!("{} is not watched: {why}", text::clean(app));
            writeln!(out, "{}", text::fit(&said, width))?;
        }
        return Ok(UNWATCHED);
    };
    let rows = rows(file);
    if json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| json!({ "key": row.key, "value": row.value, "from": row.from }))
            .collect();
        let of = json!({
            "app": app, "watched": true, "policy": file.policy.name, "file": file.path,
            "pattern": pattern.as_str(), "line": pattern.line(), "keys": rows,
        });
        writeln!(out, "{of}")?;
        return Ok(0);
    }
    let line = pattern.line().map(|line| format!(":{line}")).unwrap_or_default();
    let said = format!(
        "{} is watched by the policy {} ({}{line}: \"{}\")\n",
        text::clean(app),
        file.policy.name,
        file.path.display(),
        pattern.as_str()
    );
    writeln!(out, "{}", text::fit(&said, width))?;
    write!(out, "{}", listed(&rows, width))?;
    Ok(0)
}

/// The keys in lines. In a terminal of `width` columns a value that is a sentence, or has a word for which
/// there is no room beside its key, stands below it.
fn listed(rows: &[Row], width: Option<usize>) -> String {
    let place = |row: &Row| row.from.clone().unwrap_or_else(|| "default".to_owned());
    let Some(width) = width else {
        let cells = |row: &Row| vec![row.key.clone(), place(row), row.value.clone()];
        return text::table(&rows.iter().map(cells).collect::<Vec<_>>(), 0);
    };
    // The line above names the file.
    let place = |row: &Row| match place(row).split_once(".toml:") {
        Some((_, line)) => format!("line {line}"),
        None => place(row),
    };
    let beside = || rows.iter().filter(|row| !row.is_sentence);
    let widest = |widths: &mut dyn Iterator<Item = usize>| widths.max().unwrap_or(0) + GAP;
    let key = widest(&mut beside().map(|row| columns(&row.key)));
    let from = widest(&mut beside().map(|row| columns(&place(row))));
    let room = width.saturating_sub(key + from);
    let mut listed = String::new();
    for row in rows {
        let fits = row.value.split(' ').all(|word| columns(word) <= room);
        if row.is_sentence || !fits {
            let text = format!("{}  {}\n  {}\n", row.key, place(row), row.value);
            listed.push_str(&text::fit(&text, Some(width)));
            continue;
        }
        let head = format!("{}{}", padded(&row.key, key), padded(&place(row), from));
        let joint = format!("\n{}", " ".repeat(key + from));
        let value = text::broken(&row.value, room).join(&joint);
        listed.push_str(&format!("{head}{value}\n"));
    }
    listed
}

/// Why no policy watches an app.
fn unwatched(config: &Config, app: &AppName) -> String {
    if config.own_app.as_ref() == Some(app) {
        return "it is the app that Waveoff itself runs as".to_owned();
    }
    if let Some(tie) = config.ties(std::slice::from_ref(app)).into_iter().next() {
        return format!("{tie}; name it in one of them");
    }
    let excluding = config.policies.iter().find_map(|file| {
        let by = file.exclude.iter().find(|glob| glob.matches(app.as_str()))?;
        let line = by.line().map(|line| format!(":{line}")).unwrap_or_default();
        let place = format!("{}{line}", file.path.display());
        let is_meant = file.apps.iter().any(|glob| glob.matches(app.as_str()));
        is_meant.then(|| format!("exclude = [\"{}\"] in {place} takes it out", by.as_str()))
    });
    excluding.unwrap_or_else(|| "no pattern in `apps` of any threshold file matches it".to_owned())
}

/// Every key of a policy, in the order of the reference.
fn rows(file: &PolicyFile) -> Vec<Row> {
    let lines = lines(&file.path);
    let short = file.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let short = short.unwrap_or_default();
    let from = |key: &str| lines.get(key).map(|line| format!("{short}:{line}"));
    let all = policy_json(file);
    let mut rows = Vec::new();
    for (table, key) in schema::policy_keys() {
        let (path, value) = match table {
            Some(table) => (format!("{table}.{key}"), all.get(table).and_then(|t| t.get(key))),
            None => (key.to_owned(), all.get(key)),
        };
        if let Some(value) = value {
            let from = from(&path);
            rows.push(Row { value: written(value), from, key: path, is_sentence: false });
        }
    }
    let of_threshold = |threshold: &Threshold| {
        let key = format!("threshold {:?}", threshold.name);
        let from = from(&key).or_else(|| from("use").map(|place| format!("{place}, by a preset")));
        Row { value: check::meaning(threshold), from, key, is_sentence: true }
    };
    rows.extend(file.policy.thresholds.iter().map(of_threshold));
    // Those of the file come first; the others are the organization's.
    for (freeze, number) in file.policy.freezes.iter().zip(1..) {
        let key = format!("freeze {number}");
        let from = from(&key).unwrap_or_else(|| "waveoff.toml".to_owned());
        let value = format!("{}, for {}", freeze.reason, duration_text(freeze.lasts));
        rows.push(Row { key, value, from: Some(from), is_sentence: true });
    }
    for row in &mut rows {
        row.value = text::clean(&row.value);
    }
    rows
}

/// A value as a file has it.
fn written(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(written).collect();
            format!("[{}]", list.join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key} = {}", written(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::String(_) | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

pub(super) fn mirror(rule: &MirrorRule) -> String {
    format!("{}/{}", rule.registry, rule.repository)
}

pub(super) fn texts(globs: &[AppGlob]) -> Vec<&str> {
    globs.iter().map(AppGlob::as_str).collect()
}

pub(super) fn policy_json(file: &PolicyFile) -> Value {
    let policy = &file.policy;
    let thresholds: Vec<Value> = policy
        .thresholds
        .iter()
        .map(|threshold| {
            json!({
                "name": threshold.name,
                "kind": threshold.room().kind().as_str(),
                "limit": threshold.room().describe(),
                "no_data": threshold.no_data,
                "action": threshold.on_breach,
            })
        })
        .collect();
    json!({
        "name": policy.name,
        "file": file.path,
        "apps": texts(&file.apps),
        "exclude": texts(&file.exclude),
        "mode": policy.mode,
        "watch": watch_json(policy),
        "rollback": rollback_json(policy),
        "metrics": {
            "port": policy.metrics_port,
            "path": policy.metrics_path,
            "https": policy.metrics_https,
        },
        "thresholds": thresholds,
    })
}

fn watch_json(policy: &Policy) -> Value {
    let watch = &policy.watch;
    json!({
        "scrape_every": duration_text(watch.scrape_every),
        "idle_scrape_every": duration_text(watch.idle_scrape_every),
        "warm_up": duration_text(watch.warm_up),
        "bake": duration_text(watch.bake),
        "block": duration_text(watch.block),
        "false_rollbacks": format!("1 in {}", (1.0 / watch.false_rollbacks).round()),
        "countdown": duration_text(watch.countdown),
        "unvouched_countdown": duration_text(watch.unvouched_countdown),
        "approve_within": duration_text(watch.approve_within),
        "floor": watch.floor,
        "late": match watch.late {
            OnBreach::Alert => "alert",
            OnBreach::Rollback => "rollback",
        },
        "false_late_alarms": format!("1 in {}", (1.0 / watch.false_late_alarms).round()),
    })
}

fn rollback_json(policy: &Policy) -> Value {
    let rollback = &policy.rollback;
    let order = match &rollback.order {
        RegionOrder::WorstFirst => json!("worst-first"),
        RegionOrder::Listed(regions) => {
            regions.iter().map(|r| r.as_ref().map_or("*", |region| region.as_str())).collect()
        }
    };
    let max_unavailable = match rollback.max_unavailable {
        MaxUnavailable::Share(share) => json!(share_text(share)),
        MaxUnavailable::Count(count) => json!(count),
    };
    let first = if rollback.first_target_previous { "previous-complete" } else { "trusted" };
    json!({
        "order": order,
        "confirm": {
            "at_least": duration_text(rollback.confirm.at_least),
            "at_most": if rollback.confirm.is_written {
                duration_text(rollback.confirm.at_most)
            } else {
                "auto".to_owned()
            },
        },
        "regions_at_once": match rollback.regions_at_once {
            RegionsAtOnce::Doubling => json!("doubling"),
            RegionsAtOnce::All => json!("all"),
            RegionsAtOnce::Count(count) => json!(count),
        },
        "overlap": rollback.overlap,
        "strategy": rollback.strategy,
        "max_unavailable": max_unavailable,
        "escalate": rollback.escalate,
        "only_breaching_regions": rollback.only_breaching_regions,
        "migrations": if rollback.despite_migrations { "rollback" } else { "hold" },
        "first_target": first,
        "per_day_max": rollback.per_day_max,
        "ready_timeout": duration_text(rollback.ready_timeout),
        "mirror": rollback.mirror.as_ref().map(mirror),
        "config": if rollback.restore_config { "restore" } else { "keep" },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::columns;

    /// What a terminal of eighty columns is shown of an app, where the policy is in a file of this name.
    fn shown(file: &str, app: &str) -> String {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("thresholds")).unwrap();
        std::fs::write(dir.path().join("waveoff.toml"), "organization = \"acme\"\n").unwrap();
        let policy = format!("\n\napps = [{app:?}]\nuse = [\"fly-http\"]\n");
        std::fs::write(dir.path().join("thresholds").join(file), policy).unwrap();
        let checked = config::check(dir.path(), |_| None).unwrap();
        let (file, _) = checked.config.file_for(&AppName::new(app)).unwrap();
        listed(&rows(file), Some(80))
    }

    #[test]
    fn names_stay_whole_in_eighty_columns() {
        let long = "a-name-as-long-as-the-longest-that-the-platform-has-for-an-app";
        for file in ["default.toml", "billing-and-invoicing-worker.toml"] {
            for app in ["billing-and-invoicing-worker", long] {
                let text = shown(file, app);
                for name in ["fly_app_http_responses_count", &format!("[{app:?}]")] {
                    assert!(text.contains(name), "{name} is broken:\n{text}");
                }
                assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
                assert!(text.starts_with("apps ") && text.contains("  line 3"), "{text}");
            }
        }
    }
}
