//! What an image consists of: its manifest, or its index with all its manifests, and their blobs.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Place, digest_of, presence, talk::Talk};
use crate::{fly::Answer, model::Digest, ports::PlatformError};

/// Longest manifest; registries take no longer ones either.
const MANIFEST_MAX: usize = 4 << 20;
/// All manifests of an image together: they are kept until they are written.
const MANIFESTS_MAX: usize = 8 << 20;
/// Manifests of an image: one for each platform, with its attestations.
const COUNT_MAX: usize = 200;
/// An index of indexes of manifests is the deepest that is read.
const DEPTH_MAX: usize = 3;
/// Blobs of an image.
const BLOBS_MAX: usize = 4000;

/// Kinds of manifests that are read.
const KINDS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// One manifest, byte by byte as it was read.
pub(super) struct Manifest {
    pub(super) digest: Digest,
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// A configuration or a layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// All that an image consists of.
#[derive(Default)]
pub(super) struct Contents {
    /// What is named comes before what names it: the image itself is the last one.
    pub(super) manifests: Vec<Manifest>,
    /// Each once, in the order in which they are named.
    pub(super) blobs: Vec<Blob>,
}

impl Contents {
    pub(super) fn size(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, blob| sum.saturating_add(blob.size))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireManifest {
    media_type: Option<String>,
    config: Option<WireDescriptor>,
    layers: Vec<WireDescriptor>,
    manifests: Vec<WireDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
}

impl WireDescriptor {
    /// Whether a registry does not hold the blob: it comes from elsewhere, by licence.
    fn is_foreign(&self) -> bool {
        self.media_type.contains(".nondistributable.") || self.media_type.contains(".foreign.")
    }
}

/// Reads all manifests of an image.
pub(super) async fn contents(talk: &Talk<'_>, image: &Digest) -> Answer<Contents> {
    let mut contents = Contents::default();
    let mut found = Vec::new();
    let mut bytes = 0;
    let (mut seen, mut blobs) = (BTreeSet::new(), BTreeSet::new());
    // What is still to be read, and how deep it lies.
    let mut wanted = vec![(checked(talk.place, image.as_str())?, 1)];
    while let Some((digest, depth)) = wanted.pop() {
        if !seen.insert(digest.clone()) {
            continue;
        }
        if seen.len() > COUNT_MAX {
            return Err(refused(talk.place, image, "it consists of too many manifests"));
        }
        let (manifest, wire) = read(talk, &digest).await?;
        bytes += manifest.text.len();
        if bytes > MANIFESTS_MAX {
            return Err(refused(talk.place, image, "its manifests are too long"));
        }
        let of_blobs = wire.config.iter().chain(&wire.layers).filter(|blob| !blob.is_foreign());
        for blob in of_blobs {
            let digest = checked(talk.place, &blob.digest)?;
            if blobs.insert(digest.clone()) {
                contents.blobs.push(Blob { digest, size: blob.size });
            }
        }
        if contents.blobs.len() > BLOBS_MAX {
            return Err(refused(talk.place, image, "it consists of too many blobs"));
        }
        if !wire.manifests.is_empty() && depth >= DEPTH_MAX {
            return Err(refused(talk.place, image, "its index lists indexes too deeply"));
        }
        for child in &wire.manifests {
            wanted.push((checked(talk.place, &child.digest)?, depth + 1));
        }
        found.push((!wire.manifests.is_empty(), std::cmp::Reverse(depth), manifest));
    }
    // Registries refuse what names something that is not there yet.
    found.sort_by_key(|(is_index, depth, _)| (*is_index, *depth));
    contents.manifests = found.into_iter().map(|(.., manifest)| manifest).collect();
    Ok(contents)
}

/// A digest of the kind that can be verified here.
fn checked(place: &Place, digest: &str) -> Answer<Digest> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if hex.len() == 64 && is_hex {
        return Ok(Digest::new(digest));
    }
    let digest = crate::fly::errors::excerpt(digest, 100);
    Err(PlatformError::Refused(format!("{}: {digest} is no SHA-256 digest", place.repository)))
}

fn refused(place: &Place, image: &Digest, what: &str) -> PlatformError {
    PlatformError::Refused(format!("image {} of {}: {what}", image.short(), place.repository))
}

async fn read(talk: &Talk<'_>, digest: &Digest) -> Answer<(Manifest, WireManifest)> {
    let heard = talk.ask(presence::manifest(talk.place, digest.as_str())).await?;
    let answer = heard.answer;
    if !answer.is_success() {
        if presence::is_unknown(&answer) {
            return Err(PlatformError::NotFound(format!(
                "{} has no manifest {} any more",
                talk.place.repository,
                digest.short()
            )));
        }
        return Err(talk.failure(&answer));
    }
    if answer.body.len() > MANIFEST_MAX {
        return Err(answer.unreadable("a manifest that is too long"));
    }
    if digest_of(&answer.body) != *digest {
        return Err(answer.unreadable("something else than the manifest of that digest"));
    }
    let wire: WireManifest = talk.fly.caller.decode(&answer)?;
    let said = answer.header("content-type").and_then(|kind| kind.split(';').next());
    let kind = wire.media_type.as_deref().or(said).unwrap_or_default().trim();
    let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else {
        return Err(answer.unreadable("a manifest of an old or unknown kind"));
    };
    let text = String::from_utf8(answer.body).unwrap_or_default();
    Ok((Manifest { digest: digest.clone(), kind, text }, wire))
}
