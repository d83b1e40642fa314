//! Image registries: whether an image is there, and copying one to a mirror.
//!
//! Our token goes to the platform's own registry and nowhere else, and the mirror's credentials to
//! the mirror. Other registries are asked without a name, through the anonymous tokens that most of
//! them want even for public images.

mod challenge;
mod copy;
mod manifest;
mod presence;
mod talk;
mod upload;

use reqwest::{Url, header::HeaderValue};
use sha2::{Digest as _, Sha256};

use super::{Answer, Fly, below, settings::registry_base};
use crate::{
    model::{Digest, ImageRef},
    ports::{ImagePresence, PlatformError},
};

/// The registry as images name it, wherever it is looked up.
const OWN_REGISTRY: &str = "registry.fly.io";
/// What may stand behind a digest: manifests and lists of them, of either kind.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Looks an image up by its digest.
pub(super) async fn presence(fly: &Fly, image: &ImageRef) -> Answer<ImagePresence> {
    let (place, digest) = place(fly, image, Login::Nobody)?;
    presence::presence(fly, &place, &digest).await
}

/// The image that a tag names now.
pub(super) async fn resolve(fly: &Fly, image: &ImageRef) -> Answer<Option<Digest>> {
    let place = repository(fly, image, Login::Nobody)?;
    presence::resolve(fly, &place, image.tag.as_deref().unwrap_or("latest")).await
}

/// Looks an image up in the mirror.
pub(super) async fn presence_in_mirror(fly: &Fly, image: &ImageRef) -> Answer<ImagePresence> {
    let (place, digest) = place(fly, image, Login::Mirror)?;
    presence::presence(fly, &place, &digest).await
}

pub(super) use copy::copy;

/// As whom a registry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// With our token.
    Platform,
    /// With the mirror's credentials.
    Mirror,
    Nobody,
}

/// One repository of a registry.
struct Place {
    base: Url,
    repository: String,
    login: Login,
}

impl Place {
    /// A URL of the repository.
    fn url(&self, rest: &[&str]) -> Url {
        let mut path = vec!["v2"];
        path.extend(self.repository.split('/'));
        path.extend(rest);
        below(&self.base, &path)
    }

    /// Who we are there.
    fn credentials(&self, fly: &Fly) -> Option<HeaderValue> {
        match self.login {
            Login::Platform => fly.caller.tokens().registry(),
            Login::Mirror => {
                fly.mirror_login.as_ref().and_then(super::settings::MirrorLogin::basic)
            }
            Login::Nobody => None,
        }
    }
}

/// Where an image is, and what it is there.
fn place(fly: &Fly, image: &ImageRef, login: Login) -> Answer<(Place, Digest)> {
    let Some(digest) = image.digest.clone() else {
        return Err(refused(image, "it has no digest to be looked up by"));
    };
    Ok((repository(fly, image, login)?, digest))
}

fn refused(image: &ImageRef, what: &str) -> PlatformError {
    PlatformError::Refused(format!("image {}: {what}", image.reference()))
}

/// The repository of an image. `login`: as whom it is asked for, unless it is the platform's own.
fn repository(fly: &Fly, image: &ImageRef, login: Login) -> Answer<Place> {
    let (base, login, repository) = if image.registry == OWN_REGISTRY
        || Some(image.registry.as_str()) == authority(&fly.bases.registry).as_deref()
    {
        (fly.bases.registry.clone(), Login::Platform, image.repository.clone())
    } else {
        let (host, repository) = foreign(image);
        let base = registry_base(&host)
            .map_err(|error| refused(image, &format!("its registry {error}")))?;
        (base, login, repository)
    };
    let name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    let fine =
        |part: &str| part.chars().all(name) && part.chars().any(|c| c.is_ascii_alphanumeric());
    if !repository.split('/').all(fine) {
        return Err(refused(image, "its repository is not a name"));
    }
    Ok(Place { base, repository, login })
}

/// Docker Hub goes by several names, and official images there have no owner.
fn foreign(image: &ImageRef) -> (String, String) {
    let hub = matches!(
        image.registry.as_str(),
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io"
    );
    if !hub {
        return (image.registry.clone(), image.repository.clone());
    }
    let repository = if image.repository.contains('/') {
        image.repository.clone()
    } else {
        format!("library/{}", image.repository)
    };
    ("registry-1.docker.io".to_owned(), repository)
}

/// Host and port, as an image names its registry.
fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    digest_from(Sha256::new_with_prefix(bytes))
}

fn digest_from(sum: Sha256) -> Digest {
    let hex: String = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Digest::new(format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_many_names() {
        let image = |registry: &str, repository: &str| ImageRef {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: None,
            digest: None,
        };
        let hub = "registry-1.docker.io".to_owned();
        assert_eq!(foreign(&image("docker.io", "nginx")), (hub.clone(), "library/nginx".into()));
        assert_eq!(foreign(&image("", "a/b")), (hub, "a/b".into()));
        assert_eq!(foreign(&image("ghcr.io", "nginx")), ("ghcr.io".into(), "nginx".into()));
    }
}
