//! What the documentation of other versions may mention and this one does not have.
//!
//! Such a key must never be ignored: whoever wrote it counts on it. Each is refused by its name,
//! with what to use meanwhile.

use super::problem::Wrong;

const KEYS: [(&str, &str); 3] = [
    ("freeze_windows", "write a [[freeze]] with at, for and zone"),
    ("control", "leave it out"),
    ("query", "write an expression with `promql`, or read a metric with `gauge`"),
];

/// What is wrong with a key of another version.
pub(super) fn key(key: &str) -> Option<Wrong> {
    let (name, instead) = KEYS.iter().find(|(name, _)| *name == key)?;
    Some(Wrong::but(format!("`{name}` is not available in this version"), (*instead).to_owned()))
}
