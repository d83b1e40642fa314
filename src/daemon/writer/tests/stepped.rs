//! The simulated platform with an await before and after each call, so that a test can come
//! between; it notes every write that should not have been made. Time is simulated: whoever uses
//! it has `start_paused = true`.

use std::{
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::FutureExt as _;
use tokio::time::{Instant, sleep};

use crate::{
    model::{
        AppName, InstanceId, Machine, MachineId, Release, ReleaseStatus, ReleaseVersion, Secrets,
    },
    ports::{
        FeedPosition, FeedReading, Lease, MachineUpdate, NewRelease, Platform, PlatformError,
        WaitFor,
    },
    sim::ports::SimPlatform,
};

/// Between two looks of a wait.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Plan {
    lease: Option<Lease>,
    silent_until: Option<Instant>,
    lose_update: bool,
    hold_up: Option<Duration>,
    no_renewals: bool,
    wrongs: Vec<String>,
}

pub(super) struct Stepped {
    pub(super) inner: SimPlatform,
    plan: Mutex<Plan>,
}

/// Pending once.
struct Step(bool);

impl Future for Step {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn lost() -> PlatformError {
    PlatformError::Unavailable("the answer was lost".to_owned())
}

impl Stepped {
    pub(super) fn new(inner: SimPlatform) -> Self {
        Self { inner, plan: Mutex::default() }
    }

    /// Our lease is cleared by force.
    pub(super) fn lose_lease(&self) {
        let lease = self.plan.lock().unwrap().lease.take();
        if let Some(lease) = lease {
            // In memory it is answered at once.
            self.inner.release(&lease).now_or_never().unwrap().unwrap();
        }
    }

    pub(super) fn fall_silent(&self, time: Duration) {
        self.plan.lock().unwrap().silent_until = Some(Instant::now() + time);
    }

    pub(super) fn lose_answer_of_next_update(&self) {
        self.plan.lock().unwrap().lose_update = true;
    }

    pub(super) fn hold_up_updates(&self, time: Duration) {
        self.plan.lock().unwrap().hold_up = Some(time);
    }

    pub(super) fn refuse_renewals(&self) {
        self.plan.lock().unwrap().no_renewals = true;
    }

    pub(super) fn wrongs(&self) -> Vec<String> {
        self.plan.lock().unwrap().wrongs.clone()
    }

    fn is_silent(&self) -> bool {
        let until = self.plan.lock().unwrap().silent_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, PlatformError>>,
    ) -> Result<T, PlatformError> {
        Step(false).await;
        let result = work.await;
        Step(false).await;
        if self.is_silent() { Err(lost()) } else { result }
    }

    /// A write arrives: is it one that may be made?
    async fn arrives(&self, what: &str, lease: &Lease) {
        let machine = self.inner.machine(&lease.app, &lease.machine).await.unwrap();
        let newer = machine.release.is_some_and(|version| version > ReleaseVersion(42));
        let mut plan = self.plan.lock().unwrap();
        if newer {
            plan.wrongs.push(format!("{what} over {:?}", machine.release));
        }
        if plan.lease.as_ref().is_some_and(|held| held.nonce != lease.nonce) {
            plan.wrongs.push(format!("{what} with a lease of before"));
        }
    }
}

type Result<T, E = PlatformError> = std::result::Result<T, E>;

#[async_trait]
impl Platform for Stepped {
    async fn changes(&self, position: &FeedPosition) -> Result<FeedReading> {
        self.inner.changes(position).await
    }
    async fn apps(&self) -> Result<Vec<AppName>> {
        self.inner.apps().await
    }
    async fn machines(&self, app: &AppName) -> Result<Vec<Machine>> {
        self.call(self.inner.machines(app)).await
    }
    async fn machine(&self, app: &AppName, id: &MachineId) -> Result<Machine> {
        self.call(self.inner.machine(app, id)).await
    }
    async fn releases(&self, app: &AppName, limit: u32) -> Result<Vec<Release>> {
        self.call(self.inner.releases(app, limit)).await
    }
    async fn secrets(&self, app: &AppName) -> Result<Secrets> {
        self.inner.secrets(app).await
    }
    async fn lease(&self, app: &AppName, id: &MachineId, ttl: Duration) -> Result<Lease> {
        self.call(async {
            let lease = self.inner.lease(app, id, ttl).await?;
            self.plan.lock().unwrap().lease = Some(lease.clone());
            Ok(lease)
        })
        .await
    }
    async fn refresh(&self, lease: &Lease, ttl: Duration) -> Result<Lease> {
        if self.plan.lock().unwrap().no_renewals {
            return Err(lost());
        }
        self.call(self.inner.refresh(lease, ttl)).await
    }
    async fn release(&self, lease: &Lease) -> Result<()> {
        self.call(self.inner.release(lease)).await
    }
    async fn update(&self, lease: &Lease, update: &MachineUpdate) -> Result<InstanceId> {
        let hold_up = self.plan.lock().unwrap().hold_up;
        if let Some(time) = hold_up {
            sleep(time).await;
        }
        let lose = std::mem::take(&mut self.plan.lock().unwrap().lose_update);
        self.call(async {
            self.arrives("an update", lease).await;
            let result = self.inner.update(lease, update).await;
            if lose { Err(lost()) } else { result }
        })
        .await
    }
    async fn start(&self, lease: &Lease) -> Result<()> {
        self.call(async {
            self.arrives("a start", lease).await;
            self.inner.start(lease).await
        })
        .await
    }
    async fn wait(
        &self,
        app: &AppName,
        id: &MachineId,
        instance: &InstanceId,
        state: WaitFor,
        timeout: Duration,
    ) -> Result<bool> {
        self.call(async {
            let until = Instant::now() + timeout;
            loop {
                if self.inner.wait(app, id, instance, state, Duration::ZERO).await? {
                    return Ok(true);
                }
                if Instant::now() >= until {
                    return Ok(false);
                }
                sleep(LOOK).await;
            }
        })
        .await
    }
    async fn log_lines(&self, app: &AppName, id: &MachineId, limit: u32) -> Result<Vec<String>> {
        self.inner.log_lines(app, id, limit).await
    }
    async fn open_release(&self, release: &NewRelease) -> Result<Release> {
        self.inner.open_release(release).await
    }
    async fn set_release_status(&self, id: &str, status: ReleaseStatus) -> Result<()> {
        self.inner.set_release_status(id, status).await
    }
}
