//! The daemon's ports in memory: the platform, its registry and the machines' metrics pages,
//! without a socket, on the model's own clock.

pub(super) mod calls;
mod probes;
mod servers;
pub(super) mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::sim::{
    handle::Sim,
    model::{
        change::Update,
        image::IMAGE_SIZE,
        lease::{Ask, Held},
        ledger::NewEntry,
        org::Org,
        refusal::Refusal,
    },
    ports::calls::{CallKind, CallRecord, Fault},
};
use crate::{
    model::{
        AppName, Digest, ImageRef, InstanceId, Machine, MachineId, Release, ReleaseStatus, Secrets,
    },
    ports::{
        CopyError, CopyProgress, CopySide, FeedEntry, FeedPosition, FeedReading, ImagePresence,
        Lease, MachineUpdate, MetricsPages, NewRelease, PageError, PageReader, Platform,
        PlatformError, Registry, ScrapeTarget, WaitFor,
    },
};
use async_trait::async_trait;

/// How long a part of an image takes to the mirror.
const COPY_STEP: Duration = Duration::from_millis(500);
/// How often a wait looks.
const LOOK: Duration = Duration::from_millis(50);
/// A page is handed over in pieces of so many bytes.
const PIECE: usize = 512;
/// Every reading of the feed goes back so far.
const OVERLAP: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// The simulated organization, as seen with one token.
#[derive(Clone, Debug)]
pub struct SimPlatform {
    sim: Sim,
    owner: String,
    told: Arc<Mutex<Told>>,
}

/// What the feed told last of each machine, so that its overlap tells nothing twice.
type Told = BTreeMap<MachineId, FeedEntry>;

impl SimPlatform {
    /// `owner`: whom leases and releases name.
    pub fn new(sim: Sim, owner: &str) -> Self {
        Self { sim, owner: owner.to_owned(), told: Arc::default() }
    }

    /// Notes a call, lets the script have its way with it, and carries it out.
    async fn call<T>(
        &self,
        about: About<'_>,
        work: impl FnOnce(&mut Org) -> Result<T, Refusal>,
    ) -> Result<T, PlatformError> {
        let fault = self.note(&about);
        let work = |org: &mut Org| {
            if let Some(right) = about.action.right() {
                org.allow(&self.owner, right)?;
            }
            work(org)
        };
        match fault {
            Some(Fault::RequestLost) => Err(unavailable("the request was lost")),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::AnswerLost) => {
                // Applied, and nobody is told: that is the fault.
                let _untold = self.sim.with(work).is_ok();
                Err(unavailable("the answer was lost"))
            }
            Some(Fault::Slow(time)) => {
                let result = self.sim.with(work);
                tokio::time::sleep(time).await;
                result.map_err(PlatformError::from)
            }
            None => self.sim.with(work).map_err(PlatformError::from),
        }
    }

    fn note(&self, about: &About<'_>) -> Option<Fault> {
        let (at, leased) = self.sim.with(|org| {
            let leased = match (about.app, about.machine, about.nonce) {
                (Some(app), Some(id), Some(nonce)) => org.holds(app.as_str(), id.as_str(), nonce),
                _ => false,
            };
            (org.now, leased)
        });
        self.sim.faults().note(CallRecord {
            number: 0,
            at,
            action: about.action,
            app: about.app.cloned(),
            machine: about.machine.cloned(),
            leased,
            faulty: false,
        })
    }
}

fn unavailable(text: &str) -> PlatformError {
    PlatformError::Unavailable(text.to_owned())
}

/// What a call is about.
#[derive(Clone, Copy)]
struct About<'a> {
    action: CallKind,
    app: Option<&'a AppName>,
    machine: Option<&'a MachineId>,
    nonce: Option<&'a str>,
}

impl<'a> About<'a> {
    fn org(action: CallKind) -> Self {
        Self { action, app: None, machine: None, nonce: None }
    }

    fn app(action: CallKind, app: &'a AppName) -> Self {
        Self { app: Some(app), ..Self::org(action) }
    }

    fn machine(action: CallKind, app: &'a AppName, id: &'a MachineId) -> Self {
        Self { machine: Some(id), ..Self::app(action, app) }
    }

    fn leased(action: CallKind, lease: &'a Lease) -> Self {
        let about = Self::machine(action, &lease.app, &lease.machine);
        Self { nonce: Some(&lease.nonce), ..about }
    }
}

fn lease(app: &AppName, id: &MachineId, held: Held) -> Lease {
    Lease { app: app.clone(), machine: id.clone(), nonce: held.nonce, expires_at: held.expires_at }
}

