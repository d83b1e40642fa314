//! Follows a machine until it is as it should be, and verifies that the platform kept the update:
//! it may give up on one, silently, and go back.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{Call, Now, containers, errand::CALL_MAX, outcomes::unavailable};
use crate::{
    decide::{PutOutcome, rival::ROLLBACK_MARK},
    model::{
        Activity, CheckStatus, Digest, InstanceId, Machine, MachineState, containers::is_the_apps,
    },
    ports::WaitFor,
};

/// Between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After the first look at its checks: they run on whole seconds after a start, and a look on the very
/// second would just miss one.
const CHECKED_AFTER: Duration = Duration::from_millis(1050);
/// Once checks were looked at twice: every machine that waits for this one does so for as long. The
/// platform allows five looks a second.
pub(super) const CHECKS_EVERY: Duration = Duration::from_millis(500);
/// One slice of waiting; between slices the machine is looked at.
const WAIT_SLICE: Duration = Duration::from_secs(10);
/// A slice's answer may take this much longer.
const WAIT_MARGIN: Duration = Duration::from_secs(10);
/// A start may be refused for some seconds after a machine settled.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// A reading may be of the machine as it was just before the update.
const READINGS_LAG: Duration = Duration::from_secs(3);

/// Where a machine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Started, its checks passing.
    Up,
    /// Stopped or suspended as it was.
    AtRest,
}

/// What one look at it means.
pub(super) enum Look {
    Ready,
    /// What is to be done meanwhile is in [`Readying::call`].
    NotYet,
    ToBeStarted,
    Not(PutOutcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Waiting(WaitFor),
    Looking,
    /// Before the next wait, so that one which answers at once does not become a hot loop.
    PausingToWait(WaitFor),
    PausingToLook,
}

/// What is asked of a machine that is getting ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) ready_timeout: Duration,
    pub(super) tolerates: &'a BTreeSet<String>,
    pub(super) stays_up: bool,
}

/// A machine that is getting ready.
#[derive(Clone, Debug)]
pub(super) struct Readying {
    /// The version that is to become ready.
    pub(super) instance: InstanceId,
    /// What it is to run; `None`: whatever that version runs.
    pub(super) digest: Option<Digest>,
    /// The version that our update replaced.
    pub(super) replaced: Option<InstanceId>,
    /// The images that we wrote into its containers.
    pub(super) containers: Vec<String>,
    /// Whether this errand updated it.
    pub(super) wrote: bool,
    /// Whether the platform was asked to run it.
    pub(super) launched: bool,
    /// Whether its group stayed up under the known-good release.
    stays_up: bool,
    goal: Goal,
    began: Duration,
    since: Timestamp,
    ready_by: Duration,
    tolerates: BTreeSet<String>,
    first_start: Option<Duration>,
    /// Looks that found its checks not passing yet.
    checks_seen: u32,
    doing: Doing,
}

impl Readying {
    pub(super) fn new(instance: InstanceId, goal: Goal, now: Now, wanted: Wanted<'_>) -> Self {
        Self {
            instance,
            digest: None,
            replaced: None,
            containers: Vec::new(),
            wrote: false,
            launched: false,
            stays_up: wanted.stays_up,
            goal,
            began: now.elapsed,
            since: now.clock,
            ready_by: now.elapsed.saturating_add(wanted.ready_timeout),
            tolerates: wanted.tolerates.clone(),
            first_start: None,
            checks_seen: 0,
            // A machine at rest only settles; a running one comes up again by itself.
            doing: Doing::Waiting(WaitFor::Settled),
        }
    }

    pub(super) fn call(&self) -> Call {
        match self.doing {
            Doing::Waiting(state) => {
                Call::WaitFor { instance: self.instance.clone(), state, slice: WAIT_SLICE }
            }
            Doing::Looking => Call::LookAtMachine,
            Doing::PausingToWait(_) | Doing::PausingToLook => Call::Pause,
        }
    }

    /// How long what it does now may take.
    pub(super) fn call_takes(&self) -> Duration {
        match self.doing {
            Doing::Waiting(_) => WAIT_SLICE + WAIT_MARGIN,
            Doing::Looking => CALL_MAX,
            Doing::PausingToLook if self.checks_seen == 1 => CHECKED_AFTER,
            Doing::PausingToLook if self.checks_seen > 1 => CHECKS_EVERY,
            Doing::PausingToWait(_) | Doing::PausingToLook => LOOK_EVERY,
        }
    }

    /// What it did came to an end, whatever it was: the next thing, before the next look.
    pub(super) fn go_on(&mut self) {
        self.doing = match self.doing {
            Doing::PausingToWait(state) => Doing::Waiting(state),
            Doing::Waiting(_) | Doing::PausingToLook | Doing::Looking => Doing::Looking,
        };
    }

    /// A start was accepted.
    pub(super) fn was_started(&mut self) {
        self.launched = true;
        self.doing = Doing::Waiting(WaitFor::Started);
    }

    /// A start was not accepted; whether it is tried again.
    pub(super) fn may_start_again(&mut self, now: Now) -> bool {
        let first = *self.first_start.get_or_insert(now.elapsed);
        now.elapsed < self.ready_by.min(first + START_PATIENCE)
    }

