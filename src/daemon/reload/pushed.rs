//! What operators want with the configuration: to see it, to push another one, to go back to the image's.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::{Course, Reload, first, fixed, read, version};
use crate::{
    config::{
        self, Bundle, Fingerprint,
        shelf::{Label, NotShelved, Shelf},
    },
    model::EventKind,
    web::configuration::{
        ConfigDesk, ConfigError, ConfigView, Push, PushedView, VersionView, VersionsView, Which,
    },
};

/// Wishes that wait.
const WAITING_MAX: usize = 4;

type Answer<T> = oneshot::Sender<Result<T, ConfigError>>;

/// What is wanted, and whom to tell.
pub(crate) enum Wish {
    Read(Which, Answer<ConfigView>),
    Versions(Answer<VersionsView>),
    Push(Box<Push>, Answer<PushedView>),
    Reset(String, Answer<PushedView>),
}

pub(crate) type Wishes = mpsc::Receiver<Wish>;

/// Where wishes are handed in.
pub(crate) struct Counter(mpsc::Sender<Wish>);

/// A counter, and what is handed in there.
pub(crate) fn counter() -> (Counter, Wishes) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Counter(sender), receiver)
}

impl Counter {
    async fn ask<T>(&self, wish: impl FnOnce(Answer<T>) -> Wish) -> Result<T, ConfigError> {
        let (answer, answered) = oneshot::channel();
        // Nobody listens where the configuration comes from no files.
        self.0.send(wish(answer)).await.map_err(|_| ConfigError::NotKept)?;
        answered.await.map_err(|_| ConfigError::NoAnswer)?
    }
}

#[async_trait]
impl ConfigDesk for Counter {
    async fn read(&self, which: Which) -> Result<ConfigView, ConfigError> {
        self.ask(|answer| Wish::Read(which, answer)).await
    }

    async fn versions(&self) -> Result<VersionsView, ConfigError> {
        self.ask(Wish::Versions).await
    }

    async fn push(&self, push: Push) -> Result<PushedView, ConfigError> {
        self.ask(|answer| Wish::Push(Box::new(push), answer)).await
    }

    async fn reset(&self, by: String) -> Result<PushedView, ConfigError> {
        self.ask(|answer| Wish::Reset(by, answer)).await
    }
}

impl Reload {
    /// Does what is wanted. Who asked may have gone; then nobody is told.
    pub(super) async fn grant(&self, course: &mut Course, wish: Wish) {
        let heard = match wish {
            Wish::Read(which, answer) => answer.send(self.shown(course, which).await).is_ok(),
            Wish::Versions(answer) => answer.send(self.kept(course).await).is_ok(),
            Wish::Push(push, answer) => answer.send(self.pushed(course, *push).await).is_ok(),
            Wish::Reset(by, answer) => answer.send(self.reset(course, by).await).is_ok(),
        };
        if !heard {
            info!("who asked about the configuration did not wait for the answer");
        }
    }

    fn shelf(&self) -> Result<Shelf, ConfigError> {
        self.source.shelf.clone().ok_or(ConfigError::NotKept)
    }

    async fn shown(&self, course: &Course, which: Which) -> Result<ConfigView, ConfigError> {
        let (version, bundle) = match which {
            Which::InForce => (version(course), course.bundle.clone()),
            Which::Image => {
                let bundle = read(&self.source.image).await;
                let fingerprint = bundle.as_ref().map(|b| b.fingerprint()).unwrap_or_default();
                (VersionView { fingerprint, ..VersionView::default() }, bundle)
            }
            Which::Pushed(number) => {
                let shelf = self.shelf()?;
                let found = blocking(move || shelf.version(number)).await?;
                let found = found.map_err(|error| ConfigError::Unreadable(error.to_string()))?;
                let shelved = found.ok_or(ConfigError::Unknown(number))?;
                (VersionView::pushed(&shelved.label), read(&shelved.dir).await)
            }
        };
        let bundle = bundle.map_err(ConfigError::Unreadable)?;
        Ok(ConfigView { version, files: Bundle::clone(&bundle).into() })
    }

    async fn kept(&self, course: &Course) -> Result<VersionsView, ConfigError> {
        let labels = match self.source.shelf.clone() {
            None => Vec::new(),
            Some(shelf) => blocking(move || shelf.versions())
                .await?
                .map_err(|error| ConfigError::Unreadable(error.to_string()))?,
        };
        let pushed = labels.iter().map(VersionView::pushed).collect();
        Ok(VersionsView { in_force: version(course), pushed })
    }

