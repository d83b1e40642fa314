//! What the documentation shows is what there is: every command can be given, and every table of a
//! configuration is one that `check` takes.

use std::{fs, path::PathBuf};

use clap::{CommandFactory as _, Parser as _};

use super::Arguments;
use crate::config;

/// A block in a fence: its language, its text, and where it begins.
struct Block {
    language: String,
    text: String,
    place: String,
}

fn documents() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    all.push(root.join("README.md"));
    all.sort();
    all
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let mut open: Option<Block> = None;
        for (line, number) in text.lines().zip(1..) {
            match (line.strip_prefix("```"), open.take()) {
                (Some(language), None) => {
                    let name = path.file_name().unwrap().to_string_lossy();
                    let place = format!("{name}:{number}");
                    let language = language.trim().to_owned();
                    open = Some(Block { language, text: String::new(), place });
                }
                (Some(_), Some(done)) => blocks.push(done),
                (None, Some(mut block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
    }
    blocks
}

/// The words of a command as a shell takes them, up to what is the shell's own.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut begun) = (String::new(), None, false);
    for char in line.chars() {
        match (quote, char) {
            (Some(end), _) if end == char => quote = None,
            (Some(_), _) => word.push(char),
            (None, '"' | '\'') => (quote, begun) = (Some(char), true),
            (None, '#' | '>' | '|' | '&' | ';') if !begun => return words,
            (None, _) if char.is_whitespace() => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, _) => {
                word.push(char);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Whether a word sets a variable: `NAME=value`.
fn is_set(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| name.chars().all(|char| char.is_ascii_uppercase() || char == '_'))
}

#[test]
fn every_command_of_the_documentation_can_be_given() {
    let mut seen = 0;
    for block in blocks().iter().filter(|one| matches!(one.language.as_str(), "sh" | "console")) {
        for line in block.text.lines() {
            let line = line.trim_start_matches("$ ");
            let given = words(line);
            // A variable may be set for the one command.
            let given: Vec<String> = given.into_iter().skip_while(|word| is_set(word)).collect();
            if given.first().is_none_or(|word| word != "waveoff")
                || line.starts_with("waveoff --version")
            {
                continue;
            }
            seen += 1;
            // What stands for something stands for anything.
            let stands = |word: &String| word.replace("APP", "api").replace("NAME", "ops");
            let given: Vec<String> = given.iter().map(stands).collect();
            if let Err(error) = Arguments::try_parse_from(&given) {
                panic!("{}: {line}\n{error}", block.place);
            }
        }
    }
    assert!(seen > 25, "{seen}");
}

#[test]
fn every_table_of_the_documentation_is_one_that_check_takes() {
    let mut seen = 0;
    for block in blocks().iter().filter(|one| one.language == "toml") {
        let text = block.text.as_str();
        let is_fleet =
            ["[[images]]", "[[apps]]", "[[steps]]", "machines = {", "boot_s", "behaviour"];
        if is_fleet.iter().any(|word| text.contains(word)) || text.contains("[env]") {
            continue;
        }
        seen += 1;
        let settings = ["[[receiver]]", "[[metrics_server]]", "heartbeat_url_env", "organization"];
        let is_settings = settings.iter().any(|key| text.contains(key));
        let whole = |text: &str, key: &str, line: &str| {
            if text.lines().any(|l| l.starts_with(key)) {
                text.to_owned()
            } else {
                format!("{line}\n{text}")
            }
        };
        let organization = "organization = \"acme\"";
        let (settings, policy) = if is_settings {
            (
                whole(text, "organization", organization),
                "apps = [\"*\"]\nuse = [\"checks\"]\n".to_owned(),
            )
        } else {
            let policy = whole(text, "apps", "apps = [\"documented\"]");
            let has = policy.contains("[[threshold]]") || policy.contains("\nuse = ");
            let policy = if has { policy } else { format!("use = [\"checks\"]\n{policy}") };
            let victoria =
                "[[metrics_server]]\nname = \"metrics\"\nurl = \"http://v.internal:8428\"\n";
            (format!("{organization}\n{victoria}"), policy)
        };
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("thresholds")).unwrap();
        fs::write(dir.path().join("waveoff.toml"), settings).unwrap();
        fs::write(dir.path().join("thresholds/documented.toml"), policy).unwrap();
        if let Err(errors) = config::check(dir.path(), |_| None) {
            panic!("{}:\n{errors}\n{text}", block.place);
        }
    }
    assert!(seen > 6, "{seen}");
}

/// Commands whose help has an exit code of 1 that is an answer, with their words.
fn that_answer(command: &clap::Command, words: &[&str], found: &mut Vec<String>) {
    for one in command.get_subcommands() {
        let words: Vec<&str> = words.iter().copied().chain([one.get_name()]).collect();
        let help = one.get_long_about().or(one.get_about()).map(ToString::to_string);
        if help.is_some_and(|help| help.contains("Exit code 1")) {
            found.push(words.join(" "));
        }
        that_answer(one, &words, found);
    }
}

#[test]
fn every_exit_code_is_in_the_table_and_every_command_whose_answer_is_one() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, table) = readme.split_once("## Exit codes").unwrap();
    let rows: Vec<(&str, &str)> = table
        .lines()
        .skip_while(|line| !line.starts_with("| "))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .collect();
    for code in [
        0,
        super::EXIT_FAILED,
        super::EXIT_WRONG,
        super::EXIT_IN_USE,
        super::EXIT_REFUSED,
        super::EXIT_NOT_COMPLETED,
        super::EXIT_INTERRUPTED,
    ] {
        assert!(rows.iter().any(|(row, _)| *row == code.to_string()), "{code} is not in {rows:?}");
    }
    let mut answering = Vec::new();
    that_answer(&Arguments::command(), &[], &mut answering);
    assert!(answering.len() > 4, "{answering:?}");
    for words in answering {
        let is_named =
            |(row, text): &(&str, &str)| *row == "1" && text.contains(&format!("`{words}"));
        assert!(rows.iter().any(is_named), "`{words}` is not among the rows of 1");
    }
}
