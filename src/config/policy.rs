//! One threshold file: which apps, which mode, how they are watched, and how a rollback is done.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    PolicyFile,
    apps::{self, AppGlob},
    entry::Entry,
    freeze,
    metrics_server::Servers,
    presets,
    problem::Wrong,
    reader::Reader,
    rollback, threshold, units,
};
use crate::model::{Mode, OnBreach, Policy, Threshold, WatchPolicy};

/// Thresholds of one policy: each costs a share of the false rollbacks.
const THRESHOLDS_MAX: usize = 50;
const PATTERNS_MAX: usize = 500;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads a threshold file. What was wrong is in the reader's file, and stands in the result with
/// its default; `None`: not even the apps are known.
pub(super) fn read(
    table: &Reader<'_>,
    path: &Path,
    stem: &str,
    servers: &Servers,
) -> Option<PolicyFile> {
    let apps = table
        .require("apps", "name the apps, such as apps = [\"api-*\", \"web\"]")
        .map(|entry| (patterns(&entry), entry));
    let exclude = table.get("exclude").map(|entry| patterns(&entry)).unwrap_or_default();
    let mode = table
        .get("mode")
        .and_then(|entry| {
            let words = [
                ("observe", Mode::Observe),
                ("approve", Mode::Approve),
                ("rollback", Mode::Rollback),
            ];
            entry.choice(&words, &[])
        })
        .unwrap_or(Mode::Observe);
    let watch = table.get("watch").and_then(|entry| entry.table(None)).map(|table| watch(&table));
    let watch = watch.unwrap_or_default();
    let rollback = table.get("rollback").and_then(|entry| entry.table(None));
    let rollback = rollback.map(|table| rollback::read(&table)).unwrap_or_default();
    rollback::confirm_fits(table, &rollback, &watch);
    let metrics =
        table.get("metrics").and_then(|entry| entry.table(None)).map(|table| metrics(&table));
    let (metrics_port, metrics_path, metrics_https) = metrics.unwrap_or_default();
    let freezes = table.get("freeze").map(|entry| freeze::read_all(&entry)).unwrap_or_default();
    let thresholds = thresholds(table, &watch, servers);
    table.finish();
    let harmless = thresholds.iter().all(|threshold| threshold.on_breach == OnBreach::Alert);
    if mode != Mode::Observe && harmless && !thresholds.is_empty() {
        table.warn(Wrong::but(
            "every threshold only alerts: nothing will be rolled back",
            "leave out action = \"alert\" where a breach should be undone",
        ));
    }
    let (apps, entry) = apps?;
    let apps = reachable(&entry, apps, &exclude);
    let policy = Policy {
        name: stem.to_owned(),
        mode,
        watch,
        thresholds,
        rollback,
        freezes,
        per_organization_max: u32::MAX,
        metrics_port,
        metrics_path,
        metrics_https,
    };
    let exclude = exclude.into_iter().map(|(_, glob)| glob).collect();
    Some(PolicyFile { path: path.to_owned(), apps, exclude, policy: Arc::new(policy) })
}

fn patterns<'a>(entry: &Entry<'a>) -> Vec<(Entry<'a>, AppGlob)> {
    let list = entry.list();
    if list.len() > PATTERNS_MAX {
        entry.wrong(Wrong::new(format!("has more than {PATTERNS_MAX} patterns")));
        return Vec::new();
    }
    list.into_iter()
        .filter_map(|(entry, text)| {
            let glob = entry.check(apps::pattern(text))?.at_line(entry.line());
            Some((entry, glob))
        })
        .collect()
}

