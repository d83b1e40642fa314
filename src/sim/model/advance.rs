//! Time: whatever is due is played in order, on the next access.
//!
//! Nothing runs in the background. The same code therefore serves paused and real time, and two
//! runs that ask the same questions at the same times see the same answers.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    behaviour::{Behaviour, CheckSays, Launch},
    machine::{CheckResult, Death, Next, Process, SimMachine, State, later, seconds},
    org::Org,
    traffic::BEAT,
};

/// The supervisor counts restarts over this long.
const RESTART_WINDOW: Duration = Duration::from_secs(300);

/// How long a release command takes.
const ONCE: Duration = Duration::from_secs(1);

/// Exit code of a process that the kernel or a signal killed.
pub(in crate::sim) const KILLED: i64 = 137;

impl Org {
    /// Plays everything that is due until `now`. Time does not run backwards.
    pub fn advance(&mut self, now: Timestamp) {
        let slice = self.slice(now);
        self.note_lists();
        while let Some((due, what)) = self.first_due().filter(|(due, _)| *due <= now) {
            self.now = self.now.max(due);
            self.serve_when_due();
            match what {
                Due::Traffic => {
                    self.read_proxy_when_due();
                    self.traffic_due = later(self.now, slice);
                }
                Due::Machine(id) => self.step(&id),
                Due::Ship(index) => self.step_ship(index),
                Due::Script => self.play_script(),
                Due::Proxy => self.stop_idle(self.timing.proxy),
                Due::Standby(id) => {
                    if let Ok(app) = self.app_of(&id) {
                        drop(self.force_start(&app, &id));
                    }
                }
            }
            self.note_lists();
        }
        self.now = self.now.max(now);
        if self.timing.beat > BEAT {
            self.serve_when_due();
        }
    }

    /// Serves what was asked for; where beats are rare, only after a moment.
    fn serve_when_due(&mut self) {
        let unserved = self.now.duration_since(self.traffic_until);
        if self.timing.beat <= BEAT || unserved >= self.moment() {
            self.serve_traffic();
        }
    }

    /// How exact it is where beats are rare.
    pub(in crate::sim) fn moment(&self) -> SignedDuration {
        SignedDuration::try_from(self.timing.beat / 60).unwrap_or(SignedDuration::ZERO)
    }

    /// The organization's time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When something happens next by itself, traffic aside.
    pub fn next_due(&self) -> Option<Timestamp> {
        let machines = self.machines.values().filter_map(SimMachine::due);
        let ships = self.ships.iter().map(|ship| ship.due);
        let script = self.script.front().map(|(at, _)| *at);
        let standby = self.first_standby(self.timing.standby).map(|(at, _)| at);
        machines.chain(ships).chain(script).chain(standby).min()
    }

    fn first_due(&self) -> Option<(Timestamp, Due)> {
        // A plain loop: it runs at every look.
        let mut first: Option<(Timestamp, &SimMachine)> = None;
        for machine in self.machines.values() {
            if let Some(due) = machine.due()
                && first.is_none_or(|(before, _)| due < before)
            {
                first = Some((due, machine));
            }
        }
        let machines = first.map(|(due, machine)| (due, Due::Machine(machine.id.clone())));
        let ships = self.ships.iter().enumerate();
        let ship =
            ships.map(|(index, ship)| (ship.due, Due::Ship(index))).min_by_key(|(due, _)| *due);
        let script = self.script.front().map(|(at, _)| (*at, Due::Script));
        let traffic = Some((self.traffic_due, Due::Traffic));
        let proxy = self.has_proxy.then_some((self.proxy_due, Due::Proxy));
        let standby = self.first_standby(self.timing.standby);
        let standby = standby.map(|(at, id)| (at, Due::Standby(id)));
        [script, machines, ship, standby, proxy, traffic]
            .into_iter()
            .flatten()
            .min_by_key(|(due, _)| *due)
    }

