//! The API's way to the apps' tasks: operators' orders, and what is known of an app's releases.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{Orders, Ports, delivery, orders::holding};
use crate::{
    config::{Config, Receiver},
    model::{
        Act, AppName, Digest, Event, EventKind, ImageRef, Order, Reason, Refusal, Release, Reply,
        Signed, event::ReleaseInfo, name::Named,
    },
    notify::{Sender, text},
    ports::{DeliveryOutcome, ImagePresence, PlatformError},
    store::{OutboxEntry, Queued},
    web::{
        Desk, OrderError,
        operator::Answer,
        view::{ImageState, ReleaseStanding, ReleaseView, ReleasesView},
    },
};

/// Entries of the release ledger that are read, and images that are looked up.
const LEDGER_SHOWN: u32 = 25;
const LOOKED_UP_MAX: usize = 25;
/// How long the ledger, and each registry, may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a receiver may take that is tried out: less than who asks waits.
const TEST_PATIENCE: Duration = Duration::from_secs(8);

/// What the API gives orders to, and asks.
pub(super) struct TaskDesk {
    pub(super) orders: Arc<Orders>,
    pub(super) ports: Arc<Ports>,
    pub(super) config: watch::Receiver<Arc<Config>>,
    /// Wakes who empties the outbox.
    pub(super) mail: Arc<Notify>,
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
            Order::Unhold(_) => tracing::info!("{whom}: no longer held by an operator"),
            Order::Act { act, .. } => tracing::info!("{whom}: {}", act.word()),
        }
        if app.is_none() {
            ports.board.held(holding(Some(&order), now).cloned());
        }
        Ok(given)
    }

    async fn act(&self, app: AppName, act: Act, signed: Signed) -> Result<Answer, OrderError> {
        let (word, by) = (logged_as(&act), signed.by.clone());
        let is_asked_only = matches!(&act, Act::Rollback(wish) if wish.dry_run);
        let reply = match self.with_the_ledger(&app, act).await {
            Ok(act) => self.orders.act(&app, act, signed).await?,
            Err(refusal) => Reply::Refused(refusal),
        };
        let reply = self.without_undone(&app, reply);
        let text = match &reply {
            Reply::Done(effect) => text::effect(&app, effect),
            Reply::Refused(refusal) => text::refusal(&app, refusal),
        };
        let done = matches!(reply, Reply::Done(_));
        if is_asked_only {
            tracing::info!(app = %app, "{word} by {by}: {text}");
        } else if done {
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

    async fn resend(&self, receiver: &str, message: Option<&str>) -> Result<u64, OrderError> {
        let ports = &self.ports;
        let revived = ports.journal.revive(receiver, message, ports.clock.now()).await;
        let count = revived.map_err(|error| OrderError::NotNoted(error.to_string()))?;
        // What waits for one that is configured no more can still be revived.
        let config = self.config.borrow().clone();
        if count == 0 && !config.receivers.contains_key(receiver) {
            return Err(no_receiver(receiver, &config));
        }
        tracing::info!(receiver, "{count} messages that were given up are sent again");
        self.mail.notify_one();
        Ok(count)
    }

    async fn test(&self, receiver: &str, by: &str) -> Result<Result<(), String>, OrderError> {
        let config = self.config.borrow().clone();
        let Some(receiver) = config.receivers.get(receiver) else {
            return Err(no_receiver(receiver, &config));
        };
        tracing::info!(receiver = receiver.name, "a test message, ordered by {by}");
        let outcome = tried(receiver, &config, &self.ports, by).await;
        if outcome.is_ok() {
            self.ports.board.sent(&receiver.name, self.ports.clock.now(), Ok(()));
        }
        Ok(outcome)
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
        self.resolve_tags(&mut releases).await;
        self.look_up(&app, &mut releases).await;
        Ok(ReleasesView { app, releases, ledger_unread: unread })
    }
}

impl TaskDesk {
    fn without_undone(&self, app: &AppName, reply: Reply) -> Reply {
        let Reply::Refused(Refusal::NothingToGoBackTo { known }) = reply else { return reply };
        let releases = self.ports.board.releases(app).unwrap_or_default();
        Reply::Refused(Refusal::NothingToGoBackTo { known: not_undone(known, &releases) })
    }

    /// A person may go to any release of the ledger, also to one that nobody here ever saw run: then
    /// the registry says which image its tag is.
    async fn with_the_ledger(&self, app: &AppName, act: Act) -> Result<Act, Refusal> {
        let Act::Rollback(mut wish) = act else { return Ok(act) };
        let Some(text) = wish.to.clone() else { return Ok(Act::Rollback(wish)) };
        let known = self.ports.board.releases(app).unwrap_or_default();
        if known.iter().filter_map(named).any(|one| one.is_called(&text)) {
            return Ok(Act::Rollback(wish));
        }
        let asked = self.ports.platform.releases(app, LEDGER_SHOWN);
        let Ok(Ok(ledger)) = timeout(PATIENCE, asked).await else { return Ok(Act::Rollback(wish)) };
        // A tag can have been pushed again since: the newest release of it is the one that is left.
        let candidates = ledger.iter().filter_map(|entry| {
            let image = ImageRef::parse(&entry.image);
            let digest = image.digest.clone().unwrap_or_else(|| Digest::new(""));
            let release = ReleaseInfo {
                version: Some(entry.version),
                tag: image.tag.clone(),
                digest,
                author: entry.author.clone(),
                created_at: Some(entry.created_at),
            };
            let one = Named { release, image: Some(image) };
            one.is_called(&text).then_some(one)
        });
        let Some(mut found) = candidates.max_by_key(|one| one.release.version) else {
            return Ok(Act::Rollback(wish));
        };
        if let Some(image) = found.image.as_mut().filter(|image| image.digest.is_none()) {
            let answer = timeout(PATIENCE, self.ports.registry.resolve(image)).await;
            match answer {
                Ok(Ok(Some(digest))) => {
                    image.digest = Some(digest.clone());
                    found.release.digest = digest;
                }
                Ok(Ok(None)) => {
                    let image = image.reference();
                    return Err(Refusal::ImageGone { name: found.release.name(), image });
                }
                Ok(Err(error)) => {
                    return Err(Refusal::RegistrySilent { detail: error.to_string() });
                }
                Err(_) => {
                    let detail = format!("no answer in {} s", PATIENCE.as_secs());
                    return Err(Refusal::RegistrySilent { detail });
                }
            }
        }
        wish.in_ledger = Some(Box::new(found));
        Ok(Act::Rollback(wish))
    }

    /// Finds out which images tags of the ledger are that nothing else is known of.
    async fn resolve_tags(&self, releases: &mut [ReleaseView]) {
        let unknown = releases.iter_mut().filter(|one| one.digest.is_none()).take(LOOKED_UP_MAX);
        join_all(unknown.map(|release| async move {
            let image = ImageRef::parse(&release.image);
            match timeout(PATIENCE, self.ports.registry.resolve(&image)).await {
                Ok(Ok(Some(digest))) => {
                    release.reference = Some(ImageRef { digest: Some(digest.clone()), ..image });
                    release.digest = Some(digest);
                    release.image_state = ImageState::Present;
                }
                Ok(Ok(None)) => release.image_state = ImageState::Missing,
                Ok(Err(_)) | Err(_) => {}
            }
        }))
        .await;
    }

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
                && release.image_state == ImageState::Unknown
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
            if let Some(state) = state {
                release.image_state = *state;
            }
        }
    }
}

