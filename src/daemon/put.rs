//! Puts an image on one machine: lease → fresh look → still wanted? → whole configuration with the
//! image replaced → update → wait → verify → fresh checks → lease back.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};
use tracing::warn;

use super::{
    Ports,
    config_edit::with_image,
    ready::{Goal, Job},
};
use crate::{
    decide::{
        PutImage, PutOutcome,
        rival::{self, Claim, Standing, Verified},
    },
    model::{AppName, HostStatus, Machine, MachineState},
    ports::{Lease, MachineUpdate, PlatformError},
};

/// Short, so that a daemon that dies frees its machines soon; renewed at a third of it.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Between two looks at a machine's checks.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What lease, update and looks may take besides getting ready.
const OVERHEAD: Duration = Duration::from_secs(120);
/// Ledger entries looked at for a newer release.
const LEDGER_LOOK: u32 = 10;

/// Makes the machine run the target, unless somebody wants something newer.
/// Ends early, giving the lease back, when `stop` turns true.
pub(super) async fn put_image(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    stop: watch::Receiver<bool>,
) -> PutOutcome {
    let work = leased(ports, app, put, stop);
    match tokio::time::timeout(put.ready_timeout + OVERHEAD, work).await {
        Ok(outcome) => outcome,
        Err(_) => PutOutcome::Unavailable { reason: "not done in time".to_owned() },
    }
}

async fn leased(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    stop: watch::Receiver<bool>,
) -> PutOutcome {
    let lease = match ports.platform.lease(app, &put.machine, LEASE_TTL).await {
        Ok(lease) => lease,
        Err(PlatformError::NotFound(_)) => return gone_or_not(ports, app, put).await,
        Err(error) => return from_error(error),
    };
    let outcome = tokio::select! {
        outcome = under_lease(ports, app, put, &lease) => outcome,
        reason = keep(ports, &lease) => {
            PutOutcome::Unavailable { reason: format!("the lease was lost: {reason}") }
        }
        () = super::until(stop) => {
            PutOutcome::Unavailable { reason: "the daemon is stopping".to_owned() }
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
            PutOutcome::Unavailable { reason: "listed, but not found by itself".to_owned() }
        }
        Ok(_) => PutOutcome::Gone,
        Err(error) => from_error(error),
    }
}

pub(super) fn from_error(error: PlatformError) -> PutOutcome {
    match error {
        PlatformError::LeaseHeld { owner, .. } => {
            PutOutcome::LeaseHeld { owner, description: String::new() }
        }
        PlatformError::Conflict(reason)
        | PlatformError::Unavailable(reason)
        | PlatformError::NotFound(reason) => PutOutcome::Unavailable { reason },
        PlatformError::Denied(reason) => PutOutcome::Denied { reason },
        PlatformError::Refused(reason) => PutOutcome::Refused { reason },
        PlatformError::Unreadable(reason) => PutOutcome::Unreadable { reason },
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
        let ours = machine.metadata.get("waveoff_rollback") == Some(&put.rollback);
        // An update resets the list of events: of a machine that we updated only the plan knows
        // that it had crashed.
        let goal = if (ours && put.up)
            || !machine.state.is_at_rest()
            || machine.standing(false).is_to_be_started()
        {
            Goal::Up
        } else {
            Goal::AtRest
        };
        let job = Job { ports, app, put, lease, deadline };
        return match job.get_ready(&machine.instance, goal).await {
            Ok(()) => PutOutcome::AlreadyOnTarget {
                verified: Verified { instance: machine.instance.clone(), replaced: None },
            },
            Err(outcome) => outcome,
        };
    }
    if let Err(outcome) = still_ours(ports, app, put, &machine).await {
        return outcome;
    }
    let Some(config) = &machine.config else {
        return PutOutcome::HostDown { status: "configuration not readable".to_owned() };
    };
    let config = match with_image(config, put) {
        Ok(config) => config,
        Err(error) => {
            let reason = format!("its configuration cannot be edited: {error}");
            return PutOutcome::Refused { reason };
        }
    };
    let skip_launch = machine.state.is_at_rest();
    let goal = if skip_launch && !machine.standing(false).is_to_be_started() {
        Goal::AtRest
    } else {
        Goal::Up
    };
    let update = MachineUpdate { config, current: machine.instance.clone(), skip_launch };
    let instance = match ports.platform.update(lease, &update).await {
        Ok(instance) => instance,
        Err(error) => return from_error(error),
    };
    let job = Job { ports, app, put, lease, deadline };
    match job.get_ready(&instance, goal).await {
        Ok(()) => PutOutcome::Updated {
            verified: Verified { instance, replaced: Some(machine.instance.clone()) },
        },
        Err(outcome) => outcome,
    }
}

/// Whether the machine may be written, or whose it is instead.
async fn still_ours(
    ports: &Ports,
    app: &AppName,
    put: &PutImage,
    machine: &Machine,
) -> Result<(), PutOutcome> {
    let claim = Claim {
        bad: vec![&put.bad],
        target: &put.target,
        after: put.after,
        own: &put.own,
        since: put.since,
    };
    let ledger = match ports.platform.releases(app, LEDGER_LOOK).await {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            // The ledger is a hint; the machine itself, read under the lease, is the truth.
            warn!(app = %app, "{app}: the ledger cannot be read, going on: {error}");
            None
        }
    };
    let (verified, now) = (put.verified.as_ref(), ports.clock.now());
    match rival::before_writing(&claim, machine, verified, ledger.as_deref(), now) {
        Standing::Ours | Standing::OnTarget | Standing::LeasedBy { .. } => Ok(()),
        Standing::NewerRelease { version, by } => Err(PutOutcome::NewerRelease { version, by }),
        Standing::SetByHand { digest } => Err(PutOutcome::SetByHand { digest }),
        Standing::OtherImage { digest } => Err(PutOutcome::OtherImage { digest }),
        Standing::Announced { version, by } => Err(PutOutcome::Announced { version, by }),
        Standing::Deploying { version, by, kind } => {
            Err(PutOutcome::Deploying { version, by, kind })
        }
    }
}