    /// Something happens to a machine by itself, now.
    fn step(&mut self, id: &str) {
        let now = self.now;
        let Some(machine) = self.machines.get(id) else { return };
        if let Some((at, next)) = machine.next
            && at <= now
        {
            self.transition(id, next);
        } else if let Some(death) = machine.death.filter(|death| death.at <= now) {
            self.die(id, death);
        } else if machine.check_due.is_some_and(|at| at <= now) {
            let says = self.check_says(machine, now);
            self.check(id, says);
        }
    }

    fn transition(&mut self, id: &str, next: Next) {
        let now = self.now;
        let event = self.rng.ulid(now);
        let (boot, check) = (self.timing.boot, self.timing.check);
        let behaviour = self.machines.get(id).map(|machine| self.behaviour_of(machine));
        let (extra, launch) = behaviour
            .map_or((0.0, Launch::Works), |behaviour| (behaviour.boot_s, behaviour.launch));
        let Some(machine) = self.machines.get_mut(id) else { return };
        machine.next = None;
        match next {
            Next::Start if extra > 0.0 => {
                machine.next = Some((later(now, seconds(extra)), Next::Up));
            }
            Next::Start | Next::Up if launch != Launch::Works => {
                let ends = match launch {
                    Launch::Failed => State::Failed,
                    Launch::LaunchFailed => State::LaunchFailed,
                    Launch::Works | Launch::Hangs => return,
                };
                machine.enter(ends, now);
                machine.push_event(&event, ["launch", ends.as_str(), "flyd"], now);
            }
            Next::Start | Next::Up => {
                machine.enter(State::Started, now);
                machine.process = Some(Process::new(now));
                machine.check = None;
                machine.check_due = Some(later(now, check));
                machine.push_event(&event, ["start", "started", "flyd"], now);
                let machine = self.machines.get(id);
                let death = machine.and_then(|machine| self.death_of(machine, now));
                if let Some(machine) = self.machines.get_mut(id) {
                    machine.death = death;
                }
            }
            Next::Rest(state) => {
                if machine.process.is_some() {
                    machine.push_exit(&event, Death { at: now, code: 0, oom: false }, true, false);
                }
                machine.end_process();
                machine.enter(state, now);
                if state == State::Destroyed {
                    machine.lease = None;
                    machine.push_event(&event, ["destroy", "destroyed", "flyd"], now);
                    self.forget();
                }
            }
            Next::Place { run } => {
                let kept = machine.version.digest.is_some() && !machine.revert_next;
                let previous = machine.previous.take();
                let (run, rest) = match previous {
                    Some((version, state)) if !kept => {
                        machine.version = *version;
                        machine.revert_next = false;
                        machine.push_event(&event, ["update", "reverted", "flyd"], now);
                        machine.configured_at = now;
                        (state.is_up(), if state.is_settled() { state } else { State::Stopped })
                    }
                    // A suspended machine's memory is of no use to a new version.
                    _ => (run, State::Stopped),
                };
                if run {
                    machine.enter(State::Starting, now);
                    machine.next = Some((later(now, boot), Next::Start));
                } else {
                    machine.enter(rest, now);
                }
            }
        }
    }

    /// The process ended by itself; the supervisor starts it again, within limits.
    fn die(&mut self, id: &str, death: Death) {
        let now = self.now;
        let event = self.rng.ulid(now);
        let delay = self.timing.restart + self.timing.boot;
        let Some(machine) = self.machines.get_mut(id) else { return };
        let oldest = now.checked_sub(RESTART_WINDOW).unwrap_or(now);
        machine.restarts.retain(|at| *at > oldest);
        let (policy, retries) = machine.version.restart_policy();
        let wanted = match policy {
            "no" => false,
            "always" => true,
            _ => death.code != 0,
        };
        // Only failures are counted against the retries.
        let again = wanted && (policy == "always" || machine.restarts.len() < retries);
        if again {
            machine.restarts.push_back(now);
        }
        machine.push_exit(&event, death, false, again);
        machine.end_process();
        if again {
            machine.enter(State::Starting, now);
            machine.next = Some((later(now, delay), Next::Start));
        } else {
            let gone = machine.version.is_auto_destroyed();
            machine.enter(if gone { State::Destroyed } else { State::Stopped }, now);
            machine.next = None;
        }
    }

