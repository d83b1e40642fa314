//! Machine lists that are late: they, and the change feed, show what was so many seconds ago.
//!
//! Each region has a lag of its own. Nothing else is late: a machine that is asked for by its id
//! answers with what is. What else reading shows otherwise than it is, is here too.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    behaviour::CheckSays,
    clock::moved,
    machine::{CheckResult, SimMachine, later},
    org::Org,
};

/// The region that stands for all that are not named.
const ANY: &str = "*";

/// How late lists are, and what they still show.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Listing {
    /// By region; none: nothing is late, and nothing is kept.
    lags: BTreeMap<String, Duration>,
    /// Regions whose machines are in no list until then.
    hidden: BTreeMap<String, Timestamp>,
    /// Machine → what it was from when on, oldest first.
    past: BTreeMap<String, VecDeque<(Timestamp, SimMachine)>>,
}

impl Listing {
    /// The platform's clock is set.
    pub(super) fn set_clock(&mut self, by: SignedDuration) {
        self.hidden.values_mut().for_each(|until| moved(until, by));
        let past = self.past.values_mut().flat_map(|past| past.iter_mut());
        past.filter(|(since, _)| *since != Timestamp::MIN).for_each(|(since, _)| moved(since, by));
    }

    fn lag(&self, region: &str) -> Option<Duration> {
        let lag = self.lags.get(region).or_else(|| self.lags.get(ANY)).copied();
        lag.filter(|lag| !lag.is_zero())
    }
}

impl Org {
    /// From now on lists show a region's machines as they were so long ago, at the earliest as
    /// they are now; zero: as they are. `"*"`: every region that has no lag of its own.
    pub fn set_list_lag(&mut self, region: &str, lag: Duration) {
        self.listing.lags.insert(region.to_owned(), lag);
        let now = self.now;
        for machine in self.machines.values() {
            if self.listing.lag(&machine.region).is_none() {
                self.listing.past.remove(&machine.id);
            } else {
                let past = self.listing.past.entry(machine.id.clone()).or_default();
                // What is now was always, as far as a list will show.
                let since = if past.is_empty() { Timestamp::MIN } else { now };
                note(past, since, machine);
            }
        }
    }

    /// For so long, lists and the change feed leave a region's machines out and do not say so.
    pub fn hide_region(&mut self, region: &str, time: Duration) {
        self.listing.hidden.insert(region.to_owned(), later(self.now, time));
    }

    /// A machine as lists show it; `None`: they do not.
    pub(in crate::sim) fn as_listed<'a>(
        &'a self,
        machine: &'a SimMachine,
    ) -> Option<&'a SimMachine> {
        if self.listing.hidden.get(&machine.region).is_some_and(|until| *until > self.now) {
            return None;
        }
        let Some(lag) = self.listing.lag(&machine.region) else { return Some(machine) };
        let seen = earlier(self.now, lag);
        let past = self.listing.past.get(&machine.id)?;
        past.iter().rev().find(|(since, _)| *since <= seen).map(|(_, machine)| machine)
    }

    /// Machines that changed after a time, oldest change first.
    pub(in crate::sim) fn changed(&self, after: Option<Timestamp>) -> Vec<&SimMachine> {
        let mut changed: Vec<&SimMachine> = self
            .machines
            .values()
            .filter_map(|machine| self.as_listed(machine))
            .filter(|machine| after.is_none_or(|after| self.updated_at(machine) > after))
            .filter(|machine| later(self.updated_at(machine), self.feed_delay) <= self.now)
            .filter(|machine| !self.unread_regions.contains(&machine.region))
            .collect();
        changed.sort_by_key(|machine| self.updated_at(machine));
        changed
    }

    /// When the platform says that a machine last changed.
    pub(in crate::sim) fn updated_at(&self, machine: &SimMachine) -> Timestamp {
        if self.quirks.updated_at_of_config { machine.configured_at } else { machine.updated_at }
    }

    /// The result that a machine's checks show.
    pub(in crate::sim) fn last_result(&self, machine: &SimMachine) -> Option<CheckResult> {
        let waits = self.quirks.checks_wait.then(|| {
            let since = machine.process.as_ref()?.since;
            Some(CheckResult { says: CheckSays::Warning, changed_at: since })
        });
        machine.check.or(waits.flatten())
    }

    /// Keeps what late lists will show.
    pub(in crate::sim) fn note_lists(&mut self) {
        if self.listing.lags.is_empty() {
            return;
        }
        let now = self.now;
        for machine in self.machines.values() {
            let Some(lag) = self.listing.lag(&machine.region) else { continue };
            let past = self.listing.past.entry(machine.id.clone()).or_default();
            note(past, now, machine);
            let seen = earlier(now, lag);
            while past.get(1).is_some_and(|(since, _)| *since <= seen) {
                past.pop_front();
            }
        }
        let machines = &self.machines;
        self.listing.past.retain(|id, _| machines.contains_key(id));
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::ZERO);
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn note(past: &mut VecDeque<(Timestamp, SimMachine)>, since: Timestamp, machine: &SimMachine) {
    match past.back_mut() {
        Some((_, last)) if looks_alike(last, machine) => {}
        // Two changes in one instant: the later one is what was.
        Some((at, last)) if *at == since => *last = machine.clone(),
        _ => past.push_back((since, machine.clone())),
    }
}

/// Whether a list would show the same of both.
fn looks_alike(one: &SimMachine, other: &SimMachine) -> bool {
    one.state == other.state
        && one.updated_at == other.updated_at
        && one.version.instance == other.version.instance
        && Arc::ptr_eq(&one.version.raw, &other.version.raw)
        && one.lease == other.lease
        && one.check == other.check
        && one.host == other.host
        && one.cordoned == other.cordoned
        && one.events.front() == other.events.front()
}
