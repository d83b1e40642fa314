//! Makes the calls that the rules name, one after the other, and prolongs the lease beside them.

use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    super::until,
    rules::{Answer, Call, Errand, LEASE_TTL, LEDGER_LOOK, Next, Now},
};
use crate::{
    decide::Outcome,
    model::{AppName, MachineId},
    ports::{Clock, Lease, Platform, PlatformError},
};

type Renewing<'a> = BoxFuture<'a, Result<Lease, PlatformError>>;

/// Drives an errand to its end. When `stop` turns true it gives the lease back and ends.
pub(super) async fn see_through(
    platform: &dyn Platform,
    clock: &Clock,
    app: &AppName,
    mut errand: Errand,
    stop: watch::Receiver<bool>,
) -> Outcome {
    let began = Instant::now();
    let now = || Now { elapsed: began.elapsed(), clock: clock.now() };
    let mut under_way: Option<(u64, BoxFuture<'_, Answer>)> = None;
    let mut renewing: Option<Renewing<'_>> = None;
    let mut stop = std::pin::pin!(until(stop));
    let mut stopping = false;
    loop {
        let (number, call, by) = match errand.next() {
            Next::Done(outcome) => return outcome,
            Next::Make { number, call, by } => (number, call, by),
        };
        if under_way.as_ref().is_none_or(|(old, _)| *old != number) {
            let answer =
                make(platform, app, errand.machine().clone(), errand.lease().cloned(), call);
            under_way = Some((number, answer));
        }
        let Some((_, answer)) = &mut under_way else { continue };
        let renewal = errand.renewal();
        let renewing_until = errand.renewing_until();
        if renewing_until.is_none() {
            renewing = None;
        }
        tokio::select! {
            // Deadlines first: what is late must not leave.
            biased;
            () = sleep_until(began + by) => {
                under_way = None;
                errand.answered(now(), Answer::Nothing);
            }
            () = sleep_until(began + renewing_until.unwrap_or_default()),
                if renewing_until.is_some() =>
            {
                renewing = None;
                let silence = PlatformError::Unavailable("no answer in time".to_owned());
                errand.renewed(now(), Err(silence));
            }
            () = sleep_until(began + renewal.map(|renewal| renewal.due).unwrap_or_default()),
                if renewal.is_some() =>
            {
                errand.renewal_sent(now());
                renewing = errand.lease().cloned().map(|lease| {
                    async move { platform.refresh(&lease, LEASE_TTL).await }.boxed()
                });
            }
            result = finished(&mut renewing), if renewing.is_some() => {
                renewing = None;
                errand.renewed(now(), result);
            }
            answer = answer => {
                under_way = None;
                tell(app, errand.machine(), &answer);
                errand.answered(now(), answer);
            }
            () = &mut stop, if !stopping => {
                stopping = true;
                errand.stop(now());
            }
        }
    }
}

async fn finished(renewing: &mut Option<Renewing<'_>>) -> Result<Lease, PlatformError> {
    match renewing {
        Some(renewing) => renewing.await,
        None => std::future::pending().await,
    }
}

/// Makes one call.
pub(super) fn make<'a>(
    platform: &'a dyn Platform,
    app: &'a AppName,
    machine: MachineId,
    lease: Option<Lease>,
    call: Call,
) -> BoxFuture<'a, Answer> {
    async move {
        match (call, lease) {
            (Call::TakeLease, _) => Answer::Lease(platform.lease(app, &machine, LEASE_TTL).await),
            (Call::LookAtMachine, _) => {
                Answer::Machine(platform.machine(app, &machine).await.map(Box::new))
            }
            (Call::ListMachines, _) => Answer::Machines(platform.machines(app).await),
            (Call::ReadLedger, _) => Answer::Ledger(platform.releases(app, LEDGER_LOOK).await),
            (Call::WaitFor { instance, state, slice }, _) => {
                Answer::Waited(platform.wait(app, &machine, &instance, state, slice).await)
            }
            (Call::Update(update), Some(lease)) => {
                Answer::Updated(platform.update(&lease, &update).await)
            }
            (Call::Start, Some(lease)) => Answer::Started(platform.start(&lease).await),
            (Call::GiveLeaseBack, Some(lease)) => Answer::GivenBack(platform.release(&lease).await),
            // What needs a lease is never asked for without one.
            (Call::Pause | Call::Update(_) | Call::Start | Call::GiveLeaseBack, _) => {
                std::future::pending().await
            }
        }
    }
    .boxed()
}

/// What goes on without: for the log.
fn tell(app: &AppName, machine: &MachineId, answer: &Answer) {
    match answer {
        Answer::Ledger(Err(error)) => {
            warn!(app = %app, "{app}: the ledger cannot be read, going on: {error}");
        }
        Answer::GivenBack(Err(error)) => {
            // It ends by itself after its time to live.
            warn!(app = %app, machine.id = %machine, "lease of {machine} not given back: {error}");
        }
        _ => {}
    }
}
