//! Looking for images in a real registry (the `distribution` one, as Debian ships it).

use std::{path::PathBuf, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, Method, Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
};
use waveoff::{
    config::Secret,
    fly::{Fly, FlySettings},
    model::{Digest, ImageRef},
    ports::{ImagePresence, PlatformError, Registry as _},
};

const TOKEN: &str = "opaque-token-of-the-test";
/// User `x` with that token, as `htpasswd -B` writes it.
const PASSWORDS: &str = "x:$2y$05$abcdefghijklmnopqrstuu4EBG0FyC2ChAgx0Rjz5p4FdjxU7Jv2S\n";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry that runs until it is dropped.
struct Registry {
    url: String,
    client: Client,
    _process: Child,
    /// Held open: the registry logs to its end.
    _log: tokio::io::Lines<BufReader<ChildStderr>>,
    _dir: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let program = std::env::var_os("WAVEOFF_TEST_REGISTRY").map(PathBuf::from).expect(
            "WAVEOFF_TEST_REGISTRY must name the program `docker-registry`: run scripts/test, \
             which fetches it and sets it",
        );
        let dir = tempfile::tempdir().unwrap();
        let passwords = dir.path().join("htpasswd");
        std::fs::write(&passwords, PASSWORDS).unwrap();
        let config = format!(
            "version: 0.1\n\
             storage: {{filesystem: {{rootdirectory: {root:?}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n\
             auth: {{htpasswd: {{realm: test, path: {passwords:?}}}}}\n",
            root = dir.path().join("images"),
        );
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut process = Command::new(&program)
            .arg("serve")
            .arg(&path)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not run: {error}", program.display()));
        // It says in its log which port it was given.
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = log.next_line().await.unwrap().expect("the registry ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().unwrap().to_owned();
            }
        };
        let client = Client::builder().no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), client, _process: process, _log: log, _dir: dir }
    }

    async fn send(&self, method: Method, url: &str, kind: &str, body: String) -> Response {
        let password = STANDARD.encode(format!("x:{TOKEN}"));
        self.client
            .request(method, url)
            .header("authorization", format!("Basic {password}"))
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn push_manifest(&self, repository: &str, kind: &str, manifest: String) -> Digest {
        let digest = digest_of(&manifest);
        let url = format!("{}/v2/{repository}/manifests/{digest}", self.url);
        let response = self.send(Method::PUT, &url, kind, manifest).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{:?}", response.text().await);
        digest
    }

    /// Pushes an image without layers.
    async fn push(&self, repository: &str) -> Digest {
        let uploads = format!("{}/v2/{repository}/blobs/uploads/", self.url);
        let started = self.send(Method::POST, &uploads, "", String::new()).await;
        assert_eq!(started.status(), StatusCode::ACCEPTED);
        let mut upload = Url::parse(started.headers()["location"].to_str().unwrap()).unwrap();
        upload.query_pairs_mut().append_pair("digest", digest_of("{}").as_str());
        let kind = "application/octet-stream";
        let stored = self.send(Method::PUT, upload.as_str(), kind, "{}".to_owned()).await;
        assert_eq!(stored.status(), StatusCode::CREATED);
        let config = format!(
            r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"{}"}}"#,
            digest_of("{}")
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[]}}"#
        );
        self.push_manifest(repository, MANIFEST, manifest).await
    }

    async fn delete(&self, repository: &str, digest: &Digest) {
        let url = format!("{}/v2/{repository}/manifests/{digest}", self.url);
        let response = self.send(Method::DELETE, &url, "", String::new()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }

    /// A client of a platform whose registry this is.
    fn client(&self, token: &str) -> Fly {
        client(token, &self.url)
    }
}

/// A client that can reach nothing but the platform's registry.
fn client(token: &str, registry_url: &str) -> Fly {
    let nowhere = "http://127.0.0.1:9".to_owned();
    Fly::new(FlySettings {
        organization: "acme".to_owned(),
        token: Secret::new(token),
        api_url: nowhere.clone(),
        flaps_url: nowhere.clone(),
        uiex_url: nowhere,
        registry_url: registry_url.to_owned(),
    })
    .unwrap()
}

fn digest_of(text: &str) -> Digest {
    let hex: String =
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    Digest::new(format!("sha256:{hex}"))
}

fn image(repository: &str, digest: &Digest) -> ImageRef {
    ImageRef {
        registry: "registry.fly.io".to_owned(),
        repository: repository.to_owned(),
        tag: None,
        digest: Some(digest.clone()),
    }
}

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
async fn without_the_right_token_nothing_is_known() {
    let registry = Registry::start().await;
    let digest = registry.push("web").await;
    let error = registry.client("another-token").presence(&image("web", &digest)).await;
    assert!(matches!(error, Err(PlatformError::Denied(_))), "{error:?}");
    // Named by its address it is the platform's registry still; to a platform with another one it
    // is somebody else's, and gets no token.
    let address = registry.url.strip_prefix("http://").unwrap().to_owned();
    let named = ImageRef { registry: address, ..image("web", &digest) };
    assert_eq!(registry.client(TOKEN).presence(&named).await, Ok(ImagePresence::Present));
    let error = client(TOKEN, "http://127.0.0.1:9").presence(&named).await;
    assert!(matches!(error, Err(PlatformError::Denied(_))), "{error:?}");
}