    pub(super) fn look_again_later(&mut self) {
        self.doing = Doing::PausingToLook;
    }

    /// What a look at the machine means.
    pub(super) fn judge(&mut self, machine: &Machine, now: Now) -> Look {
        if let Some(outcome) = self.was_given_up(machine, now) {
            return outcome;
        }
        let moving = matches!(machine.state, MachineState::Transient(_));
        match self.goal {
            Goal::AtRest if moving => self.not_yet(machine, now, WaitFor::Settled),
            Goal::AtRest => Look::Ready,
            Goal::Up if machine.state == MachineState::Started => self.judge_checks(machine, now),
            Goal::Up if machine.is_still() => self.judge_rest(machine, now),
            Goal::Up => self.not_yet(machine, now, WaitFor::Started),
        }
    }

    /// Whether the platform went back to the version of before, kept only a part of what we wrote, or
    /// somebody made another.
    fn was_given_up(&mut self, machine: &Machine, now: Now) -> Option<Look> {
        let runs = machine.digest();
        // With the same image, the version of before is what tells.
        let went_back = self.replaced.as_ref() == Some(&machine.instance);
        let wanted = (self.digest.is_none() || runs == self.digest.as_ref()) && !went_back;
        let kept = self.kept_containers(machine);
        if machine.instance == self.instance && wanted && kept {
            return None;
        }
        // While it is on its way, and for a moment after, it may still be shown as it was.
        let lately = now.elapsed < self.began + READINGS_LAG;
        if matches!(machine.state, MachineState::Transient(_)) || lately {
            if now.elapsed >= self.ready_by {
                return Some(Look::Not(self.not_ready(machine)));
            }
            self.doing = Doing::PausingToLook;
            return Some(Look::NotYet);
        }
        if machine.instance == self.instance && wanted {
            let reason = "the platform did not keep the images of its containers".to_owned();
            return Some(Look::Not(PutOutcome::Refused { reason }));
        }
        if self.digest.is_some() && wanted {
            let mark = machine.metadata.contains_key(ROLLBACK_MARK);
            let reason = if mark { "updated once more" } else { "updated by somebody" };
            return Some(Look::Not(unavailable(reason)));
        }
        let runs = runs.map_or("an image without digest", Digest::short).to_owned();
        Some(Look::Not(PutOutcome::Reverted { runs }))
    }

    /// Whether its containers ask for what we wrote into them, as far as it is shown: in any order, and
    /// with a digest more or less.
    fn kept_containers(&self, machine: &Machine) -> bool {
        let Some(config) = machine.config.as_ref().filter(|_| !self.containers.is_empty()) else {
            return true;
        };
        let shown = containers::images(config);
        let times = |all: &[String], wrote: &str| {
            all.iter().filter(|image| *image == wrote || is_the_apps(image, wrote)).count()
        };
        self.containers.iter().all(|wrote| times(&shown, wrote) >= times(&self.containers, wrote))
    }

    fn not_yet(&mut self, machine: &Machine, now: Now, state: WaitFor) -> Look {
        if now.elapsed >= self.ready_by {
            return Look::Not(self.not_ready(machine));
        }
        self.doing = match self.doing {
            // A first look, or a start that is under way: nothing was waited for yet.
            Doing::Waiting(_) => Doing::Waiting(state),
            Doing::Looking | Doing::PausingToLook | Doing::PausingToWait(_) => {
                Doing::PausingToWait(state)
            }
        };
        Look::NotYet
    }

    fn judge_checks(&mut self, machine: &Machine, now: Now) -> Look {
        if machine.checks_pass(&self.tolerates, now.clock) {
            return Look::Ready;
        }
        if now.elapsed < self.ready_by {
            self.checks_seen = self.checks_seen.saturating_add(1);
            self.doing = Doing::PausingToLook;
            return Look::NotYet;
        }
        let asked = machine.checks.iter().filter(|check| !self.tolerates.contains(&check.name));
        let failing: Vec<String> = asked
            .filter(|check| check.status != CheckStatus::Passing)
            .map(|check| check.name.clone())
            .collect();
        Look::Not(if failing.is_empty() {
            self.not_ready(machine)
        } else {
            PutOutcome::Unhealthy { failing, crashed: false }
        })
    }

    /// It is to be up, and rests.
    fn judge_rest(&mut self, machine: &Machine, now: Now) -> Look {
        match machine.activity(self.stays_up) {
            // It was run, and did what it is for.
            Activity::JobDone => return Look::Ready,
            Activity::Crashed | Activity::Ended if self.launched => {
                return Look::Not(PutOutcome::Unhealthy { failing: Vec::new(), crashed: true });
            }
            Activity::Crashed | Activity::Ended | Activity::OnRequest | Activity::Active => {}
        }
        if now.elapsed >= self.ready_by {
            return Look::Not(self.not_ready(machine));
        }
        Look::ToBeStarted
    }

    fn not_ready(&self, machine: &Machine) -> PutOutcome {
        PutOutcome::NotReadyYet { state: machine.state.to_string(), since: self.since }
    }
}
