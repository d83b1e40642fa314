//! `[rollback]` of a threshold file: in which order, how fast, and within which limits.

use std::time::Duration;

use super::{entry::Entry, mirror, problem::Wrong, reader::Reader, units};
use crate::model::{
    BUDGET_MAX, ConfirmTime, MaxUnavailable, MirrorRule, Region, RegionOrder, RegionsAtOnce,
    RollbackPolicy, Strategy, WatchPolicy,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads the table; what is wrong stands in the result with its default.
pub(super) fn read(table: &Reader<'_>) -> RollbackPolicy {
    let mut rollback = RollbackPolicy::default();
    fn set<T>(slot: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *slot = value;
        }
    }
    set(&mut rollback.order, table.get("order").and_then(|entry| order(&entry)));
    set(&mut rollback.confirm, table.get("confirm").and_then(|entry| confirm(&entry)));
    let strategies = [("rolling", Strategy::Rolling), ("immediate", Strategy::Immediate)];
    let strategy = table.get("strategy");
    set(&mut rollback.strategy, strategy.and_then(|entry| entry.choice(&strategies, &[])));
    if rollback.strategy == Strategy::Immediate {
        rollback.regions_at_once = RegionsAtOnce::All;
    }
    let at_once = table.get("regions_at_once").and_then(|entry| regions_at_once(&entry));
    set(&mut rollback.regions_at_once, at_once);
    set(&mut rollback.overlap, table.get("overlap").and_then(|entry| entry.boolean()));
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
    rollback.mirror = table.get("mirror").and_then(|entry| mirror(&entry));
    let config = table.get("config");
    let config = config.and_then(|e| e.choice(&[("keep", false), ("restore", true)], &[]));
    set(&mut rollback.restore_config, config);
    table.finish();
    rollback
}

fn mirror(entry: &Entry<'_>) -> Option<MirrorRule> {
    if entry.as_text() == Some("") {
        return None;
    }
    let rule = entry.parse(mirror::rule)?;
    if rule.registry == "registry.fly.io" {
        entry.warn(Wrong::but(
            "what the platform's registry loses, a copy in it may be lost with",
            "write another registry",
        ));
    }
    Some(rule)
}

/// A region cannot be judged in less than a block, wherever the two times come from.
pub(super) fn confirm_fits(table: &Reader<'_>, rollback: &RollbackPolicy, watch: &WatchPolicy) {
    let vote = vote(watch);
    if rollback.confirm.at_most >= vote {
        return;
    }
    let wrong = Wrong::but(
        format!(
            "`confirm` of {} is shorter than a block of {}: nothing could be confirmed",
            units::duration_text(rollback.confirm.at_most),
            units::duration_text(vote)
        ),
        format!("write confirm = \"{}\" or more in [rollback]", units::duration_text(vote * 3)),
    );
    let places = [&["rollback", "confirm"][..], &["watch", "block"], &["watch"]];
    match places.iter().find_map(|path| table.find(path)) {
        Some(entry) => entry.wrong(wrong),
        None => table.wrong(wrong),
    }
}

/// The shortest time in which something can be judged.
pub(super) fn vote(watch: &WatchPolicy) -> Duration {
    watch.block_of(watch.scrape_every)
}

/// The most, or a table with both ends.
fn confirm(entry: &Entry<'_>) -> Option<ConfirmTime> {
    const EXAMPLE: &str = "\"auto\", \"30s\" or { at_least = \"2s\", at_most = \"30s\" }";
    if entry.as_text().is_some() || entry.as_number().is_some() {
        return confirms_within(entry);
    }
    let table = entry.table(Some(EXAMPLE))?;
    let usual = ConfirmTime::default();
    let least = table.get("at_least");
    let at_least = match &least {
        Some(entry) => entry.duration(seconds(0)..=seconds(3600)),
        None => Some(usual.at_least),
    };
    let most = table.get("at_most").map_or(Some(usual), |entry| confirms_within(&entry));
    table.finish();
    let (at_least, ConfirmTime { at_most, is_written, .. }) = (at_least?, most?);
    if at_least > at_most {
        let [low, high] = [at_least, at_most].map(units::duration_text);
        let wrong = Wrong::but(
            format!("at least {low} is longer than at most {high}"),
            "write at_least = \"2s\"",
        );
        least.as_ref().unwrap_or(entry).wrong(wrong);
        return None;
    }
    Some(ConfirmTime { at_least, at_most, is_written })
}

/// The most alone.
fn confirms_within(entry: &Entry<'_>) -> Option<ConfirmTime> {
    if entry.as_text() == Some("auto") {
        return Some(ConfirmTime::default());
    }
    entry.duration(seconds(1)..=seconds(3600)).map(ConfirmTime::at_most)
}

fn regions_at_once(entry: &Entry<'_>) -> Option<RegionsAtOnce> {
    if entry.as_number().is_some() {
        return entry.whole(1..=100).map(RegionsAtOnce::Count);
    }
    let words = [("doubling", RegionsAtOnce::Doubling), ("all", RegionsAtOnce::All)];
    entry.choice(&words, &[])
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
        if let Some(count) = entry.as_text().and_then(|text| text.trim().parse::<u32>().ok()) {
            let message = format!("`{count}` in quotes could be machines or per cent");
            let suggestion = format!("write {count} for machines, \"{count}%\" for a share");
            entry.wrong(Wrong::but(message, suggestion));
            return None;
        }
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
    let number = entry.whole(0..=BUDGET_MAX)?;
    if number == 0 {
        entry.wrong(Wrong::but(
            "would never allow a rollback",
            "write mode = \"observe\" at the top of the file instead",
        ));
        return None;
    }
    Some(number)
}
