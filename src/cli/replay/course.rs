//! The thresholds of a policy, each at its own limit and at some above and below it, over the past.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{both::Coming, grid::Grid};
use crate::{
    model::{
        Evidence, Machine, NoData, Origin, Policy, Readings, SourceName, Threshold, Verdict, Wanted,
    },
    threshold::{self, Case, Look, Round, Span, ThresholdState, keys::SHARE_MAX},
};

/// The limits that are tried, as multiples of what the policy has.
pub(super) const TIMES: [f64; 8] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0];
/// Breaches that are kept of each limit.
const BREACHES_MAX: usize = 1000;
/// Two breaches with less than this between them are one.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// What is missing at an end is told of if it is longer: a server is behind by a minute.
const MISSING: SignedDuration = SignedDuration::from_mins(5);

/// The part of a past for which there is something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// Whether there is nothing before it, and after it.
    pub(super) begins_late: bool,
    pub(super) ends_early: bool,
}

/// A time at which a threshold was breached.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Breach {
    pub(super) at: Timestamp,
    /// When it was over; `None`: it was not.
    pub(super) until: Option<Timestamp>,
    /// The deploy before it.
    pub(super) deployed: Option<Timestamp>,
    pub(super) evidence: Evidence,
}

/// One threshold at one limit.
pub(super) struct Rung {
    pub(super) threshold: Threshold,
    pub(super) times: f64,
    state: ThresholdState,
    pub(super) breaches: Vec<Breach>,
    /// How many more there were.
    pub(super) more: usize,
}

/// One threshold at all limits.
pub(super) struct Ladder {
    pub(super) name: String,
    pub(super) rungs: Vec<Rung>,
}

impl Ladder {
    /// As the policy has it.
    pub(super) fn as_it_is(&self) -> Option<&Rung> {
        self.rungs.iter().find(|rung| rung.times.to_bits() == 1.0_f64.to_bits())
    }

    /// The lowest limit at which, and above which, nothing would have been undone; `None`: there
    /// would have been something at every one.
    pub(super) fn quiet(&self) -> Option<&Rung> {
        self.rungs.iter().rev().take_while(|rung| rung.breaches.is_empty()).last()
    }
}

pub(super) struct Course {
    policy: Arc<Policy>,
    pub(super) ladders: Vec<Ladder>,
    /// Thresholds whose past nobody keeps.
    pub(super) left_out: Vec<String>,
    /// Thresholds that ask what the server does not take, each with what it says.
    pub(super) refused: BTreeMap<String, String>,
    /// Thresholds without a limit of their own: `lived` compares them with what ran before.
    pub(super) compared: Vec<String>,
    coming: Coming,
    deployed: Option<Timestamp>,
    /// What comes before it is read, and not told of.
    asked_from: Timestamp,
    grid: Grid,
    /// From when on spans are counted, and the one of the last round.
    spans_from: Timestamp,
    span: Option<i64>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// What the server said when it answered no more, before the end.
    pub(super) cut: Option<String>,
    /// When the first and the last of it was found.
    pub(super) found: Option<(Timestamp, Timestamp)>,
    /// The most machines that were seen at once.
    pub(super) machines: usize,
    readings: u64,
}

impl Course {
    /// All of it is read from `origin`, wherever the policy reads it from. What was before `from` is
    /// not told of.
    pub(super) fn new(
        policy: &Arc<Policy>,
        origin: &Origin,
        deploys: &[Timestamp],
        (from, grid): (Timestamp, Grid),
    ) -> Self {
        let mut course = Self {
            policy: policy.clone(),
            ladders: Vec::new(),
            left_out: Vec::new(),
            refused: BTreeMap::new(),
            compared: Vec::new(),
            coming: Coming::new(deploys),
            deployed: None,
            asked_from: from,
            grid,
            spans_from: Timestamp::UNIX_EPOCH,
            span: None,
            from: None,
            until: None,
            cut: None,
            found: None,
            machines: 0,
            readings: 0,
        };
        for one in &policy.thresholds {
            let room = one.room();
            let has_limit = room.allowed_share().is_none_or(|(share, _)| share < SHARE_MAX);
            if room.relative().is_some() && !has_limit {
                course.compared.push(one.name.clone());
                continue;
            }
            let rungs: Vec<Rung> =
                TIMES.iter().filter_map(|times| rung(one, origin, *times)).collect();
            if rungs.is_empty() {
                course.left_out.push(one.name.clone());
            } else {
                course.ladders.push(Ladder { name: one.name.clone(), rungs });
            }
        }
        course
    }

    /// What has to be read for it.
    pub(super) fn wants(&self, source: &SourceName) -> Vec<Wanted> {
        let thresholds = self.rungs().map(|rung| rung.threshold.clone()).collect();
        let policy = Policy { thresholds, ..Policy::clone(&self.policy) };
        policy.wants(source)
    }

    fn rungs(&self) -> impl Iterator<Item = &Rung> {
        self.ladders.iter().flat_map(|ladder| &ladder.rungs)
    }

    /// Rounds in which there was anything to read.
    pub(super) fn readings(&self) -> u64 {
        self.readings
    }

    /// Leaves out those of these thresholds that it has, since the server does not take what they ask.
    pub(super) fn leave_out(&mut self, refused: &[(String, String)]) {
        for (name, why) in refused {
            let asks =
                |ladder: &Ladder| ladder.rungs.iter().any(|rung| rung.threshold.name == *name);
            let ladder = self.ladders.iter().find(|ladder| asks(ladder)).map(|one| &one.name);
            let compared = self.compared.iter().find(|one| *one == name);
            let Some(own) = ladder.or(compared).cloned() else { continue };
            self.ladders.retain(|ladder| ladder.name != own);
            self.compared.retain(|one| *one != own);
            self.refused.insert(own, why.clone());
        }
    }

