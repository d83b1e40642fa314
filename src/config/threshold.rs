//! One `[[threshold]]`, read by the table of keys that its kind has in `threshold/`: known keys,
//! limits and defaults are said there, and here how they are written.

use std::time::Duration;

use super::{
    answer,
    entry::Entry,
    expression::expression,
    metrics_server::{FLY, MetricsServer, Servers},
    problem::{Wrong, alternatives, nearest},
    reader::Reader,
    selector, units,
};
use crate::{
    model::{Kind, NoData, OnBreach, Origin, Selector, Threshold, ThresholdKind},
    threshold::keys::{self, Given, Key, Place, Schema, Takes, Unsaid, Value},
};

const NAME_MAX: usize = 64;

/// Reads one threshold; `None` when it is not clear enough to go on with.
pub(super) fn read(table: &Reader<'_>, servers: &Servers) -> Option<Threshold> {
    let name = name(table);
    if let Some(name) = &name {
        table.rename(format!("threshold \"{name}\""));
    }
    let kinds: Vec<(Kind, Entry<'_>)> =
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, table.get(kind.as_str())?))).collect();
    let no_data = table.get("no_data").and_then(|entry| {
        let words =
            [("hold", NoData::Hold), ("ignore", NoData::Ignore), ("breach", NoData::Breach)];
        entry.choice(&words, &[])
    });
    let on_breach = table.get("action").and_then(|entry| {
        entry.choice(&[("rollback", OnBreach::Rollback), ("alert", OnBreach::Alert)], &[])
    });
    let kind = match kinds.as_slice() {
        [(kind, entry)] => one_kind(table, kind.schema(), entry, servers),
        [] => {
            none(table);
            None
        }
        several => {
            let words = several.iter().map(|(kind, _)| kind.as_str());
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
        for key in keys::beside() {
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
    if table.peek("query").is_none() {
        table.wrong(Wrong::but(
            "measures nothing",
            format!("give it one of {}", alternatives(Kind::ALL.map(Kind::as_str))),
        ));
    }
}

fn one_kind(
    table: &Reader<'_>,
    schema: &Schema,
    word: &Entry<'_>,
    servers: &Servers,
) -> Option<ThresholdKind> {
    for key in schema.strays() {
        if let Some(stray) = table.get(key) {
            let message = format!("a `{}` threshold has no `{key}`", schema.kind.as_str());
            stray.wrong(Wrong::but(message, schema.instead_of(key)));
        }
    }
    let mut given = Given::default();
    for key in schema.keys {
        match key.place {
            Place::Beside if key.takes == Takes::Source => {
                read_from(&mut given, table, servers, true);
            }
            Place::Beside if key.takes == Takes::Server => {
                given.read_from(servers.get(FLY).map_or(Origin::PAGES, MetricsServer::origin));
                read_from(&mut given, table, servers, false);
            }
            Place::Beside => put(&mut given, key, entry(table, key).as_ref()),
            Place::Word => put(&mut given, key, Some(word)),
            Place::Braces => {}
        }
    }
    if schema.keys.iter().any(|key| key.place == Place::Braces) {
        in_braces(schema, word, &mut given)?;
    }
    (schema.make)(&given)
}

fn in_braces(schema: &Schema, word: &Entry<'_>, given: &mut Given) -> Option<()> {
    let braces = word.table(Some(schema.example))?;
    let keys = schema.keys.iter().filter(|key| key.place == Place::Braces);
    let entries: Vec<_> = keys.map(|key| (key, entry(&braces, key))).collect();
    for (key, entry) in &entries {
        put(given, key, entry.as_ref());
    }
    braces.finish();
    for (key, entry) in &entries {
        if let Some(entry) = entry
            && let Takes::Counter { part_of: Some(whole) } = key.takes
            && let (Some(part), Some(all)) = (given.selector(key.name), given.selector(whole))
            && selector::same(part, all)
        {
            entry.wrong(Wrong::but(
                format!("selects the same series as `{whole}`: every request would be bad"),
                "select only the bad ones, such as {status=~\"5..\"}",
            ));
            given.drop_selector(key);
        }
        if let Some(entry) = entry
            && let Some(wrong) = answer::contradiction(given, key)
        {
            entry.wrong(wrong);
        }
    }
    Some(())
}

/// A key's entry; it is reported when it is missing and must not be.
fn entry<'a>(table: &Reader<'a>, key: &Key) -> Option<Entry<'a>> {
    match key.unsaid {
        Unsaid::WrongWithout(other, write) if table.peek(other).is_none() => {
            table.require(key.name, write)
        }
        Unsaid::Wrong(write) => table.require(key.name, write),
        Unsaid::Means(_) | Unsaid::Nothing(_) | Unsaid::WrongWithout(..) => table.get(key.name),
    }
}

/// Puts in whom the threshold is read from.
fn read_from(given: &mut Given, table: &Reader<'_>, servers: &Servers, pages: bool) {
    let Some(entry) = table.get("from") else { return };
    let named = servers.values().map(|server| (server.name.as_str(), Some(server)));
    let words: Vec<_> = pages.then_some(("machine", None)).into_iter().chain(named).collect();
    let is_known = |text: &str| words.iter().any(|(word, _)| *word == text);
    let is_slip = |text: &str| nearest(text, words.iter().map(|(word, _)| *word)).is_some();
    if let Some(text) = entry.as_text().filter(|text| !is_known(text) && !is_slip(text)) {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let suggestion = format!(
            "write {}, or make it one: a [[metrics_server]] with name = \"{text}\" in waveoff.toml",
            alternatives(words.iter().map(String::as_str))
        );
        entry.wrong(Wrong::but(format!("there is no `{text}`"), suggestion));
        return;
    }
    match entry.choice(&words, &[]) {
        Some(Some(server)) => given.read_from(server.origin()),
        Some(None) => given.read_from(Origin::PAGES),
        None => {}
    }
}

