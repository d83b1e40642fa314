//! Looking for images in a real registry.

use waveoff::{
    model::ImageRef,
    ports::{ImagePresence, PlatformError, Registry as _},
};

use crate::registry::{INDEX, MANIFEST, Registry, TOKEN, client, digest_of, image};

#[tokio::test]
async fn an_image_is_there_until_it_is_deleted() {
    // Given an image, and a list of images that names it
    let registry = Registry::start().await;
    let fly = registry.client(TOKEN);
    let digest = registry.push("acme/web").await;
    let entry = format!(r#"{{"mediaType":"{MANIFEST}","size":298,"digest":"{digest}"}}"#);
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entry}]}}"#);
    let list = registry.push_manifest("acme/web", INDEX, index).await;
    // Then both are found by their digests
    assert_eq!(fly.presence(&image("acme/web", &digest)).await, Ok(ImagePresence::Present));
    assert_eq!(fly.presence(&image("acme/web", &list)).await, Ok(ImagePresence::Present));
    // And when one is deleted, it is gone and the other is not
    registry.delete("acme/web", &list).await;
    assert_eq!(fly.presence(&image("acme/web", &list)).await, Ok(ImagePresence::Missing));
    assert_eq!(fly.presence(&image("acme/web", &digest)).await, Ok(ImagePresence::Present));
}

#[tokio::test]
async fn what_was_never_pushed_is_missing() {
    let registry = Registry::start().await;
    let fly = registry.client(TOKEN);
    let digest = registry.push("web").await;
    let unknown = digest_of("never pushed");
    assert_eq!(fly.presence(&image("web", &unknown)).await, Ok(ImagePresence::Missing));
    assert_eq!(fly.presence(&image("other", &digest)).await, Ok(ImagePresence::Missing));
}

#[tokio::test]
async fn a_tag_is_the_image_that_it_names_now() {
    // Given two images, of which the second took the first one's name
    let registry = Registry::start().await;
    let fly = registry.client(TOKEN);
    let tagged = |tag: &str| ImageRef {
        tag: Some(tag.to_owned()),
        digest: None,
        ..image("web", &digest_of("whatever"))
    };
    let (first, second) =
        (registry.push("web").await, registry.push_image("web", "{ }", &[]).await);
    registry.tag("web", &first, "v41").await;
    assert_eq!(fly.resolve(&tagged("v41")).await, Ok(Some(first)));
    registry.tag("web", &second, "v41").await;
    assert_eq!(fly.resolve(&tagged("v41")).await, Ok(Some(second)));
    // A name that nobody gave is no image, and a refusal is no answer
    assert_eq!(fly.resolve(&tagged("v40")).await, Ok(None));
    let error = registry.client("another-token").resolve(&tagged("v41")).await;
    assert!(matches!(error, Err(PlatformError::Denied(_))), "{error:?}");
}

#[tokio::test]
async fn without_the_right_token_nothing_is_known() {
    let registry = Registry::start().await;
    let digest = registry.push("web").await;
    let error = registry.client("another-token").presence(&image("web", &digest)).await;
    assert!(matches!(error, Err(PlatformError::Denied(_))), "{error:?}");
    // Named by its address it is the platform's registry still; to a platform with another one it
    // is somebody else's, and gets no token.
    let named = ImageRef { registry: registry.name(), ..image("web", &digest) };
    assert_eq!(registry.client(TOKEN).presence(&named).await, Ok(ImagePresence::Present));
    let error = client(TOKEN, "http://127.0.0.1:9").presence(&named).await;
    assert!(matches!(error, Err(PlatformError::Denied(_))), "{error:?}");
}
