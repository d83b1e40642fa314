//! Copying images from one real registry to another.

use std::sync::Mutex;

use serde_json::json;
use waveoff::{
    fly::Fly,
    model::{Digest, ImageRef},
    ports::{CopyError, CopyProgress, CopySide, ImagePresence, PlatformError, Registry as _},
};

use crate::{
    front::{Front, Ways},
    registry::{INDEX, MANIFEST, Registry, TOKEN, client, digest_of, image},
};

/// More than is sent at once.
const LONG: usize = 20 << 20;

/// Bytes that nobody can guess, and that are the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// `acme/api` in the mirror.
fn mirrored(registry: &str, digest: &Digest) -> ImageRef {
    ImageRef {
        registry: registry.to_owned(),
        repository: "acme/api".to_owned(),
        tag: Some("v41".to_owned()),
        digest: Some(digest.clone()),
    }
}

/// Copies; how far it was, each time it said so.
async fn copy(
    fly: &Fly,
    digest: &Digest,
    mirror: &str,
) -> (Result<(), CopyError>, Vec<CopyProgress>) {
    let said = Mutex::new(Vec::new());
    let note = |progress| said.lock().unwrap().push(progress);
    let copied = fly.copy(&image("api", digest), &mirrored(mirror, digest), &note).await;
    (copied, said.into_inner().unwrap())
}

async fn is_whole(mirror: &Registry, digest: &Digest, layers: &[&[u8]]) {
    let (status, manifest) = mirror.get("acme/api", &format!("manifests/{digest}")).await;
    assert_eq!((status.as_u16(), digest_of(manifest)), (200, digest.clone()));
    for layer in layers {
        let digest = digest_of(layer);
        let (status, bytes) = mirror.get("acme/api", &format!("blobs/{digest}")).await;
        assert_eq!((status.as_u16(), digest_of(bytes)), (200, digest));
    }
}

#[tokio::test]
async fn an_image_for_several_platforms_is_copied_whole() {
    // Given an index of two images that share a layer, in a registry that wants our token
    let (source, mirror) = (Registry::start().await, Registry::start().await);
    let (shared, one, other) = (noise(1, 3 << 20), noise(2, LONG), noise(3, 0));
    let amd = source.push_image("api", r#"{"a":1}"#, &[&shared, &one]).await;
    let arm = source.push_image("api", r#"{"a":2}"#, &[&shared, &other]).await;
    let entry = |digest: &Digest| json!({"mediaType": MANIFEST, "size": 1, "digest": digest});
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry(&amd), entry(&arm)],
    });
    let index = source.push_manifest("api", INDEX, index.to_string()).await;
    let fly = source.client(TOKEN);
    let there = mirrored(&mirror.name(), &index);
    assert_eq!(fly.presence_in_mirror(&there).await, Ok(ImagePresence::Missing));

    // When it is copied
    let (copied, said) = copy(&fly, &index, &mirror.name()).await;
    assert_eq!(copied, Ok(()));

    // Then every part of it is there, byte by byte, by its digest and by a tag
    is_whole(&mirror, &index, &[&shared, &one, &other]).await;
    is_whole(&mirror, &amd, &[]).await;
    is_whole(&mirror, &arm, &[]).await;
    assert_eq!(fly.presence_in_mirror(&there).await, Ok(ImagePresence::Present));
    assert_eq!(mirror.get("acme/api", "manifests/v41").await.0.as_u16(), 200);
    // And it was said how far it was, up to the end
    let of = u64::try_from(shared.len() + one.len() + 14).unwrap();
    assert_eq!(said.first(), Some(&CopyProgress { done: 0, of }));
    assert_eq!(said.last(), Some(&CopyProgress { done: of, of }));
    assert!(said.is_sorted_by_key(|progress| progress.done), "{said:?}");
    // And what is there is not copied again
    let (copied, said) = copy(&fly, &index, &mirror.name()).await;
    assert_eq!((copied, said.len()), (Ok(()), 0));
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_acknowledged() {
    let (source, mirror) = (Registry::start().await, Registry::open().await);
    let layer = noise(4, LONG);
    let digest = source.push_image("api", "{}", &[&layer]).await;
    // Given a mirror that is not to be had for the second segment
    let refuses_at = Some(1 << 20);
    let front = Front::of(&mirror, Ways { refuses_at, ..Ways::default() }).await;
    // When the image is copied
    let (copied, _) = copy(&source.client(TOKEN), &digest, &front.name()).await;
    // Then it arrives, and what was acknowledged was not sent again
    assert_eq!(copied, Ok(()));
    assert!(front.broke());
    is_whole(&mirror, &digest, &[&layer]).await;
    let twice = front.sent() - u64::try_from(LONG).unwrap();
    assert!(twice < 1 << 20, "{twice} bytes were sent twice");
    assert_eq!(front.asked("POST"), 2, "an upload for the layer, one for the configuration");
}

