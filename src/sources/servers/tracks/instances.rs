//! Whose an increment is: a machine's series goes on when another instance runs there, and what a
//! server tells late was counted under the one before.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Increment, Machine, PARTS_TOLD, Tracks};
use crate::model::{AppName, Belated, InstanceId, Tally, busiest};

/// Who runs no more is told of for so long: no server is later.
const BELATED_FOR: SignedDuration = SignedDuration::from_mins(2);

/// An instance as a list of machines shows it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sources::servers) struct Listed {
    pub(in crate::sources::servers) instance: InstanceId,
    pub(in crate::sources::servers) started: Timestamp,
    /// When the list was made.
    pub(in crate::sources::servers) at: Timestamp,
}

/// What a machine runs, and what it ran before that, each as it was listed last.
#[derive(Debug, Default)]
pub(super) struct Runs {
    now: Option<Listed>,
    before: Option<Listed>,
}

impl Runs {
    pub(super) fn note(&mut self, listed: &Listed) {
        match &mut self.now {
            Some(now) if now.instance == listed.instance && now.started == listed.started => {
                now.at = listed.at;
            }
            now => self.before = now.replace(listed.clone()),
        }
    }

    /// Whether an increment is of the instance before: it began while that was listed, and ended before
    /// the next one started.
    fn is_of_before(&self, one: &Increment) -> bool {
        let (Some(now), Some(before)) = (&self.now, &self.before) else { return false };
        one.from >= before.started && one.from < before.at && one.to <= now.started
    }
}

/// Whether an increment is so young that somebody may still be told of it.
fn is_young(one: &Increment, until: Timestamp) -> bool {
    until.duration_since(one.to) <= BELATED_FOR
}

impl Tracks {
    /// What is told late of an app's machines that run no more, or were destroyed: all but `running`. What
    /// lies after they were listed last is nobody's.
    pub(in crate::sources::servers) fn left(
        &mut self,
        app: &AppName,
        running: &BTreeSet<&str>,
        until: Timestamp,
    ) -> Vec<(String, Belated)> {
        let machines = self.machines.range_mut((app.clone(), String::new())..);
        let of_app = machines.take_while(|((whose, _), _)| whose == app);
        let rest = of_app.filter(|((_, id), _)| !running.contains(id.as_str()));
        rest.filter_map(|((_, id), machine)| Some((id.clone(), machine.leave(until)?))).collect()
    }
}

impl Machine {
    /// What the instance before counted up to `until`.
    pub(super) fn take_belated(&mut self, until: Timestamp) -> Option<Belated> {
        let instance = self.runs.before.as_ref()?.instance.clone();
        let runs = std::mem::take(&mut self.runs);
        let is_its = |one: &Increment| one.to <= until && runs.is_of_before(one);
        let belated = self.belated(instance, until, is_its);
        self.waiting.retain(|one| {
            runs.now.as_ref().is_none_or(|now| one.from >= now.started) || runs.is_of_before(one)
        });
        self.runs = runs;
        belated
    }

    fn leave(&mut self, until: Timestamp) -> Option<Belated> {
        let Some(Listed { instance, started, at }) = self.runs.now.clone() else {
            self.waiting.clear();
            return None;
        };
        let is_its = |one: &Increment| one.from >= started && one.to <= at.min(until);
        let belated = self.belated(instance, until, is_its);
        self.waiting.retain(|one| is_young(one, until));
        belated
    }

    fn belated(
        &mut self,
        instance: InstanceId,
        until: Timestamp,
        is_its: impl Fn(&Increment) -> bool,
    ) -> Option<Belated> {
        let mut span: Option<(Timestamp, Timestamp)> = None;
        let (tally, series) = self.draw(|one| {
            let drawn = is_its(one) && is_young(one, until);
            if drawn {
                let (from, to) = span.unwrap_or((one.from, one.to));
                span = Some((from.min(one.from), to.max(one.to)));
            }
            drawn
        });
        let (from, to) = span?;
        Some(Belated { instance, tally, series, from, to })
    }

    /// Hands out the increments that `is` finds, and lets the others wait.
    pub(super) fn draw(
        &mut self,
        mut is: impl FnMut(&Increment) -> bool,
    ) -> (Tally, BTreeMap<String, Tally>) {
        let mut sum = Tally::default();
        let mut parts: BTreeMap<String, Tally> = BTreeMap::new();
        self.waiting.retain(|one| {
            let drawn = is(one);
            if drawn {
                sum.add(one.n, one.k);
                if let Some(part) = &one.part {
                    parts.entry(part.to_string()).or_default().add(one.n, one.k);
                }
            }
            !drawn
        });
        parts.retain(|_, part| part.n > 0.0);
        (sum, busiest(parts, PARTS_TOLD))
    }
}
