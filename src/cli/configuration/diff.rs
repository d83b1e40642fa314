//! How two configurations differ, as people know it from `diff -u`.

use std::{collections::BTreeMap, fmt::Write as _};

use similar::TextDiff;

use crate::cli::text::clean_lines;

/// Lines around a change.
const CONTEXT: usize = 3;

/// What has to be done to `old` to get `new`; empty when nothing has to.
pub(super) fn unified(
    old_name: &str,
    old: &BTreeMap<String, String>,
    new_name: &str,
    new: &BTreeMap<String, String>,
) -> String {
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let mut names: Vec<&String> = names.collect();
    names.sort();
    let mut all = String::new();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        if before == after {
            continue;
        }
        let side = |of: &str, text: Option<&String>| match text {
            Some(_) => format!("{name}  ({of})"),
            None => format!("{name}  (not in {of})"),
        };
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let (before_text, after_text) = (text(before), text(after));
        let diff = TextDiff::from_lines(&before_text, &after_text);
        let _ = writeln!(all, "--- {}\n+++ {}", side(old_name, before), side(new_name, after));
        all.push_str(&diff.unified_diff().context_radius(CONTEXT).to_string());
    }
    clean_lines(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn what_changed_is_shown_file_by_file_and_no_terminal_obeys_it() {
        let old = files(&[
            ("waveoff.toml", "organization = \"acme\"\n"),
            ("thresholds/api.toml", "apps = [\"api\"]\nmax = \"2 %\"\n"),
            ("thresholds/old.toml", "apps = [\"old\"]\n"),
        ]);
        let new = files(&[
            ("waveoff.toml", "organization = \"acme\"\n"),
            ("thresholds/api.toml", "apps = [\"api\"]\nmax = \"3 %\"\u{1b}[2J\n"),
            ("thresholds/new.toml", "apps = [\"new\"]\n"),
        ]);
        insta::assert_snapshot!(unified("configuration 7", &old, "config", &new), @r#"
        --- thresholds/api.toml  (configuration 7)
        +++ thresholds/api.toml  (config)
        @@ -1,2 +1,2 @@
         apps = ["api"]
        -max = "2 %"
        +max = "3 %" [2J
        --- thresholds/new.toml  (not in configuration 7)
        +++ thresholds/new.toml  (config)
        @@ -0,0 +1 @@
        +apps = ["new"]
        --- thresholds/old.toml  (configuration 7)
        +++ thresholds/old.toml  (not in config)
        @@ -1 +0,0 @@
        -apps = ["old"]
        "#);
        assert_eq!(unified("a", &old, "b", &old), "");
    }
}