    async fn pushed(&self, course: &mut Course, push: Push) -> Result<PushedView, ConfigError> {
        let shelf = self.shelf()?;
        let Push { bundle, by, note, instead_of } = push;
        let now = version(course);
        if instead_of.is_some_and(|fingerprint| fingerprint != now.fingerprint) {
            return Err(ConfigError::Changed(now));
        }
        let fingerprint = bundle.fingerprint();
        if fingerprint == now.fingerprint && course.label.is_some() {
            let policies = self.publish.borrow().policies.len();
            return Ok(PushedView { version: now, policies, changed: false });
        }
        let over = read(&self.source.image).await.ok().map(|bundle| bundle.fingerprint());
        let (old, at) = (self.publish.borrow().clone(), self.ports.clock.now());
        let environment = self.source.environment.clone();
        let text = note.clone();
        let label = move |number| Label { number, at, by, note: text, fingerprint, over };
        let shelved = blocking(move || {
            let put = shelf.put(&bundle, label, |name| environment(name), |new| fixed(&old, new));
            put.and_then(|(shelved, config)| {
                shelf.choose(Some(shelved.label.number)).map_err(NotShelved::Failed)?;
                if let Err(error) = shelf.trim() {
                    warn!("old configurations stay on the volume: {error}");
                }
                Ok((shelved, config, bundle))
            })
        });
        let (shelved, config, bundle) = shelved.await?.map_err(|why| match why {
            NotShelved::Wrong(errors) => {
                warn!("a pushed configuration is refused: {}", first(&errors));
                ConfigError::Wrong(errors.problems().to_vec())
            }
            NotShelved::Failed(error) => ConfigError::NotWritten(error.to_string()),
        })?;
        let why = if note.is_empty() { String::new() } else { format!(" ({note})") };
        let signed = format!("pushed by {}{why}", shelved.label.by);
        (course.dir, course.label) = (shelved.dir, Some(shelved.label));
        Ok(self.puts_in_force(course, config, Ok(Arc::new(bundle)), &signed).await)
    }

    async fn reset(&self, course: &mut Course, by: String) -> Result<PushedView, ConfigError> {
        let shelf = self.shelf()?;
        let policies = self.publish.borrow().policies.len();
        if course.label.is_none() && self.source.refused.is_none() {
            return Ok(PushedView { version: version(course), policies, changed: false });
        }
        let (image, environment) = (self.source.image.clone(), self.source.environment.clone());
        let loaded = blocking(move || config::load(&image, |name| environment(name))).await?;
        let config = loaded.map_err(|errors| ConfigError::Wrong(errors.problems().to_vec()))?;
        let against = fixed(&self.publish.borrow(), &config);
        if !against.is_empty() {
            return Err(ConfigError::Wrong(against));
        }
        let chosen = blocking(move || shelf.choose(None)).await?;
        chosen.map_err(|error| ConfigError::NotWritten(error.to_string()))?;
        (course.dir, course.label) = (self.source.image.clone(), None);
        let bundle = read(&course.dir).await;
        Ok(self.puts_in_force(course, config, bundle, &format!("wanted back by {by}")).await)
    }

    /// What was chosen on purpose is in force at once, and what it has not any more is gone.
    async fn puts_in_force(
        &self,
        course: &mut Course,
        config: config::Config,
        bundle: Result<Arc<Bundle>, String>,
        signed: &str,
    ) -> PushedView {
        let policies = config.policies.len();
        course.bundle = bundle;
        course.wanted = None;
        self.send(config);
        course.seen = self.look(&course.dir).await;
        let version = version(course);
        let many = if policies == 1 {
            "1 policy is".to_owned()
        } else {
            format!("{policies} policies are")
        };
        let text = format!("{}, {signed}: {many} in force", version.name());
        info!(event = EventKind::ConfigReloaded.as_str(), "{text}");
        self.ports.board.config_refused(false);
        self.note(course, EventKind::ConfigReloaded, text);
        self.show(course);
        PushedView { version, policies, changed: true }
    }

    /// Notices when the image's files are changed while something that was pushed is in force: whoever edits them
    /// waits for an effect.
    pub(super) async fn look_aside(&self, course: &mut Course) {
        let image = self.source.image.clone();
        if course.label.is_none() || image == course.dir {
            return;
        }
        // They need not be there.
        let Ok(Ok(now)) = spawn_blocking(move || Fingerprint::of(&image)).await else { return };
        if course.image_seen.as_ref() == Some(&now) {
            return;
        }
        course.image_seen = Some(now);
        self.set_aside(course).await;
    }

    /// Says, once for each, that the image brings another configuration than it did when the one in force was pushed.
    pub(super) async fn set_aside(&self, course: &mut Course) {
        let (Some(label), Ok(shelf)) = (course.label.clone(), self.shelf()) else { return };
        let Ok(image) = read(&self.source.image).await else { return };
        let image = image.fingerprint();
        if image == label.fingerprint || label.over.as_ref() == Some(&image) {
            return;
        }
        let text = format!(
            "the image brings another configuration ({}), which is not in force: configuration {}, pushed by {} \
             on {}, stands above it. `waveoff config diff --version image` shows what differs, `waveoff config \
             reset` puts the image's in force",
            self.source.image.display(),
            label.number,
            label.by,
            label.at.strftime("%Y-%m-%d")
        );
        warn!(event = EventKind::ConfigWarning.as_str(), "{text}");
        self.note(course, EventKind::ConfigWarning, text);
        match blocking(move || shelf.stands_over(&label, image)).await {
            Ok(Ok(label)) => course.label = Some(label),
            Ok(Err(error)) => warn!("that this was told is told again: {error}"),
            Err(error) => warn!("that this was told is told again: {error}"),
        }
    }
}

/// Does what waits for the disk aside.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConfigError> {
    spawn_blocking(work).await.map_err(|error| ConfigError::NotWritten(error.to_string()))
}
