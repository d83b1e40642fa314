//! Images: what the registry has, and how what it had behaves.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::behaviour::{Behaviour, WELL};

/// `registry/repository[:tag][@digest]` in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Reference {
    pub(in crate::sim) registry: String,
    pub(in crate::sim) repository: String,
    pub(in crate::sim) tag: Option<String>,
    pub(in crate::sim) digest: Option<String>,
}

impl Reference {
    pub(in crate::sim) fn parse(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let (registry, rest) = name.split_once('/').unwrap_or(("", name));
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest }
    }

    fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// The digest that stands for a reference when nobody names one.
pub(in crate::sim) fn digest_of(reference: &str) -> String {
    let sum = Sha256::digest(reference.as_bytes());
    let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Bytes of every image, and how many of them a copy takes along at a time.
pub(in crate::sim) const IMAGE_SIZE: u64 = 40_000_000;
const PART: u64 = 10_000_000;

/// Every image there is or was, and how it behaves.
#[derive(Clone, Debug, Default)]
pub(in crate::sim) struct Images {
    /// `registry/repository:tag` → digest.
    tags: BTreeMap<String, String>,
    /// `registry/repository` and digest of what can be pulled.
    manifests: BTreeSet<(String, String)>,
    /// The same of what has come to a mirror in part: so many bytes.
    arriving: BTreeMap<(String, String), u64>,
    /// By digest; a machine goes on running an image that the registry lost.
    behaviour: BTreeMap<String, Behaviour>,
}

impl Images {
    /// Puts an image into the registry. A digest may be given; otherwise the reference makes one.
    pub(in crate::sim) fn add(
        &mut self,
        reference: &str,
        digest: Option<&str>,
        behaviour: Behaviour,
    ) {
        let parsed = Reference::parse(reference);
        let digest = digest
            .map(str::to_owned)
            .or(parsed.digest.clone())
            .unwrap_or_else(|| digest_of(reference));
        if let Some(tag) = &parsed.tag {
            self.tags.insert(format!("{}:{tag}", parsed.name()), digest.clone());
        }
        self.manifests.insert((parsed.name(), digest.clone()));
        self.behaviour.insert(digest, behaviour);
    }

    /// The digest of an image that can be pulled.
    pub(in crate::sim) fn resolve(&self, reference: &str) -> Option<String> {
        let parsed = Reference::parse(reference);
        let digest = match (&parsed.digest, &parsed.tag) {
            (Some(digest), _) => digest.clone(),
            (None, Some(tag)) => self.tags.get(&format!("{}:{tag}", parsed.name()))?.clone(),
            (None, None) => self.tags.get(&format!("{}:latest", parsed.name()))?.clone(),
        };
        self.manifests.contains(&(parsed.name(), digest.clone())).then_some(digest)
    }

    /// Whether any repository has the digest.
    pub(in crate::sim) fn has(&self, repository: &str, digest: &str) -> bool {
        self.manifests.contains(&(repository.to_owned(), digest.to_owned()))
    }

    /// Brings a part of an image from one repository to another, from where it stood: how much of it
    /// is there now. `None`: the source does not have it.
    pub(in crate::sim) fn copy_some(&mut self, from: &str, to: &str, digest: &str) -> Option<u64> {
        if self.has(to, digest) {
            return Some(IMAGE_SIZE);
        }
        if !self.has(from, digest) {
            return None;
        }
        let key = (to.to_owned(), digest.to_owned());
        let arrived = self.arriving.get(&key).copied().unwrap_or_default() + PART;
        if arrived < IMAGE_SIZE {
            self.arriving.insert(key, arrived);
        } else {
            self.arriving.remove(&key);
            self.manifests.insert(key);
        }
        Some(arrived)
    }

    /// Removes the image behind a reference from the registry: every tag of it, too.
    pub(in crate::sim) fn remove(&mut self, reference: &str) -> bool {
        let Some(digest) = self.resolve(reference) else { return false };
        let name = Reference::parse(reference).name();
        let prefix = format!("{name}:");
        self.tags.retain(|tag, other| !(tag.starts_with(&prefix) && *other == digest));
        self.manifests.remove(&(name, digest))
    }

    pub(in crate::sim) fn behaviour(&self, digest: Option<&str>) -> &Behaviour {
        digest.and_then(|digest| self.behaviour.get(digest)).unwrap_or(&WELL)
    }

    pub(in crate::sim) fn set_behaviour(&mut self, digest: &str, behaviour: Behaviour) {
        self.behaviour.insert(digest.to_owned(), behaviour);
    }

    /// Every tag with its digest.
    pub(in crate::sim) fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_tag_and_by_digest_until_it_is_removed() {
        let mut images = Images::default();
        images.add("registry.fly.io/web:v1", None, Behaviour::default());
        let digest = images.resolve("registry.fly.io/web:v1").unwrap();
        assert_eq!(digest.len(), "sha256:".len() + 64);
        let pinned = format!("registry.fly.io/web:v1@{digest}");
        assert_eq!(images.resolve(&pinned).as_ref(), Some(&digest));
        assert_eq!(images.resolve("registry.fly.io/api:v1"), None);
        assert_eq!(images.resolve(&format!("registry.fly.io/api@{digest}")), None);
        assert!(images.remove("registry.fly.io/web:v1"));
        assert_eq!(images.resolve(&pinned), None);
    }
}