/// The patterns that can win an app at all; the others are reported.
fn reachable(
    list: &Entry<'_>,
    apps: Vec<(Entry<'_>, AppGlob)>,
    exclude: &[(Entry<'_>, AppGlob)],
) -> Vec<AppGlob> {
    if apps.is_empty() && list.is_empty_list() {
        list.wrong(Wrong::but("names no app", "write apps = [\"*\"] for every app"));
    }
    let mut kept: Vec<AppGlob> = Vec::new();
    for (entry, glob) in apps {
        let text = glob.as_str();
        let by = exclude.iter().map(|(_, other)| other).find(|other| {
            other.as_str() == text
                || other.as_str() == "*"
                || (glob.is_literal() && other.matches(text))
        });
        if kept.iter().any(|other| other.as_str() == text) {
            entry.wrong(Wrong::but(format!("`{text}` is listed twice"), "leave one out"));
        } else if let Some(by) = by {
            entry.wrong(Wrong::but(
                format!("`{text}` can never win: exclude = [\"{}\"] takes all of it", by.as_str()),
                "leave one of them out",
            ));
        } else {
            kept.push(glob);
        }
    }
    kept
}

fn watch(table: &Reader<'_>) -> WatchPolicy {
    let mut watch = WatchPolicy::default();
    let read = |key, slot: &mut Duration, range| {
        let entry = table.get(key);
        if let Some(value) = entry.as_ref().and_then(|entry| entry.duration(range)) {
            *slot = value;
        }
        entry
    };
    // Fly's machine list, one per app and scrape, may be asked for once a second.
    let scrape = read("scrape_every", &mut watch.scrape_every, seconds(1)..=seconds(300));
    let idle = read("idle_scrape_every", &mut watch.idle_scrape_every, seconds(1)..=seconds(3600));
    let warm_up = read("warm_up", &mut watch.warm_up, Duration::ZERO..=seconds(3600));
    let bake = read("bake", &mut watch.bake, seconds(1)..=seconds(7 * 86_400));
    let block = read("block", &mut watch.block, seconds(1)..=seconds(600));
    read("countdown", &mut watch.countdown, Duration::ZERO..=seconds(86_400));
    if let Some(floor) = table.get("floor").and_then(|entry| entry.boolean()) {
        watch.floor = floor;
    }
    let unvouched = Duration::ZERO..=seconds(600);
    read("unvouched_countdown", &mut watch.unvouched_countdown, unvouched);
    read("approve_within", &mut watch.approve_within, seconds(60)..=seconds(7 * 86_400));
    let rates = [
        ("false_rollbacks", &mut watch.false_rollbacks),
        ("false_late_alarms", &mut watch.false_late_alarms),
    ];
    for (key, slot) in rates {
        if let Some(odds) = table.get(key).and_then(|entry| odds(&entry)) {
            *slot = odds;
        }
    }
    let late = [("alert", OnBreach::Alert), ("rollback", OnBreach::Rollback)];
    if let Some(late) = table.get("late").and_then(|entry| entry.choice(&late, &[])) {
        watch.late = late;
    }
    table.finish();
    if watch.idle_scrape_every < watch.scrape_every {
        let message = format!(
            "`idle_scrape_every` of {} is more often than `scrape_every`, as if a quiet app needed \
             more attention",
            units::duration_text(watch.idle_scrape_every)
        );
        let wrong = Wrong::but(message, "write the same or a longer time");
        idle.or(scrape)
            .map_or_else(|| table.wrong(wrong.clone()), |entry| entry.wrong(wrong.clone()));
    }
    let vote = rollback::vote(&watch);
    if watch.bake < vote * 2 {
        let wrong = Wrong::but(
            format!(
                "`bake` of {} ends before two blocks of {} are over: nothing could be judged",
                units::duration_text(watch.bake),
                units::duration_text(vote)
            ),
            "bake for at least some minutes, such as \"10m\"",
        );
        bake.or(block)
            .map_or_else(|| table.wrong(wrong.clone()), |entry| entry.wrong(wrong.clone()));
    } else if let Some(entry) = warm_up.filter(|_| watch.warm_up >= watch.bake) {
        let text = units::duration_text(watch.bake);
        entry.wrong(Wrong::but(
            format!("no machine would be judged before `bake` of {text} is over"),
            "write some seconds, such as \"10s\"",
        ));
    }
    watch
}

fn odds(entry: &Entry<'_>) -> Option<f64> {
    if let Some(number) = entry.as_number() {
        let guess = if number > 0.0 && number < 1.0 { 1.0 / number } else { number };
        let suggestion = if (10.0..=1e9).contains(&guess) {
            format!("write \"1 in {guess:.0}\"")
        } else {
            "write \"1 in 1000\"".to_owned()
        };
        let message =
            format!("`{}` could be read as a chance, a share or a count", entry.written());
        entry.wrong(Wrong::but(message, suggestion));
        return None;
    }
    entry.parse(units::odds)
}

fn metrics(table: &Reader<'_>) -> (Option<u16>, Option<String>, Option<bool>) {
    let port = table.get("port").and_then(|entry| entry.whole(1..=65_535));
    let port = port.and_then(|port| u16::try_from(port).ok());
    let path = table.get("path").and_then(|entry| {
        let text = entry.text()?;
        let plain = text.len() <= 1000 && text.chars().all(|char| char.is_ascii_graphic());
        if !text.starts_with('/') || !plain {
            let message = format!("`{text}` is not the path of a page");
            entry.wrong(Wrong::but(message, "write a path such as \"/metrics\""));
            return None;
        }
        Some(text.to_owned())
    });
    let https = table.get("https").and_then(|entry| entry.boolean());
    table.finish();
    (port, path, https)
}

fn thresholds(table: &Reader<'_>, watch: &WatchPolicy, servers: &Servers) -> Vec<Threshold> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    let listed = table.get("use");
    let own = table.get("threshold");
    let mut used = Vec::new();
    if let Some(presets) = &listed {
        for (entry, text) in presets.list() {
            let Some(preset) = entry.choice(&presets::all(), &[]) else { continue };
            if used.contains(&preset) {
                entry.wrong(Wrong::but(format!("`{text}` is listed twice"), "leave one out"));
                continue;
            }
            used.push(preset);
            thresholds.extend(preset.thresholds(servers));
        }
    }
    let tables = own.as_ref().map(Entry::tables).unwrap_or_default();
    if tables.len() > THRESHOLDS_MAX {
        let message = format!("a policy may have {THRESHOLDS_MAX} thresholds");
        table.wrong(Wrong::new(message));
        return thresholds;
    }
    let empty = tables.is_empty() && thresholds.is_empty();
    for table in tables {
        let Some(read) = threshold::read(&table, servers) else { continue };
        if let Some(name) = table.peek("name")
            && thresholds.iter().any(|other| other.name == read.name)
        {
            let mut preset = used.iter().flat_map(|preset| preset.thresholds(servers));
            let preset = preset.any(|other| other.name == read.name);
            let suggestion = if preset {
                "give it another name, or leave the preset out of `use`"
            } else {
                "give it another name: evidence is kept under it"
            };
            let message = format!("there is another threshold `{}` in this file", read.name);
            name.wrong(Wrong::but(message, suggestion));
        }
        if let Some((key, lasting)) = read.room().must_last()
            && lasting >= watch.bake
        {
            let wrong = Wrong::but(
                format!(
                    "`{key}` takes {}, and does not end before `bake` of {}: the release would be trusted first",
                    units::duration_text(lasting),
                    units::duration_text(watch.bake)
                ),
                "write a shorter time, or bake longer",
            );
            let entry = table.peek(key);
            entry.map_or_else(|| table.wrong(wrong.clone()), |entry| entry.wrong(wrong.clone()));
        }
        thresholds.push(read);
    }
    let said = |list: &Option<Entry<'_>>| list.as_ref().is_some_and(|l| !l.is_empty_list());
    if empty && !said(&listed) && !said(&own) {
        table.wrong(Wrong::but(
            "the file sets no threshold",
            format!(
                "write {}, which need nothing from the app, or a [[threshold]]",
                presets::without_metrics()
            ),
        ));
    }
    let counts = |t: &Threshold| t.room().allowed_share().is_some();
    if !thresholds.is_empty() && thresholds.iter().all(counts) {
        table.warn(Wrong::but(
            "every threshold counts answered requests, and a release that hangs answers none",
            format!("add {}", presets::without_metrics()),
        ));
    }
    thresholds
}
