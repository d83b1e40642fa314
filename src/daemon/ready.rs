//! Follows a machine on the target image until it is as it should be, and verifies that the
//! platform kept the update: it may give up on one, silently, and go back.

use tokio::time::Instant;

use super::{
    Ports,
    put::{LOOK_EVERY, from_error},
};
use crate::{
    decide::{PutImage, PutOutcome},
    model::{AppName, CheckStatus, Digest, InstanceId, Machine, MachineState},
    ports::{Lease, PlatformError, WaitFor},
};

/// One slice of waiting; between slices the machine is looked at.
const WAIT_SLICE: std::time::Duration = std::time::Duration::from_secs(10);
/// A start may be refused for some seconds after a machine settled.
const START_PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// Where a machine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Started, its checks passing.
    Up,
    /// Stopped or suspended as it was.
    AtRest,
}

/// One machine being put right.
pub(super) struct Job<'a> {
    pub(super) ports: &'a Ports,
    pub(super) app: &'a AppName,
    pub(super) put: &'a PutImage,
    pub(super) lease: &'a Lease,
    pub(super) deadline: Instant,
}

impl Job<'_> {
    /// Waits until the instance is where it should be, with fresh checks passing.
    pub(super) async fn get_ready(
        &self,
        instance: &InstanceId,
        goal: Goal,
    ) -> Result<(), PutOutcome> {
        // A machine at rest only settles; a running one comes up again by itself.
        self.wait_for(instance, WaitFor::Settled).await?;
        let mut machine = self.look(instance).await?;
        if goal == Goal::AtRest {
            return Ok(());
        }
        if !matches!(machine.state, MachineState::Started) {
            if machine.state.is_at_rest() || machine.state == MachineState::Failed {
                self.start(instance).await?;
            }
            self.wait_for(instance, WaitFor::Started).await?;
            machine = self.look(instance).await?;
        }
        while !machine.checks_pass(&self.put.tolerates, self.ports.clock.now()) {
            if Instant::now() >= self.deadline {
                let failing = failing(&machine);
                if failing.is_empty() {
                    return Err(self.not_ready(&machine));
                }
                return Err(PutOutcome::Unhealthy { failing, crashed: false });
            }
            tokio::time::sleep(LOOK_EVERY).await;
            machine = self.look(instance).await?;
        }
        Ok(())
    }

    async fn wait_for(&self, instance: &InstanceId, state: WaitFor) -> Result<(), PutOutcome> {
        let platform = &self.ports.platform;
        loop {
            match platform.wait(self.app, &self.put.machine, instance, state, WAIT_SLICE).await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(PlatformError::NotFound(_)) => {}
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(from_error(error)),
            }
            // Between slices: did the platform give the update up?
            let machine = self.look(instance).await?;
            if Instant::now() >= self.deadline {
                return Err(self.not_ready(&machine));
            }
            // A wait that answers at once must not become a hot loop.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Reads the machine and checks that the platform kept what was asked for.
    async fn look(&self, instance: &InstanceId) -> Result<Machine, PutOutcome> {
        let looking = self.ports.platform.machine(self.app, &self.put.machine);
        let machine = looking.await.map_err(from_error)?;
        if machine.instance != *instance || machine.digest() != self.put.target.digest.as_ref() {
            let runs = machine.digest().map_or("an image without digest", Digest::short);
            return Err(PutOutcome::Reverted { runs: runs.to_owned() });
        }
        Ok(machine)
    }

    fn not_ready(&self, machine: &Machine) -> PutOutcome {
        let now = self.ports.clock.now();
        let since = now.checked_sub(self.put.ready_timeout).unwrap_or(now);
        PutOutcome::NotReadyYet { state: machine.state.to_string(), since }
    }

    async fn start(&self, instance: &InstanceId) -> Result<(), PutOutcome> {
        let patience = self.deadline.min(Instant::now() + START_PATIENCE);
        loop {
            match self.ports.platform.start(self.lease).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() && Instant::now() < patience => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    // An answer may have been lost: what already runs refuses to be started.
                    let machine = self.look(instance).await?;
                    if !machine.state.is_at_rest() && machine.state != MachineState::Failed {
                        return Ok(());
                    }
                }
                Err(error) => return Err(from_error(error)),
            }
        }
    }
}

fn failing(machine: &Machine) -> Vec<String> {
    let failing = machine.checks.iter().filter(|check| check.status != CheckStatus::Passing);
    failing.map(|check| check.name.clone()).collect()
}
