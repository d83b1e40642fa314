//! The API's way to the apps' tasks: operators' orders, and what is known of an app's releases.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{Orders, Ports, orders::holding};
use crate::{
    model::{Act, AppName, Digest, ImageRef, Order, Release, Reply, Signed},
    notify::text,
    ports::{ImagePresence, PlatformError},
    web::{
        Desk, OrderError,
        operator::Answer,
        view::{ImageState, ReleaseView, ReleasesView},
    },
};

/// Entries of the release ledger that are read, and images that are looked up.
const LEDGER_SHOWN: u32 = 25;
const LOOKED_UP_MAX: usize = 25;
/// How long the ledger, and each registry, may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// What the API gives orders to, and asks.
pub(super) struct TaskDesk {
    pub(super) orders: Arc<Orders>,
    pub(super) ports: Arc<Ports>,
}

#[async_trait]
impl Desk for TaskDesk {
    async fn give(&self, app: Option<AppName>, order: Order) -> Result<Vec<AppName>, OrderError> {
        let ports = &self.ports;
        let now = ports.clock.now();
        let given = self.orders.give(ports.journal.as_ref(), app.as_ref(), &order, now).await?;
        let whom = app.as_ref().map_or("all apps", AppName::as_str);
        match &order {
            Order::Hold(hold) => {
                tracing::warn!("{whom}: held by {}: {}", hold.by, hold.reason);
            }
            Order::Unhold => tracing::info!("{whom}: no longer held by an operator"),
            Order::Act { act, .. } => tracing::info!("{whom}: {}", act.word()),
        }
        if app.is_none() {
            ports.board.held(holding(Some(&order), now).cloned());
        }
        Ok(given)
    }

    async fn act(&self, app: AppName, act: Act, signed: Signed) -> Result<Answer, OrderError> {
        let (word, by) = (act.word(), signed.by.clone());
        let reply = self.orders.act(&app, act, signed).await?;
        let text = match &reply {
            Reply::Done(effect) => text::effect(&app, effect),
            Reply::Refused(refusal) => text::refusal(&app, refusal),
        };
        let done = matches!(reply, Reply::Done(_));
        if done {
            tracing::warn!(app = %app, "{word} by {by}: {text}");
        } else {
            tracing::info!(app = %app, "{word} by {by} refused: {text}");
        }
        let facts = match reply {
            Reply::Done(effect) => serde_json::to_value(effect),
            Reply::Refused(refusal) => serde_json::to_value(refusal),
        };
        let facts = facts.map_err(|error| OrderError::NotNoted(error.to_string()))?;
        Ok(Answer { done, text, facts })
    }

    async fn releases(&self, app: AppName) -> Result<ReleasesView, OrderError> {
        let Some(known) = self.ports.board.releases(&app) else {
            return Err(OrderError::NotWatched(app));
        };
        let asked = self.ports.platform.releases(&app, LEDGER_SHOWN);
        let (ledger, unread) = match timeout(PATIENCE, asked).await {
            Ok(Ok(ledger)) => (ledger, None),
            Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
            Err(_) => (Vec::new(), Some("it took too long".to_owned())),
        };
        let mut releases = merge(known, &ledger);
        self.look_up(&app, &mut releases).await;
        Ok(ReleasesView { app, releases, ledger_unread: unread })
    }
}

impl TaskDesk {
    /// Says of each image whether it can still be pulled.
    async fn look_up(&self, app: &AppName, releases: &mut [ReleaseView]) {
        let copies = self.ports.board.app(app).map(|view| view.mirror).unwrap_or_default();
        let copies: BTreeMap<Digest, ImageRef> = copies
            .into_iter()
            .filter_map(|copy| Some((copy.release.digest, copy.reference?)))
            .collect();
        let copies = &copies;
        let mut images: BTreeMap<Digest, ImageRef> = BTreeMap::new();
        for release in releases.iter() {
            if let (Some(digest), Some(image)) = (&release.digest, &release.reference)
                && images.len() < LOOKED_UP_MAX
            {
                images.insert(digest.clone(), image.clone());
            }
        }
        let asked = images.into_iter().map(|(digest, image)| async move {
            let answer = timeout(PATIENCE, self.ports.registry.presence(&image)).await;
            let state = image_state(answer.as_ref().ok());
            let copy = copies.get(&digest).filter(|_| state == ImageState::Missing);
            let Some(copy) = copy else { return (digest, state) };
            let answer = timeout(PATIENCE, self.ports.registry.presence_in_mirror(copy)).await;
            (
                digest,
                match image_state(answer.as_ref().ok()) {
                    ImageState::Present => ImageState::Mirrored,
                    other => other,
                },
            )
        });
        let found: BTreeMap<Digest, ImageState> = join_all(asked).await.into_iter().collect();
        for release in releases {
            let state = release.digest.as_ref().and_then(|digest| found.get(digest));
            release.image_state = state.copied().unwrap_or(ImageState::Unknown);
        }
    }
}

fn image_state(answer: Option<&Result<ImagePresence, PlatformError>>) -> ImageState {
    match answer {
        Some(Ok(ImagePresence::Present)) => ImageState::Present,
        Some(Ok(ImagePresence::Missing)) => ImageState::Missing,
        Some(Err(_)) | None => ImageState::Unknown,
    }
}

/// What is known of releases, and the ledger's entries that nothing is known of; the newest first.
fn merge(known: Vec<ReleaseView>, ledger: &[Release]) -> Vec<ReleaseView> {
    let mut releases = known;
    for entry in ledger {
        let same = releases.iter_mut().find(|one| one.version == Some(entry.version));
        if let Some(same) = same {
            same.status = Some(entry.status.as_str().to_owned());
            same.author = entry.author.clone().or_else(|| same.author.take());
            same.created_at = Some(entry.created_at);
            continue;
        }
        let digest = entry.image.split_once('@').map(|(_, digest)| Digest::new(digest));
        let twin = releases.iter().find(|one| digest.is_some() && one.digest == digest).cloned();
        let mut view = twin.unwrap_or_else(|| ReleaseView::unknown(&entry.image, digest));
        view.version = Some(entry.version);
        view.author.clone_from(&entry.author);
        view.created_at = Some(entry.created_at);
        view.status = Some(entry.status.as_str().to_owned());
        // The release that earned something is the one that would be named.
        view.is_target = false;
        releases.push(view);
    }
    releases.sort_by_key(|one| std::cmp::Reverse(one.version));
    releases
}
