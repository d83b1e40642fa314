//! The platform over HTTP.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    config::Secret,
    model::{AppName, ImageRef, InstanceId, Machine, MachineId, Release, ReleaseStatus},
    ports::{
        FeedPosition, FeedReading, ImagePresence, Lease, MachineUpdate, NewRelease, Platform,
        PlatformError, Registry, WaitFor,
    },
};

/// Where the platform is, and who asks.
#[derive(Clone, Debug)]
pub struct FlySettings {
    pub organization: String,
    pub token: Secret,
    /// GraphQL (`/graphql` is appended).
    pub api_url: String,
    /// Machines API (`/v1` is appended).
    pub flaps_url: String,
    /// Release endpoints (`/api/v1` is appended).
    pub uiex_url: String,
    /// Base URL at which images of `registry.fly.io` are looked up.
    pub registry_url: String,
}

impl FlySettings {
    /// Reads tokens and base URLs as flyctl does.
    ///
    /// # Errors
    /// When there is no token, or a base URL is none.
    pub fn from_env(
        _organization: String,
        _environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, FlyError> {
        Err(FlyError("x".into()))
    }
}

/// Why the client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FlyError(String);

/// The client.
#[derive(Debug)]
pub struct Fly;

impl Fly {
    /// A client.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(_settings: FlySettings) -> Result<Self, FlyError> {
        Ok(Self)
    }
}

type Answer<T> = Result<T, PlatformError>;

fn nothing<T>() -> Answer<T> {
    Err(PlatformError::Unavailable("not built yet".into()))
}

#[async_trait]
impl Registry for Fly {
    async fn presence(&self, _image: &ImageRef) -> Answer<ImagePresence> {
        nothing()
    }
}

#[async_trait]
impl Platform for Fly {
    async fn changes(&self, _position: &FeedPosition) -> Answer<FeedReading> {
        nothing()
    }
    async fn apps(&self) -> Answer<Vec<AppName>> {
        nothing()
    }
    async fn machines(&self, _app: &AppName) -> Answer<Vec<Machine>> {
        nothing()
    }
    async fn machine(&self, _app: &AppName, _id: &MachineId) -> Answer<Machine> {
        nothing()
    }
    async fn releases(&self, _app: &AppName, _limit: u32) -> Answer<Vec<Release>> {
        nothing()
    }
    async fn lease(&self, _app: &AppName, _id: &MachineId, _ttl: Duration) -> Answer<Lease> {
        nothing()
    }
    async fn refresh(&self, _lease: &Lease, _ttl: Duration) -> Answer<Lease> {
        nothing()
    }
    async fn release(&self, _lease: &Lease) -> Answer<()> {
        nothing()
    }
    async fn update(&self, _lease: &Lease, _update: &MachineUpdate) -> Answer<InstanceId> {
        nothing()
    }
    async fn start(&self, _lease: &Lease) -> Answer<()> {
        nothing()
    }
    async fn wait(
        &self,
        _app: &AppName,
        _id: &MachineId,
        _instance: &InstanceId,
        _state: WaitFor,
        _timeout: Duration,
    ) -> Answer<bool> {
        nothing()
    }
    async fn log_lines(&self, _app: &AppName, _id: &MachineId, _n: u32) -> Answer<Vec<String>> {
        nothing()
    }
    async fn open_release(&self, _release: &NewRelease) -> Answer<Release> {
        nothing()
    }
    async fn set_release_status(&self, _id: &str, _status: ReleaseStatus) -> Answer<()> {
        nothing()
    }
}
