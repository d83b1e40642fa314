//! What is shown of a replay: what would have been undone and when, and what other limits would have
//! made of it.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::text::{clean_lines, duration, seconds_between, table, time, time_of_day};
use super::{
    course::{Breach, Course, Ladder, Rung},
    lived::{Deploy, FOLLOWED_FOR, Lived},
};
use crate::{
    model::{AppName, EventKind, Policy},
    notify::text::sentence,
    threshold,
};

/// Breaches that are shown of each threshold; the JSON has them all.
const SHOWN: usize = 30;
/// A release is watched for so long at least; what comes later is no longer its fault alone.
const SOON: SignedDuration = SignedDuration::from_mins(30);

pub(super) fn text(app: &AppName, policy: &Policy, course: &Course, lived: &Lived) -> String {
    let mut text = format!("{app}, policy {}", policy.name);
    if let (Some(from), Some(until)) = (course.from, course.until) {
        let length = duration(seconds_between(from, until));
        let _ = write!(text, ", {} to {} ({length})", time(from), time(until));
    }
    let machines = match course.machines {
        1 => "1 machine".to_owned(),
        machines => format!("{machines} machines"),
    };
    let _ = writeln!(text, ", {machines}");
    text.extend(missing(course));
    if let (Some(why), Some(until)) = (&course.cut, course.until) {
        let _ =
            writeln!(text, "it ends at {}, since the server answered no more: {why}", time(until));
    }
    if !course.left_out.is_empty() {
        let _ = writeln!(
            text,
            "left out, since nobody keeps their past: {}",
            course.left_out.join(", ")
        );
    }
    for (name, why) in &course.refused {
        let _ = writeln!(text, "left out, since the server does not take its query: {name}: {why}");
    }
    if !course.compared.is_empty() {
        let _ = writeln!(
            text,
            "only compared with what ran before, so that --deploy tells of it: {}",
            course.compared.join(", ")
        );
    }
    for ladder in &course.ladders {
        text.push('\n');
        one(&mut text, ladder, course.until);
    }
    for deploy in &lived.deploys {
        text.push('\n');
        of_deploy(&mut text, deploy, course.until);
    }
    clean_lines(&text)
}

/// From when to when there was anything, where that is not all that was asked for.
fn missing(course: &Course) -> Option<String> {
    let (part, from, until) = (course.part()?, course.from?, course.until?);
    let before = part.begins_late.then(|| format!("before {}", time(part.from)));
    let after = part.ends_early.then(|| format!("after {}", time(part.until)));
    let when: Vec<String> = before.into_iter().chain(after).collect();
    let length = |from, until| duration(seconds_between(from, until));
    Some(format!(
        "there is nothing {}: {} of the {} are judged\n",
        when.join(" and "),
        length(part.from, part.until),
        length(from, until)
    ))
}

/// What the daemon would have done about a deploy, and told of it.
fn of_deploy(text: &mut String, deploy: &Deploy, end: Option<Timestamp>) {
    let after = |at: Timestamp| duration(seconds_between(deploy.at, at));
    let trusted = deploy.events.iter().find(|event| event.kind == EventKind::ReleaseTrusted);
    let would = match (deploy.undone, trusted) {
        (Some(undone), _) => format!("would have been rolled back after {}", after(undone)),
        (None, Some(trusted)) => format!("would have been trusted after {}", after(trusted.at)),
        (None, None) => {
            let last = deploy.at.checked_add(FOLLOWED_FOR).unwrap_or(Timestamp::MAX);
            let seen = after(end.map_or(last, |end| end.min(last)));
            format!("would have been left as it is, and not trusted in {seen}")
        }
    };
    let _ = writeln!(text, "the deploy of {} {would}", time(deploy.at));
    for event in &deploy.events {
        let _ = writeln!(text, "  {}  {}", time_of_day(event.at), sentence(event));
    }
}

fn one(text: &mut String, ladder: &Ladder, end: Option<Timestamp>) {
    let Some(as_it_is) = ladder.as_it_is() else { return };
    let times = as_it_is.breaches.len() + as_it_is.more;
    let often = match times {
        0 => "a release would not have been rolled back at any time".to_owned(),
        1 => "a release would have been rolled back once".to_owned(),
        times => format!("a release would have been rolled back {times} times"),
    };
    let _ = writeln!(text, "{}, {}: {often}", ladder.name, as_it_is.threshold.room().describe());
    for breach in as_it_is.breaches.iter().take(SHOWN) {
        let _ = writeln!(text, "  {}", told(breach, &ladder.name));
    }
    if times > SHOWN {
        let _ = writeln!(text, "  and {} more", times - SHOWN);
    }
    let mut rows = vec![["LIMIT", "TIMES", "MINUTES"].map(str::to_owned).to_vec()];
    let proposed = ladder.quiet().map(|rung| rung.times.to_bits());
    for rung in &ladder.rungs {
        let mark =
            if proposed == Some(rung.times.to_bits()) { "  ← nothing from here on" } else { "" };
        let count = rung.breaches.len() + rung.more;
        rows.push(vec![limit(rung), count.to_string(), format!("{:.0}{mark}", minutes(rung, end))]);
    }
    text.push_str(&table(&rows, 2));
    let _ = writeln!(text, "  {}", proposal(ladder));
}

