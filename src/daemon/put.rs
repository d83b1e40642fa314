//! Puts an image on one machine: lease → fresh look → still wanted? → whole configuration with the
//! image replaced → update → wait → verify → fresh checks → lease back.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::{Ports, config_edit::with_image};
use crate::{
    decide::{PutImage, PutOutcome, rollback::crashed_to_a_stop},
    model::{
        AppName, CheckStatus, Digest, HostStatus, InstanceId, Machine, MachineState, ReleaseVersion,
    },
    ports::{Lease, MachineUpdate, PlatformError, WaitFor},
};

/// Short, so that a daemon that dies frees its machines soon; renewed at a third of it.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// One slice of waiting; between slices the machine is looked at.
const WAIT_SLICE: Duration = Duration::from_secs(10);
/// Between two looks at a machine's checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A start may be refused for some seconds after a machine settled.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// What lease, update and looks may take besides getting ready.
const OVERHEAD: Duration = Duration::from_secs(120);
/// Ledger entries looked at for a newer release.
const LEDGER_LOOK: u32 = 3;

/// Makes the machine run the target, unless somebody wants something newer.
pub(super) async fn put_image(ports: &Ports, app: &AppName, put: &PutImage) -> PutOutcome {
    let work = leased(ports, app, put);
    match tokio::time::timeout(put.ready_timeout + OVERHEAD, work).await {
        Ok(outcome) => outcome,
        Err(_) => PutOutcome::Failed { reason: "not done in time".to_owned() },
    }
}

async fn leased(ports: &Ports, app: &AppName, put: &PutImage) -> PutOutcome {
    let lease = match ports.platform.lease(app, &put.machine, LEASE_TTL).await {
        Ok(lease) => lease,
        Err(PlatformError::NotFound(_)) => return gone_or_not(ports, app, put).await,
        Err(error) => return from_error(error),
    };
    let outcome = tokio::select! {
        outcome = under_lease(ports, app, put, &lease) => outcome,
        reason = keep(ports, &lease) => {
            PutOutcome::Failed { reason: format!("the lease was lost: {reason}") }
        }
    };
    if let Err(error) = ports.platform.release(&lease).await {
        // It ends by itself after its time to live.
        warn!(app = %app, machine.id = %put.machine, "lease of {} not given back: {error}", put.machine);
    }
    outcome
}

/// Renews the lease until it cannot be renewed.
async fn keep(ports: &Ports, lease: &Lease) -> String {
    let mut last_success = Instant::now();
    loop {
        tokio::time::sleep(LEASE_TTL / 3).await;
        match ports.platform.refresh(lease, LEASE_TTL).await {
            Ok(_) => last_success = Instant::now(),
            Err(error) if error.is_transient() && last_success.elapsed() < LEASE_TTL => {}
            Err(error) => return error.to_string(),
        }
    }
}

/// A machine that answers "not found" is gone only when the list agrees: the platform was seen to
/// say so of live machines.
async fn gone_or_not(ports: &Ports, app: &AppName, put: &PutImage) -> PutOutcome {
    match ports.platform.machines(app).await {
        Ok(machines) if machines.iter().any(|machine| machine.id == put.machine) => {
            PutOutcome::Failed { reason: "listed, but not found by itself".to_owned() }
        }
        Ok(_) => PutOutcome::Gone,
        Err(error) => from_error(error),
    }
}

fn from_error(error: PlatformError) -> PutOutcome {
    match error {
        PlatformError::LeaseHeld { owner, .. } => PutOutcome::LeaseHeld { owner },
        other => PutOutcome::Failed { reason: other.to_string() },
    }
}

async fn under_lease(ports: &Ports, app: &AppName, put: &PutImage, lease: &Lease) -> PutOutcome {
    let machine = match ports.platform.machine(app, &put.machine).await {
        Ok(machine) => machine,
        Err(PlatformError::NotFound(_)) => return gone_or_not(ports, app, put).await,
        Err(error) => return from_error(error),
    };
    if machine.host != HostStatus::Ok {
        let status = format!("{:?}", machine.host).to_lowercase();
        return PutOutcome::HostDown { status };
    }
    if machine.state == MachineState::Destroyed {
        return PutOutcome::Gone;
    }
    let deadline = Instant::now() + put.ready_timeout;
    if machine.digest() == put.target.digest.as_ref() {
        let began = machine.updated_at;
        let ready = get_ready(ports, app, put, lease, &machine, &machine.instance, began, deadline);
        return match ready.await {
            Ok(()) => PutOutcome::AlreadyOnTarget,
            Err(outcome) => outcome,
        };
    }
    if let Some(what) = superseded(ports, app, put, &machine).await {
        return PutOutcome::Superseded { what };
    }
    let Some(config) = &machine.config else {
        return PutOutcome::HostDown { status: "configuration not readable".to_owned() };
    };
    let config = match with_image(config, put) {
        Ok(config) => config,
        Err(error) => {
            let reason = format!("its configuration cannot be edited: {error}");
            return PutOutcome::Failed { reason };
        }
    };
    let skip_launch = machine.state.is_at_rest();
    let update = MachineUpdate { config, current: machine.instance.clone(), skip_launch };
    let began = ports.clock.now();
    let instance = match ports.platform.update(lease, &update).await {
        Ok(instance) => instance,
        Err(error) => return from_error(error),
    };
    match get_ready(ports, app, put, lease, &machine, &instance, began, deadline).await {
        Ok(()) => PutOutcome::Updated,
        Err(outcome) => outcome,
    }
}

