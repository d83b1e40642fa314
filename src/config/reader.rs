//! Reads a TOML table key by key, and reports whatever is wrong with a line number.
//!
//! Nothing here stops at the first problem: a value that is wrong is reported and comes back as
//! `None`, and reading goes on. What was never asked for is unknown, and is reported by
//! [`Reader::finish`].

use std::{cell::RefCell, ops::Range};

use toml_edit::TableLike;

use super::{
    entry::{Entry, EntryItem},
    keys,
    problem::{Problem, Wrong, nearest},
    reserved_keys,
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

    pub(super) fn describe(&self, at: Option<&Range<usize>>, key: &str, wrong: Wrong) -> Problem {
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

    /// The value at a path of keys, wherever it is; whatever is wrong on the way is no problem here.
    pub(super) fn find(&self, path: &[&str]) -> Option<Entry<'a>> {
        let (first, rest) = path.split_first()?;
        let mut entry = self.peek(first)?;
        for key in rest {
            let EntryItem::Item(item) = entry.item else { return None };
            let inner = Reader::new(self.file, entry.key, item.as_table_like()?, entry.span);
            entry = inner.peek(key)?;
        }
        Some(entry)
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
            let wrong = reserved_keys::key(key)
                .or_else(|| keys::misplaced(key, &here))
                .unwrap_or_else(|| {
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