/// A limit in words, for a person who decides.
fn proposal(ladder: &Ladder) -> String {
    match (ladder.quiet(), ladder.as_it_is()) {
        (None, _) => {
            "even at the highest of these something would have been rolled back: see what \
                      happened then before a limit is chosen"
                .to_owned()
        }
        (Some(quiet), Some(own)) if quiet.times > own.times => format!(
            "proposed: {}, unless what is listed above were failures that should have been undone",
            limit(quiet)
        ),
        (Some(quiet), Some(own)) if quiet.times < own.times => {
            format!("proposed: as it is; {} would have been quiet as well", limit(quiet))
        }
        (Some(_), _) => "proposed: as it is".to_owned(),
    }
}

fn limit(rung: &Rung) -> String {
    let (limit, unit, _) = rung.threshold.room().terms();
    match unit {
        // The share is the quantile's, and the bound is what can be chosen.
        crate::model::Unit::SlowerThan(bound) => crate::numbers::seconds(bound),
        unit => threshold::limit(limit, unit),
    }
}

fn told(breach: &Breach, name: &str) -> String {
    let lasted = match breach.until {
        Some(until) => format!("for {}", duration(seconds_between(breach.at, until))),
        None => "to the end".to_owned(),
    };
    let deployed = breach.deployed.map_or_else(String::new, |deploy| {
        let after = breach.at.duration_since(deploy);
        let late = if after > SOON { ", long" } else { "," };
        format!("{late} {} after a deploy", duration(after.as_secs_f64()))
    });
    let evidence = crate::model::Evidence { threshold: name.to_owned(), ..breach.evidence.clone() };
    format!("{}  {lasted}{deployed}: {}", time(breach.at), threshold::phrase(&evidence, ""))
}

/// For how long it was breached, in all; what was not over counts to the end of what was read.
fn minutes(rung: &Rung, end: Option<Timestamp>) -> f64 {
    let length = |breach: &Breach| {
        breach.until.or(end).map_or(0.0, |until| seconds_between(breach.at, until) / 60.0)
    };
    rung.breaches.iter().map(length).fold(0.0, |sum, minutes| sum + minutes)
}

pub(super) fn json(app: &AppName, policy: &Policy, course: &Course, lived: &Lived) -> Value {
    let deploys = lived.deploys.iter().map(|deploy| {
        let told = deploy
            .events
            .iter()
            .map(|event| json!({ "at": event.at, "event": event.kind, "text": sentence(event) }));
        json!({ "at": deploy.at, "rolled_back": deploy.undone, "told": told.collect::<Vec<_>>() })
    });
    let thresholds = course.ladders.iter().map(|ladder| {
        json!({
            "threshold": ladder.name,
            "proposed": ladder.quiet().map(limit_number),
            "limits": ladder.rungs.iter().map(|rung| rung_json(rung, course.until)).collect::<Vec<_>>(),
        })
    });
    json!({
        "app": app,
        "policy": policy.name,
        "from": course.from,
        "until": course.until,
        "cut": course.cut,
        "found_from": course.part().map_or(course.from, |part| Some(part.from)),
        "found_until": course.part().map_or(course.until, |part| Some(part.until)),
        "machines": course.machines,
        "readings": course.readings(),
        "left_out": course.left_out,
        "refused": course.refused,
        "compared": course.compared,
        "thresholds": thresholds.collect::<Vec<_>>(),
        "deploys": deploys.collect::<Vec<_>>(),
    })
}

fn limit_number(rung: &Rung) -> f64 {
    let (limit, unit, _) = rung.threshold.room().terms();
    match unit {
        crate::model::Unit::SlowerThan(bound) => bound,
        _ => limit,
    }
}

fn rung_json(rung: &Rung, end: Option<Timestamp>) -> Value {
    let breaches = rung.breaches.iter().map(|breach| {
        json!({
            "at": breach.at,
            "until": breach.until,
            "deployed": breach.deployed,
            "evidence": crate::web::view::EvidenceView::from(&breach.evidence),
        })
    });
    json!({
        "limit": limit_number(rung),
        "in_force": rung.times.to_bits() == 1.0_f64.to_bits(),
        "times": rung.breaches.len() + rung.more,
        "minutes": minutes(rung, end),
        "breaches": breaches.collect::<Vec<_>>(),
    })
}
