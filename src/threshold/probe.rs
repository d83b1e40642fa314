//! Requests of our own: the share of them that a machine does not answer as it should.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Case, Onset, Own, Room, Round, Took,
    counted::{self, Counted},
    keys::{Given, Key, Place, SHARE_MAX, SHARE_MIN, Schema, Takes, Unsaid, Value},
    speak,
};
use crate::model::{
    Evidence, Kind, Note, Origin, Probe, ProbeFailure, ProbeMethod, ProbeRequest, Selection,
    Statuses, ThresholdKind, Unit, Verdict, Want,
};

pub(super) const SCHEMA: Schema = Schema {
    kind: Kind::Probe,
    example: "probe = { path = \"/healthz\" }",
    exceeded: "the share of probes that a machine does not answer as it should is above `max`, \
               beyond doubt: every look asks every machine once, over the private network",
    keys: KEYS,
    instead: &[
        ("from", "leave it out: the machines are asked over the private network"),
        ("for", "leave it out: it counts as soon as there is no doubt"),
        ("quorum", "write `max`, the share of probes that may fail"),
    ],
    make,
};

const HEAD: &str = "HEAD";
const TEXT_MAX: usize = 200;

/// Its keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "path",
        place: Place::Braces,
        takes: Takes::Path,
        unsaid: Unsaid::Wrong("write what to ask for, such as path = \"/healthz\""),
        doc: "what is asked for, with a query where it has one",
    },
    Key {
        name: "expect",
        place: Place::Braces,
        takes: Takes::Statuses,
        unsaid: Unsaid::Means(Value::Word("2xx")),
        doc: "the statuses that are right; a redirection is not followed",
    },
    Key {
        name: "body",
        place: Place::Braces,
        takes: Takes::Text { most: TEXT_MAX },
        unsaid: Unsaid::Nothing("any"),
        doc: "what the answer's first 64 KiB must have in them, letter by letter",
    },
    Key {
        name: "timeout",
        place: Place::Braces,
        takes: Takes::Span { least: Duration::from_millis(100), most: Duration::from_secs(5) },
        unsaid: Unsaid::Means(Value::Span(Duration::from_secs(1))),
        doc: "how long the whole answer may take",
    },
    Key {
        name: "port",
        place: Place::Braces,
        takes: Takes::Whole { least: 1, most: 65_535 },
        unsaid: Unsaid::Nothing("`internal_port` of the first service"),
        doc: "the port inside the machine; with it, an app without services is asked as well",
    },
    Key {
        name: "method",
        place: Place::Braces,
        takes: Takes::OneOf(&["GET", HEAD]),
        unsaid: Unsaid::Means(Value::Word("GET")),
        doc: "how it is asked for",
    },
    Key {
        name: "https",
        place: Place::Braces,
        takes: Takes::Flag,
        unsaid: Unsaid::Means(Value::Flag(false)),
        doc: "`true`: over TLS; whose certificate it is is not looked at",
    },
    Key {
        name: "grace",
        place: Place::Braces,
        takes: Takes::Span { least: Duration::ZERO, most: Duration::from_secs(600) },
        unsaid: Unsaid::Means(Value::Span(Duration::from_secs(10))),
        doc: "what fails so soon after a machine's start is still starting",
    },
    Key {
        name: "max",
        place: Place::Beside,
        takes: Takes::Share { least: SHARE_MIN, below: SHARE_MAX },
        unsaid: Unsaid::Means(Value::Number(0.1)),
        doc: "the share of probes that may fail",
    },
];

fn make(given: &Given) -> Option<ThresholdKind> {
    let method = match given.word("method")? {
        HEAD => ProbeMethod::Head,
        _ => ProbeMethod::Get,
    };
    let expect = match given.statuses() {
        [] => vec![Statuses::SUCCESS],
        written => written.to_vec(),
    };
    let request = ProbeRequest {
        path: given.text("path")?.to_owned(),
        port: given.whole("port").and_then(|port| u16::try_from(port).ok()),
        https: given.flag("https")?,
        method,
        timeout: given.span("timeout")?,
        expect,
        body: given.text("body").map(str::to_owned),
        grace: given.span("grace")?,
    };
    Some(ThresholdKind::Probe(Probe { request, max: given.number("max")?, from: Origin::PROBES }))
}

