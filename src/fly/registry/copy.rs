//! Copies an image to the mirror: what is not there yet, blob by blob, then the manifests, the image
//! itself last. An image whose manifest is there is there whole.

use super::{
    Login, Place, manifest,
    manifest::{Blob, Manifest},
    place, presence,
    talk::{REDIRECTS, Talk},
    upload,
};
use crate::{
    fly::{
        Answer, Fly,
        http::{Call, Patience},
        limits::Action,
    },
    model::{Digest, ImageRef},
    ports::{CopyError, CopyProgress, CopySide, ImagePresence, PlatformError},
};
use reqwest::Method;

/// Attempts at one blob that bring it no further.
const FUTILE_MAX: u32 = 4;

fn source(error: PlatformError) -> CopyError {
    CopyError { side: CopySide::Source, error }
}

fn mirror(error: PlatformError) -> CopyError {
    CopyError { side: CopySide::Mirror, error }
}

/// Where a copy goes from and to.
pub(super) struct Ends<'a> {
    pub(super) from: Talk<'a>,
    pub(super) to: Talk<'a>,
}

/// Copies an image.
pub(in crate::fly) async fn copy(
    fly: &Fly,
    from: &ImageRef,
    to: &ImageRef,
    progress: &(dyn Fn(CopyProgress) + Send + Sync),
) -> Result<(), CopyError> {
    let (here, digest) = place(fly, from, Login::Nobody).map_err(source)?;
    let (there, _) = place(fly, to, Login::Mirror).map_err(mirror)?;
    if presence::presence(fly, &there, &digest).await.map_err(mirror)? == ImagePresence::Present {
        return Ok(());
    }
    let is_one = here.base.origin() == there.base.origin();
    // Inside one registry what is there is only to be named anew, and the one who asks has to be
    // known at both ends.
    let here = if is_one { Place { login: there.login, ..here } } else { here };
    let mut scopes = vec![format!("repository:{}:pull,push", there.repository)];
    if is_one {
        scopes.push(format!("repository:{}:pull", here.repository));
    }
    let ends = Ends { from: Talk::new(fly, &here, Vec::new()), to: Talk::new(fly, &there, scopes) };
    let contents = manifest::contents(&ends.from, &digest).await.map_err(source)?;
    let mut progress =
        Progress { now: CopyProgress { done: 0, of: contents.size() }, tell: progress };
    progress.tell();
    for blob in &contents.blobs {
        let before = progress.now.done;
        copy_blob(&ends, blob, is_one, &mut progress).await?;
        progress.now.done = before.saturating_add(blob.size);
        progress.tell();
    }
    let (image, parts) = contents.manifests.split_last().ok_or_else(|| {
        source(PlatformError::Unreadable("an image without a manifest".to_owned()))
    })?;
    for part in parts {
        write(&ends.to, part, part.digest.as_str()).await.map_err(mirror)?;
    }
    // A name keeps it from being swept up with what has none.
    let name = to.tag.as_deref().unwrap_or(image.digest.as_str());
    write(&ends.to, image, name).await.map_err(mirror)?;
    match presence::presence(fly, &there, &digest).await.map_err(mirror)? {
        ImagePresence::Present => Ok(()),
        ImagePresence::Missing => Err(mirror(PlatformError::Unreadable(format!(
            "{} took the image {} and does not have it",
            there.repository,
            digest.short()
        )))),
    }
}

/// Bytes that arrived, and whoever wants to know.
pub(super) struct Progress<'a> {
    now: CopyProgress,
    tell: &'a (dyn Fn(CopyProgress) + Send + Sync),
}

impl Progress<'_> {
    fn tell(&self) {
        (self.tell)(self.now);
    }

    /// More bytes of the blob at hand were taken.
    pub(super) fn add(&mut self, bytes: u64) {
        self.now.done = self.now.done.saturating_add(bytes).min(self.now.of);
        self.tell();
    }
}

async fn copy_blob(
    ends: &Ends<'_>,
    blob: &Blob,
    is_one: bool,
    progress: &mut Progress<'_>,
) -> Result<(), CopyError> {
    if has(&ends.to, &blob.digest).await.map_err(mirror)? {
        return Ok(());
    }
    let mount = is_one.then_some(ends.from.place.repository.as_str());
    let begun = upload::begin(&ends.to, &blob.digest, mount).await.map_err(mirror)?;
    let Some(mut upload) = begun else { return Ok(()) };
    let (mut futile, others) = (0, progress.now.done);
    loop {
        let before = upload.received();
        progress.now.done = others.saturating_add(before);
        let error = match upload.go_on(ends, blob, progress).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        futile = if upload.received() > before { 0 } else { futile + 1 };
        if !error.error.is_transient() || futile >= FUTILE_MAX {
            return Err(error);
        }
        tracing::debug!("blob {}: going on: {error}", blob.digest.short());
        tokio::time::sleep(ends.to.fly.caller.pause(futile)).await;
        // The registry may have taken the last of it without our hearing so.
        if has(&ends.to, &blob.digest).await.map_err(mirror)? {
            return Ok(());
        }
        if !upload.look(&ends.to).await {
            let begun = upload::begin(&ends.to, &blob.digest, None).await.map_err(mirror)?;
            let Some(anew) = begun else { return Ok(()) };
            upload = anew;
        }
    }
}

async fn has(talk: &Talk<'_>, digest: &Digest) -> Answer<bool> {
    let call = Call {
        method: Method::HEAD,
        answers: &[301, 302, 303, 307, 308, 401, 403, 404, 405],
        accept: "*/*",
        ..Call::get(
            Action::Blob,
            talk.place.repository.as_str(),
            talk.place.url(&["blobs", digest.as_str()]),
        )
    };
    let heard = talk.ask(call).await?;
    match heard.answer.status {
        _ if heard.answer.is_success() => Ok(true),
        // Sent to a store that does not take HEAD: the registry would not send us for nothing.
        403 | 405 if heard.redirected => Ok(true),
        404 | 405 => Ok(false),
        _ => Err(talk.failure(&heard.answer)),
    }
}

async fn write(talk: &Talk<'_>, manifest: &Manifest, name: &str) -> Answer<()> {
    const ANSWERS: &[u16] = &[301, 302, 303, 307, 308, 401];
    debug_assert!(REDIRECTS.iter().all(|status| ANSWERS.contains(status)));
    let call = Call {
        method: Method::PUT,
        body: Some(manifest.text.clone()),
        extra: vec![("content-type", manifest.kind.to_owned())],
        answers: ANSWERS,
        patience: Patience::seconds(60, 180),
        ..Call::get(
            Action::Manifest,
            talk.place.repository.as_str(),
            talk.place.url(&["manifests", name]),
        )
    };
    let answer = talk.ask(call).await?.answer;
    if !answer.is_success() {
        return Err(talk.failure(&answer));
    }
    match answer.header("docker-content-digest") {
        Some(other) if other != manifest.digest.as_str() => {
            Err(answer.unreadable("another digest than that of the manifest"))
        }
        Some(_) | None => Ok(()),
    }
}
