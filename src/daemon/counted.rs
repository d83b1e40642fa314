//! A platform that counts its calls for the daemon's own metrics.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::SignedDuration;

use crate::{
    model::{AppName, InstanceId, Machine, MachineId, Release, ReleaseStatus, Secrets},
    ports::{
        FeedPosition, FeedReading, Lease, MachineUpdate, NewRelease, Platform, PlatformError,
        TokenScope, WaitFor,
    },
    web::{Board, CallOutcome},
};

type Answer<T> = Result<T, PlatformError>;

/// Passes every call on, and notes what came of it.
pub struct Counted {
    inner: Arc<dyn Platform>,
    board: Board,
}

impl Counted {
    pub fn new(inner: Arc<dyn Platform>, board: Board) -> Self {
        Self { inner, board }
    }

    fn note<T>(&self, action: &'static str, answer: Answer<T>) -> Answer<T> {
        self.board.platform_call(action, CallOutcome::of(&answer));
        answer
    }
}

#[async_trait]
impl Platform for Counted {
    fn clock_offset(&self) -> Option<SignedDuration> {
        self.inner.clock_offset()
    }

    async fn token_scope(&self) -> Answer<TokenScope> {
        self.note("token_scope", self.inner.token_scope().await)
    }

    async fn changes(&self, position: &FeedPosition) -> Answer<FeedReading> {
        self.note("changes", self.inner.changes(position).await)
    }

    async fn apps(&self) -> Answer<Vec<AppName>> {
        self.note("apps", self.inner.apps().await)
    }

    async fn machines(&self, app: &AppName) -> Answer<Vec<Machine>> {
        self.note("machines", self.inner.machines(app).await)
    }

    async fn machine(&self, app: &AppName, id: &MachineId) -> Answer<Machine> {
        self.note("machine", self.inner.machine(app, id).await)
    }

    async fn releases(&self, app: &AppName, limit: u32) -> Answer<Vec<Release>> {
        self.note("releases", self.inner.releases(app, limit).await)
    }

    async fn secrets(&self, app: &AppName) -> Answer<Secrets> {
        self.note("secrets", self.inner.secrets(app).await)
    }

    async fn lease(&self, app: &AppName, id: &MachineId, ttl: Duration) -> Answer<Lease> {
        self.note("lease", self.inner.lease(app, id, ttl).await)
    }

    async fn refresh(&self, lease: &Lease, ttl: Duration) -> Answer<Lease> {
        self.note("refresh", self.inner.refresh(lease, ttl).await)
    }

    async fn release(&self, lease: &Lease) -> Answer<()> {
        self.note("release", self.inner.release(lease).await)
    }

    async fn update(&self, lease: &Lease, update: &MachineUpdate) -> Answer<InstanceId> {
        self.note("update", self.inner.update(lease, update).await)
    }

    async fn start(&self, lease: &Lease) -> Answer<()> {
        self.note("start", self.inner.start(lease).await)
    }

    async fn wait(
        &self,
        app: &AppName,
        id: &MachineId,
        instance: &InstanceId,
        state: WaitFor,
        timeout: Duration,
    ) -> Answer<bool> {
        self.note("wait", self.inner.wait(app, id, instance, state, timeout).await)
    }

    async fn log_lines(&self, app: &AppName, id: &MachineId, limit: u32) -> Answer<Vec<String>> {
        self.note("log_lines", self.inner.log_lines(app, id, limit).await)
    }

    async fn open_release(&self, release: &NewRelease) -> Answer<Release> {
        self.note("open_release", self.inner.open_release(release).await)
    }

    async fn set_release_status(&self, id: &str, status: ReleaseStatus) -> Answer<()> {
        self.note("set_release_status", self.inner.set_release_status(id, status).await)
    }
}