    /// A result of a machine's checks.
    fn check(&mut self, id: &str, says: CheckSays) {
        let now = self.now;
        let next = self.next_check(id);
        let Some(machine) = self.machines.get_mut(id) else { return };
        machine.check_due = next;
        if machine.check.is_none_or(|check| check.says != says) {
            machine.check = Some(CheckResult { says, changed_at: now });
        }
    }

    /// When the next result could differ: behaviour that waits a while after the start.
    fn next_check(&self, id: &str) -> Option<Timestamp> {
        let machine = self.machines.get(id)?;
        let behaviour = self.behaviour_of(machine);
        let turn = later(machine.process.as_ref()?.runs_since, seconds(behaviour.after_s));
        (behaviour.check_says() != CheckSays::Passing && turn > self.now).then_some(turn)
    }

    /// Checks are looked at again soon: the behaviour under them changed.
    pub(in crate::sim) fn recheck(&mut self, digest: &str) {
        let due = later(self.now, self.timing.check);
        let now = self.now;
        let ids: Vec<String> = self
            .machines
            .values()
            .filter(|machine| machine.version.digest.as_deref() == Some(digest))
            .filter(|machine| machine.process.is_some())
            .map(|machine| machine.id.clone())
            .collect();
        for id in ids {
            let death = self.machines.get(&id).and_then(|machine| self.death_of(machine, now));
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.check_due = Some(due);
                machine.death = death;
            }
        }
        // A launch that hung is tried again.
        let boot = later(now, self.timing.boot);
        let hung = self.machines.values_mut().filter(|machine| {
            machine.version.digest.as_deref() == Some(digest)
                && machine.state == State::Starting
                && machine.next.is_none()
        });
        for machine in hung {
            machine.next = Some((boot, Next::Start));
        }
    }

    /// How the image that runs on a machine behaves there.
    pub(in crate::sim) fn behaviour_of(&self, machine: &SimMachine) -> &Behaviour {
        let digest = machine.version.digest.as_deref();
        self.images.behaviour(digest).on(&machine.region, &machine.version.config)
    }

    pub(in crate::sim) fn check_says(&self, machine: &SimMachine, at: Timestamp) -> CheckSays {
        let behaviour = self.behaviour_of(machine);
        let since = machine.process.as_ref().map_or(at, |process| process.runs_since);
        let is_itself = at >= later(since, seconds(behaviour.after_s));
        if is_itself { behaviour.check_says() } else { CheckSays::Passing }
    }

    /// When and how the process that runs from `since` on, or was changed then, ends by itself.
    pub(in crate::sim) fn death_of(&self, machine: &SimMachine, since: Timestamp) -> Option<Death> {
        let behaviour = self.behaviour_of(machine);
        let crash = behaviour.crash_after_s.map(|after| Death {
            at: later(since, seconds(after)),
            code: if behaviour.oom { KILLED } else { 1 },
            oom: behaviour.oom,
        });
        let job = behaviour.exits_after_s.map(|after| Death {
            at: later(since, seconds(after)),
            code: behaviour.exit_code,
            oom: false,
        });
        let room = machine.version.memory_bytes() - behaviour.memory_bytes;
        let full = (behaviour.leak_bytes_per_s > 0.0).then(|| Death {
            at: later(since, seconds((room / behaviour.leak_bytes_per_s).max(0.0))),
            code: KILLED,
            oom: true,
        });
        let once = machine.version.runs_once();
        let done = once.then(|| Death { at: later(since, ONCE), code: 0, oom: false });
        [crash, job, full, done].into_iter().flatten().min_by_key(|death| death.at)
    }
}

enum Due {
    Traffic,
    Machine(String),
    Ship(usize),
    Script,
    Proxy,
    /// A standby steps in.
    Standby(String),
}
