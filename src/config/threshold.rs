//! One `[[threshold]]`: a limit on a share, a latency, a gauge, health checks or crashes.

use std::time::Duration;

use super::{
    entry::Entry,
    problem::{Wrong, alternatives},
    reader::Reader,
    reserved_keys, selector, units,
};
use crate::model::{
    Checks, Crashes, Gauge, Latency, NoData, OnBreach, Ratio, Threshold, ThresholdKind,
};

const KINDS: [&str; 5] = ["ratio", "latency", "gauge", "checks", "crashes"];
/// Further keys that only some kinds have, and which.
const OF_SOME_KINDS: [(&str, &[&str]); 5] = [
    ("from", &["ratio", "latency", "gauge"]),
    ("max", &["ratio", "latency", "gauge"]),
    ("strict", &["ratio", "latency"]),
    ("for", &["gauge"]),
    ("quorum", &["gauge"]),
];

/// Share of machines on which a check, a crash or a gauge must show before it counts.
pub(super) const QUORUM: f64 = 0.3;
/// How long a gauge must be above its bound.
pub(super) const SUSTAIN: Duration = Duration::from_secs(30);
const CONSECUTIVE: u32 = 3;
const EXITS: u32 = 2;
const OOM: u32 = 1;

/// Shares below are beyond what requests can show.
const SHARE_MIN: f64 = 1e-6;
/// From here on a limit says that most requests may fail.
const SHARE_MAX: f64 = 0.5;
const BOUND_MIN: Duration = Duration::from_millis(1);
const BOUND_MAX: Duration = Duration::from_secs(120);
const SUSTAIN_MAX: Duration = Duration::from_secs(86_400);
const NAME_MAX: usize = 64;

/// A preset: a threshold that needs nothing from the app.
pub(super) fn preset(name: &str) -> Option<Threshold> {
    let kind = match name {
        "checks" => ThresholdKind::Checks(Checks { failing: QUORUM, consecutive: CONSECUTIVE }),
        "crashes" => ThresholdKind::Crashes(Crashes { exits: EXITS, oom: OOM, failing: QUORUM }),
        _ => return None,
    };
    Some(Threshold {
        name: name.to_owned(),
        kind,
        no_data: NoData::Hold,
        on_breach: OnBreach::Rollback,
    })
}

/// Reads one threshold; `None` when it is not clear enough to go on with.
pub(super) fn read(table: &Reader<'_>) -> Option<Threshold> {
    let name = name(table);
    if let Some(name) = &name {
        table.rename(format!("threshold \"{name}\""));
    }
    let kinds: Vec<(&str, Entry<'_>)> =
        KINDS.iter().filter_map(|kind| Some((*kind, table.get(kind)?))).collect();
    let no_data = table.get("no_data").and_then(|entry| {
        let words =
            [("hold", NoData::Hold), ("ignore", NoData::Ignore), ("breach", NoData::Breach)];
        entry.choice(&words, &[])
    });
    let on_breach = table.get("action").and_then(|entry| {
        entry.choice(&[("rollback", OnBreach::Rollback), ("alert", OnBreach::Alert)], &[])
    });
    let kind = match kinds.as_slice() {
        [(word, entry)] => one_kind(table, word, entry),
        [] => {
            none(table);
            None
        }
        several => {
            let words = several.iter().map(|(word, _)| *word);
            table.wrong(Wrong::but(
                format!(
                    "has {} kinds: {}",
                    several.len(),
                    alternatives(words).replace(" or ", " and ")
                ),
                "write a [[threshold]] for each",
            ));
            None
        }
    };
    if kinds.len() != 1 {
        for (key, _) in OF_SOME_KINDS {
            table.get(key);
        }
    }
    table.finish();
    Some(Threshold {
        name: name?,
        kind: kind?,
        no_data: no_data.unwrap_or(NoData::Hold),
        on_breach: on_breach.unwrap_or(OnBreach::Rollback),
    })
}

fn name(table: &Reader<'_>) -> Option<String> {
    let entry = table.require(
        "name",
        "give it one, such as name = \"5xx\": evidence and messages are kept under it",
    )?;
    let text = entry.text()?;
    if text.trim().is_empty()
        || text.chars().count() > NAME_MAX
        || text.chars().any(char::is_control)
    {
        entry.wrong(Wrong::new(format!("must have 1 to {NAME_MAX} printable characters")));
        return None;
    }
    Some(text.to_owned())
}

/// Says why a threshold has no kind: a key of another version, or nothing at all.
fn none(table: &Reader<'_>) {
    let is_reserved =
        ["relative", "promql", "probe", "query"].iter().any(|key| table.peek(key).is_some());
    if !is_reserved {
        table.wrong(Wrong::but(
            "measures nothing",
            format!("give it one of {}", alternatives(KINDS)),
        ));
    }
}

fn one_kind(table: &Reader<'_>, word: &str, entry: &Entry<'_>) -> Option<ThresholdKind> {
    for (key, kinds) in OF_SOME_KINDS {
        if kinds.contains(&word) {
            continue;
        }
        if let Some(stray) = table.get(key) {
            let suggestion = match (key, word) {
                ("max", "checks") => "write checks = { failing = \"30%\", consecutive = 3 }",
                ("max", "crashes") => "write crashes = { exits = 2, oom = 1 }",
                ("from", _) => "leave it out: they come from Fly's own API",
                ("quorum", "checks" | "crashes") => "write `failing` in the braces",
                ("for", "checks") => "write `consecutive` in the braces",
                _ => "leave it out",
            };
            let message = format!("a `{word}` threshold has no `{key}`");
            stray.wrong(Wrong::but(message, suggestion));
        }
    }
    let reads_metrics = !matches!(word, "checks" | "crashes");
    if let Some(from) = reads_metrics.then(|| table.get("from")).flatten() {
        from.choice(&[("machine", ())], &reserved_keys::SOURCES);
    }
    match word {
        "ratio" => ratio(table, entry),
        "latency" => latency(table, entry),
        "gauge" => gauge(table, entry),
        "checks" => checks(entry),
        _ => crashes(entry),
    }
}

fn strict(table: &Reader<'_>) -> bool {
    table.get("strict").and_then(|entry| entry.boolean()).unwrap_or(false)
}

/// `max`, which must be there, unless its place is taken by a key that is refused anyway.
fn limit<'a>(table: &Reader<'a>, suggestion: &str) -> Option<Entry<'a>> {
    if table.peek("relative").is_some() {
        return table.get("max");
    }
    table.require("max", suggestion)
}

