//! Whether what is known of a machine is all of it.
//!
//! A server that has a part of what there is may show the errors and not the successes beside them.
//! The series of one process are read together, so that one that moved and has no sample where its
//! neighbours have one is on its way: what these counted since waits for it, and is nobody's when it
//! never comes. The same holds while one seems to have lost a little. A process that was replaced ends
//! all its series together, and nobody waits for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::Excluded,
};

use jiff::{SignedDuration, Timestamp};

use super::{GONE_AFTER, Increment, Machine, Points, followed::Followed};

/// A series is missed that had so many samples in a row wherever its neighbours had one.
const REGULAR: u32 = 3;
/// A series that did not move for so long hides nothing by being away.
const MOVED_WITHIN: SignedDuration = SignedDuration::from_mins(3);

/// Up to when everything is known, by group of series.
pub(super) struct Known {
    groups: BTreeMap<u64, Timestamp>,
    /// Of bad events that have no series of all events under their own labels.
    others: Option<Timestamp>,
}

impl Known {
    /// Whether everything beside an increment is known.
    pub(super) fn holds(&self, one: &Increment) -> bool {
        let until = match self.groups.get(&one.group) {
            Some(until) => Some(until),
            None if one.n <= 0.0 => self.others.as_ref(),
            None => None,
        };
        until.is_none_or(|until| one.to <= *until)
    }

    /// Up to when all is known of every group.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.groups.values().min().copied()
    }
}

/// What an answer has of one machine.
pub(super) struct Answered<'a> {
    all: &'a [Points],
    /// When series of a group were read, by group.
    instants: BTreeMap<u64, BTreeSet<Timestamp>>,
}

impl<'a> Answered<'a> {
    pub(super) fn new(all: &'a [Points]) -> Self {
        let mut instants: BTreeMap<u64, BTreeSet<Timestamp>> = BTreeMap::new();
        for points in all {
            let of_group = instants.entry(points.group).or_default();
            of_group.extend(points.samples.iter().map(|(at, _)| *at));
        }
        Self { all, instants }
    }

    /// Whether a group was read between two moments.
    pub(super) fn is_read_between(&self, group: u64, from: Timestamp, to: Timestamp) -> bool {
        let instants = self.instants.get(&group).filter(|_| from < to);
        instants.is_some_and(|all| all.range((Excluded(from), Excluded(to))).next().is_some())
    }

    /// The most that a series of a group held at a moment, of all events.
    pub(super) fn most(&self, group: u64, at: Timestamp) -> f64 {
        let of_group = self.all.iter().filter(|points| points.group == group);
        let held = of_group.filter_map(|points| {
            let found = points.samples.binary_search_by_key(&at, |(at, _)| *at).ok()?;
            points.samples.get(found).map(|(_, [all, _])| *all)
        });
        held.fold(0.0, f64::max)
    }
}

impl Machine {
    /// Up to when everything is known of the instance that began at `started`. What waited for a
    /// series that is gone is dropped.
    pub(super) fn known(&mut self, started: Timestamp) -> Known {
        let newest = self.newest;
        let is_gone = |one: &Followed| newest.duration_since(one.at) >= GONE_AFTER;
        let gone: Vec<(u64, u64, Timestamp)> = self
            .series
            .iter()
            .filter(|(_, one)| one.is_waited_for(started) && is_gone(one))
            .map(|(key, one)| (*key, one.group, one.kept))
            .collect();
        for (key, group, kept) in gone {
            self.series.remove(&key);
            self.waiting.retain(|one| one.to <= kept || !is_beside(one, group));
        }
        let mut groups: BTreeMap<u64, Timestamp> = BTreeMap::new();
        for one in self.series.values().filter(|one| one.is_waited_for(started)) {
            let until = groups.entry(one.group).or_insert(one.kept);
            *until = one.kept.min(*until);
        }
        // What ended before another one of its kind began was replaced by it.
        let began = self.series.values().filter(|one| one.of_all).map(|one| one.since).max();
        let goes_on = |until: &&Timestamp| began.is_none_or(|began| **until >= began);
        let others = groups.values().filter(goes_on).min().copied();
        Known { groups, others }
    }

    /// A series of a group lost a little after `kept` and starts anew `at` a moment: what was counted beside it
    /// meanwhile is nobody's.
    pub(super) fn leave_out(&mut self, group: u64, kept: Timestamp, at: Timestamp) {
        self.unknown.retain(|group, _| self.series.values().any(|one| one.group == *group));
        let from = self.unknown.get(&group).filter(|(_, to)| *to > kept).map(|(from, _)| *from);
        self.unknown.insert(group, (from.map_or(kept, |from| from.min(kept)), at));
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|one| !self.is_unknown(one));
        self.waiting = waiting;
    }

    /// Whether nobody knows what was counted beside an increment.
    pub(super) fn is_unknown(&self, one: &Increment) -> bool {
        let mut spans = self.unknown.iter();
        spans.any(|(group, (from, to))| one.to > *from && one.from < *to && is_beside(one, *group))
    }

    /// A process began anew: what its series held that have no sample since is of the one before.
    pub(super) fn end_others(&mut self, group: u64, at: Timestamp) {
        for one in self.series.values_mut().filter(|one| one.group == group && one.at < at) {
            one.ended = true;
        }
    }
}

/// Whether an increment is read together with a group: one of its own, or bad events that have no series of all
/// events under their own labels.
fn is_beside(one: &Increment, group: u64) -> bool {
    one.group == group || one.n <= 0.0
}

impl Followed {
    /// Whether what was counted beside it since is not known without it: it has no sample where it should have
    /// one, or those that it has are left out.
    fn is_waited_for(&self, started: Timestamp) -> bool {
        self.is_missed(started) || (self.is_low() && !self.ended && self.kept >= started)
    }

    /// Whether what happened since its last sample is not known without it.
    fn is_missed(&self, started: Timestamp) -> bool {
        let moved = self.grew.is_some_and(|grew| self.at.duration_since(grew) <= MOVED_WITHIN);
        let is_regular = self.regular >= REGULAR;
        self.of_all && moved && is_regular && !self.ended && self.at >= started
    }
}
