//! Reads the configuration again when its files change. A broken one is refused loudly, and the
//! old one stays.
//!
//! The files are polled: a few small files every few seconds cost nothing, and polling sees every
//! way in which a file can be replaced (editors, mounted volumes, symbolic links).

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use super::{ConfigSource, Ports};
use crate::{
    config::{self, Config, Fingerprint},
    model::{Event, EventKind},
    notify::recipients,
};

const LOOK_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Reload {
    pub(super) source: ConfigSource,
    pub(super) publish: watch::Sender<Arc<Config>>,
    pub(super) ports: Arc<Ports>,
    pub(super) installation: String,
    pub(super) mail: Arc<Notify>,
}

impl Reload {
    pub(super) async fn run(self, ends: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut ends = std::pin::pin!(ends);
        let mut seen = self.look().await;
        loop {
            tokio::select! {
                () = &mut ends => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let now = self.look().await;
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            self.reload().await?;
        }
    }

    /// `None`: the files cannot be read just now; what was loaded stays.
    async fn look(&self) -> Option<Fingerprint> {
        let dir = self.source.dir.clone();
        match tokio::task::spawn_blocking(move || Fingerprint::of(&dir)).await {
            Ok(Ok(fingerprint)) => Some(fingerprint),
            Ok(Err(error)) => {
                warn!("the configuration in {} cannot be read: {error}", self.source.dir.display());
                None
            }
            Err(error) => {
                warn!("looking at the configuration failed: {error}");
                None
            }
        }
    }

    async fn reload(&self) -> anyhow::Result<()> {
        let source = self.source.clone();
        let load = move || config::load(&source.dir, |name| (source.environment)(name));
        let loaded =
            tokio::task::spawn_blocking(load).await.context("read the changed configuration")?;
        let (kind, reason) = match loaded {
            Ok(config) => {
                let old = self.publish.borrow().clone();
                if config.organization != old.organization {
                    let reason = "the organization cannot change while running: restart the daemon";
                    (EventKind::ConfigRejected, reason.to_owned())
                } else {
                    let reason = format!("{} policies are in force", config.policies.len());
                    self.publish.send_replace(Arc::new(config));
                    (EventKind::ConfigReloaded, reason)
                }
            }
            Err(errors) => (EventKind::ConfigRejected, errors.to_string()),
        };
        if kind == EventKind::ConfigReloaded {
            info!(event = kind.as_str(), "configuration reloaded: {reason}");
        } else {
            error!(event = kind.as_str(), "configuration refused, the old one stays: {reason}");
        }
        let now = self.ports.clock.now();
        let mut event = Event::new(kind, now, None);
        event.reason = Some(reason);
        let receivers = recipients(&self.publish.borrow(), kind);
        let id = format!("msg_{}_config_{}", self.installation, now.as_millisecond());
        self.ports
            .journal
            .announce(&id, event, &receivers, now)
            .await
            .context("record the configuration change")?;
        self.mail.notify_one();
        Ok(())
    }
}
