//! Fate: at a chosen call of the platform, or commit of the journal, the call is lost, its answer
//! is lost, or the daemon dies there.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use waveoff::{
    model::{
        AppName, Digest, Event, ImageRef, InstanceId, Machine, MachineId, Release, ReleaseStatus,
        Secrets,
    },
    ports::{
        CopyError, CopyProgress, FeedPosition, FeedReading, ImagePresence, Lease, MachineUpdate,
        NewRelease, Platform, PlatformError, Registry, WaitFor,
    },
    sim::ports::SimPlatform,
    store::{
        Attempt, Commit, DeadLetter, HistoryEntry, Journal, Queued, SqliteJournal, StoreError,
        StoredApp, WaitingLetter,
    },
};

/// What happens at the chosen moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// The call never arrives.
    LoseRequest,
    /// It is carried out, and nobody is told.
    LoseAnswer,
    /// The daemon dies before the call.
    DieBefore,
    /// The daemon dies after the call was carried out.
    DieAfter,
}

/// Where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The n-th call of the platform or the registry, from 1.
    Call(u64),
    /// The n-th commit of the journal, from 1.
    Commit(u64),
}

#[derive(Default)]
struct Thread {
    counting: bool,
    calls: Vec<&'static str>,
    commits: u64,
    plan: Option<(At, Blow)>,
    struck: bool,
}

/// Whoever looks on at what the daemon reads, writes and records, at the instant it does.
pub trait Witness: Send + Sync {
    /// It was told these machines of an app.
    fn listed(&self, app: &AppName, machines: &[Machine]);
    /// It is about to write to a machine, under a lease.
    fn writes(&self, lease: &Lease);
    /// The platform has that write, or has refused it; the answer may still be under way.
    fn wrote(&self, lease: &Lease);
    /// It recorded events of an app, each under its message's id.
    fn recorded(&self, app: &AppName, events: &[(String, Event)]);
}

/// Shared between what can fail and the scenario that decides.
#[derive(Default)]
pub struct Fate(Mutex<Thread>, Mutex<Option<String>>, Mutex<Option<Arc<dyn Witness>>>);

impl Fate {
    /// Counting begins anew, and this is what will happen.
    pub fn decree(&self, plan: Option<(At, Blow)>) {
        *self.0.lock().unwrap() = Thread { counting: true, plan, ..Thread::default() };
    }

    /// Names of the calls, and the number of commits, since the decree.
    pub fn counted(&self) -> (Vec<&'static str>, u64) {
        let thread = self.0.lock().unwrap();
        (thread.calls.clone(), thread.commits)
    }

    /// Whether the daemon is dead and has only to be buried.
    pub fn has_struck(&self) -> bool {
        self.0.lock().unwrap().struck
    }

    /// Leaves the machines of a region out of every list.
    pub fn hide_region(&self, region: Option<&str>) {
        *self.1.lock().unwrap() = region.map(str::to_owned);
    }

    /// From now on somebody looks on.
    pub fn watched_by(&self, witness: Arc<dyn Witness>) {
        *self.2.lock().unwrap() = Some(witness);
    }

    fn tell(&self, what: impl FnOnce(&dyn Witness)) {
        let witness = self.2.lock().unwrap().clone();
        if let Some(witness) = witness {
            what(witness.as_ref());
        }
    }

    pub fn spare(&self) {
        self.0.lock().unwrap().struck = false;
    }

    fn call(&self, name: &'static str) -> Option<Blow> {
        let mut thread = self.0.lock().unwrap();
        if !thread.counting {
            return None;
        }
        thread.calls.push(name);
        let number = thread.calls.len() as u64;
        thread.plan.filter(|(at, _)| *at == At::Call(number)).map(|(_, blow)| blow)
    }

    fn commit(&self) -> Option<Blow> {
        let mut thread = self.0.lock().unwrap();
        if !thread.counting {
            return None;
        }
        thread.commits += 1;
        let number = thread.commits;
        thread.plan.filter(|(at, _)| *at == At::Commit(number)).map(|(_, blow)| blow)
    }

    async fn die(&self) -> ! {
        self.0.lock().unwrap().struck = true;
        std::future::pending().await
    }
}

/// The platform, at the mercy of fate.
pub struct MortalPlatform {
    inner: Arc<SimPlatform>,
    fate: Arc<Fate>,
}

