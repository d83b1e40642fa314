//! One thing that was looked at, and what came of it.

use serde::Serialize;

use crate::cli::terminal::Tone;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    Ok,
    /// It works, and is probably not meant so, or could not be told.
    Look,
    Wrong,
}

impl Grade {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Wrong => "WRONG",
        }
    }

    pub(super) fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Look => Tone::Warn,
            Self::Wrong => Tone::Bad,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    pub(super) what: String,
    pub(super) says: String,
    /// What to do about it; empty: nothing.
    pub(super) next: String,
}

impl Finding {
    pub(super) fn new(grade: Grade, what: &str, says: String, next: String) -> Self {
        Self { grade, what: what.to_owned(), says, next }
    }

    pub(super) fn ok(what: &str, says: String) -> Self {
        Self::new(Grade::Ok, what, says, String::new())
    }

    pub(super) fn wrong(what: &str, says: String, next: String) -> Self {
        Self::new(Grade::Wrong, what, says, next)
    }
}
