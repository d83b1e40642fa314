//! What we ourselves saw of one machine of a release: the platform's own times may stand still, and
//! its list of events may be cut short or survive an update.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{later, whole_seconds};
use crate::model::{Activity, InstanceId, Machine, MachineState, Transition};

/// Two looks further apart than this do not follow each other: what happened between is not known.
const LOOKS_APART: SignedDuration = SignedDuration::from_secs(60);

/// What a machine is doing, as far as waiting for it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doing {
    /// Up, or something that is nobody's trouble.
    Fine,
    /// On its way to being up.
    Arriving,
    /// It could not be started, or gave up.
    Failed,
    /// Its process ended by itself, without an error, and nobody started it again.
    Ended,
}

/// Clocks may differ by this much without meaning anything.
pub(super) const CLOCKS_DIFFER: std::time::Duration = std::time::Duration::from_secs(5);

/// When a machine started. A start that lies in the future is another clock's: it would keep warm-up
/// and grace from ever ending, and our own first look at the machine has to do.
pub fn started(machine: &Machine, seen: Option<&MachineSeen>, now: Timestamp) -> Timestamp {
    let told = machine.started_at.unwrap_or(machine.updated_at);
    if told <= later(now, CLOCKS_DIFFER) { told } else { seen.map_or(now, |seen| seen.first) }
}

/// One machine of the release, as we saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineSeen {
    /// When it was first seen on the release.
    pub first: Timestamp,
    pub doing: Doing,
    /// Since which look it has been doing that, without a gap, and how many looks that were.
    since: Timestamp,
    last: Timestamp,
    looks: u32,
    instance: InstanceId,
    /// When that instance was placed: remembered, because a crash loop pushes the event out.
    placed_at: Option<Timestamp>,
}

impl MachineSeen {
    pub fn new(machine: &Machine, stays_up: bool, now: Timestamp) -> Self {
        Self {
            first: now,
            doing: doing(machine, stays_up),
            since: now,
            last: now,
            looks: 1,
            instance: machine.instance.clone(),
            placed_at: machine.placed_at,
        }
    }

    /// Takes in another look.
    pub fn look(&mut self, machine: &Machine, stays_up: bool, now: Timestamp) {
        let doing = doing(machine, stays_up);
        let follows = now.duration_since(self.last) <= LOOKS_APART;
        if doing != self.doing || !follows {
            self.since = now;
            self.looks = 0;
        }
        self.doing = doing;
        self.last = now;
        self.looks = self.looks.saturating_add(1);
        if self.instance != machine.instance {
            self.instance = machine.instance.clone();
            self.placed_at = None;
        }
        self.placed_at = machine.placed_at.or(self.placed_at);
    }

    /// The instance that it was seen on last.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// For how long it has been doing that, by our own looks.
    pub fn lasts(&self) -> SignedDuration {
        self.last.duration_since(self.since)
    }

    /// Whether it failed to start, seen twice: one look may be at the moment between two attempts.
    pub fn has_failed(&self) -> bool {
        self.doing == Doing::Failed && self.looks >= 2
    }

    /// From when on its exits are the release's: what ended before it was placed, or before it was
    /// seen where that is not known, was another release's process.
    pub fn exits_since(&self) -> Timestamp {
        self.placed_at.unwrap_or(self.first)
    }

    /// For people.
    pub fn seconds(&self) -> u64 {
        whole_seconds(self.lasts())
    }
}

fn doing(machine: &Machine, stays_up: bool) -> Doing {
    match &machine.state {
        MachineState::Failed | MachineState::LaunchFailed => Doing::Failed,
        MachineState::Transient(
            Transition::Creating
            | Transition::Starting
            | Transition::Updating
            | Transition::Replacing,
        ) => Doing::Arriving,
        MachineState::Stopped if machine.activity(stays_up) == Activity::Ended => Doing::Ended,
        // What drains may take its time, and a restart comes from one who watches it.
        MachineState::Transient(
            Transition::Restarting
            | Transition::Stopping
            | Transition::Suspending
            | Transition::Destroying,
        )
        | MachineState::Created
        | MachineState::Started
        | MachineState::Stopped
        | MachineState::Suspended
        | MachineState::Destroyed
        | MachineState::Unknown(_) => Doing::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::machine::tests::machine;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seen(states: &[(&str, i64)]) -> MachineSeen {
        let mut states = states.iter();
        let (state, second) = states.next().unwrap();
        let first = machine(MachineState::parse(state));
        let mut seen = MachineSeen::new(&first, false, at(*second));
        for (state, second) in states {
            seen.look(&machine(MachineState::parse(state)), false, at(*second));
        }
        seen
    }

    #[test]
    fn a_machine_is_on_its_way_since_we_saw_it_so() {
        let passing = seen(&[("started", 0), ("starting", 2), ("replacing", 4), ("starting", 9)]);
        assert_eq!((passing.doing, passing.seconds()), (Doing::Arriving, 7));
        let again = seen(&[("starting", 0), ("started", 20), ("starting", 22)]);
        assert_eq!(again.seconds(), 0, "each time counts by itself");
    }

    #[test]
    fn time_in_which_nobody_looked_is_not_counted() {
        let away = seen(&[("starting", 0), ("starting", 2), ("starting", 600), ("starting", 602)]);
        assert_eq!(away.seconds(), 2);
    }

    #[test]
    fn a_failed_start_needs_two_looks() {
        assert!(!seen(&[("started", 0), ("failed", 2)]).has_failed());
        assert!(seen(&[("failed", 0), ("launch_failed", 2)]).has_failed());
        assert!(!seen(&[("failed", 0), ("starting", 2)]).has_failed());
    }

    #[test]
    fn what_drains_is_fine() {
        for state in ["stopping", "suspending", "destroying", "restarting", "hibernating"] {
            assert_eq!(seen(&[(state, 0)]).doing, Doing::Fine, "{state}");
        }
    }

    #[test]
    fn when_it_was_placed_is_remembered_for_as_long_as_it_is_that_instance() {
        let mut first = machine(MachineState::Started);
        first.placed_at = Some(at(5));
        let mut seen = MachineSeen::new(&first, false, at(10));
        assert_eq!(seen.exits_since(), at(5));
        first.placed_at = None;
        seen.look(&first, false, at(12));
        assert_eq!(seen.exits_since(), at(5), "a crash loop pushed the event out of the list");
        first.instance = "i2".into();
        seen.look(&first, false, at(14));
        assert_eq!(seen.exits_since(), at(10));
    }
}