impl MortalPlatform {
    pub fn new(inner: Arc<SimPlatform>, fate: Arc<Fate>) -> Self {
        Self { inner, fate }
    }

    async fn call<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, PlatformError>>,
    ) -> Result<T, PlatformError> {
        match self.fate.call(name) {
            None => work.await,
            Some(Blow::LoseRequest) => {
                Err(PlatformError::Unavailable("the request was lost".to_owned()))
            }
            Some(Blow::LoseAnswer) => {
                drop(work.await);
                Err(PlatformError::Unavailable("the answer was lost".to_owned()))
            }
            Some(Blow::DieBefore) => self.fate.die().await,
            Some(Blow::DieAfter) => {
                drop(work.await);
                self.fate.die().await
            }
        }
    }
}

type Answer<T> = Result<T, PlatformError>;

impl MortalPlatform {
    /// A write that somebody looks on at: the platform has it before its answer can be late.
    async fn written<T>(&self, lease: &Lease, work: impl Future<Output = Answer<T>>) -> Answer<T> {
        let mut work = std::pin::pin!(work);
        self.fate.tell(|witness| witness.writes(lease));
        let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
        self.fate.tell(|witness| witness.wrote(lease));
        match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => work.await,
        }
    }
}

#[async_trait]
impl Platform for MortalPlatform {
    fn clock_offset(&self) -> Option<SignedDuration> {
        self.inner.clock_offset()
    }
    async fn changes(&self, position: &FeedPosition) -> Answer<FeedReading> {
        self.call("changes", self.inner.changes(position)).await
    }
    async fn apps(&self) -> Answer<Vec<AppName>> {
        self.call("apps", self.inner.apps()).await
    }
    async fn machines(&self, app: &AppName) -> Answer<Vec<Machine>> {
        let mut machines = self.call("machines", self.inner.machines(app)).await?;
        if let Some(hidden) = self.fate.1.lock().unwrap().as_deref() {
            machines.retain(|machine| machine.region.as_str() != hidden);
        }
        self.fate.tell(|witness| witness.listed(app, &machines));
        Ok(machines)
    }
    async fn machine(&self, app: &AppName, id: &MachineId) -> Answer<Machine> {
        self.call("machine", self.inner.machine(app, id)).await
    }
    async fn releases(&self, app: &AppName, limit: u32) -> Answer<Vec<Release>> {
        self.call("releases", self.inner.releases(app, limit)).await
    }
    async fn secrets(&self, app: &AppName) -> Answer<Secrets> {
        self.call("secrets", self.inner.secrets(app)).await
    }
    async fn lease(&self, app: &AppName, id: &MachineId, ttl: Duration) -> Answer<Lease> {
        self.call("lease", self.inner.lease(app, id, ttl)).await
    }
    async fn refresh(&self, lease: &Lease, ttl: Duration) -> Answer<Lease> {
        self.call("refresh", self.inner.refresh(lease, ttl)).await
    }
    async fn release(&self, lease: &Lease) -> Answer<()> {
        self.call("release", self.inner.release(lease)).await
    }
    async fn update(&self, lease: &Lease, update: &MachineUpdate) -> Answer<InstanceId> {
        self.call("update", self.written(lease, self.inner.update(lease, update))).await
    }
    async fn start(&self, lease: &Lease) -> Answer<()> {
        self.call("start", self.written(lease, self.inner.start(lease))).await
    }
    async fn wait(
        &self,
        app: &AppName,
        id: &MachineId,
        instance: &InstanceId,
        state: WaitFor,
        timeout: Duration,
    ) -> Answer<bool> {
        self.call("wait", self.inner.wait(app, id, instance, state, timeout)).await
    }
    async fn log_lines(&self, app: &AppName, id: &MachineId, limit: u32) -> Answer<Vec<String>> {
        self.call("log_lines", self.inner.log_lines(app, id, limit)).await
    }
    async fn open_release(&self, release: &NewRelease) -> Answer<Release> {
        self.call("open_release", self.inner.open_release(release)).await
    }
    async fn set_release_status(&self, id: &str, status: ReleaseStatus) -> Answer<()> {
        self.call("set_release_status", self.inner.set_release_status(id, status)).await
    }
}

