//! One threshold file: which apps, which mode, how they are watched, and how a rollback is done.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    PolicyFile,
    apps::{self, AppGlob},
    problem::Wrong,
    reader::{Entry, Reader},
    threshold, unbuilt, units,
};
use crate::model::{
    MaxUnavailable, Mode, Policy, Region, RegionOrder, RollbackPolicy, Strategy, Threshold,
    ThresholdKind, WatchPolicy,
};

/// Thresholds of one policy: each costs a share of the false rollbacks.
const THRESHOLDS_MAX: usize = 50;
const PATTERNS_MAX: usize = 500;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads a threshold file. What was wrong is in the reader's file, and stands in the result with
/// its default; `None`: not even the apps are known.
pub(super) fn read(table: &Reader<'_>, path: &Path, stem: &str) -> Option<PolicyFile> {
    let apps = table
        .require("apps", "name the apps, such as apps = [\"api-*\", \"web\"]")
        .map(|entry| (patterns(&entry), entry));
    let exclude = table.get("exclude").map(|entry| patterns(&entry)).unwrap_or_default();
    let mode = table
        .get("mode")
        .and_then(|entry| {
            let words = [("observe", Mode::Observe), ("rollback", Mode::Rollback)];
            entry.choice(&words, &unbuilt::MODES)
        })
        .unwrap_or(Mode::Observe);
    let watch = table.get("watch").and_then(|entry| entry.table()).map(|table| watch(&table));
    let watch = watch.unwrap_or_default();
    let rollback = table.get("rollback").and_then(|entry| entry.table());
    let rollback = rollback.map(|table| self::rollback(&table, &watch)).unwrap_or_default();
    let metrics = table.get("metrics").and_then(|entry| entry.table()).map(|table| metrics(&table));
    let (metrics_port, metrics_path) = metrics.unwrap_or_default();
    let thresholds = thresholds(table, &watch);
    table.finish();
    let (apps, entry) = apps?;
    let apps = reachable(&entry, apps, &exclude);
    let policy = Policy {
        name: stem.to_owned(),
        mode,
        watch,
        thresholds,
        rollback,
        metrics_port,
        metrics_path,
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
    read("scrape_every", &mut watch.scrape_every, seconds(1)..=seconds(300));
    let idle = read("idle_scrape_every", &mut watch.idle_scrape_every, seconds(1)..=seconds(3600));
    let warm_up = read("warm_up", &mut watch.warm_up, Duration::ZERO..=seconds(3600));
    let bake = read("bake", &mut watch.bake, seconds(1)..=seconds(7 * 86_400));
    let block = read("block", &mut watch.block, seconds(1)..=seconds(600));
    read("countdown", &mut watch.countdown, Duration::ZERO..=seconds(86_400));
    if let Some(odds) = table.get("false_rollbacks").and_then(|entry| false_rollbacks(&entry)) {
        watch.false_rollbacks = odds;
    }
    table.finish();
    if watch.idle_scrape_every < watch.scrape_every {
        let message = "is more often than `scrape_every`, as if a quiet app needed more attention";
        let wrong = Wrong::but(message, "write the same or a longer time");
        idle.map_or_else(|| table.wrong(wrong.clone()), |entry| entry.wrong(wrong.clone()));
    }
    let vote = watch.block.max(watch.scrape_every);
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

fn false_rollbacks(entry: &Entry<'_>) -> Option<f64> {
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

fn rollback(table: &Reader<'_>, watch: &WatchPolicy) -> RollbackPolicy {
    let mut rollback = RollbackPolicy::default();
    fn set<T>(slot: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *slot = value;
        }
    }
    set(&mut rollback.order, table.get("order").and_then(|entry| order(&entry)));
    let confirm = table.get("confirm");
    let time = confirm.as_ref().and_then(|entry| entry.duration(seconds(1)..=seconds(3600)));
    set(&mut rollback.confirm, time);
    let strategies = [("rolling", Strategy::Rolling), ("immediate", Strategy::Immediate)];
    let strategy = table.get("strategy");
    set(&mut rollback.strategy, strategy.and_then(|entry| entry.choice(&strategies, &[])));
    let unavailable = table.get("max_unavailable").and_then(|entry| max_unavailable(&entry));
    set(&mut rollback.max_unavailable, unavailable);
    set(&mut rollback.escalate, table.get("escalate").and_then(|entry| entry.boolean()));
    let only = table.get("only_breaching_regions").and_then(|entry| entry.boolean());
    set(&mut rollback.only_breaching_regions, only);
    let migrations = table.get("migrations");
    let migrations = migrations.and_then(|e| e.choice(&[("hold", false), ("rollback", true)], &[]));
    set(&mut rollback.despite_migrations, migrations);
    let first = table.get("first_target");
    let words = [("trusted", false), ("previous-complete", true)];
    set(&mut rollback.first_target_previous, first.and_then(|entry| entry.choice(&words, &[])));
    let per_day = table.get("per_day_max").and_then(|entry| per_day_max(&entry));
    set(&mut rollback.per_day_max, per_day);
    let ready = table.get("ready_timeout");
    let ready = ready.and_then(|entry| entry.duration(seconds(10)..=seconds(3600)));
    set(&mut rollback.ready_timeout, ready);
    if let Some(config) = table.get("config") {
        config.choice(&[("keep", ())], &unbuilt::CONFIGS);
    }
    table.finish();
    let vote = watch.block.max(watch.scrape_every);
    if rollback.confirm < vote {
        let wrong = Wrong::but(
            format!(
                "is shorter than a block of {}: nothing could be confirmed",
                units::duration_text(vote)
            ),
            format!("write \"{}\" or more", units::duration_text(vote * 3)),
        );
        confirm.map_or_else(|| table.wrong(wrong.clone()), |entry| entry.wrong(wrong.clone()));
    }
    rollback
}

fn order(entry: &Entry<'_>) -> Option<RegionOrder> {
    if entry.as_text().is_some() {
        return entry.choice(&[("worst-first", ())], &[]).map(|()| RegionOrder::WorstFirst);
    }
    let mut regions: Vec<Option<Region>> = Vec::new();
    let list = entry.list();
    let count = list.len();
    for (entry, text) in list {
        let region = if text == "*" {
            None
        } else if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase()) {
            if !REGIONS.contains(&text) {
                let near =
                    REGIONS.iter().find(|known| strsim::damerau_levenshtein(known, text) == 1);
                entry.warn(Wrong {
                    message: format!("`{text}` is no region of Fly that this version knows"),
                    suggestion: near.map(|near| format!("did you mean \"{near}\"?")),
                });
            }
            Some(Region::new(text))
        } else {
            let lower = text.trim().to_lowercase();
            let known = REGIONS.contains(&lower.as_str());
            entry.wrong(Wrong::but(
                format!("`{text}` is not a region"),
                if known {
                    format!("write \"{lower}\"")
                } else {
                    "write codes such as \"iad\", and \"*\" for all others".to_owned()
                },
            ));
            continue;
        };
        if regions.contains(&region) {
            entry.wrong(Wrong::but(format!("`{text}` is named twice"), "leave one out"));
        } else {
            regions.push(region);
        }
    }
    if count == 0 && entry.is_empty_list() {
        entry.wrong(Wrong::but(
            "names no region",
            "write \"worst-first\", or regions such as [\"iad\", \"*\"]",
        ));
    }
    (count > 0 && regions.len() == count).then_some(RegionOrder::Listed(regions))
}

/// Fly's regions: for finding slips only, since new ones appear.
const REGIONS: [&str; 36] = [
    "ams", "arn", "atl", "bog", "bom", "bos", "cdg", "den", "dfw", "ewr", "eze", "fra", "gdl",
    "gig", "gru", "hkg", "iad", "jnb", "lax", "lhr", "mad", "mia", "nrt", "ord", "otp", "phx",
    "qro", "scl", "sea", "sin", "sjc", "syd", "waw", "yul", "yyz", "maa",
];

fn max_unavailable(entry: &Entry<'_>) -> Option<MaxUnavailable> {
    let Some(number) = entry.as_number() else {
        let share = entry.share()?;
        if share <= 0.0 {
            entry.wrong(none_unavailable());
            return None;
        }
        return Some(MaxUnavailable::Share(share));
    };
    if number > 0.0 && number < 1.0 {
        return Some(MaxUnavailable::Share(number));
    }
    if number.fract() != 0.0 || number < 0.0 {
        let message = format!("`{}` is neither a share nor a number of machines", entry.written());
        entry.wrong(Wrong::but(
            message,
            "write a share such as \"33%\" or 0.33, or a count such as 2",
        ));
        return None;
    }
    if number < 1.0 {
        entry.wrong(none_unavailable());
        return None;
    }
    entry.whole(1..=10_000).map(MaxUnavailable::Count)
}

fn none_unavailable() -> Wrong {
    Wrong::but("with none down, no machine could be updated", "write \"33%\", or 1")
}

fn per_day_max(entry: &Entry<'_>) -> Option<u32> {
    let number = entry.whole(0..=1000)?;
    if number == 0 {
        entry.wrong(Wrong::but(
            "would never allow a rollback",
            "write mode = \"observe\" at the top of the file instead",
        ));
        return None;
    }
    Some(number)
}

fn metrics(table: &Reader<'_>) -> (Option<u16>, Option<String>) {
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
    table.finish();
    (port, path)
}

fn thresholds(table: &Reader<'_>, watch: &WatchPolicy) -> Vec<Threshold> {
    let mut thresholds: Vec<Threshold> = Vec::new();
    let presets = table.get("use");
    let own = table.get("threshold");
    if let Some(presets) = &presets {
        for (entry, text) in presets.list() {
            if entry.choice(&[("checks", ()), ("crashes", ())], &unbuilt::PRESETS).is_none() {
                continue;
            }
            if thresholds.iter().any(|threshold| threshold.name == text) {
                entry.wrong(Wrong::but(format!("`{text}` is listed twice"), "leave one out"));
                continue;
            }
            thresholds.extend(threshold::preset(text));
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
        let Some(read) = threshold::read(&table) else { continue };
        if let Some(name) = table.peek("name")
            && thresholds.iter().any(|other| other.name == read.name)
        {
            let preset = threshold::preset(&read.name).is_some();
            let suggestion = if preset {
                "give it another name, or leave the preset out of `use`"
            } else {
                "give it another name: evidence is kept under it"
            };
            let message = format!("there is another threshold `{}` in this file", read.name);
            name.wrong(Wrong::but(message, suggestion));
        }
        if let ThresholdKind::Gauge { sustain, .. } = read.kind
            && let Some(entry) = table.peek("for").filter(|_| sustain >= watch.bake)
        {
            entry.wrong(Wrong::but(
                format!(
                    "the release would be trusted after `bake` of {}, before that",
                    units::duration_text(watch.bake)
                ),
                "write a shorter time, or bake longer",
            ));
        }
        thresholds.push(read);
    }
    if empty && presets.as_ref().is_none_or(Entry::is_empty_list) {
        table.wrong(Wrong::but(
            "the file sets no threshold",
            "write use = [\"checks\", \"crashes\"], which need nothing from the app, or a [[threshold]]",
        ));
    }
    let counts = |t: &Threshold| {
        matches!(t.kind, ThresholdKind::Ratio { .. } | ThresholdKind::Latency { .. })
    };
    if !thresholds.is_empty() && thresholds.iter().all(counts) {
        table.warn(Wrong::but(
            "every threshold counts answered requests, and a release that hangs answers none",
            "add use = [\"checks\", \"crashes\"]",
        ));
    }
    thresholds
}
