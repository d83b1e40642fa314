//! Which image a machine runs. What the platform says of it comes first; where it leaves the digest
//! out, what else it says of that very image.

use serde::Deserialize;

use super::lenient;
use crate::model::{Digest, ImageRef, Machine};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireImage {
    #[serde(deserialize_with = "lenient::text")]
    registry: String,
    #[serde(deserialize_with = "lenient::text")]
    repository: String,
    #[serde(deserialize_with = "lenient::text")]
    tag: String,
    #[serde(deserialize_with = "lenient::text")]
    digest: String,
}

impl WireImage {
    fn image(&self) -> ImageRef {
        ImageRef {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag: Some(self.tag.clone()).filter(|tag| !tag.is_empty()),
            digest: digest(&self.digest),
        }
    }
}

/// Whether a text is a digest as registries define it; such a text is also safe in a URL.
fn is_digest(text: &str) -> bool {
    let encoded = |char: char| char.is_ascii_alphanumeric() || matches!(char, '=' | '_' | '-');
    let algorithm = |char: char| {
        char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '+' | '.' | '_' | '-')
    };
    text.split_once(':').is_some_and(|(kind, rest)| {
        !kind.is_empty()
            && !rest.is_empty()
            && kind.chars().all(algorithm)
            && rest.chars().all(encoded)
    })
}

fn digest(text: &str) -> Option<Digest> {
    Some(text).filter(|text| is_digest(text)).map(Digest::new)
}

/// The image of a machine: what it is said to run, and what its configuration asks for. A digest that
/// is not said is the configuration's, unless that names another image.
pub(super) fn of(said: Option<&WireImage>, configured: &str) -> ImageRef {
    let configured = named(configured);
    // Nothing may be said as an empty object, too.
    let Some(said) = said.map(WireImage::image).filter(|image| !image.repository.is_empty()) else {
        return configured;
    };
    if said.digest.is_some() {
        return said;
    }
    let is_same_tag = said.tag.is_none() || configured.tag.is_none() || said.tag == configured.tag;
    let is_same = is_same_repository(&said, &configured) && is_same_tag;
    ImageRef { digest: configured.digest.filter(|_| is_same), ..said }
}

/// Gives a machine without a digest that of the others which the same release put on the same tag, if
/// they agree: the tag alone may have moved between two releases.
pub(crate) fn complete(machine: &mut Machine, others: &[Machine]) {
    let image = &machine.image;
    if image.digest.is_some() || image.tag.is_none() || machine.release.is_none() {
        return;
    }
    let alike = |other: &&Machine| {
        other.release == machine.release
            && other.image.tag == image.tag
            && is_same_repository(&other.image, image)
    };
    let mut known = others.iter().filter(alike).filter_map(Machine::digest);
    let Some(first) = known.next() else { return };
    if known.all(|digest| digest == first) {
        machine.image.digest = Some(first.clone());
    }
}

fn is_same_repository(one: &ImageRef, other: &ImageRef) -> bool {
    one.registry == other.registry && one.repository == other.repository
}

/// The image a configuration asks for.
fn named(reference: &str) -> ImageRef {
    let (name, pinned) = reference.split_once('@').unwrap_or((reference, ""));
    let (registry, rest) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest),
        _ => ("", name),
    };
    let (repository, tag) = rest.split_once(':').unwrap_or((rest, ""));
    ImageRef {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: Some(tag.to_owned()).filter(|tag| !tag.is_empty()),
        digest: digest(pinned),
    }
}
