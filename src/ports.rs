//! What the daemon needs from outside: the platform, metrics pages, registries, receivers, time.
//!
//! The traits are owned by their consumer (the daemon) and say nothing of HTTP. `fly`, `sources`
//! and `notify` implement them over the network; `sim` implements the first three in memory.
//! Implementations put a deadline on every call; only `fly` retries, and only what is safe to
//! repeat.

mod clock;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use clock::Clock;

use crate::model::{
    AppName, Digest, ImageRef, InstanceId, Machine, MachineId, ProbeRequest, RawConfig, Region,
    Release, ReleaseStatus, Secrets,
};

/// Why a platform call failed, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlatformError {
    /// Somebody else holds the machine's lease.
    #[error("the machine is leased by {owner}")]
    LeaseHeld { owner: String, expires_at: Option<Timestamp> },
    /// The machine changed under us, or is being replaced (409, 412): read again and re-plan.
    #[error("lost a race: {0}")]
    Conflict(String),
    /// No such app, machine, lease or release.
    #[error("not found: {0}")]
    NotFound(String),
    /// The token may not do this (401, 403).
    #[error("not allowed: {0}")]
    Denied(String),
    /// The platform says the request is wrong (400, 422).
    #[error("refused: {0}")]
    Refused(String),
    /// 429, 5xx, timeouts, broken connections, after the retries that were safe. For a write it is
    /// not known whether it happened.
    #[error("platform unavailable: {0}")]
    Unavailable(String),
    /// An answer that could not be understood.
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

impl PlatformError {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::LeaseHeld { .. } | Self::Conflict(_) | Self::Unavailable(_) => true,
            Self::NotFound(_) | Self::Denied(_) | Self::Refused(_) | Self::Unreadable(_) => false,
        }
    }
}

/// Where to continue reading the organization's change feed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FeedPosition {
    /// Changes after this time are wanted; `None` reads everything.
    pub updated_after: Option<Timestamp>,
}

/// One machine in the change feed: a trigger, not the details.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    pub app: AppName,
    pub machine: MachineId,
    pub instance: InstanceId,
    pub region: Region,
    pub state: String,
    pub updated_at: Timestamp,
}

/// All pages of one reading of the feed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeedReading {
    pub entries: Vec<FeedEntry>,
    pub next: FeedPosition,
    /// Regions that could not be read: their machines are unknown, not gone.
    pub error_regions: Vec<Region>,
}

/// Proof that a machine's lease is held; every guarded write takes it. Its `Debug` hides the nonce.
#[derive(Clone)]
pub struct Lease {
    pub app: AppName,
    pub machine: MachineId,
    pub nonce: String,
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({}, until {})", self.machine, self.expires_at)
    }
}

/// A machine's new version.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineUpdate {
    /// The whole configuration.
    pub config: RawConfig,
    /// The instance the configuration was read from; the platform may refuse if it moved on.
    pub current: InstanceId,
    /// Leave the machine as stopped as it is.
    pub skip_launch: bool,
}

/// A state to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    Started,
    /// No transition in progress.
    Settled,
}

/// A release to be written into the ledger for a rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRelease {
    pub app: AppName,
    pub image: String,
}

/// What the platform says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenScope {
    /// Slugs; empty: not said.
    pub organizations: BTreeSet<String>,
    /// Names of apps it is restricted to; empty, or `*`: not restricted.
    pub apps: BTreeSet<String>,
    /// The one machine it works on.
    pub only_machine: Option<String>,
}

