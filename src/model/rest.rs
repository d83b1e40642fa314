//! What it means that a machine does not run: the one place that tells rest from trouble.
//!
//! Judging, confirming, the rollback and the writer all ask here. The platform's word for the
//! state is not enough: `stopped` may be autostop's doing, a job that is done, a process that ended
//! although it should serve, or a crash loop that the platform gave up on.

use super::machine::{ExitEvent, Machine, MachineState};

/// How a machine stands, as far as one look at it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs, or is on its way somewhere.
    Active,
    /// Nobody started it yet, or somebody asked for the stop (autostop too).
    OnRequest,
    /// Its process ended without an error, and ending is what it is for.
    JobDone,
    /// Its process ended without an error although it is no job. Once is how some apps go to sleep;
    /// one that keeps ending is down.
    Ended,
    /// Its process ended with an error, for lack of memory, or could not be started at all.
    Crashed,
}

impl Activity {
    /// Whether nobody has to be served by it: it is updated where it lies, and left there.
    pub fn is_rest(self) -> bool {
        match self {
            Self::OnRequest | Self::JobDone => true,
            Self::Active | Self::Ended | Self::Crashed => false,
        }
    }

    /// Whether it does not run although it should: whoever puts it right starts it.
    pub fn is_to_be_started(self) -> bool {
        match self {
            Self::Ended | Self::Crashed => true,
            Self::Active | Self::OnRequest | Self::JobDone => false,
        }
    }

    /// Whether it is down beyond doubt: an end without an error is not.
    pub fn is_down(self) -> bool {
        self == Self::Crashed
    }
}

impl Machine {
    /// How it stands. `stays_up`: its group stayed up under the known-good release, so that its
    /// machines are no jobs even without services.
    pub fn activity(&self, stays_up: bool) -> Activity {
        // However it ended, and whether it ever ran: it runs again when its own time comes.
        if self.own_schedule && self.is_still() {
            return Activity::JobDone;
        }
        match self.state {
            MachineState::Failed | MachineState::LaunchFailed => Activity::Crashed,
            MachineState::Created | MachineState::Suspended => Activity::OnRequest,
            MachineState::Stopped => self.newest_exit().map_or(Activity::OnRequest, |exit| {
                if exit.requested_stop {
                    Activity::OnRequest
                } else if exit.is_crash() {
                    Activity::Crashed
                } else if self.has_services || stays_up {
                    Activity::Ended
                } else {
                    Activity::JobDone
                }
            }),
            MachineState::Started
            | MachineState::Destroyed
            | MachineState::Transient(_)
            | MachineState::Unknown(_) => Activity::Active,
        }
    }

    /// Whether nothing happens there unless somebody starts it.
    pub fn is_still(&self) -> bool {
        self.state.is_at_rest()
            || matches!(self.state, MachineState::Failed | MachineState::LaunchFailed)
    }

    /// Whether it is left as it lies: at rest, or down by its own schedule.
    pub fn lies(&self) -> bool {
        self.state.is_at_rest() || (self.own_schedule && self.is_still())
    }

    /// How what it was last given ended. What ended before that was another release's process, and
    /// whoever put this one there left the machine at rest.
    fn newest_exit(&self) -> Option<&ExitEvent> {
        self.exits.first().filter(|exit| self.placed_at.is_none_or(|placed| exit.at >= placed))
    }
}

impl ExitEvent {
    /// Whether the process failed: nobody asked for the end, and it was none that it chose.
    pub fn is_crash(&self) -> bool {
        !self.requested_stop && (self.exit_code != 0 || self.oom_killed)
    }

    /// Whether the process ended by itself without an error.
    pub fn is_clean_end(&self) -> bool {
        !self.requested_stop && !self.is_crash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::machine::tests::machine;

    fn exit(exit_code: i64, oom_killed: bool, requested_stop: bool) -> ExitEvent {
        let at = jiff::Timestamp::UNIX_EPOCH;
        ExitEvent { at, exit_code, oom_killed, requested_stop, started_at: None }
    }

    #[test]
    fn a_stopped_machine_stands_as_its_last_process_ended() {
        use Activity::{Crashed, Ended, JobDone, OnRequest};
        // The exit; how a job stands, and how a machine that should stay up does.
        let cases = [
            (None, OnRequest, OnRequest),
            (Some(exit(0, false, true)), OnRequest, OnRequest),
            (Some(exit(137, false, true)), OnRequest, OnRequest),
            (Some(exit(0, false, false)), JobDone, Ended),
            (Some(exit(1, false, false)), Crashed, Crashed),
            (Some(exit(0, true, false)), Crashed, Crashed),
        ];
        for (exit, job, serving) in cases {
            let mut machine = machine(MachineState::Stopped);
            machine.exits = exit.clone().into_iter().collect();
            assert_eq!(machine.activity(false), job, "a job after {exit:?}");
            assert_eq!(machine.activity(true), serving, "one that stays up after {exit:?}");
            machine.has_services = true;
            assert_eq!(machine.activity(false), serving, "one with services after {exit:?}");
        }
    }

    #[test]
    fn what_has_a_schedule_of_its_own_is_done_however_it_ended() {
        for state in ["stopped", "created", "suspended", "failed", "launch_failed"] {
            let mut machine = machine(MachineState::parse(state));
            machine.own_schedule = true;
            machine.exits = vec![exit(1, true, false)];
            assert_eq!(machine.activity(true), Activity::JobDone, "{state}");
            assert!(machine.lies(), "{state}");
        }
        let mut machine = machine(MachineState::Started);
        machine.own_schedule = true;
        assert_eq!(machine.activity(false), Activity::Active);
        assert!(!machine.lies());
    }

    #[test]
    fn what_ended_before_it_was_given_what_it_has_says_nothing() {
        let mut machine = machine(MachineState::Stopped);
        machine.exits = vec![exit(1, false, false)];
        machine.placed_at = Some(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(machine.activity(false), Activity::Crashed);
        machine.placed_at = Some(jiff::Timestamp::from_second(1).unwrap());
        assert_eq!(machine.activity(false), Activity::OnRequest);
    }

    #[test]
    fn other_states_say_by_themselves() {
        for (state, standing) in [
            ("started", Activity::Active),
            ("replacing", Activity::Active),
            ("stopping", Activity::Active),
            ("hibernating", Activity::Active),
            ("created", Activity::OnRequest),
            ("suspended", Activity::OnRequest),
            ("failed", Activity::Crashed),
            ("launch_failed", Activity::Crashed),
        ] {
            let mut machine = machine(MachineState::parse(state));
            machine.exits = vec![exit(1, false, false)];
            assert_eq!(machine.activity(true), standing, "{state}");
        }
    }

    #[test]
    fn what_is_started_is_what_should_run() {
        let started = |standing: Activity| standing.is_to_be_started();
        assert!(started(Activity::Ended) && started(Activity::Crashed));
        assert!(!started(Activity::JobDone) && !started(Activity::OnRequest));
        assert!(Activity::JobDone.is_rest() && !Activity::Ended.is_rest());
        assert!(Activity::Crashed.is_down() && !Activity::Ended.is_down());
    }
}
