//! What it means that a machine does not run: the one place that tells rest from trouble.
//!
//! Judging, confirming, the rollback and the writer all ask here. The platform's word for the
//! state is not enough: `stopped` may be autostop's doing, a job that is done, a process that ended
//! although it should serve, or a crash loop that the platform gave up on.

use super::machine::{ExitEvent, Machine, MachineState};

/// How a machine stands, as far as one look at it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
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

impl Standing {
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
    pub fn standing(&self, stays_up: bool) -> Standing {
        match self.state {
            MachineState::Failed | MachineState::LaunchFailed => Standing::Crashed,
            MachineState::Created | MachineState::Suspended => Standing::OnRequest,
            MachineState::Stopped => self.exits.first().map_or(Standing::OnRequest, |exit| {
                if exit.requested_stop {
                    Standing::OnRequest
                } else if exit.is_crash() {
                    Standing::Crashed
                } else if self.has_services || stays_up {
                    Standing::Ended
                } else {
                    Standing::JobDone
                }
            }),
            MachineState::Started
            | MachineState::Destroyed
            | MachineState::Transient(_)
            | MachineState::Unknown(_) => Standing::Active,
        }
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
        use Standing::{Crashed, Ended, JobDone, OnRequest};
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
            assert_eq!(machine.standing(false), job, "a job after {exit:?}");
            assert_eq!(machine.standing(true), serving, "one that stays up after {exit:?}");
            machine.has_services = true;
            assert_eq!(machine.standing(false), serving, "one with services after {exit:?}");
        }
    }

    #[test]
    fn other_states_say_by_themselves() {
        for (state, standing) in [
            ("started", Standing::Active),
            ("replacing", Standing::Active),
            ("stopping", Standing::Active),
            ("hibernating", Standing::Active),
            ("created", Standing::OnRequest),
            ("suspended", Standing::OnRequest),
            ("failed", Standing::Crashed),
            ("launch_failed", Standing::Crashed),
        ] {
            let mut machine = machine(MachineState::parse(state));
            machine.exits = vec![exit(1, false, false)];
            assert_eq!(machine.standing(true), standing, "{state}");
        }
    }

    #[test]
    fn what_is_started_is_what_should_run() {
        let started = |standing: Standing| standing.is_to_be_started();
        assert!(started(Standing::Ended) && started(Standing::Crashed));
        assert!(!started(Standing::JobDone) && !started(Standing::OnRequest));
        assert!(Standing::JobDone.is_rest() && !Standing::Ended.is_rest());
        assert!(Standing::Crashed.is_down() && !Standing::Ended.is_down());
    }
}
