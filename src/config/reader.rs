//! Reads a TOML table key by key, and reports whatever is wrong with a line number.
//!
//! Nothing here stops at the first problem: a value that is wrong is reported and comes back as
//! `None`, and reading goes on. What was never asked for is unknown, and is reported by
//! [`Reader::finish`].

use std::{cell::RefCell, ops::Range};

use toml_edit::{Item, TableLike, Value};

use super::{
    problem::{Problem, Wrong, alternatives, nearest},
    unbuilt, units,
};

/// One file while it is read, and what was found wrong with it.
pub(super) struct File<'a> {
    /// With its directory, as it is shown.
    pub(super) name: String,
    pub(super) text: &'a str,
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
}

impl<'a> File<'a> {
    pub(super) fn new(name: String, text: &'a str) -> Self {
        Self { name, text, problems: RefCell::default(), warnings: RefCell::default() }
    }

    pub(super) fn problem(&self, at: Option<&Range<usize>>, key: &str, wrong: Wrong) {
        let problem = self.describe(at, key, wrong);
        self.problems.borrow_mut().push(problem);
    }

    pub(super) fn warning(&self, at: Option<&Range<usize>>, key: &str, wrong: Wrong) {
        let warning = self.describe(at, key, wrong);
        self.warnings.borrow_mut().push(warning);
    }

    fn describe(&self, at: Option<&Range<usize>>, key: &str, wrong: Wrong) -> Problem {
        Problem {
            file: self.name.clone(),
            line: at.map(|span| self.line(span.start)),
            key: key.to_owned(),
            message: wrong.message,
            suggestion: wrong.suggestion,
        }
    }

    /// The number of the line that has the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    file: &'a File<'a>,
    key: String,
    span: Option<Range<usize>>,
    item: EntryItem<'a>,
}

