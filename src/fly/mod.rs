//! The platform over HTTP: Machines API, GraphQL, release endpoints and image registries.
//!
//! Everything that is particular about Fly's interfaces ends here: its JSON ([`wire`]), its errors
//! ([`errors`]), its rate limits ([`limits`]) and which calls may be repeated ([`retry`]). Callers
//! see nouns of the model and a [`PlatformError`] that says what they can do.

mod clock;
mod errors;
mod feed;
mod http;
mod limits;
mod logs;
mod machines;
mod registry;
mod releases;
mod retry;
mod settings;
mod wire;

use std::{fmt, sync::Mutex, time::Duration};

use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::Url;

pub use settings::{FlyError, FlySettings, MirrorLogin};

use self::{
    http::{Caller, Tuning},
    settings::{Bases, Tokens},
};
use crate::{
    model::{
        AppName, Digest, ImageRef, InstanceId, Machine, MachineId, Release, ReleaseStatus, Secrets,
    },
    ports::{
        CopyError, CopyProgress, FeedPosition, FeedReading, ImagePresence, Lease, MachineUpdate,
        NewRelease, Platform, PlatformError, Registry, TokenScope, WaitFor,
    },
};

/// The client. One is enough: rate limits and the memory of the change feed are its own.
pub struct Fly {
    organization: String,
    bases: Bases,
    caller: Caller,
    mirror_login: Option<MirrorLogin>,
    seen: Mutex<feed::Seen>,
    silence: releases::Silence,
}

impl fmt::Debug for Fly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fly({} at {})", self.organization, self.bases.flaps)
    }
}

impl Fly {
    /// A client.
    ///
    /// # Errors
    /// When the settings hold no token or no URL, or the HTTP client cannot be set up.
    pub fn new(settings: FlySettings) -> Result<Self, FlyError> {
        Self::tuned(settings, Tuning::default())
    }

    fn tuned(settings: FlySettings, tuning: Tuning) -> Result<Self, FlyError> {
        let mut tokens = Tokens::parse(settings.token.expose())
            .map_err(|error| FlyError(format!("the token {error}")))?;
        if let Some(login) = &settings.mirror_login {
            tokens.hide(login.token.expose());
        }
        let bases = Bases::parse(&settings)?;
        let caller = Caller::new(tokens, tuning)?;
        Ok(Self {
            organization: settings.organization,
            bases,
            caller,
            mirror_login: settings.mirror_login,
            seen: Mutex::default(),
            silence: releases::Silence::default(),
        })
    }
}

/// `base` with further segments of path, each made safe.
fn below(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // Only URLs without a host have no path; bases were checked.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

type Answer<T> = Result<T, PlatformError>;

#[async_trait]
impl Registry for Fly {
    async fn presence(&self, image: &ImageRef) -> Answer<ImagePresence> {
        registry::presence(self, image).await
    }

    async fn resolve(&self, image: &ImageRef) -> Answer<Option<Digest>> {
        registry::resolve(self, image).await
    }

    async fn presence_in_mirror(&self, image: &ImageRef) -> Answer<ImagePresence> {
        registry::presence_in_mirror(self, image).await
    }

    async fn copy(
        &self,
        from: &ImageRef,
        to: &ImageRef,
        progress: &(dyn Fn(CopyProgress) + Send + Sync),
    ) -> Result<(), CopyError> {
        registry::copy(self, from, to, progress).await
    }
}

#[async_trait]
impl Platform for Fly {
    fn clock_offset(&self) -> Option<SignedDuration> {
        self.caller.clock_offset()
    }

    async fn token_scope(&self) -> Answer<TokenScope> {
        machines::token_scope(self).await
    }

    async fn changes(&self, position: &FeedPosition) -> Answer<FeedReading> {
        feed::changes(self, position).await
    }

    async fn apps(&self) -> Answer<Vec<AppName>> {
        machines::apps(self).await
    }

    async fn machines(&self, app: &AppName) -> Answer<Vec<Machine>> {
        machines::list(self, app).await
    }

    async fn machine(&self, app: &AppName, id: &MachineId) -> Answer<Machine> {
        machines::one(self, app, id).await
    }

    async fn releases(&self, app: &AppName, limit: u32) -> Answer<Vec<Release>> {
        releases::newest(self, app, limit).await
    }

    async fn secrets(&self, app: &AppName) -> Answer<Secrets> {
        machines::secrets(self, app).await
    }

    async fn lease(&self, app: &AppName, id: &MachineId, ttl: Duration) -> Answer<Lease> {
        machines::lease(self, app, id, ttl).await
    }

    async fn refresh(&self, lease: &Lease, ttl: Duration) -> Answer<Lease> {
        machines::refresh(self, lease, ttl).await
    }

    async fn release(&self, lease: &Lease) -> Answer<()> {
        machines::release(self, lease).await
    }

    async fn update(&self, lease: &Lease, update: &MachineUpdate) -> Answer<InstanceId> {
        machines::update(self, lease, update).await
    }

    async fn start(&self, lease: &Lease) -> Answer<()> {
        machines::start(self, lease).await
    }

    async fn wait(
        &self,
        app: &AppName,
        id: &MachineId,
        instance: &InstanceId,
        state: WaitFor,
        timeout: Duration,
    ) -> Answer<bool> {
        machines::wait(self, app, id, instance, state, timeout).await
    }

    async fn log_lines(&self, app: &AppName, id: &MachineId, limit: u32) -> Answer<Vec<String>> {
        logs::newest(self, app, id, limit).await
    }

    async fn open_release(&self, release: &NewRelease) -> Answer<Release> {
        releases::open(self, release).await
    }

    async fn set_release_status(&self, id: &str, status: ReleaseStatus) -> Answer<()> {
        releases::set_status(self, id, &status).await
    }
}

#[cfg(test)]
mod tests;
