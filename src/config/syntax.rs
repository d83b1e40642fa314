//! What is no TOML: where, and what was probably meant.

use std::ops::Range;

use toml_edit::ImDocument;

use super::{problem::Wrong, reader::File};

/// A file's tables; a syntax error is reported where the parser found it.
pub(super) fn parse<'a>(file: &File<'a>) -> Option<ImDocument<&'a str>> {
    ImDocument::parse(file.text)
        .map_err(|error| {
            let said = error.message().trim().replace('\n', ", ").replace(" in document root", "");
            let span = error.span();
            let written = span.as_ref().and_then(|span| line_at(file.text, span.start));
            let shown = written.map(key_of).filter(|line| !line.is_empty());
            let message = match &shown {
                Some(line) => format!("is not TOML: {said}, in `{line}`"),
                None => format!("is not TOML: {said}"),
            };
            let suggestion = meant(file, &said, span.as_ref(), written.unwrap_or_default());
            file.problem(span.as_ref(), "", Wrong { message, suggestion });
        })
        .ok()
}

/// The line that has the byte at `offset`.
fn line_at(text: &str, offset: usize) -> Option<&str> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |newline| newline + 1);
    Some(text.get(start..)?.lines().next()?.trim())
}

/// A broken line can hold anything, secrets too: only what names the key or table is shown.
fn key_of(line: &str) -> String {
    let end =
        if line.starts_with('[') { line.len() } else { line.find('=').map_or(0, |at| at + 1) };
    line.get(..end).unwrap_or_default().chars().take(60).collect()
}

/// What to write instead, as far as it can be told.
fn meant(file: &File<'_>, said: &str, span: Option<&Range<usize>>, line: &str) -> Option<String> {
    let at = span.map_or(0, |span| span.start);
    let before = file.text.get(..at).unwrap_or_default();
    if line.contains(['“', '”', '„', '‘', '’']) {
        return Some("write straight quotes: \"…\"".to_owned());
    }
    if said.contains("invalid escape") {
        return Some(
            "write the text in single quotes, '…', in which a backslash is only that".to_owned(),
        );
    }
    if let Some(key) = said.split_once("duplicate key `").and_then(|(_, rest)| rest.split_once('`'))
    {
        return twice(before, key.0, line);
    }
    if said.contains("invalid array")
        && let Some(begun) = open_list(before)
    {
        let number = file.line(begun);
        if number < file.line(at) {
            let opening = key_of(line_at(file.text, begun).unwrap_or_default());
            return Some(format!("end the list that begins in line {number} (`{opening}`) with ]"));
        }
    }
    if said.contains("invalid basic string") || said.contains("invalid literal string") {
        return Some(
            "end the text with the quote that it begins with, in the same line".to_owned(),
        );
    }
    if said.contains("expected `.`, `=`") {
        return Some("write = between a key and its value: key = \"value\"".to_owned());
    }
    let unquoted = ["expected newline", "invalid string", "invalid number", "invalid array"];
    let is_unquoted = unquoted.iter().any(|symptom| said.contains(symptom));
    is_unquoted.then(|| "put texts and values with units into quotes".to_owned())
}

/// Tables of which there can be several.
const LISTS: [&str; 4] = ["threshold", "receiver", "metrics_server", "freeze"];

/// Where a key or a table that is there twice stands already.
fn twice(before: &str, key: &str, line: &str) -> Option<String> {
    let is_header = line.starts_with('[');
    let is_it = |candidate: &&str| match is_header {
        true => candidate.trim_matches(['[', ']', ' ']).rsplit('.').next() == Some(key),
        false => candidate.split_once('=').is_some_and(|(name, _)| name.trim() == key),
    };
    let first = before.lines().map(str::trim).enumerate().filter(|(_, line)| is_it(line)).last();
    let number = first?.0 + 1;
    Some(if is_header && LISTS.contains(&key) {
        format!(
            "write [[{key}]], with two brackets, here and in line {number}: each is one of a list"
        )
    } else if is_header {
        format!("[{key}] stands in line {number} already: put its keys there")
    } else {
        format!("it stands in line {number} already: leave one out")
    })
}

/// Where the list begins that is still open at the end of `text`.
fn open_list(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut is_comment = false;
    for (at, char) in text.char_indices() {
        match (quote, char) {
            (_, '\n') => (quote, is_comment) = (None, false),
            _ if is_comment => {}
            (Some(end), _) if end == char => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '#') => is_comment = true,
            (None, '[') => open.push(at),
            (None, ']') => {
                open.pop();
            }
            (None, _) => {}
        }
    }
    open.pop()
}