/// What an order is called in the log. Who only asks what a rollback would do is refused nothing.
fn logged_as(act: &Act) -> &'static str {
    match act {
        Act::Rollback(wish) if wish.dry_run => "dry run of a rollback",
        act => act.word(),
    }
}

/// Sends a message that says that it is a test, past the outbox and once.
async fn tried(
    receiver: &Receiver,
    config: &Config,
    ports: &Ports,
    by: &str,
) -> Result<(), String> {
    let now = ports.clock.now();
    let mut event = Event::new(EventKind::OperatorOrder, now, None);
    let text =
        format!("a test of the receiver {}, ordered by {by}: nothing happened", receiver.name);
    event.reason = Some(Reason::Told { text });
    let message_id = format!("test-{}-{}", receiver.name, now.as_millisecond());
    let queued = Queued {
        sequence: 0,
        entry: OutboxEntry { receiver: receiver.name.clone(), message_id, event },
        attempts: 0,
        queued_at: now,
    };
    let (sender, notifier) = (Sender::of(config), ports.notifier.as_ref());
    let sent = delivery::send(&queued, receiver, &sender, notifier, None, now);
    match timeout(TEST_PATIENCE, sent).await {
        Ok(DeliveryOutcome::Accepted) => Ok(()),
        Ok(
            DeliveryOutcome::Refused { reason }
            | DeliveryOutcome::Unfit { reason }
            | DeliveryOutcome::Retry { reason, .. },
        ) => Err(reason),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// As a person can name it; of a release without a known digest only its number and tag.
fn named(view: &ReleaseView) -> Option<Named> {
    let release = ReleaseInfo {
        version: view.version,
        tag: view.tag.clone(),
        digest: view.digest.clone()?,
        author: None,
        created_at: None,
    };
    Some(Named { release, image: view.reference.clone() })
}

fn image_state(answer: Option<&Result<ImagePresence, PlatformError>>) -> ImageState {
    match answer {
        Some(Ok(ImagePresence::Present)) => ImageState::Present,
        Some(Ok(ImagePresence::Missing)) => ImageState::Missing,
        Some(Err(_)) | None => ImageState::Unknown,
    }
}

fn no_receiver(name: &str, config: &Config) -> OrderError {
    let known = config.receivers.keys().cloned().collect();
    OrderError::NoReceiver { name: name.to_owned(), known }
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
        // The release that earned something, or that machines run, is the one that would be named.
        view.is_target = false;
        view.runs = false;
        releases.push(view);
    }
    releases.sort_by_key(|one| std::cmp::Reverse(one.version));
    releases
}

/// What was rolled back or quarantined is not proposed to be gone back to.
fn not_undone(mut known: Vec<ReleaseInfo>, releases: &[ReleaseView]) -> Vec<ReleaseInfo> {
    let undone: BTreeSet<&Digest> = releases
        .iter()
        .filter(|one| one.standing == ReleaseStanding::Quarantined)
        .filter_map(|one| one.digest.as_ref())
        .collect();
    known.retain(|one| !undone.contains(&one.digest));
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_undone_is_not_proposed_to_be_gone_back_to() {
        let release = |digest: &str| ReleaseInfo {
            version: None,
            tag: None,
            digest: digest.into(),
            author: None,
            created_at: None,
        };
        let view = |digest: &str, standing| ReleaseView {
            version: None,
            tag: None,
            digest: Some(digest.into()),
            image: String::new(),
            reference: None,
            author: None,
            created_at: None,
            status: None,
            standing,
            by: None,
            since: None,
            runs: false,
            pinned: false,
            is_target: false,
            image_state: ImageState::Unknown,
        };
        let releases = [
            view("sha256:42", ReleaseStanding::Quarantined),
            view("sha256:41", ReleaseStanding::Trusted),
        ];
        let known = vec![release("sha256:42"), release("sha256:41")];
        assert_eq!(not_undone(known, &releases), [release("sha256:41")]);
    }
}