/// The organization on the platform.
#[async_trait]
pub trait Platform: Send + Sync {
    /// Machines that changed since `position`, all pages; overlap and de-duplication are inside.
    /// How far the platform's clock is ahead of this host's, as its newest answers showed; `None`:
    /// not known, as before the first answer or since this host's clock was set.
    fn clock_offset(&self) -> Option<SignedDuration> {
        None
    }
    /// What our token reaches. Any error but `Denied` says nothing about it.
    async fn token_scope(&self) -> Result<TokenScope, PlatformError> {
        Err(PlatformError::NotFound("not asked here".to_owned()))
    }
    async fn changes(&self, position: &FeedPosition) -> Result<FeedReading, PlatformError>;
    /// Every app of the organization.
    async fn apps(&self) -> Result<Vec<AppName>, PlatformError>;
    /// Every machine of an app that is not destroyed, with leases.
    async fn machines(&self, app: &AppName) -> Result<Vec<Machine>, PlatformError>;
    async fn machine(&self, app: &AppName, id: &MachineId) -> Result<Machine, PlatformError>;
    /// The newest releases, newest first, at most `limit`.
    async fn releases(&self, app: &AppName, limit: u32) -> Result<Vec<Release>, PlatformError>;
    /// Names and digests of an app's secrets. A hint: whatever is decided, is decided without it
    /// when it cannot be read.
    async fn secrets(&self, app: &AppName) -> Result<Secrets, PlatformError>;
    /// Takes the machine's lease for `ttl`; `LeaseHeld` when somebody else has it.
    async fn lease(
        &self,
        app: &AppName,
        id: &MachineId,
        ttl: Duration,
    ) -> Result<Lease, PlatformError>;
    /// Holds the lease for another `ttl` from now.
    async fn refresh(&self, lease: &Lease, ttl: Duration) -> Result<Lease, PlatformError>;
    /// Gives the lease back; a lease that is already gone is no error.
    async fn release(&self, lease: &Lease) -> Result<(), PlatformError>;
    /// Replaces the machine's configuration; answers with the new instance, which may still be on
    /// its way, and which the platform may yet revert.
    async fn update(
        &self,
        lease: &Lease,
        update: &MachineUpdate,
    ) -> Result<InstanceId, PlatformError>;
    async fn start(&self, lease: &Lease) -> Result<(), PlatformError>;
    /// Waits at most `timeout` (1 to 60 s) for that instance to get there; `false`: not yet.
    async fn wait(
        &self,
        app: &AppName,
        id: &MachineId,
        instance: &InstanceId,
        state: WaitFor,
        timeout: Duration,
    ) -> Result<bool, PlatformError>;
    /// The newest log lines of a machine, oldest first, at most `limit`. The log is not a
    /// documented interface and may refuse.
    async fn log_lines(
        &self,
        app: &AppName,
        id: &MachineId,
        limit: u32,
    ) -> Result<Vec<String>, PlatformError>;
    /// Writes a release into the ledger; the ledger is not a documented interface and may refuse.
    async fn open_release(&self, release: &NewRelease) -> Result<Release, PlatformError>;
    async fn set_release_status(
        &self,
        id: &str,
        status: ReleaseStatus,
    ) -> Result<(), PlatformError>;
}

/// One metrics page to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeTarget {
    pub app: AppName,
    pub machine: MachineId,
    pub address: IpAddr,
    pub port: u16,
    pub path: String,
    /// The certificate is not looked at: no certificate names an address of the private network.
    pub https: bool,
}

/// Why a page could not be read; the text is for people and names no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PageError(pub String);

/// Takes a page piece by piece, so that no page is ever held whole.
pub trait PageReader: Send {
    /// The next bytes of the page; an error ends the reading.
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), PageError>;
}

/// Reads metrics pages.
#[async_trait]
pub trait MetricsPages: Send + Sync {
    /// Streams the page into `reader`. Bounded in time by the implementation; the reader bounds
    /// the size.
    async fn read(
        &self,
        target: &ScrapeTarget,
        reader: &mut dyn PageReader,
    ) -> Result<(), PageError>;
}

/// Where a machine is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    pub app: AppName,
    pub machine: MachineId,
    pub address: IpAddr,
    pub port: u16,
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It was answered, and has in its body what was looked for.
    Answered { status: u16, has_text: bool },
    /// Nobody listens there.
    Refused,
    /// Connected, and no whole answer in time.
    TimedOut,
    /// The connection ended, or what came was no answer.
    Broken,
    /// No connection: it may be the machine, or we ourselves. For people.
    Unreachable(String),
}

/// Makes requests to machines.
#[async_trait]
pub trait Probes: Send + Sync {
    /// Bounded in time, by the request's own timeout, and in size.
    async fn probe(&self, target: &ProbeTarget, request: &ProbeRequest) -> Probed;
}

