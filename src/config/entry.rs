//! One value of a TOML file: what type it has, what it means, and where it stands.
//!
//! Every way of reading a value reports what is wrong with it, with what to write instead, and
//! answers `None`.

use std::{
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml_edit::{Item, Value};

use super::{
    problem::{Problem, Wrong, alternatives, nearest},
    reader::{File, Reader},
    units,
};

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) file: &'a File<'a>,
    /// With the tables that it is in.
    pub(super) key: String,
    pub(super) span: Option<Range<usize>>,
    pub(super) item: EntryItem<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum EntryItem<'a> {
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
    pub(super) fn whole(&self, range: RangeInclusive<u32>) -> Option<u32> {
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
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let bare = self.as_text().unwrap_or_else(|| self.written()).trim();
        if bare.parse::<f64>().is_ok() || self.as_number().is_some() {
            let seconds = format!("{bare}s");
            let fits = units::duration(&seconds).is_ok_and(|duration| range.contains(&duration));
            let suggestion = if fits {
                format!("say \"{seconds}\" for seconds")
            } else {
                "write a number with ms, s, m, h or d, such as \"30s\" or \"1h30m\"".to_owned()
            };
            self.wrong(Wrong::but(format!("`{bare}` has no unit"), suggestion));
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

    /// One of a few words. `reserved` are words of a later version, with what to use meanwhile.
    pub(super) fn choice<T: Copy>(
        &self,
        words: &[(&str, T)],
        reserved: &[(&str, &str)],
    ) -> Option<T> {
        let names = || words.iter().map(|(word, _)| *word);
        let quoted: Vec<String> = names().map(|name| format!("\"{name}\"")).collect();
        let all = || format!("write {}", alternatives(quoted.iter().map(String::as_str)));
        let Some(text) = self.as_text() else {
            self.mistyped("a word in quotes", Some(all()));
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if let Some((word, instead)) = reserved.iter().find(|(word, _)| *word == text) {
            self.wrong(Wrong::but(
                format!("`{word}` is not available in this version"),
                (*instead).to_owned(),
            ));
            return None;
        }
        let suggestion = match nearest(text, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => all(),
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

    /// The elements of a list, whatever they are; none where it is no list.
    pub(super) fn elements(&self) -> Vec<Entry<'a>> {
        let array = self.value().and_then(Value::as_array);
        let element = |value: &'a Value| Entry {
            file: self.file,
            key: self.key.clone(),
            span: value.span().or_else(|| self.span.clone()),
            item: EntryItem::Value(value),
        };
        array.into_iter().flat_map(|array| array.iter().map(element)).collect()
    }

    /// Whether the value is `[]`.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value().and_then(Value::as_array).is_some_and(toml_edit::Array::is_empty)
    }

    /// A table; `example` says what one looks like.
    pub(super) fn table(&self, example: Option<&str>) -> Option<Reader<'a>> {
        let table = match self.item {
            EntryItem::Item(item) => item.as_table_like(),
            EntryItem::Value(_) => None,
        };
        let Some(table) = table else {
            self.mistyped("a table", example.map(|example| format!("write {example}")));
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
            let key = &self.key;
            let suggestion = if item.is_table_like() {
                format!("write [[{key}]] instead of [{key}]")
            } else {
                format!("write [[{key}]]")
            };
            self.mistyped("a list of tables", Some(suggestion));
            Vec::new()
        })
    }
}