    /// Whether the server's refusals left nothing to be judged.
    pub(super) fn is_refused(&self) -> bool {
        self.ladders.is_empty() && self.compared.is_empty() && !self.refused.is_empty()
    }

    /// The part for which there is something, if that is less than what was asked for.
    pub(super) fn part(&self) -> Option<Part> {
        let ((first, last), from, until) = (self.found?, self.from?, self.until?);
        // Of recorded pages nothing is asked for.
        let is_asked = self.asked_from > Timestamp::MIN;
        let begins_late = is_asked && first.duration_since(from) > MISSING;
        let ends_early = is_asked && until.duration_since(last) > MISSING;
        let part = Part {
            from: if begins_late { first } else { from },
            until: if ends_early { last } else { until },
            begins_late,
            ends_early,
        };
        (begins_late || ends_early).then_some(part)
    }

    /// Forgets what was over before the part that was asked for.
    pub(super) fn finish(&mut self) {
        let from = self.asked_from;
        for rung in self.ladders.iter_mut().flat_map(|ladder| &mut ladder.rungs) {
            rung.breaches.retain(|breach| breach.until.is_none_or(|until| until > from));
        }
    }

    /// Takes in what was read at one moment.
    pub(super) fn round(&mut self, at: Timestamp, read: &[(&Machine, Readings)]) {
        let mut is_new = false;
        while let Some(deploy) = self.coming.by(at) {
            self.deployed = Some(deploy);
            self.spans_from = at;
            is_new = true;
        }
        if at > self.asked_from {
            self.note(at, read);
        }
        // A span is judged by itself: what lies far before it neither hides nor adds anything.
        let span = self.grid.span(at, self.spans_from);
        let is_next = self.span.replace(span) != Some(span);
        let looks: Vec<Look<'_>> = read
            .iter()
            .map(|(machine, readings)| Look {
                machine,
                readings: Some(readings),
                past_counts: false,
                exits_since: at,
            })
            .collect();
        let policy = &self.policy;
        let round = Round {
            belated: &[],
            parted: None,
            policy,
            now: at,
            span: Span::Release,
            // When its processes began is not known.
            learning: true,
            on: &looks,
            control: &[],
            heard: true,
        };
        for rung in self.ladders.iter_mut().flat_map(|ladder| &mut ladder.rungs) {
            if is_new || (is_next && rung.ends_with_a_span()) {
                rung.state = ThresholdState::begin(&rung.threshold, at);
            }
            rung.take(&round, self.deployed);
        }
    }

    /// Notes what was read of the part that was asked for.
    fn note(&mut self, at: Timestamp, read: &[(&Machine, Readings)]) {
        // Of recorded pages nothing is asked for: they begin with the first.
        let asked = Some(self.asked_from).filter(|from| *from > Timestamp::MIN);
        self.from.get_or_insert(asked.unwrap_or(at));
        self.until = Some(at);
        let told = |readings: &Readings| !readings.counts.is_empty() || !readings.gauges.is_empty();
        if read.iter().any(|(_, readings)| told(readings)) {
            self.readings += 1;
            let first = self.found.map_or(at, |(first, _)| first);
            self.found = Some((first, at));
            self.machines = self.machines.max(read.len());
        }
    }
}

fn rung(threshold: &Threshold, origin: &Origin, times: f64) -> Option<Rung> {
    let kind = threshold.room().elsewhere(origin, times)?;
    let name = format!("{}@{times}", threshold.name);
    // What nobody recorded is no breach of the past.
    let threshold = Threshold { name, kind, no_data: NoData::Hold, ..threshold.clone() };
    let state = ThresholdState::begin(&threshold, Timestamp::UNIX_EPOCH);
    Some(Rung { threshold, times, state, breaches: Vec::new(), more: 0 })
}

impl Rung {
    /// Whether it begins anew with the next span: what counts does, unless it is breached just then.
    fn ends_with_a_span(&self) -> bool {
        let counts = self.threshold.room().allowed_share().is_some();
        counts && self.breaches.last().is_none_or(|breach| breach.until.is_some())
    }

    fn take(&mut self, round: &Round<'_>, deployed: Option<Timestamp>) {
        threshold::absorb(&self.threshold, &mut self.state, round);
        let case = Case {
            policy: round.policy,
            now: round.now,
            span: round.span,
            since: round.now,
            first_look: false,
            on: &[],
            usual_exits: 0.0,
        };
        let evidence = threshold::judge(&self.threshold, &self.state, &case);
        let open = self.breaches.last_mut().filter(|breach| breach.until.is_none());
        match (open, evidence.verdict == Verdict::Breach) {
            (Some(breach), false) => breach.until = Some(round.now),
            (None, true) => self.begin(evidence, round.now, deployed),
            (Some(_), true) | (None, false) => {}
        }
    }

    fn begin(&mut self, evidence: Evidence, at: Timestamp, deployed: Option<Timestamp>) {
        let evidence = Evidence { last_blocks: Vec::new(), ..evidence };
        let last = self.breaches.last_mut();
        let goes_on = |last: &&mut Breach| {
            last.until.is_some_and(|until| at.duration_since(until) < APART)
                && last.deployed == deployed
        };
        if let Some(last) = last.filter(goes_on) {
            last.until = None;
        } else if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(Breach { at, until: None, deployed, evidence });
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
mod tests;