/// Somebody else's newer wish for this machine, or for the app.
async fn superseded(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    machine: &Machine,
) -> Option<String> {
    if machine.digest() != Some(&put.bad) {
        let runs = machine.digest().map_or("an image without digest", Digest::short);
        return Some(format!("machine {} runs {runs}", machine.id));
    }
    let is_rival = |version: ReleaseVersion| version > put.after && Some(version) != put.release;
    if let Some(version) = machine.release.filter(|version| is_rival(*version)) {
        return Some(version.to_string());
    }
    match ports.platform.releases(app, LEDGER_LOOK).await {
        Ok(ledger) => ledger
            .iter()
            .filter(|release| is_rival(release.version))
            .filter(|release| release.image != put.target.reference())
            .map(|release| release.version.to_string())
            .next(),
        Err(error) => {
            // The ledger is a hint; the machine itself, read under the lease, is the truth.
            warn!(app = %app, "{app}: the ledger cannot be read, going on: {error}");
            None
        }
    }
}

/// Waits until the instance is where it should be, and verifies that the platform kept it.
#[expect(clippy::too_many_arguments, reason = "one caller's facts, none of which belong together")]
async fn get_ready(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    lease: &Lease,
    before: &Machine,
    instance: &InstanceId,
    began: Timestamp,
    deadline: Instant,
) -> Result<(), PutOutcome> {
    let at_rest = before.state.is_at_rest();
    let state = if at_rest { WaitFor::Settled } else { WaitFor::Started };
    wait_for(ports, app, put, instance, state, deadline).await?;
    let mut machine = look(ports, app, put, instance).await?;
    let wanted_up = !at_rest || crashed_to_a_stop(before);
    if wanted_up && !matches!(machine.state, MachineState::Started) {
        start(ports, lease, deadline).await?;
        wait_for(ports, app, put, instance, WaitFor::Started, deadline).await?;
        machine = look(ports, app, put, instance).await?;
    }
    if !wanted_up || machine.checks_configured == 0 {
        return Ok(());
    }
    loop {
        let fresh: Vec<_> = machine
            .checks
            .iter()
            .filter(|check| check.changed_at.is_some_and(|at| at >= began))
            .collect();
        let passing = fresh.iter().all(|check| check.status == CheckStatus::Passing);
        if !fresh.is_empty() && fresh.len() >= machine.checks_configured && passing {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let failing: Vec<String> = machine
                .checks
                .iter()
                .filter(|check| check.status != CheckStatus::Passing)
                .map(|check| check.name.clone())
                .collect();
            let reason = if failing.is_empty() {
                "its checks gave no fresh result in time".to_owned()
            } else {
                format!("its checks do not pass on the known-good image: {}", failing.join(", "))
            };
            return Err(PutOutcome::Failed { reason });
        }
        tokio::time::sleep(LOOK_EVERY).await;
        machine = look(ports, app, put, instance).await?;
    }
}

async fn wait_for(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    instance: &InstanceId,
    state: WaitFor,
    deadline: Instant,
) -> Result<(), PutOutcome> {
    loop {
        let waited = ports.platform.wait(app, &put.machine, instance, state, WAIT_SLICE).await;
        match waited {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.is_transient() => {}
            Err(PlatformError::NotFound(_)) => {}
            Err(error) => return Err(from_error(error)),
        }
        // Between slices: did the platform give the update up?
        look(ports, app, put, instance).await?;
        if Instant::now() >= deadline {
            return Err(PutOutcome::Failed { reason: "it did not start in time".to_owned() });
        }
        // A wait that answers at once must not become a hot loop.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reads the machine and checks that the platform kept what was asked for.
async fn look(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    instance: &InstanceId,
) -> Result<Machine, PutOutcome> {
    let machine = ports.platform.machine(app, &put.machine).await.map_err(from_error)?;
    if machine.instance != *instance || machine.digest() != put.target.digest.as_ref() {
        let runs = machine.digest().map_or("an image without digest", Digest::short);
        let reason = format!("the platform reverted the update: it runs {runs}");
        return Err(PutOutcome::Failed { reason });
    }
    Ok(machine)
}

async fn start(ports: &Ports, lease: &Lease, deadline: Instant) -> Result<(), PutOutcome> {
    let patience = Instant::now() + START_PATIENCE;
    loop {
        match ports.platform.start(lease).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() && Instant::now() < patience.min(deadline) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(from_error(error)),
        }
    }
}