/// Kinds of failures that are told.
const FAILURES_MAX: usize = 5;

/// Why probes failed, and how often; the most frequent first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Failures(Vec<(ProbeFailure, u32)>);

impl Failures {
    pub(super) fn note(&mut self, failure: ProbeFailure) {
        if let Some((_, times)) = self.0.iter_mut().find(|(known, _)| *known == failure) {
            *times = times.saturating_add(1);
        } else if self.0.len() < FAILURES_MAX {
            self.0.push((failure, 1));
        }
        self.0.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    }

    pub(super) fn all(&self) -> &[(ProbeFailure, u32)] {
        &self.0
    }
}

impl Probe {
    /// The request and the answer that is right, which are what is asked.
    fn question(&self) -> String {
        let expect: Vec<String> = self.request.expect.iter().map(ToString::to_string).collect();
        let body = self.request.body.as_ref().map(|text| format!(" with {text:?} in it"));
        let timeout = speak::duration(self.request.timeout.as_secs_f64());
        format!(
            "{} answers {}{} within {timeout}",
            self.request,
            expect.join(" or "),
            body.unwrap_or_default()
        )
    }
}

impl Room for Probe {
    fn kind(&self) -> Kind {
        Kind::Probe
    }

    fn want(&self) -> Want {
        Want::Series(self.from.source.clone(), Selection::Answer(self.request.clone()))
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.from)
    }

    fn starts_for(&self) -> Duration {
        self.request.grace
    }

    fn allowed_share(&self) -> Option<(f64, bool)> {
        Some((self.max, false))
    }

    fn begin(&self, now: Timestamp) -> Own {
        Own::Counted(Box::new(Counted::new(self.question(), (self.max, false), now)))
    }

    fn fits(&self, own: &Own) -> bool {
        counted::fits(own, &self.question(), (self.max, false))
    }

    fn absorb(&self, name: &str, own: &mut Own, round: &Round<'_>) -> Took {
        counted::absorb(name, own, round, (&self.from, &[]))
    }

    fn judge(&self, own: &Own, case: &Case<'_>, evidence: &mut Evidence) {
        counted::judge(own, case, &[], evidence);
        let failures = counted::failures(own);
        let is_open = evidence.note.is_none() && evidence.verdict == Verdict::Breach;
        evidence.note = evidence
            .note
            .take()
            .or_else(|| (is_open && !failures.is_empty()).then(|| Note::Probes(failures.to_vec())));
    }

    fn onset(&self, own: &Own, _case: &Case<'_>) -> Onset {
        counted::onset(own)
    }

    fn terms(&self) -> (f64, Unit, String) {
        (self.max, Unit::Requests, self.question())
    }

    fn describe(&self) -> String {
        format!("{}, but for {} of the probes", self.question(), speak::written(self.max))
    }
}

pub(super) fn says(evidence: &Evidence, share: f64) -> String {
    format!("{} failed ({} probes)", speak::share(share), speak::counts(evidence))
}

pub(super) fn failed((failure, times): &(ProbeFailure, u32)) -> String {
    let what = match failure {
        ProbeFailure::Status(status) => format!("answered {status}"),
        ProbeFailure::Body => "the body was another".to_owned(),
        ProbeFailure::Refused => "nothing listens there".to_owned(),
        ProbeFailure::Unreachable => "cannot be reached, as others can".to_owned(),
        ProbeFailure::TimedOut => "no whole answer in time".to_owned(),
        ProbeFailure::Broken => "the connection broke".to_owned(),
    };
    if *times == 1 { format!("{what} once") } else { format!("{what} {times} times") }
}