/// A query of a metrics server.
#[derive(Clone, Copy)]
pub struct ServerQuery<'a> {
    /// Its name in the configuration.
    pub server: &'a str,
    /// `None`: the platform's own.
    pub url: Option<&'a str>,
    /// What it is to be shown; `None`: of the platform's own the platform's token, else nothing.
    pub token: Option<&'a str>,
    /// In `PromQL`.
    pub query: &'a str,
    /// As of when; `None`: as of now.
    pub at: Option<Timestamp>,
}

/// One series of an answer: its labels, `__name__` among them, and samples with the times at which
/// the server took them, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledSeries {
    pub labels: BTreeMap<String, String>,
    pub samples: Vec<(Timestamp, f64)>,
}

/// Why a metrics server told nothing, with what helps; for people, and without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ServerError {
    pub detail: String,
    /// How long it wants to be left alone, when it said so.
    pub retry_after: Option<Duration>,
    /// It does not take this query: others it may answer.
    pub query_refused: bool,
    /// Whatever else it is asked will fail as well: it cannot be reached, does not let us in, or is
    /// asked too often.
    pub whole_server: bool,
}

impl ServerError {
    /// With nothing but words.
    pub fn plain(detail: String) -> Self {
        Self { detail, retry_after: None, query_refused: false, whole_server: false }
    }
}

/// Asks metrics servers.
#[async_trait]
pub trait MetricsServers: Send + Sync {
    /// Bounded in time and size by the implementation.
    async fn ask(&self, query: ServerQuery<'_>) -> Result<Vec<SampledSeries>, ServerError>;
}

/// Whether an image can still be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImagePresence {
    Present,
    /// The registry says it has no such manifest.
    Missing,
}

/// How far a copy of an image is, in bytes of its blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyProgress {
    pub done: u64,
    pub of: u64,
}

/// The end of a copy at which something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopySide {
    Source,
    Mirror,
}

/// Why an image could not be copied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct CopyError {
    pub side: CopySide,
    pub error: PlatformError,
}

/// Image registries.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Looks an image up by digest. `Err`: the registry could not be asked; nothing is known.
    async fn presence(&self, image: &ImageRef) -> Result<ImagePresence, PlatformError>;
    /// The image that a tag names now; `None`: the registry knows no such name. `Err`: as above.
    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>, PlatformError>;
    /// The same in the registry that images are mirrored to, which may want to know who asks.
    async fn presence_in_mirror(&self, image: &ImageRef) -> Result<ImagePresence, PlatformError>;
    /// The mirror has the image, whole: what is there already is left. A copy that was dropped or
    /// failed half way is taken up again where the registries allow it.
    async fn copy(
        &self,
        from: &ImageRef,
        to: &ImageRef,
        progress: &(dyn Fn(CopyProgress) + Send + Sync),
    ) -> Result<(), CopyError>;
}

/// One webhook request, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// 2xx.
    Accepted,
    /// 410: no use in repeating.
    Refused { reason: String },
    /// The receiver will not have this very message: worth a few attempts, and no more.
    Unfit { reason: String },
    /// To be repeated, not before `after` when the receiver said so.
    Retry { reason: String, after: Option<Duration> },
}

/// How a receiver that answers is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Patch,
}

/// What it answered, whatever that means there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// Its beginning, if it is long.
    pub body: String,
    /// When it wants to be asked again, if it said so.
    pub after: Option<Duration>,
}

/// Sends webhook requests.
#[async_trait]
pub trait Notifier: Send + Sync {
    async fn send(&self, delivery: &Delivery) -> DeliveryOutcome;
    /// Asks a receiver whose answer matters. The error says why there is none, and names no URL.
    async fn ask(&self, verb: Verb, request: &Delivery) -> Result<Answered, String>;
    /// Tells whoever waits for it at `url` that the daemon works. The error names no URL.
    async fn beat(&self, url: &str) -> Result<(), String> {
        let _secret = url;
        Ok(())
    }
}