/// Puts in what an entry says, or what holds without it. What is wrong is left out.
fn put(given: &mut Given, key: &Key, entry: Option<&Entry<'_>>) {
    let Some(entry) = entry else {
        if let Unsaid::Means(value) = key.unsaid {
            given.put(key, value);
        }
        return;
    };
    let value = match key.takes {
        Takes::Counter { .. } | Takes::Gauge | Takes::Histogram => {
            if let Some(selector) = selected(key.takes, entry) {
                given.select(key, selector);
            }
            return;
        }
        Takes::Share { least, below } => share(entry, least, below).map(Value::Number),
        Takes::Quantile { least, beyond } => quantile(entry, least, beyond).map(Value::Number),
        Takes::Latency { least, most } => latency(entry, least, most).map(Value::Span),
        Takes::Amount => amount(entry).map(Value::Number),
        Takes::Span { least, most } => entry.duration(least..=most).map(Value::Span),
        Takes::Machines => some_machines(entry).map(Value::Number),
        Takes::Whole { least, most } => entry.whole(least..=most).map(Value::Whole),
        Takes::Flag => entry.boolean().map(Value::Flag),
        Takes::OneOf(words) => {
            let words: Vec<(&str, Value)> =
                words.iter().map(|word| (*word, Value::Word(word))).collect();
            entry.choice(&words, &[])
        }
        Takes::Path | Takes::Text { .. } => {
            if let Some(text) = answer::text(key.takes, entry) {
                given.write(key, text);
            }
            return;
        }
        Takes::Relative => {
            if let Some(relative) = answer::relative(entry) {
                given.compare(relative);
            }
            return;
        }
        Takes::Labels { most } => {
            given.tell_apart(answer::labels(entry, most));
            return;
        }
        Takes::Statuses => {
            given.expect(answer::statuses(entry));
            return;
        }
        // Which ones there are is known to `read_from`.
        Takes::Source | Takes::Server => return,
        Takes::Expression => {
            if let Some((expression, looks_back)) = expression(entry) {
                given.evaluate(expression, looks_back);
            }
            return;
        }
    };
    if let Some(value) = value {
        given.put(key, value);
    }
}

fn selected(takes: Takes, entry: &Entry<'_>) -> Option<Selector> {
    if takes == Takes::Histogram {
        return entry.parse(selector::histogram);
    }
    let selector = entry.parse(selector::selector)?;
    let grows = ["_total", "_count", "_bucket"].iter().find(|end| selector.metric.ends_with(*end));
    if takes == Takes::Gauge {
        if let Some(kind) = grows {
            let metric = &selector.metric;
            entry.warn(Wrong::but(
                format!("`{metric}` looks like a counter (`{kind}`), which only ever grows"),
                "use a gauge here, or `ratio` for counters",
            ));
        }
    } else if let Some(meant) = selector::literal_pattern(&selector) {
        entry.warn(Wrong::but(
            "compares literally with what looks like a pattern",
            format!("did you mean {meant}?"),
        ));
    }
    Some(selector)
}

/// A share of events that a limit can be.
fn share(entry: &Entry<'_>, least: f64, below: f64) -> Option<f64> {
    let share = entry.share()?;
    if share < least {
        entry.wrong(Wrong::but(
            "a limit of nothing cannot be told from bad luck",
            "write the share that is still fine, such as \"0.1%\"",
        ));
        return None;
    }
    if share >= below {
        let text = units::share_text(share);
        entry.wrong(Wrong::but(
            format!("{text} is no limit: half of all requests would have to fail"),
            format!("write less than {}, such as \"2%\"", units::share_text(below)),
        ));
        return None;
    }
    Some(share)
}

/// How long an answer may take.
fn latency(entry: &Entry<'_>, least: Duration, most: Duration) -> Option<Duration> {
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
    if duration < least || duration > most {
        let text = entry.as_text().unwrap_or_default();
        let in_ms = text.strip_suffix('s').filter(|n| n.parse::<u32>().is_ok_and(|n| n >= 100));
        let suggestion = match in_ms {
            Some(number) => format!("did you mean \"{number}ms\"?"),
            None => format!(
                "write {} to {}, such as \"500ms\" or \"1.5s\"",
                units::duration_text(least),
                units::duration_text(most)
            ),
        };
        entry
            .wrong(Wrong::but(format!("`{text}` is far from what an answer may take"), suggestion));
        return None;
    }
    Some(duration)
}

fn quantile(entry: &Entry<'_>, least: f64, beyond: f64) -> Option<f64> {
    let Some(number) = entry.as_number() else {
        let digits = entry.as_text().map(|text| text.trim_matches(['p', 'P', '%', ' ']));
        let meant = digits.and_then(|digits| digits.parse::<f64>().ok()).map(as_quantile);
        entry.mistyped("a number such as 0.95", meant.map(|meant| format!("write {meant}")));
        return None;
    };
    if number > 0.0 && number < 1.0 {
        if number < least {
            entry.wrong(Wrong::but(
                format!("`{number}`: most requests could be slower than the bound"),
                format!("write {least} or more; did you mean {}?", 1.0 - number),
            ));
            return None;
        }
        if 1.0 - number < beyond {
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

/// A number in the unit of what is measured.
fn amount(entry: &Entry<'_>) -> Option<f64> {
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
