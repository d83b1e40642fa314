//! What the tables say of the files is what the reader takes, and what the documentation says.

use super::*;
use crate::config::schema::{POLICY, SETTINGS, Table, Takes, Unsaid};

/// No key is like it.
const UNKNOWN: &str = "qjxzvkwyqjxzvkwyqjxzvkwy";

/// Tables of a file by the header under which they stand; `""`: its top.
fn tables(top: &'static Table) -> Vec<(String, &'static Table)> {
    let inner = top.keys.iter().filter_map(|key| match key.takes {
        Takes::One(table) => Some((format!("[{}]", key.name), table)),
        Takes::Many(table) => Some((format!("[[{}]]", key.name), table)),
        _ => None,
    });
    std::iter::once((String::new(), top)).chain(inner).collect()
}

/// Keys that the reader knows in a table, as it says when one is unknown.
fn known(settings: &str, policy: &str, key: &str) -> Vec<String> {
    let problems = Place::new(settings, &[("web.toml", policy)]).problems();
    let about = problems.iter().find(|problem| problem.contains(UNKNOWN));
    let about = about.unwrap_or_else(|| panic!("{key}: {problems:?}"));
    let (_, known) = about.split_once("known here: ").unwrap_or_else(|| panic!("{about}"));
    let mut known: Vec<String> = known.split(", ").map(str::to_owned).collect();
    known.sort();
    known.dedup();
    known
}

fn named(table: &Table) -> Vec<String> {
    let mut names: Vec<String> = table.keys.iter().map(|key| key.name.to_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_tables_have_the_keys_that_the_reader_knows() {
    for (header, table) in tables(&SETTINGS) {
        let settings = match header.as_str() {
            "" => format!("{ACME}{UNKNOWN} = 1\n"),
            header => format!("{ACME}{header}\n{UNKNOWN} = 1\n"),
        };
        assert_eq!(named(table), known(&settings, PLAIN, &header), "waveoff.toml {header}");
    }
    for (header, table) in tables(&POLICY) {
        let policy = match header.as_str() {
            "" => format!("{PLAIN}{UNKNOWN} = 1\n"),
            header => format!("{PLAIN}{header}\n{UNKNOWN} = 1\n"),
        };
        assert_eq!(named(table), known(ACME, &policy, &header), "thresholds {header}");
    }
}

#[test]
fn the_reference_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documentation = fs::read_to_string(path).unwrap();
    let mut missing = Vec::new();
    for (_, table) in tables(&SETTINGS).iter().chain(&tables(&POLICY)) {
        for key in table.keys {
            let name = match key.takes {
                Takes::One(_) => format!("[{}]", key.name),
                Takes::Many(_) | Takes::Thresholds => format!("[[{}]]", key.name),
                _ => key.name.to_owned(),
            };
            let unsaid = match key.unsaid {
                Unsaid::Required => "required".to_owned(),
                Unsaid::Means(value) => format!("`{value}`"),
                Unsaid::Is(words) => words.to_owned(),
            };
            let row = format!("| `{name}` | {unsaid} | {} |\n", key.doc);
            if !documentation.contains(&row) {
                missing.push(row);
            }
        }
    }
    assert!(missing.is_empty(), "docs/configuration.md lacks\n{}", missing.concat());
}

/// A policy with one key written as `value`, or left out.
fn with(header: &str, key: &str, value: Option<&str>) -> String {
    let Some(value) = value else { return PLAIN.to_owned() };
    let line = format!("{key} = {value}\n");
    match header {
        "" if PLAIN.contains(&format!("{key} = ")) => format!("{line}{}", rest_of_plain(key)),
        "" => format!("{line}{PLAIN}"),
        header => format!("{PLAIN}{header}\n{line}"),
    }
}

fn rest_of_plain(key: &str) -> String {
    let others = PLAIN.lines().filter(|line| !line.starts_with(&format!("{key} = ")));
    others.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_a_table_calls_a_default_is_one_and_its_limits_hold() {
    let policies = tables(&POLICY).into_iter().filter(|(header, _)| !header.starts_with("[["));
    for (header, key) in
        policies.flat_map(|(header, table)| table.keys.iter().map(move |key| (header.clone(), key)))
    {
        let at = format!("{header} {}", key.name);
        let read = |value: Option<&str>| {
            Place::policy(&with(&header, key.name, value)).load().map(|config| config.policies)
        };
        if let Unsaid::Means(value) = key.unsaid
            && key.name != "use"
        {
            let said = read(Some(value)).unwrap_or_else(|errors| panic!("{at}: {errors}"));
            assert_eq!(said[0].policy, read(None).unwrap()[0].policy, "{at}");
        }
        let outside: Vec<String> = match key.takes {
            Takes::Span { least, most } => {
                let below = least.checked_sub(Duration::from_millis(1));
                let above = [most + Duration::from_secs(1)];
                let all = below.filter(|span| !span.is_zero()).into_iter().chain(above);
                all.map(|span| format!("\"{}\"", duration_text(span))).collect()
            }
            Takes::Whole { least, most } => {
                vec![(i64::from(least) - 1).to_string(), (i64::from(most) + 1).to_string()]
            }
            Takes::Words(words) => {
                for word in words {
                    let result = read(Some(&format!("\"{word}\"")));
                    assert!(result.is_ok(), "{at} may be {word}: {result:?}");
                }
                vec!["\"something\"".to_owned()]
            }
            Takes::Flag => vec!["\"yes\"".to_owned()],
            Takes::Odds => vec!["\"often\"".to_owned(), "0.1".to_owned()],
            _ => Vec::new(),
        };
        for value in outside {
            assert!(read(Some(&value)).is_err(), "{at} may not be {value}");
        }
    }
}
