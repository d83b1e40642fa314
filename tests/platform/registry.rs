//! What these tests do to a real registry besides, and clients of it.

use reqwest::{Method, StatusCode};
use waveoff::{
    config::Secret,
    fly::{Fly, FlySettings, MirrorLogin},
    model::{Digest, ImageRef},
};

pub use crate::real::{INDEX, MANIFEST, Registry, TOKEN, digest_of};

impl Registry {
    /// Gives a manifest that is there a name.
    pub async fn tag(&self, repository: &str, digest: &Digest, tag: &str) {
        let (_, manifest) = self.get(repository, &format!("manifests/{digest}")).await;
        let url = format!("{}/v2/{repository}/manifests/{tag}", self.url);
        let response = self.send(Method::PUT, &url, MANIFEST, manifest).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{:?}", response.text().await);
    }

    /// Pushes an image without layers.
    pub async fn push(&self, repository: &str) -> Digest {
        self.push_image(repository, "{}", &[]).await
    }

    pub async fn delete(&self, repository: &str, digest: &Digest) {
        let url = format!("{}/v2/{repository}/manifests/{digest}", self.url);
        let response = self.send(Method::DELETE, &url, "", String::new()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }

    /// A client of a platform whose registry this is.
    pub fn client(&self, token: &str) -> Fly {
        client(token, &self.url)
    }
}

/// A client that can reach nothing but the platform's registry.
pub fn client(token: &str, registry_url: &str) -> Fly {
    let nowhere = "http://127.0.0.1:9".to_owned();
    Fly::new(FlySettings {
        organization: "acme".to_owned(),
        token: Secret::new(token),
        api_url: nowhere.clone(),
        flaps_url: nowhere.clone(),
        uiex_url: nowhere,
        registry_url: registry_url.to_owned(),
        mirror_login: Some(MirrorLogin { user: "x".to_owned(), token: Secret::new(TOKEN) }),
    })
    .unwrap()
}

pub fn image(repository: &str, digest: &Digest) -> ImageRef {
    ImageRef {
        registry: "registry.fly.io".to_owned(),
        repository: repository.to_owned(),
        tag: None,
        digest: Some(digest.clone()),
    }
}