fn ratio(table: &Reader<'_>, entry: &Entry<'_>) -> Option<ThresholdKind> {
    let strict = strict(table);
    let limit = limit(table, "write the share that is still fine, such as max = \"2%\"");
    let max = limit.and_then(|limit| {
        let share = limit.share()?;
        limit.check(sensible_share(share))
    });
    let counters = entry.table(Some("ratio = { bad = …, total = … }, each a counter"))?;
    let side = |key, example: &str| {
        let entry =
            counters.require(key, &format!("write a counter, such as {key} = '{example}'"))?;
        let selector = entry.parse(selector::selector)?;
        if let Some(meant) = selector::literal_pattern(&selector) {
            entry.warn(Wrong::but(
                "compares literally with what looks like a pattern",
                format!("did you mean {meant}?"),
            ));
        }
        Some((entry, selector))
    };
    let bad = side("bad", "http_requests_total{status=~\"5..\"}");
    let total = side("total", "http_requests_total");
    counters.finish();
    let ((entry, bad), (_, total)) = (bad?, total?);
    if selector::same(&bad, &total) {
        entry.wrong(Wrong::but(
            "selects the same series as `total`: every request would be bad",
            "select only the bad ones, such as {status=~\"5..\"}",
        ));
        return None;
    }
    Some(ThresholdKind::Ratio(Ratio { bad, total, max: max?, strict }))
}

fn sensible_share(share: f64) -> Result<f64, Wrong> {
    if share < SHARE_MIN {
        return Err(Wrong::but(
            "a limit of nothing cannot be told from bad luck",
            "write the share that is still fine, such as \"0.1%\"",
        ));
    }
    if share >= SHARE_MAX {
        let text = units::share_text(share);
        return Err(Wrong::but(
            format!("{text} is no limit: half of all requests would have to fail"),
            "write less than 50%, such as \"2%\"",
        ));
    }
    Ok(share)
}

fn latency(table: &Reader<'_>, entry: &Entry<'_>) -> Option<ThresholdKind> {
    let strict = strict(table);
    let limit = limit(table, "write the longest time that is still fine, such as max = \"500ms\"");
    let bound = limit.as_ref().and_then(bound);
    let inner = entry.table(Some("latency = { histogram = …, quantile = 0.95 }"))?;
    let histogram = inner
        .require("histogram", "write its name, such as 'http_request_duration_seconds'")
        .and_then(|entry| entry.parse(selector::histogram));
    let quantile = inner
        .require("quantile", "write the share of requests that must be faster, such as 0.95")
        .and_then(|entry| quantile(&entry));
    inner.finish();
    Some(ThresholdKind::Latency(Latency {
        histogram: histogram?,
        quantile: quantile?,
        bound_s: bound?.as_secs_f64(),
        strict,
    }))
}

fn bound(entry: &Entry<'_>) -> Option<Duration> {
    let bare = || entry.as_text()?.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some(number) = entry.as_number().or_else(bare) {
        // Whoever writes a large number means milliseconds, whoever writes a small one seconds.
        let ms = if number < 10.0 { number * 1000.0 } else { number };
        entry.wrong(Wrong::but(
            format!("`{}` has no unit", entry.as_text().unwrap_or_else(|| entry.written())),
            format!("say \"{ms}ms\" or \"{}s\"", ms / 1000.0),
        ));
        return None;
    }
    let duration = entry.parse(units::duration)?;
    if duration < BOUND_MIN || duration > BOUND_MAX {
        let text = entry.as_text().unwrap_or_default();
        let in_ms = text.strip_suffix('s').filter(|n| n.parse::<u32>().is_ok_and(|n| n >= 100));
        let suggestion = match in_ms {
            Some(number) => format!("did you mean \"{number}ms\"?"),
            None => "write 1ms to 2m, such as \"500ms\" or \"1.5s\"".to_owned(),
        };
        entry
            .wrong(Wrong::but(format!("`{text}` is far from what an answer may take"), suggestion));
        return None;
    }
    Some(duration)
}

