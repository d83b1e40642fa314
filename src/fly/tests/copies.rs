//! Copies of images between two registries that answer from a script: what a real one cannot be
//! brought to do. `tests/platform` copies between real ones.

use super::{super::registry::digest_of, *};
use crate::model::Digest;

const BLOB: &str = "abcdefghijklmnopqrstuvwxyz";
const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest of one blob.
fn manifest() -> String {
    let digest = digest_of(BLOB.as_bytes());
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{KIND}","config":{{"mediaType":"x","size":26,"digest":"{digest}"}},"layers":[]}}"#
    )
}

struct Copying {
    fly: Fly,
    source: Arc<Script>,
    mirror: Arc<Script>,
    _mirrors_own: Fly,
    image: ImageRef,
    copy: ImageRef,
}

/// An image whose manifest is this text, and a mirror.
async fn copying(
    manifest: &str,
    of_source: impl IntoIterator<Item = Reply>,
    of_mirror: impl IntoIterator<Item = Reply>,
) -> Copying {
    let digest = digest_of(manifest.as_bytes());
    let first = reply(200, manifest).with("content-type", KIND);
    let (fly, source) = platform(std::iter::once(first).chain(of_source)).await;
    let (mirrors_own, mirror) = platform(of_mirror).await;
    let base = &mirrors_own.bases.registry;
    let host = format!("{}:{}", base.host_str().unwrap(), base.port().unwrap());
    let at = |registry: &str, repository: &str| ImageRef {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: None,
        digest: Some(digest.clone()),
    };
    let (image, copy) = (at("registry.fly.io", "web"), at(&host, "acme/web"));
    Copying { fly, source, mirror, _mirrors_own: mirrors_own, image, copy }
}

impl Copying {
    async fn copy(&self) -> Result<(), CopyError> {
        self.fly.copy(&self.image, &self.copy, &|_| {}).await
    }

    /// The source was asked for a manifest, and the mirror for nothing but whether it has it.
    async fn is_refused(&self, why: &str) {
        let error = self.copy().await.unwrap_err();
        assert_eq!(error.side, crate::ports::CopySide::Source);
        assert!(error.to_string().contains(why), "{error}");
        assert!(self.mirror.lines().iter().all(|line| line.starts_with("HEAD ")));
    }
}

fn uploading(to: &str) -> Reply {
    reply(202, "").with("location", to)
}

fn there(digest: &Digest) -> Reply {
    reply(200, "").with("docker-content-digest", digest.as_str())
}

#[tokio::test]
async fn what_arrived_of_a_segment_that_broke_is_not_sent_again() {
    // Given a mirror that fails in the middle of a segment, and says that it has ten bytes of it
    let manifest = manifest();
    let copying = copying(
        &manifest,
        [reply(200, BLOB), reply(200, BLOB)],
        [
            reply(404, ""),
            reply(404, ""),
            uploading("/up/1"),
            reply(500, ""),
            reply(404, ""),
            reply(204, "").with("range", "0-9").with("location", "/up/2"),
            uploading("/up/3").with("range", "0-25"),
            reply(201, ""),
            reply(201, ""),
            there(&digest_of(manifest.as_bytes())),
        ],
    )
    .await;
    // When the image is copied
    assert_eq!(copying.copy().await, Ok(()));
    // Then the rest is sent, where the registry said
    let asked = copying.mirror.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(lines[5..7], ["GET /up/1", "PATCH /up/2"]);
    assert_eq!(asked[3].header("content-range"), "0-25");
    assert_eq!(asked[6].header("content-range"), "10-25");
    assert_eq!((asked[6].body.as_str(), asked[6].header("content-length")), (&BLOB[10..], "16"));
    let end =
        format!("PUT /up/3?digest={}", digest_of(BLOB.as_bytes()).as_str().replace(':', "%3A"));
    assert_eq!(lines[7], end);
    assert_eq!(
        (asked[8].body.as_str(), asked[8].header("content-type")),
        (manifest.as_str(), KIND)
    );
    // And the source was told who asks, and the mirror was not told that
    let asked_source = copying.source.asked();
    assert!(asked_source.iter().all(|asked| asked.header("authorization").starts_with("Basic ")));
    assert!(asked.iter().all(|asked| asked.header("authorization").is_empty()));
}

#[tokio::test]
async fn bytes_that_are_others_never_become_a_blob() {
    let swapped = BLOB.replace('a', "A");
    let copying = copying(
        &manifest(),
        [reply(200, swapped)],
        [reply(404, ""), reply(404, ""), uploading("/up/1"), uploading("/up/2")],
    )
    .await;
    let error = copying.copy().await.unwrap_err();
    assert!(error.to_string().contains("its bytes are others"), "{error}");
    assert!(copying.mirror.lines().iter().all(|line| !line.starts_with("PUT ")));
}

#[tokio::test]
async fn a_manifest_that_is_another_or_none_is_not_copied() {
    let is_there_not = || [reply(404, "")];
    let asked_for = manifest();
    // Another text than that of the digest.
    let other = copying(&asked_for, [], is_there_not()).await;
    other.source.replies.lock().unwrap()[0].body.push(' ');
    other.is_refused("something else than the manifest of that digest").await;
    for (text, why) in [
        (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "an old or unknown kind"),
        (asked_for.replace("sha256:", "sha512:"), "no SHA-256 digest"),
        (asked_for.replace(r#""digest":"sha256:"#, r#""digest":"../../x"#), "no SHA-256 digest"),
        (format!("{asked_for}{}", " ".repeat(5 << 20)), "a manifest that is too long"),
    ] {
        let copying = copying(&text, [], is_there_not()).await;
        let plain = reply(200, text).with("content-type", "text/plain");
        copying.source.replies.lock().unwrap()[0] = plain;
        copying.is_refused(why).await;
    }
}

#[tokio::test]
async fn an_index_is_read_only_so_deep() {
    // Given indexes that list indexes, and so on.
    let kind = "application/vnd.oci.image.index.v1+json";
    let mut text = manifest();
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(text.clone());
        let digest = digest_of(text.as_bytes());
        text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"size":1,"digest":"{digest}"}}]}}"#
        );
    }
    let below = texts.into_iter().rev().map(|text| reply(200, text));
    let copying = copying(&text, below, [reply(404, "")]).await;
    copying.is_refused("lists indexes too deeply").await;
}

#[tokio::test]
async fn an_upload_leads_to_no_place_in_the_open() {
    for to in ["http://example.test/up", "ftp://example.test/up", "https://me:word@example.test/"] {
        let of_mirror = [reply(404, ""), reply(404, ""), uploading(to)];
        let copying = copying(&manifest(), [reply(200, BLOB)], of_mirror).await;
        let error = copying.copy().await.unwrap_err();
        assert!(error.to_string().contains("no place with TLS to upload to"), "{error}");
    }
}

#[tokio::test]
async fn a_mirror_that_lost_what_it_took_is_found_out() {
    let manifest = manifest();
    let of_mirror = [
        reply(404, ""),
        reply(404, ""),
        uploading("/up/1"),
        uploading("/up/2"),
        reply(201, ""),
        reply(201, ""),
        reply(404, ""),
    ];
    let copying = copying(&manifest, [reply(200, BLOB)], of_mirror).await;
    let error = copying.copy().await.unwrap_err();
    assert!(error.to_string().contains("does not have it"), "{error}");
}