#[tokio::test]
async fn an_upload_that_the_registry_gave_up_is_begun_anew() {
    let (source, mirror) = (Registry::start().await, Registry::open().await);
    let layer = noise(10, LONG);
    let digest = source.push_image("api", "{}", &[&layer]).await;
    // Given a connection that breaks in the middle of a segment: this registry then has a part of it
    // and takes no other
    let front = Front::of(&mirror, Ways { breaks_at: Some(18 << 20), ..Ways::default() }).await;
    // When the image is copied, then it arrives all the same
    let (copied, _) = copy(&source.client(TOKEN), &digest, &front.name()).await;
    assert_eq!(copied, Ok(()));
    assert!(front.broke());
    is_whole(&mirror, &digest, &[&layer]).await;
}

#[tokio::test]
async fn a_source_that_breaks_off_is_read_on_where_it_was() {
    let (source, mirror) = (Registry::open().await, Registry::open().await);
    let layer = noise(11, LONG);
    let digest = source.push_image("api", "{}", &[&layer]).await;
    // Given a source whose connection breaks in the middle of a layer
    let here = Front::of(&source, Ways { stalls_at: Some(5 << 20), ..Ways::default() }).await;
    let there = Front::of(&mirror, Ways::default()).await;
    // When the image is copied
    let (copied, _) = copy(&client(TOKEN, &here.url), &digest, &there.name()).await;
    // Then it arrives, and nothing was sent twice
    assert_eq!(copied, Ok(()));
    assert!(here.broke());
    is_whole(&mirror, &digest, &[&layer]).await;
    let twice = there.sent() - u64::try_from(LONG).unwrap();
    assert!(twice < 1 << 20, "{twice} bytes were sent twice");
}

#[tokio::test]
async fn a_copy_that_was_left_half_way_sends_no_blob_again() {
    let (source, mirror) = (Registry::start().await, Registry::open().await);
    let layers = [noise(5, 2 << 20), noise(6, LONG)];
    let digest = source.push_image("api", "{}", &[&layers[0], &layers[1]]).await;
    let front = Front::of(&mirror, Ways::default()).await;
    let fly = source.client(TOKEN);
    // Given a daemon that ends while the second layer is on its way
    let (here, there) = (image("api", &digest), mirrored(&front.name(), &digest));
    let (half, reached) = tokio::sync::oneshot::channel();
    let half = Mutex::new(Some(half));
    let note = |progress: CopyProgress| {
        if progress.done > 6 << 20
            && let Some(half) = half.lock().unwrap().take()
        {
            half.send(()).unwrap();
        }
    };
    tokio::select! {
        copied = fly.copy(&here, &there, &note) => panic!("it should not have ended: {copied:?}"),
        _ = reached => {}
    }
    let before = front.sent();
    // When another one copies the image
    let (copied, said) = copy(&source.client(TOKEN), &digest, &front.name()).await;
    // Then only what was not there is sent
    assert_eq!(copied, Ok(()));
    is_whole(&mirror, &digest, &[&layers[0], &layers[1]]).await;
    let sent = front.sent() - before;
    assert!(sent < u64::try_from(LONG + (1 << 20)).unwrap(), "{sent} bytes");
    assert!(said.iter().any(|progress| progress.done == (2 << 20) + 2), "the first is counted");
}