#[derive(Clone, Copy)]
enum EntryItem<'a> {
    Item(&'a Item),
    /// An element of a list.
    Value(&'a Value),
}

impl<'a> Entry<'a> {
    pub(super) fn wrong(&self, wrong: Wrong) {
        self.file.problem(self.span.as_ref(), &self.key, wrong);
    }

    pub(super) fn warn(&self, wrong: Wrong) {
        self.file.warning(self.span.as_ref(), &self.key, wrong);
    }

    pub(super) fn line(&self) -> Option<usize> {
        self.span.as_ref().map(|span| self.file.line(span.start))
    }

    /// A problem with this value that is not reported here.
    pub(super) fn describe(&self, wrong: Wrong) -> Problem {
        self.file.describe(self.span.as_ref(), &self.key, wrong)
    }

    fn value(&self) -> Option<&'a Value> {
        match self.item {
            EntryItem::Item(item) => item.as_value(),
            EntryItem::Value(value) => Some(value),
        }
    }

    /// The text of a string; any other type is no problem yet.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value().and_then(Value::as_str)
    }

    /// The number of an integer or float; any other type is no problem yet.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self.value()? {
            Value::Float(float) => Some(*float.value()),
            // Integers that a float cannot hold exactly are far outside every range here.
            Value::Integer(integer) => Some(*integer.value() as f64),
            _ => None,
        }
    }

    /// The value as it stands in the file.
    pub(super) fn written(&self) -> &'a str {
        let text = self.span.clone().and_then(|span| self.file.text.get(span));
        text.unwrap_or_default().trim()
    }

    /// Reports that the value has another type than `wanted` says.
    pub(super) fn mistyped(&self, wanted: &str, suggestion: Option<String>) {
        let found = match self.item {
            EntryItem::Item(Item::Table(_)) => "a table",
            EntryItem::Item(Item::ArrayOfTables(_)) => "a list of tables",
            EntryItem::Item(_) | EntryItem::Value(_) => match self.value() {
                Some(Value::String(_)) => "a text",
                Some(Value::Integer(_) | Value::Float(_)) => "a number",
                Some(Value::Boolean(_)) => "true or false",
                Some(Value::Datetime(_)) => "a date",
                Some(Value::Array(_)) => "a list",
                Some(Value::InlineTable(_)) => "a table",
                None => "nothing",
            },
        };
        let message = format!("must be {wanted}, and is {found}");
        self.wrong(Wrong { message, suggestion });
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        let text = self.as_text();
        if text.is_none() {
            let written = self.written();
            let simple = self.as_number().is_some() || self.value().is_some_and(Value::is_bool);
            self.mistyped("a text in quotes", simple.then(|| format!("write \"{written}\"")));
        }
        text
    }

    /// A text that `parse` understands.
    pub(super) fn parse<T>(&self, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        self.check(parse(self.text()?))
    }

    /// Reports what is wrong with a result.
    pub(super) fn check<T>(&self, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|wrong| self.wrong(wrong)).ok()
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value().and_then(Value::as_bool);
        if value.is_none() {
            let meant = self.as_text().filter(|text| matches!(*text, "true" | "false"));
            self.mistyped(
                "true or false",
                meant.map(|text| format!("write {text} without quotes")),
            );
        }
        value
    }

    /// A whole number within `range`.
    pub(super) fn whole(&self, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let Some(number) = self.value().and_then(Value::as_integer) else {
            let meant = self.as_text().and_then(|text| text.trim().parse::<u32>().ok());
            let suggestion = meant.map(|number| format!("write {number} without quotes"));
            self.mistyped("a whole number", suggestion);
            return None;
        };
        let valid = u32::try_from(number).ok().filter(|number| range.contains(number));
        if valid.is_none() {
            let message = format!("`{number}` is outside {} to {}", range.start(), range.end());
            self.wrong(Wrong::new(message));
        }
        valid
    }

    /// A duration such as `30s`, within `range`.
    pub(super) fn duration(
        &self,
        range: std::ops::RangeInclusive<std::time::Duration>,
    ) -> Option<std::time::Duration> {
        if self.as_number().is_some() {
            let written = self.written();
            let message = format!("`{written}` has no unit");
            let suggestion = match units::duration(&format!("{written}s")) {
                Ok(_) => {
                    format!("say \"{written}s\" for seconds, \"{written}ms\" for milliseconds")
                }
                Err(_) => "write a text such as \"500ms\", \"30s\" or \"1h30m\"".to_owned(),
            };
            self.wrong(Wrong::but(message, suggestion));
            return None;
        }
        let duration = self.parse(units::duration)?;
        if !range.contains(&duration) {
            self.wrong(Wrong::but(
                format!("`{}` is outside the sensible range", self.as_text().unwrap_or_default()),
                format!(
                    "write {} to {}",
                    units::duration_text(*range.start()),
                    units::duration_text(*range.end())
                ),
            ));
            return None;
        }
        Some(duration)
    }

    /// A share such as `"2%"` or 0.02.
    pub(super) fn share(&self) -> Option<f64> {
        match self.as_number() {
            Some(number) => self.check(units::share_number(number, self.written())),
            None if self.as_text().is_none() => {
                self.mistyped("a share", Some("write per cent such as \"2%\", or 0.02".to_owned()));
                None
            }
            None => self.parse(units::share),
        }
    }

    /// One of a few words. `unbuilt` are words of a later version, with what to use meanwhile.
    pub(super) fn choice<T: Copy>(
        &self,
        words: &[(&str, T)],
        unbuilt: &[(&str, &str)],
    ) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names = || words.iter().map(|(word, _)| *word);
        if let Some((word, instead)) = unbuilt.iter().find(|(word, _)| *word == text) {
            self.wrong(Wrong::but(
                format!("`{word}` is not available in this version"),
                (*instead).to_owned(),
            ));
            return None;
        }
        let quoted: Vec<String> = names().map(|name| format!("\"{name}\"")).collect();
        let suggestion = match nearest(text, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write {}", alternatives(quoted.iter().map(String::as_str))),
        };
        self.wrong(Wrong::but(format!("there is no `{text}`"), suggestion));
        None
    }

    /// The elements of a list of texts.
    pub(super) fn list(&self) -> Vec<(Entry<'a>, &'a str)> {
        let Some(array) = self.value().and_then(Value::as_array) else {
            let written = self.written();
            let alone = self.as_text().map(|_| format!("write [{written}]"));
            self.mistyped("a list of texts", alone);
            return Vec::new();
        };
        array
            .iter()
            .filter_map(|value| {
                let entry = Entry {
                    file: self.file,
                    key: self.key.clone(),
                    span: value.span().or_else(|| self.span.clone()),
                    item: EntryItem::Value(value),
                };
                entry.text().map(|text| (entry.clone(), text))
            })
            .collect()
    }

    /// Whether the value is `[]`.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value().and_then(Value::as_array).is_some_and(toml_edit::Array::is_empty)
    }

    pub(super) fn table(&self) -> Option<Reader<'a>> {
        let table = match self.item {
            EntryItem::Item(item) => item.as_table_like(),
            EntryItem::Value(_) => None,
        };
        let Some(table) = table else {
            self.mistyped("a table", None);
            return None;
        };
        Some(Reader::new(self.file, self.key.clone(), table, self.span.clone()))
    }

    /// The tables of a list: `[[key]]`, or inline tables in `[ ]`.
    pub(super) fn tables(&self) -> Vec<Reader<'a>> {
        let item = match self.item {
            EntryItem::Item(item) => item,
            EntryItem::Value(_) => return Vec::new(),
        };
        if let Some(tables) = item.as_array_of_tables() {
            return tables
                .iter()
                .map(|table| Reader::new(self.file, self.key.clone(), table, table.span()))
                .collect();
        }
        let inline: Option<Vec<Reader<'a>>> = item.as_array().and_then(|array| {
            array
                .iter()
                .map(|value| {
                    let table = value.as_inline_table()?;
                    Some(Reader::new(self.file, self.key.clone(), table, value.span()))
                })
                .collect()
        });
        inline.unwrap_or_else(|| {
            let suggestion = format!("write [[{0}]] instead of [{0}]", self.key);
            let table = item.is_table_like();
            self.mistyped("a list of tables", table.then_some(suggestion));
            Vec::new()
        })
    }
}

