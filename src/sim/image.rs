//! Images: how they behave on a machine, and what the registry has.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How an image behaves on a machine. Everything defaults to "well".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Seconds it takes to start, besides the fleet's.
    pub boot_s: f64,
    /// Share of requests answered with 500, from 0 to 1.
    pub error_share: f64,
    /// Share of requests that take `slow_ms` instead of 40 ms, from 0 to 1.
    pub slow_share: f64,
    pub slow_ms: f64,
    /// Seconds after its start at which the process dies with exit code 1, every time; 0: on boot.
    pub crash_after_s: Option<f64>,
    /// That death is the kernel's doing: out of memory.
    pub oom: bool,
    /// Its health checks fail.
    pub checks_fail: bool,
    /// Memory of the process when it starts, in bytes.
    pub memory_bytes: f64,
    /// Bytes of memory lost per second; at the machine's size the process is killed.
    pub leak_bytes_per_s: f64,
    /// Only in these regions; elsewhere it behaves well. Empty: everywhere.
    pub regions: Vec<String>,
    /// Seconds from the start of the process for which errors, slowness and failing checks wait.
    pub after_s: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            boot_s: 0.0,
            error_share: 0.0,
            slow_share: 0.0,
            slow_ms: 800.0,
            crash_after_s: None,
            oom: false,
            checks_fail: false,
            memory_bytes: 80e6,
            leak_bytes_per_s: 0.0,
            regions: Vec::new(),
            after_s: 0.0,
        }
    }
}

impl Behaviour {
    /// Fails this share of the requests.
    pub fn errors(share: f64) -> Self {
        Self { error_share: share, ..Self::default() }
    }

    /// Answers this share of the requests slowly.
    pub fn slow(share: f64) -> Self {
        Self { slow_share: share, ..Self::default() }
    }

    /// Dies so many seconds after every start.
    pub fn crashing(after_s: f64) -> Self {
        Self { crash_after_s: Some(after_s), ..Self::default() }
    }

    /// Fails its health checks.
    pub fn unhealthy() -> Self {
        Self { checks_fail: true, ..Self::default() }
    }

    /// The same, in these regions only.
    pub fn only_in(self, regions: &[&str]) -> Self {
        Self { regions: regions.iter().map(|&region| region.to_owned()).collect(), ..self }
    }

    /// How it behaves in a region.
    pub(super) fn in_region(&self, region: &str) -> Self {
        if self.regions.is_empty() || self.regions.iter().any(|name| name == region) {
            self.clone()
        } else {
            Self::default()
        }
    }

    /// What is wrong with the numbers, with the key.
    pub(super) fn problem(&self) -> Option<String> {
        for (key, share) in [("error_share", self.error_share), ("slow_share", self.slow_share)] {
            if !(0.0..=1.0).contains(&share) {
                return Some(format!("{key} = {share}: a share is between 0 and 1"));
            }
        }
        let amounts = [
            ("boot_s", self.boot_s),
            ("slow_ms", self.slow_ms),
            ("crash_after_s", self.crash_after_s.unwrap_or(0.0)),
            ("memory_bytes", self.memory_bytes),
            ("leak_bytes_per_s", self.leak_bytes_per_s),
            ("after_s", self.after_s),
        ];
        amounts
            .iter()
            .find(|(_, amount)| !amount.is_finite() || *amount < 0.0)
            .map(|(key, amount)| format!("{key} = {amount}: must not be negative"))
    }
}

/// `registry/repository[:tag][@digest]` in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Self {
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
pub(super) fn digest_of(reference: &str) -> String {
    let sum = Sha256::digest(reference.as_bytes());
    let hex: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Every image there is or was, and how it behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Images {
    /// `registry/repository:tag` → digest.
    tags: BTreeMap<String, String>,
    /// `registry/repository` and digest of what can be pulled.
    manifests: BTreeSet<(String, String)>,
    /// By digest; a machine goes on running an image that the registry lost.
    behaviour: BTreeMap<String, Behaviour>,
}

impl Images {
    /// Puts an image into the registry. A digest may be given; otherwise the reference makes one.
    pub(super) fn add(&mut self, reference: &str, digest: Option<&str>, behaviour: Behaviour) {
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
    pub(super) fn resolve(&self, reference: &str) -> Option<String> {
        let parsed = Reference::parse(reference);
        let digest = match (&parsed.digest, &parsed.tag) {
            (Some(digest), _) => digest.clone(),
            (None, Some(tag)) => self.tags.get(&format!("{}:{tag}", parsed.name()))?.clone(),
            (None, None) => self.tags.get(&format!("{}:latest", parsed.name()))?.clone(),
        };
        self.manifests.contains(&(parsed.name(), digest.clone())).then_some(digest)
    }

    /// Whether any repository has the digest.
    pub(super) fn has(&self, repository: &str, digest: &str) -> bool {
        self.manifests.contains(&(repository.to_owned(), digest.to_owned()))
    }

    /// Removes the image behind a reference from the registry: every tag of it, too.
    pub(super) fn remove(&mut self, reference: &str) -> bool {
        let Some(digest) = self.resolve(reference) else { return false };
        let name = Reference::parse(reference).name();
        let prefix = format!("{name}:");
        self.tags.retain(|tag, other| !(tag.starts_with(&prefix) && *other == digest));
        self.manifests.remove(&(name, digest))
    }

    pub(super) fn behaviour(&self, digest: Option<&str>) -> Behaviour {
        digest.and_then(|digest| self.behaviour.get(digest)).cloned().unwrap_or_default()
    }

    pub(super) fn set_behaviour(&mut self, digest: &str, behaviour: Behaviour) {
        self.behaviour.insert(digest.to_owned(), behaviour);
    }

    /// Every tag with its digest.
    pub(super) fn tags(&self) -> &BTreeMap<String, String> {
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
