//! What is printed: a line per family and rule, and what follows for a team whose releases are bad
//! now and then.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    families::{Family, Nature},
    rules,
    run::{Judged, Result},
};

/// How many releases of a team are bad.
const BAD_SHARES: [f64; 2] = [0.02, 0.05];

pub fn list(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let nature = word(family.nature);
        let _infallible = writeln!(text, "{:<20} {nature:<8} {}", family.name, family.what);
    }
    text
}

fn word(nature: Nature) -> &'static str {
    match nature {
        Nature::Healthy => "healthy",
        Nature::Exempt => "exempt",
        Nature::Bad => "bad",
    }
}

pub fn text(results: &[Result]) -> String {
    let mut text = String::new();
    let of = |natures: &'static [Nature]| {
        results.iter().filter(move |one| one.nature.is_some_and(|one| natures.contains(&one)))
    };
    if of(&[Nature::Healthy, Nature::Exempt]).next().is_some() {
        text.push_str(
            "Healthy releases: rolled back, of 1000 (Waveoff: held, still held in the end, only told, of 1000)\n",
        );
        heading(&mut text, "held lasting told");
        for result in of(&[Nature::Healthy, Nature::Exempt]) {
            let cell = |judged: &Judged| format!("{:.0}", thousand(judged.undone, result.runs));
            let extra = format!(
                "{:>5.0} {:>7.0} {:>4.0}",
                thousand(result.held, result.runs),
                thousand(result.held_in_the_end, result.runs),
                thousand(result.told, result.runs)
            );
            line(&mut text, result, cell, &extra);
        }
        text.push('\n');
    }
    if of(&[Nature::Bad]).next().is_some() {
        text.push_str(
            "Bad releases: undone, in %, after median/95th percentile in seconds (only told, and trusted, in %; told likewise)\n",
        );
        heading(&mut text, "trusted  told");
        for result in of(&[Nature::Bad]) {
            let cell = |judged: &Judged| found(judged, result.runs);
            let extra = format!(
                "{:>8.0}  {}",
                thousand(result.trusted, result.runs) / 10.0,
                after(result.told, &result.told_after, result.runs)
            );
            line(&mut text, result, cell, &extra);
        }
        text.push('\n');
    }
    precision(&mut text, results);
    text
}

fn heading(text: &mut String, extra: &str) {
    let _infallible = write!(text, "{:<27} {:>13}", "", "Waveoff");
    for rule in rules::NAMES {
        let _infallible = write!(text, " {rule:>12}");
    }
    let _infallible = writeln!(text, "  {extra}");
}

fn line(text: &mut String, result: &Result, cell: impl Fn(&Judged) -> String, extra: &str) {
    let own = if result.in_sample { "" } else { "*" };
    let exempt = if result.nature == Some(Nature::Exempt) { "°" } else { "" };
    let name = format!("{}{own}{exempt}", result.name);
    let _infallible = write!(text, "{name:<27}");
    for (number, judged) in result.judged.iter().enumerate() {
        let width = if number == 0 { 13 } else { 12 };
        let _infallible = write!(text, " {:>width$}", cell(judged));
    }
    let _infallible = writeln!(text, " {extra}");
}

/// `99.5 22/30`.
fn found(judged: &Judged, runs: u32) -> String {
    after(judged.undone, &judged.seconds, runs)
}

fn after(lives: u32, seconds: &[f64], runs: u32) -> String {
    let share = thousand(lives, runs) / 10.0;
    let share = if share.fract() == 0.0 { format!("{share:.0}") } else { format!("{share:.1}") };
    match (at(seconds, 0.5), at(seconds, 0.95)) {
        (Some(median), Some(p95)) => format!("{share} {median:.0}/{p95:.0}"),
        _ => share,
    }
}

/// A quantile of what is in order.
fn at(sorted: &[f64], quantile: f64) -> Option<f64> {
    let last = super::world::to_f64(sorted.len().checked_sub(1)?);
    sorted.get(super::world::to_usize((quantile * last).round())).copied()
}

fn thousand(count: u32, runs: u32) -> f64 {
    f64::from(count) * 1000.0 / f64::from(runs.max(1))
}

/// The mean over families of how often a rule undid the release.
fn mean(results: &[Result], nature: Nature, rule: usize) -> Option<f64> {
    let of: Vec<f64> = results
        .iter()
        .filter(|one| one.nature == Some(nature))
        .filter_map(|one| {
            Some(f64::from(one.judged.get(rule)?.undone) / f64::from(one.runs.max(1)))
        })
        .collect();
    (!of.is_empty()).then(|| of.iter().sum::<f64>() / super::world::to_f64(of.len()))
}

/// Of what is rolled back, how much was bad, where one release of so many is: every family of a nature
/// weighs the same.
fn precise(results: &[Result], rule: usize, bad: f64) -> Option<f64> {
    let found = bad * mean(results, Nature::Bad, rule)?;
    let falsely = (1.0 - bad) * mean(results, Nature::Healthy, rule)?;
    (found + falsely > 0.0).then(|| found / (found + falsely))
}

fn precision(text: &mut String, results: &[Result]) {
    let names = std::iter::once("Waveoff").chain(rules::NAMES);
    for (number, name) in names.enumerate() {
        let (Some(found), Some(falsely)) =
            (mean(results, Nature::Bad, number), mean(results, Nature::Healthy, number))
        else {
            return;
        };
        let _infallible = write!(
            text,
            "{name:<13} finds {:>5.1} % of bad releases, undoes {:>5.1} of 1000 healthy",
            found * 100.0,
            falsely * 1000.0
        );
        for share in BAD_SHARES {
            if let Some(precise) = precise(results, number, share) {
                let _infallible = write!(
                    text,
                    "; right in {:.0} % at {:.0} % bad",
                    precise * 100.0,
                    share * 100.0
                );
            }
        }
        text.push('\n');
    }
    text.push_str(
        "(every family weighs the same; *: a check that nothing was tuned on; °: left out of the sums)\n",
    );
}

pub fn json(results: &[Result], runs: u32, seed: u64) -> Value {
    let families: Vec<Value> = results.iter().map(one_as_json).collect();
    json!({ "runs": runs, "seed": seed, "minutes": super::run::LOOKED_AT_MIN, "families": families })
}

fn one_as_json(result: &Result) -> Value {
    let judged = result.judged.iter().map(|judged| {
        json!({
            "rule": judged.rule,
            "undone": judged.undone,
            "early": judged.early,
            "median_s": at(&judged.seconds, 0.5),
            "p95_s": at(&judged.seconds, 0.95),
        })
    });
    json!({
        "family": result.name,
        "what": result.what,
        "kind": result.nature.map(word),
        "in_sample": result.in_sample,
        "runs": result.runs,
        "held": result.held,
        "held_in_the_end": result.held_in_the_end,
        "told": result.told,
        "trusted": result.trusted,
        "wrong": result.wrong,
        "rules": judged.collect::<Vec<_>>(),
    })
}