#[async_trait]
impl Registry for MortalPlatform {
    async fn presence(&self, image: &ImageRef) -> Answer<ImagePresence> {
        self.call("presence", self.inner.presence(image)).await
    }
    async fn resolve(&self, image: &ImageRef) -> Answer<Option<Digest>> {
        self.call("resolve", self.inner.resolve(image)).await
    }
    async fn presence_in_mirror(&self, image: &ImageRef) -> Answer<ImagePresence> {
        self.call("presence_in_mirror", self.inner.presence_in_mirror(image)).await
    }
    async fn copy(
        &self,
        from: &ImageRef,
        to: &ImageRef,
        progress: &(dyn Fn(CopyProgress) + Send + Sync),
    ) -> Result<(), CopyError> {
        self.inner.copy(from, to, progress).await
    }
}

/// The journal, at the mercy of fate.
pub struct MortalJournal {
    inner: SqliteJournal,
    fate: Arc<Fate>,
}

impl MortalJournal {
    pub fn new(inner: SqliteJournal, fate: Arc<Fate>) -> Self {
        Self { inner, fate }
    }
}

type Stored<T> = Result<T, StoreError>;

impl MortalJournal {
    async fn write(
        &self,
        app: &AppName,
        expected: u64,
        commit: Commit,
        now: Timestamp,
    ) -> Stored<u64> {
        let events = commit.events.clone();
        let revision = self.inner.commit(app, expected, commit, now).await?;
        self.fate.tell(|witness| witness.recorded(app, &events));
        Ok(revision)
    }
}

#[async_trait]
impl Journal for MortalJournal {
    async fn installation(&self) -> Stored<String> {
        self.inner.installation().await
    }
    async fn note(&self, key: &str) -> Stored<Option<String>> {
        self.inner.note(key).await
    }
    async fn set_note(&self, key: &str, value: Option<&str>) -> Stored<()> {
        self.inner.set_note(key, value).await
    }
    async fn load(&self, app: &AppName) -> Stored<Option<StoredApp>> {
        self.inner.load(app).await
    }
    async fn commit(
        &self,
        app: &AppName,
        expected: u64,
        commit: Commit,
        now: Timestamp,
    ) -> Stored<u64> {
        match self.fate.commit() {
            None => self.write(app, expected, commit, now).await,
            Some(Blow::LoseRequest) => Err(StoreError::Failed("not written".to_owned())),
            Some(Blow::LoseAnswer) => {
                self.write(app, expected, commit, now).await?;
                Err(StoreError::Failed("written, and not told".to_owned()))
            }
            Some(Blow::DieBefore) => self.fate.die().await,
            Some(Blow::DieAfter) => {
                self.write(app, expected, commit, now).await?;
                self.fate.die().await
            }
        }
    }
    async fn announce(
        &self,
        message_id: &str,
        event: Event,
        receivers: &[String],
        now: Timestamp,
    ) -> Stored<()> {
        self.inner.announce(message_id, event, receivers, now).await
    }
    async fn due(&self, now: Timestamp) -> Stored<Vec<Queued>> {
        self.inner.due(now).await
    }
    async fn next_due(&self, now: Timestamp) -> Stored<Option<Timestamp>> {
        self.inner.next_due(now).await
    }
    async fn attempted(&self, sequence: i64, attempt: &Attempt, now: Timestamp) -> Stored<()> {
        self.inner.attempted(sequence, attempt, now).await
    }
    async fn history(
        &self,
        app: Option<&AppName>,
        before: Option<i64>,
        limit: u32,
    ) -> Stored<Vec<HistoryEntry>> {
        self.inner.history(app, before, limit).await
    }
    async fn outbox_counts(&self) -> Stored<Vec<(String, u64, u64)>> {
        self.inner.outbox_counts().await
    }
    async fn dead_letters(&self, limit: u32) -> Stored<Vec<DeadLetter>> {
        self.inner.dead_letters(limit).await
    }
    async fn waiting_letters(&self, limit: u32) -> Result<Vec<WaitingLetter>, StoreError> {
        self.inner.waiting_letters(limit).await
    }
    async fn revive(
        &self,
        receiver: &str,
        message_id: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.inner.revive(receiver, message_id, now).await
    }
    async fn prune(&self, before: Timestamp) -> Stored<u64> {
        self.inner.prune(before).await
    }
}
