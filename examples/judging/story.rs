//! The story of one life: what befell it, what was seen of it, and what was said and done.

use std::fmt::Write as _;

use super::{
    families::Family,
    run,
    scene::Incident,
    world::{Second, to_f64},
};

/// Seconds of traffic on a line.
const SECONDS: usize = 5;
/// The share of failures from which on a line of traffic is shown.
const SHOWN: f64 = 0.01;

/// What comes of it, line by line; `number` is that of a life among those that are judged.
pub fn tell(family: &Family, seed: u64, number: u32) -> String {
    let (scene, lived) = run::again(family, seed, number);
    let mut lines: Vec<(f64, String)> = Vec::new();
    for Incident { from, until, share, place, .. } in &scene.incidents {
        let line = format!("until {until:.1} {:.0} % fail, {place:?}", share * 100.0);
        lines.push((*from, line));
    }
    if let Some(fault) = scene.fault {
        lines.push((fault.from, format!("the release is bad: {fault:?}")));
    }
    for (number, some) in lived.seconds.chunks(SECONDS).enumerate() {
        let at = super::life::BEGINS + to_f64(number * SECONDS);
        lines.extend(traffic(some).map(|line| (at, line)));
    }
    lines.extend(lived.odds.iter().map(|(at, ln)| (*at, format!("ln E = {ln:.2}"))));
    lines.extend(lived.story);
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut text = format!("{}, life {number}: {}\n", family.name, family.what);
    for (at, line) in lines {
        let _infallible = writeln!(text, "{at:>8.1}  {line}");
    }
    text
}

/// Some seconds, where more fails than usual.
fn traffic(seconds: &[Second]) -> Option<String> {
    let sum = |of: fn(&Second) -> (f64, f64)| {
        let add = |sum: (f64, f64), (n, k): (f64, f64)| (sum.0 + n, sum.1 + k);
        seconds.iter().map(of).fold((0.0, 0.0), add)
    };
    let old = sum(|second| (second.old.n, second.old.k));
    let new = sum(|second| (second.new.n, second.new.k));
    let shown = old.1 + new.1 > SHOWN * (old.0 + new.0);
    shown.then(|| {
        let of = |(n, k): (f64, f64)| format!("{k:.0} of {n:.0}");
        format!("old {}, new {} failed within {SECONDS} s", of(old), of(new))
    })
}