#[tokio::test]
async fn inside_one_registry_blobs_are_only_named_anew() {
    let registry = Registry::start().await;
    let layer = noise(7, LONG);
    let digest = registry.push_image("api", "{}", &[&layer]).await;
    // Given a platform whose registry is the mirror as well, behind one front
    let front = Front::of(&registry, Ways::default()).await;
    let fly = client(TOKEN, &front.url);
    // When the image is copied
    let (copied, _) = copy(&fly, &digest, &front.name()).await;
    // Then it is there, and only its manifest was sent
    assert_eq!(copied, Ok(()));
    is_whole(&registry, &digest, &[&layer]).await;
    assert!(front.sent() < 10_000, "{} bytes", front.sent());
    assert_eq!(front.asked("PATCH"), 0);
}

#[tokio::test]
async fn tokens_are_bought_for_writing_and_redirects_of_blobs_are_followed() {
    // Given a source that sends readers elsewhere, and a mirror that wants tokens
    let (source, mirror) = (Registry::open().await, Registry::open().await);
    let layer = noise(8, 1 << 20);
    let digest = source.push_image("api", "{}", &[&layer]).await;
    let ways = Ways { sends_on: true, wants_tokens: true, ..Ways::default() };
    let here = Front::of(&source, ways).await;
    let there = Front::of(&mirror, Ways { wants_tokens: true, ..Ways::default() }).await;
    // When the image is copied
    let (copied, _) = copy(&client(TOKEN, &here.url), &digest, &there.name()).await;
    // Then it arrives, for few tokens
    assert_eq!(copied, Ok(()));
    is_whole(&mirror, &digest, &[&layer]).await;
    assert!(here.asked("GET /v2/api/blobs/") == 2 && there.asked("GET /token") <= 4);
}

#[tokio::test]
async fn a_registry_without_segments_is_sent_whole_blobs() {
    let (source, mirror) = (Registry::start().await, Registry::open().await);
    let layer = noise(9, LONG);
    let digest = source.push_image("api", "{}", &[&layer]).await;
    let front = Front::of(&mirror, Ways { takes_no_segments: true, ..Ways::default() }).await;
    let (copied, _) = copy(&source.client(TOKEN), &digest, &front.name()).await;
    assert_eq!(copied, Ok(()));
    is_whole(&mirror, &digest, &[&layer]).await;
}

#[tokio::test]
async fn what_fails_says_at_which_end() {
    let (source, mirror) = (Registry::start().await, Registry::start().await);
    let fly = source.client(TOKEN);
    // An image that is gone
    let gone = digest_of("gone");
    let (copied, _) = copy(&fly, &gone, &mirror.name()).await;
    let error = copied.unwrap_err();
    assert_eq!(error.side, CopySide::Source);
    assert!(matches!(error.error, PlatformError::NotFound(_)), "{error:?}");
    // A token that the platform's registry refuses
    let digest = source.push_image("api", "{}", &[]).await;
    let (copied, _) = copy(&source.client("another-token"), &digest, &mirror.name()).await;
    let error = copied.unwrap_err();
    assert_eq!(error.side, CopySide::Source);
    assert!(matches!(error.error, PlatformError::Denied(_)), "{error:?}");
    // A mirror that is not there
    let (copied, _) = copy(&fly, &digest, "127.0.0.1:9").await;
    let error = copied.unwrap_err();
    assert_eq!(error.side, CopySide::Mirror);
    assert!(error.error.is_transient(), "{error:?}");
}