/// A table while it is read.
pub(super) struct Reader<'a> {
    pub(super) file: &'a File<'a>,
    /// What the keys are called in messages, such as `watch`; empty at the top.
    path: RefCell<String>,
    table: &'a dyn TableLike,
    span: Option<Range<usize>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: &'a File<'a>,
        path: String,
        table: &'a dyn TableLike,
        span: Option<Range<usize>>,
    ) -> Self {
        Self { file, path: RefCell::new(path), table, span, asked: RefCell::default() }
    }

    /// Gives the table a name of its own in messages.
    pub(super) fn rename(&self, path: String) {
        *self.path.borrow_mut() = path;
    }

    fn full(&self, key: &str) -> String {
        let path = self.path.borrow();
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Entry<'a>> {
        self.asked.borrow_mut().push(key);
        self.peek(key)
    }

    /// The value of a key, without saying that the key belongs here.
    pub(super) fn peek(&self, key: &str) -> Option<Entry<'a>> {
        let (name, item) = self.table.get_key_value(key)?;
        let span = item.span().or_else(|| name.span());
        Some(Entry { file: self.file, key: self.full(key), span, item: EntryItem::Item(item) })
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &'static str, suggestion: &str) -> Option<Entry<'a>> {
        let entry = self.get(key);
        if entry.is_none() {
            self.missing(key, suggestion);
        }
        entry
    }

    pub(super) fn missing(&self, key: &str, suggestion: &str) {
        self.file.problem(
            self.span.as_ref(),
            &self.full(key),
            Wrong::but("is missing", suggestion.to_owned()),
        );
    }

    /// Reports something about the table as a whole.
    pub(super) fn wrong(&self, wrong: Wrong) {
        self.file.problem(self.span.as_ref(), &self.path.borrow(), wrong);
    }

    pub(super) fn warn(&self, wrong: Wrong) {
        self.file.warning(self.span.as_ref(), &self.path.borrow(), wrong);
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, item) in self.table.iter() {
            if asked.contains(&key) {
                continue;
            }
            let name = self.table.key(key).and_then(toml_edit::Key::span);
            let span = name.or_else(|| item.span());
            let here = self.path.borrow();
            let wrong = unbuilt::key(key).or_else(|| misplaced(key, &here)).unwrap_or_else(|| {
                let suggestion = match nearest(key, asked.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", asked.join(", ")),
                };
                Wrong::but("is not a known key", suggestion)
            });
            self.file.problem(span.as_ref(), &self.full(key), wrong);
        }
    }
}

/// Keys and the tables that they belong in.
const PLACES: [(&str, &[&str]); 6] = [
    (
        "at the top of a threshold file, before the first [table]",
        &["apps", "exclude", "mode", "use"],
    ),
    (
        "in [watch] of a threshold file",
        &[
            "scrape_every",
            "idle_scrape_every",
            "warm_up",
            "bake",
            "block",
            "false_rollbacks",
            "countdown",
        ],
    ),
    (
        "in [rollback] of a threshold file",
        &[
            "order",
            "confirm",
            "strategy",
            "max_unavailable",
            "escalate",
            "only_breaching_regions",
            "migrations",
            "first_target",
            "per_day_max",
            "ready_timeout",
        ],
    ),
    ("in [metrics] of a threshold file", &["port", "path"]),
    (
        "at the top of waveoff.toml, before the first [table]",
        &["organization", "listen", "data_dir", "keep_history"],
    ),
    ("in a [[receiver]] of waveoff.toml", &["url", "url_env", "secrets_env", "max_age"]),
];

fn misplaced(key: &str, here: &str) -> Option<Wrong> {
    if (here == "receiver" || here.starts_with("receiver "))
        && let "secret" | "secrets" | "signing_secret" = key
    {
        return Some(Wrong::but(
            "secrets do not belong in a file",
            "put it into an environment variable and name that: secrets_env = [\"OPS_WEBHOOK_SECRET\"]",
        ));
    }
    let (place, _) = PLACES.iter().find(|(_, keys)| keys.contains(&key))?;
    Some(Wrong::but("does not belong here", format!("`{key}` stands {place}")))
}
