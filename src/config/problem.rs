//! What is wrong with a configuration: where, what, and what to write instead.
//!
//! Whoever edits a file gets everything at once, and in one form: a line that editors can jump to.

use std::{collections::BTreeSet, fmt, path::Path};

use serde::Serialize;

/// Most problems that are printed; the rest is counted.
const SHOWN_MAX: usize = 100;

/// One thing that is wrong, or, as a warning, probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file with its directory, or `environment`.
    pub file: String,
    /// Counted from 1; `None` when it is about the file as a whole, or about something missing.
    pub line: Option<usize>,
    /// The key with its tables, such as `watch.bake` or `threshold "5xx".max`; may be empty.
    pub key: String,
    pub message: String,
    /// What to write instead, when that can be said.
    pub suggestion: Option<String>,
}

/// One line, whatever control characters the file contains: a terminal obeys what it is sent.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.file.clone();
        if let Some(number) = self.line {
            line.push_str(&format!(":{number}"));
        }
        if !self.key.is_empty() {
            line.push_str(&format!(": {}", self.key));
        }
        line.push_str(&format!(": {}", self.message));
        if let Some(suggestion) = &self.suggestion {
            line.push_str(&format!("; {suggestion}"));
        }
        f.write_str(&line.replace(char::is_control, " "))
    }
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
}

impl ConfigErrors {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }

    /// The problems, by file and line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The same by the files' names within the configuration, and not by where they are kept for now.
    #[must_use]
    pub fn named_from(&self, dir: &Path) -> Self {
        let long = format!("{}/", dir.display());
        let short = |text: &str| text.replace(&long, "");
        let short = |problem: &Problem| Problem {
            file: short(&problem.file),
            message: short(&problem.message),
            ..problem.clone()
        };
        Self { problems: self.problems.iter().map(short).collect() }
    }

    /// `3 problems in 2 files`.
    fn summary(&self) -> String {
        let files: BTreeSet<&str> = self.problems.iter().map(|p| p.file.as_str()).collect();
        let many = |count: usize, word: &str| {
            format!("{count} {word}{}", if count == 1 { "" } else { "s" })
        };
        match files.iter().next() {
            Some(file) if files.len() == 1 => {
                format!("{} in {file}", many(self.problems.len(), "problem"))
            }
            _ => format!(
                "{} in {}",
                many(self.problems.len(), "problem"),
                many(files.len(), "place")
            ),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN_MAX) {
            writeln!(f, "{problem}")?;
        }
        if self.problems.len() > SHOWN_MAX {
            writeln!(f, "… and {} more", self.problems.len() - SHOWN_MAX)?;
        }
        f.write_str(&self.summary())
    }
}

impl std::error::Error for ConfigErrors {}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: None }
    }

    /// With what to do instead, as a clause: `write "5s"`.
    pub(super) fn but(message: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { message: message.into(), suggestion: Some(suggestion.into()) }
    }
}

/// The candidate that `text` is most likely meant to be, if any is close enough to be a slip.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = text.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| {
            let plain = candidate.replace('-', "_");
            (strsim::damerau_levenshtein(&lower, &plain), candidate)
        })
        .min()
        .filter(|(distance, candidate)| {
            let longest = text.chars().count().max(candidate.chars().count());
            *distance * 3 <= longest.max(3)
        })
        .map(|(_, candidate)| candidate)
}

/// `a, b or c`.
pub(super) fn alternatives<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_can_be_told_by_the_files_names_alone() {
        let problem = Problem {
            file: "/tmp/aside/thresholds/web.toml".to_owned(),
            line: Some(3),
            key: String::new(),
            message: "is also in /tmp/aside/waveoff.toml".to_owned(),
            suggestion: None,
        };
        let told = ConfigErrors::new(vec![problem]).named_from(Path::new("/tmp/aside"));
        let told = told.to_string();
        assert!(told.contains("thresholds/web.toml") && told.contains("in waveoff.toml"), "{told}");
        assert!(!told.contains("/tmp"), "{told}");
    }

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let words = ["bake", "block", "countdown", "max_unavailable"];
        assert_eq!(nearest("bakee", words), Some("bake"));
        assert_eq!(nearest("abke", words), Some("bake"));
        assert_eq!(nearest("max-unavailable", words), Some("max_unavailable"));
        assert_eq!(nearest("Countdwon", words), Some("countdown"));
        assert_eq!(nearest("retries", words), None);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let problem = |line| Problem {
            file: "a.toml".to_owned(),
            line: Some(line),
            key: "k".to_owned(),
            message: "is wrong".to_owned(),
            suggestion: Some("mend it".to_owned()),
        };
        let text = ConfigErrors::new((1..=130).rev().map(problem).collect()).to_string();
        assert!(text.starts_with("a.toml:1: k: is wrong; mend it\n"), "{text}");
        assert!(text.ends_with("… and 30 more\n130 problems in a.toml"), "{text}");
    }
}