fn reading(org: &Org, position: &FeedPosition, told: &mut Told) -> FeedReading {
    let after = position.updated_after.map(|at| at.checked_sub(OVERLAP).unwrap_or(at));
    if after.is_none() {
        told.clear();
    }
    let mut reading = FeedReading { next: position.clone(), ..FeedReading::default() };
    reading.error_regions =
        org.unread_regions.iter().map(|region| region.as_str().into()).collect();
    for machine in org.changed(after) {
        // What could not be read may still come: then the window stays where it was.
        if reading.error_regions.is_empty() {
            reading.next.updated_after =
                reading.next.updated_after.max(Some(org.updated_at(machine)));
        }
        let machine = org.view(machine);
        let entry = FeedEntry {
            state: machine.state.as_str().to_owned(),
            app: machine.app,
            machine: machine.id,
            instance: machine.instance,
            region: machine.region,
            updated_at: machine.updated_at,
        };
        if told.insert(entry.machine.clone(), entry.clone()).as_ref() != Some(&entry) {
            reading.entries.push(entry);
        }
    }
    reading
}

#[async_trait]
impl Platform for SimPlatform {
    fn clock_offset(&self) -> Option<jiff::SignedDuration> {
        Some(self.sim.skew())
    }

    async fn changes(&self, position: &FeedPosition) -> Result<FeedReading, PlatformError> {
        self.call(About::org(CallKind::Changes), |org| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(reading(org, position, &mut told))
        })
        .await
    }

    async fn apps(&self) -> Result<Vec<AppName>, PlatformError> {
        self.call(About::org(CallKind::Apps), |org| {
            Ok(org.apps.keys().map(|name| name.as_str().into()).collect())
        })
        .await
    }

    async fn machines(&self, app: &AppName) -> Result<Vec<Machine>, PlatformError> {
        self.call(About::app(CallKind::Machines, app), |org| org.read_machines(app.as_str())).await
    }

    async fn machine(&self, app: &AppName, id: &MachineId) -> Result<Machine, PlatformError> {
        self.call(About::machine(CallKind::Machine, app, id), |org| {
            org.read_machine(app.as_str(), id.as_str())
        })
        .await
    }

    async fn releases(&self, app: &AppName, limit: u32) -> Result<Vec<Release>, PlatformError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.call(About::app(CallKind::Releases, app), |org| org.read_releases(app.as_str(), limit))
            .await
    }

    async fn secrets(&self, app: &AppName) -> Result<Secrets, PlatformError> {
        self.call(About::app(CallKind::Secrets, app), |org| {
            Ok(org.app(app.as_str())?.secrets.clone())
        })
        .await
    }

    async fn lease(
        &self,
        app: &AppName,
        id: &MachineId,
        ttl: Duration,
    ) -> Result<Lease, PlatformError> {
        let ask = Ask { nonce: None, ttl, owner: &self.owner, description: "waveoff" };
        self.call(About::machine(CallKind::Lease, app, id), |org| {
            Ok(lease(app, id, org.take_lease(app.as_str(), id.as_str(), ask)?))
        })
        .await
    }

    async fn refresh(&self, held: &Lease, ttl: Duration) -> Result<Lease, PlatformError> {
        let (app, id) = (&held.app, &held.machine);
        let ask = Ask { nonce: Some(&held.nonce), ttl, owner: &self.owner, description: "waveoff" };
        self.call(About::leased(CallKind::Refresh, held), |org| {
            // A lease that ran out cannot be made longer; a new one would have another nonce.
            if !org.holds(app.as_str(), id.as_str(), &held.nonce) {
                org.guard(app.as_str(), id.as_str(), Some(&held.nonce))?;
                return Err(Refusal::NotFound("lease not found".to_owned()));
            }
            Ok(lease(app, id, org.take_lease(app.as_str(), id.as_str(), ask)?))
        })
        .await
    }

    async fn release(&self, held: &Lease) -> Result<(), PlatformError> {
        let about = About::leased(CallKind::Release, held);
        let result = self
            .call(about, |org| {
                org.release_lease(held.app.as_str(), held.machine.as_str(), &held.nonce)
            })
            .await;
        match result {
            Err(PlatformError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    async fn update(
        &self,
        held: &Lease,
        update: &MachineUpdate,
    ) -> Result<InstanceId, PlatformError> {
        self.call(About::leased(CallKind::Update, held), |org| {
            let config = serde_json::from_str(&update.config.0)
                .map_err(|error| Refusal::Invalid(format!("malformed config: {error}")))?;
            let update = Update {
                config,
                raw: Some(update.config.0.clone()),
                current: Some(update.current.as_str()),
                skip_launch: update.skip_launch,
            };
            let (app, id) = (held.app.as_str(), held.machine.as_str());
            org.update(app, id, Some(&held.nonce), update).map(InstanceId::new)
        })
        .await
    }

    async fn start(&self, held: &Lease) -> Result<(), PlatformError> {
        self.call(About::leased(CallKind::Start, held), |org| {
            org.start(held.app.as_str(), held.machine.as_str(), Some(&held.nonce))
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
    ) -> Result<bool, PlatformError> {
        let deadline = tokio::time::Instant::now() + timeout;
        let look = |org: &mut Org| {
            let seen = org.progress(app.as_str(), id.as_str())?;
            let there = match state {
                WaitFor::Started => seen.state == "started",
                WaitFor::Settled => seen.is_settled,
            };
            Ok(there && seen.instance == instance.as_str())
        };
        if self.call(About::machine(CallKind::Wait, app, id), look).await? {
            return Ok(true);
        }
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            if self.sim.with(look).map_err(PlatformError::from)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn log_lines(
        &self,
        app: &AppName,
        id: &MachineId,
        limit: u32,
    ) -> Result<Vec<String>, PlatformError> {
        let mut lines = self
            .call(About::machine(CallKind::LogLines, app, id), |org| {
                org.log_lines(app.as_str(), id.as_str())
            })
            .await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(lines.split_off(lines.len().saturating_sub(limit)))
    }

    async fn open_release(&self, new: &NewRelease) -> Result<Release, PlatformError> {
        self.call(About::app(CallKind::OpenRelease, &new.app), |org| {
            let entry = NewEntry {
                image: &new.image,
                strategy: "ROLLING",
                definition: &serde_json::Value::Null,
                author: &self.owner,
            };
            Ok(view::release(&org.create_release(new.app.as_str(), entry)?))
        })
        .await
    }

    async fn set_release_status(
        &self,
        id: &str,
        status: ReleaseStatus,
    ) -> Result<(), PlatformError> {
        self.call(About::org(CallKind::SetReleaseStatus), |org| {
            org.set_release_status(id, status.as_str())
        })
        .await
    }
}

#[async_trait]
impl Registry for SimPlatform {
    async fn presence(&self, image: &ImageRef) -> Result<ImagePresence, PlatformError> {
        self.look_up(CallKind::Presence, image).await
    }

    async fn resolve(&self, image: &ImageRef) -> Result<Option<Digest>, PlatformError> {
        self.call(About::org(CallKind::Presence), |org| {
            Ok(org.images.resolve(&image.reference()).map(Digest::new))
        })
        .await
    }

    async fn presence_in_mirror(&self, image: &ImageRef) -> Result<ImagePresence, PlatformError> {
        self.look_up(CallKind::PresenceInMirror, image).await
    }

    async fn copy(
        &self,
        from: &ImageRef,
        to: &ImageRef,
        progress: &(dyn Fn(CopyProgress) + Send + Sync),
    ) -> Result<(), CopyError> {
        let place = |image: &ImageRef| format!("{}/{}", image.registry, image.repository);
        let digest = to.digest.as_ref().map_or("", |digest| digest.as_str());
        let (source, mirror) = (place(from), place(to));
        let app = AppName::new(to.repository.rsplit('/').next().unwrap_or_default());
        loop {
            let step = self.call(About::app(CallKind::Copy, &app), |org| {
                Ok(org.images.copy_some(&source, &mirror, digest))
            });
            let of = IMAGE_SIZE;
            match step.await {
                Ok(Some(done)) => progress(CopyProgress { done, of }),
                Ok(None) => {
                    let error = PlatformError::NotFound(format!("{source} has no {digest}"));
                    return Err(CopyError { side: CopySide::Source, error });
                }
                Err(error) => return Err(CopyError { side: CopySide::Mirror, error }),
            }
            if self.sim.with(|org| org.images.has(&mirror, digest)) {
                return Ok(());
            }
            tokio::time::sleep(COPY_STEP).await;
        }
    }
}

impl SimPlatform {
    async fn look_up(
        &self,
        call: CallKind,
        image: &ImageRef,
    ) -> Result<ImagePresence, PlatformError> {
        self.call(About::org(call), |org| {
            let digest = image
                .digest
                .as_ref()
                .ok_or_else(|| Refusal::Invalid("an image is looked up by digest".to_owned()))?;
            let repository = format!("{}/{}", image.registry, image.repository);
            Ok(if org.images.has(&repository, digest.as_str()) {
                ImagePresence::Present
            } else {
                ImagePresence::Missing
            })
        })
        .await
    }
}

#[async_trait]
impl MetricsPages for SimPlatform {
    async fn read(
        &self,
        target: &ScrapeTarget,
        reader: &mut dyn PageReader,
    ) -> Result<(), PageError> {
        let about = About::machine(CallKind::Page, &target.app, &target.machine);
        let (app, id) = (target.app.as_str(), target.machine.as_str());
        let page = self
            .call(about, |org| {
                let machine = org.machine(app, id)?;
                let port = machine.version.metrics().map(|(port, _)| port);
                if port != Some(target.port) || machine.address != target.address {
                    return Ok(None);
                }
                Ok(org.page(app, id, &target.path))
            })
            .await
            .map_err(|error| PageError(error.to_string()))?;
        let page = page.ok_or_else(|| {
            PageError(format!("{}:{} cannot be reached", target.address, target.port))
        })?;
        for piece in page.as_bytes().chunks(PIECE) {
            reader.chunk(piece)?;
        }
        Ok(())
    }
}