fn quantile(entry: &Entry<'_>) -> Option<f64> {
    let Some(number) = entry.as_number() else {
        let digits = entry.as_text().map(|text| text.trim_matches(['p', 'P', '%', ' ']));
        let meant = digits.and_then(|digits| digits.parse::<f64>().ok()).map(as_quantile);
        entry.mistyped("a number such as 0.95", meant.map(|meant| format!("write {meant}")));
        return None;
    };
    if number > 0.0 && number < 1.0 {
        if number < SHARE_MAX {
            entry.wrong(Wrong::but(
                format!("`{number}`: most requests could be slower than the bound"),
                format!("write 0.5 or more; did you mean {}?", 1.0 - number),
            ));
            return None;
        }
        if 1.0 - number < SHARE_MIN {
            entry.wrong(Wrong::but(
                format!("`{number}` is beyond what requests can show"),
                "write 0.99 or 0.999",
            ));
            return None;
        }
        return Some(number);
    }
    let suggestion = if number > 1.0 && number < 1000.0 {
        format!("did you mean {}?", as_quantile(number))
    } else {
        "write 0.5, 0.95 or 0.99".to_owned()
    };
    entry.wrong(Wrong::but(format!("`{}` is not between 0 and 1", entry.written()), suggestion));
    None
}

/// 95 and 999 as 0.95 and 0.999.
fn as_quantile(number: f64) -> f64 {
    let mut quantile = number;
    while quantile >= 1.0 {
        quantile /= 10.0;
    }
    quantile
}

fn gauge(table: &Reader<'_>, entry: &Entry<'_>) -> Option<ThresholdKind> {
    let selector = entry.parse(selector::selector);
    if let Some(selector) = &selector
        && let Some(kind) =
            ["_total", "_count", "_bucket"].iter().find(|s| selector.metric.ends_with(*s))
    {
        entry.warn(Wrong::but(
            format!("`{}` looks like a counter (`{kind}`), which only ever grows", selector.metric),
            "use a gauge here, or `ratio` for counters",
        ));
    }
    let max = table
        .require("max", "write the largest value that is still fine, such as max = \"400MB\"")
        .and_then(|entry| largest(&entry));
    let sustain = table
        .get("for")
        .map_or(Some(SUSTAIN), |entry| entry.duration(Duration::ZERO..=SUSTAIN_MAX));
    let quorum = table.get("quorum").map_or(Some(QUORUM), |entry| some_machines(&entry));
    Some(ThresholdKind::Gauge(Gauge {
        gauge: selector?,
        max: max?,
        sustain: sustain?,
        quorum: quorum?,
    }))
}

fn largest(entry: &Entry<'_>) -> Option<f64> {
    let number = match entry.as_number() {
        Some(number) => number,
        None if entry.as_text().is_some() => entry.parse(units::quantity)?,
        None => {
            entry.mistyped("a number, or a text with a unit", Some("such as \"400MB\"".to_owned()));
            return None;
        }
    };
    if !number.is_finite() {
        entry.wrong(Wrong::new("must be a number that can be exceeded"));
        return None;
    }
    Some(number)
}

/// A share of machines: more than none.
fn some_machines(entry: &Entry<'_>) -> Option<f64> {
    // All machines is a sensible wish, so 1 and 1.0 are not taken for a slip here.
    let all = entry.as_number().is_some_and(|number| (number - 1.0).abs() < f64::EPSILON);
    let share = if all { 1.0 } else { entry.share()? };
    if share <= 0.0 {
        entry.wrong(Wrong::but(
            "no machine at all would be enough",
            "write a share of the machines such as \"30%\"; at least one is always needed",
        ));
        return None;
    }
    Some(share)
}

fn checks(entry: &Entry<'_>) -> Option<ThresholdKind> {
    let inner = entry.table(Some("checks = { failing = \"30%\", consecutive = 3 }"))?;
    let failing = inner.get("failing").map_or(Some(QUORUM), |entry| some_machines(&entry));
    let consecutive =
        inner.get("consecutive").map_or(Some(CONSECUTIVE), |entry| entry.whole(1..=100));
    inner.finish();
    Some(ThresholdKind::Checks(Checks { failing: failing?, consecutive: consecutive? }))
}

fn crashes(entry: &Entry<'_>) -> Option<ThresholdKind> {
    let inner = entry.table(Some("crashes = { exits = 2, oom = 1 }"))?;
    let exits = inner.get("exits").map_or(Some(EXITS), |entry| entry.whole(1..=1000));
    let oom = inner.get("oom").map_or(Some(OOM), |entry| entry.whole(0..=1000));
    let failing = inner.get("failing").map_or(Some(QUORUM), |entry| some_machines(&entry));
    inner.finish();
    Some(ThresholdKind::Crashes(Crashes { exits: exits?, oom: oom?, failing: failing? }))
}
