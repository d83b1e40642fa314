//! What may be written in the files, as data: for editors, as a JSON Schema, and for the reference in
//! docs/configuration.md. A test holds that it is what the reader takes.

mod json;
mod receiver;
mod tables;
mod thresholds;

use std::time::Duration;

pub use json::{policy, settings};
#[cfg(test)]
pub(super) use tables::{POLICY, SETTINGS};

/// A table of a file, and what may stand in it.
#[derive(Debug)]
pub struct Table {
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub takes: Takes,
    pub unsaid: Unsaid,
    /// For the reference, in Markdown.
    pub doc: &'static str,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaid {
    Required,
    /// What has the same meaning, as a file has it.
    Means(&'static str),
    /// Something that no value says; for the reference.
    Is(&'static str),
}

/// What may be written.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    Text,
    Texts,
    /// A time with its unit.
    Span {
        least: Duration,
        most: Duration,
    },
    Whole {
        least: u32,
        most: u32,
    },
    Flag,
    Words(&'static [&'static str]),
    /// Several of these words.
    Several(fn() -> Vec<String>),
    /// Per cent, or a number up to 1.
    Share,
    /// `1 in 1000`.
    Odds,
    /// One of these.
    Either(&'static [Takes]),
    /// A table with these keys.
    One(&'static Table),
    /// Any number of them.
    Many(&'static Table),
    /// `[[threshold]]`, which its kinds describe.
    Thresholds,
}

/// Every key of a threshold file that has one value, with the table that it is in, in the order of the
/// reference.
pub fn policy_keys() -> Vec<(Option<&'static str>, &'static str)> {
    let mut keys = Vec::new();
    for key in tables::POLICY.keys {
        match key.takes {
            Takes::One(table) => {
                keys.extend(table.keys.iter().map(|one| (Some(key.name), one.name)));
            }
            Takes::Many(_) | Takes::Thresholds => {}
            _ => keys.push((None, key.name)),
        }
    }
    keys
}
