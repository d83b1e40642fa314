//! How thresholds speak: values in their units, and a phrase for each piece of evidence.

use std::fmt::Write as _;

use super::{checks, crashes, gauge, latency, probe, ratio};
pub use crate::numbers::{duration, seconds, share, share_limit};
use crate::{
    model::{
        Ailment, Alone, Evidence, Kind, NotFed, Note, Oddity, Raised, Relative, Tally, Troubled,
        Unit,
    },
    numbers::{bytes, cut, odds, plain, whole},
};

/// Longest name and note, in characters.
const NAME_MAX: usize = 80;
const NOTE_MAX: usize = 300;

/// A measured value in its unit.
pub fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Requests | Unit::Events | Unit::SlowerThan(_) | Unit::Machines | Unit::Share => {
            share(value)
        }
        Unit::Bytes => bytes(value),
        Unit::Seconds => seconds(value),
        Unit::Plain => plain(value, 3),
        Unit::Exits if (value - 1.0).abs() < 0.5 => "1 exit".to_owned(),
        Unit::Exits => format!("{} exits", whole(value)),
    }
}

/// A limit in its unit, as it was written.
pub fn limit(limit: f64, unit: Unit) -> String {
    match unit {
        Unit::Requests | Unit::Events | Unit::SlowerThan(_) | Unit::Machines => share_limit(limit),
        Unit::Bytes | Unit::Seconds | Unit::Share | Unit::Plain => value(limit, unit),
        Unit::Exits => format!("{} each", value(limit, unit)),
    }
}

/// `5xx 9.0 % (37 of 410 requests), limit 2 %, odds 12 000:1; v41 at the same time 0.4 % (5 of 1250)`.
pub fn phrase(evidence: &Evidence, control: &str) -> String {
    let name = cut(&evidence.threshold, NAME_MAX);
    let says = match (evidence.kind, evidence.value) {
        (_, None) => "without data".to_owned(),
        (Kind::Ratio, Some(share)) => ratio::says(evidence, share),
        (Kind::Latency, Some(share)) => latency::says(evidence, share),
        (Kind::Gauge | Kind::Promql, Some(value)) => gauge::says(evidence, value),
        (Kind::Probe, Some(share)) => probe::says(evidence, share),
        (Kind::Checks, Some(_)) => checks::says(evidence),
        (Kind::Crashes, Some(_)) => crashes::says(evidence),
    };
    let mut text = format!("{name} {says}");
    if let Some(Tally { n, k }) = evidence.lately {
        let counts = format!("{} of {}", whole(k), whole(n));
        let _infallible = write!(text, ", since it rose {} ({counts})", share(k / n));
    }
    let in_force = match &evidence.raised {
        // Nobody wrote this number.
        Some(_) => share(evidence.limit),
        None => limit(evidence.limit, evidence.unit),
    };
    let _infallible = write!(text, ", limit {in_force}");
    if let Some(Raised { from, by, share: then, relative, .. }) = &evidence.raised {
        let from = limit(*from, evidence.unit);
        let then = share(*then);
        let _infallible = match relative {
            None => write!(text, " (raised from {from}: {by} ran at {then})"),
            Some(Relative { times, plus }) => {
                let (times, plus) = (plain(*times, 3), share_limit(*plus));
                write!(text, " ({times} times {by}'s and {plus}: that ran at {then})")
            }
        };
    }
    if let Some(odds) = evidence.ln_odds.and_then(odds) {
        let _infallible = write!(text, ", odds {odds}");
    }
    if let Some(note) = note(evidence) {
        let _infallible = write!(text, " ({})", cut(&note, NOTE_MAX));
    }
    if let Some((bad, total)) = evidence.control
        && total > 0.0
    {
        let at_the_same_time = share(bad / total);
        let counts = format!("{} of {}", whole(bad), whole(total));
        let _infallible =
            write!(text, "; {control} at the same time {at_the_same_time} ({counts})");
    }
    text
}

/// Why there is no verdict, or what tripped, for people.
pub fn note(evidence: &Evidence) -> Option<String> {
    Some(remark(evidence.note.as_ref()?, &evidence.source))
}

