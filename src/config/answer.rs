//! What a machine is asked for, what it has to answer, and by which labels counts are told apart.

use super::{entry::Entry, problem::Wrong};
use crate::{
    model::{Relative, Statuses},
    threshold::{
        keys::{Given, Key, SHARE_MAX, SHARE_MIN, Takes},
        relative,
    },
};

const PATH_MAX: usize = 500;
const STATUSES_MAX: usize = 20;

/// A path, or a text that an answer has in it.
pub(super) fn text(takes: Takes, entry: &Entry<'_>) -> Option<String> {
    match takes {
        Takes::Text { most } => some(entry, most),
        _ => path(entry),
    }
}

fn some(entry: &Entry<'_>, most: usize) -> Option<String> {
    let text = entry.text()?;
    let count = text.chars().count();
    if count == 0 || count > most {
        entry.wrong(Wrong::but(
            format!("has {count} characters"),
            format!("write 1 to {most}, or leave it out"),
        ));
        return None;
    }
    Some(text.to_owned())
}

fn path(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    if let Some((_, rest)) = text.split_once("://") {
        let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
        entry.wrong(Wrong::but(
            "is a URL: every machine is asked at its own address",
            format!("write the path alone, \"{path}\""),
        ));
        return None;
    }
    if !text.starts_with('/') {
        let message = format!("`{text}` does not begin with a slash");
        entry.wrong(Wrong::but(message, format!("write \"/{text}\"")));
        return None;
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '#' || !c.is_ascii();
    if text.len() > PATH_MAX || text.contains(odd) {
        entry.wrong(Wrong::but(
            "is no path of a request",
            format!(
                "write at most {PATH_MAX} characters as they are sent, with %20 for a blank and \
                 the like"
            ),
        ));
        return None;
    }
    Some(text.to_owned())
}

/// What cannot be asked of a request that is made like this.
pub(super) fn contradiction(given: &Given, key: &Key) -> Option<Wrong> {
    let headed = matches!(key.takes, Takes::Text { .. }) && given.word("method") == Some("HEAD");
    headed.then(|| {
        Wrong::but("an answer to HEAD has no body", "leave it out, or write method = \"GET\"")
    })
}

/// One status or class, or a list of them. What is wrong is left out.
pub(super) fn statuses(entry: &Entry<'_>) -> Vec<Statuses> {
    let single = entry.as_text().is_some() || entry.as_number().is_some();
    let all = if single { vec![entry.clone()] } else { entry.elements() };
    if all.is_empty() || all.len() > STATUSES_MAX {
        entry.wrong(Wrong::but(
            format!("must be 1 to {STATUSES_MAX} statuses"),
            "write \"2xx\", 200 or [\"2xx\", 304]",
        ));
        return Vec::new();
    }
    all.iter().filter_map(status).collect()
}

fn status(entry: &Entry<'_>) -> Option<Statuses> {
    let written = entry.as_text().unwrap_or_else(|| entry.written()).trim();
    let lower = written.to_ascii_lowercase();
    let class = lower.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    if let Some(class) = class.filter(|class| (1..=5).contains(class)) {
        return Some(Statuses { from: class * 100, to: class * 100 + 99 });
    }
    if let Some(one) = lower.parse::<u16>().ok().filter(|one| (100..=599).contains(one)) {
        return Some(Statuses { from: one, to: one });
    }
    entry.wrong(Wrong::but(
        format!("`{written}` is no status of an answer"),
        "write a class such as \"2xx\", or a number from 100 to 599",
    ));
    None
}

/// How much worse than the known-good release is fine; `None`: what is written is wrong.
pub(super) fn relative(entry: &Entry<'_>) -> Option<Relative> {
    let table = entry.table(Some("relative = { times = 1.5, plus = \"0.2%\" }"))?;
    let (times, plus) = (table.get("times"), table.get("plus"));
    table.finish();
    if times.is_none() && plus.is_none() {
        table.missing("times", "write how many times the known-good release's share is fine");
        return None;
    }
    let times = times.map_or(Some(relative::USUAL.times), |entry| at_least_once(&entry))?;
    let plus = plus.map_or(Some(relative::USUAL.plus), |entry| more(&entry))?;
    Some(Relative { times, plus })
}

fn at_least_once(entry: &Entry<'_>) -> Option<f64> {
    let Some(times) = entry.as_number() else {
        let meant =
            entry.as_text().and_then(|text| text.trim_matches(['x', '×', ' ']).parse().ok());
        let meant = meant.map(|number: f64| format!("write {number} without quotes"));
        entry.mistyped("a number such as 1.5", meant);
        return None;
    };
    if !(1.0..=relative::TIMES_MAX).contains(&times) {
        entry.wrong(Wrong::but(
            format!("`{}` is outside 1 to {}", entry.written(), relative::TIMES_MAX),
            "write how many times as bad as the known-good release is still fine, such as 1.5",
        ));
        return None;
    }
    Some(times)
}

fn more(entry: &Entry<'_>) -> Option<f64> {
    let share = entry.share()?;
    if !(SHARE_MIN..SHARE_MAX).contains(&share) {
        entry.wrong(Wrong::but(
            format!("`{}` is no room that can be told from bad luck", entry.written()),
            "write what comes on top of that, such as \"0.2%\"",
        ));
        return None;
    }
    Some(share)
}

/// Names of labels. What is wrong is left out.
pub(super) fn labels(entry: &Entry<'_>, most: usize) -> Vec<String> {
    let all = entry.list();
    let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
    if entry.is_empty_list() || names.len() > most {
        entry.wrong(Wrong::but(
            format!("must be 1 to {most} labels"),
            "write by = [\"path\"], or leave it out",
        ));
        return Vec::new();
    }
    let mut labels = Vec::new();
    for (entry, name) in &all {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            entry.wrong(Wrong::but(
                format!("`{name}` is no label"),
                "write the label's name as the series have it, such as \"path\"",
            ));
        } else if *name == "le" {
            entry.wrong(Wrong::but(
                "the bounds of a histogram are no series of their own",
                "leave `le` out",
            ));
        } else {
            labels.push((*name).to_owned());
        }
    }
    labels
}
