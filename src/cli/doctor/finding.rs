//! What the platform did, beside what the daemon assumes.

use serde_json::{Value, json};

/// How the two go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// As the daemon needs it.
    AsAssumed,
    /// It does not matter to the daemon, which now can be known.
    Known,
    /// Not as the daemon needs it.
    Differs,
    /// It could not be found out.
    Open,
}

impl Grade {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::AsAssumed => "ok",
            Self::Known => "known",
            Self::Differs => "DIFFERENT",
            Self::Open => "open",
        }
    }

    /// The same for who sees the word for the first time.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::AsAssumed => "as the daemon needs it",
            Self::Known => "the daemon can live with any answer, and this is the platform's",
            Self::Differs => "not as the daemon needs it",
            Self::Open => "could not be found out",
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    pub(super) question: &'static str,
    pub(super) platform: String,
    pub(super) daemon: &'static str,
}

impl Finding {
    /// The daemon needs it to be so.
    pub(super) fn needs(
        question: &'static str,
        daemon: &'static str,
        is_so: bool,
        platform: String,
    ) -> Self {
        let grade = if is_so { Grade::AsAssumed } else { Grade::Differs };
        Self { grade, question, platform, daemon }
    }

    /// The daemon can live with any answer.
    pub(super) fn known(question: &'static str, daemon: &'static str, platform: String) -> Self {
        Self { grade: Grade::Known, question, platform, daemon }
    }

    /// What kept the question from being answered.
    pub(super) fn open(question: &'static str, daemon: &'static str, why: String) -> Self {
        Self { grade: Grade::Open, question, platform: why, daemon }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "grade": self.grade.word(), "question": self.question,
            "platform": self.platform, "daemon": self.daemon,
        })
    }
}