/// A note on a threshold that looks at `source`.
pub fn remark(note: &Note, source: &str) -> String {
    match note {
        Note::NoDataYet => "no data yet".to_owned(),
        Note::NoDataFor { seconds } => format!("no data for {seconds} s"),
        Note::NoDataIsBreach { seconds } => {
            format!("no data for {seconds} s, and no_data = \"breach\"")
        }
        Note::Unmatched => format!("{source} matches no series on any machine"),
        Note::InRegion { region } => format!("in {region}"),
        Note::InSeries { series } => format!("{series} alone"),
        Note::Apart(alone @ Alone { machine, region, .. }) => {
            format!("{machine} in {region} fails alone and is left out: {}", ailment(alone))
        }
        Note::Silent { due, beside } => format!(
            "it answers nothing where some {} requests were due, and {} were answered beside it",
            whole(due.n),
            whole(beside.k)
        ),
        Note::Quiet { seconds, longest } => format!(
            "nothing was answered for {}; before, it never was silent for longer than {}: either it hangs, or \
             nobody asks any more",
            duration(*seconds as f64),
            duration(*longest as f64)
        ),
        Note::Above { machines, seconds } => {
            format!("above the limit for {seconds} s on {machines} machines")
        }
        Note::Inconsistent { bad, total } => format!(
            "inconsistent: {} bad of {} events in all; are `bad` and `total` swapped?",
            whole(*bad),
            whole(*total)
        ),
        Note::Odd(oddity) => odd(oddity),
        Note::NotFed(why) => match why {
            NotFed::NoSeries => "does not apply: no machine has such a series or takes requests",
            NotFed::NoPage => "does not apply: the machines have no metrics page",
        }
        .to_owned(),
        Note::NothingBefore => {
            "too little is known of what ran before to compare it with".to_owned()
        }
        Note::Undecided => "not enough was counted yet to tell".to_owned(),
        Note::UndecidedIgnored => {
            "too little to tell, and with no_data = \"ignore\" it need not".to_owned()
        }
        Note::NoChecks => "the machines have no health checks".to_owned(),
        Note::NoStartedMachine => "no started machine".to_owned(),
        Note::NoFreshResult => "no fresh result yet".to_owned(),
        Note::Troubled(troubled) => joined(troubled.iter().map(checks::trouble)),
        Note::Exits(exits) => joined(exits.iter().map(crashes::ended)),
        Note::Probes(failures) => joined(failures.iter().map(probe::failed)),
        Note::Said(text) => text.clone(),
    }
}

/// By what a machine fails alone.
pub fn ailment(alone: &Alone) -> String {
    let machine = alone.machine.clone();
    match &alone.ailment {
        Ailment::Counts => format!("{} of {}", whole(alone.counted.k), whole(alone.counted.n)),
        Ailment::Checks(trouble) => {
            checks::trouble(&Troubled { machine, trouble: trouble.clone() })
        }
        Ailment::Exits(exits) => crashes::ended(exits),
    }
}

fn odd(oddity: &Oddity) -> String {
    match oddity {
        Oddity::NoCounter { series, value } => {
            format!("inconsistent: {series} is {value}, which no counter can be")
        }
        Oddity::Overflow { series } => format!("inconsistent: {series} adds up beyond all numbers"),
        Oddity::NotBy { label, seen } => format!(
            "no series has the label `{label}` of `by`; they have {}",
            if seen.is_empty() { "no labels".to_owned() } else { seen.join(", ") }
        ),
        Oddity::NoBucket { bound_s, last_s } => {
            let bound = seconds(*bound_s);
            let Some(last) = last_s.map(seconds) else {
                return format!("no bucket ends at {bound} or above: it is no histogram");
            };
            format!(
                "no bucket ends at {bound} or above (the last ends at {last}): what is slower cannot be told \
                 apart; write max = \"{}\" or less",
                last.replace(' ', "")
            )
        }
        Oddity::Refused { detail } => detail.clone(),
        Oddity::Unanswered { detail } => format!("its metrics server does not answer: {detail}"),
        Oddity::SeveralProcesses { series } => format!(
            "several processes answer in turn: {series} goes back and forth; let one page tell the \
             numbers of all of them"
        ),
        Oddity::NoLabel { label, seen } if seen.is_empty() => {
            format!("no series of the bad events has the label `{label}`; they have no labels")
        }
        Oddity::NoLabel { label, seen } => format!(
            "no series of the bad events has the label `{label}`; they have {}",
            seen.join(", ")
        ),
    }
}

/// `37 of 410`.
pub(super) fn counts(evidence: &Evidence) -> String {
    format!("{} of {}", whole(evidence.bad), whole(evidence.total))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

/// A share as the configuration writes it: `2%`.
pub(super) fn written(share: f64) -> String {
    share_limit(share).replace(' ', "")
}

/// The labels by which series are judged one by one.
pub(super) fn by(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!(" by {}", labels.join(", ")) }
}

/// How much worse than the known-good release is still fine.
pub fn compared(Relative { times, plus }: Relative) -> String {
    format!("{} times the known-good release's share and {}", plain(times, 3), share_limit(plus))
}

/// What is allowed, as it is written: a share, a comparison, or the lower of both.
pub(super) fn allowed(max: Option<f64>, relative: Option<Relative>) -> String {
    match (max, relative) {
        (Some(max), None) => format!("at most {}", written(max)),
        (Some(max), Some(relative)) => {
            format!("at most {}, and at most {}, of", written(max), compared(relative))
        }
        (None, Some(relative)) => format!("at most {} of", compared(relative)),
        (None, None) => String::new(),
    }
}

pub(super) fn strictly(strict: bool) -> &'static str {
    if strict { " (strict)" } else { "" }
}
